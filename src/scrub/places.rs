//! References that name packs which do not hold the bytes themselves, or are not there: earlier versions wrote such.
//!
//! What is found elsewhere is copied into the pack, which then holds it itself; what nobody has is lost, and becomes a gap.

use std::collections::{BTreeMap, BTreeSet};

use super::mend::mended_by;
use super::{ScrubError, ScrubVerdict, Scrubber};
use crate::archive::rewrite::Mending;
use crate::archive::{PackRef, ReadError};
use crate::event::MendSource;
use crate::index::of_pack::refers;
use crate::index::{Change, PackRow};
use footage::pack::PackTable;
use footage::units::FragmentId;

impl Scrubber {
    /// Fragments whose place does not hold them itself.
    pub(super) async fn adrift(&self, table: &PackTable) -> Result<BTreeSet<u32>, ScrubError> {
        let mut adrift = BTreeSet::new();
        for (number, entry) in (0..).zip(&table.fragments) {
            let Some(place) = &entry.place else { continue };
            let holds = match self.packs.holder(place, entry.id).await {
                Ok((pack, held)) => {
                    let named = self.packs.table(&pack).await?;
                    let there = named.fragments.get(place.fragment as usize);
                    pack.id == place.host.pack
                        && there.is_some_and(|there| there.id == held.id && there.place.is_none())
                }
                Err(ReadError::NotFound(_) | ReadError::Pack(_)) => false,
                Err(e) => return Err(e.into()),
            };
            if !holds {
                adrift.insert(number);
            }
        }
        Ok(adrift)
    }

    /// Gives the pack the bytes of these fragments, as far as some pack has them. The pack is held by the caller. Gives how it
    /// went, and what of them nobody has.
    pub(super) async fn bring_in(
        &self,
        row: &PackRow,
        pack: &PackRef,
        table: &PackTable,
        mut adrift: BTreeSet<u32>,
    ) -> Result<(Option<ScrubVerdict>, BTreeSet<u32>), ScrubError> {
        let mut mending = Mending::default();
        for number in adrift.clone() {
            let Some(entry) = table.fragments.get(number as usize) else { continue };
            let Some(place) = &entry.place else { continue };
            let (from, held) = match self.packs.holder(place, entry.id).await {
                Ok(found) => found,
                Err(ReadError::NotFound(_) | ReadError::Pack(_)) => continue,
                Err(e) => return Err(e.into()),
            };
            if self.has(&from, &held, entry).await? {
                mending.donors.insert(number, (from, held.data_offset()..held.end()));
                adrift.remove(&number);
            }
        }
        let mut wanted: BTreeMap<FragmentId, Vec<u32>> = BTreeMap::new();
        for number in &adrift {
            if let Some(entry) = table.fragments.get(*number as usize) {
                wanted.entry(entry.id).or_default().push(*number);
            }
        }
        self.find_donors(row, table, &mut wanted, &mut mending).await?;
        adrift.retain(|number| !mending.donors.contains_key(number));
        if mending.donors.is_empty() {
            return Ok((None, adrift));
        }
        let known = self.index.lost(row.id).await?;
        mending.as_they_are = known.into_iter().flatten().filter(|n| !mending.donors.contains_key(n)).collect();
        let numbered = (0..).zip(&table.fragments);
        let places = numbered.map(|(n, entry)| entry.place.clone().filter(|_| !mending.donors.contains_key(&n)));
        let now = table.with_places(places.collect());
        let draft = self.spool.draft_path(&row.camera, row.id)?;
        let key = self.keys.domain(&row.camera.tenant);
        let bytes = self.packs.write_mended(pack, &now, &mending, &key, &draft).await?;
        self.put(row, &draft).await?;
        self.index.write(vec![Change::Refers(refers(&now, bytes))]).await?;
        let what = format!(
            "pack {} of {} to {}: {} fragments of it lay in packs that do not hold them, and are in it again",
            row.id,
            row.start,
            row.end,
            mending.donors.len()
        );
        let fact = mended_by(row, MendSource::OtherPack, mending.donors.len() as u64);
        self.report(row, fact, &what).await?;
        Ok((Some(ScrubVerdict::Mended(what)), adrift))
    }
}
