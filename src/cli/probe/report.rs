//! What `vigie probe` prints, on one screen.

use std::fmt::{Display, Formatter, Result};
use std::path::Path;
use std::time::Duration;

use footage::media::{Params, VideoCodec};
use footage::units::WallTime;

use super::observed::Observed;

/// A key frame each second or two is what recording wants; each is some ten times as large as another picture.
const GOP_SECONDS: std::ops::RangeInclusive<f64> = 0.5..=4.0;
/// Above this, one machine records fewer cameras than it is made for.
const BIT_RATE_MAX: f64 = 8e6;
/// A pace of timestamps that is further off than this is no accident of ten seconds.
const PACE_TOLERANCE: f64 = 0.03;
/// A clock that is further off than this is not kept by NTP.
pub(in super::super) const CLOCK_TOLERANCE_SECONDS: f64 = 1.0;

/// A camera.
pub(super) struct Report<'a> {
    pub(super) url: &'a str,
    pub(super) username: Option<&'a str>,
    pub(super) udp: bool,
    pub(super) ca_file: Option<&'a Path>,
    /// What it took to open the session.
    pub(super) opened: Duration,
    pub(super) params: &'a Params,
    pub(super) also_offered: &'a [String],
    /// What is odd about its description and its answers.
    pub(super) odd: &'a [String],
    /// When its certificate ends to be valid, where that is within two years.
    pub(super) certificate_until: Option<WallTime>,
    pub(super) observed: &'a Observed,
}

impl Report<'_> {
    fn sent(&self) -> Vec<String> {
        let Observed { pictures, largest, .. } = self.observed;
        let number = |value: Option<f64>, unit: &str| value.map_or("unknown".to_owned(), |v| format!("{v:.1} {unit}"));
        let rate = number(self.observed.picture_rate(), "a second");
        let bits = number(self.observed.bit_rate().map(|rate| rate / 1e6), "Mb/s");
        let keys = match self.observed.gop_seconds() {
            Some(seconds) => format!("every {seconds:.1} s"),
            None => format!("{} seen", self.observed.random_access_points()),
        };
        vec![
            format!("pictures    {rate}, {pictures} seen, the largest of {} KiB", largest.div_ceil(1024)),
            format!("bit rate    {bits}"),
            format!("key frames  {keys}"),
            format!("clock       {}", number(self.observed.clock_offset, "s ahead of this machine's")),
        ]
    }

    fn oddities(&self) -> Vec<String> {
        let mut odd = self.odd.to_vec();
        let mut note = |is: bool, what: String| {
            if is {
                odd.push(what);
            }
        };
        let observed = self.observed;
        if let Some(end) = &observed.ended {
            note(true, format!("the session ended early: {end}"));
        }
        for oddity in &observed.odd {
            note(true, oddity.as_str().replace('_', " "));
        }
        note(observed.lost_packets > 0, format!("{} packets were lost", observed.lost_packets));
        note(observed.reordered > 0, format!("{} pictures come out of their order (B pictures)", observed.reordered));
        let changes = observed.parameter_changes;
        note(changes > 0, format!("the parameters changed {changes} times"));
        if let Some(pace) = observed.timestamp_pace() {
            let off = (pace - 1.0).abs() > PACE_TOLERANCE;
            note(off, format!("its timestamps run at {pace:.2} times the time that passes"));
        }
        odd
    }

    /// Settings to change on the camera.
    fn advice(&self) -> Vec<&'static str> {
        let observed = self.observed;
        let mut advice = Vec::new();
        let mut advise = |is: bool, what| {
            if is {
                advice.push(what);
            }
        };
        let keys = observed.gop_seconds();
        advise(
            keys.is_some_and(|seconds| !GOP_SECONDS.contains(&seconds))
                || (keys.is_none() && observed.seconds().is_some()),
            "key frame interval (I frame interval, GOP): one to two seconds",
        );
        let many = observed.bit_rate().is_some_and(|rate| rate > BIT_RATE_MAX);
        advise(many, "bit rate: 4 to 8 Mb/s are enough for most views; or H.265 in the place of H.264");
        let clock = observed.clock_offset;
        advise(
            clock.is_none_or(|offset| offset.abs() > CLOCK_TOLERANCE_SECONDS),
            "clock: set an NTP server, the one that this machine uses",
        );
        advise(observed.reordered > 0, "B frames: off, they add delay and save little");
        advise(observed.lost_packets > 0 && self.udp, "network: it loses packets over UDP; record over TCP");
        advice
    }

    fn configuration(&self) -> Vec<String> {
        let mut lines = vec![
            "[[tenant.camera]]".to_owned(),
            "id = \"camera-1\"".to_owned(),
            "place = \"where it films\"".to_owned(),
            format!("url = {}", quoted(self.url)),
        ];
        if let Some(username) = self.username {
            lines.push(format!("username = {}", quoted(username)));
            lines.push("password = { file = \"/etc/vigie/camera-1.password\" }".to_owned());
        }
        if self.udp {
            lines.push("transport = \"udp\"".to_owned());
        }
        if let Some(file) = self.ca_file {
            lines.push(format!("tls_ca_file = {}", quoted(&file.display().to_string())));
        }
        lines
    }
}

/// A basic string of TOML.
pub(in super::super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let video = &self.params.video;
        let codec = match video.codec {
            VideoCodec::H264 => "H.264",
            VideoCodec::H265 => "H.265",
        };
        writeln!(f, "offers")?;
        writeln!(f, "  {codec} ({}), {}x{}", video.rfc6381, video.width, video.height)?;
        self.also_offered.iter().try_for_each(|other| writeln!(f, "  {other}, which is not recorded"))?;
        writeln!(f, "sends")?;
        writeln!(f, "  opened in   {:.1} s", self.opened.as_secs_f64())?;
        if let Some(until) = self.certificate_until {
            writeln!(f, "  certificate valid until {until}")?;
        }
        self.sent().iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        let section = |f: &mut Formatter<'_>, title: &str, lines: &[String]| {
            writeln!(f, "{title}")?;
            lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
        };
        let none = || vec!["nothing".to_owned()];
        let or_none = |lines: Vec<String>| if lines.is_empty() { none() } else { lines };
        section(f, "odd", &or_none(self.oddities()))?;
        let advice = self.advice().into_iter().map(str::to_owned).collect();
        section(f, "to change on the camera", &or_none(advice))?;
        section(f, "for the configuration", &self.configuration())
    }
}

#[cfg(test)]
mod tests {
    use footage::clock::Reading;
    use footage::media::{AccessUnit, Track, VideoParams};

    use super::*;

    fn params() -> Params {
        let video = VideoParams {
            codec: VideoCodec::H264,
            width: 1920,
            height: 1080,
            sample_entry: Vec::new().into(),
            rfc6381: "avc1.4D0028".to_owned(),
        };
        Params { video, audio: None }
    }

    /// Ten seconds at 25 pictures a second: bytes of each, pictures from key frame to key frame, pace of timestamps.
    fn observed(bytes: usize, gop: u64, pace: f64) -> Observed {
        let mut observed = Observed::default();
        for n in 0..=250 {
            let mono = Duration::from_millis(40 * n);
            observed.unit(&AccessUnit {
                track: Track::Video,
                timestamp: (n as f64 * 3_600.0 * pace) as i64,
                data: vec![0; bytes].into(),
                random_access: n % gop == 0,
                lost_packets: 0,
                received: Reading { wall: WallTime(0), mono },
                new_params: None,
            });
        }
        observed
    }

    fn report(observed: &Observed, odd: &[String]) -> String {
        let report = Report {
            url: "rtsp://192.0.2.10/a\"b",
            username: Some("viewer"),
            udp: false,
            ca_file: None,
            opened: Duration::from_millis(340),
            params: &params(),
            also_offered: &["audio pcma/8000".to_owned()],
            odd,
            certificate_until: Some(WallTime(0)),
            observed,
        };
        report.to_string()
    }

    fn check(observed: &Observed, words: &[&str], not: &[&str]) {
        let text = report(observed, &["the description holds a NUL".to_owned()]);
        assert!(words.iter().all(|word| text.contains(word)), "{words:?} in\n{text}");
        assert!(!not.iter().any(|word| text.contains(word)), "{not:?} in\n{text}");
        assert!(text.lines().count() <= 30, "more than one screen:\n{text}");
    }

    #[test]
    fn a_camera_is_described_in_figures_with_what_is_odd_and_the_lines_to_configure_it() {
        let mut regular = observed(20_000, 50, 1.0);
        regular.clock(WallTime(9_000), Reading { wall: WallTime(0), mono: Duration::ZERO });
        let words = [
            "H.264 (avc1.4D0028), 1920x1080",
            "audio pcma/8000",
            "25.0 a second",
            "4.0 Mb/s",
            "every 2.0 s",
            "certificate valid until 1970",
        ];
        check(&regular, &words, &["key frame interval", "clock:", "bit rate:", "times the time"]);
        check(&regular, &["0.1 s ahead", "a NUL", r#"url = "rtsp://192.0.2.10/a\"b""#, "username = \"viewer\""], &[]);
    }

    #[test]
    fn what_should_be_set_otherwise_is_named() {
        check(&observed(60_000, 50, 1.0), &["12.0 Mb/s", "bit rate: 4 to 8", "clock: set an NTP server"], &[]);
        check(&observed(20_000, 1_000, 1.0), &["1 seen", "key frame interval"], &[]);
        check(&observed(20_000, 125, 1.0), &["every 5.0 s", "key frame interval"], &[]);
        check(&observed(20_000, 50, 0.5), &["timestamps run at 0.50 times"], &["key frame interval"]);
        check(&Observed::default(), &["0 seen", "unknown"], &["key frame interval"]);
    }
}
