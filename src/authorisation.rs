//! Authorisations: the prefect's decisions that cameras record under, and how each stands at a time.
//!
//! An authorisation is of a system, for five years at most (Code de la sécurité intérieure, L252-1, L252-4); the *act* that
//! designates a person is another thing (`crates/catalogue`).
//! Invariant: how an authorisation stands is a function of a time that the caller gives. Absent on purpose: clocks, the index, recorders.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};
use serde::{Deserialize, Serialize};

use footage::units::{AuthorisationId, TimeRange, WallTime};

/// The longest that an authorisation is in force, in years (L252-4).
pub const YEARS_MAX: i64 = 5;
/// The longest that a provisional one is, in months (L252-6, L252-7).
pub const PROVISIONAL_MONTHS_MAX: i64 = 4;

/// `[[tenant.authorisation]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorisation {
    /// Unique in the tenant.
    pub id: AuthorisationId,
    /// As the prefecture numbers it.
    pub number: String,
    /// When it was made.
    pub date: Date,
    /// The first day on which it is in force.
    pub from: Date,
    /// The last day on which it is.
    pub until: Date,
    /// For an event or an urgent need (L252-6, L252-7).
    pub provisional: bool,
    /// What for; never empty.
    pub purposes: Vec<Purpose>,
    /// Who may receive images.
    pub recipients: Vec<String>,
    /// Footage is destroyed at the latest at this age.
    pub max: Duration,
    /// It is kept at least so long.
    pub min: Duration,
    /// What becomes of recording when it ends.
    pub at_end: AtEnd,
}

/// What becomes of recording while an authorisation is not in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtEnd {
    /// Its cameras are not recorded.
    #[default]
    Stop,
    /// They are, with a critical alarm.
    RecordOn,
}

impl AtEnd {
    /// The word in configurations and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::RecordOn => "record_on",
        }
    }
}

/// What images may be recorded for (Code de la sécurité intérieure, L251-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// 1°: public buildings and installations, and what is around them.
    PublicBuildings,
    /// 2°: installations that national defence uses.
    NationalDefence,
    /// 3°: regulation of transport.
    TrafficRegulation,
    /// 4°: offences against traffic rules.
    TrafficOffences,
    /// 5°: persons and property in places that are exposed to assault, theft or drug trafficking.
    PersonsAndProperty,
    /// 6°: acts of terrorism.
    Terrorism,
    /// 7°: natural or technological risks.
    NaturalRisks,
    /// 8°: rescue of persons, fire.
    RescueAndFire,
    /// 9°: installations of amusement parks.
    AmusementParks,
    /// 10°: vehicles without insurance.
    VehicleInsurance,
    /// 11°: waste and other things that are dumped.
    WasteDumping,
    /// Last paragraphs: places open to the public that are exposed to assault or theft.
    PlacesOpenToPublic,
}

impl Purpose {
    /// All, in the order of the law.
    pub const ALL: [Self; 12] = [
        Self::PublicBuildings,
        Self::NationalDefence,
        Self::TrafficRegulation,
        Self::TrafficOffences,
        Self::PersonsAndProperty,
        Self::Terrorism,
        Self::NaturalRisks,
        Self::RescueAndFire,
        Self::AmusementParks,
        Self::VehicleInsurance,
        Self::WasteDumping,
        Self::PlacesOpenToPublic,
    ];

    /// The word in configurations and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PublicBuildings => "public_buildings",
            Self::NationalDefence => "national_defence",
            Self::TrafficRegulation => "traffic_regulation",
            Self::TrafficOffences => "traffic_offences",
            Self::PersonsAndProperty => "persons_and_property",
            Self::Terrorism => "terrorism",
            Self::NaturalRisks => "natural_or_technological_risks",
            Self::RescueAndFire => "rescue_and_fire",
            Self::AmusementParks => "amusement_parks",
            Self::VehicleInsurance => "vehicle_insurance",
            Self::WasteDumping => "waste_dumping",
            Self::PlacesOpenToPublic => "places_open_to_the_public",
        }
    }
}

/// What a camera records under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Basis {
    /// One of its tenant's authorisations.
    Authorisation(AuthorisationId),
    /// A basis outside title V of the code, in the words of the configuration.
    Outside(String),
    /// The configuration does not say.
    #[default]
    Unstated,
}

impl Basis {
    /// The word in answers.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Authorisation(_) => "authorisation",
            Self::Outside(_) => "outside_title_v",
            Self::Unstated => "unstated",
        }
    }
}

/// What a camera's picture shows (arrêté du 3 août 2007, art. 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Persons can be recognised.
    Narrow,
    /// They cannot.
    Wide,
}

impl View {
    /// The word in configurations and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Narrow => "narrow",
            Self::Wide => "wide",
        }
    }
}

/// How a camera stands in the law.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installation {
    /// What it records under.
    pub basis: Basis,
    /// Narrow or wide, where that is said.
    pub view: Option<View>,
    /// Persons or vehicles that it films move fast.
    pub fast_movement: bool,
    /// When its putting into service, or its last move, was declared (R252-17).
    pub declared: Option<Date>,
    /// Since when it films where it is.
    pub in_service: Option<Date>,
}

/// What recorded pictures have to have at least (arrêté du 3 août 2007, art. 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Norm {
    /// Pixels, the longer side.
    pub width: u16,
    /// Pixels, the shorter side.
    pub height: u16,
    /// Different pictures a second.
    pub pictures_per_s: u16,
}

/// A measured rate that is below the norm's by less is not below it.
const RATE_TOLERANCE: f64 = 0.5;

impl Norm {
    /// Whether pictures of this size are too small, whichever way the camera is turned.
    pub fn is_above_size(&self, width: u16, height: u16) -> bool {
        width.max(height) < self.width || width.min(height) < self.height
    }

    /// Whether so many a second, as measured, are too few.
    pub fn is_above_rate(&self, pictures_per_s: f64) -> bool {
        pictures_per_s < f64::from(self.pictures_per_s) - RATE_TOLERANCE
    }
}

impl Installation {
    /// The norm for what it shows; where that is not said, the least there is.
    pub fn norm(&self) -> Norm {
        match (self.view, self.fast_movement) {
            (Some(View::Narrow), true) => Norm { width: 704, height: 576, pictures_per_s: 12 },
            (Some(View::Narrow), false) => Norm { width: 704, height: 576, pictures_per_s: 6 },
            (Some(View::Wide) | None, _) => Norm { width: 352, height: 288, pictures_per_s: 6 },
        }
    }
}

/// So long before its end, an authorisation is to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// Time to prepare the request.
    SixMonths,
    /// Time to make it.
    FourMonths,
    /// Time to ask what became of it.
    FourWeeks,
    /// The same.
    TwoWeeks,
    /// The last.
    OneWeek,
}

impl Notice {
    /// All, the earliest first.
    pub const ALL: [Self; 5] = [Self::SixMonths, Self::FourMonths, Self::FourWeeks, Self::TwoWeeks, Self::OneWeek];

    /// The word in events and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SixMonths => "six_months",
            Self::FourMonths => "four_months",
            Self::FourWeeks => "four_weeks",
            Self::TwoWeeks => "two_weeks",
            Self::OneWeek => "one_week",
        }
    }

    fn span(self) -> Span {
        match self {
            Self::SixMonths => 6.months(),
            Self::FourMonths => 4.months(),
            Self::FourWeeks => 4.weeks(),
            Self::TwoWeeks => 2.weeks(),
            Self::OneWeek => 1.week(),
        }
    }
}

/// How an authorisation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Its first day has not come.
    NotYet,
    /// It is in force; its end is as near as the notice says.
    InForce(Option<Notice>),
    /// Its last day is over.
    Ended,
}

impl Validity {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotYet => "not_yet_in_force",
            Self::InForce(_) => "in_force",
            Self::Ended => "ended",
        }
    }
}

/// The time by which authorisations are judged: two readings, so that a clock that is wrong stops no recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instants {
    /// What is over is over by this.
    pub earliest: WallTime,
    /// What has begun has begun by this.
    pub latest: WallTime,
}

impl Instants {
    /// By one clock alone.
    pub fn at(now: WallTime) -> Self {
        Self { earliest: now, latest: now }
    }
}

impl Authorisation {
    /// The first instant at which it is in force.
    pub fn begins(&self, zone: &TimeZone) -> WallTime {
        midnight(self.from, zone)
    }

    /// The first instant after.
    pub fn ends(&self, zone: &TimeZone) -> WallTime {
        midnight(self.day_after(), zone)
    }

    /// How it stands.
    pub fn validity(&self, now: Instants, zone: &TimeZone) -> Validity {
        if now.earliest >= self.ends(zone) {
            return Validity::Ended;
        }
        if now.latest < self.begins(zone) {
            return Validity::NotYet;
        }
        let nearest = Notice::ALL.into_iter().rev().find(|notice| {
            let since = self.day_after().saturating_sub(notice.span());
            // One that is shorter than the notice has nothing to be told on its first day.
            since > self.from && now.earliest >= midnight(since, zone)
        });
        Validity::InForce(nearest)
    }

    /// Whether the norm holds for its cameras: not where they regulate traffic and do nothing else.
    pub fn has_norm(&self) -> bool {
        self.purposes != [Purpose::TrafficRegulation]
    }

    /// Whether its cameras are recorded when it stands so.
    pub fn permits(&self, validity: Validity) -> bool {
        matches!(validity, Validity::InForce(_)) || self.at_end == AtEnd::RecordOn
    }

    /// The time that its cameras may be recorded in; `None`: at any.
    pub fn recorded_in(&self, zone: &TimeZone) -> Option<TimeRange> {
        match self.at_end {
            AtEnd::RecordOn => None,
            AtEnd::Stop => TimeRange::new(self.begins(zone), self.ends(zone)),
        }
    }

    fn day_after(&self) -> Date {
        self.until.saturating_add(1.day())
    }
}

/// The beginning of a day.
fn midnight(day: Date, zone: &TimeZone) -> WallTime {
    let local = day.to_datetime(jiff::civil::Time::midnight());
    // Years beyond those of `jiff` are refused where dates are read.
    zone.to_ambiguous_timestamp(local).compatible().map_or(WallTime(i64::MAX), WallTime::from_timestamp)
}

#[cfg(test)]
pub(crate) mod tests {
    use jiff::civil::date;

    use super::*;

    pub(crate) fn authorisation(from: Date, until: Date) -> Authorisation {
        Authorisation {
            id: "streets".parse().unwrap(),
            number: "2026-117".to_owned(),
            date: from,
            from,
            until,
            provisional: false,
            purposes: vec![Purpose::PersonsAndProperty],
            recipients: vec!["municipal police".to_owned()],
            max: Duration::from_secs(15 * 86_400),
            min: Duration::ZERO,
            at_end: AtEnd::Stop,
        }
    }

    fn paris() -> TimeZone {
        TimeZone::get("Europe/Paris").unwrap()
    }

    #[test]
    fn h1_what_was_filmed_outside_of_an_authorisation_that_stops_recording_is_no_footage_of_its_cameras() {
        let mut of = authorisation(date(2026, 1, 5), date(2031, 1, 4));
        let range = of.recorded_in(&paris()).unwrap();
        assert_eq!(range.start(), "2026-01-04T23:00:00Z".parse().unwrap());
        assert_eq!(range.end(), "2031-01-04T23:00:00Z".parse().unwrap());
        of.at_end = AtEnd::RecordOn;
        assert_eq!(of.recorded_in(&paris()), None);
    }

    #[track_caller]
    fn check(of: &Authorisation, at: &str, expect: Validity) {
        assert_eq!(of.validity(Instants::at(at.parse().unwrap()), &paris()), expect, "{at}");
    }

    #[test]
    fn h1_an_authorisation_is_in_force_from_its_first_day_to_its_last_in_local_time_and_says_how_near_its_end_is() {
        let of = authorisation(date(2026, 1, 5), date(2031, 1, 4));
        check(&of, "2026-01-04T22:59:59Z", Validity::NotYet);
        check(&of, "2026-01-04T23:00:00Z", Validity::InForce(None));
        check(&of, "2030-07-04T21:59:59Z", Validity::InForce(None));
        check(&of, "2030-07-04T22:00:00Z", Validity::InForce(Some(Notice::SixMonths)));
        check(&of, "2030-09-05T00:00:00Z", Validity::InForce(Some(Notice::FourMonths)));
        check(&of, "2030-12-08T00:00:00Z", Validity::InForce(Some(Notice::FourWeeks)));
        check(&of, "2030-12-22T00:00:00Z", Validity::InForce(Some(Notice::TwoWeeks)));
        check(&of, "2031-01-04T22:59:59Z", Validity::InForce(Some(Notice::OneWeek)));
        check(&of, "2031-01-04T23:00:00Z", Validity::Ended);
    }

    #[test]
    fn h1_a_provisional_authorisation_of_a_month_is_not_near_its_end_on_its_first_day() {
        let of = authorisation(date(2026, 3, 1), date(2026, 3, 31));
        check(&of, "2026-03-01T12:00:00Z", Validity::InForce(None));
        check(&of, "2026-03-05T12:00:00Z", Validity::InForce(Some(Notice::FourWeeks)));
        check(&of, "2026-03-31T12:00:00Z", Validity::InForce(Some(Notice::OneWeek)));
    }

    #[test]
    fn h1_clocks_that_disagree_are_taken_as_recording_needs_it() {
        let of = authorisation(date(2026, 1, 5), date(2031, 1, 4));
        let [before, within, after] =
            ["2025-01-01T00:00:00Z", "2026-06-01T00:00:00Z", "2040-01-01T00:00:00Z"].map(|at| at.parse().unwrap());
        let validity = |earliest, latest| of.validity(Instants { earliest, latest }, &paris());
        assert_eq!(validity(before, within), Validity::InForce(None));
        assert_eq!(validity(within, after), Validity::InForce(None));
        assert_eq!(validity(after, after), Validity::Ended);
        assert_eq!(validity(before, before), Validity::NotYet);
        assert!(!of.permits(Validity::Ended) && !of.permits(Validity::NotYet));
        let on = Authorisation { at_end: AtEnd::RecordOn, ..of };
        assert!(on.permits(Validity::Ended) && on.permits(Validity::NotYet));
    }

    #[test]
    fn q2_narrow_views_and_fast_movement_ask_for_more() {
        let norm = |view, fast_movement| Installation { view, fast_movement, ..Installation::default() }.norm();
        let (narrow, fast) = (norm(Some(View::Narrow), false), norm(Some(View::Narrow), true));
        assert_eq!(norm(None, true), norm(Some(View::Wide), false));
        assert!(narrow.is_above_size(640, 480) && narrow.is_above_size(720, 400) && !narrow.is_above_size(576, 704));
        assert!(!norm(None, false).is_above_size(352, 288) && norm(None, false).is_above_size(320, 240));
        assert!(fast.is_above_rate(11.0) && !fast.is_above_rate(11.9) && !narrow.is_above_rate(6.0));
        let of = authorisation(date(2026, 1, 5), date(2031, 1, 4));
        let traffic = Authorisation { purposes: vec![Purpose::TrafficRegulation], ..of.clone() };
        assert!(of.has_norm() && !traffic.has_norm());
    }

    #[test]
    fn words_of_notices_are_those_of_the_encoding() {
        for notice in Notice::ALL {
            assert_eq!(serde_json::to_value(notice).unwrap(), notice.as_str());
        }
        for at_end in [AtEnd::Stop, AtEnd::RecordOn] {
            assert_eq!(serde_json::to_value(at_end).unwrap(), at_end.as_str());
        }
    }
}
