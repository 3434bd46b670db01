//! The index as plain collections: what its documentation says, with no thought for speed.

use std::collections::{BTreeMap, BTreeSet};

use footage::units::{CameraKey, PackId, RunId, TenantId, Ticks90k, TimeRange, WallTime};
use vigie::event::{Event, Fact};
use vigie::index::{
    CameraRow, Change, DeletionRow, EventRow, GapRow, Outcome, PackRow, PackState, Reason, RunRow,
    SEGMENT_DURATION_MAX, SegmentRow,
};

/// A change that the index must refuse.
#[derive(Debug)]
pub(crate) struct Refused;

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// Kept for ever: a tenant's number is never given to another.
    pub(crate) tenants: BTreeSet<TenantId>,
    pub(crate) cameras: BTreeMap<CameraKey, CameraRow>,
    pub(crate) runs: BTreeMap<RunId, (CameraKey, RunRow)>,
    pub(crate) packs: BTreeMap<PackId, (PackRow, Option<Reason>)>,
    pub(crate) segments: BTreeMap<(CameraKey, WallTime, PackId), SegmentRow>,
    pub(crate) gaps: BTreeMap<(CameraKey, WallTime, WallTime), GapRow>,
    pub(crate) open_gaps: BTreeMap<CameraKey, GapRow>,
    /// With the tenant; `None`: the gateway's.
    pub(crate) events: Vec<EventRow>,
    pub(crate) deletions: BTreeMap<(CameraKey, i64, u8), DeletionRow>,
}

impl Model {
    /// All of a call's changes, or none.
    pub(crate) fn write(&mut self, changes: &[Change]) -> Result<(), Refused> {
        let mut next = self.clone();
        // The index may leave holes in the numbers of events, and tests compare everything but those.
        changes.iter().try_for_each(|change| next.apply(change))?;
        *self = next;
        Ok(())
    }

    fn camera(&self, key: &CameraKey) -> Result<(), Refused> {
        self.cameras.contains_key(key).then_some(()).ok_or(Refused)
    }

    fn apply(&mut self, change: &Change) -> Result<(), Refused> {
        match change.clone() {
            Change::Configure(rows) => {
                self.cameras.values_mut().for_each(|row| row.configured = false);
                self.tenants.extend(rows.iter().map(|row| row.key.tenant.clone()));
                self.cameras.extend(rows.into_iter().map(|row| (row.key.clone(), row)));
            }
            Change::BeginRun { camera, run, start } => {
                self.camera(&camera)?;
                let row =
                    RunRow { id: run, start, end: None, camera_clock_offset: None, timeline_offset: Ticks90k::ZERO };
                let (of, known) = self.runs.entry(run).or_insert((camera.clone(), row));
                if *of != camera {
                    return Err(Refused);
                }
                known.start = known.start.min(start);
            }
            // Nor clocks: the index's own tests have those.
            Change::RunBase { .. } | Change::ClockBase { .. } => return Err(Refused),
            Change::RunClocks { run, camera_clock_offset, timeline_offset } => {
                let (_, row) = self.runs.get_mut(&run).ok_or(Refused)?;
                *row = RunRow { camera_clock_offset, timeline_offset, ..row.clone() };
            }
            Change::EndRun { run, end } => self.runs.get_mut(&run).ok_or(Refused)?.1.end = Some(end),
            Change::OpenPack(pack) => self.open_pack(pack)?,
            Change::PutSegment { camera, segment, pack_bytes } => self.put_segment(camera, segment, pack_bytes)?,
            Change::SealPack { pack, bytes } => {
                let (row, _) = self.packs.get_mut(&pack).ok_or(Refused)?;
                if row.state < PackState::Stored {
                    row.bytes = bytes;
                }
                row.state = row.state.max(PackState::Sealed);
            }
            Change::Hook { .. } | Change::Claim(_) | Change::Refers(_) | Change::Freed { .. } => {}
            // Nor keys: `tests/sealed` has those.
            Change::EncryptedUnder { .. } | Change::KeyDestroyed { .. } => return Err(Refused),
            // Nor identities and policies that wait: `tests/identity` has those.
            Change::Identify { .. } | Change::UsesStore { .. } | Change::ForgetStore { .. } | Change::Seen { .. } => {}
            Change::ConfigureFrom { .. } | Change::KnowCamera(_) => return Err(Refused),
            Change::ApplyPolicies { .. } | Change::ConfirmPolicy { .. } => {}
            Change::Destroyed { outcome: Outcome::WasAbsent, .. } => return Err(Refused),
            // Nor signatures: `src/index/tests.rs` and `tests/signing.rs` have those.
            Change::CertificateSei { camera, .. } => self.camera(&camera)?,
            // Nor damage: `tests/scrub` has that.
            Change::Damage { .. } | Change::Scrubbed { .. } => return Err(Refused),
            // The model has no holds: their own tests are in `tests/hold`.
            Change::BeginDeleting { .. } | Change::Copied { .. } | Change::EndHoldsBefore { .. } => {}
            Change::PlaceHold { .. } | Change::EndHold { .. } | Change::KeepFor { .. } => return Err(Refused),
            Change::PackStored { pack } => {
                let (row, _) = self.packs.get_mut(&pack).ok_or(Refused)?;
                row.state = row.state.max(PackState::Stored);
            }
            Change::Condemn { packs, at, reason } => packs.iter().try_for_each(|p| self.condemn(*p, at, reason))?,
            Change::LeaveToOthers { pack } => {
                self.packs.get(&pack).filter(|(row, _)| row.state == PackState::Sealed).ok_or(Refused)?;
                self.packs.remove(&pack);
                self.segments.retain(|_, segment| segment.pack != pack);
            }
            Change::Forget { pack } => self.forget(pack)?,
            Change::Destroyed { pack, at, outcome: Outcome::Destroyed } => self.destroyed(pack, at)?,
            Change::OpenGap { camera, start, cause } => {
                self.camera(&camera)?;
                let open = GapRow { start, end: None, cause, lost_packets: 0 };
                self.open_gaps.insert(camera, open);
            }
            Change::PutGap { camera, gap } => {
                self.camera(&camera)?;
                if gap.end < gap.start {
                    return Err(Refused);
                }
                if self.open_gaps.get(&camera).is_some_and(|open| open.start == gap.start) {
                    self.open_gaps.remove(&camera);
                }
                let row =
                    GapRow { start: gap.start, end: Some(gap.end), cause: gap.cause, lost_packets: gap.lost_packets };
                self.gaps.insert((camera, gap.start, gap.end), row);
            }
            Change::ForgetGapsBefore { camera, before } => {
                self.camera(&camera)?;
                self.gaps.retain(|(of, start, end), _| *of != camera || *end > before || *start >= before);
                let used: BTreeSet<RunId> = self.packs.values().map(|(pack, _)| pack.run).collect();
                self.runs.retain(|id, (of, run)| {
                    let over = run.start < before && run.end.is_some_and(|end| end <= before);
                    *of != camera || !over || used.contains(id)
                });
            }
            Change::Event(event) => self.event(event)?,
            Change::ForgetEventsBefore { before } => self.forget_events(before),
            // No query of the model shows it; retention tests it.
            Change::SteadyClock(_) | Change::Alarm(_) | Change::Occurrence { .. } => {}
            // The tests of the desk do.
            Change::PutRequest(_) | Change::TakeInRequest(_) | Change::ForgetRequest { .. } => {}
        }
        Ok(())
    }

    fn open_pack(&mut self, pack: PackRow) -> Result<(), Refused> {
        self.camera(&pack.camera)?;
        self.runs.get(&pack.run).filter(|(of, _)| *of == pack.camera).ok_or(Refused)?;
        let row = PackRow { state: PackState::Open, end: pack.end.max(pack.start), condemned_at: None, ..pack.clone() };
        let (known, _) = self.packs.entry(pack.id).or_insert((row, None));
        if (&known.camera, known.run) == (&pack.camera, pack.run) { Ok(()) } else { Err(Refused) }
    }

    fn put_segment(&mut self, camera: CameraKey, segment: SegmentRow, bytes: u64) -> Result<(), Refused> {
        self.camera(&camera)?;
        let (pack, _) = self.packs.get_mut(&segment.pack).ok_or(Refused)?;
        if pack.camera != camera
            || pack.run != segment.run
            || pack.state == PackState::Condemned
            || segment.range.duration() > SEGMENT_DURATION_MAX
        {
            return Err(Refused);
        }
        pack.start = pack.start.min(segment.range.start());
        pack.end = pack.end.max(segment.range.end());
        pack.bytes = pack.bytes.max(bytes);
        self.segments.insert((camera, segment.range.start(), segment.pack), segment);
        Ok(())
    }

    fn condemn(&mut self, pack: PackId, at: WallTime, reason: Reason) -> Result<(), Refused> {
        let (row, why) = self.packs.get_mut(&pack).ok_or(Refused)?;
        if row.state != PackState::Condemned {
            row.state = PackState::Condemned;
            row.condemned_at = Some(at);
            *why = Some(reason);
        }
        self.segments.retain(|_, segment| segment.pack != pack);
        Ok(())
    }

    fn forget(&mut self, pack: PackId) -> Result<(), Refused> {
        let (row, _) = self.packs.remove(&pack).ok_or(Refused)?;
        self.segments.retain(|_, segment| segment.pack != pack);
        let (camera, run) = self.runs[&row.run].clone();
        let left = self.packs.values().any(|(other, _)| other.run == row.run);
        let later = self.runs.values().any(|(of, other)| *of == camera && other.start > run.start);
        if !left && (run.end.is_some() || later) {
            self.runs.remove(&row.run);
        }
        Ok(())
    }

    fn destroyed(&mut self, pack: PackId, at: WallTime) -> Result<(), Refused> {
        let (row, reason) = self.packs.get(&pack).cloned().ok_or(Refused)?;
        let reason = reason.ok_or(Refused)?;
        let key = (row.camera.clone(), row.start.0.div_euclid(86_400 * 90_000), reason as u8);
        match self.deletions.get_mut(&key) {
            Some(day) => {
                let start = day.range.start().min(row.start);
                day.range = TimeRange::new(start, day.range.end().max(row.end)).expect("wider than before");
                day.packs += 1;
                day.bytes += row.bytes;
                (day.first_at, day.last_at) = (day.first_at.min(at), day.last_at.max(at));
            }
            None => {
                // A pack without footage covers its first tick.
                let end = row.end.max(WallTime(row.start.0 + 1));
                let range = TimeRange::new(row.start, end).expect("at least a tick");
                let day = DeletionRow {
                    range,
                    reason,
                    outcome: Outcome::Destroyed,
                    packs: 1,
                    bytes: row.bytes,
                    first_at: at,
                    last_at: at,
                };
                self.deletions.insert(key, day);
                let fact = Fact::PackDeleted { from: row.start, reason };
                self.event(Event::of_camera(at, &row.camera, fact))?;
            }
        }
        self.forget(pack)
    }

    fn event(&mut self, event: Event) -> Result<(), Refused> {
        if event.scope.tenant().is_some_and(|tenant| !self.tenants.contains(tenant)) {
            return Err(Refused);
        }
        if let Some(key) = event.scope.camera() {
            self.camera(key)?;
        }
        let id = self.events.last().map_or(1, |last| last.id + 1);
        self.events.push(EventRow { id, event });
        Ok(())
    }

    fn forget_events(&mut self, before: WallTime) {
        self.events.retain(|row| row.event.at >= before);
        self.deletions.retain(|_, day| day.last_at >= before);
        let traces: BTreeSet<CameraKey> = (self.packs.values().map(|(pack, _)| pack.camera.clone()))
            .chain(self.runs.values().map(|(camera, _)| camera.clone()))
            .chain(self.gaps.keys().map(|(camera, ..)| camera.clone()))
            .chain(self.open_gaps.keys().cloned())
            .chain(self.deletions.keys().map(|(camera, ..)| camera.clone()))
            .chain(self.events.iter().filter_map(|row| row.event.scope.camera().cloned()))
            .collect();
        self.cameras.retain(|key, row| row.configured || traces.contains(key));
    }
}
