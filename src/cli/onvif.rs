//! What a device says of itself over ONVIF, in words and as lines for the configuration.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use footage::clock::SystemClock;
use onvif::{ClockOffset, Device, DeviceConfig, Error, Information, MediaService, MediaUri, Profile, StreamTransport};
use rtsp::TlsTrust;
use secrecy::SecretString;
use url::Url;

use super::login::Login;
use super::probe::report::{CLOCK_TOLERANCE_SECONDS, quoted};
use super::{Failure, show};

/// For one operation.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Where most devices have their device service, for a URL that names only the host.
const SERVICE_PATH: &str = "/onvif/device_service";
/// Profiles that are shown of a device.
const PROFILES_SHOWN: usize = 16;

/// What a device said.
#[derive(Debug)]
pub(super) struct Seen {
    url: Url,
    clock: Result<ClockOffset, Error>,
    information: Result<Information, Error>,
    /// Absent where they were not asked for.
    profiles: Option<Result<(MediaService, Vec<SeenProfile>), Error>>,
}

/// A profile, with its stream and its pictures.
#[derive(Debug)]
struct SeenProfile {
    profile: Profile,
    stream: Result<MediaUri, Error>,
    snapshot: Option<MediaUri>,
}

/// Asks a device all that is shown; what it refuses is part of the answer. An error: it says not even its time, and so is not
/// there, not what it is taken for, or knows another password.
pub(super) async fn look(
    mut url: Url,
    tls: TlsTrust,
    username: Option<String>,
    password: Option<SecretString>,
) -> Result<Seen, Error> {
    if url.path() == "/" {
        url.set_path(SERVICE_PATH);
    }
    let label = url.host_str().unwrap_or_default().to_owned();
    let config = DeviceConfig { label, url: url.clone(), tls, username, password, timeout: TIMEOUT };
    let device = Device::new(config, Arc::new(SystemClock::default()));
    // What was refused once is not tried again: devices lock accounts.
    let clock = match device.clock_offset().await {
        Err(error @ Error::Denied { .. }) => return Err(error),
        clock => clock,
    };
    let information = device.information().await;
    let clock = match (clock, &information) {
        (Err(error), Err(_)) => return Err(error),
        (clock, _) => clock,
    };
    let profiles = match &information {
        Err(Error::Denied { .. }) => None,
        _ => Some(profiles(&device).await),
    };
    Ok(Seen { url, clock, information, profiles })
}

async fn profiles(device: &Device) -> Result<(MediaService, Vec<SeenProfile>), Error> {
    let found = device.profiles().await?;
    let mut seen = Vec::new();
    for profile in found.profiles.into_iter().take(PROFILES_SHOWN) {
        let stream = device.stream_uri(found.service, &profile.token, StreamTransport::Tcp).await;
        let snapshot = device.snapshot_uri(found.service, &profile.token).await.ok();
        seen.push(SeenProfile { profile, stream, snapshot });
    }
    Ok((found.service, seen))
}

/// `vigie probe` of a device service.
pub(super) async fn probe(url: Url, login: &Login, tls: TlsTrust) -> Result<(), Failure> {
    let seen = look(url, tls, login.username.clone(), login.password()?).await.map_err(Failure::failed)?;
    show::print(&(seen.screen() + &seen.configuration(login.username.as_deref(), "camera-1", None)))?;
    // What was asked for with a user was refused: scripts want to know.
    match (&seen.information, &login.username) {
        (Err(error), Some(_)) => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

impl SeenProfile {
    fn words(&self) -> String {
        let Profile { name, encoding, width, height, frame_rate, bit_rate_kbps, gov_length, .. } = &self.profile;
        let mut words = vec![encoding.clone().unwrap_or_else(|| "no video".to_owned())];
        words.extend(width.zip(*height).map(|(width, height)| format!("{width}x{height}")));
        words.extend(frame_rate.map(|rate| format!("{rate} pictures a second")));
        words.extend(bit_rate_kbps.map(|rate| format!("{:.1} Mb/s", f64::from(rate) / 1e3)));
        words.extend(gov_length.map(|length| format!("a key frame every {length} pictures")));
        format!("{name}: {}", words.join(", "))
    }

    fn is_recordable(&self) -> bool {
        self.stream.is_ok() && matches!(self.profile.encoding.as_deref(), Some("H264" | "H265"))
    }
}

impl Seen {
    /// Device, clock, profiles.
    pub(super) fn screen(&self) -> String {
        let mut text = String::new();
        let mut line = |words: String| {
            let _ = writeln!(text, "{words}");
        };
        line("device".to_owned());
        match &self.information {
            Ok(Information { manufacturer, model, firmware, serial }) => {
                line(format!("  {manufacturer} {model}, firmware {firmware}, serial number {serial}"));
            }
            Err(error) => line(format!("  {error}")),
        }
        line(format!("  clock       {}", self.clock_words()));
        match &self.profiles {
            Some(Ok((service, profiles))) => {
                let of = if *service == MediaService::Media2 { "Media2" } else { "Media" };
                line(format!("profiles ({of})"));
                for seen in profiles {
                    line(format!("  {}", seen.words()));
                    match &seen.stream {
                        Ok(uri) => line(format!("    {}", address(uri))),
                        Err(error) => line(format!("    {error}")),
                    }
                    if let Some(uri) = &seen.snapshot {
                        line(format!("    picture {}", address(uri)));
                    }
                }
            }
            Some(Err(error)) => {
                line("profiles".to_owned());
                line(format!("  {error}"));
            }
            None => {}
        }
        text
    }

    fn clock_words(&self) -> String {
        match &self.clock {
            Ok(clock) => {
                let (offset, bound) = (clock.offset.as_seconds_f64(), clock.bound.as_seconds_f64());
                let source = if clock.by_ntp { "set by NTP" } else { "not set by NTP" };
                let advice = if clock.at_least().as_seconds_f64() > CLOCK_TOLERANCE_SECONDS {
                    ": set an NTP server, the one that this machine uses"
                } else {
                    ""
                };
                format!("{offset:+.1} s from this machine's, within {bound:.1} s, {source}{advice}")
            }
            Err(error) => error.to_string(),
        }
    }

    /// The lines for the first profile that can be recorded.
    pub(super) fn configuration(&self, username: Option<&str>, id: &str, place: Option<&str>) -> String {
        let Some(Ok((_, profiles))) = &self.profiles else { return String::new() };
        let recordable = profiles.iter().find(|seen| seen.is_recordable());
        let Some(Ok(uri)) = recordable.map(|seen| &seen.stream) else { return String::new() };
        let mut lines = vec![
            "[[tenant.camera]]".to_owned(),
            format!("id = {}", quoted(id)),
            format!("place = {}", quoted(place.unwrap_or("where it films"))),
            format!("url = {}", quoted(uri.url.as_str())),
        ];
        if let Some(username) = username {
            lines.push(format!("username = {}", quoted(username)));
            lines.push(format!("password = {{ file = \"/etc/vigie/{id}.password\" }}"));
        }
        lines.push("[tenant.camera.onvif]".to_owned());
        lines.push(format!("url = {}", quoted(self.url.as_str())));
        format!("for the configuration\n{}", lines.iter().map(|line| format!("  {line}\n")).collect::<String>())
    }
}

fn address(uri: &MediaUri) -> String {
    match &uri.named_host {
        Some(host) => format!("{} (the device names the host {host})", uri.url),
        None => uri.url.to_string(),
    }
}
