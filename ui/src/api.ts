// The gateway's API: requests, and what it answers, in types that follow from its own description (gateway.d.ts).

import type { components } from "./gateway";
import { language, t } from "./language";

type Schemas = components["schemas"];
export type Camera = Schemas["Camera"];
export type Status = Schemas["Status"];
export type StatusLine = Schemas["StatusLine"];
export type GapCause = Schemas["GapCause"];
export type Timeline = Schemas["Timeline"];
export type Hold = Schemas["Hold"];
export type Me = Schemas["Me"];
export type Alarm = Schemas["Alarm"];
export type Event = Schemas["Event"];

/** The gateway answered, and would not; `kind` is the last word of the problem's type (RFC 9457). */
export class Refused extends Error {
  constructor(readonly status: number, readonly kind: string) {
    super(`${status} ${kind}`);
  }
}

let leaving = false;

/** Ends the session: what is asked meanwhile, and refused, leads nowhere else. Who came by an identity provider leaves there too. */
export async function signOut(): Promise<void> {
  leaving = true;
  const left = await send("POST", "api/sign-out").catch((error: unknown) => {
    leaving = false;
    throw error;
  });
  location.replace(left.status === 200 ? ((await left.json()) as { address: string }).address : "sign-in");
}

/** An answer of the gateway; throws [`Refused`], or what `fetch` throws where it does not answer. */
export async function ask(path: string | URL, options: RequestInit = {}): Promise<Response> {
  const headers = new Headers(options.headers);
  headers.set("Accept-Language", language.value);
  const response = await fetch(path, { cache: "no-store", ...options, headers });
  if (response.ok) return response;
  const problem = (await response.json().catch(() => ({}))) as { type?: string };
  const kind = problem.type?.split(":").pop() ?? (response.status === 404 ? "no-footage" : "");
  if (kind === "signed-out" && !leaving) location.replace("sign-in");
  throw new Refused(response.status, kind);
}

export async function read<T>(path: string | URL, options?: RequestInit): Promise<T> {
  return (await (await ask(path, options)).json()) as T;
}

export const send = (method: "POST" | "PUT" | "DELETE", path: string, body?: unknown): Promise<Response> =>
  ask(path, body === undefined ? { method } : { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const cameraPath = (camera: string, rest = ""): string => `api/cameras/${encodeURIComponent(camera)}${rest && `/${rest}`}`;

/** What went wrong, in words. */
export function wordsOf(error: unknown): string {
  if (!(error instanceof Refused)) return t().noAnswer;
  const known = t().problems as Record<string, string>;
  return known[error.kind] ?? t().refused(error.status);
}
