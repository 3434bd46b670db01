//! Hashes as text, and `SHA256SUMS`, which `sha256sum --check` reads.

use aws_lc_rs::digest::{Context, SHA256, digest};

use crate::names;

/// In hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of these bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// SHA-256 of what comes piece by piece.
#[derive(Clone)]
pub struct Sha256(Context);

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256(..)")
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Sha256 {
    /// Takes more.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hexadecimal.
    pub fn finish(self) -> String {
        hex(self.0.finish().as_ref())
    }
}

/// The text of `SHA256SUMS` for these files with their hashes, itself left out.
pub fn text<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut files: Vec<_> = files.into_iter().filter(|(name, _)| *name != names::SUMS).collect();
    files.sort_unstable();
    files.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect()
}

/// Of one line, its hash and its name.
pub fn line(text: &str) -> Option<(&str, &str)> {
    let (hash, name) = text.split_once("  ")?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_hash && names::is_plain(name)).then_some((hash, name))
}
