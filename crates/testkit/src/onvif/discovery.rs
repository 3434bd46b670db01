//! The answerer of WS-Discovery (April 2005 §5.3).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quick_xml::events::Event;
use quick_xml::reader::NsReader;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::{Live, OnvifQuirk};

/// Joins a group; several may listen on one port.
pub(super) fn listen(group: Ipv4Addr, port: u16, interface: Ipv4Addr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    socket.join_multicast_v4(&group, &interface)?;
    UdpSocket::from_std(socket.into())
}

pub(super) async fn answer(socket: UdpSocket, live: Arc<Live>) {
    let mut datagram = vec![0; 64 * 1024];
    loop {
        let Ok((bytes, sender)) = socket.recv_from(&mut datagram).await else { continue };
        let Some(message) = probe(&datagram[..bytes]) else { continue };
        for answer in answers(&live, &message) {
            // Who asked may be gone.
            let _ = socket.send_to(answer.as_bytes(), sender).await;
        }
    }
}

/// The name of a question after network video transmitters, or after anything.
fn probe(datagram: &[u8]) -> Option<String> {
    let mut reader = NsReader::from_str(std::str::from_utf8(datagram).ok()?);
    let (mut inside, mut message, mut action, mut types) = (Vec::new(), String::new(), String::new(), None);
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => inside.push(String::from_utf8_lossy(start.local_name().as_ref()).into_owned()),
            Event::End(_) => drop(inside.pop()),
            Event::Text(text) => {
                let text = text.decode().ok()?.trim().to_owned();
                match inside.last()?.as_str() {
                    "MessageID" => message = text,
                    "Action" => action = text,
                    "Types" => types = Some(text),
                    _ => {}
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    let wanted = types.is_none_or(|types: String| types.is_empty() || types.contains(":NetworkVideoTransmitter"));
    (action == "http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe" && wanted).then_some(message)
}

fn answers(live: &Live, message: &str) -> Vec<String> {
    let port = live.address.port();
    let address = match live.device.quirk {
        OnvifQuirk::PrivateAddress => format!("http://10.77.0.5:{port}/onvif/device_service"),
        _ => format!("http://169.254.1.1/onvif/device_service http://{}/onvif/device_service", live.address),
    };
    let one = |endpoint: &str, relates: &str| {
        format!(
            r#"<?xml version="1.0"?><env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl"><env:Header><a:MessageID>urn:uuid:answer</a:MessageID><a:RelatesTo>{relates}</a:RelatesTo><a:To>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:To><a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/ProbeMatches</a:Action></env:Header><env:Body><d:ProbeMatches><d:ProbeMatch><a:EndpointReference><a:Address>{endpoint}</a:Address></a:EndpointReference><d:Types>dn:NetworkVideoTransmitter</d:Types><d:Scopes>onvif://www.onvif.org/name/Simulated%20{port} onvif://www.onvif.org/location/Place%20de%20la%20Mairie</d:Scopes><d:XAddrs>{address}</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion></d:ProbeMatch></d:ProbeMatches></env:Body></env:Envelope>"#
        )
    };
    let own = format!("urn:uuid:00000000-0000-0000-0000-{port:012}");
    match live.device.quirk {
        // Twice the same, what is no XML, and answers to nobody's question.
        OnvifQuirk::Flood => {
            let others = (0..20).map(|n| one(&format!("urn:uuid:{n}"), "urn:uuid:other"));
            others.chain([one(&own, message), "<".repeat(1_000), one(&own, message)]).collect()
        }
        _ => vec![one(&own, message)],
    }
}
