//! Operators who watch live: HLS players without a screen, in a process of their own.
//!
//! Each follows one camera as a player does: the playlist each second, each new segment once, in order, over one
//! connection. The process ends when its standard input does, and then says what they saw as one line of JSON.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use footage::clock::{Clock, SystemClock};
use footage::units::{TICKS_PER_SECOND, Ticks90k, WallTime};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Failure;

/// A player asks for the playlist this often.
const PLAYLIST_EVERY: Duration = Duration::from_secs(1);

/// What one or many operators saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) viewers: usize,
    pub(super) segments: u64,
    pub(super) bytes: u64,
    /// Requests that were not answered with what was asked for.
    pub(super) failures: u64,
    /// From the filming of a segment's last picture to its last byte, in milliseconds.
    pub(super) behind_p50_ms: f64,
    pub(super) behind_max_ms: f64,
    #[serde(skip)]
    behind_ms: Vec<f64>,
}

/// The process.
pub(super) async fn run(args: super::Viewers) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let viewers = (0..args.viewers).map(|n| {
        let (stop, camera) = (stop.clone(), n % args.cameras.max(1));
        tokio::spawn(async move { watch(args.address, camera, stop).await })
    });
    let viewers: Vec<_> = viewers.collect();
    let mut nothing = Vec::new();
    tokio::io::stdin().read_to_end(&mut nothing).await.map_err(Failure::failed)?;
    stop.cancel();
    let mut all = Seen { viewers: args.viewers, ..Seen::default() };
    for viewer in viewers {
        let one = viewer.await.map_err(Failure::failed)?;
        all.segments += one.segments;
        all.bytes += one.bytes;
        all.failures += one.failures;
        all.behind_ms.extend(one.behind_ms);
    }
    all.behind_ms.sort_unstable_by(f64::total_cmp);
    all.behind_p50_ms = all.behind_ms.get(all.behind_ms.len() / 2).copied().unwrap_or(0.0);
    all.behind_max_ms = all.behind_ms.last().copied().unwrap_or(0.0);
    super::print(&serde_json::to_string(&all).map_err(Failure::failed)?)
}

/// The process as the benchmark holds it.
pub(super) struct Handle(Child);

impl Handle {
    /// Starts so many operators on a gateway with so many cameras.
    pub(super) fn start(address: &str, viewers: usize, cameras: usize) -> Result<Self, Failure> {
        let child = Command::new(std::env::current_exe().map_err(Failure::failed)?)
            .args(["viewers", "--address", address])
            .args(["--viewers", &viewers.to_string(), "--cameras", &cameras.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Failure::failed)?;
        Ok(Self(child))
    }

    /// Ends it; gives what they saw.
    pub(super) async fn end(mut self) -> Result<Seen, Failure> {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().await.map_err(Failure::failed)?;
        serde_json::from_slice(&output.stdout).map_err(|e| Failure(format!("the viewers did not end well: {e}")))
    }
}

/// Follows a camera until it is stopped.
async fn watch(gateway: SocketAddr, camera: usize, stop: CancellationToken) -> Seen {
    let mut seen = Seen::default();
    let base = format!("/api/cameras/{camera}/hls/");
    let clock = SystemClock::default();
    let mut connection = None;
    let mut after: Option<WallTime> = None;
    let mut tick = interval(PLAYLIST_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let playlist = match get(&mut connection, gateway, &format!("{base}live.m3u8")).await {
            Ok(body) => segments(&String::from_utf8_lossy(&body)),
            Err(_) => {
                seen.failures += 1;
                continue;
            }
        };
        // A player begins at the newest.
        let begin = after.or_else(|| playlist.last().map(|s| WallTime(s.start.0 - 1)));
        for segment in playlist.into_iter().filter(|s| begin.is_none_or(|b| s.start > b)) {
            match get(&mut connection, gateway, &format!("{base}{}", segment.uri)).await {
                Ok(body) => {
                    seen.segments += 1;
                    seen.bytes += body.len() as u64;
                    seen.behind_ms.push(clock.wall().since(segment.end).as_seconds_f64() * 1e3);
                }
                Err(_) => seen.failures += 1,
            }
            after = Some(segment.start);
        }
    }
    seen
}

struct Segment {
    uri: String,
    start: WallTime,
    end: WallTime,
}

/// The segments of a playlist with their wall-clock times (RFC 8216 §4.3.2).
fn segments(playlist: &str) -> Vec<Segment> {
    let (mut at, mut duration, mut segments) = (None, Ticks90k::ZERO, Vec::new());
    for line in playlist.lines() {
        if let Some(time) = line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:") {
            at = time.parse::<WallTime>().ok();
        } else if let Some(seconds) = line.strip_prefix("#EXTINF:") {
            let seconds: f64 = seconds.trim_end_matches(',').parse().unwrap_or(0.0);
            duration = Ticks90k((seconds * TICKS_PER_SECOND as f64) as i64);
        } else if !line.starts_with('#')
            && !line.is_empty()
            && let Some(start) = at
        {
            let end = start.saturating_add(duration);
            segments.push(Segment { uri: line.to_owned(), start, end });
            at = Some(end);
        }
    }
    segments
}

/// One request on a connection that is kept, and opened again after a failure.
async fn get(
    connection: &mut Option<BufReader<TcpStream>>,
    gateway: SocketAddr,
    path: &str,
) -> std::io::Result<Vec<u8>> {
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => BufReader::with_capacity(256 << 10, TcpStream::connect(gateway).await?),
    };
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
    let (mut length, mut line, mut good) = (None, String::new(), false);
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let text = line.trim_end();
        if let Some(status) = text.strip_prefix("HTTP/1.1 ") {
            good = status.starts_with("200");
        } else if let Some((name, value)) = text.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<usize>().ok();
        }
        if text.is_empty() {
            break;
        }
    }
    let Some(length) = length.filter(|_| good) else {
        return Err(std::io::Error::other("not the answer that was asked for"));
    };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    *connection = Some(stream);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_of_a_playlist_have_their_times_from_the_last_date() {
        let playlist = "#EXTM3U\n#EXT-X-MAP:URI=\"aa/init.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-03-01T00:00:00.000Z\n\
                        #EXTINF:1.000000,\naa/0-0.m4s\n#EXTINF:2.500000,\naa/1-3.m4s\n";
        let found = segments(playlist);
        let times: Vec<_> = found.iter().map(|s| (s.uri.as_str(), s.end.since(s.start).0)).collect();
        assert_eq!(times, [("aa/0-0.m4s", 90_000), ("aa/1-3.m4s", 225_000)]);
        assert_eq!(found[0].end, found[1].start);
    }
}
