// Where the timeline is labelled: round times of the zone's clock, from years to fractions of a second.

import { clockTime, DAY_MS, dayMonth, fraction, fromWallClock, hourMinute, monthYear, wallClock } from "./zone";

export interface Tick { at: number; label: string }

const SECOND = 1000, MINUTE = 60_000, HOUR = 3_600_000;
const STEPS = [
  100, 200, 500, SECOND, 2 * SECOND, 5 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE,
  HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY_MS, 2 * DAY_MS, 7 * DAY_MS, 14 * DAY_MS,
];
const MONTHS = [1, 2, 3, 6, 12];
const MONTH_MS = 30.4 * DAY_MS;

function label(at: number, step: number): string {
  if (step < SECOND) return fraction(at);
  if (step < MINUTE) return clockTime(at);
  if (step < DAY_MS) return wallClock(at) % DAY_MS === 0 ? dayMonth(at) : hourMinute(at);
  return dayMonth(at);
}

/** Labels between two instants, at most `count` of them. */
export function ticks(start: number, end: number, count: number): Tick[] {
  const wanted = (end - start) / Math.max(count, 1);
  const step = STEPS.find((s) => s >= wanted);
  if (step === undefined) return monthTicks(start, end, wanted);
  const found: Tick[] = [];
  if (step <= HOUR) {
    // Instants, so that the hour that autumn repeats is labelled twice. Zones differ from UTC by whole quarters of an hour.
    const first = start + ((step - (wallClock(start) % step)) % step);
    for (let at = first; at <= end; at += step) found.push({ at, label: label(at, step) });
    return found;
  }
  for (let wall = Math.ceil(wallClock(start) / step) * step; found.length <= count + 2; wall += step) {
    const at = fromWallClock(wall);
    if (at > end) break;
    if (at >= start) found.push({ at, label: label(at, step) });
  }
  return found;
}

function monthTicks(start: number, end: number, wanted: number): Tick[] {
  const months = MONTHS.find((n) => n * MONTH_MS >= wanted) ?? 12;
  const wall = new Date(wallClock(start));
  const found: Tick[] = [];
  for (let month = wall.getUTCFullYear() * 12 + wall.getUTCMonth() + 1; ; month++) {
    const at = fromWallClock(Date.UTC(Math.floor(month / 12), month % 12, 1));
    if (at > end) return found;
    if (month % months === 0) found.push({ at, label: monthYear(at) });
  }
}
