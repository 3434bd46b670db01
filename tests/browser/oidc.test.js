// Signing in by identity providers, in a real browser, on a gateway of its own and certified providers (oidc-provider) that this
// starts: a town's directory, and one that is like ProConnect (levels of authentication, signed user info).
//
// VIGIE_BIN   the built binary, ../../target/debug/vigie unless said
// CHROMIUM    the browser, /usr/bin/chromium unless said

import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import Provider from "oidc-provider";
import { gateway, open, until } from "./support/browser.js";

const SECRET = randomBytes(24).toString("hex");
// What is sent to a provider is in none of the gateway's lines.
let said = "";
const codes = [];
let served, origin, browser, context, page, directory, state;

const vigie = (...args) => served.vigie(...args);

async function listening() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

const key = (type, options) => generateKeyPairSync(type, options).privateKey.export({ format: "jwk" });

// A provider at 127.0.0.1, which is another site than localhost, where the gateway is.
async function provider(id, client) {
  const server = await listening();
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const cookie = (name) => `${id}_${name}`;
  const op = new Provider(issuer, {
    clients: [{
      client_id: "vigie", client_secret: SECRET, grant_types: ["authorization_code"], response_types: ["code"],
      redirect_uris: [`${origin}/sign-in/${id}/callback`], post_logout_redirect_uris: [`${origin}/sign-in`],
      backchannel_logout_uri: `${origin}/sign-in/${id}/back-channel`, backchannel_logout_session_required: true, ...client,
    }],
    jwks: { keys: [{ ...key("ec", { namedCurve: "P-256" }), alg: "ES256" }, { ...key("rsa", { modulusLength: 2048 }), alg: "RS256" }] },
    features: { devInteractions: { enabled: false }, backchannelLogout: { enabled: true }, jwtUserinfo: { enabled: true } },
    scopes: ["openid", "email", "siret"],
    claims: { openid: ["sub"], email: ["email", "email_verified"], siret: ["siret"], acr: null },
    acrValues: ["eidas1", "eidas2", "eidas3"],
    pkce: { required: () => true },
    cookies: {
      keys: [randomBytes(16).toString("hex")],
      names: { interaction: cookie("interaction"), resume: cookie("resume"), session: cookie("session") },
    },
    findAccount: (_, sub) => ({
      accountId: sub,
      // "other" is given the address that was marie's.
      claims: () => ({ sub, email: `${sub === "other" ? "marie" : sub}@mairie.example`, email_verified: true, siret: "21590350100017" }),
    }),
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({ clientId: "vigie", accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope("openid email siret");
      await grant.save();
      return grant;
    },
    // By itself it calls no address of this machine, where the gateway is.
    fetch: (url, { dispatcher: _, ...options }) => fetch(url, options),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  });
  const answer = op.callback();
  server.on("request", (request, response) => {
    if (!request.url.startsWith("/interaction/")) return answer(request, response);
    if (request.method === "GET") {
      response.setHeader("content-type", "text/html");
      return response.end('<form method="post"><input name="login"><input name="acr" value="eidas2"><button>ok</button></form>');
    }
    let body = "";
    request.on("data", (chunk) => { body += chunk; }).on("end", () => {
      const form = new URLSearchParams(body);
      const login = { accountId: form.get("login"), acr: form.get("acr") };
      op.interactionFinished(request, response, { login }).catch((error) => response.end(String(error)));
    });
  });
  return { issuer, op, server };
}

async function providers(of) {
  origin = of;
  directory = await provider("directory", { id_token_signed_response_alg: "ES256" });
  state = await provider("state", { id_token_signed_response_alg: "RS256", userinfo_signed_response_alg: "RS256" });
  return `
[[oidc]]
id = "directory"
name = "l’annuaire"
issuer = "${directory.issuer}"
client_id = "vigie"
client_secret = "${SECRET}"
scopes = ["email"]
userinfo = "plain"
[[oidc.tenant]]
id = "mairie"
[[oidc]]
id = "state"
name = "ProConnect"
issuer = "${state.issuer}"
client_id = "vigie"
client_secret = "${SECRET}"
scopes = ["email", "siret"]
acr_values = ["eidas2", "eidas3"]
algorithms = ["RS256"]
userinfo = "signed"
[[oidc.tenant]]
id = "mairie"
claim = "siret"
value = "21590350100017"
`;
}

before(async () => {
  served = await gateway({ place: "rtsp://127.0.0.1:9/stream" }, {
    token: "the-town-s-own-token",
    http: (origin) => `public_url = "${origin}"`,
    more: providers,
    output: (chunk) => { said += chunk; },
  });
  await served.designate();
  browser = await open();
  ({ context, page } = browser);
  page.on("request", (request) => {
    const code = new URL(request.url()).searchParams.get("code");
    if (code) codes.push(code);
  });
});

after(async () => {
  await browser?.close();
  for (const { server } of [directory, state]) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  await served?.stop();
});

// From the page of signing in to the provider's, and there as this account.
async function signIn(id, login, acr) {
  await page.goto(`${origin}/sign-in`);
  await page.locator(`[data-provider=${id}]`).click();
  await page.locator("[name=login]").fill(login);
  if (acr) await page.locator("[name=acr]").fill(acr);
  await page.locator("button").click();
}

const shownWho = () => page.locator("#who-name", { hasText: "Marie Durand" }).waitFor();
const shownWhy = (text) => page.locator("#alert", { hasText: text }).waitFor();
// Ends the provider's own session, of which the next sign-in would be.
const forgetProvider = async () => { await context.clearCookies({ domain: "127.0.0.1" }); };

test("an account that is no designated person's opens nothing", async () => {
  await signIn("directory", "marie");
  await shownWhy("désignée");
  assert.equal(page.url(), `${origin}/sign-in`, "why stays in no address");
  await page.goto(`${origin}/`);
  assert.equal(new URL(page.url()).pathname, "/sign-in");
  await forgetProvider();
});

test("a designated person signs in by the town's directory, and out at both", async () => {
  await vigie("people", "account", "marie", "--provider", "directory", "--email", "marie@mairie.example");
  await signIn("directory", "marie");
  await shownWho();
  assert.equal(page.url(), `${origin}/`);
  const cookies = (await context.cookies(origin)).filter((cookie) => cookie.name.startsWith("__Host-"));
  assert.deepEqual(cookies.map(({ name, httpOnly, secure, sameSite }) => ({ name, httpOnly, secure, sameSite })),
    [{ name: "__Host-vigie", httpOnly: true, secure: true, sameSite: "Strict" }]);
  await page.locator("#sign-out").click();
  await page.waitForURL(`${directory.issuer}/session/end**`);
  await page.locator("button[name=logout]").click();
  await page.waitForURL(`${origin}/sign-in**`);
  await page.goto(`${origin}/`);
  assert.equal(new URL(page.url()).pathname, "/sign-in");
  // The provider has forgotten her too: it asks who she is.
  await page.locator("[data-provider=directory]").click();
  await page.locator("[name=login]").waitFor();
});

test("who signs out at the provider is signed out here", async () => {
  await signIn("directory", "marie");
  await shownWho();
  const other = await context.newPage();
  await other.goto(`${directory.issuer}/session/end`);
  await other.locator("button[name=logout]").click();
  await until("the end of her session", () => page.evaluate(async () => (await fetch("/api/me")).status === 401).catch(() => false));
  await other.close();
  const journal = await vigie("journal", "show", "mairie");
  assert.match(journal, /"action":"signed_out","provider":"directory"/);
  await forgetProvider();
});

test("another account with her address opens nothing once hers is bound", async () => {
  const list = JSON.parse(await vigie("people", "list", "--json"));
  assert.equal(list[0].accounts[0].subject, "marie");
  await signIn("directory", "other");
  await shownWhy("désignée");
  await forgetProvider();
});

test("a provider like ProConnect has to authenticate by a level that is enough", async () => {
  await vigie("people", "account", "marie", "--provider", "state", "--email", "marie@mairie.example");
  await signIn("state", "marie", "eidas1");
  await shownWhy("assez forte");
  await forgetProvider();
  await signIn("state", "marie", "eidas2");
  await shownWho();
  const journal = await vigie("journal", "show", "mairie");
  assert.match(journal, /"action":"signed_in","provider":"state"/);
  await forgetProvider();
});

test("a page of another site cannot begin or end a sign-in", async () => {
  await context.clearCookies();
  const other = await context.newPage();
  await other.goto(`${directory.issuer}/.well-known/openid-configuration`);
  const began = await other.evaluate((target) => fetch(`${target}/api/sign-in/providers/directory`, {
    method: "POST", mode: "no-cors", credentials: "include", body: "{}",
  }).then(({ type }) => type, String), origin);
  assert.ok(!(await context.cookies(origin)).some(({ name }) => name.startsWith("__Host-")), began);
  // A code of somebody else's sign-in, which this browser did not begin.
  await other.goto(`${origin}/sign-in/directory/callback?code=x&state=y&iss=${encodeURIComponent(directory.issuer)}`);
  await other.locator("#alert", { hasText: "autre navigateur" }).waitFor();
  await other.close();
});

test("a provider that is away is said to be", async () => {
  directory.server.closeAllConnections();
  await new Promise((resolve) => directory.server.close(resolve));
  // A page that asks meanwhile leads to another.
  await page.goto("about:blank");
  // What is known of it lasts an hour: only a start finds out before a person is there.
  await served.halt();
  await served.start();
  await page.goto(`${origin}/sign-in`);
  await page.locator("[data-provider=directory]").click();
  await shownWhy("ne répond pas");
});

test("no token, code or secret is in what the gateway wrote, to its log or to its files", async () => {
  assert.match(said, /identity provider failed/);
  assert.match(said, /DEBUG/);
  assert.ok(codes.length >= 5);
  for (const secret of [SECRET, "eyJ", "code_verifier", "id_token_hint", ...codes]) assert.ok(!said.includes(secret), secret);
  const files = readdirSync(join(served.folder, "data"), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  assert.ok(files.some(({ name }) => name === "catalogue.sqlite"));
  for (const { parentPath, name } of files) {
    const bytes = readFileSync(join(parentPath, name));
    for (const secret of [SECRET, "eyJhbGci", ...codes]) assert.ok(!bytes.includes(secret), `${secret} in ${name}`);
  }
});
