//! Cuts are filled from what the camera recorded itself meanwhile (ONVIF Profile G): found, proven to be the same view by the
//! same clock, fetched and written as footage that is marked so.
//!
//! Invariants:
//! - A picture is placed by times that are proven at both ends of the cut: there the camera's recording has, byte for byte,
//!   pictures that were recorded here. Without that nothing is filled, and an event says why.
//! - One cut of one camera at a time, at a bounded rate, and only while that camera is being recorded: what is fetched gives
//!   way to what is filmed.
//! - What is done is known from the index alone: footage that lies in the cut, and an event once it is settled. A crash at any
//!   moment leaves whole fragments, which are not fetched again, and a cut that is still to be filled.
//! - The gap stays, with its cause.
//!
//! Absent on purpose: sound; whatever would change a device; footage of before the camera was recorded here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use onvif::{Device, DeviceConfig, Recording};
use parking_lot::Mutex;
use rtsp::{Replay, ReplayError, ReplayRange, Replayed, RtspConfig, Transport};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::beside::{Beside, Known, Proof, beside, proven};
use self::fill::{Filling, Times};
use self::seam::{Seam, Step};
use crate::archive::{Archive, ReadError};
use crate::authorisation::{Authorisation, Basis};
use crate::config::{BackfillConfig, Config};
use crate::event::{EdgeRefusal, Event, Fact};
use crate::index::{Change, Index, IndexError, PackState};
use crate::record::PackLimits;
use crate::spool::{Spool, SpoolError};
use crate::status::StatusBoard;
use footage::clock::Clock;
use footage::source::SourceError;
use footage::units::{CameraKey, PackId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

mod beside;
mod cut;
mod fill;
mod seam;

/// From one look at the cameras to the next.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A camera's cuts are looked for at each look for so long after it is recorded again, and then so often.
const NEW_FOR: Ticks90k = Ticks90k(60 * TICKS_PER_SECOND);
const OLD_EVERY: Duration = Duration::from_secs(60);
/// After an attempt that failed, doubled each time up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(60);
const RETRY_MAX: Duration = Duration::from_secs(3_600);
/// Cards are written late: what is not there yet may be there after so many attempts, an hour and a half.
const ATTEMPTS_MAX: u32 = 7;
/// For one operation of a device.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A camera that sends nothing for so long has sent all.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// What the pictures beside the cut are looked for around their time, by what is known of the camera's clock.
const AROUND: Ticks90k = Ticks90k(10 * TICKS_PER_SECOND);
/// And how many are looked at.
const LOOKED_AT_MAX: usize = 16_384;
/// Pictures come out of their order by less; a recording whose times go back begins again.
const BACK_MAX: Ticks90k = Ticks90k(TICKS_PER_SECOND);
/// Where the camera's clock went on by more or less than ours during the cut, it was set.
const DRIFT_MAX: Ticks90k = Ticks90k(TICKS_PER_SECOND);
/// Footage is not fetched that is due within so long.
const DUE_SOON: Duration = Duration::from_secs(1_800);
/// A share of the memory of footage that waits to be written is left to what is filmed.
const WAITS_SHARE: u64 = 4;
/// From one look at the disk, or at the index, to the next while it is waited for, and how long the index is waited for.
const POLL: Duration = Duration::from_millis(100);
const SEALED_WITHIN: Duration = Duration::from_secs(60);

/// What it works with; cheap to clone.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where gaps and events are.
    pub index: Index,
    /// Where packs grow.
    pub spool: Spool,
    /// Where footage is read.
    pub packs: Archive,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What cameras do.
    pub status: StatusBoard,
    /// When packs are sealed.
    pub limits: PackLimits,
}

/// A camera whose cuts are filled.
#[derive(Clone, Debug)]
struct EdgeCamera {
    key: CameraKey,
    device: DeviceConfig,
    /// For its replays, but for the URL.
    rtsp: RtspConfig,
    backfill: BackfillConfig,
    retention_max: Duration,
    /// Its authorisation's time; none: any time.
    permitted: Option<TimeRange>,
}

/// The cameras whose cuts are filled, to be changed while they are; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct EdgeCameras(Arc<Mutex<Vec<EdgeCamera>>>);

impl EdgeCameras {
    /// Takes over the configuration's; certificates that were pinned are kept in this folder.
    pub fn apply(&self, config: &Config, certificates: &Path) {
        let of = |tenant: &crate::config::Tenant| {
            let pins = certificates.join(tenant.id.to_string());
            let cameras = tenant.cameras.iter().filter_map(move |camera| {
                let edge = EdgeCamera::of(&tenant.id, camera, &pins)?;
                let under = |of: &&Authorisation| camera.installation.basis == Basis::Authorisation(of.id.clone());
                let authorisation = tenant.authorisations.iter().find(under);
                let permitted = authorisation.and_then(|of| of.recorded_in(&config.time_zone));
                Some(EdgeCamera { permitted, ..edge })
            });
            cameras.collect::<Vec<_>>()
        };
        *self.0.lock() = config.tenants.iter().flat_map(of).collect();
    }
}

impl EdgeCamera {
    fn of(tenant: &footage::units::TenantId, camera: &crate::config::CameraConfig, pins: &Path) -> Option<Self> {
        let onvif = camera.onvif.as_ref()?;
        let backfill = onvif.backfill?;
        let key = CameraKey { tenant: tenant.clone(), camera: camera.id.clone() };
        let pin = |kind: &str| -> PathBuf { pins.join(format!("{}{kind}.sha256", key.camera)) };
        let device = DeviceConfig {
            label: key.to_string(),
            url: onvif.url.clone(),
            tls: onvif.tls.trust(pin(".onvif")),
            username: onvif.username.clone(),
            password: onvif.password.clone(),
            timeout: TIMEOUT,
        };
        let rtsp = RtspConfig {
            camera: key.clone(),
            url: camera.url.clone(),
            tls: camera.tls.trust(pin("")),
            username: onvif.username.clone(),
            password: onvif.password.clone(),
            transport: Transport::Tcp,
            audio: false,
            silence_max: SILENCE_MAX,
            setup_timeout: TIMEOUT,
        };
        Some(Self { key, device, rtsp, backfill, retention_max: camera.retention.max, permitted: None })
    }
}

/// Why a cut is not filled.
#[derive(Debug)]
enum Refused {
    /// It never will be.
    Settled(EdgeRefusal),
    /// It may be later; then for this reason never, where it is not filled after some attempts.
    Doubtful(EdgeRefusal),
    /// It may be later: one line.
    Later(String),
    /// The gateway stops.
    Stopped,
}

macro_rules! later {
    ($($error:ty),*) => {$(
        impl From<$error> for Refused {
            fn from(error: $error) -> Self {
                Self::Later(error.to_string())
            }
        }
    )*};
}

later!(IndexError, SpoolError, ReadError, SourceError);

impl From<onvif::Error> for Refused {
    fn from(error: onvif::Error) -> Self {
        match error {
            onvif::Error::NoService { .. } => Self::Settled(EdgeRefusal::NoService),
            error => Self::Later(error.to_string()),
        }
    }
}

impl From<ReplayError> for Refused {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Nothing => Self::Doubtful(EdgeRefusal::NothingRecorded),
            ReplayError::Failed(error) => error.into(),
        }
    }
}

/// What was tried of one cut.
#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    attempts: u32,
    /// Monotonic time.
    next: Duration,
}

/// Fills cuts.
#[derive(Debug)]
pub struct Backfill {
    parts: Parts,
    cameras: EdgeCameras,
    tried: HashMap<(CameraKey, WallTime), Tried>,
    /// When the cuts of a camera were last looked for, on the monotonic clock.
    looked: HashMap<CameraKey, Duration>,
}

impl Backfill {
    /// Nothing is asked yet.
    pub fn new(parts: Parts, cameras: EdgeCameras) -> Self {
        Self { parts, cameras, tried: HashMap::new(), looked: HashMap::new() }
    }

    /// Fills cuts until it is stopped; what is begun is sealed then.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.pass(&stop).await;
            stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
        }
    }

    /// One cut of each camera, if one is due.
    async fn pass(&mut self, stop: &CancellationToken) {
        let cameras = self.cameras.0.lock().clone();
        for camera in cameras {
            if stop.is_cancelled() {
                return;
            }
            let now = self.parts.clock.read();
            let Some(since) = self.parts.status.recorded_since(&camera.key) else { continue };
            let looked = self.looked.get(&camera.key).copied();
            let is_old = looked.is_some_and(|at| now.mono.saturating_sub(at) < OLD_EVERY);
            if is_old && now.wall.since(since) > NEW_FOR {
                continue;
            }
            self.looked.insert(camera.key.clone(), now.mono);
            match self.due(&camera).await {
                Ok(Some(cut)) => self.attempt(&camera, cut, stop).await,
                Ok(None) => {}
                Err(error) => warn!(camera = %camera.key, %error, "the index does not say which cuts are to be filled"),
            }
        }
    }

    /// The oldest cut that is to be tried now.
    async fn due(&mut self, camera: &EdgeCamera) -> Result<Option<TimeRange>, IndexError> {
        let now = self.parts.clock.read();
        let kept = camera.retention_max.saturating_sub(self.parts.limits.pack_duration_max + DUE_SOON);
        let from = now.wall.saturating_sub(Ticks90k::from_duration(kept.min(camera.backfill.reach)));
        let Some(range) = TimeRange::new(from, now.wall) else { return Ok(None) };
        let index = &self.parts.index;
        let gaps = index.gaps(&camera.key, range).await?;
        let (spans, settled) = (index.spans(&camera.key, range).await?, index.settled_cuts(&camera.key).await?);
        // What the camera filmed without an authorisation, while the gateway was away, stays with it.
        let permitted = |cut: TimeRange| match &camera.permitted {
            None => Some(cut),
            Some(permitted) => cut.intersection(permitted),
        };
        let cuts: Vec<_> = cut::cuts(&gaps, &spans, &settled).into_iter().filter_map(permitted).collect();
        self.tried.retain(|(key, start), _| *key != camera.key || *start >= from);
        let tried = |cut: &TimeRange| self.tried.get(&(camera.key.clone(), cut.start())).copied().unwrap_or_default();
        Ok(cuts.into_iter().find(|cut| cut.start() >= from && tried(cut).next <= now.mono))
    }

    async fn attempt(&mut self, camera: &EdgeCamera, cut: TimeRange, stop: &CancellationToken) {
        let tried = self.tried.entry((camera.key.clone(), cut.start())).or_default();
        tried.attempts += 1;
        let attempts = tried.attempts;
        info!(camera = %camera.key, start = %cut.start(), end = %cut.end(), "a cut is looked for in the camera's own recording");
        let (start, end) = (cut.start(), cut.end());
        let fact = match Attempt::new(&self.parts, camera, cut, stop).run().await {
            Ok((filled, error)) => {
                let ms = |ticks: Ticks90k| ticks.0 / (TICKS_PER_SECOND / 1_000);
                Fact::EdgeFilled { start, end, filled_ms: ms(filled), error_ms: ms(error) }
            }
            Err(Refused::Settled(why)) => Fact::EdgeNotFilled { start, end, why },
            Err(Refused::Doubtful(why)) if attempts >= ATTEMPTS_MAX => Fact::EdgeNotFilled { start, end, why },
            Err(Refused::Stopped) => return,
            Err(refused) => {
                let wait = RETRY_FIRST.saturating_mul(1 << (attempts - 1).min(6)).min(RETRY_MAX);
                tried.next = self.parts.clock.read().mono + wait;
                let why = match refused {
                    Refused::Later(why) => why,
                    other => format!("{other:?}"),
                };
                warn!(camera = %camera.key, wait_s = wait.as_secs(), why, "a cut is not filled yet");
                return;
            }
        };
        info!(camera = %camera.key, ?fact, "a cut is settled");
        let event = Change::Event(Event::of_camera(self.parts.clock.wall(), &camera.key, fact));
        if let Err(error) = self.parts.index.write(vec![event]).await {
            tried.next = self.parts.clock.read().mono + RETRY_FIRST;
            warn!(camera = %camera.key, %error, "the index did not take that a cut is settled");
        }
    }
}

/// One attempt to fill one cut.
struct Attempt<'a> {
    parts: &'a Parts,
    camera: &'a EdgeCamera,
    cut: TimeRange,
    stop: &'a CancellationToken,
    /// When it began, on the monotonic clock, and bytes fetched since.
    began: Duration,
    fetched: u64,
}

impl<'a> Attempt<'a> {
    fn new(parts: &'a Parts, camera: &'a EdgeCamera, cut: TimeRange, stop: &'a CancellationToken) -> Self {
        Self { parts, camera, cut, stop, began: parts.clock.read().mono, fetched: 0 }
    }

    fn is_recorded(&self) -> bool {
        self.parts.status.recorded_since(&self.camera.key).is_some()
    }

    /// How much of the cut was filled, and how far its times may be off.
    async fn run(mut self) -> Result<(Ticks90k, Ticks90k), Refused> {
        let key = &self.camera.key;
        let ends = beside(&self.parts.index, &self.parts.packs, key, self.cut).await?;
        let device = Device::new(self.camera.device.clone(), self.parts.clock.clone());
        let recordings = device.recordings().await?;
        if recordings.iter().any(|recording| recording.source != recordings[0].source) {
            return Err(Refused::Settled(EdgeRefusal::SeveralSources));
        }
        let mut expected = [ends[0].camera_offset, ends[1].camera_offset];
        if expected.iter().any(Option::is_none) {
            let by_device = device.clock_offset().await?.offset;
            expected = expected.map(|by_reports| by_reports.or(Some(by_device)));
        }
        let mut why = EdgeRefusal::NothingRecorded;
        for recording in recordings {
            match self.of_recording(&device, &recording, &ends, expected.map(Option::unwrap_or_default)).await {
                Err(Refused::Doubtful(refusal)) => why = refusal,
                other => return other,
            }
        }
        Err(Refused::Doubtful(why))
    }

    async fn of_recording(
        &mut self,
        device: &Device,
        recording: &Recording,
        ends: &[Beside; 2],
        expected: [Ticks90k; 2],
    ) -> Result<(Ticks90k, Ticks90k), Refused> {
        let config = RtspConfig { url: device.replay_uri(&recording.token).await?.url, ..self.camera.rtsp.clone() };
        let [before, after] = ends;
        let at_start = self.prove(&config, &before.known, expected[0]).await?;
        let at_end = self.prove(&config, &after.known, expected[1]).await?;
        let drift = Ticks90k(at_end.offset.0.saturating_sub(at_start.offset.0).saturating_abs());
        if drift > DRIFT_MAX {
            return Err(Refused::Settled(EdgeRefusal::ClockMoved));
        }
        let filled = self.fill(&config, ends, Times::new(self.cut, at_start, at_end)).await?;
        Ok((filled, at_start.spread.max(at_end.spread).max(drift)))
    }

    /// Compares pictures that were recorded here with those that the camera recorded at that time.
    async fn prove(&mut self, config: &RtspConfig, known: &[Known], offset: Ticks90k) -> Result<Proof, Refused> {
        let (Some(first), Some(last)) = (known.first(), known.last()) else {
            return Err(Refused::Settled(EdgeRefusal::NothingInCommon));
        };
        let range = ReplayRange {
            start: first.at.saturating_add(offset).saturating_sub(AROUND),
            end: last.at.saturating_add(offset).saturating_add(AROUND),
        };
        let mut replay = Replay::open(config.clone(), range, self.parts.clock.clone()).await?;
        let mut seen = Vec::new();
        while let Some(picture) = self.next(&mut replay).await.or_else(|refused| self.at_its_end(refused, &seen))? {
            // Without a time it proves nothing.
            let Some(filmed) = picture.filmed else { return Err(Refused::Settled(EdgeRefusal::NothingInCommon)) };
            let goes_back = seen.last().is_some_and(|last: &Known| filmed < last.at.saturating_sub(BACK_MAX));
            if filmed > range.end || goes_back || seen.len() >= LOOKED_AT_MAX {
                break;
            }
            seen.push(Known { hash: blake3::hash(&picture.data), at: filmed });
        }
        proven(known, &seen).ok_or(Refused::Doubtful(EdgeRefusal::NothingInCommon))
    }

    /// A camera that only stops sending has sent all.
    fn at_its_end(&self, refused: Refused, seen: &[Known]) -> Result<Option<Replayed>, Refused> {
        match refused {
            Refused::Later(_) if !seen.is_empty() && self.is_recorded() => Ok(None),
            refused => Err(refused),
        }
    }

    /// The next picture, no sooner than the rate allows.
    async fn next(&mut self, replay: &mut Replay) -> Result<Option<Replayed>, Refused> {
        let picture = self.stop.run_until_cancelled(replay.next()).await.ok_or(Refused::Stopped)??;
        let bytes = picture.as_ref().map_or(0, |picture| picture.data.len() as u64);
        self.fetched = self.fetched.saturating_add(bytes);
        let due =
            Duration::from_secs_f64(self.fetched as f64 / self.camera.backfill.bytes_per_second_max.max(1) as f64);
        let passed = self.parts.clock.read().mono.saturating_sub(self.began);
        self.pause(due.saturating_sub(passed)).await?;
        // What is filmed now needs the disk first.
        loop {
            let (waiting, most) = self.parts.spool.unwritten_bytes();
            if waiting <= most / WAITS_SHARE {
                break;
            }
            self.pause(POLL).await?;
        }
        if !self.is_recorded() {
            return Err(Refused::Later("the camera is not recorded: what it films comes first".to_owned()));
        }
        Ok(picture)
    }

    async fn pause(&self, time: Duration) -> Result<(), Refused> {
        if time.is_zero() {
            return Ok(());
        }
        self.stop.run_until_cancelled(tokio::time::sleep(time)).await.ok_or(Refused::Stopped)
    }

    async fn fill(&mut self, config: &RtspConfig, ends: &[Beside; 2], times: Times) -> Result<Ticks90k, Refused> {
        let (start, end) = times.by_camera();
        let [before, after] = ends.each_ref().map(|end| &end.known[..]);
        let group = before.first().map_or(Ticks90k::ZERO, |first| self.cut.start().since(first.at));
        let from = start.saturating_sub(group).saturating_sub(AROUND);
        let range = ReplayRange { start: from, end: end.saturating_add(AROUND) };
        let mut replay = Replay::open(config.clone(), range, self.parts.clock.clone()).await?;
        let mut seam = Seam::new(before, after, (start, end));
        let mut filling = Filling::new(self.parts, &self.camera.key, times);
        let outcome = self.pictures(&mut replay, &mut seam, &mut filling).await;
        // What came is kept, however it ended.
        let closed = filling.close(matches!(outcome, Ok(true))).await;
        let Filling { packs, filled, .. } = filling;
        self.sealed(&packs).await?;
        match outcome.map(drop).and(closed) {
            // The rest of the cut is one of its own.
            Err(Refused::Settled(_)) if filled > Ticks90k::ZERO => {
                Err(Refused::Later("a part of the cut is filled".to_owned()))
            }
            outcome => outcome.map(|()| filled),
        }
    }

    /// Whether what came reaches the footage after the cut.
    async fn pictures(
        &mut self,
        replay: &mut Replay,
        seam: &mut Seam,
        filling: &mut Filling<'_>,
    ) -> Result<bool, Refused> {
        while let Some(picture) = self.next(replay).await? {
            let Some(filmed) = picture.filmed else { return Err(Refused::Settled(EdgeRefusal::NothingInCommon)) };
            match seam.take(picture, filmed) {
                Step::Wait => {}
                Step::Joined => return Ok(true),
                Step::Over => return Ok(false),
                Step::Write(pictures) => {
                    for picture in pictures {
                        let filmed = picture.filmed.unwrap_or(filmed);
                        filling.take(picture, filmed).await?;
                    }
                }
            }
        }
        Ok(false)
    }

    /// Waits until the index knows these packs as sealed: what is said of a cut rests on them.
    async fn sealed(&self, packs: &[PackId]) -> Result<(), Refused> {
        for pack in packs {
            let until = self.parts.clock.read().mono + SEALED_WITHIN;
            loop {
                let row = self.parts.index.pack(&self.camera.key, *pack).await?;
                if row.is_some_and(|row| row.state >= PackState::Sealed) {
                    break;
                }
                if self.parts.clock.read().mono > until {
                    return Err(Refused::Later(format!("pack {pack} is not sealed yet")));
                }
                self.pause(POLL).await?;
            }
        }
        Ok(())
    }
}
