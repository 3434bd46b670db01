// A sequence, from one instant to another: to play, and to download.

import { useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { cameraPath, read, type Camera } from "./api";
import { t } from "./language";
import { from, playFrom, shown, to, trouble } from "./state";
import { fullTime, iso, parseWhen, typed } from "./zone";

function Instant({ id, label, text }: { id: string; label: string; text: Signal<string> }): JSX.Element {
  const when = text.value ? parseWhen(text.value) : null;
  const wrong = when && "wrong" in when;
  return (
    <div class="instant">
      <label>{label} <input
        id={id} value={text} aria-describedby={`${id}-read`} aria-invalid={wrong === true} autocomplete="off" spellcheck={false}
        onInput={(event) => { text.value = event.currentTarget.value; }}
      /></label>
      <button type="button" disabled={shown.value === null} onClick={() => { text.value = typed(shown.value ?? 0); }}>{t().markHere}</button>
      <span id={`${id}-read`} class={wrong ? "wrong" : "read"}>
        {when && ("wrong" in when ? t().whenProblems[when.wrong] : fullTime(when.at))}
      </span>
    </div>
  );
}

function rangeOf(): { start: number; end: number } | null {
  const [start, end] = [parseWhen(from.value), parseWhen(to.value)];
  return "at" in start && "at" in end && start.at < end.at ? { start: start.at, end: end.at } : null;
}

export function Sequence({ camera }: { camera: Camera }): JSX.Element {
  const busy = useSignal(false), range = rangeOf();
  const path = range && cameraPath(camera.id, `clip.mp4?start=${iso(range.start)}&end=${iso(range.end)}`);
  // A range in which the coding or the size of the picture changes is several files.
  const download = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (!path || busy.value) return;
    busy.value = true;
    try {
      const { parts } = await read<{ parts: { part: number }[] }>(path.replace("clip.mp4", "clip.json"));
      for (const { part } of parts) {
        const link = Object.assign(document.createElement("a"), { href: parts.length > 1 ? `${path}&part=${part}` : path, download: "" });
        link.click();
      }
    } catch (error) {
      trouble.value = error;
    }
    busy.value = false;
  };
  const bothRead = "at" in parseWhen(from.value) && "at" in parseWhen(to.value);
  return (
    <section aria-labelledby="export-title">
      <h3 id="export-title">{t().sequence}</h3>
      <form id="export" class="sequence" onSubmit={(event) => { event.preventDefault(); if (range) playFrom(range.start, range.end); }}>
        <Instant id="from" label={t().begin} text={from} />
        <Instant id="to" label={t().end} text={to} />
        <span class="actions">
          <button type="submit" disabled={!range}>{t().playSequence}</button>
          <a id="download" class="button" role="link" aria-disabled={!range} {...(path ? { href: path, download: "" } : {})} onClick={(event) => void download(event)}>{t().download}</a>
        </span>
        {bothRead && !range && <span class="wrong" role="status">{t().endBeforeBegin}</span>}
      </form>
    </section>
  );
}
