// Signing in: a town, a person, a password, a code.

import "./style.css";
import { signal } from "@preact/signals";
import { render } from "preact";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { LanguageButton } from "./LanguageButton";
import { language, t } from "./language";

const KEPT = ["tenant", "person"] as const;
const wrong = signal("");
const busy = signal(false);

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
  wrong.value = wordsOf(response.status, problem.type?.split(":").pop() ?? "", Number(response.headers.get("Retry-After")));
  // A code is taken once, and a wrong one is no use either.
  field("code").value = "";
}

function SignIn(): JSX.Element {
  const words = t().signIn;
  useEffect(() => {
    KEPT.forEach((id) => { field(id).value = localStorage.getItem(id) ?? ""; });
    field(field("tenant").value && field("person").value ? "password" : "tenant").focus();
  }, []);
  useEffect(() => { document.title = `Vigie — ${words.title}`; }, [words]);
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    busy.value = true;
    signIn().catch(() => { wrong.value = t().noAnswer; }).finally(() => { busy.value = false; });
  };
  return (
    <>
      <header><h1>Vigie</h1><LanguageButton /></header>
      <main class="sheet">
        <h2>{words.title}</h2>
        {wrong.value && <p id="alert" class="alert" role="alert">{wrong}</p>}
        <form id="form" onSubmit={submit}>
          <label>{words.tenant} <input id="tenant" autocomplete="organization" autocapitalize="none" required /></label>
          <label>{words.person} <input id="person" autocomplete="username" autocapitalize="none" required /></label>
          <label>{words.password} <input id="password" type="password" autocomplete="current-password" required /></label>
          <label>{words.code} <input id="code" inputMode="numeric" autocomplete="one-time-code" required /></label>
          <button type="submit" disabled={busy}>{words.title}</button>
        </form>
        <p><a href="with-token">{words.withToken}</a></p>
      </main>
    </>
  );
}

document.documentElement.lang = language.value;
render(<SignIn />, document.body);
