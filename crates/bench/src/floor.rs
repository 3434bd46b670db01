//! The floor: what any recorder must do, and nothing else. Sockets are drained each tick, and what they held is
//! appended to a file for each camera.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Failure, Floor};

/// More than a camera sends in a tick.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Drains until it is killed.
pub(super) fn run(args: &Floor) -> Result<(), Failure> {
    let open = |camera: usize| {
        let socket = play(args.address, camera)?;
        let file = File::create(args.dir.join(format!("{camera}.rtp")))?;
        socket.set_nonblocking(true)?;
        Ok((socket, file))
    };
    let opened: std::io::Result<Vec<(TcpStream, File)>> = (0..args.cameras).map(open).collect();
    let mut cameras = opened.map_err(Failure::failed)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        for (socket, file) in &mut cameras {
            drain(socket, file, &mut buffer).map_err(Failure::failed)?;
        }
        wait(Duration::from_millis(args.tick_ms));
    }
}

#[expect(clippy::disallowed_methods, reason = "a process of one thread, which has nothing else to do")]
fn wait(tick: Duration) {
    std::thread::sleep(tick);
}

fn drain(socket: &mut TcpStream, file: &mut File, buffer: &mut [u8]) -> std::io::Result<()> {
    loop {
        match socket.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                file.write_all(&buffer[..n])?;
                if n < buffer.len() {
                    return Ok(());
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

/// Opens a session over TCP (RFC 2326 §10). The last answer may have pictures behind it, which are not counted.
fn play(address: SocketAddr, camera: usize) -> std::io::Result<TcpStream> {
    let mut socket = TcpStream::connect(address)?;
    let url = format!("rtsp://{address}/{camera}");
    let steps = [
        format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
        format!("SETUP {url}/track1 RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"),
        format!("PLAY {url} RTSP/1.0\r\nCSeq: 3\r\n\r\n"),
    ];
    let mut answer = vec![0; 4096];
    for step in steps {
        socket.write_all(step.as_bytes())?;
        let n = socket.read(&mut answer)?;
        if !answer[..n].starts_with(b"RTSP/1.0 200") {
            return Err(std::io::Error::other("the fleet refused a session"));
        }
    }
    Ok(socket)
}
