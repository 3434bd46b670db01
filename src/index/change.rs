//! What is written: one [`Change`] for each thing that the index can learn.

use std::sync::Arc;

use bytes::Bytes;

use super::request::RequestRow;
use super::{
    CameraRow, OccurrenceRow, Outcome, PackRow, Reason, SegmentRow, SteadyClock, alarm, damage, dedup, identity,
};
use crate::event::Event;
use footage::media::{Gap, GapCause};
use footage::pack::HoldFacts;
use footage::units::{BootId, CameraKey, HoldId, KeyId, PackId, RequestId, RunId, TenantId, Ticks90k, WallTime};

/// One change to the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The pack is encrypted under this key.
    EncryptedUnder {
        /// Which pack.
        pack: PackId,
        /// The key's name.
        key: KeyId,
    },
    /// The key is gone for good.
    KeyDestroyed {
        /// Which.
        key: KeyId,
    },
    /// The configuration's cameras, all of them: those absent become unconfigured. Creates tenants too.
    Configure(Vec<CameraRow>),
    /// The same, but bounds that would destroy more than those in force wait until this instant; those in force and
    /// those that come hold until then, whichever keeps more.
    ConfigureFrom {
        /// The configuration's cameras, all of them.
        cameras: Vec<CameraRow>,
        /// When lower bounds take effect.
        at: WallTime,
    },
    /// A camera that only its packs tell of; a known one stays as it is.
    KnowCamera(CameraRow),
    /// Bounds whose time has come take effect, each with an event, `retention_changed`.
    ApplyPolicies {
        /// Now.
        now: WallTime,
    },
    /// An operator says that these bounds, which wait, take effect at once.
    ConfirmPolicy {
        /// Whose.
        camera: CameraKey,
        /// The maximum that waits; another one stays.
        retention_max: Ticks90k,
        /// The minimum that waits.
        retention_min: Ticks90k,
        /// Now.
        now: WallTime,
    },
    /// The camera's packs go to this store now.
    UsesStore {
        /// Whose.
        camera: CameraKey,
        /// Its name.
        store: String,
        /// When.
        at: WallTime,
    },
    /// A camera that signs its stream sent its certificates. Those that are the newest known already change nothing.
    CertificateSei {
        /// Whose.
        camera: CameraKey,
        /// When.
        at: WallTime,
        /// BLAKE3 of the certificates.
        certificates: [u8; 32],
        /// The NAL unit that brought them, as it was sent.
        sei: Bytes,
    },
    /// No pack lies in a store of this name any more.
    ForgetStore {
        /// Its name.
        store: String,
    },
    /// A session began to be recorded. A known run of that camera at most begins earlier by it.
    BeginRun {
        /// Which camera.
        camera: CameraKey,
        /// New id.
        run: RunId,
        /// When.
        start: WallTime,
    },
    /// How the gateway's clock stood when the run began. It stands so still, until another run of that boot says
    /// otherwise, or [`Change::ClockBase`] does.
    RunBase {
        /// Which run.
        run: RunId,
        /// Since when the monotonic clock counts.
        boot: BootId,
        /// Wall clock minus monotonic clock.
        base: Ticks90k,
    },
    /// How the gateway's clock stands now.
    ClockBase {
        /// Since when the monotonic clock counts.
        boot: BootId,
        /// Wall clock minus monotonic clock.
        base: Ticks90k,
    },
    /// What is known of a run's clocks now.
    RunClocks {
        /// Which run.
        run: RunId,
        /// See [`super::RunRow::camera_clock_offset`].
        camera_clock_offset: Option<Ticks90k>,
        /// See [`super::RunRow::timeline_offset`].
        timeline_offset: Ticks90k,
    },
    /// The session is over.
    EndRun {
        /// Which run.
        run: RunId,
        /// End of its last fragment.
        end: WallTime,
    },
    /// A pack began to grow in the spool; written as `Open` whatever its `state` says. A known pack stays as it is.
    OpenPack(PackRow),
    /// A segment as it is now, durable: inserted, or replaced when one of its pack with the same start exists.
    /// Moves its pack's `start`, `end` and `bytes` outwards too.
    PutSegment {
        /// Whose.
        camera: CameraKey,
        /// The row (its `state` is not written).
        segment: SegmentRow,
        /// Bytes of the pack that are durable now.
        pack_bytes: u64,
    },
    /// The pack is whole in the spool.
    SealPack {
        /// Which pack.
        pack: PackId,
        /// Its size.
        bytes: u64,
    },
    /// What of a whole pack is lost, all of it: in place of what was known. Nothing, when it was repaired. Nothing happens
    /// to a condemned pack.
    Damage {
        /// Which pack.
        pack: PackId,
        /// First instant after its footage, lost or not: a pack that was cut short ends earlier from then on.
        end: WallTime,
        /// Fragments, by number.
        lost: damage::Lost,
        /// Its segments without them.
        segments: Vec<SegmentRow>,
        /// In their place.
        gaps: Vec<Gap>,
    },
    /// How far the scrub of a store has got.
    Scrubbed {
        /// The store's name.
        store: String,
        /// How far.
        row: damage::ScrubRow,
    },
    /// By these the pack is found again from a fragment of it ([`footage::pack::PackTable::hooks`]). A pack has them once.
    Hook {
        /// Which pack.
        pack: PackId,
        /// 48 bits each.
        hooks: Vec<u64>,
    },
    /// Bytes of this pack may lie in other packs from now on, besides those in which they lie already. Written before
    /// the pack's file changes. Refused unless every byte that is claimed is final: see [`dedup`].
    Claim(dedup::Claim),
    /// Where the bytes of this pack lie from now on: in these packs and in no others. Hosts that the index does not know are
    /// left out: `fsck` finds them. A condemned host of a sealed pack stays one until [`Change::Freed`]. Refused when a
    /// sealed pack would hold less by itself than before.
    Refers(dedup::Refers),
    /// No bytes of these packs lie in this condemned one any more.
    Freed {
        /// Which pack is to go.
        host: PackId,
        /// The packs that referred to it.
        referrers: Vec<PackId>,
    },
    /// The store acknowledged size and checksum.
    PackStored {
        /// Which pack.
        pack: PackId,
    },
    /// Others stored the footage of this pack, which waits for the store: it is forgotten, and its run stays. Refused when it waits no more, or
    /// when bytes of others lie in it.
    LeaveToOthers {
        /// Which pack.
        pack: PackId,
    },
    /// Nobody shall read them any more: their segments go at once, their rows stay until the objects are gone. Packs
    /// that a hold covers and has not copied stay as they are.
    Condemn {
        /// Which packs.
        packs: Vec<PackId>,
        /// When.
        at: WallTime,
        /// Why.
        reason: Reason,
    },
    /// The bytes of these condemned packs are destroyed from now on, but for packs that a hold covers and has not
    /// copied: [`super::Index::deleting`] says which.
    BeginDeleting {
        /// Which packs.
        packs: Vec<PackId>,
    },
    /// The bytes of these packs, which are being destroyed, were found: their destruction is one, even where a crash
    /// comes between it and the register.
    Seen {
        /// Which packs.
        packs: Vec<PackId>,
    },
    /// What it covers stays from now on. A hold that is known stays as it is.
    PlaceHold {
        /// Whose footage.
        camera: CameraKey,
        /// What and why.
        hold: Arc<HoldFacts>,
    },
    /// The hold is over: its packs go, and it keeps nothing else. One that is over stays as it is.
    EndHold {
        /// Which hold.
        hold: HoldId,
        /// When.
        at: WallTime,
    },
    /// Holds whose time is over end, each with an event, `hold_ended`.
    EndHoldsBefore {
        /// Now.
        at: WallTime,
    },
    /// The pack stays for this hold and shows in no timeline but the hold's. Before its segments are put.
    KeepFor {
        /// Which pack.
        pack: PackId,
        /// Which hold.
        hold: HoldId,
    },
    /// All that the hold covers of this pack is in packs of its own, or cannot be had.
    Copied {
        /// Which hold.
        hold: HoldId,
        /// Which pack.
        pack: PackId,
    },
    /// The object and the spool file are gone: forget the pack and its segments, and runs left without packs.
    Forget {
        /// Which pack.
        pack: PackId,
    },
    /// As [`Change::Forget`], and entered in the register of destructions. The first entry of a camera, a day and a
    /// reason is an event too, `pack_deleted`.
    Destroyed {
        /// Which pack; it was condemned.
        pack: PackId,
        /// When its bytes were gone.
        at: WallTime,
        /// Whether there were any.
        outcome: Outcome,
    },
    /// This index belongs to this store or key from now on; `None`: to none of that name any more.
    Identify {
        /// Kind of thing.
        kind: identity::Kind,
        /// Its name in the configuration, or empty.
        name: String,
        /// Its id.
        id: Option<Vec<u8>>,
    },
    /// What retention keeps of its clock, in place of what it kept before.
    SteadyClock(SteadyClock),
    /// Footage stopped at `start`; one gap at most is open for a camera, and opening another takes its place.
    OpenGap {
        /// Which camera.
        camera: CameraKey,
        /// End of what was recorded.
        start: WallTime,
        /// Why.
        cause: GapCause,
    },
    /// A closed gap. It takes the place of the camera's open gap when that began at the same instant; a gap with the same bounds is replaced.
    PutGap {
        /// Which camera.
        camera: CameraKey,
        /// The gap.
        gap: Gap,
    },
    /// A camera noticed something.
    Occurrence {
        /// Which camera.
        camera: CameraKey,
        /// What and when.
        row: OccurrenceRow,
    },
    /// Gaps that ended before this instant are forgotten with the footage around them, and so are occurrences and runs
    /// without packs.
    ForgetGapsBefore {
        /// Which camera.
        camera: CameraKey,
        /// Bound.
        before: WallTime,
    },
    /// Something happened.
    Event(Event),
    /// A change of alarms.
    Alarm(alarm::AlarmChange),
    /// A request for footage as it is from now on. Refused where it is not made of the version that is known, and a new one
    /// where an open request asks for the same.
    PutRequest(Arc<RequestRow>),
    /// A request for footage, from the file beside the index: nothing happens where the index knows as much.
    TakeInRequest(Arc<RequestRow>),
    /// A request for footage is forgotten, and its bytes in the index's file are overwritten.
    ForgetRequest {
        /// Whose.
        tenant: TenantId,
        /// Which.
        request: RequestId,
    },
    /// Events and register entries older than this instant are forgotten, the oldest first and a bounded number at a
    /// time, and so are cameras that are in no configuration and left no trace.
    ForgetEventsBefore {
        /// Bound.
        before: WallTime,
    },
}
