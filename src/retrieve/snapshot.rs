//! One picture at an instant, as JPEG: decoded by ffmpeg in a process of its own.
//!
//! What is decoded is the clip of that one picture, so that a snapshot and a clip agree on which picture is shown when.
//! The process is bounded in time and in what it may give back, and ends with the request that wanted it. A few run at
//! once; further requests wait their turn, and their wait counts as decoding time.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use rustix::fs::{Access, access};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Semaphore;

use super::mp4::Clip;
use super::{Footage, RetrieveError};
use footage::units::{CameraKey, Ticks90k, TimeRange, WallTime};

/// The program that decodes, found in `PATH`.
const DECODER: &str = "ffmpeg";
/// Decoders at once, over all cameras.
static DECODERS: Semaphore = Semaphore::const_new(2);
/// From the request to the picture, the wait for a decoder included.
const TIME_MAX: Duration = Duration::from_secs(20);
/// Largest picture: several times what 8K at the best quality takes.
const JPEG_BYTES_MAX: u64 = 64 << 20;
/// Largest picture that a decoder is started for: 8K has 33 million. A decoder's memory grows with the picture.
const PIXELS_MAX: u64 = 40_000_000;
/// What is kept of a decoder's complaints.
const STDERR_BYTES_MAX: u64 = 4 << 10;

/// A picture.
#[derive(Debug)]
pub struct Snapshot {
    /// JFIF bytes.
    pub jpeg: Bytes,
    /// When the picture was filmed: at or before the instant asked for.
    pub at: WallTime,
}

/// The picture that was shown at `at`.
///
/// # Errors
/// [`RetrieveError::NoFootage`] when none was, [`RetrieveError::Decoder`] when ffmpeg is missing, fails, or takes too
/// long.
pub async fn snapshot(footage: &Footage, camera: &CameraKey, at: WallTime) -> Result<Snapshot, RetrieveError> {
    let instant = TimeRange::new(at, at.saturating_add(Ticks90k(1)))
        .ok_or_else(|| RetrieveError::Invalid(format!("{at} is out of range")))?;
    let clip = Clip::still(footage, camera, instant).await?;
    decodable(clip.picture_size())?;
    let jpeg = tokio::time::timeout(TIME_MAX, async {
        let _turn = DECODERS.acquire().await.map_err(|e| RetrieveError::Decoder(e.to_string()))?;
        decode(&clip).await
    })
    .await
    .map_err(|_| RetrieveError::Decoder(format!("no picture within {} s", TIME_MAX.as_secs())))??;
    Ok(Snapshot { jpeg, at: clip.covers().start() })
}

/// What the container says of the picture. ffmpeg has the same bound for what the stream says.
fn decodable((width, height): (u16, u16)) -> Result<(), RetrieveError> {
    match u64::from(width) * u64::from(height) > PIXELS_MAX {
        true => Err(RetrieveError::PictureTooLarge { width, height }),
        false => Ok(()),
    }
}

/// What is missing for snapshots, and what to do about it; nothing where the decoder is in `PATH`.
pub fn missing_decoder() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let executable = |file: &Path| file.is_file() && access(file, Access::EXEC_OK).is_ok();
    let installed = std::env::split_paths(&path).any(|dir| executable(&dir.join(DECODER)));
    (!installed).then(|| not_installed(DECODER))
}

fn not_installed(program: &str) -> String {
    format!("{program} is not installed: snapshots need it (Debian: apt install ffmpeg)")
}

/// The first picture that the clip shows.
async fn decode(clip: &std::sync::Arc<Clip>) -> Result<Bytes, RetrieveError> {
    let mut child = spawn(DECODER)?;
    let (stdin, stdout, stderr) = pipes(&mut child)?;
    let (fed, jpeg, complaint) =
        tokio::join!(feed(clip, stdin), read_bounded(stdout, JPEG_BYTES_MAX), read_bounded(stderr, STDERR_BYTES_MAX));
    fed?;
    let failed = |what: String| RetrieveError::Decoder(what);
    let (jpeg, complaint) = (jpeg.map_err(|e| failed(e.to_string()))?, complaint.unwrap_or_default());
    let status = child.wait().await.map_err(|e| failed(e.to_string()))?;
    let complaint = String::from_utf8_lossy(&complaint);
    if jpeg.len() as u64 > JPEG_BYTES_MAX {
        return Err(failed(format!("the picture is larger than {JPEG_BYTES_MAX} bytes")));
    }
    if !status.success() || jpeg.is_empty() {
        return Err(failed(format!("ffmpeg gave no picture ({status}): {}", complaint.trim())));
    }
    Ok(jpeg.into())
}

fn spawn(program: &str) -> Result<Child, RetrieveError> {
    let to_file = ["-frames:v", "1", "-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p", "-f", "mjpeg", "pipe:1"];
    Command::new(program)
        .args(["-hide_banner", "-loglevel", "error", "-threads", "1", "-protocol_whitelist", "pipe"])
        .args(["-max_pixels", &PIXELS_MAX.to_string(), "-f", "mov", "-i", "pipe:0", "-map", "0:v:0"])
        .args(to_file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => RetrieveError::Decoder(not_installed(program)),
            _ => RetrieveError::Decoder(format!("{program} does not start: {e}")),
        })
}

type Pipes = (ChildStdin, tokio::process::ChildStdout, tokio::process::ChildStderr);

fn pipes(child: &mut Child) -> Result<Pipes, RetrieveError> {
    let taken = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = taken else {
        return Err(RetrieveError::Decoder("the decoder has no pipes".to_owned()));
    };
    Ok((stdin, stdout, stderr))
}

/// Writes the clip. A decoder that has its picture closes the pipe before the end, which is no error.
async fn feed(clip: &std::sync::Arc<Clip>, mut stdin: ChildStdin) -> Result<(), RetrieveError> {
    let mut body = clip.body(0..clip.len());
    while let Some(bytes) = body.next().await {
        if stdin.write_all(&bytes?).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Up to one byte more than `bytes_max`, so that the caller sees an excess. The rest is read and thrown away, lest the
/// writer wait for ever.
async fn read_bounded(mut from: impl AsyncRead + Unpin, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&mut from).take(bytes_max + 1).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_decoder_says_what_to_install() {
        let err = spawn("no-such-decoder").expect_err("is not there");
        assert!(err.to_string().contains("apt install ffmpeg"), "{err}");
    }

    #[test]
    fn no_decoder_is_started_for_a_picture_beyond_8k() {
        let check = |size: (u16, u16), want: bool| assert_eq!(decodable(size).is_ok(), want, "{size:?}");
        check((640, 480), true);
        check((7_680, 4_320), true);
        check((16_384, 16_384), false);
        check((u16::MAX, u16::MAX), false);
    }

    #[tokio::test]
    async fn an_excess_is_seen_and_not_kept() {
        let bytes = read_bounded(&[7u8; 100][..], 10).await.expect("in memory");
        assert_eq!(bytes.len(), 11);
        let bytes = read_bounded(&[7u8; 10][..], 10).await.expect("in memory");
        assert_eq!(bytes.len(), 10);
    }
}
