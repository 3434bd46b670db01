// An RTSP camera (RFC 2326, interleaved) for the tests: its pictures bear their own number, it notes when it sent each, and it can be
// lost, come back, and change its format.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const RATE = 10;
export const BITS = 12;
/** So many pictures have a number of their own; then they come again. */
export const PICTURES = RATE * 90;
const PAYLOAD_BYTES_MAX = 1200;

/** H.264 of which each picture bears its number: a row of squares at its top, the lowest bit first. */
export function film(width, height, profile) {
  const folder = mkdtempSync(join(tmpdir(), "vigie-film-"));
  const squares = `if(lt(Y\\,H/4)\\,16+219*mod(floor(N/pow(2\\,floor(X*${BITS}/W)))\\,2)\\,96+(X+Y+8*N)*64/W)`;
  const file = join(folder, "film.h264");
  const source = `nullsrc=s=${width}x${height}:r=${RATE},format=gray,geq=lum='${squares}',format=yuv420p`;
  execFileSync("ffmpeg", ["-v", "error", "-f", "lavfi", "-i", source, "-frames:v", PICTURES, "-c:v", "libx264", "-preset", "veryfast",
    "-profile:v", profile, "-g", RATE, "-bf", "0", "-x264-params", "aud=1:scenecut=0", file]);
  const units = nalUnits(readFileSync(file));
  rmSync(folder, { recursive: true });
  const pictures = [];
  for (const unit of units) {
    if ((unit[0] & 31) === 9) pictures.push([]);
    else pictures.at(-1).push(unit);
  }
  const find = (type) => units.find((unit) => (unit[0] & 31) === type);
  return { pictures, sps: find(7), pps: find(8) };
}

function nalUnits(bytes) {
  const starts = [];
  for (let at = bytes.indexOf("\0\0\x01", 0, "latin1"); at >= 0; at = bytes.indexOf("\0\0\x01", at + 3, "latin1")) starts.push(at + 3);
  return starts.map((start, n) => {
    let end = n + 1 < starts.length ? starts[n + 1] - 3 : bytes.length;
    while (bytes[end - 1] === 0) end--;
    return bytes.subarray(start, end);
  });
}

export class Camera {
  sent = new Map(); // when the picture of each number was sent last
  #sockets = new Set();
  #playing = new Map();
  #number = 0;

  constructor(first) {
    this.film = first;
    this.server = null;
    this.port = 0;
  }

  async start() {
    this.server = createServer((socket) => this.#serve(socket));
    await new Promise((resolve) => this.server.listen(this.port, "127.0.0.1", resolve));
    this.port = this.server.address().port;
    const begun = performance.now() - this.#number * 1000 / RATE;
    this.timer = setInterval(() => {
      while (performance.now() - begun >= this.#number * 1000 / RATE) this.#send(this.#number++);
    }, 10);
  }

  /** As when it loses its power: connections end, and nobody answers. */
  async stop() {
    clearInterval(this.timer);
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Ends what is connected; who comes back gets the film that it has then. */
  drop() {
    for (const socket of this.#sockets) socket.destroy();
  }

  #serve(socket) {
    this.#sockets.add(socket);
    socket.on("close", () => { this.#sockets.delete(socket); this.#playing.delete(socket); });
    socket.on("error", () => {});
    let text = Buffer.alloc(0);
    socket.on("data", (bytes) => {
      text = Buffer.concat([text, bytes]);
      for (;;) {
        if (text[0] === 36) { // receiver reports
          if (text.length < 4 || text.length < 4 + text.readUInt16BE(2)) return;
          text = text.subarray(4 + text.readUInt16BE(2));
          continue;
        }
        const end = text.indexOf("\r\n\r\n");
        if (end < 0) return;
        this.#answer(socket, text.subarray(0, end).toString());
        text = text.subarray(end + 4);
      }
    });
  }

  #answer(socket, request) {
    const [method, url] = request.split(" "), sequence = /^CSeq: *(\d+)/im.exec(request)?.[1];
    const headers = [`CSeq: ${sequence}`, "Session: 12345678;timeout=60"];
    let body = "";
    if (method === "OPTIONS") headers.push("Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN");
    if (method === "DESCRIBE") {
      const { sps, pps } = this.film;
      const sets = `${sps.toString("base64")},${pps.toString("base64")}`;
      body = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=test", "c=IN IP4 127.0.0.1", "t=0 0", "m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000",
        `a=fmtp:96 packetization-mode=1;profile-level-id=${sps.subarray(1, 4).toString("hex")};sprop-parameter-sets=${sets}`,
        "a=control:track1", ""].join("\r\n");
      headers.push("Content-Type: application/sdp", `Content-Base: ${url}/`, `Content-Length: ${body.length}`);
    }
    if (method === "SETUP") headers.push("Transport: RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=0000000a");
    socket.write(`RTSP/1.0 200 OK\r\n${headers.join("\r\n")}\r\n\r\n${body}`);
    if (method === "PLAY") this.#playing.set(socket, { film: this.film, sequence: 0, begun: false });
    if (method === "TEARDOWN") socket.end();
  }

  #send(number) {
    for (const [socket, stream] of this.#playing) {
      const shown = number % PICTURES, units = stream.film.pictures[shown];
      stream.begun ||= shown % RATE === 0;
      if (!stream.begun) continue;
      this.sent.set(shown, Date.now());
      units.forEach((unit, n) => {
        for (const [payload, last] of packets(unit)) {
          const header = Buffer.from([36, 0, 0, 0, 0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]);
          header.writeUInt16BE(12 + payload.length, 2);
          if (last && n === units.length - 1) header[5] |= 0x80;
          header.writeUInt16BE(stream.sequence++ & 0xffff, 6);
          header.writeUInt32BE((number * 90_000 / RATE) >>> 0, 8);
          socket.write(Buffer.concat([header, payload]));
        }
      });
    }
  }
}

/** A NAL unit as it is, or in fragments (RFC 6184 §5.8), each with whether it is the last. */
function packets(unit) {
  if (unit.length <= PAYLOAD_BYTES_MAX) return [[unit, true]];
  const found = [];
  for (let at = 1; at < unit.length; at += PAYLOAD_BYTES_MAX) {
    const end = Math.min(at + PAYLOAD_BYTES_MAX, unit.length);
    const flags = (at === 1 ? 0x80 : 0) | (end === unit.length ? 0x40 : 0);
    found.push([Buffer.concat([Buffer.from([(unit[0] & 0xe0) | 28, flags | (unit[0] & 31)]), unit.subarray(at, end)]), end === unit.length]);
  }
  return found;
}
