// The plain page in a real browser, on a running gateway that records at least one camera.
//
// VIGIE_URL          address of the page, with credentials if it needs them: http://tenant:token@127.0.0.1:8080/
// VIGIE_SCREENSHOTS  folder for pictures of the page; none are taken without it
// CHROMIUM           the browser, /usr/bin/chromium unless said

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const address = new URL(process.env.VIGIE_URL ?? "http://127.0.0.1:8080/");
const origin = address.origin;
const credentials = address.username
  ? { username: decodeURIComponent(address.username), password: decodeURIComponent(address.password) }
  : undefined;
const PATIENCE_MS = 30_000;

let profile, context, page;
const complaints = [];

before(async () => {
  profile = mkdtempSync(join(tmpdir(), "vigie-chromium-"));
  context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [
      "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ],
    httpCredentials: credentials,
    viewport: { width: 1280, height: 900 },
    locale: "fr-FR",
  });
  context.setDefaultTimeout(PATIENCE_MS);
  page = context.pages()[0] ?? await context.newPage();
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("console", (message) => {
    // A browser prints each 4xx answer; those the page expects, it shows to people.
    if (message.type() === "error" && !/Failed to load resource/.test(message.text())) complaints.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(origin) && !/^(blob|data):/.test(request.url())) complaints.push(`foreign request: ${request.url()}`);
  });
  await page.goto(origin + address.pathname);
});

after(async () => {
  await context?.close();
  rmSync(profile, { recursive: true, force: true });
});

const video = (read) => page.evaluate(`(() => { const v = document.getElementById("video"); return ${read}; })()`);

async function until(what, read) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await read();
    if (value) return value;
    assert.ok(Date.now() < deadline, `${what}: not within ${PATIENCE_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function advances(seconds) {
  const from = await until("playback", () => video("v.readyState >= 2 && !v.paused && v.currentTime > 0 && { at: v.currentTime }"));
  await until(`${seconds} s of playback`, () => video(`v.currentTime >= ${from.at + seconds}`));
}

async function picture(name) {
  if (process.env.VIGIE_SCREENSHOTS) {
    await page.screenshot({ path: join(process.env.VIGIE_SCREENSHOTS, `${name}.png`), fullPage: true });
  }
}

// The instant of the picture on screen, as the page tells it.
const shownAt = async () => Date.parse(await page.locator("#shown").getAttribute("datetime"));

// Where on the bar, from 0 to 1, the newest stretch of footage lies.
const newestCoverage = () => page.evaluate(() => {
  const bar = document.getElementById("bar").getBoundingClientRect();
  const box = [...document.querySelectorAll("#bar .covered")].at(-1)?.getBoundingClientRect();
  return box && { from: (box.left - bar.left) / bar.width, to: (box.right - bar.left) / bar.width };
});

test("the camera is listed and says that it records", async () => {
  await page.locator("#cameras button").first().waitFor();
  assert.ok((await page.locator("#camera-name").textContent()).trim().length > 0);
  await page.locator("#cameras button small", { hasText: "enregistrement en cours" }).first().waitFor();
  assert.match(await page.locator("#zone").textContent(), /\//);
});

test("live view plays by itself, close to now", async () => {
  await advances(2);
  assert.equal(await page.locator("#badge").textContent(), "Direct");
  assert.ok(await video("v.videoWidth > 0"));
  const lag = await until("a live delay under 5 s", async () => {
    const lag = Date.now() - await shownAt();
    return lag < 5000 && { ms: lag };
  });
  assert.ok(lag.ms > -1000, `the picture is shown ${-lag.ms} ms before it was filmed`);
  await picture("live");
});

test("the timeline shows footage, and a click plays the clip from there", async () => {
  const box = await until("footage of some seconds", async () => {
    const cover = await newestCoverage();
    const shown = cover && await page.evaluate(({ from, to }) => (to - from) * document.getElementById("bar").clientWidth, cover);
    return shown >= 6 && cover;
  });
  const bar = await page.locator("#bar").boundingBox();
  await page.mouse.click(bar.x + bar.width * (box.from + (box.to - box.from) * 0.25), bar.y + bar.height / 2);
  await until("a clip", () => video('v.currentSrc.includes("clip.mp4")'));
  await advances(1);
  assert.equal(await page.locator("#badge").textContent(), "Enregistrement");
  assert.ok(Math.abs(Date.now() - await shownAt()) < 25 * 3600e3);
});

test("the clip seeks", async () => {
  const target = await video("v.duration / 2");
  assert.ok(Number.isFinite(target) && target > 0);
  await video(`new Promise((resolve) => { v.addEventListener("seeked", resolve, { once: true }); v.currentTime = ${target}; })`);
  assert.ok(await video(`v.readyState >= 2 && v.currentTime >= ${target} - 0.5`));
  const ranges = await video("v.seekable.length && v.seekable.end(0)");
  assert.ok(Math.abs(ranges - await video("v.duration")) < 0.5, "all of it can be sought");
  await picture("clip");
});

test("the keyboard alone goes back to live, moves in time and plays", async () => {
  await page.locator("#live").focus();
  await page.keyboard.press("Enter");
  await until("live", async () => await page.locator("#badge").textContent() === "Direct");
  await page.locator("#bar").focus();
  const cover = await newestCoverage();
  await page.keyboard.press("Home");
  const steps = Math.round(((cover.from + cover.to) / 2) * 240);
  for (let step = 0; step < steps; step++) await page.keyboard.press("ArrowRight");
  assert.match(await page.locator("#bar").getAttribute("aria-valuetext"), /\d/);
  await page.keyboard.press("Enter");
  await until("a clip", () => video('v.currentSrc.includes("clip.mp4")'));
  await advances(0.5);
});

test("the download link gives the whole sequence", async () => {
  const link = page.locator("#download");
  assert.equal(await link.getAttribute("aria-disabled"), "false");
  const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
  // The camera and local times with their offset.
  assert.match(download.suggestedFilename(), /^\S.* \d{8}T\d{6}[+-]\d{4} \d{8}T\d{6}[+-]\d{4}\.mp4$/);
  assert.equal(await download.failure(), null);
});

test("every control has a name, and the page a language", async () => {
  assert.equal(await page.locator("html").getAttribute("lang"), "fr");
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll("button, a[href], input, select, video, [role=slider]")]
      .filter((e) => !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.textContent.trim() || e.closest("label")?.textContent.trim()))
      .map((e) => e.outerHTML));
  assert.deepEqual(nameless, []);
});

test("the page fits a phone", async () => {
  await page.setViewportSize({ width: 390, height: 844 });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(overflow, 0);
  await picture("phone");
});

test("nothing was complained about on the way", () => {
  assert.deepEqual(complaints, []);
});
