//! The walk over a store's packs, spread evenly over its time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{ScrubError, ScrubVerdict, Scrubber};
use crate::archive::ReadError;
use crate::event::words::Language;
use crate::event::{Event, Fact};
use crate::index::damage::ScrubRow;
use crate::index::{Change, PackRow, PackState};
use crate::store::StoreId;
use footage::pack::PackError;
use footage::units::{PackId, Ticks90k, WallTime};

/// Rows looked up at a time.
const PAGE: u32 = 64;
/// The longest rest between two packs: what is stored changes meanwhile.
const REST_MAX: Duration = Duration::from_secs(3_600);
/// A pass that is late reads at most this much faster than an even one would.
const HASTE_MAX: u32 = 4;
/// As many packs lost one after the other, and it is not they that are damaged but the store, or the way to it.
pub const LOST_IN_A_ROW_MAX: usize = 16;
/// A pack that readers cannot read is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// After a failure, and when the store seems to be lost.
const RETRY: Duration = Duration::from_secs(600);

impl Scrubber {
    /// Reads every pack of this store once in `every`, again and again, until it is stopped.
    pub async fn run(&self, store: StoreId, every: Duration, stop: CancellationToken) {
        let passes = async {
            loop {
                if let Err(error) = self.pass(store, every).await {
                    warn!(store = self.store.name(store), %error, "the scrub rests, and goes on where it was");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        // Cut off at any await: the next start goes on from the last pack that was done with.
        stop.run_until_cancelled(passes).await;
    }

    /// What is left of a pass, then the wait for the next one's time.
    async fn pass(&self, store: StoreId, every: Duration) -> Result<(), ScrubError> {
        let name = self.store.name(store);
        let begin = || ScrubRow { began: self.clock.wall(), after: None, bytes: 0 };
        let mut at = self.index.scrub(name).await?.unwrap_or_else(begin);
        let (mut mended, mut lost, mut lost_in_a_row) = (0u64, 0u64, Vec::new());
        loop {
            let page = self.index.packs_after(at.after, PAGE).await?;
            // Those recorded since are the next pass's.
            let due: Vec<PackRow> = page.into_iter().take_while(|row| row.start < at.began).collect();
            if due.is_empty() {
                break;
            }
            let total = self.bytes_of(store).await?;
            self.store.ensure_known(store).await?;
            for row in due {
                let before = at.clone();
                at.after = Some(row.id);
                if row.state != PackState::Stored || self.store.home(&row.camera) != store {
                    continue;
                }
                let verdict = match self.examine(row.id).await {
                    // Its key may come back: nothing is said of it, and the others are looked at.
                    Err(ScrubError::Read(ReadError::Pack(PackError::Key { .. }))) => ScrubVerdict::NotLookedAt,
                    other => other?,
                };
                match verdict {
                    ScrubVerdict::Lost(_) => {
                        lost += 1;
                        lost_in_a_row.push(before);
                    }
                    verdict => {
                        mended += u64::from(matches!(verdict, ScrubVerdict::Mended(_)));
                        lost_in_a_row.clear();
                    }
                }
                if lost_in_a_row.len() >= LOST_IN_A_ROW_MAX {
                    return self.doubt(name, lost_in_a_row.swap_remove(0)).await;
                }
                at.bytes += row.bytes;
                self.save(name, &at).await?;
                let now = self.clock.wall();
                tokio::time::sleep(rest(&at, row.bytes, total, every, now)).await;
            }
        }
        let bytes = at.bytes;
        info!(store = name, bytes, mended, lost, "every pack was read and checked");
        if bytes > 0 {
            self.say(Fact::Scrubbed { store: Some(name.to_owned()), bytes, mended, lost }).await?;
        }
        let next = at.began.saturating_add(Ticks90k::from_duration(every));
        while self.clock.wall() < next {
            tokio::time::sleep(until(next, self.clock.wall()).min(REST_MAX)).await;
        }
        self.save(name, &begin()).await
    }

    /// The pass goes back to where the trouble began.
    async fn doubt(&self, name: &str, back: ScrubRow) -> Result<(), ScrubError> {
        let fact = Fact::StoreDoubtful { store: Some(name.to_owned()), packs: LOST_IN_A_ROW_MAX as u64 };
        error!(store = name, "{}", fact.words(Language::English));
        self.say(fact).await?;
        self.save(name, &back).await?;
        tokio::time::sleep(RETRY).await;
        Ok(())
    }

    async fn say(&self, fact: Fact) -> Result<(), ScrubError> {
        let event = Event::of_gateway(self.clock.wall(), fact);
        Ok(self.index.write(vec![Change::Event(event)]).await?)
    }

    /// Looks at once at packs that readers could not read, until `stop`. Each at most once in [`LOOK_AGAIN`].
    pub async fn look_at(&self, mut packs: mpsc::Receiver<PackId>, stop: CancellationToken) {
        let (mut looked, mut lost_in_a_row) = (HashMap::new(), 0);
        while let Some(Some(pack)) = stop.run_until_cancelled(packs.recv()).await {
            let now = Instant::now();
            looked.retain(|_, at| now.duration_since(*at) < LOOK_AGAIN);
            if looked.insert(pack, now).is_some() {
                continue;
            }
            match self.look_at_one(pack).await {
                Ok(ScrubVerdict::Lost(_)) => lost_in_a_row += 1,
                Ok(_) => lost_in_a_row = 0,
                Err(error) => warn!(%pack, %error, "a pack that could not be read could not be checked either"),
            }
            if lost_in_a_row >= LOST_IN_A_ROW_MAX {
                lost_in_a_row = 0;
                if let Err(error) = self.doubt_store_of(pack).await {
                    warn!(%error, "the index did not take that a store is doubtful");
                }
                stop.run_until_cancelled(tokio::time::sleep(RETRY)).await;
                // Readers name again what they still cannot read.
                while packs.try_recv().is_ok() {}
            }
        }
    }

    /// The packs that it refers to come first: what is wrong may be wrong there.
    async fn look_at_one(&self, pack: PackId) -> Result<ScrubVerdict, ScrubError> {
        let Some(row) = self.index.any_pack(pack).await? else { return Ok(ScrubVerdict::NotLookedAt) };
        self.store.ensure_known(self.store.home(&row.camera)).await?;
        for host in self.index.hosts(pack).await? {
            self.examine(host).await?;
        }
        self.examine(pack).await
    }

    async fn doubt_store_of(&self, pack: PackId) -> Result<(), ScrubError> {
        let row = self.index.any_pack(pack).await?;
        let store = row.map(|row| self.store.name(self.store.home(&row.camera)).to_owned());
        let fact = Fact::StoreDoubtful { store, packs: LOST_IN_A_ROW_MAX as u64 };
        error!("{}", fact.words(Language::English));
        self.say(fact).await
    }

    async fn save(&self, store: &str, row: &ScrubRow) -> Result<(), ScrubError> {
        Ok(self.index.write(vec![Change::Scrubbed { store: store.to_owned(), row: row.clone() }]).await?)
    }

    async fn bytes_of(&self, store: StoreId) -> Result<u64, ScrubError> {
        let all = self.index.bytes_by_camera().await?;
        Ok(all.iter().filter(|(camera, _)| self.store.home(camera) == store).map(|(_, bytes)| bytes).sum())
    }
}

/// How long to rest after a pack of `bytes`: its part of the time that is left.
fn rest(at: &ScrubRow, bytes: u64, total: u64, every: Duration, now: WallTime) -> Duration {
    let part = |of: Duration, all: u64| of.mul_f64(bytes as f64 / all.max(bytes).max(1) as f64);
    let left = until(at.began.saturating_add(Ticks90k::from_duration(every)), now);
    let even = part(left, total.saturating_sub(at.bytes).saturating_add(bytes));
    even.max(part(every, total) / HASTE_MAX).min(REST_MAX)
}

fn until(then: WallTime, now: WallTime) -> Duration {
    if then > now { then.since(now).to_duration() } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn check(read: u64, bytes: u64, total: u64, elapsed: Duration, expect: Duration) {
        let began = WallTime(0);
        let at = ScrubRow { began, after: None, bytes: read };
        let now = began.saturating_add(Ticks90k::from_duration(elapsed));
        assert_eq!(rest(&at, bytes, total, DAY, now), expect);
    }

    #[test]
    fn a_pack_takes_its_part_of_the_time_that_is_left_within_bounds() {
        // A thousand packs a day: 86.4 s each, whether the pass is at its beginning or in its middle.
        check(1, 1, 1_000, Duration::ZERO, Duration::from_secs_f64(86.4));
        check(501, 1, 1_000, DAY / 2, Duration::from_secs_f64(86.4));
        // Two packs: a store this small is looked at again before half a day is over.
        check(1, 1, 2, Duration::ZERO, REST_MAX);
        // Late: four times as fast, and no faster.
        check(10, 1, 1_000, 2 * DAY, Duration::from_secs_f64(21.6));
        // An empty store, and a row that is larger than the sum: no division by nothing.
        check(0, 0, 0, Duration::ZERO, Duration::ZERO);
    }
}
