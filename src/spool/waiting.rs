//! Whole packs that wait for their store: what wakes their senders, and what goes first.
//!
//! Queue: packs that were asked for, bounded by [`ASKED_MAX`].

use std::path::PathBuf;

use tokio::sync::{Notify, RwLockReadGuard};

use super::finish::blocking;
use super::recover::entries;
use super::{Spool, SpoolError};
use crate::store::StoreId;
use footage::units::{CameraKey, PackId, TimeRange};

/// Packs that may be asked for at a time; a request for more learns how many were taken.
pub const ASKED_MAX: usize = 4_096;
/// Packs that wait, read at a time.
pub(crate) const WAITING_PAGE: u32 = 256;

impl Spool {
    /// Something of this camera waits for its store.
    pub(crate) fn wake(&self, camera: &CameraKey) {
        self.0.waiting[&self.0.store.home(camera)].notify_one();
    }

    /// Notified when something waits for this store.
    pub(crate) fn waiting_for(&self, store: StoreId) -> &Notify {
        &self.0.waiting[&store]
    }

    /// As long as it is held, no sealed pack's file is replaced.
    pub(crate) async fn not_replaced(&self) -> RwLockReadGuard<'_, ()> {
        self.0.sending.read().await
    }

    /// Somebody waits for this camera's footage of this time to be in its store: what waits goes before the backlog.
    /// Gives how many packs that is; a lane that is full takes no more.
    pub async fn send_first(&self, camera: &CameraKey, range: TimeRange) -> Result<usize, SpoolError> {
        let mut after = None;
        let mut taken = 0;
        loop {
            let page = self.0.index.sealed_after(after, WAITING_PAGE).await?;
            after = page.last().map(|pack| (pack.start, pack.id));
            let last = page.len() < WAITING_PAGE as usize;
            let within = |pack: &&crate::index::PackRow| {
                pack.camera == *camera && pack.start < range.end() && pack.end > range.start()
            };
            let mut asked = self.0.asked.lock();
            for pack in page.iter().filter(within).take(ASKED_MAX.saturating_sub(asked.len())) {
                let pack = (camera.clone(), pack.id);
                if !asked.contains(&pack) {
                    asked.push_back(pack);
                }
                taken += 1;
            }
            if last {
                break;
            }
        }
        self.0.asked_more.notify_one();
        Ok(taken)
    }

    /// Takes what was asked for.
    pub(crate) fn take_asked(&self) -> Vec<(CameraKey, PackId)> {
        self.0.asked.lock().drain(..).collect()
    }

    /// Waits until something is asked for.
    pub(crate) async fn asked_for_more(&self) {
        if self.0.asked.lock().is_empty() {
            self.0.asked_more.notified().await;
        }
    }

    /// Notes of uploads whose packs are no longer in the spool.
    pub(crate) async fn stale_notes(&self) -> Result<Vec<PathBuf>, SpoolError> {
        let dir = self.dir().to_owned();
        blocking(move || {
            let mut notes = Vec::<PathBuf>::new();
            for tenant in entries(&dir)? {
                for camera in entries(&tenant)? {
                    let all = entries(&camera)?.into_iter();
                    notes.extend(all.filter(|path| path.extension().is_some_and(|e| e == "upload")));
                }
            }
            // The note of `x.mp4` is `x.mp4.upload`.
            notes.retain(|note| !note.with_extension("").exists());
            Ok(notes)
        })
        .await
    }
}
