//! SeaweedFS: a real S3 server, started on ports of its own and killed when dropped.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use url::Url;
use vigie::config::S3;

/// The keys that the server knows.
pub(crate) const ACCESS_KEY: &str = "VIGIETESTKEYID";
pub(crate) const SECRET_KEY: &str = "a-secret-of-the-tests-alone";
/// The bucket that there is.
pub(crate) const BUCKET: &str = "footage";

/// How long the server may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server, its data in a temporary folder.
#[derive(Debug)]
pub(crate) struct Seaweed {
    dir: tempfile::TempDir,
    ports: [u16; 8],
    process: Option<Child>,
}

fn program() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))).unwrap_or_default();
    let own = cache.join("vigie/seaweedfs/bin/weed");
    if own.exists() { own } else { "weed".into() }
}

/// Ports that nobody listens on, none of them twice. SeaweedFS opens further ones 10,000 above those it is given unless
/// these are given too.
fn free_ports() -> [u16; 8] {
    let held: Vec<TcpListener> = (0..8).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    std::array::from_fn(|i| held[i].local_addr().unwrap().port())
}

impl Seaweed {
    /// A server with an empty bucket.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let identities = serde_json::json!({ "identities": [{
            "name": "vigie",
            "credentials": [{ "accessKey": ACCESS_KEY, "secretKey": SECRET_KEY }],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }]});
        std::fs::write(dir.path().join("s3.json"), identities.to_string()).expect("it can be written");
        std::fs::create_dir(dir.path().join("data")).expect("a folder");
        let mut server = Self { dir, ports: free_ports(), process: None };
        server.resume().await;
        let made = Command::new(program())
            .args(["shell", &format!("-master=127.0.0.1:{}.{}", server.ports[0], server.ports[1])])
            .arg(format!("-filer=127.0.0.1:{}.{}", server.ports[4], server.ports[5]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .and_then(|mut shell| {
                use std::io::Write;
                shell
                    .stdin
                    .take()
                    .expect("it is piped")
                    .write_all(format!("s3.bucket.create -name {BUCKET}\n").as_bytes())?;
                shell.wait_with_output()
            })
            .expect("the shell runs");
        let said = String::from_utf8_lossy(&made.stdout);
        assert!(said.contains("created") || said.contains(BUCKET), "no bucket: {said}");
        server
    }

    /// Kills it at once, as a power cut would; its data stay.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // One that ended by itself needs no killing.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again on its data.
    pub(crate) async fn resume(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let [master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc] = self.ports;
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let log = std::fs::File::create(path("log")).expect("a log");
        let mut command = Command::new(program());
        command
            .arg(format!("-logdir={}", self.dir.path().display()))
            .args(["server", "-ip=127.0.0.1", "-s3", "-volume.max=20", "-master.volumeSizeLimitMB=1024"])
            .arg(format!("-dir={}", path("data")))
            .arg(format!("-s3.config={}", path("s3.json")))
            .args([format!("-master.port={master}"), format!("-master.port.grpc={master_grpc}")])
            .args([format!("-volume.port={volume}"), format!("-volume.port.grpc={volume_grpc}")])
            .args([format!("-filer.port={filer}"), format!("-filer.port.grpc={filer_grpc}")])
            .args([format!("-s3.port={s3}"), format!("-s3.port.grpc={s3_grpc}")])
            // Of no use here, and on ports that a second server would want too.
            .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        self.process = Some(command.spawn().expect("`weed` runs: .ci/setup installs it"));
        let client = reqwest::Client::new();
        let ready = async {
            let mut tick = tokio::time::interval(Duration::from_millis(200));
            loop {
                tick.tick().await;
                let master = client.get(format!("http://127.0.0.1:{master}/dir/assign")).send().await;
                let s3 = client.get(format!("http://127.0.0.1:{s3}/healthz")).send().await;
                if master.is_ok_and(|answer| answer.status().is_success()) && s3.is_ok() {
                    return;
                }
            }
        };
        let ready = tokio::time::timeout(PATIENCE, ready).await;
        let log = std::fs::read_to_string(path("log")).unwrap_or_default();
        assert!(ready.is_ok(), "SeaweedFS is not ready: {}", log.lines().rev().take(20).collect::<Vec<_>>().join("\n"));
    }

    /// Where it answers.
    pub(crate) fn port(&self) -> u16 {
        self.ports[6]
    }

    /// A prefix in its bucket.
    pub(crate) fn url(&self, prefix: &str) -> Url {
        format!("s3://{BUCKET}/{prefix}").parse().expect("a URL")
    }

    /// How it is reached, through `port`.
    pub(crate) fn access(&self, port: u16) -> S3 {
        S3 {
            region: Some("us-east-1".into()),
            endpoint: format!("http://127.0.0.1:{port}").parse().ok(),
            path_style: true,
            access_key_id: Some(ACCESS_KEY.to_owned().into()),
            secret_access_key: Some(SECRET_KEY.to_owned().into()),
        }
    }

    /// Its folder, for what a test leaves beside it.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        self.kill();
    }
}
