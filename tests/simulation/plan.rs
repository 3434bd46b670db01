//! From a seed to what will happen: cameras, policies, lives of the gateway, how each ends, and what fails meanwhile.

use std::time::Duration;

use footage::units::{CameraKey, Ticks90k};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use vigie::record::PackLimits;
use vigie::retention::Policy;

use crate::platform::PlatformFaults;

/// The plan of one seed.
#[derive(Clone, Debug)]
pub(crate) struct HistoryPlan {
    pub(crate) seed: u64,
    /// The store is a folder beside the spool.
    pub(crate) local: bool,
    pub(crate) cameras: Vec<CameraPlan>,
    pub(crate) limits: PackLimits,
    pub(crate) durability: Duration,
    pub(crate) policy: Policy,
    pub(crate) lives: Vec<Life>,
    /// Two tenants film one scene, in one deduplication domain.
    pub(crate) references: bool,
    /// For each life, in their order.
    pub(crate) holds: Vec<Vec<HoldPlan>>,
    /// The order of what happens at the same time is the seed's.
    pub(crate) any_order: bool,
    /// Packs are encrypted.
    pub(crate) encrypted: bool,
    /// Every pack is read and checked once in this time.
    pub(crate) scrub_every: Option<Duration>,
}

/// Somebody places a hold.
#[derive(Clone, Debug)]
pub(crate) struct HoldPlan {
    /// After the start of the gateway.
    pub(crate) at: Duration,
    pub(crate) camera: usize,
    /// Before it is placed.
    pub(crate) begins_ago: Duration,
    pub(crate) covers: Duration,
    /// After it is placed, and what it covers is filmed.
    pub(crate) kept: Duration,
    pub(crate) released_after: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) struct CameraPlan {
    pub(crate) key: CameraKey,
    /// Its scene: cameras of one scene send the same bytes.
    pub(crate) scene: usize,
    /// It sees nothing of the scene before.
    pub(crate) sees_after: Duration,
    pub(crate) frame_rate: u32,
    pub(crate) gop_frames: u32,
    pub(crate) key_frame_bytes: usize,
    pub(crate) retention_max: Ticks90k,
    pub(crate) retention_min: Ticks90k,
}

/// From a start of the gateway to its end.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// It ends at this call at the latest.
    pub(crate) calls: u64,
    /// Or after this time.
    pub(crate) lasts: Duration,
    pub(crate) ends: Ends,
    /// From when on what fails.
    pub(crate) phases: Vec<(Duration, PlatformFaults)>,
    /// Before the next life.
    pub(crate) pause: Duration,
}

impl Life {
    /// How long nothing has failed when it has lasted so long.
    pub(crate) fn quiet_for(&self, lasted: Duration) -> Duration {
        match self.phases.iter().rfind(|(from, _)| *from <= lasted) {
            None => lasted,
            Some((from, faults)) if *faults == PlatformFaults::default() => lasted - *from,
            Some(_) => Duration::ZERO,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    Stop,
    Kill,
    PowerCut,
}

fn seconds(random: &mut SmallRng, from: f64, to: f64) -> Duration {
    Duration::from_millis((random.random_range(from..to) * 1_000.0) as u64)
}

fn ticks(duration: Duration) -> Ticks90k {
    Ticks90k::from_duration(duration)
}

impl HistoryPlan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let random = &mut random;
        let local = random.random_bool(0.5);
        let policy = Policy {
            interval: seconds(random, 3.0, 8.0),
            grace: seconds(random, 2.0, 8.0),
            disk_reserve_bytes: if random.random_bool(0.5) { 0 } else { random.random_range(1_000..60_000) },
            store_on_disk: local,
            stored_elsewhere: std::collections::HashSet::new(),
            time_zone: jiff::tz::TimeZone::UTC,
            shared: None,
            stores: None,
        };
        let limits = PackLimits {
            pack_bytes_max: random.random_range(1_500..20_000),
            pack_duration_max: seconds(random, 2.0, 9.0),
        };
        let mut cameras: Vec<_> = (0..random.random_range(1..=3)).map(|n| camera(n, &policy, random)).collect();
        let durability = Duration::from_millis(random.random_range(300..2_000));
        let lives = random.random_range(2..=6);
        let mut lives: Vec<Life> = (0..lives).map(|_| life(local, random)).collect();
        // Of its own numbers, so that each seed remains what it was without it.
        let mut long = SmallRng::seed_from_u64(seed ^ 0x6c6f_6e67);
        if !local && long.random_bool(0.1) {
            lives.push(long_outage(&mut long));
        }
        lives.push(last_life(random));
        // By the seed itself: those that found a fault before there was this stay what they were.
        let references = matches!(seed % 16, 0 | 3 | 6 | 9);
        if references {
            let random = &mut SmallRng::seed_from_u64(seed ^ 0x7265_6665_7273);
            cameras.push(mirror(&cameras[0], &policy, random));
        }
        let mut holds = vec![Vec::new(); lives.len()];
        if matches!(seed % 16, 1 | 3 | 9) {
            let random = &mut SmallRng::seed_from_u64(seed ^ 0x0068_6f6c_6473);
            holds.iter_mut().zip(&lives).for_each(|(of, life)| *of = holds_of(life, cameras.len(), &policy, random));
        }
        let (any_order, encrypted, scrub_every) = (false, false, None);
        Self {
            seed,
            local,
            cameras,
            limits,
            durability,
            policy,
            lives,
            references,
            holds,
            any_order,
            encrypted,
            scrub_every,
        }
    }

    /// Several cameras that film one scene in one deduplication domain, whose packs are sealed, compared, sent, read,
    /// checked, held and swept at the same time, in an order that the seed decides. Mostly nothing fails.
    pub(crate) fn crowd(seed: u64) -> Self {
        let mut plan = Self::of(seed ^ 0x0063_726f_7764_0000);
        let random = &mut SmallRng::seed_from_u64(seed ^ 0x6372_6f77_6473);
        plan.seed = seed;
        plan.cameras.truncate(1);
        for tenant in ["mirror", "third", "fourth"].iter().take(random.random_range(1..=3)) {
            plan.cameras.push(mirror_of(&plan.cameras[0], tenant, &plan.policy, random));
        }
        plan.lives = (0..random.random_range(1..=2)).map(|_| calm_life(plan.local, random)).collect();
        plan.lives.push(last_life(random));
        plan.references = true;
        plan.holds = vec![Vec::new(); plan.lives.len()];
        if random.random_bool(0.4) {
            let cameras = plan.cameras.len();
            let lives = plan.holds.iter_mut().zip(&plan.lives);
            lives.for_each(|(of, life)| *of = holds_of(life, cameras, &plan.policy, random));
        }
        plan.any_order = true;
        plan.encrypted = random.random_bool(0.4);
        plan.scrub_every = random.random_bool(0.6).then(|| seconds(random, 3.0, 20.0));
        plan
    }

    /// Something may have been destroyed to make room.
    pub(crate) fn disk_was_full(&self) -> bool {
        self.lives.iter().flat_map(|life| &life.phases).any(|(_, faults)| faults.disk_room.is_some())
    }
}

fn camera(n: usize, policy: &Policy, random: &mut SmallRng) -> CameraPlan {
    let condemned_at = seconds(random, 12.0, 60.0);
    let tenant = if n == 2 { "other" } else { "town" };
    CameraPlan {
        key: format!("{tenant}/camera-{n}").parse().expect("a key"),
        scene: n,
        sees_after: Duration::ZERO,
        frame_rate: random.random_range(2..=5),
        gop_frames: random.random_range(2..=12),
        key_frame_bytes: random.random_range(40..600),
        retention_max: retention_max(condemned_at, policy),
        retention_min: retention_min(condemned_at, random),
    }
}

/// Condemned when they are as old as this, packs have the margin to be gone.
fn retention_max(condemned_at: Duration, policy: &Policy) -> Ticks90k {
    Ticks90k(policy.margin().0 + ticks(condemned_at).0)
}

fn retention_min(condemned_at: Duration, random: &mut SmallRng) -> Ticks90k {
    ticks(seconds(random, 0.0, 20.0).min(condemned_at / 2))
}

/// Another tenant's camera on the same scene, with a policy of its own; its packs may be cut elsewhere.
fn mirror(of: &CameraPlan, policy: &Policy, random: &mut SmallRng) -> CameraPlan {
    mirror_of(of, "mirror", policy, random)
}

fn mirror_of(of: &CameraPlan, tenant: &str, policy: &Policy, random: &mut SmallRng) -> CameraPlan {
    let condemned_at = seconds(random, 12.0, 60.0);
    let sees_after = if random.random_bool(0.5) { Duration::ZERO } else { seconds(random, 0.0, 6.0) };
    let key = format!("{tenant}/camera-0").parse().expect("a key");
    CameraPlan {
        key,
        sees_after,
        retention_max: retention_max(condemned_at, policy),
        retention_min: retention_min(condemned_at, random),
        ..of.clone()
    }
}

fn life(local: bool, random: &mut SmallRng) -> Life {
    let ends = match random.random_range(0..10) {
        0..2 => Ends::Stop,
        2..5 => Ends::Kill,
        _ => Ends::PowerCut,
    };
    // Early and late moments are as likely.
    let calls = 2_f64.powf(random.random_range(3.0..12.5)) as u64;
    let calls = if ends == Ends::Stop && random.random_bool(0.7) { u64::MAX } else { calls };
    let lasts = seconds(random, 5.0, 60.0);
    let mut phases = Vec::new();
    let mut at = seconds(random, 0.0, 10.0);
    if random.random_bool(0.2) {
        // Some starts meet with faults.
        at = Duration::ZERO;
    }
    while at < lasts && random.random_bool(0.8) {
        phases.push((at, faults(local, random)));
        at += seconds(random, 2.0, 30.0);
        phases.push((at, PlatformFaults::default()));
        at += seconds(random, 5.0, 30.0);
    }
    Life { calls, lasts, ends, phases, pause: seconds(random, 0.0, 6.0) }
}

/// It lasts, mostly without a fault, and ends well or is killed.
fn calm_life(local: bool, random: &mut SmallRng) -> Life {
    let lasts = seconds(random, 10.0, 40.0);
    let mut phases = Vec::new();
    if random.random_bool(0.3) {
        let at = seconds(random, 0.5, 10.0);
        phases = vec![(at, faults(local, random)), (at + seconds(random, 1.0, 10.0), PlatformFaults::default())];
    }
    let ends = match random.random_range(0..4) {
        0 => Ends::Kill,
        1 => Ends::PowerCut,
        _ => Ends::Stop,
    };
    Life { calls: u64::MAX, lasts, ends, phases, pause: seconds(random, 0.0, 6.0) }
}

/// Some while a sweep begins, some of footage that goes.
fn holds_of(life: &Life, cameras: usize, policy: &Policy, random: &mut SmallRng) -> Vec<HoldPlan> {
    let mut at = Duration::ZERO;
    let mut plans = Vec::new();
    while random.random_bool(0.8) {
        at += seconds(random, 0.0, 20.0);
        if random.random_bool(0.5) {
            at = policy.interval * (at.as_secs_f64() / policy.interval.as_secs_f64()).ceil() as u32;
        }
        if at >= life.lasts {
            break;
        }
        let released_after = random.random_bool(0.3).then(|| seconds(random, 0.0, 20.0));
        plans.push(HoldPlan {
            at,
            camera: random.random_range(0..cameras),
            begins_ago: seconds(random, 0.0, 70.0),
            covers: seconds(random, 1.0, 30.0),
            kept: seconds(random, 5.0, 200.0),
            released_after,
        });
        at += released_after.unwrap_or_default();
    }
    plans
}

/// The store is away until packs that wait for it are condemned, and slow then.
fn long_outage(random: &mut SmallRng) -> Life {
    let away = PlatformFaults { store_error: 1_000_000, ..PlatformFaults::default() };
    let slow = PlatformFaults { store_slow: 1_000_000, store_slower: 8, ..PlatformFaults::default() };
    let back = seconds(random, 15.0, 60.0);
    let phases = vec![(Duration::from_secs(1), away), (back, slow)];
    let ends = if random.random_bool(0.5) { Ends::PowerCut } else { Ends::Stop };
    Life { calls: u64::MAX, lasts: back + Duration::from_secs(30), ends, phases, pause: Duration::ZERO }
}

/// Nothing fails any more: what is left to do is done, and then everything has to be right.
fn last_life(random: &mut SmallRng) -> Life {
    let lasts = seconds(random, 40.0, 90.0);
    Life { calls: u64::MAX, lasts, ends: Ends::Stop, phases: Vec::new(), pause: Duration::ZERO }
}

fn faults(local: bool, random: &mut SmallRng) -> PlatformFaults {
    const ONE: u32 = 1_000_000;
    let mut faults = PlatformFaults::default();
    for _ in 0..random.random_range(1..=3) {
        match random.random_range(0..12) {
            0 => faults.file_error = random.random_range(1_000..100_000),
            1 => faults.flush_error = random.random_range(10_000..300_000),
            2 => faults.short_write = random.random_range(10_000..500_000),
            3 => faults.disk_room = Some(random.random_range(0..20_000)),
            4 => faults.late_work = random.random_range(50_000..500_000),
            5 => faults.broken_work = random.random_range(1_000..30_000),
            6 => faults.store_error = if random.random_bool(0.4) { ONE } else { random.random_range(50_000..500_000) },
            7 => faults.store_error_after = random.random_range(50_000..500_000),
            8 => faults.store_slow = random.random_range(50_000..ONE),
            9 => faults.no_direct = if random.random_bool(0.5) { ONE } else { random.random_range(1_000..300_000) },
            10 if !local => faults.store_cut = random.random_range(50_000..300_000),
            _ => faults.store_lags = random.random_range(50_000..500_000),
        }
    }
    faults
}
