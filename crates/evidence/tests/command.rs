//! The program `vigie-verify`, as a person starts it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

/// Its exit code, and what it says.
fn run(arguments: &[&str], path: &Path) -> (i32, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_vigie-verify")).args(arguments).arg(path).output().unwrap();
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (done.status.code().unwrap(), said)
}

#[test]
fn exit_codes_say_what_kind_of_fault_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str], path: &Path, code: i32, says: &str| {
        let (found, said) = run(arguments, path);
        assert!(found == code && said.contains(says), "{arguments:?} {}: {found}: {said}", path.display());
    };
    check(&[], &dir.path().join("nothing"), 66, "nothing");
    check(&[], dir.path(), 65, "WRONG  manifest.json: it is missing");
    check(&["--key", "abc"], dir.path(), 2, "64 hexadecimal digits");
    check(&["--roots", "no/such/file"], dir.path(), 2, "no/such/file");
    check(&["--other"], dir.path(), 2, "--other");
    let file = dir.path().join("text.zip");
    std::fs::write(&file, "no ZIP").unwrap();
    check(&[], &file, 65, "too short");
    std::fs::write(&file, vec![b'P'; 4_096]).unwrap();
    check(&[], &file, 65, "unpack it and verify the folder");
    check(&["--json"], dir.path(), 65, "\"sound\": false");
}
