//! What cameras sent, what of it was acknowledged, and what therefore has to be there.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use footage::source::{Item, Session, Source, SourceError};
use footage::units::{CameraKey, FragmentId, PackId, WallTime};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use testkit::replay::ReplaySource;

/// One access unit: of which camera, in which life, the how manieth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UnitId {
    pub(crate) camera: usize,
    pub(crate) life: u64,
    pub(crate) nth: u64,
}

/// So many bytes of a unit tell which it is: four of its length, one of its kind, the rest are random.
const BEGINNING: usize = 16;

/// Every access unit that a source yielded; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent(Arc<Mutex<SentUnits>>);

#[derive(Debug, Default)]
struct SentUnits {
    /// By camera, for two may send the same bytes, and by hash.
    units: HashMap<(usize, u64), UnitId>,
    /// By camera and their beginnings, when they were received.
    beginnings: HashMap<(usize, [u8; BEGINNING]), WallTime>,
    last: HashMap<(usize, u64), (u64, WallTime)>,
}

fn hash(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    hasher.finish()
}

impl Sent {
    fn lock(&self) -> MutexGuard<'_, SentUnits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, camera: usize, life: u64, data: &[u8], received: WallTime) {
        let mut sent = self.lock();
        let (count, at) = sent.last.entry((camera, life)).or_insert((0, received));
        (*count, *at) = (*count + 1, received);
        let unit = UnitId { camera, life, nth: *count };
        if let Some(beginning) = data.first_chunk() {
            sent.beginnings.insert((camera, *beginning), received);
        }
        assert!(sent.units.insert((camera, hash(data)), unit).is_none(), "two access units are alike");
    }

    /// Which unit of the camera's these bytes are.
    pub(crate) fn unit(&self, camera: usize, data: &[u8]) -> Option<UnitId> {
        self.lock().units.get(&(camera, hash(data))).copied()
    }

    /// When the oldest unit of which the beginning is in these bytes was received.
    pub(crate) fn oldest_in(&self, camera: usize, bytes: &[u8]) -> Option<WallTime> {
        let sent = self.lock();
        let beginnings = bytes.windows(BEGINNING).filter(|window| window[..2] == [0, 0]);
        let beginnings = beginnings.filter_map(|window| window.first_chunk());
        beginnings.filter_map(|beginning| sent.beginnings.get(&(camera, *beginning))).min().copied()
    }

    /// When a camera's last unit of a life was received.
    pub(crate) fn last(&self, camera: usize, life: u64) -> Option<WallTime> {
        self.lock().last.get(&(camera, life)).map(|(_, at)| *at)
    }
}

/// A source whose units are noted.
pub(crate) struct ObservedSource {
    source: ReplaySource,
    camera: usize,
    life: u64,
    sent: Sent,
}

impl ObservedSource {
    pub(crate) fn new(source: ReplaySource, camera: usize, life: u64, sent: Sent) -> Self {
        Self { source, camera, life, sent }
    }
}

impl Source for ObservedSource {
    fn open(&self) -> BoxFuture<'_, Result<Session, SourceError>> {
        let (camera, life, sent) = (self.camera, self.life, self.sent.clone());
        let opened = self.source.open().map(move |session| {
            let mut session = session?;
            let items = session.items.inspect(move |item| {
                if let Ok(Item::AccessUnit(unit)) = item {
                    sent.note(camera, life, &unit.data, unit.received.wall);
                }
            });
            session.items = Box::pin(items);
            Ok(session)
        });
        opened.boxed()
    }
}

/// A fragment that the index has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwedFragment {
    pub(crate) id: FragmentId,
    pub(crate) start: WallTime,
    pub(crate) end: WallTime,
}

/// What of a pack was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct OwedPack {
    pub(crate) camera: CameraKey,
    pub(crate) fragments: Vec<OwedFragment>,
}

impl OwedPack {
    pub(crate) fn start(&self) -> WallTime {
        self.fragments.first().map_or(WallTime(i64::MAX), |f| f.start)
    }

    pub(crate) fn end(&self) -> WallTime {
        self.fragments.last().map_or(WallTime(i64::MIN), |f| f.end)
    }
}

/// Everything that is owed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) owed: BTreeMap<PackId, OwedPack>,
}
