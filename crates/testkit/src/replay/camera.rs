//! A script written as a camera would: groups of pictures at a steady rate, with faults at stated times.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};

use footage::media::{Params, Track};
use footage::source::SourceError;
use footage::units::{TICKS_PER_SECOND, Ticks90k, WallTime};

use super::{Event, Unit, What};

/// Sender reports come this often, as from most cameras (RFC 3550 §6.2 asks for 5 s).
const SENDER_REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Something that goes wrong, or changes, at a stated time.
#[derive(Clone, Debug)]
pub enum ReplayFault {
    /// The session ends with `error`, and none opens before `until`.
    Fail {
        /// Time from the script's start.
        until: Duration,
        /// Why.
        error: SourceError,
    },
    /// Nothing is sent until then.
    Silence {
        /// Time from the script's start.
        until: Duration,
    },
    /// The next picture is missing, and the one after says that so many packets were lost.
    Loss {
        /// RTP packets.
        packets: u32,
    },
    /// Media timestamps jump.
    Jump {
        /// Either way.
        by: Ticks90k,
    },
    /// The camera's own clock is set.
    ClockStep {
        /// Either way.
        by: Ticks90k,
    },
    /// From the next random access point on, other sample descriptions hold.
    NewParams(Arc<Params>),
}

/// A camera that sends H.264-like pictures: valid NAL unit framing, random content, each picture unlike all others.
/// The same values give the same script, byte for byte.
#[derive(Clone, Debug)]
pub struct ReplayCamera {
    /// Of everything random.
    pub seed: u64,
    /// Pictures a second; from 1 up.
    pub frame_rate: u32,
    /// Pictures from one random access point to the next.
    pub gop_frames: u32,
    /// Bytes of a random access picture, on average.
    pub key_frame_bytes: usize,
    /// Bytes of any other, on average.
    pub frame_bytes: usize,
    /// How long it films; endless if `None`.
    pub duration: Option<Duration>,
    /// Timestamp of the first picture.
    pub first_timestamp: i64,
    /// Its own clock at the first picture; without one, it sends no reports.
    pub camera_time: Option<WallTime>,
    /// In order of their times.
    pub faults: Vec<(Duration, ReplayFault)>,
}

impl Default for ReplayCamera {
    fn default() -> Self {
        Self {
            seed: 0,
            frame_rate: 25,
            gop_frames: 50,
            key_frame_bytes: 400,
            frame_bytes: 40,
            duration: None,
            first_timestamp: 0,
            camera_time: None,
            faults: Vec::new(),
        }
    }
}

impl IntoIterator for ReplayCamera {
    type Item = Event;
    type IntoIter = Filming;

    fn into_iter(self) -> Filming {
        Filming {
            random: SmallRng::seed_from_u64(self.seed),
            faults: self.faults.clone().into_iter().peekable(),
            frame: 0,
            timestamp_offset: self.first_timestamp,
            clock_offset: Ticks90k::ZERO,
            next_report: Duration::ZERO,
            silent_until: Duration::ZERO,
            lost_packets: 0,
            skip_frame: false,
            new_params: None,
            camera: self,
        }
    }
}

/// A camera at work: the script of a [`ReplayCamera`].
#[derive(Debug)]
pub struct Filming {
    camera: ReplayCamera,
    random: SmallRng,
    faults: std::iter::Peekable<std::vec::IntoIter<(Duration, ReplayFault)>>,
    frame: u64,
    timestamp_offset: i64,
    clock_offset: Ticks90k,
    next_report: Duration,
    silent_until: Duration,
    lost_packets: u32,
    skip_frame: bool,
    new_params: Option<Arc<Params>>,
}

impl Filming {
    /// Time and media ticks of the next picture, since the first.
    fn now(&self) -> (Duration, Ticks90k) {
        let ticks = (i128::from(self.frame) * i128::from(TICKS_PER_SECOND)) / i128::from(self.camera.frame_rate.max(1));
        let ticks = Ticks90k(i64::try_from(ticks).unwrap_or(i64::MAX));
        (ticks.to_duration(), ticks)
    }

    /// What a fault does to the script at once, if anything.
    fn happen(&mut self, at: Duration, fault: ReplayFault) -> Option<Event> {
        match fault {
            ReplayFault::Fail { until, error } => return Some(Event { at, what: What::Fail { until, error } }),
            ReplayFault::Silence { until } => self.silent_until = until,
            ReplayFault::Loss { packets } => {
                self.lost_packets = self.lost_packets.saturating_add(packets);
                self.skip_frame = true;
            }
            ReplayFault::Jump { by } => self.timestamp_offset = self.timestamp_offset.saturating_add(by.0),
            ReplayFault::ClockStep { by } => self.clock_offset = self.clock_offset.checked_add(by).unwrap_or(by),
            ReplayFault::NewParams(params) => self.new_params = Some(params),
        }
        None
    }

    fn report(&mut self, at: Duration, ticks: Ticks90k) -> Option<Event> {
        let first = self.camera.camera_time?;
        if at < self.next_report {
            return None;
        }
        self.next_report = at + SENDER_REPORT_INTERVAL;
        let camera_time = first.saturating_add(ticks).saturating_add(self.clock_offset);
        let timestamp = self.timestamp_offset.saturating_add(ticks.0);
        Some(Event { at, what: What::SenderReport { timestamp, camera_time } })
    }

    fn picture(&mut self, at: Duration, ticks: Ticks90k) -> Event {
        let random_access = self.frame.is_multiple_of(u64::from(self.camera.gop_frames.max(1)));
        let mean = if random_access { self.camera.key_frame_bytes } else { self.camera.frame_bytes };
        let unit = Unit {
            track: Track::Video,
            timestamp: self.timestamp_offset.saturating_add(ticks.0),
            data: self.sample(random_access, mean),
            random_access,
            lost_packets: std::mem::take(&mut self.lost_packets),
            new_params: if random_access { self.new_params.take() } else { None },
        };
        self.frame += 1;
        Event { at, what: What::Unit(unit) }
    }

    /// One slice NAL unit (H.264 §7.3.1) after its length: header, first slice bits, frame number, then anything.
    fn sample(&mut self, random_access: bool, mean: usize) -> Bytes {
        const FRAMING: usize = 4 + 2 + 8;
        let body = self.random.random_range(mean / 2..=mean + mean / 2).max(FRAMING - 4);
        let mut data = vec![0; 4 + body];
        data[..4].copy_from_slice(&u32::try_from(body).unwrap_or(u32::MAX).to_be_bytes());
        data[4] = if random_access { 0x65 } else { 0x41 };
        data[5] = 0x88;
        data[6..FRAMING].copy_from_slice(&self.frame.to_be_bytes());
        self.random.fill_bytes(&mut data[FRAMING..]);
        Bytes::from(data)
    }
}

impl Iterator for Filming {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            let (at, ticks) = self.now();
            if let Some((when, fault)) = self.faults.next_if(|(when, _)| *when <= at) {
                match self.happen(when, fault) {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            if self.camera.duration.is_some_and(|duration| at >= duration) {
                return None;
            }
            if at < self.silent_until || std::mem::take(&mut self.skip_frame) {
                self.frame += 1;
                continue;
            }
            return Some(match self.report(at, ticks) {
                Some(report) => report,
                None => self.picture(at, ticks),
            });
        }
    }
}
