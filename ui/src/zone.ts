// Times as a clock in the gateway's zone shows them. Instants are milliseconds since 1970 (UTC).
//
// Invariant: the hour that autumn repeats is two different texts, and the hour that spring leaves out is none.

import { signal } from "@preact/signals";
import { language, t } from "./language";

export const zone = signal("Europe/Paris");

/** The gateway's clock minus this browser's, in milliseconds. */
export const clockSkewMs = signal(0);
export const now = (): number => Date.now() + clockSkewMs.value;

export const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(locale: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${locale} ${zone.value} ${JSON.stringify(options)}`;
  let format = formats.get(key);
  if (!format) {
    format = new Intl.DateTimeFormat(locale, { timeZone: zone.value, ...options });
    formats.set(key, format);
  }
  return format;
}

/** Year to second of an instant, as read on a clock in the zone, packed as if it were UTC. */
export function wallClock(at: number): number {
  const parts = formatOf("en-GB", {
    hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric",
  }).formatToParts(at);
  const part = (type: string): number => Number(parts.find((p) => p.type === type)?.value ?? 0);
  const whole = Date.UTC(part("year"), part("month") - 1, part("day"), part("hour"), part("minute"), part("second"));
  return whole + (((at % 1000) + 1000) % 1000);
}

/** The instants at which a clock in the zone shows this: one, two in the hour that autumn repeats, none in the one that spring leaves out. */
export function instantsOf(wall: number): number[] {
  const offset = (at: number): number => wallClock(at) - at;
  const candidates = new Set([wall - offset(wall - DAY_MS), wall - offset(wall + DAY_MS)]);
  return [...candidates].filter((at) => wallClock(at) === wall).sort((a, b) => a - b);
}

/** One instant for each text: the first passage, or what follows the missing hour. */
export function fromWallClock(wall: number): number {
  return instantsOf(wall)[0] ?? wall - (wallClock(wall - DAY_MS) - (wall - DAY_MS));
}

/** Whether a clock in the zone shows the same an hour before. */
export const isSecondPassage = (at: number): boolean => (instantsOf(wallClock(at)).indexOf(at) === 1);

const locale = (): string => (language.value === "fr" ? "fr-FR" : "en-GB");
const format = (at: number, options: Intl.DateTimeFormatOptions): string => formatOf(locale(), options).format(at);
const passage = (at: number): string => (isSecondPassage(at) ? ` ${t().secondPassage}` : "");

export const clockTime = (at: number): string =>
  format(at, { hour: "2-digit", minute: "2-digit", second: "2-digit" }) + passage(at);
export const hourMinute = (at: number): string => format(at, { hour: "2-digit", minute: "2-digit" }) + passage(at);
export const dayMonth = (at: number): string => format(at, { day: "numeric", month: "short" });
export const monthYear = (at: number): string => format(at, { month: "short", year: "numeric" });
export const fullTime = (at: number): string => format(at, { dateStyle: "full", timeStyle: "medium" }) + passage(at);
export const fraction = (at: number): string => `${clockTime(at)}${language.value === "fr" ? "," : "."}${String(Math.floor(at % 1000)).padStart(3, "0")}`;

/** As people type it, and as `parseWhen` reads it again: 25/10/2026 02:30:00 (2e). */
export function typed(at: number): string {
  const two = (n: number): string => String(n).padStart(2, "0");
  const wall = new Date(wallClock(at));
  const date = `${two(wall.getUTCDate())}/${two(wall.getUTCMonth() + 1)}/${wall.getUTCFullYear()}`;
  return `${date} ${two(wall.getUTCHours())}:${two(wall.getUTCMinutes())}:${two(wall.getUTCSeconds())}${passage(at)}`;
}

export const iso = (at: number): string => new Date(at).toISOString();

export const dayStart = (at: number): number => fromWallClock(Math.floor(wallClock(at) / DAY_MS) * DAY_MS);

export function length(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} ${t().days}`;
}

/** What was typed: an instant, or why it is none. */
export type When = { at: number } | { wrong: "unreadable" | "missing-hour" | "no-second-passage" };

const DAYS_BACK: Record<string, number> = {
  "aujourd'hui": 0, today: 0, hier: 1, yesterday: 1, "avant-hier": 2,
};
const UNIT_MS: Record<string, number> = { s: 1000, sec: 1000, min: 60_000, h: HOUR_MS, j: DAY_MS, d: DAY_MS, day: DAY_MS, days: DAY_MS, jour: DAY_MS, jours: DAY_MS, hour: HOUR_MS, hours: HOUR_MS };

/** Reads a date and a time as an operator types them, French or English; days come before months. */
export function parseWhen(text: string, reference = now()): When {
  const clean = text.trim().toLowerCase().replace(/[’‘]/g, "'").replace(/\s+/g, " ").slice(0, 80);
  if (["maintenant", "now"].includes(clean)) return { at: reference };
  const ago = /^(?:il y a )?(\d{1,5}) ?([a-z]+)(?: ago)?$/.exec(clean);
  if (ago && (clean.startsWith("il y a") || clean.endsWith(" ago"))) {
    const unit = UNIT_MS[ago[2] ?? ""];
    return unit ? { at: reference - Number(ago[1]) * unit } : { wrong: "unreadable" };
  }
  const second = /\s?\(?(?:2e|2nd|2)\)?$/.exec(clean.replace(/^.*\d[:h]\d\d?(?::\d\d)?/, "")) !== null;
  const body = clean.replace(/(\d[:h]\d\d(?::\d\d)?(?:[.,]\d{1,3})?) ?\(?(?:1er|1re|1e|1st|2e|2nd|1|2)\)?$/, "$1");
  return onClock(body, second, reference);
}

function onClock(body: string, second: boolean, reference: number): When {
  const found = /^(?:([a-z'-]+)|(\d{1,2})[/.](\d{1,2})(?:[/.](\d{4}))?|(\d{4})-(\d{1,2})-(\d{1,2}))?(?:(?: à | at |[ t,]|, )?(\d{1,2})(?:[:h](\d{2})?(?::(\d{2})(?:[.,](\d{1,3}))?)?))?$/.exec(body);
  if (!found || body === "") return { wrong: "unreadable" };
  const [, word, day, month, year, isoYear, isoMonth, isoDay, hour = "0", minute = "0", secs = "0", millis = "0"] = found;
  const today = Math.floor(wallClock(reference) / DAY_MS) * DAY_MS;
  let date = today;
  if (word !== undefined) {
    const back = DAYS_BACK[word];
    if (back === undefined) return { wrong: "unreadable" };
    date = today - back * DAY_MS;
  } else if (day !== undefined || isoDay !== undefined) {
    const d = Number(day ?? isoDay), m = Number(month ?? isoMonth);
    const y = Number(year ?? isoYear ?? new Date(today).getUTCFullYear());
    date = Date.UTC(y, m - 1, d);
    if (new Date(date).getUTCDate() !== d || new Date(date).getUTCMonth() !== m - 1) return { wrong: "unreadable" };
    // Without a year, the last such day: footage is of the past.
    if (year === undefined && isoYear === undefined && date > today) date = Date.UTC(y - 1, m - 1, d);
  }
  if (Number(hour) > 23 || Number(minute) > 59 || Number(secs) > 59) return { wrong: "unreadable" };
  const wall = date + Number(hour) * HOUR_MS + Number(minute) * 60_000 + Number(secs) * 1000 + Number(millis.padEnd(3, "0"));
  const instants = instantsOf(wall);
  const at = instants[second ? 1 : 0];
  if (at !== undefined) return { at };
  return { wrong: instants.length ? "no-second-passage" : "missing-hour" };
}
