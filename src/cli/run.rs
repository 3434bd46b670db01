//! `vigie run`: the gateway as a service.
//!
//! The first SIGTERM or SIGINT stops it in order; the second ends it at once, as a power cut would: the next start
//! recovers. systemd learns when it records, when it stops, and, as long as its recording threads and its main loop turn, that
//! it lives.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};
use vigie::config::Config;
use vigie::gateway::{Gateway, Pulse};

use super::{ConfigArg, Failure};

/// While it starts, systemd is asked for more time this often: a large spool takes long to recover.
const START_TURN: Duration = Duration::from_secs(5);
/// How much more time.
const START_EXTENSION_MICROS: u32 = 60_000_000;

/// Records and serves until told to stop.
pub(super) async fn run(args: ConfigArg) -> Result<(), Failure> {
    let config = args.load()?.config;
    let told_to_stop = until_told_to_stop();
    tokio::pin!(told_to_stop);
    let gateway = tokio::select! {
        gateway = start(&config) => gateway?,
        // What had begun can be cut off anywhere.
        told = &mut told_to_stop => return told.map_err(Failure::failed),
    };
    tell(&NotifyState::Ready);
    let mut watchdog = Watchdog::new();
    let pulse = gateway.pulse().clone();
    let told = tokio::select! {
        told = told_to_stop => told,
        never = watchdog.turn(Some(&pulse)) => match never {},
    };
    tell(&NotifyState::Stopping);
    tokio::select! {
        () = gateway.stop() => {}
        never = watchdog.turn(None) => match never {},
    }
    told.map_err(Failure::failed)
}

async fn start(config: &Config) -> Result<Gateway, Failure> {
    let starting = Gateway::start(config);
    tokio::pin!(starting);
    let mut turn = interval(START_TURN);
    loop {
        tokio::select! {
            started = &mut starting => return started.map_err(Failure::failed),
            _ = turn.tick() => {
                tell(&NotifyState::ExtendTimeoutUsec(START_EXTENSION_MICROS));
                tell(&NotifyState::Watchdog);
            }
        }
    }
}

/// Returns at SIGTERM or SIGINT. A second signal ends the process at once: what it loses, the next start recovers.
pub(super) async fn until_told_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(())
}

/// Without a service manager nothing is sent; with one that does not listen, the gateway goes on.
fn tell(state: &NotifyState<'_>) {
    if let Err(e) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::warn!(error = %e, %state, "the service manager was not told");
    }
}

/// Tells the service manager that the gateway lives, where it wants to know. A recording thread that is stuck is not life:
/// the service manager restarts the gateway, and the next start recovers what was recorded.
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

    async fn turn(&mut self, pulse: Option<&Pulse>) -> Infallible {
        let Some(turns) = &mut self.0 else { return pending().await };
        loop {
            turns.tick().await;
            match pulse.and_then(Pulse::stuck) {
                None => tell(&NotifyState::Watchdog),
                Some((thread, silent)) => {
                    let silent_seconds = silent.as_secs();
                    tracing::error!(
                        thread,
                        silent_seconds,
                        "a recording thread is stuck: the service manager will restart"
                    );
                }
            }
        }
    }
}
