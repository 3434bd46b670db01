//! The manifest: what was asked, what is inside, how its times came to be, who ordered it, and the hash of every file.
//!
//! Invariant: it has one encoding ([`crate::canonical`]), with its version. A reader of one version takes no member that it does not
//! know: what it says is right, it has understood.

use std::collections::HashSet;

use jiff::Timestamp;
use journal::entry::Author;
use serde::{Deserialize, Serialize};

use crate::canonical::{self, NotCanonical};
use crate::names;

pub use journal::Span;

/// What a manifest is one of.
pub const FORMAT: &str = "vigie-evidence";
/// Its version.
pub const VERSION: u8 = 1;
/// The longest manifest, in bytes.
pub const MANIFEST_BYTES_MAX: u64 = 16 << 20;
/// Files of a package.
pub const FILES_MAX: usize = 100_000;

/// The facts of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u8,
    /// The export's id.
    pub export: String,
    /// When it was made, on the gateway's clock.
    pub made: Timestamp,
    /// By what.
    pub software: Software,
    /// What was asked.
    pub asked: Asked,
    /// By whom.
    pub ordered: Ordered,
    /// What is inside, and what is not, camera by camera.
    pub cameras: Vec<Camera>,
    /// Every file but those that are made of the manifest, by name.
    pub files: Vec<File>,
    /// Under which keys.
    pub signed: Signed,
    /// Whether an authority has stamped it with its time.
    pub time_stamp: TimeStamp,
}

/// The program that made a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Software {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Whose footage: an id.
    pub tenant: String,
    /// Whose footage: as people call the authority.
    pub authority: String,
    /// What people read times in there: an IANA name.
    pub time_zone: String,
    /// Of which time.
    pub range: Span,
    /// Of which cameras.
    pub cameras: Vec<String>,
    /// What the hold keeps, and not the camera's own timeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// The requisition's reference.
    pub reference: String,
    /// Why.
    pub reason: String,
    /// Who receives it.
    pub recipient: String,
}

/// A legal hold that the footage was kept by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Its id.
    pub id: String,
    /// Its own reference.
    pub reference: String,
    /// Who asked for it.
    pub requester: String,
    /// When it was placed.
    pub placed: Timestamp,
}

/// Who ordered it, and where that is in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ordered {
    /// The person, with their act.
    pub by: Author,
    /// When.
    pub at: Timestamp,
    /// The number of the journal's entry.
    pub entry: u64,
}

/// A camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    /// Its id.
    pub camera: String,
    /// As people call it.
    pub name: String,
    /// Where it is.
    pub place: String,
    /// What of the range has pictures here.
    pub covered: Vec<Span>,
    /// What of the range has none, and why.
    pub gaps: Vec<Gap>,
    /// What of the range is on record and cannot be read.
    pub unreadable: Vec<Gap>,
    /// What of it the camera recorded itself, fetched after a cut.
    pub filled: Vec<Span>,
    /// How its times came to be.
    pub clock: Clock,
    /// Verdicts on the camera's own signatures (ONVIF Media Signing); none where it does not sign.
    pub signatures: Vec<Verdict>,
}

/// A stretch without pictures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// Its first instant.
    pub from: Timestamp,
    /// The first after it.
    pub to: Timestamp,
    /// Why; absent where it is not on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// How times came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// Whose clock times are by: `gateway`.
    pub source: String,
    /// The camera's clock minus the gateway's, in milliseconds, as it came with the pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera_offset_ms: Option<Offsets>,
    /// Footage whose times are known to be wrong since the gateway's clock was set.
    pub known_wrong: Vec<KnownWrong>,
}

/// From the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offsets {
    /// The least.
    pub least: i64,
    /// The most.
    pub most: i64,
}

/// Footage with wrong times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownWrong {
    /// From when, by these times.
    pub from: Timestamp,
    /// To when.
    pub to: Timestamp,
    /// These times minus the right ones, in milliseconds.
    pub error_ms: i64,
}

/// A verdict on signatures of a camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Of which stretch.
    pub from: Timestamp,
    /// Up to when.
    pub to: Timestamp,
    /// `authentic`, `authentic_with_missing`, `not_signed`, `not_authentic`, or `not_checked`.
    pub verdict: String,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name, folders before it.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// In hexadecimal.
    pub sha256: String,
    /// What it shows, where it is footage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<Media>,
}

/// A file of footage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// Of which camera.
    pub camera: String,
    /// From its first picture to the end of its last.
    pub covers: Span,
    /// `h264` or `h265`.
    pub codec: String,
    /// The `codecs` parameter of RFC 6381, of its beginning.
    pub codecs: String,
    /// In pixels.
    pub width: u16,
    /// In pixels.
    pub height: u16,
    /// What of it has pictures.
    pub stretches: Vec<Span>,
    /// The file with the hashes of its pieces.
    pub pieces: String,
}

/// The keys that sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// SHA-256 of the gateway's public key (its SubjectPublicKeyInfo), in hexadecimal.
    pub gateway: String,
    /// SHA-256 of the authority's certificate, where one signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The keys of the journal (C2SP signed-note, verifier key).
    pub journal: Vec<String>,
}

/// Whether there is a time stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeStamp {
    /// No authority was configured.
    None,
    /// There is one.
    Present,
    /// The authority did not give one.
    Missing,
}

/// Bytes are no manifest of this version.
#[derive(Debug, thiserror::Error)]
pub enum BadManifest {
    /// They do not read as one.
    #[error("it does not read as a manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// It is of another format or version.
    #[error("it is of {0} version {1}: this program reads {FORMAT} version {VERSION}")]
    Version(String, u64),
    /// It has another form than the one that it may have.
    #[error("it is not in its one form (RFC 8785): it was written by another program, or changed")]
    Form,
    /// It contradicts itself.
    #[error("it contradicts itself: {0}")]
    Contradiction(String),
}

/// What every version has.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u64,
}

impl Manifest {
    /// Its bytes.
    ///
    /// # Errors
    /// When a number in it is too large.
    pub fn encode(&self) -> Result<Vec<u8>, NotCanonical> {
        canonical::encode(self)
    }

    /// From its bytes.
    ///
    /// # Errors
    /// See [`BadManifest`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BadManifest> {
        let Head { format, version } = serde_json::from_slice(bytes)?;
        if format != FORMAT || version != u64::from(VERSION) {
            return Err(BadManifest::Version(format, version));
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        match manifest.encode() {
            Ok(again) if again == bytes => manifest.checked(),
            _ => Err(BadManifest::Form),
        }
    }

    fn checked(self) -> Result<Self, BadManifest> {
        let wrong = |what: String| Err(BadManifest::Contradiction(what));
        if self.files.len() > FILES_MAX {
            return wrong(format!("it lists more than {FILES_MAX} files"));
        }
        if !self.files.is_sorted_by(|a, b| a.path < b.path) {
            return wrong("its files are not in their order, or one is there twice".to_owned());
        }
        let mut lists = HashSet::new();
        for file in &self.files {
            if !names::is_plain(&file.path) || names::BESIDE_MANIFEST.contains(&file.path.as_str()) {
                return wrong(format!("no file that it lists may be called {:?}", file.path));
            }
            let pieces = file.media.as_ref().map(|media| &media.pieces);
            if pieces.is_some_and(|pieces| self.file(pieces).is_none_or(|of| of.media.is_some())) {
                return wrong(format!("the pieces of {} are no file of it", file.path));
            }
            // One list for many films would be read as often as there are films.
            if pieces.is_some_and(|pieces| !lists.insert(pieces.as_str())) {
                return wrong(format!("the pieces of {} are those of another film", file.path));
            }
        }
        Ok(self)
    }

    /// The file of this name.
    pub fn file(&self, path: &str) -> Option<&File> {
        let place = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        self.files.get(place)
    }
}
