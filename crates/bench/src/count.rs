//! What a recorder has kept of what the fleet sent.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use footage::pack::reader;
use footage::units::{PackId, WallTime};
use vigie::config::Config;
use vigie::gateway;
use vigie::index::PackState;

use super::Failure;

const PAGE: u32 = 1_024;

/// Pictures of each camera in the packs that the index knows and that began no earlier. (An index that the gateway was
/// started with may know millions of others.)
pub(super) async fn pictures_of_gateway(config: &Config, cameras: usize, since: WallTime) -> Result<Vec<u64>, Failure> {
    let opened = gateway::open(config, true).await.map_err(Failure::failed)?;
    let mut pictures = vec![0; cameras];
    let mut after = Some(PackId::generate(since));
    loop {
        let packs = opened.index.packs_after(after, PAGE).await.map_err(Failure::failed)?;
        let Some(last) = packs.last() else { return Ok(pictures) };
        after = Some(last.id);
        for pack in packs.iter().filter(|pack| pack.state <= PackState::Stored) {
            let stored = opened.store.local_file(&pack.camera, pack.id);
            let files = opened.spool.files(&pack.camera, pack.id);
            let Some(file) = stored.iter().chain(&files).find(|file| file.exists()) else { continue };
            let table = reader::read_table(file, opened.keys.vault()).map_err(Failure::failed)?;
            let camera = pack.camera.camera.as_str().parse::<usize>().ok();
            if let Some(count) = camera.and_then(|camera| pictures.get_mut(camera)) {
                *count += table.fragments.iter().map(|f| f.video.len() as u64).sum::<u64>();
            }
        }
    }
}

/// Bytes that the files below a folder take on disk.
pub(super) fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => disk_bytes(&entry.path()),
        Ok(data) => data.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}
