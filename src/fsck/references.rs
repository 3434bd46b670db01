//! What packs refer to.

use std::collections::BTreeSet;

use super::{Complaint, Fsck, FsckError};
use crate::archive::PackRef;
use crate::index::{PackRow, PackState};
use footage::pack::PackTable;

impl Fsck {
    /// Each place of a pack's fragments against the host's own table, and the index against both.
    pub(super) async fn references(&self, row: &PackRow, table: &PackTable) -> Result<Vec<Complaint>, FsckError> {
        let complaint = |what| Complaint::Reference { pack: row.id, camera: row.camera.clone(), what };
        let hosts = table.hosts();
        let reported: BTreeSet<_> = self.index.hosts(row.id).await?.into_iter().collect();
        let named: BTreeSet<_> = hosts.iter().map(|host| host.pack).collect();
        // While a pack is sealed, the index keeps for it what it may come to need; while a host goes, what it needed.
        let mut kept = reported.is_superset(&named);
        for more in reported.difference(&named).filter(|_| row.state != PackState::Open) {
            kept &= self.index.any_pack(*more).await?.is_some_and(|host| host.state == PackState::Condemned);
        }
        let mut complaints = Vec::new();
        if !kept {
            complaints.push(complaint(format!(
                "it names {} packs, the index {}: {named:?}, {reported:?}",
                named.len(),
                reported.len()
            )));
        }
        for host in hosts {
            let pack = PackRef { id: host.pack, camera: host.camera.clone(), state: PackState::Stored };
            let there = match self.packs.table(&pack).await {
                Ok(there) => there,
                Err(e) => {
                    complaints.push(complaint(format!("pack {} of {}: {e}", host.pack, host.camera)));
                    continue;
                }
            };
            let lost = self.index.lost(row.id).await?;
            let numbered = (0..).zip(&table.fragments).filter(|(n, _)| !lost.iter().any(|lost| lost.contains(n)));
            let missing = numbered.map(|(_, entry)| entry).filter(|entry| {
                let place = entry.place.as_ref().filter(|place| place.host == host);
                let held = |number: u32| there.fragments.get(number as usize).filter(|held| held.place.is_none());
                place.is_some_and(|place| held(place.fragment).is_none_or(|held| held.id != entry.id))
            });
            let missing = missing.count();
            if missing > 0 {
                let what = format!(
                    "pack {} does not hold {missing} fragments of it itself: `vigie fsck --repair` fetches them from \
                     wherever they are, and makes a gap of what is nowhere",
                    host.pack
                );
                complaints.push(complaint(what));
            }
        }
        Ok(complaints)
    }
}
