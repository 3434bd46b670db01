//! `[journal]`: how long entries are kept, and who says when they were there.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::build::{JOURNAL_MONTHS_MAX, path};
use super::section::Section;

/// An authority that stamps checkpoints of journals with its time (RFC 3161).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeStamps {
    /// Where it answers, `http://` or `https://`: what it says is signed.
    pub url: Url,
    /// A PEM file with the certificates that vouch for it; none: those that the machine trusts.
    pub ca_file: Option<PathBuf>,
    /// A journal's checkpoints are stamped at most so often.
    pub every: Duration,
}

/// Months, and the authority.
pub(super) fn journal(section: &Section<'_>) -> (u64, Option<TimeStamps>) {
    let months = section.count("months", 1..=JOURNAL_MONTHS_MAX).unwrap_or(JOURNAL_MONTHS_MAX);
    let ca_file = path(section, "time_stamp_ca_file");
    let minutes = section.count("time_stamp_minutes", 10..=10_080).unwrap_or(60);
    let url = section.text("time_stamp_url");
    if url.is_none() && section.has("time_stamp_ca_file") {
        section.refuse("time_stamp_ca_file", "is for time stamps: add time_stamp_url, or take it out");
    }
    let url = url.and_then(|text| {
        let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
        if url.is_none() {
            section
                .refuse("time_stamp_url", "is no http:// or https:// address of a time stamping authority (RFC 3161)");
        }
        url
    });
    (months, url.map(|url| TimeStamps { url, ca_file, every: Duration::from_secs(minutes * 60) }))
}
