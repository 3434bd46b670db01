//! Verifies a journal from its files alone, and names what is wrong and where.
//!
//! ```text
//! content line ─ SHA-256 ─ entry bundle ─ leaf hash ─ tile/0 ─ subtree ─ tile/1 … ─ root ─ checkpoint ─ signature ─ keys
//! ```
//!
//! Each link of the chain is checked by itself, from the files as they are, so that a fault is named where it lies and does
//! not hide another. `docs/JOURNAL.md` does the same with `sha256sum` and `openssl`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use tlog_tiles::{HASH_SIZE, Tile, record_hash};

use crate::checkpoint::{self, CHECKPOINT_BYTES_MAX, CheckpointError, Head};
use crate::entry::{Action, COMMITMENT_BYTES, Commitment, Entry, Head as EntryHead, LINE_BYTES_MAX};
use crate::files::{self, ContentFile};
use crate::forget::is_over;
use crate::log::{CONTENT_BYTES_MAX, keys_of};
use crate::stamp::Authorities;
use crate::stamps::STAMPS;
use crate::tree::{BUNDLED_BYTES, TILE_WIDTH, TileKind, Tree, edge_of, full_of, tile_of_path, tile_path, unit_bytes};

mod stamps;

/// What the verifier knows of a journal beside its files.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The keys that may have signed its checkpoint (C2SP signed-note, verifier key). Empty: those that the journal itself
    /// lists, which prove nothing against who could write all of it.
    pub keys: Vec<String>,
    /// Checkpoints from elsewhere: of exports, of witnesses, of an earlier look.
    pub heads: Vec<Head>,
    /// Whose time stamps are believed. `None`: each is checked with its own certificate, which proves nothing against who made
    /// that.
    pub authorities: Option<Authorities>,
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
    /// Time stamps that are sound.
    pub stamps: u64,
    /// What the last of them is of.
    pub stamped: Option<Stamped>,
    /// Entries behind the checkpoint: they are there, and nothing proves yet that they are as they were written.
    pub uncovered: u64,
    /// What is wrong. Empty: the journal is sound.
    pub faults: Vec<Fault>,
}

/// A time stamp says that these entries were there at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamped {
    /// So many.
    pub size: u64,
    /// By then.
    pub at: Timestamp,
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
/// A journal that changes meanwhile is looked at so often.
const LOOKS_MAX: usize = 4;
/// What a file is written as before it takes the place of another.
const DRAFT: &str = ".new";
const NO_FILE: &str = "is no file of this journal";
const AHEAD: &str = "is no tile of this journal: it has no such entries";

/// Verifies the journal in this folder. Blocks, for as long as its files take to read.
///
/// # Errors
/// When the folder itself cannot be read. What cannot be read in it is a fault.
pub fn verify(folder: &Path, known: &Known) -> io::Result<Report> {
    verify_beside(folder, known, &mut |_| {})
}

/// What was just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The checkpoint.
    Checkpoint,
    /// Which files of contents there are.
    Contents,
}

/// The same, with what happens meanwhile. A gateway that runs forgets entries while it is looked at: what was read before
/// says then that they are there, and what is read after that they are not. Faults count when nothing has changed.
pub(crate) fn verify_beside(folder: &Path, known: &Known, meanwhile: &mut dyn FnMut(Step)) -> io::Result<Report> {
    for _ in 1..LOOKS_MAX {
        let before = state(folder);
        let report = look(folder, known, meanwhile)?;
        if report.faults.is_empty() || state(folder) == before {
            return Ok(report);
        }
    }
    look(folder, known, meanwhile)
}

/// What a gateway that forgets changes.
fn state(folder: &Path) -> (Option<Vec<u8>>, Vec<ContentFile>) {
    let checkpoint = files::read(&folder.join(files::CHECKPOINT), CHECKPOINT_BYTES_MAX);
    (checkpoint.ok().flatten(), files::contents(folder).unwrap_or_default().0)
}

fn look(folder: &Path, known: &Known, meanwhile: &mut dyn FnMut(Step)) -> io::Result<Report> {
    let mut verifier = Verifier { folder, faults: Vec::new(), more_faults: 0, keys_named: BTreeSet::new(), meanwhile };
    verifier.top()?;
    let own = verifier.keys();
    let head = verifier.checkpoint(&own, &known.keys);
    let mut report =
        Report { head, sound: 0, forgotten: 0, stamps: 0, stamped: None, uncovered: 0, faults: Vec::new() };
    (verifier.meanwhile)(Step::Checkpoint);
    if let Some(head) = head {
        verifier.hashes(head.size);
        let ahead = verifier.tiles(head.size);
        for known in known.heads.iter().chain([&head]) {
            verifier.root(head.size, *known);
        }
        verifier.contents(head.size, &mut report);
        verifier.ahead(ahead, head.size + report.uncovered);
        verifier.keys_by_entries(&own, report.forgotten);
        // Those before, too: what they signed has to be in the tree.
        let all: BTreeSet<String> = own.iter().chain(&known.keys).cloned().collect();
        let all: Vec<String> = all.into_iter().filter(|key| checkpoint::verifier(key).is_ok()).collect();
        verifier.stamps(head.size, &all, known.authorities.as_ref(), &mut report);
    }
    if verifier.more_faults > 0 {
        let what = format!("{} more faults, and there may be others", verifier.more_faults);
        verifier.faults.push(Fault { place: "journal".to_owned(), what });
    }
    report.faults = verifier.faults;
    Ok(report)
}

struct Verifier<'a> {
    folder: &'a Path,
    faults: Vec<Fault>,
    more_faults: u64,
    /// The keys that entries name which the checkpoint covers.
    keys_named: BTreeSet<String>,
    meanwhile: &'a mut dyn FnMut(Step),
}

impl Verifier<'_> {
    fn fault(&mut self, place: impl Into<String>, what: impl Into<String>) {
        match self.faults.len() < FAULTS_MAX {
            true => self.faults.push(Fault { place: place.into(), what: what.into() }),
            false => self.more_faults += 1,
        }
    }

    /// So many faults are listed that looking for more of one kind is in vain.
    fn is_full(&self) -> bool {
        self.more_faults > 0
    }

    /// What lies in the folder itself.
    fn top(&mut self) -> io::Result<()> {
        for name in std::fs::read_dir(self.folder)? {
            let name = name?;
            let is_folder = name.file_type()?.is_dir();
            let path = PathBuf::from(name.file_name());
            let shown = path.display().to_string();
            match path.to_str().map(|path| path.strip_suffix(DRAFT).unwrap_or(path)) {
                Some(files::CONTENT | "tile" | STAMPS) if shown.ends_with(DRAFT) => self.fault(shown, NO_FILE),
                Some(files::CONTENT | "tile" | STAMPS) if !is_folder => self.fault(shown, "is no folder"),
                Some(files::CONTENT | "tile" | STAMPS | files::CHECKPOINT | files::KEYS) => {}
                _ => self.fault(shown, NO_FILE),
            }
        }
        Ok(())
    }

    /// A file of this length at most; that it cannot be read is a fault.
    fn read(&mut self, path: &str, bytes_max: u64) -> Option<Vec<u8>> {
        match files::read(&self.folder.join(path), bytes_max) {
            Ok(Some(bytes)) => Some(bytes),
            Ok(None) => {
                self.fault(path, "is missing");
                None
            }
            Err(e) => {
                self.fault(path, e.to_string());
                None
            }
        }
    }

    /// The keys that the journal lists.
    fn keys(&mut self) -> Vec<String> {
        let Some(text) = self.read(files::KEYS, CHECKPOINT_BYTES_MAX) else { return Vec::new() };
        let own = keys_of(&text);
        if own.is_empty() {
            self.fault(files::KEYS, "is empty");
        }
        if text != own.iter().map(|key| format!("{key}\n")).collect::<String>().as_bytes() {
            self.fault(files::KEYS, "its last line is cut off");
        }
        for (place, key) in own.iter().enumerate() {
            if checkpoint::verifier(key).is_err() {
                self.fault(files::KEYS, format!("line {} is no verifier key", place + 1));
            } else if own[..place].contains(key) {
                self.fault(files::KEYS, format!("line {} is there before", place + 1));
            }
        }
        own
    }

    /// Each key but the first is named by the entry that begins its time, as long as that is kept; the first by none.
    fn keys_by_entries(&mut self, own: &[String], forgotten: u64) {
        for (place, key) in own.iter().enumerate() {
            if place > 0 && forgotten == 0 && !self.keys_named.contains(key) {
                self.fault(files::KEYS, format!("line {}: no entry says that this key signs", place + 1));
            }
        }
        if own.first().is_some_and(|first| self.keys_named.contains(first)) {
            self.fault(files::KEYS, "line 1: an entry says that another key signed before it, and it is gone");
        }
        for key in std::mem::take(&mut self.keys_named) {
            if !own.contains(&key) {
                self.fault(files::KEYS, format!("{key} is missing, which an entry says to sign"));
            }
        }
    }

    fn checkpoint(&mut self, own: &[String], keys: &[String]) -> Option<Head> {
        let bytes = self.read(files::CHECKPOINT, CHECKPOINT_BYTES_MAX)?;
        let sound: Vec<_> = own.iter().filter(|key| checkpoint::verifier(key).is_ok()).cloned().collect();
        match checkpoint::open(&bytes, if keys.is_empty() { &sound } else { keys }) {
            Ok(head) => Some(head),
            Err(CheckpointError::Malformed) => {
                self.fault(files::CHECKPOINT, CheckpointError::Malformed.to_string());
                None
            }
            // What it covers is looked at all the same: that it is sound in itself is worth knowing.
            Err(e) => {
                self.fault(files::CHECKPOINT, e.to_string());
                str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok())
            }
        }
    }

    /// A tile as it lies there, of just this width.
    fn tile(&mut self, kind: TileKind, index: u64, width: usize) -> Option<Vec<u8>> {
        let path = tile_path(kind, index, width);
        let bytes = files::read(&self.folder.join(&path), (TILE_WIDTH * unit_bytes(kind)) as u64);
        match bytes {
            Ok(Some(bytes)) if bytes.len() == width * unit_bytes(kind) => return Some(bytes),
            Ok(Some(bytes)) => self.fault(path, format!("has {} bytes, not {}", bytes.len(), width * unit_bytes(kind))),
            Ok(None) => match files::read_tile(self.folder, kind, index, width) {
                // A gateway that runs has made another checkpoint meanwhile, and the tile has grown.
                Ok(bytes) => return Some(bytes),
                Err(_) => self.fault(path, "is missing"),
            },
            Err(e) => self.fault(path, e.to_string()),
        }
        None
    }

    /// The hashes of each level against what they are hashes of.
    fn hashes(&mut self, size: u64) {
        for (kind, index, width) in full_of(size).map(|(kind, index)| (kind, index, TILE_WIDTH)).chain(edge_of(size)) {
            let TileKind::Hashes(level) = kind else { continue };
            // The size may be anybody's: tiles that are missing must not be counted for ever.
            if self.is_full() {
                break;
            }
            let Some(hashes) = self.tile(kind, index, width) else { continue };
            let hashes = hashes.as_chunks::<HASH_SIZE>().0;
            if level == 0 {
                let Some(bundle) = self.tile(TileKind::Entries, index, width) else { continue };
                self.leaves(index, width, &bundle, hashes);
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
    }

    /// Hashes of entries against the commitments in their bundle.
    fn leaves(&mut self, index: u64, width: usize, bundle: &[u8], hashes: &[[u8; HASH_SIZE]]) {
        let path = tile_path(TileKind::Entries, index, width);
        for (place, (bundled, hash)) in bundle.as_chunks::<BUNDLED_BYTES>().0.iter().zip(hashes).enumerate() {
            let n = index * TILE_WIDTH as u64 + place as u64;
            if bundled[..2] != (COMMITMENT_BYTES as u16).to_be_bytes() {
                self.fault(format!("{path} entry {n}"), "has another length");
            } else if record_hash(&bundled[2..]).0 != *hash {
                let place = format!("{} entry {n}", tile_path(TileKind::Hashes(0), index, width));
                self.fault(place, format!("is not the hash of the entry in {path}: one of the two was changed"));
            }
        }
    }

    /// The root that the tiles have at this head's size against the one that it says.
    fn root(&mut self, size: u64, head: Head) {
        if head.size > size {
            let what =
                format!("has {size} entries, and had {} at the known checkpoint {head}: it was set back", head.size);
            self.fault(files::CHECKPOINT, what);
            return;
        }
        // Tiles that are missing are named already.
        let read = |kind, index, width| files::read_tile(self.folder, kind, index, width);
        let Ok(tree) = Tree::open(head.size, read) else { return };
        if tree.root().0 != head.root {
            let what = format!("the tiles have another root than the checkpoint {head}: entries were changed since");
            self.fault(files::CHECKPOINT, what);
        }
    }

    /// Tiles that have no place in a journal. Gives those behind the checkpoint, with how many units they end at: they may
    /// be of one that the end of the gateway cut off, or that was made just now.
    fn tiles(&mut self, size: u64) -> Vec<(TileKind, u64, String)> {
        let mut ahead = Vec::new();
        let mut folders = vec![PathBuf::from("tile")];
        while let Some(below) = folders.pop() {
            let names = match std::fs::read_dir(self.folder.join(&below)) {
                Ok(names) => names,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => {
                    self.fault(below.display().to_string(), e.to_string());
                    continue;
                }
            };
            for name in names {
                let path = name.and_then(|name| Ok((below.join(name.file_name()), name.file_type()?.is_dir())));
                match path {
                    // One that the gateway has removed meanwhile is no fault.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => self.fault(below.display().to_string(), e.to_string()),
                    Ok((path, true)) if path.to_str().is_some_and(is_folder_of_tiles) => folders.push(path),
                    Ok((path, _)) => {
                        ahead.extend(self.placed(&path, size));
                        if ahead.len() > FAULTS_MAX {
                            let (_, _, path) = ahead.swap_remove(0);
                            self.fault(path, AHEAD);
                        }
                    }
                }
            }
        }
        ahead
    }

    /// A tile is one of the tree, or says the same as one that is, or lies behind it.
    fn placed(&mut self, path: &Path, size: u64) -> Option<(TileKind, u64, String)> {
        let shown = path.display().to_string();
        let draft = path.to_str().map(|path| path.strip_suffix(DRAFT).unwrap_or(path));
        let Some((kind, index, width)) = draft.and_then(tile_of_path) else {
            self.fault(shown, "is no tile of this journal");
            return None;
        };
        if shown.ends_with(DRAFT) {
            return None;
        }
        let start = index.saturating_mul(TILE_WIDTH as u64);
        let expected = units_in(kind, size).saturating_sub(start).min(TILE_WIDTH as u64) as usize;
        if expected == 0 {
            return Some((kind, start.saturating_add(width as u64), shown));
        }
        if expected == width {
            return None;
        }
        let both = width.min(expected) * unit_bytes(kind);
        let here = match files::read(&self.folder.join(path), (TILE_WIDTH * unit_bytes(kind)) as u64) {
            Ok(here) => here?,
            Err(e) => {
                self.fault(shown, e.to_string());
                return None;
            }
        };
        let tile = files::read_tile(self.folder, kind, index, expected).unwrap_or_default();
        if here.get(..both) != tile.get(..both) {
            self.fault(shown, "is left from an earlier checkpoint, and not as the tile is now");
        }
        None
    }

    /// Tiles behind the checkpoint are of entries that are there.
    fn ahead(&mut self, ahead: Vec<(TileKind, u64, String)>, entries: u64) {
        for (_, _, path) in ahead.into_iter().filter(|(kind, end, _)| *end > units_in(*kind, entries)) {
            self.fault(path, AHEAD);
        }
    }

    /// Each line of the contents against the commitment to it; what is missing against what is said of it.
    fn contents(&mut self, size: u64, report: &mut Report) {
        let (files, strangers) = match files::contents(self.folder) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Default::default(),
            Err(e) => {
                self.fault(files::CONTENT, e.to_string());
                return;
            }
        };
        (self.meanwhile)(Step::Contents);
        for path in strangers {
            let below = path.strip_prefix(self.folder).unwrap_or(&path);
            self.fault(below.display().to_string(), NO_FILE);
        }
        let mut bundles = Bundles::new(self.folder, size);
        let mut said = BTreeMap::new();
        let mut next = 0;
        for (place, file) in files.iter().enumerate() {
            match file.first.cmp(&next) {
                // What is destroyed goes from the first entry on: there is no hole behind one that is kept.
                std::cmp::Ordering::Greater if place > 0 => self.lost(next, file.first.min(size)),
                std::cmp::Ordering::Less => {
                    self.fault(file.name(), format!("begins with entry {}, and {next} is the next", file.first));
                    continue;
                }
                _ => {}
            }
            next = self.file(file, &mut bundles, &mut said, report);
        }
        let first = files.first().map_or(size, |file| file.first.min(size));
        if !files.is_empty() {
            self.lost(next, size);
        }
        self.missing(first, &said, &mut bundles, report);
        for forgotten in said.values() {
            if let Some(file) = files.iter().find(|file| file.first < forgotten.to) {
                self.fault(file.name(), format!("entry {} says that it was destroyed, and it is there", forgotten.n));
            }
        }
    }

    /// The lines of one file. Gives the number behind its last.
    fn file(&mut self, file: &ContentFile, bundles: &mut Bundles<'_>, said: &mut Said, report: &mut Report) -> u64 {
        let mut next = file.first;
        let opened = files::open(&file.path, CONTENT_BYTES_MAX + LINE_BYTES_MAX as u64);
        let mut lines = match opened.and_then(|opened| opened.ok_or(io::ErrorKind::NotFound.into())) {
            Ok(opened) => BufReader::new(opened.take(CONTENT_BYTES_MAX + LINE_BYTES_MAX as u64)),
            Err(e) => {
                self.fault(file.name(), e.to_string());
                return next;
            }
        };
        let mut line = Vec::new();
        loop {
            line.clear();
            // A line that is too long ends where it ends: those behind it have their numbers.
            match lines.read_until(b'\n', &mut line) {
                Ok(0) => return next,
                Ok(_) => {}
                Err(e) => {
                    self.fault(file.name(), e.to_string());
                    return next;
                }
            }
            let place = || format!("{} line {}", file.name(), next - file.first + 1);
            match (self.line(file, next, &line), bundles.commitment(next)) {
                (Err(what), _) => self.fault(place(), what),
                (Ok(_), None) if next >= report.head.map_or(0, |head| head.size) => report.uncovered += 1,
                // That the bundle is missing is said already.
                (Ok(_), None) => {}
                (Ok(found), Some(committed)) if found == committed => {
                    report.sound += 1;
                    self.says(&line, said);
                }
                (Ok(_), Some(_)) => {
                    let bundle = tile_path(TileKind::Entries, next / TILE_WIDTH as u64, TILE_WIDTH);
                    self.fault(place(), format!("is not the entry {next} that {bundle} commits to: it was changed"));
                }
            }
            next = next.saturating_add(1);
        }
    }

    /// What an entry says of the journal itself.
    fn says(&mut self, line: &[u8], said: &mut Said) {
        let Ok(entry) = Entry::decode(line) else { return };
        match entry.draft.action {
            Action::EntriesForgotten { from: 0, to, months } => {
                let forgotten = said.entry((entry.day(), months)).or_insert(Forgotten { n: entry.n, to });
                if forgotten.to < to {
                    *forgotten = Forgotten { n: entry.n, to };
                }
            }
            Action::KeyChanged { ref verifier } if self.keys_named.len() < FAULTS_MAX => {
                self.keys_named.insert(verifier.clone());
            }
            _ => {}
        }
    }

    fn line(&self, file: &ContentFile, n: u64, line: &[u8]) -> Result<Commitment, String> {
        let head = EntryHead::of_line(line).filter(|_| line.ends_with(b"\n") && line.len() <= LINE_BYTES_MAX);
        let head = head.ok_or("is no entry: it is damaged, or torn by a power cut")?;
        if head.n != n {
            return Err(format!("is entry {}, where {n} has its place", head.n));
        }
        if head.day() != file.day || !(0..=9999).contains(&head.day().year()) {
            return Err(format!("is of {}, not of the day of its file", head.day()));
        }
        Ok(Commitment::of_line(head.day(), line))
    }

    /// Entries without contents, from the first on: each must be said to be forgotten, by an entry of a day on which its
    /// time was over. One of a day after that, which a wrong clock made, is no newer than the last of those said.
    fn missing(&mut self, to: u64, said: &Said, bundles: &mut Bundles<'_>, report: &mut Report) {
        let mut may_go = Vec::new();
        for ((today, months), forgotten) in said {
            let last = forgotten.to.checked_sub(1).and_then(|last| bundles.day(last));
            if last.is_some_and(|day| is_over(day, *months, *today)) {
                may_go.push((*today, *months, forgotten.to));
            }
        }
        let mut lost: Option<(u64, u64)> = None;
        for n in 0..to {
            let Some(day) = bundles.day(n) else {
                // Its bundle is missing, and that is said already: what is behind it cannot be told.
                lost = Some((lost.map_or(n, |lost| lost.0), to));
                break;
            };
            let is_said =
                |(today, months, to): &(Date, u16, u64)| n < *to && (day > *today || is_over(day, *months, *today));
            if may_go.iter().any(is_said) {
                report.forgotten += 1;
                continue;
            }
            match &mut lost {
                Some((_, to)) if *to == n => *to = n + 1,
                _ => {
                    lost.take().into_iter().for_each(|(from, to)| self.lost(from, to));
                    lost = Some((n, n + 1));
                }
            }
        }
        lost.into_iter().for_each(|(from, to)| self.lost(from, to));
    }

    fn lost(&mut self, from: u64, to: u64) {
        if from < to {
            let what = format!("entries {from} to {} are missing, and no entry says that their time was over", to - 1);
            self.fault(files::CONTENT, what);
        }
    }
}

/// What entries say of contents that were destroyed, by the day on which and the months after which they were.
type Said = BTreeMap<(Date, u16), Forgotten>;

/// The contents of the entries before `to` were destroyed, as the entry `n` says.
struct Forgotten {
    n: u64,
    to: u64,
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

impl Bundles<'_> {
    fn day(&mut self, n: u64) -> Option<Date> {
        self.commitment(n).and_then(|commitment| commitment.day())
    }
}

/// How many units of a kind a tree of this size has.
fn units_in(kind: TileKind, size: u64) -> u64 {
    match kind {
        TileKind::Entries => size,
        TileKind::Hashes(level) => size >> (8 * u32::from(level)),
    }
}

/// Whether this is a folder that a tile can lie in, of its path below the journal's.
fn is_folder_of_tiles(path: &str) -> bool {
    let is_number = |name: &str| name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_digit());
    let mut names = path.split('/').skip(1);
    let is_level = names.next().is_some_and(|level| level == "entries" || matches!(level.as_bytes(), [b'0'..=b'7']));
    let mut depth = 0;
    is_level
        && names.all(|name| {
            depth += 1;
            depth < 8 && is_number(name.strip_prefix('x').or(name.strip_suffix(".p")).unwrap_or_default())
        })
}
