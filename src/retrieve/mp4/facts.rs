//! What a clip says of itself in words: of which camera, where, whose, when, and by which clock.
//!
//! Invariant: it depends on what is asked, on the footage and on what is on record of the camera, never on who asks or when:
//! ranges of a clip's bytes fit together.

use serde::Serialize;

use super::layout::Layout;
use super::{ClipRequest, Gaps};
use crate::index::CameraRow;
use crate::index::clock::MisdatedRun;
use crate::retrieve::FootageOf;
use crate::retrieve::labels::Labels;
use footage::units::{Ticks90k, TimeRange};

/// Stretches that are named; of more, how many.
const NAMED_MAX: usize = 1_000;

/// The facts in the file, as JSON.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Facts {
    version: u8,
    camera: String,
    name: String,
    place: String,
    tenant: String,
    authority: String,
    time_zone: String,
    asked: Local,
    covers: Local,
    gaps: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
    stretches: Vec<Local>,
    #[serde(skip_serializing_if = "is_none")]
    more_stretches: usize,
    clock: Clock,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// Local times with their offsets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Local {
    start: String,
    end: String,
}

impl Local {
    fn new(labels: &Labels, range: TimeRange) -> Self {
        Self { start: labels.local(range.start()), end: labels.local(range.end()) }
    }
}

/// How the times came to be.
#[derive(Clone, Debug, Serialize)]
struct Clock {
    /// Times are the gateway's.
    source: &'static str,
    /// The camera's clock minus the gateway's, as the camera sent it with its pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    camera_offset_ms: Option<Offsets>,
    /// Footage whose times are known to be wrong since the gateway's clock was set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    known_wrong: Vec<KnownWrong>,
}

#[derive(Clone, Debug, Serialize)]
struct Offsets {
    least: i64,
    most: i64,
}

#[derive(Clone, Debug, Serialize)]
struct KnownWrong {
    #[serde(flatten)]
    range: Local,
    /// Its times minus the right ones.
    error_ms: i64,
}

/// What is on record beside the footage.
pub(super) struct OnRecord<'a> {
    pub(super) row: &'a CameraRow,
    pub(super) labels: &'a Labels,
    pub(super) misdated: &'a [MisdatedRun],
}

impl Facts {
    pub(super) fn new(layout: &Layout, asked: &ClipRequest, on_record: &OnRecord<'_>) -> Self {
        let OnRecord { row, labels, misdated } = on_record;
        let tenant = &row.key.tenant;
        let wrong = misdated.iter().filter(|run| layout.runs.contains(&run.run));
        let known_wrong =
            wrong.map(|run| KnownWrong { range: Local::new(labels, run.range), error_ms: run.error.0 / 90 });
        let ms = |offset: Ticks90k| offset.0.div_euclid(90);
        Self {
            version: 1,
            camera: row.key.camera.to_string(),
            name: row.name.clone(),
            place: row.place.clone(),
            tenant: tenant.to_string(),
            authority: labels.authorities.get(tenant).cloned().unwrap_or_else(|| tenant.to_string()),
            time_zone: labels.zone_name().to_owned(),
            asked: Local::new(labels, asked.range),
            covers: Local::new(labels, layout.covers),
            gaps: match asked.gaps {
                Gaps::Held => "held",
                Gaps::Joined => "joined",
            },
            part: asked.part,
            hold: match asked.from {
                FootageOf::Hold(id) => Some(id.to_string()),
                FootageOf::Timeline | FootageOf::Run(_) => None,
            },
            stretches: layout.stretches.iter().take(NAMED_MAX).map(|range| Local::new(labels, *range)).collect(),
            more_stretches: layout.stretches.len().saturating_sub(NAMED_MAX),
            clock: Clock {
                source: "gateway",
                camera_offset_ms: layout.camera_clock.map(|(least, most)| Offsets { least: ms(least), most: ms(most) }),
                known_wrong: known_wrong.collect(),
            },
        }
    }

    /// As the file holds them.
    pub(super) fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Of the camera, for programs that show a source.
    pub(super) fn source(&self) -> &str {
        &self.name
    }

    /// What players show as the title.
    pub(super) fn title(&self) -> String {
        format!("{}, {}, {}", self.name, self.place, self.covers.start)
    }

    /// Whose footage it is.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// First instant, in local time.
    pub(super) fn start(&self) -> &str {
        &self.covers.start
    }

    /// What else a person needs to read a time in it.
    pub(super) fn comment(&self) -> String {
        let gaps = match (self.stretches.len() + self.more_stretches, self.gaps) {
            (0 | 1, _) => "no gap".to_owned(),
            (stretches, "held") => format!("gaps: {}, the last picture before each stays over it", stretches - 1),
            (stretches, _) => format!("gaps: {}, they take no time", stretches - 1),
        };
        let camera = self.clock.camera_offset_ms.as_ref().map_or(String::new(), |Offsets { least, most }| {
            format!("; the camera's clock was {least} to {most} ms ahead of it")
        });
        let wrong = if self.clock.known_wrong.is_empty() { "" } else { "; TIMES KNOWN TO BE WRONG, see the facts" };
        format!(
            "camera {}/{}, {} to {}, {}; {gaps}; times by the gateway's clock{camera}{wrong}",
            self.tenant, self.camera, self.covers.start, self.covers.end, self.time_zone
        )
    }
}
