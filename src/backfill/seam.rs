//! Where the camera's own recording takes over from the footage before a cut, and where it ends before the footage after it.
//!
//! Invariant: of the pictures that come out, those beyond the last one recorded before the cut are none that was recorded
//! here. The group of pictures that the cut went through comes out from its beginning: without that, its rest could not be
//! decoded. Readers take of two groups of one time the one with more pictures, so no picture is shown twice.
//! No I/O.

use std::collections::HashSet;

use rtsp::Replayed;

use footage::units::{TICKS_PER_SECOND, Ticks90k, WallTime};

use super::beside::Known;

/// The footage after the cut is looked for from so long before its time by the camera, and no longer after it.
const NEAR_END: Ticks90k = Ticks90k(2 * TICKS_PER_SECOND);
/// And that before it until so long after its end.
const NEAR_START: Ticks90k = Ticks90k(TICKS_PER_SECOND / 2);
/// Bytes of a group of pictures that is held until it is known whether the cut goes through it.
const GROUP_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What becomes of a picture.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet, or nothing at all.
    Wait,
    /// These are to be written.
    Write(Vec<Replayed>),
    /// The footage after the cut begins: this one is there already, and all before it has come.
    Joined,
    /// The end of the cut is over.
    Over,
}

/// One cut's ends.
#[derive(Debug)]
pub(super) struct Seam {
    before: HashSet<blake3::Hash>,
    after: HashSet<blake3::Hash>,
    /// The cut by the camera's clock.
    start: WallTime,
    end: WallTime,
    /// The group of pictures that grows, before the first is written.
    group: Vec<Replayed>,
    group_bytes: usize,
    /// A picture that was recorded here has come.
    joined: bool,
    begun: bool,
}

impl Seam {
    pub(super) fn new(before: &[Known], after: &[Known], (start, end): (WallTime, WallTime)) -> Self {
        let hashes = |known: &[Known]| known.iter().map(|known| known.hash).collect();
        let (before, after) = (hashes(before), hashes(after));
        Self { before, after, start, end, group: Vec::new(), group_bytes: 0, joined: false, begun: false }
    }

    /// Takes the next picture, filmed then by the camera's clock.
    pub(super) fn take(&mut self, picture: Replayed, filmed: WallTime) -> Step {
        let hash = blake3::hash(&picture.data);
        if filmed >= self.end.saturating_sub(NEAR_END) && self.after.contains(&hash) {
            return Step::Joined;
        }
        if filmed > self.end.saturating_add(NEAR_END) {
            return Step::Over;
        }
        if self.begun {
            return Step::Write(vec![picture]);
        }
        // Pictures of a still scene may repeat.
        let is_known = filmed <= self.start.saturating_add(NEAR_START) && self.before.contains(&hash);
        if picture.random_access {
            // A group that is recorded here to its end is not taken again.
            (self.group, self.group_bytes) = (Vec::new(), 0);
        }
        if picture.random_access || !self.group.is_empty() {
            self.group_bytes += picture.data.len();
            self.group.push(picture);
        }
        if self.group_bytes > GROUP_BYTES_MAX {
            (self.group, self.group_bytes) = (Vec::new(), 0);
        }
        self.joined |= is_known;
        if is_known || !self.joined || self.group.is_empty() {
            return Step::Wait;
        }
        self.begun = true;
        Step::Write(std::mem::take(&mut self.group))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use footage::clock::Reading;
    use footage::media::{Params, VideoCodec, VideoParams};

    fn params() -> Arc<Params> {
        let video = VideoParams {
            codec: VideoCodec::H264,
            width: 16,
            height: 16,
            sample_entry: Bytes::from_static(&[0, 0, 0, 8, b'a', b'v', b'c', b'3']),
            rfc6381: "avc3.42C00D".to_owned(),
        };
        Arc::new(Params { video, audio: None })
    }

    fn picture(n: u8) -> Replayed {
        Replayed {
            data: Bytes::from(vec![n]),
            params: params(),
            timestamp: i64::from(n),
            filmed: None,
            random_access: n.is_multiple_of(10),
            follows_hole: false,
            received: Reading { wall: WallTime(0), mono: Duration::ZERO },
        }
    }

    /// A camera of a picture a second, a group of ten; recorded here up to `before` and from `after` on. What is written of
    /// the pictures of `sent`.
    fn check(before: std::ops::Range<u8>, after: std::ops::Range<u8>, sent: impl Iterator<Item = u8>, expect: &[u8]) {
        let at = |n: u8| WallTime(i64::from(n) * TICKS_PER_SECOND);
        let known = |numbers: std::ops::Range<u8>| {
            numbers.map(|n| Known { hash: blake3::hash(&[n]), at: at(n) }).collect::<Vec<_>>()
        };
        let mut seam = Seam::new(&known(before.clone()), &known(after.clone()), (at(before.end), at(after.start)));
        let mut written = Vec::new();
        for n in sent {
            match seam.take(picture(n), at(n)) {
                Step::Wait => {}
                Step::Write(pictures) => written.extend(pictures.into_iter().map(|picture| picture.data[0])),
                Step::Joined | Step::Over => break,
            }
        }
        assert_eq!(written, expect, "sent from {at:?}", at = after.start);
    }

    #[test]
    fn the_group_that_the_cut_went_through_comes_whole_and_the_footage_after_it_never() {
        check(10..14, 20..21, 0..30, &[10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        check(10..14, 18..19, 0..30, &[10, 11, 12, 13, 14, 15, 16, 17]);
    }

    #[test]
    fn a_group_that_is_recorded_to_its_end_does_not_come_again() {
        check(10..20, 30..31, 0..40, &[20, 21, 22, 23, 24, 25, 26, 27, 28, 29]);
    }

    #[test]
    fn a_picture_that_was_lost_here_begins_the_cut_earlier() {
        let at = |n: u8| WallTime(i64::from(n) * TICKS_PER_SECOND);
        let known: Vec<Known> = [10, 11, 13].iter().map(|n| Known { hash: blake3::hash(&[*n]), at: at(*n) }).collect();
        let mut seam = Seam::new(&known, &[], (at(14), at(90)));
        assert_eq!((10..12).map(|n| seam.take(picture(n), at(n))).collect::<Vec<_>>(), [Step::Wait, Step::Wait]);
        assert_eq!(seam.take(picture(12), at(12)), Step::Write(vec![picture(10), picture(11), picture(12)]));
    }

    #[test]
    fn without_a_picture_in_common_nothing_comes_and_the_end_is_the_end() {
        check(200..201, 100..101, 0..130, &[]);
        let at = |n: u8| WallTime(i64::from(n) * TICKS_PER_SECOND);
        let mut seam = Seam::new(&[Known { hash: blake3::hash(&[10]), at: at(10) }], &[], (at(11), at(12)));
        let steps: Vec<Step> = (10..16).map(|n| seam.take(picture(n), at(n))).collect();
        assert_eq!(steps[1], Step::Write(vec![picture(10), picture(11)]));
        assert_eq!(steps[5], Step::Over);
    }
}
