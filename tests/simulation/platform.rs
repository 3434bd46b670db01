//! The machine of a simulation: counts what is done on it, fails as its plan says, and stops at a chosen call.

use std::fs::File;
use std::future::pending;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use footage::platform::{BLOCK_BYTES, FileOp, Platform, Writing};
use futures::FutureExt;
use futures::future::BoxFuture;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use tokio::time::{Duration, sleep};

use crate::disk::Disk;
use crate::sqlite::Log;
use crate::trace::Trace;

/// How likely each fault is, in parts of a million calls, at this time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlatformFaults {
    /// A change to a file is refused.
    pub(crate) file_error: u32,
    /// A flush fails, and what it should have written may be gone.
    pub(crate) flush_error: u32,
    /// A write takes a part only.
    pub(crate) short_write: u32,
    /// A write past the page cache is refused.
    pub(crate) no_direct: u32,
    /// Bytes that may still be written on the disk.
    pub(crate) disk_room: Option<u64>,
    /// Work in a thread begins late, ends late.
    pub(crate) late_work: u32,
    /// Work in a thread panics, before it is done; a commit to the index, after it too.
    pub(crate) broken_work: u32,
    /// The store answers with an error, and has done nothing.
    pub(crate) store_error: u32,
    /// The store answers with an error, and has done it.
    pub(crate) store_error_after: u32,
    /// The store takes its time.
    pub(crate) store_slow: u32,
    /// And then it takes so many times longer.
    pub(crate) store_slower: u32,
    /// The store hands out or takes in a part only.
    pub(crate) store_cut: u32,
    /// The store shows what was, in a list.
    pub(crate) store_lags: u32,
}

#[derive(Debug)]
struct Inner {
    disk: Disk,
    log: Log,
    trace: Trace,
    faults: PlatformFaults,
    room_from: u64,
    random: SmallRng,
    chance: SmallRng,
    /// Calls left until it stops.
    calls_left: u64,
    dead: bool,
    /// Nothing is counted and nothing fails: somebody looks on.
    observed: bool,
    /// Who goes on at each step, where the plan leaves that to the seed.
    order: Option<SmallRng>,
    /// What a look between two steps found wrong.
    wrong: Option<String>,
    /// One step in so many is followed by a look; 0: none.
    looks: u32,
    /// How the disk is written.
    writing: Writing,
}

/// Looks at everything that can be seen from outside, between two steps.
pub(crate) type Look = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct SimPlatform(Arc<(Mutex<Inner>, Notify, OnceLock<Look>)>);

impl std::fmt::Debug for SimPlatform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimMachine")
    }
}

/// False once in so many times.
fn inner_draws(order: &mut SmallRng, looks: u32) -> bool {
    order.random_range(0..looks) > 0
}

fn off() -> io::Error {
    io::Error::other("the machine is off")
}

fn happens(random: &mut SmallRng, parts_in_a_million: u32) -> bool {
    parts_in_a_million > 0 && random.random_range(0..1_000_000) < parts_in_a_million
}

impl Inner {
    /// One call; false when the machine stops here.
    fn call(&mut self) -> bool {
        if self.observed {
            return true;
        }
        if self.dead {
            return false;
        }
        self.calls_left = self.calls_left.saturating_sub(1);
        if self.calls_left > 0 {
            return true;
        }
        self.dead = true;
        self.log.remember();
        self.trace.note("the machine stops", b"", 0);
        false
    }
}

impl SimPlatform {
    pub(crate) fn new(seed: u64, roots: Vec<PathBuf>, index: PathBuf, trace: Trace) -> Self {
        let inner = Inner {
            disk: Disk::new(roots),
            log: Log::new(index),
            trace,
            faults: PlatformFaults::default(),
            room_from: 0,
            random: SmallRng::seed_from_u64(seed ^ 0x6d61_6368),
            chance: SmallRng::seed_from_u64(seed ^ 0x6c6f_7473),
            calls_left: u64::MAX,
            dead: false,
            observed: false,
            order: None,
            wrong: None,
            looks: 0,
            writing: if seed.is_multiple_of(4) { Writing::Buffered } else { Writing::Direct },
        };
        Self(Arc::new((Mutex::new(inner), Notify::new(), OnceLock::new())))
    }

    /// From now on the seed decides who goes on at each step, and one step in `looks` is followed by a look.
    pub(crate) fn in_any_order(&self, seed: u64, looks: u32, look: Look) {
        let mut inner = self.inner();
        (inner.order, inner.looks) = (Some(SmallRng::seed_from_u64(seed ^ 0x006f_7264_6572)), looks);
        drop(self.0.2.set(look));
    }

    /// Something is to fail at this time, or has failed a moment ago.
    pub(crate) fn fails(&self) -> bool {
        let inner = self.inner();
        inner.dead || inner.faults != PlatformFaults::default()
    }

    /// What was found wrong between two steps.
    pub(crate) fn wrong(&self) -> Option<String> {
        self.inner().wrong.clone()
    }

    /// Something is wrong: the machine stops, so that it is seen where it happened.
    pub(crate) fn is_wrong(&self, what: String) {
        let mut inner = self.inner();
        inner.trace.note("wrong", what.as_bytes(), 0);
        inner.wrong.get_or_insert(what);
        drop(inner);
        self.stop();
        self.report(false);
    }

    /// Everything that is shown must be right between any two steps.
    fn look_between(&self) {
        let mut inner = self.inner();
        let looks = inner.looks;
        let Some(order) = inner.order.as_mut().filter(|_| looks > 0) else { return };
        if inner_draws(order, looks) || inner.observed || inner.dead {
            return;
        }
        inner.observed = true;
        drop(inner);
        // In a thread of its own, which nothing is simulated for: no task of this one goes on meanwhile.
        let looked = self.0.2.get().cloned().map(|look| std::thread::spawn(move || look()).join());
        self.inner().observed = false;
        match looked {
            Some(Ok(Err(what))) => self.is_wrong(what),
            Some(Err(_)) => self.is_wrong("a look between two steps panicked".to_owned()),
            Some(Ok(Ok(()))) | None => {}
        }
    }

    /// Lets others go on, as many times as the seed says: most often none, now and then so many that they get far.
    async fn pass(&self) {
        let turns = {
            let mut inner = self.inner();
            if inner.observed || inner.dead {
                return;
            }
            let Some(order) = inner.order.as_mut() else { return };
            match order.random_range(0..16) {
                0..8 => 0,
                8..14 => order.random_range(1..4),
                14 => order.random_range(4..30),
                _ => order.random_range(30..200),
            }
        };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs, until so many calls were made.
    pub(crate) fn power_on(&self, calls: u64) {
        let mut inner = self.inner();
        (inner.calls_left, inner.dead, inner.observed) = (calls, false, false);
    }

    pub(crate) fn is_off(&self) -> bool {
        self.inner().dead
    }

    /// While somebody looks on, nothing counts and nothing fails.
    pub(crate) fn observe(&self) {
        self.inner().observed = true;
    }

    /// It stops here, if it has not before.
    pub(crate) fn stop(&self) {
        let mut inner = self.inner();
        inner.calls_left = 1;
        inner.call();
    }

    /// Waits until the machine has stopped.
    pub(crate) async fn stopped(&self) {
        // A permit may be left from the life before.
        while !self.inner().dead {
            self.0.1.notified().await;
        }
    }

    /// The process is gone and the machine goes on: the index is as it was then.
    pub(crate) fn after_kill(&self) {
        self.inner().log.restore();
    }

    /// The power went.
    pub(crate) fn after_power_cut(&self) {
        let mut inner = self.inner();
        let inner = &mut *inner;
        inner.disk.cut_power(&mut inner.random);
        inner.log.cut_power(&mut inner.random);
    }

    pub(crate) fn set_faults(&self, faults: PlatformFaults) {
        let mut inner = self.inner();
        inner.room_from = inner.disk.used();
        inner.faults = faults;
        inner.trace.note("faults", format!("{faults:?}").as_bytes(), 0);
    }

    /// A request goes out, or its answer comes in: others may go on meanwhile.
    pub(crate) async fn on_the_way(&self) {
        self.pass().await;
    }

    /// A call to something beside the disk: false when the machine stops at it.
    pub(crate) fn call(&self, what: &'static str, about: &[u8], number: u64) -> bool {
        let mut inner = self.inner();
        if !inner.observed && !inner.dead {
            inner.trace.note(what, about, number);
        }
        let goes_on = inner.call();
        drop(inner);
        self.report(goes_on);
        if goes_on {
            self.look_between();
        }
        goes_on
    }

    fn report(&self, goes_on: bool) {
        if !goes_on {
            self.0.1.notify_one();
        }
    }

    /// What is to fail now, drawn from the plan; nothing while somebody looks on.
    pub(crate) fn draw_fault(&self, which: impl FnOnce(&PlatformFaults) -> u32) -> bool {
        let mut inner = self.inner();
        let rate = if inner.observed { 0 } else { which(&inner.faults) };
        happens(&mut inner.random, rate)
    }

    /// How long the store takes, if it is slow.
    pub(crate) fn draw_store_delay(&self, slow: Duration) -> Duration {
        let times = self.inner().faults.store_slower.max(1);
        self.draw_delay(slow * times)
    }

    /// Up to so much, in simulated time; mostly little.
    pub(crate) fn draw_delay(&self, most: Duration) -> Duration {
        let share: f64 = self.inner().random.random();
        most.mul_f64(share * share)
    }

    fn check_file(&self, op: &FileOp<'_>) -> io::Result<()> {
        let mut inner = self.inner();
        let inner = &mut *inner;
        if inner.observed {
            return Ok(());
        }
        let fails = match op {
            FileOp::SyncedIndex(_) => false,
            FileOp::WriteAt { writing: Writing::Direct, .. } if happens(&mut inner.random, inner.faults.no_direct) => {
                inner.trace.note("no direct writing", b"", 0);
                return Err(ErrorKind::InvalidInput.into());
            }
            FileOp::Sync(file) => {
                let fails = happens(&mut inner.random, inner.faults.flush_error);
                if fails && inner.random.random_bool(0.5) {
                    inner.disk.lose_dirty_pages(file)?;
                }
                fails
            }
            FileOp::Create(_) | FileOp::CreateFolder(_) if inner.room() == Some(0) => {
                return Err(ErrorKind::StorageFull.into());
            }
            _ => happens(&mut inner.random, inner.faults.file_error),
        };
        if fails {
            inner.trace.note("refused", b"", 0);
            return Err(io::Error::other("the disk failed, as the plan says"));
        }
        Ok(())
    }
}

impl Inner {
    fn room(&self) -> Option<u64> {
        let room = self.faults.disk_room?;
        Some((self.room_from + room).saturating_sub(self.disk.used()))
    }
}

/// Kind, name and number of a change, for the trace.
fn shown<'a>(op: &FileOp<'a>) -> (&'static str, &'a [u8], u64) {
    let name = |path: &'a Path| path.file_name().map_or(&b""[..], |name| name.as_encoded_bytes());
    let bytes = |file: &File| file.metadata().map_or(0, |meta| meta.len());
    match *op {
        FileOp::Create(path) => ("create", name(path), 0),
        FileOp::Write(file) => ("write", b"", bytes(file)),
        FileOp::WriteAt { at, .. } => ("write at", b"", at),
        FileOp::SetLen(_, len) => ("cut", b"", len),
        FileOp::Sync(file) => ("flush", b"", bytes(file)),
        FileOp::SyncFolder(path) => ("flush folder", name(path), 0),
        FileOp::CreateFolder(path) => ("create folder", name(path), 0),
        FileOp::Rename { to, .. } => ("rename", name(to), 0),
        FileOp::Remove(path) => ("remove", name(path), 0),
        FileOp::SyncedIndex(_) => ("flush index", b"", 0),
    }
}

impl Platform for SimPlatform {
    fn before(&self, op: &FileOp<'_>) -> io::Result<()> {
        let (what, about, number) = shown(op);
        if !self.call(what, about, number) {
            return Err(off());
        }
        self.check_file(op)?;
        if let FileOp::WriteAt { at, writing: Writing::Direct, .. } = op {
            assert_eq!(at % BLOCK_BYTES as u64, 0, "a direct write begins with a block");
        }
        self.inner().disk.before(op);
        Ok(())
    }

    fn after(&self, op: &FileOp<'_>) -> io::Result<()> {
        let mut inner = self.inner();
        inner.disk.after(op)?;
        if let FileOp::SyncedIndex(_) = op {
            inner.log.flushed();
        }
        let goes_on = inner.call();
        drop(inner);
        self.report(goes_on);
        if goes_on {
            self.look_between();
            Ok(())
        } else {
            Err(off())
        }
    }

    fn writing(&self) -> Writing {
        self.inner().writing
    }

    fn turn(&self) -> BoxFuture<'static, ()> {
        let this = self.clone();
        async move { this.pass().await }.boxed()
    }

    fn takes(&self, _file: &File, bytes: usize) -> io::Result<usize> {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let mut takes = bytes;
        if let Some(room) = inner.room() {
            takes = takes.min(usize::try_from(room).unwrap_or(usize::MAX));
            if takes == 0 && bytes > 0 {
                inner.trace.note("disk full", b"", 0);
                return Err(ErrorKind::StorageFull.into());
            }
        }
        // The call after the write is the one that the machine stops at: often in the middle of it.
        let stops = inner.calls_left == 1 && inner.random.random_bool(0.5);
        if takes > 1 && (stops || happens(&mut inner.random, inner.faults.short_write)) {
            takes = inner.random.random_range(1..takes);
        }
        inner.disk.writing(takes);
        Ok(takes)
    }

    fn before_work(&self) -> BoxFuture<'static, ()> {
        let this = self.clone();
        async move { this.work("work begins", true).await }.boxed()
    }

    fn after_work(&self) -> BoxFuture<'static, ()> {
        // A commit may be done without an answer; other work that has come to its end does not fail any more.
        let committed = self.inner().log.look();
        let this = self.clone();
        async move { this.work("work ends", committed).await }.boxed()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let inner = self.inner();
        Ok(inner.room().unwrap_or(u64::MAX / 4))
    }

    fn draw(&self) -> u64 {
        self.inner().chance.random()
    }
}

impl SimPlatform {
    async fn work(&self, what: &'static str, may_break: bool) {
        self.pass().await;
        if self.draw_fault(|f| f.late_work) {
            sleep(self.draw_delay(Duration::from_millis(400))).await;
        }
        if !self.call(what, b"", 0) {
            pending::<()>().await;
        }
        if may_break && self.draw_fault(|f| f.broken_work) {
            self.call("work breaks", b"", 0);
            // As a panic does, without its message.
            std::panic::resume_unwind(Box::new("broken, as the plan says"));
        }
    }
}
