//! One session's access units become fragments, fragments become packs.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::continuity::Continuity;
use super::oddities::Oddities;
use super::wall_clock::{Placed, WallTimeline};
use super::{RecordingContext, report};
use crate::event::{Event, Fact};
use crate::index::Change;
use crate::spool::{Growing, Room, Size, SpoolError};
use crate::status::{CameraState, StatusSlot};
use footage::clock::Reading;
use footage::fragment::Fragmenter;
use footage::media::{AccessUnit, Fragment, Gap, GapCause, OddityCounts, Params, Track};
use footage::pack::{PackHeader, Stamp};
use footage::signing::{self, SigningSei};
use footage::source::{Item, SourceError};
use footage::units::{CameraKey, RunId, TICKS_PER_SECOND, Ticks90k, WallTime};

/// A camera without a random access point for this long and so many pictures cannot be cut into packs: its session is
/// opened again, which makes it send one.
const RANDOM_ACCESS_WITHIN: Duration = Duration::from_secs(600);
const RANDOM_ACCESS_PICTURES: u32 = 500;
/// A run that the gateway's clock stepped in ends at the next random access point. A camera that sends none for this long
/// is asked for one by opening its session again.
const STEP_WITHIN: Duration = Duration::from_secs(30);
/// At most one event about timestamps that jump in this time.
const JUMP_EVENT_EVERY: Duration = Duration::from_secs(600);
/// The index hears of a camera's clock when it moved by this much.
const CLOCK_NEWS_TICKS: i64 = TICKS_PER_SECOND / 20;
/// A camera that was not read for a while drops pictures, or ends its session, up to so long after that.
const DISK_BLAMED_FOR: Duration = Duration::from_secs(10);
/// A camera clock that moves by more between two fragments has stepped.
const CLOCK_STEP_TICKS: i64 = TICKS_PER_SECOND;
/// Chains of certificates of one session that are looked at: a camera has one or two. Each costs a signature and a row.
const CERTIFICATES_PER_SESSION_MAX: u32 = 16;

/// How a session ended.
pub(super) enum Ended {
    /// The gateway stops.
    Stopped,
    /// By itself.
    Failed(SourceError),
}

/// One session being recorded: a run, or several where the gateway's clock is set.
pub(super) struct Recording<'a> {
    shared: &'a RecordingContext,
    camera: &'a CameraKey,
    status: &'a StatusSlot,
    continuity: &'a mut Continuity,
    oddities: &'a mut Oddities,
    run: Run,
    /// The disk refused a fragment since the last one it took.
    refused: Option<GapCause>,
    /// What was so before a pack was begun that the disk has not taken anything of yet, after it refused one.
    before_trial: Option<BeforeTrial>,
    /// Footage was missed because the disk was slow, and nothing whole came since.
    missed: bool,
    disk_wait: DiskWait,
    jumps: Jumps,
    signatures: Signatures,
}

/// What of the camera's signatures has been seen in this session.
#[derive(Debug, Default)]
struct Signatures {
    signs: bool,
    /// BLAKE3 of the certificates that came last.
    certificates: Option<[u8; 32]>,
    /// How many chains were looked at.
    tried: u32,
}

/// See [`Recording::before_trial`].
#[derive(Clone, Debug)]
struct BeforeTrial {
    continuity: Continuity,
    run_begun: bool,
}

/// Waits for the disk, during which nothing is read from the camera.
#[derive(Debug, Default)]
struct DiskWait {
    /// What is missing up to then, on the monotonic clock, is missing because of it.
    blamed_until: Option<Duration>,
}

impl DiskWait {
    fn is_blamed(&self, at: Duration) -> bool {
        self.blamed_until.is_some_and(|until| at <= until)
    }
}

/// Jumps of the camera's timestamps.
#[derive(Debug, Default)]
struct Jumps {
    count: u64,
    reported: Option<Duration>,
}

struct Run {
    id: RunId,
    params: Arc<Params>,
    fragmenter: Fragmenter,
    wall: WallTimeline,
    pack: Option<Arc<Growing>>,
    size: Size,
    begun: bool,
    /// When a random access point last came, on the monotonic clock, and how many pictures since.
    random_access_at: Duration,
    pictures_since: u32,
    /// Since when the gateway's clock is another than this run's, on the monotonic clock.
    stepped_at: Option<Duration>,
    noted_camera_offset: Option<Ticks90k>,
    noted_late: Ticks90k,
    noted_following: bool,
}

const NOTHING: Size = Size { bytes: 0, duration: Ticks90k::ZERO, on_disk: false };

impl Run {
    fn new(now: Reading, params: Arc<Params>, not_before: Option<WallTime>) -> Self {
        Self {
            id: RunId::generate(now.wall),
            fragmenter: Fragmenter::new(params.clone()),
            params,
            wall: WallTimeline::new(now, not_before.unwrap_or(WallTime(i64::MIN))),
            pack: None,
            size: NOTHING,
            begun: false,
            random_access_at: now.mono,
            pictures_since: 0,
            stepped_at: None,
            noted_camera_offset: None,
            noted_late: Ticks90k::ZERO,
            noted_following: false,
        }
    }
}

impl<'a> Recording<'a> {
    pub(super) fn new(
        shared: &'a RecordingContext,
        camera: &'a CameraKey,
        status: &'a StatusSlot,
        continuity: &'a mut Continuity,
        oddities: &'a mut Oddities,
        params: Arc<Params>,
    ) -> Self {
        let now = shared.clock.read();
        let run = Run::new(now, params, continuity.not_before());
        Self {
            shared,
            camera,
            status,
            continuity,
            oddities,
            run,
            refused: None,
            before_trial: None,
            missed: false,
            disk_wait: DiskWait::default(),
            jumps: Jumps::default(),
            signatures: Signatures::default(),
        }
    }

    /// Records what the session yields until it ends or the gateway stops. What was received whole is in a pack then,
    /// and the pack is on its way to be sealed.
    pub(super) async fn run(
        mut self,
        mut items: Pin<Box<dyn Stream<Item = Result<Item, SourceError>> + Send>>,
        stop: &CancellationToken,
    ) -> Ended {
        let mut stopped = pin!(stop.cancelled());
        let ended = loop {
            if stop.is_cancelled() {
                break Ended::Stopped;
            }
            // Waited for only where there is no item: to enter and leave a list of waiters for each costs more than
            // the item does.
            let next = poll_fn(|cx| match items.poll_next_unpin(cx) {
                Poll::Ready(item) => Poll::Ready(Some(item)),
                Poll::Pending => stopped.as_mut().poll(cx).map(|()| None),
            });
            let item = match next.await {
                None => break Ended::Stopped,
                Some(None) => {
                    let detail = "the camera ended the session".to_owned();
                    break Ended::Failed(SourceError { cause: GapCause::Disconnected, detail });
                }
                Some(Some(Err(error))) => break Ended::Failed(error),
                Some(Some(Ok(item))) => item,
            };
            let done = match item {
                Item::AccessUnit(unit) => self.access_unit(unit).await,
                Item::SenderReport { timestamp, camera_time, received } => {
                    self.run.wall.sender_report(timestamp, camera_time, received);
                    Ok(())
                }
                Item::Oddities(counts) => {
                    self.odd(&counts).await;
                    Ok(())
                }
            };
            if let Err(error) = done {
                break Ended::Failed(error);
            }
        };
        // Closing the connection first lets the camera free its session while the pack is finished.
        drop(items);
        self.end_run().await;
        match ended {
            Ended::Failed(error) => Ended::Failed(self.blamed(error)),
            ended => ended,
        }
    }

    /// A camera that was not read gives up: that is not its fault.
    fn blamed(&self, error: SourceError) -> SourceError {
        let gave_up = matches!(error.cause, GapCause::Disconnected | GapCause::Silent | GapCause::ProtocolError);
        if !gave_up || !self.disk_wait.is_blamed(self.shared.clock.read().mono) {
            return error;
        }
        let detail = format!("the disk did not keep up, so the camera was not read: {}", error.detail);
        SourceError { cause: GapCause::DiskSlow, detail }
    }

    fn event(&self, at: WallTime, fact: Fact) -> Change {
        Change::Event(Event::of_camera(at, self.camera, fact))
    }

    async fn access_unit(&mut self, unit: AccessUnit) -> Result<(), SourceError> {
        let received = unit.received.mono;
        self.run.pictures_since = self.run.pictures_since.saturating_add(1);
        if unit.random_access {
            (self.run.random_access_at, self.run.pictures_since) = (received, 0);
            self.oddities_end(received).await;
        } else if received.saturating_sub(self.run.random_access_at) > RANDOM_ACCESS_WITHIN
            && self.run.pictures_since > RANDOM_ACCESS_PICTURES
        {
            let detail =
                "no random access point came for ten minutes: set a key frame interval on the camera".to_owned();
            return Err(SourceError { cause: GapCause::ProtocolError, detail });
        }
        self.watch_clock(&unit).await?;
        self.look_for_signatures(&unit).await;
        if let Some(fragment) = self.run.fragmenter.push(unit) {
            self.take(fragment).await;
        }
        if let Some(by) = self.run.fragmenter.take_jump() {
            self.jumped(by, received).await;
        }
        Ok(())
    }

    /// Remembers the certificates of a camera that signs its stream: it sends them seldom, and each export begins with them.
    async fn look_for_signatures(&mut self, unit: &AccessUnit) {
        if unit.track != Track::Video {
            return;
        }
        let codec = self.run.params.video.codec;
        for nal in signing::signing_seis(codec, &unit.data) {
            if !std::mem::replace(&mut self.signatures.signs, true) {
                self.status.update(|status| status.signed = true);
            }
            let Ok(sei) = SigningSei::parse(codec, nal) else { continue };
            let Some(certificates) = sei.tlvs.certificates.as_deref().map(|pem| *blake3::hash(pem).as_bytes()) else {
                continue;
            };
            let is_news = self.signatures.certificates != Some(certificates);
            let may_be_kept = nal.len() <= signing::CERTIFICATE_SEI_BYTES_MAX;
            if !is_news || !may_be_kept || self.signatures.tried == CERTIFICATES_PER_SESSION_MAX {
                continue;
            }
            self.signatures.tried += 1;
            let Some(certificate) = sei.proven_certificate() else { continue };
            info!(subject = certificate.subject, key = certificate.public_key_sha256, "the camera signs its stream");
            self.signatures.certificates = Some(certificates);
            let (camera, at, sei) = (self.camera.clone(), unit.received.wall, Bytes::copy_from_slice(nal));
            report(&self.shared.index, vec![Change::CertificateSei { camera, at, certificates, sei }]).await;
        }
    }

    /// Something about the stream was odd, and is recorded all the same.
    async fn odd(&mut self, counts: &OddityCounts) {
        let now = self.shared.clock.read();
        self.status.update(|status| status.occurred(counts, now.wall));
        let begun = self.oddities.occurred(counts, now.mono);
        let begun = begun.into_iter().map(|oddity| {
            info!(%oddity, "the stream is odd");
            self.event(now.wall, Fact::StreamOdd { oddity })
        });
        report(&self.shared.index, begun.collect()).await;
        self.oddities_end(now.mono).await;
    }

    async fn oddities_end(&mut self, now: Duration) {
        let ended = self.oddities.ended(now);
        if ended.is_empty() {
            return;
        }
        let now = self.shared.clock.wall();
        let ended = ended.into_iter().map(|(oddity, count)| {
            info!(%oddity, count, "the stream is not odd in this way any more");
            self.event(now, Fact::StreamOddEnded { oddity, count })
        });
        report(&self.shared.index, ended.collect()).await;
    }

    /// Ends the run at the next random access point after the gateway's clock stepped; the next one is on the new time.
    async fn watch_clock(&mut self, unit: &AccessUnit) -> Result<(), SourceError> {
        // Until it ends, the run stays on its own time, so that all of it can be corrected by one number.
        let Some(since) = self.run.stepped_at else {
            if !self.run.wall.has_stepped(unit.received) {
                return Ok(());
            }
            // The two clocks are read one after the other, and the thread can be held up in between.
            let now = self.shared.clock.read();
            if self.run.wall.has_stepped(now) {
                let by = Ticks90k(now.base().0 - self.run.wall.base().0).as_seconds_f64();
                warn!(by_s = by, "the gateway's clock stepped: a new run begins with the next random access point");
                self.run.stepped_at = Some(now.mono);
            }
            return if unit.random_access { self.clock_stepped().await } else { Ok(()) };
        };
        if unit.random_access {
            return self.clock_stepped().await;
        }
        if unit.received.mono.saturating_sub(since) > STEP_WITHIN {
            let detail = "the gateway's clock was set, and no random access point came to begin again with".to_owned();
            return Err(SourceError { cause: GapCause::ClockStep, detail });
        }
        Ok(())
    }

    /// A random access point is next, and the gateway's clock is another than the run's.
    async fn clock_stepped(&mut self) -> Result<(), SourceError> {
        let now = self.shared.clock.read();
        if self.run.stepped_at.take().is_none() || !self.run.wall.has_stepped(now) {
            // It stepped back again: the run is right as it is.
            return Ok(());
        }
        let params = self.run.params.clone();
        let by = Ticks90k(now.base().0 - self.run.wall.base().0);
        self.end_run().await;
        report(&self.shared.index, self.continuity.clock_is(now, self.shared.clock.boot())).await;
        self.status.update(|status| {
            status.camera_clock_offset = None;
            status.gateway_clock_step = Some((now.wall, by));
        });
        self.run = Run::new(now, params, self.continuity.not_before());
        Ok(())
    }

    /// The camera's timestamps jumped. The recording goes on as if they had not: at most one event in ten minutes says so.
    async fn jumped(&mut self, by: Ticks90k, now: Duration) {
        self.jumps.count += 1;
        if self.jumps.reported.is_some_and(|at| now.saturating_sub(at) < JUMP_EVENT_EVERY) {
            return;
        }
        let (seconds, count) = (by.as_seconds_f64(), std::mem::take(&mut self.jumps.count));
        self.jumps.reported = Some(now);
        warn!(seconds, count, "the camera's timestamps jumped: footage stays where it was filmed");
        let fact = Fact::TimestampJump { by_ms: milliseconds(by), count };
        report(&self.shared.index, vec![self.event(self.shared.clock.wall(), fact)]).await;
    }

    /// Writes what can be placed with the run's next fragment.
    async fn take(&mut self, fragment: Fragment) {
        for fragment in self.run.wall.take(fragment) {
            self.write(fragment).await;
        }
    }

    /// What is left is written, the pack is sealed.
    async fn end_run(&mut self) {
        let params = self.run.params.clone();
        let fragmenter = std::mem::replace(&mut self.run.fragmenter, Fragmenter::new(params));
        if let Some(fragment) = fragmenter.finish() {
            self.take(fragment).await;
        }
        for fragment in self.run.wall.rest() {
            self.write(fragment).await;
        }
        if self.run.begun
            && let (Some(pack), Some(end)) = (&self.run.pack, self.continuity.last_end())
        {
            pack.note(vec![Change::EndRun { run: self.run.id, end }]);
        }
        self.seal().await;
    }

    async fn seal(&mut self) {
        if let Some(pack) = self.run.pack.take() {
            let id = pack.header().pack;
            if let Err(e) = self.shared.spool.seal(pack).await {
                error!(pack = %id, error = %e, "a pack is left unsealed: the next start recovers it");
            }
        }
        self.run.size = NOTHING;
    }

    /// Places a fragment on the wall clock and writes it; a disk that refuses makes a gap, and recording goes on at the
    /// next random access point.
    async fn write(&mut self, mut fragment: Fragment) {
        let limits = self.shared.limits;
        let full = self.run.size.bytes >= limits.pack_bytes_max
            || self.run.size.duration >= Ticks90k::from_duration(limits.pack_duration_max);
        let other_params = *fragment.params != *self.run.params;
        if fragment.random_access && (full || other_params) {
            self.seal().await;
        }
        if other_params && fragment.random_access {
            self.new_params(&fragment.params).await;
        }
        let placed = self.run.wall.place(&mut fragment);
        self.run.fragmenter.moved(placed.fitted.moved);
        if self.run.pack.is_none() && !fragment.random_access {
            // Only after the disk refused: this GOP's beginning is missing, its rest cannot be decoded.
            return;
        }
        let room = self.room(fragment.payload.len()).await;
        if let Err(e) = self.append(&fragment, placed, room) {
            self.refused(&e, placed.wall_start).await;
        }
    }

    /// Room for so many bytes until they are written. While there is none, nothing is read from the camera.
    async fn room(&mut self, bytes: usize) -> Room {
        let mut room = pin!(self.shared.spool.room(bytes));
        if let Some(room) = room.as_mut().now_or_never() {
            return room;
        }
        let began = self.shared.clock.read().mono;
        let room = room.await;
        let now = self.shared.clock.read().mono;
        if !self.disk_wait.is_blamed(now) {
            let waited_ms = now.saturating_sub(began).as_millis() as u64;
            warn!(waited_ms, "the disk does not keep up: the camera is read more slowly");
        }
        self.disk_wait.blamed_until = Some(now + DISK_BLAMED_FOR);
        room
    }

    async fn new_params(&mut self, params: &Arc<Params>) {
        let video = &params.video;
        let before = std::mem::replace(&mut self.run.params, params.clone());
        if (before.video.width, before.video.height, &before.video.rfc6381)
            == (video.width, video.height, &video.rfc6381)
        {
            // A parameter set more, or another with the same size and profile: no news for people.
            return;
        }
        info!(codec = video.rfc6381, width = video.width, height = video.height, "the camera changed its parameters");
        let changed = self.event(self.shared.clock.wall(), Fact::parameters_changed(video));
        report(&self.shared.index, vec![changed]).await;
        self.status.update(|status| status.video = Some(video.into()));
    }

    fn append(&mut self, fragment: &Fragment, placed: Placed, room: Room) -> Result<(), SpoolError> {
        let pack = match &self.run.pack {
            Some(pack) => pack.clone(),
            None => {
                let pack = self.shared.spool.open_pack(PackHeader {
                    pack: self.shared.spool.new_pack_id(self.camera, placed.wall_start),
                    camera: self.camera.clone(),
                    run: self.run.id,
                    params: self.run.params.clone(),
                    hold: None,
                })?;
                self.run.pack = Some(pack.clone());
                pack
            }
        };
        // Kept until the fragment is written: a disk that refuses must not swallow a gap.
        let continuity = self.continuity.clone();
        let gaps = self.gaps(fragment, &placed);
        let mut changes = self.changes(&placed, &gaps);
        let missed = !fragment.losses.is_empty() && self.disk_wait.is_blamed(fragment.last_received.mono);
        if missed && !self.missed {
            let cause = GapCause::DiskSlow;
            error!(%cause, "footage is being lost: the disk does not keep up");
            changes.push(self.event(placed.wall_start, Fact::NotWritten { cause }));
        }
        if continuity.cause().is_some() || self.missed && !missed {
            changes.push(self.event(placed.wall_start, Fact::Recording));
        }
        let stamp = Stamp {
            wall_start: placed.wall_start,
            wall_duration: placed.wall_duration,
            camera_time: placed.camera_time,
            gaps,
        };
        match pack.append(fragment, stamp, changes, room) {
            Ok(size) => self.run.size = size,
            Err(e) => {
                *self.continuity = continuity;
                self.take_trial_back(&pack, &e);
                return Err(e);
            }
        }
        if self.run.size.on_disk {
            self.before_trial = None;
            if self.refused.take().is_some() {
                info!("the disk takes footage again");
            }
        } else if self.refused.is_some() {
            let run_begun = self.run.begun;
            self.before_trial.get_or_insert(BeforeTrial { continuity, run_begun });
        }
        self.missed = missed;
        self.recorded(fragment, &placed);
        Ok(())
    }

    /// The disk still refuses: the gap goes on as if nothing had been tried.
    fn take_trial_back(&mut self, pack: &Growing, error: &SpoolError) {
        if !matches!(error, SpoolError::FlushFailed { .. }) {
            return;
        }
        // What the index was to learn of the run with this pack may not have reached it.
        (self.run.noted_camera_offset, self.run.noted_late, self.run.noted_following) = (None, Ticks90k::ZERO, false);
        if let Some(BeforeTrial { continuity, run_begun }) = self.before_trial.take()
            && pack.give_up()
        {
            *self.continuity = continuity;
            self.run.begun = run_begun;
        }
    }

    /// Gaps that end with this fragment or lie in it, oldest first.
    fn gaps(&mut self, fragment: &Fragment, placed: &Placed) -> Vec<Gap> {
        let mut gaps = self.continuity.resumed(placed.wall_start);
        let blamed = self.disk_wait.is_blamed(fragment.last_received.mono);
        let cause = if blamed { GapCause::DiskSlow } else { GapCause::PacketLoss };
        gaps.extend(fragment.losses.iter().map(|loss| {
            let (start, end) = placed.on_wall(loss);
            Gap { start, end, cause, lost_packets: loss.lost_packets }
        }));
        gaps
    }

    /// What the index learns together with this fragment.
    fn changes(&mut self, placed: &Placed, gaps: &[Gap]) -> Vec<Change> {
        let mut changes = Vec::new();
        let run = &self.run;
        if !run.begun {
            let camera = self.camera.clone();
            changes.push(Change::BeginRun { camera, run: run.id, start: placed.wall_start });
            changes.push(Change::RunBase { run: run.id, boot: self.shared.clock.boot(), base: run.wall.base() });
        }
        changes.extend(gaps.iter().map(|&gap| Change::PutGap { camera: self.camera.clone(), gap }));
        let camera_offset = placed.camera_time.map(|time| time.since(placed.wall_start));
        let moved = |before: Ticks90k, now: Ticks90k, by: i64| (now.0 - before.0).abs() > by;
        let clock_news = match (run.noted_camera_offset, camera_offset) {
            (Some(before), Some(now)) => moved(before, now, CLOCK_NEWS_TICKS),
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let late = placed.fitted.late;
        if clock_news || moved(run.noted_late, late, CLOCK_NEWS_TICKS) {
            let camera_clock_offset = camera_offset.or(run.noted_camera_offset);
            changes.push(Change::RunClocks { run: run.id, camera_clock_offset, timeline_offset: late });
        }
        if let (Some(before), Some(now)) = (run.noted_camera_offset, camera_offset)
            && moved(before, now, CLOCK_STEP_TICKS)
        {
            let by_ms = milliseconds(Ticks90k(now.0.saturating_sub(before.0)));
            changes.push(self.event(placed.wall_start, Fact::CameraClockStep { by_ms }));
        }
        if run.wall.is_following() != run.noted_following {
            let fact = if run.noted_following { Fact::TimestampsSteady } else { Fact::TimestampsUnsteady };
            changes.push(self.event(placed.wall_start, fact));
        }
        changes
    }

    /// A fragment was written.
    fn recorded(&mut self, fragment: &Fragment, placed: &Placed) {
        let end = placed.wall_start.saturating_add(placed.wall_duration);
        self.continuity.recorded(end);
        let camera_offset = placed.camera_time.map(|time| time.since(placed.wall_start));
        let run = &mut self.run;
        run.begun = true;
        let news = |before: Ticks90k, now: Ticks90k| (now.0 - before.0).abs() > CLOCK_NEWS_TICKS;
        if let Some(now) = camera_offset
            && run.noted_camera_offset.is_none_or(|before| news(before, now))
        {
            run.noted_camera_offset = Some(now);
        }
        if news(run.noted_late, placed.fitted.late) {
            run.noted_late = placed.fitted.late;
        }
        run.noted_following = run.wall.is_following();
        let bytes = fragment.payload.len() as u64;
        let refused = self.refused.is_some();
        self.status.update(|status| {
            if !refused {
                status.enter(CameraState::Recording, placed.wall_start);
            }
            status.fragment(end, fragment.duration, bytes, fragment.video.len());
            status.camera_clock_offset = camera_offset.or(status.camera_clock_offset);
        });
    }

    /// The disk did not take the fragment from this instant on: the pack is closed as it is, a gap opens.
    async fn refused(&mut self, error: &SpoolError, from: WallTime) {
        let cause = error.gap_cause();
        let now = self.shared.clock.wall();
        // Not from now on: the fragment was filmed before, and the next one may begin before now.
        let mut changes = self.continuity.stopped(from, cause);
        if self.refused != Some(cause) {
            error!(%cause, %error, "footage is being lost: the disk does not take it");
            changes.push(self.event(now, Fact::NotWritten { cause }));
        }
        self.refused = Some(cause);
        self.status.update(|status| {
            status.enter(CameraState::Gap(cause), now);
            status.operator_detail = error.to_string();
        });
        self.seal().await;
        report(&self.shared.index, changes).await;
    }
}

fn milliseconds(ticks: Ticks90k) -> i64 {
    ticks.0 / (TICKS_PER_SECOND / 1_000)
}
