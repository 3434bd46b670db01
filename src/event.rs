//! Events: what can happen, as typed facts. Every kind is here, with its severity and its readers.
//!
//! ```text
//! a module that knows → Event { at, actor, scope, fact } → index (canonical JSON) → words, at the edge, per reader
//! ```
//!
//! Invariants: an event carries no free text of a library, no path, no address and no secret, so that none can reach a
//! reader; what names a thing of the operator's (a store) is taken out by [`Fact::for_tenant`]; one event has one
//! encoding ([`Event::encode`]), which holds its version, so that a journal can hash it.
//! Absent on purpose: sentences. [`words`] makes them, in French and English.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::authorisation::{AtEnd, Notice};
use footage::media::{GapCause, Oddity, VideoParams};
use footage::units::{
    AuthorisationId, CameraKey, HoldId, KeyId, PackId, PersonId, ProviderId, RequestId, TenantId, WallTime,
};

pub mod alarm;
mod encoding;
mod parts;
pub mod words;

#[cfg(test)]
pub(crate) mod tests;

pub use self::encoding::{BadEvent, ENCODING_VERSION};
pub use self::parts::{DestructionReason, EdgeRefusal, JournalProof, MendSource, RequestStep, TrialVerdict};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, on the gateway's clock.
    pub at: WallTime,
    /// Who caused it.
    pub actor: Actor,
    /// Whose it is.
    pub scope: Scope,
    /// What happened.
    pub fact: Fact,
}

/// Who caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The gateway, by itself.
    Gateway,
    /// A person with access to the machine: configuration, signals, commands.
    Operator,
    /// A person of the tenant, or a holder of its access token: the journal says who.
    Tenant,
}

impl Actor {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Gateway, Self::Operator, Self::Tenant];

    /// As events name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Operator => "operator",
            Self::Tenant => "tenant",
        }
    }
}

/// Whose an event is, and so who may read it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The gateway's own: the operator reads it; tenants read it where [`Fact::for_tenant`] leaves something.
    Gateway,
    /// A tenant's.
    Tenant(TenantId),
    /// A camera's, and so its tenant's.
    Camera(CameraKey),
}

impl Scope {
    /// The tenant that may read it; `None` for the gateway's own.
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Gateway => None,
            Self::Tenant(tenant) => Some(tenant),
            Self::Camera(key) => Some(&key.tenant),
        }
    }

    /// The camera that it is about.
    pub fn camera(&self) -> Option<&CameraKey> {
        match self {
            Self::Camera(key) => Some(key),
            Self::Gateway | Self::Tenant(_) => None,
        }
    }
}

/// How much attention an event wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the record.
    Info,
    /// Something is not as it should be; nothing is lost yet, or little.
    Warning,
    /// Footage is lost or about to be, or the law is about to be broken.
    Critical,
}

impl Severity {
    /// The word in the API and in alarms.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A store's name in the configuration: the operator's, never a tenant's to read.
pub type StoreName = Option<String>;

/// What happened. A variant's fields are its facts, in the encoding under their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs)] // The fields say what they are; the variants have their line.
pub enum Fact {
    /// A camera's session plays.
    Connected { codecs: String, width: u16, height: u16 },
    /// Footage is written, where there was none before.
    Recording,
    /// A camera's session ended, or could not be opened.
    ConnectionLost { cause: GapCause },
    /// The camera sends other parameters.
    ParametersChanged { codecs: String, width: u16, height: u16 },
    /// The stream is odd in a way that it was not, and is recorded all the same.
    StreamOdd { oddity: Oddity },
    /// The stream is not odd in this way any more.
    StreamOddEnded { oddity: Oddity, count: u64 },
    /// RTP timestamps jumped: by this the last time, and so often since it was last said.
    TimestampJump { by_ms: i64, count: u64 },
    /// RTP timestamps do not keep time: footage is placed by its arrival.
    TimestampsUnsteady,
    /// RTP timestamps have kept time for a minute.
    TimestampsSteady,
    /// The camera's clock moved against the gateway's.
    CameraClockStep { by_ms: i64 },
    /// The camera's clock, as its device service says it, is off by this.
    CameraClockOff { by_ms: i64 },
    /// The camera's clock is right again, or is not compared any more.
    CameraClockRight,
    /// The gateway's clock was set: what was recorded since it was last set has wrong times.
    ClockStep { by_ms: i64 },
    /// Footage of before the machine was started bears times of the future.
    ClockMisdated { by_ms: i64 },
    /// The disk does not take a camera's footage.
    NotWritten { cause: GapCause },
    /// A cut was filled from the camera's own storage: so much of it, each picture within that of its right time.
    EdgeFilled { start: WallTime, end: WallTime, filled_ms: i64, error_ms: i64 },
    /// A cut stays: the camera's own storage does not fill it.
    EdgeNotFilled { start: WallTime, end: WallTime, why: EdgeRefusal },
    /// A pack is neither in the spool nor in its store.
    PackLost { pack: PackId, start: WallTime, end: WallTime },
    /// Damage in a pack was mended.
    FootageMended { pack: PackId, start: WallTime, end: WallTime, source: MendSource, places: u64 },
    /// Footage is damaged beyond repair: so many fragments, or all of the pack.
    FootageLost { pack: PackId, start: WallTime, end: WallTime, fragments: Option<u64> },
    /// Damage of another pack, or its repair, changed this one too.
    FootageSharedDamage { pack: PackId, start: WallTime, end: WallTime },
    /// The scrub read every pack of a store.
    Scrubbed { store: StoreName, bytes: u64, mended: u64, lost: u64 },
    /// Many packs in a row cannot be read.
    StoreDoubtful { store: StoreName, packs: u64 },
    /// A store takes packs again.
    StoreBack { store: StoreName },
    /// A store does not answer.
    StoreAway { store: StoreName },
    /// A store refuses its credentials.
    StoreRefused { store: StoreName },
    /// A store handed back other bytes than it was sent.
    StoreLies { store: StoreName },
    /// A store's trial at start found something.
    StoreProbe { store: StoreName, verdict: TrialVerdict },
    /// Footage of a camera and a day begins to be destroyed; the register has the rest.
    PackDeleted { from: WallTime, reason: DestructionReason },
    /// The disk's reserve is reached, and nothing may be destroyed.
    DiskFull { free_bytes: Option<u64>, reserve_bytes: Option<u64> },
    /// A camera's minimum cannot be kept within its maximum.
    RetentionConflict,
    /// Footage is destroyed before its maximum, because the disk is full.
    CondemnedEarly { packs: u64, bytes: u64, newest: WallTime },
    /// A day key is gone: what was encrypted under it cannot be read from any copy.
    KeyDestroyed { key: KeyId, day: Option<Date> },
    /// The clock is ahead of what can be vouched for.
    ClockDoubted { lead_s: i64, retention_by: WallTime },
    /// The clock is trusted again.
    ClockBelieved,
    /// A legal hold was placed.
    HoldPlaced {
        hold: HoldId,
        reference: String,
        requester: String,
        reason: String,
        start: WallTime,
        end: WallTime,
        until: WallTime,
    },
    /// A legal hold was released before its time.
    HoldReleased { hold: HoldId, requester: String },
    /// A legal hold is over.
    HoldEnded { hold: HoldId, requester: String, start: WallTime, end: WallTime },
    /// A request for footage was carried on.
    RequestStep { request: RequestId, step: RequestStep },
    /// What a hold covers cannot be copied for now.
    HoldWaits { hold: HoldId },
    /// What a hold covers is damaged, and is not kept.
    HoldDamaged { hold: HoldId, pack: PackId, start: WallTime, end: WallTime },
    /// A pack in a shared store has this gateway's rank and is not in its index.
    SameRank { pack: PackId },
    /// What another gateway stored has nothing in common with what is recorded here.
    NothingInCommon,
    /// A pack that another gateway stored is gone before its time.
    ForeignPackGone { pack: PackId },
    /// A pack that another gateway stored cannot be used.
    ForeignPackUnusable { pack: PackId },
    /// Footage that was due was not in its store any more.
    PackAbsent { from: WallTime, reason: DestructionReason },
    /// Footage that is due cannot be deleted.
    DeletionFailed,
    /// Footage that is due is deleted again.
    DeletionWorks,
    /// The journal cannot be written, or is damaged: footage is recorded, and none is handed out.
    JournalFailed,
    /// The journal is written again.
    JournalWorks,
    /// The catalogue of persons is missing, another, older than it was, or damaged: none of them is let in.
    CatalogueFailed,
    /// The catalogue of persons is read again.
    CatalogueWorks,
    /// A person signed in while a session of theirs went on elsewhere, which ended by it.
    SignedInElsewhere { person: PersonId },
    /// A token was made for a person.
    TokenMade { person: PersonId, token: String },
    /// A person signs in by an account at this provider from now on.
    AccountNamed { person: PersonId, provider: ProviderId },
    /// The journal is written, and what others could tell of it is missing.
    JournalUnproven { proof: JournalProof },
    /// There is again what others can tell of the journal.
    JournalProven { proof: JournalProof },
    /// Footage is kept longer than its maximum.
    OverAge { packs: u64, oldest: WallTime },
    /// No footage is kept longer than its maximum any more.
    OverAgeEnded,
    /// The disk does not hold what the retention asks for.
    DiskTooSmall { hours: u64 },
    /// The disk takes footage again.
    DiskFullEnded,
    /// The disk holds what the retention asks for again.
    DiskTooSmallEnded,
    /// The store is away, and the disk fills: so many hours are left.
    DiskHoursLeft { hours: u64 },
    /// What waits leaves the disk again, or there is room.
    DiskHoursLeftEnded,
    /// A camera was cut off so often within an hour, each time for a short while.
    CameraUnsteady { cuts: u64 },
    /// A camera has been recorded for an hour with one cut at most.
    CameraSteady,
    /// A camera's certificate, or one above it, ends to be valid in so many days.
    CertificateEnds { days: u64 },
    /// A camera's certificate is valid for longer again.
    CertificateRenewed,
    /// The gateway's own certificate ends to be valid in so many days.
    ServerCertificateEnds { days: u64 },
    /// The gateway's own certificate is valid for longer again.
    ServerCertificateRenewed,
    /// What the index holds of an event or an alarm cannot be read; this is its kind.
    EntryUnreadable { of_kind: String },
    /// A target of alarms cannot be reached.
    AlarmNotDelivered { target: String },
    /// A target of alarms is reached again.
    AlarmDelivered { target: String },
    /// A shorter retention waits; so much of what there is now it destroys.
    RetentionChange { max_hours: u64, from: WallTime, packs: u64, bytes: u64 },
    /// A shorter retention took effect.
    RetentionChanged { max_hours: u64, min_hours: u64, confirmed: bool },
    /// The end of an authorisation is near.
    AuthorisationEnds { authorisation: AuthorisationId, number: String, until: Date, notice: Notice },
    /// What a notice said is over: the end is nearer, or further away again.
    AuthorisationNoticePassed { authorisation: AuthorisationId, notice: Notice },
    /// The last day of an authorisation is over.
    AuthorisationEnded { authorisation: AuthorisationId, number: String, until: Date, at_end: AtEnd },
    /// The first day of an authorisation has not come.
    AuthorisationNotYet { authorisation: AuthorisationId, number: String, from: Date, at_end: AtEnd },
    /// An authorisation is in force, or no camera records under it any more.
    AuthorisationSettled { authorisation: AuthorisationId },
    /// A camera is not configured any more; its footage keeps its policy.
    CameraRemoved { max_hours: u64 },
    /// A store has not been identified yet.
    StoreNotIdentified { store: StoreName },
    /// A store has no marker, and the index knows it.
    StoreMissing { store: StoreName },
    /// A store has the marker of another.
    StoreOther { store: StoreName },
    /// Something else answers in a store's place.
    StoreUnreadable { store: StoreName },
    /// A store belongs to another gateway key.
    StoreOtherKey { store: StoreName },
    /// The known store is there again.
    StoreKnown { store: StoreName },
    /// A store is used for the first time.
    StoreNew { store: StoreName },
    /// A store was in use before, and the index did not know it.
    StoreFound { store: StoreName },
    /// An operator put a store in the place of another.
    StoreReplaced { store: StoreName },
    /// A bucket keeps versions of what is deleted.
    StoreVersioned { store: StoreName },
    /// A store held packs that the index did not know.
    StoreCompared { store: StoreName, objects: u64, adopted: u64, due: u64, unreadable: u64 },
    /// The packs of a store are in the index again.
    IndexRebuilt { store: StoreName, objects: u64, adopted: u64, due: u64, unreadable: u64 },
    /// Another version of Vigie records from now on.
    Upgraded { from: String, to: String },
    /// The key of the gateway is the known one again.
    GatewayKeyKnown,
    /// The former bounds of retention were restored before the shorter ones took effect.
    RetentionChangeWithdrawn,
    /// What became of the index: the index is missing or empty.
    IndexMissing,
    /// What became of the index: the index is damaged and kept under another name.
    IndexDamaged,
    /// What became of the index: the index is not the one that was used here last.
    IndexOther,
    /// What became of the index: the index is an older copy, or has lost its log.
    IndexOlder,
    /// The gateway's key: gateway.key is missing.
    GatewayKeyMissing,
    /// The gateway's key: gateway.key holds another key than the index knows.
    GatewayKeyOther,
    /// The gateway's key: gateway.key does not hold a key.
    GatewayKeyDamaged,
    /// The gateway's key: gateway.key can be read by other users: run `chmod 600` on it.
    GatewayKeyOpen,
    /// A day key that packs need has no file.
    KeyMissing { key: KeyId, packs: u64 },
    /// A day key is there again.
    KeyFound { key: KeyId },
    /// A key of encrypted packs could not be used; the log names it.
    KeyUnusable,
}

/// Who may read a fact in a scope that a tenant can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readers {
    /// The tenant and the operator.
    Everyone,
    /// The operator alone.
    Operator,
}

impl Fact {
    /// A session plays with these parameters.
    pub fn connected(video: &VideoParams) -> Self {
        Self::Connected { codecs: video.rfc6381.clone(), width: video.width, height: video.height }
    }

    /// The camera sends these parameters from now on.
    pub fn parameters_changed(video: &VideoParams) -> Self {
        Self::ParametersChanged { codecs: video.rfc6381.clone(), width: video.width, height: video.height }
    }

    /// What happened, as one word; the `kind` of the encoding.
    pub fn kind(&self) -> &'static str {
        self.class().0
    }

    /// How much attention it wants.
    pub fn severity(&self) -> Severity {
        self.class().1
    }

    /// Every kind in one table.
    fn class(&self) -> (&'static str, Severity, Readers) {
        use Readers::{Everyone, Operator};
        use Severity::{Critical, Info, Warning};
        match self {
            Self::Connected { .. } => ("connected", Info, Everyone),
            Self::Recording => ("recording", Info, Everyone),
            Self::ConnectionLost {
                cause: GapCause::GatewayStopped | GapCause::Reconfigured | GapCause::NotAuthorised,
            } => ("connection_lost", Info, Everyone),
            Self::ConnectionLost { .. } => ("connection_lost", Warning, Everyone),
            Self::ParametersChanged { .. } => ("parameters_changed", Info, Everyone),
            Self::StreamOdd { .. } => ("stream_odd", Info, Everyone),
            Self::StreamOddEnded { .. } => ("stream_odd_ended", Info, Everyone),
            Self::TimestampJump { .. } => ("timestamp_jump", Warning, Everyone),
            Self::TimestampsUnsteady => ("timestamps_unsteady", Warning, Everyone),
            Self::TimestampsSteady => ("timestamps_steady", Info, Everyone),
            Self::CameraClockStep { .. } => ("camera_clock_step", Warning, Everyone),
            Self::CameraClockOff { .. } => ("camera_clock_off", Warning, Everyone),
            Self::CameraClockRight => ("camera_clock_right", Info, Everyone),
            Self::ClockStep { .. } => ("clock_step", Warning, Everyone),
            Self::ClockMisdated { .. } => ("clock_misdated", Warning, Everyone),
            Self::NotWritten { .. } => ("not_written", Critical, Everyone),
            Self::EdgeFilled { .. } => ("edge_filled", Info, Everyone),
            Self::EdgeNotFilled { .. } => ("edge_not_filled", Warning, Everyone),
            Self::PackLost { .. } => ("pack_lost", Critical, Everyone),
            Self::FootageMended { .. } => ("footage_mended", Warning, Everyone),
            Self::FootageLost { .. } => ("footage_lost", Critical, Everyone),
            Self::FootageSharedDamage { .. } => ("footage_shared_damage", Warning, Everyone),
            Self::Scrubbed { .. } => ("scrubbed", Info, Operator),
            Self::StoreDoubtful { .. } => ("store_doubtful", Critical, Operator),
            Self::StoreBack { .. } => ("store_back", Info, Everyone),
            Self::StoreAway { .. } => ("store_away", Warning, Everyone),
            Self::StoreRefused { .. } => ("store_refused", Critical, Everyone),
            Self::StoreLies { .. } => ("store_lies", Critical, Everyone),
            Self::StoreProbe { verdict: TrialVerdict::Refused, .. } => ("store_probe", Critical, Operator),
            Self::StoreProbe { .. } => ("store_probe", Warning, Operator),
            Self::PackDeleted { .. } => ("pack_deleted", Info, Everyone),
            Self::DiskFull { .. } => ("disk_full", Critical, Everyone),
            Self::RetentionConflict => ("retention_conflict", Critical, Everyone),
            Self::CondemnedEarly { .. } => ("condemned_early", Critical, Everyone),
            Self::KeyDestroyed { .. } => ("key_destroyed", Info, Everyone),
            Self::ClockDoubted { .. } => ("clock_doubted", Critical, Everyone),
            Self::ClockBelieved => ("clock_believed", Info, Everyone),
            Self::HoldPlaced { .. } => ("hold_placed", Info, Everyone),
            Self::HoldReleased { .. } => ("hold_released", Info, Everyone),
            Self::HoldEnded { .. } => ("hold_ended", Info, Everyone),
            Self::RequestStep { .. } => ("request_step", Info, Everyone),
            Self::HoldWaits { .. } => ("hold_waits", Warning, Everyone),
            Self::HoldDamaged { .. } => ("hold_damaged", Critical, Everyone),
            Self::SameRank { .. } => ("same_rank", Critical, Everyone),
            Self::NothingInCommon => ("nothing_in_common", Warning, Everyone),
            Self::ForeignPackGone { .. } => ("foreign_pack_gone", Critical, Everyone),
            Self::ForeignPackUnusable { .. } => ("foreign_pack_unusable", Warning, Everyone),
            Self::PackAbsent { .. } => ("pack_absent", Warning, Everyone),
            Self::DeletionFailed => ("deletion_failed", Critical, Everyone),
            Self::DeletionWorks => ("deletion_works", Info, Everyone),
            Self::JournalFailed => ("journal_failed", Critical, Everyone),
            Self::JournalWorks => ("journal_works", Info, Everyone),
            Self::CatalogueFailed => ("catalogue_failed", Critical, Everyone),
            Self::CatalogueWorks => ("catalogue_works", Info, Everyone),
            Self::SignedInElsewhere { .. } => ("signed_in_elsewhere", Warning, Everyone),
            Self::TokenMade { .. } => ("token_made", Info, Everyone),
            Self::AccountNamed { .. } => ("account_named", Warning, Everyone),
            Self::JournalUnproven { .. } => ("journal_unproven", Warning, Everyone),
            Self::JournalProven { .. } => ("journal_proven", Info, Everyone),
            Self::OverAge { .. } => ("over_age", Critical, Everyone),
            Self::OverAgeEnded => ("over_age_ended", Info, Everyone),
            Self::DiskTooSmall { .. } => ("disk_too_small", Critical, Operator),
            Self::DiskFullEnded => ("disk_full_ended", Info, Everyone),
            Self::DiskTooSmallEnded => ("disk_too_small_ended", Info, Operator),
            Self::DiskHoursLeft { .. } => ("disk_hours_left", Critical, Operator),
            Self::DiskHoursLeftEnded => ("disk_hours_left_ended", Info, Operator),
            Self::CameraUnsteady { .. } => ("camera_unsteady", Warning, Everyone),
            Self::CameraSteady => ("camera_steady", Info, Everyone),
            Self::CertificateEnds { .. } => ("certificate_ends", Warning, Everyone),
            Self::ServerCertificateEnds { .. } => ("server_certificate_ends", Warning, Everyone),
            Self::ServerCertificateRenewed => ("server_certificate_renewed", Info, Everyone),
            Self::CertificateRenewed => ("certificate_renewed", Info, Everyone),
            Self::EntryUnreadable { .. } => ("entry_unreadable", Warning, Operator),
            Self::AlarmNotDelivered { .. } => ("alarm_not_delivered", Warning, Operator),
            Self::AlarmDelivered { .. } => ("alarm_delivered", Info, Operator),
            Self::RetentionChange { .. } => ("retention_change", Warning, Everyone),
            Self::RetentionChanged { .. } => ("retention_changed", Info, Everyone),
            Self::AuthorisationEnds { notice: Notice::OneWeek, .. } => ("authorisation_ends", Critical, Everyone),
            Self::AuthorisationEnds { .. } => ("authorisation_ends", Warning, Everyone),
            Self::AuthorisationNoticePassed { .. } => ("authorisation_notice_passed", Info, Everyone),
            Self::AuthorisationEnded { .. } => ("authorisation_ended", Critical, Everyone),
            Self::AuthorisationNotYet { .. } => ("authorisation_not_yet", Critical, Everyone),
            Self::AuthorisationSettled { .. } => ("authorisation_settled", Info, Everyone),
            Self::CameraRemoved { .. } => ("camera_removed", Warning, Everyone),
            Self::StoreNotIdentified { .. } => ("store_not_identified", Warning, Operator),
            Self::StoreMissing { .. } => ("store_missing", Critical, Operator),
            Self::StoreOther { .. } => ("store_other", Critical, Operator),
            Self::StoreUnreadable { .. } => ("store_unreadable", Critical, Operator),
            Self::StoreOtherKey { .. } => ("store_other_key", Critical, Operator),
            Self::StoreKnown { .. } => ("store_known", Info, Operator),
            Self::StoreNew { .. } => ("store_new", Info, Operator),
            Self::StoreFound { .. } => ("store_found", Warning, Operator),
            Self::StoreReplaced { .. } => ("store_replaced", Warning, Operator),
            Self::StoreVersioned { .. } => ("store_versioned", Critical, Operator),
            Self::StoreCompared { .. } => ("store_compared", Warning, Operator),
            Self::IndexRebuilt { .. } => ("index_rebuilt", Warning, Operator),
            Self::Upgraded { .. } => ("upgraded", Info, Everyone),
            Self::GatewayKeyKnown => ("gateway_key_known", Info, Operator),
            Self::RetentionChangeWithdrawn => ("retention_change_withdrawn", Info, Everyone),
            Self::IndexMissing => ("index_missing", Critical, Operator),
            Self::IndexDamaged => ("index_damaged", Critical, Operator),
            Self::IndexOther => ("index_other", Critical, Operator),
            Self::IndexOlder => ("index_older", Critical, Operator),
            Self::GatewayKeyMissing => ("gateway_key_missing", Critical, Operator),
            Self::GatewayKeyOther => ("gateway_key_other", Critical, Operator),
            Self::GatewayKeyDamaged => ("gateway_key_damaged", Critical, Operator),
            Self::GatewayKeyOpen => ("gateway_key_open", Critical, Operator),
            Self::KeyMissing { .. } => ("key_missing", Critical, Operator),
            Self::KeyFound { .. } => ("key_found", Info, Operator),
            Self::KeyUnusable => ("key_unusable", Critical, Operator),
        }
    }

    /// The gateway's key is not the one that belongs here, or cannot be used.
    pub fn is_of_gateway_key(&self) -> bool {
        matches!(self, Self::GatewayKeyMissing | Self::GatewayKeyOther | Self::GatewayKeyDamaged | Self::GatewayKeyOpen)
    }

    /// True where no tenant may read it, though it be in the gateway's scope.
    pub fn is_operators(&self) -> bool {
        self.class().2 == Readers::Operator
    }

    /// What a tenant may read of it: without the names of the operator's things; nothing where it is the operator's
    /// alone.
    pub fn for_tenant(mut self) -> Option<Self> {
        if self.is_operators() {
            return None;
        }
        if let Self::StoreBack { store }
        | Self::StoreAway { store }
        | Self::StoreRefused { store }
        | Self::StoreLies { store } = &mut self
        {
            *store = None;
        }
        // What is left of the gateway's disk is shared by all tenants.
        if let Self::DiskFull { free_bytes, reserve_bytes } = &mut self {
            (*free_bytes, *reserve_bytes) = (None, None);
        }
        Some(self)
    }
}

impl Event {
    /// By the gateway itself.
    pub fn new(at: WallTime, scope: Scope, fact: Fact) -> Self {
        Self { at, actor: Actor::Gateway, scope, fact }
    }

    /// By the gateway itself, about a camera.
    pub fn of_camera(at: WallTime, camera: &CameraKey, fact: Fact) -> Self {
        Self::new(at, Scope::Camera(camera.clone()), fact)
    }

    /// By the gateway itself, about itself.
    pub fn of_gateway(at: WallTime, fact: Fact) -> Self {
        Self::new(at, Scope::Gateway, fact)
    }

    /// The same, caused by `actor`.
    pub fn by(self, actor: Actor) -> Self {
        Self { actor, ..self }
    }
}
