//! The address that limits are counted by.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};

/// Whom a connection or a request is counted to: an IPv4 address, or an IPv6 network of 64 bits, which is what one
/// subscriber has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer(IpAddr);

impl Peer {
    pub(super) fn new(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                if v6.is_loopback() { IpAddr::V6(v6) } else { Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into() }
            }
            v4 => v4,
        })
    }

    /// On this machine.
    pub(super) fn is_loopback(self) -> bool {
        self.0.is_loopback()
    }

    /// Of a request.
    pub(super) fn of_request(extensions: &Extensions, headers: &HeaderMap) -> Self {
        // Without a socket (in tests) everything is of one peer.
        Self::new(address_of_request(extensions, headers).unwrap_or(Ipv6Addr::UNSPECIFIED.into()))
    }
}

/// From where a request comes, in full; `None` without a socket. Behind a proxy on this machine every connection comes from
/// loopback: the proxy's own word then says who asks. From elsewhere the header is anybody's, and is not read.
pub(super) fn address_of_request(extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
    let ConnectInfo(connected) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    let connected = connected.ip().to_canonical();
    if !connected.is_loopback() {
        return Some(connected);
    }
    // The last address is the one that the nearest proxy saw.
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
    let last = forwarded.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    Some(last.map_or(connected, |address: IpAddr| address.to_canonical()))
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_whole_where_the_peer_is_a_network() {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new("2001:db8:1:2:3:4:5:6".parse().unwrap(), 1)));
        let address = address_of_request(&extensions, &HeaderMap::new());
        assert_eq!(address, "2001:db8:1:2:3:4:5:6".parse().ok());
        assert_eq!(address_of_request(&Extensions::new(), &HeaderMap::new()), None);
    }

    fn of(connected: &str, forwarded: &[&str]) -> String {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(connected.parse().unwrap(), 1)));
        let headers = forwarded.iter().map(|value| ("x-forwarded-for".parse().unwrap(), value.parse().unwrap()));
        Peer::of_request(&extensions, &headers.collect()).to_string()
    }

    #[test]
    fn only_a_proxy_on_this_machine_says_who_asks() {
        assert_eq!(of("203.0.113.7", &["198.51.100.1"]), "203.0.113.7");
        assert_eq!(of("127.0.0.1", &["198.51.100.1, 198.51.100.2"]), "198.51.100.2");
        assert_eq!(of("::1", &["198.51.100.1", "198.51.100.3"]), "198.51.100.3");
        assert_eq!(of("127.0.0.1", &["nobody"]), "127.0.0.1");
        assert_eq!(of("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn an_ipv6_subscriber_is_one_peer_and_a_mapped_address_is_its_ipv4_address() {
        assert_eq!(of("2001:db8:1:2:3:4:5:6", &[]), of("2001:db8:1:2::9", &[]));
        assert_ne!(of("2001:db8:1:2::9", &[]), of("2001:db8:1:3::9", &[]));
        assert_eq!(of("::ffff:203.0.113.7", &[]), "203.0.113.7");
    }
}
