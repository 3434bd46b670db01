//! What a clip says beside its pictures, for other programs and for people.
//!
//! ```text
//! meta                                 file level, handler `null` (ISO/IEC 14496-12 §8.11.1)
//! ├ suep                               ONVIF Export File Format, surveillance export: the source of each track
//! └ cstb                               the same, start times: UTC of the origin of each track's media time
//! uuid                                 times: when each picture was filmed ([`footage::clip`])
//! uuid                                 facts: camera, place, authority, zone, clock, as JSON ([`super::facts`])
//! ```
//!
//! Absent on purpose: who took it and when. A clip is made again for each range of its bytes; the journal tells that.

use super::boxes::Out;
use super::facts::Facts;
use super::layout::Layout;
use footage::clip::{FACTS, TIMES};
use footage::units::{TICKS_PER_SECOND, Ticks90k, WallTime};

/// From the epoch of `cstb` (1601-01-01) to that of Unix.
const EPOCH_1601_SECONDS: i64 = 11_644_473_600;

/// Writes the boxes.
pub(super) fn write(out: &mut Out, layout: &Layout, told: &Facts) {
    let starts = start_times(layout);
    out.full(b"meta", 0, |out| {
        out.full(b"hdlr", 0, |out| out.put(b"\0\0\0\0null\0\0\0\0\0\0\0\0\0\0\0\0\0"));
        out.full(b"suep", 1, |out| {
            // Name of the unit; its address and its MAC, which are nobody's matter; no time, no operator.
            out.put(b"Vigie\0\0\0");
            out.put(&0u64.to_be_bytes());
            out.put(b"\0");
            out.count(starts.len());
            for (track, _) in &starts {
                out.put(&(*track as u16).to_be_bytes());
                out.put(told.source().replace('\0', " ").as_bytes());
                out.put(b"\0\0\0\0");
            }
        });
        out.boxed(b"cstb", |out| {
            out.count(starts.len());
            for (track, start) in &starts {
                out.put(&track.to_be_bytes());
                out.put(&since_1601(*start).to_be_bytes());
            }
        });
    });
    out.boxed(b"uuid", |out| {
        out.put(&TIMES);
        out.list(layout.times.encode());
    });
    out.boxed(b"uuid", |out| {
        out.put(&FACTS);
        out.put(&told.json());
    });
}

/// Of each track, when what lies at its media time zero would have been filmed.
fn start_times(layout: &Layout) -> Vec<(u32, WallTime)> {
    let start = layout.covers.start();
    let video = start.saturating_sub(Ticks90k(layout.video_edit.media_time as i64));
    let sound = layout.audio.as_ref().map(|audio| {
        let heard = start.saturating_add(Ticks90k(audio.edit.empty as i64));
        let before =
            i128::from(audio.edit.media_time) * i128::from(TICKS_PER_SECOND) / i128::from(audio.timescale.max(1));
        (2, heard.saturating_sub(Ticks90k(before as i64)))
    });
    [(1, video)].into_iter().chain(sound).collect()
}

/// In 100 ns, rounded down.
fn since_1601(at: WallTime) -> u64 {
    let ticks = i128::from(at.0) + i128::from(EPOCH_1601_SECONDS * TICKS_PER_SECOND);
    u64::try_from(ticks * 1_000 / 9).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_times_count_from_1601() {
        let check = |at: &str, expect: u64| assert_eq!(since_1601(at.parse().unwrap()), expect);
        check("1601-01-01T00:00:00Z", 0);
        check("1970-01-01T00:00:00Z", 116_444_736_000_000_000);
        check("1970-01-01T00:00:00.04Z", 116_444_736_000_400_000);
        check("1600-01-01T00:00:00Z", 0);
    }
}
