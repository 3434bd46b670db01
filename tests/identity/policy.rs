//! From a line of the configuration to a deletion, and bounds that wait.

use std::time::Duration;

use footage::units::{CameraKey, PackId, RunId, Ticks90k, WallTime};
use vigie::config::{Config, Surroundings};
use vigie::gateway;
use vigie::index::{Change, Index, PackRow, PackState};
use vigie::policy::{CameraPolicy, deadline, due_until};

const HOUR: i64 = 3_600 * 90_000;

fn config(lines: &str) -> Config {
    let text = format!(
        "[data]\ndir = \"/nowhere/vigie\"\n[[tenant]]\nid = \"town\"\n[[tenant.camera]]\nid = \"gate\"\nplace = \"here\"\n\
         url = \"rtsp://127.0.0.1:1/a\"\n{lines}"
    );
    let around = Surroundings { variable: &|_| None, world_readable: false };
    Config::parse("vigie.toml", &text, &around).unwrap().config
}

fn gate() -> CameraKey {
    "town/gate".parse().unwrap()
}

fn at(text: &str) -> WallTime {
    text.parse().unwrap()
}

#[test]
fn a_line_of_the_configuration_says_deadline_margin_and_key_day() {
    let config = config("[tenant.camera.retention]\nmax_days = 7\nmin_days = 1\n");
    let [policy]: [CameraPolicy; 1] = config.policies().try_into().unwrap();
    let start = at("2026-03-03T12:00:00Z");
    assert_eq!(policy.deadline(start), at("2026-03-10T12:00:00Z"));
    // Four sweeps of a minute, a minute of grace, two minutes.
    assert_eq!(policy.margin(), Ticks90k::from_duration(Duration::from_secs(4 * 60 + 60 + 120)));
    assert_eq!(policy.key_day(start), None, "a local store is not encrypted");
    let encrypted = CameraPolicy { encrypted: true, ..policy.clone() };
    assert_eq!(encrypted.key_day(start), Some("2026-03-10".parse().unwrap()));
    let rows = gateway::camera_rows(&config);
    assert_eq!((rows[0].retention_max, rows[0].retention_min), (policy.maximum, policy.minimum));
    // The law's month, whatever is set.
    let month = CameraPolicy { maximum: Ticks90k(31 * 24 * HOUR), ..policy };
    assert_eq!(month.deadline(at("2026-01-31T12:00:00Z")), at("2026-02-28T12:00:00Z"));
}

/// An index with a pack that begins at each of these instants.
async fn recorded(config: &Config, starts: &[WallTime]) -> (tempfile::TempDir, Index) {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    index.write(vec![Change::Configure(gateway::camera_rows(config))]).await.unwrap();
    for (n, start) in starts.iter().enumerate() {
        let (id, run) = (PackId([n as u8 + 1; 16]), RunId([n as u8 + 1; 16]));
        let end = start.saturating_add(Ticks90k(60 * 90_000));
        let (state, condemned_at) = (PackState::Open, None);
        let pack = PackRow { id, camera: gate(), run, state, bytes: 10, start: *start, end, condemned_at };
        let changes = vec![
            Change::BeginRun { camera: gate(), run, start: *start },
            Change::OpenPack(pack),
            Change::SealPack { pack: id, bytes: 10 },
            Change::PackStored { pack: id },
        ];
        index.write(changes).await.unwrap();
    }
    (dir, index)
}

async fn in_force(index: &Index) -> Ticks90k {
    index.all_cameras().await.unwrap().into_iter().find(|row| row.key == gate()).unwrap().retention_max
}

#[tokio::test]
async fn a_lower_maximum_waits_says_what_goes_and_then_takes_effect() {
    let now = at("2026-03-20T12:00:00Z");
    let before = config("[tenant.camera.retention]\nmax_days = 20\n");
    let after = config("[tenant.camera.retention]\nmax_days = 5\n");
    let starts = [1, 100, 200, 300].map(|hours| now.saturating_sub(Ticks90k(hours * HOUR)));
    let (_dir, index) = recorded(&before, &starts).await;
    let from = now.saturating_add(Ticks90k(24 * HOUR));
    let later = |at| Change::ConfigureFrom { cameras: gateway::camera_rows(&after), at };
    index.write(vec![later(from)]).await.unwrap();
    assert_eq!(in_force(&index).await, Ticks90k(20 * 24 * HOUR));
    let [pending] = index.pending_policies().await.unwrap().try_into().unwrap();
    assert_eq!((pending.retention_max, pending.at), (Ticks90k(5 * 24 * HOUR), from));
    let last = due_until(pending.at, pending.retention_max, &after.time_zone);
    assert_eq!(index.extent_until(&gate(), last).await.unwrap().packs, 3);

    // A restart does not delay it, an early sweep does not hasten it.
    index.write(vec![later(from.saturating_add(Ticks90k(HOUR)))]).await.unwrap();
    assert_eq!(index.pending_policies().await.unwrap()[0].at, from);
    index.write(vec![Change::ApplyPolicies { now: from.saturating_sub(Ticks90k(1)) }]).await.unwrap();
    assert_eq!(in_force(&index).await, Ticks90k(20 * 24 * HOUR));
    index.write(vec![Change::ApplyPolicies { now: from }]).await.unwrap();
    assert_eq!(in_force(&index).await, Ticks90k(5 * 24 * HOUR));
    assert!(index.pending_policies().await.unwrap().is_empty());
    index.close().await;
}

#[tokio::test]
async fn an_operator_confirms_the_bounds_that_wait_and_no_others() {
    let now = at("2026-03-20T12:00:00Z");
    let before = config("[tenant.camera.retention]\nmax_days = 20\n");
    let after = config("[tenant.camera.retention]\nmax_days = 5\n");
    let (_dir, index) = recorded(&before, &[now]).await;
    index.write(vec![Change::ConfigureFrom { cameras: gateway::camera_rows(&after), at: now }]).await.unwrap();
    let confirm = |days: i64| Change::ConfirmPolicy {
        camera: gate(),
        retention_max: Ticks90k(days * 24 * HOUR),
        retention_min: Ticks90k::ZERO,
        now,
    };
    index.write(vec![confirm(4)]).await.unwrap();
    assert_eq!(in_force(&index).await, Ticks90k(20 * 24 * HOUR), "other bounds were confirmed");
    index.write(vec![confirm(5)]).await.unwrap();
    assert_eq!(in_force(&index).await, Ticks90k(5 * 24 * HOUR));
    index.close().await;
}

#[tokio::test]
async fn a_higher_maximum_and_a_restored_one_take_effect_at_once() {
    let now = at("2026-03-20T12:00:00Z");
    let ten = config("[tenant.camera.retention]\nmax_days = 10\n");
    let five = config("[tenant.camera.retention]\nmax_days = 5\n");
    let twenty = config("[tenant.camera.retention]\nmax_days = 20\n");
    let (_dir, index) = recorded(&ten, &[now]).await;
    let from = |config: &Config| Change::ConfigureFrom { cameras: gateway::camera_rows(config), at: now };
    index.write(vec![from(&five), from(&ten)]).await.unwrap();
    assert!(index.pending_policies().await.unwrap().is_empty(), "the former bounds are back");
    index.write(vec![from(&twenty)]).await.unwrap();
    assert_eq!(in_force(&index).await, Ticks90k(20 * 24 * HOUR));
    index.close().await;
}

#[tokio::test]
async fn a_camera_that_is_removed_keeps_its_policy() {
    let now = at("2026-03-20T12:00:00Z");
    let ten = config("[tenant.camera.retention]\nmax_days = 10\n");
    let (_dir, index) = recorded(&ten, &[now]).await;
    index.write(vec![Change::ConfigureFrom { cameras: Vec::new(), at: now }]).await.unwrap();
    index.write(vec![Change::ApplyPolicies { now: now.saturating_add(Ticks90k(1_000 * HOUR)) }]).await.unwrap();
    assert_eq!(in_force(&index).await, Ticks90k(10 * 24 * HOUR));
    index.close().await;
}

#[test]
fn no_delay_keeps_footage_beyond_the_calendar_month() {
    let zone = config("").time_zone;
    let start = at("2026-01-30T12:00:00Z");
    let most = Ticks90k(31 * 24 * HOUR);
    assert_eq!(deadline(start, most, &zone), at("2026-02-28T12:00:00Z"));
}
