//! One pack's share of a hold: which groups of pictures, and a pack of them.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::error;

use super::{HoldError, Holds};
use crate::archive::PackRef;
use crate::event::Fact;
use crate::index::hold::HoldRow;
use crate::spool::SpoolError;
use footage::pack::writer::PackWriter;
use footage::pack::{FragmentEntry, PackError, PackHeader, PackTable};
use footage::platform;
use footage::units::TimeRange;

/// A pack of a hold, written and flushed.
pub(super) struct Copied {
    /// What is in it; `None`: all of it was damaged, and nothing is written.
    pub(super) table: Option<PackTable>,
    pub(super) draft: PathBuf,
    /// What is not in it because it is damaged.
    pub(super) lost: Vec<Fact>,
}

/// Groups of pictures, as numbers of fragments, that share an instant with the range and are not kept already.
pub(super) fn wanted(table: &PackTable, range: TimeRange, own: &[TimeRange]) -> Vec<Range<usize>> {
    let is_wanted = |group: &Range<usize>| {
        table.fragments[group.clone()].iter().filter_map(|entry| covered(entry)).any(|span| {
            span.intersection(&range).is_some_and(|part| !own.iter().any(|o| o.intersection(&part) == Some(part)))
        })
    };
    table.groups().into_iter().filter(is_wanted).collect()
}

fn covered(entry: &FragmentEntry) -> Option<TimeRange> {
    TimeRange::new(entry.stamp.wall_start, entry.wall_end())
}

impl Holds {
    /// Writes the groups; one that is damaged is left out from the damage on.
    pub(super) async fn write_copy(
        &self,
        hold: &HoldRow,
        pack: &PackRef,
        table: &PackTable,
        mut groups: Vec<Range<usize>>,
    ) -> Result<Copied, HoldError> {
        let header = PackHeader {
            pack: self.copy_id(hold, pack),
            hold: Some(Arc::new(hold.facts.clone())),
            ..table.header.clone()
        };
        let mut lost = Vec::new();
        loop {
            groups.retain(|group| !group.is_empty());
            let draft = self.0.spool.draft_path(&pack.camera, header.pack)?;
            if groups.is_empty() {
                return Ok(Copied { table: None, draft, lost });
            }
            let create = self.create(header.clone(), table, draft.clone()).await?;
            let key = self.0.keys.domain(&pack.camera.tenant);
            match self.0.packs.write_groups(pack, table, &groups, &key, &draft, create).await {
                Ok(written) => return Ok(Copied { table: Some(written), draft, lost }),
                Err((error, damaged)) => {
                    let Some(n) = damaged else { return Err(error.into()) };
                    let entry = &table.fragments[n];
                    error!(%error, pack = %pack.id, fragment = %entry.id, "a fragment is damaged: it and what is decoded from it are not kept");
                    let group = groups.iter().find(|group| group.contains(&n));
                    let last = group.and_then(|group| table.fragments.get(group.end - 1)).unwrap_or(entry);
                    lost.push(Fact::HoldDamaged {
                        hold: hold.facts.id,
                        pack: pack.id,
                        start: entry.stamp.wall_start,
                        end: last.wall_end(),
                    });
                    for group in groups.iter_mut().filter(|group| group.contains(&n)) {
                        group.end = n;
                    }
                }
            }
        }
    }

    /// Begins the copy's file, sealed where its camera's packs are: under a key that lasts as long as the hold.
    async fn create(
        &self,
        header: PackHeader,
        table: &PackTable,
        draft: PathBuf,
    ) -> Result<impl FnOnce() -> Result<PackWriter, PackError> + Send + 'static, HoldError> {
        let key = self.0.keys.domain(&header.camera.tenant);
        let until = header.hold.as_ref().map_or(table.header.pack.created(), |hold| hold.until);
        let (keys, camera) = (self.0.keys.clone(), header.camera.clone());
        let day_key = platform::spawn_blocking(move || keys.day_key_until(&camera, until)).await;
        let io = |e| SpoolError::Io { path: draft.clone(), source: std::io::Error::other(e) };
        let day = day_key.map_err(io)?.map_err(SpoolError::Key)?;
        Ok(move || match day {
            Some(day) => PackWriter::create_encrypted(&draft, header, key, day),
            None => PackWriter::create(&draft, header, key),
        })
    }
}
