//! What of the index would survive a power cut.
//!
//! SQLite in WAL mode with `synchronous=NORMAL` flushes its log before a checkpoint, its file after one, and otherwise
//! when the index asks for it; what was appended to the log since may be cut anywhere. A log that restarts does so
//! after a whole checkpoint. (https://www.sqlite.org/walformat.html: the log's header and frames, and the index of the
//! log in shared memory, from which the count of valid and of checkpointed frames is read.)

use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::SmallRng;

const WAL_HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;
const PAGE_BYTES: u64 = 4096;

#[derive(Debug)]
pub(crate) struct Log {
    index: PathBuf,
    /// Salts of the log as it was last seen: others begin a new one.
    salts: Option<[u8; 8]>,
    checkpointed: u32,
    /// Its valid bytes then.
    seen: u64,
    /// Bytes of the log that are durable.
    flushed: u64,
    /// The files when the machine stopped.
    remembered: Option<Remembered>,
}

#[derive(Debug)]
struct Remembered {
    file: Option<Vec<u8>>,
    log: Option<Vec<u8>>,
    valid: u64,
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The first bytes of a file, if it has as many.
fn head<const N: usize>(path: &Path) -> Option<[u8; N]> {
    use std::io::Read;
    let mut bytes = [0; N];
    std::fs::File::open(path).ok()?.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

impl Log {
    pub(crate) fn new(index: PathBuf) -> Self {
        Self { index, salts: None, checkpointed: 0, seen: 0, flushed: 0, remembered: None }
    }

    /// Valid bytes of the log, and how many of its frames are in the file.
    fn valid(&self) -> (u64, u32) {
        let Some(shared) = head::<136>(&beside(&self.index, "-shm")) else {
            // Nobody has opened it since the last crash.
            return (std::fs::metadata(beside(&self.index, "-wal")).map_or(0, |meta| meta.len()), 0);
        };
        let number = |at: usize| u32::from_ne_bytes([shared[at], shared[at + 1], shared[at + 2], shared[at + 3]]);
        let frames = u64::from(number(16));
        let bytes = if frames == 0 { 0 } else { WAL_HEADER_BYTES + frames * (FRAME_HEADER_BYTES + PAGE_BYTES) };
        (bytes, number(96))
    }

    /// Sees whether SQLite has flushed by itself; true when the log is another than at the last look.
    pub(crate) fn look(&mut self) -> bool {
        let before = (self.salts, self.seen);
        let wal = head::<32>(&beside(&self.index, "-wal"));
        let salts = wal.and_then(|wal| wal[16..24].try_into().ok());
        let (valid, checkpointed) = self.valid();
        if salts != self.salts {
            (self.salts, self.flushed, self.checkpointed) = (salts, 0, 0);
        }
        if checkpointed > self.checkpointed {
            (self.flushed, self.checkpointed) = (valid, checkpointed);
        }
        self.seen = valid;
        before != (self.salts, self.seen)
    }

    /// The index asked for a flush.
    pub(crate) fn flushed(&mut self) {
        self.look();
        self.flushed = self.valid().0;
    }

    /// Keeps the files as they are: those who still run may go on writing to them.
    pub(crate) fn remember(&mut self) {
        self.look();
        let read = |path: &Path| std::fs::read(path).ok();
        self.remembered = Some(Remembered {
            file: read(&self.index),
            log: read(&beside(&self.index, "-wal")),
            valid: self.valid().0,
        });
    }

    /// Puts the files back as they were when the machine stopped.
    pub(crate) fn restore(&mut self) {
        let Some(remembered) = self.remembered.take() else { return };
        self.put(remembered.file.as_deref(), remembered.log.as_deref());
        self.remembered = Some(remembered);
    }

    /// The same, with a log that lacks what was not flushed, or some of it.
    pub(crate) fn cut_power(&mut self, random: &mut SmallRng) {
        let Some(remembered) = self.remembered.take() else { return };
        let valid = remembered.valid;
        let kept = match random.random_range(0..3) {
            0 => self.flushed.min(valid),
            _ => random.random_range(self.flushed.min(valid)..=valid),
        };
        let log = remembered.log.as_deref().map(|log| &log[..log.len().min(kept as usize)]);
        self.put(remembered.file.as_deref(), log);
        self.flushed = kept;
    }

    fn put(&mut self, file: Option<&[u8]>, log: Option<&[u8]>) {
        // The next to open it counts the checkpointed frames from none again.
        self.checkpointed = 0;
        for (path, bytes) in [(self.index.clone(), file), (beside(&self.index, "-wal"), log)] {
            match bytes {
                Some(bytes) => std::fs::write(&path, bytes).expect("a file of the simulation"),
                None => drop(std::fs::remove_file(&path)),
            }
        }
        drop(std::fs::remove_file(beside(&self.index, "-shm")));
    }
}
