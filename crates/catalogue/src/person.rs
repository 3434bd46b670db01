//! Persons: the act that designates each, and what it lets them see.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use serde::{Deserialize, Serialize};

use footage::units::{CameraId, PersonId, TenantId};

/// The act by which a person was designated and authorised (Code de la sécurité intérieure, R253-3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// Who made it: the mayor, the prefect.
    pub authority: String,
    /// Its number.
    pub number: String,
    /// Its date: it is in force from the begin of that day.
    pub date: Date,
    /// The last day on which it is in force.
    pub until: Date,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}, {}", self.number, self.date, self.authority)
    }
}

/// Hours of a day, in the gateway's time zone; past midnight where they end before they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hours {
    from: Time,
    to: Time,
}

impl Hours {
    /// Whether this time of day is in them, their end not included.
    pub fn contain(&self, time: Time) -> bool {
        match self.from < self.to {
            true => self.from <= time && time < self.to,
            false => self.from <= time || time < self.to,
        }
    }
}

/// These are not hours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("hours are two different times of the day, as in 20:00-06:00")]
pub struct BadHours;

impl FromStr for Hours {
    type Err = BadHours;

    fn from_str(text: &str) -> Result<Self, BadHours> {
        let time = |text: &str| {
            let (hour, minute) = text.split_once(':').filter(|(hour, minute)| hour.len() == 2 && minute.len() == 2)?;
            let number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?;
            Time::new(number(hour)?, number(minute)?, 0, 0).ok()
        };
        let (from, to) = text.split_once('-').ok_or(BadHours)?;
        let (from, to) = (time(from).ok_or(BadHours)?, time(to).ok_or(BadHours)?);
        if from == to { Err(BadHours) } else { Ok(Self { from, to }) }
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from.strftime("%H:%M"), self.to.strftime("%H:%M"))
    }
}

impl TryFrom<String> for Hours {
    type Error = BadHours;

    fn try_from(text: String) -> Result<Self, BadHours> {
        text.parse()
    }
}

impl From<Hours> for String {
    fn from(hours: Hours) -> Self {
        hours.to_string()
    }
}

/// What of the tenant's footage a person sees, within the rights of their role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// These cameras; absent: all of the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cameras: Option<BTreeSet<CameraId>>,
    /// As it is filmed.
    pub live: bool,
    /// Recorded.
    pub recorded: bool,
    /// In these hours of the day; absent: at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// Filmed at most so many hours before; absent: as far back as there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_hours: Option<u32>,
}

impl Default for Scope {
    /// Nothing is narrowed.
    fn default() -> Self {
        Self { cameras: None, live: true, recorded: true, hours: None, back_hours: None }
    }
}

/// What makes somebody a person of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Designation {
    /// Their name.
    pub name: String,
    /// Their role, by its name.
    pub role: String,
    /// By which act.
    pub act: Act,
    /// What they see.
    pub scope: Scope,
}

/// A person of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Whose.
    pub tenant: TenantId,
    /// Their id.
    pub id: PersonId,
    /// As it stands now.
    pub designation: Designation,
    /// When they were first designated.
    pub since: Timestamp,
    /// When the designation was revoked.
    pub revoked: Option<Timestamp>,
    /// What they see beyond it, for a time.
    pub grants: Vec<Grant>,
}

/// The id of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(pub i64);

/// Footage that a person may see and export until a time, whatever their role and scope: for a requisition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// Of these cameras.
    pub cameras: BTreeSet<CameraId>,
    /// Filmed from then on.
    pub from: Timestamp,
    /// And before then.
    pub to: Timestamp,
    /// The requisition's reference.
    pub reference: String,
    /// Why.
    pub reason: String,
    /// In force until then.
    pub until: Timestamp,
    /// When it was given.
    pub given: Timestamp,
    /// When it was taken back.
    pub revoked: Option<Timestamp>,
}

impl Grant {
    /// Whether it is in force.
    pub fn is_in_force(&self, at: Timestamp) -> bool {
        self.revoked.is_none() && self.given <= at && at < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::time;

    #[test]
    fn hours_go_past_midnight_and_read_back_as_they_were_written() {
        let night: Hours = "20:00-06:30".parse().unwrap();
        let day: Hours = "08:00-18:00".parse().unwrap();
        for (at, by_night, by_day) in [
            (time(0, 0, 0, 0), true, false),
            (time(6, 29, 59, 0), true, false),
            (time(6, 30, 0, 0), false, false),
            (time(8, 0, 0, 0), false, true),
            (time(17, 59, 59, 0), false, true),
            (time(18, 0, 0, 0), false, false),
            (time(20, 0, 0, 0), true, false),
        ] {
            assert_eq!((night.contain(at), day.contain(at)), (by_night, by_day), "{at}");
        }
        assert_eq!(night.to_string(), "20:00-06:30");
        for bad in [
            "",
            "20:00",
            "20:00-20:00",
            "24:00-06:00",
            "8:00-18:00",
            "20:00-06:60",
            "a-b",
            "+1:00-02:00",
            "20:00-06:00-07:00",
        ] {
            assert_eq!(bad.parse::<Hours>(), Err(BadHours), "{bad}");
        }
    }
}
