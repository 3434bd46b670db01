//! A package, as an investigator gets it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use evidence::manifest::TimeStamp;
use evidence::sign::{Authority, Roots};
use evidence::{Manifest, Trust, names};
use futures::TryStreamExt;
use vigie::journals::stamping::Stamping;
use vigie::retrieve::mp4::{Clip, ClipRequest};

use super::authority::{self, Answers, Kind};
use super::real::{encode, pictures};
use super::rig::{H264, H265, Rig, at, between, ready, request, run, town, verified};

fn unpacked(rig: &Rig, zip: &std::path::Path) -> PathBuf {
    let folder = rig.dir.path().join("unpacked");
    run(Command::new("unzip").arg("-q").arg(zip).arg("-d").arg(&folder));
    folder
}

#[tokio::test]
async fn e4_e5_two_cameras_with_a_gap_and_a_change_of_coding_are_films_that_play_and_a_manifest_that_says_all() {
    let rig = Rig::with_footage().await;
    let exports = rig.exports().await;
    let id = ready(&rig, &exports).await;
    let zip = rig.zip(id);
    let report = verified(&zip);
    assert_eq!(report.findings, []);
    let manifest = report.manifest.unwrap();
    let [gate, square] = &manifest.cameras[..] else { panic!("{:?}", manifest.cameras) };
    assert_eq!((gate.name.as_str(), gate.place.as_str()), ("Caméra town/gate", "Grande place"));
    let seconds = |at: jiff::Timestamp| at.as_second() - super::rig::at(0).to_timestamp().as_second();
    let spans: Vec<_> = gate.covered.iter().map(|span| (seconds(span.from), seconds(span.to))).collect();
    assert_eq!(spans, [(0, 12), (20, 24)]);
    let gaps: Vec<_> = gate.gaps.iter().map(|gap| (seconds(gap.from), seconds(gap.to))).collect();
    assert_eq!(gaps, [(12, 20), (24, 30)]);
    let gaps: Vec<_> = square.gaps.iter().map(|gap| (seconds(gap.from), seconds(gap.to))).collect();
    assert_eq!(gaps, [(0, 2), (14, 30)]);
    assert_eq!(manifest.asked.reference, "PV 2026/117");
    assert_eq!(manifest.software.version, env!("CARGO_PKG_VERSION"));

    // Other programs than ours read it.
    run(Command::new("unzip").arg("-tq").arg(&zip));
    let python =
        "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; print(len(z.namelist()))";
    let files: usize = run(Command::new("python3").args(["-c", python]).arg(&zip)).trim().parse().unwrap();
    assert_eq!(files as u64, report.files);
    let folder = unpacked(&rig, &zip);
    assert!(verified(&folder).is_sound());

    // Each film plays to its end, picture for picture, and is the clip that the route gives.
    let films: Vec<_> = manifest.files.iter().filter_map(|file| Some((file, file.media.as_ref()?))).collect();
    let codecs: Vec<_> = films.iter().map(|(_, media)| (media.camera.as_str(), media.codec.as_str())).collect();
    assert_eq!(codecs, [("gate", "h264"), ("gate", "h265"), ("square", "h264")]);
    for ((file, media), options) in films.iter().zip([H264, H265, H264]) {
        let path = folder.join(&file.path);
        let source = encode(options).file;
        assert_eq!(pictures(path.to_str().unwrap()), pictures(source.to_str().unwrap()), "{}", file.path);
        assert!(media.pieces.ends_with(".pieces.jsonl"));
    }
    let asked = ClipRequest { part: Some(2), ..ClipRequest::of(between(0, 30)) };
    let clip = Clip::asked(&rig.footage, &"town/gate".parse().unwrap(), &asked).await.unwrap();
    let bytes: Vec<_> = clip.body(0..clip.len()).try_collect().await.unwrap();
    assert_eq!(bytes.concat(), fs::read(folder.join(&films[1].0.path)).unwrap());
}

#[tokio::test]
async fn e2_the_journal_has_the_order_before_anything_is_given_and_the_package_has_its_proof() {
    let rig = Rig::with_footage().await;
    let exports = rig.exports().await;
    let id = ready(&rig, &exports).await;
    let ordered = rig.entries("package_ordered").await;
    let prepared = rig.entries("package_prepared").await;
    assert_eq!((ordered.len(), prepared.len()), (1, 1));
    assert!(ordered[0]["n"].as_u64() < prepared[0]["n"].as_u64());
    assert_eq!(ordered[0]["author"]["person"]["act"], "2026-117 of 2026-01-05, le maire");
    assert_eq!(ordered[0]["cameras"], serde_json::json!(["gate", "square"]));
    assert_eq!((&ordered[0]["reason"], &ordered[0]["recipient"]), (&"vol à l'étalage".into(), &"Major Durand".into()));
    let report = verified(&rig.zip(id));
    let manifest = report.manifest.unwrap();
    assert_eq!(Some(manifest.ordered.entry), ordered[0]["n"].as_u64());
    assert!(report.vouched.journal.is_some(), "the proof leads to a checkpoint");
    let shown = exports.get(&town(), id).await.unwrap();
    let package = shown.job.package().unwrap();
    assert_eq!(prepared[0]["manifest"], package.manifest);
    assert_eq!(report.vouched.key.as_deref(), Some(package.key.as_str()), "the receipt's fingerprint");
    assert_eq!(evidence::sums::sha256(&fs::read(rig.zip(id)).unwrap()), package.sha256);
}

/// A certificate of an authority by OpenSSL, for this kind of key, and its root.
fn certificate(rig: &Rig, key: &[&str]) -> (Authority, PathBuf) {
    let path = |name: &str| rig.dir.path().join(name);
    let openssl = |args: &[&str]| run(Command::new("openssl").args(args).current_dir(rig.dir.path()));
    let root =
        ["req", "-x509", "-nodes", "-days", "10", "-subj", "/CN=root", "-keyout", "root.key", "-out", "root.pem"];
    openssl(&[&root[..], &["-newkey", "rsa:2048"]].concat());
    let own = ["req", "-nodes", "-subj", "/CN=Ville", "-keyout", "own.key", "-out", "own.csr"];
    openssl(&[&own[..], key].concat());
    fs::write(path("own.ext"), "keyUsage=critical,digitalSignature,nonRepudiation\n").unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        "own.csr",
        "-CA",
        "root.pem",
        "-CAkey",
        "root.key",
        "-CAcreateserial",
        "-days",
        "10",
        "-extfile",
        "own.ext",
        "-out",
        "own.pem",
    ]);
    let authority = Authority::from_pem(&fs::read(path("own.pem")).unwrap(), &fs::read(path("own.key")).unwrap());
    (authority.unwrap(), path("root.pem"))
}

/// The recipe of the package's own README, command by command, in the folder that it was unpacked to.
fn recipe(folder: &std::path::Path, ca: Option<&std::path::Path>) -> Result<String, String> {
    let readme = fs::read_to_string(folder.join(names::README)).unwrap();
    let english = readme.split("ENGLISH").nth(1).unwrap();
    let commands = english.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with("vigie"));
    let mut said = String::new();
    for command in commands {
        let needs_authority = command.contains("authority");
        if needs_authority && !folder.join(names::AUTHORITY_CERTIFICATES).exists() {
            continue;
        }
        if command.contains(names::TIME_STAMP) && ca.is_none() {
            continue;
        }
        let command = match ca {
            Some(ca) => command.replace("ca.pem", ca.to_str().unwrap()),
            None => command.to_owned(),
        };
        let done = Command::new("sh").args(["-c", &command]).current_dir(folder).output().unwrap();
        said += &String::from_utf8_lossy(&done.stdout);
        if !done.status.success() {
            return Err(format!("{command}: {}", String::from_utf8_lossy(&done.stderr)));
        }
    }
    Ok(said)
}

#[tokio::test]
async fn e5_the_recipe_with_openssl_and_sha256sum_reaches_the_verdict_of_the_verifier() {
    for key in [&["-newkey", "rsa:2048"][..], &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]] {
        let stamps = std::sync::Arc::new(authority::Authority::new(Kind::P256));
        let server = stamps.serve(Answers::Right).await;
        let stamping = Stamping::new(server.url.clone(), std::time::Duration::from_secs(3600), stamps.roots());
        let mut rig = Rig::empty(Some(stamping)).await;
        // The authority's clock is this machine's.
        let now = footage::clock::SystemClock::default();
        rig.clock.step(footage::clock::Clock::wall(&now).since(at(600)));
        rig.film().await;
        let (authority, root) = certificate(&rig, key);
        rig.signed_by(authority);
        rig.settings.days_max = 31;
        let exports = rig.exports().await;
        // The footage is of long ago, as this machine's clock says: the hold of it is not.
        let id = ready_though_old(&rig, &exports).await;
        let folder = unpacked(&rig, &rig.zip(id));
        let trust = Trust {
            keys: vec![exports.fingerprint(&town())],
            roots: Some(Roots::from_pem(&fs::read(&root).unwrap()).unwrap()),
            stamp_authorities: Some(stamps.roots()),
        };
        let report = evidence::verify(&folder, &trust).unwrap();
        assert_eq!(report.findings, []);
        let vouched = report.vouched;
        assert!(vouched.key_known && vouched.certificate_known && vouched.stamp_known, "{vouched:?}");
        assert_eq!(report.manifest.unwrap().time_stamp, TimeStamp::Present);
        let ca = stamps.ca();
        let said = recipe(&folder, Some(&ca)).unwrap();
        assert!(said.contains("Signature Verified Successfully") && said.contains("Verified OK"), "{said}");
        assert!(said.contains(&exports.fingerprint(&town())), "the fingerprint for the receipt: {said}");
        // And the other verdict, by both, of each file that is signed or hashed.
        let film = Manifest::decode(&fs::read(folder.join(names::MANIFEST)).unwrap()).unwrap();
        let film = film.files.iter().find(|file| file.media.is_some()).unwrap().path.clone();
        for name in
            [&film, names::MANIFEST, names::SIGNATURE, names::AUTHORITY_SIGNATURE, names::TIME_STAMP, names::PROOF]
        {
            let whole = fs::read(folder.join(name)).unwrap();
            let mut bytes = whole.clone();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(folder.join(name), bytes).unwrap();
            assert!(recipe(&folder, Some(&ca)).is_err(), "{name} was changed, and the recipe does not see it");
            assert!(!evidence::verify(&folder, &trust).is_ok_and(|report| report.is_sound()), "{name}");
            fs::write(folder.join(name), whole).unwrap();
        }
        recipe(&folder, Some(&ca)).unwrap();
    }
}

/// Prepared before anybody looks what has to be gone.
async fn ready_though_old(rig: &Rig, exports: &vigie::export::Exports) -> footage::units::ExportId {
    let shown = exports.order(request(None), super::rig::marie).await.unwrap();
    assert_eq!(exports.prepare_all().await, 1);
    assert!(rig.zip(shown.job.id).exists());
    shown.job.id
}

#[tokio::test]
async fn the_documented_recipe_is_that_of_the_package_and_compares_the_manifest_s_hashes() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/EVIDENCE.md")).unwrap();
    let rig = Rig::with_footage().await;
    let id = ready(&rig, &rig.exports().await).await;
    let folder = unpacked(&rig, &rig.zip(id));
    let readme = fs::read_to_string(folder.join(names::README)).unwrap();
    let is_command = |line: &&str| ["sha256sum", "openssl"].iter().any(|program| line.starts_with(program));
    let of = |text: &str| -> Vec<String> {
        text.lines().map(str::trim_start).filter(is_command).map(str::to_owned).collect()
    };
    let (documented, own) = (of(&page), of(&readme));
    assert_eq!(documented.len(), 6);
    assert_eq!(own, [documented.clone(), documented].concat(), "in French and in English");
    let compares = page.lines().find(|line| line.starts_with("python3 -c")).unwrap();
    let shell = || Command::new("sh").args(["-c", compares]).current_dir(&folder).output().unwrap();
    assert!(shell().status.success(), "{:?}", shell());
    fs::write(folder.join(names::README), b"another").unwrap();
    assert!(!shell().status.success());
}

#[tokio::test]
async fn an_authority_that_gives_no_time_stamp_is_said_in_the_manifest() {
    let stamps = std::sync::Arc::new(authority::Authority::new(Kind::P256));
    let server = stamps.serve(Answers::Page).await;
    let stamping = Stamping::new(server.url.clone(), std::time::Duration::from_secs(3600), stamps.roots());
    let mut rig = Rig::empty(Some(stamping)).await;
    rig.film().await;
    let id = ready(&rig, &rig.exports().await).await;
    let report = verified(&rig.zip(id));
    assert_eq!(report.findings, []);
    assert_eq!(report.manifest.unwrap().time_stamp, TimeStamp::Missing);
}

#[tokio::test]
async fn a_flipped_bit_of_footage_is_named_by_the_command_with_file_and_time() {
    let rig = Rig::with_footage().await;
    let id = ready(&rig, &rig.exports().await).await;
    let zip = rig.dir.path().join("package.zip");
    let mut bytes = fs::read(rig.zip(id)).unwrap();
    let third = bytes.len() / 3;
    bytes[third] ^= 1;
    fs::write(&zip, bytes).unwrap();
    let verify = |path: &std::path::Path| {
        let done = Command::new(env!("CARGO_BIN_EXE_vigie")).arg("verify").arg(path).output().unwrap();
        (done.status.code().unwrap(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let (code, said) = verify(&zip);
    assert_eq!(code, 65, "{said}");
    let wrong: Vec<&str> = said.lines().filter(|line| line.starts_with("WRONG")).collect();
    assert!(wrong.len() == 1 && wrong[0].contains("video/gate/") && wrong[0].contains("[2026-03-03 12:00:"), "{said}");
    let (code, said) = verify(&rig.zip(id));
    assert!(code == 0 && said.contains("SOUND"), "{said}");
    assert_eq!(verify(std::path::Path::new("no/package")).0, 66);
}

#[test]
fn the_verifier_links_neither_sqlite_nor_http_nor_rtsp() {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--offline", "--package", "vigie-evidence", "--edges", "normal", "--prefix", "none"]);
    let tree = run(tree.current_dir(env!("CARGO_MANIFEST_DIR")));
    let crates: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains(&"vigie-journal"), "{crates:?}");
    for none in [
        "rusqlite",
        "libsqlite3-sys",
        "hyper",
        "axum",
        "reqwest",
        "rustls",
        "object_store",
        "retina",
        "vigie-rtsp",
        "h2",
    ] {
        assert!(!crates.contains(&none), "vigie-verify is built with {none}");
    }
}
