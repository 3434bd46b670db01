// What the player has to know of ISO base media files (ISO/IEC 14496-12): codecs, track, times of samples.
//
// Absent on purpose: anything that changes a byte; the browser's decoder gets what the gateway sent.

type View = DataView<ArrayBuffer>;

interface Box { type: string; start: number; end: number }

const TEXT = (view: View, at: number): string => String.fromCharCode(view.getUint8(at), view.getUint8(at + 1), view.getUint8(at + 2), view.getUint8(at + 3));

/** The boxes between two places; a size that leads out of them ends the list. */
function* boxes(view: View, from: number, to: number): Generator<Box> {
  for (let at = from; at + 8 <= to;) {
    let size = view.getUint32(at), head = 8;
    if (size === 1 && at + 16 <= to) {
      size = Number(view.getBigUint64(at + 8));
      head = 16;
    } else if (size === 0) size = to - at;
    if (size < head || at + size > to) return;
    yield { type: TEXT(view, at + 4), start: at + head, end: at + size };
    at += size;
  }
}

const child = (view: View, box: Box | undefined, type: string): Box | undefined =>
  box && [...boxes(view, box.start, box.end)].find((b) => b.type === type);

const path = (view: View, box: Box | undefined, ...types: string[]): Box | undefined =>
  types.reduce<Box | undefined>((at, type) => child(view, at, type), box);

const viewOf = (bytes: ArrayBuffer): [View, Box] => [new DataView(bytes), { type: "file", start: 0, end: bytes.byteLength }];

const hex = (byte: number): string => byte.toString(16).padStart(2, "0");

/** An initialisation segment, as the player needs it. */
export interface Init {
  /** For `MediaSource`. */
  mime: string;
  /** Sound: none, one that this browser may decode, or one that no browser does, such as G.711. */
  sound: "none" | "known" | "unknown";
  track: number;
  timescale: number;
  defaultDuration: number;
}

export function parseInit(bytes: ArrayBuffer): Init | null {
  const [view, file] = viewOf(bytes);
  const moov = child(view, file, "moov");
  if (!moov) return null;
  const traks = [...boxes(view, moov.start, moov.end)].filter((b) => b.type === "trak");
  const handler = (trak: Box): string => {
    const hdlr = path(view, trak, "mdia", "hdlr");
    return hdlr ? TEXT(view, hdlr.start + 8) : "";
  };
  const video = traks.find((trak) => handler(trak) === "vide"), audio = traks.find((trak) => handler(trak) === "soun");
  const tkhd = child(view, video, "tkhd"), mdhd = path(view, video, "mdia", "mdhd");
  const codec = video && videoCodec(view, path(view, video, "mdia", "minf", "stbl", "stsd"));
  if (!tkhd || !mdhd || !codec) return null;
  const long = (box: Box): boolean => view.getUint8(box.start) === 1;
  const track = view.getUint32(tkhd.start + (long(tkhd) ? 20 : 12));
  const sound = audio ? soundCodec(view, path(view, audio, "mdia", "minf", "stbl", "stsd")) : null;
  const mvex = child(view, moov, "mvex");
  const trex = mvex && [...boxes(view, mvex.start, mvex.end)].find((b) => b.type === "trex" && view.getUint32(b.start + 4) === track);
  return {
    mime: `video/mp4; codecs="${sound ? `${codec},${sound}` : codec}"`,
    sound: !audio ? "none" : sound ? "known" : "unknown",
    track,
    timescale: view.getUint32(mdhd.start + (long(mdhd) ? 20 : 12)),
    defaultDuration: trex ? view.getUint32(trex.start + 12) : 0,
  };
}

/** The `codecs` parameter (RFC 6381) of the first sample entry of a video track. */
function videoCodec(view: View, stsd: Box | undefined): string | null {
  const entry = stsd && [...boxes(view, stsd.start + 8, stsd.end)][0];
  if (!entry) return null;
  // VisualSampleEntry is 78 bytes long.
  const inside: Box = { ...entry, start: entry.start + 78 };
  const avc = child(view, inside, "avcC");
  if (avc) return `${entry.type}.${[1, 2, 3].map((i) => hex(view.getUint8(avc.start + i))).join("")}`;
  const hevc = child(view, inside, "hvcC");
  if (!hevc) return null;
  // ISO/IEC 14496-15 Annex E.3: profile space and number, reversed compatibility flags, tier and level, constraints.
  const byte = (i: number): number => view.getUint8(hevc.start + i);
  const space = ["", "A", "B", "C"][byte(1) >> 6] ?? "";
  let flags = 0;
  for (let bit = 0; bit < 32; bit++) if (byte(2 + (bit >> 3)) & (0x80 >> (bit & 7))) flags += 2 ** bit;
  const constraints = [6, 7, 8, 9, 10, 11].map(byte);
  while (constraints.at(-1) === 0) constraints.pop();
  const tier = byte(1) & 0x20 ? "H" : "L";
  const parts = [`${entry.type}.${space}${byte(1) & 0x1f}`, flags.toString(16), `${tier}${byte(12)}`];
  return [...parts, ...constraints.map((b) => b.toString(16))].join(".");
}

/** The same of a sound track; null where browsers have no decoder. */
function soundCodec(view: View, stsd: Box | undefined): string | null {
  const entry = stsd && [...boxes(view, stsd.start + 8, stsd.end)][0];
  // AudioSampleEntry is 28 bytes long.
  const esds = entry && child(view, { ...entry, start: entry.start + 28 }, "esds");
  if (!esds) return null;
  let at = esds.start + 4;
  // ISO/IEC 14496-1 §7.2.6: ES_Descriptor, DecoderConfigDescriptor, DecoderSpecificInfo, each with a tag and a length.
  const enter = (tag: number): boolean => {
    if (at >= esds.end || view.getUint8(at++) !== tag) return false;
    while (at < esds.end && view.getUint8(at++) & 0x80);
    return at < esds.end;
  };
  if (!enter(3)) return null;
  at += 3;
  if (!enter(4) || at + 13 >= esds.end) return null;
  const type = view.getUint8(at);
  at += 13;
  // ISO/IEC 14496-3 §1.6.2.1: the audio object type is the first five bits.
  return type === 0x40 && enter(5) ? `mp4a.40.${view.getUint8(at) >> 3}` : null;
}

/** When a media segment's pictures are decoded and shown, in seconds of the track's own time. */
export interface Times {
  start: number;
  end: number;
  /** When each picture is shown, in order. */
  pictures: number[];
}

export function parseTimes(bytes: ArrayBuffer, init: Init): Times | null {
  const [view, file] = viewOf(bytes);
  const pictures: number[] = [];
  let start = Infinity, end = -Infinity;
  for (const moof of boxes(view, file.start, file.end)) {
    if (moof.type !== "moof") continue;
    for (const traf of boxes(view, moof.start, moof.end)) {
      if (traf.type !== "traf") continue;
      const run = parseTraf(view, traf, init);
      if (!run) continue;
      pictures.push(...run.pictures);
      start = Math.min(start, run.start);
      end = Math.max(end, run.end);
    }
  }
  return pictures.length ? { start, end, pictures: pictures.sort((a, b) => a - b) } : null;
}

function parseTraf(view: View, traf: Box, init: Init): Times | null {
  const tfhd = child(view, traf, "tfhd"), tfdt = child(view, traf, "tfdt");
  if (!tfhd || !tfdt || view.getUint32(tfhd.start + 4) !== init.track) return null;
  const flagsOf = (box: Box): number => view.getUint32(box.start) & 0xffffff;
  const has = flagsOf(tfhd);
  // §8.8.7: base data offset and sample description come before the default duration.
  const at = tfhd.start + 8 + (has & 1 ? 8 : 0) + (has & 2 ? 4 : 0);
  const usual = has & 8 ? view.getUint32(at) : init.defaultDuration;
  let decode = view.getUint8(tfdt.start) === 1 ? Number(view.getBigUint64(tfdt.start + 4)) : view.getUint32(tfdt.start + 4);
  const start = decode, pictures: number[] = [];
  for (const trun of boxes(view, traf.start, traf.end)) {
    if (trun.type !== "trun") continue;
    const flags = flagsOf(trun), count = view.getUint32(trun.start + 4);
    const width = [0x100, 0x200, 0x400, 0x800].filter((bit) => flags & bit).length * 4;
    let sample = trun.start + 8 + (flags & 1 ? 4 : 0) + (flags & 4 ? 4 : 0);
    if (width > 0 && sample + count * width > trun.end) return null;
    for (let n = 0; n < Math.min(count, 1_000_000); n++, sample += width) {
      const duration = flags & 0x100 ? view.getUint32(sample) : usual;
      const shift = flags & 0x800 ? view.getInt32(sample + width - 4) : 0;
      pictures.push((decode + shift) / init.timescale);
      decode += duration;
    }
  }
  return { start: start / init.timescale, end: decode / init.timescale, pictures };
}
