//! Which events raise an alarm, and which end it.

use super::{Fact, Scope, Severity};
use footage::media::GapCause;

/// What an event does to alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It lasts from now on, until an event ends it.
    Begins,
    /// It is over.
    Ends,
    /// It has happened: the alarm lasts until the operator acknowledges it.
    Happened,
}

/// What an event does to alarms, and to which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What is wrong, as one word; several only where an event ends several.
    pub kinds: Vec<&'static str>,
    /// What becomes of it.
    pub effect: Effect,
    /// Which of several things of that kind; empty where there is one.
    pub subject: String,
}

/// A camera is not recorded.
pub const CAMERA_NOT_RECORDED: &str = "camera_not_recorded";
/// A camera is cut off again and again.
pub const CAMERA_UNSTEADY: &str = "camera_unsteady";
/// A camera's certificate runs out.
pub const CERTIFICATE_ENDS: &str = "certificate_ends";
/// A camera's clock is off.
pub const CAMERA_CLOCK_OFF: &str = "camera_clock_off";
/// The end of an authorisation is near: one alarm for each notice, so that each is acknowledged.
pub const AUTHORISATION_ENDS: &str = "authorisation_ends";
/// Cameras record under an authorisation that is not in force.
pub const NOT_AUTHORISED: &str = "not_authorised";
/// A store does not take or give packs. Tenants may read it.
const STORE_AWAY: &str = "store_away";
/// What answers is not the known store. The operator's alone.
const STORE_NOT_KNOWN: &str = "store_not_known";

/// The rule for an event; `None` where it concerns no alarm.
///
/// All events that raise alarms of one kind have the same readers: those who learn of its beginning may learn of its end.
pub fn of(fact: &Fact) -> Option<Rule> {
    use Effect::{Begins, Ends, Happened};
    let rule = |kinds: &[&'static str], effect, subject: &str| {
        Some(Rule { kinds: kinds.to_vec(), effect, subject: subject.to_owned() })
    };
    let named = |store: &Option<String>| store.clone().unwrap_or_default();
    match fact {
        // Where no authorisation is in force, that is the alarm.
        Fact::ConnectionLost { cause: GapCause::GatewayStopped | GapCause::Reconfigured | GapCause::NotAuthorised } => {
            None
        }
        Fact::ConnectionLost { .. } | Fact::NotWritten { .. } => rule(&[CAMERA_NOT_RECORDED], Begins, ""),
        // A session that plays and sends nothing records nothing.
        Fact::Recording => rule(&[CAMERA_NOT_RECORDED], Ends, ""),
        Fact::CameraRemoved { .. } => {
            rule(&[CAMERA_NOT_RECORDED, CAMERA_UNSTEADY, CERTIFICATE_ENDS, CAMERA_CLOCK_OFF], Ends, "")
        }
        Fact::CameraUnsteady { .. } => rule(&[CAMERA_UNSTEADY], Begins, ""),
        Fact::CameraSteady => rule(&[CAMERA_UNSTEADY], Ends, ""),
        Fact::CameraClockOff { .. } => rule(&[CAMERA_CLOCK_OFF], Begins, ""),
        Fact::CameraClockRight => rule(&[CAMERA_CLOCK_OFF], Ends, ""),
        Fact::CertificateEnds { .. } => rule(&[CERTIFICATE_ENDS], Begins, ""),
        Fact::CertificateRenewed => rule(&[CERTIFICATE_ENDS], Ends, ""),
        Fact::ServerCertificateEnds { .. } => rule(&["server_certificate_ends"], Begins, ""),
        Fact::ServerCertificateRenewed => rule(&["server_certificate_ends"], Ends, ""),
        Fact::StoreAway { store } | Fact::StoreRefused { store } | Fact::StoreLies { store } => {
            rule(&[STORE_AWAY], Begins, &named(store))
        }
        Fact::StoreMissing { store }
        | Fact::StoreOther { store }
        | Fact::StoreUnreadable { store }
        | Fact::StoreOtherKey { store }
        | Fact::StoreNotIdentified { store } => rule(&[STORE_NOT_KNOWN], Begins, &named(store)),
        Fact::StoreBack { store } => rule(&[STORE_AWAY], Ends, &named(store)),
        Fact::StoreKnown { store } | Fact::StoreReplaced { store } => {
            rule(&[STORE_AWAY, STORE_NOT_KNOWN], Ends, &named(store))
        }
        Fact::StoreDoubtful { store, .. } | Fact::StoreVersioned { store } => {
            rule(&[fact.kind()], Happened, &named(store))
        }
        Fact::DiskFull { .. } => rule(&["disk_full"], Begins, ""),
        Fact::DiskFullEnded => rule(&["disk_full"], Ends, ""),
        Fact::DiskTooSmall { .. } => rule(&["disk_too_small"], Begins, ""),
        Fact::DiskTooSmallEnded => rule(&["disk_too_small"], Ends, ""),
        Fact::DiskHoursLeft { .. } => rule(&["disk_hours_left"], Begins, ""),
        Fact::DiskHoursLeftEnded => rule(&["disk_hours_left"], Ends, ""),
        Fact::ClockDoubted { .. } => rule(&["clock_doubted"], Begins, ""),
        Fact::ClockBelieved => rule(&["clock_doubted"], Ends, ""),
        Fact::OverAge { .. } => rule(&["over_age"], Begins, ""),
        Fact::OverAgeEnded => rule(&["over_age"], Ends, ""),
        Fact::DeletionFailed => rule(&["deletion_failed"], Begins, ""),
        Fact::DeletionWorks => rule(&["deletion_failed"], Ends, ""),
        Fact::JournalFailed => rule(&["journal_failed"], Begins, ""),
        Fact::JournalWorks => rule(&["journal_failed"], Ends, ""),
        Fact::CatalogueFailed => rule(&["catalogue_failed"], Begins, ""),
        Fact::CatalogueWorks => rule(&["catalogue_failed"], Ends, ""),
        Fact::JournalUnproven { proof } => rule(&["journal_unproven"], Begins, proof.as_str()),
        Fact::JournalProven { proof } => rule(&["journal_unproven"], Ends, proof.as_str()),
        Fact::RetentionChange { .. } => rule(&["retention_change"], Begins, ""),
        Fact::RetentionChanged { .. } | Fact::RetentionChangeWithdrawn => rule(&["retention_change"], Ends, ""),
        Fact::AuthorisationEnds { authorisation, notice, .. } => {
            rule(&[AUTHORISATION_ENDS], Begins, &format!("{authorisation} {}", notice.as_str()))
        }
        Fact::AuthorisationNoticePassed { authorisation, notice } => {
            rule(&[AUTHORISATION_ENDS], Ends, &format!("{authorisation} {}", notice.as_str()))
        }
        Fact::AuthorisationEnded { authorisation, .. } | Fact::AuthorisationNotYet { authorisation, .. } => {
            rule(&[NOT_AUTHORISED], Begins, authorisation.as_str())
        }
        Fact::AuthorisationSettled { authorisation } => rule(&[NOT_AUTHORISED], Ends, authorisation.as_str()),
        Fact::KeyMissing { key, .. } => rule(&["key_missing"], Begins, &key.to_string()),
        Fact::KeyFound { key } => rule(&["key_missing"], Ends, &key.to_string()),
        fact if fact.is_of_gateway_key() => rule(&["gateway_key"], Begins, ""),
        Fact::GatewayKeyKnown => rule(&["gateway_key"], Ends, ""),
        Fact::AlarmNotDelivered { target } => rule(&["alarm_not_delivered"], Begins, target),
        Fact::AlarmDelivered { target } => rule(&["alarm_not_delivered"], Ends, target),
        Fact::ClockStep { .. }
        | Fact::ClockMisdated { .. }
        | Fact::PackAbsent { .. }
        | Fact::EntryUnreadable { .. } => rule(&[fact.kind()], Happened, ""),
        other if other.severity() == Severity::Critical => rule(&[other.kind()], Happened, ""),
        _ => None,
    }
}

/// Whose alarm an event raises or ends: a step of the gateway's clock is one, however many cameras saw it.
pub fn scope_of(fact: &Fact, scope: Scope) -> Scope {
    if matches!(fact, Fact::ClockStep { .. } | Fact::ClockMisdated { .. }) { Scope::Gateway } else { scope }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn what_begins_can_end_what_is_critical_is_an_alarm_and_a_kind_has_one_set_of_readers() {
        let mut effects: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        let mut readers: BTreeMap<&str, BTreeSet<bool>> = BTreeMap::new();
        for fact in crate::event::tests::all() {
            let rule = of(&fact);
            let raises = rule.as_ref().is_some_and(|rule| rule.effect != Effect::Ends);
            assert!(fact.severity() != Severity::Critical || raises, "{fact:?} is critical and raises no alarm");
            for kind in rule.iter().flat_map(|rule| &rule.kinds) {
                let effect = rule.as_ref().map(|rule| format!("{:?}", rule.effect));
                effects.entry(kind).or_default().extend(effect);
                if raises {
                    readers.entry(kind).or_default().insert(fact.is_operators());
                }
            }
        }
        let lasting = BTreeSet::from(["Begins".to_owned(), "Ends".to_owned()]);
        let once = BTreeSet::from(["Happened".to_owned()]);
        assert!(effects.iter().all(|(_, effects)| *effects == lasting || *effects == once), "{effects:?}");
        assert!(readers.iter().all(|(_, readers)| readers.len() == 1), "{readers:?}");
    }
}
