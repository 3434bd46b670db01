// The picture of one camera, what is known of it, and what the operator does with it.

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { cameraPath, send, wordsOf, type Camera, type StatusLine } from "./api";
import { Icon } from "./icons";
import { t } from "./language";
import { Player, type Notice } from "./player";
import { goLive, player, status, statuses, trouble } from "./state";
import { clockTime, fullTime, iso, length, now, typed } from "./zone";

const RATES = [0.125, 0.25, 0.5, 1, 2, 4, 8, 16];

/** Counts on by itself while something is lost. */
function useSeconds(runs: boolean): void {
  const turn = useSignal(0);
  void turn.value;
  useEffect(() => {
    if (!runs) return undefined;
    const timer = setInterval(() => { turn.value++; }, 500);
    return () => clearInterval(timer);
  }, [runs]);
}

export function Lost({ since, line }: { since: number; line: StatusLine | null | undefined }): JSX.Element {
  useSeconds(true);
  const cause = line?.cause ? t().causes[line.cause] : null;
  return (
    <div class="lost" role="alert">
      <strong>{t().noPictureSince(clockTime(since), length(Math.max(now() - since, 0)))}</strong>
      {cause && <span class="cause">{line?.detail ?? cause}</span>}
      <span>{t().comesBack}</span>
    </div>
  );
}

const noticeText = (notice: Notice): string => notice.kind === "end"
  ? t().endOfFootage
  : t().gapSkipped(length(notice.to - notice.from), notice.cause ? t().causes[notice.cause] : t().notRecorded);

export function badgeOf(playing: Player): { mode: string; text: string } {
  const live = playing.mode.value === "live";
  if (live && playing.lostSince.value !== null) return { mode: "lost", text: t().lost };
  if (live && playing.shown.value === null) return { mode: "connecting", text: t().connecting };
  if (live && !playing.paused.value) return { mode: "live", text: t().live };
  if (live && playing.stills.value) return { mode: "live", text: t().live };
  return playing.mode.value === "idle" ? { mode: "idle", text: t().stopped } : { mode: "recorded", text: t().recorded };
}

function Controls({ playing }: { playing: Player }): JSX.Element {
  const muted = useSignal(true), { video } = playing;
  const still = playing.stills.value;
  return (
    <div class="actions controls">
      <button id="step-back" type="button" aria-label={t().stepBack} disabled={still} onClick={() => void playing.step(-1)}><Icon name="back" /></button>
      <button id="play" type="button" aria-label={playing.paused.value ? t().play : t().pause} disabled={still} onClick={() => playing.toggle()}>
        <Icon name={playing.paused.value ? "play" : "pause"} />
      </button>
      <button id="step-forward" type="button" aria-label={t().stepForward} disabled={still} onClick={() => void playing.step(1)}><Icon name="forward" /></button>
      <label><span class="sr">{t().speed}</span>
        <select id="rate" value={String(playing.rate.value)} disabled={playing.mode.value === "live"} onChange={(event) => playing.setRate(Number(event.currentTarget.value))}>
          {RATES.map((rate) => <option key={rate} value={String(rate)}>{rate < 1 ? `1/${1 / rate}` : rate}×</option>)}
        </select>
      </label>
      {playing.sound.value === "played" && (
        <button id="sound" type="button" aria-pressed={!muted.value} onClick={() => { video.muted = !video.muted; muted.value = video.muted; }}>
          {muted.value ? t().soundOn : t().soundOff}
        </button>
      )}
      <button id="full-screen" type="button" onClick={() => void video.parentElement?.requestFullscreen()}>{t().fullScreen}</button>
    </div>
  );
}

function Shown({ playing, camera }: { playing: Player; camera: Camera }): JSX.Element {
  const at = playing.shown.value, live = badgeOf(playing).mode === "live";
  const words = live ? (playing.sound.value === "left-out" ? t().liveWithoutSound : t().liveFrom)
    : playing.lostSince.value !== null ? t().lastPicture : playing.mode.value === "idle" ? t().stopped : t().recordedOn;
  // A picture's time has fractions of a millisecond, which are cut: one more is after its begin.
  const exact = at === null ? "" : iso(at + 1);
  return (
    <div class="row">
      <Controls playing={playing} />
      <p class="shown">
        <span id="mode" data-sound={playing.sound.value}>{words}</span>{" "}
        <time id="shown" dateTime={at === null ? "" : iso(at)}>{at === null ? "" : fullTime(at)}</time>
      </p>
      <span class="actions">
        <button id="live" type="button" aria-pressed={playing.mode.value === "live"} onClick={goLive}>{t().goLive}</button>
        {at !== null && (
          <a id="snapshot" class="button" href={cameraPath(camera.id, `snapshot.jpg?at=${exact}`)} download={`${camera.id}_${iso(at).replace(/[-:]|\.\d+/g, "")}.jpg`}>{t().snapshot}</a>
        )}
      </span>
    </div>
  );
}

function statusText(line: StatusLine): string {
  const words = t(), facts = [line.cause ? `${words.states[line.state]} (${words.causes[line.cause]})` : words.states[line.state]];
  if (line.width && line.height) facts.push(`${line.width} × ${line.height}`);
  if (line.codec) facts.push(line.codec === "h265" ? "H.265" : "H.264");
  if (line.picture_rate) facts.push(words.pictureRate(line.picture_rate));
  if (line.bit_rate) facts.push(words.bitRate(line.bit_rate / 1e6));
  if (line.lag_ms !== undefined && line.lag_ms !== null) facts.push(words.lastPictureAgo(length(Math.max(line.lag_ms, 0))));
  if (line.gateway_clock_step) {
    const { at, by_ms } = line.gateway_clock_step;
    facts.push(words.gatewayClockSet(by_ms >= 0, length(Math.abs(by_ms)), clockTime(Date.parse(at))));
  }
  const off = Math.abs(line.camera_clock_offset_ms ?? 0);
  if (off >= 1000) facts.push(words.cameraClockOff(length(off)));
  if (line.odd_setup?.length) facts.push(words.oddSetup(line.odd_setup.join(", ")));
  return facts.join(" · ");
}

function CameraState({ camera }: { camera: Camera }): JSX.Element {
  const busy = useSignal(false), line = status.value;
  const reconnect = async (): Promise<void> => {
    busy.value = true;
    await send("POST", cameraPath(camera.id, "reconnect")).catch((error: unknown) => { trouble.value = error; });
    busy.value = false;
  };
  return (
    <>
      <p id="status" class="status">{line && `${t().cameraStatus} ${statusText(line)}`}</p>
      {line?.state === "gap" && <button id="reconnect" type="button" disabled={busy} onClick={() => void reconnect()}>{t().reconnect}</button>}
    </>
  );
}

/** Plays a camera in the page's main place. */
export function Stage({ camera }: { camera: Camera }): JSX.Element {
  const video = useRef<HTMLVideoElement>(null), still = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    if (!video.current || !still.current) return undefined;
    const own = new Player(video.current, still.current, camera.id);
    player.value = own;
    void own.live();
    return () => {
      own.close();
      if (player.value === own) player.value = null;
    };
  }, [camera.id]);
  const playing = player.value?.camera === camera.id ? player.value : null;
  const badge = playing && badgeOf(playing), lost = playing?.lostSince.value ?? null;
  const notice = playing?.notice.value, error = playing?.trouble.value ?? trouble.value;
  return (
    <>
      {error !== null && error !== undefined && <p id="alert" class="alert" role="alert">{wordsOf(error)}</p>}
      {playing?.stills.value && <p id="stills" class="notice" role="status">{t().stills}</p>}
      <div class="stage" data-lost={lost !== null}>
        <video id="video" ref={video} muted playsInline aria-label={t().video} hidden={playing?.stills.value ?? false} />
        <canvas id="still" ref={still} role="img" aria-label={t().video} hidden={!playing?.stills.value} />
        <p id="badge" class="badge" data-mode={badge?.mode ?? "idle"}>{badge?.text}</p>
        {playing && playing.shown.value !== null && <p class="stamp">{camera.name || camera.id} · {typed(playing.shown.value)}</p>}
        {lost !== null && <Lost since={lost} line={statuses.value[camera.id]} />}
        {notice && <p id="notice" class="note" role="status">{noticeText(notice)}</p>}
      </div>
      {playing && <Shown playing={playing} camera={camera} />}
      <CameraState camera={camera} />
    </>
  );
}
