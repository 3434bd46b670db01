//! What stands between a crash and the next fragment: a thousand packs left open, mended and entered in the index.
//!
//! ```text
//! cargo bench --bench recovery                            1,000 cameras, each with two minutes in its open pack
//! VIGIE_BENCH_CAMERAS=100 cargo bench --bench recovery    fewer
//! VIGIE_BENCH_DIR=/data …                                 elsewhere than in the temporary directory
//! ```
//!
//! Beside it, in the same run, the same files with every sample hashed, as if the index knew none of them.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod camera;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use footage::clock::{Reading, SystemClock};
use footage::keys::Keys;
use footage::media::{Fragment, Params, Sample};
use footage::pack::{PackHeader, Stamp};
use footage::units::{CameraKey, PackId, RunId, TICKS_PER_SECOND, Ticks90k, WallTime};
use tokio::time::Instant;
use vigie::index::{CameraRow, Change, Index};
use vigie::spool::Spool;
use vigie::store::Store;

use camera::params;

const BEGINNING: i64 = 1_780_000_000 * TICKS_PER_SECOND;
const SECONDS: i64 = 120;
const PICTURES: usize = 25;
/// 0.4 Mb/s: ten of these are a camera of 4 Mb/s, whose pack has as many fragments.
const PICTURE_BYTES: u32 = 2_000;

type Failure = Box<dyn std::error::Error>;

/// One second of a camera of its own.
fn fragment(params: &Arc<Params>, camera: usize, second: i64) -> (Fragment, Stamp) {
    let byte = |i: u32| (i as usize * 31 + camera * 7 + second as usize) as u8;
    let picture: Bytes = (0..PICTURE_BYTES).map(byte).collect::<Vec<_>>().into();
    let duration = (TICKS_PER_SECOND / PICTURES as i64) as u32;
    let received = Reading { wall: WallTime(0), mono: std::time::Duration::ZERO };
    let fragment = Fragment {
        params: params.clone(),
        decode_time: Ticks90k(second * TICKS_PER_SECOND),
        duration: Ticks90k(TICKS_PER_SECOND),
        random_access: second % 2 == 0,
        video: vec![Sample { size: PICTURE_BYTES, duration, composition_offset: 0 }; PICTURES],
        audio: Vec::new(),
        audio_decode_time: 0,
        payload: vec![picture; PICTURES].concat().into(),
        first_timestamp: second * TICKS_PER_SECOND,
        first_received: received,
        last_received: received,
        followed: true,
        arrivals: Vec::new(),
        losses: Vec::new(),
    };
    let wall_start = WallTime(BEGINNING + second * TICKS_PER_SECOND);
    let stamp = Stamp { wall_start, wall_duration: Ticks90k(TICKS_PER_SECOND), camera_time: None, gaps: Vec::new() };
    (fragment, stamp)
}

async fn open(dir: &Path, index: &str) -> Result<(Index, Spool), Failure> {
    let index = Index::open(&dir.join(index)).await?;
    let keys = Keys::load_or_create(&dir.join("gateway.key"))?;
    let url = url::Url::from_directory_path(dir.join("store")).map_err(|()| "no absolute path")?;
    let store = Store::open(&url, &vigie::config::S3::default())?;
    let spool = Spool::new(&dir.join("spool"), store, index.clone(), Arc::new(SystemClock::default()), keys);
    Ok((index, spool))
}

fn configure(cameras: &[CameraKey]) -> Change {
    let row = |key: &CameraKey| CameraRow {
        key: key.clone(),
        name: String::new(),
        place: String::new(),
        configured: true,
        retention_max: Ticks90k(30 * 86_400 * TICKS_PER_SECOND),
        retention_min: Ticks90k::ZERO,
    };
    Change::Configure(cameras.iter().map(row).collect())
}

/// Records until the power goes: each pack is open, and the index knows all of it but the last fragment.
async fn leave_open(dir: &Path, cameras: &[CameraKey]) -> Result<(), Failure> {
    let (index, spool) = open(dir, "index.sqlite").await?;
    index.write(vec![configure(cameras)]).await?;
    let params = params();
    let mut packs = Vec::new();
    for (n, camera) in cameras.iter().enumerate() {
        let (pack, run) = (PackId::generate(WallTime(BEGINNING)), RunId::generate(WallTime(BEGINNING)));
        let pack =
            spool.open_pack(PackHeader { pack, camera: camera.clone(), run, params: params.clone(), hold: None })?;
        let begin = Change::BeginRun { camera: camera.clone(), run, start: WallTime(BEGINNING) };
        pack.note(vec![begin]);
        for second in 0..SECONDS - 1 {
            let (fragment, stamp) = fragment(&params, n, second);
            pack.append(&fragment, stamp, Vec::new(), spool.room(fragment.payload.len()).await)?;
            if second % 30 == 29 {
                spool.flush().await;
            }
        }
        packs.push(pack);
    }
    spool.flush().await;
    for (n, pack) in packs.iter().enumerate() {
        let (fragment, stamp) = fragment(&params, n, SECONDS - 1);
        pack.append(&fragment, stamp, Vec::new(), spool.room(fragment.payload.len()).await)?;
    }
    // The power goes between the flush and the index.
    index.close().await;
    spool.flush().await;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() { copy(&path, &target)? } else { std::fs::copy(&path, &target).map(drop)? }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let count = std::env::var("VIGIE_BENCH_CAMERAS").ok().map_or(Ok(1_000), |n| n.parse::<usize>())?;
    let base = std::env::var_os("VIGIE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(base)?;
    let (known, unknown) = (dir.path().join("known"), dir.path().join("unknown"));
    std::fs::create_dir(&known)?;
    let cameras: Vec<CameraKey> = (0..count).map(|n| format!("town/camera-{n}").parse()).collect::<Result<_, _>>()?;
    leave_open(&known, &cameras).await?;
    copy(&known, &unknown)?;

    let mut seconds = Vec::new();
    for (folder, index) in [(&known, "index.sqlite"), (&unknown, "empty.sqlite")] {
        let (index, spool) = open(folder, index).await?;
        index.write(vec![configure(&cameras)]).await?;
        let began = Instant::now();
        let recovered = spool.recover().await?;
        seconds.push(began.elapsed().as_secs_f64());
        if recovered.sealed != count {
            return Err(format!("recovered {recovered:?}, {count} packs were left open").into());
        }
        for camera in &cameras {
            let extent = index.extent(camera).await?.ok_or("a camera lost its footage")?;
            if extent.duration() != Ticks90k(SECONDS * TICKS_PER_SECOND) {
                return Err(format!("{camera} has {:?}", extent.duration()).into());
            }
        }
        index.close().await;
    }
    println!("recovery/{count}_open_packs_of_{SECONDS}s");
    println!("  samples known to be flushed are not hashed   {:8.2} s", seconds[0]);
    println!("  every sample hashed                          {:8.2} s", seconds[1]);
    Ok(())
}
