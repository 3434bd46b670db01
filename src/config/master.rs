//! `[keys]`: master keys of encrypted stores.

use secrecy::SecretString;

use super::secret::{Surroundings, secret};
use super::section::Section;
use footage::keys::vault::master::Master;

/// Master keys that the operator gives. Without them, Vigie makes one and keeps it beside the keys that it wraps.
#[derive(Clone, Debug, Default)]
pub struct MasterKeys {
    /// What tenant keys are wrapped by.
    pub current: Option<SecretString>,
    /// What they were wrapped by, while that is being replaced.
    pub previous: Option<SecretString>,
}

pub(super) fn master_keys(section: Section<'_>, around: &Surroundings<'_>) -> MasterKeys {
    let key = |name: &str| {
        let given = secret(&section, name, around)?;
        match Master::from_hex(&given) {
            Ok(_) => Some(given),
            Err(wrong) => {
                section.refuse(name, wrong.to_string());
                None
            }
        }
    };
    let keys = MasterKeys { current: key("master_key"), previous: key("previous_master_key") };
    if keys.previous.is_some() && keys.current.is_none() {
        section.refuse("previous_master_key", "goes with master_key: give the new one there");
    }
    section.close();
    keys
}
