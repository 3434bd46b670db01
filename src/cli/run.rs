//! `vigie run`.

use std::io;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use vigie::gateway::Gateway;

use super::{ConfigArg, Failure};

pub(super) fn run(args: &ConfigArg) -> Result<(), Failure> {
    let config = args.load()?.config;
    super::block_on(async {
        let gateway = Gateway::start(&config).await.map_err(Failure::failed)?;
        tell_systemd(&[NotifyState::Ready]);
        let watchdog = tokio::spawn(feed_watchdog());
        until_told_to_stop().await.map_err(Failure::failed)?;
        tell_systemd(&[NotifyState::Stopping]);
        gateway.stop().await;
        watchdog.abort();
        Ok(())
    })
}

/// Tells systemd, twice as often as it asks, that the gateway's tasks still get their turn.
async fn feed_watchdog() {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    let mut tick = tokio::time::interval(within / 2);
    loop {
        tick.tick().await;
        tell_systemd(&[NotifyState::Watchdog]);
    }
}

fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        tracing::warn!(error = %e, "systemd was not told");
    }
}

/// Returns at SIGTERM or SIGINT. A second signal ends the process at once: what it loses, the next start recovers.
pub(super) async fn until_told_to_stop() -> io::Result<()> {
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
