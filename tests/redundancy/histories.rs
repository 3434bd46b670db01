//! Seeded histories: two gateways come and go at random, and what both show in the end is all that either recorded.
//!
//! `VIGIE_REDUNDANCY_SEEDS` (default 20) makes it longer; a seed that fails prints itself.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use footage::clock::Clock;
use footage::units::TICKS_PER_SECOND;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::rig::{GOP, PICTURES, Side, Town, at, pictures};

/// How long the scene is.
const SECONDS: u32 = 400;

/// A session of a gateway: packs, and how many pictures of its last second came.
struct Session {
    packs: Vec<Range<u32>>,
    last_pictures: usize,
}

/// When a gateway records, in turn with when it does not.
fn sessions(random: &mut StdRng) -> Vec<Session> {
    let mut sessions = Vec::new();
    let mut second = random.random_range(0..3) * GOP;
    while second < SECONDS {
        let end = (second + random.random_range(1..150)).min(SECONDS);
        let mut packs = Vec::new();
        while second < end {
            let until = (second + random.random_range(3..25) * GOP).min(end);
            packs.push(second..until);
            second = until;
        }
        let last_pictures = if end == SECONDS { PICTURES } else { random.random_range(1..=PICTURES) };
        sessions.push(Session { packs, last_pictures });
        second = (end + random.random_range(1..120)).next_multiple_of(GOP);
    }
    sessions
}

/// How many pictures of each group a gateway received.
fn received(sessions: &[Session]) -> BTreeMap<u32, usize> {
    let mut groups = BTreeMap::new();
    for session in sessions {
        let last = session.packs.last().map_or(0, |pack| pack.end - 1);
        for second in session.packs.iter().cloned().flatten() {
            let pictures = if second == last { session.last_pictures } else { PICTURES };
            *groups.entry(second / GOP).or_default() += pictures;
        }
    }
    groups
}

async fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let town = Town::new();
    town.clock.step(at(-5).since(town.clock.wall()));
    let ahead = [0, random.random_range(-300..300)];
    let mut sides = [town.gateway(0, ahead[0]).await, town.gateway(1, ahead[1]).await];
    let plans = [sessions(&mut random), sessions(&mut random)];
    let mut events: Vec<(u32, usize, usize, usize)> = Vec::new();
    for (side, plan) in plans.iter().enumerate() {
        for (n, session) in plan.iter().enumerate() {
            events.extend(session.packs.iter().enumerate().map(|(p, pack)| (pack.end, side, n, p)));
        }
    }
    events.sort_unstable();
    let mut runs = [None, None];
    for (end, side, n, p) in events {
        let wait = at(end.into()).since(town.clock.wall()).0.max(0) / TICKS_PER_SECOND + 1;
        tokio::time::advance(Duration::from_secs(wait as u64)).await;
        let session = &plans[side][n];
        if p == 0 {
            runs[side] = Some(sides[side].connect(session.packs[0].start).await);
        }
        let last = p + 1 == session.packs.len();
        let run = runs[side].as_ref().expect("it is connected");
        sides[side].seal(run, session.packs[p].clone(), last.then_some(session.last_pictures)).await;
        for other in &sides {
            if random.random_bool(0.4) {
                other.poll().await;
            }
        }
    }
    for _ in 0..4 {
        for side in &sides {
            side.look_after(400).await;
        }
    }
    check(&town, &sides, &plans).await;
}

async fn check(town: &Town, sides: &[Side; 2], plans: &[Vec<Session>; 2]) {
    let [one, two] = [received(&plans[0]), received(&plans[1])];
    let mut best = one.clone();
    for (group, pictures) in two {
        let known = best.entry(group).or_default();
        *known = pictures.max(*known);
    }
    let first = |group: &u32| *group * GOP * PICTURES as u32;
    let expect: Vec<u8> = best.iter().flat_map(|(group, n)| pictures(first(group)..first(group) + *n as u32)).collect();
    for side in sides {
        side.poll().await;
        assert_eq!(side.waiting().await, [], "rank {}", side.rank);
        let shown = side.samples(-2..i64::from(SECONDS) + 2).await;
        let differs = shown.iter().zip(&expect).position(|(a, b)| a != b);
        assert!(shown == expect, "rank {}: {} bytes for {}, from {differs:?}", side.rank, shown.len(), expect.len());
        side.check().await;
    }
    // A hole of one costs the other's group at each end of it, and boxes.
    let holes = plans.iter().map(Vec::len).sum::<usize>() as u64 + 2;
    let group = expect.len() as u64 / best.len() as u64;
    let (stored, held) = town.held_bytes().await;
    assert!(held <= expect.len() as u64 + 3 * holes * group, "{held} of {} bytes, in {stored}", expect.len());
}

#[test]
fn what_both_show_is_all_that_either_recorded_each_picture_once() {
    let seeds: u64 = std::env::var("VIGIE_REDUNDANCY_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let first: u64 = std::env::var("VIGIE_REDUNDANCY_FIRST").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    for seed in first..first + seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let history = std::panic::AssertUnwindSafe(|| runtime.block_on(run(seed)));
        let ended = std::panic::catch_unwind(history);
        assert!(ended.is_ok(), "seed {seed}: VIGIE_REDUNDANCY_FIRST={seed} VIGIE_REDUNDANCY_SEEDS=1");
    }
}
