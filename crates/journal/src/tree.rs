//! The tree over all commitments: its right edge in memory, its tiles as they become full.
//!
//! Invariant: what [`Tree`] holds is bounded by one tile a level, and by what was added since tiles were last taken.

use tlog_tiles::{EMPTY_HASH, HASH_SIZE, Hash, Tile, node_hash, record_hash};

use crate::entry::{COMMITMENT_BYTES, Commitment};

/// Levels of the tree that a tile spans (C2SP tlog-tiles).
pub(crate) const TILE_HEIGHT: u8 = 8;
/// Levels of tiles: those of a tree of 2⁶⁴ entries.
const LEVELS: u8 = 8;
/// Hashes, or commitments, of a full tile.
pub(crate) const TILE_WIDTH: usize = 1 << TILE_HEIGHT;
/// A commitment in an entry bundle: its length in two bytes, big-endian, and itself (C2SP tlog-tiles).
pub(crate) const BUNDLED_BYTES: usize = 2 + COMMITMENT_BYTES;

/// Which tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TileKind {
    /// Commitments themselves.
    Entries,
    /// Hashes of the tree, at this level of tiles.
    Hashes(u8),
}

/// A tile and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TileFile {
    pub(crate) kind: TileKind,
    /// Its number within the level.
    pub(crate) index: u64,
    pub(crate) bytes: Vec<u8>,
}

impl TileFile {
    /// How many hashes or commitments it has.
    pub(crate) fn width(&self) -> usize {
        self.bytes.len() / unit_bytes(self.kind)
    }

    pub(crate) fn path(&self) -> String {
        tile_path(self.kind, self.index, self.width())
    }
}

/// Bytes of one thing in a tile.
pub(crate) fn unit_bytes(kind: TileKind) -> usize {
    match kind {
        TileKind::Entries => BUNDLED_BYTES,
        TileKind::Hashes(_) => HASH_SIZE,
    }
}

/// Where a tile lies: its number in groups of three digits, all but the last with an `x` before them (C2SP tlog-tiles).
pub(crate) fn tile_path(kind: TileKind, index: u64, width: usize) -> String {
    let mut number = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        number = format!("x{:03}/{number}", rest % 1000);
        rest /= 1000;
    }
    let partial = if width < TILE_WIDTH { format!(".p/{width}") } else { String::new() };
    match kind {
        TileKind::Entries => format!("tile/entries/{number}{partial}"),
        TileKind::Hashes(level) => format!("tile/{level}/{number}{partial}"),
    }
}

/// Kind, number and width of a tile, of its path below the journal's folder.
pub(crate) fn tile_of_path(path: &str) -> Option<(TileKind, u64, usize)> {
    let (full, width) = match path.split_once(".p/") {
        Some((full, width)) => (full, width.parse().ok()?),
        None => (path, TILE_WIDTH),
    };
    let (kind, number) = full.strip_prefix("tile/")?.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes(level.parse().ok().filter(|level| *level < LEVELS)?),
    };
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let index = digits.parse().ok()?;
    (tile_path(kind, index, width) == path).then_some((kind, index, width))
}

/// How many commitments, and hashes of each level, a tree of this size has.
pub(crate) fn units_of(size: u64) -> impl Iterator<Item = (TileKind, u64)> {
    let levels = (0..LEVELS).map(move |level| (TileKind::Hashes(level), size >> (TILE_HEIGHT * level)));
    std::iter::once((TileKind::Entries, size)).chain(levels)
}

/// The last tiles of a tree of this size, where they are not full: kind, number and width.
pub(crate) fn edge_of(size: u64) -> impl Iterator<Item = (TileKind, u64, usize)> {
    let width = TILE_WIDTH as u64;
    units_of(size).map(move |(kind, units)| (kind, units / width, (units % width) as usize)).filter(|tile| tile.2 > 0)
}

/// The full tiles of hashes of a tree of this size: kind and number.
pub(crate) fn full_of(size: u64) -> impl Iterator<Item = (TileKind, u64)> {
    let hashes = units_of(size).filter(|(kind, _)| matches!(kind, TileKind::Hashes(_)));
    hashes.flat_map(|(kind, units)| (0..units / TILE_WIDTH as u64).map(move |index| (kind, index)))
}

/// A tree that grows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    size: u64,
    /// Commitments of the last entry bundle, as it holds them.
    entries: Vec<u8>,
    /// Hashes of the last tile of each level, from the leaves up.
    levels: Vec<Vec<Hash>>,
    /// Tiles that became full since they were last taken.
    full: Vec<TileFile>,
}

impl Tree {
    /// The tree of this size whose last tiles are these; `read` gives the first so many units of a tile.
    pub(crate) fn open<E>(
        size: u64,
        mut read: impl FnMut(TileKind, u64, usize) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        let mut tree = Self { size, ..Self::default() };
        let mut partial = |kind, units: u64| match (units % TILE_WIDTH as u64) as usize {
            0 => Ok(Vec::new()),
            width => read(kind, units / TILE_WIDTH as u64, width),
        };
        tree.entries = partial(TileKind::Entries, size)?;
        for level in 0..LEVELS {
            let units = size >> (TILE_HEIGHT * level);
            if units == 0 {
                break;
            }
            let bytes = partial(TileKind::Hashes(level), units)?;
            tree.levels.push(bytes.as_chunks::<HASH_SIZE>().0.iter().map(|hash| Hash(*hash)).collect());
        }
        Ok(tree)
    }

    /// How many entries it has.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds an entry.
    pub(crate) fn push(&mut self, commitment: &Commitment) {
        let bytes = commitment.as_bytes();
        self.entries.extend((COMMITMENT_BYTES as u16).to_be_bytes());
        self.entries.extend(bytes);
        if self.entries.len() == TILE_WIDTH * BUNDLED_BYTES {
            let bytes = std::mem::take(&mut self.entries);
            self.full.push(TileFile { kind: TileKind::Entries, index: self.size / TILE_WIDTH as u64, bytes });
        }
        self.size += 1;
        self.push_hash(0, record_hash(bytes));
    }

    fn push_hash(&mut self, level: u8, hash: Hash) {
        if self.levels.len() == usize::from(level) {
            self.levels.push(Vec::new());
        }
        let tile = &mut self.levels[usize::from(level)];
        tile.push(hash);
        if tile.len() == TILE_WIDTH {
            let bytes: Vec<u8> = std::mem::take(tile).iter().flat_map(|hash| hash.0).collect();
            let index = (self.size >> (TILE_HEIGHT * (level + 1))) - 1;
            let above = Tile::subtree_hash(&bytes);
            self.full.push(TileFile { kind: TileKind::Hashes(level), index, bytes });
            self.push_hash(level + 1, above);
        }
    }

    /// The root (RFC 6962 §2.1): perfect subtrees from the right, the smallest first.
    pub(crate) fn root(&self) -> Hash {
        let mut root: Option<Hash> = None;
        for tile in &self.levels {
            let mut end = tile.len();
            while end > 0 {
                let width = 1 << end.trailing_zeros();
                let bytes: Vec<u8> = tile[end - width..end].iter().flat_map(|hash| hash.0).collect();
                let left = Tile::subtree_hash(&bytes);
                root = Some(root.map_or(left, |right| node_hash(left, right)));
                end -= width;
            }
        }
        root.unwrap_or(EMPTY_HASH)
    }

    /// The tiles to write for a checkpoint of this size: those that became full since the last call of
    /// [`Tree::drop_full`], and the last of each level as far as it is.
    pub(crate) fn tiles(&self) -> Vec<TileFile> {
        let mut tiles = self.full.clone();
        let edge = self.levels.iter().enumerate().map(|(level, hashes)| {
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
            (TileKind::Hashes(level as u8), self.size >> (8 * level), bytes)
        });
        let edge = std::iter::once((TileKind::Entries, self.size, self.entries.clone())).chain(edge);
        tiles.extend(edge.filter(|(_, _, bytes)| !bytes.is_empty()).map(|(kind, units, bytes)| TileFile {
            kind,
            index: units / TILE_WIDTH as u64,
            bytes,
        }));
        tiles
    }

    /// These full tiles are written, and need not be held.
    pub(crate) fn drop_full(&mut self, written: &[TileFile]) {
        // One that was written in part may have become full meanwhile.
        self.full.retain(|tile| !written.contains(tile));
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tlog_tiles::{Error, HashReader, stored_hash_index, stored_hashes, tree_hash};

    use super::*;

    /// Every hash in the order of the library that the tree is compared with.
    struct Stored(Vec<Hash>);

    impl HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
            Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
        }
    }

    fn commitment(n: u64) -> Commitment {
        Commitment::of_line(jiff::civil::date(2026, 11, 27), n.to_string().as_bytes())
    }

    #[test]
    fn roots_are_those_of_rfc_6962_at_every_size_and_a_tree_read_from_its_tiles_grows_alike() {
        let mut stored = Stored(Vec::new());
        let mut tree = Tree::default();
        assert_eq!(tree.root(), EMPTY_HASH);
        let mut files = std::collections::BTreeMap::new();
        for n in 0..70_000u64 {
            let commitment = commitment(n);
            let hashes = stored_hashes(n, commitment.as_bytes(), &stored).unwrap();
            stored.0.extend(hashes);
            tree.push(&commitment);
            let tiles = if n < 600 || n % 997 == 0 || n % 65_536 < 3 { tree.tiles() } else { continue };
            assert_eq!(tree.root(), tree_hash(n + 1, &stored).unwrap(), "{n}");
            tree.drop_full(&tiles);
            files.extend(tiles.into_iter().map(|tile| ((tile.kind, tile.index), tile.bytes)));
            let read = |kind, index, width: usize| {
                Ok::<_, Infallible>(files[&(kind, index)][..width * unit_bytes(kind)].to_vec())
            };
            let again = Tree::open(n + 1, read).unwrap();
            assert_eq!((again.root(), again.tiles()), (tree.root(), tree.tiles()), "{n}");
        }
        assert_eq!(full_of(70_000).count(), 273 + 1);
        let edge = [(TileKind::Entries, 273, 112), (TileKind::Hashes(0), 273, 112), (TileKind::Hashes(1), 1, 17)];
        assert_eq!(edge_of(70_000).take(3).collect::<Vec<_>>(), edge);
        assert_eq!(stored.0[stored_hash_index(8, 3) as usize].0, files[&(TileKind::Hashes(1), 0)][96..128]);
    }

    #[test]
    fn paths_are_those_of_tlog_tiles() {
        let check = |kind, index, width, expect: &str| assert_eq!(tile_path(kind, index, width), expect);
        check(TileKind::Hashes(0), 0, 1, "tile/0/000.p/1");
        check(TileKind::Hashes(2), 1_234_067, 256, "tile/2/x001/x234/067");
        check(TileKind::Entries, 1_000, 8, "tile/entries/x001/000.p/8");
    }
}
