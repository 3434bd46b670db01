//! One seed: lives of a gateway one after the other, and what is looked at between them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use footage::clock::{Clock, SimClock};
use footage::units::{TICKS_PER_SECOND, Ticks90k, WallTime};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep_until, timeout};
use vigie::archive::PackRef;
use vigie::index::PackRow;

use crate::check::{Shown, View, check_age, check_all, check_between, check_bytes, check_segment_ids, everything};
use crate::gateway::{Gateway, Opened, Site};
use crate::holds::HoldAttempts;
use crate::model::{Model, Sent};
use crate::objects::SimObjects;
use crate::plan::{Ends, HistoryPlan, Life};
use crate::platform::{PlatformFaults, SimPlatform};
use crate::trace::Trace;

/// 1 March 2026, 12:00 UTC.
const START: WallTime = WallTime(1_772_366_400 * TICKS_PER_SECOND);
/// Between two looks at how old footage is.
const LOOK: Duration = Duration::from_secs(3);
/// After so long without a fault, all goes its usual way.
const QUIET: Duration = Duration::from_secs(12);
/// One step in so many is followed by a look, where nobody asks for more.
const LOOKS: u32 = 400;
/// A stop may take this long, whatever fails.
const STOP_MAX: Duration = Duration::from_secs(300);

pub(crate) struct Outcome {
    pub(crate) result: Result<(), String>,
    pub(crate) hash: u64,
    pub(crate) calls: u64,
    pub(crate) shown: Shown,
    pub(crate) lines: String,
}

pub(crate) struct History {
    site: Site,
    platform: SimPlatform,
    trace: Trace,
    model: Model,
    shown: Shown,
    wall: WallTime,
    _dir: tempfile::TempDir,
}

/// How a life ended.
enum Ended {
    Stopped,
    NotStarted(String),
    Died,
}

/// A folder in memory where there is one.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

impl History {
    pub(crate) fn new(plan: HistoryPlan, in_words: bool) -> Self {
        let (dir, seed) = (folder(), plan.seed);
        let plan = Arc::new(plan);
        let trace = Trace::new(in_words);
        let (spool, store, keys) = (dir.path().join("spool"), dir.path().join("store"), dir.path().join("keys"));
        for folder in [&spool, &store, &keys] {
            std::fs::create_dir(folder).expect("a folder of the simulation");
        }
        let index = dir.path().join("index.sqlite");
        let platform = SimPlatform::new(seed, vec![spool, store.clone(), keys], index, trace.clone());
        let objects = match plan.local {
            true => SimObjects::folder(platform.clone(), store),
            false => SimObjects::remote(platform.clone()),
        };
        let site =
            Site { plan, dir: dir.path().to_owned(), objects, sent: Sent::default(), asked: HoldAttempts::default() };
        if site.plan.any_order {
            let seen = site.clone();
            platform.in_any_order(seed, looks(), Arc::new(move || check_between(&seen)));
        }
        Self { site, platform, trace, model: Model::default(), shown: Shown::default(), wall: START, _dir: dir }
    }

    pub(crate) fn run(mut self) -> Outcome {
        let lived = catch_unwind(AssertUnwindSafe(|| self.live_all()));
        footage::platform::simulate(None);
        let result = lived.unwrap_or_else(|_| Err("a panic".to_owned()));
        let Self { trace, shown, .. } = self;
        Outcome { result, hash: trace.hash(), calls: trace.calls(), shown, lines: trace.lines() }
    }

    fn live_all(&mut self) -> Result<(), String> {
        let plan = self.site.plan.clone();
        for (n, life) in plan.lives.iter().enumerate() {
            self.live(n as u64, life).map_err(|e| format!("life {n}: {e}"))?;
        }
        let now = self.wall;
        let (site, model) = (self.site.clone(), self.model.clone());
        let last = self.look_on(check_all(&site, &model, now))?;
        self.shown.references += last.references;
        self.shown.held += last.held;
        Ok(())
    }

    /// Runs something that only looks, on a machine that does not fail.
    fn look_on<T>(&self, look: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        self.platform.observe();
        footage::platform::simulate(Some(Arc::new(self.platform.clone())));
        let looked = runtime().block_on(look);
        footage::platform::simulate(None);
        looked
    }

    fn live(&mut self, n: u64, life: &Life) -> Result<(), String> {
        self.trace.note("life", format!("{life:?}").as_bytes(), n);
        self.platform.power_on(life.calls);
        self.platform.set_faults(PlatformFaults::default());
        footage::platform::simulate(Some(Arc::new(self.platform.clone())));
        let recovered = AtomicBool::new(false);
        let (site, platform, trace) = (self.site.clone(), self.platform.clone(), self.trace.clone());
        let started = self.wall;
        let runtime = runtime();
        let (ended, wall) = runtime.block_on(async {
            trace.begin();
            let clock = Arc::new(SimClock::starting_at(started));
            let ended = tokio::select! {
                biased;
                () = platform.stopped() => Ok(Ended::Died),
                ended = drive(&site, &platform, n, life, clock.clone(), &recovered) => ended,
            };
            (ended, clock.wall())
        });
        if let Some(wrong) = platform.wrong() {
            return Err(wrong);
        }
        let ended = if platform.is_off() { Ok(Ended::Died) } else { ended };
        // What is dropped now can change nothing any more.
        trace.end();
        platform.stop();
        drop(runtime);
        footage::platform::simulate(None);
        self.wall = wall;
        let calm = life.phases.is_empty();
        match ended? {
            Ended::NotStarted(why) if calm => return Err(format!("it did not start: {why}")),
            Ended::Stopped => self.trace.note("stopped", b"", 0),
            Ended::NotStarted(_) | Ended::Died => {}
        }
        let lasted = wall.since(started).to_duration();
        self.between(n, life, recovered.into_inner(), lasted)
    }

    /// The gateway is gone: what it had acknowledged is owed, and what was owed is there.
    fn between(&mut self, n: u64, life: &Life, recovered: bool, lasted: Duration) -> Result<(), String> {
        self.platform.after_kill();
        let (site, mut model, now) = (self.site.clone(), std::mem::take(&mut self.model), self.wall);
        let mut shown = self.shown;
        (self.model, self.shown) = self.look_on(async {
            if let Some(view) = View::of(&site).await? {
                if recovered {
                    view.check_rows(&site, &mut model, now)?;
                    shown.held += site.asked.check(&site, &view, now).await?;
                    if site.plan.references {
                        shown.references += view.check_footage(&site).await?.references;
                        check_bytes(&site, now)?;
                    }
                }
                if life.quiet_for(lasted) >= QUIET {
                    view.check_delay(&site, n)?;
                }
                view.owe(&mut model).await?;
            }
            Ok((model, shown))
        })?;
        if life.ends == Ends::PowerCut {
            self.platform.after_power_cut();
        }
        self.wall = self.wall.saturating_add(Ticks90k::from_duration(life.pause));
        Ok(())
    }
}

/// One step in so many is followed by a look at everything.
fn looks() -> u32 {
    std::env::var("VIGIE_SIM_LOOKS").ok().and_then(|v| v.parse().ok()).unwrap_or(LOOKS)
}

/// Reads what is shown, one segment after the other, as the gateway's own readers do: with what they remember.
async fn read_on(site: Site, platform: SimPlatform, opened: Opened) {
    let mut random = SmallRng::seed_from_u64(site.plan.seed ^ 0x7265_6164);
    loop {
        sleep_until(Instant::now() + Duration::from_millis(random.random_range(20..600))).await;
        let camera = &site.plan.cameras[random.random_range(0..site.plan.cameras.len())].key;
        let Ok(segments) = opened.index.segments(camera, everything()).await else { continue };
        if segments.is_empty() {
            continue;
        }
        let segment = &segments[random.random_range(0..segments.len())];
        let Ok(Some(row)) = opened.index.any_pack(segment.pack).await else { continue };
        let row = PackRow { state: segment.state, ..row };
        let pack = PackRef { id: row.id, camera: row.camera.clone(), state: row.state };
        let read = match opened.packs.table(&pack).await {
            Ok(table) => check_segment_ids(&opened, &row, &table, segment).await,
            Err(e) => Err(format!("pack {} of {} ({:?}) is shown: {e}", row.id, row.camera, row.state)),
        };
        let Err(what) = read else { continue };
        // A store or a disk that fails is no news, and what is not shown any more need not be there.
        let Ok(now) = opened.index.segments(camera, everything()).await else { continue };
        let is_shown = now.iter().any(|now| (now.pack, now.first_fragment) == (segment.pack, segment.first_fragment));
        if is_shown && !platform.fails() {
            platform.is_wrong(format!("a reader: {what}"));
        }
    }
}

/// One life, if nothing ends it before its time.
async fn drive(
    site: &Site,
    platform: &SimPlatform,
    n: u64,
    life: &Life,
    clock: Arc<SimClock>,
    recovered: &AtomicBool,
) -> Result<Ended, String> {
    let begin = Instant::now();
    if let Some((_, faults)) = life.phases.first().filter(|(at, _)| at.is_zero()) {
        platform.set_faults(*faults);
    }
    let reported = || recovered.store(true, Ordering::Relaxed);
    let gateway = match Gateway::start(site, n, clock.clone(), reported).await {
        Ok(gateway) => gateway,
        Err(why) => return Ok(Ended::NotStarted(why)),
    };
    let holds = site.plan.holds[n as usize].clone();
    let asking = site.asked.clone().ask(holds, site.clone(), gateway.holds.clone(), clock.clone());
    let asking = tokio::spawn(asking);
    let reading =
        site.plan.any_order.then(|| tokio::spawn(read_on(site.clone(), platform.clone(), gateway.opened.clone())));
    let mut phases = life.phases.iter().filter(|(at, _)| *at > begin.elapsed()).peekable();
    let mut look = begin + LOOK;
    let ends = begin + life.lasts;
    while Instant::now() < ends {
        let next = phases.peek().map_or(ends, |(at, _)| begin + *at).min(look).min(ends);
        sleep_until(next).await;
        if let Some((_, faults)) = phases.next_if(|(at, _)| begin + *at <= next) {
            platform.set_faults(*faults);
        }
        if next >= look {
            check_age(site, clock.wall())?;
            look += LOOK;
        }
    }
    if life.ends != Ends::Stop {
        platform.stop();
        return Ok(Ended::Died);
    }
    for task in std::iter::once(asking).chain(reading) {
        task.abort();
        let _ = task.await;
    }
    timeout(STOP_MAX, gateway.stop()).await.map_err(|_| "it does not stop".to_owned())??;
    Ok(Ended::Stopped)
}
