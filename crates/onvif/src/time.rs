//! Times as devices write them, and how far a device's clock is off.

use std::time::Duration;

use footage::units::{Ticks90k, WallTime};

use crate::xml::Element;

/// A device's clock minus this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    /// Positive where the device is ahead.
    pub offset: Ticks90k,
    /// How far the true offset may be from that, either way: half of what the answer took, and half of the second that a
    /// device's answer is rounded down to.
    pub bound: Ticks90k,
    /// The device says that it sets its clock by NTP.
    pub by_ntp: bool,
}

impl ClockOffset {
    /// From a device's time in whole seconds, an answer that came at `received` and took so long.
    pub(crate) fn new(device: WallTime, received: WallTime, took: Duration, by_ntp: bool) -> Self {
        let half = |ticks: Ticks90k| Ticks90k(ticks.0 / 2);
        let (took, second) = (Ticks90k::from_duration(took), Ticks90k::from_duration(Duration::from_secs(1)));
        let asked = received.saturating_sub(half(took));
        let offset = device.saturating_add(half(second)).since(asked);
        Self { offset, bound: Ticks90k(half(second).0 + half(took).0), by_ntp }
    }

    /// The least that the offset can be, whatever its sign.
    pub fn at_least(&self) -> Ticks90k {
        Ticks90k(self.offset.0.saturating_abs().saturating_sub(self.bound.0).max(0))
    }
}

/// The UTC time of an answer to GetSystemDateAndTime, and whether NTP sets it.
pub(crate) fn system_date_and_time(answer: &Element) -> Option<(WallTime, bool)> {
    let date_time = answer.at(&["SystemDateAndTime"])?;
    let utc = date_time.at(&["UTCDateTime"])?;
    let number = |group, name| utc.number_at::<i16>(&[group, name]);
    let small = |group, name| number(group, name).and_then(|n| i8::try_from(n).ok());
    // A leap second is the second before it.
    let second = small("Time", "Second")?.min(59);
    let date = jiff::civil::Date::new(number("Date", "Year")?, small("Date", "Month")?, small("Date", "Day")?).ok()?;
    let time = jiff::civil::Time::new(small("Time", "Hour")?, small("Time", "Minute")?, second, 0).ok()?;
    Some((wall(date.to_datetime(time))?, date_time.text_at(&["DateTimeType"]) == Some("NTP")))
}

/// An `xs:dateTime` (XML Schema part 2 §3.2.7); without an offset it is UTC, as ONVIF has it.
pub(crate) fn date_time(text: &str) -> Option<WallTime> {
    text.parse().ok().or_else(|| wall(text.parse().ok()?))
}

fn wall(civil: jiff::civil::DateTime) -> Option<WallTime> {
    Some(WallTime::from_timestamp(jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?))
}

/// An `xs:duration` of whole seconds.
pub(crate) fn duration(time: Duration) -> String {
    format!("PT{}S", time.as_secs().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Ticks90k {
        Ticks90k((seconds * 90_000.0) as i64)
    }

    #[test]
    fn an_offset_is_known_to_half_a_second_and_half_the_way() {
        let at = |s: f64| WallTime(seconds(s).0);
        let check = |device: f64, received: f64, took_ms: u64, offset: f64, bound: f64, least: f64| {
            let clock = ClockOffset::new(at(device), at(received), Duration::from_millis(took_ms), false);
            assert_eq!((clock.offset, clock.bound), (seconds(offset), seconds(bound)), "{device} {received}");
            assert_eq!(clock.at_least(), seconds(least), "{device} {received}");
        };
        check(1_000.0, 1_000.5, 0, 0.0, 0.5, 0.0);
        check(1_000.0, 1_001.5, 2_000, 0.0, 1.5, 0.0);
        check(1_100.0, 1_000.5, 0, 100.0, 0.5, 99.5);
        check(940.0, 1_000.5, 200, -59.9, 0.6, 59.3);
    }

    #[test]
    fn times_are_read_as_devices_write_them() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(date_time(text).map(|t| t.to_string()), expect.map(str::to_owned), "{text}");
        };
        check("2026-11-27T22:00:00Z", Some("2026-11-27T22:00:00.000000Z"));
        check("2026-11-27T23:00:00.25+01:00", Some("2026-11-27T22:00:00.250000Z"));
        check("2026-11-27T22:00:00", Some("2026-11-27T22:00:00.000000Z"));
        check("yesterday", None);
        check("2026-13-27T22:00:00Z", None);
        check("", None);
    }

    #[test]
    fn a_date_that_is_none_is_no_time() {
        let check = |month: &str, second: &str, expect: bool| {
            let text = format!(
                "<r><SystemDateAndTime><DateTimeType>NTP</DateTimeType><UTCDateTime><Time><Hour>1</Hour><Minute>2</Minute><Second>{second}</Second></Time><Date><Year>2026</Year><Month>{month}</Month><Day>27</Day></Date></UTCDateTime></SystemDateAndTime></r>"
            );
            let answer = Element::parse(text.as_bytes()).expect("well-formed");
            assert_eq!(system_date_and_time(&answer).is_some_and(|(_, by_ntp)| by_ntp), expect, "{month} {second}");
        };
        check("11", "3", true);
        check("11", "60", true);
        check("13", "3", false);
        check("-1", "3", false);
        check("300", "3", false);
        check("11", "", false);
        let local_only = Element::parse(b"<r><SystemDateAndTime/></r>").expect("well-formed");
        assert_eq!(system_date_and_time(&local_only), None);
    }
}
