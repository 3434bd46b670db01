//! From sealed to stored: each store has a drain of its own, so that one that is away holds up no other, and a lane
//! for what somebody has asked for.
//!
//! Invariant: each step can be cut off and taken up again: a pack is first in the store, compared, and only then stored
//! in the index; an upload that was cut off goes on where it was.
//! Queue: the index's sealed packs, bounded by the spool's room; what was asked for, bounded by [`ASKED_MAX`].

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::recover::entries;
use super::seal::{RETRY_MAX, RETRY_MIN, blocking};
use super::{Spool, SpoolError, lock};
use crate::config::SendOrder;
use crate::event::words::Language;
use crate::event::{Event, Fact};
use crate::index::{Change, PackRow, PackState};
use crate::store::identity::NotKnown;
use crate::store::shape::{Lane, Way};
use crate::store::{StoreError, StoreId};
use crate::units::{CameraKey, PackId, TimeRange};

/// Packs sent to one store at a time.
const SENDS_AT_ONCE: usize = 4;
/// Packs that wait for a store, read at a time.
const WAITING_PAGE: u32 = 256;
/// Packs of a round. The newest change while a round goes on, so that its rounds are short.
const ROUND_OLDEST: usize = 256;
const ROUND_NEWEST: usize = 8;
/// Packs that may be asked for at a time; whoever asks for more is told how many were taken.
pub const ASKED_MAX: usize = 4_096;
/// Uploads of packs that are gone are looked for this often.
const STALE_LOOK: Duration = Duration::from_secs(3_600);

/// How the store did the last time, for its alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Good,
    Away,
    Refused,
    Lies,
    /// It is not the store that the index knows.
    NotKnown,
}

/// What a round did.
#[derive(Debug, Default)]
struct Round {
    sent: usize,
    failed: usize,
    /// Failures that are the store's, after which the rest of a round need not try.
    store_failed: usize,
    first: Option<(Health, String)>,
    more: bool,
}

/// Hands to one store what waits for it, until stopped.
pub(super) async fn drain(spool: Spool, store: StoreId, stop: CancellationToken) {
    let mut wait = RETRY_MIN;
    let mut health = Health::Good;
    while !stop.is_cancelled() {
        let round = match stop.run_until_cancelled(spool.round(store)).await {
            Some(round) => round,
            None => return,
        };
        let now = round.first.as_ref().map_or(Health::Good, |(health, _)| *health);
        if now != health {
            let detail = round.first.as_ref().map_or_else(String::new, |(_, error)| error.clone());
            spool.tell_health(store, now, &detail).await;
            health = now;
        }
        if let Some((_, error)) = &round.first {
            let name = spool.0.store.name(store);
            warn!(store = name, failed = round.failed, %error, "packs wait in the spool: the store did not take them");
            wait = (wait * 2).min(RETRY_MAX);
        } else {
            wait = RETRY_MIN;
            if round.more && round.sent > 0 {
                continue;
            }
        }
        // With nothing to do, only a sealed pack wakes it; with failures, time does.
        let failed = round.failed > 0;
        tokio::select! {
            () = stop.cancelled() => {}
            () = spool.0.sealed[&store].notified(), if !failed => {}
            () = tokio::time::sleep(wait), if failed => {}
        }
    }
}

/// Hands over what was asked for, before the backlog, until stopped.
pub(super) async fn drain_asked(spool: Spool, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let asked: Vec<_> = lock(&spool.0.asked).drain(..).collect();
        let sends = asked.into_iter().map(|(camera, pack)| {
            let spool = spool.clone();
            async move {
                // What fails here waits with the backlog, where it is tried again.
                if let Err(error) = spool.store_whole(Lane::Asked, &camera, pack).await {
                    warn!(%pack, %camera, %error, "a pack that was asked for waits: the store did not take it");
                }
                spool.wake_drain(&camera);
            }
        });
        let sends: Vec<_> = sends.collect();
        let all = futures::stream::iter(sends).for_each_concurrent(SENDS_AT_ONCE, |send| send);
        if stop.run_until_cancelled(all).await.is_none() {
            return;
        }
        if lock(&spool.0.asked).is_empty() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = spool.0.asked_more.notified() => {}
            }
        }
    }
}

/// Gives up uploads whose packs are gone, now and then, until stopped.
pub(super) async fn give_up_stale(spool: Spool, stop: CancellationToken) {
    let looks = async {
        let mut tick = tokio::time::interval(STALE_LOOK);
        loop {
            tick.tick().await;
            if let Err(error) = spool.abort_stale().await {
                warn!(%error, "uploads of packs that are gone may be left in the store");
            }
        }
    };
    stop.run_until_cancelled(looks).await;
}

impl Spool {
    /// One store's packs, as many as a round takes.
    async fn round(&self, store: StoreId) -> Round {
        let mut round = Round::default();
        let waiting = match self.waiting(store).await {
            Ok((waiting, more)) => {
                round.more = more;
                waiting
            }
            Err(e) => {
                error!(error = %e, "the index does not say which packs wait for the store");
                round.failed = 1;
                return round;
            }
        };
        let sends = waiting.into_iter().map(|pack| {
            let spool = self.clone();
            async move { spool.store_whole(Lane::Backlog, &pack.camera, pack.id).await }
        });
        let mut sent = futures::stream::iter(sends).buffer_unordered(SENDS_AT_ONCE);
        while let Some(outcome) = sent.next().await {
            let e = match outcome {
                Ok(sent) => {
                    round.sent += usize::from(sent);
                    continue;
                }
                Err(e) => e,
            };
            let (health, of_store) = match &e {
                SpoolError::Store(e) if e.refuses_credentials() => (Health::Refused, true),
                SpoolError::Store(e) if e.lies() => (Health::Lies, false),
                SpoolError::Store(StoreError::NotKnown(NotKnown::Away { .. })) => (Health::Away, true),
                SpoolError::Store(StoreError::NotKnown(_)) => (Health::NotKnown, true),
                SpoolError::Store(StoreError::Request(_)) => (Health::Away, true),
                _ => (Health::Away, false),
            };
            round.failed += 1;
            round.store_failed += usize::from(of_store);
            round.first.get_or_insert((health, e.to_string()));
            if round.store_failed >= SENDS_AT_ONCE {
                break;
            }
        }
        round
    }

    /// The next packs of a store in its order, and whether there are more.
    async fn waiting(&self, store: StoreId) -> Result<(Vec<PackRow>, bool), SpoolError> {
        let newest = self.0.store.order(store) == SendOrder::NewestFirst;
        let mut own = VecDeque::new();
        let (mut after, mut more) = (None, false);
        loop {
            let page = self.0.index.sealed_after(after, WAITING_PAGE).await?;
            after = page.last().map(|pack| (pack.start, pack.id));
            let last = page.len() < WAITING_PAGE as usize;
            let goes = |pack: &PackRow| {
                let at_home = self.0.store.home(&pack.camera) == store;
                at_home && !self.waits_its_turn(&pack.camera, pack.id, pack.end)
            };
            for pack in page.into_iter().filter(goes) {
                if newest && own.len() == ROUND_NEWEST {
                    own.pop_front();
                    more = true;
                }
                own.push_back(pack);
            }
            if last || (!newest && own.len() >= ROUND_OLDEST) {
                more |= !last;
                break;
            }
        }
        let mut own: Vec<PackRow> = own.into();
        if newest {
            own.reverse();
        }
        Ok((own, more))
    }

    /// Hands a whole pack of the spool to the store and tells the index; `false` where there is nothing to send.
    pub(super) async fn store_whole(&self, lane: Lane, camera: &CameraKey, pack: PackId) -> Result<bool, SpoolError> {
        let busy = self.busy(pack).await;
        // Stored by now, or condemned, or gone: there is nothing to send.
        if self.0.index.any_pack(pack).await?.is_none_or(|row| row.state != PackState::Sealed) {
            return Ok(false);
        }
        let _not_replaced = self.0.sending.read().await;
        let whole = self.whole_path(camera, pack);
        if let Err(e) = self.0.store.put_pack_in(&Way { lane, given_up: busy.given_up() }, camera, pack, &whole).await {
            if matches!(e, StoreError::GivenUp) {
                return Ok(false);
            }
            // A crash or a cut-off write may have left the index behind the store.
            if whole.exists() || self.0.store.pack_bytes(camera, pack).await.ok().flatten().is_none() {
                return Err(e.into());
            }
        }
        self.0.index.write(vec![Change::PackStored { pack }]).await?;
        self.keep_as_cache(camera, pack).map_err(|source| SpoolError::Io { path: whole, source })?;
        Ok(true)
    }

    /// Somebody waits for this camera's footage of this time to be in its store: what waits goes before the backlog.
    /// Gives how many packs that is; a lane that is full takes no more.
    pub async fn send_first(&self, camera: &CameraKey, range: TimeRange) -> Result<usize, SpoolError> {
        let mut after = None;
        let mut taken = 0;
        loop {
            let page = self.0.index.sealed_after(after, WAITING_PAGE).await?;
            after = page.last().map(|pack| (pack.start, pack.id));
            let last = page.len() < WAITING_PAGE as usize;
            let within =
                |pack: &&PackRow| pack.camera == *camera && pack.start < range.end() && pack.end > range.start();
            let mut asked = lock(&self.0.asked);
            for pack in page.iter().filter(within).take(ASKED_MAX.saturating_sub(asked.len())) {
                let pack = (camera.clone(), pack.id);
                if !asked.contains(&pack) {
                    asked.push_back(pack);
                }
                taken += 1;
            }
            if last {
                break;
            }
        }
        self.0.asked_more.notify_one();
        Ok(taken)
    }

    /// Something of this camera waits for its store.
    pub(super) fn wake_drain(&self, camera: &CameraKey) {
        self.0.sealed[&self.0.store.home(camera)].notify_one();
    }

    /// A store's state has changed: the log and the events say so once.
    async fn tell_health(&self, store: StoreId, now: Health, detail: &str) {
        let name = self.0.store.name(store);
        let store = Some(name.to_owned());
        let fact = match now {
            Health::Good => Fact::StoreBack { store },
            Health::Away => Fact::StoreAway { store },
            Health::Refused => Fact::StoreRefused { store },
            // Whoever watches over the stores says why.
            Health::NotKnown => return,
            Health::Lies => Fact::StoreLies { store },
        };
        let words = fact.words(Language::English);
        match now {
            Health::Good => info!(store = name, "{words}"),
            _ => error!(store = name, cause = detail, "{words}"),
        }
        let event = Change::Event(Event::of_gateway(self.0.clock.wall(), fact));
        if let Err(e) = self.0.index.write(vec![event]).await {
            warn!(error = %e, "the index did not take an event of the store's");
        }
    }

    /// Gives up the uploads whose packs are no longer in the spool.
    async fn abort_stale(&self) -> Result<(), SpoolError> {
        let dir = self.dir().to_owned();
        let notes = blocking(move || {
            let mut notes = Vec::<PathBuf>::new();
            for tenant in entries(&dir)? {
                for camera in entries(&tenant)? {
                    let all = entries(&camera)?.into_iter();
                    notes.extend(all.filter(|path| path.extension().is_some_and(|e| e == "upload")));
                }
            }
            Ok(notes)
        })
        .await?;
        // The note of `x.mp4` is `x.mp4.upload`.
        for note in notes.into_iter().filter(|note| !note.with_extension("").exists()) {
            self.0.store.abort_upload(&note).await?;
            info!(note = %note.display(), "gave up an upload whose pack is gone");
        }
        Ok(())
    }
}
