//! The files of a journal: where they lie, how they are read and written.
//!
//! Invariant: a file that is replaced is whole at every moment: written beside, flushed, and renamed.

use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use footage::platform::{self, Writing};
use jiff::civil::Date;
use rustix::fs::OFlags;

use crate::tree::{TILE_WIDTH, TileKind, tile_path, unit_bytes};

/// Where the checkpoint lies.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// Where the keys lie that have signed checkpoints.
pub(crate) const KEYS: &str = "keys";
/// Where the contents lie.
pub(crate) const CONTENT: &str = "content";
/// A journal has no more files of contents: a century of days, each of several files.
const CONTENTS_MAX: usize = 1 << 17;

/// A file of entries: those of one day, from one number on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContentFile {
    pub(crate) first: u64,
    pub(crate) day: Date,
    pub(crate) path: PathBuf,
}

impl ContentFile {
    pub(crate) fn at(folder: &Path, first: u64, day: Date) -> Self {
        Self { first, day, path: content_folder(folder).join(format!("{first:012}-{day}.jsonl")) }
    }

    fn of_path(path: PathBuf) -> Option<Self> {
        let (first, day) = path.file_name()?.to_str()?.strip_suffix(".jsonl")?.split_once('-')?;
        let (first, day) = (first.parse().ok()?, day.parse().ok()?);
        let file = Self { first, day, path };
        // One name alone may stand for a file: none can be renamed unseen.
        file.path.ends_with(file.name()).then_some(file)
    }

    /// As a reader knows it: below the journal's folder.
    pub(crate) fn name(&self) -> String {
        format!("{CONTENT}/{:012}-{}.jsonl", self.first, self.day)
    }
}

pub(crate) fn content_folder(folder: &Path) -> PathBuf {
    folder.join(CONTENT)
}

/// The files of entries, in their order. What has another name is in `strangers`. There are no more of both than a journal
/// can have.
pub(crate) fn contents(folder: &Path) -> io::Result<(Vec<ContentFile>, Vec<PathBuf>)> {
    let (mut files, mut strangers) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(content_folder(folder))? {
        let path = entry?.path();
        match ContentFile::of_path(path.clone()) {
            Some(file) => files.push(file),
            None => strangers.push(path),
        }
        if files.len() + strangers.len() > CONTENTS_MAX {
            let what = format!("has more than {CONTENTS_MAX} files");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
    }
    files.sort();
    strangers.sort();
    Ok((files, strangers))
}

/// A regular file that is no longer than this, to be read: no device, pipe or symbolic link, which may have no end or lead
/// elsewhere. `None` where there is none.
pub(crate) fn open(path: &Path, bytes_max: u64) -> io::Result<Option<File>> {
    // Opening a pipe would wait for its writer.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let of = file.metadata()?;
    let bad = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    match of.is_file() {
        false => bad("is no regular file".to_owned()),
        true if of.len() > bytes_max => bad(format!("is longer than {bytes_max} bytes")),
        true => Ok(Some(file)),
    }
}

/// A whole regular file that is no longer than this; `None` where there is none.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open(path, bytes_max)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, format!("is longer than {bytes_max} bytes"))),
        false => Ok(Some(bytes)),
    }
}

/// The first so many units of a tile: from the tile itself, or from one with more of the same.
pub(crate) fn read_tile(folder: &Path, kind: TileKind, index: u64, width: usize) -> io::Result<Vec<u8>> {
    let bytes_max = (TILE_WIDTH * unit_bytes(kind)) as u64;
    let mut widths = partial_widths(&folder.join(tile_path(kind, index, TILE_WIDTH)))?;
    widths.push(TILE_WIDTH);
    for wider in widths.into_iter().filter(|w| *w >= width) {
        if let Some(mut bytes) = read(&folder.join(tile_path(kind, index, wider)), bytes_max)?
            && bytes.len() == wider * unit_bytes(kind)
        {
            bytes.truncate(width * unit_bytes(kind));
            return Ok(bytes);
        }
    }
    let path = tile_path(kind, index, width);
    Err(io::Error::new(io::ErrorKind::NotFound, format!("{path} is missing, or has another length")))
}

/// The widths of the partial tiles in the place of this full one, from the least.
pub(crate) fn partial_widths(full: &Path) -> io::Result<Vec<usize>> {
    let mut folder = full.as_os_str().to_owned();
    folder.push(".p");
    let names = match std::fs::read_dir(PathBuf::from(folder)) {
        Ok(names) => names,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut widths = Vec::new();
    for name in names {
        let width =
            name?.file_name().to_str().and_then(|name| name.parse::<u8>().ok().filter(|w| w.to_string() == name));
        widths.extend(width.map(usize::from));
    }
    widths.sort_unstable();
    Ok(widths)
}

/// Writes a file whole, in the place of one that may be there, and makes it durable.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(above) = path.parent() {
        platform::create_folders(above)?;
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    match platform::remove_file(&draft) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = platform::create_new(&draft)?;
    platform::write_all(&file, bytes)?;
    platform::sync_data(&file)?;
    platform::rename(&draft, path)?;
    platform::sync_name(path)
}

/// Writes all of it at this place, through the page cache.
pub(crate) fn write_all_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match platform::write_at(file, &[IoSlice::new(bytes)], at, Writing::Buffered) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => (bytes, at) = (&bytes[n..], at + n as u64),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
