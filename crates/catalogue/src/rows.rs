//! Persons, tokens and grants as rows. Every statement that is about one tenant's names it.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

use footage::units::{PersonId, TenantId};

use crate::catalogue::Tables;
use crate::identity;
use crate::person::{Act, Designation, Grant, GrantId, Person};
use crate::sign_in;
use crate::token::{Token, TokenId};

/// All rows: the gateway keeps them in memory.
pub(crate) fn tables(db: &Connection) -> rusqlite::Result<Tables> {
    let mut grants: HashMap<(TenantId, PersonId), Vec<Grant>> = HashMap::new();
    let mut read = db.prepare("SELECT * FROM footage_grant ORDER BY id")?;
    for row in read.query_map([], |row| Ok((owner(row)?, grant(row)?)))? {
        let (owner, grant) = row?;
        grants.entry(owner).or_default().push(grant);
    }
    let mut read = db.prepare("SELECT * FROM person")?;
    let persons = read.query_map([], |row| {
        let (tenant, id) = owner(row)?;
        let grants = grants.remove(&(tenant.clone(), id.clone())).unwrap_or_default();
        let (since, revoked) = (instant(row, "since")?, some_instant(row, "revoked")?);
        Ok(Person { tenant, id, designation: designation(row)?, since, revoked, grants })
    })?;
    let persons = persons.collect::<rusqlite::Result<Vec<Person>>>()?;
    let mut read = db.prepare("SELECT * FROM token")?;
    let tokens = read.query_map([], token)?.collect::<rusqlite::Result<Vec<Token>>>()?;
    let mut tables = Tables::new(persons, tokens, sign_in::sessions(db)?);
    tables.identities = identity::all(db)?;
    Ok(tables)
}

fn bad(row: &Row<'_>, column: &str, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    let index = row.as_ref().column_index(column).unwrap_or_default();
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error))
}

pub(crate) fn parsed<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    column: &str,
) -> rusqlite::Result<T> {
    row.get::<_, String>(column)?.parse().map_err(|error| bad(row, column, error))
}

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    serde_json::from_str(&row.get::<_, String>(column)?).map_err(|error| bad(row, column, error))
}

pub(crate) fn instant(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(row.get(column)?).map_err(|error| bad(row, column, error))
}

pub(crate) fn some_instant(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    match row.get::<_, Option<i64>>(column)? {
        None => Ok(None),
        Some(_) => instant(row, column).map(Some),
    }
}

pub(crate) fn owner(row: &Row<'_>) -> rusqlite::Result<(TenantId, PersonId)> {
    Ok((parsed(row, "tenant")?, parsed(row, "person")?))
}

fn designation(row: &Row<'_>) -> rusqlite::Result<Designation> {
    let act = Act {
        authority: row.get("act_authority")?,
        number: row.get("act_number")?,
        date: parsed(row, "act_date")?,
        until: parsed(row, "act_until")?,
    };
    Ok(Designation { name: row.get("name")?, role: row.get("role")?, act, scope: json(row, "scope")? })
}

fn grant(row: &Row<'_>) -> rusqlite::Result<Grant> {
    Ok(Grant {
        id: GrantId(row.get("id")?),
        cameras: json(row, "cameras")?,
        from: instant(row, "start")?,
        to: instant(row, "end")?,
        reference: row.get("reference")?,
        reason: row.get("reason")?,
        until: instant(row, "until")?,
        given: instant(row, "given")?,
        revoked: some_instant(row, "revoked")?,
    })
}

fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    let (tenant, person) = owner(row)?;
    Ok(Token {
        id: TokenId::from_row(row.get("id")?),
        tenant,
        person,
        label: row.get("label")?,
        hash: blake3::Hash::from_bytes(row.get("hash")?),
        made: instant(row, "made")?,
        until: instant(row, "until")?,
        used: some_instant(row, "used")?,
        revoked: some_instant(row, "revoked")?,
    })
}

fn count(db: &Connection, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
    let count: i64 = db.query_row(sql, params, |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Persons of the tenant beside this one.
pub(crate) fn count_persons(db: &Connection, tenant: &TenantId, beside: &PersonId) -> rusqlite::Result<usize> {
    let sql = "SELECT count(*) FROM person WHERE tenant = ?1 AND person <> ?2";
    count(db, sql, [tenant.as_str(), beside.as_str()])
}

pub(crate) fn is_designated(db: &Connection, tenant: &TenantId, person: &PersonId) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM person WHERE tenant = ?1 AND person = ?2 AND revoked IS NULL";
    Ok(count(db, sql, [tenant.as_str(), person.as_str()])? > 0)
}

pub(crate) fn put_person(
    db: &Connection,
    tenant: &TenantId,
    person: &PersonId,
    designation: &Designation,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let Designation { name, role, act, scope } = designation;
    let scope = serde_json::to_string(scope).expect("a scope has no map with keys that are not text");
    let sql = "INSERT INTO person VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, NULL)
        ON CONFLICT (tenant, person) DO UPDATE SET name = excluded.name, role = excluded.role,
            act_authority = excluded.act_authority, act_number = excluded.act_number, act_date = excluded.act_date,
            act_until = excluded.act_until, scope = excluded.scope, revoked = NULL";
    let (date, until) = (act.date.to_string(), act.until.to_string());
    let (tenant, person) = (tenant.as_str(), person.as_str());
    let row = params![tenant, person, name, role, act.authority, act.number, date, until, scope, at.as_millisecond()];
    db.execute(sql, row).map(drop)
}

/// Whether there was such a person designated.
pub(crate) fn revoke_person(
    db: &Connection,
    tenant: &TenantId,
    person: &PersonId,
    at: Timestamp,
) -> rusqlite::Result<bool> {
    let row = params![tenant.as_str(), person.as_str(), at.as_millisecond()];
    let revoke = |table: &str| {
        let sql = format!("UPDATE {table} SET revoked = ?3 WHERE tenant = ?1 AND person = ?2 AND revoked IS NULL");
        db.execute(&sql, row)
    };
    sign_in::sign_out(db, tenant, person)?;
    db.execute("DELETE FROM identity WHERE tenant = ?1 AND person = ?2", [tenant.as_str(), person.as_str()])?;
    revoke("token")?;
    revoke("footage_grant")?;
    Ok(revoke("person")? > 0)
}

/// What a person has several of.
#[derive(Clone, Copy)]
pub(crate) enum Of {
    Tokens,
    Grants,
}

impl Of {
    fn table(self) -> &'static str {
        match self {
            Self::Tokens => "token",
            Self::Grants => "footage_grant",
        }
    }
}

/// How many the person has that are in force.
pub(crate) fn count_in_force(
    db: &Connection,
    of: Of,
    tenant: &TenantId,
    person: &PersonId,
    at: Timestamp,
) -> rusqlite::Result<usize> {
    let sql = format!(
        "SELECT count(*) FROM {} WHERE tenant = ?1 AND person = ?2 AND revoked IS NULL AND until > ?3",
        of.table()
    );
    count(db, &sql, params![tenant.as_str(), person.as_str(), at.as_millisecond()])
}

/// Whether the person had this one in force.
pub(crate) fn revoke_one(
    db: &Connection,
    (of, id): (Of, i64),
    tenant: &TenantId,
    person: &PersonId,
    at: Timestamp,
) -> rusqlite::Result<bool> {
    let sql = format!(
        "UPDATE {} SET revoked = ?4 WHERE tenant = ?1 AND person = ?2 AND id = ?3 AND revoked IS NULL AND until > ?4",
        of.table()
    );
    Ok(db.execute(&sql, params![tenant.as_str(), person.as_str(), id, at.as_millisecond()])? > 0)
}

pub(crate) fn put_token(db: &Connection, token: &Token) -> rusqlite::Result<()> {
    let Token { id, tenant, person, label, hash, made, until, used: _, revoked: _ } = token;
    let sql = "INSERT INTO token VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, NULL)";
    let (made, until) = (made.as_millisecond(), until.as_millisecond());
    let row = params![id.to_row(), tenant.as_str(), person.as_str(), label, hash.as_bytes(), made, until];
    db.execute(sql, row).map(drop)
}

pub(crate) fn put_grant(
    db: &Connection,
    tenant: &TenantId,
    person: &PersonId,
    grant: &Grant,
) -> rusqlite::Result<GrantId> {
    let Grant { id: _, cameras, from, to, reference, reason, until, given, revoked: _ } = grant;
    let cameras = serde_json::to_string(cameras).expect("a list of ids is encoded");
    let sql = "INSERT INTO footage_grant VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, NULL)";
    let [from, to, until, given] = [from, to, until, given].map(|at| at.as_millisecond());
    let (tenant, person) = (tenant.as_str(), person.as_str());
    db.execute(sql, params![tenant, person, cameras, from, to, reference, reason, until, given])?;
    Ok(GrantId(db.last_insert_rowid()))
}

pub(crate) fn used(db: &Connection, token: TokenId, at: Timestamp) -> rusqlite::Result<()> {
    db.execute("UPDATE token SET used = ?2 WHERE id = ?1", params![token.to_row(), at.as_millisecond()]).map(drop)
}

pub(crate) fn forget(db: &Connection, before: Timestamp) -> rusqlite::Result<usize> {
    let before = [before.as_millisecond()];
    let over = "revoked < ?1 OR until < ?1";
    let rows = db.execute(&format!("DELETE FROM token WHERE {over}"), before)?
        + db.execute(&format!("DELETE FROM footage_grant WHERE {over}"), before)?
        + db.execute("DELETE FROM session WHERE until < ?1", before)?
        + db.execute("DELETE FROM invitation WHERE until < ?1", before)?;
    Ok(rows + db.execute("DELETE FROM person WHERE revoked < ?1", before)?)
}
