//! The program as an administrator runs it: `vigie status`, `vigie reload`, SIGHUP and SIGTERM on a gateway in a process of
//! its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use footage::media::GapCause;
use footage::units::{CameraKey, TimeRange, WallTime};
use serde_json::Value;
use testkit::camera::{self, Server};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use vigie::index::{Index, PackState};

/// How long a condition may take to come true before the test gives up.
const PATIENCE: Duration = Duration::from_secs(40);

/// Two simulated cameras, and a gateway that may record them.
struct Site {
    dir: tempfile::TempDir,
    cameras: Server,
    port: u16,
}

impl Site {
    async fn new() -> Self {
        let camera = |path: &str| {
            let mut camera = camera::demo_camera().unwrap();
            camera.path = path.to_owned();
            camera
        };
        let cameras = vec![camera("hall"), camera("yard")];
        let cameras = Server::start((Ipv4Addr::LOCALHOST, 0).into(), cameras).await.unwrap();
        // Free a moment ago; `vigie status` finds the gateway by its configuration.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        Self { dir: tempfile::tempdir().unwrap(), cameras, port }
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("vigie.toml")
    }

    /// Writes the configuration: these cameras, and further lines of `[recording]`.
    fn configure(&self, cameras: &[&str], recording: &str) {
        let mut text = format!(
            "[data]\ndir = \"{dir}\"\ndisk_reserve_mib = 64\n[[store]]\nurl = \"file://{dir}/store\"\n\
             [http]\nlisten = \"127.0.0.1:{port}\"\n[recording]\ntick_ms = 20\ndurability_ms = 200\n{recording}\n\
             [[tenant]]\nid = \"town\"\n",
            dir = self.dir.path().display(),
            port = self.port
        );
        for id in cameras {
            let url = self.cameras.url(id);
            text.push_str(&format!("[[tenant.camera]]\nid = \"{id}\"\nplace = \"{id}\"\nurl = \"{url}\"\n"));
        }
        std::fs::write(self.config(), text).unwrap();
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigie"));
        command.arg(name).arg("--config").arg(self.config()).kill_on_drop(true).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end: whether it succeeded, and what it wrote.
    async fn vigie(&self, name: &str, further: &[&str]) -> (bool, String) {
        let output = self.command(name).args(further).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    async fn status(&self) -> Option<Value> {
        let (answers, text) = self.vigie("status", &["--json"]).await;
        answers.then(|| serde_json::from_str(&text).unwrap())
    }

    /// Waits until so many cameras are recorded, and no others are configured.
    async fn records(&self, cameras: u64) {
        let is_so = async || {
            self.status().await.is_some_and(|status| {
                status["cameras"]["recording"] == cameras && status["not_recorded"] == Value::Array(Vec::new())
            })
        };
        until(&format!("{cameras} cameras to be recorded"), is_so).await;
    }

    fn start(&self) -> Gateway {
        let mut child = self.command("run").stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Gateway { child, lines }
    }

    fn sessions(&self, camera: &str) -> u64 {
        self.cameras.camera(camera).unwrap().sessions()
    }

    /// Causes of all gaps of a camera, by their start.
    async fn gaps(&self, camera: &str) -> Vec<GapCause> {
        let index = Index::open_read_only(&self.dir.path().join("index.sqlite")).await.unwrap();
        let everything = TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).unwrap();
        let key: CameraKey = format!("town/{camera}").parse().unwrap();
        index.gaps(&key, everything).await.unwrap().iter().map(|gap| gap.cause).collect()
    }
}

struct Gateway {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Gateway {
    async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([name, &pid]).status().await.unwrap().success());
    }

    /// Reads its log up to a line with these words.
    async fn logs(&mut self, words: &str) -> String {
        let reads = async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("it goes on");
                if line.contains(words) {
                    return line;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reads).await.unwrap_or_else(|_| panic!("no line of the log has {words:?}"))
    }

    async fn ends(mut self) -> ExitStatus {
        // A pipe that nobody reads would block it.
        let drains = async { while self.lines.next_line().await.unwrap().is_some() {} };
        let ends = async { tokio::join!(drains, self.child.wait()).1.unwrap() };
        tokio::time::timeout(PATIENCE, ends).await.expect("it stops")
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let waits = async {
        while !holds().await {
            tick.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waits).await.is_ok(), "waited in vain for {what}");
}

#[tokio::test]
async fn a_running_gateway_is_shown_and_takes_over_another_configuration() {
    let site = Site::new().await;
    site.configure(&["hall"], "");
    let (answers, text) = site.vigie("status", &[]).await;
    assert!(!answers && text.contains("is `vigie run` running?"), "{text}");
    let mut gateway = site.start();
    site.records(1).await;
    let (answers, text) = site.vigie("status", &[]).await;
    assert!(answers && text.contains("1 recording") && text.contains("ready") && text.lines().count() < 25, "{text}");

    site.configure(&["hall", "yard"], "");
    gateway.signal("-HUP").await;
    site.records(2).await;

    // Caps of a store belong to what can be taken over; its address does not.
    let text = std::fs::read_to_string(site.config()).unwrap();
    let capped = text.replace("[http]", "[[store.cap]]\nmbit_s = 4\n[http]");
    std::fs::write(site.config(), &capped).unwrap();
    let (answers, text) = site.vigie("reload", &[]).await;
    assert!(answers && text.contains("restarted: 0, untouched: 2"), "{text}");
    std::fs::write(site.config(), capped.replace("/store\"", "/elsewhere\"")).unwrap();
    let (answers, text) = site.vigie("reload", &[]).await;
    assert!(!answers && text.contains("a [[store]]") && text.contains("restart it; nothing was changed"), "{text}");
    gateway.logs("a [[store]], but for its caps").await;

    // What is wrong changes nothing, over HTTP and by signal, and the line is named.
    site.configure(&["hall"], "pack_seconds_max = \"long\"");
    let (answers, text) = site.vigie("reload", &[]).await;
    assert!(!answers && text.contains("vigie.toml:11") && text.contains("pack_seconds_max"), "{text}");
    gateway.signal("-HUP").await;
    let line = gateway.logs("the configuration was not taken over").await;
    assert!(line.contains("ERROR") && line.contains("vigie.toml:11"), "{line}");
    site.configure(&["hall", "yard"], "");
    site.records(2).await;
    assert_eq!(site.sessions("yard"), 1, "a wrong configuration touched nothing");

    site.configure(&["hall"], "");
    let (answers, text) = site.vigie("reload", &[]).await;
    assert!(answers && text.contains("added: 0, removed: 1, restarted: 0, untouched: 1"), "{text}");
    site.records(1).await;
    assert_eq!(site.sessions("hall"), 1, "the camera that did not change was not touched");
    gateway.signal("-TERM").await;
    assert!(gateway.ends().await.success());
    assert_eq!(site.gaps("hall").await, [GapCause::GatewayStopped]);
}

#[tokio::test]
async fn a_stop_at_once_is_no_crash_and_a_signal_before_the_start_is_over_ends_nothing_badly() {
    let site = Site::new().await;
    site.configure(&["hall"], "");
    // Stopped as soon as it says anything at all, several times, then as soon as it records.
    for _ in 0..3 {
        let mut gateway = site.start();
        gateway.logs("").await;
        gateway.signal("-HUP").await;
        gateway.signal("-TERM").await;
        assert!(gateway.ends().await.success());
    }
    let gateway = site.start();
    site.records(1).await;
    gateway.signal("-TERM").await;
    assert!(gateway.ends().await.success());
    let gateway = site.start();
    site.records(1).await;
    gateway.signal("-TERM").await;
    assert!(gateway.ends().await.success());
    let gaps = site.gaps("hall").await;
    assert!(!gaps.is_empty() && gaps.iter().all(|cause| *cause == GapCause::GatewayStopped), "{gaps:?}");
}

#[tokio::test]
async fn over_an_upgrade_nobody_who_connects_is_refused() {
    let site = Site::new().await;
    site.configure(&["hall"], "");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/operate/service_manager.py");
    let manager = Command::new("python3")
        .args([script, &site.port.to_string(), env!("CARGO_BIN_EXE_vigie"), "--log", "warn", "run", "--config"])
        .arg(site.config())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(2 * PATIENCE, manager).await.expect("it ends").unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "HTTP/1.1 200 OK");
    assert!(site.gaps("hall").await.iter().all(|cause| *cause == GapCause::GatewayStopped));
}

#[tokio::test]
async fn what_is_wrong_is_an_alarm_until_it_is_over_and_can_be_acknowledged() {
    let site = Site::new().await;
    site.configure(&["hall"], "");
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), text.replace("place = \"hall\"", "place = \"hall\"\nsilence_seconds = 2")).unwrap();
    let gateway = site.start();
    site.records(1).await;
    let shows = async |words: [&str; 2]| {
        until(&format!("an alarm that says {words:?}"), async || {
            let (answers, text) = site.vigie("alarms", &[]).await;
            answers && text.lines().any(|line| words.iter().all(|word| line.contains(word)))
        })
        .await;
    };
    let (answers, text) = site.vigie("alarms", &[]).await;
    assert!(answers && text == "no alarm\n", "{text}");
    // It answers, plays, and sends no picture: that ends no alarm, session after session.
    site.cameras.camera("hall").unwrap().set(|faults| faults.silent = true);
    shows(["town/hall", "active"]).await;
    until("three more sessions", async || site.sessions("hall") >= 4).await;
    shows(["town/hall", "active"]).await;
    let (_, text) = site.vigie("alarms", &[]).await;
    assert_eq!(text.lines().count(), 1, "{text}");
    let (answers, text) = site.vigie("alarms", &["ack", "1"]).await;
    assert!(answers && text.contains("acknowledged"), "{text}");
    let (answers, text) = site.vigie("alarms", &["ack", "99"]).await;
    assert!(!answers && text.contains("there is no alarm 99"), "{text}");
    site.cameras.camera("hall").unwrap().set(|faults| faults.silent = false);
    shows(["town/hall", "ended"]).await;
    let (answers, text) = site.vigie("alarms", &["test", "nobody"]).await;
    assert!(!answers && text.contains("no [[alarm]] has the id"), "{text}");
    gateway.signal("-TERM").await;
    assert!(gateway.ends().await.success());
}

#[tokio::test]
async fn an_index_whose_log_went_with_a_crash_is_filled_again_and_said_to_be() {
    let site = Site::new().await;
    site.configure(&["hall"], "pack_seconds_max = 5");
    let mut gateway = site.start();
    let path = site.dir.path().join("index.sqlite");
    let stored = async || {
        let Ok(index) = Index::open_read_only(&path).await else { return 0 };
        index.packs_in_state(PackState::Stored, 100).await.map_or(0, |packs| packs.len())
    };
    until("a pack in the store", async || stored().await >= 1).await;
    gateway.child.kill().await.unwrap();
    for end in ["-wal", "-shm"] {
        std::fs::remove_file(format!("{}{end}", path.display())).unwrap();
    }
    let gateway = site.start();
    until("events that say so", async || {
        let Ok(index) = Index::open_read_only(&path).await else { return false };
        let events = index.all_events(0, 1_000).await.unwrap_or_default();
        // How much of it was in the log is chance: none of it, or what a checkpoint had not written.
        let is_lost = |kind: &str| ["index_older", "index_missing", "index_damaged"].contains(&kind);
        events.iter().any(|event| is_lost(event.kind())) && events.iter().any(|event| event.kind() == "index_rebuilt")
    })
    .await;
    until("its packs to be known again", async || stored().await >= 1).await;
    let (answers, text) = site.vigie("status", &[]).await;
    assert!(answers && text.contains("alarms") && text.contains("critical: the index"), "{text}");
    gateway.signal("-TERM").await;
    assert!(gateway.ends().await.success());
}
