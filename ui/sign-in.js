// Signing in: a town, a person, a password, a code.

import { say } from "./language.js";

const $ = (id) => document.getElementById(id);
const KEPT = ["tenant", "person"];

const WRONG = {
  "signed-out": say("La collectivité, la personne, le mot de passe ou le code est faux.", "The town, the person, the password or the code is wrong."),
  "too-many": say("Trop d’essais : attendez avant de réessayer.", "Too many tries: wait before you try again."),
  "unavailable": say("La passerelle ne peut identifier personne pour le moment : son journal technique dit pourquoi.", "The gateway can sign nobody in now: its log says why."),
};

// Why a sign-in by an identity provider ended here: the word behind the #.
const ENDED = {
  "provider-unavailable": say("Le fournisseur d’identité ne répond pas : réessayez plus tard.", "The identity provider does not answer: try again later."),
  "provider-refused": say("Le fournisseur d’identité n’a identifié personne.", "The identity provider signed nobody in."),
  "sign-in-over": say("Cette identification a duré trop longtemps, ou a commencé dans un autre navigateur : recommencez.", "This sign-in took too long, or began in another browser: begin again."),
  "too-weak": say("L’identification n’est pas assez forte : choisissez un moyen plus sûr chez le fournisseur d’identité.", "The authentication is not strong enough: choose a safer way at the identity provider."),
  "not-believed": say("La réponse du fournisseur d’identité n’est pas valable : prévenez votre administrateur.", "The answer of the identity provider is not valid: tell your administrator."),
  "not-designated": say("Ce compte n’est celui d’aucune personne désignée ici : adressez-vous à votre administrateur.", "This account is no designated person’s here: ask your administrator."),
  "designation-differs": say("Le fournisseur d’identité annonce un autre rôle ou un autre acte que votre désignation.", "The identity provider states another role or act than your designation."),
  "several-tenants": say("Ce compte vaut pour plusieurs collectivités : indiquez laquelle.", "This account is for several towns: say which one."),
  "too-many": WRONG["too-many"],
  "unavailable": WRONG["unavailable"],
};

function show(text) {
  $("alert").textContent = text;
  $("alert").hidden = false;
  $("alert").focus();
}

async function signIn() {
  const value = (id) => $(id).value.trim();
  const asked = { tenant: value("tenant"), person: value("person"), password: $("password").value, code: value("code") };
  const response = await fetch("api/sign-in", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(asked),
  });
  if (response.ok) {
    KEPT.forEach((id) => localStorage.setItem(id, asked[id]));
    location.replace("./");
    return;
  }
  const problem = await response.json().catch(() => ({}));
  const wait = Number(response.headers.get("Retry-After"));
  const kind = (problem.type ?? "").split(":").pop();
  const text = WRONG[kind] ?? say(`La passerelle a répondu par une erreur (${response.status}).`, `The gateway answered with an error (${response.status}).`);
  show(kind === "too-many" && wait > 0 ? `${text} (${wait} s)` : text);
  // A code is taken once, and a wrong one is no use either.
  $("code").value = "";
}

async function goTo(provider) {
  const tenant = $("tenant").value.trim() || undefined;
  const response = await fetch(`api/sign-in/providers/${provider}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ tenant }),
  });
  if (!response.ok) return show(ENDED[response.status === 429 ? "too-many" : "provider-unavailable"]);
  location.assign((await response.json()).address);
}

async function listProviders() {
  for (const { id, name } of await (await fetch("api/sign-in/providers")).json()) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: say(`Avec ${name}`, `With ${name}`) });
    button.dataset.provider = id;
    button.addEventListener("click", () => {
      button.disabled = true;
      goTo(id).catch(() => show(say("La passerelle ne répond pas.", "The gateway does not answer."))).finally(() => { button.disabled = false; });
    });
    $("providers").append(button, " ");
    $("providers").hidden = false;
  }
}

if (ENDED[location.hash.slice(1)]) show(ENDED[location.hash.slice(1)]);
history.replaceState(null, "", location.pathname);
listProviders().catch(() => {});
KEPT.forEach((id) => { $(id).value = localStorage.getItem(id) ?? ""; });
($("tenant").value && $("person").value ? $("password") : $("tenant")).focus();
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  signIn().catch(() => show(say("La passerelle ne répond pas.", "The gateway does not answer."))).finally(() => { button.disabled = false; });
});
