//! The persons of all tenants, as the gateway knows them now: the catalogue in memory, its changes, who presents a token.
//!
//! ```text
//! http ── token ─────→ tables (in memory) ─→ Holder
//!      ── designate ─→ journal, then catalogue (crates/catalogue) ─→ tables, index: its mark
//! ```
//!
//! Invariants: a change is in the journal before it is made, but for a revocation, which waits for no entry. A catalogue that
//! is missing, another, older than the index knows, or damaged lets no person in, is an alarm, and is never replaced: the
//! operator puts it back, or accepts what is there ([`accept`]).
//! Absent on purpose: what a person may do; the catalogue decides it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use catalogue::{
    Catalogue, CatalogueError, Designation, Grant, GrantId, Mark, Person, Roles, Secret, Tables, Token, TokenId,
};
use jiff::{Timestamp, ToSpan};
use journal::entry::{Action, Author, Draft};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::sign_in::lockout::Lockout;
use crate::event::{Event, Fact};
use crate::index::identity::Kind as IdentityKind;
use crate::index::{Change, Index};
use crate::journals::left::{self, Left};
use crate::journals::{self, Journals, NoEntry};
use footage::clock::Clock;
use footage::failure::{Failure, Kind};
use footage::keys::Keys;
use footage::keys::aead::{Cipher, SecretKey};
use footage::platform;
use footage::units::{CameraId, PersonId, ProviderId, TenantId};

pub mod accounts;
pub mod sign_in;
#[cfg(test)]
mod tests;

/// That a token is used is noted so often.
const USED_EVERY: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
/// What is over is looked for so often, and a catalogue that does not open is tried again.
const KEEP_UP_EVERY: Duration = Duration::from_secs(60);
/// Persons whose designation was revoked are forgotten after so many months: as long as the journal may name them.
const MONTHS: i32 = 36;

/// Why something about persons was not done.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The catalogue cannot be read.
    #[error("the catalogue of persons cannot be read: {0}")]
    Closed(String),
    /// The catalogue refused.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The journal takes no entry.
    #[error(transparent)]
    NoEntry(#[from] NoEntry),
    /// The work ended badly.
    #[error("the work on the catalogue ended badly")]
    CutOff,
}

impl Failure for PeopleError {
    fn kind(&self) -> Kind {
        match self {
            Self::Closed(_) => Kind::Denied,
            // What is damaged here is no footage, and the operator's to put right.
            Self::Catalogue(error) => match error.kind() {
                Kind::Corrupt => Kind::Denied,
                kind => kind,
            },
            Self::NoEntry(error) => error.kind(),
            Self::CutOff => Kind::Internal,
        }
    }
}

/// All persons; cheap to clone.
#[derive(Clone)]
pub struct People(Arc<Inner>);

struct Inner {
    path: PathBuf,
    index: Index,
    journals: Journals,
    clock: Arc<dyn Clock>,
    state: RwLock<State>,
    roles: RwLock<Arc<Roles>>,
    /// The providers whose accounts open a session, and for which tenants.
    providers: RwLock<HashSet<(ProviderId, TenantId)>>,
    /// One change at a time, so that journal, catalogue and tables keep one order.
    changing: tokio::sync::Mutex<()>,
    used: Mutex<HashMap<TokenId, Timestamp>>,
    /// Encrypts the secrets of authenticators.
    cipher: Arc<Cipher>,
    /// When sessions were last used.
    seen: Mutex<HashMap<blake3::Hash, Timestamp>>,
    lockout: Lockout,
    hashing: Arc<Semaphore>,
}

/// When a change is entered in the journal.
enum Entered {
    /// Before it is made, or it is not made.
    Before(Draft),
    /// After it: it waits for nothing.
    After(Draft),
}

enum State {
    Open { catalogue: Arc<Catalogue>, tables: Arc<Tables> },
    Closed { why: String },
}

impl fmt::Debug for People {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "People({})", self.0.path.display())
    }
}

/// Where the catalogue lies.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("catalogue.sqlite")
}

impl People {
    /// Opens the catalogue, or makes one where none was known. One that cannot be opened is an alarm, and is tried again.
    pub async fn open(
        path: PathBuf,
        roles: Roles,
        (index, keys): (Index, &Keys),
        journals: Journals,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let state = RwLock::new(State::Closed { why: "it is being opened".to_owned() });
        let (roles, changing) = (RwLock::new(Arc::new(roles)), tokio::sync::Mutex::default());
        let (used, seen, lockout) = (Mutex::default(), Mutex::default(), Lockout::default());
        let key = keys.derive("vigie 2026-11 authenticators of persons", b"");
        let cipher = Arc::new(Cipher::new(&SecretKey::new(Box::new(key))));
        let hashing = Arc::new(Semaphore::new(sign_in::HASHED_AT_ONCE));
        let providers = RwLock::default();
        let inner = Inner {
            path,
            index,
            journals,
            clock,
            state,
            roles,
            providers,
            changing,
            used,
            cipher,
            seen,
            lockout,
            hashing,
        };
        let people = Self(Arc::new(inner));
        people.reopen(true).await;
        people
    }

    /// The roles there are, from now on.
    pub fn set_roles(&self, roles: Roles) {
        *self.0.roles.write() = Arc::new(roles);
    }

    /// The roles there are.
    pub fn roles(&self) -> Arc<Roles> {
        self.0.roles.read().clone()
    }

    /// All persons and tokens.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn tables(&self) -> Result<Arc<Tables>, PeopleError> {
        match &*self.0.state.read() {
            State::Open { tables, .. } => Ok(tables.clone()),
            State::Closed { why } => Err(PeopleError::Closed(why.clone())),
        }
    }

    fn catalogue(&self) -> Result<Arc<Catalogue>, PeopleError> {
        match &*self.0.state.read() {
            State::Open { catalogue, .. } => Ok(catalogue.clone()),
            State::Closed { why } => Err(PeopleError::Closed(why.clone())),
        }
    }

    fn now(&self) -> Timestamp {
        self.0.clock.wall().to_timestamp()
    }

    /// Who presents this token for this tenant; `None` where it is wrong, over or revoked.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn holder(&self, tenant: &TenantId, secret: &Secret) -> Result<Option<Arc<Person>>, PeopleError> {
        let (tables, at) = (self.tables()?, self.now());
        let Some((person, token)) = tables.holder(tenant, secret, at) else { return Ok(None) };
        self.note_use(token, at);
        Ok(Some(person.clone()))
    }

    /// Whether this token was one of the tenant's persons', and is over or revoked.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn is_over(&self, tenant: &TenantId, secret: &Secret) -> Result<bool, PeopleError> {
        Ok(self.tables()?.is_over(tenant, secret, self.0.clock.wall().to_timestamp()))
    }

    /// When a token was last used, to the hour.
    pub fn last_used(&self, token: &Token) -> Option<Timestamp> {
        self.0.used.lock().get(&token.id).copied().max(token.used)
    }

    fn note_use(&self, token: &Token, at: Timestamp) {
        if self.last_used(token).is_some_and(|used| at.duration_since(used) < USED_EVERY) {
            return;
        }
        self.0.used.lock().insert(token.id, at);
        let State::Open { catalogue, .. } = &*self.0.state.read() else { return };
        let (catalogue, id) = (catalogue.clone(), token.id);
        platform::spawn_blocking(move || {
            if let Err(error) = catalogue.used(id, at) {
                warn!(%error, "the use of a token was not noted");
            }
        });
    }

    /// Designates a person of this tenant, or renews the designation.
    ///
    /// # Errors
    /// When it is not in the journal, or not in the catalogue: it is not done then.
    pub async fn designate(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        designation: Designation,
        draft: Draft,
    ) -> Result<(), PeopleError> {
        let (of, who) = (tenant.clone(), person.clone());
        self.change(tenant, Entered::Before(draft), move |catalogue, at| {
            catalogue.designate(&of, &who, &designation, at)
        })
        .await
    }

    /// Revokes a designation. It is done whether or not the journal takes the entry.
    ///
    /// # Errors
    /// When there is no such person designated, or the catalogue is not written.
    pub async fn revoke(&self, (tenant, person): (&TenantId, &PersonId), draft: Draft) -> Result<(), PeopleError> {
        let (of, who) = (tenant.clone(), person.clone());
        self.change(tenant, Entered::After(draft), move |catalogue, at| catalogue.revoke(&of, &who, at)).await
    }

    /// Makes a token for a person, in force until then.
    ///
    /// # Errors
    /// As for [`People::designate`].
    pub async fn make_token(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        (label, until): (String, Timestamp),
        draft: impl FnOnce(TokenId) -> Draft,
    ) -> Result<Secret, PeopleError> {
        let secret = Arc::new(Secret::random());
        let (of, who, kept) = (tenant.clone(), person.clone(), secret.clone());
        let put = move |catalogue: &Catalogue, at| catalogue.put_token((&of, &who), &label, &kept, at, until);
        self.change(tenant, Entered::Before(draft(secret.id())), put).await?;
        self.tell(tenant, Fact::TokenMade { person: person.clone(), token: secret.id().to_string() }).await;
        Arc::try_unwrap(secret).map_err(|_| PeopleError::CutOff)
    }

    /// Revokes a token, whether or not the journal takes the entry.
    ///
    /// # Errors
    /// When the person has no such token in force, or the catalogue is not written.
    pub async fn revoke_token(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        token: TokenId,
        draft: Draft,
    ) -> Result<(), PeopleError> {
        let (of, who) = (tenant.clone(), person.clone());
        self.change(tenant, Entered::After(draft), move |catalogue, at| catalogue.revoke_token((&of, &who), token, at))
            .await
    }

    /// Gives a grant to a person.
    ///
    /// # Errors
    /// As for [`People::designate`].
    pub async fn give(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        grant: Grant,
        draft: Draft,
    ) -> Result<GrantId, PeopleError> {
        let (of, who) = (tenant.clone(), person.clone());
        self.change(tenant, Entered::Before(draft), move |catalogue, _| catalogue.give(&of, &who, &grant)).await
    }

    /// Takes a grant back, whether or not the journal takes the entry.
    ///
    /// # Errors
    /// When the person has no such grant in force, or the catalogue is not written.
    pub async fn revoke_grant(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        grant: GrantId,
        draft: Draft,
    ) -> Result<(), PeopleError> {
        let (of, who) = (tenant.clone(), person.clone());
        self.change(tenant, Entered::After(draft), move |catalogue, at| catalogue.revoke_grant((&of, &who), grant, at))
            .await
    }

    /// Makes the change with its entry, reads all of it again, and has the index know its mark. A client that goes meanwhile
    /// cuts off neither.
    async fn change<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        entered: Entered,
        work: impl FnOnce(&Catalogue, Timestamp) -> Result<T, CatalogueError> + Send + 'static,
    ) -> Result<T, PeopleError> {
        let (people, tenant) = (self.clone(), tenant.clone());
        let changing = tokio::spawn(async move {
            let _turn = people.0.changing.lock().await;
            people.tables()?;
            let journals = &people.0.journals;
            match entered {
                Entered::Before(draft) => {
                    let of = journals.append(&tenant, draft).await?;
                    let done = people.change_now(work).await;
                    if done.is_err() {
                        journals.note(&tenant, Draft::new(Author::Gateway, Action::NotDone { of })).await;
                    }
                    done
                }
                Entered::After(draft) => {
                    let done = people.change_now(work).await?;
                    journals.note(&tenant, draft).await;
                    Ok(done)
                }
            }
        });
        changing.await.unwrap_or(Err(PeopleError::CutOff))
    }

    async fn change_now<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Catalogue, Timestamp) -> Result<T, CatalogueError> + Send + 'static,
    ) -> Result<T, PeopleError> {
        let (catalogue, at) = (self.catalogue()?, self.now());
        let changed = platform::spawn_blocking(move || {
            let done = work(&catalogue, at);
            // After a change that may have happened nothing older may be decided by.
            let read = catalogue.tables().and_then(|tables| Ok((tables, catalogue.mark()?)));
            (done, read, catalogue)
        });
        let (done, read, catalogue) = changed.await.map_err(|_| PeopleError::CutOff)?;
        match read {
            Ok((tables, mark)) => {
                *self.0.state.write() = State::Open { catalogue, tables: Arc::new(tables) };
                if done.is_ok() {
                    self.know(mark).await;
                }
            }
            Err(error) => self.close(error.to_string()).await,
        }
        Ok(done?)
    }

    /// Keeps the catalogue until `stop`: forgets what is over, tries again to open one that fails.
    pub async fn run(self, stop: CancellationToken) {
        let mut turns = interval(KEEP_UP_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(turns.tick()).await.is_some() {
            self.keep_up().await;
        }
    }

    async fn keep_up(&self) {
        self.reopen(false).await;
        let utc = jiff::tz::Offset::UTC;
        // A wall clock that is ahead for a while must not destroy tokens that are in force.
        let Some(by) = self.0.journals.forgetting_by().await else { return };
        let months_ago = utc.to_datetime(by.to_timestamp()).checked_sub(MONTHS.months());
        let Ok(before) = months_ago.and_then(|at| utc.to_timestamp(at)) else { return };
        let Ok(tables) = self.tables() else { return };
        if !tables.has_over(before) {
            return;
        }
        let _turn = self.0.changing.lock().await;
        match self.change_now(move |catalogue, _| catalogue.forget(before)).await {
            Ok(rows) => info!(rows, "persons, tokens and grants that were over for {MONTHS} months were forgotten"),
            Err(error) => warn!(%error, "persons that are over could not be forgotten"),
        }
    }

    /// Opens the catalogue where it is not open. `is_start`: what failed before the start is over with the first success.
    async fn reopen(&self, is_start: bool) {
        let _turn = self.0.changing.lock().await;
        if matches!(&*self.0.state.read(), State::Open { .. }) {
            return;
        }
        match self.try_open().await {
            Ok((catalogue, tables, mark)) => {
                *self.0.state.write() = State::Open { catalogue: Arc::new(catalogue), tables: Arc::new(tables) };
                self.know(mark).await;
                if !is_start || self.is_alarmed().await {
                    info!("the catalogue of persons is read again");
                    self.report(Fact::CatalogueWorks).await;
                }
            }
            Err(why) => self.close(why).await,
        }
    }

    async fn try_open(&self) -> Result<(Catalogue, Tables, Mark), String> {
        let known = known_mark(&self.0.index).await?;
        let path = self.0.path.clone();
        let opened = platform::spawn_blocking(move || {
            if known.is_some() && !path.exists() {
                return Err(format!("{} is missing", path.display()));
            }
            let catalogue = Catalogue::open(&path).map_err(|error| error.to_string())?;
            let mark = catalogue.mark().map_err(|error| error.to_string())?;
            match known {
                Some(known) if known.id != mark.id => Err(format!("{} is another catalogue", path.display())),
                Some(known) if !mark.follows(&known) => Err(format!("{} is an older copy", path.display())),
                _ => {
                    let tables = catalogue.tables().map_err(|error| error.to_string())?;
                    Ok((catalogue, tables, mark))
                }
            }
        });
        opened.await.unwrap_or_else(|_| Err("the work on it ended badly".to_owned()))
    }

    async fn close(&self, why: String) {
        let is_new = {
            let mut state = self.0.state.write();
            let before = std::mem::replace(&mut *state, State::Closed { why: why.clone() });
            !matches!(before, State::Closed { why: before } if before == why)
        };
        if is_new {
            error!(
                error = %why,
                "no person is let in: put the catalogue back, or stop the gateway and run `vigie people accept`"
            );
            self.report(Fact::CatalogueFailed).await;
        }
    }

    async fn is_alarmed(&self) -> bool {
        let open = self.0.index.open_alarms().await.unwrap_or_default();
        open.iter().any(|alarm| alarm.ended.is_none() && alarm.event.fact == Fact::CatalogueFailed)
    }

    async fn know(&self, mark: Mark) {
        if let Err(error) = self.0.index.write(vec![known(mark)]).await {
            warn!(%error, "the index did not take the mark of the catalogue");
        }
    }

    async fn report(&self, fact: Fact) {
        let event = Event::of_gateway(self.0.clock.wall(), fact);
        if let Err(error) = self.0.index.write(vec![Change::Event(event)]).await {
            warn!(%error, "the index did not take an event of the catalogue");
        }
    }
}

/// Who a person is, in an entry of the journal.
pub fn author(person: &Person) -> Author {
    let Designation { name, act, .. } = &person.designation;
    let act = act.to_string();
    Author::Person(journal::entry::ActingPerson { id: person.id.clone(), name: name.clone(), act })
}

/// The entry of a grant.
pub fn granted(draft: Draft, cameras: impl IntoIterator<Item = CameraId>, grant: &Grant) -> Draft {
    let range = Some(journal::Span { from: grant.from, to: grant.to });
    Draft { cameras: cameras.into_iter().collect(), range, reason: Some(grant.reason.clone()), ..draft }
}

fn known(mark: Mark) -> Change {
    Change::Identify { kind: IdentityKind::Catalogue, name: String::new(), id: Some(mark.encode()) }
}

async fn known_mark(index: &Index) -> Result<Option<Mark>, String> {
    let identities = index.identities(IdentityKind::Catalogue).await;
    Ok(identities.map_err(|error| error.to_string())?.remove("").and_then(|bytes| Mark::decode(&bytes)))
}

/// Accepts the catalogue that is there, or an empty one where none is, in place of the one that was known; the journals of these
/// tenants say so. Says what was done. No gateway runs meanwhile.
///
/// # Errors
/// When nothing is wrong with it, or it cannot be opened.
pub async fn accept(
    data_dir: &Path,
    index: &Index,
    at: Timestamp,
    tenants: impl IntoIterator<Item = TenantId>,
) -> Result<String, PeopleError> {
    let path = path(data_dir);
    let known_before = known_mark(index).await.map_err(PeopleError::Closed)?;
    let (existed, shown) = (path.exists(), path.display().to_string());
    let opened = platform::spawn_blocking(move || {
        let catalogue = Catalogue::open(&path)?;
        Ok::<_, CatalogueError>((catalogue.mark()?, catalogue.tables()?))
    });
    let (mark, tables) = opened.await.map_err(|_| PeopleError::CutOff)??;
    if known_before.is_none_or(|known| mark.follows(&known)) {
        return Err(PeopleError::Closed(format!("nothing is wrong with {shown}: start the gateway")));
    }
    let journals = journals::folder(data_dir);
    for tenant in tenants {
        let persons = tables.persons(&tenant).filter(|person| person.revoked.is_none()).count() as u64;
        let draft = Draft::new(Author::Operator, Action::CatalogueAccepted { persons });
        let left = left::leave(&journals, &Left { tenant, at, draft });
        left.map_err(|error| PeopleError::Closed(format!("{}: {error}", journals.display())))?;
    }
    index.write(vec![known(mark)]).await.map_err(|error| PeopleError::Closed(error.to_string()))?;
    Ok(match existed {
        true => format!("{shown} is accepted as it is"),
        false => format!("{shown} was missing: an empty one is there now, and no person is designated"),
    })
}
