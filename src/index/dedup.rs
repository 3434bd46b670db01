//! Which packs hold bytes of which, and by which ids packs are found again.
//!
//! Invariant: **a reference names only bytes that are final**, whatever is done at the same time. The one writer checks
//! it inside its transaction, so that no order of steps elsewhere can break it:
//!
//! 1. What is claimed of a host lies in the host itself, and the host is sealed, undamaged and not condemned.
//! 2. A sealed pack never gives away what it holds itself: of its fragments that lie elsewhere some may come back, and no
//!    others go. An open pack may, and no bytes of others lie in it.
//! 3. A pack's file refers to a host only after the claim was acknowledged, which a power cut does not undo; the host is
//!    not deleted while it is referred to.
//! 4. A sealed pack stays a referrer of a condemned host until [`Change::Freed`](super::Change::Freed), even when its
//!    file does not refer to it any more: the other referrers are to share the bytes that it holds by then.
//!
//! Everything here but [`Index::savings`] reads across tenants: a deduplication domain may span several, and retention
//! has to know who needs a pack's bytes. None of it is for what is shown.

use rusqlite::{Connection, Row, params};

use super::apply::{exec, number};
use super::query::{PACKS, one, pack_row, pack_state, rows, tenant_id};
use super::{Index, IndexError, PackRow, PackState};
use footage::pack::reference::FragmentSet;
use footage::units::{CameraKey, PackId, TenantId};

/// Packs that one hook may name: of more, the newest are the likeliest to stay.
const PACKS_PER_HOOK: u32 = 8;

/// Bytes of a hook in `pack.hooks`.
const HOOK_BYTES: usize = 6;

/// What references save a tenant, by what the index knows of its packs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Savings {
    /// Whole packs.
    pub packs: u64,
    /// Size of their files.
    pub stored_bytes: u64,
    /// Bytes of samples that lie in other packs, of this tenant or of one of the same domain.
    pub saved_bytes: u64,
}

impl Savings {
    /// What the same footage would take if every pack held all of its bytes.
    pub fn received_bytes(&self) -> u64 {
        self.stored_bytes.saturating_add(self.saved_bytes)
    }

    /// Received to stored; 1 where nothing is saved, or nothing is there.
    pub fn ratio(&self) -> f64 {
        if self.stored_bytes == 0 { 1.0 } else { self.received_bytes() as f64 / self.stored_bytes as f64 }
    }
}

/// Bytes of a pack are to lie in other packs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose bytes.
    pub pack: PackId,
    /// All of its fragments whose bytes lie elsewhere then.
    pub lends: FragmentSet,
    /// In which packs, and as which fragments of each; those in which they lie already may be left out.
    pub hosts: Vec<(PackId, FragmentSet)>,
}

/// Where the bytes of a pack lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refers {
    /// Which pack.
    pub pack: PackId,
    /// Size of its file.
    pub bytes: u64,
    /// How many fragments it has.
    pub fragments: u32,
    /// Those whose bytes lie elsewhere.
    pub lent: FragmentSet,
    /// Size of their samples.
    pub lent_bytes: u64,
    /// Where these lie.
    pub hosts: Vec<PackId>,
}

impl Index {
    /// Across tenants, for deduplication: whole packs that have one of these hooks.
    pub async fn packs_hooked(&self, hooks: Vec<u64>) -> Result<Vec<PackRow>, IndexError> {
        self.readers
            .read(move |db| {
                let sql = format!(
                    "{PACKS} WHERE p.id IN (SELECT pack FROM hook WHERE hook = ?1 ORDER BY pack DESC LIMIT ?2)
                     AND p.state IN (1, 2)"
                );
                let mut found: Vec<PackRow> = Vec::new();
                for hook in hooks {
                    found.extend(rows(db, &sql, params![number(hook), PACKS_PER_HOOK], pack_row)?);
                }
                found.sort_by_key(|pack| pack.id);
                found.dedup_by_key(|pack| pack.id);
                Ok(found)
            })
            .await
    }

    /// Across tenants, for retention: packs whose bytes lie in this one and that somebody may read yet: also those that are
    /// condemned and not deleting, which a hold may want.
    pub async fn referrers(&self, host: PackId) -> Result<Vec<PackRow>, IndexError> {
        self.readers
            .read(move |db| {
                let sql = format!(
                    "{PACKS} WHERE p.id IN (SELECT r.referrer FROM pack h JOIN reference r ON r.host = h.id
                     WHERE h.pack = ?1) AND NOT EXISTS (SELECT 1 FROM deleting d WHERE d.pack = p.id)"
                );
                rows(db, &sql, [host.0], pack_row)
            })
            .await
    }

    /// Across tenants, for deduplication: the whole packs of a camera that begin just before and just after this one.
    pub async fn neighbours(&self, camera: &CameraKey, pack: PackId) -> Result<Vec<PackId>, IndexError> {
        self.of_camera(camera, move |db, camera| {
            let near = |comparison: &str, order: &str| {
                let sql = format!(
                    "SELECT p.pack FROM pack of JOIN pack p ON p.camera = of.camera AND p.start {comparison} of.start
                     WHERE of.pack = ?1 AND of.camera = ?2 AND p.state IN (1, 2) AND p.hold IS NULL ORDER BY p.start {order} LIMIT 1"
                );
                one(db, &sql, params![pack.0, camera], |row| row.get(0).map(PackId))
            };
            Ok(near("<", "DESC")?.into_iter().chain(near(">", "ASC")?).collect())
        })
        .await
    }

    /// Across tenants, for `fsck`: packs that hold bytes of this one, as far as the index knows them.
    pub async fn hosts(&self, referrer: PackId) -> Result<Vec<PackId>, IndexError> {
        self.readers
            .read(move |db| {
                let sql = "SELECT h.pack FROM pack p JOIN reference r ON r.referrer = p.id JOIN pack h ON h.id = r.host
                           WHERE p.pack = ?1 ORDER BY h.pack";
                rows(db, sql, [referrer.0], |row| row.get(0).map(PackId))
            })
            .await
    }

    /// What references save a tenant.
    pub async fn savings(&self, tenant: &TenantId) -> Result<Savings, IndexError> {
        let tenant = tenant.clone();
        self.readers
            .read(move |db| {
                let Some(tenant) = tenant_id(db, &tenant)? else { return Ok(Savings::default()) };
                let sql = "SELECT coalesce(sum(u.packs), 0), coalesce(sum(u.bytes), 0), coalesce(sum(u.lent_bytes), 0)
                           FROM camera c JOIN usage u ON u.camera = c.id WHERE c.tenant = ?1";
                Ok(one(db, sql, [tenant], savings_row)?.unwrap_or_default())
            })
            .await
    }
}

fn savings_row(row: &Row<'_>) -> rusqlite::Result<Savings> {
    let count = |column: usize| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.unsigned_abs());
    Ok(Savings { packs: count(0)?, stored_bytes: count(1)?, saved_bytes: count(2)? })
}

/// Writes a pack's hooks; a pack that has some keeps those.
pub(super) fn hook(db: &Connection, pack: i64, hooks: &[u64]) -> Result<(), IndexError> {
    let kept: Vec<u8> = hooks.iter().flat_map(|hook| hook.to_be_bytes().into_iter().skip(8 - HOOK_BYTES)).collect();
    if exec(db, "UPDATE pack SET hooks = ?2 WHERE id = ?1 AND hooks IS NULL", params![pack, kept])? == 1 {
        for hook in hooks {
            exec(db, "INSERT INTO hook (hook, pack) VALUES (?1, ?2)", params![number(*hook), pack])?;
        }
    }
    Ok(())
}

const REFER: &str = "INSERT OR IGNORE INTO reference (host, referrer) SELECT id, ?1 FROM pack WHERE pack = ?2";

/// What the index knows of where a pack's bytes lie.
struct Holding {
    id: i64,
    state: PackState,
    fragments: u32,
    lent: FragmentSet,
}

impl Holding {
    fn find(db: &Connection, pack: PackId) -> Result<Option<Self>, IndexError> {
        one(db, "SELECT id, state, fragments, lent FROM pack WHERE pack = ?1", [pack.0], |row| {
            let lent = FragmentSet::from_bytes(row.get_ref(3)?.as_blob()?);
            Ok(Self { id: row.get(0)?, state: pack_state(row, 1)?, fragments: row.get(2)?, lent })
        })
    }

    fn known(db: &Connection, pack: PackId) -> Result<Self, IndexError> {
        Self::find(db, pack)?.ok_or_else(|| IndexError::Unknown(format!("pack {pack}")))
    }

    fn is_damaged(&self, db: &Connection) -> Result<bool, IndexError> {
        Ok(one(db, "SELECT 1 FROM damage WHERE pack = ?1 LIMIT 1", [self.id], |_| Ok(()))?.is_some())
    }
}

/// The rules are in the module's header.
pub(super) fn claim(db: &Connection, claim: &Claim) -> Result<(), IndexError> {
    let pack = Holding::known(db, claim.pack)?;
    let refuse = |what: String| Err(IndexError::Refused(what));
    if pack.state != PackState::Open && !claim.lends.is_within(&pack.lent) {
        return refuse(format!("pack {} is sealed: what it holds itself stays in it", claim.pack));
    }
    for (host, fragments) in &claim.hosts {
        let found = Holding::find(db, *host)?;
        let stays = |host: &Holding| matches!(host.state, PackState::Sealed | PackState::Stored) && host.id != pack.id;
        let Some(found) = found.filter(stays) else {
            return refuse(format!("pack {host} is not sealed, or does not stay: no bytes of others can lie in it"));
        };
        if found.is_damaged(db)? {
            return refuse(format!("pack {host} is damaged: no bytes of others can lie in it"));
        }
        if fragments.end() > found.fragments || fragments.meets(&found.lent) {
            return refuse(format!("pack {host} does not hold itself what pack {} refers to in it", claim.pack));
        }
        exec(db, REFER, params![pack.id, host.0])?;
    }
    Ok(())
}

pub(super) fn refers(db: &Connection, refers: &Refers) -> Result<(), IndexError> {
    let pack = Holding::known(db, refers.pack)?;
    if pack.state != PackState::Open && !refers.lent.is_within(&pack.lent) {
        let what = format!("pack {} is sealed: bytes of others may lie in what it holds itself", refers.pack);
        return Err(IndexError::Refused(what));
    }
    let sql = "UPDATE pack SET bytes = ?2, lent_bytes = ?3, fragments = ?4, lent = ?5 WHERE id = ?1";
    let lent = refers.lent.to_bytes();
    exec(db, sql, params![pack.id, number(refers.bytes), number(refers.lent_bytes), refers.fragments, lent])?;
    let open = pack.state == PackState::Open;
    let sql = "DELETE FROM reference WHERE referrer = ?1
               AND (?2 OR NOT EXISTS (SELECT 1 FROM pack h WHERE h.id = reference.host AND h.state = 3))";
    exec(db, sql, params![pack.id, open])?;
    for host in &refers.hosts {
        exec(db, REFER, params![pack.id, host.0])?;
    }
    Ok(())
}

pub(super) fn freed(db: &Connection, host: PackId, referrers: &[PackId]) -> Result<(), IndexError> {
    let host = Holding::known(db, host)?.id;
    for referrer in referrers {
        let sql = "DELETE FROM reference WHERE host = ?1 AND referrer = (SELECT id FROM pack WHERE pack = ?2)";
        exec(db, sql, params![host, referrer.0])?;
    }
    Ok(())
}

/// The pack is forgotten, and what is known of it here.
pub(super) fn forget(db: &Connection, pack: i64) -> Result<(), IndexError> {
    let hooks = one(db, "SELECT hooks FROM pack WHERE id = ?1", [pack], |row| row.get::<_, Option<Vec<u8>>>(0))?;
    for hook in hooks.flatten().unwrap_or_default().chunks(HOOK_BYTES) {
        let hook = hook.iter().fold(0i64, |hook, byte| hook << 8 | i64::from(*byte));
        exec(db, "DELETE FROM hook WHERE hook = ?1 AND pack = ?2", params![hook, pack])?;
    }
    exec(db, "DELETE FROM reference WHERE host = ?1", [pack])?;
    exec(db, "DELETE FROM reference WHERE referrer = ?1", [pack])?;
    Ok(())
}
