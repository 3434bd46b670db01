//! What of the disk would survive a power cut: names that a flush of their folder covers, bytes that a flush of their
//! file covers, and any part of the rest.
//!
//! The files themselves are real, in a temporary folder: this is their shadow. It is stricter than the file systems in
//! use: each folder must be flushed for its own names, a new file's too (fsync(2) promises no more).

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use footage::platform::FileOp;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Blocks of the disk: each is written whole or not at all, but for one that the power cut tears.
const BLOCK_BYTES: usize = 512;
/// Pages of the kernel's cache: what a failed flush loses.
const PAGE_BYTES: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Folder,
    File(u64),
}

#[derive(Clone, Debug)]
enum Name {
    Folder(PathBuf),
    File(PathBuf, u64),
    Moved { from: PathBuf, to: PathBuf, inode: u64 },
    Removed(PathBuf),
}

impl Name {
    /// A flush of this folder makes it durable. A rename between two folders is one step of the journal.
    fn is_in(&self, folder: &Path) -> bool {
        match self {
            Self::Folder(path) | Self::File(path, _) | Self::Removed(path) => path.parent() == Some(folder),
            Self::Moved { from, to, .. } => from.parent() == Some(folder) || to.parent() == Some(folder),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Folder(path) => drop(names.insert(path.clone(), Node::Folder)),
            Self::File(path, inode) => drop(names.insert(path.clone(), Node::File(*inode))),
            Self::Removed(path) => drop(names.remove(path)),
            Self::Moved { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), Node::File(*inode));
            }
        }
    }
}

#[derive(Debug, Default)]
struct Flushed {
    /// As of the last flush.
    bytes: Vec<u8>,
    /// Pages that a failed flush lost: later flushes do not write them, unless they are written to again.
    lost_pages: Vec<usize>,
    /// Of a file whose last name was removed.
    last: Option<Vec<u8>>,
    len: u64,
}

/// The shadow of one disk.
#[derive(Debug)]
pub(crate) struct Disk {
    roots: Vec<PathBuf>,
    names: BTreeMap<PathBuf, Node>,
    /// Changes to names since, and whether a flush covers them.
    unsettled: Vec<(Name, bool)>,
    files: HashMap<u64, Flushed>,
    used: u64,
    /// Inodes that the change under way takes a name from.
    loses: Option<u64>,
    /// Bytes of the write under way.
    writes: usize,
}

fn inode(path: &Path) -> io::Result<u64> {
    Ok(std::fs::metadata(path)?.ino())
}

fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.metadata()?.len() as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

impl Disk {
    /// Everything below these folders is durable as it is.
    pub(crate) fn new(roots: Vec<PathBuf>) -> Self {
        let mut disk = Self {
            roots,
            names: BTreeMap::new(),
            unsettled: Vec::new(),
            files: HashMap::new(),
            used: 0,
            loses: None,
            writes: 0,
        };
        disk.settle();
        disk
    }

    /// All that is on the disk now is durable.
    pub(crate) fn settle(&mut self) {
        (self.names, self.files, self.used) = Default::default();
        self.unsettled.clear();
        for root in self.roots.clone() {
            self.take(&root);
        }
    }

    fn take(&mut self, path: &Path) {
        let Ok(meta) = std::fs::metadata(path) else { return };
        if meta.is_dir() {
            self.names.insert(path.to_owned(), Node::Folder);
            let mut below: Vec<PathBuf> =
                std::fs::read_dir(path).into_iter().flatten().map(|e| e.expect("an entry").path()).collect();
            below.sort_unstable();
            below.iter().for_each(|path| self.take(path));
        } else {
            let bytes = std::fs::read(path).expect("a file that is there");
            self.used += bytes.len() as u64;
            self.names.insert(path.to_owned(), Node::File(meta.ino()));
            self.files.insert(meta.ino(), Flushed { len: bytes.len() as u64, bytes, ..Flushed::default() });
        }
    }

    /// Bytes of all files.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    /// To be called before a change is made.
    pub(crate) fn before(&mut self, op: &FileOp<'_>) {
        self.loses = None;
        let path = match op {
            FileOp::Remove(path) => *path,
            FileOp::Rename { to, .. } => *to,
            _ => return,
        };
        if let (Ok(inode), Ok(bytes)) = (inode(path), std::fs::read(path)) {
            self.loses = Some(inode);
            if let Some(file) = self.files.get_mut(&inode) {
                file.last = Some(bytes);
            }
        }
    }

    /// To be called after it was made. `lasting`: what a flush covers is written.
    pub(crate) fn after(&mut self, op: &FileOp<'_>) -> io::Result<()> {
        match *op {
            FileOp::Create(path) => {
                let inode = inode(path)?;
                self.files.insert(inode, Flushed::default());
                self.unsettled.push((Name::File(path.to_owned(), inode), false));
            }
            FileOp::Write(file) => self.written_to_here(file)?,
            FileOp::WriteAt { file, at, .. } => self.written(file, at as usize)?,
            FileOp::SetLen(file, _) => self.grown(file)?,
            FileOp::Sync(file) => self.flushed(file)?,
            FileOp::SyncFolder(folder) => self.settle_folder(folder),
            FileOp::CreateFolder(path) => self.unsettled.push((Name::Folder(path.to_owned()), false)),
            FileOp::Rename { from, to } => {
                let name = Name::Moved { from: from.to_owned(), to: to.to_owned(), inode: inode(to)? };
                self.unsettled.push((name, false));
                self.forget_lost();
            }
            FileOp::Remove(path) => {
                self.unsettled.push((Name::Removed(path.to_owned()), false));
                self.forget_lost();
            }
            FileOp::SyncedIndex(_) => {}
        }
        Ok(())
    }

    fn forget_lost(&mut self) {
        if let Some(file) = self.loses.take().and_then(|inode| self.files.get(&inode)) {
            self.used -= file.len;
        }
    }

    fn grown(&mut self, file: &File) -> io::Result<()> {
        let meta = file.metadata()?;
        let Some(known) = self.files.get_mut(&meta.ino()) else { return Ok(()) };
        self.used = self.used + meta.len() - known.len;
        known.len = meta.len();
        Ok(())
    }

    /// A write ended where the file stands.
    fn written_to_here(&mut self, mut file: &File) -> io::Result<()> {
        let to = file.stream_position()? as usize;
        self.written(file, to - self.writes.min(to))
    }

    /// A write began at `from`.
    fn written(&mut self, file: &File, from: usize) -> io::Result<()> {
        self.grown(file)?;
        let to = from + self.writes;
        if let Some(known) = self.files.get_mut(&file.metadata()?.ino()) {
            // A page that is written to again is dirty again.
            known.lost_pages.retain(|page| (page + 1) * PAGE_BYTES <= from || page * PAGE_BYTES >= to);
        }
        Ok(())
    }

    /// The write under way takes so many bytes.
    pub(crate) fn writing(&mut self, bytes: usize) {
        self.writes = bytes;
    }

    fn flushed(&mut self, file: &File) -> io::Result<()> {
        let Some(known) = self.files.get_mut(&file.metadata()?.ino()) else { return Ok(()) };
        let mut bytes = read_all(file)?;
        for &page in &known.lost_pages {
            let range = page * PAGE_BYTES..bytes.len().min((page + 1) * PAGE_BYTES);
            for at in range {
                bytes[at] = known.bytes.get(at).copied().unwrap_or(0);
            }
        }
        known.bytes = bytes;
        Ok(())
    }

    /// A flush failed: the kernel has given up the dirty pages, and reads go on from its cache.
    pub(crate) fn lose_dirty_pages(&mut self, file: &File) -> io::Result<()> {
        let Some(known) = self.files.get_mut(&file.metadata()?.ino()) else { return Ok(()) };
        let bytes = read_all(file)?;
        let pages = bytes.len().div_ceil(PAGE_BYTES);
        let page_of = |of: &[u8], page: usize| {
            let of = of.get(page * PAGE_BYTES..).unwrap_or_default();
            of[..of.len().min(PAGE_BYTES)].to_vec()
        };
        known.lost_pages = (0..pages).filter(|&page| page_of(&bytes, page) != page_of(&known.bytes, page)).collect();
        Ok(())
    }

    fn settle_folder(&mut self, folder: &Path) {
        for (name, lasts) in &mut self.unsettled {
            *lasts |= name.is_in(folder);
        }
        let settled = self.unsettled.iter().take_while(|(_, lasts)| *lasts).count();
        for (name, _) in self.unsettled.drain(..settled) {
            name.apply(&mut self.names);
        }
    }

    /// The power goes and comes back: the folders hold what the disk kept.
    pub(crate) fn cut_power(&mut self, random: &mut SmallRng) {
        let mut names = self.names.clone();
        let by_chance = match random.random_range(0..4) {
            0 => 0,
            1 => self.unsettled.len(),
            _ => random.random_range(0..=self.unsettled.len()),
        };
        for (i, (name, lasts)) in self.unsettled.iter().enumerate() {
            if *lasts || i < by_chance {
                name.apply(&mut names);
            }
        }
        let present = self.present();
        let mut kept: Vec<(PathBuf, Option<Vec<u8>>)> = Vec::new();
        let mut folders: Vec<PathBuf> = Vec::new();
        for (path, node) in names {
            let below_root =
                self.roots.contains(&path) || path.parent().is_some_and(|p| folders.iter().any(|f| f == p));
            if !below_root {
                continue;
            }
            match node {
                Node::Folder => {
                    folders.push(path.clone());
                    kept.push((path, None));
                }
                Node::File(inode) => {
                    let file = self.files.get(&inode).expect("each file is known");
                    let now = present.get(&inode).or(file.last.as_ref()).unwrap_or(&file.bytes);
                    kept.push((path, Some(torn(&file.bytes, now, random))));
                }
            }
        }
        for root in &self.roots {
            std::fs::remove_dir_all(root).expect("a folder of the simulation");
        }
        for (path, bytes) in kept {
            match bytes {
                None => std::fs::create_dir_all(&path).expect("a folder of the simulation"),
                Some(bytes) => write_private(&path, &bytes).expect("a file of the simulation"),
            }
        }
        self.settle();
    }

    /// Bytes of every file that has a name now.
    fn present(&self) -> HashMap<u64, Vec<u8>> {
        let mut now = Self {
            roots: self.roots.clone(),
            names: BTreeMap::new(),
            unsettled: Vec::new(),
            files: HashMap::new(),
            used: 0,
            loses: None,
            writes: 0,
        };
        now.settle();
        now.files.into_iter().map(|(inode, file)| (inode, file.bytes)).collect()
    }
}

/// A file that only its owner may read, as key files must be.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// What a disk may hold of a file of which `flushed` was flushed and which is `now`.
fn torn(flushed: &[u8], now: &[u8], random: &mut SmallRng) -> Vec<u8> {
    if flushed == now {
        return flushed.to_vec();
    }
    let mut random = SmallRng::seed_from_u64(random.random());
    let len = match random.random_range(0..4) {
        0 => flushed.len(),
        1 => now.len(),
        _ => random.random_range(flushed.len().min(now.len())..=flushed.len().max(now.len())),
    };
    let share: f64 = random.random();
    let mut out = vec![0; len];
    for (i, block) in out.chunks_mut(BLOCK_BYTES).enumerate() {
        let start = i * BLOCK_BYTES;
        let newer = random.random_bool(share);
        let tear = if random.random_bool(0.05) { random.random_range(0..=block.len()) } else { block.len() };
        for (at, byte) in block.iter_mut().enumerate() {
            let from = if newer && at < tear { now } else { flushed };
            *byte = from.get(start + at).copied().unwrap_or(0);
        }
    }
    out
}
