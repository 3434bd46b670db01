// Media segments in a buffer of the browser, and which instant of the wall clock each picture of it shows.
//
// Invariant: in the buffer one picture follows the other without a hole, whatever was between them; `marks` say when each stretch was
// filmed. The offset between the samples' own times and the buffer's changes only where a session of the camera ends.

import { ask } from "./api";
import { type Init, parseInit, parseTimes } from "./media";
import type { Segment } from "./playlist";

interface Mark { from: number; to: number; filmed: number }

/** Seconds between two segments of one session of a camera, at most; more is another session, or a loss. */
const STEADY_S = 0.05;
/** So far may a playlist begin before what the one before it ended with. */
const OVERLAP_S = 60;
/** Where the buffer begins: pictures may be shown before they are decoded. */
const BEGIN_S = 1;

/** The camera's tracks are others than the buffer was made for: another player has to begin. */
export class OtherTracks extends Error {}
/** The browser has no decoder for it. */
export class NotDecodable extends Error {
  constructor(readonly init: Init) {
    super(init.mime);
  }
}

export class Feed {
  private readonly source = new MediaSource();
  private readonly address = URL.createObjectURL(this.source);
  private readonly opened: Promise<void>;
  private buffer: SourceBuffer | null = null;
  private init: Init | null = null;
  private map = "";
  private marks: Mark[] = [];
  private rawEnd = Number.NaN;
  /** Where in the buffer the last picture ends, in seconds. */
  end = BEGIN_S;
  /** When the last picture ended, by the wall clock. */
  filmedEnd = Number.NEGATIVE_INFINITY;
  /** Where in the buffer each picture is, in seconds. */
  pictures: number[] = [];

  constructor(private readonly video: HTMLVideoElement, private readonly signal: AbortSignal) {
    this.opened = new Promise((resolve) => this.source.addEventListener("sourceopen", () => resolve(), { once: true }));
    video.src = this.address;
  }

  close(): void {
    URL.revokeObjectURL(this.address);
    this.video.removeAttribute("src");
    this.video.load();
  }

  get sound(): boolean {
    return this.init?.sound === "known";
  }

  async append(segment: Segment): Promise<void> {
    if (segment.map.href !== this.map) await this.begin(segment.map);
    const bytes = await this.bytes(segment.url);
    const times = this.init && parseTimes(bytes, this.init);
    if (!times || !this.buffer) return;
    const step = times.start - this.rawEnd;
    const repeats = segment.filmed < this.filmedEnd - 50 && step <= 0 && step > -OVERLAP_S;
    if (!repeats && !(step > -STEADY_S && step < STEADY_S)) this.buffer.timestampOffset = this.end - times.start;
    const offset = this.buffer.timestampOffset;
    await this.change((buffer) => buffer.appendBuffer(bytes));
    const from = times.start + offset, to = times.end + offset;
    this.marks = this.marks.filter((mark) => mark.from < from - 0.001);
    this.marks.push({ from, to, filmed: segment.filmed });
    const before = this.pictures.findLastIndex((at) => at < (times.pictures[0] ?? 0) + offset - 0.001) + 1;
    this.pictures.splice(before, Infinity, ...times.pictures.map((at) => at + offset));
    this.rawEnd = times.end;
    this.end = to;
    this.filmedEnd = segment.filmed + (to - from) * 1000;
  }

  private async bytes(url: URL): Promise<ArrayBuffer> {
    return (await ask(url, { signal: this.signal, cache: "default" })).arrayBuffer();
  }

  private async begin(map: URL): Promise<void> {
    const bytes = await this.bytes(map);
    const init = parseInit(bytes);
    if (!init) throw new Error("an initialisation segment without a video track");
    if (init.sound === "unknown" || !MediaSource.isTypeSupported(init.mime)) throw new NotDecodable(init);
    // A source buffer keeps its number of tracks (Media Source Extensions, initialization segment received).
    if (this.init && this.init.sound !== init.sound) throw new OtherTracks();
    await this.opened;
    if (!this.buffer) {
      this.buffer = this.source.addSourceBuffer(init.mime);
      this.buffer.mode = "segments";
    } else if (init.mime !== this.init?.mime) {
      this.buffer.changeType(init.mime);
    }
    await this.change((buffer) => buffer.appendBuffer(bytes));
    this.init = init;
    this.map = map.href;
  }

  private change(what: (buffer: SourceBuffer) => void): Promise<void> {
    const { buffer } = this;
    if (!buffer) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const done = new AbortController();
      const settle = (end: () => void): void => {
        done.abort();
        end();
      };
      buffer.addEventListener("updateend", () => settle(resolve), { signal: done.signal });
      buffer.addEventListener("error", () => settle(() => reject(new OtherTracks())), { signal: done.signal });
      this.signal.addEventListener("abort", () => settle(() => reject(this.signal.reason)), { signal: done.signal });
      try {
        what(buffer);
      } catch (error) {
        settle(() => reject(error));
      }
    });
  }

  /** Leaves `seconds` before what is shown. */
  async trim(seconds: number): Promise<void> {
    const until = this.video.currentTime - seconds;
    if (!this.buffer?.buffered.length || until - this.buffer.buffered.start(0) < seconds / 2) return;
    await this.change((buffer) => buffer.remove(0, until));
    const kept = this.buffer.buffered.length ? this.buffer.buffered.start(0) : this.end;
    this.marks = this.marks.filter((mark) => mark.to > kept);
    this.pictures = this.pictures.filter((at) => at >= kept - 0.001);
  }

  /** Which stretch a place in the buffer belongs to; -1 before the first. */
  private markAt(at: number): number {
    return this.marks.findLastIndex((mark) => mark.from <= at + 0.001);
  }

  /** When the picture at a place in the buffer was filmed. */
  wallAt(at: number): number | null {
    const mark = this.marks[this.markAt(at)];
    return mark ? mark.filmed + (at - mark.from) * 1000 : null;
  }

  /** Where in the buffer an instant is, or what follows it. */
  mediaAt(wall: number): number | null {
    for (const { from, to, filmed } of this.marks) {
      if (wall < filmed) return from;
      if (wall < filmed + (to - from) * 1000) return from + (wall - filmed) / 1000;
    }
    return null;
  }

  /** Whether the buffer has the picture of an instant. */
  has(wall: number): boolean {
    return this.marks.some(({ from, to, filmed }) => wall >= filmed && wall < filmed + (to - from) * 1000);
  }

  /** Where in the buffer the last picture up to an instant is. */
  lastPicture(wall: number): number | null {
    return this.pictures.findLast((at) => (this.wallAt(at) ?? Infinity) <= wall) ?? null;
  }

  /** What lies between two places in the buffer and was not filmed, if that is more than a second. */
  gapBetween(before: number, after: number): { from: number; to: number } | null {
    const [a, b] = [this.markAt(before), this.markAt(after)];
    for (let n = a; n >= 0 && n < b; n++) {
      const [mark, next] = [this.marks[n], this.marks[n + 1]];
      if (!mark || !next) continue;
      const from = mark.filmed + (mark.to - mark.from) * 1000;
      if (next.filmed - from > 1000) return { from, to: next.filmed };
    }
    return null;
  }

  get begins(): number {
    return this.marks[0]?.from ?? BEGIN_S;
  }
}
