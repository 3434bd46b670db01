//! Whether a person may do something: decided here and nowhere else, from values alone.
//!
//! Invariant: what nothing permits is denied.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use footage::units::CameraId;

use crate::person::{Hours, Person};
use crate::right::{Right, Roles};

/// The time at which it is decided.
#[derive(Clone, Debug)]
pub struct Now {
    /// The instant.
    pub at: Timestamp,
    /// In which dates and hours of the day are read.
    pub zone: TimeZone,
}

/// Footage that is about to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// As it is filmed.
    Live,
    /// Filmed between these instants, the second not included; an instant alone is both.
    Recorded {
        /// Of the first picture.
        from: Timestamp,
        /// After the last.
        to: Timestamp,
    },
}

/// Why a person may not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The designation was revoked.
    #[error("the designation was revoked")]
    Revoked,
    /// The act is in force later.
    #[error("the act is in force from {0} on")]
    ActNotYet(Date),
    /// The act is in force no more.
    #[error("the act was in force until {0}: it has to be renewed")]
    ActOver(Date),
    /// Outside the hours.
    #[error("it is permitted in the hours {0} only")]
    OutOfHours(Hours),
    /// The configuration names no such role any more.
    #[error("there is no role {0:?} any more")]
    NoRole(String),
    /// The role lacks the right.
    #[error("the role {role:?} has no right to {right}")]
    NotInRole {
        /// Which role.
        role: String,
        /// Which right.
        right: Right,
    },
    /// Not one of the cameras.
    #[error("the designation does not name this camera")]
    OtherCamera,
    /// Recorded footage alone, or none.
    #[error("the designation does not cover live footage")]
    NotLive,
    /// Live footage alone, or none.
    #[error("the designation does not cover recorded footage")]
    NotRecorded,
    /// Nobody said why.
    #[error("this tenant asks for a reason: state it first, with PUT /api/me/reason")]
    NoReason,
    /// To give rights to oneself.
    #[error("nobody designates themselves: it takes another administrator, or the tenant's access token")]
    Oneself,
    /// Older footage than permitted.
    #[error("the designation covers footage of the last {0} hours only")]
    TooFarBack(u32),
}

impl Denial {
    /// The word in the journal.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::ActNotYet(_) => "act_not_yet_in_force",
            Self::ActOver(_) => "act_over",
            Self::OutOfHours(_) => "out_of_hours",
            Self::NoRole(_) => "no_role",
            Self::NotInRole { .. } => "not_in_role",
            Self::OtherCamera => "other_camera",
            Self::NotLive => "not_live",
            Self::NotRecorded => "not_recorded",
            Self::NoReason => "no_reason",
            Self::Oneself => "oneself",
            Self::TooFarBack(_) => "too_far_back",
        }
    }
}

impl Person {
    /// Whether the act is in force now, in the hours that it names.
    ///
    /// # Errors
    /// When it is not.
    pub fn is_present(&self, now: &Now) -> Result<(), Denial> {
        if self.revoked.is_some() {
            return Err(Denial::Revoked);
        }
        let (act, local) = (&self.designation.act, now.zone.to_datetime(now.at));
        if local.date() < act.date {
            return Err(Denial::ActNotYet(act.date));
        }
        if local.date() > act.until {
            return Err(Denial::ActOver(act.until));
        }
        match self.designation.scope.hours {
            Some(hours) if !hours.contain(local.time()) => Err(Denial::OutOfHours(hours)),
            _ => Ok(()),
        }
    }

    /// Whether they have one of these rights at all. Which footage they see by it, [`Person::may_see`] says.
    ///
    /// # Errors
    /// When they have none; the denial names the first.
    pub fn may(&self, rights: &[Right], roles: &Roles, now: &Now) -> Result<(), Denial> {
        self.is_present(now)?;
        let is_granted = self.grants.iter().any(|grant| grant.is_in_force(now.at));
        let mut denied = Ok(());
        for right in rights {
            if is_granted && matches!(right, Right::ViewRecorded | Right::Export) {
                return Ok(());
            }
            match self.has(*right, roles) {
                Ok(()) => return Ok(()),
                Err(denial) if denied.is_ok() => denied = Err(denial),
                Err(_) => {}
            }
        }
        denied
    }

    fn has(&self, right: Right, roles: &Roles) -> Result<(), Denial> {
        let role = &self.designation.role;
        match roles.get(role) {
            None => Err(Denial::NoRole(role.clone())),
            Some(rights) if rights.contains(&right) => Ok(()),
            Some(_) => Err(Denial::NotInRole { role: role.clone(), right }),
        }
    }

    /// Whether their designation names this camera; a grant may let them see some of its footage all the same.
    pub fn is_for(&self, camera: &CameraId) -> bool {
        self.designation.scope.cameras.as_ref().is_none_or(|cameras| cameras.contains(camera))
    }

    /// The cameras that they may know of; `None`: all of the tenant's.
    pub fn cameras(&self, now: &Now) -> Option<BTreeSet<CameraId>> {
        let in_force = self.grants.iter().filter(|grant| grant.is_in_force(now.at));
        let mut cameras = self.designation.scope.cameras.clone()?;
        cameras.extend(in_force.flat_map(|grant| grant.cameras.iter().cloned()));
        Some(cameras)
    }

    /// Whether a grant in force is about this camera.
    pub fn is_granted(&self, camera: &CameraId, now: &Now) -> bool {
        self.grants.iter().any(|grant| grant.is_in_force(now.at) && grant.cameras.contains(camera))
    }

    /// Whether they may see this footage by this right.
    ///
    /// # Errors
    /// When they may not.
    pub fn may_see(
        &self,
        right: Right,
        camera: &CameraId,
        sight: Sight,
        roles: &Roles,
        now: &Now,
    ) -> Result<(), Denial> {
        self.is_present(now)?;
        let designated = self.sees_by_designation(right, camera, sight, roles, now);
        let Sight::Recorded { from, to } = sight else { return designated };
        let covers = |grant: &crate::person::Grant| {
            grant.is_in_force(now.at) && grant.cameras.contains(camera) && grant.from <= from && to <= grant.to
        };
        if self.grants.iter().any(covers) { Ok(()) } else { designated }
    }

    fn sees_by_designation(
        &self,
        right: Right,
        camera: &CameraId,
        sight: Sight,
        roles: &Roles,
        now: &Now,
    ) -> Result<(), Denial> {
        self.has(right, roles)?;
        if !self.is_for(camera) {
            return Err(Denial::OtherCamera);
        }
        let scope = &self.designation.scope;
        match (sight, scope.back_hours) {
            (Sight::Live, _) if !scope.live => Err(Denial::NotLive),
            (Sight::Recorded { .. }, _) if !scope.recorded => Err(Denial::NotRecorded),
            (Sight::Recorded { from, .. }, Some(hours)) => {
                let back = jiff::SignedDuration::from_hours(i64::from(hours));
                let earliest = now.at.checked_sub(back).unwrap_or(Timestamp::MIN);
                if from < earliest { Err(Denial::TooFarBack(hours)) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::person::{Act, Designation, Grant, GrantId, Scope};
    use jiff::civil::date;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn now(text: &str) -> Now {
        Now { at: at(text), zone: TimeZone::get("Europe/Paris").unwrap() }
    }

    fn camera(id: &str) -> CameraId {
        id.parse().unwrap()
    }

    /// By an act of March 2026, with nothing narrowed.
    fn person(role: &str) -> Person {
        Person {
            tenant: "town".parse().unwrap(),
            id: "marie-durand".parse().unwrap(),
            designation: Designation {
                name: "Marie Durand".to_owned(),
                role: role.to_owned(),
                act: Act {
                    authority: "le maire".to_owned(),
                    number: "2026-117".to_owned(),
                    date: date(2026, 3, 1),
                    until: date(2026, 3, 31),
                },
                scope: Scope::default(),
            },
            since: at("2026-03-01T08:00:00Z"),
            revoked: None,
            grants: Vec::new(),
        }
    }

    fn grant(from: &str, to: &str, until: &str) -> Grant {
        Grant {
            id: GrantId(1),
            cameras: BTreeSet::from([camera("gate")]),
            from: at(from),
            to: at(to),
            reference: "PV 117".to_owned(),
            reason: "theft".to_owned(),
            until: at(until),
            given: at("2026-03-10T00:00:00Z"),
            revoked: None,
        }
    }

    const RECORDED: Sight =
        Sight::Recorded { from: Timestamp::constant(1_773_136_800, 0), to: Timestamp::constant(1_773_137_400, 0) };

    #[test]
    fn an_act_is_in_force_on_whole_days_of_the_gateway_s_zone() {
        let (person, roles) = (person("operator"), Roles::built_in());
        let may = |text: &str| person.may(&[Right::ViewLive], &roles, &now(text));
        // Paris is an hour ahead in winter, two in summer.
        assert_eq!(may("2026-02-28T22:59:59Z"), Err(Denial::ActNotYet(date(2026, 3, 1))));
        assert_eq!(may("2026-02-28T23:00:00Z"), Ok(()));
        assert_eq!(may("2026-03-31T21:59:59Z"), Ok(()));
        assert_eq!(may("2026-03-31T22:00:00Z"), Err(Denial::ActOver(date(2026, 3, 31))));
    }

    #[test]
    fn hours_are_those_of_the_clock_on_the_wall_in_summer_and_winter() {
        let (mut person, roles) = (person("operator"), Roles::built_in());
        person.designation.scope.hours = Some("08:00-18:00".parse().unwrap());
        let may = |text: &str| person.may(&[Right::ViewLive], &roles, &now(text)).is_ok();
        assert!(!may("2026-03-10T06:59:59Z") && may("2026-03-10T07:00:00Z"), "winter");
        assert!(!may("2026-03-30T05:59:59Z") && may("2026-03-30T06:00:00Z"), "summer");
    }

    #[test]
    fn a_role_gives_what_it_names_and_nothing_else() {
        let (roles, now) = (Roles::built_in(), now("2026-03-10T10:00:00Z"));
        for name in roles.names() {
            for right in Right::ALL {
                let given = person(name).may(&[right], &roles, &now).is_ok();
                assert_eq!(given, roles.get(name).unwrap().contains(&right), "{name} {right}");
            }
        }
        let gone = person("night-desk").may(&[Right::ViewLive], &roles, &now);
        assert_eq!(gone, Err(Denial::NoRole("night-desk".to_owned())));
        assert_eq!(person("investigator").may(&[Right::ViewLive, Right::ViewRecorded], &roles, &now), Ok(()));
    }

    #[test]
    fn a_scope_narrows_cameras_ways_and_age() {
        let (roles, at_noon) = (Roles::built_in(), now("2026-03-10T12:00:00Z"));
        let mut person = person("operator");
        let see = |person: &Person, id: &str, sight| {
            person.may_see(Right::ViewRecorded, &camera(id), sight, &roles, &at_noon)
        };
        assert_eq!(see(&person, "gate", RECORDED), Ok(()));
        person.designation.scope.cameras = Some(BTreeSet::from([camera("gate")]));
        assert_eq!(see(&person, "gate", RECORDED), Ok(()));
        assert_eq!(see(&person, "square", RECORDED), Err(Denial::OtherCamera));
        // Filmed at 10:00.
        person.designation.scope.back_hours = Some(2);
        assert_eq!(see(&person, "gate", RECORDED), Ok(()));
        person.designation.scope.back_hours = Some(1);
        assert_eq!(see(&person, "gate", RECORDED), Err(Denial::TooFarBack(1)));
        person.designation.scope.recorded = false;
        assert_eq!(see(&person, "gate", RECORDED), Err(Denial::NotRecorded));
        let live = |person: &Person| person.may_see(Right::ViewLive, &camera("gate"), Sight::Live, &roles, &at_noon);
        assert_eq!(live(&person), Ok(()));
        person.designation.scope.live = false;
        assert_eq!(live(&person), Err(Denial::NotLive));
        person.revoked = Some(at("2026-03-09T00:00:00Z"));
        assert_eq!(live(&person), Err(Denial::Revoked));
    }

    #[test]
    fn a_grant_shows_its_range_of_its_cameras_until_its_end_and_never_past_the_act() {
        let roles = Roles::built_in();
        let mut person = person("inspector");
        person.grants = vec![grant("2026-03-10T09:00:00Z", "2026-03-10T11:00:00Z", "2026-03-20T00:00:00Z")];
        let see = |person: &Person, id: &str, sight, when: &str| {
            person.may_see(Right::Export, &camera(id), sight, &roles, &now(when)).is_ok()
        };
        let in_time = "2026-03-12T10:00:00Z";
        assert!(person.may(&[Right::Export], &roles, &now(in_time)).is_ok());
        assert!(person.may(&[Right::ViewLive], &roles, &now(in_time)).is_err());
        assert!(person.may(&[Right::ReleaseHolds], &roles, &now(in_time)).is_err());
        assert!(see(&person, "gate", RECORDED, in_time));
        assert!(!see(&person, "square", RECORDED, in_time));
        assert!(!see(&person, "gate", Sight::Live, in_time));
        let beyond = Sight::Recorded { from: at("2026-03-10T10:59:00Z"), to: at("2026-03-10T11:00:01Z") };
        assert!(!see(&person, "gate", beyond, in_time), "what lies partly outside is not seen in part");
        assert!(!see(&person, "gate", RECORDED, "2026-03-20T00:00:00Z"), "the grant is over");
        assert!(!see(&person, "gate", RECORDED, "2026-03-09T23:59:59Z"), "it was not given yet");
        person.grants[0].until = at("2026-06-01T00:00:00Z");
        assert!(!see(&person, "gate", RECORDED, "2026-04-02T10:00:00Z"), "the act is over");
        person.grants[0].revoked = Some(at("2026-03-11T00:00:00Z"));
        assert!(!see(&person, "gate", RECORDED, in_time));
    }
}
