//! Opening: lock, index, keys, stores, and what is known of each.
//!
//! Invariant: nothing that is missing, damaged or another is replaced without an error in the log and an event; what is put
//! in its place for the time being has a name of its own, and recording goes on.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::Date;
use journal::stamp::Authorities;
use parking_lot::Mutex;
use parking_lot::RwLock;
use tracing::{error, info, warn};

use super::{GatewayError, camera_rows};
use crate::archive::Archive;
use crate::config::Config;
use crate::event::words::Language;
use crate::event::{Event, Fact, Scope};
use crate::index::examine::{self, Belongings, Companion, Condition};
use crate::index::identity::Kind;
use crate::index::{Change, Index, IndexError, snapshot};
use crate::journals::stamping::{self, Stamping};
use crate::policy::CameraPolicy;
use crate::spool::Spool;
use crate::store::Store;
use crate::store::identity::{Identified, NotKnown};
use footage::clock::{Clock, SystemClock};
use footage::keys::vault::Vault;
use footage::keys::vault::master::{self, Master};
use footage::keys::{Keys, KeysError};
use footage::platform;
use footage::signing::Anchors;
use footage::units::{CameraKey, Ticks90k, WallTime};

/// What reads footage: the gateway itself, and the commands beside it.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The index.
    pub index: Index,
    /// The spool; not started.
    pub spool: Spool,
    /// The store.
    pub store: Store,
    /// All packs.
    pub packs: Archive,
    /// The machine's clocks.
    pub clock: Arc<dyn Clock>,
    /// The gateway's secret.
    pub keys: Keys,
    /// How long each camera's footage is kept.
    pub(super) policies: Policies,
}

/// Each camera's policy: a reload replaces them.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies(Arc<RwLock<HashMap<CameraKey, CameraPolicy>>>);

impl Policies {
    pub(super) fn replace(&self, config: &Config) {
        *self.0.write() = config.policies().into_iter().map(|policy| (policy.camera.clone(), policy)).collect();
    }

    fn key_day(&self, camera: &CameraKey, start: WallTime) -> Option<Date> {
        self.0.read().get(camera)?.key_day(start)
    }
}

/// A camera that used another store so long ago has no packs there any more, but for holds.
const STORE_USED_MAX: Ticks90k = Ticks90k(33 * footage::units::TICKS_PER_DAY);

/// Where the index lies.
pub fn index_path(config: &Config) -> PathBuf {
    config.data_dir.join("index.sqlite")
}

/// Opens what footage is read through. Read-only beside a gateway that may be running; otherwise the folders, the secret
/// and the stores' markers are made where there were none.
pub async fn open(config: &Config, read_only: bool) -> Result<Opened, GatewayError> {
    if !read_only {
        let (opened, beside) = open_for_gateway(config).await?;
        for id in opened.store.ids() {
            if let Err(error) = beside.identify(&opened, id).await {
                error!("{error}");
            }
        }
        // A command is no run of a gateway: the next one must not look for the log that this one's end puts into the index.
        beside.closed().await;
        return Ok(opened);
    }
    let index = Index::open_read_only(&index_path(config)).await?;
    let belongings = belongings(&index, Companion::load(&Companion::path(&config.data_dir))).await?;
    let policies = Policies::default();
    let (keys, store, clock) = parts_with(config, &belongings, &policies)?;
    expect_former(&index, &store, clock.wall()).await?;
    Ok(assembled(config, index, (keys, store, clock), policies))
}

fn assembled(
    config: &Config,
    index: Index,
    (keys, store, clock): (Keys, Store, Arc<dyn Clock>),
    policies: Policies,
) -> Opened {
    let spool = Spool::new(&config.spool_dir, store.clone(), index.clone(), clock.clone(), keys.clone());
    let spool = spool.holding_at_most(config.unwritten_bytes_max);
    let packs = Archive::new(spool.clone(), store.clone());
    Opened { index, spool, store, packs, clock, keys, policies }
}

/// The same for a gateway that is to run: looks at the index first, and says what is wrong with it and with the key.
pub(super) async fn open_for_gateway(config: &Config) -> Result<(Opened, Beside), GatewayError> {
    let (path, data_dir) = (index_path(config), config.data_dir.clone());
    let clock = SystemClock::default();
    let at = clock.wall();
    let prepared = platform::spawn_blocking(move || prepare(&path, &data_dir, at)).await;
    let (condition, companion) = prepared.unwrap_or(Err(GatewayError::Index(IndexError::Stopped)))?;
    let index = Index::open(&index_path(config)).await?;
    let known = belongings(&index, companion.clone()).await?;
    let policies = Policies::default();
    let (keys, store, clock) = parts_with(config, &known, &policies)?;
    expect_former(&index, &store, clock.wall()).await?;
    let opened = assembled(config, index, (keys, store, clock), policies);
    let beside = Beside::begin(config, &opened, condition, companion, &known).await?;
    Ok((opened, beside))
}

/// Looks at the index, and puts one that is damaged aside; what it knows beside packs, or the last snapshot does, is taken over.
fn prepare(path: &Path, data_dir: &Path, at: WallTime) -> Result<(Condition, Option<Companion>), GatewayError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| GatewayError::Io { path, source }
    };
    let companion = Companion::load(&Companion::path(data_dir));
    let condition = examine::examine(path, companion.as_ref())?;
    let mut sources = vec![snapshot::path(data_dir)];
    match &condition {
        Condition::New | Condition::Sound | Condition::Older { .. } | Condition::Other => {
            return Ok((condition, companion));
        }
        Condition::Missing => {
            for left in [examine::log_of(path), path.to_owned()].into_iter().filter(|left| left.exists()) {
                std::fs::remove_file(&left).map_err(io(&left))?;
            }
        }
        Condition::Damaged(_) => {
            let suffix = format!(".damaged-{}", at.to_timestamp().strftime("%Y%m%dT%H%M%SZ"));
            let kept = examine::put_aside(path, &suffix).map_err(io(path))?;
            error!(kept = %kept.display(), "{}: it is kept under another name", condition.what());
            sources.insert(0, kept);
        }
    }
    sources.retain(|source| source.exists());
    for (source, carried) in examine::begin_from(path, &sources)? {
        match carried {
            Ok(carried) => info!(
                from = %source.display(),
                events = carried.events,
                deletions = carried.deletions,
                gaps = carried.gaps,
                cut_off = carried.cut_off.map(|e| e.to_string()),
                "took over what packs do not tell"
            ),
            Err(error) => warn!(from = %source.display(), %error, "nothing could be taken over"),
        }
    }
    Ok((condition, companion))
}

/// What the index says that this gateway belongs to; what it does not say, the file beside it does.
async fn belongings(index: &Index, companion: Option<Companion>) -> Result<Belongings, IndexError> {
    let mut known = companion.map(|companion| companion.belongings()).unwrap_or_default();
    for (name, id) in index.identities(Kind::Store).await? {
        if let Ok(id) = id.try_into() {
            known.stores.insert(name, footage::units::StoreUid(id));
        }
    }
    if let Some(Ok(id)) = index.identities(Kind::GatewayKey).await?.remove("").map(TryInto::try_into) {
        known.gateway_key = Some(footage::units::Fingerprint(id));
    }
    Ok(known)
}

/// Stores that cameras used and that the configuration does not name any more: nothing is called absent because of that.
async fn expect_former(index: &Index, store: &Store, now: WallTime) -> Result<(), IndexError> {
    let used = index.stores_used(now.saturating_sub(STORE_USED_MAX)).await?;
    let named: Vec<String> = store.ids().map(|id| store.name(id).to_owned()).collect();
    let gone = used.into_iter().filter_map(|(camera, mut stores)| {
        stores.retain(|name| !named.contains(name));
        (!stores.is_empty()).then_some((camera, stores))
    });
    store.expect_elsewhere(gone.collect());
    Ok(())
}

/// What does not need the index.
pub fn parts(config: &Config, known: &Belongings) -> Result<(Keys, Store, Arc<dyn Clock>), GatewayError> {
    parts_with(config, known, &Policies::default())
}

fn parts_with(
    config: &Config,
    known: &Belongings,
    policies: &Policies,
) -> Result<(Keys, Store, Arc<dyn Clock>), GatewayError> {
    let shared = config.tenants.iter().filter_map(|tenant| Some((tenant.id.clone(), tenant.dedup_domain.clone()?)));
    let keys = Keys::open(&gateway_key(config), known.gateway_key)?.with_domains(shared);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let vault = vault(config)?;
    let store = Store::of_config(config, &clock, vault.as_ref().map(|_| keys.names()).as_ref())?;
    store.expect(&known.stores, Some(keys.fingerprint()));
    let Some(vault) = vault else { return Ok((keys, store, clock)) };
    policies.replace(config);
    let policies = policies.clone();
    let key_day = move |camera: &CameraKey, start: WallTime| policies.key_day(camera, start);
    Ok((keys.with_vault(vault, Arc::new(key_day)), store, clock))
}

/// The file of the gateway's key.
pub fn gateway_key(config: &Config) -> PathBuf {
    config.data_dir.join("keys").join("gateway.key")
}

/// The folder of tenant and day keys, and the file of the master key that Vigie makes where none is given.
pub fn key_places(config: &Config) -> (PathBuf, PathBuf) {
    let keys = config.data_dir.join("keys");
    (keys.join("packs"), keys.join("master.key"))
}

/// The keys of encrypted packs, where a store is encrypted, or one was.
pub fn vault(config: &Config) -> Result<Option<Vault>, GatewayError> {
    let (folder, own) = key_places(config);
    if !folder.is_dir() && !config.stores.iter().any(|store| store.encrypt) {
        return Ok(None);
    }
    let given = [&config.master_keys.current, &config.master_keys.previous].into_iter().flatten();
    let mut masters = given.map(Master::from_hex).collect::<Result<Vec<_>, _>>()?;
    if masters.is_empty() {
        let (opened, trouble) = master::open(&own, &folder)?;
        masters = opened;
        if let Some(trouble) = trouble {
            let vault = Vault::open(&folder, masters);
            vault.note_trouble(&trouble);
            return Ok(Some(vault));
        }
    } else {
        // What Vigie's own wrapped before one was given.
        masters.extend(master::load(&own)?.into_iter().flatten());
    }
    Ok(Some(Vault::open(&folder, masters)))
}

/// Keeps a second gateway out of the data folder for as long as the file is held.
pub fn lock(config: &Config) -> Result<File, GatewayError> {
    let io = |path: &PathBuf| {
        let path = path.clone();
        move |source| GatewayError::Io { path, source }
    };
    std::fs::create_dir_all(&config.data_dir).map_err(io(&config.data_dir))?;
    let path = config.data_dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(GatewayError::InUse(config.data_dir.clone())),
        Err(std::fs::TryLockError::Error(source)) => Err(GatewayError::Io { path, source }),
    }
}

/// What is kept beside the index: its generation, and what it belongs to. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Beside(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    companion: Mutex<Companion>,
    pub(super) condition: Condition,
}

impl Beside {
    /// The index and the file beside it agree from now on; what was wrong is an event.
    async fn begin(
        config: &Config,
        opened: &Opened,
        condition: Condition,
        before: Option<Companion>,
        known: &Belongings,
    ) -> Result<Self, GatewayError> {
        let index = &opened.index;
        let stored = index.identities(Kind::Index).await?.remove("");
        let id = stored.clone().unwrap_or_else(|| platform::random::<[u8; 16]>().to_vec());
        let last = index.identities(Kind::Generation).await?.remove("");
        let last = last.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
        let generation = last.max(before.as_ref().map_or(0, |before| before.generation));
        let mut changes = Vec::new();
        if stored.is_none() {
            changes.push(Change::Identify { kind: Kind::Index, name: String::new(), id: Some(id.clone()) });
        }
        for (name, uid) in &known.stores {
            let (kind, name) = (Kind::Store, name.clone());
            changes.push(Change::Identify { kind, name, id: Some(uid.0.to_vec()) });
        }
        // A substitute is nobody's key.
        let key = match opened.keys.trouble() {
            None => Some(opened.keys.fingerprint()),
            Some(_) => known.gateway_key,
        };
        if let Some(key) = key {
            let (kind, name) = (Kind::GatewayKey, String::new());
            changes.push(Change::Identify { kind, name, id: Some(key.0.to_vec()) });
        }
        changes.extend(report(opened, &condition));
        index.write(changes).await?;
        let companion = Companion {
            index: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            generation,
            gateway_key: key.map(|key| key.to_string()),
            stores: known.stores.iter().map(|(name, uid)| (name.clone(), uid.to_string())).collect(),
            running: true,
        };
        let path = Companion::path(&config.data_dir);
        let beside = Self(Arc::new(Inner { path, companion: Mutex::new(companion), condition }));
        beside.next_generation(index).await?;
        Ok(beside)
    }

    /// What was found of the index at the start.
    pub(super) fn condition(&self) -> &Condition {
        &self.0.condition
    }

    /// Whether a store of this name was used before.
    pub(super) fn knows(&self, store: &str) -> bool {
        let companion = self.0.companion.lock();
        companion.stores.contains_key(store)
    }

    /// Another generation: an index that lacks it is an older one.
    pub(super) async fn next_generation(&self, index: &Index) -> Result<(), GatewayError> {
        let generation = {
            let mut companion = self.0.companion.lock();
            companion.generation += 1;
            companion.generation
        };
        let id = Some(generation.to_be_bytes().to_vec());
        index.write(vec![Change::Identify { kind: Kind::Generation, name: String::new(), id }]).await?;
        self.save().await
    }

    /// The index is closed in order: its log is in the file.
    pub(super) async fn closed(&self) {
        self.0.companion.lock().running = false;
        if let Err(error) = self.save().await {
            warn!(%error, "the end of this run could not be kept: the next start checks the index");
        }
    }

    async fn save(&self) -> Result<(), GatewayError> {
        let this = self.clone();
        let saved = platform::spawn_blocking(move || {
            let companion = this.0.companion.lock();
            companion.save(&this.0.path)
        });
        let saved = saved.await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        saved.map_err(|source| GatewayError::Io { path: self.0.path.clone(), source })
    }

    /// Looks whether a store is the known one, and tells the index where that changes. Nothing is stored, deleted or called
    /// absent there before.
    pub(super) async fn identify(
        &self,
        opened: &Opened,
        id: crate::store::StoreId,
    ) -> Result<Identified, Unidentified> {
        let identified = opened.store.identify(id).await?;
        let (name, uid) = (opened.store.name(id).to_owned(), identified.uid());
        let store = Some(name.clone());
        let reported = match identified {
            Identified::Same(_) => None,
            Identified::New(_) => Some(Fact::StoreNew { store }),
            Identified::Found(_) => Some(Fact::StoreFound { store }),
            Identified::Replaced { .. } => Some(Fact::StoreReplaced { store }),
        };
        if let Some(fact) = reported {
            warn!(store = %name, %uid, "{}", fact.words(Language::English));
            let identify = Change::Identify { kind: Kind::Store, name: name.clone(), id: Some(uid.0.to_vec()) };
            let event = Change::Event(Event::of_gateway(opened.clock.wall(), fact));
            opened.index.write(vec![identify, event]).await?;
        }
        let is_new = {
            let mut companion = self.0.companion.lock();
            companion.stores.insert(name, uid.to_string()) != Some(uid.to_string())
        };
        if is_new {
            self.save().await.map_err(|e| Unidentified::Beside(e.to_string()))?;
        }
        opened.store.know(id, uid);
        Ok(identified)
    }
}

/// Why a store cannot be used now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unidentified {
    /// It is not the known one.
    #[error(transparent)]
    NotKnown(#[from] NotKnown),
    /// The index did not take its id.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The file beside the index did not.
    #[error("{0}")]
    Beside(String),
}

/// What was wrong at the start, in the log and as events.
fn report(opened: &Opened, condition: &Condition) -> Vec<Change> {
    let of_index = match condition {
        Condition::New | Condition::Sound => None,
        Condition::Missing => Some(Fact::IndexMissing),
        Condition::Damaged(_) => Some(Fact::IndexDamaged),
        Condition::Older { .. } => Some(Fact::IndexOlder),
        Condition::Other => Some(Fact::IndexOther),
    };
    if let Some(fact) = &of_index {
        error!(kind = fact.kind(), what = %condition.what(), "{}", fact.words(Language::English));
    }
    let of_key = opened.keys.trouble().map(|trouble| {
        let fact = match trouble {
            KeysError::Missing { .. } => Fact::GatewayKeyMissing,
            KeysError::Other { .. } => Fact::GatewayKeyOther,
            KeysError::Permissions { .. } => Fact::GatewayKeyOpen,
            KeysError::WrongLength { .. } | KeysError::Io { .. } => Fact::GatewayKeyDamaged,
        };
        error!(kind = fact.kind(), "{trouble}");
        fact
    });
    let at = opened.clock.wall();
    of_index.into_iter().chain(of_key).map(|fact| Change::Event(Event::of_gateway(at, fact))).collect()
}

/// What lasted when the gateway stopped and is over now is an event, which ends its alarm.
pub(super) async fn end_what_is_over(opened: &Opened) -> Result<(), IndexError> {
    let (index, at) = (&opened.index, opened.clock.wall());
    let pending: Vec<CameraKey> = index.pending_policies().await?.into_iter().map(|pending| pending.camera).collect();
    let over = index.open_alarms().await?.into_iter().filter(|alarm| alarm.ended.is_none()).filter_map(|alarm| {
        let scope = alarm.event.scope;
        let fact = match (alarm.event.fact, &scope) {
            (fact, _) if fact.is_of_gateway_key() && opened.keys.trouble().is_none() => Fact::GatewayKeyKnown,
            (Fact::RetentionChange { .. }, Scope::Camera(camera)) if !pending.contains(camera) => {
                Fact::RetentionChangeWithdrawn
            }
            _ => return None,
        };
        info!("{}", fact.words(Language::English));
        Some(Change::Event(Event::new(at, scope, fact)))
    });
    let over: Vec<Change> = over.collect();
    if over.is_empty() { Ok(()) } else { index.write(over).await }
}

/// The configuration's cameras for an index that may know stricter or laxer bounds.
pub(super) async fn configure(config: &Config, opened: &Opened) -> Result<(), GatewayError> {
    let (index, now) = (&opened.index, opened.clock.wall());
    let rows = camera_rows(config);
    let before = index.all_cameras().await?;
    let at = now.saturating_add(Ticks90k::from_duration(config.retention.change));
    let mut changes = vec![Change::ConfigureFrom { cameras: rows.clone(), at }];
    changes.extend(config.policies().into_iter().map(|policy| Change::UsesStore {
        camera: policy.camera,
        store: policy.store,
        at: now,
    }));
    for gone in before.iter().filter(|row| row.configured && !rows.iter().any(|now| now.key == row.key)) {
        let fact = Fact::CameraRemoved { max_hours: gone.retention_max.to_duration().as_secs() / 3_600 };
        warn!(camera = %gone.key, "{}", fact.words(Language::English));
        changes.push(Change::Event(Event::of_camera(now, &gone.key, fact)));
    }
    index.write(changes).await?;
    announce_pending(config, opened, now).await?;
    Ok(end_what_is_over(opened).await?)
}

/// Says of each bound that waits what it will destroy, and when.
async fn announce_pending(config: &Config, opened: &Opened, now: WallTime) -> Result<(), GatewayError> {
    let margins: HashMap<CameraKey, CameraPolicy> =
        config.policies().into_iter().map(|policy| (policy.camera.clone(), policy)).collect();
    let mut events = Vec::new();
    for pending in opened.index.pending_policies().await? {
        let margin = margins.get(&pending.camera).map_or(Ticks90k::ZERO, CameraPolicy::margin);
        let horizon = pending.at.max(now).saturating_add(margin);
        let last = crate::policy::due_until(horizon, pending.retention_max, &config.time_zone);
        let goes = opened.index.extent_until(&pending.camera, last).await?;
        let max_hours = pending.retention_max.to_duration().as_secs() / 3_600;
        let fact = Fact::RetentionChange { max_hours, from: pending.at, packs: goes.packs, bytes: goes.bytes };
        warn!(camera = %pending.camera, "{}", fact.words(Language::English));
        events.push(Change::Event(Event::of_camera(now, &pending.camera, fact)));
    }
    if !events.is_empty() {
        opened.index.write(events).await?;
    }
    Ok(())
}

/// Says when another version of Vigie recorded last.
pub(super) async fn note_version(index: &Index, now: WallTime, version: &str) -> Result<(), IndexError> {
    let last = index.identities(Kind::Version).await?.remove("");
    if last.as_deref() == Some(version.as_bytes()) {
        return Ok(());
    }
    let id = Some(version.as_bytes().to_vec());
    let mut changes = vec![Change::Identify { kind: Kind::Version, name: String::new(), id }];
    if let Some(last) = last {
        let fact = Fact::Upgraded { from: String::from_utf8_lossy(&last).into_owned(), to: version.to_owned() };
        info!("{}", fact.words(Language::English));
        changes.push(Change::Event(Event::of_gateway(now, fact)));
    }
    index.write(changes).await
}

/// Who says which cameras sign.
pub fn signing_anchors(config: &Config) -> Result<Anchors, GatewayError> {
    let Some(path) = &config.signing_ca_file else { return Ok(Anchors::default()) };
    let failed = |source| GatewayError::Io { path: path.clone(), source };
    let pem = std::fs::read(path).map_err(failed)?;
    Anchors::from_pem(&pem).map_err(|bad| failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, bad)))
}

/// Whose time stamps of checkpoints are believed; `None` where none are asked for.
pub fn time_stamp_roots(config: &Config) -> Result<Option<Authorities>, GatewayError> {
    let Some(of) = &config.time_stamps else { return Ok(None) };
    let Some(path) = &of.ca_file else { return Ok(Some(stamping::trusted())) };
    let failed = |source| GatewayError::Io { path: path.clone(), source };
    let pem = std::fs::read(path).map_err(failed)?;
    let roots = Authorities::from_pem(&pem);
    roots.map(Some).map_err(|bad| failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, bad)))
}

/// Who stamps checkpoints of journals.
pub(super) fn time_stamps(config: &Config) -> Result<Option<Stamping>, GatewayError> {
    let (of, roots) = (config.time_stamps.clone(), time_stamp_roots(config)?);
    Ok(of.zip(roots).map(|(of, roots)| Stamping::new(of.url, of.every, roots)))
}
