//! One camera: source → fragments → packs, with reconnects and gaps.
//!
//! Invariant: a recorder ends only when the gateway stops. What a camera or the disk does ends in a gap with its cause, an
//! event, and another try; what a clock does ends in an event. Cameras share nothing but the limit on sessions being opened
//! at a time.
//! Absent on purpose: knowledge of RTSP, of boxes, of SQL.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span, warn};

use crate::event::{Event, Fact};
use crate::index::{Change, Index};
use crate::spool::Spool;
use crate::status::{CameraState, StatusSlot};
use footage::clock::{Clock, Reading};
use footage::media::GapCause;
use footage::platform;
use footage::source::{Source, SourceError};
use footage::units::CameraKey;

mod backoff;
mod continuity;
mod oddities;
mod pace;
mod permission;
mod session;
#[cfg(test)]
mod tests;
mod wall_clock;

pub use continuity::Continuity;
pub use permission::Permission;

use backoff::Backoff;
use oddities::Oddities;
use session::{Ended, Recording};

/// When a pack is sealed, at the next random access point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackLimits {
    /// At this size.
    pub pack_bytes_max: u64,
    /// At this length.
    pub pack_duration_max: Duration,
}

/// What every recorder of the gateway shares; cheap to clone.
#[derive(Clone, Debug)]
pub struct RecordingContext {
    /// Where packs grow.
    pub spool: Spool,
    /// Where gaps and events go.
    pub index: Index,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// When packs are sealed.
    pub limits: PackLimits,
    /// Sessions being opened at a time: a thousand cameras that come back do not all do so at once.
    pub opening: Arc<Semaphore>,
}

/// Records one camera.
pub struct Recorder {
    shared: RecordingContext,
    camera: CameraKey,
    source: Box<dyn Source>,
    status: StatusSlot,
    continuity: Continuity,
    oddities: Oddities,
    /// Cancelled when the gateway itself stops.
    gateway: Option<CancellationToken>,
    permission: Permission,
}

impl Recorder {
    /// A recorder that takes up where `continuity` ends.
    pub fn new(
        shared: RecordingContext,
        source: Box<dyn Source>,
        status: StatusSlot,
        camera: CameraKey,
        continuity: Continuity,
    ) -> Self {
        let (oddities, permission) = (Oddities::default(), Permission::always());
        Self { shared, camera, source, status, continuity, oddities, gateway: None, permission }
    }

    /// The same, which a change of the configuration may stop as well: only when `gateway` is cancelled too, the gateway
    /// has stopped.
    pub fn within(self, gateway: CancellationToken) -> Self {
        Self { gateway: Some(gateway), ..self }
    }

    /// The same, which records while this permits it.
    pub fn permitted_by(self, permission: Permission) -> Self {
        Self { permission, ..self }
    }

    /// Records until it is stopped; then what is begun is finished and the gap is opened.
    pub async fn run(mut self, stop: CancellationToken) {
        let span = info_span!("record", camera = %self.camera);
        async {
            let mut backoff = Backoff::default();
            while !stop.is_cancelled() {
                if !self.permission.is_given() {
                    self.not_permitted().await;
                    let _ = stop.run_until_cancelled(self.permission.becomes(true)).await;
                    continue;
                }
                let before = self.continuity.last_end();
                let Some(error) = self.permitted_session(&stop).await else { continue };
                // However short it was, a session that recorded has worked.
                if self.continuity.last_end() != before {
                    backoff.reset();
                }
                let wait = backoff.next(error.cause, platform::random());
                self.failed(&error, wait).await;
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(wait) => {}
                    () = self.status.retry_asked() => {
                        info!("an attempt was asked for");
                        backoff.reset();
                    }
                }
            }
            let goes_on = self.gateway.as_ref().is_some_and(|gateway| !gateway.is_cancelled());
            self.stopped(if goes_on { GapCause::Reconfigured } else { GapCause::GatewayStopped }).await;
        }
        .instrument(span)
        .await;
    }

    /// A session, which ends as with a stop where the permission is withdrawn.
    async fn permitted_session(&mut self, stop: &CancellationToken) -> Option<SourceError> {
        let (mut permission, until) = (self.permission.clone(), stop.child_token());
        let session = self.one_session(&until);
        tokio::pin!(session);
        tokio::select! {
            ended = &mut session => ended,
            () = permission.becomes(false) => {
                until.cancel();
                session.await
            }
        }
    }

    /// Opens a session and records it; gives why it ended, or nothing when the gateway stops.
    async fn one_session(&mut self, stop: &CancellationToken) -> Option<SourceError> {
        let opening = async {
            // The semaphore is never closed; a missing permit would only mean less restraint.
            let _permit = self.shared.opening.acquire().await.ok();
            self.source.open().await
        };
        let session = match stop.run_until_cancelled(opening).await? {
            Ok(session) => session,
            Err(error) => return Some(error),
        };
        let params = session.params.clone();
        let now = self.shared.clock.wall();
        self.status.update(|status| {
            status.enter(CameraState::Connected, now);
            status.video = Some((&params.video).into());
            status.also_offered = session.also_offered.clone();
            status.odd_setup = session.odd.clone();
            status.certificate_until = session.certificate_until;
            status.signed = false;
        });
        info!(codec = params.video.rfc6381, width = params.video.width, height = params.video.height, "connected");
        let mut changes = self.clock_is(self.shared.clock.read());
        changes.push(self.event(Fact::connected(&params.video)));
        self.report(changes).await;
        let (continuity, oddities) = (&mut self.continuity, &mut self.oddities);
        let recording = Recording::new(&self.shared, &self.camera, &self.status, continuity, oddities, params);
        match recording.run(session.items, stop).await {
            Ended::Stopped => None,
            Ended::Failed(error) => Some(error),
        }
    }

    async fn failed(&mut self, error: &SourceError, wait: Duration) {
        let changed = self.continuity.cause() != Some(error.cause);
        let wait_ms = wait.as_millis() as u64;
        if changed {
            warn!(cause = %error.cause, detail = error.detail, wait_ms, "not recording");
        }
        let now = self.shared.clock.read();
        let mut changes = self.clock_is(now);
        changes.extend(self.continuity.stopped(now.wall, error.cause));
        if changed {
            changes.push(self.event(Fact::ConnectionLost { cause: error.cause }));
        }
        self.show_gap(error.cause, &error.detail);
        self.report(changes).await;
    }

    async fn not_permitted(&mut self) {
        let cause = GapCause::NotAuthorised;
        let now = self.shared.clock.read();
        let mut changes = self.clock_is(now);
        if self.continuity.cause() != Some(cause) {
            warn!(%cause, "not recording");
            changes.push(self.event(Fact::ConnectionLost { cause }));
        }
        changes.extend(self.continuity.stopped(now.wall, cause));
        self.show_gap(cause, "");
        self.report(changes).await;
    }

    async fn stopped(&mut self, cause: GapCause) {
        // A camera that never recorded has no gap either: nothing began.
        if self.continuity.last_end().is_some() {
            let now = self.shared.clock.read();
            let mut changes = self.clock_is(now);
            changes.extend(self.continuity.stopped(now.wall, cause));
            self.report(changes).await;
        }
        self.show_gap(cause, "");
    }

    /// What follows from how the gateway's clocks stand now.
    fn clock_is(&mut self, now: Reading) -> Vec<Change> {
        self.continuity.clock_is(now, self.shared.clock.boot())
    }

    fn show_gap(&self, cause: GapCause, detail: &str) {
        let now = self.shared.clock.wall();
        self.status.update(|status| {
            status.enter(CameraState::Gap(cause), now);
            status.operator_detail = detail.to_owned();
        });
    }

    fn event(&self, fact: Fact) -> Change {
        Change::Event(Event::of_camera(self.shared.clock.wall(), &self.camera, fact))
    }

    async fn report(&self, changes: Vec<Change>) {
        report(&self.shared.index, changes).await;
    }
}

/// Gaps and events that the index does not take are logged: the recording goes on.
async fn report(index: &Index, changes: Vec<Change>) {
    if changes.is_empty() {
        return;
    }
    let said = format!("{changes:?}");
    if let Err(e) = index.write(changes).await {
        error!(error = %e, changes = said, "the index did not take these changes");
    }
}
