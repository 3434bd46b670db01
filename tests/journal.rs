//! A real gateway enters who sees and takes footage in its journal, refuses footage where it cannot, and the command
//! verifies what it wrote.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use footage::units::{CameraKey, TimeRange, WallTime};
use journal::Span;
use journal::entry::{Access, Action, Author, Entry};
use reqwest::{Client, Response, StatusCode};
use testkit::camera::{self, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vigie::config::Config;
use vigie::demo;
use vigie::event::Fact;
use vigie::gateway::Gateway;

/// How long a condition may take to come true before the test gives up.
const PATIENCE: Duration = Duration::from_secs(40);

struct Rig {
    dir: tempfile::TempDir,
    config: Config,
    _server: Server,
}

fn gate() -> CameraKey {
    "demo/gate".parse().unwrap()
}

impl Rig {
    async fn new() -> Self {
        let mut camera = camera::demo_camera().unwrap();
        camera.path = "gate".to_owned();
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), vec![camera]).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let url = server.url("gate");
        let text = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[data]\ndir = {:?}\n[[tenant]]\nid = \"demo\"\n[[tenant.camera]]\nid = \
             \"gate\"\nname = \"gate\"\nplace = \"gate\"\nurl = \"{url}\"\n",
            dir.path()
        );
        std::fs::write(dir.path().join("vigie.toml"), text).unwrap();
        let cameras = vec![demo::camera("gate".parse().unwrap(), "gate", url)];
        let mut config = demo::config((Ipv4Addr::LOCALHOST, 0).into(), dir.path(), cameras).unwrap();
        config.recording.tick = Duration::from_millis(20);
        config.recording.durability = Duration::from_millis(200);
        Self { dir, config, _server: server }
    }

    /// A gateway that has recorded for five seconds, and what it has recorded.
    async fn gateway(&self) -> (Gateway, TimeRange) {
        let gateway = Gateway::start(&self.config).await.unwrap();
        let index = &gateway.footage().index;
        let everything = TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).unwrap();
        let recorded = async {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            loop {
                let spans = index.spans(&gate(), everything).await.unwrap();
                if let Some(span) = spans.last().filter(|span| span.duration().0 > 5 * 90_000) {
                    break *span;
                }
                tick.tick().await;
            }
        };
        let span = tokio::time::timeout(PATIENCE, recorded).await.expect("five seconds are recorded");
        (gateway, span)
    }

    fn folder(&self) -> std::path::PathBuf {
        self.dir.path().join("journal/demo")
    }

    fn vigie(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigie"));
        command.args(arguments).env_remove("NOTIFY_SOCKET");
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), text)
    }

    fn with_config(&self, arguments: &[&str]) -> (i32, String) {
        let config = self.dir.path().join("vigie.toml");
        self.vigie(&[arguments, &["--config", config.to_str().unwrap()]].concat())
    }
}

async fn get(gateway: &Gateway, path: &str) -> Response {
    let url = format!("http://{}/api/cameras/gate/{path}", gateway.address());
    Client::new().get(url).send().await.unwrap()
}

fn clip_of(span: TimeRange) -> String {
    format!("clip.mp4?start={}&end={}", span.start(), span.end())
}

fn entries(folder: &Path) -> Vec<Entry> {
    let mut files: Vec<_> = std::fs::read_dir(folder.join("content")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    text.lines().map(|line| Entry::decode(line.as_bytes()).unwrap()).collect()
}

/// What the commands of docs/JOURNAL.md print in a journal's folder, without Vigie.
fn by_hand(folder: &Path) -> Vec<String> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/JOURNAL.md")).unwrap();
    let (_, by_hand) = page.split_once("## Verify with sha256sum and openssl").unwrap();
    let by_hand = by_hand.split("\n## ").next().unwrap();
    let blocks: Vec<&str> = by_hand.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 2);
    let output = Command::new("sh").args(["-ec", &blocks.concat()]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_each_view_playback_and_clip_is_in_the_journal_with_what_was_really_sent() {
    let rig = Rig::new().await;
    let (gateway, span) = rig.gateway().await;
    let head = Client::new().head(format!("http://{}/api/cameras/gate/{}", gateway.address(), clip_of(span)));
    assert_eq!(head.send().await.unwrap().status(), StatusCode::OK);
    let playlist = get(&gateway, "hls/live.m3u8").await.text().await.unwrap();
    let segment = playlist.lines().rfind(|line| !line.starts_with('#')).unwrap();
    let segment_bytes = get(&gateway, &format!("hls/{segment}")).await.bytes().await.unwrap().len() as u64;
    let clip = get(&gateway, &clip_of(span)).await;
    let checkpoint = clip.headers()["journal-checkpoint"].to_str().unwrap().to_owned();
    let clip_bytes = clip.bytes().await.unwrap().len() as u64;
    // The first boxes alone: no picture goes out.
    let url = format!("http://{}/api/cameras/gate/{}", gateway.address(), clip_of(span));
    let boxes = Client::new().get(url).header("range", "bytes=0-99").send().await.unwrap();
    assert_eq!((boxes.status(), boxes.bytes().await.unwrap().len()), (StatusCode::PARTIAL_CONTENT, 100));
    let (start, end) = (span.start().to_string(), span.end().to_string());
    let out = rig.dir.path().join("export.mp4");
    let export = ["export", "--camera", "demo/gate", "--start", &start, "--end", &end, "--out", out.to_str().unwrap()];
    let (code, text) = rig.with_config(&[&export[..], &["--reason", "PV 12", "--recipient", "OPJ"]].concat());
    assert_eq!(code, 0, "{text}");
    gateway.stop().await;

    let entries = entries(&rig.folder());
    let exported = Action::Exported { bytes: out.metadata().unwrap().len() };
    let exported = entries.iter().find(|entry| entry.draft.action == exported).unwrap();
    assert_eq!((exported.draft.reason.as_deref(), exported.draft.recipient.as_deref()), (Some("PV 12"), Some("OPJ")));
    assert_eq!(entries[0].draft.action, Action::ConfigurationRead);
    let begun: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry.draft.action {
            Action::AccessBegun { access } => Some((entry.draft.author.clone(), entry.draft.address, access)),
            _ => None,
        })
        .collect();
    let from = Some(Ipv4Addr::LOCALHOST.into());
    assert_eq!(begun, [(Author::Loopback, from, Access::Live), (Author::Loopback, from, Access::Clip)]);
    let sent = |wanted| {
        entries.iter().find_map(|entry| match &entry.draft.action {
            Action::AccessEnded { access, sent, sent_bytes, .. } if *access == wanted => {
                Some((sent.clone(), *sent_bytes))
            }
            _ => None,
        })
    };
    let (live, live_bytes) = sent(Access::Live).unwrap();
    assert_eq!((live.len(), live_bytes), (1, segment_bytes));
    let (clips, sent_bytes) = sent(Access::Clip).unwrap();
    assert_eq!((clips.len(), sent_bytes), (1, clip_bytes + 100), "the whole clip, and a hundred bytes of boxes");
    // The clip ends with its last picture, the index's span with its last fragment: a tick apart where frames are rounded.
    let apart = |a: jiff::Timestamp, b: WallTime| a.duration_since(b.to_timestamp()).abs();
    let most = apart(clips[0].from, span.start()).max(apart(clips[0].to, span.end()));
    assert!(most < jiff::SignedDuration::from_millis(1), "{clips:?} of {span:?}");

    let folder = rig.folder();
    let folder = folder.to_str().unwrap();
    let (code, text) = rig.vigie(&["journal", "verify", "--folder", folder, "--checkpoint", &checkpoint]);
    assert!(code == 0 && text.contains(": sound; checkpoint 7 ") && text.contains("7 entries verified"), "{text}");
    assert!(text.contains("by its own list, signed under vigie.invalid/journal/"), "{text}");
    let (code, text) = rig.with_config(&["journal", "verify"]);
    assert!(
        code == 0 && text.contains("demo: sound") && text.contains("signed under vigie.invalid/journal/"),
        "{text}"
    );
    assert!(text.contains("demo: its copy in store default is the same, up to its checkpoint 7 "), "{text}");
    let (code, text) = rig.with_config(&["journal", "show", "demo"]);
    assert!(code == 0 && text.lines().count() == 7, "{text}");
    let (code, text) = rig.with_config(&["journal", "show", "nobody"]);
    assert!(code == 2 && text.contains("no tenant nobody"), "{text}");

    let said = by_hand(&rig.folder());
    assert!(said.len() == 5 && said[0].contains("Signature Verified Successfully"), "{said:#?}");
    let (line, commitment, leaf, tile) = (&said[1][..64], &said[2][11..], &said[3][..64], &said[4]);
    assert!(line == commitment && leaf == tile, "{said:#?}");

    let content = std::fs::read_dir(rig.folder().join("content")).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&content).unwrap();
    std::fs::write(&content, text.replacen("loopback", "operator", 1)).unwrap();
    let (code, text) = rig.with_config(&["journal", "verify"]);
    assert!(code == 65 && text.contains("demo: content/") && text.contains("line 3: is not the entry 2"), "{text}");
    assert!(text.contains("demo: NOT SOUND"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_refuses_footage_while_recording_goes_on_until_the_operator_accepts_the_loss() {
    let rig = Rig::new().await;
    let (gateway, span) = rig.gateway().await;
    assert_eq!(get(&gateway, &clip_of(span)).await.status(), StatusCode::OK);
    gateway.stop().await;
    std::fs::write(rig.folder().join("checkpoint"), "something else").unwrap();

    let (gateway, span) = rig.gateway().await;
    for path in ["hls/live.m3u8", &clip_of(span), &format!("snapshot.jpg?at={}", span.start())] {
        let refused = get(&gateway, path).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        let problem = refused.text().await.unwrap();
        assert!(problem.contains("journal") && !problem.contains(rig.dir.path().to_str().unwrap()), "{problem}");
    }
    assert_eq!(
        get(&gateway, "timeline?start=2026-01-01T00:00:00Z&end=2026-01-02T00:00:00Z").await.status(),
        StatusCode::OK
    );
    let events = gateway.footage().index.events_after(0, 1000).await.unwrap();
    assert_eq!(events.iter().filter(|row| row.event.fact == Fact::JournalFailed).count(), 1);
    gateway.stop().await;
    let (code, text) = rig.with_config(&["journal", "verify"]);
    assert!(code == 65 && text.contains("demo: checkpoint: "), "{text}");

    let (code, text) = rig.with_config(&["journal", "accept-loss", "demo"]);
    assert!(code == 0 && text.contains("what was there is kept"), "{text}");
    let (gateway, span) = rig.gateway().await;
    assert_eq!(get(&gateway, &clip_of(span)).await.status(), StatusCode::OK);
    gateway.stop().await;
    assert!(matches!(entries(&rig.folder())[0].draft.action, Action::LossAccepted { size: 4, .. }));
    let (code, text) = rig.with_config(&["journal", "verify"]);
    assert_eq!(code, 0, "{text}");
}

/// A connection on which so many requests for this were sent, and nothing was read.
async fn asks(gateway: &Gateway, path: &str, requests: usize) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let request = format!("GET /api/cameras/gate/{path} HTTP/1.1\r\nhost: {}\r\n\r\n", gateway.address());
    stream.write_all(request.repeat(requests).as_bytes()).await.unwrap();
    stream
}

/// The begun and ended accesses by clip, with what the ends say.
fn clips(entries: &[Entry]) -> (usize, Vec<(Vec<Span>, u64)>) {
    let is_begun = |entry: &&Entry| entry.draft.action == Action::AccessBegun { access: Access::Clip };
    let ended = entries.iter().filter_map(|entry| match &entry.draft.action {
        Action::AccessEnded { access: Access::Clip, sent, sent_bytes, .. } => Some((sent.clone(), *sent_bytes)),
        _ => None,
    });
    (entries.iter().filter(is_begun).count(), ended.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_breaks_off_or_never_reads_is_in_the_journal_with_what_went_out_to_it() {
    // Far more than connections hold that nobody reads from.
    const REQUESTS: usize = 200;
    const HEAD_BYTES_MAX: usize = 4096;
    let rig = Rig::new().await;
    let (gateway, span) = rig.gateway().await;
    let clip = clip_of(span);
    let whole = Client::new().head(format!("http://{}/api/cameras/gate/{clip}", gateway.address()));
    let whole_bytes: usize = whole.send().await.unwrap().headers()["content-length"].to_str().unwrap().parse().unwrap();
    // The first half of a clip, and no more of its time.
    let half = format!("bytes=0-{}", whole_bytes / 2);
    let url = format!("http://{}/api/cameras/gate/{clip}", gateway.address());
    let half = Client::new().get(url).header("range", half).send().await.unwrap().bytes().await.unwrap().len();
    gateway.stop().await;
    let (begun, ended) = clips(&entries(&rig.folder()));
    assert_eq!((begun, ended.len(), ended[0].1), (1, 1, half as u64));
    let [sent] = ended[0].0[..] else { panic!("{ended:?}") };
    assert!(sent.from < sent.to && sent.to < span.end().to_timestamp(), "{sent:?} of {span:?}");

    let all = (REQUESTS * whole_bytes) as u64;
    for reads in [true, false] {
        let before = clips(&entries(&rig.folder())).1.len();
        let (gateway, span) = rig.gateway().await;
        let mut stream = asks(&gateway, &clip_of(span), REQUESTS).await;
        let mut received = 0;
        let mut bytes = vec![0; 1 << 16];
        while received < if reads { whole_bytes * 3 / 2 } else { 1 } {
            let read = tokio::time::timeout(PATIENCE, stream.read(&mut bytes)).await.expect("bytes").unwrap();
            assert_ne!(read, 0);
            received += read;
        }
        // One breaks off; the other is still there when the gateway stops.
        let left = (!reads).then_some(stream);
        gateway.stop().await;
        drop(left);
        let ended = clips(&entries(&rig.folder())).1.split_off(before);
        assert_eq!(ended.len(), 1, "{ended:?}");
        let sent_bytes = ended[0].1;
        assert!(sent_bytes as usize + HEAD_BYTES_MAX * REQUESTS >= received, "{sent_bytes} of {received}");
        assert!(sent_bytes > 0 && sent_bytes < all, "{sent_bytes} of {all}, and {received} were read");
    }
    let (code, text) = rig.with_config(&["journal", "verify", "--store"]);
    assert_eq!(code, 0, "{text}");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_and_an_index_that_were_set_back_together_are_contradicted_by_the_store() {
    let rig = Rig::new().await;
    let (gateway, span) = rig.gateway().await;
    assert_eq!(get(&gateway, &clip_of(span)).await.status(), StatusCode::OK);
    gateway.stop().await;
    let older = rig.dir.path().join("older");
    copy_folder(&rig.folder(), &older);
    let (gateway, span) = rig.gateway().await;
    assert_eq!(get(&gateway, &clip_of(span)).await.status(), StatusCode::OK);
    gateway.stop().await;

    std::fs::remove_dir_all(rig.folder()).unwrap();
    std::fs::rename(&older, rig.folder()).unwrap();
    for index in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "index.snapshot"] {
        let _ = std::fs::remove_file(rig.dir.path().join(index));
    }
    let (gateway, span) = rig.gateway().await;
    assert_eq!(get(&gateway, &clip_of(span)).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    gateway.stop().await;
    let (code, text) = rig.with_config(&["journal", "verify", "--store"]);
    assert!(code == 65 && text.contains("demo: checkpoint: has 4 entries") && text.contains("set back"), "{text}");

    let (code, text) = rig.with_config(&["journal", "accept-loss", "demo"]);
    assert!(code == 0 && text.contains("is continued as it is"), "{text}");
    let (gateway, span) = rig.gateway().await;
    assert_eq!(get(&gateway, &clip_of(span)).await.status(), StatusCode::OK);
    gateway.stop().await;
    let (code, text) = rig.with_config(&["journal", "verify", "--store"]);
    assert!(code == 0 && text.contains("its copy in store default is the same"), "{text}");
    let (code, text) = rig.with_config(&["fsck"]);
    assert!(code == 0, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_take_at_once_break_off_or_only_ask_about_is_accounted_to_the_byte_that_went_out() {
    let rig = Rig::new().await;
    let (gateway, span) = rig.gateway().await;
    let client = Client::new();
    let at = |path: String| format!("http://{}/api/cameras/gate/{path}", gateway.address());
    let picture = client.head(at(format!("snapshot.jpg?at={}", span.start()))).send().await.unwrap();
    assert!(picture.bytes().await.unwrap().is_empty());
    let parts = (0..96u64).map(|n| {
        let range = format!("bytes={}-{}", n * 100, n * 100 + 99 + n);
        let part = client.get(at(clip_of(span))).header("range", range).send();
        async move { part.await.unwrap() }
    });
    let parts = futures::future::join_all(parts).await;
    let mut received = 0;
    for part in parts {
        // Where the tenant has all its requests in use, none of the footage goes out.
        let is_part = part.status() == StatusCode::PARTIAL_CONTENT;
        received += if is_part { part.bytes().await.unwrap().len() as u64 } else { 0 };
    }
    assert!(received > 0);
    let whole = client.get(at(clip_of(span))).send().await.unwrap();
    let etag = whole.headers()["etag"].clone();
    received += whole.bytes().await.unwrap().len() as u64;
    let again = client.get(at(clip_of(span))).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    drop(client);
    gateway.stop().await;
    let (mut begun, mut ended) = (Vec::new(), Vec::new());
    for entry in entries(&rig.folder()) {
        match entry.draft.action {
            Action::AccessBegun { access } => begun.push((entry.n, access)),
            Action::AccessEnded { begun, access, sent_bytes, .. } => ended.push((begun, access, sent_bytes)),
            _ => {}
        }
    }
    ended.sort();
    let [picture, clip] = [begun[0], begun[1]];
    assert_eq!(begun, [(picture.0, Access::Snapshot), (clip.0, Access::Clip)]);
    assert_eq!(ended, [(picture.0, Access::Snapshot, 0), (clip.0, Access::Clip, received)]);
}
