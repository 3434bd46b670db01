//! A fleet of simulated cameras for load: hundreds of sessions from a thread, packets built once and patched in place.
//!
//! What its cameras send has the sizes of a 1080p camera's pictures (H.264, a random access point every two seconds
//! and eight times as large as what lies between) and no content: behind each slice's first bytes lie random ones, and
//! each packet carries bytes of its own camera and picture, so that nothing deduplicates or compresses by accident.
//!
//! Invariant: a picture is sent whole or not at all. One that is due while a second of video is still unsent, because
//! the receiver does not read, is left out and counted: a recorder that cannot follow loses it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;

use super::session::{Handover, until_playing};
use super::{Codec, ElementaryStream, SimulatedCamera};
use sender::Sender;

mod ring;
mod sender;

/// Pictures a second.
pub const IMAGES_PER_SECOND: u32 = 25;

/// Sessions that wait to be taken over by a sending thread; past it, an answer to PLAY is followed a little later by
/// pictures.
const HANDOVERS_MAX: usize = 1_024;

/// What a fleet is like.
#[derive(Clone, Copy, Debug)]
pub struct FleetPlan {
    /// How many cameras there are: their paths are `0`, `1`, ….
    pub cameras: usize,
    /// Video of each, in bits a second.
    pub bits_per_second: u64,
    /// Threads that send.
    pub threads: usize,
}

/// What a camera sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FleetTally {
    /// Sessions that were played.
    pub sessions: u64,
    /// Pictures sent whole.
    pub pictures: u64,
    /// Pictures left out because the receiver did not read.
    pub left_out: u64,
    /// Bytes of RTP and RTCP packets with what frames them.
    pub bytes: u64,
}

/// A fleet that runs.
#[derive(Debug)]
pub struct Fleet {
    address: SocketAddr,
    shared: Arc<FleetState>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// What the sending threads tell.
#[derive(Debug)]
struct FleetState {
    tallies: Vec<Mutex<FleetTally>>,
    playing: AtomicU64,
    bytes: AtomicU64,
    /// The most that a picture was sent after it was due, in microseconds.
    late_micros_max: AtomicU64,
    quiet: AtomicBool,
    end: AtomicBool,
}

impl Fleet {
    /// Serves the fleet on this address; port 0 takes any that is free.
    pub async fn start(listen: SocketAddr, plan: FleetPlan) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(FleetState {
            tallies: (0..plan.cameras).map(|_| Mutex::default()).collect(),
            playing: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            late_micros_max: AtomicU64::new(0),
            quiet: AtomicBool::new(false),
            end: AtomicBool::new(false),
        });
        let start = |n: usize| {
            let (handovers, inbox) = mpsc::sync_channel(HANDOVERS_MAX);
            let sender = Sender::new(plan, shared.clone(), inbox);
            let thread = thread::Builder::new().name(format!("fleet-{n}")).spawn(move || sender.run())?;
            Ok((handovers, thread))
        };
        let started: std::io::Result<Vec<_>> = (0..plan.threads.max(1)).map(start).collect();
        let (handovers, threads): (Vec<_>, Vec<_>) = started?.into_iter().unzip();
        tokio::spawn(accept(listener, plan.cameras, handovers));
        Ok(Self { address, shared, threads })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sessions that play now.
    pub fn playing(&self) -> u64 {
        self.shared.playing.load(Ordering::Relaxed)
    }

    /// Bytes sent so far.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// The most that a picture was sent after it was due: much more than a few milliseconds says that the machine is
    /// too slow for the fleet itself.
    pub fn late_max(&self) -> Duration {
        Duration::from_micros(self.shared.late_micros_max.load(Ordering::Relaxed))
    }

    /// From now on nothing is sent but answers; what was begun is finished.
    pub fn hush(&self) {
        self.shared.quiet.store(true, Ordering::Relaxed);
    }

    /// What each camera sent so far.
    pub fn tallies(&self) -> Vec<FleetTally> {
        self.shared.tallies.iter().map(|tally| *tally.lock()).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that ended badly has sent what it has sent.
            let _ = thread.join();
        }
    }
}

/// The film that describes every camera: one picture, whose parameter sets are those of 1920×1080.
fn film() -> Arc<ElementaryStream> {
    let stream = ElementaryStream {
        codec: Codec::H264,
        parameter_sets: Arc::new([Bytes::from_static(ring::SPS), Bytes::from_static(ring::PPS)]),
        units: Vec::new(),
        frame_ticks: 90_000 / IMAGES_PER_SECOND,
    };
    Arc::new(stream)
}

async fn accept(listener: TcpListener, cameras: usize, senders: Vec<mpsc::SyncSender<Handover>>) {
    let film = film();
    let live = |n: usize| {
        let path = n.to_string();
        (path.clone(), Arc::new(super::Live::new(SimulatedCamera::new(&path, film.clone()))))
    };
    let cameras: Arc<HashMap<_, _>> = Arc::new((0..cameras).map(live).collect());
    let mut next = 0;
    loop {
        let Ok((connection, _)) = listener.accept().await else {
            // Out of file descriptors, most often: sessions that end give some back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (cameras, sender) = (cameras.clone(), senders[next % senders.len()].clone());
        next += 1;
        tokio::spawn(async move {
            if let Some(handover) = until_playing(connection, cameras).await {
                // Without room the session is closed, and its client tries again.
                let _ = sender.try_send(handover);
            }
        });
    }
}

#[cfg(test)]
mod tests;
