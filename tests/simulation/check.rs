//! What must always hold, looked at from outside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use footage::clock::SimClock;
use footage::pack::{PackTable, reader};
use footage::units::{CameraKey, PackId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};
use futures::TryStreamExt;
use vigie::archive::PackRef;
use vigie::fsck::{Finding, Fsck};
use vigie::index::{Index, IndexError, PackRow, PackState, SegmentRow};
use vigie::retention::due_until;

use crate::gateway::{Opened, Site};
use crate::model::{Model, OwedFragment, OwedPack, UnitId};
use crate::plan::CameraPlan;

/// A fragment of a second, half a second to the next picture, which ends it, and a flush that is under way.
const DELAY_MAX: Duration = Duration::from_millis(2_000);

/// What the index shows.
pub(crate) struct View {
    pub(crate) opened: Opened,
    packs: BTreeMap<PackId, PackRow>,
    segments: BTreeMap<PackId, Vec<SegmentRow>>,
}

pub(crate) fn everything() -> TimeRange {
    TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).expect("a range")
}

/// From when on the pack of this id is, to the millisecond.
pub(crate) fn starts(pack: PackId) -> WallTime {
    let mut millis = [0u8; 8];
    millis[2..].copy_from_slice(&pack.0[..6]);
    WallTime(i64::from_be_bytes(millis) * TICKS_PER_SECOND / 1_000)
}

fn plan_of<'a>(site: &'a Site, camera: &CameraKey) -> &'a CameraPlan {
    site.plan.cameras.iter().find(|c| c.key == *camera).expect("a camera of the plan")
}

impl View {
    /// `None` when there is no index yet.
    pub(crate) async fn of(site: &Site) -> Result<Option<Self>, String> {
        let index = match Index::open_read_only(&site.index_path()).await {
            // The gateway died before it had made it.
            Err(IndexError::Missing(_) | IndexError::Older { .. }) => return Ok(None),
            opened => opened.map_err(|e| e.to_string())?,
        };
        let clock = Arc::new(SimClock::starting_at(WallTime(0)));
        let opened = site.open(index.clone(), clock);
        let rows = index.packs_after(None, 100_000).await.map_err(|e| e.to_string())?;
        let mut segments: BTreeMap<PackId, Vec<SegmentRow>> = BTreeMap::new();
        for camera in &site.plan.cameras {
            for row in index.segments(&camera.key, everything()).await.map_err(|e| e.to_string())? {
                segments.entry(row.pack).or_default().push(row);
            }
        }
        Ok(Some(Self { opened, packs: rows.into_iter().map(|row| (row.id, row)).collect(), segments }))
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &PackRow> {
        self.packs.values()
    }

    async fn table(&self, row: &PackRow) -> Result<Arc<PackTable>, String> {
        let pack = PackRef { id: row.id, camera: row.camera.clone(), state: row.state };
        let table = self.opened.packs.table(&pack).await;
        table.map_err(|e| format!("pack {} ({:?}) is shown and cannot be read: {e}", row.id, row.state))
    }

    /// What the index tells of is owed from now on.
    pub(crate) async fn owe(&self, model: &mut Model) -> Result<(), String> {
        for (pack, segments) in &self.segments {
            let reported = segments.iter().map(|s| s.first_fragment + s.fragments).max().unwrap_or(0) as usize;
            if model.owed.get(pack).is_some_and(|owed| owed.fragments.len() >= reported) {
                continue;
            }
            let row = self.packs.get(pack).ok_or_else(|| format!("segments of pack {pack}, which has no row"))?;
            let table = self.table(row).await?;
            if table.fragments.len() < reported {
                let has = table.fragments.len();
                return Err(format!("pack {pack} has {has} fragments, the index tells of {reported}"));
            }
            let owed = |f: &footage::pack::FragmentEntry| OwedFragment {
                id: f.id,
                start: f.stamp.wall_start,
                end: f.wall_end(),
            };
            let fragments = table.fragments[..reported].iter().map(|f| owed(f)).collect();
            model.owed.insert(*pack, OwedPack { camera: row.camera.clone(), fragments });
        }
        Ok(())
    }

    /// What was received longer ago than a fragment, a flush and some time lasts is acknowledged.
    pub(crate) fn check_delay(&self, site: &Site, life: u64) -> Result<(), String> {
        for (n, camera) in site.plan.cameras.iter().enumerate() {
            let Some(received) = site.sent.last(n, life) else { continue };
            let rows = self.segments.values().flatten().filter(|s| self.packs[&s.pack].camera == camera.key);
            let end = rows.map(|s| s.range.end()).max().unwrap_or(WallTime(i64::MIN));
            let lag = received.since(end);
            if lag > Ticks90k::from_duration(site.plan.durability + DELAY_MAX) {
                return Err(format!("{}: {:.3} s received are not acknowledged", camera.key, lag.as_seconds_f64()));
            }
        }
        Ok(())
    }

    /// Everything that is shown can be read, and is what its camera sent.
    pub(crate) async fn check_footage(&self, site: &Site) -> Result<Shown, String> {
        let mut shown = Shown::default();
        let mut seen: BTreeMap<usize, UnitId> = BTreeMap::new();
        for camera in &site.plan.cameras {
            let segments = self.opened.index.segments(&camera.key, everything()).await.map_err(|e| e.to_string())?;
            for segment in segments {
                let row = &self.packs[&segment.pack];
                let table = self.table(row).await?;
                shown.references += u64::from(table.is_reference());
                check_units(site, self, row, &table, &segment, &mut seen).await?;
            }
        }
        Ok(shown)
    }

    /// Each fragment that is shown has the bytes of its id, wherever they lie.
    pub(crate) async fn check_ids(&self) -> Result<(), String> {
        for (pack, segments) in &self.segments {
            let row = self.packs.get(pack).ok_or_else(|| format!("segments of pack {pack}, which has no row"))?;
            let table = self.table(row).await?;
            for segment in segments {
                check_segment_ids(&self.opened, row, &table, segment).await?;
            }
        }
        Ok(())
    }

    /// What is owed is shown; what is not shown any more had to go, or might.
    pub(crate) fn check_rows(&self, site: &Site, model: &mut Model, now: WallTime) -> Result<(), String> {
        for (pack, row) in self.packs.iter().filter(|(pack, _)| self.segments.contains_key(pack)) {
            if row.start.saturating_add(plan_of(site, &row.camera).retention_max) < now {
                return Err(format!("pack {pack} of {} is shown past its maximum", row.camera));
            }
        }
        let mut gone = Vec::new();
        for (pack, owed) in &model.owed {
            let segments = self.segments.get(pack).map(Vec::as_slice).unwrap_or_default();
            let shown = segments.iter().map(|s| s.fragments as usize).sum::<usize>();
            if shown >= owed.fragments.len() {
                continue;
            }
            if shown > 0 {
                let want = owed.fragments.len();
                return Err(format!("pack {pack} shows {shown} fragments, {want} were acknowledged"));
            }
            may_be_gone(site, *pack, owed, now)?;
            gone.push(*pack);
        }
        gone.iter().for_each(|pack| drop(model.owed.remove(pack)));
        Ok(())
    }
}

/// Each fragment of the segment is read, and has the bytes of its id.
pub(crate) async fn check_segment_ids(
    opened: &Opened,
    row: &PackRow,
    table: &PackTable,
    segment: &SegmentRow,
) -> Result<(), String> {
    let wrong = |what: String| format!("pack {} of {} ({:?}) is shown: {what}", row.id, row.camera, row.state);
    let range = segment.first_fragment as usize..(segment.first_fragment + segment.fragments) as usize;
    let fragments = table.fragments.get(range).ok_or_else(|| wrong("it has fewer fragments than its rows".into()))?;
    let ranges = fragments.iter().map(|f| f.data_offset()..f.end()).collect();
    let pack = PackRef { id: row.id, camera: row.camera.clone(), state: row.state };
    let bytes: Vec<bytes::Bytes> =
        opened.packs.stream(&pack, ranges).try_collect().await.map_err(|e| wrong(e.to_string()))?;
    let (bytes, key) = (bytes.concat(), opened.keys.domain(&row.camera.tenant));
    let mut rest = bytes.as_slice();
    for entry in fragments {
        let (data, after) =
            rest.split_at_checked(entry.data_bytes as usize).ok_or_else(|| wrong("it is short".into()))?;
        rest = after;
        reader::verify(entry, data, &key).map_err(|e| wrong(e.to_string()))?;
    }
    Ok(())
}

/// Between two steps: everything that the index shows can be read.
pub(crate) fn check_between(site: &Site) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        match View::of(site).await? {
            Some(view) => view.check_ids().await,
            None => Ok(()),
        }
    })
}

fn may_be_gone(site: &Site, pack: PackId, owed: &OwedPack, now: WallTime) -> Result<(), String> {
    let camera = plan_of(site, &owed.camera);
    let policy = &site.plan.policy;
    let due = due_until(now.saturating_add(policy.margin()), camera.retention_max, &policy.time_zone);
    let beyond_minimum = owed.end().saturating_add(camera.retention_min) <= now;
    if owed.start() <= due || (site.plan.disk_was_full() && beyond_minimum) {
        return Ok(());
    }
    let (age, min) = (now.since(owed.end()).as_seconds_f64(), camera.retention_min.as_seconds_f64());
    Err(format!(
        "pack {pack} of {} ({} fragments, {} to {}) was acknowledged and is not shown; it is {age:.1} s old, its minimum {min:.1} s",
        owed.camera,
        owed.fragments.len(),
        owed.start(),
        owed.end()
    ))
}

/// Whose pack a file or an object is, and which.
fn pack_named(name: &str) -> Option<(CameraKey, PackId)> {
    let mut parts = name.split('/');
    let (tenant, camera, file) = (parts.next()?, parts.next()?, parts.next_back()?);
    let pack = file.split('.').next()?.parse().ok()?;
    Some((format!("{tenant}/{camera}").parse().ok()?, pack))
}

/// Of each camera's files and objects, no byte of footage is older than its own maximum, whatever they are called.
pub(crate) fn check_bytes(site: &Site, now: WallTime) -> Result<(), String> {
    let mut files = Vec::new();
    crate::files(&site.spool_dir(), &mut files);
    let spool = site.spool_dir();
    let read = |file: &std::path::PathBuf| {
        let name = file.strip_prefix(&spool).ok()?.to_str()?.to_owned();
        Some((name, std::fs::read(file).ok()?.into()))
    };
    let mut all: Vec<(String, bytes::Bytes)> = files.iter().filter_map(read).collect();
    all.extend(site.objects.bodies().into_iter().map(|(path, body)| (path.to_string(), body)));
    for (name, body) in all {
        let Some((key, pack)) = pack_named(&name) else { continue };
        if site.asked.kept_until(&site.plan, &key, pack) >= now {
            continue;
        }
        let camera = site.plan.cameras.iter().position(|c| c.key == key).expect("a camera of the plan");
        let max = site.plan.cameras[camera].retention_max;
        if let Some(oldest) = site.sent.oldest_in(camera, &body).filter(|at| at.saturating_add(max) < now) {
            return Err(format!("{name} has footage of {oldest}, which is past its maximum"));
        }
    }
    Ok(())
}

/// No byte is kept past the maximum, anywhere.
pub(crate) fn check_age(site: &Site, now: WallTime) -> Result<(), String> {
    let mut names: Vec<String> = site.objects.contents().into_iter().map(|(path, _)| path.to_string()).collect();
    let mut files = Vec::new();
    crate::files(&site.spool_dir(), &mut files);
    let spool = site.spool_dir();
    names.extend(files.iter().filter_map(|f| Some(f.strip_prefix(&spool).ok()?.to_str()?.to_owned())));
    for name in names {
        let Some((key, pack)) = pack_named(&name) else { continue };
        let kept_until = site.asked.kept_until(&site.plan, &key, pack);
        let gone_by = starts(pack).saturating_add(plan_of(site, &key).retention_max).max(kept_until);
        if gone_by < now {
            let late = now.since(gone_by).as_seconds_f64();
            return Err(format!("{name} is there {late:.1} s after its maximum"));
        }
    }
    Ok(())
}

/// At the end, with nothing failing any more, everything is right.
pub(crate) async fn check_all(site: &Site, model: &Model, now: WallTime) -> Result<Shown, String> {
    let view = View::of(site).await?.ok_or("there is no index")?;
    check_fsck(site, &view).await?;
    check_strays(site, &view, now)?;
    for camera in &site.plan.cameras {
        check_holes(&view, &camera.key).await?;
    }
    let mut shown = view.check_footage(site).await?;
    check_bytes(site, now)?;
    shown.held += site.asked.check(site, &view, now).await?;
    for (pack, owed) in &model.owed {
        let Some(row) = view.packs.get(pack) else { continue };
        let table = view.table(row).await?;
        for (have, want) in table.fragments.iter().zip(&owed.fragments) {
            if (have.id, have.stamp.wall_start) != (want.id, want.start) {
                return Err(format!(
                    "pack {pack} of {} has other footage at {} than was acknowledged",
                    owed.camera, want.start
                ));
            }
        }
    }
    Ok(shown)
}

/// What was looked at, so that it shows when a history has nothing of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shown {
    /// Segments of packs that refer to others.
    pub(crate) references: u64,
    /// Stretches said to be protected.
    pub(crate) held: u64,
}

async fn check_fsck(site: &Site, view: &View) -> Result<(), String> {
    let Opened { index, spool, store, packs, .. } = view.opened.clone();
    let read_data = site.plan.local;
    let fsck = Fsck { index, spool, store, packs, settle: Duration::ZERO, read_data };
    let mut complaints = Vec::new();
    let mut found = |finding: Finding| match finding {
        Finding::Complaint(complaint) => complaints.push(complaint.to_string()),
        Finding::Foreign(name) => complaints.push(format!("a foreign object {name}")),
    };
    fsck.check(&mut found).await.map_err(|e| e.to_string())?;
    if complaints.is_empty() { Ok(()) } else { Err(format!("fsck: {}", complaints.join("; "))) }
}

/// No bytes without a row, no condemned row long after its grace time.
fn check_strays(site: &Site, view: &View, now: WallTime) -> Result<(), String> {
    let mut files = Vec::new();
    crate::files(&site.spool_dir(), &mut files);
    for file in files {
        let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        let pack = name.split('.').next().and_then(|id| id.parse::<PackId>().ok());
        if !pack.is_some_and(|pack| view.packs.contains_key(&pack)) {
            return Err(format!("{name} is in the spool and no row knows it"));
        }
    }
    let policy = &site.plan.policy;
    let waits = policy.grace + policy.interval * 2 + Duration::from_secs(2);
    for row in view.packs.values().filter(|row| row.state == PackState::Condemned) {
        let at = row.condemned_at.unwrap_or(WallTime(0));
        if at.saturating_add(Ticks90k::from_duration(waits)) < now {
            return Err(format!("pack {} was condemned at {at} and is there still", row.id));
        }
    }
    Ok(())
}

/// Each instant between two pieces of footage is in a gap. What a hold has not copied yet stays while what lies between goes:
/// then the register, or that it is condemned, says why.
async fn check_holes(view: &View, key: &CameraKey) -> Result<(), String> {
    let index = &view.opened.index;
    let spans = index.spans(key, everything()).await.map_err(|e| e.to_string())?;
    let gaps = index.gaps(key, everything()).await.map_err(|e| e.to_string())?;
    let mut explained: Vec<_> = gaps.iter().filter_map(|gap| Some((gap.start, gap.end?))).collect();
    if !index.holds(&key.tenant, None, None, 1).await.map_err(|e| e.to_string())?.is_empty() {
        let condemned = view.packs.values().filter(|row| row.camera == *key && row.state == PackState::Condemned);
        explained.extend(condemned.map(|row| (row.start, row.end)));
        let register = index.deletions(key, everything()).await.map_err(|e| e.to_string())?;
        explained.extend(register.iter().map(|entry| (entry.range.start(), entry.range.end())));
    }
    for pair in spans.windows(2) {
        let mut at = pair[0].end();
        while at < pair[1].start() {
            let covering = explained.iter().filter(|(start, _)| *start <= at).map(|(_, end)| *end).max();
            match covering.filter(|end| *end > at) {
                Some(end) => at = end,
                None => return Err(format!("{key}: no gap says why nothing is at {at}, before {}", pair[1].start())),
            }
        }
    }
    Ok(())
}

/// A segment's samples are what its camera sent, each once, in order, without a hole.
async fn check_units(
    site: &Site,
    view: &View,
    row: &PackRow,
    table: &PackTable,
    segment: &SegmentRow,
    seen: &mut BTreeMap<usize, UnitId>,
) -> Result<(), String> {
    let wrong = |what: String| format!("pack {} of {}: {what}", row.id, row.camera);
    let camera = site.plan.cameras.iter().position(|c| c.key == row.camera).expect("a camera of the plan");
    let range = segment.first_fragment as usize..(segment.first_fragment + segment.fragments) as usize;
    let fragments = table.fragments.get(range).ok_or_else(|| wrong("it has fewer fragments than its rows".into()))?;
    let ranges = fragments.iter().map(|f| f.data_offset()..f.end()).collect();
    let pack = PackRef { id: row.id, camera: row.camera.clone(), state: row.state };
    let bytes: Vec<bytes::Bytes> =
        view.opened.packs.stream(&pack, ranges).try_collect().await.map_err(|e| wrong(e.to_string()))?;
    let bytes = bytes.concat();
    let mut rest = bytes.as_slice();
    let mut before: Option<UnitId> = None;
    for sample in fragments.iter().flat_map(|f| &f.video) {
        let (data, after) = rest.split_at_checked(sample.size as usize).ok_or_else(|| wrong("it is short".into()))?;
        rest = after;
        let unit = site.sent.unit(camera, data).ok_or_else(|| wrong("a sample that its camera never sent".into()))?;
        if before.is_some_and(|before| (before.life, before.nth + 1) != (unit.life, unit.nth)) {
            return Err(wrong(format!("{unit:?} follows {before:?} without a gap")));
        }
        if seen.get(&unit.camera).is_some_and(|last| *last >= unit) {
            return Err(wrong(format!("{unit:?} comes after {:?}", seen[&unit.camera])));
        }
        seen.insert(unit.camera, unit);
        before = Some(unit);
    }
    Ok(())
}
