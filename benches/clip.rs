//! The boxes of a clip: from the index and the fragment tables of its packs to `moov`, no sample read.
//!
//! ```text
//! cargo bench --bench clip
//! ```
//!
//! A day of one camera at 25 images/s in packs of two minutes, as the real writer makes them; pictures are small, for
//! their bytes are not read. The tables are in memory after the first round, as they are when somebody looks around in
//! a day. Each round asks for another range, so that no layout is known.

mod camera;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use footage::clock::Reading;
use footage::media::{Fragment, Params, Sample};
use footage::pack::{PackHeader, Stamp};
use footage::units::{CameraKey, PackId, RunId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};
use futures::StreamExt;
use rand::RngExt;
use tokio::runtime::Runtime;
use vigie::config::Config;
use vigie::gateway::{self, Opened};
use vigie::index::Change;
use vigie::retrieve::Footage;
use vigie::retrieve::mp4::Clip;
use vigie::seal::Sealer;

use camera::params;

const BEGINNING: i64 = 1_780_000_000;
const HOURS: i64 = 24;
const PACK_SECONDS: i64 = 120;
const RATE: u32 = 25;
const PICTURE_BYTES: u32 = 64;

fn camera() -> CameraKey {
    "town/square".parse().expect("a camera")
}

fn at(second: i64) -> WallTime {
    WallTime((BEGINNING + second) * TICKS_PER_SECOND)
}

/// One second. Sizes and intervals differ from picture to picture, as a camera's do: no list in `moov` gets shorter.
fn fragment(params: &Arc<Params>, second: i64) -> (Fragment, Stamp) {
    let mut random = rand::rng();
    let mut left = TICKS_PER_SECOND as u32;
    let mut picture = |n: u32| {
        let even = left / (RATE - n);
        let duration = if n + 1 == RATE { left } else { even + random.random_range(0..90) - 45 };
        left -= duration;
        Sample { size: random.random_range(PICTURE_BYTES / 2..PICTURE_BYTES * 2), duration, composition_offset: 0 }
    };
    let video: Vec<Sample> = (0..RATE).map(&mut picture).collect();
    let received = Reading { wall: at(second), mono: Duration::ZERO };
    let fragment = Fragment {
        params: params.clone(),
        decode_time: Ticks90k(second * TICKS_PER_SECOND),
        duration: Ticks90k(TICKS_PER_SECOND),
        random_access: second % 2 == 0,
        payload: vec![0; video.iter().map(|sample| sample.size as usize).sum()].into(),
        video,
        audio: Vec::new(),
        audio_decode_time: 0,
        first_timestamp: second * TICKS_PER_SECOND,
        first_received: received,
        last_received: received,
        followed: true,
        arrivals: Vec::new(),
        losses: Vec::new(),
    };
    let stamp = Stamp {
        wall_start: at(second),
        wall_duration: Ticks90k(TICKS_PER_SECOND),
        camera_time: None,
        gaps: Vec::new(),
    };
    (fragment, stamp)
}

/// A day, in a store in a folder.
async fn record(dir: &Path) -> Footage {
    let file = dir.join("vigie.toml");
    let text = format!(
        "[data]\ndir = \"{0}\"\nspool_dir = \"{0}/spool\"\ndisk_reserve_mib = 64\n\
         [[store]]\nurl = \"file://{0}/store\"\n[[tenant]]\nid = \"town\"\n\
         [[tenant.camera]]\nid = \"square\"\nplace = \"Town\"\nurl = \"rtsp://127.0.0.1:9/\"\n",
        dir.display()
    );
    std::fs::write(&file, text).expect("a directory to write to");
    let config = Config::load(&file).expect("a good configuration").config;
    let Opened { index, spool, packs, clock, .. } = gateway::open(&config, false).await.expect("a new folder");
    index.write(vec![Change::Configure(gateway::camera_rows(&config))]).await.expect("a new index");
    let tasks = Sealer::new(spool.clone()).start().expect("a new spool");
    let (params, run) = (params(), RunId::generate(at(0)));
    for first in (0..HOURS * 3_600).step_by(PACK_SECONDS as usize) {
        let pack = PackId::generate(at(first));
        let header = PackHeader { pack, camera: camera(), run, params: params.clone(), hold: None };
        let pack = spool.open_pack(header).expect("a disk with room");
        if first == 0 {
            pack.note(vec![Change::BeginRun { camera: camera(), run, start: at(0) }]);
        }
        for second in first..first + PACK_SECONDS {
            let (fragment, stamp) = fragment(&params, second);
            let room = spool.room(fragment.payload.len()).await;
            pack.append(&fragment, stamp, Vec::new(), room).expect("a disk with room");
        }
        spool.seal(pack).await.expect("a disk with room");
    }
    spool.close();
    tasks.join().await;
    Footage::new(index, packs, clock)
}

fn lay_out(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory to write to");
    let footage = runtime.block_on(record(dir.path()));
    let mut group = c.benchmark_group("moov");
    group.sample_size(20);
    for (name, hours) in [("1h_25fps", 1), ("24h_25fps", HOURS)] {
        group.throughput(Throughput::Elements((hours * 3_600) as u64 * u64::from(RATE)));
        let mut later = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                later = (later + 1) % 1_000;
                let start = WallTime(at(0).0 + later * 90);
                let range = TimeRange::new(start, at(hours * 3_600)).expect("hours");
                runtime.block_on(async {
                    let clip = Clip::new(&footage, &camera(), range).await.expect("footage");
                    // The boxes come first, and samples are not read before they are asked for.
                    clip.body(0..clip.len()).next().await.expect("boxes").expect("boxes").len()
                })
            });
        });
    }
    group.finish();
}

criterion_group!(clip, lay_out);
criterion_main!(clip);
