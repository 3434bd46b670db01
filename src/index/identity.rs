//! Which stores and keys the index belongs to.
//!
//! Invariant: an id is replaced only by a change that says so; what is missing or another is the caller's to report.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::apply::exec;
use super::query::rows;
use super::{Index, IndexError};

/// What has an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A store, by its name in the configuration: the id in its marker object.
    Store,
    /// The gateway's key: its fingerprint.
    GatewayKey,
    /// The index itself: its own random id.
    Index,
    /// How often it was opened for writing, and more: grows, and a copy beside the index shows an older file.
    Generation,
    /// Of the Vigie that recorded last: its version.
    Version,
    /// The last event that alarms have been raised from.
    AlarmsFollowed,
    /// The catalogue of persons: its id and generation. An older one is found out by it.
    Catalogue,
    /// A tenant's journal, by the tenant: size and root of its last checkpoint. An older journal is found out by it.
    Journal,
}

impl Kind {
    /// The word that rows hold.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::GatewayKey => "gateway_key",
            Self::Index => "index",
            Self::Generation => "generation",
            Self::Version => "version",
            Self::AlarmsFollowed => "alarms_followed",
            Self::Catalogue => "catalogue",
            Self::Journal => "journal",
        }
    }
}

impl Index {
    /// What the index knows of this kind, by name.
    pub async fn identities(&self, kind: Kind) -> Result<BTreeMap<String, Vec<u8>>, IndexError> {
        self.readers
            .read(move |db| {
                let sql = "SELECT name, id FROM identity WHERE kind = ?1";
                let known = rows(db, sql, [kind.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(known.into_iter().collect())
            })
            .await
    }
}

pub(super) fn identify(db: &Connection, kind: Kind, name: &str, id: Option<&[u8]>) -> Result<(), IndexError> {
    match id {
        Some(id) => {
            let sql = "INSERT OR REPLACE INTO identity (kind, name, id) VALUES (?1, ?2, ?3)";
            exec(db, sql, params![kind.as_str(), name, id])?;
        }
        None => {
            exec(db, "DELETE FROM identity WHERE kind = ?1 AND name = ?2", params![kind.as_str(), name])?;
        }
    }
    Ok(())
}
