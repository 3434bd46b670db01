// Signing in with a password and a code, in a real browser, on a gateway of its own that has a tenant with a token.
//
// VIGIE_BIN   the built binary, ../../target/debug/vigie unless said
// CHROMIUM    the browser, /usr/bin/chromium unless said

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { gateway, open, PATIENCE_MS, until } from "./support/browser.js";

const TOKEN = "the-town-s-own-token";
const PASSWORD = "tuile brouette 7 nuage";

let served, origin, browser, context, page, complaints;
const vigie = (...args) => served.vigie(...args);

// RFC 6238, with the base-32 secret that the page shows.
function codeOf(secret, seconds) {
  const digits = [...secret.replaceAll(" ", "")].map((c) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(digits.match(/.{8}/g).map((bits) => parseInt(bits, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(seconds / 30)));
  const hash = createHmac("sha1", key).update(counter).digest();
  const at = hash[19] & 15;
  return String((hash.readUInt32BE(at) & 0x7fffffff) % 1e6).padStart(6, "0");
}

before(async () => {
  // Nothing answers on the discard port: the camera is a gap, which is all that this needs.
  served = await gateway({ place: "rtsp://127.0.0.1:9/stream" }, { token: TOKEN });
  origin = served.origin;
  await served.designate();
  browser = await open();
  ({ context, page, complaints } = browser);
});

after(async () => {
  await browser?.close();
  await served?.stop();
});

let recovery;

test("a browser without a session is shown where to sign in", async () => {
  await page.goto(`${origin}/`);
  assert.equal(new URL(page.url()).pathname, "/sign-in");
  await page.locator("#password").waitFor();
});

test("an invited person chooses a password and an authenticator", async () => {
  const invited = (await vigie("people", "invite", "marie")).trim();
  assert.match(invited, /^\/welcome#mairie\/marie\/[0-9a-f]{64}$/);
  await page.goto(`${origin}${invited}`);
  await page.locator("#title", { hasText: "Marie Durand" }).waitFor();
  assert.ok(!page.url().includes("#"), "the invitation stays in no history");
  assert.ok(await page.locator("#qr path").count() === 1);
  const secret = await page.locator("#secret").textContent();
  await page.locator("#password").fill("password1234");
  await page.locator("#again").fill("password1234");
  await page.locator("#code").fill(codeOf(secret, Date.now() / 1000));
  await page.locator("button[type=submit]").click();
  await page.locator("#alert", { hasText: "se devine" }).waitFor();
  await page.locator("#password").fill(PASSWORD);
  await page.locator("#again").fill(PASSWORD);
  await page.locator("#code").fill(codeOf(secret, Date.now() / 1000));
  await page.locator("button[type=submit]").click();
  await page.locator("#recovery li").first().waitFor();
  recovery = await page.locator("#recovery li").allTextContents();
  assert.equal(recovery.length, 10);
});

test("she signs in, sees her name, and signs out", async () => {
  await page.goto(`${origin}/sign-in`);
  assert.equal(await page.locator("#person").inputValue(), "marie");
  await page.locator("#password").fill("something else 1");
  await page.locator("#code").fill(recovery[0]);
  await page.locator("button[type=submit]").click();
  await page.locator("#alert", { hasText: "est faux" }).waitFor();
  await page.locator("#password").fill(PASSWORD);
  await page.locator("#code").fill(recovery[0]);
  await page.locator("button[type=submit]").click();
  await page.locator("#who-name", { hasText: "Marie Durand" }).waitFor();
  await page.locator("#camera-name", { hasText: "place" }).waitFor();
  const [cookie] = await context.cookies(origin);
  assert.deepEqual(
    [cookie.name, cookie.httpOnly, cookie.secure, cookie.sameSite, cookie.path], ["__Host-vigie", true, true, "Strict", "/"],
  );
  assert.equal(await page.evaluate("document.cookie"), "");
  if (process.env.VIGIE_SCREENSHOTS) {
    await page.screenshot({ path: join(process.env.VIGIE_SCREENSHOTS, "signed-in.png"), fullPage: true });
  }
  await page.locator("#sign-out").click();
  await page.waitForURL(`${origin}/sign-in`);
  await page.goto(`${origin}/`);
  assert.equal(new URL(page.url()).pathname, "/sign-in");
});

test("a page of another site gets nothing by her session", async () => {
  await page.locator("#password").fill(PASSWORD);
  await page.locator("#code").fill(recovery[1]);
  await page.locator("button[type=submit]").click();
  await page.locator("#who-name", { hasText: "Marie Durand" }).waitFor();
  const other = await context.newPage();
  // 127.0.0.1 is another site than localhost, and the same gateway.
  await other.goto(origin.replace("localhost", "127.0.0.1") + "/sign-in");
  const outcome = await other.evaluate(async (target) => {
    const asked = await fetch(`${target}/api/cameras/place/reconnect`, { method: "POST", mode: "no-cors", credentials: "include" });
    return asked.type;
  }, origin).catch((error) => String(error));
  assert.ok(!/basic/.test(outcome), outcome);
  const journal = await vigie("journal", "show", "mairie");
  assert.ok(!journal.includes("camera_retried"), journal);
  await other.close();
});

test("the pages of signing in are in French and in English, by the browser's language and by a switch", async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
  try {
    const english = await browser.newPage({ locale: "en-GB" });
    english.setDefaultTimeout(PATIENCE_MS);
    english.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
    await english.goto(`${origin}/sign-in`);
    await english.locator("h2", { hasText: /^Sign in$/ }).waitFor();
    for (const [field, text] of [["tenant", "mairie"], ["person", "marie"], ["password", "x"], ["code", "1"]]) {
      await english.locator(`#${field}`).fill(text);
    }
    await english.locator("button[type=submit]").click();
    await english.locator("#alert", { hasText: "is wrong" }).waitFor();
    await english.locator("#language", { hasText: "Français" }).click();
    await english.locator("h2", { hasText: /^S’identifier$/ }).waitFor();
    assert.equal(await english.locator("html").getAttribute("lang"), "fr");
    // The choice stays, and an invitation survives another.
    await english.goto(origin + (await vigie("people", "invite", "marie")).trim());
    await english.locator("#title", { hasText: "Première identification de Marie Durand" }).waitFor();
    await english.locator("#language", { hasText: "English" }).click();
    await english.locator("#title", { hasText: "First sign-in of Marie Durand" }).waitFor();
    assert.ok(!english.url().includes("#"), "the invitation stays in no history");
    const left = await english.locator("body").innerText();
    for (const french of ["Mot de passe", "Enregistrer", "Ouvrez"]) assert.ok(!left.includes(french), left);
  } finally {
    await browser.close();
  }
});

test("nothing was said to the console", () => assert.deepEqual(complaints, []));
