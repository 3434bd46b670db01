// The page in a real browser, on a running gateway that records at least one camera: every flow of it.
//
// VIGIE_URL          address of the page, with credentials if it needs them: http://tenant:token@127.0.0.1:8080/
// VIGIE_SCREENSHOTS  folder for pictures of the page; none are taken without it
// CHROMIUM           the browser, /usr/bin/chromium unless said

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { open, until } from "./support/browser.js";

const address = new URL(process.env.VIGIE_URL ?? "http://127.0.0.1:8080/");
const { origin } = address;
const httpCredentials = address.username
  ? { username: decodeURIComponent(address.username), password: decodeURIComponent(address.password) }
  : undefined;

let browser, page;
const complaints = [], elsewhere = [];

before(async () => {
  browser = await open({ httpCredentials, viewport: { width: 1400, height: 900 } });
  page = browser.page;
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    const { protocol, origin: asked } = new URL(request.url());
    if (asked !== origin && !["blob:", "data:"].includes(protocol)) elsewhere.push(request.url());
  });
  await page.goto(origin);
});

after(() => browser?.close());

const video = (read) => page.evaluate(`(() => { const v = document.getElementById("video"); return ${read}; })()`);
const badge = () => page.locator("#badge").textContent();

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

// Where on the bar, from 0 to 1, the newest stretch of footage lies, and how many pixels wide it is.
const newestCoverage = () => page.evaluate(async () => {
  const bar = document.getElementById("bar"), { start, end } = bar.dataset;
  const [camera] = await (await fetch("api/cameras")).json();
  const query = `start=${new Date(Number(start)).toISOString()}&end=${new Date(Number(end)).toISOString()}&resolution_ms=1000`;
  const { coverage } = await (await fetch(`api/cameras/${camera.id}/timeline?${query}`)).json();
  const share = (at) => (Date.parse(at) - start) / (end - start);
  const newest = coverage.at(-1);
  return newest && { from: share(newest.start), to: share(newest.end), px: (share(newest.end) - share(newest.start)) * bar.clientWidth };
});
const view = () => page.evaluate(() => {
  const { start, end } = document.getElementById("bar").dataset;
  return { start: Number(start), end: Number(end), span: end - start };
});

test("the camera is listed and says that it records", async () => {
  await page.locator("#cameras button").first().waitFor();
  assert.ok((await page.locator("#camera-name").textContent()).trim().length > 0);
  await page.locator("#cameras button small", { hasText: "enregistrement en cours" }).first().waitFor();
  assert.match(await page.locator("#zone").textContent(), /\//);
});

test("live view plays by itself, close to now", async () => {
  await advances(2);
  assert.equal(await badge(), "Direct");
  assert.ok(await video("v.videoWidth > 0"));
  const lag = await until("a live delay under 5 s", async () => {
    const lag = Date.now() - await shownAt();
    return lag < 5000 && { ms: lag };
  });
  assert.ok(lag.ms > -1000, `the picture is shown ${-lag.ms} ms before it was filmed`);
  await picture("live");
});

test("picture and timeline are on one screen", async () => {
  const bar = await page.locator("#bar").boundingBox();
  assert.ok(bar.y + bar.height <= 900, `the timeline ends at ${bar.y + bar.height} of 900 pixels`);
});

test("the timeline shows footage, and a click plays from there", async () => {
  const box = await until("footage of some seconds", async () => {
    const cover = await newestCoverage();
    return cover?.px >= 6 && cover;
  });
  const bar = await page.locator("#bar").boundingBox(), { start, span } = await view();
  const share = box.from + (box.to - box.from) * 0.25;
  await page.mouse.click(bar.x + bar.width * share, bar.y + 16);
  await until("a recording", async () => await badge() === "Enregistrement");
  await advances(1);
  const off = await shownAt() - (start + share * span);
  assert.ok(off > -2000 && off < 15_000, `playback is ${off} ms from where the bar was pressed`);
});

test("wheel, keys and buttons zoom from a year to pictures, around what is pointed at", async () => {
  const bar = await page.locator("#bar").boundingBox();
  await page.mouse.move(bar.x + bar.width / 2, bar.y + 16);
  const before = await view();
  await page.mouse.wheel(0, -400);
  const closer = await until("a finer view", async () => {
    const now = await view();
    return now.span < before.span * 0.7 && now;
  });
  const middle = ({ start, end }) => (start + end) / 2;
  assert.ok(Math.abs(middle(closer) - middle(before)) < before.span / 50, "the middle stays where it was");
  await page.locator("#bar").focus();
  for (let press = 0; press < 30; press++) await page.keyboard.press("+");
  await until("a second in view", async () => (await view()).span <= 1000);
  for (let press = 0; press < 30; press++) await page.keyboard.press("-");
  await until("a year in view", async () => (await view()).span >= 365 * 86400e3);
  await page.locator("#zoom").selectOption("tenMinutes");
  await until("ten minutes in view", async () => (await view()).span === 600_000);
});

test("a drag moves the timeline and plays nothing", async () => {
  const bar = await page.locator("#bar").boundingBox(), before = await view(), src = await video("v.src");
  await page.mouse.move(bar.x + bar.width * 0.3, bar.y + 16);
  await page.mouse.down();
  await page.mouse.move(bar.x + bar.width * 0.6, bar.y + 16, { steps: 5 });
  await page.mouse.up();
  const moved = before.start - (await view()).start;
  assert.ok(Math.abs(moved - before.span * 0.3) < before.span * 0.02, `moved by ${moved} ms`);
  assert.equal(await video("v.src"), src);
});

test("the keyboard alone goes back to live, moves in time and plays", async () => {
  await page.locator("#live").focus();
  await page.keyboard.press("Enter");
  await until("live", async () => await badge() === "Direct");
  await page.locator("#bar").focus();
  await page.keyboard.press("ArrowLeft");
  const at = await until("another time", async () => Number(await page.locator("#bar").getAttribute("aria-valuenow")) || 0);
  assert.ok(at * 1000 < Date.now());
  assert.match(await page.locator("#bar").getAttribute("aria-valuetext"), /\d/);
  await page.keyboard.press("Enter");
  await until("a recording", async () => await badge() === "Enregistrement");
  await advances(0.5);
});

test("speeds are kept to, and a still picture is the one on screen", async () => {
  await page.locator("#rate").selectOption("0.25");
  await until("the slow speed", () => video("v.playbackRate === 0.25"));
  await page.locator("#play").click();
  await until("a paused picture", () => video("v.paused"));
  const href = await page.locator("#snapshot").getAttribute("href"), shown = await shownAt();
  const filmed = await page.evaluate(async (path) => (await fetch(path)).headers.get("vigie-filmed-at"), href);
  assert.ok(Math.abs(Date.parse(filmed) - shown) <= 2, `${filmed} is not the picture of ${new Date(shown).toISOString()}`);
});

test("the download link gives the whole sequence", async () => {
  const link = page.locator("#download");
  assert.equal(await link.getAttribute("aria-disabled"), "false");
  const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
  // The camera and local times with their offset.
  assert.match(download.suggestedFilename(), /^\S.* \d{8}T\d{6}[+-]\d{4} \d{8}T\d{6}[+-]\d{4}\.mp4$/);
  assert.equal(await download.failure(), null);
});

test("the wall shows cameras side by side, and a tile opens", async () => {
  await page.locator("[data-layout='4']").click();
  await until("a live tile", async () => await page.locator("#wall .badge").first().textContent() === "Direct");
  assert.equal(await page.locator("#wall li").count(), 4);
  await picture("wall");
  await page.locator("#wall .open").first().click();
  await until("live", async () => await badge() === "Direct");
});

/** What axe finds against WCAG 2.2 AA, in words. */
async function inaccessible(on) {
  await on.evaluate(readFileSync(join(import.meta.dirname, "node_modules/axe-core/axe.min.js"), "utf8"));
  const { violations } = await on.evaluate(() => globalThis.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
}

test("axe finds nothing, in either language, light and dark, on every page", async () => {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const lang of ["en", "fr"]) {
      await page.locator("#language").click();
      await until(`the page in ${lang}`, async () => await page.locator("html").getAttribute("lang") === lang);
      assert.deepEqual(await inaccessible(page), [], `${lang} ${colorScheme}`);
      await picture(`page-${lang}-${colorScheme}`);
    }
    const other = await browser.context.newPage();
    await other.emulateMedia({ colorScheme });
    for (const path of ["sign-in", "welcome"]) {
      await other.goto(`${origin}/${path}`);
      await other.locator("h2").waitFor();
      assert.deepEqual(await inaccessible(other), [], `${path} ${colorScheme}`);
    }
    await other.close();
  }
  await page.emulateMedia({ colorScheme: "light" });
});

test("a screen of 360 pixels is enough", async () => {
  await page.setViewportSize({ width: 360, height: 800 });
  const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(await overflow(), 0);
  await picture("phone");
  await page.locator("[data-layout='4']").click();
  await page.locator("#wall").waitFor();
  assert.equal(await overflow(), 0);
  await page.locator("[data-layout='1']").click();
});

test("nothing was asked of another site, and nothing complained about", () => {
  assert.deepEqual(elsewhere, []);
  assert.deepEqual([...complaints, ...browser.complaints], []);
});
