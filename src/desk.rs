//! The requisition desk: requests for footage, from intake to closing.
//!
//! ```text
//! step: the tenant's turn → file as it is → may it be done? → journal → index (row, holds, event: one transaction) → file beside
//! ```
//!
//! Invariants: what is done for a request is in the journal before it is done; row and holds of a step are written together or
//! not at all; of two steps at once the second sees the first. What a request says of a person who was filmed is in its file
//! alone: neither in the journal, nor in events, nor in the packs of a hold.
//! Absent on purpose: rights (`http` decides), and the export itself.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::tz::TimeZone;
use journal::entry::{Action, Author, Draft};
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use utoipa::ToSchema;

use self::file::{
    Asker, Done, File, HandOver, HashedFile, HoldKind, HoldOf, Outcome, PARTS_MAX, Period, Prepared, Refusal,
    SCANS_MAX, Scan, State, Wants, line, months_after,
};
use self::keep::Keep;
use crate::event::{Actor, Event, Fact, RequestStep, Scope};
use crate::hold::{HoldError, Holds, Request as HoldRequest};
use crate::index::hold::HoldRow;
use crate::index::request::{RequestRow, Which};
use crate::index::{Change, Index};
use crate::journals::Journals;
use crate::policy::RequestRules;
use crate::presence::{PresenceError, STRETCHES_MAX, Stretch, presence};
use footage::clock::Clock;
use footage::keys::Keys;
use footage::platform;
use footage::units::{CameraId, CameraKey, HoldId, RequestId, TICKS_PER_DAY, TenantId, Ticks90k, TimeRange, WallTime};

mod error;
pub mod file;
mod intake;
mod keep;
mod upkeep;

pub use self::error::DeskError;
pub use self::intake::Intake;
use self::intake::taken_in;

/// The largest scan.
pub const SCAN_BYTES_MAX: usize = 10 << 20;
/// A recipient keeps what was handed over at most so many months, unless a procedure needs it (CSI L252-3).
const RECIPIENT_MONTHS: i32 = 1;
/// Files that are over are looked for so often, and files that could not be written are tried again.
const UPKEEP_EVERY: Duration = Duration::from_secs(600);

/// Who does a step, and from where.
#[derive(Clone, Debug)]
pub struct By {
    /// Who.
    pub author: Author,
    /// From where.
    pub address: Option<IpAddr>,
}

/// A hold that is wanted for a request.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WantedHold)]
pub struct Wanted {
    /// On which camera.
    #[schema(value_type = String)]
    pub camera: CameraId,
    /// Of which footage.
    pub period: Period,
    /// Kept until then.
    #[schema(value_type = String, format = DateTime)]
    pub until: WallTime,
}

/// What there is of one camera and period of a request.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which camera.
    pub camera: CameraId,
    /// Which period.
    pub range: TimeRange,
    /// What there is.
    pub stretches: Vec<Stretch>,
}

/// The desk of all tenants; cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    index: Index,
    holds: Holds,
    journals: Journals,
    keep: Keep,
    clock: Arc<dyn Clock>,
    zone: TimeZone,
    rules: RwLock<HashMap<TenantId, RequestRules>>,
    turns: Mutex<HashMap<TenantId, Arc<tokio::sync::Mutex<()>>>>,
}

/// A step that may be done.
struct Step {
    file: File,
    step: RequestStep,
    detail: Option<String>,
    recipient: Option<String>,
    placed: Vec<HoldRow>,
    ended: Vec<HoldRow>,
    changes: Vec<Change>,
}

impl Step {
    fn of(file: File, step: RequestStep) -> Self {
        let (detail, recipient, placed, ended, changes) = Default::default();
        Self { file, step, detail, recipient, placed, ended, changes }
    }
}

/// Where the files lie.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("requests")
}

impl Desk {
    /// A desk with its files in this folder. The zone says how long a month is.
    pub fn new(
        (index, holds, journals): (Index, Holds, Journals),
        (folder, keys): (PathBuf, Keys),
        clock: Arc<dyn Clock>,
        zone: TimeZone,
    ) -> Self {
        let keep = Keep::new(folder, keys);
        let (rules, turns) = (RwLock::default(), Mutex::default());
        Self(Arc::new(Inner { index, holds, journals, keep, clock, zone, rules, turns }))
    }

    /// What each tenant wants, from now on.
    pub fn set_rules(&self, rules: impl IntoIterator<Item = (TenantId, RequestRules)>) {
        *self.0.rules.write() = rules.into_iter().collect();
    }

    fn rules(&self, tenant: &TenantId) -> Result<RequestRules, DeskError> {
        self.0.rules.read().get(tenant).copied().ok_or_else(|| DeskError::NoTenant(tenant.clone()))
    }

    async fn turn(&self, tenant: &TenantId) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = self.0.turns.lock().entry(tenant.clone()).or_default().clone();
        turn.lock_owned().await
    }

    /// One of the tenant's requests.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get(&self, tenant: &TenantId, id: RequestId) -> Result<File, DeskError> {
        let row = self.0.index.request(tenant, id).await?.ok_or(DeskError::NoRequest(id))?;
        read(&row)
    }

    /// The tenant's requests, the newest first.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn list(
        &self,
        tenant: &TenantId,
        which: Which,
        after: Option<RequestId>,
        limit: u32,
    ) -> Result<Vec<File>, DeskError> {
        self.0.index.requests(tenant, which, after, limit).await?.iter().map(read).collect()
    }

    /// The tenant's other requests of the same procedure.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn of_same_procedure(&self, tenant: &TenantId, file: &File) -> Result<Vec<RequestId>, DeskError> {
        Ok(self.0.index.requests_of_procedure(tenant, &file.procedure_key(), file.id).await?)
    }

    /// What there is of all that a request asks for.
    ///
    /// # Errors
    /// When there are too many stretches to say.
    pub async fn search(&self, tenant: &TenantId, file: &File) -> Result<Vec<Part>, DeskError> {
        let Inner { index, clock, zone, .. } = &*self.0;
        let (mut parts, mut in_all) = (Vec::new(), 0);
        for (camera, range) in file.parts()? {
            let key = CameraKey { tenant: tenant.clone(), camera: camera.clone() };
            let stretches = presence(index, zone, &key, range, clock.wall()).await?;
            in_all += stretches.len();
            if in_all > STRETCHES_MAX {
                return Err(PresenceError::TooMany.into());
            }
            parts.push(Part { camera, range, stretches });
        }
        Ok(parts)
    }

    /// What there is of a camera in a range.
    ///
    /// # Errors
    /// When there is no such camera, or there are too many stretches to say.
    pub async fn presence(&self, camera: &CameraKey, range: TimeRange) -> Result<Vec<Stretch>, PresenceError> {
        presence(&self.0.index, &self.0.zone, camera, range, self.0.clock.wall()).await
    }

    /// Takes a request in, and holds at once what it asks for, for as many days as the tenant wants.
    ///
    /// # Errors
    /// When it says too little, or an open request asks for the same.
    pub async fn open(&self, tenant: &TenantId, by: &By, intake: Intake) -> Result<File, DeskError> {
        let rules = self.rules(tenant)?;
        let _turn = self.turn(tenant).await;
        let now = self.0.clock.wall();
        let file = taken_in(intake, now, &self.0.zone)?;
        for camera in &file.cameras {
            let key = CameraKey { tenant: tenant.clone(), camera: camera.clone() };
            if self.0.index.camera(&key).await?.is_none() {
                return Err(HoldError::NoCamera(key).into());
            }
        }
        self.refuse_double(tenant, &file).await?;
        let until = now.saturating_add(Ticks90k(i64::from(rules.pre_hold_days) * TICKS_PER_DAY));
        let mut step = Step::of(file, RequestStep::Opened);
        for (camera, range) in step.file.parts()? {
            // What is filmed later is held by the paper, or not at all.
            if let Some(range) = TimeRange::new(range.start(), range.end().min(until)) {
                self.plan(tenant, &mut step, HoldKind::PreHold, (camera, range), until).await?;
            }
        }
        self.carry_on(tenant, by, step).await
    }

    /// Refuses what an open request of the same procedure asks for already.
    async fn refuse_double(&self, tenant: &TenantId, file: &File) -> Result<(), DeskError> {
        if let Some(other) = self.0.index.request_double(&row_of(tenant, file)?).await? {
            return Err(DeskError::Double(other));
        }
        // Where no camera is named, the place says what is asked for.
        if file.cameras.is_empty() {
            for id in self.of_same_procedure(tenant, file).await? {
                if self.get(tenant, id).await?.asks_at_the_same_place(file) {
                    return Err(DeskError::Double(id));
                }
            }
        }
        Ok(())
    }

    /// Those of a request's holds that keep footage: neither over, nor released, for it or beside it.
    async fn in_force(&self, tenant: &TenantId, file: &File) -> Result<HashSet<HoldId>, DeskError> {
        let at = self.0.clock.wall();
        let mut in_force = HashSet::new();
        for of in file.holds.iter().filter(|of| !of.released && of.until > at) {
            if self.0.index.hold(tenant, of.hold).await?.is_some_and(|row| row.closed.is_none()) {
                in_force.insert(of.hold);
            }
        }
        Ok(in_force)
    }

    /// Plans a hold with a step.
    async fn plan(
        &self,
        tenant: &TenantId,
        step: &mut Step,
        hold_kind: HoldKind,
        (camera, range): (CameraId, TimeRange),
        until: WallTime,
    ) -> Result<(), DeskError> {
        let (reference, requester, reason) = step.file.named();
        let key = CameraKey { tenant: tenant.clone(), camera: camera.clone() };
        let request = HoldRequest { camera: key, range, reference, requester, reason, until };
        let (row, changes) = self.0.holds.planned(request).await?;
        let period = Period { start: range.start(), end: range.end() };
        step.file.holds.push(HoldOf { hold: row.facts.id, hold_kind, camera, period, until, released: false });
        step.placed.push(row);
        step.changes.extend(changes);
        Ok(())
    }

    /// Plans the end of those of a request's holds in force that this chooses.
    async fn plan_end(
        &self,
        tenant: &TenantId,
        step: &mut Step,
        ends: impl Fn(&HoldOf) -> bool,
    ) -> Result<(), DeskError> {
        for of in step.file.holds.iter_mut().filter(|of| !of.released && ends(of)) {
            let Some(row) = self.0.index.hold(tenant, of.hold).await? else { continue };
            if row.closed.is_none() {
                of.released = true;
                step.changes.extend(self.0.holds.ending(&row));
                step.ended.push(row);
            }
        }
        Ok(())
    }

    /// Places holds by the paper of a request; the pre-holds that they cover end.
    ///
    /// # Errors
    /// When there is no paper, or a hold cannot be placed: none is then.
    pub async fn hold(
        &self,
        tenant: &TenantId,
        id: RequestId,
        by: &By,
        (wanted, paper): (Vec<Wanted>, Option<String>),
    ) -> Result<File, DeskError> {
        let _turn = self.turn(tenant).await;
        let mut file = self.get(tenant, id).await?;
        file.needs("hold", &[State::Received, State::Held])?;
        if let Some(paper) = paper {
            line("paper", &paper, true)?;
            file.paper = paper;
        }
        file.needs_paper()?;
        let in_all = file.holds.iter().filter(|of| of.hold_kind != HoldKind::PreHold).count() + wanted.len();
        if wanted.is_empty() || in_all > PARTS_MAX {
            return Err(DeskError::Invalid(format!("a request has from 1 to {PARTS_MAX} holds")));
        }
        let is_limitation = matches!(file.asker, Asker::PersonFilmed { wants: Wants::Limitation, .. });
        let hold_kind = if is_limitation { HoldKind::Limitation } else { HoldKind::Hold };
        file.state = State::Held;
        let mut in_force = self.in_force(tenant, &file).await?;
        let mut step = Step::of(file, RequestStep::Held);
        for Wanted { camera, period, until } in &wanted {
            let part = (camera.clone(), period.range()?);
            let is_same = |of: &HoldOf| {
                let same_footage = of.camera == *camera && of.period == *period;
                of.hold_kind == hold_kind && same_footage && of.until >= *until && in_force.contains(&of.hold)
            };
            if let Some(other) = step.file.holds.iter().find(|of| is_same(of)) {
                return Err(DeskError::NotNow(format!("hold {} of this request covers the same", other.hold)));
            }
            self.plan(tenant, &mut step, hold_kind, part, *until).await?;
            in_force.extend(step.placed.last().map(|row| row.facts.id));
            if !step.file.cameras.contains(camera) {
                step.file.cameras.push(camera.clone());
            }
        }
        let covered = |of: &HoldOf| {
            let within = |wanted: &Wanted| {
                let all = wanted.period;
                let covers = all.start <= of.period.start && of.period.end <= all.end;
                // To end one early is to release it, which is another step.
                wanted.camera == of.camera && covers && of.until <= wanted.until
            };
            of.hold_kind == HoldKind::PreHold && wanted.iter().any(within)
        };
        self.plan_end(tenant, &mut step, covered).await?;
        self.carry_on(tenant, by, step).await
    }

    /// Notes what was prepared, by its reference.
    ///
    /// # Errors
    /// When the request is not held, or has no paper.
    pub async fn prepare(
        &self,
        tenant: &TenantId,
        id: RequestId,
        by: &By,
        (export, files, key): (String, Vec<HashedFile>, Option<String>),
    ) -> Result<File, DeskError> {
        let _turn = self.turn(tenant).await;
        let mut file = self.get(tenant, id).await?;
        file.prepare(Prepared { export: export.clone(), files, key, by: by.author.clone() })?;
        let step = Step { detail: Some(export), ..Step::of(file, RequestStep::Prepared) };
        self.carry_on(tenant, by, step).await
    }

    /// Releases what was prepared.
    ///
    /// # Errors
    /// When nothing is, or the tenant wants another person for it.
    pub async fn release(&self, tenant: &TenantId, id: RequestId, by: &By) -> Result<File, DeskError> {
        let rules = self.rules(tenant)?;
        let _turn = self.turn(tenant).await;
        let mut file = self.get(tenant, id).await?;
        file.release(&by.author, rules.two_person_release)?;
        self.carry_on(tenant, by, Step::of(file, RequestStep::Released)).await
    }

    /// Notes that it was handed over. `is_needed`: a procedure needs it for longer than a month.
    ///
    /// # Errors
    /// When it was not released.
    pub async fn hand_over(
        &self,
        tenant: &TenantId,
        id: RequestId,
        by: &By,
        ([recipient, unit, medium], is_needed): ([String; 3], bool),
    ) -> Result<File, DeskError> {
        let _turn = self.turn(tenant).await;
        let mut file = self.get(tenant, id).await?;
        let at = self.0.clock.wall();
        let keep_until = (!is_needed).then(|| months_after(at, RECIPIENT_MONTHS, &self.0.zone));
        // A person who was filmed receives it themselves: their name has no place in the journal.
        let named = (!matches!(file.asker, Asker::PersonFilmed { .. })).then(|| format!("{recipient}, {unit}"));
        file.hand_over(HandOver { recipient, unit, medium, at, keep_until, by: by.author.clone() })?;
        let step = Step { recipient: named, ..Step::of(file, RequestStep::HandedOver) };
        self.carry_on(tenant, by, step).await
    }

    /// Refuses a request of a person who was filmed.
    ///
    /// # Errors
    /// When it is no such request, or done with.
    pub async fn refuse(&self, tenant: &TenantId, id: RequestId, by: &By, refusal: Refusal) -> Result<File, DeskError> {
        let _turn = self.turn(tenant).await;
        let mut file = self.get(tenant, id).await?;
        let detail = Some(refusal.ground.as_str().to_owned());
        file.refuse(refusal)?;
        self.carry_on(tenant, by, Step { detail, ..Step::of(file, RequestStep::Refused) }).await
    }

    /// Closes a request; its holds are released, or kept until their end.
    ///
    /// # Errors
    /// When it did not end so.
    pub async fn close(
        &self,
        tenant: &TenantId,
        id: RequestId,
        by: &By,
        (outcome, releases_holds): (Outcome, bool),
    ) -> Result<File, DeskError> {
        let rules = self.rules(tenant)?;
        let _turn = self.turn(tenant).await;
        let mut file = self.get(tenant, id).await?;
        let at = self.0.clock.wall();
        let in_force = self.in_force(tenant, &file).await?;
        let limits = |of: &HoldOf| of.hold_kind == HoldKind::Limitation && in_force.contains(&of.hold);
        if outcome == Outcome::Limited && (releases_holds || !file.holds.iter().any(limits)) {
            return Err(DeskError::NotNow("a limitation keeps footage: its holds stay in force".to_owned()));
        }
        file.close(outcome, at, months_after(at, i32::from(rules.request_months), &self.0.zone))?;
        let mut step = Step::of(file, RequestStep::Closed);
        step.detail = Some(outcome.as_str().to_owned());
        if releases_holds {
            self.plan_end(tenant, &mut step, |_| true).await?;
        }
        self.carry_on(tenant, by, step).await
    }

    /// Attaches a scan of the paper.
    ///
    /// # Errors
    /// When it is neither PDF, JPEG nor PNG, too large, or one too many.
    pub async fn attach(&self, tenant: &TenantId, id: RequestId, by: &By, bytes: Vec<u8>) -> Result<File, DeskError> {
        let media_type = media_type(&bytes)?;
        if bytes.len() > SCAN_BYTES_MAX {
            return Err(DeskError::Invalid(format!("a scan has at most {SCAN_BYTES_MAX} bytes")));
        }
        if !self.0.keep.is_right_key() {
            return Err(DeskError::NoKey);
        }
        let _turn = self.turn(tenant).await;
        let mut file = self.get(tenant, id).await?;
        let open = [State::Received, State::Held, State::Prepared, State::Released, State::HandedOver, State::Refused];
        file.needs("attach a scan", &open)?;
        if file.scans.len() >= SCANS_MAX {
            return Err(DeskError::NotNow(format!("a request has at most {SCANS_MAX} scans")));
        }
        let sha256 = sha256(&bytes);
        let number = file.scans.len() as u32 + 1;
        let scan =
            Scan { number, media_type: media_type.to_owned(), bytes: bytes.len() as u64, sha256: sha256.clone() };
        let (keep, of) = (self.0.keep.clone(), tenant.clone());
        // One of a step that was cut off is replaced: its number is free until the row has it.
        blocking(move || keep.put_scan(&of, id, number, &bytes)).await?;
        file.scans.push(scan);
        let step = Step { detail: Some(format!("sha256 {sha256}")), ..Step::of(file, RequestStep::ScanAttached) };
        self.carry_on(tenant, by, step).await
    }

    /// A scan, whose reading is entered first.
    ///
    /// # Errors
    /// When there is none, or it is not what was attached.
    pub async fn scan(
        &self,
        tenant: &TenantId,
        id: RequestId,
        by: &By,
        number: u32,
    ) -> Result<(Scan, Vec<u8>), DeskError> {
        let file = self.get(tenant, id).await?;
        let scan = file.scans.iter().find(|scan| scan.number == number).cloned();
        let scan = scan.ok_or(DeskError::NoScan(id, number))?;
        let detail = Some(format!("sha256 {}", scan.sha256));
        self.0.journals.append(tenant, draft(&file, by, RequestStep::ScanRead, detail)).await?;
        let (keep, of) = (self.0.keep.clone(), tenant.clone());
        let bytes = blocking(move || keep.get_scan(&of, id, number)).await.map_err(|error| {
            error!(%error, request = %id, number, "a scan cannot be read");
            DeskError::Damaged(id)
        })?;
        if sha256(&bytes) == scan.sha256 { Ok((scan, bytes)) } else { Err(DeskError::Damaged(id)) }
    }

    /// Does a step: the journal first, then row and holds together, then the file beside.
    async fn carry_on(&self, tenant: &TenantId, by: &By, step: Step) -> Result<File, DeskError> {
        let Inner { index, holds, journals, clock, .. } = &*self.0;
        let Step { mut file, step, detail, recipient, placed, ended, mut changes } = step;
        let at = clock.wall();
        file.version += 1;
        file.steps.push(Done { step, at, by: by.author.clone(), detail: detail.clone() });
        let row = Arc::new(row_of(tenant, &file)?);
        let mut entered = Vec::new();
        let entry = Draft { recipient, ..draft(&file, by, step, detail) };
        entered.push(journals.append(tenant, entry).await?);
        let of_hold = |action: Action, hold: &HoldRow| {
            let range = span(hold.facts.range);
            Draft::new(by.author.clone(), action).from_address(by.address).on(hold.camera.camera.clone(), Some(range))
        };
        for hold in &ended {
            let entry = of_hold(Action::HoldReleased { hold: hold.facts.id.to_string() }, hold);
            match journals.append(tenant, entry).await {
                Ok(of) => entered.push(of),
                Err(error) => return Err(self.not_done(tenant, entered, error.into()).await),
            }
        }
        changes.push(Change::PutRequest(row.clone()));
        let fact = Fact::RequestStep { request: file.id, step };
        changes.push(Change::Event(Event::new(at, Scope::Tenant(tenant.clone()), fact).by(Actor::Tenant)));
        if let Err(error) = index.write(changes).await {
            return Err(self.not_done(tenant, entered, error.into()).await);
        }
        holds.look();
        for hold in &placed {
            let entry = of_hold(Action::HoldPlaced { hold: hold.facts.id.to_string() }, hold);
            let (reason, recipient) = (Some(hold.facts.reason.clone()), Some(hold.facts.requester.clone()));
            journals.note(tenant, Draft { reason, recipient, ..entry }).await;
        }
        self.keep(&row).await;
        Ok(file)
    }

    async fn not_done(&self, tenant: &TenantId, entered: Vec<u64>, error: DeskError) -> DeskError {
        for of in entered {
            self.0.journals.note(tenant, Draft::new(Author::Gateway, Action::NotDone { of })).await;
        }
        error
    }
}

/// The entry of a step.
fn draft(file: &File, by: &By, step: RequestStep, detail: Option<String>) -> Draft {
    let action = Action::RequestStep { request: file.id.to_string(), step: step.as_str().to_owned(), detail };
    let draft = Draft::new(by.author.clone(), action).from_address(by.address);
    let (_, _, reason) = file.named();
    Draft { cameras: file.all_cameras(), range: file.extent().map(span), reason: Some(reason), ..draft }
}

fn span(range: TimeRange) -> journal::Span {
    journal::Span { from: range.start().to_timestamp(), to: range.end().to_timestamp() }
}

fn row_of(tenant: &TenantId, file: &File) -> Result<RequestRow, DeskError> {
    Ok(RequestRow {
        id: file.id,
        tenant: tenant.clone(),
        version: file.version,
        procedure: file.procedure_key(),
        opened: file.received,
        closed: file.closed,
        destroy_at: file.destroy_at,
        parts: file.parts()?,
        file: serde_json::to_string(file).map_err(|_| DeskError::Damaged(file.id))?,
    })
}

fn read(row: &RequestRow) -> Result<File, DeskError> {
    serde_json::from_str(&row.file).map_err(|error| {
        error!(%error, request = %row.id, "the file of a request cannot be read");
        DeskError::Damaged(row.id)
    })
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a scan is, by its first bytes: whatever it is called, nothing else is taken in or shown.
fn media_type(bytes: &[u8]) -> Result<&'static str, DeskError> {
    match bytes {
        [b'%', b'P', b'D', b'F', b'-', ..] => Ok("application/pdf"),
        [0xff, 0xd8, 0xff, ..] => Ok("image/jpeg"),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok("image/png"),
        _ => Err(DeskError::Invalid("a scan is a PDF, JPEG or PNG file".to_owned())),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, DeskError> {
    platform::spawn_blocking(work).await.map_err(|_| DeskError::CutOff)?.map_err(DeskError::Io)
}

#[cfg(test)]
mod tests;
