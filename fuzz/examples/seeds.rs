//! Writes `fuzz/seeds`: what the simulated camera sends of two short films, each of its quirks, and packs of the same.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds`, where ffmpeg has libx264 and libx265. The seeds are
//! committed: this is run again when a target reads its input in another way.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use footage::clock::Reading;
use footage::fuzzing::key;
use footage::media::{Fragment, Gap, GapCause, Params, Sample, VideoCodec, VideoParams};
use footage::pack::writer::{PackWriter, trailing_table};
use footage::pack::{PackHeader, Stamp};
use footage::units::{PackId, RunId, TICKS_PER_SECOND, Ticks90k, WallTime};
use testkit::camera::{Codec, ElementaryStream, Quirk, Server, SimulatedCamera};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of a session that are a seed: the answers, and some pictures.
const SESSION_BYTES: usize = 6_000;
/// Images a second, of which 30 are filmed.
const RATE: u32 = 100;

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(write_all())
}

async fn write_all() -> std::io::Result<()> {
    for (codec, name, choice) in [(Codec::H264, "h264", 0), (Codec::H265, "h265", 1)] {
        let film = film(codec)?;
        for quirk in [Quirk::None].into_iter().chain(Quirk::ALL) {
            let name = format!("{name}-{quirk:?}").to_lowercase();
            let session = session(&film, quirk).await?;
            let (answers, packets) = session.split_at(first_packet(&session));
            if quirk == Quirk::None {
                seed("messages", &name, &[&[choice], &session[..]].concat())?;
                let body = answers.windows(4).position(|w| w == b"v=0\r").expect("a description");
                let description = &answers[body..];
                let end = description.windows(5).position(|w| w == b"RTSP/").expect("the next answer");
                seed("description", &name, &description[..end])?;
            }
            if codec == Codec::H264 || quirk == Quirk::None {
                seed("packets", &name, &[&[choice], packets].concat())?;
            }
        }
        let sets: Vec<u8> = film.parameter_sets.iter().flat_map(|set| sized(set)).collect();
        seed("parameter_sets", name, &[&[choice][..], &sets].concat())?;
        seed("units", name, &[&[choice][..], &units(&film)].concat())?;
        packs(&film, name)?;
    }
    Ok(())
}

fn seed(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(name), bytes)
}

/// A test pattern, small enough that a few pictures are a seed.
fn film(codec: Codec) -> std::io::Result<Arc<ElementaryStream>> {
    let (coder, muxer) = if codec == Codec::H264 { ("libx264", "h264") } else { ("libx265", "hevc") };
    let source = format!("testsrc=size=96x64:rate={RATE}");
    let out = Command::new("ffmpeg")
        .args(["-loglevel", "error", "-f", "lavfi", "-i", &source, "-frames:v", "30", "-pix_fmt", "yuv420p"])
        .args(["-c:v", coder, "-g", "10", "-bf", "0", "-x265-params", "log-level=error:info=0", "-f", muxer, "-"])
        .output()?;
    let stream = ElementaryStream::parse(&out.stdout, codec, RATE).map_err(std::io::Error::other)?;
    Ok(Arc::new(stream))
}

/// What a client is sent that asks for a description, sets it up and plays it.
async fn session(film: &Arc<ElementaryStream>, quirk: Quirk) -> std::io::Result<Vec<u8>> {
    let camera = SimulatedCamera { quirk, ..SimulatedCamera::new("c", film.clone()) };
    let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), vec![camera]).await?;
    let url = server.url("c");
    let port = url.port().expect("a port of its own");
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let mut received = Vec::new();
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    for (method, header) in [("OPTIONS", ""), ("DESCRIBE", ""), ("SETUP", transport), ("PLAY", "")] {
        let (request, before) =
            (format!("{method} {url} RTSP/1.0\r\nCSeq: 1\r\nSession: 1\r\n{header}\r\n"), received.len());
        connection.write_all(request.as_bytes()).await?;
        while received.len() == before {
            connection.read_buf(&mut received).await?;
        }
    }
    while received.len() < SESSION_BYTES {
        connection.read_buf(&mut received).await?;
    }
    received.truncate(SESSION_BYTES);
    Ok(received)
}

fn first_packet(session: &[u8]) -> usize {
    let is_rtp = |window: &[u8]| matches!(window, [b'$', 0, _, _, 0x80..=0xbf]);
    session.windows(5).position(is_rtp).expect("a packet")
}

/// After its length in one byte, as far as that goes.
fn sized(unit: &[u8]) -> Vec<u8> {
    let unit = &unit[..unit.len().min(255)];
    [&[unit.len() as u8], unit].concat()
}

/// Each unit with its options: a marker at the end of each picture, every other picture in fragments.
fn units(film: &ElementaryStream) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, picture) in film.units.iter().take(12).enumerate() {
        let units: Vec<&Bytes> = picture.parameter_sets.iter().chain(&picture.nals).collect();
        for (place, unit) in units.iter().enumerate() {
            let (first, last) = (place == 0, place + 1 == units.len());
            let parts = if n % 2 == 1 { 0x50 } else { 0 };
            out.push(u8::from(first) | u8::from(last) << 1 | parts);
            out.extend(sized(unit));
        }
    }
    out
}

/// A pack of four pictures, with its checks as they are and to be set right, and its fragment table.
fn packs(film: &ElementaryStream, name: &str) -> std::io::Result<()> {
    let sample_entry = Bytes::from_static(b"\0\0\0\x0cavc3\x01\x02\x03\x04");
    let codec = if film.codec == Codec::H264 { VideoCodec::H264 } else { VideoCodec::H265 };
    let video = VideoParams { codec, width: 96, height: 64, sample_entry, rfc6381: "avc3.42C00D".to_owned() };
    let params = Arc::new(Params { video, audio: None });
    let header = PackHeader {
        pack: PackId([3; 16]),
        camera: "town/hall".parse().expect("a camera key"),
        run: RunId([4; 16]),
        params: params.clone(),
        hold: None,
    };
    let path: PathBuf = std::env::temp_dir().join(format!("vigie-seeds-{}.mp4", std::process::id()));
    let mut writer = PackWriter::create(&path, header, key()).map_err(std::io::Error::other)?;
    for n in 0..2 {
        let (fragment, stamp) = fragment(film, &params, n);
        writer.append(&fragment, stamp).map_err(std::io::Error::other)?;
    }
    let (table, _) = writer.finish().map_err(std::io::Error::other)?;
    let bytes = std::fs::read(&path)?;
    std::fs::remove_file(&path)?;
    seed("pack", &format!("{name}-as-it-is"), &[&[0], &bytes[..]].concat())?;
    seed("pack", &format!("{name}-set-right"), &[&[1], &bytes[..]].concat())?;
    // Without the box around its content: see `fragment_table`.
    let boxed = trailing_table(&table);
    let before = (table.file_end() as u32).to_be_bytes();
    seed("fragment_table", name, &[&before, &boxed[24..boxed.len() - 32]].concat())
}

/// Two pictures.
fn fragment(film: &ElementaryStream, params: &Arc<Params>, n: i64) -> (Fragment, Stamp) {
    let received = Reading { wall: WallTime(0), mono: Duration::ZERO };
    let pictures = film.units.iter().skip(2 * n as usize).take(2);
    let data: Vec<Bytes> = pictures.map(|unit| unit.nals.iter().flat_map(|nal| sized(nal)).collect()).collect();
    let sample = |data: &Bytes| Sample { size: data.len() as u32, duration: 900, composition_offset: 0 };
    let start = WallTime((1_772_000_000 + n) * TICKS_PER_SECOND);
    let gap = Gap { start: WallTime(start.0 - 900), end: start, cause: GapCause::PacketLoss, lost_packets: 7 };
    let fragment = Fragment {
        params: params.clone(),
        decode_time: Ticks90k(n * 1_800),
        duration: Ticks90k(1_800),
        random_access: n == 0,
        audio_decode_time: 0,
        video: data.iter().map(sample).collect(),
        audio: Vec::new(),
        payload: data.into_iter().collect(),
        first_timestamp: 0,
        first_received: received,
        last_received: received,
        followed: true,
        arrivals: Vec::new(),
        losses: Vec::new(),
    };
    let gaps = if n == 1 { vec![gap] } else { Vec::new() };
    (fragment, Stamp { wall_start: start, wall_duration: Ticks90k(1_800), camera_time: Some(start), gaps })
}
