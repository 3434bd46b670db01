// What the page knows: who is signed in, the cameras and what they do, and what is looked at.

import { computed, effect, signal } from "@preact/signals";
import { cameraPath, read, type Camera, type Hold, type Me, type Status, type StatusLine } from "./api";
import { Player } from "./player";
import { clockSkewMs, now, typed, zone } from "./zone";

export const me = signal<Me | null>(null);
export const cameras = signal<Camera[] | null>(null);
export const statuses = signal<Record<string, StatusLine>>({});
export const holds = signal<Hold[]>([]);
export const camera = signal<Camera | null>(null);
export const player = signal<Player | null>(null);
export const trouble = signal<unknown>(null);
/** How many cameras may be shown at a time. */
export const LAYOUTS = [1, 4, 9, 16];
/** How many are. */
export const tiles = signal(LAYOUTS.find((count) => String(count) === localStorage.getItem("tiles")) ?? 1);
effect(() => localStorage.setItem("tiles", String(tiles.value)));

/** The stretch that the timeline shows; it moves on with the time while it ends there. */
export interface View { start: number; end: number; follow: boolean }
export const view = signal<View>({ start: now() - 3_600_000, end: now() + 180_000, follow: true });
/** Where the keyboard has moved to, before it plays from there. */
export const pointer = signal<number | null>(null);
export const shown = computed(() => player.value?.shown.value ?? null);
export const cursor = computed(() => pointer.value ?? shown.value);

export const from = signal("");
export const to = signal("");
/** What has been asked for with a reason, and waits for it. */
export const asksReason = signal(false);

export const may = (right: string): boolean => me.value?.rights.includes(right) ?? false;

export const status = computed<StatusLine | null>(() => (camera.value ? statuses.value[camera.value.id] ?? null : null));

const SPAN_MIN_MS = 1000;
const SPAN_MAX_MS = 400 * 86_400_000;

/** Shows the span around an instant, neither finer than pictures nor wider than a year, and little of the future. */
export function look(start: number, end: number): void {
  const span = Math.min(Math.max(end - start, SPAN_MIN_MS), SPAN_MAX_MS);
  const middle = (start + end) / 2;
  const last = Math.min(middle + span / 2, now() + span / 8);
  view.value = { start: last - span, end: last, follow: last > now() };
}

export const lookAround = (at: number, span: number): void => look(at - span / 2, at + span / 2);

export function zoom(factor: number, around: number): void {
  const { start, end } = view.value;
  const span = Math.min(Math.max((end - start) * factor, SPAN_MIN_MS), SPAN_MAX_MS);
  const share = (around - start) / (end - start);
  look(around - share * span, around + (1 - share) * span);
}

/** Plays from an instant on; with an end, that sequence alone. */
export function playFrom(at: number, until?: number): void {
  pointer.value = null;
  trouble.value = null;
  if (now() - at < 1000) goLive();
  else player.value?.seek(Math.min(at, now() - 1000), { until });
  if (at < view.value.start || at > view.value.end) lookAround(at, view.value.end - view.value.start);
}

export function goLive(): void {
  pointer.value = null;
  trouble.value = null;
  void player.value?.live();
  const { start, end } = view.value;
  if (now() < start || now() > end) lookAround(now(), end - start);
}

export async function refreshStatus(): Promise<void> {
  const asked = Date.now();
  const status = await read<Status>("api/status");
  zone.value = status.time_zone;
  clockSkewMs.value = Date.parse(status.now) - (asked + Date.now()) / 2;
  statuses.value = Object.fromEntries(status.cameras.map((line) => [line.camera, line]));
}

export async function refreshHolds(): Promise<void> {
  if (may("see_holds")) holds.value = await read<Hold[]>("api/holds");
}

/** Looks at a camera: live, with as much of its past in view as there is. */
export async function choose(next: Camera): Promise<void> {
  camera.value = next;
  pointer.value = null;
  trouble.value = null;
  document.title = `${next.name || next.id} · Vigie`;
  const { footage } = await read<{ footage?: { start: string; end: string } | null }>(cameraPath(next.id));
  if (camera.value !== next) return;
  const first = footage ? Date.parse(footage.start) : now(), last = footage ? Date.parse(footage.end) : now();
  const age = now() - first;
  const span = age < 10 * 60_000 ? 10 * 60_000 : age < 3_600_000 ? 3_600_000 : 86_400_000;
  look(now() - span, now() + span / 20);
  to.value = typed(last);
  from.value = typed(Math.max(last - 60_000, first));
}

/** Who is signed in; asks for a reason where one has to be stated. */
export async function begin(): Promise<void> {
  const who = await read<Me>("api/me");
  me.value = who;
  asksReason.value = who.reason_required && !who.reason && who.rights.some((right) => right.startsWith("view_"));
  await refreshStatus();
  cameras.value = await read<Camera[]>("api/cameras");
  await refreshHolds();
  if (cameras.value[0]) await choose(cameras.value[0]);
}
