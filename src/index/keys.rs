//! Which packs are encrypted under which key, so that a key goes when nothing needs it any more.
//!
//! Everything here is for retention, and reads across tenants.

use rusqlite::{Connection, params};

use super::apply::exec;
use super::query::{one, rows};
use super::{Index, IndexError};
use footage::units::KeyId;

impl Index {
    /// Across tenants, for retention: packs that this key is needed for, those included that readers no longer see.
    pub async fn packs_under(&self, key: KeyId) -> Result<u64, IndexError> {
        let sql = "SELECT packs FROM day_key WHERE key = ?1";
        let packs = self.readers.read(move |db| one(db, sql, params![key.0], |row| row.get::<_, i64>(0))).await?;
        Ok(u64::try_from(packs.unwrap_or(0)).unwrap_or(0))
    }

    /// Day keys that packs are encrypted under, and how many packs each.
    pub async fn day_keys(&self) -> Result<Vec<(KeyId, u64)>, IndexError> {
        let sql = "SELECT key, packs FROM day_key WHERE packs > 0";
        let read = |row: &rusqlite::Row<'_>| Ok((KeyId(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs()));
        self.readers.read(move |db| rows(db, sql, [], read)).await
    }
}

/// This pack is encrypted under that key.
pub(super) fn encrypted_under(db: &Connection, pack: i64, key: KeyId) -> Result<(), IndexError> {
    exec(db, "INSERT INTO day_key (key) VALUES (?1) ON CONFLICT DO NOTHING", [key.0])?;
    let sql = "UPDATE pack SET encrypted_under = (SELECT id FROM day_key WHERE key = ?2) WHERE id = ?1";
    exec(db, sql, params![pack, key.0])?;
    Ok(())
}

/// The key is gone for good.
pub(super) fn forget(db: &Connection, key: KeyId) -> Result<(), IndexError> {
    exec(db, "DELETE FROM day_key WHERE key = ?1 AND packs = 0", [key.0])?;
    Ok(())
}
