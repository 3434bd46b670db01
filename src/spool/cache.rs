//! Packs that the store has and the spool keeps, for as long as there is room.
//!
//! Invariant: what a cache file holds is in the store, acknowledged: deleting it loses nothing.

use std::io;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::recover::{Found, entries, named};
use super::{Spool, SpoolError, blocking};
use footage::platform;
use footage::units::{CameraKey, PackId};

impl Spool {
    /// The store has acknowledged this pack: its file is a cache from now on.
    pub(crate) fn keep_as_cache(&self, camera: &CameraKey, pack: PackId) -> io::Result<()> {
        match platform::rename(&self.whole_path(camera, pack), &self.cache_path(camera, pack)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed,
        }
    }

    /// Every cache file.
    pub(crate) async fn cache_files(&self) -> Result<Vec<Found>, SpoolError> {
        let dir = self.dir().to_owned();
        blocking(move || cache_files(&dir)).await
    }

    /// As [`Spool::free_bytes`], with a bound on what the spool holds: what it has above that counts as missing on the
    /// disk, so that cached packs go, then those beyond their guaranteed minimum, oldest first; inside the minimum
    /// recording goes on, with an alarm, for as long as the disk has room.
    pub fn free_bytes_within(&self, reserve_bytes: u64, spool_bytes_max: Option<u64>) -> Result<u64, SpoolError> {
        let free = self.free_bytes(reserve_bytes)?;
        let Some(max) = spool_bytes_max else { return Ok(free) };
        let mut used = used_bytes(self.dir())?;
        if used > max {
            for (_, path, bytes) in cached(self.dir())? {
                if used <= max {
                    break;
                }
                match platform::remove_file(&path) {
                    Ok(()) => used = used.saturating_sub(bytes),
                    Err(e) => warn!(path = %path.display(), error = %e, "a cached pack could not be removed"),
                }
            }
        }
        let over = used.saturating_sub(max);
        Ok(if over == 0 { free } else { free.min(reserve_bytes.saturating_sub(over)) })
    }

    /// Bytes that may still be written, after cached packs made room for what is missing to `reserve_bytes`. Blocks.
    pub fn free_bytes(&self, reserve_bytes: u64) -> Result<u64, SpoolError> {
        let dir = self.dir();
        let free = platform::free_bytes(dir).map_err(|source| SpoolError::Io { path: dir.to_owned(), source })?;
        if free >= reserve_bytes {
            return Ok(free);
        }
        let (mut freed, mut packs) = (0u64, 0u64);
        for (_, path, bytes) in cached(dir)? {
            if free.saturating_add(freed) >= reserve_bytes {
                break;
            }
            match platform::remove_file(&path) {
                Ok(()) => (freed, packs) = (freed + bytes, packs + 1),
                Err(e) => warn!(path = %path.display(), error = %e, "a cached pack could not be removed"),
            }
        }
        if packs > 0 {
            info!(packs, freed_bytes = freed, "cached packs made room");
        }
        platform::free_bytes(dir).map_err(|source| SpoolError::Io { path: dir.to_owned(), source })
    }
}

/// Bytes of all packs of the spool.
fn used_bytes(dir: &Path) -> Result<u64, SpoolError> {
    let mut used = 0u64;
    for tenant in entries(dir)? {
        for camera in entries(&tenant)? {
            let sizes = entries(&camera)?.into_iter().filter_map(|path| Some(std::fs::metadata(path).ok()?.len()));
            used = sizes.fold(used, u64::saturating_add);
        }
    }
    Ok(used)
}

/// Cache files, oldest pack first, with their sizes.
fn cached(dir: &Path) -> Result<Vec<(PackId, PathBuf, u64)>, SpoolError> {
    let files = cache_files(dir)?.into_iter().map(|Found { path, pack, .. }| {
        let bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        (pack, path, bytes)
    });
    let mut found: Vec<_> = files.collect();
    found.sort_by_key(|(pack, ..)| *pack);
    Ok(found)
}

fn cache_files(dir: &Path) -> Result<Vec<Found>, SpoolError> {
    named(dir, |name| name.strip_suffix(".cache.mp4")?.parse().ok())
}
