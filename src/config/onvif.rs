//! `[tenant.camera.onvif]`: the camera's device service.

use super::build::{camera_tls, seconds};
use super::secret::secret;
use super::*;

/// Where most devices have it, for a URL that names only the host.
const SERVICE_PATH: &str = "/onvif/device_service";

/// `None` without the table, or after a problem was noted. Without a user of its own, it has the camera's.
pub(super) fn onvif(
    camera: &Section<'_>,
    login: Option<(&String, &SecretString)>,
    around: &Surroundings<'_>,
) -> Option<OnvifConfig> {
    let problems_before = camera.report().problem_count();
    let section = camera.table("onvif");
    // What is no table is one mistake, not two.
    let is_there = camera.has("onvif") && camera.report().problem_count() == problems_before;
    let url = match is_there {
        true => section.required_text("url", "http://192.0.2.10/onvif/device_service"),
        false => section.text("url"),
    };
    let url = url.and_then(|text| service_url(&section, &text));
    let tls = camera_tls(&section, url.as_ref(), "https");
    let (username, password) = (section.text("username"), secret(&section, "password", around));
    for (key, other) in [("username", "password"), ("password", "username")] {
        if section.has(other) && !section.has(key) {
            section.refuse(key, "is missing: a user of its own has both; without either it is the camera's");
        }
    }
    let login = username.zip(password).or_else(|| login.map(|(name, secret)| (name.clone(), secret.clone())));
    let clock = section.flag("clock").unwrap_or(true);
    let clock_offset_max = seconds(&section, "clock_seconds_max", 1..=3_600).unwrap_or(OnvifConfig::CLOCK_OFFSET_MAX);
    let events = events(&section);
    let events_legal_basis = section.text("events_legal_basis");
    if !events.is_empty() && !section.has("events_legal_basis") {
        section.refuse(
            "events_legal_basis",
            "is missing: video protection keeps pictures, their time and place alone (CSI R253-1); name the text that allows events, or write events = []",
        );
    }
    let backfill = backfill(&section);
    section.close();
    let (username, password) = login.unzip();
    let url = url.filter(|_| is_there)?;
    let clock_offset_max = clock.then_some(clock_offset_max);
    Some(OnvifConfig { url, tls, username, password, clock_offset_max, events, events_legal_basis, backfill })
}

fn backfill(section: &Section<'_>) -> Option<BackfillConfig> {
    let is_on = section.flag("backfill").unwrap_or(false);
    let hours = section.count("backfill_hours_max", 1..=744);
    let kbit = section.count("backfill_kbit_per_second_max", 64..=1_000_000);
    let kbit = kbit.unwrap_or(BackfillConfig::KBIT_PER_SECOND_MAX);
    is_on.then(|| BackfillConfig {
        reach: hours.map_or(BackfillConfig::REACH, |hours| Duration::from_secs(hours * 3_600)),
        bytes_per_second_max: kbit * 1_000 / 8,
    })
}

fn events(section: &Section<'_>) -> BTreeSet<NotificationKind> {
    let mut events = BTreeSet::new();
    for word in section.texts("events") {
        match NotificationKind::ALL.into_iter().find(|kind| kind.as_str() == word) {
            Some(kind) => drop(events.insert(kind)),
            None => {
                let known = NotificationKind::ALL.map(|kind| format!("{:?}", kind.as_str())).join(", ");
                section.refuse("events", format!("holds what is none of {known}"));
                return BTreeSet::new();
            }
        }
    }
    events
}

/// Never shows the text: it may hold a password.
fn service_url(section: &Section<'_>, text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(mut url) = url else {
        section.refuse("url", "is no address of a device: write http://host/onvif/device_service, or https://…");
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        section.refuse("url", "holds credentials: take them out, and set username and password = { file = \"…\" }");
        return None;
    }
    if url.port() == Some(0) {
        section.refuse("url", "has port 0: leave it out for 80 (TLS: 443), or write the device's");
        return None;
    }
    if url.path() == "/" {
        url.set_path(SERVICE_PATH);
    }
    Some(url)
}
