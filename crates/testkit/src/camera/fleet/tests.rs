use std::net::Ipv4Addr;

use super::ring::{Own, Ring};
use super::*;

fn own(camera: u64, sequence: u16) -> Own {
    Own { channel: 2, ssrc: 7, sequence, timestamp: 90_000, mark: camera << 36 | 1 }
}

#[test]
fn a_ring_has_the_bit_rate_and_the_pictures_of_a_camera() {
    let mut ring = Ring::new(4_000_000);
    assert_eq!(ring.len(), 200);
    let sizes: Vec<usize> = (0..ring.len()).map(|i| ring.picture(i, own(0, 0)).0.len()).collect();
    let bits = sizes.iter().sum::<usize>() * 8 / 8;
    assert!((4_000_000..4_200_000).contains(&bits), "{bits} bits a second with what frames them");
    let mean = sizes.iter().sum::<usize>() / sizes.len();
    let large = sizes.iter().filter(|&&size| size > 4 * mean).count();
    assert_eq!(large, 4, "one random access point each two seconds");
}

#[test]
fn packets_are_framed_and_numbered_and_are_no_other_cameras() {
    let mut ring = Ring::new(4_000_000);
    let (bytes, packets) = ring.picture(0, own(1, 65_530));
    let one = bytes.to_vec();
    let other = ring.picture(0, own(2, 65_530)).0.to_vec();
    let mut at = 0;
    for n in 0..packets {
        assert_eq!((one[at], one[at + 1]), (b'$', 2));
        let length = usize::from(u16::from_be_bytes([one[at + 2], one[at + 3]]));
        let sequence = u16::from_be_bytes([one[at + 6], one[at + 7]]);
        assert_eq!(sequence, 65_530u16.wrapping_add(n));
        let marker = one[at + 5] & 0x80 != 0;
        assert_eq!(marker, n + 1 == packets);
        let end = at + 4 + length;
        assert!(n == 0 || one[at..end] != other[at..end], "packet {n} is the same for two cameras");
        at = end;
    }
    assert_eq!(at, one.len());
}

#[tokio::test]
async fn a_session_that_plays_is_counted_picture_by_picture() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let plan = FleetPlan { cameras: 2, bits_per_second: 1_000_000, threads: 1 };
    let fleet = Fleet::start((Ipv4Addr::LOCALHOST, 0).into(), plan).await.expect("it listens");
    let mut socket = tokio::net::TcpStream::connect(fleet.address()).await.expect("it accepts");
    let url = format!("rtsp://{}/1", fleet.address());
    let mut answer = vec![0; 4096];
    for request in [
        format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
        format!("SETUP {url}/track1 RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"),
    ] {
        socket.write_all(request.as_bytes()).await.expect("it reads");
        let n = socket.read(&mut answer).await.expect("it answers");
        assert!(answer[..n].starts_with(b"RTSP/1.0 200"), "{}", String::from_utf8_lossy(&answer[..n]));
    }
    let play = format!("PLAY {url} RTSP/1.0\r\nCSeq: 3\r\n\r\n");
    socket.write_all(play.as_bytes()).await.expect("it reads");
    let mut received = Vec::new();
    while fleet.tallies()[1].pictures < 10 {
        socket.read_buf(&mut received).await.expect("it sends");
    }
    fleet.hush();
    // An answer comes behind the last picture that was begun.
    let teardown = format!("TEARDOWN {url} RTSP/1.0\r\nCSeq: 4\r\n\r\n");
    socket.write_all(teardown.as_bytes()).await.expect("it reads");
    socket.read_to_end(&mut received).await.expect("it ends the session");
    let tally = fleet.tallies()[1];
    let head = received.windows(4).position(|w| w == b"\r\n\r\n").expect("an answer to PLAY") + 4;
    let tail = received.windows(8).rposition(|w| w == b"RTSP/1.0").expect("an answer to TEARDOWN");
    assert_eq!(tail - head, tally.bytes as usize, "what was counted was sent");
    assert_eq!((tally.sessions, tally.left_out), (1, 0));
    assert_eq!(fleet.tallies()[0], FleetTally::default());
}
