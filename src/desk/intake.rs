//! What is taken in, and the file that is made of it.

use jiff::tz::TimeZone;
use serde::Deserialize;
use utoipa::ToSchema;

use super::DeskError;
use super::file::{Asker, File, PARTS_MAX, Period, Regime, State, checked, line, months_after, purpose, text};
use footage::units::{CameraId, RequestId, WallTime};

/// What is taken in.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Intake {
    /// Who asks.
    pub asker: Asker,
    /// For footage of which cameras; needed where no place is named.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub cameras: Vec<CameraId>,
    /// Of which place, where the cameras are not known yet.
    #[serde(default)]
    pub place: String,
    /// Of which times, past or to come.
    pub periods: Vec<Period>,
    /// What else is to be known.
    #[serde(default)]
    pub note: String,
    /// Where the paper is, where no scan will be attached.
    #[serde(default)]
    pub paper: String,
}

/// The file of what is taken in.
pub(super) fn taken_in(intake: Intake, now: WallTime, zone: &TimeZone) -> Result<File, DeskError> {
    let Intake { asker, mut cameras, place, periods, note, paper } = intake;
    checked(&asker)?;
    line("place", &place, false)?;
    line("paper", &paper, false)?;
    text("note", &note)?;
    cameras.sort();
    cameras.dedup();
    if cameras.is_empty() && place.trim().is_empty() {
        return Err(DeskError::Invalid("a request names cameras, or a place".to_owned()));
    }
    if periods.is_empty() || periods.len() * cameras.len().max(1) > PARTS_MAX {
        return Err(DeskError::Invalid(format!("a request has from 1 to {PARTS_MAX} periods of cameras")));
    }
    let regime = match &asker {
        Asker::PersonFilmed { purpose: word, .. } => Some(Regime::of(purpose(word)?)),
        Asker::Requisition { .. } | Asker::Internal { .. } => None,
    };
    let file = File {
        id: RequestId::generate(now),
        version: 0,
        asker,
        cameras,
        place,
        periods,
        note,
        paper,
        state: State::Received,
        received: now,
        regime,
        due: regime.map(|regime| months_after(now, regime.months(), zone)),
        holds: Vec::new(),
        scans: Vec::new(),
        prepared: None,
        released_by: None,
        hand_over: None,
        refusal: None,
        outcome: None,
        closed: None,
        destroy_at: None,
        steps: Vec::new(),
    };
    for period in &file.periods {
        period.range()?;
    }
    if file.procedure_key().is_empty() && !matches!(file.asker, Asker::PersonFilmed { .. }) {
        return Err(DeskError::Invalid("procedure is a number with letters or digits".to_owned()));
    }
    Ok(file)
}
