//! How commands print: times in the configured zone, tables in columns.

use std::fmt::Write as _;
use std::io::Write as _;

use footage::units::{Ticks90k, WallTime};
use jiff::tz::TimeZone;

use super::Failure;

/// An instant in this zone, with its offset: RFC 3339 to the millisecond, which `--start` and `--end` take too.
pub(super) fn time(zone: &TimeZone, at: WallTime) -> String {
    at.to_timestamp().to_zoned_datetime(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

/// A length of time, for people.
pub(super) fn duration(length: Ticks90k) -> String {
    let tenths = (length.0.max(0) / 9_000).unsigned_abs();
    let (minutes, tenths) = (tenths / 600, tenths % 600);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{}.{} s", tenths / 10, tenths % 10),
        (0, minutes) => format!("{minutes} min {:02} s", tenths / 10),
        (hours, minutes) => format!("{hours} h {minutes:02} min"),
    }
}

/// Rows in columns as wide as their widest cell, indented by two.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {}", cells.join("  ").trim_end());
    }
    out
}

/// Writes to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| Failure::Failed(format!("standard output: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_its_zone_and_can_be_typed_back() {
        let zone = TimeZone::get("Europe/Paris").unwrap();
        let at: WallTime = "2026-03-29T00:59:59.25Z".parse().unwrap();
        assert_eq!(time(&zone, at), "2026-03-29T01:59:59.250+01:00");
        assert_eq!(time(&zone, at.saturating_add(Ticks90k(90_000))), "2026-03-29T03:00:00.250+02:00");
        assert_eq!(time(&zone, at).parse(), Ok(at));
    }

    #[test]
    fn lengths_are_in_the_units_that_people_use() {
        let check = |ms: i64, expect: &str| assert_eq!(duration(Ticks90k(ms * 90)), expect);
        check(0, "0.0 s");
        check(59_949, "59.9 s");
        check(61_000, "1 min 01 s");
        check(3_660_000, "1 h 01 min");
        check(-5, "0.0 s");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["é".to_owned(), "1".to_owned()], ["abc".to_owned(), String::new()]];
        assert_eq!(table(&rows), "  é    1\n  abc\n");
    }
}
