//! Holds of a history: when somebody asks for one, what was said of it, and whether that is kept.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use footage::clock::{Clock, SimClock};
use footage::units::{CameraKey, HoldId, PackId, Ticks90k, TimeRange, WallTime};
use futures::TryStreamExt;
use tokio::time::{Instant, sleep_until};
use vigie::archive::PackRef;
use vigie::hold::{HoldState, Holds, Request};
use vigie::index::PackRow;

use crate::check::{View, starts};
use crate::gateway::Site;
use crate::plan::{HistoryPlan, HoldPlan};

/// Between two fragments of one segment.
const ROUNDING: Ticks90k = Ticks90k(900);

/// A hold that was asked for.
#[derive(Clone, Debug)]
struct HoldAttempt {
    camera: CameraKey,
    range: TimeRange,
    /// Nothing stays for it after this.
    until: WallTime,
    /// What was said to be protected, until somebody asked for its release.
    said: Option<(HoldId, Vec<TimeRange>)>,
}

/// All that were asked for; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct HoldAttempts(Arc<Mutex<Vec<HoldAttempt>>>);

impl HoldAttempts {
    fn lock(&self) -> MutexGuard<'_, Vec<HoldAttempt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when a pack may stay for a hold, and how many were confirmed.
    pub(crate) fn kept_until(&self, plan: &HistoryPlan, camera: &CameraKey, pack: PackId) -> WallTime {
        let start = starts(pack);
        // A pack's last fragment ends a little later.
        let longest = Ticks90k::from_duration(plan.limits.pack_duration_max + Duration::from_secs(10));
        let touches = |asked: &&HoldAttempt| {
            let range = asked.range;
            asked.camera == *camera && range.start() < start.saturating_add(longest) && start < range.end()
        };
        let until = self.lock().iter().filter(touches).map(|asked| asked.until).max();
        // Its pack goes as any other, from then on.
        until.map_or(WallTime(i64::MIN), |until| until.saturating_add(plan.policy.margin()))
    }

    /// Asks for what the plan of a life says, one after the other.
    pub(crate) async fn ask(self, plans: Vec<HoldPlan>, site: Site, holds: Holds, clock: Arc<SimClock>) {
        let begin = Instant::now();
        for plan in plans {
            sleep_until(begin + plan.at).await;
            let n = self.place(&plan, &site, &holds, clock.wall()).await;
            let said = self.lock()[n].said.clone();
            let (Some(after), Some((id, _))) = (plan.released_after, said) else { continue };
            sleep_until(Instant::now() + after).await;
            let camera = self.lock()[n].camera.clone();
            // From here on it may be over.
            self.lock()[n].said = None;
            if holds.release(&camera.tenant, id).await.is_ok() {
                self.lock()[n].until = clock.wall();
            }
        }
    }

    async fn place(&self, plan: &HoldPlan, site: &Site, holds: &Holds, now: WallTime) -> usize {
        let camera = site.plan.cameras[plan.camera].key.clone();
        let start = now.saturating_sub(Ticks90k::from_duration(plan.begins_ago));
        let end = start.saturating_add(Ticks90k::from_duration(plan.covers));
        let range = TimeRange::new(start, end).expect("it covers something");
        let until = now.max(end).saturating_add(Ticks90k::from_duration(plan.kept));
        let n = {
            let mut all = self.lock();
            // Whatever the answer will be, it may be placed.
            all.push(HoldAttempt { camera: camera.clone(), range, until, said: None });
            all.len() - 1
        };
        let text = |text: &str| text.to_owned();
        let (reference, requester, reason) = (text("12/2026"), text("the police"), text("a theft"));
        let request = Request { camera, range, reference, requester, reason, until };
        if let Ok(HoldState { hold, protected, .. }) = holds.place(request).await {
            self.lock()[n].said = Some((hold.facts.id, protected));
        }
        n
    }

    /// What was said to be protected is there and can be read. Gives how many holds were looked at.
    pub(crate) async fn check(&self, site: &Site, view: &View, now: WallTime) -> Result<u64, String> {
        let asked = self.lock().clone();
        let mut looked_at = 0;
        for asked in asked.iter().filter(|asked| asked.until > now) {
            let Some((id, protected)) = &asked.said else { continue };
            let (there, why_not) = footage(site, view, asked).await?;
            for span in protected {
                if let Some(at) = first_hole(*span, &there) {
                    return Err(format!(
                        "hold {id} of {} said that {} to {} is protected, and nothing can be read at {at} {why_not}",
                        asked.camera,
                        span.start(),
                        span.end()
                    ));
                }
                looked_at += 1;
            }
        }
        Ok(looked_at)
    }
}

/// Fragments that can be read of what a hold covers, wherever they lie, sorted; and why others cannot.
async fn footage(site: &Site, view: &View, asked: &HoldAttempt) -> Result<(Vec<TimeRange>, String), String> {
    let near = |row: &&PackRow| {
        let span = TimeRange::new(row.start, row.end);
        row.camera == asked.camera && span.is_some_and(|span| span.intersection(&asked.range).is_some())
    };
    let rows: Vec<&PackRow> = view.rows().filter(near).collect();
    let deleting = view.opened.index.deleting(rows.iter().map(|row| row.id).collect()).await;
    let deleting: HashSet<PackId> = deleting.map_err(|e| e.to_string())?.into_iter().map(|(pack, _)| pack).collect();
    let (mut there, mut why_not) = (Vec::new(), String::new());
    for row in rows.into_iter().filter(|row| !deleting.contains(&row.id)) {
        match read(site, view, row).await {
            Ok(spans) => there.extend(spans),
            Err(what) => why_not = format!("({what})"),
        }
    }
    there.sort_unstable_by_key(TimeRange::start);
    Ok((there, why_not))
}

/// Every fragment of a pack, each sample of which its camera sent.
async fn read(site: &Site, view: &View, row: &PackRow) -> Result<Vec<TimeRange>, String> {
    let pack = PackRef { id: row.id, camera: row.camera.clone(), state: row.state };
    let camera = site.plan.cameras.iter().position(|c| c.key == row.camera).expect("a camera of the plan");
    let table = view.opened.packs.table(&pack).await.map_err(|e| e.to_string())?;
    let mut spans = Vec::new();
    for entry in &table.fragments {
        let range = entry.data_offset()..entry.end();
        let data = view.opened.packs.stream(&pack, Vec::from([range]));
        let data: Vec<bytes::Bytes> = data.try_collect().await.map_err(|e| format!("pack {}: {e}", row.id))?;
        let data = data.concat();
        let mut rest = data.as_slice();
        for sample in &entry.video {
            let (unit, after) = rest.split_at_checked(sample.size as usize).ok_or("a short fragment")?;
            site.sent.unit(camera, unit).ok_or_else(|| format!("pack {}: a sample that nobody sent", row.id))?;
            rest = after;
        }
        spans.extend(TimeRange::new(entry.stamp.wall_start, entry.wall_end()));
    }
    Ok(spans)
}

fn first_hole(span: TimeRange, there: &[TimeRange]) -> Option<WallTime> {
    let mut at = span.start();
    for fragment in there {
        if fragment.start() <= at.saturating_add(ROUNDING) {
            at = at.max(fragment.end());
        }
    }
    (at.saturating_add(ROUNDING) < span.end()).then_some(at)
}
