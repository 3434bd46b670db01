//! Metrics: what the gateway does, as numbers for a monitoring system.
//!
//! Invariant: labels are bounded: states, causes, reasons, and stores of the configuration. No metric names a tenant or a
//! camera. Everything is read when it is asked for; nothing is kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::index::figures::Figures;
use crate::index::{Index, IndexError};
use crate::spool::Spool;
use crate::status::{CameraState, CameraStatus, StatusBoard};
use footage::clock::Clock;
use footage::platform::{self, Writing};
use footage::units::{CameraKey, TICKS_PER_SECOND, Ticks90k, WallTime};

#[cfg(test)]
mod tests;

/// A condemned pack may lie so long before it counts as over age.
const GRACE: Ticks90k = Ticks90k(3_600 * TICKS_PER_SECOND);

/// Where numbers come from; cheap to clone.
#[derive(Clone, Debug)]
pub struct Sources {
    index: Index,
    spool: Spool,
    status: StatusBoard,
    clock: Arc<dyn Clock>,
    reserve_bytes: u64,
}

/// Everything at one instant.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When.
    pub at: WallTime,
    /// Every camera that is recorded, by its key.
    pub cameras: BTreeMap<CameraKey, CameraStatus>,
    /// What the index counts.
    pub figures: Figures,
    /// Bytes that may still be written; `None` when the disk does not say.
    pub free_bytes: Option<u64>,
    /// Bytes that are kept free.
    pub reserve_bytes: u64,
    /// From reception to durable: median, 99th percentile and longest, in seconds, since the start.
    pub durable_s: [f64; 3],
    /// How the spool's disk is written.
    pub writing: Writing,
    /// Bytes that wait to be written, and how many may.
    pub unwritten_bytes: (u64, u64),
}

impl Sources {
    /// Of this gateway.
    pub fn new(index: Index, spool: Spool, status: StatusBoard, clock: Arc<dyn Clock>, reserve_bytes: u64) -> Self {
        Self { index, spool, status, clock, reserve_bytes }
    }

    /// Reads everything.
    pub async fn snapshot(&self) -> Result<Snapshot, IndexError> {
        let at = self.clock.wall();
        let disk = self.spool.clone();
        let free = platform::spawn_blocking(move || platform::free_bytes(disk.dir())).await;
        let delays = self.spool.delays();
        Ok(Snapshot {
            at,
            cameras: self.status.all().into_iter().collect(),
            figures: self.index.figures(at, GRACE).await?,
            free_bytes: free.ok().and_then(Result::ok),
            reserve_bytes: self.reserve_bytes,
            durable_s: [delays.percentile(0.5), delays.percentile(0.99), delays.longest()].map(|d| d.as_secs_f64()),
            writing: self.spool.writing(),
            unwritten_bytes: self.spool.unwritten_bytes(),
        })
    }
}

impl Snapshot {
    /// Cameras in each state.
    pub fn states(&self) -> BTreeMap<&'static str, u64> {
        let mut states = BTreeMap::from([("connected", 0), ("gap", 0), ("recording", 0), ("starting", 0)]);
        for status in self.cameras.values() {
            let word = match status.state {
                CameraState::Starting => "starting",
                CameraState::Connected => "connected",
                CameraState::Recording => "recording",
                CameraState::Gap(_) => "gap",
            };
            *states.entry(word).or_default() += 1;
        }
        states
    }

    /// Bits a second that all cameras send together.
    pub fn bit_rate(&self) -> f64 {
        self.cameras.values().filter_map(|status| status.bit_rate).sum()
    }

    /// Hours until the disk's reserve is reached at this rate, if nothing were destroyed or sent.
    pub fn free_hours(&self) -> Option<f64> {
        let left = self.free_bytes?.saturating_sub(self.reserve_bytes) as f64;
        let bytes_per_hour = self.bit_rate() / 8.0 * 3_600.0;
        (bytes_per_hour > 0.0).then(|| left / bytes_per_hour)
    }

    /// Age of the oldest pack that waits for its store, in seconds.
    pub fn oldest_waiting_s(&self) -> f64 {
        self.figures.oldest_waiting.map_or(0.0, |start| self.at.since(start).as_seconds_f64().max(0.0))
    }

    /// What keeps the gateway from doing its work, as words of a fixed list; empty when it does it.
    pub fn not_ready(&self) -> Vec<&'static str> {
        let is_up = |status: &CameraStatus| matches!(status.state, CameraState::Recording | CameraState::Connected);
        let checks = [
            (!self.cameras.is_empty() && !self.cameras.values().any(is_up), "no_camera_is_recorded"),
            (self.free_bytes.is_some_and(|free| free < self.reserve_bytes), "disk_reserve_is_reached"),
        ];
        checks.into_iter().filter(|(holds, _)| *holds).map(|(_, word)| word).collect()
    }
}

type Label = [(&'static str, String); 1];

/// What HTTP has counted since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpCounts {
    /// Answers by class of their status: 2 for 2xx.
    pub answers: [u64; 6],
}

/// As OpenMetrics text.
pub fn open_metrics(snapshot: &Snapshot, http: &HttpCounts) -> String {
    let mut registry = Registry::with_prefix("vigie");
    let cameras = Family::<Label, Gauge>::default();
    registry.register("cameras", "Cameras by state", cameras.clone());
    for (state, n) in snapshot.states() {
        cameras.get_or_create(&[("state", state.to_owned())]).set(n as i64);
    }
    let gaps = Family::<Label, Counter>::default();
    registry.register("gaps", "Gaps that began since the start, by cause", gaps.clone());
    let recorded = Counter::<u64>::default();
    registry.register("recorded_bytes", "Bytes of samples written since the start", recorded.clone());
    let mut clock_offset = 0.0f64;
    for status in snapshot.cameras.values() {
        for (cause, n) in &status.gaps {
            gaps.get_or_create(&[("cause", cause.as_str().to_owned())]).inc_by(*n);
        }
        recorded.inc_by(status.recorded_bytes);
        let offset = status.camera_clock_offset.map_or(0.0, |offset| offset.as_seconds_f64().abs());
        clock_offset = clock_offset.max(offset);
    }
    let durable = Family::<Label, Gauge<f64, AtomicU64>>::default();
    registry.register("durable_delay_seconds", "From reception to durable, since the start", durable.clone());
    for (quantile, value) in ["0.5", "0.99", "1"].into_iter().zip(snapshot.durable_s) {
        durable.get_or_create(&[("quantile", quantile.to_owned())]).set(value);
    }
    let writing = Family::<Label, Gauge>::default();
    registry.register("disk_writing", "How the spool's disk is written: direct, uncached or buffered", writing.clone());
    writing.get_or_create(&[("way", snapshot.writing.as_str().to_owned())]).set(1);
    let figures = &snapshot.figures;
    let gauges = [
        ("camera_clock_offset_seconds_max", "Largest difference of a camera's clock from the gateway's", clock_offset),
        ("bit_rate", "Bits a second that all cameras send together", snapshot.bit_rate()),
        ("waiting_packs", "Whole packs that wait for their store", figures.waiting_packs as f64),
        ("waiting_bytes", "Bytes of whole packs that wait for their store", figures.waiting_bytes as f64),
        ("oldest_waiting_seconds", "Age of the oldest pack that waits for its store", snapshot.oldest_waiting_s()),
        ("condemned_packs", "Packs that are condemned and not deleted yet", figures.condemned_packs as f64),
        ("over_age_packs", "Packs past their maximum that are still there", figures.over_age_packs as f64),
        ("holds_in_force", "Legal holds in force", figures.holds_in_force as f64),
        ("alarms", "Alarms that last", figures.alarms.active as f64),
        ("alarms_critical", "Critical alarms that last", figures.alarms.critical as f64),
        ("alarm_targets_not_reached", "Targets of alarms that are not reached", figures.alarms.not_delivered as f64),
        ("unwritten_bytes", "Bytes of footage in memory that wait to be written", snapshot.unwritten_bytes.0 as f64),
        ("unwritten_bytes_max", "Bytes that may wait: then reading stops", snapshot.unwritten_bytes.1 as f64),
        ("disk_reserve_bytes", "Bytes of the disk that are kept free", snapshot.reserve_bytes as f64),
    ];
    for (name, help, value) in gauges {
        gauge(&mut registry, name, help, value);
    }
    // Unknown is absent, and not zero.
    if let Some(free) = snapshot.free_bytes {
        gauge(&mut registry, "disk_free_bytes", "Bytes of the spool's disk that are free", free as f64);
    }
    if let Some(hours) = snapshot.free_hours() {
        gauge(&mut registry, "disk_free_hours", "Hours of recording until the disk's reserve is reached", hours);
    }
    let destroyed = Family::<Label, Gauge>::default();
    registry.register("destroyed_packs", "Packs in the register of destructions, by reason", destroyed.clone());
    for (reason, n) in &figures.destroyed_packs {
        destroyed.get_or_create(&[("reason", reason.as_str().to_owned())]).set(*n as i64);
    }
    let scrub_began = Family::<Label, Gauge<f64, AtomicU64>>::default();
    registry.register("scrub_began_timestamp_seconds", "When the scrub of a store began", scrub_began.clone());
    let scrub_bytes = Family::<Label, Gauge>::default();
    registry.register("scrub_read_bytes", "Bytes that the scrub of a store has read since", scrub_bytes.clone());
    for (store, began, bytes) in &figures.scrubs {
        let label = [("store", store.clone())];
        scrub_began.get_or_create(&label).set(Ticks90k(began.0).as_seconds_f64());
        scrub_bytes.get_or_create(&label).set(i64::try_from(*bytes).unwrap_or(i64::MAX));
    }
    let answers = Family::<Label, Counter>::default();
    registry.register("http_answers", "Answers by class of their status, since the start", answers.clone());
    for (class, n) in http.answers.iter().enumerate().skip(1) {
        answers.get_or_create(&[("class", format!("{class}xx"))]).inc_by(*n);
    }
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}
