//! `[export]`: evidence packages that the gateway prepares.

use std::path::PathBuf;

use super::build::path;
use super::section::Section;

/// `[export]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportConfig {
    /// A package is destroyed at the latest so many days after it was ordered.
    pub days_max: u16,
    /// Footage is read and written for packages no faster.
    pub bytes_per_second_max: u64,
    /// The authority's certificate and its private key, which sign packages beside the gateway's own key.
    pub authority: Option<AuthorityFiles>,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityFiles {
    /// The certificate, with those between it and its root behind it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self { days_max: 7, bytes_per_second_max: 40 << 20, authority: None }
    }
}

pub(super) fn export(section: &Section<'_>) -> ExportConfig {
    let default = ExportConfig::default();
    let days = section.count("days_max", 1..=31).and_then(|days| u16::try_from(days).ok());
    let rate = section.count("mib_per_second_max", 1..=10_000).map(|mib| mib << 20);
    let (certificate, key) = (path(section, "certificate_file"), path(section, "key_file"));
    if section.has("certificate_file") != section.has("key_file") {
        let given = if section.has("key_file") { "key_file" } else { "certificate_file" };
        section.refuse(given, "needs the other of certificate_file and key_file beside it");
    }
    ExportConfig {
        days_max: days.unwrap_or(default.days_max),
        bytes_per_second_max: rate.unwrap_or(default.bytes_per_second_max),
        authority: certificate.zip(key).map(|(certificate, key)| AuthorityFiles { certificate, key }),
    }
}
