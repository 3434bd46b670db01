//! Exports: evidence packages that the gateway prepares, keeps for a while, and destroys on time
//! ([ADR 36](../docs/adr/0036-the-evidence-package.md)).
//!
//! ```text
//! order ─ entry in the journal ─→ job.json ─→ run, one at a time: footage ─→ package.zip.part ─ read back ─→ package.zip ─→ ready
//!                                               └─ each 20 s: what has to be gone is destroyed, whatever its state
//! ```
//!
//! Invariants: nothing is prepared before its entry is in the journal. A package that is called ready is whole, durable and was read
//! back; one that was cut off anywhere is begun again. It is gone when the footage inside has to be, or when the hold that it is of has
//! ended. The disk's reserve, and the shares of other tenants, are left alone.
//! Absent on purpose: who may order and receive one (`http` decides); a queue in the index: a job lies beside its package, and goes
//! with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use evidence::sign::{Authority, GatewayKey};
use evidence::write::WriteError;
use journal::entry::{Action, Draft};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::job::{Folder, folders};
pub use self::job::{Job, LyingExport, OfCamera, Package, Place, State, lying};
pub use self::order::Request;
use self::prepare::{Progress, blocking};
use crate::hold::{HoldError, Holds};
use crate::index::IndexError;
use crate::journals::{Journals, NoEntry};
use crate::retrieve::{Footage, RetrieveError};
use footage::failure::{Failure, Kind};
use footage::keys::Keys;
use footage::platform;
use footage::units::{CameraKey, ExportId, TenantId, WallTime};

mod describe;
mod job;
mod keep;
mod order;
mod prepare;
mod sink;
mod turns;

/// Exports of a tenant at a time, whatever their state.
const EXPORTS_PER_TENANT_MAX: usize = 50;
/// What has to be destroyed, and what can be prepared, is looked for so often.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// What did not answer is asked again after so long.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Paths and stores are the operator's to know.
const FAILED: &str = "the gateway failed at it: see its log";
/// Below the data directory.
const FOLDER: &str = "exports";

/// Why an export is not ordered, not found, or not prepared.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It cannot be made as asked; says what to ask.
    #[error("{0}")]
    Invalid(String),
    /// The tenant has no such export.
    #[error("no export {0}")]
    NoExport(ExportId),
    /// The tenant has no such camera.
    #[error("no camera {0}")]
    NoCamera(CameraKey),
    /// What it is of went while it was prepared.
    #[error("the footage, or the hold that it is of, is gone")]
    Gone,
    /// The tenant has as many as it may.
    #[error("the tenant has {EXPORTS_PER_TENANT_MAX} exports: remove those that were handed over")]
    TooMany,
    /// The disk's reserve, or the shares of others, would be taken.
    #[error(
        "the disk has no room for this package beside its reserve and the shares of other tenants: remove exports, or ask for less"
    )]
    NoRoom,
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Footage cannot be read.
    #[error(transparent)]
    Retrieve(#[from] RetrieveError),
    /// The hold cannot be read.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// The journal takes no entry: nothing is given.
    #[error(transparent)]
    Journal(#[from] NoEntry),
    /// The package cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The disk refuses.
    #[error("the export's folder: {0}")]
    Io(#[from] std::io::Error),
    /// What cannot be.
    #[error("{0}")]
    Internal(String),
}

impl Failure for ExportError {
    fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::NoExport(_) | Self::NoCamera(_) | Self::Gone => Kind::NotFound,
            Self::TooMany => Kind::Conflict,
            Self::NoRoom => Kind::Full,
            Self::Index(error) => error.kind(),
            Self::Retrieve(error) => error.kind(),
            Self::Hold(error) => error.kind(),
            Self::Journal(error) => error.kind(),
            Self::Write(WriteError::Io(error)) | Self::Io(error) => Failure::kind(error),
            Self::Write(_) | Self::Internal(_) => Kind::Internal,
        }
    }
}

/// How packages are made and kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A package is destroyed so many days after it was ordered.
    pub days_max: u16,
    /// It is written no faster.
    pub bytes_per_second_max: u64,
    /// Who signs beside the gateway.
    pub authority: Option<Arc<Authority>>,
    /// Bytes of the disk that are left alone.
    pub reserve_bytes: u64,
    /// What the reserve leaves is shared by so many.
    pub tenants: u64,
}

/// An export, and how far it is.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What was ordered.
    pub job: Arc<Job>,
    /// It is being prepared.
    pub preparing: bool,
    /// In percent.
    pub percent: u8,
    /// Bytes that the package has so far.
    pub bytes: u64,
    /// When it is destroyed.
    pub expires: WallTime,
}

/// The exports of all tenants; cheap to clone.
#[derive(Clone, Debug)]
pub struct Exports(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    footage: Footage,
    holds: Holds,
    journals: Journals,
    keys: Keys,
    settings: Settings,
    known: Mutex<BTreeMap<(TenantId, ExportId), Known>>,
    /// Whose export was prepared last: another tenant's comes next.
    last: Mutex<Option<TenantId>>,
    /// One at a time changes what a job is.
    turn: tokio::sync::Mutex<()>,
    wake: Notify,
}

#[derive(Clone, Debug)]
struct Known {
    job: Arc<Job>,
    progress: Arc<Progress>,
    preparing: bool,
    /// It is tried again then: something did not answer.
    not_before: Option<Instant>,
    removed: CancellationToken,
}

impl Known {
    fn new(job: Job) -> Self {
        let (progress, removed) = (Arc::default(), CancellationToken::new());
        Self { job: Arc::new(job), progress, preparing: false, not_before: None, removed }
    }

    fn waits(&self) -> bool {
        self.job.state == State::Ordered && self.not_before.is_none_or(|then| then <= Instant::now())
    }
}

/// Where exports lie.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER)
}

impl Exports {
    /// Those that lie in this folder: what was cut off is begun again, what was being destroyed is destroyed.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn open(
        root: PathBuf,
        footage: Footage,
        holds: Holds,
        (journals, keys): (Journals, Keys),
        settings: Settings,
    ) -> Result<Self, ExportError> {
        let at = root.clone();
        let jobs = blocking(move || {
            platform::create_folders(&at)?;
            let of = |(tenant, id): (TenantId, ExportId)| {
                // One folder holds up no other: [`Self::keep`] destroys what has no job.
                load(&at, &tenant, id).unwrap_or_else(|error| {
                    error!(%error, export = %id, %tenant, "an export's folder cannot be used: it is to be destroyed");
                    None
                })
            };
            Ok(folders(&at)?.into_iter().filter_map(of).collect::<Vec<_>>())
        });
        let jobs = jobs.await?.into_iter();
        let known = jobs.map(|job| ((job.tenant.clone(), job.id), Known::new(job))).collect();
        let (known, last, turn, wake) = (Mutex::new(known), Mutex::default(), Default::default(), Notify::new());
        Ok(Self(Arc::new(Inner { root, footage, holds, journals, keys, settings, known, last, turn, wake })))
    }

    fn root(&self) -> &Path {
        &self.0.root
    }

    fn footage(&self) -> &Footage {
        &self.0.footage
    }

    fn holds(&self) -> &Holds {
        &self.0.holds
    }

    fn journals(&self) -> &Journals {
        &self.0.journals
    }

    fn settings(&self) -> &Settings {
        &self.0.settings
    }

    fn now(&self) -> WallTime {
        self.0.footage.clock.wall()
    }

    /// The key that signs a tenant's packages: it follows from the gateway's, and stays the same.
    fn key(&self, tenant: &TenantId) -> GatewayKey {
        let of = tenant.as_str().as_bytes();
        GatewayKey::new(&self.0.keys.derive("vigie 2026-11 signing key of a tenant's evidence packages", of))
    }

    /// SHA-256 of the key that signs a tenant's packages, for a receipt.
    pub fn fingerprint(&self, tenant: &TenantId) -> String {
        self.key(tenant).fingerprint()
    }

    /// Orders a package. `act` is the order as the journal has it, but for what the request says: it is entered before anything
    /// is done.
    ///
    /// # Errors
    /// [`ExportError::Invalid`] says what to ask instead; [`ExportError::Journal`]: nothing is prepared.
    pub async fn order(&self, request: Request, act: impl FnOnce(Action) -> Draft) -> Result<Shown, ExportError> {
        let now = self.now();
        let request = order::checked(request, now).map_err(ExportError::Invalid)?;
        let cameras = self.cameras_of(&request).await?;
        self.journals().ready(&request.tenant)?;
        let _turn = self.0.turn.lock().await;
        if self.of_tenant(&request.tenant).len() >= EXPORTS_PER_TENANT_MAX {
            return Err(ExportError::TooMany);
        }
        let id = ExportId::generate();
        let Request { tenant, range, hold, reference, reason, recipient, .. } = request;
        let action = Action::PackageOrdered {
            export: id.to_string(),
            reference: reference.clone(),
            hold: hold.map(|hold| hold.to_string()),
        };
        let draft = Draft {
            cameras: cameras.iter().map(|of| of.camera.clone()).collect(),
            range: Some(describe::span(range)),
            reason: Some(reason.clone()),
            recipient: Some(recipient.clone()),
            ..act(action)
        };
        let author = draft.author.clone();
        let entry = self.journals().append(&tenant, draft).await?;
        let (start, end) = (range.start(), range.end());
        let (ordered, state) = (now, State::Ordered);
        let job =
            Job { id, tenant, cameras, start, end, hold, reference, reason, recipient, author, ordered, entry, state };
        self.store(&job).await?;
        let key = (job.tenant.clone(), id);
        self.0.known.lock().insert(key.clone(), Known::new(job));
        self.0.wake.notify_one();
        info!(export = %id, tenant = %key.0, "an evidence package was ordered");
        self.get(&key.0, id).await
    }

    /// The cameras, each with the beginning of what there is.
    async fn cameras_of(&self, request: &Request) -> Result<Vec<OfCamera>, ExportError> {
        let mut cameras = Vec::new();
        for camera in &request.cameras {
            let key = CameraKey { tenant: request.tenant.clone(), camera: camera.clone() };
            if self.footage().index.camera(&key).await?.is_none() {
                return Err(ExportError::NoCamera(key));
            }
            let first = self.first_of(&key, request.range, request.hold).await?;
            cameras.push(OfCamera { camera: camera.clone(), first });
        }
        if let (Some(of), true) = (request.cameras.first(), cameras.iter().all(|of| of.first.is_none())) {
            let camera = CameraKey { tenant: request.tenant.clone(), camera: of.clone() };
            return Err(RetrieveError::NoFootage { camera, range: request.range }.into());
        }
        Ok(cameras)
    }

    fn of_tenant(&self, tenant: &TenantId) -> Vec<Known> {
        let known = self.0.known.lock();
        let of = known.iter().filter(|((of, _), known)| of == tenant && known.job.state != State::Removed);
        of.map(|(_, known)| known.clone()).collect()
    }

    fn known(&self, tenant: &TenantId, id: ExportId) -> Result<Known, ExportError> {
        let known = self.0.known.lock().get(&(tenant.clone(), id)).cloned();
        known.filter(|known| known.job.state != State::Removed).ok_or(ExportError::NoExport(id))
    }

    async fn shown(&self, known: Known) -> Result<Shown, ExportError> {
        let Known { job, progress, preparing, .. } = known;
        let expires = self.must_go_at(&job).await?;
        let percent = match &job.state {
            State::Ready(_) => 100,
            State::Ordered if preparing => progress.percent(&job),
            State::Ordered | State::Failed { .. } | State::Removed => 0,
        };
        Ok(Shown { preparing, percent, bytes: job.package().map_or(progress.bytes(), |of| of.bytes), job, expires })
    }

    /// The tenant's exports, the newest first.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<Shown>, ExportError> {
        let mut all = Vec::new();
        for known in self.of_tenant(tenant) {
            all.push(self.shown(known).await?);
        }
        all.sort_by_key(|shown| std::cmp::Reverse((shown.job.ordered, shown.job.id)));
        Ok(all)
    }

    /// An export of the tenant's.
    ///
    /// # Errors
    /// [`ExportError::NoExport`].
    pub async fn get(&self, tenant: &TenantId, id: ExportId) -> Result<Shown, ExportError> {
        self.shown(self.known(tenant, id)?).await
    }

    /// The package's file, open, and what is cancelled when it is to be handed out no more.
    ///
    /// # Errors
    /// When it is not whole, or its time is over.
    pub async fn package(
        &self,
        tenant: &TenantId,
        id: ExportId,
    ) -> Result<(std::fs::File, CancellationToken), ExportError> {
        let known = self.known(tenant, id)?;
        // Nobody looks just then: what is due is gone for readers at once.
        if self.must_go_at(&known.job).await? <= self.now() {
            return Err(ExportError::NoExport(id));
        }
        let path = Folder::of(self.root(), tenant, id).package();
        let file = blocking(move || match std::fs::File::open(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        });
        Ok((file.await?.ok_or(ExportError::NoExport(id))?, known.removed))
    }

    /// Cancels an export, or destroys its package. `act` is that as the journal has it.
    ///
    /// # Errors
    /// [`ExportError::NoExport`]; [`ExportError::Journal`]: it stays.
    pub async fn remove(
        &self,
        tenant: &TenantId,
        id: ExportId,
        act: impl FnOnce(Action) -> Draft,
    ) -> Result<(), ExportError> {
        let _turn = self.0.turn.lock().await;
        let known = self.known(tenant, id)?;
        let why = if known.job.package().is_some() { "removed" } else { "cancelled" };
        let action = Action::PackageRemoved { export: id.to_string(), why: why.to_owned() };
        let draft = Draft { cameras: known.job.cameras.iter().map(|of| of.camera.clone()).collect(), ..act(action) };
        self.journals().append(tenant, draft).await?;
        self.destroy(&known).await
    }

    /// From here on it is gone: a tombstone is durable first, so that no end of the process brings it back. What the disk refuses is
    /// tried again by [`Self::keep`].
    async fn destroy(&self, known: &Known) -> Result<(), ExportError> {
        let job = Job { state: State::Removed, ..Job::clone(&known.job) };
        let folder = Folder::of(self.root(), &job.tenant, job.id);
        known.removed.cancel();
        self.replace(known, State::Removed);
        self.store(&job).await?;
        blocking(move || folder.destroy()).await?;
        self.0.known.lock().remove(&(job.tenant, job.id));
        Ok(())
    }

    async fn store(&self, job: &Job) -> Result<(), ExportError> {
        let (folder, job) = (Folder::of(self.root(), &job.tenant, job.id), job.clone());
        blocking(move || folder.store(&job)).await
    }
}

/// A job as it is to go on after a start. Blocks.
fn load(root: &Path, tenant: &TenantId, id: ExportId) -> std::io::Result<Option<Job>> {
    let folder = Folder::of(root, tenant, id);
    let job = match folder.load() {
        Ok(job) => job,
        Err(error) => {
            // Nobody can be handed out what nobody knows the end of.
            error!(%error, export = %id, %tenant, "an export's job is damaged: its package is destroyed");
            None
        }
    };
    let job = job.filter(|job| job.state != State::Removed && (&job.tenant, job.id) == (tenant, id));
    let Some(mut job) = job else {
        folder.destroy()?;
        return Ok(None);
    };
    if let Some(package) = job.package() {
        let whole = std::fs::metadata(folder.package()).is_ok_and(|of| of.len() == package.bytes);
        if whole {
            return Ok(Some(job));
        }
        warn!(export = %id, %tenant, "an evidence package is not as it was: it is prepared again");
        job.state = State::Ordered;
    }
    folder.clear()?;
    Ok(Some(job))
}
