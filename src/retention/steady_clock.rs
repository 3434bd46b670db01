//! The time by which footage is destroyed: the wall clock, except while it has leapt ahead of what can be vouched for.
//!
//! Beside the wall clock runs a steady one, which advances with monotonic time and is kept in the index across restarts.
//! While the wall clock is more than [`STEP_MAX`] ahead of it, the steady one counts: what becomes due by it goes on
//! being destroyed, and nothing that only the step makes due. A lead that has held for [`CONFIRM`] is believed.
//!
//! Invariants: a wrong step ahead brings no deadline forward by more than [`STEP_MAX`] until it has held for
//! [`CONFIRM`]; a true one delays no deadline for longer than [`CONFIRM`], or twice that when made while another is doubted. See `docs/adr/0003-a-step-ahead-destroys-nothing.md`.
//! Absent on purpose: steps back, which make nothing due; and the times of footage, which are corrected by what is known of the
//! clock that recorded it ([`crate::index::clock`]).

use std::time::Duration;

use crate::index::{Index, IndexError, SteadyClock};
use footage::clock::Reading;
use footage::units::{TICKS_PER_SECOND, Ticks90k, WallTime};

/// A lead of the wall clock that is believed at once: one hour. Also what is credited for a restart.
pub const STEP_MAX: Ticks90k = Ticks90k(3_600 * TICKS_PER_SECOND);

/// How long a greater lead is doubted: one day, so that somebody on duty in the daytime sees the alarm first.
pub const CONFIRM: Ticks90k = Ticks90k(24 * 3_600 * TICKS_PER_SECOND);

/// What the clock is thought to be worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The time to go by.
    pub now: WallTime,
    /// How far the wall clock is ahead of `now`, while that is doubted.
    pub doubted: Option<Ticks90k>,
}

/// Judges one reading of the clocks after the other.
#[derive(Clone, Copy, Debug)]
pub struct RetentionClock {
    state: SteadyClock,
    mono: Duration,
}

impl RetentionClock {
    /// Goes on from what was kept, after an absence of unknown length: the wall clock's word is taken for at most
    /// [`STEP_MAX`] of it.
    pub fn resume(reading: Reading, kept: SteadyClock) -> Self {
        let away = Ticks90k(reading.wall.since(kept.wall).0.clamp(0, STEP_MAX.0));
        let mut state = SteadyClock { steady: kept.steady.saturating_add(away), ..kept };
        state.held = Ticks90k(state.held.0.saturating_add(away.0));
        Self { state, mono: reading.mono }
    }

    /// Goes on from what the index kept; without that, as with a rebuilt index, from the newest footage.
    pub async fn of_index(index: &Index, opened: Reading) -> Result<Self, IndexError> {
        if let Some(kept) = index.steady_clock().await? {
            return Ok(Self::resume(opened, kept));
        }
        let mut newest: Option<WallTime> = None;
        for camera in index.all_cameras().await? {
            newest = newest.max(index.extent(&camera.key).await?.map(|extent| extent.end()));
        }
        let Some(at) = newest else { return Ok(Self::start(opened)) };
        let kept = SteadyClock { steady: at, wall: at, held: Ticks90k::ZERO, lead: Ticks90k::ZERO };
        Ok(Self::resume(opened, kept))
    }

    /// Goes by the wall clock, when nothing is known that speaks against it.
    pub fn start(reading: Reading) -> Self {
        let state =
            SteadyClock { steady: reading.wall, wall: reading.wall, held: Ticks90k::ZERO, lead: Ticks90k::ZERO };
        Self { state, mono: reading.mono }
    }

    /// What to keep in the index.
    pub fn state(&self) -> SteadyClock {
        self.state
    }

    /// Judges the clocks as they are now.
    pub fn judge(&mut self, reading: Reading) -> Judgement {
        let elapsed = Ticks90k::from_duration(reading.mono.saturating_sub(self.mono));
        self.mono = reading.mono;
        self.state.wall = reading.wall;
        self.state.steady = self.state.steady.saturating_add(elapsed);
        let lead = reading.wall.since(self.state.steady);
        let (held, least) = (Ticks90k(self.state.held.0.saturating_add(elapsed.0)), nearest(self.state.lead, lead));
        let same_kind = (lead > STEP_MAX) == (self.state.lead > STEP_MAX) && least != Ticks90k::ZERO;
        (self.state.held, self.state.lead) = if same_kind { (held, least) } else { (Ticks90k::ZERO, lead) };
        if self.state.held >= CONFIRM {
            self.state.steady = self.state.steady.saturating_add(self.state.lead);
            (self.state.held, self.state.lead) = (Ticks90k::ZERO, reading.wall.since(self.state.steady));
        }
        let lead = reading.wall.since(self.state.steady);
        if lead > STEP_MAX {
            Judgement { now: self.state.steady, doubted: Some(lead) }
        } else {
            Judgement { now: reading.wall, doubted: None }
        }
    }
}

/// The part of two leads that both have; none when they differ in direction.
fn nearest(a: Ticks90k, b: Ticks90k) -> Ticks90k {
    if a.0.signum() != b.0.signum() {
        return Ticks90k::ZERO;
    }
    if a.0.unsigned_abs() < b.0.unsigned_abs() { a } else { b }
}
