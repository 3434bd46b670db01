//! Packs that wait their turn: in a store that several gateways share, what another has stored need not be sent.
//!
//! A pack of rank 0 goes at once, while it is fresh. Every other waits until somebody has looked whether its footage is
//! stored ([`crate::redundancy`]), and goes then, for as long as that look is fresh.
//! Bound: as many as wait for their stores.

use std::path::PathBuf;
use std::time::Duration;

use tracing::warn;

use super::finish::blocking;
use super::replace::remove_if_there;
use super::{Spool, SpoolError};
use crate::config::SharedStore;
use crate::index::{Change, IndexError, PackRow, PackState};
use footage::pack::PackTable;
use footage::platform;
use footage::units::{CameraKey, PackId, Ticks90k, WallTime};

/// For so long at most a pack of rank 0 is fresh after its end, and a look after it was made.
const FRESH_MAX: Duration = Duration::from_secs(60);

/// Gateways of other ranks wait much longer before they store a pack in another's place.
fn fresh(shared: &SharedStore) -> Duration {
    FRESH_MAX.min(shared.wait / 4)
}

impl Spool {
    /// Whether a sealed pack that ends here must not be sent yet.
    pub fn waits_its_turn(&self, camera: &CameraKey, pack: PackId, end: WallTime) -> bool {
        let Some(shared) = self.0.store.shared(camera) else { return false };
        let (now, fresh) = (self.0.clock.read(), fresh(shared));
        let is_fresh = now.wall.since(end) <= Ticks90k::from_duration(fresh);
        let is_free = || self.0.free.lock().get(&pack).is_some_and(|at| now.mono.saturating_sub(*at) <= fresh);
        let goes = (shared.rank == 0 && is_fresh) || is_free();
        !goes
    }

    /// Nobody else stored all of these packs' footage: they may be sent now.
    pub fn free_to_go(&self, camera: &CameraKey, packs: impl IntoIterator<Item = PackId>) {
        let now = self.0.clock.read().mono;
        let mut free = self.0.free.lock();
        free.retain(|_, at| now.saturating_sub(*at) <= FRESH_MAX);
        let mut any = false;
        free.extend(packs.into_iter().inspect(|_| any = true).map(|pack| (pack, now)));
        if any {
            self.wake(camera);
        }
    }

    /// Drops a pack whose footage others stored: the index forgets it, then its file goes.
    ///
    /// # Errors
    /// The index refuses where bytes of other packs lie in it.
    pub async fn leave_to_others(&self, pack: &PackRow) -> Result<(), SpoolError> {
        let _busy = self.lock_pack(pack.id).await;
        if self.is_sealed(pack.id).await? {
            self.0.index.write(vec![Change::LeaveToOthers { pack: pack.id }]).await?;
            self.remove_left(pack);
        }
        Ok(())
    }

    /// Puts a pack of some of its groups, written and flushed as a draft, in the place of one whose other footage others
    /// stored. The part may be sent.
    ///
    /// # Errors
    /// As [`Spool::leave_to_others`].
    pub async fn replace_by_part(&self, pack: &PackRow, part: &PackTable, draft: PathBuf) -> Result<(), SpoolError> {
        let _busy = self.lock_pack(pack.id).await;
        if !self.is_sealed(pack.id).await? {
            return blocking(move || remove_if_there(&draft)).await;
        }
        let taken = self.take_in(part, draft, vec![Change::LeaveToOthers { pack: pack.id }]).await;
        if let Err(SpoolError::Index(IndexError::Refused(_))) = taken {
            let unknown = self.whole_path(&pack.camera, part.header.pack);
            blocking(move || remove_if_there(&unknown)).await?;
        }
        taken?;
        self.remove_left(pack);
        self.free_to_go(&pack.camera, [part.header.pack]);
        Ok(())
    }

    async fn is_sealed(&self, pack: PackId) -> Result<bool, SpoolError> {
        Ok(self.0.index.any_pack(pack).await?.is_some_and(|row| row.state == PackState::Sealed))
    }

    /// Left behind it would be found by the next start, and looked at like any other.
    fn remove_left(&self, pack: &PackRow) {
        let whole = self.whole_path(&pack.camera, pack.id);
        if let Err(error) = platform::remove_file(&whole) {
            warn!(path = %whole.display(), %error, "a pack that others stored could not be removed");
        }
    }
}
