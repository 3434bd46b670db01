//! `vigie run`: the gateway as a service.
//!
//! The first SIGTERM or SIGINT stops it in order; the second ends it at once, as a power cut would: the next start
//! recovers. systemd is told when it records, when it stops, and at every turn of the main loop that it lives.

use std::future::pending;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};
use vigie::config::Config;
use vigie::gateway::Gateway;

use super::{ConfigArg, Failure};

/// While it starts, systemd is asked for more time this often: a large spool takes long to recover.
const START_TURN: Duration = Duration::from_secs(5);
/// How much more time.
const START_EXTENSION_MICROS: u32 = 60_000_000;

/// Records and serves until told to stop.
pub(super) async fn run(args: ConfigArg) -> Result<(), Failure> {
    let config = args.load()?.config;
    let mut signals = Signals::new().map_err(|e| Failure::Failed(format!("signals: {e}")))?;
    let Some(gateway) = start(&config, &mut signals).await? else { return Ok(()) };
    tell(&NotifyState::Ready);
    let mut watchdog = Watchdog::new();
    tokio::select! {
        () = signals.next() => {}
        () = watchdog.turn() => {}
    }
    tell(&NotifyState::Stopping);
    tokio::select! {
        () = gateway.stop() => Ok(()),
        () = signals.next() => Err(Failure::Failed("stopped at once by a second signal: the next start recovers".into())),
        () = watchdog.turn() => Ok(()),
    }
}

/// Nothing when it was told to stop before it had started: what it had begun can be cut off anywhere.
async fn start(config: &Config, signals: &mut Signals) -> Result<Option<Gateway>, Failure> {
    let starting = Gateway::start(config);
    tokio::pin!(starting);
    let mut turn = interval(START_TURN);
    loop {
        tokio::select! {
            started = &mut starting => return started.map(Some).map_err(Failure::failed),
            () = signals.next() => return Ok(None),
            _ = turn.tick() => {
                tell(&NotifyState::ExtendTimeoutUsec(START_EXTENSION_MICROS));
                tell(&NotifyState::Watchdog);
            }
        }
    }
}

/// Without a service manager nothing is sent; with one that does not listen, the gateway goes on.
fn tell(state: &NotifyState<'_>) {
    if let Err(e) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::warn!(error = %e, %state, "the service manager was not told");
    }
}

/// What asks a process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tells the service manager that the main loop turns, where it wants to know.
struct Watchdog(Option<Interval>);

impl Watchdog {
    fn new() -> Self {
        // Three times in the time after which it would be killed.
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 3).filter(|every| !every.is_zero());
        Self(every.map(|every| {
            let mut turns = interval(every);
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            turns
        }))
    }

    /// Never ends.
    async fn turn(&mut self) {
        let Some(turns) = &mut self.0 else { return pending().await };
        loop {
            turns.tick().await;
            tell(&NotifyState::Watchdog);
        }
    }
}
