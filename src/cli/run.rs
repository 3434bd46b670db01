//! `vigie run`: the gateway as a service.
//!
//! The first SIGTERM or SIGINT stops it in order; the second ends it at once, as a power cut would: the next start
//! recovers. SIGHUP, or `vigie reload`, reads the configuration again. systemd is notified when it records, reloads and
//! stops, and that it lives while its main loop and its recording threads turn.

use std::convert::Infallible;
use std::future::pending;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use vigie::config::Config;
use vigie::gateway::{CameraChanges, Gateway, GatewayError, Pulse};

use super::{ConfigArg, Failure};

/// While it starts, systemd is asked for more time this often: a large spool takes long to recover.
const START_TURN: Duration = Duration::from_secs(5);
/// How much more time.
const START_EXTENSION_MICROS: u32 = 60_000_000;

/// Records and serves until it is stopped.
pub(super) async fn run(args: ConfigArg) -> Result<(), Failure> {
    // First of all: before it has a handler, a SIGHUP ends the process.
    let mut hangup = signal(SignalKind::hangup()).map_err(Failure::failed)?;
    let stop = CancellationToken::new();
    let stopped = tokio::spawn(cancel_when_told(stop.clone()));
    let config = args.load()?.config;
    let handed_over = handed_over();
    let is_kept = handed_over.is_some();
    let mut gateway = match start(&config, &stop, handed_over).await {
        Ok(gateway) => gateway,
        Err(GatewayError::Stopped) => return Ok(()),
        Err(error) => return Err(Failure::failed(error)),
    };
    if !is_kept {
        keep_listener(&gateway);
    }
    notify(&[NotifyState::Ready]);
    let mut watchdog = Watchdog::new();
    let pulse = gateway.pulse().clone();
    tokio::select! {
        () = stop.cancelled() => {}
        never = watchdog.turn(Some(&pulse)) => match never {},
        never = reload_when_told(&args, &mut gateway, &mut hangup) => match never {},
    }
    notify(&[NotifyState::Stopping]);
    tokio::select! {
        () = gateway.stop() => {}
        never = watchdog.turn(None) => match never {},
    }
    if stopped.is_finished() {
        return stopped.await.map_err(|e| Failure::Failed(e.to_string()))?.map_err(Failure::failed);
    }
    Ok(())
}

/// The socket that the service manager kept while no gateway ran, or opened for this one.
fn handed_over() -> Option<TcpListener> {
    let taken = ListenFd::from_env().take_tcp_listener(0);
    taken.unwrap_or_else(|e| {
        tracing::warn!(error = %e, "what the service manager handed over is no listening socket");
        None
    })
}

/// Has the service manager keep the listening socket (`FileDescriptorStoreMax=`): while the gateway is replaced, clients
/// wait and are not refused.
fn keep_listener(gateway: &Gateway) {
    let states = [NotifyState::FdStore, NotifyState::FdName("http")];
    if let Err(e) = sd_notify::notify_with_fds(&states, &[gateway.listener().as_fd()]) {
        tracing::warn!(error = %e, "the service manager does not keep the listening socket");
    }
}

async fn start(
    config: &Config,
    stop: &CancellationToken,
    handed_over: Option<TcpListener>,
) -> Result<Gateway, GatewayError> {
    let starting = Gateway::start_unless(config, stop, handed_over);
    tokio::pin!(starting);
    let mut turn = interval(START_TURN);
    loop {
        tokio::select! {
            started = &mut starting => return started,
            _ = turn.tick() => notify(&[NotifyState::ExtendTimeoutUsec(START_EXTENSION_MICROS), NotifyState::Watchdog]),
        }
    }
}

/// SIGHUP and requests over HTTP, one after the other.
async fn reload_when_told(args: &ConfigArg, gateway: &mut Gateway, hangup: &mut Signal) -> Infallible {
    loop {
        let asked = tokio::select! {
            Some(()) = hangup.recv() => None,
            Some(asked) = gateway.reload_requested() => Some(asked),
            else => return pending().await,
        };
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            notify(&[NotifyState::Reloading, now]);
        }
        let outcome = reload(args, gateway).await;
        notify(&[NotifyState::Ready]);
        if let Err(why) = &outcome {
            tracing::error!("the configuration was not taken over: {}", why.replace('\n', "; "));
        }
        if let Some(asked) = asked {
            // The asking task may have gone.
            let _ = asked.send(outcome);
        }
    }
}

async fn reload(args: &ConfigArg, gateway: &mut Gateway) -> Result<String, String> {
    let config = args.load().map_err(|failure| failure.to_string())?.config;
    let CameraChanges { added, removed, restarted, kept } =
        gateway.reload(&config).await.map_err(|error| error.to_string())?;
    Ok(format!("cameras added: {added}, removed: {removed}, restarted: {restarted}, untouched: {kept}"))
}

async fn cancel_when_told(stop: CancellationToken) -> std::io::Result<()> {
    let reported = until_stop_requested().await;
    stop.cancel();
    reported
}

/// Returns at SIGTERM or SIGINT. A second signal ends the process at once: what it loses, the next start recovers.
pub(super) async fn until_stop_requested() -> std::io::Result<()> {
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
fn notify(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        tracing::warn!(error = %e, "the service manager was not notified");
    }
}

/// Notifies the service manager that the gateway lives, where it wants to know. A recording thread that is stuck is not life:
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
                None => notify(&[NotifyState::Watchdog]),
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
