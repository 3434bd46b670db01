//! Signing in: a password and a code, by which a session begins; an invitation, by which a person chooses them.
//!
//! Invariants: an unknown person costs what a wrong password costs; wrong tries are slowed more and more ([`lockout`]), and
//! hashing takes two threads at most, so that recording does not notice. A session ends when it is not used, and at the latest
//! after half a day.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use catalogue::{
    Authenticator, By, CatalogueError, Credential, Hashed, Person, Proof, Session, SessionSecret, Tables, WeakPassword,
};
use jiff::{SignedDuration, Timestamp};
use journal::entry::{Action, Draft};
use secrecy::SecretString;
use tracing::warn;

use super::{Entered, People, PeopleError, State, author};
use crate::event::{Actor, Event, Fact, Scope};
use crate::index::Change;
use footage::platform;
use footage::units::{PersonId, TenantId};

pub(super) mod lockout;

/// A session that is not used for so long is over.
const IDLE_MAX: SignedDuration = SignedDuration::from_mins(30);
/// A session is over after so long, however it is used.
pub const SESSION_MAX: SignedDuration = SignedDuration::from_hours(12);
/// That a session is used is noted so often.
const SEEN_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// An invitation is in force for so long.
pub const INVITATION_MAX: SignedDuration = SignedDuration::from_hours(72);
/// Passwords that are hashed at a time.
pub(super) const HASHED_AT_ONCE: usize = 2;

/// Why nobody signs in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Person, password or code is wrong.
    #[error("the town, the person, the password or the code is wrong")]
    Wrong,
    /// Too many wrong tries.
    #[error("too many wrong tries: wait")]
    Wait(Duration),
    /// The invitation is wrong, used or over.
    #[error("the invitation was used, is over, or is none: ask for another")]
    NoInvitation,
    /// The code of the authenticator is wrong.
    #[error("the code is wrong: check that the clock of the device that shows it is right")]
    WrongCode,
    /// The password can be guessed.
    #[error(transparent)]
    Weak(#[from] WeakPassword),
    /// The catalogue or the journal.
    #[error(transparent)]
    People(#[from] PeopleError),
}

/// What somebody signs in with.
#[derive(Debug)]
pub struct Presented {
    /// For which tenant.
    pub tenant: TenantId,
    /// Who.
    pub person: PersonId,
    /// Their password.
    pub password: SecretString,
    /// The code that their authenticator shows, or a recovery code.
    pub code: String,
}

impl People {
    /// Invites a person to choose how to sign in; ends what they signed in with before, and their sessions.
    ///
    /// # Errors
    /// As for [`People::designate`].
    pub async fn invite(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        draft: Draft,
    ) -> Result<(SessionSecret, Timestamp), PeopleError> {
        let until = self.now() + INVITATION_MAX;
        let secret = Arc::new(SessionSecret::random());
        let (of, who, kept, cipher) = (tenant.clone(), person.clone(), secret.clone(), self.0.cipher.clone());
        self.change(tenant, Entered::Before(draft), move |catalogue, _| {
            catalogue.invite((&of, &who), &kept, &cipher, until)
        })
        .await?;
        Ok((Arc::into_inner(secret).ok_or(PeopleError::CutOff)?, until))
    }

    /// Who is invited by this link, and the authenticator that they set up.
    ///
    /// # Errors
    /// When it is wrong, used or over.
    pub async fn invited(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        secret: &SessionSecret,
    ) -> Result<(Arc<Person>, Authenticator), SignInError> {
        let known = self.tables()?.person(tenant, person).cloned().ok_or(SignInError::NoInvitation)?;
        let (catalogue, at, cipher) = (self.catalogue()?, self.now(), self.0.cipher.clone());
        let (of, who) = (tenant.clone(), person.clone());
        let secret = SessionSecret::parse(secrecy::ExposeSecret::expose_secret(secret.text()));
        let secret = secret.ok_or(SignInError::NoInvitation)?;
        let shown = platform::spawn_blocking(move || catalogue.invited((&of, &who), &secret, &cipher, at));
        let shown = shown.await.map_err(|_| PeopleError::CutOff)?.map_err(PeopleError::from)?;
        Ok((known, shown.ok_or(SignInError::NoInvitation)?))
    }

    /// Uses an invitation: the person signs in with this password from now on, and with the authenticator whose code they show.
    /// Gives their recovery codes.
    ///
    /// # Errors
    /// When the invitation is wrong, used or over, the password can be guessed, the code is wrong, or it is not written.
    pub async fn enrol(
        &self,
        secret: SessionSecret,
        presented: Presented,
        address: Option<IpAddr>,
    ) -> Result<Vec<SecretString>, SignInError> {
        let Presented { tenant, person: id, password, code } = presented;
        let (person, authenticator) = self.invited((&tenant, &id), &secret).await?;
        let step = authenticator.step_of(code.trim(), self.now()).ok_or(SignInError::WrongCode)?;
        let hashed = {
            let person = person.clone();
            self.hash(move || Hashed::of(&password, &person)).await??
        };
        let draft = Draft::new(author(&person), Action::Enrolled).from_address(address);
        let (of, who) = (tenant.clone(), id);
        let enrolled = self.change(&tenant, Entered::Before(draft), move |catalogue, at| {
            let codes = catalogue.enrol((&of, &who), &secret, (&hashed, step), at)?;
            codes.ok_or(CatalogueError::NotInForce("invitation"))
        });
        match enrolled.await {
            Err(PeopleError::Catalogue(CatalogueError::NotInForce(_))) => Err(SignInError::NoInvitation),
            enrolled => Ok(enrolled?),
        }
    }

    /// Begins a session, which ends the person's others.
    ///
    /// # Errors
    /// When what is presented is wrong, was tried too often, or the session is not written.
    pub async fn sign_in(&self, presented: Presented, address: Option<IpAddr>) -> Result<SessionSecret, SignInError> {
        let account = lockout::Account::of(&presented, address);
        self.0.lockout.take(&account).map_err(SignInError::Wait)?;
        let begun = match self.verified(&presented).await {
            Ok(Some((person, proof))) => self.begin(&person, proof, None, address).await,
            Ok(None) => Err(SignInError::Wrong),
            Err(error) => Err(error),
        };
        match &begun {
            Ok(_) => self.0.lockout.right(&account),
            Err(SignInError::Wrong) => self.0.journals.refused(&presented.tenant),
            // Nothing was found out about it.
            Err(_) => self.0.lockout.give_back(&account),
        }
        begun
    }

    /// The person, and what their code proves, where password and code are right.
    async fn verified(&self, presented: &Presented) -> Result<Option<(Arc<Person>, Proof)>, SignInError> {
        let Presented { tenant, person, password, code } = presented;
        let known = self.tables()?.person(tenant, person).filter(|person| person.revoked.is_none()).cloned();
        let (catalogue, cipher) = (self.catalogue()?, self.0.cipher.clone());
        let (of, who, password) = (tenant.clone(), person.clone(), password.clone());
        let verify = move || {
            let credential = catalogue.credential((&of, &who), &cipher)?;
            let Some(Credential { password: kept, authenticator }) = credential else {
                // As long as a wrong password takes.
                Hashed::of_nobody();
                return Ok::<_, CatalogueError>(None);
            };
            Ok(kept.is(&password).then_some(authenticator))
        };
        let Some(authenticator) = self.hash(verify).await?.map_err(PeopleError::from)? else { return Ok(None) };
        let Some(person) = known else { return Ok(None) };
        let code = code.trim();
        // A code of an authenticator has six digits; a recovery code has many more.
        let proof = if code.len() > 8 {
            Some(Proof::Recovery(code.to_owned()))
        } else {
            let why = "the authenticators of persons were encrypted under another key of the gateway";
            let authenticator = authenticator.ok_or_else(|| PeopleError::Closed(why.to_owned()))?;
            authenticator.step_of(code, self.now()).map(Proof::Step)
        };
        Ok(proof.map(|proof| (person, proof)))
    }

    /// Begins a session with what proves who it is; `by`: at which provider.
    pub(super) async fn begin(
        &self,
        person: &Arc<Person>,
        proof: Proof,
        by: Option<By>,
        address: Option<IpAddr>,
    ) -> Result<SessionSecret, SignInError> {
        let (secret, at) = (SessionSecret::random(), self.now());
        let (tenant, who, hash) = (person.tenant.clone(), person.id.clone(), secret.hash());
        let provider = by.as_ref().map(|by| by.provider.to_string());
        let session = Session { hash, tenant, person: who, address, made: at, seen: at, until: at + SESSION_MAX, by };
        let draft = Draft::new(author(person), Action::SignedIn { provider }).from_address(address);
        let begun = self.change(&person.tenant, Entered::Before(draft), move |catalogue, _| {
            catalogue.begin_session(&session, &proof)?.ok_or(CatalogueError::NotInForce("code"))
        });
        let ended = match begun.await {
            Err(PeopleError::Catalogue(CatalogueError::NotInForce(_))) => return Err(SignInError::Wrong),
            begun => begun?,
        };
        let is_elsewhere = |of: &Session| self.is_alive(of, at) && of.address != address;
        if ended.iter().any(is_elsewhere) {
            self.tell(&person.tenant, Fact::SignedInElsewhere { person: person.id.clone() }).await;
        }
        Ok(secret)
    }

    /// An event of the tenant's.
    pub(super) async fn tell(&self, tenant: &TenantId, fact: Fact) {
        let scope = Scope::Tenant(tenant.clone());
        let event = Event { at: self.0.clock.wall(), actor: Actor::Tenant, scope, fact };
        if let Err(error) = self.0.index.write(vec![Change::Event(event)]).await {
            warn!(%error, "the index did not take an event of a person");
        }
    }

    /// Whose session this is, while it lasts.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn session(&self, secret: &SessionSecret) -> Result<Option<Arc<Person>>, PeopleError> {
        let (tables, at): (Arc<Tables>, _) = (self.tables()?, self.now());
        let Some((person, session)) = tables.session(secret, at) else { return Ok(None) };
        let is_open = |by: &By| self.0.providers.read().contains(&(by.provider.clone(), person.tenant.clone()));
        if !self.is_alive(session, at) || !session.by.as_ref().is_none_or(is_open) {
            return Ok(None);
        }
        self.note_seen(session, at);
        Ok(Some(person.clone()))
    }

    fn is_alive(&self, session: &Session, at: Timestamp) -> bool {
        let seen = self.0.seen.lock().get(&session.hash).copied().max(Some(session.seen));
        at < session.until && seen.is_some_and(|seen| at.duration_since(seen) < IDLE_MAX)
    }

    fn note_seen(&self, session: &Arc<Session>, at: Timestamp) {
        let mut seen = self.0.seen.lock();
        let last = seen.get(&session.hash).copied().unwrap_or(session.seen);
        if at.duration_since(last) < SEEN_EVERY {
            return;
        }
        // Sessions that are over: those of a day are few.
        seen.retain(|_, last| at.duration_since(*last) < SESSION_MAX);
        seen.insert(session.hash, at);
        let State::Open { catalogue, .. } = &*self.0.state.read() else { return };
        let (catalogue, hash) = (catalogue.clone(), session.hash);
        platform::spawn_blocking(move || {
            if let Err(error) = catalogue.seen(&hash, at) {
                warn!(%error, "the use of a session was not noted");
            }
        });
    }

    /// Ends a session, whether or not the journal takes the entry.
    ///
    /// # Errors
    /// When the catalogue is not written.
    pub async fn sign_out(&self, secret: &SessionSecret, tenant: &TenantId, draft: Draft) -> Result<(), PeopleError> {
        let hash = secret.hash();
        self.change(tenant, Entered::After(draft), move |catalogue, _| catalogue.end_session(&hash)).await
    }

    /// Work on passwords: two at a time, of all that ask.
    async fn hash<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PeopleError> {
        let permit = self.0.hashing.clone().acquire_owned().await.map_err(|_| PeopleError::CutOff)?;
        let hashing = platform::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        hashing.await.map_err(|_| PeopleError::CutOff)
    }
}
