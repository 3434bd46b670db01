//! A source that plays access units from memory, on tokio's clock, which a simulation pauses: a day of footage in
//! seconds, the same each time.
//!
//! Like a camera, the script goes on while nobody listens: what is due between two sessions is missed, and one
//! source has one session at a time. Two sources with one script are two recorders of one camera.
//! Absent on purpose: RTP. Losses and faults are stated, not caused.

mod camera;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};

use footage::clock::Clock;
use footage::media::{AccessUnit, GapCause, Params, Track};
use footage::source::{Item, Session, Source, SourceError};
use footage::units::WallTime;

pub use camera::{ReplayCamera, ReplayFault};

/// One line of a script.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it is due, from the first opening of the source. Events come in this order.
    pub at: Duration,
    /// What happens.
    pub what: What,
}

/// What a replayed camera does.
#[derive(Clone, Debug)]
pub enum What {
    /// Sends an access unit.
    Unit(Unit),
    /// Tells its own time.
    SenderReport {
        /// On the scale of [`Unit::timestamp`].
        timestamp: i64,
        /// Its wall clock at that timestamp.
        camera_time: WallTime,
    },
    /// Fails: the session ends with the error, and opening another fails with it too before `until`.
    Fail {
        /// As [`Event::at`]; no later than that: only this session fails.
        until: Duration,
        /// Why.
        error: SourceError,
    },
}

/// An access unit of a script: [`AccessUnit`] before it is received.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Which track.
    pub track: Track,
    /// In ticks of the track's clock rate.
    pub timestamp: i64,
    /// Sample bytes.
    pub data: Bytes,
    /// Whether decoding can begin here.
    pub random_access: bool,
    /// RTP packets lost before it.
    pub lost_packets: u32,
    /// The sample descriptions from here on, when they change.
    pub new_params: Option<Arc<Params>>,
}

/// Plays a script.
pub struct ReplaySource {
    tape: Arc<Mutex<Tape>>,
    clock: Arc<dyn Clock>,
    granularity: Duration,
    silence_max: Duration,
}

struct Tape {
    script: Box<dyn Iterator<Item = Event> + Send>,
    /// Taken from the script, and not due yet when last looked at.
    next: Option<Event>,
    /// As of the last event taken.
    params: Arc<Params>,
    /// Set by the first opening.
    start: Option<Instant>,
    down: Option<(Duration, SourceError)>,
}

impl ReplaySource {
    /// A source whose first sample descriptions are `params`; it wakes for each event and knows no silence.
    pub fn new<S>(params: Arc<Params>, script: S, clock: Arc<dyn Clock>) -> Self
    where
        S: IntoIterator<Item = Event>,
        S::IntoIter: Send + 'static,
    {
        let script = Box::new(script.into_iter());
        let tape = Tape { script, next: None, params, start: None, down: None };
        Self { tape: Arc::new(Mutex::new(tape)), clock, granularity: Duration::ZERO, silence_max: Duration::MAX }
    }

    /// Wakes at multiples of `granularity` only, and then yields all that has become due, as a recorder does that
    /// drains its sockets in ticks. `received` is the time of waking.
    pub fn waking_every(self, granularity: Duration) -> Self {
        Self { granularity, ..self }
    }

    /// Ends a session with [`GapCause::Silent`] when the script has nothing for this long.
    pub fn silent_after(self, silence_max: Duration) -> Self {
        Self { silence_max, ..self }
    }
}

impl Tape {
    fn peek(&mut self) -> Option<&Event> {
        if self.next.is_none() {
            self.next = self.script.next();
        }
        self.next.as_ref()
    }

    /// Takes the next event, and notes what outlives the session.
    fn take(&mut self) -> Option<What> {
        let event = self.next.take().or_else(|| self.script.next())?;
        match &event.what {
            What::Unit(Unit { new_params: Some(params), .. }) => self.params = params.clone(),
            What::Fail { until, error } => self.down = Some((*until, error.clone())),
            What::Unit(_) | What::SenderReport { .. } => {}
        }
        Some(event.what)
    }

    /// Passes over what nobody was there to receive.
    fn open(&mut self) -> Result<(Instant, Arc<Params>), SourceError> {
        let start = *self.start.get_or_insert_with(Instant::now);
        let now = start.elapsed();
        while self.peek().is_some_and(|event| event.at < now) {
            self.take();
        }
        match &self.down {
            Some((until, error)) if now < *until => Err(error.clone()),
            _ => Ok((start, self.params.clone())),
        }
    }
}

impl Source for ReplaySource {
    fn open(&self) -> BoxFuture<'_, Result<Session, SourceError>> {
        let opened = self.tape.lock().open().map(|(start, params)| {
            let items = Playback {
                tape: self.tape.clone(),
                clock: self.clock.clone(),
                start,
                granularity: self.granularity,
                silence_max: self.silence_max,
                last_data: start.elapsed(),
                due: Duration::ZERO,
                alarm: Box::pin(sleep_until(start)),
                ended: false,
            };
            Session {
                params,
                also_offered: Vec::new(),
                odd: Vec::new(),
                certificate_until: None,
                items: Box::pin(items),
            }
        });
        std::future::ready(opened).boxed()
    }
}

struct Playback {
    tape: Arc<Mutex<Tape>>,
    clock: Arc<dyn Clock>,
    start: Instant,
    granularity: Duration,
    silence_max: Duration,
    /// When the last access unit was due.
    last_data: Duration,
    /// Everything up to here has become due.
    due: Duration,
    alarm: Pin<Box<Sleep>>,
    ended: bool,
}

impl Playback {
    fn item(&mut self, at: Duration, what: What) -> Result<Item, SourceError> {
        let received = self.clock.read();
        match what {
            What::Unit(unit) => {
                self.last_data = at;
                Ok(Item::AccessUnit(AccessUnit {
                    track: unit.track,
                    timestamp: unit.timestamp,
                    data: unit.data,
                    random_access: unit.random_access,
                    lost_packets: unit.lost_packets,
                    received,
                    new_params: unit.new_params,
                }))
            }
            What::SenderReport { timestamp, camera_time } => {
                Ok(Item::SenderReport { timestamp, camera_time, received })
            }
            What::Fail { error, .. } => {
                self.ended = true;
                Err(error)
            }
        }
    }

    fn silent(&mut self) -> SourceError {
        self.ended = true;
        let seconds = self.silence_max.as_secs_f32();
        SourceError { cause: GapCause::Silent, detail: format!("no whole picture for {seconds} s") }
    }

    /// When to wake for what is due at `at`.
    fn wake_at(&self, at: Duration) -> Duration {
        let grain = self.granularity.as_nanos();
        if grain == 0 {
            return at;
        }
        let nanos = at.as_nanos().div_ceil(grain) * grain;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Stream for Playback {
    type Item = Result<Item, SourceError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            let next = this.tape.lock().peek().map(|event| event.at);
            let Some(at) = next else {
                this.ended = true;
                continue;
            };
            let silence_ends = this.last_data.saturating_add(this.silence_max);
            let up_to = at.min(silence_ends);
            if up_to > this.due {
                // Waking for each access unit would cost a simulated day most of its time.
                let wake = this.wake_at(up_to);
                this.alarm.as_mut().reset(this.start + wake);
                ready!(this.alarm.as_mut().poll(cx));
                this.due = wake;
            }
            if silence_ends < at {
                let error = this.silent();
                return Poll::Ready(Some(Err(error)));
            }
            let taken = this.tape.lock().take();
            return Poll::Ready(taken.map(|what| this.item(at, what)));
        }
    }
}
