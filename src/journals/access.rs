//! Accesses to footage: one of a person to a camera in one way lasts until nothing was sent for a minute, and is two
//! entries, whatever number of requests it takes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use journal::Span;
use journal::entry::{Access, Action, Author, Draft};
use parking_lot::Mutex;
use tokio::time::Instant;

use footage::units::{CameraId, Ticks90k, TimeRange};

/// An access is over when nothing was sent for so long.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Stretches of footage that one entry names; a further one begins another access.
const SPANS_MAX: usize = 64;
/// Stretches that lie no further apart are one.
const APART_MAX: Ticks90k = Ticks90k(90_000);

/// Who looks at what, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccessKey {
    /// Who.
    pub author: Author,
    /// From where.
    pub address: Option<IpAddr>,
    /// At which camera.
    pub camera: CameraId,
    /// How.
    pub access: Access,
    /// Why, where that was stated.
    pub reason: Option<String>,
}

impl AccessKey {
    fn draft(&self, action: Action, range: Option<Span>) -> Draft {
        let draft = Draft::new(self.author.clone(), action).from_address(self.address).on(self.camera.clone(), range);
        Draft { reason: self.reason.clone(), ..draft }
    }

    /// The entry before the first byte.
    pub(super) fn begun(&self) -> Draft {
        self.draft(Action::AccessBegun { access: self.access }, None)
    }
}

/// The accesses of a tenant that go on.
#[derive(Debug, Default)]
pub(super) struct Accesses {
    known: Mutex<Known>,
    turn: tokio::sync::Mutex<()>,
}

/// Under one lock: requests move an access from one to the other, and so does the keeping of the journals.
#[derive(Debug, Default)]
struct Known {
    going_on: HashMap<AccessKey, Arc<Mutex<Sent>>>,
    /// Those that are over, or that another has taken the place of, with bytes that may still be on their way.
    over: Vec<Over>,
}

/// An access that is over.
#[derive(Debug)]
pub(super) struct Over {
    key: AccessKey,
    sent: Arc<Mutex<Sent>>,
}

/// What was handed out.
#[derive(Debug)]
struct Sent {
    begun: u64,
    spans: Vec<TimeRange>,
    bytes: u64,
    last: Instant,
    /// Answers that are being sent.
    answers: usize,
}

/// An answer that belongs to an access.
#[derive(Debug)]
pub struct Accessing(Arc<Mutex<Sent>>);

impl Accessing {
    fn new(sent: &Arc<Mutex<Sent>>) -> Self {
        let mut of = sent.lock();
        (of.answers, of.last) = (of.answers + 1, Instant::now());
        drop(of);
        Self(sent.clone())
    }

    /// So many bytes went out, of footage of this time.
    pub fn sent(&self, bytes: u64, filmed: Option<TimeRange>) {
        let mut sent = self.0.lock();
        (sent.bytes, sent.last) = (sent.bytes + bytes, Instant::now());
        if let Some(filmed) = filmed {
            sent.add(filmed);
        }
    }
}

impl Drop for Accessing {
    fn drop(&mut self) {
        let mut sent = self.0.lock();
        (sent.answers, sent.last) = (sent.answers - 1, Instant::now());
    }
}

impl Sent {
    /// Joined with what it touches.
    fn add(&mut self, mut filmed: TimeRange) {
        self.spans.retain(|span| {
            let apart = span.start().saturating_sub(APART_MAX) > filmed.end()
                || filmed.start() > span.end().saturating_add(APART_MAX);
            if !apart {
                let (start, end) = (span.start().min(filmed.start()), span.end().max(filmed.end()));
                filmed = TimeRange::new(start, end).unwrap_or(filmed);
            }
            apart
        });
        self.spans.push(filmed);
    }

    fn is_idle(&self) -> bool {
        self.answers == 0 && self.last.elapsed() >= IDLE_MAX
    }
}

impl Accesses {
    /// One more answer of an access that goes on.
    pub(super) fn going_on(&self, key: &AccessKey) -> Option<Accessing> {
        let mut known = self.known.lock();
        let Entry::Occupied(entry) = known.going_on.entry(key.clone()) else { return None };
        if entry.get().lock().spans.len() < SPANS_MAX {
            return Some(Accessing::new(entry.get()));
        }
        let (key, sent) = entry.remove_entry();
        known.over.push(Over { key, sent });
        None
    }

    /// The first answer of an access, with the number of its entry. One that goes on under the same key is over.
    pub(super) fn begin(&self, key: AccessKey, begun: u64) -> Accessing {
        let sent = Sent { begun, spans: Vec::new(), bytes: 0, last: Instant::now(), answers: 0 };
        let sent = Arc::new(Mutex::new(sent));
        let accessing = Accessing::new(&sent);
        let mut known = self.known.lock();
        if let Some(before) = known.going_on.insert(key.clone(), sent) {
            known.over.push(Over { key, sent: before });
        }
        accessing
    }

    /// One at a time makes the entry of a beginning.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Those that are over and whose last byte has gone; `all`: every one, as it is now.
    pub(super) fn take_over(&self, all: bool) -> Vec<Over> {
        let Known { going_on, over } = &mut *self.known.lock();
        let ended = |sent: &Arc<Mutex<Sent>>| all || sent.lock().is_idle();
        over.extend(going_on.extract_if(|_, sent| ended(sent)).map(|(key, sent)| Over { key, sent }));
        over.extract_if(.., |over| all || over.sent.lock().answers == 0).collect()
    }

    /// Its entry could not be made: it is tried again.
    pub(super) fn put_back(&self, over: Over) {
        self.known.lock().over.push(over);
    }
}

impl Over {
    /// The entry of what was handed out.
    pub(super) fn ended(&self) -> Draft {
        let mut sent = self.sent.lock();
        sent.spans.sort_by_key(|span| span.start());
        let span = |range: &TimeRange| Span { from: range.start().to_timestamp(), to: range.end().to_timestamp() };
        let spans: Vec<Span> = sent.spans.iter().map(span).collect();
        let range = spans.first().zip(spans.last()).map(|(first, last)| Span { from: first.from, to: last.to });
        let (access, begun, sent_bytes) = (self.key.access, sent.begun, sent.bytes);
        self.key.draft(Action::AccessEnded { begun, access, sent: spans, sent_bytes }, range)
    }
}
