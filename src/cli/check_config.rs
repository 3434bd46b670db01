//! `vigie check-config`: what a configuration says, and the disks that it needs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use footage::clock::{Clock, SystemClock};
use footage::platform::{self, Writing};
use footage::units::Ticks90k;
use vigie::config::{Config, DEFAULT_STORE, Loaded, Retention, Tenant, Transport};
use vigie::gateway;
use vigie::http::ServerTls;
use vigie::index::Index;
use vigie::index::examine::Companion;
use vigie::retrieve::snapshot::missing_decoder;
use vigie::store::Store;
use vigie::store::probe::ProbeVerdict;

use super::{CheckConfig, Failure, authorisation, retention};

/// Prints the summary; the configuration's mistakes are the error.
pub(super) async fn run(args: &CheckConfig) -> Result<(), Failure> {
    let loaded = Config::load(&args.config.config)?;
    let failed = |e: std::io::Error| Failure::Failed(format!("standard output: {e}"));
    let free = |path: &Path| disk_of(path).map_err(|e| Failure::Failed(format!("{}: {e}", path.display())));
    let disk = free(&local_disk(&loaded.config))?;
    let problems = impossible(&loaded.config, free(&loaded.config.spool_dir)?.total_bytes);
    let mut text = summary(&loaded, args.camera_mbps, disk.free_bytes, problems.is_empty());
    for problem in &problems {
        text.push_str(&format!("problem: {problem}\n"));
    }
    text.push_str(&changes(&loaded.config).await);
    std::io::stdout().write_all(text.as_bytes()).map_err(failed)?;
    if args.probe {
        probe_spool(&loaded.config).await?;
        probe(&loaded.config).await?;
    }
    match problems.len() {
        0 => Ok(()),
        n => Err(Failure::Failed(format!(
            "{n} {}: the configuration can be read, and cannot work",
            plural(n, "problem")
        ))),
    }
}

/// What is well formed and cannot be.
fn impossible(config: &Config, disk_bytes: u64) -> Vec<String> {
    let mut problems = Vec::new();
    if config.tenants.iter().all(|tenant| tenant.cameras.is_empty()) {
        problems.push("there is no camera: nothing is recorded; add [[tenant.camera]]".to_owned());
    }
    if let Some(Err(why)) = config.http_tls.clone().map(ServerTls::open) {
        problems.push(format!("http.tls: {why}"));
    }
    if config.disk_reserve_bytes >= disk_bytes {
        problems.push(format!(
            "data.disk_reserve_mib ({}) is more than the disk of {} has ({}): nothing could be recorded",
            bytes(config.disk_reserve_bytes as f64),
            config.spool_dir.display(),
            bytes(disk_bytes as f64)
        ));
    }
    if let Some(max) = config.spool_bytes_max.filter(|max| *max > disk_bytes) {
        problems.push(format!(
            "data.spool_mib_max ({}) is more than the disk of {} has ({})",
            bytes(max as f64),
            config.spool_dir.display(),
            bytes(disk_bytes as f64)
        ));
    }
    problems
}

/// What the configuration changes of what there is, and destroys by it; empty where there is no index yet.
async fn changes(config: &Config) -> String {
    let mut text = String::new();
    let Ok(index) = Index::open_read_only(&gateway::index_path(config)).await else { return text };
    let now = SystemClock::default().wall();
    let from = now.saturating_add(Ticks90k::from_duration(config.retention.change));
    let Ok(known) = index.all_cameras().await else { return text };
    let rows = gateway::camera_rows(config);
    for row in known {
        let key = &row.key;
        match rows.iter().find(|now| now.key == *key) {
            Some(next) if next.retention_max < row.retention_max => {
                let (max, hours) = (next.retention_max, retention::hours);
                let Ok(goes) = retention::destroyed_by(config, &index, key, max, from).await else { continue };
                text.push_str(&format!(
                    "change: {key} is kept at most {} h, {} h before: from {from} on, or once confirmed, this {}\n",
                    hours(max),
                    hours(row.retention_max),
                    retention::what(goes)
                ));
            }
            Some(next) if next.retention_min < row.retention_min => text.push_str(&format!(
                "change: {key} is guaranteed for {} h, {} h before, from {from} on: a full disk may destroy what lies between\n",
                retention::hours(next.retention_min),
                retention::hours(row.retention_min)
            )),
            None if row.configured => text.push_str(&format!(
                "change: {key} is not recorded any more: its footage stays until its maximum of {} h\n",
                retention::hours(row.retention_max)
            )),
            _ => {}
        }
    }
    text
}

/// Asks each store for what Vigie needs of it; a store that is away or refuses is a failure.
/// How the spool's disk is written: tried in its folder, or in the nearest above that is there.
async fn probe_spool(config: &Config) -> Result<(), Failure> {
    let spool = config.spool_dir.clone();
    let tried = tokio::task::spawn_blocking(move || {
        let folder = spool.ancestors().find(|folder| folder.is_dir()).unwrap_or(&spool);
        platform::best_writing(folder).map_err(|e| Failure::Failed(format!("spool {}: {e}", folder.display())))
    });
    let writing = tried.await.map_err(|e| Failure::Failed(e.to_string()))??;
    let meaning = match writing {
        Writing::Direct => "footage goes past the page cache (O_DIRECT)",
        Writing::Uncached => "the file system refuses O_DIRECT: footage leaves the page cache at once (RWF_DONTCACHE)",
        Writing::Buffered => {
            "neither O_DIRECT nor RWF_DONTCACHE is there: footage goes through the page cache, at about twice the cost"
        }
    };
    let text = format!("spool {}:\n  {}: {meaning}\n", config.spool_dir.display(), writing.as_str());
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| Failure::Failed(format!("standard output: {e}")))
}

async fn probe(config: &Config) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let stores = Store::of_config(config, &clock, None).map_err(|e| Failure::Failed(e.to_string()))?;
    let known = Companion::load(&Companion::path(&config.data_dir)).map(|beside| beside.belongings());
    let known = known.unwrap_or_default();
    stores.expect(&known.stores, None);
    let mut failed = Vec::new();
    for (id, of) in stores.ids().zip(&config.stores) {
        if known.stores.contains_key(&of.name) {
            // Nothing is tried in a place that is not the store.
            if let Err(e) = stores.ensure_known(id).await {
                let text = format!("store {}:\n  {e}\n", of.name);
                std::io::stdout().write_all(text.as_bytes()).map_err(Failure::failed)?;
                failed.push(of.name.clone());
                continue;
            }
        } else if let Ok(folder) = of.url.to_file_path() {
            std::fs::create_dir_all(&folder).map_err(|e| Failure::Failed(format!("{}: {e}", folder.display())))?;
        }
        let report = stores.probe(id, &*clock).await;
        let mut text = format!("store {}:\n", report.store);
        for finding in &report.findings {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {finding}");
        }
        std::io::stdout().write_all(text.as_bytes()).map_err(|e| Failure::Failed(format!("standard output: {e}")))?;
        if report.verdict() > ProbeVerdict::Lacking {
            failed.push(report.store);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::Failed(format!("stores that cannot be used: {}", failed.join(", "))))
    }
}

/// The directory whose disk fills first: the store when that is local, otherwise the spool, which fills while the
/// store is away.
fn local_disk(config: &Config) -> std::path::PathBuf {
    let url = &config.default_store().url;
    let local_store = if url.scheme() == "file" { url.to_file_path().ok() } else { None };
    local_store.unwrap_or_else(|| config.spool_dir.clone())
}

/// A file system.
struct Disk {
    /// Free for this user.
    free_bytes: u64,
    total_bytes: u64,
}

/// The file system of `path`, or of its nearest ancestor that exists.
fn disk_of(path: &Path) -> std::io::Result<Disk> {
    let mut missing = std::io::Error::from(std::io::ErrorKind::NotFound);
    for dir in path.ancestors() {
        match rustix::fs::statvfs(dir) {
            Ok(stat) => {
                return Ok(Disk {
                    free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
                    total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
                });
            }
            Err(rustix::io::Errno::NOENT) => {}
            Err(e) => missing = e.into(),
        }
    }
    Err(missing)
}

fn summary(loaded: &Loaded, camera_mbps: f64, free_bytes: u64, is_sound: bool) -> String {
    let now = SystemClock::default().wall();
    let config = &loaded.config;
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{text}");
    };
    let cameras: usize = config.tenants.iter().map(|t| t.cameras.len()).sum();
    line(format!("{}: {}", loaded.file, if is_sound { "sound" } else { "not sound" }));
    line(format!("  data        {}", config.data_dir.display()));
    line(format!("  spool       {}", config.spool_dir.display()));
    for store in &config.stores {
        line(format!(
            "  store       {}{}",
            store.url,
            if store.name == DEFAULT_STORE { String::new() } else { format!(" ({})", store.name) }
        ));
    }
    let scheme = if config.http_tls.is_some() { "https" } else { "http " };
    line(format!("  {scheme}       {}", config.http_listen));
    line(format!("  time zone   {}", config.time_zone.iana_name().unwrap_or("without a name")));
    line(format!("  threads     {}", config.recording.shards));
    line(format!("  cameras     {cameras} of {} {}", config.tenants.len(), plural(config.tenants.len(), "tenant")));
    for tenant in &config.tenants {
        tenant_lines(tenant, &mut line);
    }
    sizing(config, camera_mbps, free_bytes, &mut line);
    for said in authorisation::standing(config, now) {
        line(said);
    }
    for warning in loaded.warning_lines().chain(missing_decoder()) {
        line(format!("warning: {warning}"));
    }
    out
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

fn tenant_lines(tenant: &Tenant, line: &mut impl FnMut(String)) {
    let token = if tenant.access_token.is_some() { "access token set" } else { "no access token" };
    line(format!("  {} ({}): {token}", tenant.id, tenant.name));
    for camera in &tenant.cameras {
        let transport = match camera.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        let sound = if camera.audio_legal_basis.is_some() { ", with sound" } else { "" };
        let kept = kept(&camera.retention);
        line(format!("    {}  {} ({transport}), {kept}{sound}", camera.id, camera.url));
    }
}

fn kept(retention: &Retention) -> String {
    let max = in_days(retention.max);
    if retention.min.is_zero() {
        format!("kept at most {max}")
    } else {
        format!("kept at least {}, at most {max}", in_days(retention.min))
    }
}

fn in_days(length: Duration) -> String {
    let hours = length.as_secs() / 3_600;
    if hours.is_multiple_of(24) {
        let days = hours / 24;
        format!("{days} {}", plural(days as usize, "day"))
    } else {
        format!("{hours} h")
    }
}

/// Disk needed at the assumed bit rate against disk free now. What is recorded already counts as used.
fn sizing(config: &Config, camera_mbps: f64, free_bytes: u64, line: &mut impl FnMut(String)) {
    let camera_day = camera_mbps * 1e6 / 8.0 * 86_400.0;
    let cameras = || config.tenants.iter().flat_map(|t| &t.cameras);
    let need = |length: fn(&Retention) -> Duration| -> f64 {
        cameras().map(|c| camera_day * length(&c.retention).as_secs_f64() / 86_400.0).sum()
    };
    let day = camera_day * cameras().count() as f64;
    let (need_max, need_min) = (need(|r| r.max), need(|r| r.min));
    let room = free_bytes.saturating_sub(config.disk_reserve_bytes) as f64;
    line(format!("at {camera_mbps} Mb/s a camera:"));
    line(format!("  a day       {}", bytes(day)));
    line(format!("  maximum     {} to keep everything as long as allowed", bytes(need_max)));
    if need_min > 0.0 {
        line(format!("  minimum     {} to keep everything as long as guaranteed", bytes(need_min)));
    }
    let disk = local_disk(config);
    line(format!("  room        {} on the disk of {}, reserve taken off", bytes(room), disk.display()));
    if day == 0.0 {
        return;
    }
    let days = room / day;
    if config.stores.iter().any(|store| store.url.scheme() == "s3") {
        let bound = config.spool_bytes_max.map_or(f64::MAX, |max| max as f64) / day;
        line(format!("  the spool holds {:.1} days while the store is away", days.min(bound)));
    }
    if config.default_store().url.scheme() != "file" {
        return;
    }
    line(format!("  the disk holds {days:.1} more days"));
    if room < need_min {
        line("warning: the disk cannot hold the guaranteed minimum: add disk, or lower min_days".into());
    } else if room < need_max {
        line("note: when the disk is full, footage beyond its guaranteed minimum goes before its maximum".into());
    }
}

/// Decimal units, as disks are sold.
fn bytes(count: f64) -> String {
    let units = [(1e15, "PB"), (1e12, "TB"), (1e9, "GB")];
    let (scale, unit) = units.into_iter().find(|(scale, _)| count >= *scale).unwrap_or((1e6, "MB"));
    format!("{:.1} {unit}", count / scale)
}
