//! The verifier: what is wrong with a package, in which file, and of footage at which time.
//!
//! ```text
//! folder or ZIP ─→ files ─→ each hashed once ─→ against the manifest ─ and SHA256SUMS
//!                                   └─ piece by piece, with the time of each
//! manifest ─→ its form, signatures, time stamp;  journal's entry ─→ proof ─→ checkpoint
//! ```
//!
//! Invariants: a package that changed in one bit has a finding, or is refused as a whole. Memory has a bound whatever it says: small
//! files are read up to their longest, large ones in steps, of findings the first [`FINDINGS_MAX`] are kept.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use jiff::Timestamp;
use journal::entry::{Action, Entry as JournalEntry};
use journal::stamp::{Authorities, REPLY_BYTES_MAX};
use journal::{Head, Span, proof, stamp};
use serde::Serialize;

pub use self::container::PackageError;
use self::container::{Container, Item};
use crate::manifest::{File, MANIFEST_BYTES_MAX, Manifest, Media, TimeStamp};
use crate::names;
use crate::pieces::{self, Piece};
use crate::sign::{self, Certificates, PublicKey, Roots};
use crate::sums::{self, Sha256};

mod container;
#[cfg(test)]
mod tests;

/// Findings that are kept; of more, how many.
pub const FINDINGS_MAX: usize = 1_000;
/// Damaged pieces of one file that are named.
const PIECES_NAMED_MAX: usize = 64;
/// The longest list of sums, in bytes: a line for each file.
const SUMS_BYTES_MAX: u64 = 32 << 20;
/// The longest file that is read where no manifest says how long it is, in bytes: longer than any film of an hour.
const UNLISTED_BYTES_MAX: u64 = 256 << 30;
/// Bytes that are read at a time.
const STEP_BYTES: usize = 256 << 10;

/// What is known from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// SHA-256 of the keys of gateways that may have signed. Without any, the package's own key is taken, and said.
    pub keys: Vec<String>,
    /// Who vouches for certificates of authorities. Without any, the package's own is taken, and said.
    pub roots: Option<Roots>,
    /// Whose time stamps are believed. Without any, each is checked with its own certificate, and said.
    pub stamp_authorities: Option<Authorities>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// In which file.
    pub file: String,
    /// Of footage of which time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Span>,
    /// From which byte of it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// What it is.
    pub what: String,
}

/// Who says what a package says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Vouched {
    /// SHA-256 of the gateway's key that signed it.
    pub key: Option<String>,
    /// It is one of those that were named.
    pub key_known: bool,
    /// SHA-256 of the authority's certificate that signed it.
    pub certificate: Option<String>,
    /// Somebody who is trusted vouches for it.
    pub certificate_known: bool,
    /// When an authority has seen the manifest.
    pub stamped: Option<Timestamp>,
    /// Its certificate leads to one that is trusted.
    pub stamp_known: bool,
    /// The checkpoint of the journal that the export's entry leads to.
    pub journal: Option<String>,
}

/// What the verifier found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The facts, where they read as such.
    #[serde(skip)]
    pub manifest: Option<Manifest>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// And so many more.
    pub more_findings: u64,
    /// Who vouches for it.
    pub vouched: Vouched,
    /// Files that were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Report {
    /// Whether nothing is wrong. Who vouches for it is another question.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn found(&mut self, file: &str, what: impl Into<String>) {
        self.add(Finding { file: file.to_owned(), time: None, at: None, what: what.into() });
    }

    fn add(&mut self, finding: Finding) {
        match self.findings.len() < FINDINGS_MAX {
            true => self.findings.push(finding),
            false => self.more_findings += 1,
        }
    }
}

/// Verifies a package: a folder, or a ZIP as Vigie wrote it.
///
/// # Errors
/// When it cannot be read, or its ZIP is not in its one form.
pub fn verify(path: &Path, trust: &Trust) -> Result<Report, PackageError> {
    let mut report = Report::default();
    let container = Container::open(path, &mut report)?;
    check(&container, trust, &mut report)?;
    Ok(report)
}

/// What was read of a file.
struct Hashed {
    sha256: String,
}

fn check(container: &Container, trust: &Trust, report: &mut Report) -> Result<(), PackageError> {
    let facts = small(container, names::MANIFEST, MANIFEST_BYTES_MAX, report)?;
    let manifest = facts.as_deref().and_then(|bytes| match Manifest::decode(bytes) {
        Ok(manifest) => Some(manifest),
        Err(error) => {
            report.found(names::MANIFEST, error.to_string());
            None
        }
    });
    let mut hashed = HashMap::new();
    for item in container.items() {
        let known = manifest.as_ref().and_then(|manifest| manifest.file(&item.name));
        let is_beside = names::BESIDE_MANIFEST.contains(&item.name.as_str());
        let of = match manifest.is_some() && known.is_none() && !is_beside {
            // It was added: it is named for that.
            true => Hashed { sha256: String::new() },
            false => hash(container, item, known, report)?,
        };
        report.files += 1;
        report.bytes += item.bytes;
        hashed.insert(item.name.as_str(), of);
    }
    if let (Some(manifest), Some(facts)) = (&manifest, &facts) {
        ensure_complete(container, manifest, report);
        check_key(container, manifest, (facts, trust), report)?;
        check_authority(container, manifest, (facts, trust), report)?;
        check_stamp(container, manifest, (facts, trust), report)?;
        check_journal(container, manifest, report)?;
    }
    check_sums(container, &hashed, report)?;
    report.manifest = manifest;
    Ok(())
}

/// A file that is read whole; `None` where it is missing or too long, which is found.
fn small(
    container: &Container,
    name: &str,
    bytes_max: u64,
    report: &mut Report,
) -> Result<Option<Vec<u8>>, PackageError> {
    let Some(item) = container.item(name) else {
        report.found(name, "it is missing");
        return Ok(None);
    };
    if item.bytes > bytes_max {
        report.found(name, format!("it has {} bytes: such a file has at most {bytes_max}", item.bytes));
        return Ok(None);
    }
    let mut bytes = Vec::new();
    container.reader(item)?.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Reads a file once, and compares it with what the manifest knows of it.
fn hash(container: &Container, item: &Item, known: Option<&File>, report: &mut Report) -> Result<Hashed, PackageError> {
    let media = known.and_then(|known| known.media.as_ref());
    let pieces = media.and_then(|media| container.item(&media.pieces));
    let lines = pieces.map(|pieces| container.reader(pieces)).transpose()?.map(BufReader::new);
    let mut reading = Reading::new(container.reader(item)?);
    let damaged = match lines {
        Some(lines) => compare_pieces(&mut reading, lines, known.map_or(0, |known| known.bytes))?,
        None => Vec::new(),
    };
    // What is longer than it may be is not what it was, whatever follows: a disk may say that a file has no end.
    let bytes_max = known.map_or_else(|| longest(&item.name), |known| known.bytes);
    reading.skip(bytes_max.saturating_sub(reading.at), &mut None)?;
    if known.is_none() && item.bytes > bytes_max {
        report.found(&item.name, format!("it has {} bytes: such a file has at most {bytes_max}", item.bytes));
        return Ok(Hashed { sha256: String::new() });
    }
    let (sha256, crc) = (reading.whole.finish(), reading.crc.finalize());
    let is_right = known.is_none_or(|known| known.sha256 == sha256 && known.bytes == item.bytes);
    if let Some(known) = known.filter(|_| !is_right) {
        report_damage(item, known, damaged, report);
    }
    if let Some(what) = container.header_fault(item, crc)? {
        let time = media.map(|media| media.covers).filter(|_| is_right);
        if is_right {
            report.add(Finding { file: item.name.clone(), time, at: None, what });
        }
    }
    Ok(Hashed { sha256 })
}

/// How long a file may be that no manifest lists.
fn longest(name: &str) -> u64 {
    match name {
        names::MANIFEST => MANIFEST_BYTES_MAX,
        names::SUMS => SUMS_BYTES_MAX,
        name if names::BESIDE_MANIFEST.contains(&name) => REPLY_BYTES_MAX.max(sign::SIGNATURE_BYTES_MAX),
        _ => UNLISTED_BYTES_MAX,
    }
}

fn report_damage(item: &Item, known: &File, damaged: Vec<Piece>, report: &mut Report) {
    let covers = known.media.as_ref().map(|media: &Media| media.covers);
    if item.bytes != known.bytes {
        let what = format!("it has {} bytes, and {} were exported", item.bytes, known.bytes);
        report.add(Finding { file: item.name.clone(), time: covers, at: Some(item.bytes.min(known.bytes)), what });
    }
    for piece in &damaged {
        let (time, at) = (piece.time().or(covers), Some(piece.at));
        let what = match piece.time() {
            Some(_) => "the footage of this time was changed",
            None => "what says how the film is laid out was changed",
        };
        report.add(Finding { file: item.name.clone(), time, at, what: what.to_owned() });
    }
    if damaged.is_empty() && item.bytes == known.bytes {
        let what = "it was changed".to_owned();
        report.add(Finding { file: item.name.clone(), time: covers, at: None, what });
    }
}

/// The pieces of a file that are not as they were.
fn compare_pieces(reading: &mut Reading, mut lines: impl BufRead, bytes_max: u64) -> io::Result<Vec<Piece>> {
    let mut damaged = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut lines).take(pieces::LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        // Of what is no list of pieces the rest says nothing: that it was changed, its own hash says.
        let Some(piece) = Piece::decode(&line)
            .filter(|piece| piece.at == reading.at && piece.bytes <= bytes_max - piece.at.min(bytes_max))
        else {
            return Ok(damaged);
        };
        let mut hash = Some(Sha256::default());
        reading.skip(piece.bytes, &mut hash)?;
        let is_right = hash.is_some_and(|hash| hash.finish() == piece.sha256);
        if !is_right && damaged.len() < PIECES_NAMED_MAX {
            damaged.push(piece);
        }
    }
}

/// A file that is read once, from its beginning to its end.
struct Reading {
    bytes: container::Bytes,
    at: u64,
    whole: Sha256,
    crc: crc32fast::Hasher,
    buffer: Vec<u8>,
}

impl Reading {
    fn new(bytes: container::Bytes) -> Self {
        let (whole, crc) = (Sha256::default(), crc32fast::Hasher::new());
        Self { bytes, at: 0, whole, crc, buffer: vec![0; STEP_BYTES] }
    }

    /// Reads on, so many bytes or to the end.
    fn skip(&mut self, mut bytes: u64, own: &mut Option<Sha256>) -> io::Result<()> {
        while bytes > 0 {
            let step = bytes.min(STEP_BYTES as u64) as usize;
            let n = self.bytes.read(&mut self.buffer[..step])?;
            if n == 0 {
                break;
            }
            let read = &self.buffer[..n];
            self.whole.update(read);
            self.crc.update(read);
            own.iter_mut().for_each(|own| own.update(read));
            (self.at, bytes) = (self.at + n as u64, bytes - n as u64);
        }
        Ok(())
    }
}

/// Every file that the manifest lists is there, and no other.
fn ensure_complete(container: &Container, manifest: &Manifest, report: &mut Report) {
    for file in manifest.files.iter().filter(|file| container.item(&file.path).is_none()) {
        let time = file.media.as_ref().map(|media| media.covers);
        report.add(Finding { file: file.path.clone(), time, at: None, what: "it is missing".to_owned() });
    }
    let may_be_beside = |name: &str| match name {
        names::AUTHORITY_SIGNATURE => manifest.signed.authority.is_some(),
        names::TIME_STAMP => manifest.time_stamp == TimeStamp::Present,
        name => names::BESIDE_MANIFEST.contains(&name),
    };
    for item in container.items() {
        if manifest.file(&item.name).is_none() && !may_be_beside(&item.name) {
            report.found(&item.name, "it is no file of the package: it was added");
        }
    }
}

/// The gateway's signature.
fn check_key(
    container: &Container,
    manifest: &Manifest,
    (facts, trust): (&[u8], &Trust),
    report: &mut Report,
) -> Result<(), PackageError> {
    let pem = small(container, names::GATEWAY_KEY, sign::PEM_BYTES_MAX, report)?;
    let signature = small(container, names::SIGNATURE, sign::SIGNATURE_BYTES_MAX, report)?;
    let (Some(pem), Some(signature)) = (pem, signature) else { return Ok(()) };
    let key = match PublicKey::from_pem(&pem) {
        Ok(key) => key,
        Err(error) => {
            report.found(names::GATEWAY_KEY, error.to_string());
            return Ok(());
        }
    };
    if key.fingerprint() != manifest.signed.gateway {
        report.found(names::GATEWAY_KEY, "it is another key than the manifest names");
    }
    match key.verify(facts, &signature) {
        Ok(()) => report.vouched.key = Some(key.fingerprint()),
        Err(error) => report.found(names::SIGNATURE, format!("{error}: one of the two was changed")),
    }
    report.vouched.key_known = trust.keys.contains(&key.fingerprint());
    if !trust.keys.is_empty() && !report.vouched.key_known {
        report.found(
            names::GATEWAY_KEY,
            "it is none of the keys that are known: somebody else may have made this package",
        );
    }
    Ok(())
}

/// The signature of the authority's certificate, where there is one.
fn check_authority(
    container: &Container,
    manifest: &Manifest,
    (facts, trust): (&[u8], &Trust),
    report: &mut Report,
) -> Result<(), PackageError> {
    let Some(named) = &manifest.signed.authority else { return Ok(()) };
    let pem = small(container, names::AUTHORITY_CERTIFICATES, sign::PEM_BYTES_MAX, report)?;
    let signature = small(container, names::AUTHORITY_SIGNATURE, sign::SIGNATURE_BYTES_MAX, report)?;
    let (Some(pem), Some(signature)) = (pem, signature) else { return Ok(()) };
    let certificates = match Certificates::from_pem(&pem) {
        Ok(certificates) => certificates,
        Err(error) => {
            report.found(names::AUTHORITY_CERTIFICATES, error.to_string());
            return Ok(());
        }
    };
    if certificates.fingerprint() != *named {
        report.found(names::AUTHORITY_CERTIFICATES, "it is another certificate than the manifest names");
    }
    match certificates.verify(facts, &signature) {
        Ok(()) => report.vouched.certificate = Some(certificates.fingerprint()),
        Err(error) => report.found(names::AUTHORITY_SIGNATURE, format!("{error}: one of the two was changed")),
    }
    if let Some(roots) = &trust.roots {
        match certificates.ensure_known(roots, manifest.made) {
            Ok(()) => report.vouched.certificate_known = true,
            Err(error) => report.found(names::AUTHORITY_CERTIFICATES, error.to_string()),
        }
    }
    Ok(())
}

/// The time stamp, where there is one.
fn check_stamp(
    container: &Container,
    manifest: &Manifest,
    (facts, trust): (&[u8], &Trust),
    report: &mut Report,
) -> Result<(), PackageError> {
    if manifest.time_stamp != TimeStamp::Present {
        return Ok(());
    }
    let Some(reply) = small(container, names::TIME_STAMP, REPLY_BYTES_MAX, report)? else { return Ok(()) };
    match stamp::verify(&reply, facts, trust.stamp_authorities.as_ref()) {
        Ok(at) => {
            report.vouched.stamped = Some(at);
            report.vouched.stamp_known = trust.stamp_authorities.is_some();
        }
        Err(error) => report.found(names::TIME_STAMP, error.to_string()),
    }
    Ok(())
}

/// The entry of the journal, and that it is in it.
fn check_journal(container: &Container, manifest: &Manifest, report: &mut Report) -> Result<(), PackageError> {
    let line = small(container, names::ENTRY, proof::ENTRY_BYTES_MAX, report)?;
    let proof = small(container, names::PROOF, proof::PROOF_BYTES_MAX, report)?;
    let (Some(line), Some(proof)) = (line, proof) else { return Ok(()) };
    match proof::verify(&proof, &line, &manifest.signed.journal) {
        Ok((entry, head)) => {
            report.vouched.journal = Some(Head::to_string(&head));
            if let Some(what) = differs(&entry, manifest) {
                report.found(names::ENTRY, format!("its {what} is another than the manifest says"));
            }
        }
        Err(error) => report.found(names::PROOF, error.to_string()),
    }
    Ok(())
}

/// In what the entry is not the one that this export was ordered by.
fn differs(entry: &JournalEntry, manifest: &Manifest) -> Option<&'static str> {
    let (draft, asked, ordered) = (&entry.draft, &manifest.asked, &manifest.ordered);
    let Action::PackageOrdered { export, reference, hold } = &draft.action else { return Some("action") };
    let cameras: Vec<String> = draft.cameras.iter().map(ToString::to_string).collect();
    let checks = [
        (entry.n != ordered.entry, "number"),
        (entry.at != ordered.at, "time"),
        (draft.author != ordered.by, "author"),
        (*export != manifest.export, "export"),
        (*reference != asked.reference, "reference"),
        (*hold != asked.hold.as_ref().map(|hold| hold.id.clone()), "hold"),
        (cameras != asked.cameras, "list of cameras"),
        (draft.range != Some(asked.range), "range"),
        (draft.reason.as_deref() != Some(&asked.reason), "reason"),
        (draft.recipient.as_deref() != Some(&asked.recipient), "recipient"),
    ];
    checks.into_iter().find(|(differs, _)| *differs).map(|(_, what)| what)
}

/// The sums are those of the files: of all, the signatures and the time stamp too.
fn check_sums(container: &Container, hashed: &HashMap<&str, Hashed>, report: &mut Report) -> Result<(), PackageError> {
    let Some(given) = small(container, names::SUMS, SUMS_BYTES_MAX, report)? else { return Ok(()) };
    let right = sums::text(hashed.iter().map(|(name, of)| (*name, of.sha256.as_str())));
    if right.as_bytes() == given {
        return Ok(());
    }
    let given = String::from_utf8_lossy(&given).into_owned();
    let lines: HashMap<&str, &str> = given.lines().filter_map(sums::line).map(|(hash, name)| (name, hash)).collect();
    let mut named = false;
    for (name, of) in hashed.iter().filter(|(name, _)| **name != names::SUMS) {
        if lines.get(name).is_some_and(|hash| *hash != of.sha256) {
            named = true;
            // What is known already is not said twice.
            if !report.findings.iter().any(|finding| finding.file == *name) {
                report.found(name, format!("it is not as {} says: one of the two was changed", names::SUMS));
            }
        }
    }
    let is_missing = |name: &&str| !hashed.contains_key(name);
    for name in lines.keys().filter(|name| is_missing(name)) {
        named = true;
        if !report.findings.iter().any(|finding| finding.file == **name) {
            report.found(name, "it is missing");
        }
    }
    if !named {
        report.found(names::SUMS, "it is not the list of the package's files");
    }
    Ok(())
}
