//! Accounts at identity providers, by which persons sign in.
//!
//! Invariants: an account is one person's of a tenant. One that was named by its e-mail address is, from the first sign-in on,
//! that of the subject which had the address then: an address that is given to somebody else later opens nothing (OpenID
//! Connect Core 1.0 §5.7). An account designates nobody: without a designation it opens nothing.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use footage::units::{PersonId, ProviderId, TenantId};

use crate::catalogue::{Catalogue, CatalogueError, Tables};
use crate::person::Person;
use crate::rows;

/// An account by which a person signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Of whose person.
    pub tenant: TenantId,
    /// Of whom.
    pub person: PersonId,
    /// At which provider.
    pub provider: ProviderId,
    /// Its e-mail address in lower case, where it was named by that.
    pub email: Option<String>,
    /// The provider's issuer, once it is bound.
    pub issuer: Option<String>,
    /// Its subject there, where it was named by that, or is bound.
    pub subject: Option<String>,
    /// When it was named.
    pub made: Timestamp,
    /// When the person first signed in by it.
    pub bound: Option<Timestamp>,
}

impl Identity {
    fn is(&self, account: &Account) -> bool {
        let is_named = match &self.subject {
            Some(subject) => {
                *subject == account.subject && self.issuer.as_ref().is_none_or(|issuer| *issuer == account.issuer)
            }
            None => self.email.is_some() && self.email == account.email,
        };
        self.provider == account.provider && is_named
    }
}

/// How an account is named before anybody has signed in by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// By its e-mail address.
    Email(String),
    /// By its subject.
    Subject(String),
}

/// An account, as its provider vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The provider.
    pub provider: ProviderId,
    /// Its issuer.
    pub issuer: String,
    /// The subject: never another's at this issuer.
    pub subject: String,
    /// The e-mail address, its ASCII letters in lower case, where the provider has verified it.
    pub email: Option<String>,
}

impl Tables {
    /// A person's accounts.
    pub fn identities(&self, person: &Person) -> impl Iterator<Item = &Identity> {
        self.identities.iter().filter(|of| of.tenant == person.tenant && of.person == person.id)
    }

    /// Whose account this is, in each tenant where it is somebody's who is designated.
    pub fn identified(&self, account: &Account) -> impl Iterator<Item = &Arc<Person>> {
        let known = self.identities.iter().filter(|identity| identity.is(account));
        known.filter_map(|of| self.person(&of.tenant, &of.person)).filter(|person| person.revoked.is_none())
    }
}

impl Catalogue {
    /// Names the account at this provider by which a person signs in, in place of one that was named before: sessions of that
    /// one are over.
    ///
    /// # Errors
    /// When there is no such person designated, it is another's, or it is not written.
    pub fn identify(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        provider: &ProviderId,
        named: &Named,
        at: Timestamp,
    ) -> Result<(), CatalogueError> {
        let (email, subject) = match named {
            // ASCII alone: other letters that become these would make another's address of one (U+212A is no "k").
            Named::Email(email) => (Some(email.to_ascii_lowercase()), None),
            Named::Subject(subject) => (None, Some(subject)),
        };
        self.change(|db| {
            if !rows::is_designated(db, tenant, person)? {
                return Ok(Err(CatalogueError::NoPerson(person.clone())));
            }
            let sql = "SELECT person FROM identity
                WHERE tenant = ?1 AND provider = ?2 AND person <> ?3 AND (email = ?4 OR subject = ?5)";
            let row = params![tenant.as_str(), provider.as_str(), person.as_str(), email, subject];
            let other = db.query_row(sql, row, |row| rows::parsed(row, "person")).optional()?;
            if let Some(other) = other {
                return Ok(Err(CatalogueError::Taken(other)));
            }
            forget(db, (tenant, person), provider)?;
            let sql = "INSERT INTO identity VALUES (?1, ?2, ?3, ?4, NULL, ?5, ?6, NULL)";
            let (tenant, person, at) = (tenant.as_str(), person.as_str(), at.as_millisecond());
            db.execute(sql, params![tenant, person, provider.as_str(), email, subject, at])?;
            Ok(Ok(()))
        })
    }

    /// Takes back the account at this provider, and ends the sessions that it began.
    ///
    /// # Errors
    /// When the person has none there, or it is not written.
    pub fn unidentify(
        &self,
        (tenant, person): (&TenantId, &PersonId),
        provider: &ProviderId,
    ) -> Result<(), CatalogueError> {
        self.change(|db| {
            let had = forget(db, (tenant, person), provider)?;
            Ok(if had { Ok(()) } else { Err(CatalogueError::NotInForce("account")) })
        })
    }
}

/// Whether there was one.
fn forget(db: &Connection, (tenant, person): (&TenantId, &PersonId), provider: &ProviderId) -> rusqlite::Result<bool> {
    let row = [tenant.as_str(), person.as_str(), provider.as_str()];
    db.execute("DELETE FROM session WHERE tenant = ?1 AND person = ?2 AND provider = ?3", row)?;
    Ok(db.execute("DELETE FROM identity WHERE tenant = ?1 AND person = ?2 AND provider = ?3", row)? > 0)
}

/// Whether the account is still this person's, who is the only one of the tenant to have it from now on.
pub(crate) fn bind(
    db: &Connection,
    (tenant, person): (&TenantId, &PersonId),
    account: &Account,
    at: Timestamp,
) -> rusqlite::Result<bool> {
    let Account { provider, issuer, subject, email } = account;
    let sql = "UPDATE OR IGNORE identity SET issuer = ?4, subject = ?5, bound = coalesce(bound, ?7)
        WHERE tenant = ?1 AND person = ?2 AND provider = ?3
            AND ((subject = ?5 AND coalesce(issuer, ?4) = ?4) OR (subject IS NULL AND email = ?6))";
    let (tenant, person, at) = (tenant.as_str(), person.as_str(), at.as_millisecond());
    Ok(db.execute(sql, params![tenant, person, provider.as_str(), issuer, subject, email, at])? > 0)
}

fn identity(row: &Row<'_>) -> rusqlite::Result<Identity> {
    let (tenant, person) = rows::owner(row)?;
    Ok(Identity {
        tenant,
        person,
        provider: rows::parsed(row, "provider")?,
        email: row.get("email")?,
        issuer: row.get("issuer")?,
        subject: row.get("subject")?,
        made: rows::instant(row, "made")?,
        bound: rows::some_instant(row, "bound")?,
    })
}

/// All accounts.
pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<Identity>> {
    let mut read = db.prepare("SELECT * FROM identity ORDER BY tenant, person, provider")?;
    read.query_map([], identity)?.collect()
}

#[cfg(test)]
mod tests;
