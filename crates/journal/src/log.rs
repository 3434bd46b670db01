//! A journal that is written to.
//!
//! ```text
//! append ─ lock ─→ content file (write-ahead log) + tree in memory       a write into the page cache, no flush
//! sync ──────────→ content files flushed                                 each half second, by the gateway
//! checkpoint ────→ content flushed, tiles, checkpoint, each durable      each minute
//! forget ────────→ entry, checkpoint, then the files of entries whose time is over
//! ```
//!
//! A failure to flush or to make a checkpoint is a failed journal: [`Journal::append`] refuses until [`Journal::sync`],
//! which tries both again, or [`Journal::checkpoint`] has succeeded. What was answered for stays in memory until it is
//! flushed, and is written again after a failed flush: the kernel may have dropped it (fsync(2)).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use footage::failure::{Failure, Kind};
use footage::platform;
use jiff::Timestamp;
use jiff::civil::Date;
use parking_lot::Mutex;

pub use crate::checkpoint::Head;
use crate::checkpoint::{self, CHECKPOINT_BYTES_MAX, CheckpointError, Signer};
use crate::entry::{Action, Author, Commitment, Draft, Entry, Head as EntryHead, LINE_BYTES_MAX};
use crate::files::{self, ContentFile};
use crate::forget;
use crate::tree::{TILE_WIDTH, TileFile, Tree, tile_path};

/// A file of entries that is longer is followed by the next one.
pub(crate) const CONTENT_BYTES_MAX: u64 = 16 << 20;
/// The longest file of keys.
const KEYS_BYTES_MAX: u64 = 64 * 1024;

/// Why a journal cannot be written to, or opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk refuses.
    #[error("the journal in {folder} cannot be written or read: {source}")]
    Io {
        /// Of which journal.
        folder: PathBuf,
        /// What the disk says.
        source: io::Error,
    },
    /// It failed before, and has not been written since.
    #[error("the journal in {folder} failed: no access to footage until it can be written again")]
    Failed {
        /// Of which journal.
        folder: PathBuf,
    },
    /// The checkpoint is refused.
    #[error("the journal in {folder} is damaged or was changed: {source}: restore the folder from its copy")]
    Checkpoint {
        /// Of which journal.
        folder: PathBuf,
        /// Why.
        source: CheckpointError,
    },
    /// Something that the checkpoint covers is missing or other.
    #[error("the journal in {folder} is damaged or was changed: {what}: restore the folder from its copy")]
    Damaged {
        /// Of which journal.
        folder: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It is an older state of itself, or another journal.
    #[error(
        "the journal in {folder} has {found} entries and is not what it was at its checkpoint {known}: it was set back, or \
         exchanged: restore the folder from its newest copy"
    )]
    SetBack {
        /// Of which journal.
        folder: PathBuf,
        /// Its last checkpoint.
        found: u64,
        /// What is known of it.
        known: Head,
    },
    /// The entry is too long, or its time cannot be.
    #[error("an entry of {bytes} bytes at {at} is refused: at most {LINE_BYTES_MAX} bytes, in the years 0 to 9999")]
    Entry {
        /// Its length.
        bytes: usize,
        /// Its time.
        at: Timestamp,
    },
}

impl Failure for JournalError {
    fn kind(&self) -> Kind {
        match self {
            Self::Io { source, .. } => Failure::kind(source),
            Self::Failed { .. } => Kind::Retry,
            Self::Checkpoint { .. } | Self::Damaged { .. } | Self::SetBack { .. } => Kind::Corrupt,
            Self::Entry { .. } => Kind::Invalid,
        }
    }
}

/// A journal, open. One process has it open at a time: the gateway's lock on its data folder sees to it.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    signer: Signer,
    state: Mutex<State>,
    /// One of checkpoint and forget at a time.
    upkeep: Mutex<()>,
    /// One flush at a time: a checkpoint may take long, and flushes go on meanwhile.
    flushing: Mutex<()>,
}

#[derive(Debug)]
struct State {
    tree: Tree,
    /// What the last checkpoint says.
    checkpointed: Head,
    /// Files with entries that are not flushed, and last the one that is written to.
    contents: Vec<Content>,
    /// There may be a file of the next entry without a whole one in it: a first write failed.
    left: bool,
    failed: bool,
    /// The last attempt at a checkpoint failed.
    unpublished: bool,
}

/// A file of entries that is written to.
#[derive(Clone, Debug)]
struct Content {
    of: ContentFile,
    file: Arc<File>,
    /// Bytes of whole lines in it.
    bytes: u64,
    /// The last of them, which are not flushed.
    unflushed: Vec<u8>,
    /// Its name is durable.
    named: bool,
    /// There may be bytes behind the last whole line.
    torn: bool,
    /// A flush failed: what is not flushed has to be written again.
    dropped: bool,
    /// Nothing is added to it any more.
    closed: bool,
}

impl Journal {
    /// Opens the journal in this folder; makes it where there is none and none is known. `known` are states that it has
    /// had, as the caller remembers them.
    ///
    /// # Errors
    /// When it is damaged, or was set back: nothing is changed then.
    pub fn open(folder: &Path, signer: Signer, known: &[Head], at: Timestamp) -> Result<Self, JournalError> {
        let io = |source| JournalError::Io { folder: folder.to_owned(), source };
        let keys = read_keys(folder).map_err(io)?;
        let tree = match files::read(&folder.join(files::CHECKPOINT), CHECKPOINT_BYTES_MAX).map_err(io)? {
            Some(bytes) => open_tree(folder, &bytes, &keys)?,
            None => begin(folder, &signer, known.iter().max_by_key(|known| known.size).copied())?,
        };
        let checkpointed = Head { size: tree.size(), root: tree.root().0 };
        for known in known {
            is_continued(folder, checkpointed, *known)?;
        }
        let mut state =
            State { tree, checkpointed, contents: Vec::new(), left: true, failed: false, unpublished: false };
        let torn_bytes = state.read_contents(folder)?;
        let (upkeep, flushing) = (Mutex::default(), Mutex::default());
        let journal = Self { folder: folder.to_owned(), signer, state: Mutex::new(state), upkeep, flushing };
        if torn_bytes > 0 {
            journal.append(at, Draft::new(Author::Gateway, Action::TailLost { bytes: torn_bytes }))?;
        }
        let verifier = journal.signer.verifier();
        if !keys.is_empty() && !keys.iter().any(|key| key == verifier) {
            let action = Action::KeyChanged { verifier: verifier.to_owned() };
            journal.append(at, Draft::new(Author::Gateway, action))?;
            write_keys(folder, &keys, verifier).map_err(io)?;
        }
        Ok(journal)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Entries in it.
    pub fn size(&self) -> u64 {
        self.state.lock().tree.size()
    }

    /// What its last checkpoint says.
    pub fn head(&self) -> Head {
        self.state.lock().checkpointed
    }

    /// Adds an entry, and says its number. The entry is in the file then, and not flushed. Blocks for a write into the page
    /// cache.
    ///
    /// # Errors
    /// When it is not in the file: what it is about must not be done.
    pub fn append(&self, at: Timestamp, draft: Draft) -> Result<u64, JournalError> {
        let mut state = self.state.lock();
        if state.failed {
            return Err(JournalError::Failed { folder: self.folder.clone() });
        }
        let entry = Entry::new(state.tree.size(), at, draft);
        let line = entry.encode();
        if line.len() > LINE_BYTES_MAX || !(0..=9999).contains(&entry.day().year()) {
            return Err(JournalError::Entry { bytes: line.len(), at });
        }
        let written = state.write(&self.folder, entry.n, entry.day(), &line);
        written.map_err(|source| JournalError::Io { folder: self.folder.clone(), source })?;
        state.tree.push(&Commitment::of_line(entry.day(), &line));
        Ok(entry.n)
    }

    /// Flushes what was appended before, and makes the checkpoint that could not be made before. Blocks for a flush.
    ///
    /// # Errors
    /// When it is not durable: no more is appended until it is.
    pub fn sync(&self) -> Result<(), JournalError> {
        if self.state.lock().unpublished {
            let _turn = self.upkeep.lock();
            let made = self.publish();
            return self.note(made).map(drop);
        }
        let synced = self.flush();
        self.note(synced)
    }

    /// Makes a checkpoint of what was appended before, durable with all that it covers, and says what it says. Blocks for
    /// several flushes.
    ///
    /// # Errors
    /// When the checkpoint is not durable: no more is appended until one is.
    pub fn checkpoint(&self) -> Result<Head, JournalError> {
        let _turn = self.upkeep.lock();
        let made = self.publish();
        self.note(made)
    }

    /// Destroys the contents whose time is over on the day of `at`, and says of how many entries. Blocks for several flushes.
    ///
    /// # Errors
    /// When the disk refuses; what goes is said before it goes, and gone from the next call on.
    pub fn forget(&self, at: Timestamp, months: u16) -> Result<u64, JournalError> {
        let _turn = self.upkeep.lock();
        let today = jiff::tz::Offset::UTC.to_datetime(at).date();
        let io = |source| JournalError::Io { folder: self.folder.clone(), source };
        let (over, to) = self.close_over(months, today).map_err(io)?;
        if over.is_empty() {
            return Ok(0);
        }
        let flushed = self.flush();
        self.note(flushed)?;
        self.state.lock().contents.retain(|content| !over.contains(&content.of));
        // What lay before the first file was destroyed before; who said so may go now.
        self.append(at, Draft::new(Author::Gateway, Action::EntriesForgotten { from: 0, to, months }))?;
        let published = self.publish();
        self.note(published)?;
        for file in &over {
            platform::remove_durably(&file.path).map_err(io)?;
        }
        Ok(to - over[0].first)
    }

    /// The files whose time is over, and the number behind the last entry in them. Nothing is added to them from here on.
    fn close_over(&self, months: u16, today: Date) -> io::Result<(Vec<ContentFile>, u64)> {
        let mut state = self.state.lock();
        let (mut files, _) = files::contents(&self.folder)?;
        let over = forget::over(&files, months, today);
        let to = files.get(over).map_or(state.tree.size(), |file| file.first);
        files.truncate(over);
        state
            .contents
            .iter_mut()
            .filter(|content| files.contains(&content.of))
            .for_each(|content| content.closed = true);
        Ok((files, to))
    }

    /// A failure refuses entries until the next success.
    fn note<T>(&self, done: io::Result<T>) -> Result<T, JournalError> {
        let mut state = self.state.lock();
        state.failed = done.is_err() || state.unpublished;
        drop(state);
        done.map_err(|source| JournalError::Io { folder: self.folder.clone(), source })
    }

    fn flush(&self) -> io::Result<()> {
        let _turn = self.flushing.lock();
        let contents = self.state.lock().contents.clone();
        for content in contents {
            if content.unflushed.is_empty() {
                continue;
            }
            let flushed = content.flush();
            let mut state = self.state.lock();
            let Some(now) = state.contents.iter_mut().find(|now| now.of == content.of) else { continue };
            match flushed {
                Ok(()) => {
                    now.unflushed.drain(..content.unflushed.len());
                    (now.named, now.dropped) = (true, false);
                }
                Err(e) => {
                    now.dropped = true;
                    return Err(e);
                }
            }
        }
        let mut state = self.state.lock();
        let last = state.contents.len().saturating_sub(1);
        let mut at = 0;
        state.contents.retain(|content| {
            at += 1;
            at > last || !content.unflushed.is_empty()
        });
        Ok(())
    }

    fn publish(&self) -> io::Result<Head> {
        let made = self.make_checkpoint();
        self.state.lock().unpublished = made.is_err();
        made
    }

    fn make_checkpoint(&self) -> io::Result<Head> {
        let (tiles, head, before) = {
            let state = self.state.lock();
            let head = Head { size: state.tree.size(), root: state.tree.root().0 };
            (state.tree.tiles(), head, state.checkpointed)
        };
        self.flush()?;
        if head == before {
            return Ok(head);
        }
        for tile in &tiles {
            files::replace(&self.folder.join(tile.path()), &tile.bytes)?;
        }
        files::replace(&self.folder.join(files::CHECKPOINT), &self.signer.sign(head))?;
        {
            let mut state = self.state.lock();
            state.tree.drop_full(&tiles);
            state.checkpointed = head;
        }
        remove_partials(&self.folder, &tiles)?;
        Ok(head)
    }
}

impl Content {
    /// A file of an earlier time, to be written to. What is in it is made durable: who wrote it may not have come to that.
    fn reopen(of: ContentFile, bytes: u64, torn: bool) -> io::Result<Self> {
        let file = Arc::new(File::options().read(true).write(true).open(&of.path)?);
        platform::sync_data(&file)?;
        platform::sync_name(&of.path)?;
        Ok(Self { of, file, bytes, unflushed: Vec::new(), named: true, torn, dropped: false, closed: false })
    }

    /// Writes at the end of what it has.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.cut()?;
        files::write_all_at(&self.file, line, self.bytes).inspect_err(|_| self.torn = true)?;
        self.bytes += line.len() as u64;
        self.unflushed.extend(line);
        Ok(())
    }

    /// Cuts off what is behind the last whole line, for good: a file that is followed by another has no torn end.
    fn cut(&mut self) -> io::Result<()> {
        if self.torn {
            platform::set_len(&self.file, self.bytes)?;
            // The kernel reports a failed write once, here or at the next flush.
            platform::sync_data(&self.file).inspect_err(|_| self.dropped = true)?;
            self.torn = false;
        }
        Ok(())
    }

    /// Another file follows: what is in this one is durable before there is anything in that, or a power cut would leave a
    /// hole between them.
    fn end(&mut self) -> io::Result<()> {
        self.cut()?;
        if self.unflushed.is_empty() {
            return Ok(());
        }
        self.flush().inspect_err(|_| self.dropped = true)
    }

    fn flush(&self) -> io::Result<()> {
        if self.dropped {
            files::write_all_at(&self.file, &self.unflushed, self.bytes - self.unflushed.len() as u64)?;
        }
        platform::sync_data(&self.file)?;
        if !self.named {
            platform::sync_name(&self.of.path)?;
        }
        Ok(())
    }
}

impl State {
    fn write(&mut self, folder: &Path, n: u64, day: Date, line: &[u8]) -> io::Result<()> {
        if self.left {
            // No entry of it was answered for. The next one may go into another file, as the clock says.
            for left in files::contents(folder)?.0.iter().filter(|file| file.first == n) {
                platform::remove_file(&left.path)?;
            }
            self.left = false;
        }
        let fits = |content: &Content| !content.closed && content.of.day == day && content.bytes < CONTENT_BYTES_MAX;
        if !self.contents.last().is_some_and(fits) {
            self.contents.last_mut().map_or(Ok(()), Content::end)?;
            let of = ContentFile::at(folder, n, day);
            self.left = true;
            let file = Arc::new(platform::create_new(&of.path)?);
            let unflushed = Vec::new();
            self.contents.push(Content {
                of,
                file,
                bytes: 0,
                unflushed,
                named: false,
                torn: false,
                dropped: false,
                closed: false,
            });
        }
        let last = self.contents.len() - 1;
        let written = self.contents[last].write(line);
        match self.contents[last].bytes == 0 {
            true => drop(self.contents.pop()),
            false => self.left = false,
        }
        written
    }

    /// Takes in the entries behind the checkpoint, and leaves the last file to be written to. Says how many bytes at its
    /// end are no entry; the next write cuts them off.
    fn read_contents(&mut self, folder: &Path) -> Result<u64, JournalError> {
        let io = |source| JournalError::Io { folder: folder.to_owned(), source };
        let damaged = |what: String| JournalError::Damaged { folder: folder.to_owned(), what };
        let (files, _) = files::contents(folder).map_err(io)?;
        let covered = self.tree.size();
        let from = files.iter().rposition(|file| file.first < covered).unwrap_or(0);
        let (mut end, mut torn_bytes, mut last) = (0, 0, None);
        for (place, file) in files.iter().enumerate().skip(from) {
            let bytes = files::read(&file.path, CONTENT_BYTES_MAX + LINE_BYTES_MAX as u64).map_err(io)?;
            let bytes = bytes.unwrap_or_default();
            let lines = Lines::read(file.first, &bytes);
            if file.first > self.tree.size() && !lines.commitments.is_empty() {
                return Err(damaged(format!("entries {} to {} are missing", self.tree.size(), file.first)));
            }
            torn_bytes = (bytes.len() - lines.bytes) as u64;
            if torn_bytes > 0 && (lines.entries_follow || place + 1 < files.len()) {
                let line = lines.commitments.len() + 1;
                return Err(damaged(format!("{} line {line} is no entry, and entries follow", file.name())));
            }
            if lines.commitments.is_empty() {
                // The next entry has this number, and takes its place.
                continue;
            }
            end = file.first + lines.commitments.len() as u64;
            let known = self.tree.size().saturating_sub(file.first);
            lines.commitments.iter().skip(known as usize).for_each(|commitment| self.tree.push(commitment));
            last = Some((file.clone(), lines.bytes as u64, torn_bytes > 0));
        }
        if let Some((file, bytes, torn)) = last {
            self.contents.push(Content::reopen(file, bytes, torn).map_err(io)?);
        }
        match end < covered {
            true => Err(damaged(format!("entries up to {covered}, which the checkpoint covers, are missing"))),
            false => Ok(torn_bytes),
        }
    }
}

/// The entries of a file.
struct Lines {
    commitments: Vec<Commitment>,
    /// How many bytes they are.
    bytes: usize,
    /// Behind what is no entry there is one: it is not the end that is torn. A block that a power cut kept from the disk is
    /// one of zeros: what was written behind it was not flushed either.
    entries_follow: bool,
}

impl Lines {
    fn read(first: u64, bytes: &[u8]) -> Self {
        let mut lines = Self { commitments: Vec::new(), bytes: 0, entries_follow: false };
        let (mut torn, mut hole) = (false, false);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let head = EntryHead::of_line(line).filter(|_| line.ends_with(b"\n"));
            match head {
                Some(_) if torn => lines.entries_follow |= !hole,
                Some(head) if head.n == first + lines.commitments.len() as u64 => {
                    lines.commitments.push(Commitment::of_line(head.day(), line));
                    lines.bytes += line.len();
                }
                _ => (torn, hole) = (true, hole || line.contains(&0)),
            }
        }
        lines
    }
}

/// The tree that this checkpoint covers.
fn open_tree(folder: &Path, checkpoint: &[u8], keys: &[String]) -> Result<Tree, JournalError> {
    let head = checkpoint::open(checkpoint, keys)
        .map_err(|source| JournalError::Checkpoint { folder: folder.to_owned(), source })?;
    let tree = Tree::open(head.size, |kind, index, width| files::read_tile(folder, kind, index, width))
        .map_err(|e| JournalError::Damaged { folder: folder.to_owned(), what: e.to_string() })?;
    match tree.root().0 == head.root {
        true => Ok(tree),
        false => {
            let what = "its tiles do not have the root of its checkpoint".to_owned();
            Err(JournalError::Damaged { folder: folder.to_owned(), what })
        }
    }
}

/// A journal without entries, where none was.
fn begin(folder: &Path, signer: &Signer, known: Option<Head>) -> Result<Tree, JournalError> {
    let io = |source| JournalError::Io { folder: folder.to_owned(), source };
    if let Some(known) = known {
        return Err(JournalError::SetBack { folder: folder.to_owned(), found: 0, known });
    }
    let content = files::content_folder(folder);
    if !is_empty(&content).map_err(io)? || !is_empty(&folder.join("tile")).map_err(io)? {
        let what = format!("{} is missing", files::CHECKPOINT);
        return Err(JournalError::Damaged { folder: folder.to_owned(), what });
    }
    let tree = Tree::default();
    platform::create_folders(&content).map_err(io)?;
    write_keys(folder, &[], signer.verifier()).map_err(io)?;
    let head = Head { size: 0, root: tree.root().0 };
    files::replace(&folder.join(files::CHECKPOINT), &signer.sign(head)).map_err(io)?;
    Ok(tree)
}

/// Whether there is nothing in a folder, or no folder.
fn is_empty(folder: &Path) -> io::Result<bool> {
    match std::fs::read_dir(folder) {
        Ok(mut names) => Ok(names.next().is_none()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e),
    }
}

/// Whether the journal had this state before it had that of its checkpoint.
fn is_continued(folder: &Path, checkpointed: Head, known: Head) -> Result<(), JournalError> {
    let set_back = || JournalError::SetBack { folder: folder.to_owned(), found: checkpointed.size, known };
    if known.size > checkpointed.size {
        return Err(set_back());
    }
    let tree = Tree::open(known.size, |kind, index, width| files::read_tile(folder, kind, index, width))
        .map_err(|e| JournalError::Damaged { folder: folder.to_owned(), what: e.to_string() })?;
    if tree.root().0 == known.root { Ok(()) } else { Err(set_back()) }
}

/// The keys that have signed checkpoints of this journal, the first one first.
fn read_keys(folder: &Path) -> io::Result<Vec<String>> {
    Ok(keys_of(&files::read(&folder.join(files::KEYS), KEYS_BYTES_MAX)?.unwrap_or_default()))
}

/// The keys of this text, one a line.
pub(crate) fn keys_of(text: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(text).split_terminator('\n').map(str::to_owned).collect()
}

fn write_keys(folder: &Path, before: &[String], verifier: &str) -> io::Result<()> {
    let text: String = before.iter().map(String::as_str).chain([verifier]).map(|key| format!("{key}\n")).collect();
    files::replace(&folder.join(files::KEYS), text.as_bytes())
}

/// Removes what there is of these tiles in other widths: they are written in the one that counts.
fn remove_partials(folder: &Path, tiles: &[TileFile]) -> io::Result<()> {
    for tile in tiles {
        let full = folder.join(tile_path(tile.kind, tile.index, TILE_WIDTH));
        for width in files::partial_widths(&full)?.into_iter().filter(|width| *width != tile.width()) {
            platform::remove_file(&folder.join(tile_path(tile.kind, tile.index, width)))?;
        }
    }
    Ok(())
}
