//! The cameras' device services (ONVIF), asked beside the recording: how far each camera's clock is off, and what it
//! notices where the configuration names that.
//!
//! Invariant: nothing here is waited for by a recorder, and what a device does costs at most its own tasks: each request is
//! bounded in time and bytes, so many are made at once, and one that fails is made again later, seldom where it was
//! refused, because devices lock accounts. What a camera notices is not asked for unless a legal basis is named.
//! Absent on purpose: any setting of a device.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use onvif::{Device, DeviceConfig};
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use self::clock::Comparison;
use self::occurrence::Gathering;
use crate::config::{Config, OnvifConfig};
use crate::index::Index;
use crate::status::{DeviceClock, DeviceTrouble, StatusBoard, StatusSlot};
use footage::clock::Clock;
use footage::failure::{Failure, Kind};
use footage::platform;
use footage::units::CameraKey;

mod clock;
mod occurrence;

#[cfg(test)]
mod tests;

/// Devices that are asked at a time for what all of them are asked at the start.
const ASKED_AT_ONCE: usize = 16;
/// After an attempt that failed, doubled each time up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(60);
const RETRY_MAX: Duration = Duration::from_secs(3_600);
/// For one operation.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A camera whose device is asked.
#[derive(Debug)]
struct Running {
    /// What that depends on: another means other tasks.
    session: blake3::Hash,
    stop: CancellationToken,
}

/// What the tasks of one camera share.
#[derive(Clone, Debug)]
struct Asked {
    camera: CameraKey,
    device: Arc<Device>,
    clock: Arc<dyn Clock>,
    slot: StatusSlot,
    at_once: Arc<Semaphore>,
}

/// The devices of all cameras.
#[derive(Debug)]
pub struct Devices {
    index: Index,
    clock: Arc<dyn Clock>,
    status: StatusBoard,
    /// Where certificates that were pinned are kept.
    certificates: PathBuf,
    tasks: TaskTracker,
    stop: CancellationToken,
    at_once: Arc<Semaphore>,
    running: HashMap<CameraKey, Running>,
}

impl Devices {
    /// None yet; those that come run among `tasks` until `stop`.
    pub fn new(
        index: Index,
        clock: Arc<dyn Clock>,
        status: StatusBoard,
        certificates: PathBuf,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let at_once = Arc::new(Semaphore::new(ASKED_AT_ONCE));
        Self { index, clock, status, certificates, tasks, stop, at_once, running: HashMap::new() }
    }

    /// Asks the devices of the configuration's cameras and no others. Those that stay as they were go on.
    pub fn apply(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.running);
        for tenant in &config.tenants {
            for camera in &tenant.cameras {
                let Some(onvif) = &camera.onvif else { continue };
                let key = CameraKey { tenant: tenant.id.clone(), camera: camera.id.clone() };
                let session = session(onvif);
                let running = match before.remove(&key) {
                    Some(running) if running.session == session => running,
                    other => {
                        self.end(&key, other);
                        Running { session, stop: self.begin(&key, onvif) }
                    }
                };
                self.running.insert(key, running);
            }
        }
        before.into_iter().for_each(|(key, running)| self.end(&key, Some(running)));
    }

    fn end(&self, key: &CameraKey, running: Option<Running>) {
        let Some(running) = running else { return };
        running.stop.cancel();
        if let Some(slot) = self.status.find(key) {
            slot.update(|status| {
                status.device_clock = DeviceClock::NotCompared;
                status.device_trouble = DeviceTrouble::default();
            });
        }
    }

    fn begin(&self, key: &CameraKey, onvif: &OnvifConfig) -> CancellationToken {
        let stop = self.stop.child_token();
        let pin = self.certificates.join(key.tenant.to_string()).join(format!("{}.onvif.sha256", key.camera));
        let device = DeviceConfig {
            label: key.to_string(),
            url: onvif.url.clone(),
            tls: onvif.tls.trust(pin),
            username: onvif.username.clone(),
            password: onvif.password.clone(),
            timeout: TIMEOUT,
        };
        let asked = Asked {
            camera: key.clone(),
            device: Arc::new(Device::new(device, self.clock.clone())),
            clock: self.clock.clone(),
            slot: self.status.slot(key),
            at_once: self.at_once.clone(),
        };
        if let Some(offset_max) = onvif.clock_offset_max {
            asked.slot.update(|status| status.device_clock = DeviceClock::Awaited);
            let comparison = Comparison::new(asked.clone(), offset_max);
            let until = stop.clone();
            self.tasks.spawn(async move { until.run_until_cancelled(comparison.run()).await });
        }
        if !onvif.events.is_empty() {
            let gathering = Gathering::new(asked, self.index.clone(), onvif.events.clone());
            self.tasks.spawn(gathering.run(stop.clone()));
        }
        stop
    }
}

/// Everything that asking a device depends on, as a hash that is compared and never shown.
fn session(onvif: &OnvifConfig) -> blake3::Hash {
    let OnvifConfig { url, tls, username, password, clock_offset_max, events, events_legal_basis: _, backfill: _ } =
        onvif;
    let password = password.as_ref().map(|password| password.expose_secret());
    blake3::hash(format!("{:?}", (url.as_str(), tls, username, password, clock_offset_max, events)).as_bytes())
}

impl Asked {
    /// Waits until it is time for the next attempt, or until one is asked for. Devices that were asked together are not
    /// asked together for ever.
    async fn wait(&self, time: Duration) {
        let jitter = 0.9 + 0.2 * platform::random::<f64>();
        tokio::select! {
            () = tokio::time::sleep(time.mul_f64(jitter)) => {}
            () = self.slot.retry_asked() => {}
        }
    }

    /// Notes what went wrong, for the operator; in the log once for each trouble.
    fn trouble(&self, error: &onvif::Error, what: &str, of: fn(&mut DeviceTrouble) -> &mut String) {
        let detail = error.to_string();
        let mut is_new = false;
        self.slot.update(|status| {
            let line = of(&mut status.device_trouble);
            is_new = *line != detail;
            line.clone_from(&detail);
        });
        if is_new {
            warn!(camera = %self.camera, "{what}: {detail}");
        }
    }
}

/// What heals by itself is tried soon; what a person has to put right is not, because devices lock accounts.
fn wait_after(error: &onvif::Error, failures: u32) -> Duration {
    match error.kind() {
        Kind::Retry => RETRY_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(RETRY_MAX),
        _ => RETRY_MAX,
    }
}
