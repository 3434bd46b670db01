//! Identities of 16 bytes and fewer: of packs, runs, holds, keys and what else is named by chance or by its time.

use std::fmt;
use std::str::FromStr;

use super::{TICKS_PER_SECOND, WallTime};
use crate::failure::{Failure, Kind};

/// A text is not an identity of the wanted width in lowercase hexadecimal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an id: {1} lowercase hexadecimal digits are needed")]
pub struct BadId(String, usize);

impl Failure for BadId {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(s: &str) -> Result<Self, BadId> {
                let bad = || BadId(s.chars().take(80).collect(), $bytes * 2);
                let digit = |c: u8| match c {
                    b'0'..=b'9' => Ok(c - b'0'),
                    b'a'..=b'f' => Ok(c - b'a' + 10),
                    _ => Err(bad()),
                };
                let text = s.as_bytes();
                if text.len() != $bytes * 2 {
                    return Err(bad());
                }
                let mut id = [0u8; $bytes];
                for (byte, pair) in id.iter_mut().zip(text.chunks_exact(2)) {
                    *byte = digit(pair[0])? << 4 | digit(pair[1])?;
                }
                Ok(Self(id))
            }
        }
    };
}

id_type!(
    /// A pack: 48 bits of Unix milliseconds, then 80 random bits, so that ids sort by time of creation.
    PackId,
    16
);
id_type!(
    /// A run, one uninterrupted RTSP session: built as a [`PackId`] is, but for a mark in runs that cameras recorded themselves.
    RunId,
    16
);
id_type!(
    /// A legal hold: built as a [`PackId`] is.
    HoldId,
    16
);
id_type!(
    /// An export, for which the gateway prepares an evidence package: random.
    ExportId,
    16
);
id_type!(
    /// A request for footage: built as a [`PackId`] is.
    RequestId,
    16
);
id_type!(
    /// A fragment: keyed BLAKE3 of its sample bytes, the key being the deduplication domain's.
    FragmentId,
    32
);

id_type!(
    /// A day key ([`crate::keys::vault`]): random, so that it tells neither whose nor of which day it is.
    KeyId,
    16
);

id_type!(
    /// A store, by the id in its marker object (`store::identity`): random.
    StoreUid,
    16
);
id_type!(
    /// A key that is kept outside the index, by a hash that tells nothing of it.
    Fingerprint,
    8
);

impl StoreUid {
    /// A new id.
    pub fn generate() -> Self {
        Self(crate::platform::random())
    }
}

id_type!(
    /// One start of the machine: since then its monotonic clock counts.
    BootId,
    16
);
/// Encoded as their text.
macro_rules! serde_as_text {
    ($($name:ident),*) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(WallTime, PackId, HoldId, ExportId, KeyId, RequestId);

impl ExportId {
    /// A new id.
    pub fn generate() -> Self {
        Self(crate::platform::random())
    }
}

fn time_ordered(at: WallTime) -> [u8; 16] {
    let mut id: [u8; 16] = crate::platform::random();
    id[..6].copy_from_slice(&millis_of(at));
    id
}

fn millis_of(at: WallTime) -> [u8; 6] {
    let millis = at.to_timestamp().as_millisecond().max(0) as u64;
    let [_, _, bytes @ ..] = millis.to_be_bytes();
    bytes
}

impl PackId {
    /// A new id, unique by its random part, ordered by `at`.
    pub fn generate(at: WallTime) -> Self {
        Self(time_ordered(at))
    }

    /// The same id as one that the gateway of this rank wrote: where several write into one store, the last byte says
    /// who did, and 72 random bits are left.
    pub fn written_by(mut self, rank: u8) -> Self {
        self.0[15] = rank;
        self
    }

    /// The rank of the gateway that wrote it, in a store that several write into.
    pub fn writer(&self) -> u8 {
        self.0[15]
    }

    /// The least id of this instant and of all after it.
    pub fn least_at(at: WallTime) -> Self {
        let mut id = [0; 16];
        id[..6].copy_from_slice(&millis_of(at));
        Self(id)
    }

    /// When it was made, to the millisecond.
    pub fn created(&self) -> WallTime {
        let mut millis = [0u8; 8];
        millis[2..].copy_from_slice(&self.0[..6]);
        // 48 bits of milliseconds are 2.5e16 ticks at most.
        WallTime(i64::from_be_bytes(millis) * (TICKS_PER_SECOND / 1_000))
    }
}

impl HoldId {
    /// A new id, unique by its random part, ordered by `at`.
    pub fn generate(at: WallTime) -> Self {
        Self(time_ordered(at))
    }
}

impl RequestId {
    /// A new id, unique by its random part, ordered by `at`.
    pub fn generate(at: WallTime) -> Self {
        Self(time_ordered(at))
    }
}

impl KeyId {
    /// A new id, unique because it is random.
    pub fn generate() -> Self {
        Self(crate::platform::random())
    }
}

impl BootId {
    /// A new id, unique because it is random.
    pub fn generate() -> Self {
        Self(crate::platform::random())
    }
}

/// What the ids of runs from cameras' own storage hold after their time.
const EDGE_MARK: [u8; 6] = *b"edge\x00\x01";

impl RunId {
    /// A new id, unique by its random part, ordered by `at`.
    pub fn generate(at: WallTime) -> Self {
        let mut id = time_ordered(at);
        // One in 2⁴⁸ would look like a run of the other kind.
        id[6] ^= if id[6..12] == EDGE_MARK { 1 } else { 0 };
        Self(id)
    }

    /// A new id of a run that the camera recorded itself and that was fetched later; 32 random bits make it unique.
    pub fn generate_edge(at: WallTime) -> Self {
        let mut id = time_ordered(at);
        id[6..12].copy_from_slice(&EDGE_MARK);
        Self(id)
    }

    /// Whether the camera recorded it itself: what packs, index, copies for holds and references say of a run, its id says
    /// of where it came from.
    pub fn is_edge(&self) -> bool {
        self.0[6..12] == EDGE_MARK
    }
}
