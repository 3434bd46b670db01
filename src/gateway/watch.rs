//! Watches over what the gateway belongs to while it runs: stores, keys, the index and what is kept beside it.
//!
//! Invariant: what is wrong is in the log when it begins, every few minutes while it lasts, and when it ends; an event says
//! the first and the last.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::open::Opened;
use super::open::{Beside, Unidentified};
use super::services::probe_store;
use crate::archive::PackRef;
use crate::event::words::Language;
use crate::event::{Event, Fact};
use crate::index::{Change, snapshot};
use crate::rebuild::walk::{Walked, Walker};
use crate::store::identity::{Identified, NotKnown};
use crate::store::{Store, StoreId};
use footage::platform;
use footage::units::TenantId;

/// A store that is not known is looked at so often, and one that is.
const LOOK_UNKNOWN: Duration = Duration::from_secs(5);
const LOOK_KNOWN: Duration = Duration::from_secs(30);
/// A directory costs nothing to look at.
const LOOK_LOCAL: Duration = Duration::from_secs(5);
/// What lasts is said again.
const REPEAT: Duration = Duration::from_secs(300);
/// A sound index is set against its stores so long after the start, and then so often.
const FIRST_WALK: Duration = Duration::from_secs(3_600);
const WALK_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// The generation of the index, and what no pack tells.
const GENERATION_EVERY: Duration = Duration::from_secs(60);
const SNAPSHOT_EVERY: Duration = Duration::from_secs(3_600);
/// Day keys are looked for this often.
const KEYS_EVERY: Duration = Duration::from_secs(60);

/// Stores whose packs the index may not know yet: nothing is deleted there before.
#[derive(Clone, Debug, Default)]
pub(super) struct CatchingUp(Arc<Mutex<HashSet<StoreId>>>);

impl CatchingUp {
    pub(super) fn begin(stores: impl IntoIterator<Item = StoreId>) -> Self {
        Self(Arc::new(Mutex::new(stores.into_iter().collect())))
    }

    /// Whether packs of this camera's store may still be unknown.
    pub(super) fn holds(&self, store: &Store, pack: &PackRef) -> bool {
        self.lock().contains(&store.home(&pack.camera))
    }

    fn contains(&self, store: StoreId) -> bool {
        self.lock().contains(&store)
    }

    /// True when it was the last one.
    fn end(&self, store: StoreId) -> bool {
        let mut left = self.lock();
        left.remove(&store) && left.is_empty()
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, HashSet<StoreId>> {
        self.0.lock()
    }
}

/// One store's watch.
pub(super) struct StoreWatch {
    pub(super) opened: Opened,
    pub(super) beside: Beside,
    pub(super) walker: Walker,
    pub(super) catching_up: CatchingUp,
}

impl StoreWatch {
    /// Looks at a store again and again, until stopped.
    pub(super) async fn run(self, store: StoreId, stop: CancellationToken) {
        stop.run_until_cancelled(self.watch(store)).await;
    }

    async fn watch(&self, store: StoreId) {
        let mut trouble = self.lasting_trouble(store).await;
        let mut probed = false;
        let begun = Instant::now();
        let mut next_walk = if self.catching_up.contains(store) { begun } else { begun + FIRST_WALK };
        loop {
            let found = self.beside.identify(&self.opened, store).await;
            match found {
                Ok(identified) => {
                    if trouble.take().is_some() {
                        let fact = Fact::StoreKnown { store: Some(self.opened.store.name(store).to_owned()) };
                        info!("{}", fact.words(Language::English));
                        self.event(fact).await;
                    }
                    match identified {
                        Identified::New(_) => {
                            self.catching_up.end(store);
                            next_walk = Instant::now() + FIRST_WALK;
                        }
                        Identified::Found(_) => next_walk = Instant::now(),
                        Identified::Same(_) | Identified::Replaced { .. } => {}
                    }
                    if !probed {
                        probe_store(&self.opened, store).await;
                        probed = true;
                    }
                    if Instant::now() >= next_walk {
                        next_walk = Instant::now() + self.walk(store).await;
                    }
                }
                Err(e) => self.report(store, &e, &mut trouble).await,
            }
            let is_local = self.opened.store.is_local(store);
            tokio::time::sleep(match trouble {
                Some(_) => LOOK_UNKNOWN,
                None if is_local => LOOK_LOCAL,
                None => LOOK_KNOWN,
            })
            .await;
        }
    }

    /// What was wrong with the store when the gateway stopped: that it is over has to be said.
    async fn lasting_trouble(&self, store: StoreId) -> Option<(&'static str, Instant)> {
        let name = Some(self.opened.store.name(store).to_owned());
        let open = self.opened.index.open_alarms().await.unwrap_or_default();
        let mut lasting = open.into_iter().filter(|alarm| alarm.ended.is_none());
        let known = crate::event::alarm::of(&Fact::StoreKnown { store: name })?;
        let is_ended_by_that = |fact: &Fact| {
            crate::event::alarm::of(fact).is_some_and(|rule| {
                rule.subject == known.subject && rule.kinds.iter().all(|kind| known.kinds.contains(kind))
            })
        };
        lasting.find(|alarm| is_ended_by_that(&alarm.event.fact)).map(|_| ("", Instant::now()))
    }

    async fn report(&self, store: StoreId, e: &Unidentified, trouble: &mut Option<(&'static str, Instant)>) {
        let kind = match e {
            Unidentified::NotKnown(not_known) => not_known.event_kind(),
            Unidentified::Index(_) | Unidentified::Beside(_) => "store_not_identified",
        };
        let is_new = trouble.is_none_or(|(before, _)| before != kind);
        if is_new || trouble.is_some_and(|(_, said)| said.elapsed() >= REPEAT) {
            error!(kind, "{e}");
            *trouble = Some((kind, Instant::now()));
        }
        if is_new {
            let store = Some(self.opened.store.name(store).to_owned());
            self.event(match e {
                Unidentified::NotKnown(NotKnown::Away { .. }) => Fact::StoreAway { store },
                Unidentified::NotKnown(NotKnown::Refused { .. }) => Fact::StoreRefused { store },
                Unidentified::NotKnown(NotKnown::NoMarker { .. }) => Fact::StoreMissing { store },
                Unidentified::NotKnown(NotKnown::Other { .. }) => Fact::StoreOther { store },
                Unidentified::NotKnown(NotKnown::Unreadable { .. }) => Fact::StoreUnreadable { store },
                Unidentified::NotKnown(NotKnown::OtherKey { .. }) => Fact::StoreOtherKey { store },
                _ => Fact::StoreNotIdentified { store },
            })
            .await;
        }
    }

    /// Enters the store's packs that the index does not know; gives the time until the next walk.
    async fn walk(&self, store: StoreId) -> Duration {
        let name = self.opened.store.name(store).to_owned();
        let catching_up = self.catching_up.contains(store);
        if catching_up {
            warn!(store = %name, "the store's packs are entered in the index; nothing is deleted there meanwhile");
        }
        let walked = match self.walker.walk(store).await {
            Ok(walked) => walked,
            Err(error) => {
                warn!(store = %name, %error, "the store could not be compared with the index: it is tried again");
                return LOOK_KNOWN;
            }
        };
        let Walked { objects, adopted, due, unreadable, .. } = walked;
        let store_name = Some(name);
        let fact = match catching_up {
            true => Fact::IndexRebuilt { store: store_name, objects, adopted, due, unreadable },
            false => Fact::StoreCompared { store: store_name, objects, adopted, due, unreadable },
        };
        if self.catching_up.end(store) {
            warn!("the index knows every pack again");
        }
        if catching_up || adopted + due + unreadable > 0 {
            warn!("{}", fact.words(Language::English));
            self.event(fact).await;
        } else {
            info!("{}", fact.words(Language::English));
        }
        WALK_EVERY
    }

    async fn event(&self, fact: Fact) {
        let event = Change::Event(Event::of_gateway(self.opened.clock.wall(), fact));
        if let Err(error) = self.opened.index.write(vec![event]).await {
            warn!(%error, "the index did not take an event");
        }
    }
}

/// The index and the keys.
pub(super) struct OwnWatch {
    pub(super) opened: Opened,
    pub(super) beside: Beside,
    pub(super) index_path: PathBuf,
    pub(super) data_dir: PathBuf,
}

impl OwnWatch {
    /// Looks again and again, until stopped; then writes the last snapshot.
    pub(super) async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.watch()).await;
        self.snapshot().await;
    }

    async fn watch(&self) {
        let mut generation = tokio::time::interval(GENERATION_EVERY);
        let mut snapshot = tokio::time::interval(SNAPSHOT_EVERY);
        let mut keys = tokio::time::interval(KEYS_EVERY);
        let mut repeat = tokio::time::interval(REPEAT);
        repeat.reset();
        let open = self.opened.index.open_alarms().await.unwrap_or_default();
        let mut missing: HashSet<_> = open
            .into_iter()
            .filter_map(|alarm| match alarm.event.fact {
                Fact::KeyMissing { key, .. } if alarm.ended.is_none() => Some(key),
                _ => None,
            })
            .collect();
        loop {
            tokio::select! {
                _ = generation.tick() => {
                    if let Err(error) = self.beside.next_generation(&self.opened.index).await {
                        warn!(%error, "the index's generation could not be kept");
                    }
                }
                _ = snapshot.tick() => self.snapshot().await,
                _ = keys.tick() => self.keys(&mut missing).await,
                _ = repeat.tick() => {
                    if let Some(trouble) = self.opened.keys.trouble() {
                        error!(kind = trouble.event_kind(), "{trouble}");
                    }
                }
            }
        }
    }

    async fn snapshot(&self) {
        let (index, to) = (self.index_path.clone(), snapshot::path(&self.data_dir));
        match platform::spawn_blocking(move || snapshot::write(&index, &to)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the snapshot of what no pack tells could not be written"),
            Err(error) => warn!(%error, "the snapshot of what no pack tells was cut off"),
        }
    }

    /// Day keys that packs need and that are not there, and keys that could not be used.
    async fn keys(&self, known_missing: &mut HashSet<footage::units::KeyId>) {
        let vault = self.opened.keys.vault().clone();
        let mut events = Vec::new();
        let at = self.opened.clock.wall();
        for (tenant, what) in vault.take_troubles() {
            error!(tenant = tenant.as_ref().map(TenantId::as_str), "{what}");
            events.push(Change::Event(Event::of_gateway(at, Fact::KeyUnusable)));
        }
        match self.opened.index.day_keys().await {
            Ok(needed) => {
                let ids: Vec<_> = needed.iter().map(|(id, _)| *id).collect();
                let of_vault = vault.clone();
                let missing = platform::spawn_blocking(move || of_vault.missing(&ids)).await;
                if let Ok(Ok(missing)) = missing {
                    for id in missing.iter().filter(|id| !known_missing.contains(id)) {
                        let packs = needed.iter().find(|(of, _)| of == id).map_or(0, |(_, packs)| *packs);
                        let folder = vault.folder().map_or_else(String::new, |folder| folder.display().to_string());
                        let fact = Fact::KeyMissing { key: *id, packs };
                        error!(folder, "{}", fact.words(Language::English));
                        events.push(Change::Event(Event::of_gateway(at, fact)));
                    }
                    for id in known_missing.iter().filter(|id| !missing.contains(id)) {
                        let fact = Fact::KeyFound { key: *id };
                        info!("{}", fact.words(Language::English));
                        events.push(Change::Event(Event::of_gateway(at, fact)));
                    }
                    *known_missing = missing.into_iter().collect();
                }
            }
            Err(error) => warn!(%error, "the index does not say which keys its packs need"),
        }
        if !events.is_empty()
            && let Err(error) = self.opened.index.write(events).await
        {
            warn!(%error, "the index did not take events of the keys");
        }
    }
}
