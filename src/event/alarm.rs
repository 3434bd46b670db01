//! Which events raise an alarm, and which end it.

use super::{Fact, Scope, Severity};
use crate::media::GapCause;

/// What an event does to alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It lasts from now on, until an event ends it.
    Begins,
    /// It is over.
    Ends,
    /// It has happened: the alarm lasts until somebody acknowledges it.
    Happened,
}

/// A camera is not recorded.
pub const CAMERA_NOT_RECORDED: &str = "camera_not_recorded";

/// The kind of the alarm, what the event does to it, and which of several things of that kind it is about.
pub fn of(fact: &Fact) -> Option<(&'static str, Effect, String)> {
    use Effect::{Begins, Ends, Happened};
    let store = |store: &Option<String>| store.clone().unwrap_or_default();
    let (kind, effect, subject) = match fact {
        Fact::ConnectionLost { cause: GapCause::GatewayStopped | GapCause::Reconfigured } => return None,
        Fact::ConnectionLost { .. } => (CAMERA_NOT_RECORDED, Begins, String::new()),
        Fact::Connected { .. } | Fact::CameraRemoved { .. } => (CAMERA_NOT_RECORDED, Ends, String::new()),
        Fact::StoreAway { store: name }
        | Fact::StoreRefused { store: name }
        | Fact::StoreLies { store: name }
        | Fact::StoreMissing { store: name }
        | Fact::StoreOther { store: name }
        | Fact::StoreUnreadable { store: name }
        | Fact::StoreOtherKey { store: name }
        | Fact::StoreNotIdentified { store: name } => ("store_unavailable", Begins, store(name)),
        Fact::StoreBack { store: name } | Fact::StoreKnown { store: name } | Fact::StoreReplaced { store: name } => {
            ("store_unavailable", Ends, store(name))
        }
        Fact::StoreDoubtful { store: name, .. } => ("store_doubtful", Happened, store(name)),
        Fact::StoreVersioned { store: name } => ("store_versioned", Happened, store(name)),
        Fact::DiskFull { .. } => ("disk_full", Begins, String::new()),
        Fact::DiskFullEnded => ("disk_full", Ends, String::new()),
        Fact::DiskTooSmall { .. } => ("disk_too_small", Begins, String::new()),
        Fact::DiskTooSmallEnded => ("disk_too_small", Ends, String::new()),
        Fact::DiskHoursLeft { .. } => ("disk_hours_left", Begins, String::new()),
        Fact::DiskHoursLeftEnded => ("disk_hours_left", Ends, String::new()),
        Fact::ClockDoubted { .. } => ("clock_doubted", Begins, String::new()),
        Fact::ClockBelieved => ("clock_doubted", Ends, String::new()),
        Fact::OverAge { .. } => ("over_age", Begins, String::new()),
        Fact::OverAgeEnded => ("over_age", Ends, String::new()),
        Fact::DeletionFailed => ("deletion_failed", Begins, String::new()),
        Fact::DeletionWorks => ("deletion_failed", Ends, String::new()),
        Fact::RetentionChange { .. } => ("retention_change", Begins, String::new()),
        Fact::RetentionChanged { .. } | Fact::RetentionChangeWithdrawn => ("retention_change", Ends, String::new()),
        Fact::KeyMissing { key, .. } => ("key_missing", Begins, key.to_string()),
        Fact::KeyFound { key } => ("key_missing", Ends, key.to_string()),
        fact if fact.is_of_gateway_key() => ("gateway_key", Begins, String::new()),
        Fact::GatewayKeyKnown => ("gateway_key", Ends, String::new()),
        Fact::AlarmNotDelivered { target } => ("alarm_not_delivered", Begins, target.clone()),
        Fact::AlarmDelivered { target } => ("alarm_not_delivered", Ends, target.clone()),
        Fact::ClockStep { .. } | Fact::ClockMisdated { .. } | Fact::PackAbsent { .. } => {
            (fact.kind(), Happened, String::new())
        }
        other if other.severity() == Severity::Critical => (other.kind(), Happened, String::new()),
        _ => return None,
    };
    Some((kind, effect, subject))
}

/// Whose alarm an event raises or ends: a step of the gateway's clock is one, however many cameras saw it.
pub fn scope_of(fact: &Fact, scope: Scope) -> Scope {
    if matches!(fact, Fact::ClockStep { .. } | Fact::ClockMisdated { .. }) { Scope::Gateway } else { scope }
}

/// Alarms of this kind are over when somebody has acknowledged them: no event ends them.
pub fn happens_once(kind: &str) -> bool {
    const LASTING: [&str; 12] = [
        CAMERA_NOT_RECORDED,
        "store_unavailable",
        "disk_full",
        "disk_too_small",
        "disk_hours_left",
        "clock_doubted",
        "over_age",
        "deletion_failed",
        "retention_change",
        "key_missing",
        "gateway_key",
        "alarm_not_delivered",
    ];
    !LASTING.contains(&kind)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn what_begins_can_end_and_what_is_critical_is_an_alarm() {
        let mut effects: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for fact in crate::event::tests::all() {
            let rule = of(&fact);
            let is_alarm = matches!(rule, Some((_, Effect::Begins | Effect::Happened, _)));
            assert!(fact.severity() != Severity::Critical || is_alarm, "{fact:?} is critical and raises no alarm");
            if let Some((kind, effect, _)) = rule {
                effects.entry(kind).or_default().insert(format!("{effect:?}"));
            }
        }
        for (kind, effects) in effects {
            let lasting = BTreeSet::from(["Begins".to_owned(), "Ends".to_owned()]);
            let once = BTreeSet::from(["Happened".to_owned()]);
            assert_eq!(effects, if happens_once(kind) { once } else { lasting }, "{kind}");
        }
    }
}
