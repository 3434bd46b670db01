//! `vigie discover`: the ONVIF devices of the local network, and with a user what each of them can send.
//!
//! Anybody on the network may answer: with a user, each who answers is sent digests of the password, never the password.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use clap::Args;
use footage::failure::Kind;
use futures::StreamExt;
use onvif::{Discovery, Found, MULTICAST, discover, own_addresses};
use rtsp::TlsTrust;

use super::login::Login;
use super::onvif::look;
use super::{Failure, show};

/// Devices that are asked at a time.
const LOOKS_AT_ONCE: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct Discover {
    #[command(flatten)]
    login: Login,
    /// How long answers are awaited
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// The IPv4 address of this machine in the cameras' network; several may be given. Default: one in each network
    #[arg(long, value_name = "ADDRESS")]
    from: Vec<Ipv4Addr>,
    /// Ask one device, by address and port, in the place of all
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = MULTICAST)]
    to: SocketAddrV4,
    /// For https: a PEM file with the devices' certificates or their authority's; without it the machine's root certificates
    #[arg(long, value_name = "FILE")]
    tls_ca_file: Option<std::path::PathBuf>,
}

/// Looks, and prints who answered.
pub(super) async fn run(args: Discover) -> Result<(), Failure> {
    let password = args.login.password()?;
    let from = if args.from.is_empty() && args.to.ip().is_multicast() { own_addresses() } else { args.from };
    let discovery = Discovery { to: args.to, from, wait: Duration::from_secs(args.seconds) };
    let found = discover(&discovery).await.map_err(Failure::failed)?;
    if found.is_empty() {
        let words =
            "no device answered: check that ONVIF discovery is on there, and that --from is in the cameras' network";
        return Err(Failure::Of(Kind::NotFound, words.to_owned()));
    }
    let Some(username) = &args.login.username else {
        return show::print(&found.iter().map(heading).collect::<String>());
    };
    let tls = args.tls_ca_file.map_or(TlsTrust::System, TlsTrust::CaFile);
    let looks = found.iter().enumerate().map(|(number, device)| {
        let (tls, password) = (tls.clone(), password.clone());
        async move {
            let seen = look(device.url.clone(), tls, Some(username.clone()), password).await;
            let place = device.scopes.get("location").map(String::as_str);
            let words = match seen {
                Ok(seen) => {
                    seen.screen() + &seen.configuration(Some(username), &format!("camera-{}", number + 1), place)
                }
                Err(error) => format!("  {error}\n"),
            };
            format!("{}{words}\n", heading(device))
        }
    });
    let shown: Vec<String> = futures::stream::iter(looks).buffered(LOOKS_AT_ONCE).collect().await;
    show::print(&shown.concat())
}

/// `192.0.2.10  http://192.0.2.10/onvif/device_service  name, hardware, location`
fn heading(found: &Found) -> String {
    let scope = |name| found.scopes.get(name).cloned();
    let words: Vec<String> = ["name", "hardware", "location"].into_iter().filter_map(scope).collect();
    let mut line = format!("{}  {}", found.address, found.url);
    if !words.is_empty() {
        let _ = write!(line, "  {}", words.join(", "));
    }
    line + "\n"
}
