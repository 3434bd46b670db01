//! Packages that are whole, changed, and hostile.

use std::fs;
use std::process::Command;

use journal::checkpoint::Signer;
use journal::entry::{Author, Draft};
use journal::{Journal, proof};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tempfile::TempDir;

use super::*;
use crate::manifest::{Asked, Camera, Clock, FORMAT, Ordered, Signed, Software, VERSION};
use crate::pieces::Hasher;
use crate::sign::{Authority, GatewayKey};
use crate::write::{ReadBack, Step, Writer};
use crate::zip::{self, Entry, ZipError};

/// The bytes of a package of two cameras, small enough to be verified ten thousand times.
struct Made {
    zip: Vec<u8>,
    key: String,
    roots: String,
    dir: TempDir,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_772_539_200 + second).unwrap()
}

fn span(from: i64, to: i64) -> Span {
    Span { from: at(from), to: at(to) }
}

/// A film of six pieces: boxes, and five of a second each.
fn film(writer: &mut Writer, name: &str, from: i64, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let pieces: Vec<(u64, Option<Span>)> =
        (0..6).map(|n| (rng.random_range(50..900), (n > 0).then(|| span(from + n - 1, from + n)))).collect();
    let mut bytes = vec![0; pieces.iter().map(|(bytes, _)| *bytes as usize).sum()];
    rng.fill_bytes(&mut bytes);
    let mut hasher = Hasher::new(pieces.into_iter());
    writer.begin(name).unwrap();
    for bytes in bytes.chunks(333) {
        writer.write(bytes).unwrap();
        hasher.update(bytes).unwrap();
    }
    let media = Media {
        camera: "gate".to_owned(),
        covers: span(from, from + 5),
        codec: "h264".to_owned(),
        codecs: "avc1.42C01E".to_owned(),
        width: 640,
        height: 360,
        stretches: vec![span(from, from + 5)],
        pieces: names::pieces_of(name),
    };
    writer.end(Some(media)).unwrap();
    writer.add(&names::pieces_of(name), &hasher.finish().unwrap()).unwrap();
}

/// A certificate of an authority, its key, and its root.
fn certificate() -> (String, String, String) {
    let root = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "root");
    let root_pem = params.self_signed(&root).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, root);
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(Vec::new()).unwrap().signed_by(&key, &issuer).unwrap();
    (own.pem(), key.serialize_pem(), root_pem)
}

fn made() -> Made {
    let dir = TempDir::new().unwrap();
    let signer = Signer::new("vigie.invalid/journal/town", &[3; 32]);
    let journal_key = signer.verifier().to_owned();
    let folder = dir.path().join("journal");
    let journal = Journal::open(&folder, signer, &[], at(100)).unwrap();
    let (export, reference) = ("0badcafe".to_owned(), "PV 2026/117".to_owned());
    let action = Action::PackageOrdered { export: export.clone(), reference: reference.clone(), hold: None };
    let mut draft = Draft::new(Author::Operator, action).on("gate".parse().unwrap(), Some(span(0, 60)));
    draft.cameras.push("square".parse().unwrap());
    (draft.reason, draft.recipient) = (Some("theft".to_owned()), Some("Major Durand".to_owned()));
    for _ in 0..5 {
        journal.append(at(99), Draft::new(Author::Gateway, Action::ConfigurationRead)).unwrap();
    }
    let entry = journal.append(at(100), draft).unwrap();
    journal.checkpoint().unwrap();
    let proven = proof::prove(&folder, entry).unwrap().unwrap();
    let (certificate, key, roots) = certificate();
    let authority = Authority::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    let key = GatewayKey::new(&[5; 32]);
    let path = dir.path().join("package.zip");
    let file = fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let mut writer = Writer::new(file.try_clone().unwrap());
    film(&mut writer, "video/gate/a.mp4", 0, 1);
    film(&mut writer, "video/gate/b.mp4", 20, 2);
    film(&mut writer, "video/square/a.mp4", 0, 3);
    writer.add(names::ENTRY, &proven.line).unwrap();
    writer.add(names::PROOF, &proven.proof).unwrap();
    writer.add(names::README, b"how to verify\n").unwrap();
    let (gateway, authority_hash) = (key.fingerprint(), authority.fingerprint());
    let files = writer.add_keys(&key, Some(&authority)).unwrap();
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        version: VERSION,
        export: export.clone(),
        made: at(101),
        software: Software { name: "vigie".to_owned(), version: "0.1.0".to_owned() },
        asked: Asked {
            tenant: "town".to_owned(),
            authority: "Ville".to_owned(),
            time_zone: "Europe/Paris".to_owned(),
            range: span(0, 60),
            cameras: vec!["gate".to_owned(), "square".to_owned()],
            hold: None,
            reference: reference.clone(),
            reason: "theft".to_owned(),
            recipient: "Major Durand".to_owned(),
        },
        ordered: Ordered { by: Author::Operator, at: at(100), entry },
        cameras: vec![Camera {
            camera: "gate".to_owned(),
            name: "Gate".to_owned(),
            place: "Town".to_owned(),
            covered: vec![span(0, 5), span(20, 25)],
            gaps: Vec::new(),
            unreadable: Vec::new(),
            filled: Vec::new(),
            clock: Clock { source: "gateway".to_owned(), camera_offset_ms: None, known_wrong: Vec::new() },
            signatures: Vec::new(),
        }],
        files,
        signed: Signed {
            gateway: gateway.clone(),
            authority: Some(authority_hash.clone()),
            journal: vec![journal_key.clone()],
        },
        time_stamp: TimeStamp::None,
    };
    let written = writer.finish(&manifest, (&key, Some(&authority)), None).unwrap();
    let len = written.bytes;
    let mut back = ReadBack::new(file, &written);
    let whole = loop {
        if let Step::Whole(hash) = back.step().unwrap() {
            break hash;
        }
    };
    let zip = fs::read(path).unwrap();
    assert_eq!((zip.len() as u64, sums::sha256(&zip)), (len, whole));
    Made { zip, key: key.fingerprint(), roots, dir }
}

/// What the verifier says of these bytes: that they are no package's ZIP, or its report.
fn verify_bytes(zip: Vec<u8>, trust: &Trust) -> Result<Report, PackageError> {
    let len = zip.len() as u64;
    let mut report = Report::default();
    let container = Container::zip(std::sync::Arc::new(zip), len)?;
    check(&container, trust, &mut report)?;
    Ok(report)
}

/// Unpacked by a program that is not ours.
fn unpacked(made: &Made, name: &str) -> std::path::PathBuf {
    let (zip, folder) = (made.dir.path().join("package.zip"), made.dir.path().join(name));
    let out = Command::new("unzip").arg("-q").arg(zip).arg("-d").arg(&folder).output().expect("apt-get install unzip");
    assert!(out.status.success(), "{out:?}");
    folder
}

#[test]
fn e5_a_whole_package_is_sound_as_zip_and_as_folder_and_its_keys_are_known_from_elsewhere() {
    let made = made();
    let trust = Trust {
        keys: vec![made.key.clone()],
        roots: Some(Roots::from_pem(made.roots.as_bytes()).unwrap()),
        stamp_authorities: None,
    };
    for path in [made.dir.path().join("package.zip"), unpacked(&made, "folder")] {
        let report = verify(&path, &trust).unwrap();
        assert_eq!(report.findings, [], "{}", path.display());
        assert!(report.vouched.key_known && report.vouched.certificate_known, "{:?}", report.vouched);
        assert!(report.vouched.journal.is_some());
        assert_eq!(report.manifest.unwrap().asked.reference, "PV 2026/117");
    }
    let other = Trust { keys: vec!["0".repeat(64)], ..trust.clone() };
    let report = verify_bytes(made.zip.clone(), &other).unwrap();
    assert_eq!(report.findings.len(), 1, "another key: {:?}", report.findings);
    let (_, _, stranger) = certificate();
    let other = Trust { roots: Some(Roots::from_pem(stranger.as_bytes()).unwrap()), ..trust };
    let report = verify_bytes(made.zip, &other).unwrap();
    assert_eq!(report.findings[0].file, names::AUTHORITY_CERTIFICATES, "another root");
}

#[test]
fn e5_ten_thousand_flipped_bits_are_all_found_and_named_by_file_and_time() {
    let made = made();
    let entries = zip::read_directory(&made.zip, made.zip.len() as u64).unwrap();
    let manifest = verify_bytes(made.zip.clone(), &Trust::default()).unwrap().manifest.unwrap();
    let seed: u64 = std::env::var("VIGIE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(36);
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut of_files, mut of_films) = (0, 0);
    for _ in 0..10_000 {
        let (byte, bit) = (rng.random_range(0..made.zip.len()), rng.random_range(0..8));
        let mut zip = made.zip.clone();
        zip[byte] ^= 1 << bit;
        let report = match verify_bytes(zip, &Trust::default()) {
            Ok(report) => report,
            Err(PackageError::Zip(ZipError::Form { .. })) => continue,
            Err(other) => panic!("seed {seed}, bit {bit} of byte {byte}: {other}"),
        };
        assert!(!report.is_sound(), "seed {seed}: bit {bit} of byte {byte} is not found");
        let Some(entry) = entries.iter().find(|of| (of.at..of.end()).contains(&(byte as u64))) else { continue };
        of_files += 1;
        let named = report.findings.iter().any(|finding| finding.file == entry.name);
        let is_sums = entry.name == names::SUMS;
        assert!(named || is_sums, "seed {seed}, bit {bit} of byte {byte} of {}: {:?}", entry.name, report.findings);
        let Some(media) = manifest.file(&entry.name).and_then(|file| file.media.as_ref()) else { continue };
        of_films += 1;
        let [finding] = &report.findings[..] else { panic!("one fault, one finding: {:?}", report.findings) };
        let time = finding.time.expect("footage has a time");
        assert!(media.covers.from <= time.from && time.to <= media.covers.to, "{finding:?}");
        if let Some(begins) = finding.at.filter(|begins| *begins > 0) {
            let within = byte as u64 - entry.data_at();
            assert!(begins <= within && within < begins + 900, "{finding:?} is another second than byte {within}");
            assert_eq!(time.to.duration_since(time.from).as_secs(), 1, "one second of five");
        }
    }
    assert!(of_files > 5_000 && of_films > 3_000, "{of_files} {of_films}");
}

#[test]
fn e5_flipped_bits_of_an_unpacked_package_are_found_in_their_file() {
    let made = made();
    let folder = unpacked(&made, "folder");
    let mut rng = StdRng::seed_from_u64(37);
    for entry in zip::read_directory(&made.zip, made.zip.len() as u64).unwrap() {
        let path = folder.join(&entry.name);
        let whole = fs::read(&path).unwrap();
        for _ in 0..20 {
            let mut bytes = whole.clone();
            let place = rng.random_range(0..bytes.len());
            bytes[place] ^= 1 << rng.random_range(0..8);
            fs::write(&path, bytes).unwrap();
            let report = verify(&folder, &Trust::default()).unwrap();
            let named = report.findings.iter().any(|finding| finding.file == entry.name);
            assert!(named || entry.name == names::SUMS && !report.is_sound(), "{}: {:?}", entry.name, report.findings);
        }
        fs::write(&path, whole).unwrap();
    }
    assert!(verify(&folder, &Trust::default()).unwrap().is_sound());
}

#[test]
fn files_that_are_missing_added_cut_off_or_linked_are_named() {
    let made = made();
    let folder = unpacked(&made, "folder");
    let findings = |what: &str| {
        let found = verify(&folder, &Trust::default()).unwrap().findings;
        assert!(found.iter().any(|finding| finding.file == what), "{what}: {found:?}");
        found
    };
    let film = folder.join("video/gate/a.mp4");
    let whole = fs::read(&film).unwrap();
    fs::remove_file(&film).unwrap();
    assert_eq!(findings("video/gate/a.mp4")[0].time, Some(span(0, 5)));
    std::os::unix::fs::symlink("/etc/hostname", &film).unwrap();
    findings("video/gate/a.mp4");
    fs::remove_file(&film).unwrap();
    fs::write(&film, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(findings("video/gate/a.mp4")[0].time, Some(span(0, 5)));
    fs::write(&film, [&whole[..], b"more"].concat()).unwrap();
    findings("video/gate/a.mp4");
    fs::write(&film, &whole).unwrap();
    fs::write(folder.join("video/gate/c.mp4"), b"added").unwrap();
    findings("video/gate/c.mp4");
    fs::remove_file(folder.join("video/gate/c.mp4")).unwrap();
    fs::write(folder.join(".hidden"), b"added").unwrap();
    findings(".hidden");
    fs::remove_file(folder.join(".hidden")).unwrap();
    fs::remove_file(folder.join(names::MANIFEST)).unwrap();
    findings(names::MANIFEST);
}

#[test]
fn a_file_that_says_it_has_no_end_is_named_and_not_read() {
    let made = made();
    for name in [names::MANIFEST, names::SUMS, names::SIGNATURE, names::README, "video/gate/a.mp4", "added"] {
        let folder = unpacked(&made, &name.replace('/', "-"));
        // It takes no room on the disk, and years to be read.
        let file = fs::File::options().write(true).create(true).truncate(false).open(folder.join(name)).unwrap();
        file.set_len(8 << 40).unwrap();
        let findings = verify(&folder, &Trust::default()).unwrap().findings;
        assert!(findings.iter().any(|finding| finding.file == name), "{name}: {findings:?}");
    }
}

#[test]
fn a_package_that_was_signed_again_by_another_is_another_s() {
    let made = made();
    let folder = unpacked(&made, "folder");
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let mut manifest = Manifest::decode(&read(names::MANIFEST)).unwrap();
    let other = GatewayKey::new(&[6; 32]);
    (manifest.asked.recipient, manifest.signed.gateway) = ("Somebody".to_owned(), other.fingerprint());
    manifest.signed.authority = None;
    manifest.files.retain(|file| file.path != names::AUTHORITY_CERTIFICATES);
    for name in [names::AUTHORITY_CERTIFICATES, names::AUTHORITY_SIGNATURE] {
        fs::remove_file(folder.join(name)).unwrap();
    }
    let pem = other.pem();
    for file in manifest.files.iter_mut().filter(|file| file.path == names::GATEWAY_KEY) {
        (file.bytes, file.sha256) = (pem.len() as u64, sums::sha256(pem.as_bytes()));
    }
    let write = |manifest: &Manifest| {
        let facts = manifest.encode().unwrap();
        let files = [
            (names::MANIFEST, &facts[..]),
            (names::SIGNATURE, &other.sign(&facts)),
            (names::GATEWAY_KEY, pem.as_bytes()),
        ];
        files.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).unwrap());
        let all = manifest.files.iter().map(|file| (file.path.clone(), file.sha256.clone()));
        let own = files[..2].iter().map(|(name, bytes)| ((*name).to_owned(), sums::sha256(bytes)));
        let all: Vec<(String, String)> = all.chain(own).collect();
        fs::write(folder.join(names::SUMS), sums::text(all.iter().map(|(a, b)| (a.as_str(), b.as_str())))).unwrap();
    };
    write(&manifest);
    let report = verify(&folder, &Trust::default()).unwrap();
    // The journal contradicts it, and the key is another.
    let files: Vec<_> = report.findings.iter().map(|finding| finding.file.as_str()).collect();
    assert_eq!(files, [names::ENTRY], "{:?}", report.findings);
    manifest.asked.recipient = "Major Durand".to_owned();
    write(&manifest);
    assert!(verify(&folder, &Trust::default()).unwrap().is_sound(), "sound in itself");
    let known = Trust { keys: vec![made.key], ..Trust::default() };
    assert_eq!(verify(&folder, &known).unwrap().findings[0].file, names::GATEWAY_KEY, "and not the gateway's");
}

/// A ZIP of these entries, whatever their bytes are.
fn zip_of(entries: &[(&str, u64)], room: u64) -> Vec<u8> {
    let mut all: Vec<Entry> = Vec::new();
    for (name, bytes) in entries {
        let at = all.last().map_or(0, Entry::end);
        all.push(Entry { name: (*name).to_owned(), bytes: *bytes, crc: 0, at });
    }
    let mut zip = vec![0; room as usize];
    zip.extend(zip::directory(&all));
    zip
}

#[test]
fn hostile_zips_are_refused_in_bounded_time_and_memory() {
    let refused = |zip: Vec<u8>, what: &str| {
        let error = verify_bytes(zip, &Trust::default()).expect_err(what);
        assert!(matches!(error, PackageError::Zip(ZipError::Form { .. })), "{what}: {error}");
        error.to_string()
    };
    refused(Vec::new(), "nothing");
    refused(vec![0; 40], "zeros");
    refused(vec![0; 4_000], "more zeros");
    let traversal = refused(zip_of(&[("../../etc/passwd", 0)], 50 + 16), "a path that leads out");
    assert!(!traversal.contains("passwd"), "{traversal}");
    refused(zip_of(&[("/etc/passwd", 0)], 50 + 11), "an absolute path");
    refused(zip_of(&[("a", 0), ("a", 0)], 102), "twice the same");
    refused(zip_of(&[("a", 1 << 60)], 51), "a file longer than any disk");
    refused(zip_of(&[("a", 1 << 40), ("b", 1 << 40)], 102), "files longer than the ZIP");
    let made = made();
    for cut in [1, 22, 97, 98, 99, 500, made.zip.len() / 2, made.zip.len() - 1] {
        refused(made.zip[..made.zip.len() - cut].to_vec(), "cut off");
    }
    refused([&made.zip[..], b"behind"].concat(), "bytes behind it");
    refused([b"before", &made.zip[..]].concat(), "bytes before it");
    // A number of files that no memory holds.
    let mut many = made.zip.clone();
    let end = many.len() - 98;
    many[end + 24..end + 40].fill(0xff);
    refused(many, "more files than there are numbers for");
}

#[test]
fn compressed_zips_are_refused_with_what_to_do() {
    let made = made();
    unpacked(&made, "folder");
    let script = "import shutil, sys; shutil.make_archive(sys.argv[1], 'zip', sys.argv[2])";
    let (out, folder) = (made.dir.path().join("again"), made.dir.path().join("folder"));
    assert!(Command::new("python3").args(["-c", script]).arg(&out).arg(&folder).status().unwrap().success());
    let error = verify(&out.with_extension("zip"), &Trust::default()).unwrap_err();
    assert!(error.to_string().contains("unpack it and verify the folder"), "{error}");
}

#[test]
fn hostile_manifests_are_refused() {
    let made = made();
    let folder = unpacked(&made, "folder");
    let path = folder.join(names::MANIFEST);
    let right = fs::read_to_string(&path).unwrap();
    let check = |text: String, what: &str| {
        fs::write(&path, text).unwrap();
        let report = verify(&folder, &Trust::default()).unwrap();
        assert!(report.manifest.is_none(), "{what}");
        assert!(report.findings.iter().any(|finding| finding.file == names::MANIFEST), "{what}");
    };
    check("[".repeat(100_000), "nested without an end");
    check(right.replace("\"version\":1}", "\"version\":2}"), "another version");
    check(right.replacen(",", ", ", 1), "a space");
    check(right.replacen("\"bytes\":", "\"bytes\":99999999999999999999", 1), "a number that is none");
    check(right.replacen("video/gate/a.mp4", "../gate/a.mp4", 1), "a path that leads out");
    check(right.replacen("{", "{\"added\":1,", 1), "a member that nobody knows");
    let (own, other) = ("\"pieces\":\"video/gate/b.pieces", "\"pieces\":\"video/gate/a.pieces");
    assert!(right.contains(own));
    check(right.replacen(own, other, 1), "one list of pieces that is read for many films");
    check("{}".to_owned(), "nothing");
    fs::write(&path, right).unwrap();
    assert!(verify(&folder, &Trust::default()).unwrap().is_sound());
}

#[test]
fn what_is_printed_names_the_fault_and_moves_no_cursor() {
    let made = made();
    let zip = made.dir.path().join("package.zip");
    let args = |path: &Path| crate::cli::VerifyArgs {
        package: path.to_owned(),
        key: vec![made.key.to_uppercase()],
        roots: None,
        time_stamp_ca: None,
        json: false,
    };
    let (said, sound) = crate::cli::run(&args(&zip)).unwrap();
    assert!(sound && said.contains("SOUND") && said.contains(": known\n"), "{said}");
    let mut bytes = made.zip.clone();
    bytes[400] ^= 1;
    fs::write(&zip, bytes).unwrap();
    let (said, sound) = crate::cli::run(&args(&zip)).unwrap();
    assert!(!sound && said.contains("WRONG  video/gate/a.mp4"), "{said}");
    let folder = made.dir.path().join("odd");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("\u{1b}[2J"), b"").unwrap();
    let (said, _) = crate::cli::run(&args(&folder)).unwrap();
    assert!(!said.contains('\u{1b}'), "{said:?}");
    let json = crate::cli::VerifyArgs { json: true, ..args(&zip) };
    let value: serde_json::Value = serde_json::from_str(&crate::cli::run(&json).unwrap().0).unwrap();
    assert_eq!((&value["sound"], &value["findings"][0]["file"]), (&false.into(), &"video/gate/a.mp4".into()));
}

#[test]
fn nothing_but_the_package_is_there_or_it_is_said() {
    let error = verify(Path::new("no/such/package"), &Trust::default()).unwrap_err();
    assert_eq!(footage::failure::Failure::kind(&error), footage::failure::Kind::NotFound);
    let dir = TempDir::new().unwrap();
    let report = verify(dir.path(), &Trust::default()).unwrap();
    assert!(!report.is_sound(), "an empty folder is no package");
}

#[test]
fn whatever_the_end_of_a_zip_says_it_is_refused_or_not_sound() {
    let made = made();
    let mut rng = StdRng::seed_from_u64(38);
    let directory_at = made.zip.len() - 1_500;
    for _ in 0..3_000 {
        let mut zip = made.zip.clone();
        for _ in 0..rng.random_range(1..12) {
            let place = rng.random_range(directory_at..zip.len());
            zip[place] = *[0, 0xff, 0x7f, 0x80, rng.random()].get(rng.random_range(0..5)).unwrap();
        }
        if zip != made.zip {
            assert!(!verify_bytes(zip, &Trust::default()).is_ok_and(|report| report.is_sound()));
        }
    }
}
