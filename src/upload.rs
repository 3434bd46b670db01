//! From sealed to stored: each store has an upload of its own, so that one that is away holds up no other, and a lane for
//! what somebody has asked for.
//!
//! Invariant: each step can be cut off and taken up again: a pack is first in the store, compared, and only then stored
//! in the index; an upload that was cut off goes on where it was.
//! Queue: the index's sealed packs, bounded by the spool's room; what was asked for, bounded by
//! [`crate::spool::ASKED_MAX`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::SendOrder;
use crate::event::words::Language;
use crate::event::{Event, Fact};
use crate::index::{Change, Index, PackRow, PackState};
use crate::spool::{Spool, SpoolError, WAITING_PAGE};
use crate::store::identity::NotKnown;
use crate::store::uplink::{Lane, SendOptions};
use crate::store::{Store, StoreError, StoreId};
use footage::clock::Clock;
use footage::units::{CameraKey, PackId};

/// Packs sent to one store at a time.
const SENDS_AT_ONCE: usize = 4;
/// Packs of a round. The newest change while a round goes on, so that its rounds are short.
const ROUND_OLDEST: usize = 256;
const ROUND_NEWEST: usize = 8;
/// Without news, the store is tried this often.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// A store that keeps failing is tried this often.
const RETRY_MAX: Duration = Duration::from_secs(60);
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

/// Hands packs to their stores; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Uploader {
    index: Index,
    spool: Spool,
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Uploader {
    /// From this spool to the stores behind it.
    pub(crate) fn new(spool: Spool) -> Self {
        let (index, store, clock) = (spool.index().clone(), spool.store().clone(), spool.clock().clone());
        Self { index, spool, store, clock }
    }

    /// Starts the tasks, which end when `stop` is cancelled.
    pub(crate) fn start(&self, stop: &CancellationToken) -> Vec<tokio::task::JoinHandle<()>> {
        let drain = |id| tokio::spawn(self.clone().drain(id, stop.clone()));
        let mut tasks: Vec<_> = self.store.ids().map(drain).collect();
        tasks.push(tokio::spawn(self.clone().drain_asked(stop.clone())));
        tasks.push(tokio::spawn(self.clone().give_up_stale(stop.clone())));
        tasks
    }

    /// Hands to one store what waits for it, until stopped.
    async fn drain(self, store: StoreId, stop: CancellationToken) {
        let mut wait = RETRY_MIN;
        let mut health = Health::Good;
        while !stop.is_cancelled() {
            let round = match stop.run_until_cancelled(self.round(store)).await {
                Some(round) => round,
                None => return,
            };
            let now = round.first.as_ref().map_or(Health::Good, |(health, _)| *health);
            if now != health {
                let detail = round.first.as_ref().map_or_else(String::new, |(_, error)| error.clone());
                self.report_health(store, now, &detail).await;
                health = now;
            }
            if let Some((_, error)) = &round.first {
                let name = self.store.name(store);
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
                () = self.spool.waiting_for(store).notified(), if !failed => {}
                () = tokio::time::sleep(wait), if failed => {}
            }
        }
    }

    /// Hands over what was asked for, before the backlog, until stopped.
    async fn drain_asked(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let asked = self.spool.take_asked();
            let sends = asked.into_iter().map(|(camera, pack)| {
                let this = self.clone();
                async move {
                    // What fails here waits with the backlog, where it is tried again.
                    if let Err(error) = this.send(Lane::Requested, &camera, pack).await {
                        warn!(%pack, %camera, %error, "a pack that was asked for waits: the store did not take it");
                    }
                    this.spool.wake(&camera);
                }
            });
            let sends: Vec<_> = sends.collect();
            let all = futures::stream::iter(sends).for_each_concurrent(SENDS_AT_ONCE, |send| send);
            if stop.run_until_cancelled(all).await.is_none() {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.spool.asked_for_more() => {}
            }
        }
    }

    /// Gives up uploads whose packs are gone, now and then, until stopped.
    async fn give_up_stale(self, stop: CancellationToken) {
        let looks = async {
            let mut tick = tokio::time::interval(STALE_LOOK);
            loop {
                tick.tick().await;
                if let Err(error) = self.abort_stale().await {
                    warn!(%error, "uploads of packs that are gone may be left in the store");
                }
            }
        };
        stop.run_until_cancelled(looks).await;
    }

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
            let this = self.clone();
            async move { this.send(Lane::Backlog, &pack.camera, pack.id).await }
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
        let newest = self.store.order(store) == SendOrder::NewestFirst;
        let mut own = VecDeque::new();
        let (mut after, mut more) = (None, false);
        loop {
            let page = self.index.sealed_after(after, WAITING_PAGE).await?;
            after = page.last().map(|pack| (pack.start, pack.id));
            let last = page.len() < WAITING_PAGE as usize;
            let goes = |pack: &PackRow| {
                let at_home = self.store.home(&pack.camera) == store;
                at_home && !self.spool.waits_its_turn(&pack.camera, pack.id, pack.end)
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
    pub(crate) async fn send(&self, lane: Lane, camera: &CameraKey, pack: PackId) -> Result<bool, SpoolError> {
        let busy = self.spool.lock_pack(pack).await;
        // Stored by now, or condemned, or gone: there is nothing to send.
        if self.index.any_pack(pack).await?.is_none_or(|row| row.state != PackState::Sealed) {
            return Ok(false);
        }
        let _not_replaced = self.spool.not_replaced().await;
        let whole = self.spool.whole_path(camera, pack);
        if let Err(e) =
            self.store.put_pack_in(&SendOptions { lane, given_up: busy.given_up() }, camera, pack, &whole).await
        {
            if matches!(e, StoreError::GivenUp) {
                return Ok(false);
            }
            // A crash or a cut-off write may have left the index behind the store.
            if whole.exists() || self.store.pack_bytes(camera, pack).await.ok().flatten().is_none() {
                return Err(e.into());
            }
        }
        self.index.write(vec![Change::PackStored { pack }]).await?;
        self.spool.keep_as_cache(camera, pack).map_err(|source| SpoolError::Io { path: whole, source })?;
        Ok(true)
    }

    /// A store's state has changed: the log and the events say so once.
    async fn report_health(&self, store: StoreId, now: Health, detail: &str) {
        let name = self.store.name(store);
        let store = Some(name.to_owned());
        let fact = match now {
            Health::Good => Fact::StoreBack { store },
            Health::Away => Fact::StoreAway { store },
            Health::Refused => Fact::StoreRefused { store },
            Health::Lies => Fact::StoreLies { store },
            // The watch over the stores reports why.
            Health::NotKnown => return,
        };
        let words = fact.words(Language::English);
        match now {
            Health::Good => info!(store = name, "{words}"),
            _ => error!(store = name, cause = detail, "{words}"),
        }
        let event = Change::Event(Event::of_gateway(self.clock.wall(), fact));
        if let Err(e) = self.index.write(vec![event]).await {
            warn!(error = %e, "the index did not take an event of the store's");
        }
    }

    /// Gives up the uploads whose packs are no longer in the spool.
    async fn abort_stale(&self) -> Result<(), SpoolError> {
        for note in self.spool.stale_notes().await? {
            self.store.abort_upload(&note).await?;
            info!(note = %note.display(), "gave up an upload whose pack is gone");
        }
        Ok(())
    }
}
