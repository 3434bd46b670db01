//! What a package lies in: a folder, or its ZIP.
//!
//! Invariant: only regular files below the folder are opened, and no link is followed.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use footage::failure::{Failure, Kind};
use rustix::fs::OFlags;

use super::Report;
use crate::names;
use crate::zip::{self, Entry, ReadAt, ZipError};

/// Folders within one another.
const DEPTH_MAX: usize = 8;
/// Names below a folder.
const NAMES_MAX: usize = zip::FILES_MAX as usize;

/// A package cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Open {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in it cannot be read.
    #[error("the package cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Its ZIP is another.
    #[error(transparent)]
    Zip(#[from] ZipError),
    /// The folder has too much in it.
    #[error("{0} has more files or deeper folders than a package")]
    TooMany(PathBuf),
}

impl Failure for PackageError {
    fn kind(&self) -> Kind {
        match self {
            Self::Open { source, .. } | Self::Io(source) | Self::Zip(ZipError::Io(source)) => Failure::kind(source),
            Self::Zip(ZipError::Form { .. }) => Kind::Corrupt,
            Self::TooMany(_) => Kind::Invalid,
        }
    }
}

/// A file of a package.
pub(super) struct Item {
    pub(super) name: String,
    pub(super) bytes: u64,
    place: Place,
}

enum Place {
    Zip(Entry),
    File(PathBuf),
}

/// A package's files, by name.
pub(super) struct Container {
    items: Vec<Item>,
    zip: Option<Arc<dyn ReadAt>>,
}

/// The bytes of a file, from its beginning.
pub(super) struct Bytes {
    source: Arc<dyn ReadAt>,
    at: u64,
    end: u64,
}

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = (self.end - self.at).min(buffer.len() as u64) as usize;
        let n = self.source.read_at(&mut buffer[..len], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Container {
    pub(super) fn open(path: &Path, report: &mut Report) -> Result<Self, PackageError> {
        let failed = |source| PackageError::Open { path: path.to_owned(), source };
        let of = path.metadata().map_err(failed)?;
        if of.is_dir() {
            return Self::folder(path, report);
        }
        let file = regular(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        Ok(Self::zip(Arc::new(file), len)?)
    }

    pub(super) fn zip(zip: Arc<dyn ReadAt>, len: u64) -> Result<Self, ZipError> {
        let entries = zip::read_directory(&*zip, len)?;
        let item = |entry: Entry| Item { name: entry.name.clone(), bytes: entry.bytes, place: Place::Zip(entry) };
        let mut items: Vec<Item> = entries.into_iter().map(item).collect();
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { items, zip: Some(zip) })
    }

    fn folder(root: &Path, report: &mut Report) -> Result<Self, PackageError> {
        let (mut items, mut folders, mut seen) = (Vec::new(), vec![(root.to_owned(), String::new(), 0)], 0);
        while let Some((folder, prefix, depth)) = folders.pop() {
            let failed = |source| PackageError::Open { path: folder.clone(), source };
            for entry in std::fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                seen += 1;
                if seen > NAMES_MAX || depth > DEPTH_MAX {
                    return Err(PackageError::TooMany(root.to_owned()));
                }
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                // Of the name itself: a link is none of these.
                let of = entry.metadata().map_err(failed)?;
                if of.is_dir() {
                    folders.push((entry.path(), format!("{name}/"), depth + 1));
                } else if !of.is_file() {
                    report.found(&name, "it is no regular file: no package has links or devices");
                } else if !names::is_plain(&name) {
                    report.found(&name, "it is no file of the package: it was added");
                } else {
                    items.push(Item { name, bytes: of.len(), place: Place::File(entry.path()) });
                }
            }
        }
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { items, zip: None })
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    pub(super) fn item(&self, name: &str) -> Option<&Item> {
        let place = self.items.binary_search_by(|item| item.name.as_str().cmp(name)).ok()?;
        self.items.get(place)
    }

    pub(super) fn reader(&self, item: &Item) -> Result<Bytes, PackageError> {
        match (&item.place, &self.zip) {
            (Place::Zip(entry), Some(zip)) => Ok(Bytes { source: zip.clone(), at: entry.data_at(), end: entry.end() }),
            (Place::File(path), _) => {
                let file = regular(path).map_err(|source| PackageError::Open { path: path.clone(), source })?;
                Ok(Bytes { source: Arc::new(file), at: 0, end: item.bytes })
            }
            (Place::Zip(_), None) => Err(io::Error::from(io::ErrorKind::NotFound).into()),
        }
    }

    /// What of the ZIP's own bytes around this file is not as it has to be.
    pub(super) fn header_fault(&self, item: &Item, crc: u32) -> Result<Option<String>, PackageError> {
        let (Place::Zip(entry), Some(zip)) = (&item.place, &self.zip) else { return Ok(None) };
        let right = entry.local_header();
        let mut given = vec![0; right.len()];
        zip.read_exact_at(&mut given, entry.at)?;
        if crc != entry.crc {
            return Ok(Some("its checksum in the ZIP was changed, and it was not".to_owned()));
        }
        Ok((given != right).then(|| "its header in the ZIP was changed, and it was not".to_owned()))
    }
}

/// A regular file, to be read: no link, and no pipe, which would wait for its writer.
fn regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "is no regular file")),
    }
}
