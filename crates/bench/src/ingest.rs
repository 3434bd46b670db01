//! Recorders take turns at a fleet that sends each of them the same.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use footage::clock::{Clock, SystemClock};
use footage::units::WallTime;
use testkit::camera::fleet::FleetPlan;
use tokio::process::Command;
use tokio::time::{Instant, sleep};
use tracing::info;
use vigie::config::Config;

use super::fleet::{Handle, State};
use super::process::{self, Cpu, ProcessGroup};
use super::report::{BenchReport, Durable, Turn};
use super::{Failure, Ingest, Recorder, count, started, viewers, warm};

/// Until every camera plays.
const PLAYING_WITHIN: Duration = Duration::from_secs(120);
/// Between every camera playing and the measurement.
const WARM_UP: Duration = Duration::from_secs(3);
/// Between the last picture sent and the end: what lies in sockets is read meanwhile.
const SETTLE: Duration = Duration::from_secs(3);
/// For a recorder to end after the signal.
const END_WITHIN: Duration = Duration::from_secs(120);

/// How the gateway names its threads that record.
const RECORDING_THREADS: &str = "record-";

/// Measures, prints the table, writes the JSON.
pub(super) async fn run(args: Ingest) -> Result<(), Failure> {
    let scratch = Scratch::create(&args).map_err(Failure::failed)?;
    let mut report = BenchReport {
        vigie: env!("CARGO_PKG_VERSION"),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        tick_ms: args.tick_ms,
        durability_ms: args.durability_ms,
        machine: super::report::machine(&scratch.path),
        turns: Vec::new(),
    };
    let rounds = std::iter::repeat_n(&args.recorders, args.rounds.max(1)).flatten();
    for (n, &recorder) in rounds.enumerate() {
        if recorder == Recorder::Ffmpeg && !has_ffmpeg().await {
            tracing::warn!("ffmpeg is not installed: its turn is left out");
            continue;
        }
        warm::fill_page_cache(&scratch.path.join(format!("memory-{n}")))?;
        let turn = turn(&args, recorder, &scratch.path).await?;
        info!(recorder = turn.recorder, cpu_s_per_gb = turn.cpu_s_per_gb, "measured");
        report.turns.push(turn);
    }
    report.compare();
    super::print(&report.table())?;
    if let Some(file) = &args.json {
        let json = serde_json::to_vec_pretty(&report).map_err(Failure::failed)?;
        std::fs::write(file, json).map_err(|e| Failure(format!("{}: {e}", file.display())))?;
    }
    Ok(())
}

/// Where a recorder's turn takes place.
pub(super) struct Place {
    name: String,
    /// Goes with the turn.
    dir: PathBuf,
    /// What is recorded.
    pub(super) data: PathBuf,
    /// What the recorder says.
    pub(super) log: PathBuf,
    pub(super) cameras: usize,
    /// Nothing is recorded before.
    pub(super) since: WallTime,
}

impl Place {
    fn create(args: &Ingest, recorder: Recorder, scratch: &Path) -> Result<Self, Failure> {
        let cameras = match recorder {
            Recorder::Ffmpeg => args.ffmpeg_cameras.min(args.cameras),
            Recorder::Gateway | Recorder::Buffered | Recorder::Uncached | Recorder::Direct => args.cameras,
        };
        let name = format!("{recorder:?}").to_lowercase();
        let dir = scratch.join(&name);
        let data = dir.join("data");
        std::fs::create_dir_all(&data).map_err(Failure::failed)?;
        if let Some(index) = args.index.as_ref().filter(|_| recorder == Recorder::Gateway) {
            copy_cold(index, &data.join("index.sqlite")).map_err(Failure::failed)?;
        }
        let since = SystemClock::default().wall();
        Ok(Self { log: dir.join("log"), name, dir, data, cameras, since })
    }

    fn start(&self, args: &Ingest, recorder: Recorder, address: &str) -> Result<ProcessGroup, Failure> {
        let commands = match recorder {
            Recorder::Gateway => vec![gateway(args, &self.dir, address, self.cameras)?],
            Recorder::Buffered | Recorder::Uncached | Recorder::Direct => {
                vec![floor(args, &self.name, &self.data, (address, self.cameras))?]
            }
            Recorder::Ffmpeg => (0..self.cameras).map(|camera| ffmpeg(&self.data, address, camera)).collect(),
        };
        ProcessGroup::start(commands, &self.log)
    }
}

/// Copies a file that lies on the disk then, and not in the page cache: as after a restart of the machine.
fn copy_cold(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::copy(from, to)?;
    let copied = std::fs::File::open(to)?;
    copied.sync_all()?;
    Ok(rustix::fs::fadvise(&copied, 0, None, rustix::fs::Advice::DontNeed)?)
}

/// What the machine and the fleet say at an instant.
struct Counters {
    cpu: Cpu,
    recording: Cpu,
    fleet_cpu: Cpu,
    sent: State,
}

impl Counters {
    async fn read(group: &ProcessGroup, fleet: &mut Handle) -> Result<Self, Failure> {
        Ok(Self {
            recording: group.cpu_of_threads(RECORDING_THREADS),
            cpu: group.cpu(),
            fleet_cpu: process::cpu(fleet.pid()),
            sent: fleet.state().await?,
        })
    }
}

/// What was seen from one instant to another.
struct Seen {
    before: Counters,
    after: Counters,
    /// Resident memory, second by second, smallest first.
    memory: Vec<u64>,
    memory_peak: u64,
    seconds: f64,
    all_playing_after: Duration,
    all_recorded_after: Option<Duration>,
    ended_after: Duration,
    viewers: Option<viewers::Seen>,
}

/// One recorder's turn, in a folder that goes with it.
async fn turn(args: &Ingest, recorder: Recorder, scratch: &Path) -> Result<Turn, Failure> {
    let place = Place::create(args, recorder, scratch)?;
    let plan =
        FleetPlan { cameras: place.cameras, bits_per_second: (args.mbps * 1e6) as u64, threads: args.fleet_threads };
    let mut fleet = Handle::start(plan)?;
    let address = fleet.state().await?.address.to_string();
    let group = place.start(args, recorder, &address)?;
    let seen = observe(args, recorder, &place, fleet, group).await?;
    let turn = reported(args, recorder, &place, seen).await?;
    if !args.keep {
        std::fs::remove_dir_all(&place.dir).map_err(Failure::failed)?;
    }
    Ok(turn)
}

/// Lets the recorder record, and ends it.
async fn observe(
    args: &Ingest,
    recorder: Recorder,
    place: &Place,
    mut fleet: Handle,
    group: ProcessGroup,
) -> Result<Seen, Failure> {
    let began = Instant::now();
    wait_until_all_play(&mut fleet, &group, place.cameras, &place.log).await?;
    let all_playing_after = began.elapsed();
    let mut all_recorded_after = None;
    if recorder == Recorder::Gateway {
        started::wait_until_all_record(place, &group).await?;
        all_recorded_after = Some(began.elapsed());
    }
    sleep(WARM_UP).await;
    let mut watching = None;
    if recorder == Recorder::Gateway && args.viewers > 0 {
        watching = Some(viewers::Handle::start(&served_at(&place.log)?, args.viewers, place.cameras)?);
        sleep(WARM_UP).await;
    }

    let before = Counters::read(&group, &mut fleet).await?;
    let measured = Instant::now();
    let mut memory = Vec::new();
    for _ in 0..args.seconds {
        sleep(Duration::from_secs(1)).await;
        memory.push(group.memory());
        if group.is_broken() {
            return Err(ended_early(&place.name, &place.log));
        }
    }
    let seconds = measured.elapsed().as_secs_f64();
    memory.sort_unstable();
    let viewers = match watching {
        Some(watching) => Some(watching.end().await?),
        None => None,
    };
    fleet.hush().await?;
    sleep(SETTLE).await;
    let mut after = Counters::read(&group, &mut fleet).await?;
    let memory_peak = group.memory_peak();
    if recorder == Recorder::Ffmpeg {
        // It ends when its camera hangs up; after a signal, it waits for a packet first.
        drop(fleet);
    }
    let ended_after;
    (after.cpu, ended_after) = group.end(END_WITHIN).await?;
    Ok(Seen {
        before,
        after,
        memory,
        memory_peak,
        seconds,
        all_playing_after,
        all_recorded_after,
        ended_after,
        viewers,
    })
}

/// The figures of what was seen.
async fn reported(args: &Ingest, recorder: Recorder, place: &Place, seen: Seen) -> Result<Turn, Failure> {
    let Seen { before, after, .. } = seen;
    let sent = after.sent;
    let cpu = after.cpu.since(before.cpu);
    let received_bytes = sent.bytes - before.sent.bytes;
    let gb = received_bytes as f64 / 1e9;
    let each: Vec<u64> = sent.cameras.iter().map(|tally| tally.pictures).collect();
    let left_out: u64 = sent.cameras.iter().map(|tally| tally.left_out).sum();
    let pictures_sent = each.iter().sum::<u64>() + left_out;
    let is_gateway = recorder == Recorder::Gateway;
    let pictures_recorded = if is_gateway { Some(recorded(&place.dir, place.since, &each).await?) } else { None };
    Ok(Turn {
        recorder: place.name.clone(),
        cameras: place.cameras,
        mbps: args.mbps,
        seconds: seen.seconds,
        received_bytes,
        cpu_user_s: cpu.user,
        cpu_system_s: cpu.system,
        cpu_s_per_gb: cpu.total() / gb,
        cpu_user_s_per_gb: cpu.user / gb,
        cpu_system_s_per_gb: cpu.system / gb,
        recording_cpu_s_per_gb: is_gateway.then(|| after.recording.since(before.recording).total() / gb),
        viewers: seen.viewers,
        of_buffered: None,
        of_direct: None,
        memory_steady_bytes: seen.memory.get(seen.memory.len() / 2).copied().unwrap_or(0),
        memory_peak_bytes: seen.memory_peak,
        disk_bytes_per_byte: count::disk_bytes(&place.data) as f64 / sent.bytes as f64,
        pictures_sent,
        pictures_recorded,
        pictures_lost: pictures_recorded.map(|recorded| pictures_sent.saturating_sub(recorded)),
        durable: durable(&place.log),
        all_playing_after_s: seen.all_playing_after.as_secs_f64(),
        all_recorded_after_s: seen.all_recorded_after.map(|after| after.as_secs_f64()),
        ended_after_s: seen.ended_after.as_secs_f64(),
        fleet_cpu_s_per_gb: after.fleet_cpu.since(before.fleet_cpu).total() / gb,
        fleet_late_max_ms: sent.late_max_ms,
    })
}

async fn wait_until_all_play(
    fleet: &mut Handle,
    group: &ProcessGroup,
    cameras: usize,
    log: &Path,
) -> Result<(), Failure> {
    let began = Instant::now();
    loop {
        let playing = fleet.state().await?.playing;
        if playing >= cameras as u64 {
            return Ok(());
        }
        if group.is_broken() {
            return Err(ended_early("the recorder", log));
        }
        if began.elapsed() > PLAYING_WITHIN {
            return Err(Failure(format!("only {playing} of {cameras} cameras play")));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Where the gateway says that it serves.
fn served_at(log: &Path) -> Result<String, Failure> {
    let said = std::fs::read_to_string(log).map_err(Failure::failed)?;
    let address = said.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
    address.map(str::to_owned).ok_or_else(|| Failure("the gateway does not say where it serves".to_owned()))
}

pub(super) fn ended_early(name: &str, log: &Path) -> Failure {
    let said = std::fs::read_to_string(log).unwrap_or_default();
    let tail: Vec<&str> = said.lines().rev().take(5).collect();
    Failure(format!("{name} ended early: {}", tail.into_iter().rev().collect::<Vec<_>>().join("\n")))
}

/// Pictures in the gateway's packs. None may be there that its camera did not send.
async fn recorded(dir: &Path, since: WallTime, sent: &[u64]) -> Result<u64, Failure> {
    let config = Config::load(&dir.join("vigie.toml")).map_err(Failure::failed)?.config;
    let recorded = count::pictures_of_gateway(&config, sent.len(), since).await?;
    match recorded.iter().zip(sent).position(|(recorded, sent)| recorded > sent) {
        Some(camera) => Err(Failure(format!("camera {camera} has more pictures than it sent"))),
        None => Ok(recorded.iter().sum()),
    }
}

/// What the gateway says at its end of the time until fragments were durable.
fn durable(log: &Path) -> Option<Durable> {
    let said = std::fs::read_to_string(log).ok()?;
    let line = said.lines().rfind(|line| line.contains("fragments became durable"))?;
    let field = |name: &str| {
        let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
        value.parse::<f64>().ok()
    };
    Some(Durable { p50_ms: field("p50_ms")?, p99_ms: field("p99_ms")?, max_ms: field("max_ms")? })
}

fn gateway(args: &Ingest, dir: &Path, address: &str, cameras: usize) -> Result<Command, Failure> {
    let data = dir.join("data");
    let config = dir.join("vigie.toml");
    let mut text = format!(
        "[data]\ndir = {data:?}\nspool_dir = {:?}\ndisk_reserve_mib = 64\n[[store]]\nurl = \"file://{}\"\nencrypt = {}\n\
         [http]\nlisten = \"127.0.0.1:0\"\n\
         [recording]\ntick_ms = {}\nshards = {}\ndurability_ms = {}\npack_seconds_max = {}\n\
         [[tenant]]\nid = \"bench\"\n",
        data.join("spool"),
        data.join("store").display(),
        args.encrypt,
        args.tick_ms,
        args.shards,
        args.durability_ms,
        args.pack_seconds,
    );
    for camera in 0..cameras {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "[[tenant.camera]]\nid = \"{camera}\"\nplace = \"bench\"\nurl = \"rtsp://{address}/{camera}\"\n"
        );
    }
    std::fs::write(&config, text).map_err(Failure::failed)?;
    let vigie = std::env::current_exe().map_err(Failure::failed)?.with_file_name("vigie");
    if !vigie.exists() {
        return Err(Failure(format!("{} is missing: build it in the same profile (cargo build)", vigie.display())));
    }
    let mut command = Command::new(vigie);
    command.args(["run", "--config"]).arg(config);
    Ok(command)
}

fn floor(args: &Ingest, writing: &str, data: &Path, (address, cameras): (&str, usize)) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe().map_err(Failure::failed)?);
    command.args(["floor", "--address", address, "--cameras", &cameras.to_string()]);
    command.args(["--tick-ms", &args.tick_ms.to_string(), "--durability-ms", &args.durability_ms.to_string()]);
    command.args(["--writing", writing, "--dir"]).arg(data);
    Ok(command)
}

fn ffmpeg(data: &Path, address: &str, camera: usize) -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-i"]);
    command.arg(format!("rtsp://{address}/{camera}"));
    command.args(["-c", "copy", "-f", "segment", "-segment_time", "120", "-segment_format", "mp4"]);
    command.arg(data.join(format!("{camera}-%05d.mp4")));
    command
}

async fn has_ffmpeg() -> bool {
    let mut command = Command::new("ffmpeg");
    command.arg("-version").stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

/// The run's folder, removed at its end.
struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    fn create(args: &Ingest) -> std::io::Result<Self> {
        let base = args.dir.clone().unwrap_or_else(std::env::temp_dir);
        let path = std::path::absolute(base)?.join(format!("vigie-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self { path, keep: args.keep })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed from a temporary folder goes with it.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
