//! From the spool to stores: in which order, at what price, and what one store that fails costs another.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use footage::clock::{Clock, SimClock};
use footage::units::{PackId, TimeRange};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use vigie::archive::Archive;
use vigie::config::{Cap, SendOrder, StoreConfig};
use vigie::index::{Index, PackState};
use vigie::retrieve::Footage;
use vigie::retrieve::mp4::Clip;
use vigie::store::Store;
use vigie::store::count::Counts;
use vigie::store::fault::{FaultyStore, Op, StoreCall, StoreFault};

#[allow(dead_code, reason = "the deduplication tests need more of it")]
#[path = "../dedup/rig.rs"]
mod rig;

use rig::{Options, Rig, at, key};

const GATE: &str = "town/gate";

fn options() -> Options {
    let cameras = vec![(GATE, 9), ("town/market", 9)];
    Options { cameras, sharing: vec![], dedup: false, elsewhere: true, encrypted: false }
}

/// A store in memory that can be away, and tells in which order it got packs.
#[derive(Clone, Default)]
struct Far {
    away: Arc<AtomicBool>,
    got: Arc<Mutex<Vec<PackId>>>,
}

impl Far {
    fn store(&self, change: impl FnOnce(&mut StoreConfig)) -> Store {
        let (away, got) = (self.away.clone(), self.got.clone());
        let objects = FaultyStore::new(InMemory::new(), move |call: &StoreCall<'_>| {
            if away.load(Ordering::SeqCst) {
                return StoreFault::refused();
            }
            if call.op == Op::Put {
                let name = call.location.filename().unwrap().trim_end_matches(".mp4");
                got.lock().unwrap().push(name.parse().unwrap());
            }
            StoreFault::NONE
        });
        let mut config = StoreConfig::at("memory:///".parse().unwrap());
        change(&mut config);
        let clock: Arc<dyn Clock> = Arc::new(SimClock::starting_at(at(600)));
        Store::over_config(Arc::new(objects), &config, &clock)
    }

    fn got(&self) -> Vec<PackId> {
        self.got.lock().unwrap().clone()
    }
}

async fn rig_over(store: Store) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    Rig::over(dir, index, store, options()).await
}

/// Packs that wait while the store is away.
async fn backlog(rig: &mut Rig, far: &Far, packs: u32) -> Vec<PackId> {
    far.away.store(true, Ordering::SeqCst);
    let mut all = Vec::new();
    for n in 0..packs {
        all.push(sealed(rig, n * 4..n * 4 + 4).await);
    }
    all
}

/// A pack that waits: the index says so.
async fn sealed(rig: &mut Rig, seconds: std::ops::Range<u32>) -> PackId {
    let pack = rig.seal(GATE, seconds).await;
    while rig.index.any_pack(pack).await.unwrap().is_none_or(|row| row.state != PackState::Sealed)
        || rig.spool.growing(pack).is_some()
    {
        tokio::task::yield_now().await;
    }
    pack
}

async fn none_waits(rig: &Rig) {
    while !rig.index.packs_in_state(PackState::Sealed, 1).await.unwrap().is_empty() {
        tokio::time::advance(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_goes_oldest_first_or_newest_first() {
    for (order, newest) in [(SendOrder::OldestFirst, false), (SendOrder::NewestFirst, true)] {
        let far = Far::default();
        let mut rig = rig_over(far.store(|config| config.order = order)).await;
        let mut all = backlog(&mut rig, &far, 12).await;
        far.away.store(false, Ordering::SeqCst);
        none_waits(&rig).await;
        if newest {
            all.reverse();
        }
        let got = far.got();
        assert_eq!(got.len(), all.len(), "each once");
        for (place, pack) in got.iter().enumerate() {
            let turn = all.iter().position(|id| id == pack).unwrap();
            // Four are on their way at a time: the next begins when one of them has ended.
            assert!(turn < place + 4, "{order:?}: number {turn} went as number {place}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_asked_for_goes_before_the_backlog_of_a_narrow_uplink() {
    let far = Far::default();
    // About two packs a second.
    let cap = Cap { days: [true; 7], minutes: 0..24 * 60, bits_per_s: 300_000 };
    let mut rig = rig_over(far.store(|config| config.caps = vec![cap])).await;
    let all = backlog(&mut rig, &far, 20).await;
    far.away.store(false, Ordering::SeqCst);
    let asked = TimeRange::new(at(4 * 15 + 1), at(4 * 17)).unwrap();
    assert_eq!(rig.packs.send_first(&key("town/market"), asked).await.unwrap(), 0, "another camera's");
    assert_eq!(rig.packs.send_first(&key(GATE), asked).await.unwrap(), 2);
    none_waits(&rig).await;
    let got = far.got();
    let place = |pack: &PackId| got.iter().position(|id| id == pack).unwrap();
    // Senders of the backlog that were on their way had paid already.
    assert!(place(&all[15]) < 6 && place(&all[16]) < 6, "{} and {}", place(&all[15]), place(&all[16]));
    assert_eq!(got.len(), 20, "each once");
    assert_eq!(rig.packs.send_first(&key(GATE), asked).await.unwrap(), 0, "it is there");
    rig.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_away_and_comes_back_is_reported_once_each() {
    let far = Far::default();
    let mut rig = rig_over(far.store(|_| ())).await;
    backlog(&mut rig, &far, 3).await;
    rig.goes_on(std::time::Duration::from_secs(600)).await;
    assert_eq!(rig.index.packs_in_state(PackState::Sealed, 9).await.unwrap().len(), 3);
    far.away.store(false, Ordering::SeqCst);
    none_waits(&rig).await;
    let reported = async || {
        let events = rig.index.events(&key(GATE).tenant, None, 0, 99).await.unwrap();
        let kinds = events.into_iter().rev().map(|event| event.kind());
        kinds.filter(|kind| kind.starts_with("store_")).collect::<Vec<_>>()
    };
    // It is reported when the drain has seen the outcome.
    while reported().await.len() < 2 {
        tokio::time::advance(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(reported().await, ["store_away", "store_back"]);
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_from_a_store_elsewhere_cost_at_most_twelve_gets() {
    let counts = Counts::default();
    let mut rig = rig_over(Store::over_parts(Arc::new(counts.of(InMemory::new())))).await;
    for n in 0..7 {
        rig.record(GATE, n * 120..n * 120 + 120).await;
    }
    rig.settle().await;
    std::fs::remove_dir_all(rig.dir.path().join("spool")).unwrap();
    let clock: Arc<dyn Clock> = rig.clock.clone();
    let footage = Footage::new(rig.index.clone(), Archive::new(rig.spool.clone(), rig.store.clone()), clock);
    counts.reset();
    // Across the ends of six packs.
    let clip = Clip::new(&footage, &key(GATE), TimeRange::new(at(61), at(661)).unwrap()).await.unwrap();
    let bytes: u64 =
        clip.body(0..clip.len()).map_ok(|part| part.len() as u64).try_fold(0, async |a, b| Ok(a + b)).await.unwrap();
    assert_eq!(bytes, clip.len());
    assert!(counts.calls(Op::Get) <= 12, "{:?}", counts.all());
}

#[tokio::test(start_paused = true)]
async fn a_spool_above_its_bound_gives_up_cached_packs_oldest_first_and_none_that_waits() {
    let far = Far::default();
    let mut rig = rig_over(far.store(|_| ())).await;
    let mut cached = Vec::new();
    for n in 0..6 {
        cached.push(rig.record(GATE, n * 4..n * 4 + 4).await);
    }
    far.away.store(true, Ordering::SeqCst);
    let waiting = sealed(&mut rig, 40..44).await;
    let size = |pack: PackId| {
        rig.spool.files(&key(GATE), pack).iter().find_map(|path| std::fs::metadata(path).ok()).map(|meta| meta.len())
    };
    let of = |packs: &[PackId]| packs.iter().map(|pack| size(*pack).unwrap()).sum::<u64>();
    let bound = of(&cached[3..]) + of(&[waiting]);
    let free = rig.spool.free_bytes_within(1 << 20, Some(bound)).unwrap();
    assert!(free >= 1 << 20);
    let left: Vec<bool> = cached.iter().map(|pack| size(*pack).is_some()).collect();
    assert_eq!(left, [false, false, false, true, true, true]);
    assert!(size(waiting).is_some());
    // Nothing is left that may go: what is above the bound counts as missing on the disk.
    let free = rig.spool.free_bytes_within(1 << 20, Some(of(&[waiting]) / 2)).unwrap();
    assert!(free < 1 << 20 && cached.iter().all(|pack| size(*pack).is_none()) && size(waiting).is_some(), "{free}");
    far.away.store(false, Ordering::SeqCst);
    none_waits(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().display().to_string();
    let text = format!(
        "[data]\ndir = \"{data}\"\n[[store]]\nurl = \"file://{data}/one\"\n[[store]]\nname = \"two\"\nurl = \"file://{data}/two\"\n\
         [[tenant]]\nid = \"town\"\n[[tenant.camera]]\nid = \"gate\"\nplace = \"here\"\nurl = \"rtsp://192.0.2.1/a\"\n\
         [[tenant.camera]]\nid = \"market\"\nplace = \"there\"\nurl = \"rtsp://192.0.2.1/b\"\nstore = \"two\"\n"
    );
    let around = vigie::config::Surroundings { variable: &|_| None, world_readable: false };
    let config = vigie::config::Config::parse("vigie.toml", &text, &around).unwrap().config;
    let clock: Arc<dyn Clock> = Arc::new(SimClock::starting_at(at(600)));
    let store = Store::of_config(&config, &clock, None).unwrap();
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    // A file where the first store's folder should be.
    std::fs::write(dir.path().join("one"), b"").unwrap();
    let mut rig = Rig::over(dir, index, store, options()).await;
    let kept = sealed(&mut rig, 0..4).await;
    let stored = rig.record("town/market", 0..4).await;
    assert_eq!(rig.index.any_pack(stored).await.unwrap().unwrap().state, PackState::Stored);
    assert_eq!(rig.index.any_pack(kept).await.unwrap().unwrap().state, PackState::Sealed);
    std::fs::remove_file(rig.dir.path().join("one")).unwrap();
    std::fs::create_dir(rig.dir.path().join("one")).unwrap();
    while rig.index.any_pack(kept).await.unwrap().unwrap().state != PackState::Stored {
        tokio::task::yield_now().await;
    }
}
