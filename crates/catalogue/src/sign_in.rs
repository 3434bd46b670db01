//! Signing in, in the catalogue: invitations, credentials, sessions.
//!
//! Invariants: an invitation and a code are used once, in the transaction that does what they are for; a person has one session,
//! the last; who is revoked or invited again has none.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use secrecy::{ExposeSecret, SecretString};

use footage::keys::aead::Cipher;
use footage::units::{PersonId, ProviderId, TenantId};

use crate::catalogue::{Catalogue, CatalogueError, Tables};
use crate::credential::{Authenticator, Hashed, recovery_codes, recovery_hash};
use crate::identity::{self, Account};
use crate::person::Person;
use crate::rows;

const SECRET_DIGITS: usize = 64;

/// 256 random bits: what a session's cookie or an invitation's link holds. Its hash is kept.
pub struct SessionSecret(SecretString);

impl SessionSecret {
    /// A random one.
    pub fn random() -> Self {
        let bytes: [u8; SECRET_DIGITS / 2] = footage::platform::random();
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }

    /// From what was presented; `None` where it is none at all.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (text.len() == SECRET_DIGITS && is_hex).then(|| Self(text.into()))
    }

    /// To be sent to the one whose it is.
    pub fn text(&self) -> &SecretString {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> blake3::Hash {
        blake3::hash(self.0.expose_secret().as_bytes())
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(..)")
    }
}

/// A session of a person who signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which: no secret.
    pub hash: blake3::Hash,
    /// Of whose person.
    pub tenant: TenantId,
    /// Of whom.
    pub person: PersonId,
    /// From where it was begun.
    pub address: Option<IpAddr>,
    /// When it was begun.
    pub made: Timestamp,
    /// When it was last used, about.
    pub seen: Timestamp,
    /// Its end at the latest.
    pub until: Timestamp,
    /// By which account it was begun; `None`: by a password.
    pub by: Option<By>,
}

/// The account at an identity provider that a session was begun by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// The provider.
    pub provider: ProviderId,
    /// The account's subject there.
    pub subject: String,
    /// The provider's own session, where it named one.
    pub sid: Option<String>,
}

/// How a person signs in, as it is kept.
#[derive(Debug)]
pub struct Credential {
    /// The password.
    pub password: Hashed,
    /// `None` where the gateway's key is another than the one under which it was encrypted.
    pub authenticator: Option<Authenticator>,
}

/// What was presented beside the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A code of this time step.
    Step(u64),
    /// A recovery code.
    Recovery(String),
    /// An account at an identity provider, and the ID token that vouched for it, encrypted, where it is kept.
    Account(Account, Option<Vec<u8>>),
}

impl Tables {
    /// Who presents this cookie, while the session lasts.
    pub fn session(&self, secret: &SessionSecret, at: Timestamp) -> Option<(&Arc<Person>, &Arc<Session>)> {
        let session = self.sessions.get(&secret.hash()).filter(|session| at < session.until)?;
        let person = self.person(&session.tenant, &session.person).filter(|person| person.revoked.is_none())?;
        Some((person, session))
    }

    /// The sessions that an account at a provider began: of one of the provider's own sessions, or of a subject.
    pub fn sessions_by(&self, provider: &ProviderId, subject: Option<&str>, sid: Option<&str>) -> Vec<Arc<Session>> {
        let is_meant = |by: &By| {
            by.provider == *provider
                && subject.is_none_or(|subject| by.subject == subject)
                && sid.is_none_or(|sid| by.sid.as_deref() == Some(sid))
                && (subject.is_some() || sid.is_some())
        };
        self.sessions.values().filter(|session| session.by.as_ref().is_some_and(is_meant)).cloned().collect()
    }
}

impl Catalogue {
    /// Invites a person to choose how to sign in. What they had before, and their sessions, are over at once.
    ///
    /// # Errors
    /// When there is no such person designated, or it is not written.
    pub fn invite(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        secret: &SessionSecret,
        cipher: &Cipher,
        until: Timestamp,
    ) -> Result<(), CatalogueError> {
        let totp = Authenticator::random(tenant, person).encrypted(cipher, tenant, person);
        self.change(|db| {
            if !rows::is_designated(db, tenant, person)? {
                return Ok(Err(CatalogueError::NoPerson(person.clone())));
            }
            sign_out(db, tenant, person)?;
            let sql = "INSERT INTO invitation VALUES (?1, ?2, ?3, ?4, ?5)";
            let (hash, until) = (secret.hash(), until.as_millisecond());
            db.execute(sql, params![tenant.as_str(), person.as_str(), hash.as_bytes(), totp, until])?;
            Ok(Ok(()))
        })
    }

    /// What an invitation shows; `None` where it is wrong, used or over.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn invited(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        secret: &SessionSecret,
        cipher: &Cipher,
        at: Timestamp,
    ) -> Result<Option<Authenticator>, CatalogueError> {
        let totp = self.read(|db| invitation(db, tenant, person, secret, at))?;
        Ok(totp.and_then(|totp| Authenticator::open(cipher, tenant, person, totp)))
    }

    /// Uses an invitation: from now on the person signs in with this password and the authenticator of the invitation, whose code
    /// of this step was shown. Gives the recovery codes, which are shown once; `None` where the invitation is wrong, used or over.
    ///
    /// # Errors
    /// When it is not written.
    pub fn enrol(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        secret: &SessionSecret,
        (password, step): (&Hashed, u64),
        at: Timestamp,
    ) -> Result<Option<Vec<SecretString>>, CatalogueError> {
        let (codes, hashes) = recovery_codes();
        let recovery = serde_json::to_string(&hashes).expect("a list of texts is encoded");
        self.change(|db| {
            let Some(totp) = invitation(db, tenant, person, secret, at)? else { return Ok(Ok(None)) };
            sign_out(db, tenant, person)?;
            let sql = "INSERT INTO credential VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let (tenant, person, step) = (tenant.as_str(), person.as_str(), step.cast_signed());
            let row = params![tenant, person, password.as_row(), totp, step, recovery, at.as_millisecond()];
            db.execute(sql, row)?;
            Ok(Ok(Some(codes)))
        })
    }

    /// How a person signs in; `None` where they have not chosen yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn credential(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        cipher: &Cipher,
    ) -> Result<Option<Credential>, CatalogueError> {
        let sql = "SELECT password, totp FROM credential WHERE tenant = ?1 AND person = ?2";
        let row = self.read(|db| {
            let both = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            db.query_row(sql, [tenant.as_str(), person.as_str()], both).optional()
        })?;
        Ok(row.map(|(password, totp)| Credential {
            password: Hashed::from_row(password),
            authenticator: Authenticator::open(cipher, tenant, person, totp),
        }))
    }

    /// Begins a session, which ends the person's others, with what was presented; gives those, or `None` where it was used
    /// before.
    ///
    /// # Errors
    /// When it is not written.
    pub fn begin_session(&self, session: &Session, proof: &Proof) -> Result<Option<Vec<Session>>, CatalogueError> {
        let Session { hash, tenant, person, address, made, seen, until, by } = session;
        self.change(|db| {
            if !rows::is_designated(db, tenant, person)? || !use_up(db, tenant, person, proof, *made)? {
                return Ok(Ok(None));
            }
            let ended = sessions_of(db, tenant, person)?;
            let (tenant, person) = (tenant.as_str(), person.as_str());
            db.execute("DELETE FROM session WHERE tenant = ?1 AND person = ?2", [tenant, person])?;
            let [made, seen, until] = [made, seen, until].map(|at| at.as_millisecond());
            let address = address.map(|address| address.to_string());
            let (provider, subject) = (by.as_ref().map(|by| by.provider.as_str()), by.as_ref().map(|by| &by.subject));
            let sid = by.as_ref().and_then(|by| by.sid.as_ref());
            let id_token = if let Proof::Account(_, id_token) = proof { id_token.as_ref() } else { None };
            let sql = "INSERT INTO session VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
            let hash = hash.as_bytes();
            db.execute(
                sql,
                params![hash, tenant, person, address, made, seen, until, provider, subject, sid, id_token],
            )?;
            Ok(Ok(Some(ended)))
        })
    }

    /// The ID token, encrypted, that vouched for who began this session.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn id_token(&self, hash: &blake3::Hash) -> Result<Option<Vec<u8>>, CatalogueError> {
        let sql = "SELECT id_token FROM session WHERE hash = ?1";
        self.read(|db| db.query_row(sql, [hash.as_bytes()], |row| row.get(0)).optional()).map(Option::flatten)
    }

    /// Ends a session. One that is not there is ended.
    ///
    /// # Errors
    /// When it is not written.
    pub fn end_session(&self, hash: &blake3::Hash) -> Result<(), CatalogueError> {
        self.change(|db| db.execute("DELETE FROM session WHERE hash = ?1", [hash.as_bytes()]).map(|_| Ok(())))
    }

    /// Notes when a session was last used.
    ///
    /// # Errors
    /// When it is not written.
    pub fn seen(&self, hash: &blake3::Hash, at: Timestamp) -> Result<(), CatalogueError> {
        let row = params![hash.as_bytes(), at.as_millisecond()];
        self.read(|db| db.execute("UPDATE session SET seen = ?2 WHERE hash = ?1", row).map(drop))
    }
}

/// The TOTP secret of an invitation that is right and in force.
fn invitation(
    db: &Connection,
    tenant: &TenantId,
    person: &PersonId,
    secret: &SessionSecret,
    at: Timestamp,
) -> rusqlite::Result<Option<Vec<u8>>> {
    let sql = "SELECT hash, totp FROM invitation WHERE tenant = ?1 AND person = ?2 AND until > ?3";
    let row = params![tenant.as_str(), person.as_str(), at.as_millisecond()];
    let found = db.query_row(sql, row, |row| Ok((row.get::<_, [u8; 32]>(0)?, row.get(1)?))).optional()?;
    // Compared in constant time.
    Ok(found.filter(|(hash, _)| blake3::Hash::from_bytes(*hash) == secret.hash()).map(|(_, totp)| totp))
}

/// How the person signs in, an invitation of theirs, and their sessions are over.
pub(crate) fn sign_out(db: &Connection, tenant: &TenantId, person: &PersonId) -> rusqlite::Result<()> {
    for table in ["credential", "invitation", "session"] {
        let sql = format!("DELETE FROM {table} WHERE tenant = ?1 AND person = ?2");
        db.execute(&sql, [tenant.as_str(), person.as_str()])?;
    }
    Ok(())
}

/// Whether it was there to be used up: of two that present the same, one has it.
fn use_up(
    db: &Connection,
    tenant: &TenantId,
    person: &PersonId,
    proof: &Proof,
    at: Timestamp,
) -> rusqlite::Result<bool> {
    if let Proof::Account(account, _) = proof {
        return identity::bind(db, (tenant, person), account, at);
    }
    let (tenant, person) = (tenant.as_str(), person.as_str());
    match proof {
        Proof::Account(..) => Ok(false),
        Proof::Step(step) => {
            let sql = "UPDATE credential SET step = ?3 WHERE tenant = ?1 AND person = ?2 AND step < ?3";
            Ok(db.execute(sql, params![tenant, person, step.cast_signed()])? > 0)
        }
        Proof::Recovery(code) => {
            let sql = "SELECT recovery FROM credential WHERE tenant = ?1 AND person = ?2";
            let left: Option<String> = db.query_row(sql, [tenant, person], |row| row.get(0)).optional()?;
            let mut left: Vec<String> = left
                .map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(|error| {
                    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
                })?
                .unwrap_or_default();
            let (before, hash) = (left.len(), recovery_hash(code));
            left.retain(|one| *one != hash);
            let text = serde_json::to_string(&left).expect("a list of texts is encoded");
            let sql = "UPDATE credential SET recovery = ?3 WHERE tenant = ?1 AND person = ?2";
            db.execute(sql, params![tenant, person, text])?;
            Ok(left.len() < before)
        }
    }
}

fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    let (tenant, person) = rows::owner(row)?;
    let address: Option<String> = row.get("address")?;
    let provider = row.get::<_, Option<String>>("provider")?.map(|_| rows::parsed(row, "provider")).transpose()?;
    let (subject, sid): (Option<String>, _) = (row.get("subject")?, row.get("sid")?);
    Ok(Session {
        by: provider.zip(subject).map(|(provider, subject)| By { provider, subject, sid }),
        hash: blake3::Hash::from_bytes(row.get("hash")?),
        tenant,
        person,
        address: address.and_then(|text| text.parse().ok()),
        made: rows::instant(row, "made")?,
        seen: rows::instant(row, "seen")?,
        until: rows::instant(row, "until")?,
    })
}

fn sessions_of(db: &Connection, tenant: &TenantId, person: &PersonId) -> rusqlite::Result<Vec<Session>> {
    let mut read = db.prepare("SELECT * FROM session WHERE tenant = ?1 AND person = ?2")?;
    read.query_map([tenant.as_str(), person.as_str()], session)?.collect()
}

/// All sessions, by their hash.
pub(crate) fn sessions(db: &Connection) -> rusqlite::Result<HashMap<blake3::Hash, Arc<Session>>> {
    let mut read = db.prepare("SELECT * FROM session")?;
    let sessions = read.query_map([], session)?;
    sessions.map(|session| session.map(|session| (session.hash, Arc::new(session)))).collect()
}

#[cfg(test)]
mod tests;
