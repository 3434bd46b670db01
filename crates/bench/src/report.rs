//! The figures, as a table and as JSON.

use std::path::Path;

use serde::Serialize;

use super::viewers::Seen;

/// Percentiles of the time from reading a fragment's last picture to its being durable, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Durable {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

/// One recorder's turn.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Turn {
    pub(super) recorder: String,
    pub(super) cameras: usize,
    pub(super) mbps: f64,
    pub(super) seconds: f64,
    /// From when every camera played to the end of the process.
    pub(super) received_bytes: u64,
    pub(super) cpu_user_s: f64,
    pub(super) cpu_system_s: f64,
    pub(super) cpu_s_per_gb: f64,
    pub(super) cpu_user_s_per_gb: f64,
    pub(super) cpu_system_s_per_gb: f64,
    /// Of the threads that record alone: what does not change when footage is read.
    pub(super) recording_cpu_s_per_gb: Option<f64>,
    /// What operators saw meanwhile.
    pub(super) viewers: Option<Seen>,
    /// Of the floor through the page cache in this run.
    pub(super) of_buffered: Option<f64>,
    /// Of the floor with direct writing in this run.
    pub(super) of_direct: Option<f64>,
    pub(super) memory_steady_bytes: u64,
    pub(super) memory_peak_bytes: u64,
    pub(super) disk_bytes_per_byte: f64,
    pub(super) pictures_sent: u64,
    /// Not known of recorders whose files say nothing of pictures.
    pub(super) pictures_recorded: Option<u64>,
    /// Due, and not in the recording: those that the fleet could not send because nobody read, too.
    pub(super) pictures_lost: Option<u64>,
    pub(super) durable: Option<Durable>,
    /// From the start of the process, as the next.
    pub(super) all_playing_after_s: f64,
    /// Of the gateway: its index knew of footage of each that was durable.
    pub(super) all_recorded_after_s: Option<f64>,
    /// From the signal to stop.
    pub(super) ended_after_s: f64,
    pub(super) fleet_cpu_s_per_gb: f64,
    pub(super) fleet_late_max_ms: f64,
}

/// The run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct BenchReport {
    pub(super) vigie: &'static str,
    pub(super) cores: usize,
    pub(super) tick_ms: u64,
    pub(super) durability_ms: u64,
    /// Kernel, and the file system and device that are written.
    pub(super) machine: String,
    pub(super) turns: Vec<Turn>,
}

impl BenchReport {
    /// Says of each turn what it cost against the floors.
    pub(super) fn compare(&mut self) {
        let (buffered, direct) = (self.median("buffered"), self.median("direct"));
        for turn in &mut self.turns {
            turn.of_buffered = buffered.map(|floor| turn.cpu_s_per_gb / floor);
            turn.of_direct = direct.map(|floor| turn.cpu_s_per_gb / floor);
        }
    }

    /// CPU seconds a gigabyte of this recorder's turns.
    fn median(&self, recorder: &str) -> Option<f64> {
        let turns = self.turns.iter().filter(|turn| turn.recorder == recorder);
        let mut costs: Vec<f64> = turns.map(|turn| turn.cpu_s_per_gb).collect();
        costs.sort_unstable_by(f64::total_cmp);
        // Of an even number, between the two in the middle: a recorder shall not be set beside the dearer floor.
        let (below, above) = (costs.len().saturating_sub(1) / 2, costs.len() / 2);
        let median = costs.get(below).zip(costs.get(above)).map(|(below, above)| (below + above) / 2.0);
        median.filter(|median| *median > 0.0)
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let head = [
            "recorder",
            "cameras",
            "Mb/s",
            "GB",
            "CPU s/GB",
            "user",
            "system",
            "recording",
            "of buffered",
            "of direct",
            "MB",
            "peak",
            "MB/camera",
            "lost",
            "disk",
            "durable p50",
            "p99",
            "max",
            "fleet s/GB",
            "late",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.turns.iter().map(row));
        let mut table = format!("{}\n{}", self.machine, super::table(&rows));
        for (turn, recorded) in self.turns.iter().filter_map(|turn| Some((turn, turn.all_recorded_after_s?))) {
            table.push_str(&format!(
                "every camera played {:.1} s after the start, footage of each was durable after {recorded:.1} s; ended {:.1} s \
                 after the signal\n",
                turn.all_playing_after_s, turn.ended_after_s
            ));
        }
        for seen in self.turns.iter().filter_map(|turn| turn.viewers.as_ref()) {
            table.push_str(&format!(
                "{} viewers: {} segments, {:.2} GB, {} failed requests, behind the camera {:.0} ms (p50), {:.0} ms (max)\n",
                seen.viewers,
                seen.segments,
                seen.bytes as f64 / 1e9,
                seen.failures,
                seen.behind_p50_ms,
                seen.behind_max_ms
            ));
        }
        table
    }
}

fn row(turn: &Turn) -> [String; 20] {
    let mb = |bytes: u64| format!("{:.0}", bytes as f64 / 1e6);
    let of = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let ms = |value: fn(&Durable) -> f64| of(turn.durable.as_ref().map(|d| format!("{:.0} ms", value(d))));
    [
        turn.recorder.clone(),
        turn.cameras.to_string(),
        turn.mbps.to_string(),
        format!("{:.2}", turn.received_bytes as f64 / 1e9),
        format!("{:.2}", turn.cpu_s_per_gb),
        format!("{:.2}", turn.cpu_user_s_per_gb),
        format!("{:.2}", turn.cpu_system_s_per_gb),
        of(turn.recording_cpu_s_per_gb.map(|cost| format!("{cost:.2}"))),
        of(turn.of_buffered.map(|ratio| format!("{ratio:.2}"))),
        of(turn.of_direct.map(|ratio| format!("{ratio:.2}"))),
        mb(turn.memory_steady_bytes),
        mb(turn.memory_peak_bytes),
        format!("{:.2}", turn.memory_peak_bytes as f64 / 1e6 / turn.cameras as f64),
        of(turn.pictures_lost.map(|lost| format!("{lost} of {}", turn.pictures_sent))),
        format!("{:.4}", turn.disk_bytes_per_byte),
        ms(|d| d.p50_ms),
        ms(|d| d.p99_ms),
        ms(|d| d.max_ms),
        format!("{:.2}", turn.fleet_cpu_s_per_gb),
        format!("{:.0} ms", turn.fleet_late_max_ms),
    ]
}

/// The kernel, and the file system and device of this folder (proc_pid_mountinfo(5)).
pub(super) fn machine(folder: &Path) -> String {
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_string_lossy().into_owned();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let disk = mounts.lines().filter_map(|line| {
        let (mount, device) = line.split_once(" - ")?;
        let point = Path::new(mount.split(' ').nth(4)?);
        let mut device = device.split(' ');
        folder.starts_with(point).then_some((point, device.next()?, device.next()?))
    });
    let disk = disk.max_by_key(|(point, ..)| point.as_os_str().len());
    let disk = disk.map_or_else(|| "an unknown disk".to_owned(), |(_, kind, device)| format!("{kind} on {device}"));
    format!("Linux {kernel}, {disk}, page cache full of other files")
}
