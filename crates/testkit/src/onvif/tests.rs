//! The device itself, asked by hand.

use footage::clock::SystemClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

async fn post(server: &OnvifServer, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.expect("a connection");
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: device\r\nConnection: close\r\nContent-Type: application/soap+xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    answer
}

fn envelope(body: &str) -> String {
    format!(r#"<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body>{body}</e:Body></e:Envelope>"#)
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_and_what_needs_a_user_too() {
    let device = SimulatedOnvif { login: Login::Md5, ..SimulatedOnvif::new() };
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let server = OnvifServer::start(listen, device, Arc::new(SystemClock::default())).await.expect("a server");
    let ask = |operation: &str, namespace: &str| envelope(&format!("<o:{operation} xmlns:o=\"{namespace}\"/>"));
    let device = "http://www.onvif.org/ver10/device/wsdl";
    let check = async |path: &str, body: String, expect: &[&str]| {
        let answer = post(&server, path, &body).await;
        assert!(expect.iter().all(|words| answer.contains(words)), "{expect:?} in {answer}");
    };
    let service = "/onvif/device_service";
    check(service, ask("GetSystemDateAndTime", device), &["200 OK", "<tt:Year>20"]).await;
    check(service, ask("GetSystemDateAndTime", "urn:other"), &["400", "urn:other is not of the service"]).await;
    check(service, ask("GetDeviceInformation", device), &["401", "algorithm=MD5", "ter:NotAuthorized"]).await;
    check("/elsewhere", ask("GetDeviceInformation", device), &["400", "no service at /elsewhere"]).await;
    check(service, "<e:Envelope>".to_owned(), &["400"]).await;
    check(service, ask("GetServices", device), &["200 OK", "ver20/media/wsdl"]).await;
    assert_eq!(server.granted(), ["GetSystemDateAndTime", "GetServices"]);
}
