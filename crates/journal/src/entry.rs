//! An entry: who did what with which footage, when and why; one line of JSON, and the commitment to it.
//!
//! Invariants: one entry has one encoding, with its version; it names persons who act, and never one who was filmed,
//! nor holds a picture (CNIL, recommendation 2021-122). The salt keeps an entry that was forgotten from being guessed
//! from its commitment; it goes with the entry.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use footage::units::{CameraId, PersonId};

/// The version of the encoding.
const VERSION: u8 = 1;
/// The longest line, its newline included.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024;
/// Day, space, hash in hexadecimal digits, newline.
pub(crate) const COMMITMENT_BYTES: usize = 10 + 1 + 64 + 1;

/// An entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    v: u8,
    /// Its number, from 0.
    pub n: u64,
    /// When, on the gateway's clock.
    pub at: Timestamp,
    salt: Salt,
    /// What it says.
    #[serde(flatten)]
    pub draft: Draft,
}

/// What an entry says, before it has a place in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// Who acts.
    pub author: Author,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
    /// On which cameras.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cameras: Vec<CameraId>,
    /// On footage of which time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Span>,
    /// Why, as the author states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who receives what is handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
}

impl Draft {
    /// This action of this author, on no camera yet.
    pub fn new(author: Author, action: Action) -> Self {
        Self { author, address: None, action, cameras: Vec::new(), range: None, reason: None, recipient: None }
    }

    /// The same, from this address.
    #[must_use]
    pub fn from_address(self, address: Option<IpAddr>) -> Self {
        Self { address, ..self }
    }

    /// The same, on footage of this camera and time.
    #[must_use]
    pub fn on(mut self, camera: CameraId, range: Option<Span>) -> Self {
        self.cameras.push(camera);
        Self { range, ..self }
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// The gateway, by itself.
    Gateway,
    /// A person with access to the machine: configuration, signals, commands.
    Operator,
    /// A holder of the tenant's access token.
    #[serde(rename = "access_token")]
    AccessToken,
    /// A person at the machine itself, where no token is asked for.
    Loopback,
    /// A person, and the act that designates them.
    Person(ActingPerson),
}

/// A person as an entry names them: it says who they were when their designation is long over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ActingPerson {
    /// Their id.
    pub id: PersonId,
    /// Their name.
    pub name: String,
    /// Number, date and authority of the act.
    pub act: String,
}

/// How footage is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// As it is filmed.
    Live,
    /// Recorded footage, played.
    Playback,
    /// A picture.
    Snapshot,
    /// Recorded footage, taken as a file.
    Clip,
    /// Footage under a hold, taken as a file.
    HoldClip,
}

/// What is done. A variant's fields are its facts, in the encoding under their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[allow(missing_docs)] // The fields say what they are; the variants have their line.
pub enum Action {
    /// Footage is about to be handed out; `access_ended` says what was.
    AccessBegun { access: Access },
    /// What was handed out since the entry `begun`: the times that the sent bytes belong to, and how many bytes. An
    /// access that has no such entry was cut off by the end of the gateway.
    AccessEnded { begun: u64, access: Access, sent: Vec<Span>, sent_bytes: u64 },
    /// Footage was written to a file, by a command on the gateway's machine.
    Exported { bytes: u64 },
    /// Footage is to be put into a package, of a hold perhaps, under this reference. The package holds this entry.
    PackageOrdered { export: String, reference: String, hold: Option<String> },
    /// The package is whole, and can be handed out: the SHA-256 of its manifest, and that of the key that signed it.
    PackagePrepared { export: String, bytes: u64, manifest: String, key: String },
    /// The package was destroyed, or is not prepared.
    PackageRemoved { export: String, why: String },
    /// The journal was read, from this entry on.
    JournalRead { from: u64 },
    /// What is kept, destroyed and accessed in the time of the entry was inspected.
    Inspected,
    /// A camera that is not recorded was to be tried again at once.
    CameraRetried,
    /// The footage of this entry is uploaded before the rest of the backlog.
    UploadAsked,
    /// An alarm was said to be seen.
    AlarmAcknowledged { alarm: i64 },
    /// Credentials were refused, so often since it was last said.
    Refused { count: u64 },
    /// A person asked for what they may not do; said once a minute of the same.
    Denied { right: String, why: String },
    /// A person was designated, or their designation renewed or changed.
    PersonDesignated { person: PersonId, name: String, role: String, act: String, until: Date },
    /// A designation was revoked, with the person's tokens and grants.
    PersonRevoked { person: PersonId },
    /// A person was invited to choose how to sign in; what they had before is over.
    PersonInvited { person: PersonId },
    /// The person chose how to sign in, by an invitation.
    Enrolled,
    /// The person signed in: by their account at this provider, or by a password.
    SignedIn {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider: Option<String>,
    },
    /// The person signed out: at this provider, or here.
    SignedOut {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider: Option<String>,
    },
    /// The person signs in by this account at this provider from now on.
    AccountNamed { person: PersonId, provider: String, account: String },
    /// The person signs in by no account at this provider any more.
    AccountRemoved { person: PersonId, provider: String },
    /// A token was made for a person, in force until then.
    TokenMade { person: PersonId, token: String, until: Timestamp },
    /// A token was revoked.
    TokenRevoked { person: PersonId, token: String },
    /// A person may see the footage of this entry until then, whatever their role.
    Granted { person: PersonId, reference: String, until: Timestamp },
    /// A grant was taken back.
    GrantRevoked { person: PersonId, grant: i64 },
    /// What the entry `of` says of persons was not done: the disk refused it.
    NotDone { of: u64 },
    /// The catalogue of persons that is there was accepted although another, or a later state, was known.
    CatalogueAccepted { persons: u64 },
    /// A hold was placed.
    HoldPlaced { hold: String },
    /// A hold was released.
    HoldReleased { hold: String },
    /// Footage was destroyed.
    FootageDestroyed { cause: String, packs: u64, bytes: u64 },
    /// A key was destroyed, and with it all footage that was encrypted under it.
    KeyDestroyed { key: String },
    /// The configuration was read.
    ConfigurationRead,
    /// What these cameras notice is gathered from here on, on this legal basis outside of video protection.
    OccurrencesGathered { legal_basis: String },
    /// These cameras record under this authorisation from here on, as far as it is in force.
    RecordedUnder { authorisation: String, until: Date },
    /// These cameras record from here on, on this basis outside of video protection.
    RecordedOutside { legal_basis: String },
    /// These cameras record from here on, and the configuration does not say what under.
    RecordedWithoutBasis,
    /// Sound of these cameras is recorded from here on, on this legal basis outside of video protection.
    SoundRecorded { legal_basis: String },
    /// The contents of these entries, `from` included and `to` not, were destroyed: their time of `months` was over.
    EntriesForgotten { from: u64, to: u64, months: u16 },
    /// Checkpoints are signed under this key from here on.
    KeyChanged { verifier: String },
    /// The journal was continued although a later state of it is known: entries up to `size` are lost.
    LossAccepted { size: u64, root: String },
    /// The end of the content was torn, by a power cut: so many bytes of entries that were answered for at most
    /// a second before are lost.
    TailLost { bytes: u64 },
    /// No entry could be made from `since` until now: no footage was handed out meanwhile, and what the gateway destroyed
    /// is in its log alone.
    Interrupted { since: Timestamp },
    /// A request for footage was carried on by this step. `detail`: the hash of a scan, a ground, an outcome; never who
    /// was filmed.
    RequestStep {
        request: String,
        step: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
}

/// A stretch of time, its end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// Its begin.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

impl Entry {
    pub(crate) fn new(n: u64, at: Timestamp, draft: Draft) -> Self {
        // Milliseconds are enough, and the same in every reader.
        let at = Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at);
        Self { v: VERSION, n, at, salt: Salt(footage::platform::random()), draft }
    }

    /// The day whose file it is in, and after which its term counts.
    pub fn day(&self) -> Date {
        day_of(self.at)
    }

    /// Its line, with its newline.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("an entry has no map with keys that are not text");
        line.push(b'\n');
        line
    }

    /// From its line. Actions of a newer Vigie are not known here.
    ///
    /// # Errors
    /// When the line is no entry.
    pub fn decode(line: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(line)
    }
}

/// What every entry has, whatever else a newer Vigie writes.
#[derive(Debug, Deserialize)]
pub(crate) struct Head {
    pub(crate) n: u64,
    pub(crate) at: Timestamp,
}

impl Head {
    pub(crate) fn of_line(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    pub(crate) fn day(&self) -> Date {
        day_of(self.at)
    }
}

fn day_of(at: Timestamp) -> Date {
    jiff::tz::Offset::UTC.to_datetime(at).date()
}

/// 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Salt(u128);

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

impl Serialize for Salt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What stays of an entry, for ever: its day, and the SHA-256 of its line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commitment([u8; COMMITMENT_BYTES]);

impl Commitment {
    /// To the entry of this day that has this line, its newline included.
    pub(crate) fn of_line(day: Date, line: &[u8]) -> Self {
        let hash = digest(&SHA256, line);
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("{day} {hex}\n");
        // Years before 0 and after 9999 are longer, and no clock shows them: the journal refuses them before.
        Self(text.as_bytes().try_into().expect("a day and a hash have a fixed length"))
    }

    pub(crate) fn from_bytes(bytes: [u8; COMMITMENT_BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; COMMITMENT_BYTES] {
        &self.0
    }

    /// Its day; `None` where it does not read as one.
    pub(crate) fn day(&self) -> Option<Date> {
        str::from_utf8(&self.0[..10]).ok()?.parse().ok()
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(String::from_utf8_lossy(&self.0).trim_end())
    }
}
