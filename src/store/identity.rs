//! A store's identity: a marker object with a random id, written at first use and known to the index.
//!
//! ```text
//! {prefix}/vigie-store.json   {"vigie_store":1,"id":"…","replaces":["…"],"gateway_key":"…"}
//! ```
//!
//! Invariants: a marker is created where there is none, and only where the index knows no store of that name; it is
//! never replaced by the gateway. Absence is concluded only from a store whose marker was read and is the known one:
//! an unmounted disk, an empty bucket and an answer of something between are errors.
//! Absent on purpose: what to do about it. The gateway reports, and looks again.

use std::time::Duration;

use object_store::{Error, GetOptions, PutMode, PutOptions, PutPayload};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::bucket::Bucket;
use super::s3::without_secrets;
use footage::failure::{Failure, Kind};
use footage::units::{Fingerprint, StoreUid};

/// Name of the marker under the prefix.
pub const MARKER: &str = "vigie-store.json";
/// Version of what is in it.
const FORMAT: u32 = 1;
/// A marker is smaller.
const MARKER_BYTES_MAX: u64 = 16 * 1024;
/// Former ids that a marker names at most.
const REPLACES_MAX: usize = 64;

/// How long an answer about a store elsewhere counts; each further look costs one request.
pub(super) const RECENT: Duration = Duration::from_secs(30);
/// The same for a local directory, where a look is a small file.
pub(super) const RECENT_LOCAL: Duration = Duration::from_millis(500);

/// Why a store is not the one that the index knows. Nothing is deleted, uploaded, checked or called absent there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKnown {
    /// It has not answered since the start.
    #[error("store {store} has not been identified yet")]
    NotYet {
        /// Its name in the configuration.
        store: String,
    },
    /// It does not answer.
    #[error("store {store} does not answer ({what}): packs stay in the spool; check the network and the server")]
    Away {
        /// Its name in the configuration.
        store: String,
        /// The error.
        what: String,
    },
    /// It does not let us in.
    #[error("store {store} refuses its credentials ({what}): see to the access key; packs stay in the spool")]
    Refused {
        /// Its name in the configuration.
        store: String,
        /// The error.
        what: String,
    },
    /// It answers, and has no marker.
    #[error(
        "store {store} has no {MARKER}, and the index knows it as {want}: is the disk mounted, is it the right folder, bucket \
         and prefix? Packs stay in the spool, nothing is deleted. If it is a new, empty store on purpose, run \
         `vigie store adopt {store}`"
    )]
    NoMarker {
        /// Its name in the configuration.
        store: String,
        /// The id that the index knows.
        want: StoreUid,
    },
    /// It has no marker, and the index knows none either.
    #[error("store {store} has no {MARKER} yet: the gateway writes it when it first runs")]
    New {
        /// Its name in the configuration.
        store: String,
    },
    /// It has another marker.
    #[error(
        "store {store} is {found}, and the index knows {want}: it is another folder, bucket or prefix. Packs stay in the spool, \
         nothing is deleted. Mount or name the right one; if this one takes its place on purpose, run \
         `vigie store adopt {store} --id {found}`"
    )]
    Other {
        /// Its name in the configuration.
        store: String,
        /// The id that the index knows.
        want: StoreUid,
        /// The id in the marker.
        found: StoreUid,
    },
    /// It has something else under the marker's name.
    #[error(
        "store {store}: {MARKER} is not a marker ({what}): is it a proxy that answers, or another server? Packs stay in the \
         spool, nothing is deleted"
    )]
    Unreadable {
        /// Its name in the configuration.
        store: String,
        /// What is wrong with it.
        what: String,
    },
    /// Its footage was written under another gateway key.
    #[error(
        "store {store} belongs to gateway key {want}, and this gateway has {found}: restore gateway.key from its backup and \
         restart. Packs stay in the spool, nothing is deleted"
    )]
    OtherKey {
        /// Its name in the configuration.
        store: String,
        /// The key in the marker.
        want: Fingerprint,
        /// The key in use.
        found: Fingerprint,
    },
    /// Packs may lie in a store that the configuration no longer names.
    #[error(
        "store {store}, where packs of {camera} may lie, is not in the configuration: name it in [[store]], or run \
         `vigie store forget {store}` if it is gone for good"
    )]
    NotConfigured {
        /// Its name.
        store: String,
        /// Whose packs.
        camera: String,
    },
}

impl Failure for NotKnown {
    fn kind(&self) -> Kind {
        match self {
            Self::NotYet { .. } | Self::Away { .. } | Self::New { .. } => Kind::Retry,
            Self::Refused { .. } | Self::OtherKey { .. } => Kind::Denied,
            Self::NoMarker { .. } => Kind::NotFound,
            Self::Other { .. } | Self::Unreadable { .. } => Kind::Conflict,
            Self::NotConfigured { .. } => Kind::Invalid,
        }
    }
}

impl NotKnown {
    /// The kind of event.
    pub fn event_kind(&self) -> &'static str {
        match self {
            Self::NotYet { .. } | Self::New { .. } => "store_not_identified",
            Self::Away { .. } => "store_unreachable",
            Self::Refused { .. } => "store_refused",
            Self::NoMarker { .. } => "store_missing",
            Self::Other { .. } => "store_other",
            Self::Unreadable { .. } => "store_unreadable",
            Self::OtherKey { .. } => "store_other_key",
            Self::NotConfigured { .. } => "store_not_configured",
        }
    }
}

impl From<NotKnown> for Error {
    fn from(not_known: NotKnown) -> Self {
        Self::Generic { store: "identity", source: Box::new(not_known) }
    }
}

/// What is in the marker object. Nothing of tenants or cameras.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    vigie_store: u32,
    id: String,
    /// Ids of stores whose place it takes on purpose.
    #[serde(default)]
    replaces: Vec<String>,
    /// Fingerprint of the key under which fragments are identified.
    #[serde(default)]
    gateway_key: Option<String>,
}

/// What identifying a store came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identified {
    /// It is the one that the index knows.
    Same(StoreUid),
    /// It is new, and has its marker now.
    New(StoreUid),
    /// It has a marker, and the index knew none: it was in use before.
    Found(StoreUid),
    /// An operator put it in the place of the one that the index knows.
    Replaced {
        /// Its id.
        now: StoreUid,
        /// The one before.
        before: StoreUid,
    },
}

impl Identified {
    /// Its id.
    pub fn uid(self) -> StoreUid {
        match self {
            Self::Same(uid) | Self::New(uid) | Self::Found(uid) | Self::Replaced { now: uid, .. } => uid,
        }
    }
}

/// What one store is expected to be, and what it was when it was looked at last. Without an expectation, any store will
/// do: tools and tests that know no index.
#[derive(Debug, Default)]
pub(super) struct Identity(Mutex<Option<Expected>>);

#[derive(Clone, Debug)]
struct Expected {
    want: Option<StoreUid>,
    key: Option<Fingerprint>,
    last: Option<(Instant, Result<(), NotKnown>)>,
}

impl Identity {
    fn lock(&self) -> MutexGuard<'_, Option<Expected>> {
        self.0.lock()
    }

    pub(super) fn expect(&self, want: Option<StoreUid>, key: Option<Fingerprint>) {
        *self.lock() = Some(Expected { want, key, last: None });
    }
}

impl Bucket {
    /// Whether it is the known store, by an answer no older than this.
    pub(super) async fn ensure_known(&self, within: Duration) -> Result<(), NotKnown> {
        let Some(expected) = self.identity().lock().clone() else { return Ok(()) };
        if let Some((at, Ok(()))) = &expected.last
            && at.elapsed() < within
        {
            return Ok(());
        }
        match self.look(&expected).await? {
            // Once the index knows it.
            Identified::Replaced { .. } => Err(NotKnown::NotYet { store: self.name().to_owned() }),
            _ => Ok(()),
        }
    }

    /// The same by an answer that may be a little old.
    pub(super) async fn ensure_known_recently(&self) -> Result<(), NotKnown> {
        self.ensure_known(if self.local_root().is_some() { RECENT_LOCAL } else { RECENT }).await
    }

    /// What it was when it was looked at last.
    pub(super) fn standing(&self) -> Result<(), NotKnown> {
        match &*self.identity().lock() {
            None => Ok(()),
            Some(Expected { last: Some((_, last)), .. }) => last.clone(),
            Some(Expected { last: None, .. }) => Err(NotKnown::NotYet { store: self.name().to_owned() }),
        }
    }

    async fn look(&self, expected: &Expected) -> Result<Identified, NotKnown> {
        let outcome = self.compare_marker(expected).await;
        let mut now = self.identity().lock();
        if let Some(now) = now.as_mut().filter(|now| now.want == expected.want) {
            // One that replaces another is known once the index says so.
            let known = match &outcome {
                Ok(Identified::Replaced { .. }) => Err(NotKnown::NotYet { store: self.name().to_owned() }),
                Ok(_) => Ok(()),
                Err(e) => Err(e.clone()),
            };
            now.last = Some((Instant::now(), known));
        }
        outcome
    }

    async fn compare_marker(&self, expected: &Expected) -> Result<Identified, NotKnown> {
        let store = || self.name().to_owned();
        let Some((uid, marker)) = self.read_marker().await? else {
            return Err(match expected.want {
                Some(want) => NotKnown::NoMarker { store: store(), want },
                None => NotKnown::New { store: store() },
            });
        };
        let replaces = |before: &StoreUid| marker.replaces.contains(&before.to_string());
        let identified = match expected.want {
            None => Identified::Found(uid),
            Some(want) if want == uid => Identified::Same(uid),
            Some(before) if replaces(&before) => Identified::Replaced { now: uid, before },
            Some(want) => return Err(NotKnown::Other { store: store(), want, found: uid }),
        };
        let of_key = marker.gateway_key.as_ref().and_then(|key| key.parse::<Fingerprint>().ok());
        match (of_key, expected.key) {
            (Some(want), Some(found)) if want != found => Err(NotKnown::OtherKey { store: store(), want, found }),
            _ => Ok(identified),
        }
    }

    /// `None` where there is none, which an answer that may be wrong says too.
    async fn read_marker(&self) -> Result<Option<(StoreUid, Marker)>, NotKnown> {
        let store = || self.name().to_owned();
        let away = |e| self.not_there(e);
        let unreadable = |what: String| NotKnown::Unreadable { store: store(), what };
        let got = match self.objects().get_opts(&self.marker_path(), GetOptions::default()).await {
            Ok(got) if got.meta.size > MARKER_BYTES_MAX => {
                return Err(unreadable(format!("it has {} bytes", got.meta.size)));
            }
            Ok(got) => got,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(away(e)),
        };
        let bytes = got.bytes().await.map_err(away)?;
        let marker: Marker = serde_json::from_slice(&bytes).map_err(|_| unreadable("it is not JSON of one".into()))?;
        if marker.vigie_store != FORMAT {
            return Err(unreadable(format!("it has format {}, this Vigie knows {FORMAT}", marker.vigie_store)));
        }
        let uid = marker.id.parse().map_err(|_| unreadable("its id is not one".into()))?;
        Ok(Some((uid, marker)))
    }

    fn not_there(&self, e: Error) -> NotKnown {
        let (store, refused) =
            (self.name().to_owned(), matches!(e, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }));
        let what = without_secrets(e).to_string();
        if refused { NotKnown::Refused { store, what } } else { NotKnown::Away { store, what } }
    }

    fn marker_path(&self) -> object_store::path::Path {
        self.prefix().clone().join(MARKER)
    }

    /// Looks, and writes the marker where neither the place nor the index has one.
    pub(super) async fn identify(&self) -> Result<Identified, NotKnown> {
        let expected = self.identity().lock().clone();
        let expected = expected.unwrap_or(Expected { want: None, key: None, last: None });
        match self.look(&expected).await {
            Err(NotKnown::New { .. }) => {}
            outcome => return outcome,
        }
        let store = || self.name().to_owned();
        if let Some(root) = self.local_root() {
            std::fs::create_dir_all(root)
                .map_err(|e| NotKnown::Away { store: store(), what: format!("{}: {e}", root.display()) })?;
        }
        let uid = StoreUid::generate();
        self.write_marker(uid, Vec::new(), expected.key, PutMode::Create).await?;
        // Of two gateways that come at once, both go by what is there.
        match self.look(&expected).await? {
            Identified::Found(found) if found == uid => Ok(Identified::New(uid)),
            other => Ok(other),
        }
    }

    async fn write_marker(
        &self,
        uid: StoreUid,
        replaces: Vec<String>,
        key: Option<Fingerprint>,
        mode: PutMode,
    ) -> Result<(), NotKnown> {
        let marker =
            Marker { vigie_store: FORMAT, id: uid.to_string(), replaces, gateway_key: key.map(|key| key.to_string()) };
        let away = |what: String| NotKnown::Away { store: self.name().to_owned(), what };
        let text = serde_json::to_vec(&marker).map_err(|e| away(e.to_string()))?;
        let path = self.marker_path();
        let put = |mode| {
            let options = PutOptions { mode, ..PutOptions::default() };
            self.objects().put_opts(&path, PutPayload::from(text.clone()), options)
        };
        match put(mode).await {
            Ok(_) | Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(()),
            // A store without conditional put: the last writer is read back.
            Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => {
                put(PutMode::Overwrite).await.map(drop).map_err(|e| self.not_there(e))
            }
            Err(e) => Err(self.not_there(e)),
        }
    }

    /// An operator says that what lies here takes the place of the store that the index knows. Where there is a marker,
    /// its id has to be given.
    pub(super) async fn adopt(&self, id: Option<StoreUid>) -> Result<Identified, NotKnown> {
        let expected = self.identity().lock().clone();
        let expected = expected.unwrap_or(Expected { want: None, key: None, last: None });
        let (uid, mut replaces, key, mode) = match self.read_marker().await? {
            None => (StoreUid::generate(), Vec::new(), expected.key, PutMode::Create),
            Some((found, _)) if expected.want == Some(found) => return Ok(Identified::Same(found)),
            Some((found, marker)) if id == Some(found) => {
                let key = marker.gateway_key.as_ref().and_then(|key| key.parse().ok());
                (found, marker.replaces, key, PutMode::Overwrite)
            }
            Some((found, _)) => {
                let want = expected.want.unwrap_or(found);
                return Err(NotKnown::Other { store: self.name().to_owned(), want, found });
            }
        };
        if let Some(root) = self.local_root() {
            std::fs::create_dir_all(root).map_err(|e| NotKnown::Away {
                store: self.name().to_owned(),
                what: format!("{}: {e}", root.display()),
            })?;
        }
        replaces.extend(expected.want.map(|before| before.to_string()));
        let excess = replaces.len().saturating_sub(REPLACES_MAX);
        self.write_marker(uid, replaces.split_off(excess), key, mode).await?;
        self.look(&expected).await
    }

    /// From now on its footage is written under this key: an operator gave up the one before.
    pub(super) async fn rekey(&self, key: Fingerprint) -> Result<(), NotKnown> {
        match self.read_marker().await? {
            Some((uid, marker)) => self.write_marker(uid, marker.replaces, Some(key), PutMode::Overwrite).await,
            None => Ok(()),
        }
    }

    /// From now on the index knows it by this id.
    pub(super) fn know(&self, uid: StoreUid) {
        if let Some(expected) = self.identity().lock().as_mut() {
            expected.want = Some(uid);
            expected.last = Some((Instant::now(), Ok(())));
        }
    }
}
