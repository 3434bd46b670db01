//! The guide and the README: every block of code is run, or checked as far as this machine allows.
//!
//! A block's first line says how. `sh run`: in the clean root, where the package is installed and a gateway records
//! simulated cameras. `sh encrypted`: the same, once the store is encrypted. `sh host`: needs what the root does not
//! have (systemd, hardware, the Internet), so its commands are parsed: options of `vigie` by its own command line, paths of
//! `curl` by the gateway's OpenAPI description. `toml` is put into the configuration and checked by `check-config`;
//! with `file=PATH`, a block is that file.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Stdio};
use std::time::Duration;

use footage::clock::{Clock, SystemClock};
use serde_json::Value;
use testkit::camera::{self, Server};

use super::root::Root;

/// The pages in their order, in each language.
const PAGES: [&str; 9] =
    ["install", "people", "cameras", "stores", "keys", "retention", "alarms", "incidents", "requests"];

const CONFIG: &str = "/etc/vigie/vigie.toml";

/// A block of code.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    /// What follows the backticks: the language, then how it is checked.
    info: String,
    text: String,
}

impl Block {
    fn language(&self) -> &str {
        self.info.split(' ').next().unwrap_or_default()
    }

    fn file(&self) -> Option<&str> {
        self.info.split(' ').find_map(|word| word.strip_prefix("file="))
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The blocks of a page, those in lists too.
fn blocks(markdown: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for line in markdown.lines() {
        let indent = line.len() - line.trim_start().len();
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => open = Some((indent, Block { info: info.to_owned(), text: String::new() })),
            (None, None) => {}
            (Some(_), Some(_)) => found.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), None) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a block has no end");
    found
}

/// Levels of the headings, in order.
fn headings(markdown: &str) -> Vec<usize> {
    let levels = markdown.lines().map(|line| line.bytes().take_while(|b| *b == b'#').count());
    levels.filter(|level| *level > 0).collect()
}

/// Logical lines of a script, those that end with `\` or an open quote joined; no comments.
fn commands(script: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in script.lines() {
        open.push_str(line);
        if let Some(joined) = open.strip_suffix('\\') {
            open = joined.to_owned();
        } else if open.matches('\'').count() % 2 == 1 {
            open.push('\n');
        } else {
            lines.push(std::mem::take(&mut open));
        }
    }
    assert!(open.is_empty(), "{script}: a command has no end");
    lines.retain(|line| !line.is_empty() && !line.starts_with('#'));
    lines
}

/// The configuration with these tables in the place of those of the same name, a tenant with all of its tables. A camera
/// and a further store are added.
fn with_fragment(config: &str, fragment: &str) -> String {
    let heads: BTreeSet<&str> = fragment.lines().filter(|line| line.starts_with('[')).collect();
    let adds =
        |line: &str| line == "[[tenant.camera]]" || (line == "[[store]]" && fragment.contains("[[store]]\nname = "));
    let replaces_tenant = heads.contains("[[tenant]]");
    let mut kept = String::new();
    let mut replaced = false;
    for line in config.lines() {
        if line.starts_with('[') {
            let of_tenant = line.trim_start_matches('[').starts_with("tenant");
            replaced = (of_tenant && replaces_tenant) || (heads.contains(line) && !adds(line));
        }
        if !replaced {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    format!("{kept}\n{fragment}")
}

#[test]
fn both_languages_of_the_guide_have_the_same_pages_headings_and_blocks() {
    for language in ["fr", "en"] {
        let folder = format!("{}/docs/guide/{language}", env!("CARGO_MANIFEST_DIR"));
        let found: BTreeSet<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(found, PAGES.map(|page| format!("{page}.md")).into());
    }
    for page in PAGES {
        let (french, english) = (read(&format!("docs/guide/fr/{page}.md")), read(&format!("docs/guide/en/{page}.md")));
        assert_eq!(headings(&french), headings(&english), "{page}");
        let (french, english) = (blocks(&french), blocks(&english));
        for (french, english) in french.iter().zip(&english) {
            assert_eq!(french, english, "{page}");
        }
        assert_eq!(french.len(), english.len(), "{page}");
    }
}

#[test]
fn every_block_says_how_it_is_checked() {
    let known = ["sh run", "sh encrypted", "sh host", "toml"];
    let pages = PAGES.iter().map(|page| format!("docs/guide/fr/{page}.md")).chain(["README.md".to_owned()]);
    for page in pages {
        for block in blocks(&read(&page)) {
            let named = block.file().is_some() && ["toml", "ini"].contains(&block.language());
            assert!(named || known.contains(&block.info.as_str()), "{page}: {block:?}");
        }
    }
}

/// The root, its gateway and its cameras.
struct Site {
    root: Root,
    cameras: Server,
    port: u16,
    /// The gateway, run as systemd would run it: `systemctl` in a block of `sh run` acts on it.
    service: Option<Child>,
    /// Paths of the OpenAPI description, with their methods; from the first answer of the gateway on.
    routes: Vec<(String, String)>,
}

impl Site {
    fn new(cameras: Server) -> Self {
        // Below those that the system gives out, so that nobody else is given it between a stop and a start.
        let first = 26_000 + (std::process::id() % 500) as u16;
        let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        let port = (first..27_000).find(free).expect("a free port");
        Self { root: Root::installed(), cameras, port, service: None, routes: Vec::new() }
    }

    /// A text of the guide with what is true here in the place of what the guide supposes.
    fn localised(&self, text: &str) -> String {
        let camera = self.cameras.url("stream1").to_string();
        let mut text = text.replace("127.0.0.1:8080", &format!("127.0.0.1:{}", self.port));
        for host in 11..=19 {
            text = text.replace(&format!("rtsp://192.0.2.{host}:554/stream1"), &camera);
        }
        // The guide's ten minutes: the last one, which has footage. Local time for commands, UTC for the API.
        let date = |arguments: &str| self.root.sh(&format!("TZ=Europe/Paris date {arguments}")).trim().to_owned();
        for (minute, when) in [("30", "1 minute ago"), ("40", "now")] {
            let utc = date(&format!("--utc --date='{when}' +%FT%TZ"));
            text = text.replace(&format!("2026-03-01T13:{minute}:00Z"), &utc);
            let local = date(&format!("--date='{when}' +%FT%T"));
            text = text.replace(&format!("2026-03-01T14:{minute}:00"), &local);
        }
        text = text.replace("2026-09-01T00:00:00Z", &date("--utc --date='20 days' +%FT%TZ"));
        if text.contains("HOLD") {
            let holds: Value = serde_json::from_str(&self.root.sh(&self.request("/api/holds"))).unwrap();
            text = text.replace("HOLD", holds[0]["id"].as_str().expect("a hold was placed"));
        }
        text
    }

    /// A request to the gateway, for a script.
    fn request(&self, path: &str) -> String {
        // Of the person whom the guide designates, once it has.
        let token = "cat /etc/vigie/marie-durand.token 2>/dev/null || cat /etc/vigie/mairie.token";
        format!("curl -sS -f -u \"mairie:$({token})\" 'http://127.0.0.1:{}{path}'", self.port)
    }

    /// Returns when a command of the root succeeds.
    fn until(&self, condition: &str) {
        let script = format!("until {condition}; do sleep 0.2; done");
        let waited = self.root.command(&["timeout", "90", "bash", "-c", &script]).output().unwrap();
        assert!(waited.status.success(), "{condition}: {}", String::from_utf8_lossy(&waited.stderr));
    }

    /// A block of the guide.
    fn check(&mut self, block: &Block) {
        match (block.language(), block.file()) {
            ("toml", None) => self.check_fragment(&block.text),
            (_, Some(file)) => self.write(file, &block.text),
            ("sh", None) if block.info == "sh host" => self.parse(&block.text),
            ("sh", None) => {
                if block.info == "sh encrypted" {
                    self.encrypt();
                }
                self.run(&block.text);
            }
            _ => panic!("{block:?}"),
        }
    }

    /// What an authority would give: the guide names the two files, and has them installed so.
    fn make_certificate(&self) {
        self.root.sh("install -d -m 750 -o root -g vigie /etc/vigie/tls\n\
             cd /etc/vigie/tls\n\
             openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
             -subj /CN=vigie.example.org -keyout privkey.pem -out fullchain.pem 2>/dev/null\n\
             chgrp vigie fullchain.pem privkey.pem\n\
             chmod 640 fullchain.pem privkey.pem");
    }

    /// Writes a file; its owner and mode stay.
    fn write(&self, file: &str, text: &str) {
        let text = self.localised(text);
        assert!(!text.contains("\nEOF\n"));
        self.root.sh(&format!("mkdir -p \"$(dirname {file})\"\ncat >{file} <<'EOF'\n{text}EOF"));
        // The guide's own commands check the configuration, once they have made the secrets that it names.
        if file == CONFIG {
            return;
        }
        assert!(file.starts_with("/etc/systemd/system/vigie.service.d/"), "{file}: no check for that");
        // Where this machine has no systemd, nothing reads it.
        if let Some(verified) = self.root.analyze(&["verify", "--man=no"]) {
            assert!(!verified.text.contains("vigie") && !verified.text.contains(file), "{}", verified.text);
        }
    }

    fn check_fragment(&self, fragment: &str) {
        if fragment.contains("[http.tls]") {
            self.make_certificate();
        }
        let config = with_fragment(&self.root.sh(&format!("cat {CONFIG}")), &self.localised(fragment));
        self.root.sh(&format!(
            "cat >/etc/vigie/draft.toml <<'EOF'\n{config}EOF\n\
             sudo -u vigie vigie check-config --config /etc/vigie/draft.toml\n\
             rm /etc/vigie/draft.toml"
        ));
    }

    /// Runs a block: what stands between lines of `systemctl` as one script.
    fn run(&mut self, script: &str) {
        let mut part = String::new();
        for command in commands(script) {
            if let Some(verbs) = command.strip_prefix("sudo systemctl ") {
                self.run_part(&std::mem::take(&mut part));
                self.systemctl(verbs);
            } else {
                part.push_str(&command);
                part.push('\n');
            }
        }
        self.run_part(&part);
    }

    fn run_part(&self, script: &str) {
        if script.is_empty() {
            return;
        }
        self.root.sh(&self.once_recorded(script));
    }

    /// The script as it is here, once there is what it shows: footage of the last minute once the cameras have been
    /// recorded for a moment, and a hold's clip once it has been copied. The last minute is another at each attempt.
    fn once_recorded(&self, script: &str) -> String {
        let clock = SystemClock::default();
        let deadline = clock.read().mono + Duration::from_secs(90);
        loop {
            let localised = self.localised(script);
            let clips = self.clips(&localised);
            let missing = clips.iter().find(|clip| {
                let request = self.request(&format!("/api/{clip}"));
                !self.root.try_sh(&format!("{request} --output /dev/null")).done
            });
            let Some(missing) = missing else { return localised };
            assert!(clock.read().mono < deadline, "waited in vain for {missing}");
            self.root.sh("sleep 0.2");
        }
    }

    /// Clips that a script asks for, by their paths below `/api/`.
    fn clips(&self, script: &str) -> Vec<String> {
        let clips = script.split([' ', '"', '\'', '\n']).filter_map(|word| word.split_once("/api/"));
        let mut clips: Vec<_> =
            clips.filter(|(_, path)| path.contains("clip.mp4")).map(|(_, path)| path.to_owned()).collect();
        if script.contains("vigie export") || script.contains("vigie ls") {
            let clip = "cameras/place-mairie/clip.mp4?start=2026-03-01T13:30:00Z&end=2026-03-01T13:40:00Z";
            clips.push(self.localised(clip));
        }
        clips
    }

    fn systemctl(&mut self, verbs: &str) {
        match verbs {
            "enable --now vigie" | "start vigie" => self.start(),
            "stop vigie" => self.stop(),
            "restart vigie" => {
                self.stop();
                self.start();
            }
            _ => panic!("systemctl {verbs}: no check for that"),
        }
    }

    /// Starts what the unit starts, as its user.
    fn start(&mut self) {
        assert!(self.service.is_none(), "it runs");
        let unit = self.root.sh("cat /usr/lib/systemd/system/vigie.service");
        let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).expect("a key of the unit");
        let (user, start) = (value("User="), value("ExecStart="));
        let log = fs::File::options().create(true).append(true).open(self.root.path("/tmp").join("log")).unwrap();
        // `exec` all along: the process that is signalled is the gateway.
        let script = format!("exec setpriv --reuid {user} --regid {user} --clear-groups {start}");
        let mut command = self.root.command(&["bash", "-c", &script]);
        let process = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.service = Some(process);
        let description = self.request("/api/openapi.json");
        self.until(&format!("{description} --output /dev/null"));
        let document: Value = serde_json::from_str(&self.root.sh(&description)).unwrap();
        let paths = document["paths"].as_object().expect("paths");
        let methods = |path: &Value| path.as_object().expect("methods").keys().cloned().collect::<Vec<_>>();
        self.routes = paths
            .iter()
            .flat_map(|(path, item)| methods(item).into_iter().map(|method| (method.to_uppercase(), path.clone())))
            .collect();
    }

    /// Stops it as systemd does.
    fn stop(&mut self) {
        let mut process = self.service.take().expect("it runs");
        self.root.sh(&format!("kill -TERM {}", process.id()));
        let status = process.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.root.path("/tmp").join("log")).unwrap_or_default()
    }

    /// Makes the store an encrypted one, and waits until something was encrypted.
    fn encrypt(&mut self) {
        self.root.sh(&format!("sed --in-place 's|^url = \"file:.*|&\\nencrypt = true|' {CONFIG}"));
        self.stop();
        self.start();
        self.until("ls /var/lib/vigie/keys/packs/mairie/day-*");
    }

    /// Commands that cannot run here are at least commands that exist.
    fn parse(&self, script: &str) {
        self.root.sh(&format!("bash -n <<'EOF'\n{script}EOF"));
        for command in commands(script) {
            let plain = command.trim_start_matches("sudo -u vigie ").trim_start_matches("sudo ");
            let (program, arguments) = plain.split_once(' ').unwrap_or((plain, ""));
            match program {
                "vigie" => {
                    let arguments = arguments.replace("REQUEST", &"0".repeat(32));
                    drop(self.root.sh(&format!("vigie {arguments} --help")));
                }
                "curl" => self.is_routed(&command),
                // The file that is edited gets what a person would write.
                "nano" if arguments.starts_with("/etc/vigie/") => {
                    drop(self.root.sh(&format!("echo secret >{arguments}")))
                }
                "cp" => {
                    let from = arguments.split(' ').find(|word| !word.starts_with('-'));
                    drop(self.root.sh(&format!("ls {}", from.unwrap_or_default())));
                }
                "systemctl" | "journalctl" => assert!(plain.contains("vigie") || plain.ends_with("nginx"), "{command}"),
                "packaging/deb" | "./.ci/run" | "./.ci/demo" => assert!(read(program).starts_with("#!"), "{command}"),
                "apt" | "cargo" | "chown" | "chronyc" | "ffprobe" | "git" | "install" | "nano" | "openssl"
                | "nginx" | "ping" | "rm" | "ssh" | "tar" | "timedatectl" => {}
                // What the other commands of the block use.
                _ if program.starts_with("TOKEN=$(sudo") => {}
                _ => panic!("{command}: no check for that"),
            }
        }
    }

    /// A request that the gateway's description knows.
    fn is_routed(&self, command: &str) {
        let words = command.split([' ', '"', '\'']);
        let has_body = [" -d ", " --data-binary "].iter().any(|option| command.contains(option));
        let with_body = if has_body { "POST" } else { "GET" };
        let method = command.split(" -X ").nth(1).map_or(with_body, |rest| rest.split(' ').next().unwrap_or_default());
        let url: url::Url = words.clone().find(|word| word.starts_with("http")).expect("an address").parse().unwrap();
        let fits = |pattern: &str| {
            let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), url.path().split('/').collect());
            pattern.len() == path.len() && pattern.iter().zip(&path).all(|(p, w)| p.starts_with('{') || p == w)
        };
        let known = self.routes.iter().any(|(known, path)| known == method && fits(path));
        assert!(known, "{command}: the gateway has no such route: {:?}", self.routes);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut process) = self.service.take() {
            // A test that failed leaves nothing running in a folder that goes.
            let _ = self.root.try_sh(&format!("kill -KILL {}", process.id()));
            let _ = process.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_the_guide_do_what_it_says() {
    let mut camera = camera::demo_camera().unwrap();
    camera.path = "stream1".to_owned();
    camera.credentials = Some(("vigie".to_owned(), "secret".to_owned()));
    let cameras = Server::start((Ipv4Addr::LOCALHOST, 0).into(), vec![camera]).await.unwrap();
    let through = tokio::task::spawn_blocking(move || {
        let mut site = Site::new(cameras);
        let pages = PAGES.iter().map(|page| format!("docs/guide/fr/{page}.md"));
        for page in pages.chain(["README.md".to_owned()]) {
            for block in blocks(&read(&page)) {
                let before = site.log().len();
                let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| site.check(&block)));
                assert!(checked.is_ok(), "{page}, in {block:?}; the gateway's log:\n{}", &site.log()[before..]);
            }
        }
        site.stop();
    });
    through.await.unwrap();
}
