// Several cameras live, side by side. Only tiles that can be seen have a stream.

import { signal, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Camera } from "./api";
import { Icon } from "./icons";
import { t } from "./language";
import { Player } from "./player";
import { badgeOf, Lost } from "./Stage";
import { cameras, choose, statuses, tiles } from "./state";
import { clockTime } from "./zone";

const KEPT = "wall";

/** Which camera is in which tile, as chosen in this browser; others follow in their order. */
const chosen = signal<Record<number, string>>(kept());

function kept(): Record<number, string> {
  try {
    return (JSON.parse(localStorage.getItem(KEPT) ?? "{}") ?? {}) as Record<number, string>;
  } catch {
    return {};
  }
}

function put(tile: number, id: string): void {
  chosen.value = { ...chosen.value, [tile]: id };
  localStorage.setItem(KEPT, JSON.stringify(chosen.value));
}

/** Calls back with whether an element can be seen: on screen, in a page that is shown. */
function watchSeen(element: Element, seen: (visible: boolean) => void): () => void {
  let inside = false;
  const tell = (): void => seen(inside && !document.hidden);
  const observer = new IntersectionObserver((entries) => {
    inside = entries.at(-1)?.isIntersecting ?? false;
    tell();
  });
  observer.observe(element);
  document.addEventListener("visibilitychange", tell);
  return () => {
    observer.disconnect();
    document.removeEventListener("visibilitychange", tell);
  };
}

function Picture({ camera }: { camera: Camera }): JSX.Element {
  const box = useRef<HTMLDivElement>(null), video = useRef<HTMLVideoElement>(null), still = useRef<HTMLCanvasElement>(null);
  const playing = useSignal<Player | null>(null);
  useEffect(() => {
    if (!box.current || !video.current || !still.current) return undefined;
    const own = new Player(video.current, still.current, camera.id);
    playing.value = own;
    const end = watchSeen(box.current, (visible) => {
      if (!visible) own.stop();
      else if (own.mode.value === "idle") void own.live();
    });
    return () => {
      end();
      own.close();
    };
  }, [camera.id]);
  const own = playing.value, badge = own && badgeOf(own), lost = own?.lostSince.value ?? null, name = camera.name || camera.id;
  const open = (): void => {
    tiles.value = 1;
    void choose(camera);
  };
  return (
    <div ref={box} class="stage tile" data-lost={lost !== null}>
      <video ref={video} muted playsInline aria-label={name} hidden={own?.stills.value ?? false} />
      <canvas ref={still} role="img" aria-label={name} hidden={!own?.stills.value} />
      <p class="badge" data-mode={badge?.mode ?? "idle"}>{badge?.text}</p>
      <p class="stamp">{name}{own && own.shown.value !== null && ` · ${clockTime(own.shown.value)}`}</p>
      {lost !== null && <Lost since={lost} line={statuses.value[camera.id]} />}
      <button type="button" class="open" aria-label={`${t().open} ${name}`} onClick={open}><Icon name="open" /></button>
    </div>
  );
}

function Tile({ number }: { number: number }): JSX.Element {
  const all = cameras.value ?? [], id = chosen.value[number] ?? all[number]?.id ?? "";
  const camera = all.find((c) => c.id === id);
  return (
    <li>
      {camera ? <Picture key={camera.id} camera={camera} /> : <div class="stage tile" />}
      <select aria-label={t().chooseTile(number + 1)} value={camera ? id : ""} onChange={(event) => put(number, event.currentTarget.value)}>
        <option value="">{t().emptyTile}</option>
        {all.map((c) => <option key={c.id} value={c.id}>{c.name || c.id}</option>)}
      </select>
    </li>
  );
}

export function Wall(): JSX.Element {
  const count = tiles.value;
  return (
    <ul id="wall" class="wall" data-tiles={count} aria-label={t().wall}>
      {Array.from({ length: count }, (_, number) => <Tile key={number} number={number} />)}
    </ul>
  );
}
