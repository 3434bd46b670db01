//! Reads of the index.

use super::{CameraRow, EventRow, GapRow, Index, IndexError, PackRow, RunRow, SegmentRow};
use crate::units::{CameraKey, PackId, TenantId, TimeRange, WallTime};

impl Index {
    /// The tenant's cameras, by name of id.
    pub async fn cameras(&self, _tenant: &TenantId) -> Result<Vec<CameraRow>, IndexError> {
        todo!()
    }

    /// One camera of a tenant.
    pub async fn camera(&self, _key: &CameraKey) -> Result<Option<CameraRow>, IndexError> {
        todo!()
    }

    /// Segments of a camera that share an instant with the range, by start; condemned packs' left out.
    pub async fn segments(&self, _key: &CameraKey, _range: TimeRange) -> Result<Vec<SegmentRow>, IndexError> {
        todo!()
    }

    /// What those segments cover and nothing more, by start: what a timeline needs.
    pub async fn spans(&self, _key: &CameraKey, _range: TimeRange) -> Result<Vec<TimeRange>, IndexError> {
        todo!()
    }

    /// First and last instant of a camera's footage.
    pub async fn extent(&self, _key: &CameraKey) -> Result<Option<TimeRange>, IndexError> {
        todo!()
    }

    /// Gaps of a camera that share an instant with the range, by start.
    pub async fn gaps(&self, _key: &CameraKey, _range: TimeRange) -> Result<Vec<GapRow>, IndexError> {
        todo!()
    }

    /// A camera's runs, newest first.
    pub async fn runs(&self, _key: &CameraKey, _limit: u32) -> Result<Vec<RunRow>, IndexError> {
        todo!()
    }

    /// Events of a tenant (and of one camera, if named) with an id above `after`, newest first.
    pub async fn events(
        &self,
        _tenant: &TenantId,
        _camera: Option<&CameraKey>,
        _after: i64,
        _limit: u32,
    ) -> Result<Vec<EventRow>, IndexError> {
        todo!()
    }

    /// A pack of this camera that readers may see; `None` for another camera's.
    pub async fn pack(&self, _key: &CameraKey, _pack: PackId) -> Result<Option<PackRow>, IndexError> {
        todo!()
    }

    /// Across tenants, for retention and the drain: packs in this state, oldest start first.
    pub async fn packs_in_state(&self, _state: super::PackState, _limit: u32) -> Result<Vec<PackRow>, IndexError> {
        todo!()
    }

    /// For retention: whole packs (sealed or stored) of a camera that start before `before`, oldest first.
    pub async fn packs_starting_before(
        &self,
        _key: &CameraKey,
        _before: WallTime,
        _limit: u32,
    ) -> Result<Vec<PackRow>, IndexError> {
        todo!()
    }

    /// Across tenants, for retention, start-up and `fsck`: every camera that the index knows.
    pub async fn all_cameras(&self) -> Result<Vec<CameraRow>, IndexError> {
        todo!()
    }

    /// Across tenants, for `fsck`: a pack in any state.
    pub async fn any_pack(&self, _pack: PackId) -> Result<Option<PackRow>, IndexError> {
        todo!()
    }

    /// Across tenants, for `fsck`: packs in any state with an id above `after`, in order of id.
    pub async fn packs_after(&self, _after: Option<PackId>, _limit: u32) -> Result<Vec<PackRow>, IndexError> {
        todo!()
    }

    /// For `fsck`: a pack's segments by first fragment.
    pub async fn segments_of_pack(&self, _pack: PackId) -> Result<Vec<SegmentRow>, IndexError> {
        todo!()
    }
}
