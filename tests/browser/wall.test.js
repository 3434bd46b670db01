// The wall: several cameras live, and a stream for those alone that can be seen.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { gateway, open, until } from "./support/browser.js";
import { Camera, film } from "./support/camera.js";

const NAMES = ["avenue", "bridge", "church", "depot"];
let camera, vigie, browser, page;
const asked = [];

before(async () => {
  camera = new Camera(film(320, 240, "baseline"));
  await camera.start();
  vigie = await gateway(Object.fromEntries(NAMES.map((name) => [name, `rtsp://127.0.0.1:${camera.port}/${name}`])));
  browser = await open({ viewport: { width: 360, height: 420 } });
  page = browser.page;
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await page.goto(vigie.origin);
});

after(async () => {
  await browser?.close();
  await vigie?.stop();
  await camera?.stop();
});

const playlists = (name) => asked.filter((path) => path === `/api/cameras/${name}/hls/live.m3u8`).length;
const live = (tile) => until(`tile ${tile} live`, async () => await page.locator("#wall .badge").nth(tile).textContent() === "Direct");

test("only the tiles that can be seen have a stream", async () => {
  await page.locator("[data-layout='4']").click();
  await page.locator("#wall li").first().scrollIntoViewIfNeeded();
  await live(0);
  assert.equal(playlists("depot"), 0, "the last tile is below the screen");
  await page.locator("#wall li").last().scrollIntoViewIfNeeded();
  await live(3);
  await until("the first tile's stop", async () => await page.locator("#wall .badge").first().textContent() === "Arrêté");
  const before = [playlists("avenue"), playlists("depot")];
  await until("the last tile's stream", () => playlists("depot") > before[1] + 5);
  assert.equal(playlists("avenue"), before[0]);
});

test("a choice of cameras is kept, and every tile of a large screen is live", async () => {
  await page.setViewportSize({ width: 1400, height: 1000 });
  await page.locator("#wall select").first().selectOption("depot");
  await page.reload();
  assert.equal(await page.locator("#wall select").first().inputValue(), "depot");
  for (const tile of NAMES.keys()) await live(tile);
});

test("a lost camera says so in each of its tiles, and comes back", async () => {
  await camera.stop();
  await until("four losses", async () => await page.locator("#wall .lost").count() === 4);
  await camera.start();
  for (const tile of NAMES.keys()) await live(tile);
  assert.equal(await page.locator("#wall .lost").count(), 0);
});

test("nothing was complained about on the way", () => assert.deepEqual(browser.complaints, []));
