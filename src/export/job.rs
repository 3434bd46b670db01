//! An export as it lies on the disk: what was ordered, and how far it is.
//!
//! ```text
//! exports/<tenant>/<export>/job.json           replaced whole
//!                           package.zip.part   grows; begun again after a restart
//!                           package.zip        durable before the job is called ready
//! ```

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use journal::entry::Author;
use serde::{Deserialize, Serialize};

use footage::platform;
use footage::units::{CameraId, CameraKey, ExportId, HoldId, TenantId, TimeRange, WallTime};

/// The longest job that is read, in bytes.
const JOB_BYTES_MAX: u64 = 64 << 20;

/// What was ordered, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: ExportId,
    /// Whose footage.
    pub tenant: TenantId,
    /// Of which cameras, and when the earliest of what there was of each was filmed.
    pub cameras: Vec<OfCamera>,
    /// First instant.
    pub start: WallTime,
    /// First instant after.
    pub end: WallTime,
    /// What this hold keeps, and not the cameras' own timelines.
    pub hold: Option<HoldId>,
    /// The requisition's reference.
    pub reference: String,
    /// Why.
    pub reason: String,
    /// Who receives it.
    pub recipient: String,
    /// Who ordered it.
    pub author: Author,
    /// When.
    pub ordered: WallTime,
    /// The number of its entry in the journal.
    pub entry: u64,
    /// How far it is.
    pub state: State,
}

/// A camera of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfCamera {
    /// Its id.
    pub camera: CameraId,
    /// When the earliest of its footage in the range was filmed, by the right clock as far as that is known; none: there was none.
    pub first: Option<WallTime>,
}

/// How far an export is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It waits for its turn, or is being prepared.
    Ordered,
    /// The package is whole.
    Ready(Package),
    /// It cannot be prepared.
    Failed {
        /// Why.
        why: String,
    },
    /// It is being destroyed.
    Removed,
}

/// A package on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of all of it, in hexadecimal.
    pub sha256: String,
    /// SHA-256 of its manifest.
    pub manifest: String,
    /// SHA-256 of the key that signed it.
    pub key: String,
    /// When it became whole.
    pub at: Timestamp,
    /// When the earliest picture in it was filmed, those that are decoded and not shown too.
    pub earliest: Option<WallTime>,
    /// Where in it which footage lies.
    pub places: Vec<Place>,
}

/// A film in a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its first byte.
    pub from: u64,
    /// The first byte after it.
    pub to: u64,
    /// Whose footage.
    pub camera: CameraId,
    /// From when.
    pub start: WallTime,
    /// To when.
    pub end: WallTime,
}

impl Job {
    /// Of which time.
    pub fn range(&self) -> Option<TimeRange> {
        TimeRange::new(self.start, self.end)
    }

    /// Whether footage of this camera and range may be in its package: what is decoded and not shown, too.
    fn may_show(&self, camera: &CameraId, range: TimeRange) -> bool {
        let earliest = self.package().and_then(|package| package.earliest);
        let whole = TimeRange::new(earliest.map_or(self.start, |earliest| earliest.min(self.start)), self.end);
        self.cameras.iter().any(|of| of.camera == *camera) && whole.is_some_and(|of| of.intersection(&range).is_some())
    }

    /// Its cameras.
    pub fn keys(&self) -> impl Iterator<Item = CameraKey> {
        self.cameras.iter().map(|of| CameraKey { tenant: self.tenant.clone(), camera: of.camera.clone() })
    }

    /// The package, where it is whole.
    pub fn package(&self) -> Option<&Package> {
        match &self.state {
            State::Ready(package) => Some(package),
            State::Ordered | State::Failed { .. } | State::Removed => None,
        }
    }
}

/// An export with footage in it, on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LyingExport {
    /// Which one.
    pub id: ExportId,
    /// The hold that it is of.
    pub hold: Option<HoldId>,
}

/// Exports below this folder that may have footage of the camera and range in them, whatever their state and whether or not anybody
/// prepares and destroys them now; and how many there are of which that is not known. Blocks.
///
/// # Errors
/// When the folder cannot be read.
pub fn lying(root: &Path, key: &CameraKey, range: TimeRange) -> io::Result<(Vec<LyingExport>, usize)> {
    let (mut found, mut unknown) = (Vec::new(), 0);
    for (tenant, id) in folders(root)? {
        let folder = Folder::of(root, &tenant, id);
        if tenant != key.tenant || !(folder.package().try_exists()? || folder.draft().try_exists()?) {
            continue;
        }
        match folder.load() {
            Ok(Some(job)) if job.may_show(&key.camera, range) => found.push(LyingExport { id, hold: job.hold }),
            Ok(Some(_)) => {}
            // It may have gone meanwhile.
            Ok(None) | Err(_) => unknown += usize::from(folder.package().try_exists()? || folder.draft().try_exists()?),
        }
    }
    Ok((found, unknown))
}

/// Where an export lies.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn of(root: &Path, tenant: &TenantId, id: ExportId) -> Self {
        Self(root.join(tenant.as_str()).join(id.to_string()))
    }

    pub(super) fn package(&self) -> PathBuf {
        self.0.join("package.zip")
    }

    pub(super) fn draft(&self) -> PathBuf {
        self.0.join("package.zip.part")
    }

    fn job(&self) -> PathBuf {
        self.0.join("job.json")
    }

    /// Makes the job durable. Blocks.
    pub(super) fn store(&self, job: &Job) -> io::Result<()> {
        platform::create_folders(&self.0)?;
        let draft = self.0.join("job.json.new");
        remove(&draft)?;
        let file = platform::create_new(&draft)?;
        platform::write_all(&file, &serde_json::to_vec(job)?)?;
        platform::sync_data(&file)?;
        platform::rename(&draft, &self.job())?;
        platform::sync_name(&self.job())
    }

    /// The job as it was stored last; `None` where its first one was not. Blocks.
    pub(super) fn load(&self) -> io::Result<Option<Job>> {
        match std::fs::metadata(self.job()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
            Ok(of) if of.len() > JOB_BYTES_MAX => return Err(io::ErrorKind::InvalidData.into()),
            Ok(_) => {}
        }
        Ok(Some(serde_json::from_slice(&std::fs::read(self.job())?)?))
    }

    /// Removes what was begun of the package. Blocks.
    pub(super) fn clear(&self) -> io::Result<()> {
        platform::remove_durably(&self.draft())?;
        platform::remove_durably(&self.package())
    }

    /// Removes everything, the footage first, and what another put there too. Blocks.
    pub(super) fn destroy(&self) -> io::Result<()> {
        if !self.0.try_exists()? {
            return Ok(());
        }
        self.clear()?;
        platform::remove_durably(&self.0.join("job.json.new"))?;
        platform::remove_durably(&self.job())?;
        match std::fs::remove_dir_all(&self.0) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match platform::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The folders of all exports: of tenants that are configured no more too. Blocks.
pub(super) fn folders(root: &Path) -> io::Result<Vec<(TenantId, ExportId)>> {
    let mut found = Vec::new();
    let names = |folder: &Path| -> io::Result<Vec<String>> {
        match std::fs::read_dir(folder) {
            Ok(names) => names.map(|name| Ok(name?.file_name().to_string_lossy().into_owned())).collect(),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    };
    for tenant in names(root)? {
        let Ok(of) = tenant.parse::<TenantId>() else { continue };
        let ids = names(&root.join(&tenant))?;
        found.extend(ids.iter().filter_map(|id| Some((of.clone(), id.parse().ok()?))));
    }
    Ok(found)
}
