//! What cameras send, as plain values: parameters, access units, fragments, and the causes of gaps.
//!
//! Invariant: nothing here knows RTSP, files or clocks.

mod oddity;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use oddity::{Oddity, OddityCounts};

use crate::clock::Reading;
use crate::units::{Ticks90k, WallTime};

/// Video coding of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// ITU-T H.264, RTP payload of RFC 6184.
    H264,
    /// ITU-T H.265, RTP payload of RFC 7798.
    H265,
}

/// A video track's sample description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoParams {
    /// Which coding.
    pub codec: VideoCodec,
    /// Displayed width, in pixels.
    pub width: u16,
    /// Displayed height, in pixels.
    pub height: u16,
    /// The whole sample entry box, `avc3` (ISO/IEC 14496-15 §5.4.2) or `hev1` (§8.4.1), with all parameter sets that are
    /// known when it is made.
    pub sample_entry: Bytes,
    /// The `codecs` parameter of RFC 6381, as in `avc3.4D001E`.
    pub rfc6381: String,
}

/// An audio track's sample description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioParams {
    /// RTP clock rate = MP4 media timescale, in Hz.
    pub clock_rate: u32,
    /// The whole sample entry box (`mp4a`, `alaw`, `ulaw`, …).
    pub sample_entry: Bytes,
    /// The `codecs` parameter of RFC 6381, where the coding has one.
    pub rfc6381: Option<String>,
}

/// The sample descriptions of one stretch of recording; a change of any of them starts a new pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Always present: a camera without video is not recorded.
    pub video: VideoParams,
    /// Present only where the camera's configuration states the legal basis for sound.
    pub audio: Option<AudioParams>,
}

/// Which track an access unit belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Track {
    /// Media timescale 90 kHz.
    Video,
    /// Media timescale of [`AudioParams::clock_rate`].
    Audio,
}

/// One coded picture or audio frame, as the depacketiser yields it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// Which track.
    pub track: Track,
    /// RTP timestamp extended to 64 bits, in ticks of the track's clock rate. Presentation time.
    pub timestamp: i64,
    /// Sample bytes: 4-byte length-prefixed NAL units, each as the camera sent it, or raw audio.
    pub data: Bytes,
    /// A decoder can begin here: IDR (H.264), IRAP (H.265), a recovery point SEI message; where a camera sends none of
    /// them, a picture that recording begins with all the same.
    pub random_access: bool,
    /// RTP packets known lost between the previous access unit of this track and this one.
    pub lost_packets: u32,
    /// When its last packet arrived.
    pub received: Reading,
    /// Set on the first access unit that needs other sample descriptions than those before it.
    pub new_params: Option<Arc<Params>>,
}

/// One sample of a track, in file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// In bytes.
    pub size: u32,
    /// Decode duration, in ticks of the track's timescale.
    pub duration: u32,
    /// Presentation minus decode time, in ticks (`trun` version 1: signed; ISO/IEC 14496-12 §8.8.8).
    pub composition_offset: i32,
}

/// RTP packets lost inside a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Run media time at which the last access unit before the loss ends.
    pub start: Ticks90k,
    /// Run media time of the first access unit after the loss.
    pub end: Ticks90k,
    /// How many packets.
    pub lost_packets: u32,
}

/// The unit of deduplication, of integrity and of live delivery: becomes one `moof`+`mdat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Sample descriptions that its samples need.
    pub params: Arc<Params>,
    /// Decode time of the first video sample: 90 kHz ticks since the run's first random access point.
    pub decode_time: Ticks90k,
    /// Sum of the video samples' durations.
    pub duration: Ticks90k,
    /// True when the first video sample is a random access point. No other sample of a fragment is one.
    pub random_access: bool,
    /// Video samples, never empty.
    pub video: Vec<Sample>,
    /// Audio samples, empty without sound.
    pub audio: Vec<Sample>,
    /// Decode time of the first audio sample, in audio ticks on the same origin as `decode_time`.
    pub audio_decode_time: i64,
    /// Sample bytes, back to back: all video samples, then all audio samples.
    pub payload: Payload,
    /// Extended RTP timestamp of the first video sample, to set sender reports against.
    pub first_timestamp: i64,
    /// When the first video access unit was received.
    pub first_received: Reading,
    /// When the last video access unit was received.
    pub last_received: Reading,
    /// A later picture ended it. The last one of a run ends with the run, and its camera may have been silent before.
    pub followed: bool,
    /// When each video sample arrived, in file order, then the picture that ended it. Empty where it is not known.
    pub arrivals: Vec<Duration>,
    /// Losses since the previous fragment, oldest first.
    pub losses: Vec<Loss>,
}

/// Sample bytes of a fragment, in the pieces that they came in.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    pieces: Vec<Bytes>,
    len: usize,
}

impl Payload {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One more piece.
    pub fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        self.pieces.push(piece);
    }

    /// They, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| &piece[..])
    }

    /// All in one.
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.to_vec() == other.to_vec()
    }
}

impl Eq for Payload {}

impl FromIterator<Bytes> for Payload {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut payload = Self::default();
        pieces.into_iter().for_each(|piece| payload.push(piece));
        payload
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self { len: bytes.len(), pieces: vec![bytes.into()] }
    }
}

/// Why a stretch of time has no footage, or less than the camera filmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum GapCause {
    /// The gateway was stopped by an operator, or had not been started yet.
    GatewayStopped = 1,
    /// The gateway was killed, or the machine lost power.
    GatewayCrashed = 2,
    /// No TCP connection: refused, unreachable, name unknown, or no answer.
    ConnectFailed = 3,
    /// The camera refused the credentials (RTSP 401 or 403).
    Unauthorized = 4,
    /// The stream description has no video, or only a coding that is not recorded.
    UnsupportedMedia = 5,
    /// The camera answered a request with another error, or with what is not RTSP.
    ProtocolError = 6,
    /// The camera stopped answering while the session was being set up.
    SetupTimeout = 7,
    /// The session was up and nothing came any more.
    Silent = 8,
    /// The camera closed the connection.
    Disconnected = 9,
    /// RTP packets were lost on the way.
    PacketLoss = 10,
    /// The gateway's own clock was set ahead: no footage bears these times, and none is missing.
    ClockStep = 12,
    /// The disk is full.
    DiskFull = 13,
    /// The disk failed to write.
    WriteFailed = 14,
    /// Footage was there and has been found damaged beyond repair.
    Corrupt = 15,
    /// The camera's configuration was changed while the gateway ran, or the camera was taken out of it.
    Reconfigured = 16,
    /// Reading from the camera had stopped, because the disk did not keep up.
    DiskSlow = 17,
    /// The authorisation that the camera records under is not in force.
    NotAuthorised = 18,
}

impl GapCause {
    /// Every cause, for tables and tests.
    pub const ALL: [Self; 17] = [
        Self::GatewayStopped,
        Self::GatewayCrashed,
        Self::ConnectFailed,
        Self::Unauthorized,
        Self::UnsupportedMedia,
        Self::ProtocolError,
        Self::SetupTimeout,
        Self::Silent,
        Self::Disconnected,
        Self::PacketLoss,
        Self::ClockStep,
        Self::DiskFull,
        Self::WriteFailed,
        Self::Corrupt,
        Self::Reconfigured,
        Self::DiskSlow,
        Self::NotAuthorised,
    ];

    /// The number that packs and index rows hold.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// From that number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.code() == code)
    }

    /// The word that the API shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GatewayStopped => "gateway_stopped",
            Self::GatewayCrashed => "gateway_crashed",
            Self::ConnectFailed => "connect_failed",
            Self::Unauthorized => "unauthorized",
            Self::UnsupportedMedia => "unsupported_media",
            Self::ProtocolError => "protocol_error",
            Self::SetupTimeout => "setup_timeout",
            Self::Silent => "silent",
            Self::Disconnected => "disconnected",
            Self::PacketLoss => "packet_loss",
            Self::ClockStep => "clock_step",
            Self::DiskFull => "disk_full",
            Self::WriteFailed => "write_failed",
            Self::Corrupt => "corrupt",
            Self::Reconfigured => "reconfigured",
            Self::DiskSlow => "disk_slow",
            Self::NotAuthorised => "not_authorised",
        }
    }
}

impl std::fmt::Display for GapCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stretch without footage, closed on both sides. Gaps travel in the packs (with the first fragment that follows
/// them), so that the index can be rebuilt with their causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// End of the last access unit before.
    pub start: WallTime,
    /// Start of the first access unit after.
    pub end: WallTime,
    /// Why.
    pub cause: GapCause,
    /// RTP packets lost, where the cause is [`GapCause::PacketLoss`]; otherwise 0.
    pub lost_packets: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_survives_its_code_and_serialises_as_its_word() {
        for cause in GapCause::ALL {
            assert_eq!(GapCause::from_code(cause.code()), Some(cause));
            let json = serde_json::to_string(&cause).expect("an enum of words");
            assert_eq!(json, format!("{:?}", cause.as_str()));
        }
        assert_eq!(GapCause::from_code(0), None);
    }
}
