// What goes wrong at night: cameras that are lost, cut or changed, the hour that comes twice. A camera of the test's own bears a number
// in each picture, so that the time that the page shows can be compared with when that picture was sent.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { gateway, open, until } from "./support/browser.js";
import { BITS, Camera, film, PICTURES } from "./support/camera.js";

const PICTURE_MS = 100;
// What recording adds to when a picture was sent, and what a busy machine does.
const CLOCK_MS_MAX = 250;
const SAID_MS_MAX = 2500;

let camera, larger, vigie, origin, browser, page;

before(async () => {
  camera = new Camera(film(320, 240, "baseline"));
  larger = film(480, 272, "high");
  await camera.start();
  vigie = await gateway({ place: `rtsp://127.0.0.1:${camera.port}/stream` });
  origin = vigie.origin;
  browser = await open();
  page = browser.page;
  await page.goto(origin);
});

after(async () => {
  await browser?.close();
  await vigie?.stop();
  await camera?.stop();
});

const badge = () => page.locator("#badge").textContent();
const video = (read) => page.evaluate(`(() => { const v = document.getElementById("video"); return ${read}; })()`);
const direct = () => until("a live picture", async () => await badge() === "Direct");

/** The number in the picture on screen, and the time that the page shows for it. */
const look = () => page.evaluate(async (bits) => {
  const video = document.getElementById("video");
  const draw = () => {
    const canvas = new OffscreenCanvas(bits, 1), on = canvas.getContext("2d");
    on.drawImage(video, 0, 0, video.videoWidth, video.videoHeight / 8, 0, 0, bits, 1);
    const { data } = on.getImageData(0, 0, bits, 1);
    return Array.from({ length: bits }, (_, bit) => (data[bit * 4] > 128 ? 2 ** bit : 0)).reduce((a, b) => a + b);
  };
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  while (video.readyState < 2 || video.seeking) await frame();
  if (!video.paused) await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
  const number = draw();
  await frame();
  await frame();
  return { number, shown: Date.parse(document.getElementById("shown").dateTime), again: draw() };
}, BITS);

/** Looks several times; the middle one of the differences, so that one that fell between two pictures does not count. */
async function clockIsRight(what, times = 7) {
  const off = [];
  while (off.length < times) {
    const { number, shown, again } = await look();
    assert.ok(camera.sent.has(number), `${what}: no picture has the number ${number}`);
    if (number === again) off.push(shown - camera.sent.get(number));
  }
  const middle = off.sort((a, b) => a - b)[Math.floor(times / 2)];
  assert.ok(Math.abs(middle) <= CLOCK_MS_MAX, `${what}: the time shown is ${middle} ms off`);
}

async function goTo(text) {
  await page.locator("#when").fill(text);
  await page.locator("#go-to button").click();
}

/** As an operator types it. */
const typed = (at) => new Intl.DateTimeFormat("fr-FR", { timeZone: "Europe/Paris", dateStyle: "short", timeStyle: "medium" }).format(at)
  .replace(/^(\d\d\/\d\d\/\d{4})\D+/, "$1 ");

test("the time shown is that of the picture on screen, live", async () => {
  await direct();
  await clockIsRight("live");
});

test("a camera that is lost says so, since when and why, and comes back by itself", async () => {
  await direct();
  const gone = Date.now();
  await camera.stop();
  await until("the loss", async () => await badge() === "Interrompu");
  const after = Date.now() - gone;
  assert.ok(after <= SAID_MS_MAX, `it was said after ${after} ms`);
  await page.locator(".lost strong", { hasText: /Pas d’image depuis \d\d:\d\d:\d\d/ }).waitFor();
  await page.locator(".lost .cause").waitFor();
  assert.equal(await page.locator(".stage").getAttribute("data-lost"), "true");
  await camera.start();
  await direct();
  assert.equal(await page.locator(".lost").count(), 0);
  await clockIsRight("live, after the loss");
});

test("the time shown stays right after short cuts, live and recorded", async () => {
  for (let cut = 0; cut < 2; cut++) {
    const before = camera.sent.size;
    camera.drop();
    await until("the camera's return", () => camera.sent.size > before + 20);
    await direct();
  }
  await clockIsRight("live, after short cuts");
  await goTo("il y a 20 s");
  await until("the recording", async () => await badge() === "Enregistrement" && await video("v.readyState >= 2 && !v.paused"));
  await clockIsRight("recorded, over short cuts", 15);
});

test("a gap is said with its cause, and passed over", async () => {
  const [gap] = await page.evaluate(async () => {
    const now = Date.now(), query = `start=${new Date(now - 600e3).toISOString()}&end=${new Date(now).toISOString()}&resolution_ms=0`;
    const { coverage } = await (await fetch(`api/cameras/place/timeline?${query}`)).json();
    return coverage.slice(1).map((next, n) => ({ start: Date.parse(coverage[n].end), end: Date.parse(next.start) })).filter(({ start, end }) => end - start > 1500);
  });
  assert.ok(gap, "the camera was lost for a while");
  await goTo(typed(gap.start - 2000));
  await page.locator("#notice", { hasText: /Interruption de \d+ s passée : \S/ }).waitFor();
  await until("what follows the gap", async () => (await look()).shown > gap.end - PICTURE_MS / 2);
  await page.locator("#play").click();
  await until("a paused picture", () => video("v.paused && !v.seeking"));
  // Back again, to the last picture before it.
  await until("what comes before the gap", async () => {
    const { shown } = await look();
    // A segment's date is cut to milliseconds.
    if (shown < gap.end - PICTURE_MS / 2) return Math.abs(gap.start - shown) < 2 * PICTURE_MS;
    await page.locator("#step-back").click();
    await until("another picture", async () => (await look()).shown !== shown);
    return false;
  });
});

test("pictures are stepped through both ways, each once", async () => {
  const before = camera.sent.size;
  await page.locator("#live").click();
  await until("some seconds without a cut", () => camera.sent.size > before + 120);
  await goTo("il y a 8 s");
  await until("the recording", () => video("v.readyState >= 2 && !v.paused && v.currentTime > 1.5"));
  await page.locator("#play").click();
  await until("a paused picture", () => video("v.paused && !v.seeking"));
  const first = await look();
  const steps = async (button, direction) => {
    let { number } = await look();
    for (let step = 0; step < 25; step++) {
      await page.locator(button).click();
      const next = (number + direction + PICTURES) % PICTURES;
      await until(`picture ${next}`, async () => (await look()).number !== number);
      ({ number } = await look());
      assert.equal(number, next, `step ${step} from ${first.number}`);
    }
  };
  await steps("#step-back", -1);
  await clockIsRight("stepped back", 3);
  await steps("#step-forward", 1);
  const last = await look();
  assert.equal(last.number, first.number);
  // Each segment's date is cut to milliseconds.
  assert.ok(Math.abs(last.shown - first.shown) <= 2, `${last.shown} is not ${first.shown}`);
});

test("after a change of resolution and profile the player goes on, live and over the recording of it", async () => {
  await page.locator("#live").click();
  await direct();
  camera.film = larger;
  const changed = Date.now();
  camera.drop();
  await until("the other size", () => video("v.videoWidth === 480 && !v.paused"));
  await direct();
  await clockIsRight("live, after the change");
  assert.equal(await page.locator("#alert").count(), 0);
  await goTo(typed(changed - 4000));
  await until("the size before", () => video("v.videoWidth === 320"));
  await until("the size after", () => video("v.videoWidth === 480"));
  assert.equal(await badge(), "Enregistrement");
  await clockIsRight("recorded, after the change");
});

test("the hour that comes twice is asked for as it is typed, to play and to download", async () => {
  const asked = [];
  page.on("request", (request) => asked.push(decodeURIComponent(request.url())));
  const passages = [["25/10/2026 02:30", "2026-10-25T00:30:00.000Z"], ["25/10/2026 02:30 (2e)", "2026-10-25T01:30:00.000Z"]];
  for (const [text, instant] of passages) {
    await goTo(text);
    await until(`a playlist from ${instant}`, () => asked.some((url) => url.includes(`vod.m3u8?start=${instant}`)));
    await page.locator("#from").fill(text);
    await page.locator("#to").fill(text.replace("02:30", "02:31"));
    const href = await page.locator("#download").getAttribute("href");
    assert.ok(href.includes(`start=${instant}&end=${instant.replace(":30:", ":31:")}`), href);
  }
  assert.match(await page.locator("#from-read").textContent(), /02:30:00 \(2e\)$/);
  await page.locator("#when").fill("29/03/2026 02:30");
  await page.locator("#go-to button").click();
  await page.locator("#when-wrong", { hasText: "n’existe pas" }).waitFor();
});

test("a camera that the browser has no decoder for is shown as still pictures", async () => {
  const other = await open();
  await other.page.addInitScript(() => { MediaSource.isTypeSupported = () => false; });
  await other.page.goto(origin);
  await other.page.locator("#stills", { hasText: "images fixes" }).waitFor();
  const shown = () => other.page.locator("#shown").getAttribute("datetime").then(Date.parse);
  const first = await until("a still picture", () => other.page.evaluate(() => {
    const still = document.getElementById("still"), at = document.getElementById("shown").dateTime;
    return at && still.width > 300 && Date.parse(at);
  }));
  assert.ok(Math.abs(Date.now() - first) < 10_000, "it is of now");
  await until("the next one", async () => await shown() > first);
  assert.deepEqual(other.complaints, []);
  await other.close();
});

test("nothing was complained about on the way", () => assert.deepEqual(browser.complaints, []));
