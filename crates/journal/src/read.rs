//! Entries of a journal, to be shown, beside who writes it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::entry::{Head, LINE_BYTES_MAX};
use crate::files;

/// The entries from this number on, each as its line without the newline, at most `limit`. Those whose contents were
/// destroyed are left out; a line that is just being written is none yet. Blocks.
///
/// # Errors
/// When a file cannot be read; a journal without contents has no entries.
pub fn entries(folder: &Path, from: u64, limit: usize) -> io::Result<Vec<String>> {
    let files = match files::contents(folder) {
        Ok((files, _)) => files,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let first = files.iter().rposition(|file| file.first <= from).unwrap_or(0);
    let mut found = Vec::new();
    for file in files.iter().skip(first) {
        let mut lines = match File::open(&file.path) {
            Ok(file) => BufReader::new(file),
            // Its time was over just now.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut lines).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
            if found.len() >= limit {
                return Ok(found);
            }
            if read == 0 || !line.ends_with(b"\n") {
                break;
            }
            if Head::of_line(&line).is_some_and(|head| head.n >= from) {
                line.pop();
                found.push(String::from_utf8_lossy(&line).into_owned());
            }
        }
    }
    Ok(found)
}
