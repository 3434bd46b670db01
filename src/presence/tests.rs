//! What is said of a time, from values: footage under holds, gaps of less than a second.

use std::sync::Arc;

use super::*;
use crate::index::{CameraRow, Change, PackRow, PackState, SegmentRow};
use footage::media::Gap;
use footage::pack::HoldFacts;
use footage::units::{PackId, RunId};
use proptest::prelude::*;

fn at(seconds: i64) -> WallTime {
    WallTime((1_772_000_000 + seconds) * TICKS_PER_SECOND)
}

fn range(from: i64, to: i64) -> TimeRange {
    TimeRange::new(at(from), at(to)).unwrap()
}

fn hold(n: u8, from: i64, to: i64, until: i64) -> HoldRow {
    let (reference, requester, reason) = ("PV 1".to_owned(), "Durand".to_owned(), "theft".to_owned());
    let (range, until) = (range(from, to), at(until));
    let facts = HoldFacts { id: HoldId([n; 16]), range, reference, requester, reason, until, placed: at(0) };
    HoldRow { camera: "town/gate".parse().unwrap(), facts, closed: None }
}

#[test]
fn footage_stays_until_the_last_hold_over_it_ends_and_is_cut_where_a_hold_begins() {
    let holds = [hold(1, 10, 30, 9_000), hold(2, 20, 40, 5_000)];
    let stretches = footage(range(0, 50), &holds, |start| WallTime(start.0 + 100 * TICKS_PER_SECOND));
    let said: Vec<_> = stretches
        .iter()
        .map(|stretch| match &stretch.found {
            Found::Footage { holds, until } => (stretch.range, holds.len(), *until),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        (range(0, 10), 0, at(100)),
        (range(10, 20), 1, at(9_000)),
        (range(20, 30), 2, at(9_000)),
        (range(30, 40), 1, at(5_000)),
        (range(40, 50), 0, at(140)),
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_moment_between_two_runs_is_no_absence_unless_a_gap_is_on_record_there() {
    let half = |n: i64| WallTime(at(0).0 + n * TICKS_PER_SECOND / 2);
    let spans = || vec![TimeRange::new(half(0), half(3)).unwrap(), TimeRange::new(half(4), half(8)).unwrap()];
    assert_eq!(joined(spans(), range(0, 4), &[]), [range(0, 4)]);
    let gap = GapRow { start: half(3), end: Some(half(4)), cause: GapCause::Silent, lost_packets: 0 };
    assert_eq!(joined(spans(), range(0, 4), &[gap]).len(), 2);
}

#[tokio::test]
async fn footage_that_is_due_is_there_until_its_destruction_begins() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    let key: CameraKey = "town/gate".parse().unwrap();
    let camera = CameraRow {
        key: key.clone(),
        name: String::new(),
        place: String::new(),
        configured: true,
        retention_max: Ticks90k(100 * TICKS_PER_SECOND),
        retention_min: Ticks90k::ZERO,
    };
    let (pack, run) = (PackId([1; 16]), RunId([1; 16]));
    let open = PackRow {
        id: pack,
        camera: key.clone(),
        run,
        state: PackState::Open,
        bytes: 1,
        start: at(0),
        end: at(0),
        condemned_at: None,
    };
    let segment = SegmentRow {
        range: range(0, 10),
        run,
        decode_time: Ticks90k::ZERO,
        pack,
        state: PackState::Open,
        first_fragment: 0,
        fragments: 1,
    };
    let changes = vec![
        Change::Configure(vec![camera]),
        Change::BeginRun { camera: key.clone(), run, start: at(0) },
        Change::OpenPack(open),
        Change::PutSegment { camera: key.clone(), segment, pack_bytes: 1 },
        Change::SealPack { pack, bytes: 1 },
    ];
    index.write(changes).await.unwrap();
    let ask = async || presence(&index, &TimeZone::UTC, &key, range(0, 10), at(1_000)).await.unwrap();
    let there = [Stretch { range: range(0, 10), found: Found::Footage { holds: Vec::new(), until: at(100) } }];
    assert_eq!(ask().await, there);
    let condemn = Change::Condemn { packs: vec![pack], at: at(1_000), reason: Reason::Expired };
    index.write(vec![condemn]).await.unwrap();
    assert_eq!(ask().await, there, "it is due, and nothing was destroyed");
    let held = hold(1, 0, 20, 9_000);
    index.write(vec![Change::PlaceHold { camera: key.clone(), hold: Arc::new(held.facts.clone()) }]).await.unwrap();
    let found = Found::Footage { holds: vec![held.facts.id], until: at(9_000) };
    assert_eq!(ask().await, [Stretch { range: range(0, 10), found }]);
    index.write(vec![Change::EndHold { hold: held.facts.id, at: at(1_001) }]).await.unwrap();
    index.write(vec![Change::BeginDeleting { packs: vec![pack] }]).await.unwrap();
    assert_eq!(ask().await, [Stretch { range: range(0, 10), found: Found::Destroying }]);
}

proptest! {
    #[test]
    fn stretches_are_in_order_and_together_all_of_what_was_asked(
        gaps in prop::collection::vec((0i64..100, 1i64..30), 0..6), from in 0i64..100, length in 1i64..100, now in 0i64..200,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
            let key: CameraKey = "town/gate".parse().unwrap();
            let camera = CameraRow {
                key: key.clone(), name: String::new(), place: String::new(), configured: true,
                retention_max: Ticks90k(86_400 * TICKS_PER_SECOND), retention_min: Ticks90k::ZERO,
            };
            let mut changes = vec![Change::Configure(vec![camera])];
            for (start, seconds) in gaps {
                let gap = Gap { start: at(start), end: at(start + seconds), cause: GapCause::Silent, lost_packets: 0 };
                changes.push(Change::PutGap { camera: key.clone(), gap });
            }
            let held = Arc::new(hold(1, 0, 50, 9_000).facts);
            changes.push(Change::PlaceHold { camera: key.clone(), hold: held });
            index.write(changes).await.unwrap();
            let asked = range(from, from + length);
            let answer = presence(&index, &TimeZone::UTC, &key, asked, at(now)).await.unwrap();
            let mut next = asked.start();
            for stretch in &answer {
                assert_eq!(stretch.range.start(), next, "{answer:?}");
                next = stretch.range.end();
            }
            assert_eq!(next, asked.end(), "{answer:?}");
        });
    }
}
