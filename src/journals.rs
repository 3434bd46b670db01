//! The journals of all tenants: what happens to footage is written there before it happens, or it does not happen.
//!
//! ```text
//! http ── begin ─→ Accesses ── access_begun ─→ journal (crates/journal)      before the first byte
//!      ── bytes ─→    "     ── access_ended ─→    "                          when nothing was sent for a minute
//! sweep, holds, reload ───────────────────────→   "
//! run: flush each half second, checkpoint each minute, copied to the store; stamped each hour; forget each hour
//! ```
//!
//! Invariants: a journal that fails, or does not open, refuses access to its tenant's footage, and stops neither recording
//! nor deletion; it is tried again until it works. What the index knows of a journal's last checkpoint has to be in it.
//! Absent on purpose: what a journal looks like on the disk.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures::{StreamExt, stream};
use journal::entry::{Action, Author, Draft};
use journal::{Head, Journal, JournalError};
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::access::Accesses;
pub use self::access::{AccessKey, Accessing};
use self::copies::Copying;
use self::denied::Denied;
use self::naming::Naming;
use self::stamping::{Stamped, Stamping};
use crate::event::{Event, Fact, Scope};
use crate::index::identity::Kind as IdentityKind;
use crate::index::{Change, Index};
use crate::store::Store;
use footage::clock::Clock;
use footage::failure::{Failure, Kind};
use footage::keys::Keys;
use footage::platform;
use footage::units::{TenantId, WallTime};

mod access;
pub mod copies;
mod denied;
mod forget;
pub mod left;
pub mod loss;
pub mod naming;
mod reading;
pub mod stamping;

#[cfg(test)]
mod tests;

/// Entries are flushed so often.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// Checkpoints are made at most so often.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// Entries whose time is over are looked for so often.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
/// What a journal that was set aside is called behind its tenant's id and a dot, which no id has in it.
const ASIDE: &str = "damaged-";
/// The journals of so many tenants are flushed, or kept otherwise, at once.
const TENANTS_AT_ONCE: usize = 8;
/// Entries of tenants that are configured no more are destroyed at this age: the most that the law allows.
const MONTHS_MAX: u16 = 36;
/// A journal that does not open is tried again so often.
const REOPEN_EVERY: Duration = Duration::from_secs(10);

/// The journal of a tenant takes no entry: what it was to be about must not be done.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the journal of {tenant} takes no entry: {why}")]
pub struct NoEntry {
    tenant: TenantId,
    why: String,
    kind: Kind,
}

impl Failure for NoEntry {
    fn kind(&self) -> Kind {
        self.kind
    }
}

/// All journals; cheap to clone.
#[derive(Clone)]
pub struct Journals(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    naming: Naming,
    /// Who stamps checkpoints.
    authority: OnceLock<Stamping>,
    index: Index,
    clock: Arc<dyn Clock>,
    tenants: Mutex<HashMap<TenantId, Arc<OfTenant>>>,
}

/// What is known of a tenant's journal.
struct OfTenant {
    tenant: TenantId,
    /// Entries are destroyed at this age.
    months: Mutex<u16>,
    state: Mutex<State>,
    /// One at a time opens the journal, or makes the first entry after a failure.
    mending: tokio::sync::Mutex<()>,
    accesses: Accesses,
    refused: Mutex<u64>,
    denied: Denied,
    copying: Mutex<Copying>,
    stamped: Mutex<Stamped>,
}

#[derive(Default)]
struct State {
    journal: Option<Arc<Journal>>,
    failing: Option<Failing>,
    /// One that was closed while something may still have been done with it.
    closed: Weak<Journal>,
}

/// From the first failure that an event tells of to the first success after it.
struct Failing {
    why: String,
    kind: Kind,
    since: WallTime,
    /// An entry was refused: only an entry shows that it works again, for a flush of nothing succeeds on any disk.
    entry_refused: bool,
}

/// What was done with a journal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Entry,
    Upkeep,
}

impl fmt::Debug for Journals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journals({})", self.0.folder.display())
    }
}

/// Where the journals lie.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("journal")
}

/// The tenants that have journals there, configured or not.
pub fn on_disk(folder: &Path) -> Vec<TenantId> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut tenants: Vec<TenantId> = names.filter_map(|name| name.file_name().to_str()?.parse().ok()).collect();
    tenants.sort();
    tenants
}

impl Journals {
    /// The journals in this folder, with copies in these stores; none is open yet.
    pub fn new(folder: PathBuf, keys: Keys, store: Store, index: Index, clock: Arc<dyn Clock>) -> Self {
        let naming = Naming::new(keys, store);
        Self(Arc::new(Inner { folder, naming, authority: OnceLock::new(), index, clock, tenants: Mutex::default() }))
    }

    /// The same, with time stamps of this authority.
    #[must_use]
    pub fn stamped_by(self, authority: Option<Stamping>) -> Self {
        // The first one counts, and there is no other.
        authority.into_iter().for_each(|of| drop(self.0.authority.set(of)));
        self
    }

    /// Opens the journals of these tenants, each with the months that its entries are kept, where they are not open yet. Those
    /// of tenants that were removed, before this start too, are open: footage of theirs is destroyed at its end, and their
    /// entries are. A journal that cannot be opened is an event, and is tried again.
    pub async fn follow(&self, tenants: impl IntoIterator<Item = (TenantId, u16)>) {
        let folder = self.0.folder.clone();
        let prepared = platform::spawn_blocking(move || (left::prepare(&folder), on_disk(&folder))).await;
        let (prepared, on_disk) = prepared.unwrap_or((Ok(()), Vec::new()));
        if let Err(error) = prepared {
            warn!(%error, "commands cannot leave what belongs in the journals");
        }
        let tenants: HashMap<TenantId, u16> = tenants.into_iter().collect();
        {
            let mut open = self.0.tenants.lock();
            for tenant in on_disk {
                open.entry(tenant.clone()).or_insert_with(|| Arc::new(OfTenant::new(tenant)));
            }
            for (tenant, months) in tenants {
                let of = open.entry(tenant.clone()).or_insert_with(|| Arc::new(OfTenant::new(tenant)));
                *of.months.lock() = months;
            }
        }
        let open = async |of: Arc<OfTenant>| self.open(&of).await;
        stream::iter(self.all()).for_each_concurrent(TENANTS_AT_ONCE, open).await;
    }

    /// Enters an act in the tenant's journal, and says under which number.
    ///
    /// # Errors
    /// When it is not there: the act must not be done.
    pub async fn append(&self, tenant: &TenantId, draft: Draft) -> Result<u64, NoEntry> {
        let of = self.of(tenant)?;
        self.append_to(&of, draft).await
    }

    /// Enters an act that has been done, and that could not wait: a failure is an event and in the log.
    pub async fn note(&self, tenant: &TenantId, draft: Draft) {
        if let Err(error) = self.append(tenant, draft).await {
            warn!(%error, "what the gateway did is not in the journal");
        }
    }

    /// Credentials for this tenant were refused.
    pub fn refused(&self, tenant: &TenantId) {
        if let Ok(of) = self.of(tenant) {
            *of.refused.lock() += 1;
        }
    }

    /// Enters that somebody asked for what they may not do: the same once a minute.
    pub async fn denied(&self, tenant: &TenantId, draft: Draft) {
        if self.of(tenant).is_ok_and(|of| of.denied.is_new(&draft)) {
            self.note(tenant, draft).await;
        }
    }

    /// Footage of a camera is about to be handed out. The first byte may go when this has returned.
    ///
    /// # Errors
    /// When the journal takes no entry: nothing may be handed out.
    pub async fn begin(&self, tenant: &TenantId, key: AccessKey) -> Result<Accessing, NoEntry> {
        let of = self.of(tenant)?;
        if let Some(accessing) = of.going_on(&key) {
            return Ok(accessing);
        }
        // A client that goes meanwhile must not leave a beginning without an end.
        let (journals, tenant) = (self.clone(), tenant.clone());
        let beginning = tokio::spawn(async move {
            // Of many that begin the same at once, one makes the entry.
            let _turn = of.accesses.turn().await;
            if let Some(accessing) = of.going_on(&key) {
                return Ok(accessing);
            }
            let begun = journals.append_to(&of, key.begun()).await?;
            Ok(of.accesses.begin(key, begun))
        });
        beginning.await.map_err(|_| NoEntry {
            tenant,
            why: "the work on it ended badly".to_owned(),
            kind: Kind::Internal,
        })?
    }

    /// Whether the tenant's journal takes entries, as far as is known.
    ///
    /// # Errors
    /// When it does not: what it would be about must not be begun.
    pub fn ready(&self, tenant: &TenantId) -> Result<(), NoEntry> {
        let of = self.of(tenant)?;
        if of.works() { Ok(()) } else { Err(of.no_entry()) }
    }

    /// Whether this access goes on.
    pub fn goes_on(&self, tenant: &TenantId, key: &AccessKey) -> bool {
        self.of(tenant).is_ok_and(|of| of.accesses.going_on(key).is_some())
    }

    /// Enters what commands beside the gateway left, at the time at which they did.
    async fn enter_left(&self) {
        let folder = self.0.folder.clone();
        let all = platform::spawn_blocking(move || left::all(&folder)).await;
        for (path, left) in all.unwrap_or_default() {
            // Of a tenant without a journal: it waits until there is one.
            let Ok(of) = self.of(&left.tenant) else { continue };
            let entered = self.keep(&of, Work::Entry, move |journal, _| journal.append(left.at, left.draft)).await;
            let removed = match entered {
                Ok(_) => platform::spawn_blocking(move || platform::remove_durably(&path)).await,
                Err(_) => continue,
            };
            if let Ok(Err(error)) = removed {
                warn!(%error, "what a command left for the journal is entered, and cannot be removed");
            }
        }
    }

    /// The tenant's last checkpoint, for an answer's header or a print.
    pub fn head(&self, tenant: &TenantId) -> Option<Head> {
        let of = self.of(tenant).ok()?;
        of.state.lock().journal.as_ref().map(|journal| journal.head())
    }

    /// Keeps the journals until `stop`, then ends what goes on, and makes a last checkpoint.
    pub async fn run(self, stop: CancellationToken) {
        futures::join!(self.flush(&stop), self.keep_up(&stop), self.copy(&stop), self.stamp(&stop));
        self.enter_left().await;
        for of in self.all() {
            self.end(&of).await;
        }
        self.copy_last().await;
    }

    /// Flushes each half second, whatever else takes its time.
    async fn flush(&self, stop: &CancellationToken) {
        let mut turns = interval(FLUSH_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(turns.tick()).await.is_some() {
            let flush = async |of: Arc<OfTenant>| {
                // That it fails is an event, and in the log.
                let _ = self.keep(&of, Work::Upkeep, |journal, _| journal.sync()).await;
                self.mend(&of).await;
            };
            stream::iter(self.all()).for_each_concurrent(TENANTS_AT_ONCE, flush).await;
        }
    }

    /// Ends accesses, makes checkpoints, destroys what is over, opens what was not.
    async fn keep_up(&self, stop: &CancellationToken) {
        let mut turns = interval(FLUSH_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let now = Instant::now();
        let (mut checkpoint, mut forget, mut reopen) = (now + CHECKPOINT_EVERY, now, now + REOPEN_EVERY);
        while stop.run_until_cancelled(turns.tick()).await.is_some() {
            let now = Instant::now();
            let due = |next: &mut Instant, every| {
                let is_due = now >= *next;
                *next = if is_due { now + every } else { *next };
                is_due
            };
            let (checkpoint, forget) = (due(&mut checkpoint, CHECKPOINT_EVERY), due(&mut forget, FORGET_EVERY));
            let reopen = due(&mut reopen, REOPEN_EVERY);
            self.enter_left().await;
            let keep_up = async |of: Arc<OfTenant>| {
                if reopen {
                    self.open(&of).await;
                }
                if checkpoint {
                    self.enter_refused(&of).await;
                }
                self.end_accesses(&of, false).await;
                if checkpoint {
                    self.checkpoint(&of).await;
                }
                if forget {
                    self.forget(&of).await;
                }
            };
            stream::iter(self.all()).for_each_concurrent(TENANTS_AT_ONCE, keep_up).await;
        }
    }

    fn all(&self) -> Vec<Arc<OfTenant>> {
        self.0.tenants.lock().values().cloned().collect()
    }

    fn of(&self, tenant: &TenantId) -> Result<Arc<OfTenant>, NoEntry> {
        let of = self.0.tenants.lock().get(tenant).cloned();
        of.ok_or_else(|| NoEntry { tenant: tenant.clone(), why: "it is not open".to_owned(), kind: Kind::Retry })
    }

    async fn append_to(&self, of: &Arc<OfTenant>, draft: Draft) -> Result<u64, NoEntry> {
        self.mend(of).await;
        self.keep(of, Work::Entry, move |journal, at| journal.append(at, draft)).await
    }

    /// Tries the first entry after some that were refused: that they were.
    async fn mend(&self, of: &Arc<OfTenant>) {
        if of.refuses_since().is_none() {
            return;
        }
        let _turn = of.mending.lock().await;
        if let Some(since) = of.refuses_since() {
            let draft = Draft::new(Author::Gateway, Action::Interrupted { since: since.to_timestamp() });
            // That it is refused too is known already.
            let _ = self.keep(of, Work::Entry, move |journal, at| journal.append(at, draft)).await;
        }
    }

    /// Does something with a journal; what comes of it decides whether it fails.
    async fn keep<T: Send + 'static>(
        &self,
        of: &Arc<OfTenant>,
        what: Work,
        work: impl FnOnce(&Journal, jiff::Timestamp) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, NoEntry> {
        let at = self.0.clock.wall();
        let journal = of.state.lock().journal.clone();
        let Some(journal) = journal else {
            if let Some(failing) = &mut of.state.lock().failing {
                failing.entry_refused |= what == Work::Entry;
            }
            return Err(of.no_entry());
        };
        let done = platform::spawn_blocking(move || work(&journal, at.to_timestamp())).await;
        let done = done.map_err(|_| ("the work on it ended badly".to_owned(), Kind::Internal));
        let done = done.and_then(|done| done.map_err(|error| (error.to_string(), error.kind())));
        // An entry that is refused for what it is says nothing of the journal.
        match &done {
            Ok(_) => self.works(of, what, at).await,
            Err((_, Kind::Invalid)) => {}
            Err((why, kind)) => self.fails(of, what, at, (why.clone(), *kind)).await,
        }
        done.map_err(|(why, kind)| NoEntry { tenant: of.tenant.clone(), why, kind })
    }

    async fn works(&self, of: &OfTenant, what: Work, at: WallTime) {
        let shows = |failing: &mut Failing| what == Work::Entry || !failing.entry_refused;
        let was_failing = of.state.lock().failing.take_if(shows).is_some();
        if was_failing {
            info!(tenant = %of.tenant, "the journal is written again");
            self.report(of, at, Fact::JournalWorks).await;
        }
    }

    async fn fails(&self, of: &OfTenant, what: Work, at: WallTime, (why, kind): (String, Kind)) {
        let is_new = {
            let failing = &mut of.state.lock().failing;
            let before = failing.take();
            let entry_refused = what == Work::Entry || before.as_ref().is_some_and(|before| before.entry_refused);
            let since = before.as_ref().map_or(at, |before| before.since);
            *failing = Some(Failing { why: why.clone(), kind, since, entry_refused });
            before.is_none()
        };
        if is_new {
            error!(tenant = %of.tenant, error = %why, "the journal fails: no footage is handed out until it is written again");
            self.report(of, at, Fact::JournalFailed).await;
        }
    }

    async fn report(&self, of: &OfTenant, at: WallTime, fact: Fact) {
        let event = Event::new(at, Scope::Tenant(of.tenant.clone()), fact);
        if let Err(error) = self.0.index.write(vec![Change::Event(event)]).await {
            warn!(%error, "the index did not take an event of the journal");
        }
    }

    /// Opens a journal that is not.
    async fn open(&self, of: &Arc<OfTenant>) {
        // A configuration that is read again and the next try may come at once: two of them would write over each other.
        let _turn = of.mending.lock().await;
        {
            let state = of.state.lock();
            if state.journal.is_some() || state.closed.strong_count() > 0 {
                return;
            }
        }
        let at = self.0.clock.wall();
        let known = match self.0.index.identities(IdentityKind::Journal).await {
            Ok(mut known) => known.remove(of.tenant.as_str()).and_then(|bytes| head_of(&bytes)),
            Err(error) => return self.fails(of, Work::Upkeep, at, (error.to_string(), error.kind())).await,
        };
        let folder = self.0.folder.join(of.tenant.as_str());
        let Some(named) = naming::current(&self.0.naming, &of.tenant, &folder).await else { return };
        let asked = self.asked(of, &named).await;
        let known: Vec<Head> = known.into_iter().chain(asked.heads.into_iter().map(|(_, head)| head)).collect();
        let opened = platform::spawn_blocking(move || Journal::open(&folder, named.signer, &known, at.to_timestamp()));
        let opened = opened.await;
        match opened {
            Ok(Ok(journal)) => {
                of.state.lock().journal = Some(Arc::new(journal));
                self.works(of, Work::Upkeep, at).await;
            }
            Ok(Err(error)) => self.fails(of, Work::Upkeep, at, (error.to_string(), error.kind())).await,
            Err(_) => {
                let why = "opening it ended badly".to_owned();
                self.fails(of, Work::Upkeep, at, (why, Kind::Internal)).await;
            }
        }
    }

    async fn checkpoint(&self, of: &Arc<OfTenant>) {
        let before = of.state.lock().journal.as_ref().map(|journal| journal.head());
        if let Ok(head) = self.keep(of, Work::Upkeep, |journal, _| journal.checkpoint()).await
            && before != Some(head)
        {
            self.know(of, head).await;
        }
    }

    /// The index knows this checkpoint from here on.
    async fn know(&self, of: &OfTenant, head: Head) {
        if let Err(error) = self.0.index.write(vec![known_head(&of.tenant, head)]).await {
            warn!(%error, "the index did not take the journal's checkpoint");
        }
    }

    /// Enters how often credentials were refused since the last time.
    async fn enter_refused(&self, of: &Arc<OfTenant>) {
        let refused = std::mem::take(&mut *of.refused.lock());
        if refused > 0 {
            let draft = Draft::new(Author::Gateway, Action::Refused { count: refused });
            if self.append_to(of, draft).await.is_err() {
                *of.refused.lock() += refused;
            }
        }
    }

    /// Enters what was handed out by accesses that are over; `all`: by those that go on, too.
    async fn end_accesses(&self, of: &Arc<OfTenant>, all: bool) {
        for over in of.accesses.take_over(all) {
            if self.append_to(of, over.ended()).await.is_err() {
                of.accesses.put_back(over);
            }
        }
    }

    async fn end(&self, of: &Arc<OfTenant>) {
        self.enter_refused(of).await;
        self.end_accesses(of, true).await;
        self.checkpoint(of).await;
    }
}

impl OfTenant {
    fn new(tenant: TenantId) -> Self {
        let (months, state, mending) = (Mutex::new(MONTHS_MAX), Mutex::default(), tokio::sync::Mutex::default());
        let (accesses, refused, denied) = (Accesses::default(), Mutex::default(), Denied::default());
        let (copying, stamped) = (Mutex::default(), Mutex::default());
        Self { tenant, months, state, mending, accesses, refused, denied, copying, stamped }
    }

    /// Nothing more is done with the journal.
    fn close(&self) {
        let mut state = self.state.lock();
        if let Some(journal) = state.journal.take() {
            state.closed = Arc::downgrade(&journal);
        }
        *self.copying.lock() = Copying::default();
        self.stamped.lock().forget();
    }

    fn works(&self) -> bool {
        let state = self.state.lock();
        state.journal.is_some() && state.failing.is_none()
    }

    /// Since when entries are refused that may be made again.
    fn refuses_since(&self) -> Option<WallTime> {
        let state = self.state.lock();
        let failing = state.failing.as_ref().filter(|failing| failing.entry_refused && state.journal.is_some());
        failing.map(|failing| failing.since)
    }

    /// One more answer of an access that goes on, while its end can be entered.
    fn going_on(&self, key: &AccessKey) -> Option<Accessing> {
        if self.works() { self.accesses.going_on(key) } else { None }
    }

    fn no_entry(&self) -> NoEntry {
        let state = self.state.lock();
        let (why, kind) = match &state.failing {
            Some(failing) => (failing.why.clone(), failing.kind),
            None => ("it is not open".to_owned(), Kind::Retry),
        };
        NoEntry { tenant: self.tenant.clone(), why, kind }
    }
}

/// The index knows this checkpoint of a journal from here on.
fn known_head(tenant: &TenantId, head: Head) -> Change {
    let id = Some([&head.size.to_be_bytes()[..], &head.root].concat());
    Change::Identify { kind: IdentityKind::Journal, name: tenant.to_string(), id }
}

/// What the index knows of a journal.
pub fn head_of(bytes: &[u8]) -> Option<Head> {
    let (size, root) = bytes.split_first_chunk::<8>()?;
    Some(Head { size: u64::from_be_bytes(*size), root: root.try_into().ok()? })
}
