// What is recorded of a camera, by stretches of fixed length at five scales, as far as the timeline has asked for it.

import { signal } from "@preact/signals";
import { cameraPath, read, type GapCause, type Timeline } from "./api";
import { DAY_MS, iso, now } from "./zone";

export interface Gap { start: number; end: number; open: boolean; cause: GapCause; lost: number; filledMs: number }
export interface Span { start: number; end: number }
interface Chunk extends Span { coverage: Span[]; filled: Span[]; gaps: Gap[]; asked: number }

/** Length of a stretch, and how finely it is asked for, both in milliseconds. */
const SCALES = [
  { length: 10 * 60_000, resolution: 0 },
  { length: 2 * 3_600_000, resolution: 500 },
  { length: DAY_MS, resolution: 5000 },
  { length: 8 * DAY_MS, resolution: 60_000 },
  { length: 32 * DAY_MS, resolution: 300_000 },
] as const;
const CHUNKS_MAX = 96;
const STALE_MS = 5000;

export const version = signal(0);
export const failure = signal<unknown>(null);
const chunks = new Map<string, Chunk>();
const asking = new Set<string>();

const span = (s: { start: string; end: string }): Span => ({ start: Date.parse(s.start), end: Date.parse(s.end) });

async function fetchChunk(key: string, camera: string, { start, end }: Span, resolution: number): Promise<void> {
  asking.add(key);
  try {
    const asked = Date.now();
    const query = `start=${iso(start)}&end=${iso(end)}&resolution_ms=${resolution}`;
    const { coverage, filled, gaps } = await read<Timeline>(cameraPath(camera, `timeline?${query}`));
    chunks.delete(key);
    chunks.set(key, {
      start, end, asked,
      coverage: coverage.map(span),
      filled: (filled ?? []).map(span),
      gaps: gaps.map((gap) => ({
        start: Date.parse(gap.start), end: gap.end ? Date.parse(gap.end) : Infinity, open: !gap.end,
        cause: gap.cause, lost: gap.lost_packets, filledMs: gap.filled_ms,
      })),
    });
    if (chunks.size > CHUNKS_MAX) chunks.delete(chunks.keys().next().value ?? "");
    failure.value = null;
    version.value++;
  } catch (error) {
    failure.value = error;
  } finally {
    asking.delete(key);
  }
}

/** The stretches that a view needs, of what is there; asks for those that are missing, or may have grown. */
export function stretches(camera: string, view: Span): Chunk[] {
  const width = view.end - view.start;
  const scale = SCALES.findIndex(({ length }) => length * 3 >= width);
  const { length, resolution } = SCALES[scale] ?? SCALES[SCALES.length - 1]!;
  const found: Chunk[] = [];
  for (let start = Math.floor(view.start / length) * length; start < Math.min(view.end, now()); start += length) {
    const key = `${camera} ${length} ${start}`, chunk = chunks.get(key);
    if (chunk) found.push(chunk);
    const stale = chunk && start + length > chunk.asked - 60_000 && Date.now() - chunk.asked > STALE_MS;
    if ((!chunk || stale) && !asking.has(key) && asking.size < 8) void fetchChunk(key, camera, { start, end: start + length }, resolution);
  }
  return found;
}

/** The gaps in a view, each once, by start. */
export function gapsIn(camera: string, view: Span): Gap[] {
  const gaps = stretches(camera, view).flatMap((chunk) => chunk.gaps);
  const seen = new Map(gaps.filter((gap) => gap.start < view.end && gap.end > view.start).map((gap) => [`${gap.start} ${gap.cause}`, gap]));
  return [...seen.values()].sort((a, b) => a.start - b.start);
}
