//! A clip of a whole day: exact to the byte, clean in ffprobe, and any part of it on demand.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use footage::media::Fragment;
use footage::units::Ticks90k;
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vigie::retrieve::mp4::Clip;

use super::real::{encode, run};
use super::rig::{Rig, at, between, body};

const DAY_SECONDS: i64 = 86_400;
/// Twelve minutes a pack, two seconds a random access point, two pictures a second.
const PACK_GOPS: i64 = 360;
const GOP_SECONDS: i64 = 2;
const PICTURES: i64 = DAY_SECONDS * 2;

fn later(fragment: &Fragment, seconds: i64) -> Fragment {
    Fragment { decode_time: Ticks90k(fragment.decode_time.0 + seconds * 90_000), ..fragment.clone() }
}

/// One random access point and what follows it, over and over.
async fn a_day() -> Rig {
    let gop = encode("-map 0:v -vf fps=2,scale=160:120 -t 2 -c:v libx264 -g 4 -bf 0 -preset veryfast").fragments;
    assert_eq!(gop.iter().map(|f| f.duration.0).sum::<i64>(), GOP_SECONDS * 90_000);
    let mut rig = Rig::new().await;
    for first in (0..DAY_SECONDS / GOP_SECONDS).step_by(PACK_GOPS as usize) {
        let seconds = (first..first + PACK_GOPS).map(|n| n * GOP_SECONDS);
        let fragments: Vec<Fragment> = seconds.flat_map(|s| gop.iter().map(move |f| later(f, s))).collect();
        rig.record(at(0), &fragments).await;
    }
    rig.settle().await;
    rig
}

/// What one piece of a clip's samples takes in memory at most, whatever the clip's length.
const PIECE_BYTES_MAX: usize = 1 << 20;

/// Writes the clip to a file as it comes, one chunk in memory.
async fn save(clip: &Arc<Clip>, mut file: &File) -> u64 {
    let (mut bytes, mut chunks) = (0, clip.body(0..clip.len()));
    while let Some(chunk) = chunks.try_next().await.expect("the packs are there") {
        assert!(chunk.len() <= PIECE_BYTES_MAX, "{} bytes at once", chunk.len());
        file.write_all(&chunk).expect("room on the disk");
        bytes += chunk.len() as u64;
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_of_a_day_is_exact_and_any_range_of_it_is_the_same_bytes() {
    let rig = a_day().await;
    let whole = between(0, DAY_SECONDS * 1_000);
    let clip = Clip::new(&rig.footage, &rig.camera, whole).await.expect("a day of footage");
    assert_eq!(clip.covers(), whole);
    let path = rig.dir.path().join("day.mp4");
    let file = File::create_new(&path).expect("a new file");
    assert_eq!(save(&clip, &file).await, clip.len());

    let name = path.to_str().expect("temporary folders have plain names");
    let shown =
        ["-count_packets", "-show_entries", "stream=nb_read_packets:format=duration", "-of", "csv=p=0:nk=1", name];
    assert_eq!(
        run("ffprobe", &shown).split_whitespace().collect::<Vec<_>>(),
        [PICTURES.to_string(), format!("{DAY_SECONDS}.000000")]
    );
    // From the middle of the day, as a player seeks: the picture of that second comes first.
    let seek = ["-ss", "43200", "-i", name, "-frames:v", "1", "-f", "framemd5", "-"];
    let first = ["-i", name, "-frames:v", "1", "-f", "framemd5", "-"];
    let hash = |said: String| said.lines().last().and_then(|l| l.rsplit(',').next().map(str::to_owned));
    assert_eq!(hash(run("ffmpeg", &seek)), hash(run("ffmpeg", &first)), "each two seconds begin alike");

    let again = Clip::new(&rig.footage, &rig.camera, whole).await.expect("a day of footage");
    assert_eq!(again.etag(), clip.etag());
    let file = File::open(&path).expect("the clip");
    let mut random = StdRng::seed_from_u64(24);
    for _ in 0..500 {
        let start = random.random_range(0..clip.len());
        let end = (start + random.random_range(1..200_000)).min(clip.len());
        let mut expect = vec![0; (end - start) as usize];
        file.read_exact_at(&mut expect, start).expect("inside the file");
        assert!(body(&again, start..end).await == expect, "bytes {start} to {end} differ");
    }
}
