// The plain page: one camera at a time, live or from its recording. No dependency, no build step.

const $ = (id) => document.getElementById(id);
const video = $("video");

const CLIP_MINUTES = 10;
const RESOLUTION_MS = 5000;
const LIVE_POLL_MS = 300;
const LIVE_MARGIN_S = 0.4; // kept in the buffer beyond a segment, for a poll and a fetch
const LIVE_BEHIND_MAX_S = 3; // further behind than this, playback jumps
const LIVE_BEGINS_S = 4; // of the past, where segments can be decoded one by one

const CAUSES = {
  gateway_stopped: "passerelle arrêtée",
  gateway_crashed: "passerelle interrompue brutalement",
  connect_failed: "caméra injoignable",
  unauthorized: "identifiants refusés par la caméra",
  unsupported_media: "codage non pris en charge",
  protocol_error: "réponse incorrecte de la caméra",
  setup_timeout: "la caméra n’a pas répondu à temps",
  silent: "caméra muette",
  disconnected: "connexion fermée par la caméra",
  packet_loss: "paquets perdus sur le réseau",
  clock_step: "saut de l’horloge de la passerelle",
  disk_full: "disque plein",
  disk_slow: "disque trop lent",
  write_failed: "erreur d’écriture sur le disque",
  corrupt: "enregistrement endommagé",
  reconfigured: "caméra modifiée dans la configuration",
  not_authorised: "autorisation préfectorale absente ou terminée",
};
const GATEWAY_CAUSES = new Set(["gateway_stopped", "gateway_crashed", "clock_step", "disk_full", "disk_slow", "write_failed", "corrupt", "reconfigured", "not_authorised"]);
const STATES = {
  removed: "retirée de la configuration",
  starting: "démarrage",
  connected: "connectée, pas encore d’image",
  recording: "enregistrement en cours",
  gap: "interruption",
};
const PROBLEMS = {
  "no-footage": "Aucune image n’est enregistrée à cet instant.",
  "no-camera": "Cette caméra n’existe pas.",
  "invalid-request": "La demande n’est pas valable.",
  "unauthorized": "Identification refusée.",
  "not-permitted": "Votre désignation ne le permet pas.",
  "reason-missing": "Un motif est demandé avant de montrer des images : rechargez la page pour l’indiquer.",
  "unavailable": "Les images ne sont pas accessibles pour le moment : réessayez plus tard.",
  "no-picture": "L’image n’a pas pu être décodée.",
  "timed-out": "La réponse a pris trop de temps : réessayez.",
  "footage-lost": "Cet enregistrement est perdu ou endommagé.",
  "no-room": "La passerelle n’a plus de place.",
};

const state = {
  zone: "Europe/Paris",
  clockSkewMs: 0, // gateway's clock minus this browser's
  cameras: [],
  camera: null,
  footage: null,
  view: { start: 0, end: 1, follow: true },
  cursor: null,
  player: null,
};

// --- Gateway ---------------------------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, type) {
    super(PROBLEMS[(type ?? "").split(":").pop()] ?? `La passerelle a répondu par une erreur (${status}).`);
    this.status = status;
  }
}

/** Asks why footage is looked at; false where nobody says. */
async function stateReason() {
  const reason = window.prompt("Motif de la consultation (il figure au journal) :")?.trim();
  if (!reason) return false;
  const headers = { "Content-Type": "application/json" };
  return (await fetch("api/me/reason", { method: "PUT", headers, body: JSON.stringify({ reason }) })).ok;
}

async function ask(path, options) {
  const response = await fetch(path, { cache: "no-store", ...options });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  if ((problem.type ?? "").endsWith(":signed-out") && !state.leaving) location.replace("sign-in");
  throw new Refused(response.status, problem.type ?? (response.status === 404 ? "no-footage" : ""));
}

const now = () => Date.now() + state.clockSkewMs;
const iso = (ms) => new Date(ms).toISOString();
const cameraPath = (rest) => `api/cameras/${encodeURIComponent(state.camera.id)}/${rest}`;
const clipPath = (start, end) => cameraPath(`clip.mp4?start=${iso(start)}&end=${iso(end)}`);

function complain(error) {
  const message = error instanceof Refused ? error.message : "La passerelle ne répond pas.";
  if (!(error instanceof Refused)) console.error(error);
  $("alert").textContent = message;
  $("alert").hidden = false;
}

const content = () => { $("alert").hidden = true; };

// --- Times in the gateway's zone -------------------------------------------------------------------------------------

function format(ms, options) {
  return new Intl.DateTimeFormat("fr-FR", { timeZone: state.zone, ...options }).format(ms);
}
const clockTime = (ms) => format(ms, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const fullTime = (ms) => format(ms, { dateStyle: "full", timeStyle: "medium" });

// Year to second of an instant, as read on a clock in the zone, packed as if it were UTC.
function wallClock(ms) {
  const parts = new Intl.DateTimeFormat("en-GB", {
    timeZone: state.zone, hourCycle: "h23",
    year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric",
  }).formatToParts(ms);
  const part = (type) => Number(parts.find((p) => p.type === type).value);
  return Date.UTC(part("year"), part("month") - 1, part("day"), part("hour"), part("minute"), part("second"));
}

// The instant at which a clock in the zone shows this: its first passage in the hour that autumn repeats, an hour later in
// the one that spring leaves out.
function fromWallClock(wall) {
  const offset = (at) => wallClock(at) - at;
  const candidates = [wall - offset(wall - 86400e3), wall - offset(wall + 86400e3)].sort((a, b) => a - b);
  return candidates.find((at) => wallClock(at) === wall) ?? candidates[1];
}

const inputDate = (ms) => new Date(wallClock(ms)).toISOString().slice(0, 10);
const inputDateTime = (ms) => new Date(wallClock(ms)).toISOString().slice(0, 19);
const parseInput = (text) => fromWallClock(Date.parse(`${text.length === 16 ? `${text}:00` : text}Z`));
const dayStart = (ms) => fromWallClock(Date.parse(`${inputDate(ms)}T00:00:00Z`));
const nextDay = (start) => dayStart(start + 36 * 3600e3);

function length(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

// --- Live: the HLS playlist through Media Source Extensions ----------------------------------------------------------

// Where the content of a box with this name begins; -1 without one.
function boxOf(init, name) {
  for (let i = 4; i + 24 < init.length; i++) {
    if ([...name].every((c, k) => init[i + k] === c.charCodeAt(0))) return i + 4;
  }
  return -1;
}

// The `codecs` parameter (RFC 6381) of the video of an initialisation segment.
function codecsOf(init) {
  const find = (name) => boxOf(init, name);
  const hex = (byte) => byte.toString(16).padStart(2, "0");
  const avc = find("avcC");
  if (avc > 0) return `${find("avc3") > 0 ? "avc3" : "avc1"}.${hex(init[avc + 1])}${hex(init[avc + 2])}${hex(init[avc + 3])}`;
  const hevc = find("hvcC");
  if (hevc < 0) return null;
  // ISO/IEC 14496-15 Annex E.3: profile space and number, reversed compatibility flags, tier and level, constraints.
  const space = ["", "A", "B", "C"][init[hevc + 1] >> 6];
  let flags = 0;
  for (let bit = 0; bit < 32; bit++) if (init[hevc + 2 + (bit >> 3)] & (0x80 >> (bit & 7))) flags += 2 ** bit;
  const constraints = [...init.slice(hevc + 6, hevc + 12)];
  while (constraints.length && constraints.at(-1) === 0) constraints.pop();
  const tier = init[hevc + 1] & 0x20 ? "H" : "L";
  return [`${find("hev1") > 0 ? "hev1" : "hvc1"}.${space}${init[hevc + 1] & 0x1f}`, flags.toString(16), `${tier}${init[hevc + 12]}`, ...constraints.map((b) => b.toString(16))].join(".");
}

// The same of its sound: null without any, "" where browsers have no decoder for it, as for G.711.
function soundOf(init) {
  if (boxOf(init, "soun") < 0) return null;
  let at = boxOf(init, "esds") + 4;
  if (at < 4) return "";
  // ISO/IEC 14496-1 §7.2.6: ES_Descriptor, DecoderConfigDescriptor, DecoderSpecificInfo, each with a tag and a length.
  const enter = (tag) => {
    if (init[at++] !== tag) return false;
    while (init[at++] & 0x80);
    return true;
  };
  if (!enter(3)) return "";
  at += 3;
  if (!enter(4)) return "";
  const type = init[at];
  at += 13;
  // ISO/IEC 14496-3 §1.6.2.1: the audio object type is the first five bits.
  return type === 0x40 && enter(5) ? `mp4a.40.${init[at] >> 3}` : "";
}

// The camera has sound that this player was not made for, or has none any more: another player has to begin.
class OtherTracks extends Error {
  constructor(tracks) {
    super("tracks");
    this.tracks = tracks;
  }
}

const independent = (playlist) => playlist.includes("#EXT-X-INDEPENDENT-SEGMENTS");

function parsePlaylist(text) {
  const segments = [];
  let sequence = 0, map = null, time = null, duration = 0;
  for (const line of text.split("\n").map((l) => l.trim())) {
    if (line.startsWith("#EXT-X-MEDIA-SEQUENCE:")) sequence = Number(line.slice(22));
    else if (line.startsWith("#EXT-X-MAP:")) map = /URI="([^"]*)"/.exec(line)?.[1];
    else if (line.startsWith("#EXT-X-PROGRAM-DATE-TIME:")) time = Date.parse(line.slice(25));
    else if (line.startsWith("#EXTINF:")) duration = parseFloat(line.slice(8));
    else if (line && !line.startsWith("#")) {
      segments.push({ sequence: sequence + segments.length, map, uri: line, time, duration });
      if (time !== null) time += duration * 1000;
    }
  }
  return segments;
}

class LivePlayer {
  constructor(tracks = "all") {
    this.tracks = tracks; // "video": its sound is left out
    this.sound = null;
    this.stopped = new AbortController();
    this.last = -1;
    this.map = null;
    this.marks = []; // where in the buffer which wall-clock time begins
    this.waiting = false;
    this.delay = 1 + LIVE_MARGIN_S; // from the live edge, when a segment has just come, in seconds
  }

  start() {
    this.playlist = cameraPath(`hls/live.m3u8?tracks=${this.tracks}`);
    if (!window.MediaSource) { // iPhone: its own player reads HLS
      this.startNative();
      return;
    }
    this.source = new MediaSource();
    video.src = URL.createObjectURL(this.source);
    this.source.addEventListener("sourceopen", () => this.run(), { once: true, signal: this.stopped.signal });
    video.play().catch(() => {});
  }

  async startNative() {
    try {
      const base = new URL(this.playlist, document.baseURI);
      const segments = parsePlaylist(await (await ask(base, { signal: this.stopped.signal })).text());
      const init = segments.length ? await this.bytes(new URL(segments.at(-1).map, base)) : null;
      if (init && soundOf(init) === "") throw new OtherTracks("video");
      video.src = this.playlist;
      await video.play();
    } catch (error) {
      if (error instanceof OtherTracks) playLive(error.tracks);
      else if (!this.stopped.signal.aborted && error.name !== "NotAllowedError") complain(error);
    }
  }

  stop() {
    this.stopped.abort();
    if (video.src.startsWith("blob:")) URL.revokeObjectURL(video.src);
    video.removeAttribute("src");
    video.load();
  }

  async run() {
    const { signal } = this.stopped;
    while (!signal.aborted) {
      try {
        await this.follow();
        if (this.waiting) content();
        this.waiting = false;
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof OtherTracks) return playLive(error.tracks);
        if (error.name === "NotSupportedError") return complainOf("Ce navigateur ne lit pas le codage de cette caméra : téléchargez la séquence.");
        if (!this.waiting) complain(error instanceof Refused && error.status === 404 ? new Refused(404, "no-footage") : error);
        this.waiting = true;
      }
      await new Promise((resolve) => setTimeout(resolve, this.waiting ? 3 * LIVE_POLL_MS : LIVE_POLL_MS));
    }
  }

  async follow() {
    const { signal } = this.stopped;
    const base = new URL(this.playlist, document.baseURI);
    const text = await (await ask(base, { signal })).text();
    const segments = parsePlaylist(text);
    const first = this.last < 0;
    this.delay = Math.max(...segments.map((s) => s.duration), 1) + LIVE_MARGIN_S;
    let fresh = segments.filter((s) => s.sequence > this.last);
    // The playlist began again: another gateway, say.
    if (segments.length && segments.at(-1).sequence < this.last) fresh = segments;
    if (first && independent(text)) {
      fresh = fresh.filter((_, i) => fresh.slice(i + 1).reduce((sum, s) => sum + s.duration, 0) < LIVE_BEGINS_S);
    }
    for (const segment of fresh) {
      if (segment.map !== this.map) await this.initialise(new URL(segment.map, base));
      this.map = segment.map;
      const bytes = await this.bytes(new URL(segment.uri, base));
      const before = this.end();
      await this.append(bytes);
      this.last = segment.sequence;
      if (segment.time !== null) this.marks.push({ at: before, time: segment.time });
      if (!first) this.keepUp();
    }
    if (first && fresh.length) this.begin(fresh.at(-1));
    await this.trim();
  }

  async bytes(url) {
    const response = await ask(url, { signal: this.stopped.signal, cache: "default" });
    return new Uint8Array(await response.arrayBuffer());
  }

  async initialise(url) {
    const init = await this.bytes(url);
    const codecs = codecsOf(init), sound = soundOf(init);
    const type = `video/mp4; codecs="${sound ? `${codecs},${sound}` : codecs}"`;
    if (sound !== null && (sound === "" || !MediaSource.isTypeSupported(type))) throw new OtherTracks("video");
    if (!MediaSource.isTypeSupported(type)) throw new DOMException(type, "NotSupportedError");
    // A source buffer keeps its number of tracks (Media Source Extensions, initialization segment received).
    if (this.buffer && (sound === null) !== (this.sound === null)) throw new OtherTracks("all");
    this.sound = sound;
    if (!this.buffer) {
      this.buffer = this.source.addSourceBuffer(type);
      this.buffer.mode = "sequence"; // one run after the other, whatever their decode times
    } else {
      this.buffer.changeType(type);
    }
    await this.append(init);
  }

  async append(bytes) {
    this.buffer.appendBuffer(bytes);
    await this.settled();
  }

  settled() {
    return new Promise((resolve, reject) => {
      this.buffer.addEventListener("updateend", resolve, { once: true });
      this.buffer.addEventListener("error", () => reject(new Error("MSE")), { once: true });
    });
  }

  end() {
    const { buffered } = this.buffer;
    return buffered.length ? buffered.end(buffered.length - 1) : 0;
  }

  // At the delay that will last: the next segment is due all the sooner, the older the last one is.
  begin(last) {
    const age = last.time === null ? 0 : Math.max((now() - last.time) / 1000 - last.duration, 0);
    video.currentTime = Math.max(this.end() - Math.max(this.delay - age, LIVE_MARGIN_S), 0);
  }

  // Back to the live edge when playback has fallen behind; a paused player stays where it is.
  keepUp() {
    const behind = this.end() - video.currentTime - this.delay;
    if (!video.paused && behind > LIVE_BEHIND_MAX_S) video.currentTime = this.end() - this.delay;
    video.playbackRate = behind > LIVE_MARGIN_S ? 1.05 : 1;
  }

  async trim() {
    const { buffered } = this.buffer ?? { buffered: [] };
    const until = video.currentTime - 60;
    if (buffered.length && until - buffered.start(0) > 30) {
      this.buffer.remove(0, until);
      await this.settled();
      this.marks = this.marks.filter((mark) => mark.at >= until - 10);
    }
  }

  shownAt() {
    const mark = this.marks.findLast((m) => m.at <= video.currentTime + 0.05);
    return mark ? mark.time + (video.currentTime - mark.at) * 1000 : null;
  }
}

// --- Clips -----------------------------------------------------------------------------------------------------------

class ClipPlayer {
  constructor(start, end, goesOn) {
    this.start_ms = start;
    this.end_ms = end;
    this.goesOn = goesOn;
  }

  async start() {
    const range = `start=${iso(this.start_ms)}&end=${iso(this.end_ms)}&gaps=joined`;
    const { parts } = await (await ask(cameraPath(`clip.json?${range}`))).json();
    const ms = ({ start, end }) => ({ start: Date.parse(start), end: Date.parse(end) });
    this.spans = parts[0].pictures.map(ms);
    // Another coding is another file: it is played when this one has ended.
    this.next_ms = parts.length > 1 ? ms(parts[1]).start : null;
    const path = cameraPath(`clip.mp4?${range}${parts.length > 1 ? "&part=1" : ""}`);
    video.src = path;
    await video.play().catch(() => {});
  }

  stop() {
    video.removeAttribute("src");
    video.load();
  }

  shownAt() {
    let left = video.currentTime * 1000;
    for (const span of this.spans ?? []) {
      if (left <= span.end - span.start) return span.start + left;
      left -= span.end - span.start;
    }
    return this.start_ms + video.currentTime * 1000;
  }
}

async function play(player, mode) {
  state.player?.stop();
  state.player = player;
  content();
  const live = mode === "live";
  $("badge").textContent = live ? "Direct" : "Enregistrement";
  $("badge").dataset.mode = mode;
  const directly = player.tracks === "video" ? "En direct, sans le son (ce navigateur ne le lit pas) :" : "En direct :";
  $("mode").textContent = live ? directly : "Enregistrement du";
  $("live").setAttribute("aria-pressed", String(live));
  video.muted = true;
  video.playbackRate = 1;
  try {
    await player.start();
  } catch (error) {
    if (state.player === player) complain(error);
  }
}

const playLive = (tracks) => play(new LivePlayer(tracks), "live");

// Plays on from an instant, clip after clip, up to what is live; with an end, that sequence alone.
function playFrom(start, wanted) {
  const end = wanted ?? Math.min(start + CLIP_MINUTES * 60e3, now());
  if (end - start < 1000) return playLive();
  state.cursor = start;
  $("from").value = inputDateTime(start);
  $("to").value = inputDateTime(end);
  offerDownload();
  return play(new ClipPlayer(start, end, wanted === undefined), "clip");
}

function complainOf(message) {
  $("alert").textContent = message;
  $("alert").hidden = false;
}

video.addEventListener("ended", () => {
  const player = state.player;
  if (player?.next_ms) playFrom(player.next_ms, player.goesOn ? undefined : player.end_ms);
  else if (player?.goesOn) playFrom(player.end_ms);
});
video.addEventListener("error", () => {
  if (video.getAttribute("src") && state.player instanceof ClipPlayer) {
    complainOf("Ce navigateur ne peut pas lire cette séquence : téléchargez-la.");
  }
});
video.addEventListener("timeupdate", showTime);

function showTime() {
  const at = state.player?.shownAt?.();
  $("shown").textContent = at ? fullTime(at) : "";
  $("shown").dateTime = at ? iso(at) : "";
  $("snapshot").hidden = !at;
  if (at) {
    $("snapshot").href = cameraPath(`snapshot.jpg?at=${iso(at)}`);
    $("snapshot").download = `${state.camera.id}_${iso(at).replace(/[-:]|\.\d+/g, "")}.jpg`;
    state.cursor = at;
    moveCursor();
  }
}

// --- Timeline --------------------------------------------------------------------------------------------------------

async function timelineOf(start, end) {
  const path = cameraPath(`timeline?start=${iso(start)}&end=${iso(end)}&resolution_ms=${RESOLUTION_MS}`);
  return (await ask(path)).json();
}

function setView(around) {
  const minutes = Number($("zoom").value);
  if (minutes === 1440) {
    const start = dayStart(around);
    state.view = { start, end: nextDay(start) };
  } else {
    const span = minutes * 60e3;
    const end = Math.min(around + span / 2, now() + span / 20);
    state.view = { start: end - span, end };
  }
  state.view.follow = state.view.end > now();
  if (document.activeElement !== $("day")) $("day").value = inputDate(Math.min(around, state.view.end - 1));
  drawTicks();
  return drawTimeline();
}

const share = (ms) => ((ms - state.view.start) / (state.view.end - state.view.start)) * 100;

function stretch(className, start, end, title) {
  const from = Math.max(share(start), 0), to = Math.min(share(end), 100);
  if (to <= from) return null;
  const mark = document.createElement("i");
  mark.className = className;
  mark.style.left = `${from}%`;
  mark.style.width = `${to - from}%`;
  if (title) mark.title = title;
  return mark;
}

const gapText = (gap) => {
  const lost = gap.lost_packets ? `, ${gap.lost_packets} paquets` : "";
  const filled = gap.filled_ms ? `, comblée sur ${length(gap.filled_ms)} par l'enregistrement de la caméra` : "";
  return `${CAUSES[gap.cause] ?? gap.cause}${lost}${filled}`;
};

async function drawTimeline() {
  if (!state.camera) return;
  const { view, camera } = state;
  let timeline;
  try {
    timeline = await timelineOf(view.start, view.end);
  } catch (error) {
    return complain(error);
  }
  if (view !== state.view || camera !== state.camera) return;
  const gaps = timeline.gaps.map((g) => ({ ...g, from: Date.parse(g.start), to: g.end ? Date.parse(g.end) : now() }));
  state.gaps = gaps;
  const marks = [
    ...timeline.coverage.map((s) => stretch("covered", Date.parse(s.start), Date.parse(s.end))),
    ...gaps.map((g) => stretch(`gap ${GATEWAY_CAUSES.has(g.cause) ? "gateway" : "camera"}`, g.from, g.to,
      `${clockTime(g.from)}, ${length(g.to - g.from)} : ${gapText(g)}`)),
    ...(timeline.filled ?? []).map((s) => stretch("filled", Date.parse(s.start), Date.parse(s.end), "enregistré par la caméra elle-même")),
    stretch("future", now(), view.end),
  ].filter(Boolean);
  const cursor = document.createElement("i");
  cursor.className = "cursor";
  cursor.id = "cursor";
  $("bar").replaceChildren(...marks, cursor);
  moveCursor();
  listGaps(gaps);
}

function listGaps(gaps) {
  $("gaps-title").textContent = gaps.length ? `Interruptions (${gaps.length})` : "Aucune interruption sur cette période";
  $("gaps").replaceChildren(...gaps.slice(0, 500).map((gap) => {
    const row = document.createElement("tr");
    for (const text of [clockTime(gap.from), gap.end ? length(gap.to - gap.from) : "en cours", gapText(gap)]) {
      row.insertCell().textContent = text;
    }
    return row;
  }));
}

function drawTicks() {
  const { start, end } = state.view;
  if (end - start < 60e3) return; // no camera has been chosen yet
  const wide = $("bar").clientWidth > 600;
  const minutes = (end - start) / 60e3;
  const step = (minutes > 400 ? (wide ? 120 : 360) : minutes > 100 ? (wide ? 30 : 120) : minutes > 20 ? (wide ? 5 : 15) : (wide ? 1 : 2)) * 60e3;
  const ticks = [];
  // Steps are counted on the zone's clock, so that they fall on round hours.
  for (let wall = Math.ceil(wallClock(start) / step) * step; ; wall += step) {
    const at = fromWallClock(wall);
    if (at > end) break;
    const tick = document.createElement("span");
    tick.textContent = format(at, { hour: "2-digit", minute: "2-digit" });
    tick.style.left = `${share(at)}%`;
    if (share(at) > 2 && share(at) < 98) ticks.push(tick);
  }
  $("ticks").replaceChildren(...ticks);
}

function moveCursor() {
  const at = state.cursor ?? now();
  const cursor = $("cursor");
  if (cursor) {
    cursor.hidden = at < state.view.start || at > state.view.end;
    cursor.style.left = `${share(at)}%`;
  }
  const bar = $("bar");
  bar.setAttribute("aria-valuemin", Math.round(state.view.start / 1000));
  bar.setAttribute("aria-valuemax", Math.round(state.view.end / 1000));
  bar.setAttribute("aria-valuenow", Math.round(at / 1000));
  bar.setAttribute("aria-valuetext", fullTime(at));
}

const pointed = (event) => {
  const box = $("bar").getBoundingClientRect();
  const part = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  return state.view.start + part * (state.view.end - state.view.start);
};

const describe = (at) => {
  const gap = state.gaps?.find((g) => g.from <= at && at < g.to);
  return fullTime(at) + (gap ? ` : ${gapText(gap)}` : "");
};

$("bar").addEventListener("pointermove", (event) => { $("hover").textContent = describe(pointed(event)); });
$("bar").addEventListener("pointerleave", () => { $("hover").textContent = "\u00a0"; });
$("bar").addEventListener("click", (event) => playFrom(Math.min(pointed(event), now() - 2000)));
$("bar").addEventListener("keydown", (event) => {
  const span = state.view.end - state.view.start;
  const at = state.cursor ?? now();
  const moves = {
    ArrowLeft: at - span / 240, ArrowDown: at - span / 240, ArrowRight: at + span / 240, ArrowUp: at + span / 240,
    PageDown: at - span / 24, PageUp: at + span / 24, Home: state.view.start, End: state.view.end,
  };
  if (event.key === "Enter" || event.key === " ") playFrom(Math.min(at, now() - 2000));
  else if (event.key in moves) {
    video.pause(); // or the picture would take the cursor back
    state.cursor = Math.min(Math.max(moves[event.key], state.view.start), Math.min(state.view.end, now()));
    $("hover").textContent = describe(state.cursor);
    moveCursor();
  } else return;
  event.preventDefault();
});

new ResizeObserver(drawTicks).observe($("bar"));

$("zoom").addEventListener("change", () => setView(state.cursor ?? now()));
$("day").addEventListener("change", () => {
  if (!$("day").value) return;
  $("zoom").value = "1440";
  setView(parseInput(`${$("day").value}T12:00`));
});
const shift = (direction) => setView((state.view.start + state.view.end) / 2 + direction * (state.view.end - state.view.start));
$("earlier").addEventListener("click", () => shift(-1));
$("later").addEventListener("click", () => shift(1));
$("live").addEventListener("click", () => { playLive(); setView(now()); });

// --- Export ----------------------------------------------------------------------------------------------------------

function exportRange() {
  if (!$("from").value || !$("to").value) return null;
  const start = parseInput($("from").value), end = parseInput($("to").value);
  return start < end ? { start, end } : null;
}

function offerDownload() {
  const range = exportRange();
  const link = $("download");
  link.setAttribute("aria-disabled", String(!range));
  $("to").setCustomValidity(range || !$("to").value ? "" : "La fin doit suivre le début.");
  if (range) {
    link.href = clipPath(range.start, range.end);
    link.download = "";
  } else {
    link.removeAttribute("href");
  }
}

// A range in which the coding or the size of the picture changes is several files.
$("download").addEventListener("click", async (event) => {
  event.preventDefault();
  const range = exportRange();
  if (!range) return;
  try {
    const path = clipPath(range.start, range.end);
    const { parts } = await (await ask(path.replace("clip.mp4", "clip.json"))).json();
    parts.forEach(({ part }) => {
      const link = document.createElement("a");
      link.href = parts.length > 1 ? `${path}&part=${part}` : path;
      link.download = "";
      link.click();
    });
  } catch (error) {
    complain(error);
  }
});
$("from").addEventListener("input", offerDownload);
$("to").addEventListener("input", offerDownload);
$("export").addEventListener("submit", (event) => {
  event.preventDefault();
  const range = exportRange();
  if (range) playFrom(range.start, range.end);
});

// --- Cameras and their state -----------------------------------------------------------------------------------------

function statusLine(status) {
  const facts = [STATES[status.state] ?? status.state];
  if (status.cause) facts[0] += ` : ${CAUSES[status.cause] ?? status.cause}`;
  if (status.width) facts.push(`${status.width} × ${status.height}`);
  if (status.codec) facts.push(status.codec === "h265" ? "H.265" : "H.264");
  if (status.picture_rate) facts.push(`${status.picture_rate.toFixed(1).replace(".", ",")} images/s`);
  if (status.bit_rate) facts.push(`${(status.bit_rate / 1e6).toFixed(2).replace(".", ",")} Mbit/s`);
  if (status.lag_ms !== undefined) facts.push(`dernière image il y a ${length(Math.max(status.lag_ms, 0))}`);
  if (status.gateway_clock_step) {
    const { at, by_ms } = status.gateway_clock_step;
    facts.push(`horloge de la passerelle ${by_ms < 0 ? "retardée" : "avancée"} de ${length(Math.abs(by_ms))} à ${clockTime(Date.parse(at))}`);
  }
  if (Math.abs(status.camera_clock_offset_ms ?? 0) >= 1000) {
    facts.push(`horloge de la caméra décalée de ${length(Math.abs(status.camera_clock_offset_ms))}`);
  }
  if (status.odd_setup?.length) facts.push(`particularités : ${status.odd_setup.join(", ")}`);
  return facts.join(" · ");
}

$("reconnect").addEventListener("click", async () => {
  $("reconnect").disabled = true;
  try {
    await ask(cameraPath("reconnect"), { method: "POST" });
  } catch (error) {
    complain(error);
  } finally {
    $("reconnect").disabled = false;
  }
});

async function refreshStatus() {
  const asked = Date.now();
  const status = await (await ask("api/status")).json();
  state.zone = status.time_zone;
  state.clockSkewMs = Date.parse(status.now) - (asked + Date.now()) / 2;
  $("zone").textContent = `(${status.time_zone})`;
  for (const line of status.cameras) {
    const button = document.querySelector(`[data-camera="${CSS.escape(line.camera)}"]`);
    if (!button) continue;
    button.querySelector(".dot").dataset.state = line.state;
    button.querySelector("small").textContent = STATES[line.state] ?? line.state;
    if (line.camera === state.camera?.id) {
      const text = `Caméra : ${statusLine(line)}`;
      if ($("status").textContent !== text) $("status").textContent = text;
      $("reconnect").hidden = line.state !== "gap";
    }
  }
}

function listCameras() {
  $("cameras").replaceChildren(...state.cameras.map((camera) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.camera = camera.id;
    const dot = document.createElement("span");
    dot.className = "dot";
    const name = document.createElement("span");
    name.textContent = camera.name || camera.id;
    const status = document.createElement("small");
    button.append(dot, name, status);
    button.addEventListener("click", () => choose(camera));
    item.append(button);
    return item;
  }));
}

async function choose(camera) {
  state.camera = camera;
  state.cursor = null;
  for (const button of document.querySelectorAll("[data-camera]")) {
    button.setAttribute("aria-current", String(button.dataset.camera === camera.id));
  }
  $("camera-name").textContent = camera.name || camera.id;
  $("camera-place").textContent = camera.place;
  document.title = `${camera.name || camera.id} · Vigie`;
  const details = await (await ask(`api/cameras/${encodeURIComponent(camera.id)}`)).json();
  if (state.camera !== camera) return;
  const age = details.footage ? now() - Date.parse(details.footage.start) : 0;
  $("zoom").value = age < 10 * 60e3 ? "10" : age < 60 * 60e3 ? "60" : "1440";
  const last = details.footage ? Date.parse(details.footage.end) : now();
  $("to").value = inputDateTime(last);
  $("from").value = inputDateTime(Math.max(last - 60e3, details.footage ? Date.parse(details.footage.start) : 0));
  offerDownload();
  await refreshStatus();
  await setView(now());
  await playLive();
}

function every(ms, task) {
  const turn = async () => {
    if (!document.hidden) await task().catch(complain);
    setTimeout(turn, ms);
  };
  setTimeout(turn, ms);
}

/** Who is signed in, and the way out. A holder of a token signs out by closing the browser. */
async function showWho() {
  const me = await (await ask("api/me")).json();
  if (me.reason_required && !me.reason && me.rights.some((right) => right.startsWith("view_"))) await stateReason();
  if (!me.person) return;
  $("who-name").textContent = me.denied ? `${me.person.name} : désignation hors de sa validité` : me.person.name;
  $("who").hidden = false;
  $("sign-out").addEventListener("click", async () => {
    // What is asked meanwhile, and refused, leads nowhere else.
    state.leaving = true;
    const left = await ask("api/sign-out", { method: "POST" }).catch((error) => {
      state.leaving = false;
      throw error;
    });
    // Who came by an identity provider leaves there too.
    location.replace(left.status === 200 ? (await left.json()).address : "sign-in");
  });
}

async function begin() {
  await showWho();
  await refreshStatus();
  state.cameras = await (await ask("api/cameras")).json();
  listCameras();
  setInterval(() => { $("now").textContent = fullTime(now()); showTime(); }, 500);
  every(3000, refreshStatus);
  every(10000, async () => {
    if (state.view.follow) await setView(Number($("zoom").value) === 1440 ? state.view.start + 43200e3 : now());
  });
  if (state.cameras.length) await choose(state.cameras[0]);
  else $("camera-name").textContent = "Aucune caméra n’est configurée.";
}

begin().catch(complain);
