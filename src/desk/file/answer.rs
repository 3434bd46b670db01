//! Answers to persons who were filmed: the regime that governs one, and the grounds of a refusal.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::authorisation::Purpose;

/// Which title of loi 78-17 governs an answer to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Regime {
    /// Title II: the regulation (EU) 2016/679.
    TitleIi,
    /// Title III: the directive (EU) 2016/680.
    TitleIii,
    /// Title IV: defence and the security of the State.
    TitleIv,
}

impl Regime {
    /// Of the purpose that a camera records for: see ADR 37.
    pub fn of(purpose: Purpose) -> Self {
        use Purpose::{
            AmusementParks, NationalDefence, NaturalRisks, PersonsAndProperty, PlacesOpenToPublic, PublicBuildings,
            RescueAndFire, Terrorism, TrafficOffences, TrafficRegulation, VehicleInsurance, WasteDumping,
        };
        match purpose {
            NationalDefence => Self::TitleIv,
            PublicBuildings | TrafficOffences | PersonsAndProperty | Terrorism | VehicleInsurance | WasteDumping => {
                Self::TitleIii
            }
            TrafficRegulation | NaturalRisks | RescueAndFire | AmusementParks | PlacesOpenToPublic => Self::TitleIi,
        }
    }

    /// Months until an answer is due.
    pub fn months(self) -> i32 {
        match self {
            Self::TitleIi => 1,
            Self::TitleIii | Self::TitleIv => 2,
        }
    }
}

/// Why a request of a person may be refused: for nothing else. See ADR 37.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// The security of the State, or defence.
    StateSecurity,
    /// Public security.
    PublicSecurity,
    /// An inquiry, or proceedings before a court or an administration.
    InquiryOrProceedings,
    /// The prevention, detection or prosecution of offences.
    Offences,
    /// The rights and liberties of others who are seen.
    RightsOfOthers,
    /// It is manifestly unfounded or excessive (title II).
    Unfounded,
    /// Who asks is not known to be who was filmed.
    IdentityNotEstablished,
}

impl Ground {
    /// The word in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StateSecurity => "state_security",
            Self::PublicSecurity => "public_security",
            Self::InquiryOrProceedings => "inquiry_or_proceedings",
            Self::Offences => "offences",
            Self::RightsOfOthers => "rights_of_others",
            Self::Unfounded => "unfounded",
            Self::IdentityNotEstablished => "identity_not_established",
        }
    }
}
