//! The cameras' device services (ONVIF), asked beside the recording: how far each camera's clock is off.
//!
//! Invariant: nothing here is waited for by a recorder, and what a device does costs at most its own task: each request is
//! bounded in time and bytes, so many are made at once, and one that fails is made again later, seldom where it was
//! refused, because devices lock accounts.
//! Absent on purpose: any setting of a device.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use onvif::{ClockOffset, Device, DeviceConfig};
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::config::{Config, OnvifConfig};
use crate::status::{DeviceClock, StatusBoard, StatusSlot};
use footage::clock::Clock;
use footage::failure::{Failure, Kind};
use footage::platform;
use footage::units::{CameraKey, Ticks90k, WallTime};

/// Clocks that are compared at a time: at the start, all cameras want it.
const COMPARED_AT_ONCE: usize = 16;
/// From one comparison to the next, give or take a tenth.
const COMPARE_EVERY: Duration = Duration::from_secs(3_600);
/// After one that failed, doubled each time up to [`COMPARE_EVERY`].
const RETRY_FIRST: Duration = Duration::from_secs(60);
/// For one operation.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A camera whose device is asked.
#[derive(Debug)]
struct Running {
    /// What that depends on: another means another task.
    session: blake3::Hash,
    stop: CancellationToken,
}

/// The devices of all cameras.
#[derive(Debug)]
pub struct Devices {
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
        clock: Arc<dyn Clock>,
        status: StatusBoard,
        certificates: PathBuf,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let at_once = Arc::new(Semaphore::new(COMPARED_AT_ONCE));
        Self { clock, status, certificates, tasks, stop, at_once, running: HashMap::new() }
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
                status.device_detail.clear();
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
        let device = Device::new(device, self.clock.clone());
        let slot = self.status.slot(key);
        if let Some(offset_max) = onvif.clock_offset_max {
            slot.update(|status| status.device_clock = DeviceClock::Awaited);
            let (camera, clock, at_once) = (key.clone(), self.clock.clone(), self.at_once.clone());
            let comparison = Comparison { camera, device, clock, slot, at_once, offset_max };
            let until = stop.clone();
            self.tasks.spawn(async move { until.run_until_cancelled(comparison.run()).await });
        }
        stop
    }
}

/// Everything that asking a device depends on, as a hash that is compared and never shown.
fn session(onvif: &OnvifConfig) -> blake3::Hash {
    let OnvifConfig { url, tls, username, password, clock_offset_max } = onvif;
    let password = password.as_ref().map(|password| password.expose_secret());
    blake3::hash(format!("{:?}", (url.as_str(), tls, username, password, clock_offset_max)).as_bytes())
}

/// One camera's clock, compared again and again.
struct Comparison {
    camera: CameraKey,
    device: Device,
    clock: Arc<dyn Clock>,
    slot: StatusSlot,
    at_once: Arc<Semaphore>,
    offset_max: Duration,
}

impl Comparison {
    async fn run(self) {
        let mut failures = 0;
        loop {
            let compared = {
                // Never closed.
                let _permit = self.at_once.acquire().await;
                self.device.clock_offset().await
            };
            let wait = match &compared {
                Ok(_) => {
                    failures = 0;
                    COMPARE_EVERY
                }
                Err(error) => {
                    failures += 1;
                    wait_after(error.kind(), failures)
                }
            };
            self.note(compared);
            // Devices that were asked together are not asked together for ever.
            let jitter = 0.9 + 0.2 * platform::random::<f64>();
            tokio::select! {
                () = tokio::time::sleep(wait.mul_f64(jitter)) => {}
                () = self.slot.retry_asked() => {}
            }
        }
    }

    fn note(&self, compared: Result<ClockOffset, onvif::Error>) {
        let camera = &self.camera;
        match compared {
            Ok(found) => {
                let clock = compared_clock(&found, self.offset_max, self.clock.wall());
                let (offset_ms, bound_ms) = (found.offset.0 / 90, found.bound.0 / 90);
                info!(%camera, offset_ms, bound_ms, by_ntp = found.by_ntp, "the camera's clock was compared");
                self.slot.update(|status| {
                    status.device_clock = clock;
                    status.device_detail.clear();
                });
            }
            Err(error) => {
                let detail = error.to_string();
                let mut is_new = false;
                self.slot.update(|status| {
                    is_new = status.device_detail != detail;
                    status.device_detail.clone_from(&detail);
                });
                if is_new {
                    warn!(%camera, "the camera's clock cannot be compared: {detail}");
                }
            }
        }
    }
}

/// Something is said only where the least that the offset can be is more than what is allowed.
fn compared_clock(found: &ClockOffset, offset_max: Duration, at: WallTime) -> DeviceClock {
    let is_off = found.at_least() > Ticks90k::from_duration(offset_max);
    DeviceClock::Compared { offset: found.offset, bound: found.bound, at, is_off }
}

/// What heals by itself is tried soon; what a person has to put right is not, because devices lock accounts.
fn wait_after(kind: Kind, failures: u32) -> Duration {
    match kind {
        Kind::Retry => RETRY_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(COMPARE_EVERY),
        _ => COMPARE_EVERY,
    }
}

#[cfg(test)]
mod tests;
