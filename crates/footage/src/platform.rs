//! The machine beneath: files, threads that may block, chance.
//!
//! Invariant: where no simulation runs, each function is the call of the standard library or of tokio that it stands
//! for, and nothing else. A simulation takes the machine's place on one thread ([`simulate`]): it refuses, cuts short,
//! delays and counts these calls, and knows from them what a power cut leaves on the disk. What changes a file, may
//! block or draws lots goes through here; what only reads does not (`docs/adr/0002`).

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::distr::{Distribution, StandardUniform};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::ReadWriteFlags;
use tokio::task::JoinHandle;

/// A change to the disk.
#[derive(Clone, Copy, Debug)]
pub enum FileOp<'a> {
    /// A file is created; it did not exist.
    Create(&'a Path),
    /// Bytes are written where the file stands.
    Write(&'a File),
    /// Bytes are written at this place.
    WriteAt {
        /// Into which file.
        file: &'a File,
        /// From which byte on.
        at: u64,
        /// On which way to the disk.
        writing: Writing,
    },
    /// A file is cut or lengthened.
    SetLen(&'a File, u64),
    /// A file's bytes and length are flushed.
    Sync(&'a File),
    /// The names in a folder are flushed.
    SyncFolder(&'a Path),
    /// One folder is created; its parent exists.
    CreateFolder(&'a Path),
    /// A file gets another name, on the same file system; what had that name is gone.
    Rename {
        /// Its name before.
        from: &'a Path,
        /// Its name after.
        to: &'a Path,
    },
    /// A file's name is removed.
    Remove(&'a Path),
    /// SQLite has flushed the log of this database, by itself, as the index asked it to.
    SyncedIndex(&'a Path),
}

/// On which way what is written reaches the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// Past the page cache (`O_DIRECT`, open(2)): memory, place and length are multiples of [`BLOCK_BYTES`].
    Direct,
    /// Through the page cache, which forgets it at once (`RWF_DONTCACHE`, since Linux 6.14).
    Uncached,
    /// Through the page cache.
    Buffered,
}

impl Writing {
    /// The word for it in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Uncached => "uncached",
            Self::Buffered => "buffered",
        }
    }
}

/// What direct writing counts in: the page, which is a multiple of every block size in use.
pub const BLOCK_BYTES: usize = 4096;
/// Slices that one write takes (`IOV_MAX`, writev(2)).
const SLICES_MAX: usize = 1024;
/// `RWF_DONTCACHE` of linux/fs.h.
const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// What a simulation puts in the machine's place. What it does not say is that of a machine on which nothing happens.
pub trait Platform: Send + Sync {
    /// The change is about to be made; an error refuses it.
    fn before(&self, op: &FileOp<'_>) -> io::Result<()>;

    /// The change was made; an error hides that.
    fn after(&self, _: &FileOp<'_>) -> io::Result<()> {
        Ok(())
    }

    /// How many of these bytes one write takes.
    fn takes(&self, _: &File, bytes: usize) -> io::Result<usize> {
        Ok(bytes)
    }

    /// Work that may block waits for this before it begins.
    fn before_work(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Work that may block counts as done after this.
    fn after_work(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// The best that the disk offers.
    fn writing(&self) -> Writing {
        Writing::Buffered
    }

    /// Others may get their turn here: see [`turn`].
    fn turn(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Bytes that may still be written on the disk.
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    /// Anything.
    fn draw(&self) -> u64 {
        0
    }
}

thread_local! {
    static SIMULATED: RefCell<Option<Arc<dyn Platform>>> = const { RefCell::new(None) };
}

/// From now on this thread runs on that machine; `None`: on the real one.
pub fn simulate(platform: Option<Arc<dyn Platform>>) {
    SIMULATED.set(platform);
}

fn simulated() -> Option<Arc<dyn Platform>> {
    SIMULATED.with_borrow(Clone::clone)
}

fn change<T>(op: FileOp<'_>, real: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(platform) = simulated() else { return real() };
    platform.before(&op)?;
    let done = real()?;
    platform.after(&op)?;
    Ok(done)
}

/// Creates a file that must not exist, to be read and written.
pub fn create_new(path: &Path) -> io::Result<File> {
    change(FileOp::Create(path), || File::options().read(true).write(true).create_new(true).open(path))
}

/// Says that the file is written directly from here on ([`Writing::Direct`]), or not any more.
pub fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    if simulated().is_some() {
        return Ok(());
    }
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(rustix::fs::fcntl_setfl(file, flags)?)
}

/// The best way to the disk that the file system of this folder and the kernel offer, found out by trying: what a file
/// system says of itself is not always so.
pub fn best_writing(folder: &Path) -> io::Result<Writing> {
    if let Some(platform) = simulated() {
        return Ok(platform.writing());
    }
    let path = folder.join(format!(".writing-{}", std::process::id()));
    let tries = |file: &File, writing| {
        let memory = vec![0; 2 * BLOCK_BYTES];
        let from = memory.as_ptr().align_offset(BLOCK_BYTES);
        set_direct(file, writing == Writing::Direct)?;
        write_at(file, &[IoSlice::new(&memory[from..from + BLOCK_BYTES])], 0, writing)
    };
    let file = create_new(&path)?;
    let mut best = Ok(Writing::Buffered);
    for writing in [Writing::Direct, Writing::Uncached] {
        match tries(&file, writing) {
            Ok(_) => {
                best = Ok(writing);
                break;
            }
            Err(e) if is_unsupported(&e) => {}
            Err(e) => {
                best = Err(e);
                break;
            }
        }
    }
    remove_file(&path)?;
    best
}

/// Whether this error says that the file system or the kernel does not write in this way.
pub fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// Writes at a place of the file (pwritev2(2)), and says how many bytes were taken.
pub fn write_at(file: &File, slices: &[IoSlice<'_>], at: u64, writing: Writing) -> io::Result<usize> {
    let slices = &slices[..slices.len().min(SLICES_MAX)];
    let Some(platform) = simulated() else {
        return Ok(match writing {
            Writing::Direct | Writing::Buffered => rustix::io::pwritev(file, slices, at),
            Writing::Uncached => rustix::io::pwritev2(file, slices, at, DONTCACHE),
        }?);
    };
    let op = FileOp::WriteAt { file, at, writing };
    platform.before(&op)?;
    let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
    let taken = platform.takes(file, all.len())?;
    file.write_all_at(&all[..taken], at)?;
    platform.after(&op)?;
    Ok(taken)
}

/// As [`Write::write_vectored`].
pub fn write_vectored(mut file: &File, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let Some(platform) = simulated() else { return file.write_vectored(slices) };
    platform.before(&FileOp::Write(file))?;
    let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
    let taken = platform.takes(file, all.len())?;
    file.write_all(&all[..taken])?;
    platform.after(&FileOp::Write(file))?;
    Ok(taken)
}

/// As [`Write::write_all`].
pub fn write_all(file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match write_vectored(file, &[IoSlice::new(bytes)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// As [`File::set_len`].
pub fn set_len(file: &File, bytes: u64) -> io::Result<()> {
    change(FileOp::SetLen(file, bytes), || file.set_len(bytes))
}

/// Sets blocks of the disk aside for what will be written to this file from `from` on, its length unchanged, and says
/// whether that was done: not every file system can. A simulation has no blocks.
pub fn reserve(file: &File, from: u64, bytes: u64) -> bool {
    simulated().is_none() && rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, from, bytes).is_ok()
}

/// As [`File::sync_data`].
pub fn sync_data(file: &File) -> io::Result<()> {
    change(FileOp::Sync(file), || file.sync_data())
}

/// Flushes everything on the file system of this open folder: one call in place of one for each file. Since Linux 5.8
/// it fails when anything there could not be written since the folder was opened, or since the last call on it
/// (syncfs(2)); whose bytes they were, each file's own [`sync_data`] tells. A simulation knows of files only.
pub fn sync_disk(folder: &File) -> io::Result<()> {
    match simulated() {
        Some(_) => Err(io::ErrorKind::Unsupported.into()),
        None => Ok(rustix::fs::syncfs(folder)?),
    }
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    change(FileOp::SyncFolder(folder), || File::open(folder)?.sync_all())
}

/// Makes the name of a file or folder durable.
pub fn sync_name(path: &Path) -> io::Result<()> {
    sync_folder(path.parent().unwrap_or(path))
}

/// Creates a folder and those above it that are missing, each durable in the one above. For one that is there already,
/// that is not known: see [`Folders`].
pub fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        create_folders(above)?;
    }
    match change(FileOp::CreateFolder(folder), || std::fs::create_dir(folder)) {
        // Somebody else has just made it.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    sync_name(folder)
}

/// Folders below one root whose names are durable, as far as this process has seen to it: each is flushed into the one
/// above once. The process that made a folder may have ended before that.
#[derive(Debug, Default)]
pub struct Folders(Mutex<HashSet<PathBuf>>);

/// Folders remembered; past it all are flushed once more.
const FOLDERS_MAX: usize = 16_384;

impl Folders {
    /// Creates the folder, which lies below `root`, where it is missing, and makes its way from there durable.
    pub fn ensure(&self, root: &Path, folder: &Path) -> io::Result<()> {
        let known = || self.0.lock();
        if known().contains(folder) && folder.is_dir() {
            return Ok(());
        }
        create_folders(folder)?;
        for name in folder.ancestors().take_while(|name| *name != root && name.starts_with(root)) {
            sync_name(name)?;
        }
        let mut known = known();
        if known.len() >= FOLDERS_MAX {
            known.clear();
        }
        known.insert(folder.to_owned());
        Ok(())
    }
}

/// As [`std::fs::rename`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    change(FileOp::Rename { from, to }, || std::fs::rename(from, to))
}

/// As [`std::fs::remove_file`].
pub fn remove_file(path: &Path) -> io::Result<()> {
    change(FileOp::Remove(path), || std::fs::remove_file(path))
}

/// Removes a file, if it is there, so that no power cut brings it back.
pub fn remove_durably(path: &Path) -> io::Result<()> {
    match remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    sync_absence(path)
}

/// Makes the absence of a file durable, and that of the folders that became empty with it.
pub fn sync_absence(path: &Path) -> io::Result<()> {
    let above = path.ancestors().skip(1).filter(|folder| folder.is_dir());
    let mut synced = above.map(sync_folder);
    // A folder may go while it is looked at: another removal of the last file in it takes it away.
    let still_there = |synced: &io::Result<()>| !matches!(synced, Err(e) if e.kind() == io::ErrorKind::NotFound);
    synced.find(still_there).unwrap_or(Ok(()))
}

/// The index tells that SQLite flushed its log: a commit that must outlive a power cut.
pub fn synced_index(path: &Path) {
    // Nothing is done here that could fail.
    let _ = change(FileOp::SyncedIndex(path), || Ok(()));
}

/// Bytes that may still be written on the file system of this folder.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    if let Some(platform) = simulated() {
        return platform.free_bytes();
    }
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// As [`tokio::task::spawn_blocking`]: in a thread that may block. A simulation has one thread, and runs the work
/// there, as a task of its own.
pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let Some(platform) = simulated() else { return tokio::task::spawn_blocking(work) };
    tokio::spawn(async move {
        platform.before_work().await;
        let done = work();
        platform.after_work().await;
        done
    })
}

/// A step between which and the next something else may happen: before a lock is taken, before and after the index is
/// written. A simulation decides here who goes on; otherwise nothing is done.
pub async fn turn() {
    let platform = simulated();
    if let Some(platform) = platform {
        platform.turn().await;
    }
}

/// As [`rand::random`].
pub fn random<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    simulated().map_or_else(rand::random, |platform| SmallRng::seed_from_u64(platform.draw()).random())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which somebody removes a folder just before it is flushed.
    struct Vanishing(PathBuf);

    impl Platform for Vanishing {
        fn before(&self, op: &FileOp<'_>) -> io::Result<()> {
            match op {
                FileOp::SyncFolder(folder) if *folder == self.0 => std::fs::remove_dir(folder),
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn the_absence_of_a_file_is_durable_where_its_folder_goes_at_the_same_time() {
        let dir = tempfile::tempdir().unwrap();
        let day = dir.path().join("town/gate");
        std::fs::create_dir_all(&day).unwrap();
        simulate(Some(Arc::new(Vanishing(day.clone()))));
        let synced = sync_absence(&day.join("pack.mp4"));
        simulate(None);
        synced.expect("the folder above it is flushed");
        assert!(!day.exists() && dir.path().join("town").exists());
    }
}
