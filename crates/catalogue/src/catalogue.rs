//! The SQLite file, and all of it in memory, where each request looks.
//!
//! Invariants: a change is durable when its function has returned; each raises the generation, but for the last use of a
//! token. Everything here blocks, for the time of a flush at most.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior};
use rusqlite_migration::{M, Migrations};

use footage::failure::{Failure, Kind};
use footage::units::{PersonId, TenantId};

use crate::identity::Identity;
use crate::person::{Designation, Grant, GrantId, Person};
use crate::rows::{self, Of};
use crate::sign_in::Session;
use crate::token::{Secret, Token, TokenId};

/// Marks the file as a catalogue of Vigie's (`PRAGMA application_id`): see the schema.
const APPLICATION_ID: i64 = 0x5649_4743;

/// Schema versions, oldest first. One that was released never changes.
const MIGRATIONS: &[M<'static>] = &[M::up(include_str!("schema.sql")), M::up(include_str!("schema_2.sql"))];

/// How long to wait for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Persons of a tenant, those whose designation was revoked included.
const PERSONS_MAX: usize = 5_000;
/// Tokens of a person that are in force.
const TOKENS_MAX: usize = 16;
/// Grants of a person that are in force.
const GRANTS_MAX: usize = 64;

/// What can go wrong with the catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// SQLite refused, or the disk did.
    #[error("catalogue: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The file is damaged, or another program's.
    #[error("the catalogue {path} is damaged ({what}): put a copy of it back")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A newer Vigie wrote it.
    #[error("the catalogue has schema {found}, this Vigie knows {known}: run the newer Vigie")]
    Newer {
        /// Version of the file.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// A migration failed; nothing was changed.
    #[error("catalogue migration: {0}")]
    Migration(#[from] rusqlite_migration::Error),
    /// There is no such person in the tenant.
    #[error("there is no person {0}")]
    NoPerson(PersonId),
    /// The person has no such token or grant in force.
    #[error("the person has no such {0} in force")]
    NotInForce(&'static str),
    /// Another person of the tenant has it.
    #[error("the account is {0}'s already")]
    Taken(PersonId),
    /// Enough is enough. Persons whose designation was revoked count for as long as they are kept.
    #[error("there are {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
}

impl Failure for CatalogueError {
    fn kind(&self) -> Kind {
        match self {
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => Kind::Full,
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Kind::Retry,
                Some(rusqlite::ErrorCode::PermissionDenied | rusqlite::ErrorCode::ReadOnly) => Kind::Denied,
                _ => Kind::Internal,
            },
            Self::Corrupt { .. } => Kind::Corrupt,
            Self::Newer { .. } | Self::TooMany { .. } | Self::Taken(_) => Kind::Conflict,
            Self::Migration(_) => Kind::Internal,
            Self::NoPerson(_) | Self::NotInForce(_) => Kind::NotFound,
        }
    }
}

/// Which catalogue it is, and how often it was changed: kept elsewhere too, it shows one that is missing, another, or an
/// older copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Random, from when it was made.
    pub id: [u8; 16],
    /// Grows with each change.
    pub generation: u64,
}

impl Mark {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        [&self.id[..], &self.generation.to_be_bytes()].concat()
    }

    /// From its bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (id, generation) = bytes.split_at_checked(16)?;
        Some(Self { id: id.try_into().ok()?, generation: u64::from_be_bytes(generation.try_into().ok()?) })
    }

    /// Whether this is the one that was known, or a later state of it.
    pub fn follows(&self, known: &Self) -> bool {
        self.id == known.id && self.generation >= known.generation
    }
}

/// All persons and tokens, as they were read.
#[derive(Debug, Default)]
pub struct Tables {
    persons: HashMap<TenantId, BTreeMap<PersonId, Arc<Person>>>,
    tokens: HashMap<TokenId, Token>,
    pub(crate) sessions: HashMap<blake3::Hash, Arc<Session>>,
    pub(crate) identities: Vec<Identity>,
}

impl Tables {
    pub(crate) fn new(persons: Vec<Person>, tokens: Vec<Token>, sessions: HashMap<blake3::Hash, Arc<Session>>) -> Self {
        let mut tables = Self::default();
        for person in persons {
            let of = tables.persons.entry(person.tenant.clone()).or_default();
            of.insert(person.id.clone(), Arc::new(person));
        }
        tables.sessions = sessions;
        tables.tokens = tokens.into_iter().map(|token| (token.id, token)).collect();
        tables
    }

    /// A tenant's person, whether or not the designation is in force.
    pub fn person(&self, tenant: &TenantId, id: &PersonId) -> Option<&Arc<Person>> {
        self.persons.get(tenant)?.get(id)
    }

    /// A tenant's persons, by id.
    pub fn persons(&self, tenant: &TenantId) -> impl Iterator<Item = &Arc<Person>> {
        self.persons.get(tenant).into_iter().flat_map(BTreeMap::values)
    }

    /// A person's tokens, the oldest first.
    pub fn tokens(&self, person: &Person) -> Vec<&Token> {
        let mut tokens: Vec<&Token> =
            self.tokens.values().filter(|token| token.tenant == person.tenant && token.person == person.id).collect();
        tokens.sort_by_key(|token| (token.made, token.id));
        tokens
    }

    /// Whether something was over before this time: see [`Catalogue::forget`].
    pub fn has_over(&self, before: Timestamp) -> bool {
        let is_before = |at: Option<Timestamp>| at.is_some_and(|at| at < before);
        let mut persons = self.persons.values().flat_map(BTreeMap::values);
        self.sessions.values().any(|session| session.until < before)
            || self.tokens.values().any(|token| token.until < before || is_before(token.revoked))
            || persons.any(|person| {
                let over = |grant: &Grant| grant.until < before || is_before(grant.revoked);
                is_before(person.revoked) || person.grants.iter().any(over)
            })
    }

    /// Who presents this token for this tenant, while it is in force. A token that is unknown costs what a wrong one costs.
    pub fn holder(&self, tenant: &TenantId, secret: &Secret, at: Timestamp) -> Option<(&Arc<Person>, &Token)> {
        let token = self.presented(tenant, secret).filter(|token| token.is_in_force(at))?;
        Some((self.person(&token.tenant, &token.person)?, token))
    }

    /// Whether this token was a person's of this tenant and is over or revoked: who presents it guesses nothing.
    pub fn is_over(&self, tenant: &TenantId, secret: &Secret, at: Timestamp) -> bool {
        self.presented(tenant, secret).is_some_and(|token| !token.is_in_force(at))
    }

    fn presented(&self, tenant: &TenantId, secret: &Secret) -> Option<&Token> {
        let hash = secret.hash();
        let token = self.tokens.get(&secret.id());
        let same = hash == token.map_or(blake3::Hash::from_bytes([0; 32]), |token| token.hash);
        token.filter(|token| same && token.tenant == *tenant)
    }
}

/// The catalogue, open.
#[derive(Debug)]
pub struct Catalogue {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Catalogue {
    /// Opens it, or makes an empty one: whether there should be one is the caller's to know, by its [`Mark`]. One of this schema
    /// is not changed by it.
    ///
    /// # Errors
    /// When it is damaged, newer, or the disk refuses.
    pub fn open(path: &Path) -> Result<Self, CatalogueError> {
        let failed = |error| failed(path, error);
        let mut connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        let known = MIGRATIONS.len() as i64;
        let found = version(&connection, path)?;
        if found > known {
            return Err(CatalogueError::Newer { found, known });
        }
        connection.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
        // A revocation that was acknowledged must not come back with a power cut.
        connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
        Migrations::from_slice(MIGRATIONS).to_latest(&mut connection)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        let opened = Self { path: path.to_owned(), connection: Mutex::new(connection) };
        // What cannot be read is found out now.
        opened.tables()?;
        Ok(opened)
    }

    /// Which it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn mark(&self) -> Result<Mark, CatalogueError> {
        let row = self.connection.lock().query_row("SELECT id, generation FROM mark", [], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?))
        });
        let (id, generation) = row.map_err(|error| failed(&self.path, error))?;
        let id = id.try_into().map_err(|_| self.corrupt("its mark has no id"))?;
        Ok(Mark { id, generation: generation.cast_unsigned() })
    }

    /// All of it.
    ///
    /// # Errors
    /// When it cannot be read, or a row is none of ours.
    pub fn tables(&self) -> Result<Tables, CatalogueError> {
        self.read(rows::tables)
    }

    /// Designates a person, or renews the designation of one; whose was revoked is designated again, with none of the tokens
    /// and grants of before.
    ///
    /// # Errors
    /// When the tenant has too many persons, or it is not written.
    pub fn designate(
        &self,
        tenant: &TenantId,
        person: &PersonId,
        designation: &Designation,
        at: Timestamp,
    ) -> Result<(), CatalogueError> {
        self.change(|db| {
            if rows::count_persons(db, tenant, person)? >= PERSONS_MAX {
                return Ok(Err(CatalogueError::TooMany {
                    what: "persons already, those included whose designation was revoked in the last three years",
                    max: PERSONS_MAX,
                }));
            }
            rows::put_person(db, tenant, person, designation, at).map(Ok)
        })
    }

    /// Revokes a designation, and with it the person's tokens and grants.
    ///
    /// # Errors
    /// When there is no such person designated, or it is not written.
    pub fn revoke(&self, tenant: &TenantId, person: &PersonId, at: Timestamp) -> Result<(), CatalogueError> {
        self.change(|db| {
            let revoked = rows::revoke_person(db, tenant, person, at)?;
            Ok(if revoked { Ok(()) } else { Err(CatalogueError::NoPerson(person.clone())) })
        })
    }

    /// Keeps a token of a person: its hash.
    ///
    /// # Errors
    /// When there is no such person designated, they have too many, or it is not written.
    pub fn put_token(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        label: &str,
        secret: &Secret,
        made: Timestamp,
        until: Timestamp,
    ) -> Result<(), CatalogueError> {
        self.change(|db| {
            if !rows::is_designated(db, tenant, person)? {
                return Ok(Err(CatalogueError::NoPerson(person.clone())));
            }
            if rows::count_in_force(db, Of::Tokens, tenant, person, made)? >= TOKENS_MAX {
                return Ok(Err(CatalogueError::TooMany {
                    what: "tokens of this person already: revoke one first",
                    max: TOKENS_MAX,
                }));
            }
            let (tenant, person) = (tenant.clone(), person.clone());
            let (label, hash) = (label.to_owned(), secret.hash());
            let token = Token { id: secret.id(), tenant, person, label, hash, made, until, used: None, revoked: None };
            rows::put_token(db, &token).map(Ok)
        })
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// When the person has no such token in force, or it is not written.
    pub fn revoke_token(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        token: TokenId,
        at: Timestamp,
    ) -> Result<(), CatalogueError> {
        self.change(|db| {
            let revoked = rows::revoke_one(db, (Of::Tokens, token.to_row()), tenant, person, at)?;
            Ok(if revoked { Ok(()) } else { Err(CatalogueError::NotInForce("token")) })
        })
    }

    /// Gives a grant to a person; its id is chosen here.
    ///
    /// # Errors
    /// When there is no such person designated, they have too many, or it is not written.
    pub fn give(&self, tenant: &TenantId, person: &PersonId, grant: &Grant) -> Result<GrantId, CatalogueError> {
        self.change(|db| {
            if !rows::is_designated(db, tenant, person)? {
                return Ok(Err(CatalogueError::NoPerson(person.clone())));
            }
            if rows::count_in_force(db, Of::Grants, tenant, person, grant.given)? >= GRANTS_MAX {
                return Ok(Err(CatalogueError::TooMany {
                    what: "grants of this person already: revoke one first",
                    max: GRANTS_MAX,
                }));
            }
            rows::put_grant(db, tenant, person, grant).map(Ok)
        })
    }

    /// Takes a grant back.
    ///
    /// # Errors
    /// When the person has no such grant in force, or it is not written.
    pub fn revoke_grant(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        grant: GrantId,
        at: Timestamp,
    ) -> Result<(), CatalogueError> {
        self.change(|db| {
            let revoked = rows::revoke_one(db, (Of::Grants, grant.0), tenant, person, at)?;
            Ok(if revoked { Ok(()) } else { Err(CatalogueError::NotInForce("grant")) })
        })
    }

    /// Notes when a token was last used.
    ///
    /// # Errors
    /// When it is not written.
    pub fn used(&self, token: TokenId, at: Timestamp) -> Result<(), CatalogueError> {
        self.read(|db| rows::used(db, token, at))
    }

    /// Removes persons whose designation was revoked before this time, with their tokens and grants; and of the others, tokens and
    /// grants that were over before it. Says how many rows.
    ///
    /// # Errors
    /// When it is not written.
    pub fn forget(&self, before: Timestamp) -> Result<usize, CatalogueError> {
        self.change(|db| rows::forget(db, before).map(Ok))
    }

    /// Outside of any transaction.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, CatalogueError> {
        work(&self.connection.lock()).map_err(|error| failed(&self.path, error))
    }

    /// In one transaction, with the generation; a refusal changes nothing.
    pub(crate) fn change<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, CatalogueError>>,
    ) -> Result<T, CatalogueError> {
        let mut connection = self.connection.lock();
        let run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            if done.is_ok() {
                transaction.execute("UPDATE mark SET generation = generation + 1", [])?;
                transaction.commit()?;
            }
            Ok(done)
        };
        run().map_err(|error| failed(&self.path, error))?
    }

    fn corrupt(&self, what: &str) -> CatalogueError {
        CatalogueError::Corrupt { path: self.path.clone(), what: what.to_owned() }
    }
}

fn failed(path: &Path, error: rusqlite::Error) -> CatalogueError {
    use rusqlite::Error as E;
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let is_damage = matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
        || matches!(
            error,
            E::FromSqlConversionFailure(..)
                | E::IntegralValueOutOfRange(..)
                | E::InvalidColumnType(..)
                | E::QueryReturnedNoRows
        );
    match is_damage {
        true => CatalogueError::Corrupt { path: path.to_owned(), what: error.to_string() },
        false => CatalogueError::Sqlite(error),
    }
}

/// The schema's version, after checking that the file is a catalogue at all: an empty one has version 0.
fn version(connection: &Connection, path: &Path) -> Result<i64, CatalogueError> {
    let failed = |error| failed(path, error);
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(failed);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    let (owner, version) = (number("application_id")?, number("user_version")?);
    if owner == APPLICATION_ID || (owner == 0 && tables == 0 && version == 0) {
        return Ok(version);
    }
    Err(CatalogueError::Corrupt { path: path.to_owned(), what: "it is a database of another program".to_owned() })
}

#[cfg(test)]
mod tests;
