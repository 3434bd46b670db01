#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use jiff::civil::date;

use super::*;
use crate::authorisation::tests::authorisation;
use crate::demo;
use footage::clock::SimClock;
use footage::units::{TICKS_PER_DAY, Ticks90k};

/// One town with two cameras, of which the second has a basis outside title V.
fn town(dir: &tempfile::TempDir, authorisations: Vec<Authorisation>) -> Config {
    let camera = |id: &str, basis| {
        let mut camera = demo::camera(id.parse().unwrap(), id, "rtsp://127.0.0.1:1/".parse().unwrap());
        camera.installation.basis = basis;
        camera
    };
    let under = authorisations.last().map_or(Basis::Unstated, |of| Basis::Authorisation(of.id.clone()));
    let cameras = vec![camera("street", under), camera("depot", Basis::Outside("a rule".to_owned()))];
    let mut config = demo::config("127.0.0.1:0".parse().unwrap(), dir.path(), cameras).unwrap();
    config.tenants[0].authorisations = authorisations;
    config
}

struct Rig {
    permissions: Permissions,
    clock: Arc<SimClock>,
    index: Index,
    dir: tempfile::TempDir,
    heard: i64,
}

impl Rig {
    async fn at(now: &str, authorisations: Vec<Authorisation>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
        let clock = Arc::new(SimClock::starting_at(now.parse().unwrap()));
        let config = town(&dir, authorisations);
        index.write(vec![Change::Configure(crate::gateway::camera_rows(&config))]).await.unwrap();
        let permissions = Permissions::open(index.clone(), clock.clone(), &config).await.unwrap();
        Self { permissions, clock, index, dir, heard: 0 }
    }

    /// Time passes, and is judged each hour.
    async fn pass(&mut self, hours: u64) {
        for _ in 0..hours {
            tokio::time::advance(Duration::from_secs(3_600)).await;
            self.permissions.turn().await.unwrap();
        }
    }

    async fn reload(&mut self, authorisations: Vec<Authorisation>) {
        self.permissions.apply(&town(&self.dir, authorisations));
        self.permissions.turn().await.unwrap();
    }

    fn permits(&self, camera: &str) -> bool {
        self.permissions.of(&format!("demo/{camera}").parse().unwrap()).is_given()
    }

    /// Events since it was last asked; alarms are what they make them.
    async fn news(&mut self) -> Vec<String> {
        let rows = self.index.events_after(self.heard, 1_000).await.unwrap();
        self.heard = rows.last().map_or(self.heard, |row| row.id);
        let changes = rows.iter().flat_map(|row| crate::alarm::changes_of(row.event.clone())).map(Change::Alarm);
        self.index.write(changes.collect()).await.unwrap();
        let said = |fact: &Fact| match fact {
            Fact::AuthorisationEnds { notice, .. } => notice.as_str().to_owned(),
            Fact::AuthorisationNoticePassed { notice, .. } => format!("no more {}", notice.as_str()),
            other => other.kind().to_owned(),
        };
        rows.iter().map(|row| said(&row.event.fact)).collect()
    }

    async fn lasting(&self) -> Vec<String> {
        let open = self.index.open_alarms().await.unwrap();
        open.into_iter().filter(|alarm| alarm.ended.is_none()).map(|alarm| alarm.kind).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn h1_an_end_is_announced_five_times_then_recording_stops_and_a_renewal_ends_all_that() {
    let of = authorisation(date(2026, 1, 5), date(2031, 1, 4));
    let mut rig = Rig::at("2030-07-04T12:00:00Z", vec![of.clone()]).await;
    rig.pass(1).await;
    assert_eq!(rig.news().await, Vec::<String>::new());
    let mut said = Vec::new();
    for _ in 0..190 {
        rig.pass(24).await;
        said.extend(rig.news().await);
        assert!(rig.lasting().await.len() <= 1, "{said:?}");
    }
    let expect = [
        "six_months",
        "no more six_months",
        "four_months",
        "no more four_months",
        "four_weeks",
        "no more four_weeks",
        "two_weeks",
        "no more two_weeks",
        "one_week",
        "no more one_week",
        "authorisation_ended",
    ];
    assert_eq!(said, expect);
    assert_eq!((rig.permits("street"), rig.permits("depot")), (false, true));
    assert_eq!(rig.lasting().await, ["not_authorised"]);
    let renewed = Authorisation { until: date(2036, 1, 4), from: date(2031, 1, 5), ..of };
    rig.reload(vec![renewed]).await;
    assert!(rig.permits("street"));
    assert_eq!(rig.news().await, ["authorisation_settled"]);
    assert_eq!(rig.lasting().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn h1_a_tenant_that_chose_so_is_recorded_on_with_a_critical_alarm() {
    let of = authorisation(date(2026, 1, 5), date(2026, 3, 31));
    let mut rig = Rig::at("2026-04-02T12:00:00Z", vec![Authorisation { at_end: AtEnd::RecordOn, ..of.clone() }]).await;
    rig.pass(1).await;
    assert!(rig.permits("street"));
    assert_eq!(rig.news().await, ["authorisation_ended"]);
    let [alarm] = &rig.index.open_alarms().await.unwrap()[..] else { panic!("one alarm") };
    assert_eq!(alarm.severity, crate::event::Severity::Critical);
    assert!(alarm.event.fact.words(Language::English).contains("recorded all the same"));
    // The choice is part of what the alarm says.
    rig.reload(vec![of]).await;
    assert!(!rig.permits("street"));
    assert_eq!(rig.news().await, ["authorisation_settled", "authorisation_ended"]);
}

#[tokio::test(start_paused = true)]
async fn h1_an_authorisation_that_is_not_in_force_yet_permits_nothing_until_its_first_day() {
    let of = authorisation(date(2026, 4, 1), date(2031, 3, 31));
    let mut rig = Rig::at("2026-03-31T12:00:00Z", vec![of]).await;
    assert!(!rig.permits("street"), "from the start on, before any turn");
    rig.pass(9).await;
    assert!(!rig.permits("street"));
    rig.pass(2).await;
    assert!(rig.permits("street"));
    assert_eq!(rig.news().await, ["authorisation_not_yet", "authorisation_settled"]);
}

#[tokio::test(start_paused = true)]
async fn h1_a_clock_that_leaps_stops_no_recording_until_it_is_believed() {
    let of = authorisation(date(2026, 1, 5), date(2031, 1, 4));
    let mut rig = Rig::at("2026-06-01T12:00:00Z", vec![of]).await;
    rig.pass(1).await;
    let leap = Ticks90k(6 * 365 * TICKS_PER_DAY);
    rig.clock.step(leap);
    rig.pass(23).await;
    assert!(rig.permits("street"));
    assert_eq!(rig.news().await, Vec::<String>::new());
    // It comes back: nothing has happened. It falls back further, before the first day: nothing again.
    rig.clock.step(Ticks90k(-leap.0));
    rig.pass(30).await;
    rig.clock.step(Ticks90k(-leap.0));
    rig.pass(60).await;
    assert!(rig.permits("street"));
    assert_eq!(rig.news().await, Vec::<String>::new());
    // A leap that holds is the time.
    rig.clock.step(Ticks90k(2 * leap.0));
    rig.pass(72).await;
    assert!(!rig.permits("street"));
    assert_eq!(rig.news().await, ["authorisation_ended"]);
}

#[tokio::test(start_paused = true)]
async fn h1_a_start_repeats_no_alarm_and_ends_those_of_authorisations_that_are_gone() {
    let of = authorisation(date(2026, 1, 5), date(2026, 3, 31));
    let mut rig = Rig::at("2026-04-02T12:00:00Z", vec![of.clone()]).await;
    rig.pass(1).await;
    assert_eq!(rig.news().await, ["authorisation_ended"]);
    let config = town(&rig.dir, vec![of]);
    rig.permissions = Permissions::open(rig.index.clone(), rig.clock.clone(), &config).await.unwrap();
    rig.pass(2).await;
    assert_eq!(rig.news().await, Vec::<String>::new());
    rig.reload(Vec::new()).await;
    assert_eq!(rig.news().await, ["authorisation_settled"]);
    assert!(rig.permits("street"), "a camera without a stated basis is not stopped");
}
