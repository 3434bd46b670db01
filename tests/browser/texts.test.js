// What the page is made of, without a gateway or with one asked once: texts in both languages, times as they are typed, types of the API.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import openapi, { astToString } from "openapi-typescript";
import { gateway } from "./support/browser.js";

const UI = join(import.meta.dirname, "../../ui");
// The page's own bundler reads its TypeScript.
const { build } = createRequire(join(UI, "package.json"))("esbuild");

async function load(entry) {
  const { outputFiles } = await build({ entryPoints: [join(UI, "src", entry)], bundle: true, write: false, format: "esm", logLevel: "error" });
  return import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString("base64")}`);
}

const sources = readdirSync(join(UI, "src"), { recursive: true }).filter((file) => /\.tsx?$/.test(file) && !file.endsWith(".d.ts"));

let vigie;
before(async () => { vigie = await gateway({ place: "rtsp://127.0.0.1:9/stream" }); });
after(() => vigie?.stop());

const shapes = (texts, path = "") => Object.entries(texts).flatMap(([name, text]) =>
  typeof text === "object" ? shapes(text, `${path}${name}.`) : [[`${path}${name}`, text]]);

test("every text is in both languages, and is another one in each", async () => {
  const [{ fr }, { en }] = [await load("texts/fr.ts"), await load("texts/en.ts")];
  const [french, english] = [new Map(shapes(fr)), new Map(shapes(en))];
  assert.deepEqual([...english.keys()].sort(), [...french.keys()].sort());
  // Named by the standard, or the same word in both.
  const alike = new Set(["spans.minute", "spans.tenMinutes", "spans.hour"]);
  for (const [name, text] of french) {
    const other = english.get(name);
    assert.equal(typeof other, typeof text, name);
    const words = (said) => (typeof said === "function" ? said(...Array.from({ length: said.length }, (_, n) => n + 1)) : said);
    assert.ok(words(text).trim() && words(other).trim(), `${name} is empty`);
    if (!alike.has(name)) assert.notEqual(words(text), words(other), `${name} is the same in both languages`);
  }
});

test("no text stands outside of the two lists", () => {
  const found = sources.filter((file) => !file.startsWith("texts")).flatMap((file) => readFileSync(join(UI, "src", file), "utf8")
    .split("\n").map((line, n) => [`${file}:${n + 1}`, line.trim()])
    // Between tags, or in an attribute that is read aloud or shown.
    .filter(([, line]) => />[^<>{}=;()]*[A-Za-zÀ-ÿ]{3,}[^<>{}=;()]*<\//.test(line.replace("<h1>Vigie</h1>", ""))
      || /(?:aria-label|placeholder|title|alt)="[^"]*[A-Za-z]/.test(line)));
  assert.deepEqual(found, []);
});

test("times are read as they are typed, in both languages", async () => {
  const { parseWhen, typed, isSecondPassage } = await load("zone.ts");
  const reference = Date.parse("2026-11-28T06:00:00Z"); // Saturday, 07:00 in Paris
  const reads = {
    "hier 14:32": "2026-11-27T13:32:00Z", "yesterday 14:32": "2026-11-27T13:32:00Z", "Hier à 14h32": "2026-11-27T13:32:00Z",
    "avant-hier 8h": "2026-11-26T07:00:00Z", "14:32:05": "2026-11-28T13:32:05Z", "aujourd’hui 06:15": "2026-11-28T05:15:00Z",
    "25/10 02:30": "2026-10-25T00:30:00Z", "25/10 02:30 (2e)": "2026-10-25T01:30:00Z", "25/10/2026 02:30 2nd": "2026-10-25T01:30:00Z",
    "2026-10-25 02:30:15 (2nd)": "2026-10-25T01:30:15Z", "25/12 10:00": "2025-12-25T09:00:00Z", "14/07": "2026-07-13T22:00:00Z",
    "il y a 10 min": "2026-11-28T05:50:00Z", "2 h ago": "2026-11-28T04:00:00Z", "now": "2026-11-28T06:00:00Z",
    "29/02/2024 12:00": "2024-02-29T11:00:00Z",
  };
  for (const [text, instant] of Object.entries(reads)) assert.deepEqual(parseWhen(text, reference), { at: Date.parse(instant) }, text);
  const refused = {
    "29/03/2026 02:30": "missing-hour", "24/10/2026 02:30 (2e)": "no-second-passage", "": "unreadable", "demain peut-être": "unreadable",
    "31/02/2026 10:00": "unreadable", "25:00": "unreadable", "12:61": "unreadable", "(((((": "unreadable", ["9".repeat(100_000)]: "unreadable",
  };
  for (const [text, wrong] of Object.entries(refused)) assert.deepEqual(parseWhen(text, reference), { wrong }, text.slice(0, 40));
  // What the page writes, it reads again: each second of the two hours around the change, in both directions.
  for (const night of ["2026-10-24T23:00:00Z", "2026-03-28T23:00:00Z"]) {
    for (let at = Date.parse(night), end = at + 4 * 3600e3; at < end; at += 61e3) assert.deepEqual(parseWhen(typed(at), reference), { at }, typed(at));
  }
  assert.deepEqual([isSecondPassage(Date.parse("2026-10-25T00:30:00Z")), isSecondPassage(Date.parse("2026-10-25T01:30:00Z"))], [false, true]);
});

test("the timeline labels the hour that comes twice twice, and the missing one not at all", async () => {
  const { ticks } = await load("ticks.ts");
  const labels = (night) => ticks(Date.parse(`${night}T00:00:00Z`), Date.parse(`${night}T03:00:00Z`), 8).map(({ label }) => label);
  assert.deepEqual(labels("2026-10-25"), ["02:00", "02:30", "02:00 (2e)", "02:30 (2e)", "03:00", "03:30", "04:00"]);
  assert.deepEqual(labels("2026-03-29"), ["01:00", "01:30", "03:00", "03:30", "04:00", "04:30", "05:00"]);
  for (const span of [1e3, 60e3, 3600e3, 86400e3, 30 * 86400e3, 400 * 86400e3]) {
    const found = ticks(Date.parse("2026-10-25T00:00:00Z"), Date.parse("2026-10-25T00:00:00Z") + span, 10);
    assert.ok(found.length >= 1 && found.length <= 13, `${found.length} labels in ${span} ms`);
  }
});

test("the types of the API are those of the gateway's own description", async () => {
  const description = await (await fetch(`${vigie.origin}/api/openapi.json`)).json();
  const types = astToString(await openapi(description));
  const kept = readFileSync(join(UI, "src/gateway.d.ts"), "utf8");
  const body = (text) => text.slice(text.indexOf("export interface paths"));
  assert.ok(body(kept) === body(types), "ui/src/gateway.d.ts is out of date: `tests/browser/api-types` writes it again");
});
