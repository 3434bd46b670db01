//! Certificates of test servers.

use std::path::Path;
use std::process::{Command, Stdio};

/// Writes an authority's certificate to `ca`, and to `pem` one that it vouches for so long, with its key.
pub(crate) fn make_signed(ca: &Path, pem: &Path, name: &str, days: i64) {
    let (ca_key, request, extensions) =
        (ca.with_extension("key"), pem.with_extension("csr"), pem.with_extension("ext"));
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout"];
    openssl(
        Command::new("openssl")
            .args(["req", "-x509", "-subj", "/CN=authority"])
            .args(key)
            .arg(&ca_key)
            .arg("-out")
            .arg(ca),
    );
    openssl(Command::new("openssl").args(["req", "-subj", "/CN=test"]).args(key).arg(pem).arg("-out").arg(&request));
    std::fs::write(&extensions, format!("subjectAltName={name}\nbasicConstraints=critical,CA:FALSE\n"))
        .expect("written");
    let certificate = openssl(
        Command::new("openssl")
            .args(["x509", "-req", "-days", &days.to_string(), "-CAcreateserial", "-in"])
            .arg(&request)
            .arg("-CA")
            .arg(ca)
            .arg("-CAkey")
            .arg(&ca_key)
            .arg("-extfile")
            .arg(&extensions),
    );
    let key = std::fs::read(pem).expect("a key");
    std::fs::write(pem, [certificate, key].concat()).expect("written");
}

fn openssl(command: &mut Command) -> Vec<u8> {
    let made = command.stderr(Stdio::null()).output().expect("openssl (see .ci/setup)");
    assert!(made.status.success(), "{command:?}: {made:?}");
    made.stdout
}

/// Writes a certificate that its owner made itself, and its key, into one PEM file. `name` as in `DNS:localhost`.
pub(crate) fn make(pem: &Path, name: &str) {
    let made = openssl(
        Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "3650", "-subj", "/CN=test", "-addext", &format!("subjectAltName={name}")])
            // A certificate of an authority is no server's (RFC 5280 §4.2.1.9).
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(pem),
    );
    let key = std::fs::read(pem).expect("a key");
    std::fs::write(pem, [made, key].concat()).expect("written");
}
