//! A loss that the operator accepts: the journal goes on, and says so.
//!
//! Invariant: what was there is kept under another name, or goes on as it is; nothing is removed.

use std::path::PathBuf;

use journal::entry::{Action, Author, Draft};
use journal::{Journal, JournalError};

use super::{ASIDE, NoEntry, head_of, known_head, signer};
use crate::index::Index;
use crate::index::identity::Kind as IdentityKind;
use footage::clock::Clock;
use footage::failure::{Failure, Kind};
use footage::keys::Keys;
use footage::units::TenantId;

/// Continues a tenant's journal that cannot be opened, or begins another where it is missing or damaged, and says so in it.
/// What was there is kept under another name. Says what was done. No gateway runs meanwhile.
///
/// # Errors
/// When nothing is wrong with the journal, or the disk refuses.
pub async fn accept(
    folder: PathBuf,
    keys: &Keys,
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
    let open = |known| Journal::open(&folder, signer(keys, tenant), known, at.to_timestamp());
    let (journal, said) = match open(known) {
        Ok(_) => return Err(refused("nothing is wrong with it".to_owned(), Kind::Conflict)),
        Err(JournalError::SetBack { .. }) if folder.join("checkpoint").exists() => {
            (open(None).map_err(failed)?, "the journal is continued as it is".to_owned())
        }
        Err(_) if folder.exists() => {
            let suffix = at.to_timestamp().strftime("%Y%m%dT%H%M%SZ");
            let kept = folder.with_file_name(format!("{tenant}.{ASIDE}{suffix}"));
            std::fs::rename(&folder, &kept).map_err(|error| refused(error.to_string(), Failure::kind(&error)))?;
            (
                open(None).map_err(failed)?,
                format!("another journal is begun; what was there is kept in {}", kept.display()),
            )
        }
        Err(_) => (open(None).map_err(failed)?, "another journal is begun: none was there".to_owned()),
    };
    let (size, root) = known.map_or((0, String::new()), |head| (head.size, head.to_string()));
    journal
        .append(at.to_timestamp(), Draft::new(Author::Operator, Action::LossAccepted { size, root }))
        .map_err(failed)?;
    let head = journal.checkpoint().map_err(failed)?;
    index.write(vec![known_head(tenant, head)]).await.map_err(|error| refused(error.to_string(), error.kind()))?;
    Ok(said)
}
