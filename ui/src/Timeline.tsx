// The timeline: one continuous zoom from a year to a picture, by wheel, pinch and keys.

import { effect, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { gapsIn, stretches, version, type Gap, type Span } from "./coverage";
import { language, t } from "./language";
import { camera, cursor, holds, look, lookAround, player, playFrom, pointer, view, zoom } from "./state";
import { ticks } from "./ticks";
import { clockTime, DAY_MS, fullTime, length, now, parseWhen, zone } from "./zone";

const GATEWAY_CAUSES = new Set([
  "gateway_stopped", "gateway_crashed", "clock_step", "disk_full", "disk_slow", "write_failed", "corrupt", "reconfigured", "not_authorised",
]);
const SPANS = { minute: 60_000, tenMinutes: 600_000, hour: 3_600_000, day: DAY_MS, week: 7 * DAY_MS, month: 30 * DAY_MS, year: 365 * DAY_MS } as const;
const PICTURES_SHOWN_MS = 12_000; // views no wider than this show each picture
const TICK_PX = 96;
const LANES = { footage: [0, 34], holds: [36, 44], pictures: [46, 50], labels: 66 } as const;
const HEIGHT_PX = 72;

export const gapText = (gap: Gap): string => [
  t().causes[gap.cause],
  ...(gap.lost ? [t().lostPackets(gap.lost)] : []),
  ...(gap.filledMs ? [t().filledFor(length(gap.filledMs))] : []),
].join(", ");

function describe(at: number): string {
  if (!camera.value) return "";
  const gap = gapsIn(camera.value.id, view.value).find((g) => g.start <= at && at < g.end);
  const held = holds.value.find((h) => h.camera === camera.value?.id && !h.closed && Date.parse(h.start) <= at && at < Date.parse(h.end));
  return [fullTime(at), ...(gap ? [gapText(gap)] : []), ...(held ? [t().holdLane(held.reference, held.requester)] : [])].join(" · ");
}

/** Stripes, in the colours that the style sheet has for what they stand for. */
function stripes(context: CanvasRenderingContext2D, colour: string, leaning: 1 | -1): CanvasPattern | string {
  const tile = new OffscreenCanvas(8, 8), on = tile.getContext("2d");
  if (!on) return colour;
  on.strokeStyle = colour;
  on.lineWidth = 3;
  for (const shift of [-8, 0, 8]) {
    on.beginPath();
    on.moveTo(shift, leaning > 0 ? 8 : 0);
    on.lineTo(shift + 8, leaning > 0 ? 0 : 8);
    on.stroke();
  }
  return context.createPattern(tile, "repeat") ?? colour;
}

function draw(canvas: HTMLCanvasElement): void {
  const context = canvas.getContext("2d"), { start, end } = view.value, id = camera.value?.id;
  const width = canvas.clientWidth, scale = devicePixelRatio;
  if (!context || width === 0) return;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(HEIGHT_PX * scale)) {
    Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(HEIGHT_PX * scale) });
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, HEIGHT_PX);
  const style = getComputedStyle(canvas), colour = (name: string): string => style.getPropertyValue(`--${name}`);
  const x = (at: number): number => ((at - start) / (end - start)) * width;
  const fill = (what: string | CanvasPattern, spans: readonly Span[], [top, bottom]: readonly [number, number]): void => {
    context.fillStyle = what;
    for (const span of spans) {
      const left = Math.max(x(span.start), -1), right = Math.min(x(Math.min(span.end, now())), width + 1);
      if (right > left && left <= width) context.fillRect(left, top, Math.max(right - left, 1.5), bottom - top);
    }
  };
  context.fillStyle = colour("paper");
  context.fillRect(0, LANES.footage[0], width, LANES.footage[1]);
  if (id) {
    const chunks = stretches(id, view.value), gaps = gapsIn(id, view.value);
    const [gateway, others] = [gaps.filter((g) => GATEWAY_CAUSES.has(g.cause)), gaps.filter((g) => !GATEWAY_CAUSES.has(g.cause))];
    fill(colour("covered"), chunks.flatMap((chunk) => chunk.coverage), LANES.footage);
    fill(stripes(context, colour("gateway"), -1), gateway, LANES.footage);
    fill(stripes(context, colour("camera"), 1), others, LANES.footage);
    fill(stripes(context, colour("covered"), 1), chunks.flatMap((chunk) => chunk.filled), LANES.footage);
    const held = holds.value.filter((hold) => hold.camera === id && !hold.closed);
    fill(colour("hold"), held.map((hold) => ({ start: Date.parse(hold.start), end: Date.parse(hold.end) })), LANES.holds);
    if (end - start <= PICTURES_SHOWN_MS) {
      const dot = (end - start) / width;
      fill(colour("ink"), (player.value?.picturesBetween(start, end) ?? []).map((at) => ({ start: at, end: at + dot })), LANES.pictures);
    }
  }
  context.fillStyle = colour("line");
  context.fillRect(Math.max(x(now()), 0), LANES.footage[0], Math.max(width - x(now()), 0), LANES.footage[1]);
  context.font = `12px ${style.fontFamily}`;
  context.textAlign = "center";
  for (const { at, label } of ticks(start, end, width / TICK_PX)) {
    context.fillStyle = colour("line");
    context.fillRect(x(at), 0, 1, LANES.pictures[1]);
    context.fillStyle = colour("soft");
    if (x(at) > 24 && x(at) < width - 24) context.fillText(label, x(at), LANES.labels);
  }
  const at = cursor.value;
  if (at !== null && at >= start && at <= end) {
    context.fillStyle = colour("card");
    context.fillRect(x(at) - 2, 0, 4, LANES.pictures[1]);
    context.fillStyle = colour("ink");
    context.fillRect(x(at) - 1, 0, 2, LANES.pictures[1]);
  }
}

/** Wheel zooms, or moves with Shift; one pointer moves, two pinch. A press without a move plays from there. */
function gestures(canvas: HTMLCanvasElement, hover: (at: number | null) => void): () => void {
  const over = new AbortController(), { signal } = over;
  const pointers = new Map<number, number>();
  let moved = false;
  const at = (clientX: number): number => {
    const box = canvas.getBoundingClientRect(), { start, end } = view.value;
    return start + ((clientX - box.left) / box.width) * (end - start);
  };
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { start, end } = view.value;
    const turn = event.shiftKey ? event.deltaX || event.deltaY : event.deltaX;
    if (Math.abs(turn) > Math.abs(event.deltaY) || event.shiftKey) {
      const by = (turn / canvas.clientWidth) * (end - start);
      look(start + by, end + by);
    } else zoom(Math.exp(event.deltaY * 0.0015), at(event.clientX));
  }, { signal, passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    if (pointers.size === 0) moved = false;
    pointers.set(event.pointerId, event.clientX);
  }, { signal });
  canvas.addEventListener("pointermove", (event) => {
    hover(at(event.clientX));
    const before = pointers.get(event.pointerId);
    if (before === undefined) return;
    const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, x]) => x);
    const other = others[0];
    if (!moved && other === undefined && Math.abs(event.clientX - before) < 5) return;
    moved = true;
    if (other === undefined) {
      const by = at(before) - at(event.clientX);
      look(view.value.start + by, view.value.end + by);
    } else {
      const [wide, narrow] = [Math.abs(before - other), Math.abs(event.clientX - other)];
      if (narrow > 8 && wide > 8) zoom(wide / narrow, at((event.clientX + other) / 2));
    }
    pointers.set(event.pointerId, event.clientX);
  }, { signal });
  const end = (event: PointerEvent): void => {
    const pressed = pointers.delete(event.pointerId);
    if (pressed && !moved && event.type === "pointerup") playFrom(at(event.clientX));
  };
  for (const name of ["pointerup", "pointercancel"] as const) canvas.addEventListener(name, end, { signal });
  canvas.addEventListener("pointerleave", () => hover(null), { signal });
  return () => over.abort();
}

function onKey(event: KeyboardEvent): void {
  const { start, end } = view.value, span = end - start, at = cursor.value ?? now();
  const moves: Record<string, number> = {
    ArrowLeft: at - span / 240, ArrowDown: at - span / 240, ArrowRight: at + span / 240, ArrowUp: at + span / 240,
    PageDown: at - span / 24, PageUp: at + span / 24, Home: start, End: Math.min(end, now()),
  };
  const to = moves[event.key];
  if (event.key === "Enter" || event.key === " ") playFrom(at);
  else if (event.key === "+" || event.key === "=") zoom(0.5, at);
  else if (event.key === "-") zoom(2, at);
  else if (to !== undefined) {
    pointer.value = Math.min(to, now());
    if (pointer.value < start || pointer.value > end) lookAround(pointer.value, span);
  } else return;
  event.preventDefault();
}

function Canvas(): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const hovered = useSignal<number | null>(null);
  useEffect(() => {
    const element = canvas.current;
    if (!element) return undefined;
    let asked = 0;
    const redraw = (): void => {
      cancelAnimationFrame(asked);
      asked = requestAnimationFrame(() => draw(element));
    };
    const ends = [
      effect(() => {
        // What the drawing depends on.
        void [view.value, cursor.value, version.value, camera.value, holds.value, zone.value, language.value];
        redraw();
      }),
      gestures(element, (at) => { hovered.value = at; }),
    ];
    const size = new ResizeObserver(redraw);
    size.observe(element);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", redraw);
    return () => {
      ends.forEach((end) => end());
      size.disconnect();
      dark.removeEventListener("change", redraw);
      cancelAnimationFrame(asked);
    };
  }, []);
  const at = cursor.value ?? now(), { start, end } = view.value, tell = hovered.value ?? pointer.value;
  const seconds = (ms: number): number => Math.round(ms / 1000);
  return (
    <>
      <canvas
        id="bar" ref={canvas} class="bar" role="slider" tabIndex={0} aria-labelledby="timeline-title" aria-describedby="bar-help"
        aria-valuemin={seconds(start)} aria-valuemax={seconds(end)} aria-valuenow={Math.min(Math.max(seconds(at), seconds(start)), seconds(end))}
        aria-valuetext={fullTime(at)} data-start={start} data-end={end} onKeyDown={onKey}
      />
      <output id="hover" class="hover">{tell === null ? "\u00a0" : describe(tell)}</output>
      <p id="bar-help" class="sr">{t().barHelp}</p>
    </>
  );
}

function GoTo(): JSX.Element {
  const text = useSignal(""), wrong = useSignal<string | null>(null);
  const go = (event: Event): void => {
    event.preventDefault();
    const when = parseWhen(text.value);
    wrong.value = "wrong" in when ? t().whenProblems[when.wrong] : null;
    if ("at" in when) playFrom(when.at);
  };
  return (
    <form id="go-to" class="actions" onSubmit={go}>
      <label>{t().goTo} <input
        id="when" value={text} placeholder={t().goToExample} aria-invalid={wrong.value !== null} aria-describedby="when-wrong"
        onInput={(event) => { text.value = event.currentTarget.value; }} autocomplete="off" spellcheck={false}
      /></label>
      <button type="submit">{t().go}</button>
      <span id="when-wrong" class="wrong" role="status">{wrong}</span>
    </form>
  );
}

function Gaps(): JSX.Element {
  void version.value;
  const gaps = camera.value ? gapsIn(camera.value.id, view.value) : [];
  return (
    <details>
      <summary id="gaps-title">{gaps.length ? t().gaps(gaps.length) : t().noGaps}</summary>
      <div class="scroll" tabIndex={0} role="region" aria-labelledby="gaps-title">
        <table>
          <thead><tr><th scope="col">{t().begin}</th><th scope="col">{t().duration}</th><th scope="col">{t().cause}</th></tr></thead>
          <tbody id="gaps">
            {gaps.slice(0, 500).map((gap) => (
              <tr key={`${gap.start} ${gap.cause}`}>
                <td><button type="button" class="plain" onClick={() => lookAround(gap.start, view.value.end - view.value.start)}>{clockTime(gap.start)}</button></td>
                <td>{gap.open ? t().ongoing : length(gap.end - gap.start)}</td>
                <td>{gapText(gap)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

export function Timeline(): JSX.Element {
  const { start, end } = view.value, span = end - start;
  const move = (by: number): void => look(start + by * span, end + by * span);
  const nearest = (Object.keys(SPANS) as (keyof typeof SPANS)[]).find((name) => Math.abs(SPANS[name] / span - 1) < 0.2) ?? "";
  const legend = t().legend;
  return (
    <section aria-labelledby="timeline-title">
      <div class="row">
        <h3 id="timeline-title">{t().timeline}</h3>
        <GoTo />
        <div class="actions period">
          <button id="earlier" type="button" aria-label={t().earlier} onClick={() => move(-0.8)}>◀</button>
          <button id="zoom-out" type="button" aria-label={t().zoomOut} onClick={() => zoom(2, cursor.value ?? (start + end) / 2)}>−</button>
          <label><span class="sr">{t().span}</span>
            <select id="zoom" value={nearest} onChange={(event) => lookAround(cursor.value ?? now(), SPANS[event.currentTarget.value as keyof typeof SPANS] ?? span)}>
              {nearest === "" && <option value="">{length(span)}</option>}
              {(Object.keys(SPANS) as (keyof typeof SPANS)[]).map((name) => <option key={name} value={name}>{t().spans[name]}</option>)}
            </select>
          </label>
          <button id="zoom-in" type="button" aria-label={t().zoomIn} onClick={() => zoom(0.5, cursor.value ?? (start + end) / 2)}>+</button>
          <button id="later" type="button" aria-label={t().later} onClick={() => move(0.8)}>▶</button>
        </div>
      </div>
      <Canvas />
      <ul class="legend">
        <li><i class="covered" /> {legend.covered}</li>
        <li><i class="gap camera" /> {legend.camera}</li>
        <li><i class="gap gateway" /> {legend.gateway}</li>
        <li><i class="filled" /> {legend.filled}</li>
        <li><i class="held" /> {legend.hold}</li>
        <li><i /> {legend.none}</li>
      </ul>
      <Gaps />
    </section>
  );
}
