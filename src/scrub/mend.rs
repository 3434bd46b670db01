//! One damaged pack: what it can be mended from, and what is lost of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::{ScrubError, ScrubVerdict, Scrubber};
use crate::archive::rewrite::Mending;
use crate::archive::{PackRef, ReadError};
use crate::event::{Fact, MendSource};
use crate::index::damage::Lost;
use crate::index::of_pack::{Rows, lost_with, place_changes, rows_without};
use crate::index::{Change, PackRow, PackState};
use footage::media::{Gap, GapCause};
use footage::pack::reader::{self, Checked, Damage, PackPart};
use footage::pack::{FragmentEntry, PackTable};
use footage::units::{FragmentId, TimeRange};

/// Ids named in an event; of more, how many.
const NAMED_MAX: usize = 8;
/// For so long at most the sealing of a pack is waited for; then its own turn in the scrub sees what it refers to.
const SEALING_WAIT: Duration = Duration::from_millis(500);
const SEALING_WAITS_MAX: u32 = 60;

impl Scrubber {
    /// Its own bytes are right: what is lost of it lies in other packs, or nothing is.
    pub(super) async fn sound(&self, row: &PackRow, pack: &PackRef) -> Result<ScrubVerdict, ScrubError> {
        let known = self.index.lost(row.id).await?;
        let refers = !self.index.hosts(row.id).await?.is_empty();
        if known.is_empty() && !refers {
            return Ok(ScrubVerdict::Sound);
        }
        self.packs.forget_table(row.id).await;
        let mut table = self.packs.table(pack).await?;
        let (mut mended, mut adrift) = (None, self.adrift(&table).await?);
        let is_news = |n: &u32| !known.iter().any(|lost| lost.contains(n));
        if !adrift.is_empty() {
            let _busy = self.spool.lock_pack(row.id).await;
            if self.index.any_pack(row.id).await?.as_ref() != Some(row) {
                return Ok(ScrubVerdict::NotLookedAt);
            }
            (mended, adrift) = self.bring_in(row, pack, &table, adrift).await?;
            table = self.packs.table(pack).await?;
        }
        let row = &self.index.any_pack(row.id).await?.unwrap_or_else(|| row.clone());
        let lost_now = adrift.iter().any(is_news);
        if self.note(row, &table, adrift.clone(), &known).await? {
            if !lost_now && mended.is_none() && !known.is_empty() {
                let places = known.iter().map(|lost| u64::from(lost.end - lost.start)).sum();
                let what = format!("pack {} of {}: what was lost of it is back", row.id, at(row));
                self.report(row, mended_by(row, MendSource::Reappeared, places), &what).await?;
            }
            self.note_referrers(row).await?;
        }
        if adrift.is_empty() {
            return Ok(mended.unwrap_or(ScrubVerdict::Sound));
        }
        let ids = list(adrift.iter().filter_map(|n| table.fragments.get(*n as usize)).map(|entry| entry.id));
        let what = format!("pack {} of {}: no pack has the bytes that it refers to, of {ids}", row.id, at(row));
        let fragments = Some(adrift.len() as u64);
        let fact = Fact::FootageLost { pack: row.id, start: row.start, end: row.end, fragments };
        self.lose(row, fact, what, lost_now).await
    }

    /// Holds the pack: nobody else writes it meanwhile.
    pub(super) async fn mend(
        &self,
        row: &PackRow,
        pack: &PackRef,
        checked: Checked,
    ) -> Result<ScrubVerdict, ScrubError> {
        if let Some(mended) = self.mend_from_spool(row, pack).await? {
            return Ok(mended);
        }
        let indexed = self.fragments_indexed(row).await?;
        let is_it = |table: &PackTable| {
            (table.header.pack, &table.header.camera) == (row.id, &row.camera) && !table.fragments.is_empty()
        };
        let Checked { table, damages, file_bytes, encrypted } = checked;
        let Some(table) = table.filter(is_it) else {
            let what = damages.first().map_or_else(String::new, |damage| damage.error.to_string());
            return self.lose_all(row, &what).await;
        };
        if table.fragments.len() < indexed {
            self.packs.read_by(row.id, table.clone(), file_bytes, encrypted).await;
            return self.cut_short(row, pack, table).await;
        }
        let of_table = damages.iter().any(|damage| damage.part == PackPart::Table);
        if of_table {
            self.packs.read_by(row.id, table.clone(), file_bytes, encrypted).await;
        }
        let Samples { mending, unreadable } = self.samples_for(row, pack, &table, &damages).await?;
        let lost: BTreeSet<u32> = mending.as_they_are.iter().chain(&unreadable).copied().collect();
        // Copying what cannot be read would fail; and where only samples that nobody has are wrong, it would change nothing.
        let worthwhile = unreadable.is_empty() && damages.len() > lost.len();
        if worthwhile {
            let draft = self.spool.draft_path(&row.camera, row.id)?;
            let key = self.keys.domain(&row.camera.tenant);
            self.packs.write_mended(pack, &table, &mending, &key, &draft).await?;
            self.put(row, &draft).await?;
        } else if of_table {
            self.packs.forget_table(row.id).await;
            return self.lose_all(row, "its fragment table is damaged, and its bytes cannot be read").await;
        }
        let known = self.index.lost(row.id).await?;
        if self.note(row, &table, lost.clone(), &known).await? {
            self.note_referrers(row).await?;
        }
        let (ids, damaged) = (named(&table, &damages), damages.len());
        if lost.is_empty() {
            let (how, source) = if mending.donors.is_empty() {
                ("from what is left of it", MendSource::Itself)
            } else {
                ("from another pack that has the same", MendSource::OtherPack)
            };
            let what =
                format!("pack {} of {}: {damaged} places were damaged ({ids}) and are mended {how}", row.id, at(row));
            self.report(row, mended_by(row, source, damaged as u64), &what).await?;
            return Ok(ScrubVerdict::Mended(what));
        }
        let ids = list(lost.iter().filter_map(|n| table.fragments.get(*n as usize)).map(|entry| entry.id));
        let what = format!("pack {} of {}: footage is damaged beyond repair, in {ids}", row.id, at(row));
        let fragments = Some(lost.len() as u64);
        self.lose(
            row,
            Fact::FootageLost { pack: row.id, start: row.start, end: row.end, fragments },
            what,
            known.is_empty(),
        )
        .await
    }

    /// There is no file and no object.
    pub(super) async fn mend_missing(&self, row: &PackRow, pack: &PackRef) -> Result<ScrubVerdict, ScrubError> {
        match self.mend_from_spool(row, pack).await? {
            Some(mended) => Ok(mended),
            None => self.lose_all(row, "it is not there").await,
        }
    }

    /// By the copy that stayed in the spool when the store had got the pack.
    async fn mend_from_spool(&self, row: &PackRow, pack: &PackRef) -> Result<Option<ScrubVerdict>, ScrubError> {
        if row.state != PackState::Stored {
            return Ok(None);
        }
        let Some((path, copy)) = self.packs.check_cached(pack).await else { return Ok(None) };
        let Some(table) = copy.table.filter(|table| copy.damages.is_empty() && table.header.pack == row.id) else {
            return Ok(None);
        };
        self.put(row, &path).await?;
        let known = self.index.lost(row.id).await?;
        if self.note(row, &table, BTreeSet::new(), &known).await? {
            self.note_referrers(row).await?;
        }
        let what =
            format!("pack {} of {}: it was damaged or gone, and is mended from the copy in the spool", row.id, at(row));
        self.report(row, mended_by(row, MendSource::Spool, 1), &what).await?;
        Ok(Some(ScrubVerdict::Mended(what)))
    }

    /// What comes before the first damage is all that can be read: it is a pack by itself, and the rest is lost.
    async fn cut_short(&self, row: &PackRow, pack: &PackRef, table: PackTable) -> Result<ScrubVerdict, ScrubError> {
        let draft = self.spool.draft_path(&row.camera, row.id)?;
        let key = self.keys.domain(&row.camera.tenant);
        let bytes = self.packs.write_mended(pack, &table, &Mending::default(), &key, &draft).await?;
        self.put(row, &draft).await?;
        let Some(Rows { pack: left, segments, .. }) = rows_without(&table, bytes, &[]) else {
            return self.lose_all(row, "nothing that can be read covers any time").await;
        };
        let end = left.end;
        let gap = Gap { start: end, end: row.end, cause: GapCause::Corrupt, lost_packets: 0 };
        let mut changes = place_changes(&table, bytes);
        changes.push(Change::Damage { pack: row.id, end, lost: Vec::new(), segments, gaps: vec![gap] });
        self.index.write(changes).await?;
        self.note_referrers(row).await?;
        let what = format!("pack {} of {}: it was cut short; the footage from {end} on is lost", row.id, at(row));
        let fact = Fact::FootageLost { pack: row.id, start: end, end: row.end, fragments: None };
        self.lose(row, fact, what, true).await
    }

    pub(super) async fn put(&self, row: &PackRow, file: &Path) -> Result<(), ScrubError> {
        self.spool.replace(&row.camera, row.id, file).await?;
        self.packs.forget_table(row.id).await;
        Ok(())
    }

    /// For each damaged fragment: its own samples are right after all, or another pack's are, or nobody's.
    async fn samples_for(
        &self,
        row: &PackRow,
        pack: &PackRef,
        table: &PackTable,
        damages: &[Damage],
    ) -> Result<Samples, ScrubError> {
        let mut samples = Samples::default();
        let mut wanted: BTreeMap<FragmentId, Vec<u32>> = BTreeMap::new();
        for number in damages.iter().filter_map(fragment) {
            let Some(entry) = table.fragments.get(number as usize) else { continue };
            match self.has(pack, entry, entry).await {
                Ok(true) => continue,
                Ok(false) => samples.mending.as_they_are.insert(number),
                Err(_) => samples.unreadable.insert(number),
            };
            wanted.entry(entry.id).or_default().push(number);
        }
        if wanted.is_empty() {
            return Ok(samples);
        }
        self.find_donors(row, table, &mut wanted, &mut samples.mending).await?;
        samples.mending.as_they_are.retain(|number| !samples.mending.donors.contains_key(number));
        samples.unreadable.retain(|number| !samples.mending.donors.contains_key(number));
        Ok(samples)
    }

    /// Looks for packs that hold these fragments themselves, sound.
    pub(super) async fn find_donors(
        &self,
        row: &PackRow,
        table: &PackTable,
        wanted: &mut BTreeMap<FragmentId, Vec<u32>>,
        mending: &mut Mending,
    ) -> Result<(), ScrubError> {
        if wanted.is_empty() {
            return Ok(());
        }
        for donor in self.donors(row, table).await? {
            let Ok(other) = self.packs.table(&donor).await else { continue };
            for entry in other.fragments.iter().filter(|entry| entry.place.is_none()) {
                let Some(numbers) = wanted.get(&entry.id) else { continue };
                if !matches!(self.has(&donor, entry, entry).await, Ok(true)) {
                    continue;
                }
                for number in numbers {
                    mending.donors.insert(*number, (donor.clone(), entry.data_offset()..entry.end()));
                }
                wanted.remove(&entry.id);
            }
        }
        Ok(())
    }

    /// Whether the samples that the pack has at `at` are those of `wanted`.
    pub(super) async fn has(
        &self,
        pack: &PackRef,
        at: &FragmentEntry,
        wanted: &FragmentEntry,
    ) -> Result<bool, ReadError> {
        let bytes = self.packs.bytes(pack, at.data_offset()..at.end()).await?;
        Ok(reader::verify(wanted, &bytes, &self.keys.domain(&pack.camera.tenant)).is_ok())
    }

    /// Packs that may have the same fragments: of the camera at the same time (copies for holds), and those found by ids.
    async fn donors(&self, row: &PackRow, table: &PackTable) -> Result<Vec<PackRef>, ScrubError> {
        let mut rows = match TimeRange::new(row.start, row.end) {
            Some(range) => self.index.packs_around(&row.camera, range).await?,
            None => Vec::new(),
        };
        rows.extend(self.index.packs_hooked(table.hooks()).await?);
        rows.sort_by_key(|found| found.id);
        rows.dedup_by_key(|found| found.id);
        rows.retain(|found| found.id != row.id);
        Ok(rows.into_iter().map(|found| PackRef { id: found.id, camera: found.camera, state: found.state }).collect())
    }

    /// Tells the index what of the pack is lost. False when it knows.
    async fn note(
        &self,
        row: &PackRow,
        table: &PackTable,
        mut damaged: BTreeSet<u32>,
        known: &Lost,
    ) -> Result<bool, ScrubError> {
        for (number, entry) in (0..).zip(&table.fragments) {
            let Some(place) = &entry.place else { continue };
            if self.index.lost(place.host.pack).await?.iter().any(|lost| lost.contains(&place.fragment)) {
                damaged.insert(number);
            }
        }
        let lost = lost_with(table, damaged);
        if lost == *known {
            return Ok(false);
        }
        let Some(Rows { pack, segments, gaps, .. }) = rows_without(table, row.bytes, &lost) else { return Ok(false) };
        let gaps = gaps.into_iter().filter(|gap| gap.cause == GapCause::Corrupt).collect();
        self.index.write(vec![Change::Damage { pack: row.id, end: pack.end, lost, segments, gaps }]).await?;
        Ok(true)
    }

    /// What is lost of a host, or is back, is so for the packs that refer to it.
    async fn note_referrers(&self, host: &PackRow) -> Result<(), ScrubError> {
        let mut referrers = self.index.referrers(host.id).await?;
        // One that is being sealed refers to it already, and shows nothing that could be taken back yet.
        for _ in 0..SEALING_WAITS_MAX {
            if referrers.iter().all(|row| row.state != PackState::Open) {
                break;
            }
            tokio::time::sleep(SEALING_WAIT).await;
            referrers = self.index.referrers(host.id).await?;
        }
        for row in referrers.into_iter().filter(|row| row.state != PackState::Condemned) {
            let pack = PackRef { id: row.id, camera: row.camera.clone(), state: row.state };
            let table = match self.packs.table(&pack).await {
                Ok(table) => table,
                // It is looked at in its turn.
                Err(_) => continue,
            };
            let known = self.index.lost(row.id).await?;
            let is_own = |n: &u32| table.fragments.get(*n as usize).is_some_and(|entry| entry.place.is_none());
            let own = known.iter().cloned().flatten().filter(is_own).collect();
            if self.note(&row, &table, own, &known).await? {
                let what = format!(
                    "pack {} of {}: footage that it shares with another pack changed with that",
                    row.id,
                    at(&row)
                );
                let fact = Fact::FootageSharedDamage { pack: row.id, start: row.start, end: row.end };
                self.report(&row, fact, &what).await?;
            }
        }
        Ok(())
    }

    async fn fragments_indexed(&self, row: &PackRow) -> Result<usize, ScrubError> {
        let segments = self.index.segments_of_pack(row.id).await?;
        let seen = segments.iter().map(|segment| segment.first_fragment + segment.fragments);
        let lost = self.index.lost(row.id).await?;
        Ok(seen.chain(lost.iter().map(|lost| lost.end)).max().unwrap_or(0) as usize)
    }

    async fn lose_all(&self, row: &PackRow, what: &str) -> Result<ScrubVerdict, ScrubError> {
        let what = format!("pack {} of {}: all of it is lost: {what}", row.id, at(row));
        let segments = self.index.segments_of_pack(row.id).await?;
        if segments.is_empty() {
            return Ok(ScrubVerdict::Lost(what));
        }
        let fragments = self.fragments_indexed(row).await? as u32;
        let gap = |range: TimeRange| Gap {
            start: range.start(),
            end: range.end(),
            cause: GapCause::Corrupt,
            lost_packets: 0,
        };
        let mut gaps: Vec<Gap> = segments.iter().map(|segment| gap(segment.range)).collect();
        gaps.extend(self.known_gaps(row).await?);
        let (lost, segments) = (std::iter::once(0..fragments).collect(), Vec::new());
        self.index.write(vec![Change::Damage { pack: row.id, end: row.end, lost, segments, gaps }]).await?;
        self.note_referrers(row).await?;
        let fact = Fact::FootageLost { pack: row.id, start: row.start, end: row.end, fragments: None };
        self.lose(row, fact, what, true).await
    }

    /// Those that stand for what was lost of it before.
    async fn known_gaps(&self, row: &PackRow) -> Result<Vec<Gap>, ScrubError> {
        let Some(range) = TimeRange::new(row.start, row.end) else { return Ok(Vec::new()) };
        let gaps = self.index.gaps(&row.camera, range).await?;
        let corrupt = gaps.into_iter().filter(|gap| gap.cause == GapCause::Corrupt && gap.start >= row.start);
        let whole = |gap: crate::index::GapRow| {
            Some(Gap { start: gap.start, end: gap.end?, cause: gap.cause, lost_packets: 0 })
        };
        Ok(corrupt.filter_map(whole).collect())
    }

    /// Says so, the first time.
    async fn lose(&self, row: &PackRow, fact: Fact, what: String, first: bool) -> Result<ScrubVerdict, ScrubError> {
        if first {
            self.report(row, fact, &what).await?;
        }
        Ok(ScrubVerdict::Lost(what))
    }
}

/// Where samples of damaged fragments are to be had.
#[derive(Default)]
struct Samples {
    mending: Mending,
    /// Not even as they are.
    unreadable: BTreeSet<u32>,
}

fn fragment(damage: &Damage) -> Option<u32> {
    match damage.part {
        PackPart::Fragment(number) => Some(number),
        PackPart::FirstBoxes | PackPart::Table => None,
    }
}

pub(super) fn mended_by(row: &PackRow, source: MendSource, places: u64) -> Fact {
    Fact::FootageMended { pack: row.id, start: row.start, end: row.end, source, places }
}

fn at(row: &PackRow) -> String {
    format!("{} to {}", row.start, row.end)
}

/// Every damaged place, for people.
fn named(table: &PackTable, damages: &[Damage]) -> String {
    let parts: Vec<String> = damages
        .iter()
        .take(NAMED_MAX)
        .map(|damage| match damage.part {
            PackPart::FirstBoxes => "its first boxes".to_owned(),
            PackPart::Table => "its fragment table".to_owned(),
            PackPart::Fragment(n) => {
                table.fragments.get(n as usize).map_or_else(String::new, |f| format!("fragment {}", f.id))
            }
        })
        .collect();
    parts.join(", ")
}

fn list(ids: impl Iterator<Item = FragmentId>) -> String {
    let ids: Vec<String> = ids.map(|id| format!("fragment {id}")).collect();
    let more = ids.len().saturating_sub(NAMED_MAX);
    let shown = ids.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
