// Signing in: a town, a person, a password, a code.

import "./style.css";
import { signal } from "@preact/signals";
import { render } from "preact";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { LanguageButton } from "./LanguageButton";
import { language, t } from "./language";

const KEPT = ["tenant", "person"] as const;
type Ended = keyof ReturnType<typeof t>["signIn"]["ended"];
type Provider = { id: string; name: string };

const busy = signal(false);
const providers = signal<Provider[]>([]);
// A sign-in by a provider that ended led here, with the reason behind the #.
const ended = location.hash.slice(1);
// In words, in the language of the moment.
const wrong = signal<() => string>(() => (ended in t().signIn.ended ? t().signIn.ended[ended as Ended] : ""));
history.replaceState(null, "", location.pathname);

const field = (id: string): HTMLInputElement => document.getElementById(id) as HTMLInputElement;

function wordsOf(status: number, kind: string, wait: number): string {
  const words = t().signIn;
  if (kind === "signed-out") return words.wrong;
  if (kind === "too-many") return wait > 0 ? `${words.tooMany} (${wait} s)` : words.tooMany;
  return kind === "unavailable" ? words.unavailable : t().refused(status);
}

async function signIn(): Promise<void> {
  const value = (id: string): string => field(id).value.trim();
  const asked = { tenant: value("tenant"), person: value("person"), password: field("password").value, code: value("code") };
  const response = await fetch("api/sign-in", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked) });
  if (response.ok) {
    KEPT.forEach((id) => localStorage.setItem(id, asked[id]));
    location.replace("./");
    return;
  }
  const problem = (await response.json().catch(() => ({}))) as { type?: string };
  const [status, kind, wait] = [response.status, problem.type?.split(":").pop() ?? "", Number(response.headers.get("Retry-After"))];
  wrong.value = () => wordsOf(status, kind, wait);
  // A code is taken once, and a wrong one is no use either.
  field("code").value = "";
}

/** On to an identity provider, for the town that is written, if one is. */
async function goTo(provider: string): Promise<void> {
  const tenant = field("tenant").value.trim() || undefined;
  const response = await fetch(`api/sign-in/providers/${encodeURIComponent(provider)}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ tenant }),
  });
  if (response.ok) return location.assign(((await response.json()) as { address: string }).address);
  wrong.value = () => t().signIn.ended[response.status === 429 ? "too-many" : "provider-unavailable"];
}

/** Does what a press of a button asks for, one at a time. */
function press(act: () => Promise<void>): void {
  busy.value = true;
  act().catch(() => { wrong.value = () => t().noAnswer; }).finally(() => { busy.value = false; });
}

function SignIn(): JSX.Element {
  const words = t().signIn;
  const why = wrong.value();
  useEffect(() => {
    fetch("api/sign-in/providers").then(async (answer) => { if (answer.ok) providers.value = (await answer.json()) as Provider[]; }).catch(() => {});
  }, []);
  useEffect(() => {
    KEPT.forEach((id) => { field(id).value = localStorage.getItem(id) ?? ""; });
    field(field("tenant").value && field("person").value ? "password" : "tenant").focus();
  }, []);
  useEffect(() => { document.title = `Vigie — ${words.title}`; }, [words]);
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    press(signIn);
  };
  return (
    <>
      <header><h1>Vigie</h1><LanguageButton /></header>
      <main class="sheet">
        <h2>{words.title}</h2>
        {why && <p id="alert" class="alert" role="alert">{why}</p>}
        <form id="form" onSubmit={submit}>
          <label>{words.tenant} <input id="tenant" autocomplete="organization" autocapitalize="none" required /></label>
          <label>{words.person} <input id="person" autocomplete="username" autocapitalize="none" required /></label>
          <label>{words.password} <input id="password" type="password" autocomplete="current-password" required /></label>
          <label>{words.code} <input id="code" inputMode="numeric" autocomplete="one-time-code" required /></label>
          <button type="submit" disabled={busy}>{words.title}</button>
        </form>
        {providers.value.length > 0 && (
          <p id="providers">
            {providers.value.map(({ id, name }) => (
              <button key={id} type="button" data-provider={id} disabled={busy} onClick={() => press(() => goTo(id))}>{words.by(name)}</button>
            ))}
          </p>
        )}
        <p><a href="with-token">{words.withToken}</a></p>
      </main>
    </>
  );
}

document.documentElement.lang = language.value;
render(<SignIn />, document.body);
