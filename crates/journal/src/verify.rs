//! Verifies a journal from its files alone, and names what is wrong and where.
//!
//! ```text
//! content line ─ SHA-256 ─ entry bundle ─ leaf hash ─ tile/0 ─ subtree ─ tile/1 … ─ root ─ checkpoint ─ signature ─ keys
//! ```
//!
//! Each link of the chain is checked by itself, from the files as they are, so that a fault is named where it lies and does
//! not hide another. `docs/JOURNAL.md` does the same with `sha256sum` and `openssl`.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use tlog_tiles::{HASH_SIZE, Tile, record_hash};

use crate::checkpoint::{self, CHECKPOINT_BYTES_MAX, CheckpointError, Head};
use crate::entry::{Action, COMMITMENT_BYTES, Commitment, Entry, Head as EntryHead, LINE_BYTES_MAX};
use crate::files::{self, ContentFile};
use crate::log::read_keys;
use crate::tree::{BUNDLED_BYTES, TILE_WIDTH, TileKind, Tree, edge_of, full_of, tile_path, unit_bytes};

/// What the verifier knows of a journal beside its files.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The keys that may have signed its checkpoint (C2SP signed-note, verifier key). Empty: those that the journal itself
    /// lists, which prove nothing against who could write all of it.
    pub keys: Vec<String>,
    /// Checkpoints from elsewhere: of exports, of witnesses, of an earlier look.
    pub heads: Vec<Head>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the checkpoint says; `None` where it cannot be read.
    pub head: Option<Head>,
    /// Entries that the checkpoint covers and whose contents are there and sound.
    pub sound: u64,
    /// Entries whose contents were destroyed at the end of their time, as later entries say.
    pub forgotten: u64,
    /// Entries behind the checkpoint: they are there, and nothing proves yet that they are as they were written.
    pub uncovered: u64,
    /// What is wrong. Empty: the journal is sound.
    pub faults: Vec<Fault>,
}

/// Something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, below the journal's folder, with the line or the entry where that is known.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Faults that are listed; of more, the number is said.
const FAULTS_MAX: usize = 1000;

/// Verifies the journal in this folder. Blocks, for as long as its files take to read.
///
/// # Errors
/// When a file cannot be read although it is there.
pub fn verify(folder: &Path, known: &Known) -> io::Result<Report> {
    let mut verifier = Verifier { folder, faults: Vec::new(), more_faults: 0 };
    let head = verifier.checkpoint(&known.keys)?;
    let mut report = Report { head, sound: 0, forgotten: 0, uncovered: 0, faults: Vec::new() };
    if let Some(head) = head {
        verifier.hashes(head.size)?;
        verifier.strangers(head.size)?;
        for known in known.heads.iter().chain([&head]) {
            verifier.root(head.size, *known)?;
        }
        verifier.contents(head.size, &mut report)?;
    }
    if verifier.more_faults > 0 {
        let what = format!("{} more faults", verifier.more_faults);
        verifier.faults.push(Fault { place: "journal".to_owned(), what });
    }
    report.faults = verifier.faults;
    Ok(report)
}

struct Verifier<'a> {
    folder: &'a Path,
    faults: Vec<Fault>,
    more_faults: u64,
}

impl Verifier<'_> {
    fn fault(&mut self, place: impl Into<String>, what: impl Into<String>) {
        match self.faults.len() < FAULTS_MAX {
            true => self.faults.push(Fault { place: place.into(), what: what.into() }),
            false => self.more_faults += 1,
        }
    }

    fn checkpoint(&mut self, keys: &[String]) -> io::Result<Option<Head>> {
        let own = read_keys(self.folder)?;
        if own.is_empty() {
            self.fault(files::KEYS, "is missing or empty");
        }
        let text = files::read(&self.folder.join(files::KEYS), CHECKPOINT_BYTES_MAX)?.unwrap_or_default();
        if text != own.iter().map(|key| format!("{key}\n")).collect::<String>().as_bytes() {
            self.fault(files::KEYS, "its last line is cut off");
        }
        for (place, key) in own.iter().enumerate() {
            if checkpoint::verifier(key).is_err() {
                self.fault(files::KEYS, format!("line {} is no verifier key", place + 1));
            }
        }
        let Some(bytes) = files::read(&self.folder.join(files::CHECKPOINT), CHECKPOINT_BYTES_MAX)? else {
            self.fault(files::CHECKPOINT, "is missing");
            return Ok(None);
        };
        let sound: Vec<_> = own.into_iter().filter(|key| checkpoint::verifier(key).is_ok()).collect();
        match checkpoint::open(&bytes, if keys.is_empty() { &sound } else { keys }) {
            Ok(head) => Ok(Some(head)),
            Err(CheckpointError::Malformed) => {
                self.fault(files::CHECKPOINT, CheckpointError::Malformed.to_string());
                Ok(None)
            }
            // What it covers is looked at all the same: that it is sound in itself is worth knowing.
            Err(e) => {
                self.fault(files::CHECKPOINT, e.to_string());
                Ok(str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()))
            }
        }
    }

    /// A tile as it lies there, of just this width.
    fn tile(&mut self, kind: TileKind, index: u64, width: usize) -> io::Result<Option<Vec<u8>>> {
        let path = tile_path(kind, index, width);
        let bytes = files::read(&self.folder.join(&path), (TILE_WIDTH * unit_bytes(kind)) as u64);
        match bytes {
            Ok(Some(bytes)) if bytes.len() == width * unit_bytes(kind) => return Ok(Some(bytes)),
            Ok(Some(bytes)) => self.fault(path, format!("has {} bytes, not {}", bytes.len(), width * unit_bytes(kind))),
            Ok(None) => match files::read_tile(self.folder, kind, index, width) {
                // A gateway that runs has made another checkpoint meanwhile, and the tile has grown.
                Ok(bytes) => return Ok(Some(bytes)),
                Err(_) => self.fault(path, "is missing"),
            },
            Err(e) if e.kind() == io::ErrorKind::InvalidData => self.fault(path, e.to_string()),
            Err(e) => return Err(e),
        }
        Ok(None)
    }

    /// The hashes of each level against what they are hashes of.
    fn hashes(&mut self, size: u64) -> io::Result<()> {
        let tiles = full_of(size).map(|(kind, index)| (kind, index, TILE_WIDTH)).chain(edge_of(size));
        for (kind, index, width) in tiles {
            let TileKind::Hashes(level) = kind else { continue };
            let Some(hashes) = self.tile(kind, index, width)? else { continue };
            let hashes = hashes.as_chunks::<HASH_SIZE>().0;
            if level == 0 {
                let Some(bundle) = self.tile(TileKind::Entries, index, width)? else { continue };
                for (place, (bundled, hash)) in bundle.as_chunks::<BUNDLED_BYTES>().0.iter().zip(hashes).enumerate() {
                    let n = index * TILE_WIDTH as u64 + place as u64;
                    let bundle = tile_path(TileKind::Entries, index, width);
                    if bundled[..2] != (COMMITMENT_BYTES as u16).to_be_bytes() {
                        self.fault(format!("{bundle} entry {n}"), "has another length");
                    } else if record_hash(&bundled[2..]).0 != *hash {
                        let place = format!("{} entry {n}", tile_path(kind, index, width));
                        self.fault(
                            place,
                            format!("is not the hash of the entry in {bundle}: one of the two was changed"),
                        );
                    }
                }
                continue;
            }
            let below = TileKind::Hashes(level - 1);
            for (place, hash) in hashes.iter().enumerate() {
                let index_below = index * TILE_WIDTH as u64 + place as u64;
                // A tile below that is missing or too short is named where it is looked at for itself.
                let bytes = files::read_tile(self.folder, below, index_below, TILE_WIDTH).ok();
                if bytes.is_some_and(|bytes| Tile::subtree_hash(&bytes).0 != *hash) {
                    let below = tile_path(below, index_below, TILE_WIDTH);
                    let place = format!("{} hash {place}", tile_path(kind, index, width));
                    self.fault(place, format!("is not that of {below}: one of the two was changed"));
                }
            }
        }
        Ok(())
    }

    /// The root that the tiles have at this head's size against the one that it says.
    fn root(&mut self, size: u64, head: Head) -> io::Result<()> {
        if head.size > size {
            let what =
                format!("has {size} entries, and had {} at the known checkpoint {head}: it was set back", head.size);
            self.fault(files::CHECKPOINT, what);
            return Ok(());
        }
        // Tiles that are missing are named already.
        let read = |kind, index, width| files::read_tile(self.folder, kind, index, width);
        let Ok(tree) = Tree::open(head.size, read) else { return Ok(()) };
        if tree.root().0 != head.root {
            let what = format!("the tiles have another root than the checkpoint {head}: entries were changed since");
            self.fault(files::CHECKPOINT, what);
        }
        Ok(())
    }

    /// Files that have no place in a journal. Tiles behind the checkpoint are those of one that the end of the gateway
    /// cut off: nothing is made of them.
    fn strangers(&mut self, size: u64) -> io::Result<()> {
        let mut folders = vec![PathBuf::from("tile")];
        while let Some(below) = folders.pop() {
            let names = match std::fs::read_dir(self.folder.join(&below)) {
                Ok(names) => names,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            for name in names {
                let name = name?;
                let path = below.join(name.file_name());
                if name.file_type()?.is_dir() {
                    folders.push(path);
                } else if !is_draft(&path) {
                    self.is_placed(&path, size)?;
                }
            }
        }
        let (_, strangers) = files::contents(self.folder).or_else(none_where_missing)?;
        for path in strangers.iter().filter(|path| !is_draft(path)) {
            let below = path.strip_prefix(self.folder).unwrap_or(path);
            self.fault(below.display().to_string(), "is no file of this journal");
        }
        Ok(())
    }

    /// A tile is one of the tree, or says the same as one that is, or lies behind it.
    fn is_placed(&mut self, path: &Path, size: u64) -> io::Result<()> {
        let Some((kind, index, width)) = path.to_str().and_then(tile_of_path) else {
            self.fault(path.display().to_string(), "is no tile of this journal");
            return Ok(());
        };
        let units = units_in(kind, size);
        let expected = units.saturating_sub(index * TILE_WIDTH as u64).min(TILE_WIDTH as u64) as usize;
        if expected == width || expected == 0 {
            return Ok(());
        }
        let both = width.min(expected) * unit_bytes(kind);
        let here = files::read(&self.folder.join(path), (TILE_WIDTH * unit_bytes(kind)) as u64)?.unwrap_or_default();
        let tile = files::read_tile(self.folder, kind, index, expected).unwrap_or_default();
        if here.get(..both) != tile.get(..both) {
            self.fault(path.display().to_string(), "is left from an earlier checkpoint, and not as the tile is now");
        }
        Ok(())
    }

    /// Each line of the contents against the commitment to it; what is missing against what is said of it.
    fn contents(&mut self, size: u64, report: &mut Report) -> io::Result<()> {
        let (files, _) = files::contents(self.folder).or_else(none_where_missing)?;
        let mut bundles = Bundles::new(self.folder, size);
        let mut missing: Vec<(u64, u64)> = Vec::new();
        let mut forgotten: Vec<Forgotten> = Vec::new();
        let mut next = 0;
        for file in &files {
            match file.first.cmp(&next) {
                std::cmp::Ordering::Greater => missing.push((next, file.first)),
                std::cmp::Ordering::Less => {
                    self.fault(file.name(), format!("begins with entry {}, and {next} is the next", file.first));
                    continue;
                }
                std::cmp::Ordering::Equal => {}
            }
            next = file.first;
            let mut lines = BufReader::new(std::fs::File::open(&file.path)?);
            let mut line = Vec::new();
            loop {
                line.clear();
                let read = (&mut lines).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
                if read == 0 {
                    break;
                }
                let place = || format!("{} line {}", file.name(), next - file.first + 1);
                match (self.line(file, next, &line), bundles.commitment(next)) {
                    (Err(what), _) => self.fault(place(), what),
                    (Ok(_), None) if next >= size => report.uncovered += 1,
                    // That the bundle is missing is said already.
                    (Ok(_), None) => {}
                    (Ok(found), Some(committed)) if found == committed => {
                        report.sound += 1;
                        forgotten.extend(Forgotten::of_line(&line));
                    }
                    (Ok(_), Some(_)) => {
                        let bundle = tile_path(TileKind::Entries, next / TILE_WIDTH as u64, TILE_WIDTH);
                        self.fault(
                            place(),
                            format!("is not the entry {next} that {bundle} commits to: it was changed"),
                        );
                    }
                }
                next += 1;
            }
        }
        if next < size {
            missing.push((next, size));
        }
        for (from, to) in missing {
            self.missing(from..to.min(size), &forgotten, &mut bundles, report);
        }
        for said in &forgotten {
            let there = files.iter().find(|file| (said.from..said.to).contains(&file.first));
            if let Some(file) = there {
                self.fault(file.name(), format!("entry {} says that it was destroyed, and it is there", said.n));
            }
        }
        Ok(())
    }

    fn line(&self, file: &ContentFile, n: u64, line: &[u8]) -> Result<Commitment, String> {
        let head = EntryHead::of_line(line).filter(|_| line.ends_with(b"\n"));
        let head = head.ok_or("is no entry: it is damaged, or torn by a power cut")?;
        if head.n != n {
            return Err(format!("is entry {}, where {n} has its place", head.n));
        }
        if head.day() != file.day || !(0..=9999).contains(&head.day().year()) {
            return Err(format!("is of {}, not of the day of its file", head.day()));
        }
        Ok(Commitment::of_line(head.day(), line))
    }

    /// Entries without contents: each must be said to be forgotten, by an entry of a day on which its time was over.
    fn missing(
        &mut self,
        range: std::ops::Range<u64>,
        forgotten: &[Forgotten],
        bundles: &mut Bundles<'_>,
        report: &mut Report,
    ) {
        let mut lost: Option<(u64, u64)> = None;
        for n in range {
            let day = bundles.commitment(n).and_then(|commitment| commitment.day());
            let is_said = |said: &Forgotten| {
                (said.from..said.to).contains(&n)
                    && day.is_none_or(|day| crate::log::is_over(day, said.months, said.day))
            };
            if forgotten.iter().any(is_said) {
                report.forgotten += 1;
                continue;
            }
            match &mut lost {
                Some((_, to)) if *to == n => *to = n + 1,
                _ => {
                    lost.take().into_iter().for_each(|lost| self.lost(lost));
                    lost = Some((n, n + 1));
                }
            }
        }
        lost.into_iter().for_each(|lost| self.lost(lost));
    }

    fn lost(&mut self, (from, to): (u64, u64)) {
        let what = format!("entries {from} to {} are missing, and no entry says that their time was over", to - 1);
        self.fault("content", what);
    }
}

/// What an entry says of contents that were destroyed.
struct Forgotten {
    n: u64,
    day: Date,
    from: u64,
    to: u64,
    months: u16,
}

impl Forgotten {
    fn of_line(line: &[u8]) -> Option<Self> {
        let entry = Entry::decode(line).ok()?;
        match entry.draft.action {
            Action::EntriesForgotten { from, to, months } => {
                Some(Self { n: entry.n, day: entry.day(), from, to, months })
            }
            _ => None,
        }
    }
}

/// The commitments, one entry bundle at a time.
struct Bundles<'a> {
    folder: &'a Path,
    size: u64,
    index: Option<u64>,
    bytes: Vec<u8>,
}

impl<'a> Bundles<'a> {
    fn new(folder: &'a Path, size: u64) -> Self {
        Self { folder, size, index: None, bytes: Vec::new() }
    }

    /// `None` where the checkpoint does not cover it, or its bundle is not there.
    fn commitment(&mut self, n: u64) -> Option<Commitment> {
        if n >= self.size {
            return None;
        }
        let index = n / TILE_WIDTH as u64;
        if self.index != Some(index) {
            let width = (self.size - index * TILE_WIDTH as u64).min(TILE_WIDTH as u64) as usize;
            self.bytes = files::read_tile(self.folder, TileKind::Entries, index, width).unwrap_or_default();
            self.index = Some(index);
        }
        let at = (n % TILE_WIDTH as u64) as usize * BUNDLED_BYTES + 2;
        let bytes = self.bytes.get(at..at + COMMITMENT_BYTES)?;
        Some(Commitment::from_bytes(bytes.try_into().expect("a slice of this length")))
    }
}

/// How many units of a kind a tree of this size has.
fn units_in(kind: TileKind, size: u64) -> u64 {
    match kind {
        TileKind::Entries => size,
        TileKind::Hashes(level) => size >> (8 * u32::from(level)),
    }
}

/// Kind, number and width of a tile, of its path below the journal's folder.
fn tile_of_path(path: &str) -> Option<(TileKind, u64, usize)> {
    let (full, width) = match path.split_once(".p/") {
        Some((full, width)) => (full, width.parse().ok()?),
        None => (path, TILE_WIDTH),
    };
    let (kind, number) = full.strip_prefix("tile/")?.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes(level.parse().ok().filter(|level| *level < 8)?),
    };
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let index = digits.parse().ok()?;
    (tile_path(kind, index, width) == path).then_some((kind, index, width))
}

/// What is written beside a file that it is going to replace.
fn is_draft(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "new")
}

fn none_where_missing<T: Default>(e: io::Error) -> io::Result<T> {
    if e.kind() == io::ErrorKind::NotFound { Ok(T::default()) } else { Err(e) }
}
