//! A loss that the operator accepts: the journal goes on, and says so.
//!
//! Invariant: what was there is kept under another name, or goes on as it is; nothing is removed. What stores have of it stays
//! there: the journal has another name from then on, and with it another place.

use std::path::PathBuf;

use journal::entry::{Action, Author, Draft};
use journal::{Head, Journal, JournalError};

use super::naming::{self, Naming};
use super::{ASIDE, NoEntry, head_of, known_head};
use crate::index::Index;
use crate::index::identity::Kind as IdentityKind;
use footage::clock::Clock;
use footage::failure::{Failure, Kind};
use footage::units::TenantId;

/// Continues a tenant's journal that cannot be opened, or begins another where it is missing or damaged, and says so in it.
/// What was there is kept under another name. Says what was done. No gateway runs meanwhile.
///
/// # Errors
/// When nothing is wrong with the journal, or the disk refuses.
pub async fn accept(
    folder: PathBuf,
    naming: &Naming,
    index: &Index,
    clock: &dyn Clock,
    tenant: &TenantId,
) -> Result<String, NoEntry> {
    let refused = |why: String, kind| NoEntry { tenant: tenant.clone(), why, kind };
    let failed = |error: JournalError| refused(error.to_string(), error.kind());
    let at = clock.wall();
    let identities = index.identities(IdentityKind::Journal).await;
    let mut identities = identities.map_err(|error| refused(error.to_string(), error.kind()))?;
    let known = identities.remove(tenant.as_str()).and_then(|bytes| head_of(&bytes));
    let folder = folder.join(tenant.as_str());
    let found = naming::current(naming, tenant, &folder).await;
    let found = found.ok_or_else(|| refused("looking at it ended badly".to_owned(), Kind::Internal))?;
    let in_stores = naming.in_stores(tenant, &found).await;
    let next = naming.next(tenant, &found).await;
    // The last state that anybody knows is the one that is lost.
    let heads: Vec<Head> = known.into_iter().chain(in_stores.heads.iter().map(|(_, head)| *head)).collect();
    let known = heads.iter().max_by_key(|head| head.size).copied();
    // It goes on under another name: nothing that is known of this one is true of it.
    let continued = || Journal::open(&folder, next.signer, &[], at.to_timestamp());
    let (journal, said) = match Journal::open(&folder, found.signer, &heads, at.to_timestamp()) {
        Ok(_) => return Err(refused("nothing is wrong with it".to_owned(), Kind::Conflict)),
        Err(JournalError::SetBack { .. }) if folder.join("checkpoint").exists() => {
            (continued().map_err(failed)?, "the journal is continued as it is".to_owned())
        }
        Err(_) if folder.exists() => {
            let suffix = at.to_timestamp().strftime("%Y%m%dT%H%M%SZ");
            let kept = folder.with_file_name(format!("{tenant}.{ASIDE}{suffix}"));
            std::fs::rename(&folder, &kept).map_err(|error| refused(error.to_string(), Failure::kind(&error)))?;
            (
                continued().map_err(failed)?,
                format!("another journal is begun; what was there is kept in {}", kept.display()),
            )
        }
        Err(_) => (continued().map_err(failed)?, "another journal is begun: none was there".to_owned()),
    };
    let (size, root) = known.map_or((0, String::new()), |head| (head.size, head.to_string()));
    journal
        .append(at.to_timestamp(), Draft::new(Author::Operator, Action::LossAccepted { size, root }))
        .map_err(failed)?;
    let head = journal.checkpoint().map_err(failed)?;
    index.write(vec![known_head(tenant, head)]).await.map_err(|error| refused(error.to_string(), error.kind()))?;
    Ok(said)
}
