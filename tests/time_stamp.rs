//! Time stamps of a journal's checkpoints (RFC 3161), by an authority that OpenSSL is: what is believed, what is refused, and
//! that nothing waits for it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

#[path = "time_stamp/authority.rs"]
mod authority;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use authority::{Answers, Authority, Kind};
use footage::clock::{Clock, SystemClock};
use footage::keys::Keys;
use footage::units::{TenantId, Ticks90k};
use jiff::{SignedDuration, Timestamp};
use journal::entry::{Action, Author, Draft};
use journal::stamp::{Authorities, REPLY_BYTES_MAX, Request, StampError, verify};
use journal::stamps;
use object_store::memory::InMemory;
use tokio_util::sync::CancellationToken;
use vigie::config::TimeStamps;
use vigie::demo;
use vigie::event::{Fact, JournalProof};
use vigie::gateway::Gateway;
use vigie::index::{CameraRow, Change, Index};
use vigie::journals::Journals;
use vigie::journals::stamping::Stamping;
use vigie::store::Store;

/// How long a condition may take to come true before the test gives up.
const PATIENCE: Duration = Duration::from_secs(40);
const CHECKPOINT: &[u8] = b"a checkpoint, as far as an authority knows\n";

fn now() -> Timestamp {
    SystemClock::default().wall().to_timestamp()
}

#[test]
fn stamps_of_every_usual_key_and_form_are_believed_and_openssl_agrees() {
    for kind in [Kind::RSA, Kind::P256, Kind::P384, Kind::OLD_CERTIFICATE_HASH, Kind::BELOW_ANOTHER, Kind::FRACTION] {
        let authority = Authority::new(kind);
        let request = Request::new(CHECKPOINT);
        let before = now();
        let reply = authority.reply(&request.encode());
        assert!(reply.len() as u64 <= REPLY_BYTES_MAX / 2, "{kind:?}: {}", reply.len());
        let at = request.accept(&reply, &authority.roots(), now()).unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        assert!(at >= before - SignedDuration::from_secs(1) && at <= now(), "{kind:?}: {at}");
        assert_eq!(verify(&reply, CHECKPOINT, Some(&authority.roots())), Ok(at));
        assert_eq!(verify(&reply, CHECKPOINT, None), Ok(at));
        assert!(authority.openssl_verifies(&reply, CHECKPOINT), "{kind:?}");
    }
}

#[test]
fn what_is_no_stamp_of_this_checkpoint_by_a_known_authority_of_this_time_is_refused() {
    let (authority, other) = (Authority::new(Kind::P256), Authority::new(Kind::P256));
    let (request, again) = (Request::new(CHECKPOINT), Request::new(CHECKPOINT));
    let reply = authority.reply(&request.encode());
    let accept = |request: &Request, reply: &[u8], authority: &Authority, at: Timestamp| {
        request.accept(reply, &authority.roots(), at).unwrap_err()
    };
    assert_eq!(accept(&again, &reply, &authority, now()), StampError::Nonce);
    assert_eq!(accept(&Request::new(b"another"), &reply, &authority, now()), StampError::Imprint);
    assert_eq!(verify(&reply, b"another", None), Err(StampError::Imprint));
    assert!(matches!(accept(&request, &reply, &other, now()), StampError::Certificate(_)));
    for apart in [SignedDuration::from_mins(6), -SignedDuration::from_mins(6)] {
        assert!(matches!(accept(&request, &reply, &authority, now() + apart), StampError::Time(_)));
    }
    assert!(matches!(request.accept(&reply, &Authorities::default(), now()), Err(StampError::Certificate(_))));

    let expired = Authority::new(Kind::EXPIRED);
    let refused = accept(&request, &expired.reply(&request.encode()), &expired, now());
    assert!(matches!(&refused, StampError::Certificate(what) if what.contains("Expired")), "{refused}");
    let refused = accept(&request, &authority.refusal(&request.encode()), &authority, now());
    assert_eq!(refused, StampError::Refused(2));
    // The right content and a right signature, by a certificate that the same authority has given for something else.
    for purpose in
        ["extendedKeyUsage=critical,clientAuth", "extendedKeyUsage=timeStamping", "keyUsage=digitalSignature"]
    {
        let misused = authority.misused(&request.encode(), purpose);
        let refused = accept(&request, &misused, &authority, now());
        assert!(
            matches!(&refused, StampError::Certificate(what) if what.contains("for time stamps alone")),
            "{refused}"
        );
    }
    let right = authority.misused(&request.encode(), "extendedKeyUsage=critical,timeStamping");
    let accepted = request.accept(&right, &authority.roots(), now());
    assert!(accepted.is_ok(), "the purpose was what was wrong: {accepted:?}");
    let other = authority.other_signature(&request.encode());
    assert!(matches!(accept(&request, &other, &authority, now()), StampError::Signature(_)));
}

#[test]
fn no_bit_of_a_reply_changes_what_it_says_and_no_reply_is_too_odd_to_be_refused() {
    let authority = Authority::new(Kind::P256);
    let (request, roots) = (Request::new(CHECKPOINT), authority.roots());
    let reply = authority.reply(&request.encode());
    let at = request.accept(&reply, &roots, now()).unwrap();
    let mut refused = 0;
    for place in 0..reply.len() * 8 {
        let mut flipped = reply.clone();
        flipped[place / 8] ^= 1 << (place % 8);
        match request.accept(&flipped, &roots, at) {
            // What nobody signs is left to itself: how the request went, and what else the reply carries.
            Ok(said) => assert_eq!(said, at, "{place}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > reply.len() * 7, "{refused} of {}", reply.len() * 8);
    for end in 0..reply.len() {
        assert!(request.accept(&reply[..end], &roots, at).is_err(), "{end}");
    }
    let longer = [&reply[..], &[0]].concat();
    for odd in [&longer[..], &[0x30; 9000], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &vec![0x31; 1 << 20]] {
        assert!(matches!(request.accept(odd, &roots, at), Err(StampError::Malformed(_))));
    }
}

struct Rig {
    dir: tempfile::TempDir,
    index: Index,
    store: Store,
}

fn town() -> TenantId {
    "town".parse().unwrap()
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
        let gate = CameraRow {
            key: "town/gate".parse().unwrap(),
            name: "gate".to_owned(),
            place: String::new(),
            configured: true,
            retention_max: Ticks90k(30 * 86_400 * 90_000),
            retention_min: Ticks90k::ZERO,
        };
        index.write(vec![Change::Configure(vec![gate])]).await.unwrap();
        Self { dir, index, store: Store::over(Arc::new(InMemory::new())) }
    }

    /// Journals with a checkpoint of so many more entries, and this authority from then on.
    async fn journals(&self, entries: u64, authority: &Authority, url: url::Url) -> Journals {
        let journals = || {
            let (folder, clock) = (self.dir.path().join("journal"), Arc::new(SystemClock::default()));
            Journals::new(folder, Keys::from_secret([1; 32]), self.store.clone(), self.index.clone(), clock)
        };
        let before = journals();
        before.follow([(town(), 36)]).await;
        for _ in 0..entries {
            before.append(&town(), Draft::new(Author::Operator, Action::ConfigurationRead)).await.unwrap();
        }
        let stop = CancellationToken::new();
        stop.cancel();
        before.run(stop).await;
        let stamping = Stamping::new(url, Duration::from_secs(3600), authority.roots());
        let after = journals().stamped_by(Some(stamping));
        after.follow([(town(), 36)]).await;
        after
    }

    fn folder(&self) -> std::path::PathBuf {
        self.dir.path().join("journal/town")
    }

    async fn facts(&self) -> Vec<Fact> {
        let rows = self.index.events_after(0, 100).await.unwrap();
        rows.into_iter().map(|row| row.event.fact).collect()
    }

    /// Runs the journals until this is so.
    async fn run_until(&self, journals: &Journals, mut is_so: impl AsyncFnMut(&Self) -> bool) {
        let stop = CancellationToken::new();
        let running = tokio::spawn(journals.clone().run(stop.clone()));
        let met = async {
            let mut looks = tokio::time::interval(Duration::from_millis(20));
            while !is_so(self).await {
                looks.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(100_000), met).await.expect("it comes true");
        // An authority holds up no entry, whatever it does.
        journals.append(&town(), Draft::new(Author::Operator, Action::ConfigurationRead)).await.unwrap();
        stop.cancel();
        running.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_and_endless_answers_are_an_alarm_at_once_nothing_is_kept_and_the_next_right_one_ends_it() {
    let rig = Rig::new().await;
    let authority = Arc::new(Authority::new(Kind::P256));
    let unproven = Fact::JournalUnproven { proof: JournalProof::TimeStamp };
    for (round, answers) in [Answers::Replayed, Answers::Endless, Answers::Page].into_iter().enumerate() {
        let server = authority.serve(answers).await;
        let journals = rig.journals(2, &authority, server.url.clone()).await;
        rig.run_until(&journals, async |rig: &Rig| rig.facts().await.len() > round).await;
        assert_eq!(rig.facts().await.get(round..), Some(std::slice::from_ref(&unproven)), "{answers:?}");
        assert_eq!(stamps::kept(&rig.folder()).unwrap(), [], "{answers:?}");
    }
    let server = authority.serve(Answers::Right).await;
    let journals = rig.journals(1, &authority, server.url.clone()).await;
    rig.run_until(&journals, async |rig: &Rig| !stamps::kept(&rig.folder()).unwrap().is_empty()).await;
    let kept = stamps::kept(&rig.folder()).unwrap();
    assert_eq!(kept.len(), 1);
    let known = journal::verify::Known { authorities: Some(authority.roots()), ..Default::default() };
    let report = journal::verify::verify(&rig.folder(), &known).unwrap();
    assert_eq!((report.faults, report.stamps), (vec![], 1));
    // The copy in the store has it too, and is nobody's unknown object.
    let shelf = rig.store.shelves(&town(), &name_of(&rig.folder())).swap_remove(0);
    assert_eq!(shelf.get(&kept[0].reply(), 1 << 16).await.unwrap().unwrap(), read(&rig, &kept[0].reply()));
    assert_eq!(shelf.get(&kept[0].checkpoint(), 1 << 16).await.unwrap().unwrap(), read(&rig, &kept[0].checkpoint()));
    // An hour has to pass before the next one.
    let journals = rig.journals(5, &authority, server.url.clone()).await;
    let asked = server.asked();
    rig.run_until(&journals, async |_: &Rig| true).await;
    assert_eq!((stamps::kept(&rig.folder()).unwrap().len(), server.asked()), (1, asked));
}

fn read(rig: &Rig, name: &str) -> Vec<u8> {
    std::fs::read(rig.folder().join(name)).unwrap()
}

fn name_of(folder: &Path) -> String {
    let keys = std::fs::read_to_string(folder.join("keys")).unwrap();
    keys.split('+').next().unwrap().rsplit('/').next().unwrap().to_owned()
}

/// Time is the test's: it goes on whenever nothing else does, and the authority never does.
#[tokio::test(start_paused = true)]
async fn an_authority_that_is_silent_or_sends_a_byte_at_a_time_is_an_alarm_after_three_attempts() {
    let authority = Arc::new(Authority::new(Kind::P256));
    for answers in [Answers::Silent, Answers::Drop] {
        let rig = Rig::new().await;
        let server = authority.serve(answers).await;
        let journals = rig.journals(3, &authority, server.url.clone()).await;
        let unproven = Fact::JournalUnproven { proof: JournalProof::TimeStamp };
        rig.run_until(&journals, async |rig: &Rig| rig.facts().await == [unproven.clone()]).await;
        assert_eq!(server.asked(), 3, "{answers:?}");
        assert_eq!(stamps::kept(&rig.folder()).unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_keeps_stamps_the_command_verifies_them_and_a_changed_one_is_named() {
    let authority = Arc::new(Authority::new(Kind::RSA));
    let server = authority.serve(Answers::Right).await;
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("authority.pem");
    std::fs::copy(authority.ca(), &ca).unwrap();
    let text = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[data]\ndir = {:?}\n[journal]\ntime_stamp_url = \"{}\"\ntime_stamp_ca_file = \
         {ca:?}\n[[tenant]]\nid = \"demo\"\n",
        dir.path(),
        server.url,
    );
    std::fs::write(dir.path().join("vigie.toml"), text).unwrap();
    let mut config = demo::config((Ipv4Addr::LOCALHOST, 0).into(), dir.path(), Vec::new()).unwrap();
    Gateway::start(&config).await.unwrap().stop().await;
    let every = Duration::from_secs(3600);
    config.time_stamps = Some(TimeStamps { url: server.url.clone(), ca_file: Some(ca.clone()), every });
    let gateway = Gateway::start(&config).await.unwrap();
    let folder = dir.path().join("journal/demo");
    let stamped = async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while stamps::kept(&folder).unwrap().is_empty() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, stamped).await.expect("a checkpoint is stamped");
    gateway.stop().await;
    let kept = stamps::kept(&folder).unwrap()[0];

    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_vigie")).args(arguments).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), text)
    };
    let config = dir.path().join("vigie.toml");
    let with_config = ["journal", "verify", "--config", config.to_str().unwrap()];
    let (code, text) = run(&with_config);
    assert!(code == 0 && text.contains("demo: 1 time stamps verified; the last says that 1 entries"), "{text}");
    let in_folder = ["journal", "verify", "--folder", folder.to_str().unwrap()];
    let (code, text) = run(&in_folder);
    assert!(code == 0 && text.contains("by its own certificate alone"), "{text}");
    let (code, text) = run(&[&in_folder[..], &["--time-stamp-ca", ca.to_str().unwrap()]].concat());
    assert!(code == 0 && text.contains("1 time stamps verified; "), "{text}");
    let other = Authority::new(Kind::P256);
    let (code, text) = run(&[&in_folder[..], &["--time-stamp-ca", other.ca().to_str().unwrap()]].concat());
    assert!(code == 65 && text.contains(&format!("{}: the certificate of the time stamp", kept.reply())), "{text}");
    by_hand(&folder, &ca);

    let mut reply = std::fs::read(folder.join(kept.reply())).unwrap();
    let last = reply.len() - 1;
    reply[last] ^= 1;
    std::fs::write(folder.join(kept.reply()), reply).unwrap();
    let (code, text) = run(&with_config);
    assert!(code == 65 && text.contains(&format!("{}: the signature", kept.reply())), "{text}");
    assert!(text.contains(&kept.reply()) && text.contains("is another than the journal has"), "{text}");
}

/// The commands of docs/JOURNAL.md.
fn by_hand(folder: &Path, ca: &Path) {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/JOURNAL.md")).unwrap();
    let (_, section) = page.split_once("## Time stamps").unwrap();
    let block = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let script = block.replace("/etc/vigie/time-stamp-ca.pem", ca.to_str().unwrap());
    let output = Command::new("sh").args(["-ec", &script]).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("Verification: OK"), "{said}");
}
