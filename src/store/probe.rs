//! What a store can do, asked once at start and by `vigie check-config --probe`.
//!
//! A small object is put under the prefix, read, listed, and removed again. Invariant: nothing is left in a store that
//! can delete. Absent on purpose: refusing to run. What a store lacks is said, with what it means; a store that is away
//! is one for which packs wait.

use std::fmt;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::bucket::Bucket;
use super::s3::without_secrets;
use footage::clock::Clock;
use footage::platform;
use footage::units::{TICKS_PER_SECOND, WallTime};

/// A clock that differs by more is said; S3 refuses signatures at 15 min.
const SKEW_MAX: Duration = Duration::from_secs(60);
/// What is put: any bytes of which a range differs from the rest.
const CONTENT: &[u8] = b"0123456789abcdef, a trial of Vigie's that may be deleted";
/// What is read of it.
const RANGE: std::ops::Range<u64> = 10..16;

/// What a store answered.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// Its name in the configuration.
    pub store: String,
    /// What was found out, in the order of asking; empty only when nothing could be asked.
    pub findings: Vec<ProbeFinding>,
}

/// One thing that was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeFinding {
    /// How bad it is.
    pub verdict: ProbeVerdict,
    /// For people: what was asked, what came, and what that means.
    pub what: String,
    /// What is deleted stays readable there.
    pub is_versioned: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeVerdict {
    /// As it should be.
    Good,
    /// Vigie runs; something is lost that the text names.
    Lacking,
    /// The store does not answer: packs wait in the spool.
    Away,
    /// The store refuses what Vigie cannot do without: packs wait in the spool until a person has seen to it.
    Refused,
}

impl ProbeReport {
    /// The worst of it.
    pub fn verdict(&self) -> ProbeVerdict {
        self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(ProbeVerdict::Away)
    }

    /// What is not as it should be.
    pub fn complaints(&self) -> impl Iterator<Item = &ProbeFinding> {
        self.findings.iter().filter(|finding| finding.verdict != ProbeVerdict::Good)
    }

    fn add(&mut self, verdict: ProbeVerdict, what: impl Into<String>) {
        self.findings.push(ProbeFinding { verdict, what: what.into(), is_versioned: false });
    }

    /// A request failed that Vigie cannot do without.
    fn failed(&mut self, asked: &str, error: Error) {
        let (verdict, means) = match &error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                (ProbeVerdict::Refused, "see to the access key and to what it may do; packs wait in the spool")
            }
            Error::NotFound { .. } => (ProbeVerdict::Refused, "see that the bucket exists; packs wait in the spool"),
            _ => (ProbeVerdict::Away, "packs wait in the spool"),
        };
        self.add(verdict, format!("{asked}: {}: {means}", without_secrets(error)));
    }
}

impl fmt::Display for ProbeFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            ProbeVerdict::Good => "good",
            ProbeVerdict::Lacking => "lacking",
            ProbeVerdict::Away => "away",
            ProbeVerdict::Refused => "refused",
        };
        write!(f, "{verdict}: {}", self.what)
    }
}

/// Asks for everything, one after the other.
pub(super) async fn run(bucket: &Bucket, clock: &dyn Clock) -> ProbeReport {
    let mut report = ProbeReport { store: bucket.name().to_owned(), findings: Vec::new() };
    let name = format!("vigie-trial-{:016x}", platform::random::<u64>());
    let object = bucket.prefix().clone().join(name.as_str());
    if write(bucket, &object, &mut report).await {
        read(bucket, &object, clock, &mut report).await;
        list(bucket, &object, &mut report).await;
        multipart(bucket, &bucket.prefix().clone().join(format!("{name}-parts")), &mut report).await;
        delete(bucket, &object, &mut report).await;
    }
    report
}

async fn write(bucket: &Bucket, object: &Path, report: &mut ProbeReport) -> bool {
    let create = || PutOptions { mode: PutMode::Create, ..Default::default() };
    let put = |options| bucket.objects().put_opts(object, PutPayload::from_static(CONTENT), options);
    let lacking = "conditional put: two gateways on one store could overwrite one another's objects";
    let first = put(create()).await;
    // A bucket that ever had versions answers with the version's id; "null" where they are suspended.
    let version = first.as_ref().ok().and_then(|put| put.version.clone()).filter(|version| version != "null");
    if version.is_some() {
        let what = "the bucket keeps versions: what Vigie deletes stays readable there, longer than the law allows; turn \
                    versioning off and remove the old versions, or have them expire by a lifecycle rule";
        report.findings.push(ProbeFinding {
            verdict: ProbeVerdict::Refused,
            what: what.to_owned(),
            is_versioned: true,
        });
    }
    match first {
        Ok(_) => match put(create()).await {
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                report.add(ProbeVerdict::Good, "write, conditional put");
            }
            Ok(_) => report.add(ProbeVerdict::Lacking, format!("{lacking} (an object that exists was replaced)")),
            Err(e) => report.add(ProbeVerdict::Lacking, format!("{lacking} ({})", without_secrets(e))),
        },
        Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => match put(PutOptions::default()).await {
            Ok(_) => report.add(ProbeVerdict::Lacking, lacking),
            Err(e) => {
                report.failed("write", e);
                return false;
            }
        },
        Err(e) => {
            report.failed("write", e);
            return false;
        }
    }
    true
}

async fn read(bucket: &Bucket, object: &Path, clock: &dyn Clock, report: &mut ProbeReport) {
    let options = GetOptions { range: Some(RANGE.into()), ..Default::default() };
    let got = match bucket.objects().get_opts(object, options).await {
        Ok(got) => got,
        Err(e) => return report.failed("read", e),
    };
    let modified = WallTime(got.meta.last_modified.timestamp() * TICKS_PER_SECOND);
    let ranges = "ranges: each clip would fetch whole packs, or none at all";
    match got.bytes().await {
        Ok(bytes) if bytes == CONTENT[RANGE.start as usize..RANGE.end as usize] => {
            report.add(ProbeVerdict::Good, "read, ranges");
        }
        Ok(bytes) => report.add(ProbeVerdict::Lacking, format!("{ranges} ({} bytes came for 6)", bytes.len())),
        Err(e) => report.add(ProbeVerdict::Lacking, format!("{ranges} ({})", without_secrets(e))),
    }
    let skew_s = (clock.wall().0 - modified.0) / TICKS_PER_SECOND;
    if skew_s.unsigned_abs() > SKEW_MAX.as_secs() {
        let means = "S3 refuses requests at 900 s: see to the time service of both machines";
        let side = if skew_s > 0 { "behind" } else { "ahead of" };
        let apart = skew_s.unsigned_abs();
        report.add(ProbeVerdict::Lacking, format!("clock: the store's is {apart} s {side} this machine's: {means}"));
    } else {
        report.add(ProbeVerdict::Good, "clock");
    }
}

async fn list(bucket: &Bucket, object: &Path, report: &mut ProbeReport) {
    let prefix = (!bucket.prefix().as_ref().is_empty()).then(|| bucket.prefix());
    // The offset keeps a bucket of millions from being listed.
    let before = Path::from(object.as_ref().trim_end_matches(|c: char| c.is_ascii_hexdigit()));
    let mut names = bucket.objects().list_with_offset(prefix, &before);
    let means = "fsck, rebuild-index and a second gateway cannot see what is stored";
    loop {
        match names.try_next().await {
            Ok(Some(meta)) if meta.location == *object => return report.add(ProbeVerdict::Good, "list"),
            Ok(Some(meta)) if meta.location.as_ref() < object.as_ref() => {}
            Ok(_) => return report.add(ProbeVerdict::Lacking, format!("list: what was put is not listed: {means}")),
            Err(e) => return report.add(ProbeVerdict::Lacking, format!("list: {}: {means}", without_secrets(e))),
        }
    }
}

async fn multipart(bucket: &Bucket, object: &Path, report: &mut ProbeReport) {
    let Some(parts) = bucket.parts() else {
        return report.add(ProbeVerdict::Good, "a local directory: packs are moved or copied into it");
    };
    let trial = async {
        let id = parts.create_multipart(object).await?;
        let part = parts.put_part(object, &id, 0, PutPayload::from_static(CONTENT)).await?;
        parts.complete_multipart(object, &id, vec![part]).await?;
        let size = bucket.objects().head(object).await?.size;
        let given_up = parts.create_multipart(object).await?;
        parts.abort_multipart(object, &given_up).await?;
        Ok(size)
    };
    let outcome: Result<u64, Error> = trial.await;
    // It may or may not have come into being.
    let _ = bucket.objects().delete(object).await;
    match outcome {
        Ok(size) if size == CONTENT.len() as u64 => report.add(ProbeVerdict::Good, "multipart"),
        Ok(size) => report.add(ProbeVerdict::Refused, format!("multipart: {size} bytes came of {}", CONTENT.len())),
        Err(e) => {
            let means = "packs of more than 8 MiB cannot be stored: set pack_mib_max = 8";
            report.add(ProbeVerdict::Lacking, format!("multipart: {}: {means}", without_secrets(e)));
        }
    }
}

async fn delete(bucket: &Bucket, object: &Path, report: &mut ProbeReport) {
    let means = "footage cannot be destroyed in time, which the law demands: allow it, or use another store";
    match bucket.objects().delete(object).await {
        Ok(()) => match bucket.objects().head(object).await {
            Err(Error::NotFound { .. }) => report.add(ProbeVerdict::Good, "delete"),
            Ok(_) => report.add(ProbeVerdict::Refused, format!("delete: what was deleted is still there: {means}")),
            Err(e) => report.failed("look for what was deleted", e),
        },
        Err(e) => report.add(ProbeVerdict::Refused, format!("delete: {}: {means}", without_secrets(e))),
    }
}
