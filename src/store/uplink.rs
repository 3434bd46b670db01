//! How fast bytes go to a store: a cap with a timetable, and who goes first.
//!
//! A sender pays before it sends: it waits until what was sent before it has had its time on the uplink, so a cap holds
//! on average over a part of a pack (8 MiB). What an operator waits for goes before the backlog, part by part.
//! Queue: its senders, as many as the drain starts; each waits for its turn, the asked-for ones first.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use parking_lot::Mutex;
use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::StoreError;
use crate::config::Cap;
use footage::clock::Clock;

/// While the timetable sends nothing, it is looked at again this often.
const CLOSED_LOOK: Duration = Duration::from_secs(20);

/// In which lane something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// In its turn.
    Backlog,
    /// Somebody has asked for it.
    Requested,
}

/// How something is sent.
#[derive(Clone, Copy, Debug)]
pub struct SendOptions<'a> {
    /// In which lane.
    pub lane: Lane,
    /// Once cancelled, nothing more is begun.
    pub given_up: &'a CancellationToken,
}

/// One store's uplink; shared by all who send to it.
#[derive(Debug)]
pub struct Uplink {
    caps: RwLock<Vec<Cap>>,
    zone: TimeZone,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Monotonic time at which what was sent so far has had its time.
    free_at: Duration,
    /// Senders in the asked-for lane that wait.
    asked: usize,
}

impl Uplink {
    /// A cap by this timetable, in local time; none without one.
    pub fn new(caps: Vec<Cap>, zone: TimeZone, clock: Arc<dyn Clock>) -> Self {
        Self { caps: RwLock::new(caps), zone, clock, state: Mutex::default(), changed: Notify::new() }
    }

    /// Another timetable, from now on: who waits by the old one looks again.
    pub(super) fn set_caps(&self, caps: Vec<Cap>) {
        *self.caps.write() = caps;
        self.changed.notify_waiters();
    }

    /// Bits a second at this time; `None` without a cap.
    fn bits_per_s(&self) -> Option<u64> {
        let caps = self.caps.read();
        if caps.is_empty() {
            return None;
        }
        let local = self.zone.to_datetime(self.clock.wall().to_timestamp());
        caps.iter().find(|cap| cap.covers(local)).map(|cap| cap.bits_per_s)
    }

    /// Returns when so many bytes may be sent, or when they need not be.
    pub(super) async fn pay_on(&self, bytes: u64, way: &SendOptions<'_>) -> Result<(), StoreError> {
        way.given_up.run_until_cancelled(self.pay(bytes, way.lane)).await.ok_or(StoreError::GivenUp)
    }

    /// Returns when so many bytes may be sent. Dropped before, nothing is paid.
    pub async fn pay(&self, bytes: u64, lane: Lane) {
        if self.caps.read().is_empty() {
            return;
        }
        let _waiting = (lane == Lane::Requested).then(|| Waiting::in_front(self));
        loop {
            let changed = self.changed.notified();
            match self.take(bytes, lane) {
                Turn::Now => return,
                Turn::After(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = changed => {}
                },
                // What is asked for may take a while: the backlog looks again when it has been sent.
                Turn::Behind => changed.await,
            }
        }
    }

    fn take(&self, bytes: u64, lane: Lane) -> Turn {
        let now = self.clock.read().mono;
        let rate = self.bits_per_s();
        let mut state = self.state.lock();
        if lane == Lane::Backlog && state.asked > 0 {
            return Turn::Behind;
        }
        match rate {
            None => Turn::Now,
            Some(0) => Turn::After(CLOSED_LOOK),
            // A cap that has risen since must not wait out a debt made under the old one for ever.
            Some(_) if state.free_at > now => Turn::After((state.free_at - now).min(CLOSED_LOOK)),
            Some(bits_per_s) => {
                state.free_at = now + Duration::from_secs_f64(bytes as f64 * 8.0 / bits_per_s as f64);
                Turn::Now
            }
        }
    }
}

enum Turn {
    Now,
    After(Duration),
    Behind,
}

/// A sender of the asked-for lane, from when it comes until it has paid or given up.
struct Waiting<'a>(&'a Uplink);

impl<'a> Waiting<'a> {
    fn in_front(uplink: &'a Uplink) -> Self {
        uplink.state.lock().asked += 1;
        Self(uplink)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state.lock().asked -= 1;
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use footage::clock::SimClock;
    use footage::units::WallTime;

    const MIB: u64 = 1 << 20;

    /// Mondays to Fridays from 8 to 18 h at 4 Mb/s, at night nothing, otherwise free.
    fn uplink(now: &str) -> (Uplink, Arc<SimClock>) {
        let workday = [true, true, true, true, true, false, false];
        let caps = vec![
            Cap { days: workday, minutes: 480..1080, bits_per_s: 4_000_000 },
            Cap { days: [true; 7], minutes: 0..300, bits_per_s: 0 },
        ];
        let clock = Arc::new(SimClock::starting_at(now.parse::<WallTime>().unwrap()));
        (Uplink::new(caps, TimeZone::get("Europe/Paris").unwrap(), clock.clone()), clock)
    }

    async fn seconds(work: impl Future<Output = ()>) -> u64 {
        let before = tokio::time::Instant::now();
        work.await;
        before.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_go_at_the_rate_of_the_hour_in_local_time() {
        // A Monday in July, 9 h in Paris.
        let (uplink, _) = uplink("2026-07-06T07:00:00Z");
        let ten = async {
            for _ in 0..11 {
                uplink.pay(8 * MIB, Lane::Backlog).await;
            }
        };
        // The eleventh waits for ten parts of 8 MiB at 4 Mb/s.
        assert_eq!(seconds(ten).await, 10 * 8 * MIB * 8 / 4_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn outside_of_the_timetable_nothing_waits() {
        // A Sunday.
        let (uplink, _) = uplink("2026-07-05T10:00:00Z");
        let many = async {
            for _ in 0..1_000 {
                uplink.pay(8 * MIB, Lane::Backlog).await;
            }
        };
        assert_eq!(seconds(many).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_hour_sends_nothing_until_it_is_over() {
        // 4:50 in Paris; the cap of 0 ends at 5:00.
        let (uplink, _) = uplink("2026-07-05T02:50:00Z");
        let waited = seconds(uplink.pay(MIB, Lane::Requested)).await;
        assert!((600..=620).contains(&waited), "{waited} s");
    }

    #[tokio::test(start_paused = true)]
    async fn another_timetable_holds_for_who_waits_already() {
        let (uplink, _) = uplink("2026-07-05T02:50:00Z");
        let waits = seconds(uplink.pay(MIB, Lane::Backlog));
        let changes = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            uplink.set_caps(Vec::new());
        };
        assert_eq!(tokio::join!(waits, changes).0, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_an_hour_that_sends_gives_up_when_cancelled() {
        let (uplink, _) = uplink("2026-07-05T02:50:00Z");
        let given_up = CancellationToken::new();
        let way = SendOptions { lane: Lane::Backlog, given_up: &given_up };
        let reported = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            given_up.cancel();
        };
        let (outcome, ()) = tokio::join!(uplink.pay_on(MIB, &way), reported);
        assert!(matches!(outcome, Err(StoreError::GivenUp)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_for_goes_before_the_backlog() {
        let (uplink, _) = uplink("2026-07-06T07:00:00Z");
        let uplink = Arc::new(uplink);
        let order = Arc::new(Mutex::new(Vec::new()));
        uplink.pay(MIB, Lane::Backlog).await;
        let send = |name: &'static str, lane: Lane| {
            let (uplink, order) = (uplink.clone(), order.clone());
            async move {
                for _ in 0..3 {
                    uplink.pay(MIB, lane).await;
                    order.lock().push(name);
                }
            }
        };
        tokio::join!(send("backlog", Lane::Backlog), send("backlog", Lane::Backlog), send("asked", Lane::Requested));
        let order = order.lock();
        assert!(order[..3].iter().filter(|name| **name == "asked").count() >= 2, "{order:?}");
        assert_eq!(order.len(), 9);
    }
}
