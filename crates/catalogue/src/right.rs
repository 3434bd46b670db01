//! Rights, and the roles that bundle them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What a person may do. Each route asks for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Cameras, their state, timeline and gaps: no picture.
    SeeCameras,
    /// Footage as it is filmed.
    ViewLive,
    /// Recorded footage, played, and pictures of it.
    ViewRecorded,
    /// Footage as a file.
    Export,
    /// To have a camera tried again, and footage sent to its store first.
    OperateCameras,
    /// Events and alarms.
    SeeEvents,
    /// To say that an alarm has been seen.
    AcknowledgeAlarms,
    /// Legal holds, and what each keeps.
    SeeHolds,
    /// To place a legal hold.
    PlaceHolds,
    /// To release one.
    ReleaseHolds,
    /// The journal.
    ReadJournal,
    /// Persons, their tokens and grants.
    ManagePeople,
    /// Requests for footage: what was asked, found, handed over.
    SeeRequests,
    /// To take in a request for footage, and to carry it on to its closing.
    HandleRequests,
    /// To release what was prepared for a request, so that it may be handed over.
    ReleaseExports,
}

impl Right {
    /// All.
    pub const ALL: [Self; 15] = [
        Self::SeeCameras,
        Self::ViewLive,
        Self::ViewRecorded,
        Self::Export,
        Self::OperateCameras,
        Self::SeeEvents,
        Self::AcknowledgeAlarms,
        Self::SeeHolds,
        Self::PlaceHolds,
        Self::ReleaseHolds,
        Self::ReadJournal,
        Self::ManagePeople,
        Self::SeeRequests,
        Self::HandleRequests,
        Self::ReleaseExports,
    ];

    /// The word in configurations, answers and the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SeeCameras => "see_cameras",
            Self::ViewLive => "view_live",
            Self::ViewRecorded => "view_recorded",
            Self::Export => "export",
            Self::OperateCameras => "operate_cameras",
            Self::SeeEvents => "see_events",
            Self::AcknowledgeAlarms => "acknowledge_alarms",
            Self::SeeHolds => "see_holds",
            Self::PlaceHolds => "place_holds",
            Self::ReleaseHolds => "release_holds",
            Self::ReadJournal => "read_journal",
            Self::ManagePeople => "manage_people",
            Self::SeeRequests => "see_requests",
            Self::HandleRequests => "handle_requests",
            Self::ReleaseExports => "release_exports",
        }
    }

    /// Whether it changes something about a camera: a grant, which shows footage, does not extend it.
    pub fn acts_on_cameras(self) -> bool {
        matches!(
            self,
            Self::OperateCameras
                | Self::AcknowledgeAlarms
                | Self::PlaceHolds
                | Self::ReleaseHolds
                | Self::HandleRequests
                | Self::ReleaseExports
        )
    }

    /// Whether it shows footage, so that cameras and ranges of a grant extend it.
    pub fn shows_footage(self) -> bool {
        matches!(self, Self::ViewLive | Self::ViewRecorded | Self::Export)
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A named bundle of rights.
pub type Role = BTreeSet<Right>;

/// The roles there are, by name: those that every gateway has, and those of its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(BTreeMap<String, Role>);

impl Roles {
    /// Every right: for the holder of a tenant's token where one person does everything.
    pub const ALL_RIGHTS: &str = "all_rights";
    /// Designates the others, and sees no picture.
    pub const TENANT_ADMINISTRATOR: &str = "tenant_administrator";

    /// Those that every gateway has.
    pub fn built_in() -> Self {
        use Right::{
            AcknowledgeAlarms, Export, HandleRequests, ManagePeople, OperateCameras, PlaceHolds, ReadJournal,
            ReleaseExports, ReleaseHolds, SeeCameras, SeeEvents, SeeHolds, SeeRequests, ViewLive, ViewRecorded,
        };
        let technician = [SeeCameras, OperateCameras, SeeEvents, AcknowledgeAlarms];
        let operator = [&technician[..], &[ViewLive, ViewRecorded]].concat();
        let desk = [SeeHolds, PlaceHolds, SeeRequests, HandleRequests];
        let supervisor = [&operator[..], &desk, &[Export, ReleaseHolds, ReleaseExports, ReadJournal]].concat();
        let roles: [(&str, &[Right]); 7] = [
            ("operator", &operator),
            ("supervisor", &supervisor),
            ("investigator", &[&desk[..], &[SeeCameras, ViewRecorded, Export]].concat()),
            ("inspector", &[SeeCameras, SeeEvents, SeeHolds, SeeRequests, ReadJournal]),
            ("technician", &technician),
            (Self::TENANT_ADMINISTRATOR, &[&technician[..], &[ReadJournal, ManagePeople]].concat()),
            (Self::ALL_RIGHTS, &Right::ALL),
        ];
        Self(roles.into_iter().map(|(name, rights)| (name.to_owned(), rights.iter().copied().collect())).collect())
    }

    /// The same, and this one; `false` where there is one of that name.
    pub fn add(&mut self, name: String, role: Role) -> bool {
        let is_new = !self.0.contains_key(&name);
        if is_new {
            self.0.insert(name, role);
        }
        is_new
    }

    /// The rights of a role.
    pub fn get(&self, name: &str) -> Option<&Role> {
        self.0.get(name)
    }

    /// By name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_rights_are_those_of_the_encoding() {
        for right in Right::ALL {
            assert_eq!(serde_json::to_value(right).unwrap(), right.as_str());
        }
        let all: BTreeSet<_> = Right::ALL.into_iter().collect();
        assert_eq!(all.len(), Right::ALL.len());
    }

    #[test]
    fn who_administers_inspects_or_repairs_sees_no_picture() {
        let roles = Roles::built_in();
        for name in ["inspector", "technician", "tenant_administrator"] {
            let role = roles.get(name).unwrap();
            assert!(role.iter().all(|right| !right.shows_footage()), "{name}");
        }
        assert!(roles.names().filter(|name| roles.get(name).unwrap().contains(&Right::ManagePeople)).count() == 2);
    }

    #[test]
    fn a_role_of_the_configuration_cannot_replace_another() {
        let mut roles = Roles::built_in();
        assert!(!roles.add("inspector".to_owned(), Right::ALL.into_iter().collect()));
        assert!(roles.add("night-desk".to_owned(), [Right::ViewLive].into()));
        assert_eq!(roles.get("night-desk").unwrap().len(), 1);
        assert!(!roles.get("inspector").unwrap().contains(&Right::Export));
    }
}
