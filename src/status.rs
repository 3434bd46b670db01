//! What each camera does now: written by its recorder, read by the status routes.
//!
//! Invariant: one writer per camera; a reader copies one camera's values and holds nothing while it formats them.
//! Absent on purpose: history. What happened is in the index, as gaps and events.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::Notify;

use footage::media::{GapCause, Oddity, OddityCounts, VideoCodec, VideoParams};
use footage::units::{CameraKey, Ticks90k, WallTime};

/// Time constant of the smoothed rates.
const SMOOTHING: Ticks90k = Ticks90k(10 * 90_000);

/// Where a camera's recorder is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CameraState {
    /// No session has been opened yet.
    #[default]
    Starting,
    /// The session plays; no fragment has been written yet.
    Connected,
    /// Fragments are being written.
    Recording,
    /// Nothing is recorded, and why.
    Gap(GapCause),
}

/// The picture that a camera sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoStatus {
    /// Which coding.
    pub codec: VideoCodec,
    /// Displayed width, in pixels.
    pub width: u16,
    /// Displayed height, in pixels.
    pub height: u16,
    /// The `codecs` parameter of RFC 6381.
    pub rfc6381: String,
}

impl From<&VideoParams> for VideoStatus {
    fn from(params: &VideoParams) -> Self {
        Self { codec: params.codec, width: params.width, height: params.height, rfc6381: params.rfc6381.clone() }
    }
}

/// What a camera does now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CameraStatus {
    /// Recorder's state.
    pub state: CameraState,
    /// When it entered that state.
    pub since: Option<WallTime>,
    /// One line for the operator about the trouble that lasts; empty without any. Never a credential, and never for a
    /// tenant: it may name the camera's address or the gateway's files.
    pub operator_detail: String,
    /// First instant after the last fragment written.
    pub last_fragment_end: Option<WallTime>,
    /// Sample bits a second, smoothed over about ten seconds of footage.
    pub bit_rate: Option<f64>,
    /// Pictures a second, smoothed likewise.
    pub picture_rate: Option<f64>,
    /// What it sends.
    pub video: Option<VideoStatus>,
    /// The camera's clock minus the gateway's.
    pub camera_clock_offset: Option<Ticks90k>,
    /// The same, as its device service says it.
    pub device_clock: DeviceClock,
    /// What its device service refuses.
    pub device_trouble: DeviceTrouble,
    /// When the gateway's own clock was last set while this camera was recorded, and by how much.
    pub gateway_clock_step: Option<(WallTime, Ticks90k)>,
    /// What else it offers and is not recorded.
    pub also_offered: Vec<String>,
    /// What is odd about how it describes itself and answers.
    pub odd_setup: Vec<String>,
    /// It signs its stream (ONVIF Media Signing); of the session that plays, or of the last one.
    pub signed: bool,
    /// When its certificate ends to be valid ([`footage::source::Session::certificate_until`]).
    pub certificate_until: Option<WallTime>,
    /// What has been odd about its stream since the gateway started, and was recorded all the same.
    pub oddities: BTreeMap<Oddity, OddityStatus>,
    /// Gaps that began since the start, by cause.
    pub gaps: HashMap<GapCause, u64>,
    /// Bytes of samples written since the start.
    pub recorded_bytes: u64,
}

/// What is known of a camera's clock from its device service (ONVIF).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceClock {
    /// It is not to be compared.
    #[default]
    NotCompared,
    /// It has not been compared yet.
    Awaited,
    /// As it was last compared.
    Compared {
        /// The camera's clock minus the gateway's.
        offset: Ticks90k,
        /// How far the true offset may be from that, either way.
        bound: Ticks90k,
        /// When.
        at: WallTime,
        /// It is further off than the configuration allows.
        is_off: bool,
    },
}

/// What a camera's device service (ONVIF) refuses: one line each for the operator, empty without any. As
/// [`CameraStatus::operator_detail`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceTrouble {
    /// To say its time.
    pub clock: String,
    /// To tell what it notices.
    pub occurrences: String,
}

impl DeviceTrouble {
    /// Each that there is.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        [&self.clock, &self.occurrences].into_iter().map(String::as_str).filter(|line| !line.is_empty())
    }
}

/// One kind of what is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OddityStatus {
    /// How often it occurred.
    pub count: u64,
    /// When it first did.
    pub first: WallTime,
    /// When it last did.
    pub last: WallTime,
}

impl CameraStatus {
    /// Enters a state, unless it is in it already. What was true of the state before goes: a gap has no rates, a
    /// session that plays has no trouble.
    pub fn enter(&mut self, state: CameraState, at: WallTime) {
        match state {
            CameraState::Gap(_) | CameraState::Starting => (self.bit_rate, self.picture_rate) = (None, None),
            CameraState::Connected | CameraState::Recording => self.operator_detail.clear(),
        }
        if self.state != state || self.since.is_none() {
            if let CameraState::Gap(cause) = state {
                *self.gaps.entry(cause).or_default() += 1;
            }
            self.state = state;
            self.since = Some(at);
        }
    }

    /// Something about the stream was odd.
    pub fn occurred(&mut self, counts: &OddityCounts, at: WallTime) {
        for (oddity, count) in counts.iter() {
            let status = self.oddities.entry(oddity).or_insert(OddityStatus { count: 0, first: at, last: at });
            status.count = status.count.saturating_add(count);
            status.last = at;
        }
    }

    /// A fragment was written: `bytes` and `pictures` over `duration` of media, ending at `end`.
    pub fn fragment(&mut self, end: WallTime, duration: Ticks90k, bytes: u64, pictures: usize) {
        self.last_fragment_end = Some(end);
        self.recorded_bytes = self.recorded_bytes.saturating_add(bytes);
        if duration <= Ticks90k::ZERO {
            return;
        }
        let weight = 1.0 - (-(duration.as_seconds_f64() / SMOOTHING.as_seconds_f64())).exp();
        let smooth = |rate: &mut Option<f64>, amount: f64| {
            let now = amount / duration.as_seconds_f64();
            *rate = Some(rate.map_or(now, |before| before + weight * (now - before)));
        };
        smooth(&mut self.bit_rate, bytes as f64 * 8.0);
        smooth(&mut self.picture_rate, pictures as f64);
    }
}

/// Every camera's status; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct StatusBoard {
    cameras: Arc<RwLock<HashMap<CameraKey, StatusSlot>>>,
}

impl StatusBoard {
    /// The camera's own slot, made at the first call.
    pub fn slot(&self, key: &CameraKey) -> StatusSlot {
        let mut cameras = self.cameras.write();
        cameras.entry(key.clone()).or_default().clone()
    }

    /// What every camera does now.
    pub fn all(&self) -> Vec<(CameraKey, CameraStatus)> {
        let cameras = self.cameras.read();
        cameras.iter().map(|(key, slot)| (key.clone(), slot.lock().clone())).collect()
    }

    /// Nothing records the camera any more.
    pub fn remove(&self, key: &CameraKey) {
        self.cameras.write().remove(key);
    }

    /// What the camera does now; `None` when nothing records it.
    pub fn get(&self, key: &CameraKey) -> Option<CameraStatus> {
        self.find(key).map(|slot| slot.lock().clone())
    }

    /// Since when the camera has been recorded without a break; `None` when it is not.
    pub fn recorded_since(&self, key: &CameraKey) -> Option<WallTime> {
        let slot = self.find(key)?;
        let status = slot.lock();
        status.since.filter(|_| status.state == CameraState::Recording)
    }

    /// The camera's slot; `None` when nothing records it.
    pub fn find(&self, key: &CameraKey) -> Option<StatusSlot> {
        self.cameras.read().get(key).cloned()
    }
}

/// One camera's place on the board; cheap to clone and to update.
#[derive(Clone, Debug, Default)]
pub struct StatusSlot(Arc<Slot>);

#[derive(Debug, Default)]
struct Slot {
    status: Mutex<CameraStatus>,
    retry: Notify,
}

impl StatusSlot {
    /// Has a recorder that waits before its next attempt make it now; one that has a session is left alone.
    pub fn retry(&self) {
        self.0.retry.notify_waiters();
    }

    /// Waits until an attempt is asked for.
    pub async fn retry_asked(&self) {
        self.0.retry.notified().await;
    }

    /// Changes the status; `change` must be short, readers wait for it.
    pub fn update(&self, change: impl FnOnce(&mut CameraStatus)) {
        change(&mut self.lock());
    }

    // A panic inside `change` leaves plain values, each of them valid: poisoning says nothing here.
    fn lock(&self) -> MutexGuard<'_, CameraStatus> {
        self.0.status.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Ticks90k = Ticks90k(90_000);

    #[test]
    fn what_the_recorder_writes_is_what_the_board_shows_for_that_camera_only() {
        let board = StatusBoard::default();
        let key = |s: &str| s.parse::<CameraKey>().unwrap();
        let slot = board.slot(&key("town/a"));
        slot.update(|s| s.enter(CameraState::Gap(GapCause::Silent), WallTime(5)));
        assert_eq!(board.get(&key("town/a")).unwrap().state, CameraState::Gap(GapCause::Silent));
        assert_eq!(board.get(&key("other/a")), None);
        board.slot(&key("town/a")).update(|s| s.enter(CameraState::Recording, WallTime(7)));
        assert_eq!(board.get(&key("town/a")).unwrap().since, Some(WallTime(7)));
    }

    #[test]
    fn entering_the_same_state_again_keeps_its_beginning() {
        let mut status = CameraStatus::default();
        status.enter(CameraState::Recording, WallTime(1));
        status.enter(CameraState::Recording, WallTime(2));
        assert_eq!(status.since, Some(WallTime(1)));
    }

    #[test]
    fn what_is_odd_is_counted_by_its_kind() {
        let (mut status, mut counts) = (CameraStatus::default(), OddityCounts::default());
        counts.add(Oddity::DuplicatePacket);
        counts.add(Oddity::DuplicatePacket);
        status.occurred(&counts, WallTime(1));
        status.occurred(&counts, WallTime(5));
        let expect = OddityStatus { count: 4, first: WallTime(1), last: WallTime(5) };
        assert_eq!(status.oddities.into_iter().collect::<Vec<_>>(), [(Oddity::DuplicatePacket, expect)]);
    }

    #[test]
    fn a_gap_has_no_rate_and_a_recovery_no_trouble() {
        let mut status = CameraStatus::default();
        status.enter(CameraState::Recording, WallTime(1));
        status.fragment(WallTime(90_000), SECOND, 500_000, 25);
        status.enter(CameraState::Gap(GapCause::Silent), WallTime(2));
        status.operator_detail = "no whole picture".to_owned();
        assert_eq!((status.bit_rate, status.picture_rate), (None, None));
        assert_eq!(status.last_fragment_end, Some(WallTime(90_000)), "when it was last seen stays true");
        status.enter(CameraState::Connected, WallTime(3));
        assert_eq!(status.operator_detail, "");
    }

    #[test]
    fn rates_start_at_the_first_fragment_and_follow_a_change() {
        let mut status = CameraStatus::default();
        status.fragment(WallTime(90_000), SECOND, 500_000, 25);
        assert_eq!(status.bit_rate, Some(4_000_000.0));
        assert_eq!(status.picture_rate, Some(25.0));
        for _ in 0..60 {
            status.fragment(WallTime(90_000), SECOND, 250_000, 10);
        }
        let near = |rate: Option<f64>, want: f64| assert!((rate.unwrap() / want - 1.0).abs() < 0.01, "{rate:?} {want}");
        near(status.bit_rate, 2_000_000.0);
        near(status.picture_rate, 10.0);
    }

    #[test]
    fn a_fragment_without_duration_changes_no_rate() {
        let mut status = CameraStatus::default();
        status.fragment(WallTime(1), Ticks90k::ZERO, 1, 1);
        assert_eq!((status.bit_rate, status.last_fragment_end), (None, Some(WallTime(1))));
    }
}
