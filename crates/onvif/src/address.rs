//! Where a device may send us: to another port or path of its own, never to another host, never out of TLS.

use std::net::IpAddr;

use url::Url;

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_matches(['[', ']'])
}

/// Whether a URL names the device: as it is configured, or by the address that answers there.
fn is_own(configured: &Url, named: &Url, peer: IpAddr) -> bool {
    !host(named).is_empty() && host(named).eq_ignore_ascii_case(host(configured))
        || host(named).parse::<IpAddr>().is_ok_and(|named| named == peer)
}

fn without_credentials(mut url: Url) -> Option<Url> {
    url.set_username("").and_then(|()| url.set_password(None)).ok()?;
    url.set_fragment(None);
    Some(url)
}

/// The URL of a service that a device names (`XAddr`). Where it names another host, which devices behind an address
/// translation do and others that were given a new address, or another scheme than the configured one, its path is asked
/// for at the configured host and port.
pub(crate) fn service(configured: &Url, named: &str, peer: IpAddr) -> Option<Url> {
    // Some name several, or a path alone.
    let first = named.split_whitespace().next()?;
    let named = configured.join(first).ok()?;
    if !matches!(named.scheme(), "http" | "https") {
        return None;
    }
    let keeps_tls = named.scheme() == "https" || configured.scheme() == "http";
    if is_own(configured, &named, peer) && keeps_tls && named.port() != Some(0) {
        return without_credentials(named);
    }
    let mut url = configured.clone();
    url.set_path(named.path());
    url.set_query(named.query());
    Some(url)
}

/// The URL of a stream or a picture, at the device's configured host, and the host that the device named instead.
pub(crate) fn media(configured: &Url, named: &str, peer: IpAddr, schemes: &[&str]) -> Option<(Url, Option<String>)> {
    let mut url = without_credentials(Url::parse(named.trim()).ok()?)?;
    if !schemes.contains(&url.scheme()) || host(&url).is_empty() || url.port() == Some(0) {
        return None;
    }
    if is_own(configured, &url, peer) {
        return Some((url, None));
    }
    let named_host = host(&url).to_owned();
    url.set_host(configured.host_str()).ok()?;
    Some((url, Some(named_host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 10));

    #[test]
    fn a_service_stays_with_the_device() {
        let check = |configured: &str, named: &str, expect: Option<&str>| {
            let url = service(&configured.parse().expect("a url"), named, PEER);
            assert_eq!(url.as_ref().map(Url::as_str), expect, "{configured} {named}");
        };
        let cam = "http://cam:8080/onvif/device_service";
        check(cam, "http://cam:8080/onvif/media?x=1", Some("http://cam:8080/onvif/media?x=1"));
        check(cam, "http://192.0.2.10/onvif/media", Some("http://192.0.2.10/onvif/media"));
        check(cam, "http://CAM:8899/onvif/media", Some("http://cam:8899/onvif/media"));
        check(cam, "https://cam/onvif/media", Some("https://cam/onvif/media"));
        check(cam, "http://u:p@cam/onvif/media", Some("http://cam/onvif/media"));
        check(cam, "http://10.0.0.5/onvif/media?x=1", Some("http://cam:8080/onvif/media?x=1"));
        check(cam, "http://10.0.0.5:81/a http://[fe80::1]/a", Some("http://cam:8080/a"));
        check(cam, "http://evil.example/a", Some("http://cam:8080/a"));
        check(cam, "/onvif/events", Some("http://cam:8080/onvif/events"));
        check(cam, "file:///etc/passwd", None);
        check(cam, "", None);
        check("https://cam/d", "http://cam/m", Some("https://cam/m"));
        check("https://cam/d", "http://192.0.2.10/m", Some("https://cam/m"));
        check("https://cam/d", "https://192.0.2.10/m", Some("https://192.0.2.10/m"));
        check("http://[2001:db8::1]/d", "http://10.0.0.5/m", Some("http://[2001:db8::1]/m"));
    }

    #[test]
    fn a_stream_is_at_the_configured_host() {
        let configured: Url = "http://[2001:db8::1]:8080/d".parse().expect("a url");
        let check = |named: &str, expect: Option<(&str, Option<&str>)>| {
            let found = media(&configured, named, PEER, &["rtsp", "rtsps"]);
            let found = found.as_ref().map(|(url, named)| (url.as_str(), named.as_deref()));
            assert_eq!(found, expect, "{named}");
        };
        check("rtsp://[2001:db8::1]/s", Some(("rtsp://[2001:db8::1]/s", None)));
        check("rtsp://192.0.2.10:554/s?p=1", Some(("rtsp://192.0.2.10:554/s?p=1", None)));
        check("rtsp://admin:pw@10.0.0.5:8554/s", Some(("rtsp://[2001:db8::1]:8554/s", Some("10.0.0.5"))));
        for none in ["http://192.0.2.10/s", "rtsp:", "rtsp:///s", "rtsp://192.0.2.10:0/s", "no url", ""] {
            check(none, None);
        }
    }
}
