//! Footage out over real HTTP: what an operator waits for, and what it costs the gateway.
//!
//! ```text
//! cargo bench --bench retrieval                  a day of one camera at 0.4 Mb/s, ten minutes of another at 4 Mb/s
//! VIGIE_BENCH_DIR=/data cargo bench …            elsewhere than in the temporary directory (needs 5 GB)
//! ```
//!
//! The gateway is the built command in a process of its own, over packs that the real writer and spool have made; the
//! client is a plain socket, so that nothing but the gateway is measured. *Cold* is the first request of a process that
//! has just started, with the files in the page cache; *warm* repeats it. *Dropped* asks for a part that nobody has
//! asked for, after the page cache was emptied (as root only).

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod camera;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use footage::clock::{Clock, Reading, SystemClock};
use footage::media::{Fragment, Params, Sample};
use footage::pack::{PackHeader, Stamp};
use footage::units::{CameraKey, PackId, RunId, TICKS_PER_SECOND, Ticks90k, WallTime};
use rand::RngExt;
use tokio::time::Instant;
use vigie::config::Config;
use vigie::index::Change;
use vigie::seal::Sealer;
use vigie::spool::Spool;

use camera::params;

const RATE: usize = 25;
const GOP_SECONDS: i64 = 2;
const PACK_SECONDS: i64 = 120;
const DAY_SECONDS: i64 = 86_400;
/// What a random access point is larger than another picture, about.
const RANDOM_ACCESS_SIZE: u64 = 8;
const REPEATS: usize = 20;

type Failure = Box<dyn std::error::Error>;

/// Footage of one camera: which, how long, how many bits a second.
struct Recording {
    key: CameraKey,
    start: WallTime,
    seconds: i64,
    bits_per_second: u64,
}

impl Recording {
    /// One second: sizes and intervals differ from picture to picture, as a camera's do.
    fn fragment(&self, params: &Arc<Params>, noise: &Bytes, second: i64) -> (Fragment, Stamp) {
        let mut random = rand::rng();
        let random_access = second % GOP_SECONDS == 0;
        let of_gop = self.bits_per_second / 8 * GOP_SECONDS as u64;
        let picture = of_gop / (RATE as u64 * GOP_SECONDS as u64 - 1 + RANDOM_ACCESS_SIZE);
        let mut video = Vec::with_capacity(RATE);
        let mut payload = Vec::new();
        let mut left = TICKS_PER_SECOND as u32;
        for n in 0..RATE {
            let scale = if random_access && n == 0 { RANDOM_ACCESS_SIZE } else { 1 };
            let size = random.random_range(picture / 2..picture * 3 / 2 + 1) * scale;
            let even = left / (RATE - n) as u32;
            let duration = if n + 1 == RATE { left } else { even + random.random_range(0..90) - 45 };
            left -= duration;
            let from = random.random_range(0..noise.len() - size as usize);
            payload.extend_from_slice(&noise[from..from + size as usize]);
            video.push(Sample { size: size as u32, duration, composition_offset: 0 });
        }
        let received = Reading { wall: self.start, mono: Duration::ZERO };
        let wall_start = WallTime(self.start.0 + second * TICKS_PER_SECOND);
        let fragment = Fragment {
            params: params.clone(),
            decode_time: Ticks90k(second * TICKS_PER_SECOND),
            duration: Ticks90k(TICKS_PER_SECOND),
            random_access,
            video,
            audio: Vec::new(),
            audio_decode_time: 0,
            payload: payload.into(),
            first_timestamp: second * TICKS_PER_SECOND,
            first_received: received,
            last_received: received,
            followed: true,
            arrivals: Vec::new(),
            losses: Vec::new(),
        };
        let wall_duration = Ticks90k(TICKS_PER_SECOND);
        (fragment, Stamp { wall_start, wall_duration, camera_time: None, gaps: Vec::new() })
    }

    async fn record(&self, spool: &Spool, noise: &Bytes) -> Result<(), Failure> {
        let (params, run) = (params(), RunId::generate(self.start));
        for first in (0..self.seconds).step_by(PACK_SECONDS as usize) {
            let at = WallTime(self.start.0 + first * TICKS_PER_SECOND);
            let header = PackHeader {
                pack: PackId::generate(at),
                camera: self.key.clone(),
                run,
                params: params.clone(),
                hold: None,
            };
            let pack = spool.open_pack(header)?;
            if first == 0 {
                pack.note(vec![Change::BeginRun { camera: self.key.clone(), run, start: at }]);
            }
            for second in first..self.seconds.min(first + PACK_SECONDS) {
                let (fragment, stamp) = self.fragment(&params, noise, second);
                pack.append(&fragment, stamp, Vec::new(), spool.room(fragment.payload.len()).await)?;
            }
            spool.seal(pack).await?;
        }
        Ok(())
    }

    /// The address of a clip.
    fn clip(&self, from_seconds: i64, seconds: i64) -> String {
        let at = |second: i64| WallTime(self.start.0 + second * TICKS_PER_SECOND);
        let (start, end) = (at(from_seconds), at(from_seconds + seconds));
        format!("/api/cameras/{}/clip.mp4?start={start}&end={end}", self.key.camera)
    }
}

fn configuration(dir: &Path, encrypt: bool) -> String {
    let mut text = format!(
        "[data]\ndir = \"{0}\"\nspool_dir = \"{0}/spool\"\ndisk_reserve_mib = 64\n\
         [[store]]\nurl = \"file://{0}/store\"\nencrypt = {encrypt}\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[[tenant]]\nid = \"town\"\n",
        dir.display()
    );
    for camera in ["day", "minutes"] {
        // Port 9 refuses: nothing is recorded while footage is read.
        let _ = writeln!(text, "[[tenant.camera]]\nid = \"{camera}\"\nplace = \"Town\"\nurl = \"rtsp://127.0.0.1:9/\"");
    }
    text
}

/// The gateway in a process of its own.
struct Gateway {
    child: Child,
    address: String,
}

impl Gateway {
    fn start(config: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vigie"))
            .args(["--log", "info", "run", "--config"])
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let output = child.stderr.take().ok_or("no standard error")?;
        let mut lines = BufReader::new(output).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let at = line.split("address=").nth(1)?;
                Some(at.split_whitespace().next()?.to_owned())
            })
            .ok_or("the gateway says no address")?;
        // What it says from here on is of no interest, and must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, address })
    }

    fn get(&self, path: &str) -> Result<Answer, Failure> {
        let began = Instant::now();
        let mut stream = TcpStream::connect(&self.address)?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut buffer = vec![0; 1 << 20];
        let mut head = Vec::new();
        let body_at = loop {
            let n = stream.read(&mut buffer)?;
            head.extend_from_slice(&buffer[..n]);
            if let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            if n == 0 {
                return Err("the answer broke off".into());
            }
        };
        let text = String::from_utf8_lossy(&head[..body_at]).to_ascii_lowercase();
        if !text.starts_with("http/1.1 200") {
            return Err(text.into());
        }
        let promised = text.split("content-length: ").nth(1).and_then(|t| t.split("\r\n").next()).map(str::parse);
        let mut bytes = (head.len() - body_at) as u64;
        let mut first_byte = (bytes > 0).then(|| began.elapsed());
        loop {
            let n = stream.read(&mut buffer)?;
            first_byte = first_byte.or_else(|| Some(began.elapsed()));
            if n == 0 {
                break;
            }
            bytes += n as u64;
        }
        if promised.as_ref().is_some_and(|promised| *promised != Ok(bytes)) {
            return Err(format!("{bytes} bytes came, {promised:?} were promised").into());
        }
        Ok(Answer { first_byte: first_byte.unwrap_or_default(), total: began.elapsed(), bytes })
    }

    /// User and system time so far.
    fn cpu(&self) -> Result<Duration, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        // Linux shows them in hundredths of a second (proc(5), USER_HZ).
        Ok(Duration::from_millis(ticks * 10))
    }

    /// A field of `/proc/…/status`, in MB.
    fn memory(&self, field: &str) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
        Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse::<u64>()? / 1024)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    first_byte: Duration,
    total: Duration,
    bytes: u64,
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Empties the page cache; false where that is not allowed.
fn drop_page_cache() -> bool {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

fn clip_row(gateway: &Gateway, name: &str, cold: &str, warm: &str) -> Result<(), Failure> {
    let first = gateway.get(cold)?;
    let mut warm_first: Vec<Duration> = Vec::new();
    let mut total = Duration::MAX;
    let repeats = if first.bytes > 1 << 30 { 2 } else { REPEATS };
    for _ in 0..repeats {
        let answer = gateway.get(warm)?;
        warm_first.push(answer.first_byte);
        total = total.min(answer.total);
    }
    warm_first.sort();
    println!(
        "{name:<28} {:>10.1} {:>10.1} {:>10.1} {:>11.0} {:>11.1}",
        millis(first.first_byte),
        millis(warm_first[repeats / 2]),
        millis(*warm_first.last().unwrap_or(&Duration::ZERO)),
        millis(total),
        first.bytes as f64 / 1e6
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let base = std::env::var_os("VIGIE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let (dir, encrypted) = (tempfile::tempdir_in(&base)?, tempfile::tempdir_in(&base)?);
    let now = SystemClock::default().wall();
    let hours_ago = |hours: i64| WallTime((now.0 / TICKS_PER_SECOND - hours * 3_600) * TICKS_PER_SECOND);
    let key = |camera: &str| format!("town/{camera}").parse::<CameraKey>();
    let day = Recording { key: key("day")?, start: hours_ago(26), seconds: DAY_SECONDS, bits_per_second: 400_000 };
    let minutes = Recording { key: key("minutes")?, start: hours_ago(2), seconds: 1_200, bits_per_second: 4_000_000 };
    let file = prepare(dir.path(), false, &[&day, &minutes]).await?;
    let encrypted = prepare(encrypted.path(), true, &[&minutes]).await?;

    println!("retrieval/clip_mp4              first byte, ms                    all of it");
    println!("                                   cold warm p50   warm max          ms          MB");
    for (name, recording, from, seconds) in [
        ("1s_of_4Mb/s", &minutes, 700, 1),
        ("10min_of_4Mb/s", &minutes, 300, 600),
        ("24h_of_0.4Mb/s_25fps", &day, 0, DAY_SECONDS),
    ] {
        let gateway = Gateway::start(&file)?;
        let clip = recording.clip(from, seconds);
        clip_row(&gateway, name, &clip, &clip)?;
    }
    for (name, from, seconds) in [("1s_of_4Mb/s_encrypted", 700, 1), ("10min_of_4Mb/s_encrypted", 300, 600)] {
        let gateway = Gateway::start(&encrypted)?;
        let clip = minutes.clip(from, seconds);
        clip_row(&gateway, name, &clip, &clip)?;
    }
    known_tables(&file, &day)?;
    dropped_page_cache(&file, &day, &minutes)?;
    cost("10min_of_4Mb/s_cost", &file, &minutes)?;
    cost("10min_of_4Mb/s_encrypted_cost", &encrypted, &minutes)?;
    memory(&file, &day)
}

/// A gateway's folder with these recordings in its store; gives its configuration.
async fn prepare(dir: &Path, encrypt: bool, recordings: &[&Recording]) -> Result<PathBuf, Failure> {
    let file = dir.join("vigie.toml");
    std::fs::write(&file, configuration(dir, encrypt))?;
    let config = Config::load(&file)?.config;
    let noise: Bytes = (0..4 << 20).map(|_| rand::random::<u8>()).collect::<Vec<_>>().into();
    let opened = vigie::gateway::open(&config, false).await?;
    opened.index.write(vec![Change::Configure(vigie::gateway::camera_rows(&config))]).await?;
    let tasks = Sealer::new(opened.spool.clone()).start()?;
    for recording in recordings {
        recording.record(&opened.spool, &noise).await?;
    }
    opened.spool.close();
    tasks.join().await;
    opened.index.close().await;
    Ok(file)
}

/// Tables in memory, layout not: another range of the same day.
fn known_tables(config: &Path, day: &Recording) -> Result<(), Failure> {
    let gateway = Gateway::start(config)?;
    gateway.get(&day.clip(0, DAY_SECONDS))?;
    let answer = gateway.get(&day.clip(1, DAY_SECONDS - 1))?;
    println!("{:<28} {:>10.1}", "24h_tables_in_memory", millis(answer.first_byte));
    Ok(())
}

fn dropped_page_cache(config: &Path, day: &Recording, minutes: &Recording) -> Result<(), Failure> {
    let clips = [
        ("1s_page_cache_dropped", minutes.clip(700, 1)),
        ("10min_page_cache_dropped", minutes.clip(100, 600)),
        ("24h_page_cache_dropped", day.clip(0, DAY_SECONDS)),
    ];
    for (name, clip) in clips {
        let gateway = Gateway::start(config)?;
        if !drop_page_cache() {
            println!("{name:<28} (only root can empty the page cache)");
            continue;
        }
        println!("{name:<28} {:>10.1}", millis(gateway.get(&clip)?.first_byte));
    }
    Ok(())
}

fn cost(name: &str, config: &Path, minutes: &Recording) -> Result<(), Failure> {
    let gateway = Gateway::start(config)?;
    let clip = minutes.clip(300, 600);
    gateway.get(&clip)?;
    let before = gateway.cpu()?;
    let mut bytes = 0;
    for _ in 0..REPEATS {
        bytes += gateway.get(&clip)?.bytes;
    }
    let cpu = gateway.cpu()?.saturating_sub(before);
    println!("retrieval/{name}: {:.3} CPU s/GB", cpu.as_secs_f64() / (bytes as f64 / 1e9));
    Ok(())
}

fn memory(config: &Path, day: &Recording) -> Result<(), Failure> {
    let gateway = Gateway::start(config)?;
    let resting = gateway.memory("VmHWM")?;
    gateway.get(&day.clip(0, DAY_SECONDS))?;
    let one = gateway.memory("VmHWM")?;
    let outcomes: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let clients = (0..4).map(|n| {
            let (gateway, path) = (&gateway, day.clip(n, DAY_SECONDS - n));
            scope.spawn(move || gateway.get(&path).map(drop).map_err(|e| e.to_string()))
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().map(|c| c.join().unwrap_or_else(|_| Err("a client panicked".into()))).collect()
    });
    outcomes.into_iter().collect::<Result<(), String>>()?;
    let four = gateway.memory("VmHWM")?;
    println!(
        "retrieval/24h_memory: at most {resting} MB at rest, {one} MB after one, {four} MB after four more at once"
    );
    Ok(())
}
