//! Self-made certificates of test servers.

use std::path::Path;
use std::process::{Command, Stdio};

/// Writes a certificate that its owner made itself, and its key, into one PEM file. `name` as in `DNS:localhost`.
pub(crate) fn make(pem: &Path, name: &str) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650"])
        .args(["-subj", "/CN=test", "-addext", &format!("subjectAltName={name}")])
        // A certificate of an authority is no server's (RFC 5280 §4.2.1.9).
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(pem)
        .stderr(Stdio::null())
        .output()
        .expect("openssl (see .ci/setup)");
    assert!(made.status.success(), "{made:?}");
    let key = std::fs::read(pem).expect("a key");
    std::fs::write(pem, [made.stdout, key].concat()).expect("written");
}
