//! `vigie probe`: what a camera is, before it is configured: over RTSP what it sends, over ONVIF what it says of itself.
//!
//! Nothing is recorded, and sound is only listed.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use footage::clock::SystemClock;
use footage::source::{Item, Session, Source};
use futures::StreamExt;
use rtsp::{RtspConfig, RtspSource, SessionGroup, TlsTrust};
use tokio::time::{Instant, timeout_at};
use url::Url;
use vigie::config::{CameraConfig, Transport};

use super::Failure;
use super::login::Login;
use super::onvif;

mod observed;
pub(super) mod report;

use observed::Observed;
use report::Report;

/// From the first packet sent to the session being open.
const SETUP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the camera may take to answer TEARDOWN before the process ends without.
const TEARDOWN_TIME_MAX: Duration = Duration::from_secs(2);

/// Over what RTP travels.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Over {
    Tcp,
    Udp,
}

#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// The camera's address, without user name and password: rtsp://host[:port]/path or rtsps://…; or that of its ONVIF
    /// service, http://host[:port]/onvif/device_service or https://…
    url: Url,
    #[command(flatten)]
    login: Login,
    /// How RTP travels
    #[arg(long, value_enum, default_value = "tcp")]
    transport: Over,
    /// For rtsps and https: a PEM file with the camera's certificate or its authority's; without it the machine's root certificates
    #[arg(long, value_name = "FILE")]
    tls_ca_file: Option<PathBuf>,
    /// How long to look
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

/// Looks at a camera and prints what it is.
pub(super) async fn run(args: Probe) -> Result<(), Failure> {
    check_url(&args.url)?;
    let tls = args.tls_ca_file.clone().map_or(TlsTrust::System, TlsTrust::CaFile);
    if is_onvif(&args.url) {
        return onvif::probe(args.url, &args.login, tls).await;
    }
    let password = args.login.password()?;
    let config = RtspConfig {
        camera: "probe/camera".parse().map_err(Failure::failed)?,
        url: args.url.clone(),
        tls,
        username: args.login.username.clone(),
        password,
        transport: match args.transport {
            Over::Tcp => Transport::Tcp,
            Over::Udp => Transport::Udp,
        },
        audio: false,
        silence_max: CameraConfig::SILENCE_MAX.max(Duration::from_secs(args.seconds)),
        setup_timeout: SETUP_TIMEOUT,
    };
    let (began, sessions) = (Instant::now(), SessionGroup::default());
    let source = RtspSource::new(config, Arc::new(SystemClock::default()), sessions.clone());
    let mut session = source.open().await.map_err(Failure::failed)?;
    let opened = began.elapsed();
    let observed = observe(&mut session, Duration::from_secs(args.seconds)).await;
    let report = Report {
        url: args.url.as_str(),
        username: args.login.username.as_deref(),
        udp: matches!(args.transport, Over::Udp),
        ca_file: args.tls_ca_file.as_deref(),
        opened,
        params: &session.params,
        also_offered: &session.also_offered,
        odd: &session.odd,
        certificate_until: session.certificate_until,
        observed: &observed,
    };
    let written = std::io::stdout().lock().write_all(report.to_string().as_bytes());
    written.map_err(Failure::failed)?;
    // The camera gets its TEARDOWN before the process ends.
    drop(session);
    if !sessions.closed_within(TEARDOWN_TIME_MAX).await {
        tracing::debug!("the camera did not answer TEARDOWN");
    }
    Ok(())
}

/// Takes what comes for so long, or until the session ends.
async fn observe(session: &mut Session, time: Duration) -> Observed {
    let mut observed = Observed::default();
    let until = Instant::now() + time;
    while let Ok(Some(item)) = timeout_at(until, session.items.next()).await {
        match item {
            Ok(Item::AccessUnit(unit)) => observed.unit(&unit),
            Ok(Item::Oddities(counts)) => observed.odd.extend(counts.iter().map(|(oddity, _)| oddity)),
            Ok(Item::SenderReport { camera_time, received, .. }) => observed.clock(camera_time, received),
            Err(error) => {
                observed.ended = Some(error.detail);
                break;
            }
        }
    }
    observed
}

fn is_onvif(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

fn check_url(url: &Url) -> Result<(), Failure> {
    let wrong = if !url.username().is_empty() || url.password().is_some() {
        "the url holds credentials: take them out, and use --username"
    } else if !(is_onvif(url) || matches!(url.scheme(), "rtsp" | "rtsps")) || url.host_str().is_none_or(str::is_empty) {
        "the url is no camera's: write rtsp://host[:port]/path or rtsps://…, or http://host/onvif/device_service for ONVIF"
    } else {
        return Ok(());
    };
    Err(Failure::Usage(wrong.to_owned()))
}
