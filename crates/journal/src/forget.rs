//! Which contents go at the end of their time.
//!
//! Numbers are the order in which entries were written, and days what the clock said then. So none goes before all that were
//! written before it, whatever day it is of: one of 1970 behind one of yesterday is of yesterday or later. And one of a day
//! that is not yet is no newer than those behind it.

use std::io;
use std::path::Path;

use footage::platform;
use jiff::Timestamp;
use jiff::civil::Date;

use crate::files::{self, ContentFile};

/// How many of these files, from the first on, go today.
pub(crate) fn over(files: &[ContentFile], months: u16, today: Date) -> usize {
    let may_go = |file: &&ContentFile| file.day > today || is_over(file.day, months, today);
    let may_go = files.iter().take_while(may_go).zip(1..);
    may_go.filter(|(file, _)| file.day <= today).map(|(_, files)| files).last().unwrap_or(0)
}

/// Whether the time of what is of this day is over today: nothing is kept past it, so the day on which it ends is too late.
pub(crate) fn is_over(day: Date, months: u16, today: Date) -> bool {
    day.checked_add(jiff::Span::new().months(months)).is_ok_and(|end| end <= today)
}

/// Destroys the contents whose time is over in the folder of a journal that was set aside and is written to no more; says
/// of how many files. No entry can say so there. Blocks for a flush a file.
///
/// # Errors
/// When the disk refuses.
pub fn forget_aside(folder: &Path, at: Timestamp, months: u16) -> io::Result<usize> {
    let today = jiff::tz::Offset::UTC.to_datetime(at).date();
    let files = match files::contents(folder) {
        Ok((files, _)) => files,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e),
    };
    let over = over(&files, months, today);
    files[..over].iter().try_for_each(|file| platform::remove_durably(&file.path))?;
    Ok(over)
}
