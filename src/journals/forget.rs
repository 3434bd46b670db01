//! Entries whose time is over are destroyed: by a clock that a leap ahead does not move.

use std::sync::Arc;

use tracing::{error, info, warn};

use super::{ASIDE, Journals, OfTenant, Work};
use footage::platform;
use footage::units::{Ticks90k, WallTime};

/// What the wall clock is believed to have gone on since the last sweep.
const SINCE_SWEEP_MAX: Ticks90k = Ticks90k(3600 * 90_000);

impl Journals {
    pub(super) async fn forget(&self, of: &Arc<OfTenant>) {
        let months = *of.months.lock();
        let Some(by) = self.forgetting_by().await else { return };
        self.forget_aside(of, by, months).await;
        match self.keep(of, Work::Upkeep, move |journal, _| journal.forget(by.to_timestamp(), months)).await {
            Ok(0) | Err(_) => {}
            Ok(entries) => {
                info!(tenant = %of.tenant, entries, months, "entries of the journal were destroyed: their time is over");
                let head = of.state.lock().journal.as_ref().map(|journal| journal.head());
                if let Some(head) = head {
                    self.know(of, head).await;
                }
            }
        }
    }

    /// What an accepted loss has set aside is kept no longer than what was not lost.
    async fn forget_aside(&self, of: &OfTenant, by: WallTime, months: u16) {
        let (folder, begins) = (self.0.folder.clone(), format!("{}.{ASIDE}", of.tenant));
        let forgotten = platform::spawn_blocking(move || {
            let mut files = 0;
            for name in std::fs::read_dir(&folder)? {
                let name = name?.file_name();
                if name.to_str().is_some_and(|name| name.starts_with(&begins)) {
                    files += journal::forget_aside(&folder.join(name), by.to_timestamp(), months)?;
                }
            }
            Ok::<usize, std::io::Error>(files)
        });
        match forgotten.await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(files)) => {
                info!(tenant = %of.tenant, files, months, "entries set aside were destroyed: their time is over")
            }
            Ok(Err(error)) => error!(tenant = %of.tenant, %error, "entries set aside outlive their time"),
        }
    }

    /// The time by which entries are destroyed: the wall clock, where it is not ahead of the one by which footage is. `None`
    /// before the first sweep has set that going: nothing is known then that speaks for the clock.
    pub(crate) async fn forgetting_by(&self) -> Option<WallTime> {
        let kept = match self.0.index.steady_clock().await {
            Ok(kept) => kept?,
            Err(error) => {
                warn!(%error, "nothing of the journals is destroyed by a clock that cannot be judged");
                return None;
            }
        };
        let wall = self.0.clock.wall();
        let since = Ticks90k(wall.since(kept.wall).0.clamp(0, SINCE_SWEEP_MAX.0));
        Some(wall.min(kept.steady.saturating_add(since)))
    }
}
