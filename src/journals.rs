//! The journals of all tenants: what happens to footage is written there before it happens, or it does not happen.
//!
//! ```text
//! http ── begin ─→ Accesses ── access_begun ─→ journal (crates/journal)      before the first byte
//!      ── bytes ─→    "     ── access_ended ─→    "                          when nothing was sent for a minute
//! sweep, holds, reload ───────────────────────→   "
//! run: flush each half second, checkpoint each minute, forget each hour
//! ```
//!
//! Invariants: a journal that fails, or does not open, refuses access to its tenant's footage, and stops neither recording
//! nor deletion; it is tried again until it works. What the index knows of a journal's last checkpoint has to be in it.
//! Absent on purpose: what a journal looks like on the disk.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use journal::checkpoint::Signer;
use journal::entry::{Action, Author, Draft};
use journal::{Head, Journal, JournalError};
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::access::Accesses;
pub use self::access::{AccessKey, Accessing};
use crate::event::{Event, Fact, Scope};
use crate::index::identity::Kind as IdentityKind;
use crate::index::{Change, Index};
use footage::clock::Clock;
use footage::failure::{Failure, Kind};
use footage::keys::Keys;
use footage::platform;
use footage::units::{TenantId, WallTime};

mod access;
pub mod left;

#[cfg(test)]
mod tests;

/// Entries are flushed so often.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// Checkpoints are made at most so often.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// Entries whose time is over are looked for so often.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
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
    keys: Keys,
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
    accesses: Accesses,
    refused: Mutex<u64>,
}

/// `Failing` from the first failure that an event tells of to the first success after it.
#[derive(Default)]
struct State {
    journal: Option<Arc<Journal>>,
    failing: Option<(String, Kind)>,
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

/// Who signs the checkpoints of a tenant's journal: a key that follows from the gateway's. The name reveals nothing of
/// the tenant.
pub fn signer(keys: &Keys, tenant: &TenantId) -> Signer {
    let derive = |context: &str| keys.derive(context, tenant.as_str().as_bytes());
    let name = derive("vigie 2026-11 name of a tenant's journal");
    let name: String = name.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Signer::new(&format!("vigie.invalid/journal/{name}"), &derive("vigie 2026-11 signing key of a tenant's journal"))
}

impl Journals {
    /// The journals in this folder; none is open yet.
    pub fn new(folder: PathBuf, keys: Keys, index: Index, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { folder, keys, index, clock, tenants: Mutex::default() }))
    }

    /// Opens the journals of these tenants, each with the months that its entries are kept, where they are not open yet; those of
    /// other tenants are closed. A journal that cannot be opened is an event, and is tried again.
    pub async fn follow(&self, tenants: impl IntoIterator<Item = (TenantId, u16)>) {
        let folder = self.0.folder.clone();
        if let Ok(Err(error)) = platform::spawn_blocking(move || left::prepare(&folder)).await {
            warn!(%error, "commands cannot leave what belongs in the journals");
        }
        let tenants: HashMap<TenantId, u16> = tenants.into_iter().collect();
        let gone: Vec<_> = {
            let mut open = self.0.tenants.lock();
            for (tenant, months) in &tenants {
                let of = open.entry(tenant.clone()).or_insert_with(|| Arc::new(OfTenant::new(tenant.clone())));
                *of.months.lock() = *months;
            }
            open.extract_if(|tenant, _| !tenants.contains_key(tenant)).map(|(_, of)| of).collect()
        };
        for of in gone {
            self.end(&of).await;
        }
        for of in self.all() {
            self.open(&of).await;
        }
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

    /// Footage of a camera is about to be handed out. The first byte may go when this has returned.
    ///
    /// # Errors
    /// When the journal takes no entry: nothing may be handed out.
    pub async fn begin(&self, tenant: &TenantId, key: AccessKey) -> Result<Accessing, NoEntry> {
        let of = self.of(tenant)?;
        if let Some(accessing) = of.accesses.going_on(&key) {
            return Ok(accessing);
        }
        // Of many that begin the same at once, one makes the entry.
        let _turn = of.accesses.turn().await;
        if let Some(accessing) = of.accesses.going_on(&key) {
            return Ok(accessing);
        }
        let begun = self.append_to(&of, key.begun()).await?;
        Ok(of.accesses.begin(key, begun))
    }

    /// Whether the tenant's journal takes entries, as far as is known.
    ///
    /// # Errors
    /// When it does not: what it would be about must not be begun.
    pub fn ready(&self, tenant: &TenantId) -> Result<(), NoEntry> {
        let of = self.of(tenant)?;
        let state = of.state.lock();
        match (&state.journal, &state.failing) {
            (Some(_), None) => Ok(()),
            (_, failing) => {
                let (why, kind) = failing.clone().unwrap_or(("it is not open".to_owned(), Kind::Retry));
                Err(NoEntry { tenant: tenant.clone(), why, kind })
            }
        }
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
            // Of a tenant that is configured no more, it waits until it is.
            let Ok(of) = self.of(&left.tenant) else { continue };
            let entered = self.keep(&of, move |journal, _| journal.append(left.at, left.draft)).await;
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
            for of in self.all() {
                if reopen {
                    self.open(&of).await;
                }
                self.end_accesses(&of, false).await;
                match checkpoint {
                    true => self.checkpoint(&of).await,
                    false => self.keep(&of, |journal, _| journal.sync()).await.map_or((), |()| ()),
                }
                if forget {
                    self.forget(&of).await;
                }
            }
        }
        self.enter_left().await;
        for of in self.all() {
            self.end(&of).await;
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
        self.keep(of, move |journal, at| journal.append(at, draft)).await
    }

    /// Does something with a journal; what comes of it decides whether it fails.
    async fn keep<T: Send + 'static>(
        &self,
        of: &Arc<OfTenant>,
        work: impl FnOnce(&Journal, jiff::Timestamp) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, NoEntry> {
        let journal = of.state.lock().journal.clone();
        let Some(journal) = journal else {
            let (why, kind) = of.state.lock().failing.clone().unwrap_or(("it is not open".to_owned(), Kind::Retry));
            return Err(NoEntry { tenant: of.tenant.clone(), why, kind });
        };
        let at = self.0.clock.wall();
        let done = platform::spawn_blocking(move || work(&journal, at.to_timestamp())).await;
        let done = done.map_err(|_| ("the work on it ended badly".to_owned(), Kind::Internal));
        let done = done.and_then(|done| done.map_err(|error| (error.to_string(), error.kind())));
        // An entry that is refused for what it is says nothing of the journal.
        match &done {
            Ok(_) => self.works(of, at).await,
            Err((_, Kind::Invalid)) => {}
            Err((why, kind)) => self.fails(of, at, why.clone(), *kind).await,
        }
        done.map_err(|(why, kind)| NoEntry { tenant: of.tenant.clone(), why, kind })
    }

    async fn works(&self, of: &OfTenant, at: WallTime) {
        let was_failing = of.state.lock().failing.take().is_some();
        if was_failing {
            info!(tenant = %of.tenant, "the journal is written again");
            self.report(of, at, Fact::JournalWorks).await;
        }
    }

    async fn fails(&self, of: &OfTenant, at: WallTime, why: String, kind: Kind) {
        let is_new = of.state.lock().failing.replace((why.clone(), kind)).is_none();
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
        if of.state.lock().journal.is_some() {
            return;
        }
        let at = self.0.clock.wall();
        let known = match self.0.index.identities(IdentityKind::Journal).await {
            Ok(mut known) => known.remove(of.tenant.as_str()).and_then(|bytes| head_of(&bytes)),
            Err(error) => return self.fails(of, at, error.to_string(), error.kind()).await,
        };
        let (folder, signer) = (self.0.folder.join(of.tenant.as_str()), signer(&self.0.keys, &of.tenant));
        let opened = platform::spawn_blocking(move || Journal::open(&folder, signer, known, at.to_timestamp())).await;
        match opened {
            Ok(Ok(journal)) => {
                of.state.lock().journal = Some(Arc::new(journal));
                self.works(of, at).await;
            }
            Ok(Err(error)) => self.fails(of, at, error.to_string(), error.kind()).await,
            Err(_) => self.fails(of, at, "opening it ended badly".to_owned(), Kind::Internal).await,
        }
    }

    async fn checkpoint(&self, of: &Arc<OfTenant>) {
        let before = of.state.lock().journal.as_ref().map(|journal| journal.head());
        if let Ok(head) = self.keep(of, |journal, _| journal.checkpoint()).await
            && before != Some(head)
        {
            self.know(of, head).await;
        }
    }

    /// The index knows this checkpoint from here on.
    async fn know(&self, of: &OfTenant, head: Head) {
        let id = Some([&head.size.to_be_bytes()[..], &head.root].concat());
        let known = Change::Identify { kind: IdentityKind::Journal, name: of.tenant.to_string(), id };
        if let Err(error) = self.0.index.write(vec![known]).await {
            warn!(%error, "the index did not take the journal's checkpoint");
        }
    }

    async fn forget(&self, of: &Arc<OfTenant>) {
        let months = *of.months.lock();
        match self.keep(of, move |journal, at| journal.forget(at, months)).await {
            Ok(0) | Err(_) => {}
            Ok(entries) => {
                info!(tenant = %of.tenant, entries, months, "entries of the journal were destroyed: their time is over");
                let head = of.state.lock().journal.as_ref().map(|journal| journal.head());
                if let Some(head) = head {
                    self.know(of, head).await;
                }
            }
        }
    }

    /// Enters what was handed out by accesses that are over; `all`: by those that go on, too.
    async fn end_accesses(&self, of: &Arc<OfTenant>, all: bool) {
        let refused = std::mem::take(&mut *of.refused.lock());
        if refused > 0 {
            let draft = Draft::new(Author::Gateway, Action::Refused { count: refused });
            if self.append_to(of, draft).await.is_err() {
                *of.refused.lock() += refused;
            }
        }
        for over in of.accesses.take_over(all) {
            if self.append_to(of, over.ended()).await.is_err() {
                of.accesses.put_back(over);
            }
        }
    }

    async fn end(&self, of: &Arc<OfTenant>) {
        self.end_accesses(of, true).await;
        self.checkpoint(of).await;
    }
}

impl OfTenant {
    fn new(tenant: TenantId) -> Self {
        let (months, state) = (Mutex::new(u16::MAX), Mutex::default());
        Self { tenant, months, state, accesses: Accesses::default(), refused: Mutex::default() }
    }
}

/// Continues a tenant's journal that cannot be opened, or begins another where it is missing or damaged, and says so in it.
/// What was there is kept under another name. Says what was done. No gateway runs meanwhile.
///
/// # Errors
/// When nothing is wrong with the journal, or the disk refuses.
pub async fn accept_loss(
    folder: PathBuf,
    keys: &Keys,
    index: &Index,
    clock: &dyn Clock,
    tenant: &TenantId,
) -> Result<String, NoEntry> {
    let refused = |why: String, kind| NoEntry { tenant: tenant.clone(), why, kind };
    let failed = |error: JournalError| refused(error.to_string(), error.kind());
    let at = clock.wall();
    let identities = index.identities(IdentityKind::Journal).await;
    let mut identities = identities.map_err(|error| refused(error.to_string(), error.kind()))?;
    let known = identities.remove(tenant.as_str()).and_then(|bytes| head_of(&bytes));
    let folder = folder.join(tenant.as_str());
    let open = |known| Journal::open(&folder, signer(keys, tenant), known, at.to_timestamp());
    let (journal, said) = match open(known) {
        Ok(_) => return Err(refused("nothing is wrong with it".to_owned(), Kind::Conflict)),
        Err(JournalError::SetBack { .. }) if folder.join("checkpoint").exists() => {
            (open(None).map_err(failed)?, "the journal is continued as it is".to_owned())
        }
        Err(_) if folder.exists() => {
            let suffix = at.to_timestamp().strftime("damaged-%Y%m%dT%H%M%SZ");
            let kept = folder.with_extension(suffix.to_string());
            std::fs::rename(&folder, &kept).map_err(|error| refused(error.to_string(), Failure::kind(&error)))?;
            (
                open(None).map_err(failed)?,
                format!("another journal is begun; what was there is kept in {}", kept.display()),
            )
        }
        Err(_) => (open(None).map_err(failed)?, "another journal is begun: none was there".to_owned()),
    };
    let (size, root) = known.map_or((0, String::new()), |head| (head.size, head.to_string()));
    journal
        .append(at.to_timestamp(), Draft::new(Author::Operator, Action::LossAccepted { size, root }))
        .map_err(failed)?;
    let head = journal.checkpoint().map_err(failed)?;
    let id = Some([&head.size.to_be_bytes()[..], &head.root].concat());
    let known = Change::Identify { kind: IdentityKind::Journal, name: tenant.to_string(), id };
    index.write(vec![known]).await.map_err(|error| refused(error.to_string(), error.kind()))?;
    Ok(said)
}

/// What the index knows of a journal.
pub fn head_of(bytes: &[u8]) -> Option<Head> {
    let (size, root) = bytes.split_first_chunk::<8>()?;
    Some(Head { size: u64::from_be_bytes(*size), root: root.try_into().ok()? })
}
