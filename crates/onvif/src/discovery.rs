//! Devices on the local network (WS-Discovery, April 2005; ONVIF Core Specification §7): a question to all, and who answers.
//!
//! Anybody on the network may answer anything: an answer counts only with the name of our question, and a device is reached
//! at the address that its answer came from, whatever else it names.
//! Absent on purpose: IPv6 (FF02::C), because devices that speak it answer over IPv4 too, where link-local addresses need no
//! interface in each URL; Hello and Bye, which a command that runs for seconds has no use for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout_at};
use url::Url;

use crate::error::presentable;
use crate::soap::uuid;
use crate::xml::Element;

/// Where devices listen.
pub const MULTICAST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 3702);

/// Devices that are kept, and addresses of one.
const DEVICES_MAX: usize = 1_024;
const ADDRESSES_MAX: usize = 16;
/// Networks of this machine that are asked.
const NETWORKS_MAX: usize = 64;
/// Largest datagram.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;
/// Datagrams are lost: the question is asked again, under the same name.
const ASKED_TIMES: u32 = 3;
const ASKED_APART: Duration = Duration::from_millis(250);

/// How to look.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Whom to ask: [`MULTICAST`], or one device.
    pub to: SocketAddrV4,
    /// From which of this machine's addresses, which choose the network; empty: the one of the default route.
    pub from: Vec<Ipv4Addr>,
    /// How long answers are awaited.
    pub wait: Duration,
}

/// A device that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name for life, most often `urn:uuid:…`.
    pub endpoint: String,
    /// Where the answer came from.
    pub address: IpAddr,
    /// Its device service, at that address.
    pub url: Url,
    /// What it says of itself: `name`, `hardware`, `location`, …, as in `onvif://www.onvif.org/name/…`.
    pub scopes: BTreeMap<String, String>,
}

/// This machine's addresses in the networks that it is in itself, by the kernel's routes: a gateway has most often one for the
/// cameras, and the default route leads elsewhere. Empty where they cannot be told.
pub fn own_addresses() -> Vec<Ipv4Addr> {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let mut own: Vec<Ipv4Addr> = networks(&routes).into_iter().filter_map(own_address).collect();
    own.sort();
    own.dedup();
    own
}

/// The networks of a table of routes (`/proc/net/route`, proc(5)) that are reached without a gateway.
fn networks(routes: &str) -> Vec<Ipv4Addr> {
    let address = |field: Option<&&str>| {
        // As the bytes lie in memory.
        let number = u32::from_str_radix(field?, 16).ok()?;
        Some(Ipv4Addr::from(number.to_ne_bytes()))
    };
    let network = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (network, gateway, mask) = (address(fields.get(1))?, address(fields.get(2))?, address(fields.get(7))?);
        (gateway.is_unspecified() && !mask.is_unspecified()).then_some(network)
    };
    routes.lines().skip(1).filter_map(network).take(NETWORKS_MAX).collect()
}

/// From which address this machine would send into a network. Nothing is sent.
fn own_address(network: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::from(u32::from(network).saturating_add(1)), MULTICAST.port())).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(own) => Some(own),
        IpAddr::V6(_) => None,
    }
}

/// Asks, and gathers who answers; by address.
pub async fn discover(discovery: &Discovery) -> std::io::Result<Vec<Found>> {
    let from = if discovery.from.is_empty() { &[Ipv4Addr::UNSPECIFIED][..] } else { &discovery.from };
    let deadline = Instant::now() + discovery.wait;
    let mut looks: FuturesUnordered<_> = from.iter().map(|from| look(*from, discovery.to, deadline)).collect();
    let (mut found, mut failed, mut looked) = (BTreeMap::new(), None, false);
    while let Some(outcome) = looks.next().await {
        match outcome {
            Ok(devices) => {
                looked = true;
                for device in devices {
                    found.entry(device.endpoint.clone()).or_insert(device);
                }
            }
            Err(error) => failed = Some(error),
        }
    }
    // A network that is down hides no device of another.
    match failed {
        Some(error) if !looked => Err(error),
        _ => {
            let mut devices: Vec<Found> = found.into_values().take(DEVICES_MAX).collect();
            devices.sort_by(|a, b| (a.address, &a.endpoint).cmp(&(b.address, &b.endpoint)));
            Ok(devices)
        }
    }
}

async fn look(from: Ipv4Addr, to: SocketAddrV4, deadline: Instant) -> std::io::Result<Vec<Found>> {
    // Linux sends what is multicast through the interface of the address that the socket is bound to.
    let socket = UdpSocket::bind((from, 0)).await?;
    let message = uuid();
    let probe = probe(&message);
    socket.send_to(probe.as_bytes(), to).await?;
    let asking = async {
        for time in 1..ASKED_TIMES {
            sleep_until(deadline.min(Instant::now() + ASKED_APART * time)).await;
            // The first went out: what becomes of these does not matter.
            let _ = socket.send_to(probe.as_bytes(), to).await;
        }
        std::future::pending::<()>().await;
    };
    let listening = async {
        let mut found = BTreeMap::new();
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        while let Ok(received) = timeout_at(deadline, socket.recv_from(&mut datagram)).await {
            // An error of one datagram, as that a port is closed, says nothing of the next.
            let Ok((bytes, sender)) = received else { continue };
            for device in matches(&datagram[..bytes], &message, sender) {
                if found.len() < DEVICES_MAX {
                    found.entry(device.endpoint.clone()).or_insert(device);
                }
            }
        }
        found.into_values().collect()
    };
    tokio::select! {
        found = listening => Ok(found),
        () = asking => Ok(Vec::new()),
    }
}

/// The question: video transmitters, by the name that each device of Profile S, T or G answers to.
fn probe(message: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl"><e:Header><w:MessageID>{message}</w:MessageID><w:To e:mustUnderstand="true">urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To><w:Action e:mustUnderstand="true">http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header><e:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>"#
    )
}

/// The devices of an answer to the question of this name.
fn matches(datagram: &[u8], message: &str, sender: SocketAddr) -> Vec<Found> {
    let Ok(root) = Element::parse(datagram) else { return Vec::new() };
    if root.text_at(&["Header", "RelatesTo"]) != Some(message) {
        return Vec::new();
    }
    // Some leave out the element around their one match.
    let Some(matches) = root.at(&["Body", "ProbeMatches"]).or(root.at(&["Body"])) else { return Vec::new() };
    matches.all("ProbeMatch").take(DEVICES_MAX).filter_map(|found| device(found, sender)).collect()
}

fn device(found: &Element, sender: SocketAddr) -> Option<Found> {
    let addresses = found.text_at(&["XAddrs"])?.split_whitespace().take(ADDRESSES_MAX);
    let urls: Vec<Url> = addresses.filter_map(|text| text.parse().ok()).filter(is_http).collect();
    let is_senders = |url: &&Url| url.host_str().is_some_and(|host| host == sender.ip().to_string());
    let mut url = urls.iter().find(is_senders).or(urls.first())?.clone();
    url.set_username("").and_then(|()| url.set_password(None)).ok()?;
    url.set_ip_host(sender.ip()).ok()?;
    let endpoint = found.text_at(&["EndpointReference", "Address"]);
    let endpoint = endpoint.map_or_else(|| url.to_string(), |text| presentable(text, None));
    let mut scopes = BTreeMap::new();
    for scope in found.text_at(&["Scopes"]).unwrap_or_default().split_whitespace() {
        let path = scope.strip_prefix("onvif://www.onvif.org/").and_then(|path| path.split_once('/'));
        if let Some((name, value)) = path
            && scopes.len() < ADDRESSES_MAX
        {
            scopes.entry(presentable(name, None)).or_insert_with(|| presentable(&unescaped(value), None));
        }
    }
    Some(Found { endpoint, address: sender.ip(), url, scopes })
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.port() != Some(0)
}

/// A value of a scope without its percent signs (RFC 3986 §2.1).
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = escape.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        (rest, _) = match byte {
            Some(byte) => (&tail[2..], bytes.push(byte)),
            None => (tail, bytes.push(*first)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(relates: &str, addresses: &str) -> String {
        format!(
            r#"<e:Envelope xmlns:e="urn:e" xmlns:w="urn:w" xmlns:d="urn:d"><e:Header><w:RelatesTo>{relates}</w:RelatesTo></e:Header><e:Body><d:ProbeMatches><d:ProbeMatch><w:EndpointReference><w:Address>urn:uuid:1</w:Address></w:EndpointReference><d:Scopes>onvif://www.onvif.org/name/Place%20de%20la%20Mairie onvif://www.onvif.org/hardware/C1 onvif://www.onvif.org/Profile/T other</d:Scopes><d:XAddrs>{addresses}</d:XAddrs></d:ProbeMatch></d:ProbeMatches></e:Body></e:Envelope>"#
        )
    }

    fn sender() -> SocketAddr {
        "192.0.2.10:3702".parse().expect("an address")
    }

    #[test]
    fn a_device_is_reached_where_its_answer_came_from() {
        let check = |addresses: &str, expect: Option<&str>| {
            let found = matches(answer("urn:uuid:q", addresses).as_bytes(), "urn:uuid:q", sender());
            assert_eq!(found.first().map(|f| f.url.as_str()), expect, "{addresses}");
        };
        check("http://192.0.2.10/onvif/device_service", Some("http://192.0.2.10/onvif/device_service"));
        check("http://169.254.7.7/a http://192.0.2.10:81/b", Some("http://192.0.2.10:81/b"));
        check("http://10.0.0.9:8000/a", Some("http://192.0.2.10:8000/a"));
        check("http://u:p@victim.example/a", Some("http://192.0.2.10/a"));
        check("https://192.0.2.10/a", Some("https://192.0.2.10/a"));
        check("ftp://192.0.2.10/a nonsense", None);
        check("", None);
    }

    #[test]
    fn an_answer_is_one_to_our_question_and_says_what_the_device_is() {
        let text = answer("urn:uuid:q", "http://192.0.2.10/a");
        assert_eq!(matches(text.as_bytes(), "urn:uuid:other", sender()), []);
        let found = &matches(text.as_bytes(), "urn:uuid:q", sender())[0];
        assert_eq!(found.endpoint, "urn:uuid:1");
        assert_eq!(found.scopes.get("name").map(String::as_str), Some("Place de la Mairie"));
        assert_eq!(found.scopes.get("hardware").map(String::as_str), Some("C1"));
        assert_eq!(found.scopes.len(), 3);
        let bare = text.replace("<d:ProbeMatches>", "").replace("</d:ProbeMatches>", "");
        assert_eq!(matches(bare.as_bytes(), "urn:uuid:q", sender()).first(), Some(found));
        assert!(Element::parse(probe("urn:uuid:q").as_bytes()).is_ok());
    }

    #[test]
    fn networks_are_those_that_no_gateway_leads_to() {
        let hex = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let line = |network, gateway, mask| {
            format!("eth0\t{}\t{}\t0003\t0\t0\t0\t{}\t0\t0\t0\n", hex(network), hex(gateway), hex(mask))
        };
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n".to_owned()
            + &line([0, 0, 0, 0], [192, 0, 2, 1], [0, 0, 0, 0])
            + &line([192, 0, 2, 0], [0, 0, 0, 0], [255, 255, 255, 0])
            + &line([198, 51, 100, 0], [192, 0, 2, 2], [255, 255, 255, 0])
            + "eth1\tzz\n";
        assert_eq!(networks(&routes), [Ipv4Addr::new(192, 0, 2, 0)]);
        assert_eq!(networks(""), [] as [Ipv4Addr; 0]);
        assert_eq!(own_address(Ipv4Addr::new(127, 0, 0, 0)), Some(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn escapes_of_scopes_are_read_as_far_as_they_are_any() {
        let check = |text: &str, expect: &str| assert_eq!(unescaped(text), expect);
        check("a%20b%C3%A9", "a bé");
        check("100%", "100%");
        check("%zz%4", "%zz%4");
        check("%FF", "\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_or_ignored(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            prop_assert_eq!(matches(&bytes, "urn:uuid:q", sender()), []);
        }
    }
}
