//! The floors: what any recorder must do, and nothing else. Sockets are drained each tick into memory; what they held is
//! appended to a file for each camera, and made durable by one flush of the file system, as often as the gateway does.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use footage::platform::{self, BLOCK_BYTES, Writing};

use tokio::time::Instant;

use super::{Failure, Floor};

/// Memory for each camera: far more than it sends from one flush to the next. Only what is used takes any.
const BUFFER_BYTES: usize = 8 << 20;
/// Blocks are set aside for so much of a file at a time.
const RESERVED_BYTES: u64 = 4 << 20;

/// One camera's socket and file, and what is not in the file yet.
struct Drained {
    socket: TcpStream,
    file: File,
    memory: Vec<u8>,
    /// Where aligned memory begins.
    from: usize,
    len: usize,
    /// Where that lies in the file.
    at: u64,
    reserved: u64,
}

/// Drains until it is killed.
pub(super) fn run(args: &Floor) -> Result<(), Failure> {
    let folder = File::open(&args.dir).map_err(Failure::failed)?;
    let writing = args.writing.into();
    let opened: std::io::Result<Vec<Drained>> = (0..args.cameras).map(|camera| open(args, camera, writing)).collect();
    let mut cameras = opened.map_err(Failure::failed)?;
    let mut flushed = Instant::now();
    loop {
        for camera in &mut cameras {
            camera.drain().map_err(Failure::failed)?;
        }
        if flushed.elapsed() >= Duration::from_millis(args.durability_ms) / 2 {
            flushed = Instant::now();
            cameras.iter_mut().try_for_each(|camera| camera.write(writing)).map_err(Failure::failed)?;
            platform::sync_disk(&folder).map_err(Failure::failed)?;
        }
        wait(Duration::from_millis(args.tick_ms));
    }
}

#[expect(clippy::disallowed_methods, reason = "a process of one thread, which has nothing else to do")]
fn wait(tick: Duration) {
    std::thread::sleep(tick);
}

fn open(args: &Floor, camera: usize, writing: Writing) -> std::io::Result<Drained> {
    let socket = play(args.address, camera)?;
    socket.set_nonblocking(true)?;
    let file = platform::create_new(&args.dir.join(format!("{camera}.rtp")))?;
    platform::set_direct(&file, writing == Writing::Direct)?;
    let memory = vec![0; BUFFER_BYTES + BLOCK_BYTES];
    let from = memory.as_ptr().align_offset(BLOCK_BYTES);
    Ok(Drained { socket, file, memory, from, len: 0, at: 0, reserved: 0 })
}

impl Drained {
    fn drain(&mut self) -> std::io::Result<()> {
        let room = &mut self.memory[self.from..self.from + BUFFER_BYTES];
        while self.len < room.len() {
            match self.socket.read(&mut room[self.len..]) {
                Ok(0) => return Ok(()),
                Ok(n) => self.len += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Whole blocks; the last one is kept, and written again with what follows.
    fn write(&mut self, writing: Writing) -> std::io::Result<()> {
        let whole = self.len.next_multiple_of(BLOCK_BYTES);
        let end = self.at + whole as u64;
        if self.reserved < end {
            let bytes = RESERVED_BYTES.max(whole as u64);
            platform::reserve(&self.file, self.at, bytes);
            self.reserved = self.at + bytes;
        }
        let memory = &mut self.memory[self.from..];
        memory[self.len..whole].fill(0);
        let mut done = 0;
        while done < whole {
            done +=
                platform::write_at(&self.file, &[IoSlice::new(&memory[done..whole])], self.at + done as u64, writing)?;
        }
        let kept = self.len / BLOCK_BYTES * BLOCK_BYTES;
        memory.copy_within(kept..self.len, 0);
        (self.at, self.len) = (self.at + kept as u64, self.len - kept);
        Ok(())
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
