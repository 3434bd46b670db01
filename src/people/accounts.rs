//! Signing in by an account at an identity provider: which account is whose, and how a session begins and ends by one.
//!
//! Invariant: a provider says who somebody is, never what they may see: an account opens a session for a person who is designated
//! here, to whom an administrator gave it, and for whom the provider's claims agree with the designation.
//! Absent on purpose: what a provider sent, and whether it is to be believed; `oidc` finds that out.

use std::net::IpAddr;
use std::sync::Arc;

use catalogue::{Account, By, Named, Person, Proof, SessionSecret};
use jiff::Timestamp;
use journal::entry::{Action, Draft};
use secrecy::{ExposeSecret, SecretString};

use super::sign_in::SignInError;
use super::{Entered, People, PeopleError, author};
use crate::event::Fact;
use footage::units::{PersonId, ProviderId, TenantId};

/// Why an account opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// It is no designated person's.
    #[error("the account is known to its provider, and is no designated person's here")]
    NotDesignated,
    /// The person's designation is another than the provider states.
    #[error("the provider states another role or act than the designation")]
    Differs,
    /// It is a person's of several tenants.
    #[error("the account is a person's of several tenants: say for which one")]
    Several,
    /// The catalogue or the journal.
    #[error(transparent)]
    People(#[from] PeopleError),
}

/// What a provider vouches for.
#[derive(Debug)]
pub struct Vouched {
    /// The account.
    pub account: Account,
    /// For which tenants its claims speak.
    pub tenants: Vec<TenantId>,
    /// The provider's own session.
    pub sid: Option<String>,
    /// The ID token itself, to sign out at the provider by; `None` where it is too long to be kept.
    pub id_token: Option<SecretString>,
}

impl People {
    /// The providers whose accounts open a session, and for which tenants, from now on. Sessions by others are over.
    pub fn set_providers(&self, providers: impl IntoIterator<Item = (ProviderId, TenantId)>) {
        *self.0.providers.write() = providers.into_iter().collect();
    }

    /// Names the account by which a person signs in at this provider; sessions of the one before are over.
    ///
    /// # Errors
    /// As for [`People::designate`], or when it is another's.
    pub async fn identify(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        (provider, named): (&ProviderId, Named),
        draft: Draft,
    ) -> Result<(), PeopleError> {
        let (of, who, at) = (tenant.clone(), person.clone(), provider.clone());
        self.change(tenant, Entered::Before(draft), move |catalogue, now| {
            catalogue.identify((&of, &who), &at, &named, now)
        })
        .await?;
        self.tell(tenant, Fact::AccountNamed { person: person.clone(), provider: provider.clone() }).await;
        Ok(())
    }

    /// Takes back the account at this provider, and ends its sessions, whether or not the journal takes the entry.
    ///
    /// # Errors
    /// When the person has none there, or the catalogue is not written.
    pub async fn unidentify(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        provider: &ProviderId,
        draft: Draft,
    ) -> Result<(), PeopleError> {
        let (of, who, at) = (tenant.clone(), person.clone(), provider.clone());
        self.change(tenant, Entered::After(draft), move |catalogue, _| catalogue.unidentify((&of, &who), &at)).await
    }

    /// Begins a session of the person whose account this is, for this tenant or for the only one; it ends the person's others.
    /// `agrees`: whether the provider's claims agree with a designation.
    ///
    /// # Errors
    /// When the account opens nothing, or the session is not written.
    pub async fn sign_in_by_account(
        &self,
        vouched: Vouched,
        asked: Option<&TenantId>,
        agrees: impl Fn(&Person) -> bool,
        address: Option<IpAddr>,
    ) -> Result<SessionSecret, AccountError> {
        let chosen = self.chosen(&vouched, asked, agrees);
        if let Err(AccountError::NotDesignated | AccountError::Differs) = &chosen {
            // The tenant that was meant, as far as one was.
            let meant: Vec<_> = vouched.tenants.iter().filter(|of| asked.is_none_or(|asked| asked == *of)).collect();
            if let [tenant] = meant[..] {
                self.0.journals.refused(tenant);
            }
        }
        let person = chosen?;
        let Vouched { account, sid, id_token, .. } = vouched;
        let by = By { provider: account.provider.clone(), subject: account.subject.clone(), sid };
        let kept = id_token.map(|id_token| {
            let mut kept = Vec::new();
            self.0.cipher.encrypt(&context(&by), id_token.expose_secret().as_bytes(), &mut kept);
            kept
        });
        match self.begin(&person, Proof::Account(account, kept), Some(by), address).await {
            Ok(secret) => Ok(secret),
            Err(SignInError::People(error)) => Err(error.into()),
            // It was given to another account meanwhile.
            Err(_) => Err(AccountError::NotDesignated),
        }
    }

    fn chosen(
        &self,
        vouched: &Vouched,
        asked: Option<&TenantId>,
        agrees: impl Fn(&Person) -> bool,
    ) -> Result<Arc<Person>, AccountError> {
        let tables = self.tables()?;
        let is_meant = |of: &TenantId| vouched.tenants.contains(of) && asked.is_none_or(|asked| asked == of);
        let known: Vec<&Arc<Person>> =
            tables.identified(&vouched.account).filter(|person| is_meant(&person.tenant)).collect();
        let mut agreed = known.iter().filter(|person| agrees(person));
        match (agreed.next(), agreed.next()) {
            (Some(person), None) => Ok((*person).clone()),
            (Some(_), Some(_)) => Err(AccountError::Several),
            (None, _) if known.is_empty() => Err(AccountError::NotDesignated),
            (None, _) => Err(AccountError::Differs),
        }
    }

    /// The provider that this session was begun by, and the ID token that vouched for it; `None`: by a password.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub async fn vouched_by(
        &self,
        secret: &SessionSecret,
    ) -> Result<Option<(ProviderId, Option<SecretString>)>, PeopleError> {
        let (tables, hash) = (self.tables()?, secret.hash());
        let Some(by) = tables.session(secret, self.now()).and_then(|(_, session)| session.by.clone()) else {
            return Ok(None);
        };
        let (catalogue, cipher) = (self.catalogue()?, self.0.cipher.clone());
        let read = footage::platform::spawn_blocking(move || catalogue.id_token(&hash));
        let encrypted = read.await.map_err(|_| PeopleError::CutOff)??;
        // Under another key of the gateway nothing is known of it any more.
        let open = |mut bytes: Vec<u8>| {
            let text = cipher.open(&context(&by), &mut bytes).ok()?;
            str::from_utf8(text).ok().map(SecretString::from)
        };
        let id_token = encrypted.and_then(open);
        Ok(Some((by.provider, id_token)))
    }

    /// Ends the sessions of an account that signed out at its provider, which began before this time: of one of the provider's own
    /// sessions, or all of a subject. Says how many. The journal's entries wait for nothing.
    ///
    /// # Errors
    /// When the catalogue is not written.
    pub async fn signed_out_by(
        &self,
        provider: &ProviderId,
        (subject, sid): (Option<&str>, Option<&str>),
        before: Timestamp,
    ) -> Result<usize, PeopleError> {
        let tables = self.tables()?;
        let mut sessions = tables.sessions_by(provider, subject, sid);
        sessions.retain(|session| session.made < before);
        for session in &sessions {
            let Some(person) = tables.person(&session.tenant, &session.person) else { continue };
            let draft = Draft::new(author(person), Action::SignedOut { provider: Some(provider.to_string()) });
            let hash = session.hash;
            self.change(&session.tenant, Entered::After(draft), move |catalogue, _| catalogue.end_session(&hash))
                .await?;
        }
        Ok(sessions.len())
    }
}

fn context(by: &By) -> Vec<u8> {
    format!("id token of {} at {}", by.subject, by.provider).into_bytes()
}
