// Signing in: a town, a person, a password, a code.

const $ = (id) => document.getElementById(id);
const KEPT = ["tenant", "person"];

const WRONG = {
  "signed-out": "La collectivité, la personne, le mot de passe ou le code est faux.",
  "too-many": "Trop d’essais : attendez avant de réessayer.",
  "unavailable": "La passerelle ne peut identifier personne pour le moment : son journal technique dit pourquoi.",
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
  const text = WRONG[kind] ?? `La passerelle a répondu par une erreur (${response.status}).`;
  show(kind === "too-many" && wait > 0 ? `${text} (${wait} s)` : text);
  // A code is taken once, and a wrong one is no use either.
  $("code").value = "";
}

KEPT.forEach((id) => { $(id).value = localStorage.getItem(id) ?? ""; });
($("tenant").value && $("person").value ? $("password") : $("tenant")).focus();
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  signIn().catch(() => show("La passerelle ne répond pas.")).finally(() => { button.disabled = false; });
});
