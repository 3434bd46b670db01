//! Copies of journals in the stores: tiles, checkpoints and time stamps as they are made, and whether a journal is what it was.
//!
//! ```text
//! checkpoint in the store ── is it in the journal? ── no ──→ the journal fails: it was set back
//!                                  │ yes
//! tiles that it lacks ──→ the journal's checkpoint ──→ time stamps; partial tiles that are outgrown are removed
//! ```
//!
//! Invariants: a checkpoint in a store is replaced only by one that continues it. No content leaves the data folder. A store
//! that is away holds up nothing: its copy is made when it is back.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use journal::stamps::{self, Kept};
use journal::{Head, copy};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::naming::{CopyError, InStores, Named};
use super::{Journals, OfTenant, TENANTS_AT_ONCE, Work, naming};
use crate::event::{Fact, JournalProof};
use crate::store::StoreError;
use crate::store::shelf::Shelf;
use footage::failure::{Failure, Kind};
use footage::platform;

/// Checkpoints that no store has are looked for so often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// One that could not be copied is tried again so often.
const RETRY_EVERY: Duration = Duration::from_secs(30);
/// So long may one attempt take. One under a timetable that sends nothing now is given up, and tried again.
const COPY_MAX: Duration = Duration::from_secs(120);
/// So long does opening a journal wait for what stores say of it; if they say it later, the journal is closed then.
pub(super) const ASK_MAX: Duration = Duration::from_secs(3);
/// The end of the gateway waits so long for the last checkpoint to be copied.
const LAST_MAX: Duration = Duration::from_secs(5);
/// A known store that takes no copy for so long is an alarm. One that is away has its own.
const ALARM_AFTER: Duration = Duration::from_secs(3600);
/// Tiles on their way at once.
const TILES_AT_ONCE: usize = 4;

/// What a copy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Copied {
    head: Head,
    /// The last time stamp.
    stamped: Option<Kept>,
}

/// How far a tenant's journal is copied.
#[derive(Debug, Default)]
pub(super) struct Copying {
    /// What the copy's checkpoint says, since this process has looked at it.
    copied: Option<Copied>,
    /// Each store where a copy may lie has answered.
    asked: bool,
    retry: Option<Instant>,
    failing: Option<Instant>,
    alarmed: bool,
}

impl Journals {
    /// Copies until `stop`.
    pub(super) async fn copy(&self, stop: &CancellationToken) {
        let mut turns = interval(LOOK_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let copying = async {
            loop {
                turns.tick().await;
                let copy = async |of: Arc<OfTenant>| self.copy_due(&of).await;
                stream::iter(self.all()).for_each_concurrent(TENANTS_AT_ONCE, copy).await;
            }
        };
        let _: Option<()> = stop.run_until_cancelled(copying).await;
    }

    /// The last checkpoints, as far as stores take them at once.
    pub(super) async fn copy_last(&self) {
        let copy = async |of: Arc<OfTenant>| drop(self.copy_now(&of).await);
        let all = stream::iter(self.all()).for_each_concurrent(TENANTS_AT_ONCE, copy);
        if timeout(LAST_MAX, all).await.is_err() {
            info!("the last checkpoints of journals are copied to their stores at the next start");
        }
    }

    async fn copy_due(&self, of: &Arc<OfTenant>) {
        let is_due = of.copying.lock().retry.is_none_or(|retry| Instant::now() >= retry);
        if !is_due {
            return;
        }
        let copied = match timeout(COPY_MAX, self.copy_now(of)).await {
            Ok(copied) => copied,
            Err(_) => Err(CopyError::Slow { store: "of its footage".to_owned() }),
        };
        match copied {
            Ok(()) => self.copied(of).await,
            Err(CopyError::Contradicted { store, head }) => self.contradicted(of, &store, head).await,
            Err(error) => self.not_copied(of, error).await,
        }
    }

    async fn copied(&self, of: &OfTenant) {
        let was_alarmed = {
            let mut copying = of.copying.lock();
            (copying.retry, copying.failing) = (None, None);
            std::mem::take(&mut copying.alarmed)
        };
        if was_alarmed {
            let fact = Fact::JournalProven { proof: JournalProof::Copy };
            self.report(of, self.0.clock.wall(), fact).await;
        }
    }

    async fn not_copied(&self, of: &OfTenant, error: CopyError) {
        let is_new = {
            let (mut copying, now) = (of.copying.lock(), Instant::now());
            copying.retry = Some(now + RETRY_EVERY);
            // A store that is away, slow or another has an alarm of its own; one that takes packs and no copy has not.
            let is_known = match &error {
                CopyError::Store { source: StoreError::NotKnown(_), .. } | CopyError::Slow { .. } => false,
                CopyError::Store { source, .. } => source.kind() == Kind::Denied,
                _ => true,
            };
            if !is_known {
                copying.failing = None;
            }
            let since = *copying.failing.get_or_insert(now);
            let is_damaged = matches!(error, CopyError::Damaged { .. });
            let is_due = is_damaged || (is_known && now.duration_since(since) >= ALARM_AFTER);
            is_due && !std::mem::replace(&mut copying.alarmed, true)
        };
        if is_new {
            warn!(tenant = %of.tenant, %error, "the journal has no copy in the store");
            let fact = Fact::JournalUnproven { proof: JournalProof::Copy };
            self.report(of, self.0.clock.wall(), fact).await;
        } else {
            debug!(tenant = %of.tenant, %error, "the journal's copy waits");
        }
    }

    /// A store knows a state of the journal that this one is not: it takes no entry until the operator has seen to it.
    async fn contradicted(&self, of: &Arc<OfTenant>, store: &str, head: Head) {
        let at = self.0.clock.wall();
        {
            let _turn = of.mending.lock().await;
            of.close();
        }
        // So that it is known at the next start, whether or not the store answers then.
        self.know(of, head).await;
        let why = CopyError::Contradicted { store: store.to_owned(), head };
        self.fails(of, Work::Upkeep, at, (why.to_string(), why.kind())).await;
    }

    /// What stores say of the journal in this folder, as far as they say it at once.
    pub(super) async fn asked(&self, of: &OfTenant, named: &Named) -> InStores {
        let asked = timeout(ASK_MAX, self.0.naming.in_stores(&of.tenant, named)).await;
        let in_stores = asked.unwrap_or_default();
        for fault in &in_stores.faults {
            debug!(tenant = %of.tenant, error = %fault, "a store says nothing of the journal yet");
        }
        in_stores
    }

    /// Makes the copy that is the journal's last checkpoint.
    async fn copy_now(&self, of: &Arc<OfTenant>) -> Result<(), CopyError> {
        let Some(journal) = of.state.lock().journal.clone() else { return Ok(()) };
        let (copied, asked) = {
            let copying = of.copying.lock();
            (copying.copied, copying.asked)
        };
        let stamped = of.stamped.lock().last;
        let is_known =
            |copied: Copied| copied.head == journal.head() && (stamped.is_none() || copied.stamped == stamped);
        if asked && copied.is_some_and(is_known) {
            return Ok(());
        }
        let folder = journal.folder().to_owned();
        let Some(named) = naming::current(&self.0.naming, &of.tenant, &folder).await else { return Ok(()) };
        let mut unanswered = None;
        if !asked {
            let in_stores = self.0.naming.in_stores(&of.tenant, &named).await;
            for (store, head) in in_stores.heads {
                ensure_continued(&folder, journal.head().size, head, &store).await?;
            }
            unanswered = in_stores.faults.into_iter().next();
            of.copying.lock().asked = unanswered.is_none();
        }
        let Some(shelf) = named.shelves.first() else { return Ok(()) };
        if let Some(copied) = copy_to(shelf, &named, &folder, copied).await? {
            of.copying.lock().copied = Some(copied);
        }
        unanswered.map_or(Ok(()), Err)
    }
}

/// Brings a copy up to the journal's checkpoint, and says what that is; `None` where it is not signed under its present name
/// yet. `copied`: what the copy was when this was done last.
async fn copy_to(
    shelf: &Shelf,
    named: &Named,
    folder: &Path,
    copied: Option<Copied>,
) -> Result<Option<Copied>, CopyError> {
    let failed = |source| CopyError::Store { store: shelf.store().to_owned(), source };
    let checkpoint = blocking(folder, |folder| copy::checkpoint(&folder)).await?.unwrap_or_default();
    let Ok(head) = copy::open(&checkpoint, &named.keys()) else { return Ok(None) };
    let theirs = named.head_in(shelf).await?;
    if let Some(theirs) = theirs {
        ensure_continued(folder, head.size, theirs, shelf.store()).await?;
    }
    let all = blocking(folder, |folder| stamps::kept(&folder)).await?;
    let stamped = all.last().copied();
    let files = |stamps: &[Kept]| stamps.iter().flat_map(|of| [of.checkpoint(), of.reply()]).collect::<Vec<_>>();
    let (missing, outgrown, stamps): (Vec<_>, Vec<_>, Vec<_>) = match copied.filter(|of| theirs == Some(of.head)) {
        Some(Copied { head: before, stamped }) => {
            let newer = all.partition_point(|stamp| stamped.is_some_and(|last| *stamp <= last));
            let (tiles, outgrown) = (copy::tiles(before.size, head.size), copy::outgrown(before.size, head.size));
            (tiles.collect(), outgrown.collect(), files(&all[newer..]))
        }
        // Of one that was cut off, or that somebody removed parts of, what there is counts.
        None => {
            let listed = shelf.list().await.map_err(failed)?;
            let outgrown = listed.iter().map(|(name, _)| name).filter(|name| copy::is_outgrown(name, head.size));
            let outgrown = outgrown.cloned().collect();
            let there: HashSet<&String> = listed.iter().map(|(name, _)| name).collect();
            let stamps = files(&all).into_iter().filter(|name| !there.contains(name)).collect();
            let whole = listed.into_iter().filter(|(name, bytes)| copy::tile_bytes(name) == Some(*bytes));
            let whole: HashSet<String> = whole.map(|(name, _)| name).collect();
            (copy::tiles(0, head.size).filter(|name| !whole.contains(name)).collect(), outgrown, stamps)
        }
    };
    let put = |name: String| async move {
        let of = name.clone();
        let tile = blocking(folder, move |folder| copy::tile(&folder, &of)).await?;
        shelf.put(&name, tile).await.map_err(failed)
    };
    stream::iter(missing.into_iter().map(Ok)).try_for_each_concurrent(TILES_AT_ONCE, put).await?;
    if theirs != Some(head) {
        shelf.put(copy::CHECKPOINT, checkpoint).await.map_err(failed)?;
    }
    // A reply comes after its checkpoint here too.
    for name in stamps {
        let of = name.clone();
        let stamp = blocking(folder, move |folder| stamps::read(&folder, &of)).await?;
        shelf.put(&name, stamp).await.map_err(failed)?;
    }
    stream::iter(outgrown)
        .map(|name| async move { shelf.remove(&name).await })
        .buffer_unordered(TILES_AT_ONCE)
        .for_each(|removed| async move {
            // One that stays is removed after the next start.
            if let Err(error) = removed {
                debug!(%error, "a partial tile that is outgrown stays in the store");
            }
        })
        .await;
    Ok(Some(Copied { head, stamped }))
}

async fn ensure_continued(folder: &Path, size: u64, head: Head, store: &str) -> Result<(), CopyError> {
    match blocking(folder, move |folder| copy::continues(&folder, size, head)).await? {
        true => Ok(()),
        false => Err(CopyError::Contradicted { store: store.to_owned(), head }),
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    folder: &Path,
    work: impl FnOnce(PathBuf) -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let folder = folder.to_owned();
    platform::spawn_blocking(move || work(folder)).await.unwrap_or_else(|e| Err(std::io::Error::other(e)))
}

/// What the copies of a journal say against it, for who verifies it.
#[derive(Debug, Default)]
pub struct Compared {
    /// What the copies' checkpoints say: each has to be in the journal.
    pub heads: Vec<Head>,
    /// Copies that are as the journal is: the store's name, and what the copy's checkpoint says.
    pub equal: Vec<(String, Head)>,
    /// Stores without a copy.
    pub without: Vec<String>,
    /// What is wrong.
    pub faults: Vec<CopyError>,
}

/// Compares each tile of each copy with the journal in this folder. What the checkpoints say is for the verifier.
pub async fn compare(naming: &naming::Naming, named: &Named, tenant: &super::TenantId, folder: &Path) -> Compared {
    let InStores { heads, faults } = naming.in_stores(tenant, named).await;
    let mut compared = Compared { heads: heads.iter().map(|(_, head)| *head).collect(), faults, ..Compared::default() };
    for shelf in &named.shelves {
        let head = match named.head_in(shelf).await {
            Ok(Some(head)) => head,
            Ok(None) => {
                compared.without.push(shelf.store().to_owned());
                continue;
            }
            // That is said already.
            Err(_) => continue,
        };
        let before = compared.faults.len();
        for name in copy::tiles(0, head.size) {
            let of = name.clone();
            // What the journal itself lacks is the verifier's to say.
            let Ok(tile) = blocking(folder, move |folder| copy::tile(&folder, &of)).await else { continue };
            let damaged = |what: &str| CopyError::Damaged {
                store: shelf.store().to_owned(),
                object: name.clone(),
                what: what.to_owned(),
            };
            match shelf.get(&name, copy::BYTES_MAX).await {
                Ok(Some(bytes)) if bytes == tile => {}
                Ok(Some(_)) => compared.faults.push(damaged("is another than the journal has")),
                // A gateway that runs has made another checkpoint meanwhile, and the tile has grown.
                Ok(None) if named.head_in(shelf).await.ok().flatten().is_some_and(|now| now != head) => {}
                Ok(None) => compared.faults.push(damaged("is missing")),
                Err(source) => {
                    compared.faults.push(CopyError::Store { store: shelf.store().to_owned(), source });
                    break;
                }
            }
        }
        compare_stamps(shelf, folder, &mut compared.faults).await;
        if compared.faults.len() == before {
            compared.equal.push((shelf.store().to_owned(), head));
        }
    }
    compared
}

/// Time stamps that the copy has. One that is not there yet is on its way.
async fn compare_stamps(shelf: &Shelf, folder: &Path, faults: &mut Vec<CopyError>) {
    for stamp in blocking(folder, |folder| stamps::kept(&folder)).await.unwrap_or_default() {
        for name in [stamp.checkpoint(), stamp.reply()] {
            let of = name.clone();
            let Ok(own) = blocking(folder, move |folder| stamps::read(&folder, &of)).await else { continue };
            match shelf.get(&name, copy::BYTES_MAX).await {
                Ok(Some(theirs)) if theirs != own => faults.push(CopyError::Damaged {
                    store: shelf.store().to_owned(),
                    object: name,
                    what: "is another than the journal has".to_owned(),
                }),
                Ok(_) => {}
                Err(source) => return faults.push(CopyError::Store { store: shelf.store().to_owned(), source }),
            }
        }
    }
}
