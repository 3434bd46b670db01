//! The same as tables: a row for each camera, day, destruction, hold, author, entry of the journal.

use std::ops::ControlFlow;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use journal::entry::{Author, Entry};

use super::activity::{days_around, is_destruction, is_in};
use super::days::DayOf;
use super::{InspectedCamera, Inspection, InspectionError, Inspector};
use crate::event::words::Language;
use crate::index::hold::HoldRow;
use crate::printed::Csv;
use footage::units::{TICKS_PER_SECOND, TenantId, Ticks90k, TimeRange, WallTime};

/// A table, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Each camera: policy, what is kept, what is over age.
    Cameras,
    /// Each day of each camera: footage, gaps by cause, what was destroyed.
    Days,
    /// The register of destructions.
    Destructions,
    /// Legal holds.
    Holds,
    /// Who acted on footage, how often, of which cameras.
    Accesses,
    /// The journal, without what was destroyed.
    Journal,
}

impl Table {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Cameras, Self::Days, Self::Destructions, Self::Holds, Self::Accesses, Self::Journal];

    /// Its name, in addresses and of its file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cameras => "cameras",
            Self::Days => "days",
            Self::Destructions => "destructions",
            Self::Holds => "holds",
            Self::Accesses => "accesses",
            Self::Journal => "journal",
        }
    }
}

impl std::str::FromStr for Table {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|of| of.as_str() == name)
            .ok_or_else(|| format!("no table {name}: there are {}", all()))
    }
}

/// An instant, in the time zone with its offset.
pub(super) fn local(at: WallTime, zone: &TimeZone) -> String {
    stamp(at.to_timestamp(), zone)
}

pub(super) fn stamp(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

pub(super) fn seconds(length: Ticks90k) -> String {
    (length.0 / TICKS_PER_SECOND).to_string()
}

pub(super) fn hours(length: Ticks90k) -> String {
    (length.0 / TICKS_PER_SECOND / 3_600).to_string()
}

/// Who acts, and by which act.
pub fn author(of: &Author, language: Language) -> (String, String) {
    let without_act = |english: &str, french: &str| (language.pick(english, french).to_owned(), String::new());
    match of {
        Author::Gateway => without_act("gateway", "passerelle"),
        Author::Operator => without_act("operator of the machine", "exploitant de la machine"),
        Author::AccessToken => without_act("access token", "jeton d'accès"),
        Author::Loopback => without_act("the machine itself", "la machine elle-même"),
        Author::Person(person) => (format!("{} ({})", person.name, person.id), person.act.clone()),
    }
}

impl Inspection {
    /// The table as a file for spreadsheets. That of the journal comes by [`Inspector::journal_table`].
    pub fn table(&self, table: Table, language: Language, zone: &TimeZone) -> String {
        match table {
            Table::Cameras => self.cameras_table(language, zone),
            Table::Days => self.days_table(language),
            Table::Destructions => self.destructions_table(language, zone),
            Table::Holds => self.holds_table(language, zone),
            Table::Accesses | Table::Journal => self.accesses_table(language, zone),
        }
    }

    fn cameras_table(&self, language: Language, zone: &TimeZone) -> String {
        let mut csv = Csv::new(
            language,
            &[
                "camera",
                "name",
                "place",
                "configured",
                "max_hours",
                "min_hours",
                "oldest",
                "newest",
                "over_age_packs",
                "over_age_since",
                "over_age_cause",
                "kept_longest_hours",
                "kept_shortest_hours",
                "late_days",
                "early_days",
                "absent_packs",
                "camera_clock_offset_ms",
                "runs_with_wrong_times",
            ],
        );
        for of in &self.cameras {
            let InspectedCamera { row, footage, over_age, achieved, .. } = of;
            let age = |length: Option<Ticks90k>| length.map(hours).unwrap_or_default();
            let causes: Vec<_> = over_age.iter().map(|of| of.why.as_str()).collect();
            csv.row(&[
                row.key.camera.to_string(),
                row.name.clone(),
                row.place.clone(),
                row.configured.to_string(),
                hours(row.retention_max),
                hours(row.retention_min),
                footage.map(|of| local(of.start(), zone)).unwrap_or_default(),
                footage.map(|of| local(of.end(), zone)).unwrap_or_default(),
                over_age.iter().map(|of| of.packs).sum::<u64>().to_string(),
                over_age.iter().map(|of| of.start).min().map(|at| local(at, zone)).unwrap_or_default(),
                causes.join(" "),
                age(achieved.longest),
                age(achieved.shortest),
                achieved.late_days.to_string(),
                achieved.early_days.to_string(),
                achieved.absent_packs.to_string(),
                of.clock_offset.map(|of| (of.0 / 90).to_string()).unwrap_or_default(),
                of.misdated.to_string(),
            ]);
        }
        csv.finish()
    }

    fn days_table(&self, language: Language) -> String {
        let heads =
            ["camera", "day", "footage_seconds", "gap_seconds", "causes", "destroyed_seconds", "not_recorded_seconds"];
        let mut csv = Csv::new(language, &heads);
        for of in &self.cameras {
            for DayOf { day, covered, gaps, destroyed, not_recorded } in &of.days {
                let causes: Vec<_> =
                    gaps.iter().map(|(cause, length)| format!("{}={}", cause.as_str(), seconds(*length))).collect();
                csv.row(&[
                    of.row.key.camera.to_string(),
                    day.to_string(),
                    seconds(*covered),
                    seconds(Ticks90k(gaps.values().map(|length| length.0).sum())),
                    causes.join(" "),
                    seconds(*destroyed),
                    seconds(*not_recorded),
                ]);
            }
        }
        csv.finish()
    }

    fn destructions_table(&self, language: Language, zone: &TimeZone) -> String {
        let heads = [
            "camera",
            "footage_from",
            "footage_to",
            "reason",
            "outcome",
            "packs",
            "bytes",
            "first_destroyed",
            "last_destroyed",
        ];
        let mut csv = Csv::new(language, &heads);
        for of in &self.cameras {
            for row in &of.register {
                csv.row(&[
                    of.row.key.camera.to_string(),
                    local(row.range.start(), zone),
                    local(row.range.end(), zone),
                    row.reason.as_str().to_owned(),
                    row.outcome.as_str().to_owned(),
                    row.packs.to_string(),
                    row.bytes.to_string(),
                    local(row.first_at, zone),
                    local(row.last_at, zone),
                ]);
            }
        }
        csv.finish()
    }

    fn holds_table(&self, language: Language, zone: &TimeZone) -> String {
        let heads = [
            "hold",
            "camera",
            "footage_from",
            "footage_to",
            "reference",
            "requester",
            "reason",
            "placed",
            "until",
            "closed",
        ];
        let mut csv = Csv::new(language, &heads);
        for HoldRow { camera, facts, closed } in self.cameras.iter().flat_map(|of| &of.holds) {
            csv.row(&[
                facts.id.to_string(),
                camera.camera.to_string(),
                local(facts.range.start(), zone),
                local(facts.range.end(), zone),
                facts.reference.clone(),
                facts.requester.clone(),
                facts.reason.clone(),
                local(facts.placed, zone),
                local(facts.until, zone),
                closed.map(|at| local(at, zone)).unwrap_or_default(),
            ]);
        }
        csv.finish()
    }

    fn accesses_table(&self, language: Language, zone: &TimeZone) -> String {
        let heads = ["author", "act", "way", "times", "cameras", "first", "last", "without_reason", "sent_seconds"];
        let mut csv = Csv::new(language, &heads);
        for ((who, way), of) in &self.activities.by_author {
            let (name, act) = author(who, language);
            let cameras: Vec<_> = of.cameras.iter().map(ToString::to_string).collect();
            csv.row(&[
                name,
                act,
                way.as_str().to_owned(),
                of.times.to_string(),
                cameras.join(" "),
                of.first.map(|at| stamp(at, zone)).unwrap_or_default(),
                of.last.map(|at| stamp(at, zone)).unwrap_or_default(),
                of.without_reason.to_string(),
                (of.sent_ms / 1_000).to_string(),
            ]);
        }
        csv.finish()
    }
}

/// One entry as cells: what it is about in a last one, as its encoding has it.
pub(super) fn entry_cells(entry: &Entry, language: Language, zone: &TimeZone) -> [String; 11] {
    let (name, act) = author(&entry.draft.author, language);
    let facts = serde_json::to_value(&entry.draft.action).unwrap_or_default();
    let action = facts["action"].as_str().unwrap_or_default().to_owned();
    let others = facts.as_object().into_iter().flatten();
    let others = others.filter(|(name, value)| *name != "action" && !value.is_null());
    let plain = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let others: Vec<_> = others.map(|(name, value)| format!("{name}={}", plain(value))).collect();
    let cameras: Vec<_> = entry.draft.cameras.iter().map(ToString::to_string).collect();
    [
        entry.n.to_string(),
        stamp(entry.at, zone),
        name,
        act,
        entry.draft.address.map(|of| of.to_string()).unwrap_or_default(),
        action,
        cameras.join(" "),
        entry.draft.range.map(|of| format!("{} {}", stamp(of.from, zone), stamp(of.to, zone))).unwrap_or_default(),
        entry.draft.reason.clone().unwrap_or_default(),
        entry.draft.recipient.clone().unwrap_or_default(),
        others.join(" "),
    ]
}

/// A longer table is cut, and says so.
const JOURNAL_BYTES_MAX: usize = 64 << 20;

impl Inspector {
    /// The journal of a time as a table, without what was destroyed: the register has that.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn journal_table(
        &self,
        tenant: &TenantId,
        range: TimeRange,
        language: Language,
    ) -> Result<String, InspectionError> {
        let zone = self.zone.clone();
        let heads = [
            "number",
            "at",
            "author",
            "act",
            "address",
            "action",
            "cameras",
            "footage",
            "reason",
            "recipient",
            "facts",
        ];
        let take = move |csv: &mut Csv, line: &[u8]| {
            if csv.bytes() > JOURNAL_BYTES_MAX {
                csv.row(&["cut here: ask for a shorter time"]);
                return ControlFlow::Break(());
            }
            let entry = if is_destruction(line) { None } else { serde_json::from_slice::<Entry>(line).ok() };
            if let Some(entry) = entry.filter(|entry| is_in(entry, range)) {
                csv.row(&entry_cells(&entry, language, &zone));
            }
            ControlFlow::Continue(())
        };
        let csv = Csv::new(language, &heads);
        Ok(self.journals.fold(tenant, days_around(range), csv, take).await?.finish())
    }
}
