//! What a clip is called where it is saved: `Content-Disposition` (RFC 6266), with names in UTF-8 (RFC 8187).
//!
//! Invariant: whatever a camera or a requisition is called, the name is one of a plain file on every system: no separator,
//! no control or invisible character, no leading or trailing dot, of bounded length.

use axum::http::HeaderValue;

use crate::retrieve::labels::Labels;
use footage::units::{CameraId, TimeRange};

/// Of a name that somebody chose, in UTF-8: file systems take 255 bytes of all parts.
const CHOSEN_BYTES_MAX: usize = 72;

/// Whose clip it is.
pub(super) struct Named<'a> {
    pub(super) camera: &'a CameraId,
    /// What people call the camera.
    pub(super) name: &'a str,
    /// The hold's reference, where it is a hold's clip.
    pub(super) reference: Option<&'a str>,
    /// Which of several files.
    pub(super) part: Option<u32>,
}

impl Named<'_> {
    /// `Grande place (place-2) 20260301T153000+0100 20260301T164001+0100 PV 117 part 2.mp4`.
    pub(super) fn file(&self, labels: &Labels, covers: TimeRange) -> String {
        let (id, name) = (self.camera.to_string(), plain(self.name));
        let camera = if name.is_empty() || name == id { id } else { format!("{name} ({id})") };
        let (start, end) = (labels.compact(covers.start()), labels.compact(covers.end()));
        let reference = self.reference.map(plain).filter(|text| !text.is_empty());
        let part = self.part.map(|part| format!("part {part}"));
        let parts = [Some(camera), Some(start), Some(end), reference, part];
        format!("{}.mp4", parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }

    /// The header: to be shown in place, and saved under this name.
    pub(super) fn disposition(&self, labels: &Labels, covers: TimeRange) -> Option<HeaderValue> {
        let name = self.file(labels, covers);
        // For who does not read the other: the same, in ASCII.
        let ascii = |c: char| if c.is_ascii_alphanumeric() || " ()+-._".contains(c) { c } else { '_' };
        let plain: String = name.chars().map(ascii).collect();
        let encoded: String = name.bytes().map(encode).collect();
        HeaderValue::try_from(format!("inline; filename=\"{plain}\"; filename*=UTF-8''{encoded}")).ok()
    }
}

/// `attr-char` as it is, every other byte in hexadecimal (RFC 8187 §3.2.1).
fn encode(byte: u8) -> String {
    match byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    }
}

/// Letters, digits and a little punctuation of what somebody wrote; runs of all else become a space.
fn plain(text: &str) -> String {
    let kept = |c: char| if c.is_alphanumeric() || "-_.,'+=@#()".contains(c) { c } else { ' ' };
    let words: String = text.chars().map(kept).collect();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let trimmed = words.trim_matches(['.', ' ', '-']);
    trimmed[..trimmed.floor_char_boundary(CHOSEN_BYTES_MAX)].trim_end_matches(['.', ' ', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use footage::units::WallTime;
    use proptest::prelude::*;

    fn labels() -> Labels {
        Labels { time_zone: jiff::tz::TimeZone::get("Europe/Paris").unwrap(), authorities: Default::default() }
    }

    fn covers() -> TimeRange {
        let at = |s: &str| s.parse::<WallTime>().unwrap();
        TimeRange::new(at("2026-03-01T14:30:00Z"), at("2026-03-01T15:40:01.5Z")).unwrap()
    }

    fn check(name: &str, reference: Option<&str>, part: Option<u32>, expect: &str) {
        let camera = "place-2".parse().unwrap();
        let named = Named { camera: &camera, name, reference, part };
        assert_eq!(named.file(&labels(), covers()), expect);
    }

    #[test]
    fn a_clip_is_named_after_its_camera_its_local_times_and_its_requisition() {
        check("place-2", None, None, "place-2 20260301T153000+0100 20260301T164001+0100.mp4");
        let all = "Église, côté nord (place-2) 20260301T153000+0100 20260301T164001+0100 PV 2026 117 part 2.mp4";
        check("Église, côté nord", Some("PV 2026/117"), Some(2), all);
    }

    #[test]
    fn the_header_has_the_name_in_ascii_and_in_utf_8() {
        let camera = "place-2".parse().unwrap();
        let named = Named { camera: &camera, name: "Église", reference: None, part: None };
        let expect = "inline; filename=\"_glise (place-2) 20260301T153000+0100 20260301T164001+0100.mp4\"; \
                      filename*=UTF-8''%C3%89glise%20%28place-2%29%2020260301T153000+0100%2020260301T164001+0100.mp4";
        assert_eq!(named.disposition(&labels(), covers()).unwrap(), expect);
    }

    #[test]
    fn hostile_names_become_plain_ones() {
        let times = "20260301T153000+0100 20260301T164001+0100";
        check("../../etc/passwd", None, None, &format!("etc passwd (place-2) {times}.mp4"));
        check("a\"\r\nSet-Cookie: x=1", None, None, &format!("a Set-Cookie x=1 (place-2) {times}.mp4"));
        check("\u{202e}4pm.exe\u{200b}", Some("...\0"), None, &format!("4pm.exe (place-2) {times}.mp4"));
        check("C:\\con|<>?*", None, None, &format!("C con (place-2) {times}.mp4"));
        check("/", Some("%2e%2e;filename=x"), None, &format!("place-2 {times} 2e 2e filename=x.mp4"));
    }

    proptest! {
        #[test]
        fn any_name_is_one_of_a_plain_file(name in "\\PC{0,200}|(?s).{0,80}", reference in "(?s).{0,80}") {
            let camera = "place-2".parse().unwrap();
            let named = Named { camera: &camera, name: &name, reference: Some(&reference), part: Some(1) };
            let file = named.file(&labels(), covers());
            prop_assert!(file.len() <= 255 && file.ends_with(".mp4") && !file.starts_with(['.', ' ', '-']), "{file}");
            prop_assert!(!file.chars().any(|c| c.is_control() || "/\\:*?\"<>|%;".contains(c)), "{file}");
            prop_assert!(named.disposition(&labels(), covers()).is_some());
        }
    }
}
