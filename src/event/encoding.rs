//! The one encoding of an event: canonical JSON, versioned, so that a journal can hash it.

use serde::{Deserialize, Serialize};

use super::{Actor, Event, Fact, Scope};
use footage::failure::{Failure, Kind};
use footage::units::{CameraId, CameraKey, TenantId, WallTime};

/// Version of the encoding: it grows when a field changes its meaning or goes.
pub const ENCODING_VERSION: u32 = 1;

/// An event cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadEvent {
    /// A newer Vigie wrote it, with an encoding that this one does not know.
    #[error("an event has encoding {0}, this Vigie knows {ENCODING_VERSION}: run the newer Vigie")]
    Newer(u32),
    /// It is no event.
    #[error("an event is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Failure for BadEvent {
    fn kind(&self) -> Kind {
        match self {
            Self::Newer(_) => Kind::Conflict,
            Self::Malformed(_) => Kind::Corrupt,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Encoded {
    v: u32,
    at: WallTime,
    actor: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    camera: Option<CameraId>,
    fact: Fact,
}

impl Event {
    /// The one encoding of this event: JSON without spaces, object keys in the order of their bytes, times as RFC 3339
    /// in UTC with six digits, all numbers integers. A subset of RFC 8785.
    pub fn encode(&self) -> String {
        let encoded = Encoded {
            v: ENCODING_VERSION,
            at: self.at,
            actor: self.actor,
            tenant: self.scope.tenant().cloned(),
            camera: self.scope.camera().map(|key| key.camera.clone()),
            fact: self.fact.clone(),
        };
        let value = serde_json::to_value(encoded).expect("an event has string keys and no value that JSON lacks");
        let mut out = String::new();
        write_canonical(&value, &mut out);
        out
    }

    /// From its encoding.
    ///
    /// # Errors
    /// [`BadEvent`] where it is of a newer version, or no event.
    pub fn decode(text: &str) -> Result<Self, BadEvent> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        // The version first: the rest of a newer encoding may look otherwise.
        let Version { v } = serde_json::from_str(text)?;
        if v != ENCODING_VERSION {
            return Err(BadEvent::Newer(v));
        }
        let Encoded { at, actor, tenant, camera, fact, .. } = serde_json::from_str(text)?;
        let scope = match (tenant, camera) {
            (None, None) => Scope::Gateway,
            (Some(tenant), None) => Scope::Tenant(tenant),
            (Some(tenant), Some(camera)) => Scope::Camera(CameraKey { tenant, camera }),
            (None, Some(_)) => {
                let what = "a camera without its tenant";
                return Err(BadEvent::Malformed(serde::de::Error::custom(what)));
            }
        };
        Ok(Self { at, actor, scope, fact })
    }
}

/// Whatever order a map of `serde_json` keeps, which a feature of it decides, the keys are written sorted.
fn write_canonical(value: &serde_json::Value, out: &mut String) {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            out.push('{');
            for (n, key) in keys.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(&map[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}
