//! When a gateway that starts has footage of its cameras.

use std::time::Duration;

use footage::units::CameraKey;
use tokio::time::{Instant, sleep};
use vigie::index::Index;

use super::Failure;
use super::ingest::{Place, ended_early};
use super::process::ProcessGroup;

/// Until every camera is recorded.
const RECORDING_WITHIN: Duration = Duration::from_secs(120);

/// Waits until the gateway's index knows of new footage of every camera, which is durable then.
pub(super) async fn wait_until_all_record(place: &Place, group: &ProcessGroup) -> Result<(), Failure> {
    let began = Instant::now();
    // Cameras play: the index is there.
    let index = Index::open_read_only(&place.data.join("index.sqlite")).await.map_err(Failure::failed)?;
    let key = |camera: usize| format!("bench/{camera}").parse::<CameraKey>().map_err(Failure::failed);
    let mut waited_for = (0..place.cameras).map(key).collect::<Result<Vec<_>, _>>()?;
    loop {
        let mut not_yet = Vec::new();
        for camera in waited_for.drain(..) {
            let extent = index.extent(&camera).await.map_err(Failure::failed)?;
            if extent.is_none_or(|extent| extent.end() <= place.since) {
                not_yet.push(camera);
            }
        }
        if not_yet.is_empty() {
            return Ok(());
        }
        if group.is_broken() {
            return Err(ended_early("the gateway", &place.log));
        }
        if began.elapsed() > RECORDING_WITHIN {
            return Err(Failure(format!("{} cameras are not recorded", not_yet.len())));
        }
        waited_for = not_yet;
        sleep(Duration::from_millis(50)).await;
    }
}
