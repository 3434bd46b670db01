//! Pictures of the camera's own recording become fragments and packs, at the gateway's times.
//!
//! Invariant: a run is one stretch that the card has without a hole. A fragment begins when its first picture was filmed, and
//! ends when the next begins; none reaches beyond the cut's end.

use std::collections::VecDeque;
use std::sync::Arc;

use rtsp::Replayed;

use super::beside::Proof;
use super::{Parts, Refused};
use crate::event::EdgeRefusal;
use crate::index::Change;
use crate::spool::Growing;
use footage::fragment::Fragmenter;
use footage::media::{AccessUnit, Fragment, Params, Track};
use footage::pack::{PackHeader, Stamp};
use footage::units::{CameraKey, PackId, RunId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

/// Where a picture's time goes on otherwise than its timestamp by more, the camera's clock moved, or the card has a hole.
const STEP_MAX: i64 = TICKS_PER_SECOND / 2;
/// Times of the pictures that a fragment may have.
const TIMES_MAX: usize = 8_192;

/// The gateway's times of the camera's: what is proven at either end, and in a straight line between.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// By the gateway's clock.
    cut: TimeRange,
    before: Ticks90k,
    after: Ticks90k,
}

impl Times {
    pub(super) fn new(cut: TimeRange, before: Proof, after: Proof) -> Self {
        Self { cut, before: before.offset, after: after.offset }
    }

    /// The cut by the camera's clock.
    pub(super) fn by_camera(&self) -> (WallTime, WallTime) {
        (self.cut.start().saturating_add(self.before), self.cut.end().saturating_add(self.after))
    }

    /// When a picture was filmed by the gateway's clock.
    pub(super) fn of(&self, filmed: WallTime) -> WallTime {
        let (start, end) = self.by_camera();
        let length = i128::from(end.since(start).0.max(1));
        let since = i128::from(filmed.since(start).0).clamp(0, length);
        let moved = i128::from(self.after.0.saturating_sub(self.before.0)) * since / length;
        filmed.saturating_sub(Ticks90k(self.before.0.saturating_add(moved as i64)))
    }
}

/// A stretch that the card has without a hole.
struct Stretch {
    run: RunId,
    params: Arc<Params>,
    fragmenter: Fragmenter,
    pack: Option<Arc<Growing>>,
    /// Bytes and media time of that.
    size: (u64, Ticks90k),
    /// When the pictures since the last fragment were filmed, by their timestamps.
    times: VecDeque<(i64, WallTime)>,
    last: (i64, WallTime),
    /// End of the last fragment.
    end: Option<WallTime>,
}

/// What is being filled into one cut.
pub(super) struct Filling<'a> {
    parts: &'a Parts,
    camera: &'a CameraKey,
    times: Times,
    stretch: Option<Stretch>,
    /// Nothing lies before.
    not_before: WallTime,
    /// Every pack that was begun.
    pub(super) packs: Vec<PackId>,
    /// How much of the cut has footage now that had none.
    pub(super) filled: Ticks90k,
}

impl<'a> Filling<'a> {
    pub(super) fn new(parts: &'a Parts, camera: &'a CameraKey, times: Times) -> Self {
        let not_before = WallTime(i64::MIN);
        Self { parts, camera, times, stretch: None, not_before, packs: Vec::new(), filled: Ticks90k::ZERO }
    }

    /// Takes the next picture, filmed then by the camera's clock.
    pub(super) async fn take(&mut self, picture: Replayed, filmed: WallTime) -> Result<(), Refused> {
        if let Some(stretch) = &self.stretch {
            let (timestamp, last) = stretch.last;
            let by_clock = filmed.since(last).0;
            let apart = by_clock.saturating_sub(picture.timestamp.saturating_sub(timestamp)).saturating_abs();
            if apart > STEP_MAX && (by_clock < 0 || !picture.follows_hole) {
                return Err(Refused::Settled(EdgeRefusal::ClockMoved));
            }
            if apart > STEP_MAX || picture.follows_hole || (picture.random_access && picture.params != stretch.params) {
                self.close(false).await?;
            }
        }
        if self.stretch.is_none() {
            // What follows a hole is decoded from the next random access point on.
            if !picture.random_access {
                return Ok(());
            }
            self.stretch = Some(Stretch {
                run: RunId::generate_edge(self.times.of(filmed)),
                params: picture.params.clone(),
                fragmenter: Fragmenter::new(picture.params.clone()),
                pack: None,
                size: (0, Ticks90k::ZERO),
                times: VecDeque::new(),
                last: (picture.timestamp, filmed),
                end: None,
            });
        }
        let Some(stretch) = &mut self.stretch else { return Ok(()) };
        stretch.last = (picture.timestamp, filmed);
        if stretch.times.len() == TIMES_MAX {
            stretch.times.pop_front();
        }
        stretch.times.push_back((picture.timestamp, filmed));
        let fragment = stretch.fragmenter.push(AccessUnit {
            track: Track::Video,
            timestamp: picture.timestamp,
            random_access: picture.random_access,
            data: picture.data,
            lost_packets: 0,
            received: picture.received,
            new_params: Some(picture.params),
        });
        match fragment {
            Some(fragment) => self.write(fragment, Some(filmed)).await,
            None => Ok(()),
        }
    }

    /// The stretch is over; its packs are on their way to be sealed. Its last picture is shown until the footage after the cut
    /// where that has `joined`.
    pub(super) async fn close(&mut self, joined: bool) -> Result<(), Refused> {
        let Some(stretch) = &mut self.stretch else { return Ok(()) };
        let fragmenter = std::mem::replace(&mut stretch.fragmenter, Fragmenter::new(stretch.params.clone()));
        let last = match fragmenter.finish() {
            Some(fragment) => self.write(fragment, joined.then(|| self.times.by_camera().1)).await,
            None => Ok(()),
        };
        let Some(stretch) = self.stretch.take() else { return last };
        self.not_before = self.not_before.max(stretch.end.unwrap_or(self.not_before));
        if let (Some(pack), Some(end)) = (&stretch.pack, stretch.end) {
            pack.note(vec![Change::EndRun { run: stretch.run, end }]);
        }
        if let Some(pack) = stretch.pack {
            self.parts.spool.seal(pack).await?;
        }
        last
    }

    async fn write(&mut self, fragment: Fragment, next: Option<WallTime>) -> Result<(), Refused> {
        let Some(stretch) = &mut self.stretch else { return Ok(()) };
        let place = stretch.times.iter().position(|(timestamp, _)| *timestamp == fragment.first_timestamp);
        let Some(filmed) = place.and_then(|place| stretch.times.get(place)).map(|(_, filmed)| *filmed) else {
            return Err(Refused::Settled(EdgeRefusal::ClockMoved));
        };
        stretch.times.drain(..place.unwrap_or(0));
        let limit = self.times.cut.end();
        let start = self.times.of(filmed).max(stretch.end.unwrap_or(self.not_before)).min(limit);
        let end = next.map_or(start.saturating_add(fragment.duration), |next| self.times.of(next));
        let end = end.max(start).min(limit);
        let limits = &self.parts.limits;
        let is_full = stretch.size.0 >= limits.pack_bytes_max
            || stretch.size.1 >= Ticks90k::from_duration(limits.pack_duration_max);
        if fragment.random_access
            && is_full
            && let Some(pack) = stretch.pack.take()
        {
            self.parts.spool.seal(pack).await?;
        }
        let room = self.parts.spool.room(fragment.payload.len()).await;
        let pack = match &stretch.pack {
            Some(pack) => pack.clone(),
            None => {
                let pack = self.parts.spool.open_pack_beside(PackHeader {
                    pack: self.parts.spool.new_pack_id(self.camera, start),
                    camera: self.camera.clone(),
                    run: stretch.run,
                    params: fragment.params.clone(),
                    hold: None,
                })?;
                self.packs.push(pack.header().pack);
                stretch.pack = Some(pack.clone());
                pack
            }
        };
        let (wall_duration, camera_time) = (end.since(start), Some(filmed));
        let stamp = Stamp { wall_start: start, wall_duration, camera_time, gaps: Vec::new() };
        let size = pack.append(&fragment, stamp, Vec::new(), room)?;
        stretch.size = (size.bytes, size.duration);
        stretch.end = Some(end);
        let of_cut = TimeRange::new(start, end).and_then(|written| written.intersection(&self.times.cut));
        self.filled.0 += of_cut.map_or(0, |range| range.duration().0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_between_two_proofs_lie_on_a_line() {
        let at = |s: i64| WallTime(s * TICKS_PER_SECOND);
        let cut = TimeRange::new(at(1_000), at(1_600)).expect("a range");
        let proof = |offset: i64| Proof { offset: Ticks90k(offset), spread: Ticks90k::ZERO };
        let times = Times::new(cut, proof(90_000), proof(90_600));
        let check = |filmed: WallTime, expect: WallTime| assert_eq!(times.of(filmed), expect, "{filmed}");
        check(at(1_001), at(1_000));
        check(at(991), at(990));
        check(WallTime(1_300 * TICKS_PER_SECOND + 90_300), at(1_300));
        check(WallTime(1_600 * TICKS_PER_SECOND + 90_600), at(1_600));
        check(WallTime(1_700 * TICKS_PER_SECOND + 90_600), at(1_700));
        assert_eq!(times.by_camera(), (at(1_001), WallTime(1_600 * TICKS_PER_SECOND + 90_600)));
    }
}
