// One camera on one <video>: live, or from an instant of its recording on.
//
// Invariant: `shown` is when the picture on screen was filmed, by that picture's own place in the stream; nothing is counted from
// when playback began. What is asked for last wins: each start ends the one before.

import { signal } from "@preact/signals";
import { ask, cameraPath, read, Refused, type GapCause, type Timeline } from "./api";
import { Feed, NotDecodable, OtherTracks } from "./feed";
import { parsePlaylist, type Playlist, type Segment } from "./playlist";
import { DAY_MS, iso, now } from "./zone";

const LIVE_POLL_MS = 300;
const LIVE_MARGIN_S = 0.4; // kept in the buffer beyond a segment, for a poll and a fetch
const LIVE_BEHIND_MAX_S = 3; // further behind than this, playback jumps
const LIVE_BEGINS_S = 4; // of the past, where segments can be decoded one by one
const LOST_AFTER_MS = 2000; // without a new picture
const ANSWER_MS = 5000;
const WINDOW_MS = 10 * 60_000; // of one playlist of the past
const AHEAD_S = 20;
const KEPT_S = 90;
const STEPS_BACK_MS = 10_000; // before what is shown paused, to step back into
const STILL_EACH_MS = 2000;
const STILL_BEHIND_MS = 1500; // what is newer is not written yet
const STILLS_LOST_AFTER_MS = 4 * STILL_EACH_MS; // each still is decoded for itself
const NEAR_LIVE_MS = 10_000;
const RESTARTS_MAX = 5; // in a row, without a picture between them
const NOTICE_MS = 8000;
const JUST_INSIDE_S = 0.001; // into a picture, so that rounding leaves it

export type Mode = "idle" | "live" | "recorded" | "ended";
export type Notice = { kind: "gap"; from: number; to: number; cause: GapCause | null } | { kind: "end" };
/** `last`: where nothing was filmed, the picture before it, and not the one after. */
interface Options { until?: number | undefined; paused?: boolean; last?: boolean }

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export class Player {
  readonly mode = signal<Mode>("idle");
  readonly shown = signal<number | null>(null);
  readonly lostSince = signal<number | null>(null);
  readonly notice = signal<Notice | null>(null);
  readonly trouble = signal<unknown>(null);
  readonly sound = signal<"none" | "played" | "left-out">("none");
  readonly paused = signal(true);
  readonly rate = signal(1);
  readonly stills = signal(false);
  private run = new AbortController();
  private feed: Feed | null = null;
  private picture = 0; // where in the buffer what is shown is
  private tracks: "all" | "video" = "all";
  private restarts = 0;
  private newest = 0; // when the newest picture ended, live
  private steps: Promise<void> = Promise.resolve();
  private readonly over = new AbortController();

  constructor(readonly video: HTMLVideoElement, private readonly still: HTMLCanvasElement, readonly camera: string) {
    const on = (name: string, what: () => void): void => video.addEventListener(name, what, { signal: this.over.signal });
    for (const name of ["play", "pause"]) on(name, () => { this.paused.value = video.paused; });
    if ("requestVideoFrameCallback" in video) this.watch();
    else on("timeupdate", () => this.show(this.video.currentTime));
  }

  private watch(): void {
    this.video.requestVideoFrameCallback((_, { mediaTime }) => {
      this.show(mediaTime);
      if (!this.over.signal.aborted) this.watch();
    });
  }

  private show(media: number): void {
    if (!this.feed) return;
    const at = this.feed.wallAt(media);
    if (at === null) return;
    const gap = media > this.picture && !this.video.seeking ? this.feed.gapBetween(this.picture, media) : null;
    this.picture = media;
    this.shown.value = at;
    this.restarts = 0;
    if (gap && this.mode.value === "recorded") void this.tellGap(gap.from, gap.to);
  }

  private begin(mode: Mode): AbortSignal {
    this.run.abort();
    this.feed?.close();
    this.feed = null;
    this.run = new AbortController();
    this.mode.value = mode;
    this.trouble.value = null;
    this.lostSince.value = null;
    this.stills.value = false;
    this.picture = 0;
    return this.run.signal;
  }

  /** Ends it for good. */
  close(): void {
    this.begin("idle");
    this.run.abort();
    this.over.abort();
  }

  /** Stops the stream and keeps the picture's time. */
  stop(): void {
    this.begin("idle");
    this.run.abort();
  }

  // --- Live ----------------------------------------------------------------------------------------------------------------

  async live(): Promise<void> {
    const stopped = this.begin("live");
    this.notice.value = null;
    this.setRate(1);
    this.shown.value = null;
    const follow = { last: -1, longest: 1, started: false };
    this.newest = now();
    const watch = setInterval(() => {
      const patience = this.stills.value ? STILLS_LOST_AFTER_MS : Math.max(LOST_AFTER_MS, follow.longest * 1000 + 1000);
      this.lostSince.value = now() - this.newest > patience ? this.newest : null;
    }, 100);
    stopped.addEventListener("abort", () => clearInterval(watch));
    while (!stopped.aborted) {
      try {
        await this.follow(follow, stopped);
        this.trouble.value = null;
      } catch (error) {
        if (stopped.aborted) return;
        if (await this.recover(error, stopped)) return;
        // What is not there yet is a lost camera, which says so itself.
        if (!(error instanceof Refused && error.status === 404)) this.trouble.value = error;
      }
      await pause(LIVE_POLL_MS);
    }
  }

  private playlist(path: string, stopped: AbortSignal): Promise<Playlist> {
    const url = new URL(`${cameraPath(this.camera, path)}${path.includes("?") ? "&" : "?"}tracks=${this.tracks}`, document.baseURI);
    const signal = AbortSignal.any([stopped, AbortSignal.timeout(ANSWER_MS)]);
    return ask(url, { signal }).then((response) => response.text()).then((text) => parsePlaylist(text, url));
  }

  private async follow(state: { last: number; longest: number; started: boolean }, stopped: AbortSignal): Promise<void> {
    const { segments, independent } = await this.playlist("hls/live.m3u8", stopped);
    const edge = segments.at(-1);
    if (!edge) return;
    state.longest = Math.max(...segments.map((s) => s.duration), 1);
    this.newest = edge.filmed + edge.duration * 1000;
    const feed = (this.feed ??= new Feed(this.video, stopped));
    let fresh = segments.filter((s) => s.sequence > state.last);
    // The playlist began again: another gateway, say.
    if (edge.sequence < state.last) fresh = segments.filter((s) => s.filmed >= feed.filmedEnd);
    if (!state.started && independent) {
      const after = (i: number): number => fresh.slice(i + 1).reduce((sum, s) => sum + s.duration, 0);
      fresh = fresh.filter((_, i) => after(i) < LIVE_BEGINS_S);
    }
    const delay = state.longest + LIVE_MARGIN_S;
    for (const segment of fresh) {
      await feed.append(segment);
      state.last = segment.sequence;
      if (state.started) this.keepUp(feed, delay);
    }
    if (!state.started && fresh.length) {
      state.started = true;
      this.sound.value = feed.sound ? "played" : this.tracks === "video" ? "left-out" : "none";
      // At the delay that will last: the next segment is due all the sooner, the older the last one is.
      const age = Math.max((now() - this.newest) / 1000, 0);
      this.video.currentTime = Math.max(feed.end - Math.max(delay - age, LIVE_MARGIN_S), feed.begins);
      await this.play();
    }
    await feed.trim(KEPT_S);
  }

  // Back to the live edge when playback has fallen behind; a paused player stays where it is.
  private keepUp(feed: Feed, delay: number): void {
    if (this.video.paused) return;
    const behind = feed.end - this.video.currentTime - delay;
    if (behind > LIVE_BEHIND_MAX_S) this.video.currentTime = feed.end - delay;
    this.video.playbackRate = behind > LIVE_MARGIN_S ? 1.05 : 1;
  }

  /** Begins again in another way, where that can help: true when it has. */
  private async recover(error: unknown, stopped: AbortSignal): Promise<boolean> {
    if (error instanceof NotDecodable) {
      if (error.init.sound === "unknown" || (error.init.sound === "known" && this.tracks === "all")) {
        this.tracks = "video";
        return this.again();
      }
      await this.showStills(stopped);
      return true;
    }
    if ((error instanceof OtherTracks || this.video.error) && this.restarts++ < RESTARTS_MAX) {
      this.tracks = "all";
      return this.again();
    }
    return false;
  }

  private again(): boolean {
    const { paused } = this.video;
    if (this.mode.value === "live") void this.live();
    else void this.from(this.shown.value ?? this.wanted, { paused, until: this.until });
    return true;
  }

  // --- Recorded ------------------------------------------------------------------------------------------------------------

  private until: number | undefined;
  private wanted = 0;

  /** Plays from an instant on, up to what is live; with an end, that sequence alone. */
  async from(at: number, { until, paused = false, last = false }: Options = {}): Promise<void> {
    const stopped = this.begin("recorded");
    this.until = until;
    this.wanted = at;
    this.shown.value = null;
    this.notice.value = null;
    this.video.playbackRate = this.rate.value;
    try {
      await this.feedFrom(at, { paused, last }, stopped);
    } catch (error) {
      if (stopped.aborted || (await this.recover(error, stopped))) return;
      this.trouble.value = error;
    }
  }

  private async feedFrom(at: number, how: Options, stopped: AbortSignal): Promise<void> {
    const feed = (this.feed = new Feed(this.video, stopped));
    let window = at, started = false;
    let queue: Segment[] = how.paused ? await this.before(at, stopped) : [];
    while (!stopped.aborted) {
      if (queue.length === 0) {
        const end = Math.min(window + WINDOW_MS, this.until ?? Infinity, now());
        if (end - window < 1000) break;
        queue = await this.past(window, end, stopped);
        if (queue.length > 0) window = end;
        else {
          const next = await this.nextFootage(end, stopped);
          if (next === null) break;
          window = next;
        }
        continue;
      }
      if (started && feed.end - this.video.currentTime > AHEAD_S * Math.max(1, this.video.playbackRate)) {
        if (this.isOver()) break;
        await pause(100);
        continue;
      }
      const segment = queue.shift();
      if (segment) await feed.append(segment);
      if (!started && (feed.has(at) || feed.filmedEnd > at)) {
        started = true;
        await this.start(feed, at, how);
      }
      await feed.trim(KEPT_S);
    }
    if (!started && !stopped.aborted) throw new Refused(404, "no-footage");
    while (!stopped.aborted && !this.isOver() && this.video.currentTime < feed.end - 0.05) await pause(50);
    if (!stopped.aborted) this.finish(feed);
  }

  private async start(feed: Feed, at: number, { paused, last }: Options): Promise<void> {
    const before = last ? feed.lastPicture(at) : null, place = before ?? feed.mediaAt(at) ?? feed.begins;
    if (!feed.has(at) && before === null) {
      const first = feed.wallAt(place);
      if (first !== null && first - at > 1000) void this.tellGap(at, first);
    }
    this.sound.value = feed.sound ? "played" : this.tracks === "video" ? "left-out" : "none";
    this.picture = place;
    this.video.currentTime = place + JUST_INSIDE_S;
    if (paused) this.video.pause();
    else await this.play();
  }

  private isOver(): boolean {
    return this.until !== undefined && (this.shown.value ?? 0) >= this.until - 20;
  }

  private finish(feed: Feed): void {
    if (this.until === undefined && now() - feed.filmedEnd < NEAR_LIVE_MS) {
      void this.live();
      return;
    }
    this.video.pause();
    this.mode.value = "ended";
    this.notice.value = { kind: "end" };
  }

  /** What comes before an instant; nothing where that may not be seen. */
  private async before(at: number, stopped: AbortSignal): Promise<Segment[]> {
    try {
      return await this.past(at - STEPS_BACK_MS, at, stopped);
    } catch (error) {
      if (error instanceof Refused && error.status === 403) return [];
      throw error;
    }
  }

  /** Segments of the past; none where nothing was filmed. */
  private async past(start: number, end: number, stopped: AbortSignal): Promise<Segment[]> {
    try {
      return (await this.playlist(`hls/vod.m3u8?start=${iso(start)}&end=${iso(end)}`, stopped)).segments;
    } catch (error) {
      if (error instanceof Refused && error.kind === "no-footage") return [];
      throw error;
    }
  }

  private timeline(start: number, end: number, resolution: number, stopped: AbortSignal): Promise<Timeline> {
    const query = `start=${iso(start)}&end=${iso(end)}&resolution_ms=${resolution}`;
    return read<Timeline>(cameraPath(this.camera, `timeline?${query}`), { signal: stopped });
  }

  private async nextFootage(after: number, stopped: AbortSignal): Promise<number | null> {
    for (let from = after; from < now(); from += 31 * DAY_MS) {
      const { coverage } = await this.timeline(from, Math.min(from + 31 * DAY_MS, now() + 1000), 1000, stopped);
      if (coverage[0]) return Date.parse(coverage[0].start);
    }
    return null;
  }

  /** An instant of the last picture before one; null where there is none. */
  private async footageBefore(at: number, stopped: AbortSignal): Promise<number | null> {
    const { coverage } = await this.timeline(at - 31 * DAY_MS, at, 0, stopped);
    const last = coverage.findLast((span) => Date.parse(span.start) < at - 2);
    return last ? Math.min(Date.parse(last.end), at) - 2 : null;
  }

  private async tellGap(from: number, to: number): Promise<void> {
    const { signal: stopped } = this.run;
    const told: Notice = { kind: "gap", from, to, cause: null };
    this.notice.value = told;
    const ends = (): void => {
      if (this.notice.value?.kind === "gap" && this.notice.value.from === from) this.notice.value = null;
    };
    setTimeout(ends, NOTICE_MS);
    try {
      const { gaps } = await this.timeline(from, Math.min(to, from + 31 * DAY_MS), 0, stopped);
      const overlap = (gap: { start: string; end?: string | null }): number =>
        Math.min(gap.end ? Date.parse(gap.end) : to, to) - Math.max(Date.parse(gap.start), from);
      const [longest] = gaps.sort((a, b) => overlap(b) - overlap(a));
      if (longest && this.notice.value === told) this.notice.value = { ...told, cause: longest.cause };
    } catch {
      // The gap is told without its cause.
    }
  }

  // --- Stills, where the browser has no decoder --------------------------------------------------------------------------------

  private async showStills(stopped: AbortSignal): Promise<void> {
    this.stills.value = true;
    let at = this.shown.value ?? this.wanted;
    while (!stopped.aborted) {
      try {
        const live = this.mode.value === "live";
        const answer = await ask(cameraPath(this.camera, `snapshot.jpg?at=${iso(live ? now() - STILL_BEHIND_MS : at)}`), { signal: stopped });
        const picture = await createImageBitmap(await answer.blob());
        if (stopped.aborted) return;
        Object.assign(this.still, { width: picture.width, height: picture.height });
        this.still.getContext("2d")?.drawImage(picture, 0, 0);
        this.shown.value = Date.parse(answer.headers.get("vigie-filmed-at") ?? "") || at;
        this.newest = Math.max(this.newest, this.shown.value);
        this.trouble.value = null;
        at += STILL_EACH_MS;
      } catch (error) {
        if (stopped.aborted) return;
        if (!(this.mode.value === "live" && error instanceof Refused && error.status === 404)) this.trouble.value = error;
      }
      await pause(STILL_EACH_MS);
    }
  }

  // --- What the operator does --------------------------------------------------------------------------------------------------

  async play(): Promise<void> {
    // Refused where the browser wants a gesture first: the play button is one.
    await this.video.play().catch(() => undefined);
  }

  toggle(): void {
    if (this.mode.value === "ended" || this.mode.value === "idle") void this.live();
    else if (this.video.paused) void this.play();
    else this.video.pause();
  }

  setRate(rate: number): void {
    this.rate.value = rate;
    this.video.playbackRate = rate;
  }

  /** To an instant: at once where the buffer has it. */
  seek(at: number, options: Options = {}): void {
    const place = this.feed?.has(at) && this.mode.value === "recorded" && options.until === this.until ? this.feed.mediaAt(at) : null;
    if (place === null) void this.from(at, options);
    else {
      this.notice.value = null;
      this.video.currentTime = place + JUST_INSIDE_S;
      if (options.paused) this.video.pause();
      else void this.play();
    }
  }

  /** One picture on or back, each shown once; steps that come faster than pictures wait for one another. */
  step(direction: 1 | -1): Promise<void> {
    this.steps = this.steps.then(() => this.stepOnce(direction)).catch((error: unknown) => { this.trouble.value = error; });
    return this.steps;
  }

  private async stepOnce(direction: 1 | -1): Promise<void> {
    const { feed, video } = this;
    if (!feed) return;
    video.pause();
    const current = feed.pictures.findLastIndex((at) => at <= this.picture + JUST_INSIDE_S);
    const next = feed.pictures[current + direction];
    if (next !== undefined && current >= 0) {
      await this.showing(() => { video.currentTime = next + JUST_INSIDE_S; });
      return;
    }
    const first = feed.wallAt(feed.pictures[0] ?? Number.NaN);
    const before = direction < 0 && first !== null ? await this.footageBefore(first, this.run.signal) : null;
    if (before !== null) await this.showing(() => void this.from(before, { paused: true, last: true }));
  }

  /** Until another picture is on screen, or none came. */
  private async showing(change: () => void): Promise<void> {
    const before = this.picture;
    const shown = new Promise<void>((resolve) => {
      const end = this.shown.subscribe(() => {
        if (this.picture === before || this.picture === 0) return;
        resolve();
        queueMicrotask(() => end());
      });
    });
    change();
    await Promise.race([shown, pause(ANSWER_MS)]);
  }

  /** Where pictures lie in time, for the timeline. */
  picturesBetween(start: number, end: number): number[] {
    const { feed } = this;
    if (!feed) return [];
    return feed.pictures.map((at) => feed.wallAt(at) ?? 0).filter((at) => at >= start && at <= end);
  }
}
