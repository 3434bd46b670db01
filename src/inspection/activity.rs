//! What a tenant's journal says of a time: who saw what, what was handed out, what was changed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, RangeInclusive};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use journal::entry::{Access, Action, Author, Entry};

use footage::units::{CameraId, TimeRange};

/// Entries of one kind that are listed; of more, the number alone is given.
const LISTED_MAX: usize = 10_000;

/// What one author did in one way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// How often.
    pub times: u64,
    /// On which cameras.
    pub cameras: BTreeSet<CameraId>,
    /// The first time.
    pub first: Option<Timestamp>,
    /// The last time.
    pub last: Option<Timestamp>,
    /// How often without a stated reason.
    pub without_reason: u64,
    /// Milliseconds of footage that were sent, where that was entered.
    pub sent_ms: u64,
}

/// Ways in which an author acts on footage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Footage as it is filmed.
    Live,
    /// Recorded footage, played.
    Playback,
    /// A picture.
    Snapshot,
    /// Footage taken as a file.
    Export,
    /// Asked for what they may not do.
    Denied,
}

impl Way {
    /// As one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Playback => "playback",
            Self::Snapshot => "snapshot",
            Self::Export => "export",
            Self::Denied => "denied",
        }
    }

    fn of(access: Access) -> Self {
        match access {
            Access::Live => Self::Live,
            Access::Playback => Self::Playback,
            Access::Snapshot => Self::Snapshot,
            Access::Clip | Access::HoldClip => Self::Export,
        }
    }
}

/// What the journal says of a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activities {
    /// By author and way.
    pub by_author: BTreeMap<(Author, Way), Activity>,
    /// Files of footage that were handed out, and packages that were ordered, prepared and removed: their entries, by number.
    pub exports: Listed,
    /// Changes of settings, persons, holds.
    pub changes: Listed,
    /// Lines that are no entry: `vigie journal verify` says more.
    pub unreadable: u64,
}

/// Entries, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The first of them.
    pub entries: Vec<Entry>,
    /// How many more there are.
    pub more: u64,
}

impl Listed {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.entries.len() as u64 + self.more
    }

    fn push(&mut self, entry: Entry) {
        match self.entries.len() < LISTED_MAX {
            true => self.entries.push(entry),
            false => self.more += 1,
        }
    }
}

/// The days (UTC) whose files may hold entries of this time. The gateway's clock may have been set meanwhile.
pub fn days_around(range: TimeRange) -> RangeInclusive<Date> {
    let day = |at: Timestamp| Offset::UTC.to_datetime(at).date();
    let (first, last) = (day(range.start().to_timestamp()), day(range.end().to_timestamp()));
    first.yesterday().unwrap_or(first)..=last.tomorrow().unwrap_or(last)
}

/// Whether an entry was made in this time.
pub fn is_in(entry: &Entry, range: TimeRange) -> bool {
    (range.start().to_timestamp()..range.end().to_timestamp()).contains(&entry.at)
}

impl Activities {
    /// Takes one line of the journal, of which entries of this time count.
    pub(super) fn take(&mut self, line: &[u8], range: TimeRange) -> ControlFlow<()> {
        if is_destruction(line) {
            return ControlFlow::Continue(());
        }
        let Ok(entry) = serde_json::from_slice::<Entry>(line) else {
            self.unreadable += 1;
            return ControlFlow::Continue(());
        };
        if !is_in(&entry, range) {
            return ControlFlow::Continue(());
        }
        match &entry.draft.action {
            Action::AccessBegun { access } => {
                let way = Way::of(*access);
                self.count(&entry, way);
                if way == Way::Export {
                    self.exports.push(entry);
                }
            }
            Action::AccessEnded { access, sent, .. } => {
                let sent_ms =
                    sent.iter().map(|span| span.to.as_millisecond() - span.from.as_millisecond()).sum::<i64>();
                self.add_sent(&entry.draft.author, Way::of(*access), sent_ms.max(0).unsigned_abs());
            }
            Action::Exported { .. } => {
                self.count(&entry, Way::Export);
                self.exports.push(entry);
            }
            Action::PackageOrdered { .. } | Action::PackagePrepared { .. } | Action::PackageRemoved { .. } => {
                self.exports.push(entry);
            }
            Action::Denied { .. } => self.count(&entry, Way::Denied),
            Action::KeyDestroyed { .. }
            | Action::JournalRead { .. }
            | Action::Inspected
            | Action::Refused { .. }
            | Action::SignedIn { .. }
            | Action::SignedOut { .. }
            | Action::AlarmAcknowledged { .. }
            | Action::CameraRetried
            | Action::EntriesForgotten { .. } => {}
            _ => self.changes.push(entry),
        }
        ControlFlow::Continue(())
    }

    fn count(&mut self, entry: &Entry, way: Way) {
        let of = self.by_author.entry((entry.draft.author.clone(), way)).or_default();
        of.times += 1;
        of.cameras.extend(entry.draft.cameras.iter().cloned());
        of.first = Some(of.first.map_or(entry.at, |first| first.min(entry.at)));
        of.last = Some(of.last.map_or(entry.at, |last| last.max(entry.at)));
        of.without_reason += u64::from(entry.draft.reason.is_none());
    }

    fn add_sent(&mut self, author: &Author, way: Way, sent_ms: u64) {
        self.by_author.entry((author.clone(), way)).or_default().sent_ms += sent_ms;
    }
}

/// Whether a line is an entry of what was destroyed. There may be millions of them: they are not parsed for this. In a
/// text of the entry the quotes would be escaped.
pub(super) fn is_destruction(line: &[u8]) -> bool {
    const WORD: &[u8] = b"\"action\":\"footage_destroyed\"";
    line.windows(WORD.len()).any(|window| window == WORD)
}
