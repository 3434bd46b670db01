//! The file of a request: who asks for what, and each step that was done for it, by whom.
//!
//! ```text
//! received ─→ held ─→ prepared ─→ released ─→ handed over ─→ closed
//!     └─ refused (a person who was filmed, by a listed ground) ─┘
//! ```
//!
//! Invariant: a step that the state does not allow changes nothing, and the error says which steps are possible.
//! Absent on purpose: I/O, the clock. It is the shape of answers too.

use jiff::ToSpan;
use jiff::tz::TimeZone;
use journal::entry::Author;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::answer::{Ground, Regime};
pub(crate) use self::checks::{checked, line, purpose, text};
use super::DeskError;
use crate::event::RequestStep;
use footage::units::{CameraId, HoldId, RequestId, TimeRange, WallTime};

mod answer;
mod checks;

/// Characters of a line.
pub(crate) const LINE_CHARS_MAX: usize = 200;
/// Cameras times ranges of a request, and its holds.
pub(crate) const PARTS_MAX: usize = 64;
/// Scans of a request.
pub(crate) const SCANS_MAX: usize = 8;
/// Files of what was prepared.
const FILES_MAX: usize = 200;
/// Steps of a request that are not closings.
const STEPS_MAX: usize = 500;

/// Who asks, and on what ground.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Asker {
    /// A judicial requisition.
    Requisition {
        /// The authority: a court, a service of the police or gendarmerie.
        #[schema(example = "Commissariat de Lyon 3e")]
        authority: String,
        /// The officer.
        #[schema(example = "Brigadier-chef Martin")]
        officer: String,
        /// The officer's unit.
        #[schema(example = "BSU")]
        unit: String,
        /// The procedure's number.
        #[schema(example = "PV 2026/00117")]
        procedure: String,
        /// The article: of the code de procédure pénale, or of another text.
        #[schema(example = "CPP 77-1-1")]
        legal_basis: String,
    },
    /// A person who was filmed (Code de la sécurité intérieure, R253-6).
    PersonFilmed {
        /// Their name.
        name: String,
        /// Where they are answered.
        contact: String,
        /// What they ask for.
        wants: Wants,
        /// The purpose that the cameras record for, in the words of an authorisation: the regime follows from it.
        #[schema(example = "persons_and_property")]
        purpose: String,
    },
    /// A need of the tenant's own (Code de la sécurité intérieure, R253-4).
    Internal {
        /// The service.
        service: String,
        /// Who asks.
        person: String,
        /// For which kind of procedure.
        procedure_kind: ProcedureKind,
        /// The procedure's number.
        procedure: String,
    },
}

/// What a person who was filmed may ask for. There is no right to object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wants {
    /// To know whether they were filmed, and what is done with it.
    Access,
    /// A copy.
    Copy,
    /// To see it.
    Viewing,
    /// That it is kept and used for nothing else.
    Limitation,
}

/// A procedure of the tenant's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProcedureKind {
    /// Disciplinary.
    Disciplinary,
    /// Administrative.
    Administrative,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was taken in.
    Received,
    /// Holds are placed for it.
    Held,
    /// What is handed over is prepared.
    Prepared,
    /// That may be handed over.
    Released,
    /// That was handed over.
    HandedOver,
    /// It was refused.
    Refused,
    /// Nothing more is done for it.
    Closed,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Held => "held",
            Self::Prepared => "prepared",
            Self::Released => "released",
            Self::HandedOver => "handed_over",
            Self::Refused => "refused",
            Self::Closed => "closed",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Footage was handed over or shown.
    HandedOver,
    /// It was refused.
    Refused,
    /// Footage is kept and used for nothing else.
    Limited,
    /// There was no footage.
    NothingFound,
    /// It was withdrawn, or the paper never came.
    Withdrawn,
}

impl Outcome {
    /// The word in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HandedOver => "handed_over",
            Self::Refused => "refused",
            Self::Limited => "limited",
            Self::NothingFound => "nothing_found",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// Why a hold of a request is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldKind {
    /// Until the paper is there.
    PreHold,
    /// By the paper.
    Hold,
    /// A person asked for it.
    Limitation,
}

/// A stretch of time, its end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Period)]
pub struct Period {
    /// First instant, RFC 3339 with offset.
    #[schema(value_type = String, format = DateTime)]
    pub start: WallTime,
    /// First instant after it. It may lie ahead.
    #[schema(value_type = String, format = DateTime)]
    pub end: WallTime,
}

impl Period {
    pub(crate) fn range(self) -> Result<TimeRange, DeskError> {
        let bad = || DeskError::Invalid(format!("start ({}) must be before end ({})", self.start, self.end));
        TimeRange::new(self.start, self.end).ok_or_else(bad)
    }
}

/// A hold that was placed for a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HoldOfRequest)]
pub struct HoldOf {
    /// Its id.
    #[schema(value_type = String)]
    pub hold: HoldId,
    /// Why it is there.
    pub hold_kind: HoldKind,
    /// On which camera.
    #[schema(value_type = String)]
    pub camera: CameraId,
    /// Of which footage.
    pub period: Period,
    /// Kept until then.
    #[schema(value_type = String, format = DateTime)]
    pub until: WallTime,
    /// The request released it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
}

/// A scan of the paper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Scan {
    /// Counted from 1.
    pub number: u32,
    /// What it is.
    #[schema(example = "application/pdf")]
    pub media_type: String,
    /// Its length.
    pub bytes: u64,
    /// Its hash, which the journal has too.
    pub sha256: String,
}

/// A file of what is handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HashedFile {
    /// Its name.
    pub name: String,
    /// Its SHA-256, as 64 hexadecimal digits.
    pub sha256: String,
}

/// What was prepared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Prepared {
    /// The export, by its reference.
    pub export: String,
    /// Its files.
    pub files: Vec<HashedFile>,
    /// SHA-256 of the key that signed it, where the gateway made it: who verifies has it from the receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Who prepared it.
    #[schema(value_type = Object)]
    pub by: Author,
}

/// A hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandOver {
    /// To whom.
    pub recipient: String,
    /// Of which unit or service.
    pub unit: String,
    /// On what.
    pub medium: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: WallTime,
    /// The recipient may keep it until then; absent where a procedure needs it for longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub keep_until: Option<WallTime>,
    /// By whom.
    #[schema(value_type = Object)]
    pub by: Author,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// By which ground.
    pub ground: Ground,
    /// As the person is informed of it.
    pub explanation: String,
}

/// A step that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RequestStepDone)]
pub struct Done {
    /// Which.
    #[schema(value_type = String)]
    pub step: RequestStep,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: WallTime,
    /// By whom, and by which act.
    #[schema(value_type = Object)]
    pub by: Author,
    /// A hash, a ground, an outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The file of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RequestFile)]
pub struct File {
    /// Its id.
    #[schema(value_type = String)]
    pub id: RequestId,
    /// Counts its changes.
    pub version: u64,
    /// Who asks.
    pub asker: Asker,
    /// For footage of which cameras; may be empty where a place is named.
    #[schema(value_type = Vec<String>)]
    pub cameras: Vec<CameraId>,
    /// Of which place, where the cameras are not known yet.
    pub place: String,
    /// Of which times.
    pub periods: Vec<Period>,
    /// What else is to be known.
    pub note: String,
    /// Where the paper is, where no scan is attached.
    pub paper: String,
    /// Where it stands.
    pub state: State,
    /// When it was taken in.
    #[schema(value_type = String, format = DateTime)]
    pub received: WallTime,
    /// Which title of loi 78-17 governs the answer to a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regime: Option<Regime>,
    /// When an answer to a person is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due: Option<WallTime>,
    /// Its holds.
    pub holds: Vec<HoldOf>,
    /// Its scans.
    pub scans: Vec<Scan>,
    /// What was prepared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<Prepared>,
    /// Who released it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub released_by: Option<Author>,
    /// What was handed over, and to whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_over: Option<HandOver>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// When it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed: Option<WallTime>,
    /// It is destroyed then, with its scans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub destroy_at: Option<WallTime>,
    /// What was done, in its order.
    pub steps: Vec<Done>,
}

impl File {
    /// The procedure's number in one spelling: runs of letters, and of digits, in their order.
    pub(crate) fn procedure_key(&self) -> String {
        let (Asker::Requisition { procedure, .. } | Asker::Internal { procedure, .. }) = &self.asker else {
            return String::new();
        };
        let mut key = String::new();
        let mut before = None;
        for c in procedure.chars() {
            let class = c.is_alphanumeric().then(|| c.is_numeric());
            if class.is_some() && class != before && !key.is_empty() {
                key.push(' ');
            }
            before = class;
            key.extend(class.into_iter().flat_map(|_| c.to_lowercase()));
        }
        key
    }

    /// Whether it is open, and asks for all that the other does at a place of which no camera is known yet.
    pub(crate) fn asks_at_the_same_place(&self, other: &Self) -> bool {
        let asks_for = |period: &Period| self.periods.iter().any(|of| of.start <= period.start && period.end <= of.end);
        let is_place = self.cameras.is_empty() && same_words(&self.place, &other.place);
        self.state != State::Closed && is_place && other.periods.iter().all(asks_for)
    }

    /// What its holds name as their reference, requester and reason: never a person who was filmed.
    pub(crate) fn named(&self) -> (String, String, String) {
        let short = |text: String| text.chars().take(LINE_CHARS_MAX).collect();
        let (reference, requester, reason) = match &self.asker {
            Asker::Requisition { authority, officer, unit, procedure, legal_basis } => {
                (procedure.clone(), format!("{officer}, {unit}, {authority}"), legal_basis.clone())
            }
            Asker::PersonFilmed { wants, .. } => {
                let wants = serde_word(wants);
                (format!("request {}", self.id), "a person who was filmed".to_owned(), format!("CSI R253-6, {wants}"))
            }
            Asker::Internal { service, procedure_kind, procedure, .. } => {
                (procedure.clone(), service.clone(), format!("CSI R253-4, {}", serde_word(procedure_kind)))
            }
        };
        (short(reference), short(requester), short(reason))
    }

    /// Every camera with every period.
    pub(crate) fn parts(&self) -> Result<Vec<(CameraId, TimeRange)>, DeskError> {
        let mut parts = Vec::new();
        for camera in &self.cameras {
            for period in &self.periods {
                parts.push((camera.clone(), period.range()?));
            }
        }
        Ok(parts)
    }

    /// Every camera that it names, or holds.
    pub(crate) fn all_cameras(&self) -> Vec<CameraId> {
        let mut cameras: Vec<_> = self.cameras.iter().chain(self.holds.iter().map(|of| &of.camera)).cloned().collect();
        cameras.sort();
        cameras.dedup();
        cameras
    }

    /// From the first to the last instant that it asks for.
    pub(crate) fn extent(&self) -> Option<TimeRange> {
        let start = self.periods.iter().map(|period| period.start).min()?;
        TimeRange::new(start, self.periods.iter().map(|period| period.end).max()?)
    }

    pub(crate) fn needs(&self, step: &str, states: &[State]) -> Result<(), DeskError> {
        if self.steps.len() >= STEPS_MAX && step != "close" {
            return Err(DeskError::NotNow(format!("request {} has {STEPS_MAX} steps already: close it", self.id)));
        }
        if states.contains(&self.state) {
            return Ok(());
        }
        let states: Vec<_> = states.iter().map(|state| state.as_str()).collect();
        Err(DeskError::NotNow(format!(
            "request {} is {}: {step} is possible where one is {}",
            self.id,
            self.state.as_str(),
            states.join(" or ")
        )))
    }

    /// Whether the paper is there: by a scan, or by where it is kept.
    pub(crate) fn needs_paper(&self) -> Result<(), DeskError> {
        let is_there = !self.scans.is_empty() || !self.paper.is_empty();
        if is_there || !matches!(self.asker, Asker::Requisition { .. }) {
            return Ok(());
        }
        Err(DeskError::NotNow(format!(
            "request {} has no paper: attach a scan, or say where the paper is kept (paper)",
            self.id
        )))
    }

    pub(crate) fn prepare(&mut self, prepared: Prepared) -> Result<(), DeskError> {
        use State::{Held, Prepared, Received};
        self.needs("prepare", &[Received, Held, Prepared])?;
        self.needs_paper()?;
        if prepared.files.len() > FILES_MAX {
            return Err(DeskError::Invalid(format!("at most {FILES_MAX} files are listed: hash a list of them")));
        }
        for file in &prepared.files {
            line("the name of a file", &file.name, true)?;
            if file.sha256.len() != 64 || !file.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(DeskError::Invalid("sha256 is 64 hexadecimal digits".to_owned()));
            }
        }
        line("export", &prepared.export, true)?;
        (self.state, self.prepared, self.released_by) = (Prepared, Some(prepared), None);
        Ok(())
    }

    pub(crate) fn release(&mut self, by: &Author, two_persons: bool) -> Result<(), DeskError> {
        self.needs("release", &[State::Prepared])?;
        let Some(prepared) = &self.prepared else { return self.needs("release", &[]) };
        if two_persons {
            match (&prepared.by, by) {
                // Who is designated twice is one person.
                (Author::Person(one), Author::Person(other))
                    if one.id != other.id && !same_words(&one.name, &other.name) => {}
                _ => return Err(DeskError::SamePerson),
            }
        }
        (self.state, self.released_by) = (State::Released, Some(by.clone()));
        Ok(())
    }

    pub(crate) fn hand_over(&mut self, hand_over: HandOver) -> Result<(), DeskError> {
        self.needs("hand over", &[State::Released])?;
        line("recipient", &hand_over.recipient, true)?;
        line("unit", &hand_over.unit, false)?;
        line("medium", &hand_over.medium, true)?;
        (self.state, self.hand_over) = (State::HandedOver, Some(hand_over));
        Ok(())
    }

    pub(crate) fn refuse(&mut self, refusal: Refusal) -> Result<(), DeskError> {
        if !matches!(self.asker, Asker::PersonFilmed { .. }) {
            let what = "only a request of a person who was filmed is refused by a ground: close this one as withdrawn";
            return Err(DeskError::NotNow(what.to_owned()));
        }
        self.needs("refuse", &[State::Received, State::Held, State::Prepared])?;
        text("explanation", &refusal.explanation)?;
        if refusal.ground == Ground::Unfounded && self.regime != Some(Regime::TitleIi) {
            return Err(DeskError::Invalid("a request is unfounded or excessive under title II alone".to_owned()));
        }
        (self.state, self.refusal) = (State::Refused, Some(refusal));
        Ok(())
    }

    pub(crate) fn close(&mut self, outcome: Outcome, at: WallTime, destroy_at: WallTime) -> Result<(), DeskError> {
        use State::{HandedOver, Held, Prepared, Received, Refused, Released};
        let states: &[State] = match outcome {
            Outcome::HandedOver => &[HandedOver],
            Outcome::Refused => &[Refused],
            Outcome::Limited => &[Held],
            Outcome::NothingFound => &[Received, Held],
            Outcome::Withdrawn => &[Received, Held, Prepared, Released],
        };
        self.needs("close", states)?;
        let limits = matches!(self.asker, Asker::PersonFilmed { wants: Wants::Limitation, .. });
        if outcome == Outcome::Limited && !limits {
            return Err(DeskError::NotNow("limited is how a request for limitation ends".to_owned()));
        }
        (self.state, self.outcome, self.closed, self.destroy_at) =
            (State::Closed, Some(outcome), Some(at), Some(destroy_at));
        Ok(())
    }
}

/// Whether two texts differ by spaces and capitals at most.
fn same_words(one: &str, other: &str) -> bool {
    let words = |text: &str| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>();
    words(one) == words(other)
}

/// The word of a plain variant in its encoding.
pub(crate) fn serde_word(of: &impl Serialize) -> String {
    let word = serde_json::to_value(of).ok().and_then(|value| value.as_str().map(str::to_owned));
    word.unwrap_or_default()
}

/// So many months after, in this zone.
pub(crate) fn months_after(at: WallTime, months: i32, zone: &TimeZone) -> WallTime {
    let later = zone.to_datetime(at.to_timestamp()).checked_add(months.months());
    let later = later.and_then(|local| zone.to_ambiguous_timestamp(local).earlier());
    later.map_or(at, WallTime::from_timestamp)
}
