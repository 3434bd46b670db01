//! When pictures were filmed, on the monotonic clock: from their arrival, with the camera's timestamps between.
//!
//! The line says: filmed = timestamp + line. A picture's *lateness* is its arrival minus that. A steady camera over a
//! good network is never late by more than jitter, and the line only follows its crystal. Timestamps that run too fast
//! make pictures early, which cannot be: the line follows at once. Timestamps that run too slow make them later and
//! later, and so does a network that stalls. The two differ in how pictures come: after a stall there is a silence, then
//! a backlog that arrives faster than it was filmed. So lateness counts once pictures have come at that lateness or
//! more for [`CONFIRM_TICKS`]; after a silence, once a backlog would have begun to drain.
//!
//! Where the line moves, the samples are spaced again: what is recorded plays at the speed at which it was filmed.
//!
//! Invariant: decode times grow, and each fragment begins where the one before it ends.
//! Absent on purpose: wall-clock time, and the camera's own clock, which places nothing.

use std::collections::VecDeque;
use std::time::Duration;

use footage::media::{Fragment, Sample};
use footage::units::{TICKS_PER_SECOND, Ticks90k};

const fn millis(ms: i64) -> i64 {
    ms * (TICKS_PER_SECOND / 1_000)
}

/// Lateness up to here is jitter and drift while timestamps keep time, and up to the second once they did not.
const JITTER_TICKS: i64 = millis(200);
const FOLLOWING_TICKS: i64 = millis(40);
/// Timestamps that kept time for this long are trusted again.
const FOLLOWING_FOR: i64 = 60 * TICKS_PER_SECOND;
/// Lateness that every picture had for this long is not jitter.
const CONFIRM_TICKS: i64 = millis(250);
/// A silence is longer than twice the longest of the last distances between arrivals and this, which is more than a
/// socket is left unread.
const SILENCE_TICKS: i64 = millis(120);
/// After a silence, the least lateness of one such stretch of arrivals is compared with that of the next: a backlog
/// has come down by more than the second constant.
const BACKLOG_TICKS: i64 = millis(750);
const DRAINED_TICKS: i64 = millis(75);
/// At most so much of one distance between arrivals counts for that.
const BACKLOG_STEP_TICKS: i64 = millis(500);
/// Drift: the least lateness of a minute is worked off by 500 parts in a million, more than a crystal is off.
const DRIFT_WINDOW: i64 = 60 * TICKS_PER_SECOND;
const DRIFT_PARTS: i64 = 2_000;
/// A sample's duration has 32 bits: a fragment grows by 12 hours at most.
const MOVED_MAX: i64 = 12 * 3_600 * TICKS_PER_SECOND;

/// A run's first fragments are held while they come at more than twice the speed of their timestamps, as the pictures
/// that a camera or a proxy has kept since the last random access point do: when they were filmed shows from those that
/// come live. Timestamps that run fast end this too.
const START_HELD_TICKS: i64 = TICKS_PER_SECOND;
const START_FRAGMENTS_MAX: usize = 16;
const START_BYTES_MAX: usize = 16 << 20;
/// Nothing is said to be filmed longer before its arrival than this.
const START_LEAD_MAX: i64 = 10 * TICKS_PER_SECOND;

/// How pictures come.
#[derive(Clone, Copy, Debug)]
enum Arrivals {
    Live,
    /// After a silence, late: a backlog, or not.
    Backlog {
        /// Lateness that counted before.
        before: i64,
        /// Time of arrivals since.
        active: i64,
        /// The least lateness in either half of that.
        first: i64,
        second: i64,
    },
}

/// What fitting a fragment to its arrivals did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fitted {
    /// How much longer it lasts now than its timestamps say, and how much later all after it begin.
    pub(super) moved: Ticks90k,
    /// Drift of the line against the samples inside this fragment.
    pub(super) drift: Ticks90k,
    /// Lateness that is left.
    pub(super) late: Ticks90k,
}

/// One run's line.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Monotonic time minus the fragmenter's time line; `None` while the first fragments are held.
    line: Option<i64>,
    held: Vec<Fragment>,
    held_bytes: usize,
    /// The part of the line that the samples were spaced again by.
    moved: i64,
    arrived: Option<i64>,
    /// The last distances between arrivals.
    distances: [i64; 4],
    arrivals: Option<Arrivals>,
    /// Lateness that is the least of all after it, with its arrival, oldest first.
    window: VecDeque<(i64, i64)>,
    /// The same of the last minute, for drift: one a fragment.
    minute: VecDeque<(i64, i64)>,
    following_until: Option<i64>,
    begins: Vec<i64>,
}

impl Pace {
    /// Takes a run's next fragment. Gives the fragments that can be fitted now, oldest first: none while the first ones
    /// are held, then all of those.
    pub(super) fn take(&mut self, fragment: Fragment) -> Vec<Fragment> {
        if self.line.is_some() {
            return vec![fragment];
        }
        let began = first_arrival(self.held.first().unwrap_or(&fragment));
        let took = last_arrival(&fragment) - first_arrival(&fragment);
        let live = took >= fragment.duration.0 / 2;
        self.held_bytes += fragment.payload.len();
        let held_long = last_arrival(&fragment) - began >= START_HELD_TICKS;
        self.held.push(fragment);
        if live || held_long || self.held.len() >= START_FRAGMENTS_MAX || self.held_bytes > START_BYTES_MAX {
            return self.begin(live);
        }
        Vec::new()
    }

    /// The run is over: gives what is still held.
    pub(super) fn rest(&mut self) -> Vec<Fragment> {
        if self.line.is_some() { Vec::new() } else { self.begin(true) }
    }

    /// The line begins: by the least delay of all that was held, or by the first arrival where pictures still come
    /// faster than their timestamps.
    fn begin(&mut self, live: bool) -> Vec<Fragment> {
        let held = std::mem::take(&mut self.held);
        let Some(first) = held.first() else { return held };
        let by_first = first_arrival(first) - first.decode_time.0;
        let least = held.iter().flat_map(|fragment| timed(fragment).map(|(time, arrival)| arrival - time)).min();
        let line = if live { least.unwrap_or(by_first).max(by_first - START_LEAD_MAX) } else { by_first };
        self.line = Some(line);
        // What was kept is a backlog as after a silence.
        self.arrivals = Some(match by_first - line > JITTER_TICKS {
            true => Arrivals::Backlog { before: 0, active: 0, first: i64::MAX, second: i64::MAX },
            false => Arrivals::Live,
        });
        held
    }

    /// Monotonic time at which a fragment begins that was given out.
    pub(super) fn filmed(&self, fragment: &Fragment) -> Ticks90k {
        Ticks90k(fragment.decode_time.0.saturating_add(self.line.unwrap_or(0)))
    }

    /// What follows was put so much later than the line says.
    pub(super) fn delay(&mut self, by: Ticks90k) {
        self.line = self.line.map(|line| line.saturating_add(by.0));
    }

    /// Timestamps did not keep time within the last minute.
    pub(super) fn is_following(&self) -> bool {
        self.following_until.is_some()
    }

    /// Fits a fragment that was given out to its arrivals, and puts it on the time line that the samples are on.
    pub(super) fn fit(&mut self, fragment: &mut Fragment) -> Fitted {
        let mut begins = std::mem::take(&mut self.begins);
        let begin = fragment.decode_time.0;
        let before = self.line.unwrap_or(0);
        let mut least = i64::MAX;
        for (n, (time, arrival)) in timed(fragment).enumerate() {
            let late = |line: Option<i64>| arrival.saturating_sub(time).saturating_sub(line.unwrap_or(0));
            // Its first picture was heard as the one that ended the fragment before.
            if n > 0 || self.arrived.is_none() {
                self.picture(arrival, late(self.line));
                self.follow();
            }
            least = least.min(late(self.line));
            begins.push(time.saturating_sub(begin).saturating_add(self.line.unwrap_or(0).saturating_sub(before)));
        }
        fragment.decode_time = Ticks90k(begin.saturating_add(self.moved));
        let mut fitted = Fitted { late: Ticks90k(self.level()), ..Fitted::default() };
        if self.line.unwrap_or(0) == before {
            fitted.drift = self.drift(least, fragment.duration);
        } else {
            let wanted = fragment.duration.0.saturating_add(self.line.unwrap_or(0).saturating_sub(before));
            let moved = space(fragment, &begins, wanted);
            // No sample is shorter than a tick: what is left is early still.
            self.shift(before.saturating_add(moved).saturating_sub(self.line.unwrap_or(0)));
            self.moved = self.moved.saturating_add(moved);
            self.minute.clear();
            fitted.moved = Ticks90k(moved);
        }
        begins.clear();
        self.begins = begins;
        fitted
    }

    /// Follows lateness that counts and is more than jitter.
    fn follow(&mut self) {
        let level = self.level();
        if self.following_until.is_some_and(|until| self.arrived.is_some_and(|now| now >= until)) {
            self.following_until = None;
        }
        let allowed = if self.is_following() { FOLLOWING_TICKS } else { JITTER_TICKS };
        if level.abs() <= allowed {
            return;
        }
        if level.abs() > JITTER_TICKS {
            self.following_until = self.arrived.map(|now| now + FOLLOWING_FOR);
        }
        self.shift(level.min(MOVED_MAX));
    }

    /// The line follows the camera's crystal: the least lateness of a minute, of which `least` is a fragment's.
    fn drift(&mut self, least: i64, duration: Ticks90k) -> Ticks90k {
        let Some(now) = self.arrived else { return Ticks90k::ZERO };
        while self.minute.back().is_some_and(|&(_, later)| later >= least) {
            self.minute.pop_back();
        }
        self.minute.push_back((now, least));
        while self.minute.front().is_some_and(|&(at, _)| at + DRIFT_WINDOW < now) {
            self.minute.pop_front();
        }
        let most = duration.0 / DRIFT_PARTS;
        let drift = self.minute.front().map_or(0, |&(_, least)| least).clamp(-most, most);
        self.shift(drift);
        self.minute.iter_mut().for_each(|(_, least)| *least = least.saturating_sub(drift));
        Ticks90k(drift)
    }

    /// The line moves: what was heard is less late by it.
    fn shift(&mut self, by: i64) {
        self.line = self.line.map(|line| line.saturating_add(by));
        self.window.iter_mut().for_each(|(_, late)| *late -= by);
        if let Some(Arrivals::Backlog { before, first, second, .. }) = &mut self.arrivals {
            *before -= by;
            *first = first.saturating_sub(by);
            *second = second.saturating_sub(by);
        }
    }

    /// Lateness that counts.
    fn level(&self) -> i64 {
        match self.arrivals {
            Some(Arrivals::Live) => self.window.front().map_or(0, |&(_, late)| late),
            Some(Arrivals::Backlog { before, .. }) => before,
            None => 0,
        }
    }

    fn picture(&mut self, arrival: i64, lateness: i64) {
        let distance = arrival - self.arrived.unwrap_or(arrival);
        let usual = self.distances.iter().copied().max().unwrap_or(0);
        self.arrived = Some(arrival);
        self.distances.rotate_left(1);
        self.distances[3] = distance;
        match self.arrivals {
            Some(Arrivals::Backlog { .. }) if lateness < JITTER_TICKS => {
                self.arrivals = Some(Arrivals::Live);
                self.window.clear();
                self.window.push_back((arrival, lateness));
            }
            Some(Arrivals::Backlog { before, active, first, second }) => {
                let before = before.min(lateness);
                let active = active + distance.min(BACKLOG_STEP_TICKS);
                let (first, second) = match active <= BACKLOG_TICKS {
                    true => (first.min(lateness), second),
                    false => (first, second.min(lateness)),
                };
                self.arrivals = Some(match active >= 2 * BACKLOG_TICKS {
                    false => Arrivals::Backlog { before, active, first, second },
                    true if second < first.saturating_sub(DRAINED_TICKS) => {
                        Arrivals::Backlog { before, active: 0, first: second, second: i64::MAX }
                    }
                    true => {
                        self.window.push_back((arrival, second.min(lateness)));
                        Arrivals::Live
                    }
                });
            }
            _ if lateness > JITTER_TICKS && distance > 2 * usual + SILENCE_TICKS => {
                let before = self.window.front().map_or(0, |&(_, late)| late);
                self.window.clear();
                self.arrivals = Some(Arrivals::Backlog { before, active: 0, first: lateness, second: i64::MAX });
            }
            _ => {
                while self.window.back().is_some_and(|&(_, later)| later >= lateness) {
                    self.window.pop_back();
                }
                self.window.push_back((arrival, lateness));
                while self.window.front().is_some_and(|&(at, _)| at + CONFIRM_TICKS < arrival) {
                    self.window.pop_front();
                }
            }
        }
    }
}

fn ticks(arrival: Duration) -> i64 {
    Ticks90k::from_duration(arrival).0
}

fn first_arrival(fragment: &Fragment) -> i64 {
    ticks(fragment.first_received.mono)
}

fn last_arrival(fragment: &Fragment) -> i64 {
    ticks(fragment.arrivals.last().copied().unwrap_or(fragment.last_received.mono))
}

/// Decode times of the fragment's samples and of what follows it, as far as arrivals are known, with those.
fn timed(fragment: &Fragment) -> impl Iterator<Item = (i64, i64)> + '_ {
    let mut time = fragment.decode_time.0;
    let durations = fragment.video.iter().map(|sample| i64::from(sample.duration)).chain([0]);
    let times = durations.map(move |duration| {
        let at = time;
        time += duration;
        at
    });
    times.zip(fragment.arrivals.iter().map(|&arrival| ticks(arrival)))
}

/// Puts the fragment's samples where these say, from its beginning, and its end at `end`: a tick apart at least. Gives by
/// how much it got longer.
fn space(fragment: &mut Fragment, begins: &[i64], end: i64) -> i64 {
    let old = fragment.duration.0.max(1);
    let ends = begins.iter().copied().skip(1).chain(std::iter::repeat(end));
    let (mut at, mut times) = (0i64, Vec::with_capacity(fragment.video.len()));
    for (n, wanted) in ends.take(fragment.video.len()).enumerate() {
        // What arrivals say of the last one is where the fragment ends.
        let wanted = if n + 1 == fragment.video.len() { end } else { wanted };
        let next = wanted.clamp(at + 1, at + i64::from(u32::MAX));
        times.push(next - at);
        at = next;
    }
    // Without reordering, no picture is shown before it is decoded: an offset is what a decode time was pushed by.
    let reordered = fragment.video.iter().any(|sample| sample.composition_offset > 0);
    for (sample, duration) in fragment.video.iter_mut().zip(times) {
        let offset = i128::from(sample.composition_offset) * i128::from(at) / i128::from(old);
        let offset = if reordered { offset.clamp(i32::MIN.into(), i32::MAX.into()) as i32 } else { 0 };
        *sample = Sample { duration: duration as u32, composition_offset: offset, ..*sample };
    }
    let moved = at - fragment.duration.0;
    fragment.duration = Ticks90k(at);
    moved
}
