//! Each pack row against the pack.

use std::ops::Range;

use futures::{StreamExt, stream};

use super::{Complaint, Fsck, FsckError, Tally};
use crate::archive::check::Scratch;
use crate::archive::{PackRef, ReadError};
use crate::index::of_pack::{Rows, rows_without};
use crate::index::{PackRow, PackState, SegmentRow};
use footage::pack::PackTable;

/// Rows read at a time.
const PAGE: u32 = 1_024;
/// Packs looked at in parallel, when only their tables are read.
const TABLES_AT_ONCE: usize = 16;
/// Packs looked at in parallel, when each byte is hashed.
const DATA_AT_ONCE: usize = 2;
/// So often is a pack looked at that moves or grows meanwhile.
const LOOKS_MAX: usize = 4;

/// What a look at a pack gave.
#[derive(Default)]
struct Look {
    complaints: Vec<Complaint>,
    checked_bytes: u64,
}

impl Fsck {
    pub(super) async fn check_packs(&self, tally: &mut Tally<'_>) -> Result<(), FsckError> {
        let scratch = if self.read_data { Some(self.scratch()?) } else { None };
        let at_once = if self.read_data { DATA_AT_ONCE } else { TABLES_AT_ONCE };
        let mut after = None;
        loop {
            let page = self.index.packs_after(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            let looks = page.into_iter().map(|row| self.pack(row, scratch.as_ref()));
            let mut looks = stream::iter(looks).buffer_unordered(at_once);
            while let Some(look) = looks.next().await {
                let Look { complaints, checked_bytes } = look?;
                tally.report.packs += 1;
                tally.report.checked_bytes += checked_bytes;
                complaints.into_iter().for_each(|complaint| tally.complain(complaint));
            }
        }
    }

    /// Looks until nothing is wrong, or what is wrong stays so.
    async fn pack(&self, mut row: PackRow, scratch: Option<&Scratch>) -> Result<Look, FsckError> {
        for _ in 1..LOOKS_MAX {
            let look = self.look(&row, scratch).await?;
            if look.complaints.is_empty() {
                return Ok(look);
            }
            // A pack that has come to rest changes with its row; one on its way changes first.
            if row.state < PackState::Stored {
                tokio::time::sleep(self.settle).await;
            }
            match self.index.any_pack(row.id).await? {
                None => return Ok(Look::default()),
                Some(now) if now == row && row.state >= PackState::Stored => return Ok(look),
                Some(now) => row = now,
            }
        }
        self.look(&row, scratch).await
    }

    async fn look(&self, row: &PackRow, scratch: Option<&Scratch>) -> Result<Look, FsckError> {
        if row.state == PackState::Condemned {
            return Ok(Look::default());
        }
        let one = |complaint| Look { complaints: vec![complaint], checked_bytes: 0 };
        let (pack, camera) = (row.id, row.camera.clone());
        match self.bytes(row).await {
            Err(what) => return Ok(one(Complaint::Unreadable { pack, camera, what })),
            Ok(None) => {
                let (covers, state) = ((row.start, row.end), row.state);
                return Ok(one(Complaint::Missing { pack, camera, covers, state }));
            }
            // The row of a pack that grows counts what was flushed.
            Ok(Some(found)) if row.state == PackState::Open && found >= row.bytes => {}
            Ok(Some(found)) if found == row.bytes => {}
            Ok(Some(found)) => return Ok(one(Complaint::Size { pack, camera, indexed: row.bytes, found })),
        }
        // In this order: what the pack has more by then than the rows is growth.
        let segments = self.index.segments_of_pack(row.id).await?;
        let table = self.packs.table(&PackRef { id: pack, camera: camera.clone(), state: row.state }).await;
        let mut look = match table {
            Ok(table) => match difference(row, &segments, &table, &self.index.lost(row.id).await?) {
                Some(what) => one(Complaint::Rows { pack, camera: camera.clone(), what }),
                None => Look { complaints: self.references(row, &table).await?, checked_bytes: 0 },
            },
            Err(e) => one(unreadable(row, &e)),
        };
        if let Some(scratch) = scratch.filter(|_| row.state != PackState::Open) {
            match self.damage(row, scratch).await {
                Ok(()) => look.checked_bytes = row.bytes,
                Err(damage) => look.complaints.extend(damage),
            }
        }
        Ok(look)
    }

    /// Size of the pack where its row says that it is, or where it may have moved to since.
    async fn bytes(&self, row: &PackRow) -> Result<Option<u64>, String> {
        if row.state < PackState::Stored {
            for path in self.spool.files(&row.camera, row.id) {
                match std::fs::metadata(&path) {
                    Ok(meta) => return Ok(Some(meta.len())),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Err(e) => return Err(format!("{}: {e}", path.display())),
                }
            }
        }
        self.store.pack_bytes(&row.camera, row.id).await.map_err(|e| e.to_string())
    }
}

fn unreadable(row: &PackRow, error: &ReadError) -> Complaint {
    Complaint::Unreadable { pack: row.id, camera: row.camera.clone(), what: error.to_string() }
}

/// What the rows say otherwise than the pack.
fn difference(row: &PackRow, segments: &[SegmentRow], table: &PackTable, lost: &[Range<u32>]) -> Option<String> {
    let Some(Rows { pack, segments: reported, .. }) = rows_without(table, row.bytes, lost) else {
        return Some("it has no footage".to_owned());
    };
    if (&pack.camera, pack.run) != (&row.camera, row.run) {
        return Some(format!("it is of {} and run {}, the index says run {}", pack.camera, pack.run, row.run));
    }
    let open = row.state == PackState::Open;
    let same_end = if open { row.end <= pack.end } else { row.end == pack.end };
    if row.start != pack.start || !same_end {
        return Some(format!("it covers {} to {}, the index says {} to {}", pack.start, pack.end, row.start, row.end));
    }
    let matches = |have: &SegmentRow, want: &SegmentRow| {
        let place = |s: &SegmentRow| (s.range.start(), s.decode_time, s.first_fragment, s.run, s.pack);
        let grown = have.fragments <= want.fragments && have.range.end() <= want.range.end();
        let same = have.fragments == want.fragments && have.range.end() == want.range.end();
        place(have) == place(want) && if open { grown } else { same }
    };
    if segments.len() > reported.len() || (!open && segments.len() != reported.len()) {
        return Some(format!("it has {} segments, the index {}", reported.len(), segments.len()));
    }
    let (have, want) = segments.iter().zip(&reported).find(|(have, want)| !matches(have, want))?;
    let shown = |s: &SegmentRow| {
        let (start, end) = (s.range.start(), s.range.end());
        format!("{} fragments from number {}, {start} to {end}", s.fragments, s.first_fragment)
    };
    Some(format!("a segment of it has {}, the index says {}", shown(want), shown(have)))
}
