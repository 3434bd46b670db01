//! `vigie probe`: what a camera is, before it is configured.
//!
//! Nothing is recorded, and sound is only listed. A password is never part of the command line, which other users of the
//! machine can read.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use footage::clock::SystemClock;
use footage::source::{Item, Session, Source};
use futures::StreamExt;
use rtsp::{RtspConfig, RtspSource, SessionGroup, TlsTrust};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrecy::SecretString;
use tokio::time::{Instant, timeout_at};
use url::Url;
use vigie::config::{CameraConfig, Transport};

use super::Failure;

mod observed;
mod report;

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
    /// The camera's address, without user name and password: rtsp://host[:port]/path or rtsps://…
    url: Url,
    /// RTSP user name; the password is asked for, unless one of the next two names it
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// A file that holds the password
    #[arg(long, value_name = "FILE", requires = "username", conflicts_with = "password_env")]
    password_file: Option<PathBuf>,
    /// An environment variable that holds the password
    #[arg(long, value_name = "VARIABLE", requires = "username")]
    password_env: Option<String>,
    /// How RTP travels
    #[arg(long, value_enum, default_value = "tcp")]
    transport: Over,
    /// For rtsps: a PEM file with the camera's certificate or its authority's; without it the machine's root certificates
    #[arg(long, value_name = "FILE")]
    tls_ca_file: Option<PathBuf>,
    /// How long to look
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

/// Looks at a camera and prints what it is.
pub(super) async fn run(args: Probe) -> Result<(), Failure> {
    check_url(&args.url)?;
    let password = match &args.username {
        Some(username) => Some(password(&args, username)?),
        None => None,
    };
    let config = RtspConfig {
        camera: "probe/camera".parse().map_err(Failure::failed)?,
        url: args.url.clone(),
        tls: args.tls_ca_file.clone().map_or(TlsTrust::System, TlsTrust::CaFile),
        username: args.username.clone(),
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
        username: args.username.as_deref(),
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

fn check_url(url: &Url) -> Result<(), Failure> {
    let wrong = if !url.username().is_empty() || url.password().is_some() {
        "the url holds credentials: take them out, and use --username"
    } else if !matches!(url.scheme(), "rtsp" | "rtsps") || url.host_str().is_none_or(str::is_empty) {
        "the url is no camera's: write rtsp://host[:port]/path or rtsps://…"
    } else {
        return Ok(());
    };
    Err(Failure::Usage(wrong.to_owned()))
}

fn password(args: &Probe, username: &str) -> Result<SecretString, Failure> {
    if let Some(file) = &args.password_file {
        let text = std::fs::read_to_string(file).map_err(|e| Failure::Failed(format!("{}: {e}", file.display())))?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned().into());
    }
    if let Some(name) = &args.password_env {
        let text = std::env::var(name).map_err(|_| Failure::Usage(format!("${name} is not set, or no text")))?;
        return Ok(text.into());
    }
    typed(username).map_err(Failure::failed)
}

/// Asks at the terminal, without showing what is typed; takes a line where there is none.
fn typed(username: &str) -> std::io::Result<SecretString> {
    let stdin = std::io::stdin();
    let read = || {
        let mut line = String::new();
        stdin.lock().read_line(&mut line)?;
        Ok(SecretString::from(line.trim_end_matches(['\r', '\n']).to_owned()))
    };
    if !stdin.is_terminal() {
        return read();
    }
    write!(std::io::stderr(), "password of {username}: ")?;
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let line = read();
    tcsetattr(&stdin, OptionalActions::Flush, &shown)?;
    writeln!(std::io::stderr())?;
    line
}
