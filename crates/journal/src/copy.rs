//! Copies of a journal elsewhere: tiles, checkpoint and time stamps under the names that they have in its folder, and never a
//! content.
//!
//! Invariant: a copy's checkpoint comes after all tiles that it covers, and goes before none of them, so that a copy that
//! was cut off anywhere is one of an earlier state.
//! Absent on purpose: where the copy lies, and how it gets there.

use std::io;
use std::path::Path;

use crate::checkpoint::{self, CHECKPOINT_BYTES_MAX, CheckpointError, Head};
use crate::files;
use crate::log::keys_of;
use crate::stamps::Kept;
use crate::tree::{TILE_WIDTH, TileKind, Tree, edge_of, tile_of_path, tile_path, unit_bytes, units_of};

/// The name of the checkpoint.
pub const CHECKPOINT: &str = files::CHECKPOINT;
/// No object of a copy is longer, in bytes.
pub const BYTES_MAX: u64 = CHECKPOINT_BYTES_MAX;

/// The checkpoint as it lies in the journal's folder; `None` where there is none. Blocks.
///
/// # Errors
/// When the disk refuses.
pub fn checkpoint(folder: &Path) -> io::Result<Option<Vec<u8>>> {
    files::read(&folder.join(files::CHECKPOINT), CHECKPOINT_BYTES_MAX)
}

/// The keys that have signed checkpoints here, the first one first. Blocks.
///
/// # Errors
/// When the disk refuses.
pub fn keys(folder: &Path) -> io::Result<Vec<String>> {
    Ok(keys_of(&files::read(&folder.join(files::KEYS), CHECKPOINT_BYTES_MAX)?.unwrap_or_default()))
}

/// What a checkpoint says that one of these keys has signed.
///
/// # Errors
/// See [`CheckpointError`].
pub fn open(bytes: &[u8], keys: &[String]) -> Result<Head, CheckpointError> {
    checkpoint::open(bytes, keys)
}

/// The names of the tiles that a tree of the size `to` has and one of the size `from` has not.
pub fn tiles(from: u64, to: u64) -> impl Iterator<Item = String> {
    let width = TILE_WIDTH as u64;
    let full = units_of(to).zip(units_of(from)).flat_map(move |((kind, units), (_, before))| {
        (before / width..units / width).map(move |index| tile_path(kind, index, TILE_WIDTH))
    });
    let had: Vec<_> = edge_of(from).collect();
    let edge = edge_of(to).filter(move |tile| !had.contains(tile));
    full.chain(edge.map(|(kind, index, width)| tile_path(kind, index, width)))
}

/// The names of the partial tiles that a tree of the size `from` has, and one of the size `to` needs no more.
pub fn outgrown(from: u64, to: u64) -> impl Iterator<Item = String> {
    let needed: Vec<_> = edge_of(to).collect();
    let outgrown = edge_of(from).filter(move |tile| !needed.contains(tile));
    outgrown.map(|(kind, index, width)| tile_path(kind, index, width))
}

/// Whether this is the name of a partial tile that a tree of this size needs no more.
pub fn is_outgrown(name: &str, size: u64) -> bool {
    let Some(tile @ (kind, index, width)) = tile_of_path(name).filter(|tile| tile.2 < TILE_WIDTH) else { return false };
    let units = units_of(size).find(|(of, _)| *of == kind).map_or(0, |(_, units)| units);
    let end = index.saturating_mul(TILE_WIDTH as u64).saturating_add(width as u64);
    end <= units && !edge_of(size).any(|needed| needed == tile)
}

/// The length of the tile of this name; `None` where no tile has it.
pub fn tile_bytes(name: &str) -> Option<u64> {
    tile_of_path(name).map(|(kind, _, width)| (width * unit_bytes(kind)) as u64)
}

/// A tile of the journal, by its name. Blocks.
///
/// # Errors
/// When the journal has none of this name, or the disk refuses.
pub fn tile(folder: &Path, name: &str) -> io::Result<Vec<u8>> {
    let none = || io::Error::new(io::ErrorKind::NotFound, format!("{name} is no tile"));
    let (kind, index, width) = tile_of_path(name).ok_or_else(none)?;
    files::read_tile(folder, kind, index, width)
}

/// Whether an object of a copy may have this name.
pub fn is_name(name: &str) -> bool {
    name == CHECKPOINT || tile_of_path(name).is_some() || Kept::of_name(name).is_some()
}

/// Whether the journal in this folder had the state that this head says: it has grown from it, and nothing was changed
/// since. Blocks.
///
/// # Errors
/// When tiles cannot be read.
pub fn continues(folder: &Path, size: u64, head: Head) -> io::Result<bool> {
    if head.size > size {
        return Ok(false);
    }
    let read = |kind: TileKind, index, width| files::read_tile(folder, kind, index, width);
    Ok(Tree::open(head.size, read)?.root().0 == head.root)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_a_journal_and_no_others() {
        for name in
            ["checkpoint", "tile/0/000", "tile/entries/x001/067.p/12", "stamp/000000000007-20261127T120000Z.tsr"]
        {
            assert!(is_name(name), "{name}");
        }
        for name in ["keys", "content/000000000000-2026-11-27.jsonl", "tile/8/000", "tile/0/000.p/256", "tile/0/0"] {
            assert!(!is_name(name), "{name}");
        }
        assert_eq!(tile_bytes("tile/entries/000.p/3"), Some(3 * 78));
    }

    proptest! {
        #[test]
        fn copying_what_is_new_and_removing_what_is_outgrown_is_the_whole_copy(
            mut sizes in prop::collection::vec(0u64..70_000, 1..6),
        ) {
            sizes.sort_unstable();
            let (mut copy, mut before) = (BTreeSet::new(), 0);
            for size in sizes {
                copy.extend(tiles(before, size));
                for name in outgrown(before, size) {
                    prop_assert!(is_outgrown(&name, size) && copy.remove(&name), "{name}");
                }
                before = size;
                let whole: BTreeSet<String> = tiles(0, size).collect();
                prop_assert_eq!(&copy, &whole);
                prop_assert!(!whole.iter().any(|name| is_outgrown(name, size)));
            }
        }
    }
}
