//! Cuts access units into fragments.
//!
//! Invariant: the cut depends only on what the camera sent, never on arrival time: at every random access point and,
//! inside a long GOP, after each second of the camera's timestamps counted from that point, after [`PICTURES_MAX`]
//! pictures, and where the timestamps step back. Two recorders of one camera cut alike.
//! A fragment's decode time plus its durations is the next fragment's decode time.
//! Absent on purpose: no I/O, no clock, no judgement of how fast the camera's timestamps run (that is the recorder's).
//!
//! Timestamps that jump end nothing: the run's time line goes on where it was, at the distance at which the pictures
//! arrived.
//!
//! RTP carries presentation times only. Inside a fragment the decode times are those presentation times in order,
//! pushed apart where they would not grow; the composition offset of each sample restores what the camera sent.
//!
//! Samples are gathered in blocks as they come, while the processor's cache holds them, and their own memory is free again for
//! the next camera's. A camera holds the memory of one fragment.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Reading;
use crate::media::{AccessUnit, Fragment, Loss, Params, Payload, Sample, Track};
use crate::units::{TICKS_PER_SECOND, Ticks90k};

/// Pictures are never reordered by more than this, nor past more than so many others: a hierarchy of B pictures of
/// depth 8 spans 256 pictures.
const BACKWARD_TICKS_MAX: i64 = TICKS_PER_SECOND;
const REORDER_PICTURES_MAX: usize = 8;
/// A longer step ahead is a jump, unless at least half of it passed between the arrivals.
const FORWARD_TICKS_MAX: i64 = 10 * TICKS_PER_SECOND;
/// The longest distance between two pictures: 12 hours, which a sample's duration of 32 bits holds.
const PAUSE_TICKS_MAX: i64 = 12 * 3_600 * TICKS_PER_SECOND;
/// A fragment is cut after so many pictures: where timestamps stand still or creep, they do not bound it. Cameras of up
/// to 60 pictures a second are cut by their timestamps.
const PICTURES_MAX: u32 = 64;
/// A picture this close to the one before it (250 pictures a second) counts for four: its timestamp says nothing.
const CREEP_TICKS: i64 = TICKS_PER_SECOND / 250;
const CREEP_WEIGHT: u32 = 4;
/// Assumed where one picture alone says nothing of the frame rate: 1/25 s.
const NOMINAL_TICKS: i64 = TICKS_PER_SECOND / 25;
/// A fragment is cut at this size too, so that a hostile camera cannot fill the memory. Sizes are the camera's, so the
/// cut is still the same for every recorder.
const FRAGMENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// And at this many samples, far more than a second has: many small ones cost memory too.
const SAMPLES_MAX: usize = 4096;
/// Bytes of memory taken at a time.
const BLOCK_BYTES: usize = 64 * 1024;

/// One run's cutter.
#[derive(Debug)]
pub struct Fragmenter {
    params: Arc<Params>,
    /// Needed from the next random access point on.
    next_params: Option<Arc<Params>>,
    /// A random access point has come: the run's time line has begun.
    begun: bool,
    /// Presentation time on the run's time line = RTP timestamp + offset.
    offset: i64,
    /// Presentation time of the last video access unit, on the run's time line, and the latest of all so far.
    previous_pts: i64,
    latest_pts: i64,
    /// Those of the last pictures, to tell a reordered picture from timestamps that step back.
    recent: [i64; REORDER_PICTURES_MAX + 1],
    /// When the last video access unit arrived.
    arrived: Duration,
    /// The furthest that a picture has come after one that is shown later: 0 without B pictures.
    reorder: i64,
    /// Last plausible distance between two pictures.
    nominal: i64,
    /// Timestamp of the GOP's random access point, and of the next cut inside it.
    gop: i64,
    next_cut: i64,
    /// Weight of the pictures since the last cut.
    weight: u32,
    /// Where the next fragment's decode time begins.
    next_decode: i64,
    /// How much later the caller put what follows than this time line does.
    moved: i64,
    jump: Option<Ticks90k>,
    building: Building,
    audio: Option<AudioLine>,
    dropped: u64,
}

/// How audio timestamps lie on the run's time line.
#[derive(Clone, Copy, Debug)]
struct AudioLine {
    /// Audio ticks on the run's time line = timestamp + offset.
    offset: i64,
    previous: i64,
    nominal: i64,
}

/// Bytes in blocks of which all but the last are full: no block is moved to become larger.
#[derive(Debug, Default)]
struct Gathered(Vec<Vec<u8>>);

impl Gathered {
    fn gather(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.0.last_mut().filter(|block| block.len() < BLOCK_BYTES) {
                Some(block) => {
                    let taken = bytes.len().min(BLOCK_BYTES - block.len());
                    block.extend_from_slice(&bytes[..taken]);
                    bytes = &bytes[taken..];
                }
                None => self.0.push(Vec::with_capacity(BLOCK_BYTES)),
            }
        }
    }

    fn gathered(self) -> Payload {
        self.0.into_iter().map(Bytes::from).collect()
    }
}

/// The fragment that grows.
#[derive(Debug, Default)]
struct Building {
    random_access: bool,
    first: Option<(i64, Reading)>,
    last_received: Option<Reading>,
    pts: Vec<i64>,
    arrivals: Vec<Duration>,
    sizes: Vec<u32>,
    /// The video samples.
    data: Gathered,
    audio_times: Vec<i64>,
    audio: Vec<Bytes>,
    bytes: usize,
    losses: Vec<Loss>,
}

impl Building {
    fn samples(&self) -> usize {
        self.sizes.len() + self.audio.len()
    }
}

impl Fragmenter {
    /// For a run that starts with these sample descriptions.
    pub fn new(params: Arc<Params>) -> Self {
        Self {
            params,
            next_params: None,
            begun: false,
            offset: 0,
            previous_pts: 0,
            latest_pts: 0,
            recent: [i64::MIN; REORDER_PICTURES_MAX + 1],
            arrived: Duration::ZERO,
            reorder: 0,
            nominal: NOMINAL_TICKS,
            gop: 0,
            next_cut: 0,
            weight: 0,
            next_decode: 0,
            moved: 0,
            jump: None,
            building: Building::default(),
            audio: None,
            dropped: 0,
        }
    }

    /// Takes the next access unit of either track, in the order received; gives the fragment that it completes.
    /// Access units before the first random access point are dropped and counted.
    pub fn push(&mut self, au: AccessUnit) -> Option<Fragment> {
        match au.track {
            Track::Video => self.push_video(au),
            Track::Audio => {
                self.push_audio(au);
                None
            }
        }
    }

    /// By how much the camera's timestamps jumped, if they did since this was last asked.
    pub fn take_jump(&mut self) -> Option<Ticks90k> {
        self.jump.take()
    }

    /// The caller puts what follows so much later than this time line does: sound has to follow.
    pub fn moved(&mut self, by: Ticks90k) {
        self.moved = self.moved.saturating_add(by.0);
    }

    fn push_video(&mut self, au: AccessUnit) -> Option<Fragment> {
        if let Some(new) = &au.new_params {
            // Cameras repeat their parameter sets: only different ones matter.
            self.next_params = (**new != *self.params).then(|| new.clone());
        }
        if !self.begun {
            if au.random_access {
                self.begun = true;
                self.offset = au.timestamp.saturating_neg();
                self.take_next_params();
                self.begin(&au);
                self.weight = 1;
                self.add_video(0, au);
            } else {
                self.dropped += 1;
            }
            return None;
        }
        let stepped_back = self.follow(&au);
        let pts = au.timestamp.saturating_add(self.offset);
        let full = self.weight >= PICTURES_MAX
            || self.building.bytes.saturating_add(au.data.len()) > FRAGMENT_BYTES_MAX
            || self.building.samples() >= SAMPLES_MAX;
        let done = if au.random_access || stepped_back || au.timestamp >= self.next_cut || full {
            let done = self.complete(Some((pts, au.received.mono)));
            if au.random_access {
                self.take_next_params();
            }
            if stepped_back {
                // Before the new beginning, seconds cannot be counted from it.
                self.gop = au.timestamp;
            }
            self.begin(&au);
            done
        } else {
            None
        };
        if au.lost_packets > 0 {
            self.building.losses.push(self.loss(pts, au.lost_packets));
        }
        let step = pts.saturating_sub(self.previous_pts);
        if (1..=TICKS_PER_SECOND).contains(&step) {
            self.nominal = step;
        }
        // A recorder that begins with this random access point does not know the picture before it.
        self.weight += if step.abs() < CREEP_TICKS && !au.random_access { CREEP_WEIGHT } else { 1 };
        self.reorder = self.reorder.max(self.latest_pts - pts);
        self.latest_pts = self.latest_pts.max(pts);
        self.add_video(pts, au);
        done
    }

    /// Lets the run's time line go on where the timestamps jump. True when they stepped back, which differs from
    /// timestamps alone.
    fn follow(&mut self, au: &AccessUnit) -> bool {
        let ticks = au.timestamp.saturating_add(self.offset).saturating_sub(self.latest_pts);
        let passed = Ticks90k::from_duration(au.received.mono.saturating_sub(self.arrived)).0;
        // Against the latest picture and not the one before: time must not walk back in small steps either.
        let stepped_back = ticks < -BACKWARD_TICKS_MAX || (ticks < 0 && self.is_past(ticks + self.latest_pts));
        let is_pause = passed >= ticks / 2 && ticks <= PAUSE_TICKS_MAX;
        if !stepped_back && (ticks <= FORWARD_TICKS_MAX || is_pause) {
            return false;
        }
        // Arrivals come in bursts: they say how long a pause was, and not how far apart two pictures are.
        let step = if passed > TICKS_PER_SECOND { passed.min(PAUSE_TICKS_MAX) } else { self.nominal };
        self.offset = self.latest_pts.saturating_add(step).saturating_sub(au.timestamp);
        self.recent = [i64::MIN; REORDER_PICTURES_MAX + 1];
        self.jump = Some(Ticks90k(ticks));
        stepped_back
    }

    /// Whether more pictures that are shown after this time have come than any coding reorders.
    fn is_past(&self, pts: i64) -> bool {
        self.recent.iter().all(|&recent| recent > pts)
    }

    fn take_next_params(&mut self) {
        if let Some(params) = self.next_params.take() {
            if params.audio != self.params.audio {
                self.audio = None;
            }
            self.params = params;
        }
    }

    fn begin(&mut self, au: &AccessUnit) {
        if au.random_access {
            self.gop = au.timestamp;
        }
        let seconds = au.timestamp.saturating_sub(self.gop).div_euclid(TICKS_PER_SECOND);
        self.next_cut = self.gop.saturating_add((seconds + 1).saturating_mul(TICKS_PER_SECOND));
        self.weight = 0;
        self.building.random_access = au.random_access;
        self.building.first = Some((au.timestamp, au.received));
    }

    fn add_video(&mut self, pts: i64, au: AccessUnit) {
        let building = &mut self.building;
        building.last_received = Some(au.received);
        building.bytes += au.data.len();
        building.pts.push(pts);
        building.arrivals.push(au.received.mono);
        building.sizes.push(au.data.len() as u32);
        building.data.gather(&au.data);
        self.previous_pts = pts;
        self.arrived = au.received.mono;
        self.recent.rotate_left(1);
        self.recent[REORDER_PICTURES_MAX] = pts;
    }

    /// From the end of the last whole access unit to this one. Never empty: a loss that took no visible time is still
    /// a loss.
    fn loss(&self, pts: i64, lost_packets: u32) -> Loss {
        let mut start = self.previous_pts + self.nominal;
        if start >= pts {
            start = self.previous_pts.min(pts - 1);
        }
        Loss { start: Ticks90k(start), end: Ticks90k(pts), lost_packets }
    }

    /// Sound has its own RTP origin: its first frame is placed by arrival beside the latest picture, what follows by its
    /// own timestamps. (Beside the run's first picture it would lag by what a camera sends in a burst at the start.)
    fn push_audio(&mut self, au: AccessUnit) {
        let (Some(picture), Some(params)) = (self.building.last_received, &self.params.audio) else {
            self.dropped += 1;
            return;
        };
        let rate = i64::from(params.clock_rate);
        let by_timestamp = self.audio.map(|line| (line, au.timestamp.saturating_add(line.offset)));
        let mut line = match by_timestamp {
            Some((line, time)) if (1..=10 * rate).contains(&time.saturating_sub(line.previous)) => line,
            _ => {
                let since_picture = Ticks90k::from_duration(au.received.mono.saturating_sub(picture.mono)).0;
                let picture = self.latest_pts.saturating_add(self.moved);
                let arrival = in_ticks_of(rate, picture.saturating_add(since_picture));
                let time = self.audio.map_or(arrival, |line| arrival.max(line.previous + line.nominal));
                let nominal = self.audio.map_or(rate / 50, |line| line.nominal);
                AudioLine { offset: time.saturating_sub(au.timestamp), previous: time - nominal, nominal }
            }
        };
        let time = au.timestamp.saturating_add(line.offset);
        if self.audio.is_some() {
            line.nominal = time - line.previous;
        }
        line.previous = time;
        self.audio = Some(line);
        self.building.bytes += au.data.len();
        self.building.audio_times.push(time);
        self.building.audio.push(au.data);
    }

    /// The run is over: gives what is left.
    pub fn finish(mut self) -> Option<Fragment> {
        self.complete(None)
    }

    /// Access units dropped because no random access point had come yet.
    pub fn dropped_before_first(&self) -> u64 {
        self.dropped
    }

    /// Closes the fragment that grows; `next` is the presentation time of the access unit after it, and its arrival.
    fn complete(&mut self, next: Option<(i64, Duration)>) -> Option<Fragment> {
        let capacity = self.building.pts.len();
        let mut building = std::mem::replace(
            &mut self.building,
            Building {
                pts: Vec::with_capacity(capacity),
                arrivals: Vec::with_capacity(capacity + 1),
                sizes: Vec::with_capacity(capacity),
                ..Building::default()
            },
        );
        let (first_timestamp, first_received) = building.first?;
        let decode_time = self.next_decode;
        let next_shown = next.map(|(pts, _)| (pts, self.reorder));
        let (video, end) = video_samples(&building, decode_time, next_shown, self.nominal);
        self.next_decode = end;
        building.arrivals.extend(next.map(|(_, arrived)| arrived));
        let audio_decode_time = building.audio_times.first().copied().unwrap_or(0);
        let audio = self.audio.map_or_else(Vec::new, |line| audio_samples(&building, line.nominal));
        std::mem::take(&mut building.audio).iter().for_each(|frame| building.data.gather(frame));
        Some(Fragment {
            params: self.params.clone(),
            decode_time: Ticks90k(decode_time),
            duration: Ticks90k(end - decode_time),
            random_access: building.random_access,
            video,
            audio,
            audio_decode_time,
            payload: building.data.gathered(),
            first_timestamp,
            first_received,
            last_received: building.last_received.unwrap_or(first_received),
            followed: next.is_some(),
            arrivals: building.arrivals,
            losses: building.losses,
        })
    }
}

/// The video samples in file order, and the decode time at which the next fragment begins. `next` is the presentation
/// time of the picture after them, with how much earlier those that follow it may be shown.
fn video_samples(building: &Building, start: i64, next: Option<(i64, i64)>, nominal: i64) -> (Vec<Sample>, i64) {
    let mut decode: Vec<i64> = building.pts.clone();
    if !decode.is_sorted() {
        decode.sort_unstable();
    }
    let mut earliest = start;
    for time in &mut decode {
        *time = (*time).max(earliest);
        earliest = *time + 1;
    }
    // The first sample takes over where the last fragment ended, whatever was reordered across the cut.
    if let Some(first) = decode.first_mut() {
        *first = start;
    }
    let last = decode.last().copied().unwrap_or(start);
    // What the last picture lasts, as far as the pictures before it tell; a pause among them is not repeated.
    let frame = match decode.as_slice() {
        [.., before, last] if last - before <= TICKS_PER_SECOND => last - before,
        _ => nominal,
    };
    let end = match next {
        None => last + frame,
        // No picture begins before `pts - reorder`. A stream that goes on evenly goes on evenly.
        Some((pts, reorder)) => pts.min(last + frame).max(pts - reorder),
    };
    let end = end.max(last + 1);
    let samples = building
        .sizes
        .iter()
        .enumerate()
        .map(|(i, &size)| {
            let until = decode.get(i + 1).copied().unwrap_or(end);
            Sample {
                size,
                duration: (until - decode[i]) as u32,
                composition_offset: (building.pts[i] - decode[i]) as i32,
            }
        })
        .collect();
    (samples, end)
}

fn audio_samples(building: &Building, nominal: i64) -> Vec<Sample> {
    let times = &building.audio_times;
    building
        .audio
        .iter()
        .enumerate()
        .map(|(i, data)| {
            let duration = times.get(i + 1).map_or(nominal, |next| next - times[i]);
            Sample { size: data.len() as u32, duration: duration.max(1) as u32, composition_offset: 0 }
        })
        .collect()
}

/// A time of the run in ticks of `rate`.
fn in_ticks_of(rate: i64, time: i64) -> i64 {
    (i128::from(time) * i128::from(rate) / i128::from(TICKS_PER_SECOND)) as i64
}

#[cfg(test)]
mod tests;
