//! A time stamping authority: OpenSSL's, behind a small server that may answer as it likes.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use journal::stamp::{Authorities, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// What an authority's key and certificate are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    key: &'static [&'static str],
    hash: &'static str,
    /// The hash by which a signature names its certificate.
    named_by: &'static str,
    days: i64,
    /// Its certificate is given by one that the authority's gave.
    is_below: bool,
    /// Digits behind the second.
    fraction: u8,
}

const P256_KEY: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];

impl Kind {
    pub(crate) const P256: Self =
        Self { key: P256_KEY, hash: "sha256", named_by: "sha256", days: 10, is_below: false, fraction: 0 };
    pub(crate) const RSA: Self = Self { key: &["-newkey", "rsa:2048"], hash: "sha512", ..Self::P256 };
    pub(crate) const P384: Self =
        Self { key: &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"], hash: "sha384", ..Self::P256 };
    pub(crate) const OLD_CERTIFICATE_HASH: Self = Self { named_by: "sha1", ..Self::P256 };
    pub(crate) const BELOW_ANOTHER: Self = Self { is_below: true, ..Self::P256 };
    pub(crate) const FRACTION: Self = Self { fraction: 3, ..Self::P256 };
    pub(crate) const EXPIRED: Self = Self { days: -1, ..Self::P256 };
}

/// How the server answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answers {
    /// As it should.
    Right,
    /// With an answer to an earlier request.
    Replayed,
    /// With as many bytes as are taken.
    Endless,
    /// With a page, as a proxy does.
    Page,
    /// Never.
    Silent,
    /// With a byte now and then.
    Drop,
}

pub(crate) struct Authority {
    dir: tempfile::TempDir,
    kind: Kind,
}

fn openssl(command: &mut Command) -> Vec<u8> {
    let done = command.stdin(Stdio::null()).output().expect("openssl (see .ci/setup)");
    assert!(done.status.success(), "{command:?}: {done:?}");
    done.stdout
}

impl Authority {
    pub(crate) fn new(kind: Kind) -> Self {
        let authority = Self { dir: tempfile::tempdir().unwrap(), kind };
        let request = ["req", "-x509", "-nodes", "-days", "10", "-subj", "/CN=root"];
        openssl(authority.openssl().args(request).args(kind.key).args(["-keyout", "ca.key", "-out", "ca.pem"]));
        let mut giver = "ca";
        if kind.is_below {
            authority.give(giver, "between", 10, "basicConstraints=critical,CA:TRUE");
            giver = "between";
        }
        authority.give(giver, "tsa", kind.days, "extendedKeyUsage=critical,timeStamping");
        let chain = if kind.is_below { "certs = between.pem\n" } else { "" };
        let text = format!(
            "[tsa]\ndefault_tsa = it\n[it]\nserial = serial\nsigner_cert = tsa.pem\nsigner_key = tsa.key\n{chain}\
             signer_digest = {}\ndefault_policy = 1.2.3.4\ndigests = sha256\naccuracy = secs:1, millisecs:500\n\
             clock_precision_digits = {}\ness_cert_id_alg = {}\ntsa_name = yes\n",
            kind.hash, kind.fraction, kind.named_by
        );
        authority.write("tsa.cnf", text.as_bytes());
        authority.write("refuses.cnf", text.replace("digests = sha256", "digests = sha512").as_bytes());
        authority
    }

    fn openssl(&self) -> Command {
        let mut command = Command::new("openssl");
        command.current_dir(self.dir.path());
        command
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.dir.path().join(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(name)).unwrap()
    }

    /// A certificate for `to`, by `giver`, with this extension.
    fn give(&self, giver: &str, to: &str, days: i64, extension: &str) {
        let [pem, key, csr, ext] = ["pem", "key", "csr", "ext"].map(|end| format!("{to}.{end}"));
        let subject = format!("/CN={to}");
        let request = ["req", "-nodes", "-subj", &subject, "-keyout", &key, "-out", &csr];
        openssl(self.openssl().args(request).args(self.kind.key));
        let basic = if extension.contains("basicConstraints") { "" } else { "basicConstraints=critical,CA:FALSE\n" };
        self.write(&ext, format!("{basic}{extension}\nsubjectKeyIdentifier=hash\n").as_bytes());
        let (ca, ca_key, days_long) = (format!("{giver}.pem"), format!("{giver}.key"), days.to_string());
        if days > 0 {
            let sign =
                ["x509", "-req", "-days", &days_long, "-CAcreateserial", "-in", &csr, "-CA", &ca, "-CAkey", &ca_key];
            openssl(self.openssl().args(sign).args(["-extfile", &ext, "-out", &pem]));
            return;
        }
        // Of a month that is over.
        self.write(
            "ca.cnf",
            b"[ca]\ndefault_ca = it\n[it]\ndatabase = given\nserial = number\n[any]\ncommonName = supplied\n",
        );
        self.write("given", b"");
        self.write("number", b"01\n");
        let sign = ["ca", "-batch", "-notext", "-config", "ca.cnf", "-policy", "any", "-md", "sha256"];
        let when = ["-startdate", "20200101000000Z", "-enddate", "20200201000000Z", "-outdir", "."];
        let by = ["-in", &csr, "-cert", &ca, "-keyfile", &ca_key, "-extfile", &ext, "-out", &pem];
        openssl(self.openssl().args(sign).args(when).args(by));
    }

    /// The certificate that vouches for it.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub(crate) fn roots(&self) -> Authorities {
        Authorities::from_pem(&std::fs::read(self.ca()).unwrap()).unwrap()
    }

    pub(crate) fn reply(&self, query: &[u8]) -> Vec<u8> {
        self.reply_by("tsa.cnf", query)
    }

    /// A reply that says no.
    pub(crate) fn refusal(&self, query: &[u8]) -> Vec<u8> {
        self.reply_by("refuses.cnf", query)
    }

    fn reply_by(&self, config: &str, query: &[u8]) -> Vec<u8> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (asked, reply) = (format!("{number}.tsq"), format!("{number}.tsr"));
        self.write(&asked, query);
        openssl(self.openssl().args(["ts", "-reply", "-config", config, "-queryfile", &asked, "-out", &reply]));
        self.read(&reply)
    }

    pub(crate) fn openssl_verifies(&self, reply: &[u8], data: &[u8]) -> bool {
        self.write("reply", reply);
        self.write("data", data);
        let verify = ["ts", "-verify", "-in", "reply", "-data", "data", "-CAfile", "ca.pem"];
        self.openssl().args(verify).output().unwrap().status.success()
    }

    /// What it replies, signed with another certificate, which was given before and has this extension.
    pub(crate) fn misused(&self, query: &[u8], extension: &str) -> Vec<u8> {
        self.give("ca", "misused", 10, extension);
        self.signed_again(&self.reply(query), "misused")
    }

    fn signed_again(&self, reply: &[u8], by: &str) -> Vec<u8> {
        self.write("reply", reply);
        let (pem, key) = (format!("{by}.pem"), format!("{by}.key"));
        openssl(self.openssl().args(["ts", "-reply", "-in", "reply", "-token_out", "-out", "token"]));
        let open = ["cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-in", "token", "-out", "content"];
        openssl(self.openssl().args(open));
        let sign =
            ["cms", "-sign", "-cades", "-binary", "-nodetach", "-outform", "DER", "-in", "content", "-out", "again"];
        let by = ["-econtent_type", "1.2.840.113549.1.9.16.1.4", "-md", "sha256", "-signer", &pem, "-inkey", &key];
        openssl(self.openssl().args(sign).args(by));
        let token = self.read("again");
        let body = [&[0x30, 3, 2, 1, 0], &token[..]].concat();
        [&[0x30, 0x82, (body.len() >> 8) as u8, body.len() as u8], &body[..]].concat()
    }

    /// What it replies, with one bit of the signature, which is last, another.
    pub(crate) fn other_signature(&self, query: &[u8]) -> Vec<u8> {
        let mut reply = self.reply(query);
        *reply.last_mut().unwrap() ^= 1;
        reply
    }

    /// Serves, until it is dropped.
    pub(crate) async fn serve(self: &Arc<Self>, answers: Answers) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/tsa", listener.local_addr().unwrap()).parse().unwrap();
        let (asked, authority) = (Arc::new(AtomicUsize::new(0)), self.clone());
        let counted = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(answer(connection, authority.clone(), answers));
            }
        });
        Server { url, asked, task }
    }
}

/// A server that answers.
pub(crate) struct Server {
    pub(crate) url: Url,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Connections so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut connection: TcpStream, authority: Arc<Authority>, answers: Answers) -> Option<()> {
    let mut request = Vec::new();
    let query = loop {
        if connection.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.contains("content-type: application/timestamp-query"), "{head}");
        let length = head.split("content-length: ").nth(1)?.lines().next()?.parse::<usize>().ok()?;
        let body = request.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        if request.len() >= body + length {
            break request[body..body + length].to_vec();
        }
    };
    let head = |kind: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n");
    let reply = head("application/timestamp-reply");
    match answers {
        Answers::Right => {
            let reply = [reply.as_bytes(), &authority.reply(&query)].concat();
            connection.write_all(&reply).await.ok()
        }
        Answers::Replayed => {
            let earlier = Request::new(b"an earlier checkpoint").encode();
            connection.write_all(&[reply.as_bytes(), &authority.reply(&earlier)].concat()).await.ok()
        }
        Answers::Endless => {
            connection.write_all(reply.as_bytes()).await.ok()?;
            while connection.write_all(&[0x30; 4096]).await.is_ok() {}
            Some(())
        }
        Answers::Page => {
            let page = head("text/html") + "<html>sign in to the network</html>";
            connection.write_all(page.as_bytes()).await.ok()
        }
        Answers::Silent => std::future::pending().await,
        Answers::Drop => {
            connection.write_all(reply.as_bytes()).await.ok()?;
            let mut drops = tokio::time::interval(Duration::from_secs(5));
            while connection.write_all(&[0x30]).await.is_ok() {
                drops.tick().await;
            }
            Some(())
        }
    }
}
