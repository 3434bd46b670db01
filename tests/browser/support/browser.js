// What the browser tests share: Chromium, a gateway of a test's own, patience.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

export const BIN = process.env.VIGIE_BIN ?? "../../target/debug/vigie";
export const PATIENCE_MS = 30_000;

export async function until(what, read, patience = PATIENCE_MS) {
  const deadline = Date.now() + patience;
  for (;;) {
    const value = await read();
    if (value) return value;
    assert.ok(Date.now() < deadline, `${what}: not within ${patience} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A page in a browser of its own, and what it complained of. */
export async function open(options = {}) {
  const profile = mkdtempSync(join(tmpdir(), "vigie-chromium-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
    locale: "fr-FR",
    viewport: { width: 1400, height: 900 },
    ...options,
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = context.pages()[0] ?? await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  const close = async () => {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  };
  return { context, page, complaints, close };
}

/**
 * A gateway that records these cameras, by their ids. Without a `token` it is open to this machine; `http` and `more`, from its origin,
 * are further lines of its configuration; `output` gets what it writes.
 */
export async function gateway(cameras, { token, http = () => "", more = () => "", output } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "vigie-page-")), port = await freePort(), origin = `http://localhost:${port}`;
  const config = join(folder, "vigie.toml");
  const tables = Object.entries(cameras).map(([id, url]) => `[[tenant.camera]]\nid = "${id}"\nplace = "Place"\nurl = "${url}"\n`);
  writeFileSync(config, `
[data]
dir = "${join(folder, "data")}"
disk_reserve_mib = 64
[http]
listen = "127.0.0.1:${port}"
${http(origin)}
[[tenant]]
id = "mairie"
${token ? `access_token = "${token}"` : ""}
${tables.join("")}${await more(origin)}`);
  let running;
  const start = async () => {
    running = spawn(BIN, ["--log", output ? "debug" : "warn", "run", "--config", config], { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [running.stdout, running.stderr]) stream.on("data", (chunk) => output?.(chunk));
    await until("a gateway", () => fetch(`${origin}/livez`).then((answer) => answer.ok, () => false));
  };
  const halt = async () => {
    const ended = new Promise((resolve) => { running.once("exit", resolve); });
    if (running.exitCode === null && running.kill()) await ended;
  };
  const stop = async () => {
    await halt();
    rmSync(folder, { recursive: true, force: true });
  };
  const vigie = async (...args) => (await promisify(execFile)(BIN, [...args, "--config", config])).stdout;
  /** Marie Durand, an operator by an act. */
  const designate = (id = "marie") => vigie("people", "designate", id, "--name", "Marie Durand", "--role", "operator", "--act-authority", "le maire",
    "--act-number", "2026-117", "--act-date", "2026-01-05", "--act-until", "2999-12-31");
  await start();
  return { origin, folder, vigie, designate, start, halt, stop };
}
