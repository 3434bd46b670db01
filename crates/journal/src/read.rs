//! Entries of a journal, to be shown, beside who writes it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;

use jiff::civil::Date;

use crate::entry::{Head, LINE_BYTES_MAX};
use crate::files::{self, ContentFile};

/// The entries from this number on, each as its line without the newline, at most `limit`. Those whose contents were
/// destroyed are left out; a line that is just being written is none yet. Blocks.
///
/// # Errors
/// When a file cannot be read; a journal without contents has no entries.
pub fn entries(folder: &Path, from: u64, limit: usize) -> io::Result<Vec<String>> {
    let files = contents(folder)?;
    let first = files.iter().rposition(|file| file.first <= from).unwrap_or(0);
    let mut found = Vec::new();
    for file in &files[first..] {
        let flow = lines(file, |line| {
            if found.len() >= limit {
                return ControlFlow::Break(());
            }
            if Head::of_line(line).is_some_and(|head| head.n >= from) {
                found.push(String::from_utf8_lossy(&line[..line.len() - 1]).into_owned());
            }
            ControlFlow::Continue(())
        })?;
        if flow.is_break() {
            break;
        }
    }
    Ok(found)
}

/// Gives the line of each entry of these days (UTC), its newline included, in order, as long as `each` goes on. Memory does
/// not grow with the journal. Blocks.
///
/// # Errors
/// When a file cannot be read; a journal without contents has no entries.
pub fn of_days(
    folder: &Path,
    days: RangeInclusive<Date>,
    mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    for file in contents(folder)?.iter().filter(|file| days.contains(&file.day)) {
        if lines(file, &mut each)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The first day (UTC) of which there are entries. Blocks.
///
/// # Errors
/// When the folder cannot be read.
pub fn first_day(folder: &Path) -> io::Result<Option<Date>> {
    Ok(contents(folder)?.first().map(|file| file.day))
}

fn contents(folder: &Path) -> io::Result<Vec<ContentFile>> {
    match files::contents(folder) {
        Ok((files, _)) => Ok(files),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn lines(file: &ContentFile, mut each: impl FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
    let mut lines = match File::open(&file.path) {
        Ok(file) => BufReader::new(file),
        // Its time was over just now.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(ControlFlow::Continue(())),
        Err(e) => return Err(e),
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut lines).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        if read == 0 || !line.ends_with(b"\n") {
            return Ok(ControlFlow::Continue(()));
        }
        if each(&line).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}
