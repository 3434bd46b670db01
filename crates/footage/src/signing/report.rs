//! The verdict on a stretch of a signed stream, and what it rests on.

use super::certificate::Trust;
use crate::units::WallTime;

/// The verdict on a stretch (ONVIF Media Signing Specification), the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every picture is as the camera signed it, in its order.
    Authentic,
    /// Every picture that is there is; some that the camera signed are not there.
    AuthenticWithMissing,
    /// No signature covers it.
    NotSigned,
    /// Pictures are not as the camera signed them, or nobody vouches for the signature.
    NotAuthentic,
}

impl Verdict {
    /// The word that API and command show.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authentic => "authentic",
            Self::AuthenticWithMissing => "authentic_with_missing",
            Self::NotSigned => "not_signed",
            Self::NotAuthentic => "not_authentic",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a stretch is not authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A NAL unit is none of those that were signed: it was altered, added or moved.
    Altered,
    /// Pictures lie between signed ones, and no signature covers them.
    NotCovered,
    /// The signature is none of the certificate's key.
    WrongSignature,
    /// No certificate came, and none is known.
    NoCertificate,
    /// The certificate was not valid at the time of recording.
    CertificateNotValidThen,
    /// The certificate leads to no anchor of the operator's.
    UnknownAuthority,
    /// Another key signs than before, and no anchor vouches for it.
    KeyChanged,
    /// Another key signs than before, an anchor vouches for it, and it names another camera.
    AnotherCamera,
    /// A GOP does not follow the one that its statement names.
    BrokenLink,
    /// A SEI message of signing cannot be read.
    MalformedSei,
    /// More statements than such pictures have: they were not compared.
    TooManyStatements,
}

/// What an investigator should know of a stretch, whatever its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Remark {
    /// The signed time is further from the time of recording than [`super::CLOCK_TOLERANCE`]: the camera's clock was wrong,
    /// or these pictures were taken at another time than the recording says.
    SignedTimeDiffers,
}

/// A stretch of one verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Time of its first access unit.
    pub start: WallTime,
    /// Time of its last.
    pub last: WallTime,
    /// On it.
    pub verdict: Verdict,
    /// NAL units that are as they were signed.
    pub authentic: u64,
    /// That were signed and are not there.
    pub missing: u64,
    /// That are not as they were signed.
    pub altered: u64,
    /// Why, where it is not authentic.
    pub reason: Option<Reason>,
    /// When the camera says that it began to take it, where a signature covers that.
    pub signed_start: Option<WallTime>,
    /// When it ended.
    pub signed_last: Option<WallTime>,
    /// What else there is to know.
    pub remark: Option<Remark>,
}

impl Stretch {
    fn is_of_kind(&self, other: &Self) -> bool {
        (self.verdict, self.reason, self.remark) == (other.verdict, other.reason, other.remark)
    }
}

/// A certificate that signed, or that came in the stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateUse {
    /// Its subject.
    pub subject: String,
    /// SHA-256 of its public key, in hexadecimal.
    pub public_key_sha256: String,
    /// First instant at which it is valid.
    pub not_before: WallTime,
    /// Last one.
    pub not_after: WallTime,
    /// When it first signed pictures of the stretch.
    pub first_used: Option<WallTime>,
    /// What is known of it for the pictures that it signed; the worst.
    pub trust: Option<Trust>,
}

/// The verdict on what was read, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The worst of all stretches.
    pub verdict: Verdict,
    /// By time; at most a thousand, those after being joined into the last.
    pub stretches: Vec<Stretch>,
    /// Those that signed.
    pub certificates: Vec<CertificateUse>,
    /// NAL units before the first that verification can begin with. The verdict says nothing of them.
    pub unverified_at_start: u64,
    /// NAL units at the end, and before interruptions, whose signature had not come yet. The verdict says nothing of them.
    pub unverified_at_end: u64,
    /// Who made the camera, by its own word, under its signature.
    pub vendor: Option<super::tlv::VendorInfo>,
}

/// Stretches in one report.
pub(super) const STRETCHES_MAX: usize = 1_000;

/// Gathers stretches: neighbours of one verdict are one.
#[derive(Debug, Default)]
pub(super) struct Stretches(Vec<Stretch>);

impl Stretches {
    pub(super) fn add(&mut self, stretch: Stretch) {
        let full = self.0.len() >= STRETCHES_MAX;
        match self.0.last_mut() {
            Some(last) if full || last.is_of_kind(&stretch) => {
                last.start = last.start.min(stretch.start);
                last.last = last.last.max(stretch.last);
                last.authentic += stretch.authentic;
                last.missing += stretch.missing;
                last.altered += stretch.altered;
                last.signed_start = last.signed_start.into_iter().chain(stretch.signed_start).min();
                last.signed_last = last.signed_last.max(stretch.signed_last);
                last.remark = last.remark.max(stretch.remark);
                if stretch.verdict > last.verdict {
                    (last.verdict, last.reason) = (stretch.verdict, stretch.reason);
                }
            }
            _ => self.0.push(stretch),
        }
    }

    pub(super) fn finish(mut self) -> Vec<Stretch> {
        self.0.sort_by_key(|stretch| stretch.start);
        self.0
    }
}
