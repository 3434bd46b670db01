//! What a start makes of the gateway's clock.
//!
//! While the machine has run on, the index knows exactly by how much the clock was set since footage was recorded.
//! After a start of the machine nobody knows. But footage cannot be of the future: what bears such times was recorded by
//! a clock that was ahead by as much, at least.

use std::collections::BTreeMap;

use tracing::warn;

use crate::event::words::Language;
use crate::event::{Event, Fact};
use crate::index::{Change, Index, IndexError};
use footage::clock::{Clock, Reading};
use footage::units::{BootId, CameraKey, TICKS_PER_SECOND, Ticks90k, WallTime};

/// The end of the newest footage may be ahead of the clock by so much: jitter, and slewing.
const AHEAD_MAX: Ticks90k = Ticks90k(5 * TICKS_PER_SECOND);

/// Tells the index how the clock stands, and corrects what bears times of the future.
pub(super) async fn at_start(index: &Index, clock: &dyn Clock) -> Result<(), IndexError> {
    let (now, boot) = (clock.read(), clock.boot());
    index.write(vec![Change::ClockBase { boot, base: now.base() }]).await?;
    let mut ahead: BTreeMap<BootId, Ticks90k> = BTreeMap::new();
    for camera in index.all_cameras().await? {
        let Some(by) = ahead_of(index, &camera.key, now).await? else { continue };
        if let Some(of) = index.last_boot(&camera.key).await?.filter(|&of| of != boot) {
            let most = ahead.entry(of).or_insert(by);
            *most = (*most).max(by);
        }
    }
    for (boot, by) in ahead {
        let Some(base) = index.clock_base(boot).await? else { continue };
        let fact = Fact::ClockMisdated { by_ms: by.0 / (TICKS_PER_SECOND / 1_000) };
        warn!("{}", fact.words(Language::English));
        let base = Ticks90k(base.0.saturating_sub(by.0));
        let event = Change::Event(Event::of_gateway(now.wall, fact));
        index.write(vec![Change::ClockBase { boot, base }, event]).await?;
    }
    Ok(())
}

/// By how much a camera's newest footage is ahead of the clock, by its times as far as they are corrected.
async fn ahead_of(index: &Index, camera: &CameraKey, now: Reading) -> Result<Option<Ticks90k>, IndexError> {
    let end = index.extent(camera).await?.map(|extent| extent.end());
    let is_ahead = |end: &WallTime| end.since(now.wall) > AHEAD_MAX;
    if end.filter(is_ahead).is_none() {
        return Ok(None);
    }
    Ok(index.filmed_until(camera).await?.filter(is_ahead).map(|end| end.since(now.wall)))
}
