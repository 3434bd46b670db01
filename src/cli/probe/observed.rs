//! What a session showed, in figures.

use std::collections::BTreeSet;
use std::time::Duration;

use footage::clock::Reading;
use footage::media::{AccessUnit, Oddity, Track};
use footage::units::{TICKS_PER_SECOND, WallTime};

/// Of the pictures that came.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    pub(super) pictures: u64,
    pub(super) bytes: u64,
    pub(super) largest: usize,
    pub(super) lost_packets: u64,
    /// Pictures whose time lies before that of the one before.
    pub(super) reordered: u64,
    pub(super) parameter_changes: u64,
    /// Deviations of the stream from the standards.
    pub(super) odd: BTreeSet<Oddity>,
    /// Arrival and timestamp of the first picture, and of the last.
    span: Option<[(Duration, i64); 2]>,
    /// Arrivals of random access points.
    random_access: Vec<Duration>,
    /// The camera's clock minus this machine's, in seconds.
    pub(super) clock_offset: Option<f64>,
    /// Why the session ended early.
    pub(super) ended: Option<String>,
}

impl Observed {
    pub(super) fn unit(&mut self, unit: &AccessUnit) {
        if unit.track != Track::Video {
            return;
        }
        self.pictures += 1;
        self.bytes += unit.data.len() as u64;
        self.largest = self.largest.max(unit.data.len());
        self.lost_packets += u64::from(unit.lost_packets);
        self.parameter_changes += u64::from(unit.new_params.is_some());
        let now = (unit.received.mono, unit.timestamp);
        let [_, last] = self.span.get_or_insert([now, now]);
        self.reordered += u64::from(unit.timestamp < last.1);
        *last = now;
        if unit.random_access {
            self.random_access.push(unit.received.mono);
        }
    }

    pub(super) fn clock(&mut self, camera: WallTime, received: Reading) {
        self.clock_offset = Some(camera.since(received.wall).as_seconds_f64());
    }

    /// From the first picture to the last, in seconds; `None` where there are too few to say anything.
    pub(super) fn seconds(&self) -> Option<f64> {
        let [(first, _), (last, _)] = self.span?;
        let seconds = last.saturating_sub(first).as_secs_f64();
        (self.pictures >= 5 && seconds >= 0.5).then_some(seconds)
    }

    pub(super) fn picture_rate(&self) -> Option<f64> {
        let seconds = self.seconds()?;
        Some((self.pictures - 1) as f64 / seconds)
    }

    /// Bits a second.
    pub(super) fn bit_rate(&self) -> Option<f64> {
        Some(self.bytes as f64 * 8.0 / self.seconds()?)
    }

    /// Seconds of the camera's timestamps for each second that passed.
    pub(super) fn timestamp_pace(&self) -> Option<f64> {
        let [(_, first), (_, last)] = self.span?;
        Some((last - first) as f64 / TICKS_PER_SECOND as f64 / self.seconds()?)
    }

    /// The longest time between random access points, in seconds; `None` where fewer than two came.
    pub(super) fn gop_seconds(&self) -> Option<f64> {
        let gaps = self.random_access.windows(2).map(|pair| pair[1].saturating_sub(pair[0]).as_secs_f64());
        gaps.reduce(f64::max)
    }

    pub(super) fn random_access_points(&self) -> usize {
        self.random_access.len()
    }
}
