use std::collections::HashMap;

use super::*;
use footage::media::GapCause;

fn snapshot(states: &[(&str, CameraState)]) -> Snapshot {
    let camera = |(key, state): &(&str, CameraState)| {
        let mut status = CameraStatus::default();
        status.enter(*state, WallTime(0));
        (key.parse().unwrap(), status)
    };
    Snapshot {
        at: WallTime(100 * TICKS_PER_SECOND),
        cameras: states.iter().map(camera).collect(),
        figures: Figures { oldest_waiting: Some(WallTime(40 * TICKS_PER_SECOND)), ..Figures::default() },
        free_bytes: Some(10_000_000_000),
        reserve_bytes: 1_000_000_000,
        durable_s: [0.1, 0.2, 0.3],
        writing: Writing::Direct,
        unwritten_bytes: (4_096, 1 << 30),
    }
}

#[test]
fn metrics_have_their_values_and_name_no_tenant_and_no_camera() {
    let mut snapshot = snapshot(&[
        ("marked-tenant/marked-camera", CameraState::Recording),
        ("marked-tenant/other", CameraState::Gap(GapCause::Silent)),
    ]);
    let recording = snapshot.cameras.values_mut().next().unwrap();
    recording.fragment(WallTime(1), Ticks90k(90_000), 1_000_000, 25);
    recording.gaps = HashMap::from([(GapCause::Silent, 2)]);
    recording.operator_detail = "marked-detail".to_owned();
    snapshot.figures.scrubs = vec![("archive".to_owned(), WallTime(90_000), 7)];
    let http = HttpCounts { answers: [0, 0, 3, 0, 1, 0] };
    let text = open_metrics(&snapshot, &http);
    for line in [
        "vigie_cameras{state=\"recording\"} 1",
        "vigie_cameras{state=\"gap\"} 1",
        "vigie_gaps_total{cause=\"silent\"} 3",
        "vigie_recorded_bytes_total 1000000",
        "vigie_bit_rate 8000000.0",
        "vigie_disk_free_hours 2.5",
        "vigie_oldest_waiting_seconds 60.0",
        "vigie_scrub_read_bytes{store=\"archive\"} 7",
        "vigie_http_answers_total{class=\"4xx\"} 1",
        "vigie_disk_writing{way=\"direct\"} 1",
        "vigie_unwritten_bytes 4096.0",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("marked"), "{text}");
}

#[test]
fn what_is_unknown_is_absent_and_not_zero() {
    let mut snapshot = snapshot(&[]);
    snapshot.free_bytes = None;
    let text = open_metrics(&snapshot, &HttpCounts::default());
    assert!(!text.contains("disk_free"), "{text}");
}

#[test]
fn a_gateway_that_records_no_camera_is_not_ready() {
    let gap = CameraState::Gap(GapCause::ConnectFailed);
    assert_eq!(snapshot(&[("t/a", gap), ("t/b", gap)]).not_ready(), ["no_camera_is_recorded"]);
    assert_eq!(snapshot(&[("t/a", gap), ("t/b", CameraState::Recording)]).not_ready(), [""; 0]);
    assert_eq!(snapshot(&[]).not_ready(), [""; 0]);
    let mut full = snapshot(&[("t/a", CameraState::Recording)]);
    full.free_bytes = Some(5);
    assert_eq!(full.not_ready(), ["disk_reserve_is_reached"]);
}
