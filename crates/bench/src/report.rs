//! The figures, as a table and as JSON.

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
    /// Of the floor in this run.
    pub(super) ratio_to_floor: Option<f64>,
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
    pub(super) turns: Vec<Turn>,
}

impl BenchReport {
    /// Says of each turn what it cost against the floor.
    pub(super) fn compare(&mut self) {
        let floors = self.turns.iter().filter(|turn| turn.recorder == "floor");
        let mut floors: Vec<f64> = floors.map(|turn| turn.cpu_s_per_gb).collect();
        floors.sort_unstable_by(f64::total_cmp);
        // Of an even number, between the two in the middle: a recorder shall not be set beside the dearer floor.
        let (below, above) = (floors.len().saturating_sub(1) / 2, floors.len() / 2);
        let floor = floors.get(below).zip(floors.get(above)).map(|(below, above)| (below + above) / 2.0);
        for turn in &mut self.turns {
            turn.ratio_to_floor = floor.filter(|floor| *floor > 0.0).map(|floor| turn.cpu_s_per_gb / floor);
        }
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
            "of floor",
            "MB",
            "peak",
            "MB/camera",
            "lost",
            "disk",
            "durable p50",
            "p99",
            "fleet s/GB",
            "late",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.turns.iter().map(row));
        let mut table = super::table(&rows);
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

fn row(turn: &Turn) -> [String; 18] {
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
        of(turn.ratio_to_floor.map(|ratio| format!("{ratio:.2}"))),
        mb(turn.memory_steady_bytes),
        mb(turn.memory_peak_bytes),
        format!("{:.2}", turn.memory_peak_bytes as f64 / 1e6 / turn.cameras as f64),
        of(turn.pictures_lost.map(|lost| format!("{lost} of {}", turn.pictures_sent))),
        format!("{:.4}", turn.disk_bytes_per_byte),
        ms(|d| d.p50_ms),
        ms(|d| d.p99_ms),
        format!("{:.2}", turn.fleet_cpu_s_per_gb),
        format!("{:.0} ms", turn.fleet_late_max_ms),
    ]
}
