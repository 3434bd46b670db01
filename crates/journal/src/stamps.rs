//! The time stamps that are kept beside a journal, each with the checkpoint that it is of.
//!
//! ```text
//! stamp/<size>-<time>.checkpoint    the checkpoint, as it was
//! stamp/<size>-<time>.tsr           the authority's reply, as it came (RFC 3161)
//! ```
//!
//! Invariant: a reply is there after its checkpoint. A checkpoint without one is what the end of the gateway cut off.

use std::io;
use std::path::Path;

use footage::platform;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

use crate::checkpoint::{CHECKPOINT_BYTES_MAX, Head};
use crate::files;
use crate::stamp::REPLY_BYTES_MAX;

/// Where they lie.
pub(crate) const STAMPS: &str = "stamp";
const REPLY: &str = "tsr";
const CHECKPOINT: &str = "checkpoint";
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// So many of the last ones are kept; of those before, the first of each day.
const RECENT_KEPT: usize = 1000;
/// No more files are looked at: hourly ones of two years, and daily ones of a century.
const STAMPS_MAX: usize = 1 << 17;

/// A time stamp, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    /// The size of the tree in the checkpoint that it is of.
    pub size: u64,
    /// The time that it says, in whole seconds.
    pub at: Timestamp,
}

impl Kept {
    fn name(self, extension: &str) -> String {
        format!("{STAMPS}/{:012}-{}.{extension}", self.size, self.at.strftime(TIME))
    }

    /// The name of the authority's reply, below the journal's folder.
    pub fn reply(self) -> String {
        self.name(REPLY)
    }

    /// The name of the checkpoint, below the journal's folder.
    pub fn checkpoint(self) -> String {
        self.name(CHECKPOINT)
    }

    fn day(self) -> Date {
        Offset::UTC.to_datetime(self.at).date()
    }

    /// Of a file's name, and whether that is the reply's.
    pub(crate) fn of_name(name: &str) -> Option<(Self, bool)> {
        let (stem, extension) = name.strip_prefix(STAMPS)?.strip_prefix('/')?.rsplit_once('.')?;
        let (size, at) = stem.split_once('-')?;
        let at = Offset::UTC.to_timestamp(DateTime::strptime(TIME, at).ok()?).ok()?;
        let kept = Self { size: size.parse().ok()?, at };
        // One name alone may stand for a file.
        (kept.name(extension) == name && [REPLY, CHECKPOINT].contains(&extension)).then_some((kept, extension == REPLY))
    }
}

/// The names of all files of time stamps, below the journal's folder, in order. Blocks.
pub(crate) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder.join(STAMPS)) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut names = Vec::new();
    for entry in entries {
        if names.len() == STAMPS_MAX {
            let what = format!("has more than {STAMPS_MAX} files");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        names.push(format!("{STAMPS}/{}", entry?.file_name().to_string_lossy()));
    }
    names.sort();
    Ok(names)
}

/// The time stamps beside a journal, the oldest first. Blocks.
///
/// # Errors
/// When the disk refuses.
pub fn kept(folder: &Path) -> io::Result<Vec<Kept>> {
    let replies = |name: &String| Kept::of_name(name).filter(|(_, is_reply)| *is_reply).map(|(kept, _)| kept);
    Ok(names(folder)?.iter().filter_map(replies).collect())
}

/// A file of a time stamp, by its name. Blocks.
///
/// # Errors
/// When there is none, or the disk refuses.
pub fn read(folder: &Path, name: &str) -> io::Result<Vec<u8>> {
    let none = || io::Error::new(io::ErrorKind::NotFound, format!("{name} is missing"));
    let (_, is_reply) = Kept::of_name(name).ok_or_else(none)?;
    let bytes_max = if is_reply { REPLY_BYTES_MAX } else { CHECKPOINT_BYTES_MAX };
    files::read(&folder.join(name), bytes_max)?.ok_or_else(none)
}

/// Keeps a reply that says `at` of this checkpoint, durably, and removes what is kept no longer. Blocks for several flushes.
///
/// # Errors
/// When the disk refuses.
pub fn keep(folder: &Path, head: Head, checkpoint: &[u8], reply: &[u8], at: Timestamp) -> io::Result<Kept> {
    let kept = Kept { size: head.size, at };
    files::replace(&folder.join(kept.checkpoint()), checkpoint)?;
    files::replace(&folder.join(kept.reply()), reply)?;
    thin(folder)?;
    Ok(kept)
}

/// A later one proves of the same entries that they were there: what goes is how exactly their time is known.
fn thin(folder: &Path) -> io::Result<()> {
    let kept = kept(folder)?;
    let old = &kept[..kept.len().saturating_sub(RECENT_KEPT)];
    let mut day = None;
    for stamp in old {
        if day.replace(stamp.day()) == Some(stamp.day()) {
            platform::remove_file(&folder.join(stamp.reply()))?;
            platform::remove_file(&folder.join(stamp.checkpoint()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_ones_are_thinned_to_one_a_day_and_names_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let hour = jiff::SignedDuration::from_hours(1);
        let mut at: Timestamp = "2026-11-27T00:30:00Z".parse().unwrap();
        let mut all = Vec::new();
        // Of three days more than are kept; their last calls thin what the ones before left.
        for size in 0..RECENT_KEPT as u64 + 72 {
            let stamp = Kept { size, at };
            std::fs::create_dir_all(dir.path().join(STAMPS)).unwrap();
            std::fs::write(dir.path().join(stamp.checkpoint()), b"c").unwrap();
            std::fs::write(dir.path().join(stamp.reply()), b"r").unwrap();
            (at, _) = (at + hour, all.push(stamp));
        }
        let last = keep(dir.path(), Head { size: 5000, root: [0; 32] }, b"c", b"r", at).unwrap();
        let found = kept(dir.path()).unwrap();
        let days: Vec<u64> = found.iter().take(5).map(|stamp| stamp.size).collect();
        assert_eq!((days, found.len()), (vec![0, 24, 48, 72, 73], RECENT_KEPT + 4));
        assert_eq!(found.last(), Some(&last));
        assert_eq!(names(dir.path()).unwrap().len(), 2 * found.len());
        for name in ["stamp/5-20261127T003000Z.tsr", "stamp/000000000005-20261127T003000Z.txt", "stamp/x.tsr"] {
            assert_eq!(Kept::of_name(name), None, "{name}");
        }
    }
}
