//! What lies in the stores, by their own word.

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::Error as ObjectError;

use super::{Store, StoreId};
use footage::units::{CameraKey, PackId, WallTime};

/// One object of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The pack that the name says; `None` for an object that is not ours.
    pub pack: Option<(CameraKey, PackId)>,
    /// Full name.
    pub location: String,
    /// Size.
    pub bytes: u64,
    /// When the store says it was written.
    pub modified: WallTime,
}

impl Store {
    /// What this camera's store has of it with ids after this one and of the same day (UTC), in order.
    pub async fn list_day(&self, camera: &CameraKey, after: PackId) -> Result<Vec<Listed>, ObjectError> {
        let bucket = self.bucket(camera);
        bucket.ensure_known_recently().await?;
        bucket.list_day(camera, after).await
    }

    /// The days (UTC) of which this camera's store has packs of it, as the least id of each, in order.
    pub async fn days(&self, camera: &CameraKey) -> Result<Vec<PackId>, ObjectError> {
        let bucket = self.bucket(camera);
        bucket.ensure_known_recently().await?;
        bucket.days(camera).await
    }

    /// Every object that may be a pack of this camera, in each store where there may be one; what a store answers where it
    /// cannot be listed.
    pub async fn list_of_camera(&self, camera: &CameraKey) -> Vec<(StoreId, Result<Vec<Listed>, ObjectError>)> {
        let buckets = self.buckets_of(camera);
        let listings = buckets.into_iter().map(|bucket| async move {
            let id = StoreId(self.0.buckets.iter().position(|of| std::ptr::eq(of, bucket)).unwrap_or_default());
            let listing = async {
                bucket.ensure_known_recently().await?;
                bucket.list_of(camera).try_collect().await
            };
            (id, listing.await)
        });
        futures::future::join_all(listings).await
    }

    /// Every object under the prefixes, with the pack that its name says. Markers and journals are left out.
    pub fn list(&self) -> BoxStream<'static, Result<Listed, ObjectError>> {
        let this = self.clone();
        stream::iter(self.ids()).flat_map(move |id| this.list_of(id)).boxed()
    }

    /// The same of one store.
    pub fn list_of(&self, store: StoreId) -> BoxStream<'static, Result<Listed, ObjectError>> {
        let this = self.clone();
        let listing = async move {
            let bucket = &this.0.buckets[store.0];
            match bucket.ensure_known_recently().await {
                Ok(()) => bucket.list(),
                Err(e) => stream::iter([Err(ObjectError::from(e))]).boxed(),
            }
        };
        stream::once(listing).flatten().boxed()
    }
}
