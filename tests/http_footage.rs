//! Footage over real sockets: clips by range, playlists and what they name, and packs that go away meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use catalogue::Roles;
use footage::clock::{Clock, Reading};
use footage::keys::Keys;
use footage::media::{Fragment, Params, Sample, VideoCodec, VideoParams};
use footage::pack::{PackHeader, Stamp};
use footage::units::{BootId, CameraKey, PackId, RunId, Ticks90k, TimeRange, WallTime};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use reqwest::header::{self, HeaderMap, HeaderName};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use vigie::archive::Archive;
use vigie::hold::{Holds, Request as HoldRequest};
use vigie::http::{Access, ServeLimits, Service, router, serve};
use vigie::index::{CameraRow, Change, Index};
use vigie::journals::Journals;
use vigie::people::{self, People};
use vigie::retrieve::Footage;
use vigie::seal::{Sealer, Tasks};
use vigie::spool::{Growing, Spool};
use vigie::status::StatusBoard;
use vigie::store::Store;

/// When recordings begin, on a Tuesday.
const NOON: WallTime = WallTime(1_772_539_200 * 90_000);

const RUN: RunId = RunId([9; 16]);

/// Pictures a second.
const RATE: u32 = 10;

/// So many fragments of a second, with samples that no two fragments share.
fn fragments(seconds: Range<i64>) -> Vec<Fragment> {
    let mut entry = vec![0, 0, 0, 86];
    entry.extend(b"avc1");
    entry.resize(86, 0);
    let params = Arc::new(Params {
        video: VideoParams {
            codec: VideoCodec::H264,
            width: 640,
            height: 360,
            sample_entry: entry.into(),
            rfc6381: "avc1.42C01E".to_owned(),
        },
        audio: None,
    });
    let received = Reading { wall: WallTime(0), mono: Duration::ZERO };
    let fragment = |second: i64| {
        let mut rng = StdRng::seed_from_u64(second.unsigned_abs());
        let payload: Vec<Bytes> = (0..RATE)
            .map(|_| {
                let mut bytes = vec![0; rng.random_range(100..4_000)];
                rng.fill_bytes(&mut bytes);
                bytes.into()
            })
            .collect();
        let sample =
            |bytes: &Bytes| Sample { size: bytes.len() as u32, duration: 90_000 / RATE, composition_offset: 0 };
        Fragment {
            params: params.clone(),
            decode_time: Ticks90k(second * 90_000),
            duration: Ticks90k(90_000),
            random_access: second % 2 == 0,
            video: payload.iter().map(sample).collect(),
            audio: Vec::new(),
            audio_decode_time: 0,
            payload: payload.into_iter().collect(),
            first_timestamp: second * 90_000,
            first_received: received,
            last_received: received,
            followed: true,
            arrivals: Vec::new(),
            losses: Vec::new(),
        }
    };
    seconds.map(fragment).collect()
}

/// A clock that shows a minute past noon.
#[derive(Debug)]
struct PastNoon;

impl Clock for PastNoon {
    fn read(&self) -> Reading {
        Reading { wall: at(60), mono: Duration::ZERO }
    }

    fn boot(&self) -> BootId {
        BootId([0; 16])
    }
}

/// A gateway whose recorder is the test.
struct Gateway {
    spool: Spool,
    holds: Holds,
    tasks: Option<Tasks>,
    packs: u8,
    client: Client,
    base: String,
    dir: TempDir,
    _stop: oneshot::Sender<()>,
}

impl Gateway {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let row = CameraRow {
            key: camera(),
            name: "Gate".into(),
            place: "Town".into(),
            configured: true,
            retention_max: Ticks90k(30 * 86_400 * 90_000),
            retention_min: Ticks90k::ZERO,
        };
        let index = Index::open(&dir.path().join("index.db")).await.unwrap();
        let begin = Change::BeginRun { camera: camera(), run: RUN, start: NOON };
        index.write(vec![Change::Configure(vec![row]), begin]).await.unwrap();
        let store_dir = dir.path().join("store");
        std::fs::create_dir(&store_dir).unwrap();
        let store_url = url::Url::from_directory_path(&store_dir).unwrap();
        let store = Store::open(&store_url, &vigie::config::S3::default()).unwrap();
        let keys = Keys::from_secret([7; 32]);
        let clock = Arc::new(PastNoon);
        let spool = Spool::new(&dir.path().join("spool"), store.clone(), index.clone(), clock.clone(), keys.clone());
        let tasks = Sealer::new(spool.clone()).start().unwrap();
        let packs = Archive::new(spool.clone(), store.clone());
        let utc = jiff::tz::TimeZone::UTC;
        let journals = Journals::new(dir.path().join("journal"), keys.clone(), store, index.clone(), clock.clone());
        journals.follow([(camera().tenant, 36)]).await;
        let holds = Holds::new(index.clone(), spool.clone(), packs.clone(), keys.clone(), clock.clone(), utc.clone());
        let path = people::path(dir.path());
        let people =
            People::open(path, Roles::built_in(), (index.clone(), &keys), journals.clone(), clock.clone()).await;
        let footage = Footage::new(index, packs, clock);
        let access = Access::new([(&camera().tenant, None, Roles::ALL_RIGHTS)]).unwrap();
        let service = Service::new(footage, holds.clone(), (journals, people), access, &utc, StatusBoard::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/api/cameras/gate", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(serve(listener, router(service), ServeLimits::default(), async {
            let _ = stopped.await;
        }));
        Self { spool, holds, tasks: Some(tasks), packs: 0, client: Client::new(), base, dir, _stop: stop }
    }

    /// Twelve seconds in two packs, from noon on.
    async fn of_two_packs() -> Self {
        let mut gateway = Self::start().await;
        for seconds in [0..6, 6..12] {
            let pack = gateway.open(&fragments(seconds)).await;
            gateway.spool.seal(pack).await.unwrap();
        }
        gateway
    }

    /// A pack with these fragments, flushed; it goes on growing.
    async fn open(&mut self, fragments: &[Fragment]) -> Arc<Growing> {
        self.packs += 1;
        let params = fragments[0].params.clone();
        let header = PackHeader { pack: PackId([self.packs; 16]), camera: camera(), run: RUN, params, hold: None };
        let pack = self.spool.open_pack(header).unwrap();
        self.append(&pack, fragments).await;
        pack
    }

    async fn append(&self, pack: &Growing, fragments: &[Fragment]) {
        for fragment in fragments {
            let stamp = Stamp {
                wall_start: NOON.saturating_add(fragment.decode_time),
                wall_duration: fragment.duration,
                camera_time: None,
                gaps: Vec::new(),
            };
            let room = self.spool.room(fragment.payload.len()).await;
            pack.append(fragment, stamp, Vec::new(), room).unwrap();
        }
        self.spool.flush().await;
    }

    async fn send(&self, method: Method, path: &str, headers: &[(HeaderName, &str)]) -> Response {
        let request = self.client.request(method, format!("{}/{path}", self.base));
        headers.iter().fold(request, |request, (name, value)| request.header(name, *value)).send().await.unwrap()
    }

    async fn get(&self, path: &str, headers: &[(HeaderName, &str)]) -> Response {
        self.send(Method::GET, path, headers).await
    }
}

/// Noon and so many seconds.
fn at(seconds: i64) -> WallTime {
    NOON.saturating_add(Ticks90k(seconds * 90_000))
}

fn camera() -> CameraKey {
    "town/gate".parse().unwrap()
}

fn clip(start: i64, end: i64) -> String {
    format!("clip.mp4?start={}&end={}", at(start), at(end))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers[name].to_str().unwrap()
}

async fn problem(response: Response, status: u16) -> String {
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(text(response.headers(), &header::CONTENT_TYPE), "application/problem+json");
    response.text().await.unwrap()
}

#[tokio::test]
async fn a_clip_has_its_exact_length_and_head_says_the_same() {
    let gateway = Gateway::of_two_packs().await;
    let get = gateway.get(&clip(1, 11), &[]).await;
    assert_eq!(get.status(), StatusCode::OK);
    let headers = get.headers().clone();
    let bytes = get.bytes().await.unwrap();
    assert_eq!(text(&headers, &header::CONTENT_LENGTH), bytes.len().to_string());
    assert_eq!(text(&headers, &header::CONTENT_TYPE), "video/mp4");
    assert_eq!(text(&headers, &header::ACCEPT_RANGES), "bytes");
    assert!(text(&headers, &header::ETAG).starts_with('"'));
    let name = "inline; filename=\"Gate (gate) 20260303T120001+0000 20260303T120011+0000.mp4\"; \
                filename*=UTF-8''Gate%20%28gate%29%2020260303T120001+0000%2020260303T120011+0000.mp4";
    assert_eq!(text(&headers, &header::CONTENT_DISPOSITION), name);
    assert_eq!(&bytes[4..8], b"ftyp");

    let head = gateway.send(Method::HEAD, &clip(1, 11), &[(header::RANGE, "bytes=5-9")]).await;
    assert_eq!(head.status(), StatusCode::OK);
    for name in
        [header::CONTENT_LENGTH, header::ETAG, header::CONTENT_TYPE, header::CACHE_CONTROL, header::ACCEPT_RANGES]
    {
        assert_eq!(head.headers()[&name], headers[&name], "{name}");
    }
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn five_hundred_random_ranges_equal_the_same_bytes_of_the_whole() {
    let gateway = Gateway::of_two_packs().await;
    let path = clip(1, 11);
    let whole = gateway.get(&path, &[]).await;
    let etag = text(whole.headers(), &header::ETAG).to_owned();
    let whole = whole.bytes().await.unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    for case in 0..500 {
        let first = rng.random_range(0..whole.len());
        let last = rng.random_range(first..whole.len() + 1_000);
        let (asked, want) = match case % 3 {
            0 => (format!("bytes={first}-{last}"), first..whole.len().min(last + 1)),
            1 => (format!("bytes={first}-"), first..whole.len()),
            _ => (format!("bytes=-{}", first + 1), whole.len() - first - 1..whole.len()),
        };
        let answer = gateway.get(&path, &[(header::RANGE, &asked), (header::IF_RANGE, &etag)]).await;
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT, "{asked}");
        let content_range = format!("bytes {}-{}/{}", want.start, want.end - 1, whole.len());
        assert_eq!(text(answer.headers(), &header::CONTENT_RANGE), content_range, "{asked}");
        assert!(answer.bytes().await.unwrap() == whole[want], "{asked}: other bytes");
    }
}

#[tokio::test]
async fn conditions_are_answered_as_http_says() {
    let gateway = Gateway::of_two_packs().await;
    let path = clip(1, 11);
    let whole = gateway.get(&path, &[]).await;
    let etag = text(whole.headers(), &header::ETAG).to_owned();
    let len = whole.bytes().await.unwrap().len();
    let first = (header::RANGE, "bytes=0-0");
    let status = async |headers: &[(HeaderName, &str)]| gateway.get(&path, headers).await.status().as_u16();
    assert_eq!(status(&[(header::IF_NONE_MATCH, &etag)]).await, 304);
    assert_eq!(status(&[(header::IF_NONE_MATCH, "\"other\"")]).await, 200);
    assert_eq!(status(&[first.clone(), (header::IF_RANGE, &etag)]).await, 206);
    assert_eq!(status(&[first.clone(), (header::IF_RANGE, "\"other\"")]).await, 200);
    assert_eq!(status(&[(header::RANGE, "bytes=0-0,2-3")]).await, 200);
    problem(gateway.get(&path, &[(header::IF_MATCH, "\"other\"")]).await, 412).await;
    let beyond = gateway.get(&path, &[(header::RANGE, &format!("bytes={len}-"))]).await;
    assert_eq!(text(beyond.headers(), &header::CONTENT_RANGE), format!("bytes */{len}"));
    problem(beyond, 416).await;
    let unchanged = gateway.get(&path, &[(header::IF_NONE_MATCH, &etag)]).await;
    assert_eq!(text(unchanged.headers(), &header::ETAG), etag);
    problem(gateway.get(&clip(100, 200), &[]).await, 404).await;
}

#[tokio::test]
async fn who_continues_gets_the_clip_begun_and_who_begins_gets_all_there_is() {
    let mut gateway = Gateway::start().await;
    let pack = gateway.open(&fragments(0..4)).await;
    let path = clip(0, 3600);
    let begun = gateway.get(&path, &[]).await;
    let etag = text(begun.headers(), &header::ETAG).to_owned();
    let begun = begun.bytes().await.unwrap();
    gateway.append(&pack, &fragments(4..8)).await;
    let rest = gateway.get(&path, &[(header::RANGE, "bytes=1000-"), (header::IF_RANGE, &etag)]).await;
    assert_eq!(rest.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(rest.bytes().await.unwrap(), begun[1000..]);
    let renewed = gateway.get(&path, &[(header::RANGE, "bytes=0-")]).await;
    assert_ne!(text(renewed.headers(), &header::ETAG), etag);
    assert!(renewed.bytes().await.unwrap().len() > begun.len());
}

#[tokio::test]
async fn a_playlist_names_bytes_that_are_there() {
    let mut gateway = Gateway::start().await;
    let whole = gateway.open(&fragments(0..6)).await;
    gateway.spool.seal(whole).await.unwrap();
    // Grows still: what has ended for half a minute is not live.
    let _growing = gateway.open(&fragments(6..12)).await;
    let range = format!("hls/vod.m3u8?start={}&end={}", at(0), at(12));
    for list in ["hls/live.m3u8", &range] {
        let playlist = gateway.get(list, &[]).await;
        let status = playlist.status();
        assert_eq!(status, StatusCode::OK, "{list}: {}", playlist.text().await.unwrap());
        assert_eq!(text(playlist.headers(), &header::CONTENT_TYPE), "application/vnd.apple.mpegurl");
        assert_eq!(text(playlist.headers(), &header::CACHE_CONTROL), "private, no-store");
        let playlist = playlist.text().await.unwrap();
        let maps = playlist.lines().filter_map(|l| l.strip_prefix("#EXT-X-MAP:URI=\"")?.split('"').next());
        let names: Vec<_> = playlist.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).chain(maps).collect();
        assert!(names.len() >= 3, "{playlist}");
        for name in names {
            let answer = gateway.get(&format!("hls/{name}"), &[]).await;
            assert_eq!(answer.status(), StatusCode::OK, "{name}");
            assert!(text(answer.headers(), &header::CACHE_CONTROL).contains("immutable"));
            let len: usize = text(answer.headers(), &header::CONTENT_LENGTH).parse().unwrap();
            assert_eq!(answer.bytes().await.unwrap().len(), len, "{name}");
        }
    }
    let pack = "00".repeat(16);
    problem(gateway.get(&format!("hls/{pack}/init.mp4"), &[]).await, 404).await;
    problem(gateway.get(&format!("hls/{pack}/0-0.m4s"), &[]).await, 404).await;
}

impl Gateway {
    /// Waits until every pack lies in the store and nothing moves any more; gives the files that hold footage.
    async fn settled(&mut self) -> Vec<PathBuf> {
        self.spool.close();
        self.tasks.take().unwrap().join().await;
        let mut files = Vec::new();
        let mut folders = vec![self.dir.path().join("store"), self.dir.path().join("spool")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { &mut folders } else { &mut files }.push(path);
            }
        }
        assert!(!files.is_empty());
        files
    }
}

#[tokio::test]
async fn a_pack_that_goes_away_breaks_the_body_off() {
    let mut gateway = Gateway::of_two_packs().await;
    let begun = gateway.get(&clip(0, 6), &[]).await;
    assert_eq!(begun.status(), StatusCode::OK);
    begun.bytes().await.unwrap();
    for file in gateway.settled().await {
        std::fs::remove_file(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
    // The layout is kept, its samples are gone: what was promised does not come, and that shows, in the body or, where
    // nothing of it was sent yet, before.
    let request = gateway.client.get(format!("{}/{}", gateway.base, clip(0, 6))).header(header::RANGE, "bytes=-1000");
    let whole = match request.send().await {
        Ok(broken) => broken.bytes().await.is_ok(),
        Err(_) => false,
    };
    assert!(!whole, "a body that cannot be whole must not look whole");
    let shown = problem(gateway.get(&clip(0, 6), &[]).await, 410).await;
    assert!(shown.contains("footage-lost") && shown.contains("missing"), "the next layout leaves it out: {shown}");
}

#[tokio::test]
async fn a_missing_pack_is_a_hole_that_the_headers_name() {
    let mut gateway = Gateway::of_two_packs().await;
    let first = format!("{}.mp4", PackId([1; 16]));
    let of_first = |file: &PathBuf| file.file_name().is_some_and(|name| name == first.as_str());
    let files = gateway.settled().await;
    let whole = gateway.get(&clip(0, 12), &[]).await;
    assert!(!whole.headers().contains_key("footage-holes") && !whole.headers().contains_key("footage-gaps"));
    let longer = gateway.get(&clip(3, 20), &[]).await;
    // Nobody knows why: the camera's recorder is the test.
    assert_eq!(longer.headers()["footage-gaps"], format!("\"{}/{}\"", at(12), at(20)).as_str());
    let whole = whole.bytes().await.unwrap().len();
    files.iter().filter(|file| of_first(file)).for_each(|file| std::fs::remove_file(file).unwrap());
    let hole = format!("\"{}/{}\";cause=missing", at(0), at(6));
    let answer = gateway.get(&clip(0, 11), &[]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["footage-holes"], hole.as_str());
    let left = answer.bytes().await.unwrap().len();
    assert!(left > whole / 4 && left < whole * 3 / 4, "{left} of {whole} bytes");
    problem(gateway.get(&clip(0, 5), &[]).await, 410).await;
    assert_eq!(gateway.get(&clip(7, 12), &[]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_damaged_pack_is_a_problem_that_shows_no_path() {
    let mut gateway = Gateway::of_two_packs().await;
    gateway.settled().await.into_iter().for_each(|file| std::fs::write(file, [0x5a; 100_000]).unwrap());
    for path in [clip(0, 6), format!("hls/{}/init.mp4", PackId([1; 16])), format!("hls/{}/0-1.m4s", PackId([1; 16]))] {
        let shown = problem(gateway.get(&path, &[]).await, 410).await;
        assert!(shown.contains("damaged") && !shown.contains(gateway.dir.path().to_str().unwrap()), "{path}: {shown}");
    }
}

#[tokio::test]
async fn a_hold_s_clip_is_that_of_the_timeline_byte_for_byte() {
    let gateway = Gateway::of_two_packs().await;
    let request = HoldRequest {
        camera: camera(),
        range: TimeRange::new(at(3), at(9)).unwrap(),
        reference: "PV 117".into(),
        requester: "Major Durand".into(),
        reason: "theft".into(),
        until: at(86_400),
    };
    let hold = gateway.holds.place(request).await.unwrap().hold.facts.id;
    let mut copied = 0;
    while copied < 2 {
        copied += gateway.holds.copy_all().await.unwrap();
        tokio::task::yield_now().await;
    }
    let of_hold = format!("../../holds/{hold}/clip.mp4");
    let timeline = gateway.get(&clip(3, 9), &[]).await.bytes().await.unwrap();
    let held = gateway.get(&of_hold, &[]).await.bytes().await.unwrap();
    // The file says that it is a hold's; its samples are the same.
    let samples = |file: &Bytes| file[file.windows(4).position(|kind| kind == b"mdat").unwrap()..].to_vec();
    assert!(samples(&held) == samples(&timeline), "{} bytes, {} in the timeline", held.len(), timeline.len());
    let facts: Value = serde_json::from_slice(footage::clip::facts(&held).unwrap().unwrap()).unwrap();
    assert_eq!(facts["hold"], hold.to_string());
    let path = format!("{of_hold}?start={}&end={}", at(4), at(20));
    let (part, whole) = (gateway.get(&path, &[(header::RANGE, "bytes=-100")]).await, gateway.get(&path, &[]).await);
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert!(text(whole.headers(), &header::CONTENT_DISPOSITION).contains("PV%20117.mp4"));
    let (part, whole) = (part.bytes().await.unwrap(), whole.bytes().await.unwrap());
    assert!(part == whole[whole.len() - 100..]);
    let timeline = gateway.get(&clip(4, 9), &[]).await.bytes().await.unwrap();
    assert!(samples(&whole) == samples(&timeline));
    let coverage: Value = gateway.get(&path.replace("mp4", "json"), &[]).await.json().await.unwrap();
    assert_eq!((&coverage["hold"], &coverage["file"]["bytes"]), (&hold.to_string().into(), &whole.len().into()));
}

/// Sixteen seconds: two packs, two seconds without footage, and a pack with pictures of another size.
async fn of_two_sizes() -> Gateway {
    let mut gateway = Gateway::of_two_packs().await;
    let mut wide = fragments(14..18);
    let mut params = (*wide[0].params).clone();
    params.video.width = 1_280;
    let params = Arc::new(params);
    wide.iter_mut().for_each(|fragment| fragment.params = params.clone());
    let pack = gateway.open(&wide).await;
    gateway.spool.seal(pack).await.unwrap();
    gateway
}

#[tokio::test]
async fn a_range_with_two_sizes_is_two_files_and_says_so() {
    let gateway = of_two_sizes().await;
    let refused = problem(gateway.get(&clip(1, 17), &[]).await, 409).await;
    for word in ["several-parts", "part=1 to part=2", "640x360", "1280x360", "clip.json"] {
        assert!(refused.contains(word), "{word}: {refused}");
    }
    let coverage = gateway.get(&clip(1, 17).replace("mp4", "json"), &[]).await;
    let coverage: Value = coverage.json().await.unwrap();
    assert_eq!(coverage["asked"], serde_json::json!({ "start": at(1).to_string(), "end": at(17).to_string() }));
    assert_eq!(coverage["gaps"], serde_json::json!([{ "start": at(12).to_string(), "end": at(14).to_string() }]));
    assert_eq!(coverage["file"], Value::Null);
    let parts = coverage["parts"].as_array().unwrap();
    assert_eq!((parts.len(), &parts[0]["width"], &parts[1]["width"]), (2, &640.into(), &1_280.into()));
    let mut files = Vec::new();
    for (number, (start, end)) in (1..).zip([(1, 12), (14, 17)]) {
        let part = &parts[number - 1];
        assert_eq!((&part["part"], &part["start"]), (&number.into(), &at(start).to_string().into()));
        assert_eq!(
            part["pictures"],
            serde_json::json!([{ "start": at(start).to_string(), "end": at(end).to_string() }])
        );
        let path = format!("{}&part={number}", clip(1, 17));
        let file = gateway.get(&path, &[]).await;
        assert_eq!(file.status(), StatusCode::OK);
        let name = text(file.headers(), &header::CONTENT_DISPOSITION).to_owned();
        assert!(name.contains(&format!("part {number}.mp4")), "{name}");
        let one: Value = gateway.get(&path.replace("mp4", "json"), &[]).await.json().await.unwrap();
        assert_eq!(one["file"]["etag"], text(file.headers(), &header::ETAG));
        assert!(name.contains(one["file"]["name"].as_str().unwrap()), "{name}");
        let bytes = file.bytes().await.unwrap();
        assert_eq!(one["file"]["bytes"], bytes.len());
        let pictures = footage::clip::pictures(&bytes).unwrap();
        assert_eq!(pictures.len() as i64, (end - start) * i64::from(RATE));
        assert_eq!((pictures[0].at, pictures.last().unwrap().at), (at(start), WallTime(at(end).0 - 9_000)));
        files.push(bytes);
    }
    assert_ne!(files[0], files[1]);
    problem(gateway.get(&format!("{}&part=3", clip(1, 17)), &[]).await, 400).await;
    for bad in ["part=0", "part=-1", "part=x", "gaps=shown", "sha256=true"] {
        problem(gateway.get(&format!("{}&{bad}", clip(1, 17)), &[]).await, 400).await;
    }
}

#[tokio::test]
async fn a_file_s_digest_is_that_of_its_bytes_whichever_are_sent() {
    let gateway = Gateway::of_two_packs().await;
    let (path, want) = (clip(1, 11), [(HeaderName::from_static("want-repr-digest"), "sha-512=3, sha-256=10")]);
    let plain = gateway.get(&path, &[]).await;
    assert!(plain.headers().get("repr-digest").is_none(), "nobody wanted it");
    let bytes = plain.bytes().await.unwrap();
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    let expect = format!("sha-256=:{}:", BASE64.encode(sha256));
    let wanted = gateway.get(&path, &want).await;
    assert_eq!(wanted.headers()["repr-digest"], expect.as_str());
    assert_eq!(wanted.bytes().await.unwrap(), bytes);
    // Known by now, and of the whole for a part of it too.
    let part = gateway.get(&path, &[(header::RANGE, "bytes=7-9")]).await;
    assert_eq!(
        (part.status(), &part.headers()["repr-digest"]),
        (StatusCode::PARTIAL_CONTENT, &expect.parse().unwrap())
    );
    let beside = gateway.get(&format!("{}&sha256=true", path.replace("mp4", "json")), &[]).await;
    let content = text(beside.headers(), &HeaderName::from_static("content-digest")).to_owned();
    let json = beside.bytes().await.unwrap();
    let own = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &json);
    assert_eq!(content, format!("sha-256=:{}:", BASE64.encode(own)));
    let hex: String = sha256.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(serde_json::from_slice::<Value>(&json).unwrap()["file"]["sha256"], hex);
}
