// An invitation: the person chooses a password, sets up an authenticator, and gets recovery codes.

import "./style.css";
import { signal } from "@preact/signals";
import { render } from "preact";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { components } from "./gateway";
import { LanguageButton } from "./LanguageButton";
import { language, t } from "./language";

type Enrolment = components["schemas"]["AuthenticatorView"];
type Wrong = "incomplete" | "used" | "wrongCode" | "weak" | "differ" | "tooMany" | "noAnswer" | { status: number };

const [tenant = "", person = "", invitation = ""] = location.hash.slice(1).split("/");
// It is a secret: it stays neither in the address bar nor in the history.
history.replaceState(null, "", location.pathname);

const shown = signal<Enrolment | null>(null);
const recovery = signal<string[] | null>(null);
const wrong = signal<Wrong | null>(null);
const busy = signal(false);

function wordsOf(what: Wrong): string {
  if (typeof what === "object") return t().refused(what.status);
  if (what === "tooMany") return t().signIn.tooMany;
  return what === "noAnswer" ? t().noAnswer : t().welcome[what];
}

class Stopped extends Error {
  constructor(readonly what: Wrong) {
    super();
  }
}

async function ask<T>(method: string, more: object = {}): Promise<T> {
  const headers = { "Content-Type": "application/json" };
  const response = await fetch("api/enrolment", { method, headers, body: JSON.stringify({ tenant, person, invitation, ...more }) });
  const answer = (await response.json().catch(() => ({}))) as { type?: string; detail?: string };
  if (response.ok) return answer as T;
  const kind = answer.type?.split(":").pop();
  if (kind === "not-found") throw new Stopped("used");
  if (kind === "too-many") throw new Stopped("tooMany");
  if (response.status !== 400) throw new Stopped({ status: response.status });
  throw new Stopped(answer.detail?.startsWith("the code") ? "wrongCode" : "weak");
}

async function begin(): Promise<void> {
  if (!invitation) throw new Stopped("incomplete");
  shown.value = await ask<Enrolment>("POST");
}

async function enrol(): Promise<void> {
  const value = (id: string): string => (document.getElementById(id) as HTMLInputElement).value;
  if (value("password") !== value("again")) throw new Stopped("differ");
  const { recovery_codes } = await ask<{ recovery_codes: string[] }>("PUT", { password: value("password"), code: value("code").trim() });
  localStorage.setItem("tenant", tenant);
  localStorage.setItem("person", person);
  wrong.value = null;
  recovery.value = recovery_codes;
}

const attempt = (what: () => Promise<void>): Promise<void> =>
  what().catch((error: unknown) => { wrong.value = error instanceof Stopped ? error.what : "noAnswer"; });

function Form({ enrolment }: { enrolment: Enrolment }): JSX.Element {
  const words = t().welcome, size = enrolment.qr_size;
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    busy.value = true;
    void attempt(enrol).finally(() => { busy.value = false; });
  };
  return (
    <form id="form" onSubmit={submit}>
      <p>{words.scan}</p>
      <svg id="qr" role="img" aria-label={words.qr} width="240" height="240" viewBox={`0 0 ${size} ${size}`}>
        <rect width={size} height={size} fill="white" />
        <path d={enrolment.qr} fill="black" />
      </svg>
      <p><code id="secret">{enrolment.secret.match(/.{1,4}/g)?.join(" ")}</code></p>
      <label>{words.password(enrolment.password_chars_min)} <input id="password" type="password" autocomplete="new-password" required /></label>
      <label>{words.again} <input id="again" type="password" autocomplete="new-password" required /></label>
      <label>{words.code} <input id="code" inputMode="numeric" autocomplete="one-time-code" required /></label>
      <button type="submit" disabled={busy}>{words.save}</button>
    </form>
  );
}

function Welcome(): JSX.Element {
  const words = t().welcome, enrolment = shown.value;
  useEffect(() => { document.title = `Vigie — ${words.title}`; }, [words]);
  return (
    <>
      <header><h1>Vigie</h1><LanguageButton /></header>
      <main class="sheet">
        <h2 id="title">{enrolment ? words.titleOf(enrolment.name) : words.title}</h2>
        {wrong.value && <p id="alert" class="alert" role="alert">{wordsOf(wrong.value)}</p>}
        {enrolment && !recovery.value && <Form enrolment={enrolment} />}
        {recovery.value && (
          <section id="done">
            <p>{words.done}</p>
            <ul id="recovery">{recovery.value.map((code) => <li key={code}><code>{code}</code></li>)}</ul>
            <p><a class="button" href="sign-in">{t().signIn.title}</a></p>
          </section>
        )}
      </main>
    </>
  );
}

document.documentElement.lang = language.value;
render(<Welcome />, document.body);
void attempt(begin);
