// An invitation: the person chooses a password, sets up an authenticator, and gets recovery codes.

import { say } from "./language.js";

const $ = (id) => document.getElementById(id);
const [tenant, person, invitation] = location.hash.slice(1).split("/");
// It is a secret: it stays neither in the address bar nor in the history.
history.replaceState(null, "", location.pathname);

function show(text) {
  $("alert").textContent = text;
  $("alert").hidden = !text;
}

async function ask(method, more) {
  const response = await fetch("api/enrolment", {
    method,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ tenant, person, invitation, ...more }),
  });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const kind = (answer.type ?? "").split(":").pop();
  const texts = {
    "not-found": say("Cette invitation a servi, est périmée ou n’existe pas : demandez-en une autre.", "This invitation was used, is over or does not exist: ask for another."),
    "too-many": say("Trop d’essais : attendez avant de réessayer.", "Too many tries: wait before you try again."),
  };
  const refused = (answer.detail ?? "").startsWith("the code")
    ? say("Le code est faux : vérifiez que l’appareil qui le montre est à l’heure.", "The code is wrong: check that the clock of the device that shows it is right.")
    : say("Ce mot de passe se devine, ou n’a pas la bonne longueur : prenez plusieurs mots sans rapport entre eux.", "This password can be guessed, or has not the right length: take several words that have nothing to do with one another.");
  throw new Error(texts[kind] ?? (response.status === 400 ? refused : say(`La passerelle a répondu par une erreur (${response.status}).`, `The gateway answered with an error (${response.status}).`)));
}

async function begin() {
  if (!invitation) throw new Error(say("Ce lien n’est pas complet : demandez une autre invitation.", "This link is not complete: ask for another invitation."));
  const shown = await ask("POST");
  $("title").textContent = say(`Première identification de ${shown.name}`, `First sign-in of ${shown.name}`);
  $("secret").textContent = shown.secret.match(/.{1,4}/g).join(" ");
  $("chars").textContent = shown.password_chars_min;
  const svg = $("qr");
  svg.setAttribute("viewBox", `0 0 ${shown.qr_size} ${shown.qr_size}`);
  const make = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    svg.append(element);
  };
  make("rect", { width: shown.qr_size, height: shown.qr_size, fill: "white" });
  make("path", { d: shown.qr, fill: "black" });
  $("form").hidden = false;
}

async function enrol() {
  if ($("password").value !== $("again").value) throw new Error(say("Les deux mots de passe diffèrent.", "The two passwords differ."));
  const { recovery_codes } = await ask("PUT", { password: $("password").value, code: $("code").value.trim() });
  localStorage.setItem("tenant", tenant);
  localStorage.setItem("person", person);
  for (const code of recovery_codes) {
    const item = document.createElement("li");
    item.append(Object.assign(document.createElement("code"), { textContent: code }));
    $("recovery").append(item);
  }
  show("");
  $("form").hidden = true;
  $("done").hidden = false;
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  enrol().catch((error) => show(error.message)).finally(() => { button.disabled = false; });
});
begin().catch((error) => show(error.message));
