//! The same as pages to print: what an inspector and the town's data protection officer read, and the proof that a day of a
//! camera is destroyed.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::activity::{Listed, Way};
use super::destroyed::{Destruction, Disagreement, Verdict};
use super::tables::{author, entry_cells, hours, seconds};
use super::{InspectedCamera, Inspection};
use crate::event::words::{Language, cause};
use crate::index::inspect::OverAgeCause;
use crate::index::{DeletionRow, Outcome, Reason};
use crate::printed::Page;
use footage::units::{TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

/// Rows of a table on paper; the tables for spreadsheets have all.
const ROWS_MAX: usize = 500;

/// What pages are made with.
#[derive(Clone, Debug)]
pub struct Reader {
    /// Of their words.
    pub language: Language,
    /// Of their times.
    pub zone: TimeZone,
    /// The authority whose footage it is.
    pub authority: String,
}

impl Reader {
    fn t(&self, english: &'static str, french: &'static str) -> &'static str {
        self.language.pick(english, french)
    }

    /// With its offset: the hour that comes twice is unambiguous.
    fn time(&self, at: Timestamp) -> String {
        at.to_zoned_datetime(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
    }

    fn at(&self, at: WallTime) -> String {
        self.time(at.to_timestamp())
    }

    fn range(&self, range: TimeRange) -> String {
        format!("{} → {}", self.at(range.start()), self.at(range.end()))
    }

    fn way(&self, way: Way) -> &'static str {
        match way {
            Way::Live => self.t("live", "direct"),
            Way::Playback => self.t("playback", "relecture"),
            Way::Snapshot => self.t("picture", "photo"),
            Way::Export => self.t("export", "extraction"),
            Way::Denied => self.t("denied", "refusé"),
        }
    }

    fn reason(&self, reason: Reason) -> &'static str {
        match reason {
            Reason::Expired => self.t("its time was over", "délai échu"),
            Reason::DiskFull => self.t("the disk was full", "disque plein"),
            Reason::HoldEnded => self.t("its hold was over", "fin de mise en réserve"),
        }
    }

    fn outcome(&self, outcome: Outcome) -> &'static str {
        match outcome {
            Outcome::Destroyed => self.t("destroyed", "détruit"),
            Outcome::WasAbsent => self.t("was absent", "était absent"),
        }
    }

    fn over_age(&self, why: OverAgeCause) -> &'static str {
        match why {
            OverAgeCause::AwaitsCopy => self
                .t("a hold covers it and is not done with its copy", "une mise en réserve n'a pas fini de le copier"),
            OverAgeCause::NotDeleted => {
                self.t("its store has not acknowledged the deletion", "l'entrepôt n'a pas confirmé la suppression")
            }
            OverAgeCause::NotCondemned => {
                self.t("retention has not taken it", "le balayage de conservation ne l'a pas pris")
            }
        }
    }

    fn register(&self, page: &mut Page, camera: Option<&str>, rows: &[DeletionRow]) {
        let heads = [
            self.t("Camera", "Caméra"),
            self.t("Footage", "Images"),
            self.t("Reason", "Motif"),
            self.t("Outcome", "Résultat"),
            self.t("Packs", "Lots"),
            self.t("First and last destruction", "Première et dernière destruction"),
        ];
        let row = |row: &DeletionRow| {
            vec![
                camera.unwrap_or_default().to_owned(),
                self.range(row.range),
                self.reason(row.reason).to_owned(),
                self.outcome(row.outcome).to_owned(),
                row.packs.to_string(),
                format!("{} → {}", self.at(row.first_at), self.at(row.last_at)),
            ]
        };
        page.table(&heads, &rows.iter().map(row).collect::<Vec<_>>());
    }

    fn entries(&self, page: &mut Page, listed: &Listed) {
        let heads = [
            self.t("No.", "N°"),
            self.t("At", "Le"),
            self.t("Author, act, address", "Auteur, acte, adresse"),
            self.t("Action", "Action"),
            self.t("Cameras, footage", "Caméras, images"),
            self.t("Reason, recipient", "Motif, destinataire"),
        ];
        let joined = |parts: &[&String]| {
            let parts: Vec<&str> = parts.iter().map(|part| part.as_str()).filter(|part| !part.is_empty()).collect();
            parts.join(", ")
        };
        let row = |entry: &journal::entry::Entry| {
            let [number, _, name, act, address, action, cameras, _, reason, recipient, facts] =
                entry_cells(entry, self.language, &self.zone);
            let at = self.time(entry.at);
            let footage = entry.draft.range.map(|of| format!("{} → {}", self.time(of.from), self.time(of.to)));
            vec![
                number,
                at,
                joined(&[&name, &act, &address]),
                joined(&[&action, &facts]),
                joined(&[&cameras, &footage.unwrap_or_default()]),
                joined(&[&reason, &recipient]),
            ]
        };
        let rows: Vec<_> = listed.entries.iter().take(ROWS_MAX).map(row).collect();
        let more = listed.more + listed.entries.len().saturating_sub(ROWS_MAX) as u64;
        page.table(&heads, &rows);
        self.and_more(page, more);
    }

    fn and_more(&self, page: &mut Page, more: u64) {
        if more > 0 {
            let tables = self.t("more: the tables have them", "de plus : voir les tableaux");
            page.paragraph(&format!("{more} {tables}"));
        }
    }
}

/// The inspection as one page.
pub fn inspection(of: &Inspection, reader: &Reader) -> String {
    let title = reader.t("Video protection: state for an inspection", "Vidéoprotection : état pour un contrôle");
    let mut page = Page::new(reader.language, title);
    let period = format!("{} {}", reader.t("Period:", "Période :"), reader.range(of.range));
    let made =
        format!("{} {}, Vigie {}", reader.t("Made at", "Établi le"), reader.at(of.at), env!("CARGO_PKG_VERSION"));
    let checkpoint = of.checkpoint.as_deref().unwrap_or("–");
    let checkpoint = format!("{} {checkpoint}", reader.t("Journal checkpoint:", "Point de contrôle du journal :"));
    page.lines(&format!("{} ({})", reader.authority, of.tenant), &[&period, &made, &checkpoint]);
    over_age(of, reader, &mut page);
    cameras(of, reader, &mut page);
    incomplete_days(of, reader, &mut page);
    page.section(reader.t("Destructions", "Destructions"));
    let mut left = ROWS_MAX;
    if of.cameras.iter().all(|camera| camera.register.is_empty()) {
        reader.register(&mut page, None, &[]);
    }
    for camera in &of.cameras {
        let rows = &camera.register[..camera.register.len().min(left)];
        if !rows.is_empty() {
            reader.register(&mut page, Some(camera.row.key.camera.as_str()), rows);
            left -= rows.len();
        }
    }
    let all: usize = of.cameras.iter().map(|camera| camera.register.len()).sum();
    reader.and_more(&mut page, (all + left).saturating_sub(ROWS_MAX) as u64);
    holds(of, reader, &mut page);
    accesses(of, reader, &mut page);
    page.section(reader.t("Exports and recipients", "Extractions et destinataires"));
    reader.entries(&mut page, &of.activities.exports);
    page.section(
        reader.t("Changes of settings, persons and holds", "Changements de réglages, de personnes, de réserves"),
    );
    reader.entries(&mut page, &of.activities.changes);
    page.finish()
}

fn over_age(of: &Inspection, reader: &Reader, page: &mut Page) {
    page.section(reader.t("Footage kept beyond its time", "Images conservées au-delà du délai"));
    let row = |camera: &InspectedCamera| -> Vec<Vec<String>> {
        let row = |over: &crate::index::inspect::OverAge| {
            let range = TimeRange::new(over.start, over.end).map(|range| reader.range(range)).unwrap_or_default();
            let why = reader.over_age(over.why).to_owned();
            vec![camera.row.key.camera.to_string(), range, over.packs.to_string(), why]
        };
        camera.over_age.iter().map(row).collect()
    };
    let heads = [
        reader.t("Camera", "Caméra"),
        reader.t("Footage", "Images"),
        reader.t("Packs", "Lots"),
        reader.t("Why", "Pourquoi"),
    ];
    page.table(&heads, &of.cameras.iter().flat_map(row).collect::<Vec<_>>());
}

fn cameras(of: &Inspection, reader: &Reader, page: &mut Page) {
    page.section(&format!("{} ({})", reader.t("Cameras", "Caméras"), of.cameras.len()));
    let row = |camera: &InspectedCamera| {
        let InspectedCamera { row, footage, achieved, .. } = camera;
        let age =
            |length: Option<Ticks90k>| length.map_or_else(|| "–".to_owned(), |length| format!("{} h", hours(length)));
        let faults = format!("{} / {} / {}", achieved.late_days, achieved.early_days, achieved.absent_packs);
        let clock = camera.clock_offset.map_or_else(|| "–".to_owned(), |of| format!("{} ms", of.0 / 90));
        vec![
            format!("{} ({})", row.name, row.key.camera),
            row.place.clone(),
            format!("{}–{} h", hours(row.retention_min), hours(row.retention_max)),
            footage.map_or_else(|| "–".to_owned(), |range| reader.range(range)),
            match (achieved.shortest, achieved.longest) {
                (None, None) => "–".to_owned(),
                (shortest, longest) => format!("{} – {}", age(shortest), age(longest)),
            },
            faults,
            clock,
        ]
    };
    let heads = [
        reader.t("Camera", "Caméra"),
        reader.t("Place", "Emplacement"),
        reader.t("Retention in force", "Conservation en vigueur"),
        reader.t("Footage kept now", "Images présentes"),
        reader.t("Destroyed after", "Détruites après"),
        reader.t("Days late / early, packs absent", "Jours en retard / en avance, lots absents"),
        reader.t("Camera clock, ahead of the gateway", "Avance de l'horloge de la caméra"),
    ];
    page.table(&heads, &of.cameras.iter().map(row).collect::<Vec<_>>());
}

fn incomplete_days(of: &Inspection, reader: &Reader, page: &mut Page) {
    page.section(reader.t("Days with interruptions", "Jours avec interruptions"));
    let mut rows = Vec::new();
    let mut more = 0;
    for camera in &of.cameras {
        for day in camera.days.iter().filter(|day| day.is_incomplete()) {
            if rows.len() == ROWS_MAX {
                more += 1;
                continue;
            }
            let mut why: Vec<String> = day
                .gaps
                .iter()
                .map(|(of, length)| format!("{} s: {}", seconds(*length), cause(*of, reader.language)))
                .collect();
            if day.not_recorded.0 >= TICKS_PER_SECOND {
                let never = reader.t("never recorded", "jamais enregistré");
                why.push(format!("{} s: {never}", seconds(day.not_recorded)));
            }
            let covered = format!("{} s", seconds(day.covered));
            rows.push(vec![camera.row.key.camera.to_string(), day.day.to_string(), covered, why.join(" ; ")]);
        }
    }
    let heads = [
        reader.t("Camera", "Caméra"),
        reader.t("Day", "Jour"),
        reader.t("Footage", "Images"),
        reader.t("Without footage", "Sans images"),
    ];
    page.table(&heads, &rows);
    reader.and_more(page, more);
}

fn holds(of: &Inspection, reader: &Reader, page: &mut Page) {
    page.section(reader.t("Legal holds", "Mises en réserve"));
    let all: Vec<_> = of.cameras.iter().flat_map(|camera| &camera.holds).collect();
    let row = |hold: &&crate::index::hold::HoldRow| {
        let closed = hold.closed.map_or_else(|| "–".to_owned(), |at| reader.at(at));
        vec![
            hold.camera.camera.to_string(),
            reader.range(hold.facts.range),
            hold.facts.reference.clone(),
            hold.facts.requester.clone(),
            hold.facts.reason.clone(),
            reader.at(hold.facts.until),
            closed,
        ]
    };
    let heads = [
        reader.t("Camera", "Caméra"),
        reader.t("Footage", "Images"),
        reader.t("Reference", "Référence"),
        reader.t("Requester", "Demandeur"),
        reader.t("Reason", "Motif"),
        reader.t("Until", "Jusqu'au"),
        reader.t("Closed", "Close le"),
    ];
    page.table(&heads, &all.iter().take(ROWS_MAX).map(row).collect::<Vec<_>>());
    reader.and_more(page, all.len().saturating_sub(ROWS_MAX) as u64);
}

fn accesses(of: &Inspection, reader: &Reader, page: &mut Page) {
    page.section(reader.t("Accesses by person", "Accès par personne"));
    let row = |((who, way), of): (&(_, Way), &super::activity::Activity)| {
        let (name, act) = author(who, reader.language);
        let cameras: Vec<_> = of.cameras.iter().map(ToString::to_string).collect();
        let at = |at: Option<Timestamp>| at.map(|at| reader.time(at)).unwrap_or_default();
        vec![
            name,
            act,
            reader.way(*way).to_owned(),
            of.times.to_string(),
            of.without_reason.to_string(),
            format!("{} s", of.sent_ms / 1_000),
            format!("{} → {}", at(of.first), at(of.last)),
            cameras.join(" "),
        ]
    };
    let heads = [
        reader.t("Author", "Auteur"),
        reader.t("Act", "Acte"),
        reader.t("Way", "Mode"),
        reader.t("Times", "Fois"),
        reader.t("Without a reason", "Sans motif"),
        reader.t("Footage sent", "Images transmises"),
        reader.t("First and last", "Première et dernière"),
        reader.t("Cameras", "Caméras"),
    ];
    page.table(&heads, &of.activities.by_author.iter().map(row).collect::<Vec<_>>());
}

/// The proof that a day of a camera is destroyed, or what speaks against it.
pub fn destruction(of: &Destruction, reader: &Reader) -> String {
    let title = reader.t("Destruction of a day's recordings", "Destruction des enregistrements d'une journée");
    let mut page = Page::new(reader.language, title);
    let day = format!("{} ({})", of.day, reader.range(of.range));
    let made =
        format!("{} {}, Vigie {}", reader.t("Looked at", "Constaté le"), reader.at(of.at), env!("CARGO_PKG_VERSION"));
    let deadline = format!("{} {}", reader.t("To be gone by", "À détruire au plus tard le"), reader.at(of.deadline));
    let camera = format!("{} ({}), {}", of.camera.name, of.camera.key.camera, of.camera.place);
    page.lines(&camera, &[&reader.authority, &day, &deadline, &made]);
    page.section(reader.t("Finding", "Constat"));
    page.paragraph(finding(of.verdict, reader));
    let against: Vec<_> = of.disagreements.iter().map(|of| disagreement(of, reader)).collect();
    if !against.is_empty() {
        page.list(&against);
    }
    page.section(reader.t("What was looked at", "Vérifications"));
    page.list(&[
        format!(
            "{} {}",
            reader.t("Index: packs with footage of that day:", "Index : lots contenant des images du jour :"),
            of.packs.len()
        ),
        format!(
            "{} {}",
            reader.t(
                "Stores: packs of the camera listed, of any day:",
                "Entrepôts : lots de la caméra listés, tous jours :"
            ),
            of.in_stores
        ),
        format!(
            "{} {}",
            reader.t("Spool: packs of the camera, of any day:", "Tampon : lots de la caméra, tous jours :"),
            of.in_spool
        ),
        format!(
            "{} {}",
            reader.t("Exports with footage of that day:", "Exports contenant des images du jour :"),
            of.in_exports.len()
        ),
        format!(
            "{} {}",
            reader.t("Places that could not be listed:", "Emplacements non listables :"),
            of.not_listed.len()
        ),
        format!("{} {}", reader.t("Packs of other gateways:", "Lots d'autres passerelles :"), of.foreign),
    ]);
    page.section(reader.t("Register of destructions", "Registre des destructions"));
    reader.register(&mut page, Some(of.camera.key.camera.as_str()), &of.register);
    page.section(reader.t("Entries of the journal", "Inscriptions au journal"));
    if let Some(since) = of.journal_since {
        page.paragraph(&format!(
            "{} {since}.",
            reader.t("Entries are kept since", "Inscriptions conservées depuis le")
        ));
    }
    reader.entries(&mut page, &Listed { entries: of.entries.clone(), more: 0 });
    page.section(reader.t("Destroyed keys", "Clés détruites"));
    let row = |key: &super::destroyed::DestroyedKey| vec![key.key.to_string(), key.day.to_string(), reader.at(key.at)];
    let heads = [
        reader.t("Key", "Clé"),
        reader.t("To be gone by the end of", "À détruire avant la fin du"),
        reader.t("Destroyed", "Détruite le"),
    ];
    page.table(&heads, &of.keys.iter().map(row).collect::<Vec<_>>());
    page.finish()
}

fn finding(verdict: Verdict, reader: &Reader) -> &'static str {
    match verdict {
        Verdict::Destroyed => reader.t(
            "Footage was recorded on that day. None of it is left: neither index, stores, spool nor exports have any, and register and journal agree.",
            "Des images de ce jour ont été enregistrées. Il n'en reste aucune : ni l'index, ni les entrepôts, ni le tampon, ni les exports n'en contiennent ; registre et journal concordent.",
        ),
        Verdict::NothingRecorded => reader.t(
            "Nothing of that day is there, and the register has no destruction of it: nothing was recorded, or the register goes no further back.",
            "Rien de ce jour n'est présent, et le registre n'en mentionne aucune destruction : rien n'a été enregistré, ou le registre ne remonte pas si loin.",
        ),
        Verdict::KeptForHolds => reader.t(
            "Only what legal holds keep is left of that day.",
            "Il ne reste de ce jour que ce que gardent des mises en réserve.",
        ),
        Verdict::Present => reader.t("Footage of that day is there.", "Des images de ce jour sont présentes."),
        Verdict::Open => reader.t(
            "This cannot be decided: a place could not be looked at, or what was to be destroyed was not there.",
            "Non concluant : un emplacement n'a pu être vérifié, ou ce qui devait être détruit n'était pas là.",
        ),
        Verdict::Contradicted => reader.t(
            "What is known of that day disagrees: footage is not proved to be destroyed.",
            "Les éléments de ce jour se contredisent : la destruction n'est pas prouvée.",
        ),
    }
}

fn disagreement(of: &Disagreement, reader: &Reader) -> String {
    match of {
        Disagreement::UnknownPacks(names) => format!(
            "{} {}",
            reader.t("Packs that the index does not know:", "Lots que l'index ne connaît pas :"),
            names.join(", ")
        ),
        Disagreement::NotInJournal(range) => format!(
            "{} {}",
            reader.t("In the register and not in the journal:", "Au registre mais pas au journal :"),
            reader.range(*range)
        ),
        Disagreement::OverAge(deadline) => format!(
            "{} {}",
            reader
                .t("Footage is there that had to be gone by", "Des images présentes devaient être détruites avant le"),
            reader.at(*deadline)
        ),
    }
}
