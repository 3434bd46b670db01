//! One camera's clock, compared again and again.

use std::time::Duration;

use onvif::ClockOffset;
use tracing::info;

use super::{Asked, wait_after};
use crate::status::DeviceClock;
use footage::units::{Ticks90k, WallTime};

/// From one comparison to the next, give or take a tenth.
const COMPARE_EVERY: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
pub(super) struct Comparison {
    asked: Asked,
    offset_max: Duration,
}

impl Comparison {
    pub(super) fn new(asked: Asked, offset_max: Duration) -> Self {
        Self { asked, offset_max }
    }

    pub(super) async fn run(self) {
        let mut failures = 0;
        loop {
            let compared = {
                // Never closed.
                let _permit = self.asked.at_once.acquire().await;
                self.asked.device.clock_offset().await
            };
            let wait = match &compared {
                Ok(found) => {
                    failures = 0;
                    self.note(found);
                    COMPARE_EVERY
                }
                Err(error) => {
                    failures += 1;
                    self.asked.trouble(error, "the camera's clock cannot be compared", |trouble| &mut trouble.clock);
                    wait_after(error, failures)
                }
            };
            self.asked.wait(wait).await;
        }
    }

    fn note(&self, found: &ClockOffset) {
        let clock = compared(found, self.offset_max, self.asked.clock.wall());
        let (camera, offset_ms, bound_ms) = (&self.asked.camera, found.offset.0 / 90, found.bound.0 / 90);
        info!(%camera, offset_ms, bound_ms, by_ntp = found.by_ntp, "the camera's clock was compared");
        self.asked.slot.update(|status| {
            status.device_clock = clock;
            status.device_trouble.clock.clear();
        });
    }
}

/// Something is said only where the least that the offset can be is more than what is allowed.
pub(super) fn compared(found: &ClockOffset, offset_max: Duration, at: WallTime) -> DeviceClock {
    let is_off = found.at_least() > Ticks90k::from_duration(offset_max);
    DeviceClock::Compared { offset: found.offset, bound: found.bound, at, is_off }
}
