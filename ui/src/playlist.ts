// HLS media playlists (RFC 8216), as the gateway writes them.

export interface Segment {
  sequence: number;
  url: URL;
  map: URL;
  /** When its first picture was filmed, by the wall clock, in milliseconds. */
  filmed: number;
  /** In seconds of media time. */
  duration: number;
  discontinuity: boolean;
}

export interface Playlist {
  segments: Segment[];
  /** Each segment can be decoded without those before it. */
  independent: boolean;
}

export function parsePlaylist(text: string, base: URL): Playlist {
  const segments: Segment[] = [];
  let sequence = 0, map: URL | null = null, filmed = Number.NaN, duration = 0, discontinuity = false;
  for (const line of text.split("\n").map((l) => l.trim())) {
    const value = (tag: string): string | null => (line.startsWith(tag) ? line.slice(tag.length) : null);
    const mapUri = /^#EXT-X-MAP:.*URI="([^"]*)"/.exec(line)?.[1];
    if (mapUri !== undefined) map = new URL(mapUri, base);
    else if (value("#EXT-X-MEDIA-SEQUENCE:")) sequence = Number(value("#EXT-X-MEDIA-SEQUENCE:"));
    else if (value("#EXT-X-PROGRAM-DATE-TIME:")) filmed = Date.parse(value("#EXT-X-PROGRAM-DATE-TIME:") ?? "");
    else if (value("#EXTINF:")) duration = Number.parseFloat(value("#EXTINF:") ?? "0");
    else if (line === "#EXT-X-DISCONTINUITY") discontinuity = true;
    else if (line && !line.startsWith("#") && map) {
      segments.push({ sequence: sequence + segments.length, url: new URL(line, base), map, filmed, duration, discontinuity });
      filmed += duration * 1000;
      discontinuity = false;
    }
  }
  return { segments, independent: text.includes("#EXT-X-INDEPENDENT-SEGMENTS") };
}
