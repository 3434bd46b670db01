//! The names of a package's files.
//!
//! Invariant: a name that is taken is one of a plain file below the package on every system: ASCII letters, digits and `-_+.`,
//! in folders of the same; no dot at the beginning of a part, so that none leads out of the package or is hidden.

/// The facts, and what is signed.
pub const MANIFEST: &str = "manifest.json";
/// The signature of the gateway's key over them: 64 bytes (RFC 8032).
pub const SIGNATURE: &str = "manifest.sig";
/// The signature of the authority's certificate over them.
pub const AUTHORITY_SIGNATURE: &str = "manifest.authority.sig";
/// The time stamp of them (RFC 3161).
pub const TIME_STAMP: &str = "manifest.tsr";
/// The SHA-256 of every other file, as `sha256sum` reads it.
pub const SUMS: &str = "SHA256SUMS";
/// The gateway's public key.
pub const GATEWAY_KEY: &str = "keys/gateway.pem";
/// The authority's certificates.
pub const AUTHORITY_CERTIFICATES: &str = "keys/authority.pem";
/// The entry of the journal that the export was ordered by.
pub const ENTRY: &str = "journal/entry.jsonl";
/// That it is in the journal.
pub const PROOF: &str = "journal/entry.tlog-proof";
/// What a person needs to read first.
pub const README: &str = "README.txt";

/// Those that the manifest does not list, because they are made of it.
pub const BESIDE_MANIFEST: [&str; 5] = [MANIFEST, SIGNATURE, AUTHORITY_SIGNATURE, TIME_STAMP, SUMS];

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 200;
/// Folders within one another.
const DEPTH_MAX: usize = 4;

/// Whether a file of a package may have this name.
pub fn is_plain(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+.".contains(&byte))
    };
    name.len() <= NAME_BYTES_MAX && name.split('/').count() <= DEPTH_MAX && name.split('/').all(is_part)
}

/// The name beside a file with the hashes of its pieces.
pub fn pieces_of(media: &str) -> String {
    format!("{}.pieces.jsonl", media.strip_suffix(".mp4").unwrap_or(media))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for good in [MANIFEST, PROOF, "video/gate/20260301T153000+0100.mp4"] {
            assert!(is_plain(good), "{good}");
        }
        let long = "a".repeat(201);
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "../a",
            "a/../b",
            "a//b",
            "a/",
            ".a",
            "a/.b",
            "a\\b",
            "C:a",
            "a b",
            "é",
            "a\0",
            "a/b/c/d/e",
            &long,
        ] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
