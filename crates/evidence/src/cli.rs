//! The command line of the verifier, for `vigie-verify` and `vigie verify` alike.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use footage::failure::{Failure, Kind};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use journal::stamp::Authorities;

use crate::manifest::{Manifest, Span, TimeStamp};
use crate::sign::Roots;
use crate::verify::{Finding, PackageError, Report, Trust, Vouched, verify};

/// The longest file of certificates, in bytes: those that a machine trusts take a quarter of it.
const CERTIFICATES_BYTES_MAX: u64 = 1 << 20;

/// What to verify.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The package: its ZIP, or the folder that it was unpacked to
    #[arg(value_name = "PATH")]
    pub package: PathBuf,
    /// The SHA-256 of the gateway's key, from a place that is not the package: the receipt, or the authority itself
    #[arg(long, value_name = "SHA256")]
    pub key: Vec<String>,
    /// Certificates that vouch for the authority's, in PEM
    #[arg(long, value_name = "FILE")]
    pub roots: Option<PathBuf>,
    /// Certificates of authorities whose time stamps are believed, in PEM
    #[arg(long, value_name = "FILE")]
    pub time_stamp_ca: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// The package cannot be verified.
    #[error(transparent)]
    Package(#[from] PackageError),
}

impl Failure for VerifyError {
    fn kind(&self) -> Kind {
        match self {
            Self::Usage(_) => Kind::Invalid,
            Self::Package(error) => error.kind(),
        }
    }
}

/// What the command prints, and whether nothing is wrong.
///
/// # Errors
/// When nothing can be said of the package.
pub fn run(args: &VerifyArgs) -> Result<(String, bool), VerifyError> {
    let report = verify(&args.package, &trust(args)?)?;
    let said = if args.json { json(&report) } else { words(&report) };
    Ok((said, report.is_sound()))
}

fn trust(args: &VerifyArgs) -> Result<Trust, VerifyError> {
    let usage = |path: &Path, error: &dyn std::fmt::Display| VerifyError::Usage(format!("{}: {error}", path.display()));
    let keys = args.key.iter().map(|key| {
        let key = key.to_lowercase().replace([':', ' '], "");
        let is_hash = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then_some(key).ok_or_else(|| VerifyError::Usage("--key is a SHA-256: 64 hexadecimal digits".to_owned()))
    });
    let read = |path: &PathBuf| {
        let bytes = std::fs::metadata(path).map_err(|error| usage(path, &error))?.len();
        if bytes > CERTIFICATES_BYTES_MAX {
            return Err(usage(path, &"it is too long for a list of certificates"));
        }
        std::fs::read(path).map_err(|error| usage(path, &error))
    };
    let roots = args.roots.as_ref().map(|path| Roots::from_pem(&read(path)?).map_err(|error| usage(path, &error)));
    let of_stamps = |path: &PathBuf| Authorities::from_pem(&read(path)?).map_err(|error| usage(path, &error));
    let stamp_authorities = args.time_stamp_ca.as_ref().map(of_stamps).transpose()?;
    Ok(Trust { keys: keys.collect::<Result<_, _>>()?, roots: roots.transpose()?, stamp_authorities })
}

fn json(report: &Report) -> String {
    let mut value = serde_json::to_value(report).unwrap_or_default();
    value["sound"] = report.is_sound().into();
    value["manifest"] = serde_json::to_value(&report.manifest).unwrap_or_default();
    format!("{value:#}\n")
}

/// Times in the zone of the package, with their offsets.
struct Times(TimeZone);

impl Times {
    fn of(manifest: Option<&Manifest>) -> Self {
        let zone = manifest.and_then(|manifest| TimeZone::get(&manifest.asked.time_zone).ok());
        Self(zone.unwrap_or(TimeZone::UTC))
    }

    fn time(&self, at: Timestamp) -> String {
        at.to_zoned_datetime(self.0.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f %:z").to_string()
    }

    fn span(&self, span: Span) -> String {
        format!("{} to {}", self.time(span.from), self.time(span.to))
    }
}

/// What a package says is shown without what could move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn words(report: &Report) -> String {
    let times = Times::of(report.manifest.as_ref());
    let mut out = String::new();
    // Writing to a String cannot fail.
    if let Some(manifest) = &report.manifest {
        let _ = write!(out, "{}", facts(manifest, &times));
    }
    for Finding { file, time, at, what } in &report.findings {
        let time = time.map_or(String::new(), |time| format!(" [{}]", times.span(time)));
        let at = at.map_or(String::new(), |at| format!(" from byte {at}"));
        let _ = writeln!(out, "WRONG  {}{at}{time}: {}", plain(file), plain(what));
    }
    if report.more_findings > 0 {
        let _ = writeln!(out, "WRONG  and {} more", report.more_findings);
    }
    let time_stamp = report.manifest.as_ref().map_or(TimeStamp::None, |manifest| manifest.time_stamp);
    out.push_str(&vouched(&report.vouched, time_stamp, &times));
    let verdict = match report.is_sound() {
        true => "SOUND: nothing was changed, added or taken away since it was signed",
        false => "NOT SOUND: see above",
    };
    let _ = writeln!(out, "{verdict} ({} files, {} bytes)", report.files, report.bytes);
    out
}

fn facts(manifest: &Manifest, times: &Times) -> String {
    let asked = &manifest.asked;
    let mut out = format!(
        "export {} of {}, {}\n  made {} by {} {}, for {} ({}): {}\n",
        plain(&manifest.export),
        plain(&asked.authority),
        times.span(asked.range),
        times.time(manifest.made),
        plain(&manifest.software.name),
        plain(&manifest.software.version),
        plain(&asked.recipient),
        plain(&asked.reference),
        plain(&asked.reason),
    );
    for camera in &manifest.cameras {
        let (gaps, lost) = (camera.gaps.len(), camera.unreadable.len());
        let _ = writeln!(
            out,
            "  camera {} ({}, {}): {} stretches, {gaps} gaps, {lost} that cannot be read",
            plain(&camera.camera),
            plain(&camera.name),
            plain(&camera.place),
            camera.covered.len()
        );
    }
    out
}

fn vouched(vouched: &Vouched, time_stamp: TimeStamp, times: &Times) -> String {
    let mut out = String::new();
    let trusted = |known: bool, else_: &'static str| if known { "known" } else { else_ };
    if let Some(key) = &vouched.key {
        let known = trusted(vouched.key_known, "NOT COMPARED: compare it with the receipt (--key)");
        let _ = writeln!(out, "signed by the gateway's key {key}: {known}");
    }
    if let Some(certificate) = &vouched.certificate {
        let known = trusted(vouched.certificate_known, "NOT CHECKED against a root (--roots)");
        let _ = writeln!(out, "signed by the authority's certificate {certificate}: {known}");
    }
    match (vouched.stamped, time_stamp) {
        (Some(at), _) => {
            let known = trusted(vouched.stamp_known, "NOT CHECKED against a root (--time-stamp-ca)");
            let _ = writeln!(out, "time stamp of {}: {known}", times.time(at));
        }
        (None, TimeStamp::Missing) => out.push_str("no time stamp: the authority did not answer\n"),
        (None, TimeStamp::None | TimeStamp::Present) => {}
    }
    if let Some(head) = &vouched.journal {
        let _ = writeln!(out, "ordered by an entry of the journal with the checkpoint {head}");
    }
    out
}
