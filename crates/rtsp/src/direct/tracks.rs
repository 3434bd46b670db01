//! How the packets of a session travel: on which channels of its connection, or on which ports.

use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use rustix::net::sockopt;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use crate::Transport;

use super::setup::{SetupError, transport_of};

/// What the kernel is asked to keep of a camera's datagrams while nobody reads.
const KEPT_BYTES: usize = 4 << 20;
/// Attempts to find two ports side by side.
const PORT_ATTEMPTS: usize = 64;
/// Channels that are asked for: of the video's RTP and, above it, of the sound's.
const VIDEO_CHANNEL: u8 = 0;
const SOUND_CHANNEL: u8 = 2;

/// Whose a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Video,
    /// RTCP of the video.
    VideoControl,
    Sound,
    SoundControl,
}

/// The streams that were set up.
#[derive(Debug)]
pub(super) struct Tracks {
    video: Way,
    sound: Option<Way>,
    /// Of the video's packets, where the camera says it.
    video_ssrc: Option<u32>,
    transport: Transport,
    /// Addresses of this end and of the camera's.
    ends: Option<(IpAddr, IpAddr)>,
}

/// How one stream travels.
#[derive(Debug)]
enum Way {
    /// Channels: RTP's that was asked for, and both that the camera said.
    Interleaved {
        asked: u8,
        given: [u8; 2],
    },
    Datagrams(Ports),
}

#[derive(Debug)]
struct Ports {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// Whose datagrams are taken.
    camera: IpAddr,
    source: Option<IpAddr>,
    /// The camera's ports, where it says them.
    to: Option<[u16; 2]>,
}

impl Tracks {
    pub(super) fn new(transport: Transport, ends: Option<(IpAddr, IpAddr)>) -> Result<Self, SetupError> {
        Ok(Self { video: Way::new(transport, ends, VIDEO_CHANNEL)?, sound: None, video_ssrc: None, transport, ends })
    }

    /// What `SETUP` asks for.
    pub(super) fn video_transport(&self) -> String {
        transport_of(self.transport, self.video.first())
    }

    pub(super) fn sound_transport(&mut self) -> Result<String, SetupError> {
        let way = self.sound.insert(Way::new(self.transport, self.ends, SOUND_CHANNEL)?);
        Ok(transport_of(self.transport, way.first()))
    }

    /// Takes what the camera says of the transport; gives what is odd about it.
    pub(super) fn take_video(&mut self, answered: &str) -> Option<&'static str> {
        let ssrc = answered.split([';', ',']).find_map(|part| part.trim().strip_prefix("ssrc="));
        self.video_ssrc = ssrc.and_then(|ssrc| u32::from_str_radix(ssrc.trim(), 16).ok());
        self.video.take(answered)
    }

    /// The SSRC that the answer to SETUP names.
    pub(super) fn video_ssrc(&self) -> Option<u32> {
        self.video_ssrc
    }

    pub(super) fn take_sound(&mut self, answered: &str) -> Option<&'static str> {
        self.sound.as_mut()?.take(answered)
    }

    pub(super) fn forgo_sound(&mut self) {
        self.sound = None;
    }

    /// Whose packets come on a channel: as the camera said, or else as it was asked for, which some send on instead.
    pub(super) fn role(&self, channel: u8) -> Option<Role> {
        let roles = [
            (Some(&self.video), Role::Video, Role::VideoControl),
            (self.sound.as_ref(), Role::Sound, Role::SoundControl),
        ];
        let find = |pair: fn(&Way) -> Option<[u8; 2]>| {
            roles.iter().find_map(|(way, rtp, rtcp)| match pair((*way)?)? {
                [given, _] if given == channel => Some(*rtp),
                [_, given] if given == channel => Some(*rtcp),
                _ => None,
            })
        };
        find(Way::given).or_else(|| find(Way::asked))
    }

    /// Ready when datagrams came; never where there are none.
    pub(super) async fn datagrams(&self) {
        match &self.video {
            // A socket that fails shows it when it is read.
            Way::Datagrams(ports) => drop(ports.rtp.readable().await),
            Way::Interleaved { .. } => pending().await,
        }
    }

    /// The next datagram of the camera's, into `buffer`.
    pub(super) fn poll_datagram(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<std::io::Result<(Role, usize)>> {
        let ways = [
            (Some(&self.video), Role::Video, Role::VideoControl),
            (self.sound.as_ref(), Role::Sound, Role::SoundControl),
        ];
        for (way, rtp, rtcp) in ways {
            let Some(Way::Datagrams(ports)) = way else { continue };
            for (socket, role) in [(&ports.rtp, rtp), (&ports.rtcp, rtcp)] {
                let mut room = ReadBuf::new(buffer);
                while let Poll::Ready(from) = socket.poll_recv_from(cx, &mut room) {
                    let from = from?.ip();
                    if from == ports.camera || Some(from) == ports.source {
                        return Poll::Ready(Ok((role, room.filled().len())));
                    }
                    room.clear();
                }
            }
        }
        Poll::Pending
    }

    /// Hands what is to be sent as RTCP of each stream to the camera: the channel for what goes over the connection.
    pub(super) fn send_reports(&self, report: &[u8], mut interleaved: impl FnMut(u8)) {
        for way in [Some(&self.video), self.sound.as_ref()].into_iter().flatten() {
            match way {
                Way::Interleaved { given: [_, rtcp], .. } => interleaved(*rtcp),
                Way::Datagrams(ports) => ports.report(report),
            }
        }
    }
}

impl Way {
    fn new(transport: Transport, ends: Option<(IpAddr, IpAddr)>, channel: u8) -> Result<Self, SetupError> {
        match (transport, ends) {
            (Transport::Tcp, _) => Ok(Self::Interleaved { asked: channel, given: [channel, channel + 1] }),
            (Transport::Udp, Some((own, camera))) => {
                let (rtp, rtcp) = side_by_side(own).map_err(SetupError::Ports)?;
                Ok(Self::Datagrams(Ports { rtp, rtcp, camera, source: None, to: None }))
            }
            (Transport::Udp, None) => Err(SetupError::Ports(std::io::ErrorKind::NotConnected.into())),
        }
    }

    /// The number that is asked for.
    fn first(&self) -> u16 {
        match self {
            Self::Interleaved { asked, .. } => u16::from(*asked),
            Self::Datagrams(ports) => ports.rtp.local_addr().map_or(0, |address| address.port()),
        }
    }

    fn given(&self) -> Option<[u8; 2]> {
        match self {
            Self::Interleaved { given, .. } => Some(*given),
            Self::Datagrams(_) => None,
        }
    }

    fn asked(&self) -> Option<[u8; 2]> {
        match self {
            Self::Interleaved { asked, .. } => Some([*asked, *asked + 1]),
            Self::Datagrams(_) => None,
        }
    }

    fn take(&mut self, answered: &str) -> Option<&'static str> {
        let field = |name: &str| {
            answered.split([';', ',']).find_map(|part| {
                let (n, value) = part.split_once('=')?;
                n.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
            })
        };
        match self {
            Self::Interleaved { given, .. } => match field("interleaved").and_then(pair::<u8>) {
                Some(said) => *given = said,
                None => return Some("SETUP is answered without channels"),
            },
            Self::Datagrams(ports) => {
                ports.source = field("source").and_then(|source| source.parse().ok());
                ports.to = field("server_port").and_then(pair::<u16>).filter(|[rtp, _]| *rtp > 0);
                ports.open_firewall();
                if ports.to.is_none() {
                    return Some("SETUP is answered without the camera's ports");
                }
            }
        }
        None
    }
}

/// `a-b`, or `a` for it and the next.
fn pair<T: Copy + TryFrom<u16>>(text: &str) -> Option<[T; 2]> {
    let (first, second) = text.split_once('-').unwrap_or((text, ""));
    let first: u16 = first.trim().parse().ok()?;
    let second = second.trim().parse().unwrap_or(first.checked_add(1)?);
    Some([T::try_from(first).ok()?, T::try_from(second).ok()?])
}

impl Ports {
    /// A firewall on the way that keeps state lets datagrams in from where some went to: an RTP packet without payload, which
    /// means nothing to a camera.
    fn open_firewall(&self) {
        let nothing = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        if let Some([rtp, _]) = self.to {
            let _ = self.rtp.try_send_to(&nothing, SocketAddr::new(self.camera, rtp));
        }
    }

    fn report(&self, report: &[u8]) {
        if let Some([_, rtcp]) = self.to {
            // What cannot be sent is lost, as on any network.
            let _ = self.rtcp.try_send_to(report, SocketAddr::new(self.camera, rtcp));
        }
    }
}

/// Sockets of an even port and the next one, for RTP and RTCP (RFC 3550 §11).
fn side_by_side(own: IpAddr) -> std::io::Result<(UdpSocket, UdpSocket)> {
    let bind = |port| {
        let socket = std::net::UdpSocket::bind(SocketAddr::new(own, port))?;
        socket.set_nonblocking(true)?;
        // The kernel gives what it allows.
        let _ = sockopt::set_socket_recv_buffer_size(&socket, KEPT_BYTES);
        UdpSocket::from_std(socket)
    };
    for _ in 0..PORT_ATTEMPTS {
        let rtp = bind(0)?;
        let port = rtp.local_addr()?.port();
        if port % 2 == 0
            && let Ok(rtcp) = bind(port + 1)
        {
            return Ok((rtp, rtcp));
        }
    }
    Err(std::io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(video: &str, sound: &str, roles: &[(u8, Option<Role>)], odd: Option<&'static str>) {
        let mut tracks = Tracks::new(Transport::Tcp, None).expect("channels");
        tracks.sound_transport().expect("channels");
        assert_eq!((tracks.take_video(video), tracks.take_sound(sound)), (odd, None));
        for (channel, role) in roles {
            assert_eq!(tracks.role(*channel), *role, "{channel} after {video}");
        }
    }

    #[test]
    fn packets_come_on_the_channels_that_the_camera_names_or_on_those_that_were_asked_for() {
        use Role::*;
        let sound = "RTP/AVP/TCP;interleaved=2-3";
        let asked = [(0, Some(Video)), (1, Some(VideoControl)), (2, Some(Sound)), (3, Some(SoundControl)), (4, None)];
        check("RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=1", sound, &asked, None);
        check("RTP/AVP/TCP; Interleaved = 0", sound, &asked, None);
        for without in ["RTP/AVP/TCP;unicast", "", "interleaved=x", "interleaved=900-901"] {
            check(without, sound, &asked, Some("SETUP is answered without channels"));
        }
        let moved = [(8, Some(Video)), (9, Some(VideoControl)), (0, Some(Video)), (2, Some(Sound))];
        check("interleaved=8-9", sound, &moved, None);
        // Each stream has the channels that were asked for the other.
        let swapped = [(2, Some(Video)), (3, Some(VideoControl)), (0, Some(Sound)), (1, Some(SoundControl))];
        check("interleaved=2-3", "interleaved=0-1", &swapped, None);
    }
}
