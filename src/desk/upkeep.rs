//! What keeps the files of requests: beside the index as new as in it, and destroyed on time.

use super::{
    CancellationToken, Change, Desk, DeskError, Draft, File, Inner, MissedTickBehavior, UPKEEP_EVERY, error, info,
    interval, row_of, warn,
};
use std::sync::Arc;

use crate::desk::blocking;
use crate::event::{Event, Fact, RequestStep, Scope};
use crate::index::request::RequestRow;
use footage::pack::HoldFacts;
use footage::units::{CameraId, CameraKey, HoldId, RequestId, TenantId};
use journal::entry::{Action, Author};

/// Requests that are destroyed in one pass.
const DESTROYED_MAX: u32 = 256;

impl Desk {
    /// Takes in what the index does not know: it was rebuilt, or put back from an older copy; and writes what the files do
    /// not know. Says how many were taken in.
    ///
    /// # Errors
    /// When the index or the folder cannot be read.
    pub async fn compare(&self) -> Result<usize, DeskError> {
        let Inner { index, keep, .. } = &*self.0;
        if !keep.is_right_key() {
            return Ok(0);
        }
        let of_folder = keep.clone();
        let mut kept = blocking(move || of_folder.versions()).await?;
        let mut taken_in = 0;
        for (tenant, id, version) in index.request_versions().await? {
            // No step is done meanwhile: what is written is what the row says then.
            let _turn = self.turn(&tenant).await;
            match kept.remove(&(tenant.clone(), id)) {
                Some(on_disk) if on_disk > version => {
                    taken_in += usize::from(self.take_in(&tenant, id, on_disk).await?)
                }
                Some(on_disk) if on_disk == version => {}
                _ => {
                    if let Some(row) = index.request(&tenant, id).await? {
                        self.keep(&row).await;
                    }
                }
            }
        }
        for ((tenant, id), version) in kept {
            let _turn = self.turn(&tenant).await;
            taken_in += usize::from(self.take_in(&tenant, id, version).await?);
        }
        if taken_in > 0 {
            warn!(
                requests = taken_in,
                "requests for footage were taken in from their files: the index did not know them"
            );
        }
        Ok(taken_in)
    }

    async fn take_in(&self, tenant: &TenantId, id: RequestId, version: u64) -> Result<bool, DeskError> {
        let (keep, of) = (self.0.keep.clone(), tenant.clone());
        let file = match blocking(move || keep.get(&of, id, version)).await {
            Ok(text) => {
                serde_json::from_str::<File>(&text).ok().filter(|file| file.id == id && file.version == version)
            }
            Err(error) => {
                error!(%error, request = %id, "the file of a request cannot be read, and the index does not know it");
                return Ok(false);
            }
        };
        let Some(file) = file else {
            error!(request = %id, "the file of a request is damaged, and the index does not know it");
            return Ok(false);
        };
        let (placed, mut changes) = self.as_its_file_says(tenant, &file).await?;
        changes.push(Change::TakeInRequest(Arc::new(row_of(tenant, &file)?)));
        self.0.index.write(changes).await?;
        self.0.holds.look();
        for (camera, hold) in placed {
            warn!(%hold, request = %id, "a hold that the index did not know is in force again, as the file of its request says");
            let action = Action::HoldPlaced { hold: hold.to_string() };
            self.0.journals.note(tenant, Draft::new(Author::Gateway, action).on(camera, None)).await;
        }
        Ok(true)
    }

    /// The holds that the index does not know, and the changes that place them and end those that the request released:
    /// of what is not copied yet, or not filmed yet, no pack tells.
    async fn as_its_file_says(
        &self,
        tenant: &TenantId,
        file: &File,
    ) -> Result<(Vec<(CameraId, HoldId)>, Vec<Change>), DeskError> {
        let Inner { index, holds, clock, .. } = &*self.0;
        let (mut placed, mut changes) = (Vec::new(), Vec::new());
        let now = clock.wall();
        let (reference, requester, reason) = file.named();
        for of in &file.holds {
            match index.hold(tenant, of.hold).await? {
                Some(row) if of.released && row.closed.is_none() => changes.extend(holds.ending(&row)),
                None if !of.released && of.until > now => {
                    let camera = CameraKey { tenant: tenant.clone(), camera: of.camera.clone() };
                    if index.camera(&camera).await?.is_none() {
                        error!(hold = %of.hold, %camera, "a hold is not in force: the index does not know its camera");
                        continue;
                    }
                    let facts = HoldFacts {
                        id: of.hold,
                        range: of.period.range()?,
                        reference: reference.clone(),
                        requester: requester.clone(),
                        reason: reason.clone(),
                        until: of.until,
                        placed: file.received,
                    };
                    changes.push(Change::PlaceHold { camera, hold: Arc::new(facts) });
                    placed.push((of.camera.clone(), of.hold));
                }
                _ => {}
            }
        }
        Ok((placed, changes))
    }

    /// Writes the file beside. What fails is tried again.
    pub(super) async fn keep(&self, row: &RequestRow) {
        let (keep, row) = (self.0.keep.clone(), row.clone());
        if !keep.is_right_key() {
            return;
        }
        let id = row.id;
        if let Err(error) = blocking(move || keep.put(&row.tenant, row.id, row.version, &row.file)).await {
            warn!(%error, request = %id, "the file of a request could not be written beside the index, and will be");
        }
    }

    /// Destroys what is over. The time is the one by which entries of journals are: a clock that is ahead destroys nothing.
    ///
    /// # Errors
    /// When the disk or the index refuses: it is tried again.
    pub async fn destroy_over(&self) -> Result<usize, DeskError> {
        let Inner { index, journals, keep, clock, .. } = &*self.0;
        let Some(by) = journals.forgetting_by().await else { return Ok(0) };
        let over = index.requests_over(by, DESTROYED_MAX).await?;
        let (mut destroyed, mut failure) = (0, None);
        for (tenant, id) in &over {
            let _turn = self.turn(tenant).await;
            // Who was filmed may be in its files: they go first, and the row says until then that they have to.
            let (keep, of, request) = (keep.clone(), tenant.clone(), *id);
            if let Err(error) = blocking(move || keep.destroy(&of, request)).await {
                // The others are destroyed all the same.
                error!(%error, request = %id, "the files of a request whose time is over could not be destroyed");
                failure = Some(error);
                continue;
            }
            destroyed += 1;
            let step = RequestStep::Destroyed;
            let event =
                Event::new(clock.wall(), Scope::Tenant(tenant.clone()), Fact::RequestStep { request: *id, step });
            index.write(vec![Change::ForgetRequest { tenant: tenant.clone(), request: *id }]).await?;
            // The index may not know a tenant whose request it has from a file: that keeps nothing from being destroyed.
            if let Err(error) = index.write(vec![Change::Event(event)]).await {
                warn!(%error, request = %id, "the index did not take the event of a request that was destroyed");
            }
            let action = Action::RequestStep { request: id.to_string(), step: step.as_str().to_owned(), detail: None };
            journals.note(tenant, Draft::new(Author::Gateway, action)).await;
        }
        if destroyed > 0 {
            info!(requests = destroyed, "files of requests were destroyed: their time is over");
        }
        failure.map_or(Ok(destroyed), Err)
    }

    /// Keeps the files until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut turns = interval(UPKEEP_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(turns.tick()).await.is_some() {
            let kept = async {
                // What is over goes, whatever else fails.
                for done in [self.compare().await, self.destroy_over().await] {
                    if let Err(error) = done {
                        warn!(%error, "the files of requests could not be kept, and will be");
                    }
                }
            };
            // A step that is cut off is done again by the next pass.
            stop.run_until_cancelled(kept).await;
        }
    }
}
