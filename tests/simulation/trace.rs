//! What happened, as a hash and, when wanted, in words.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// Lines kept of a trace: the last ones.
const LINES_MAX: usize = 100_000;

#[derive(Debug)]
struct Inner {
    hash: u64,
    calls: u64,
    in_words: bool,
    lines: VecDeque<String>,
    /// Simulated time of the lives before.
    origin: Option<Instant>,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Trace(Arc<Mutex<Inner>>);

impl Trace {
    pub(crate) fn new(in_words: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            hash: 0xcbf2_9ce4_8422_2325,
            calls: 0,
            in_words,
            lines: VecDeque::new(),
            origin: None,
        })))
    }

    /// A life begins now.
    pub(crate) fn begin(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).origin = Some(Instant::now());
    }

    /// The life is over: no clock runs.
    pub(crate) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).origin = None;
    }

    pub(crate) fn note(&self, what: &str, about: &[u8], number: u64) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let micros = inner.origin.map_or(0, |origin| origin.elapsed().as_micros() as u64);
        // FNV-1a.
        let mut hash = inner.hash;
        let all = what.bytes().chain(about.iter().copied()).chain(number.to_be_bytes()).chain(micros.to_be_bytes());
        for byte in all {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        inner.hash = hash;
        inner.calls += 1;
        if inner.in_words {
            let line = format!("{:>12} {what} {} {number}", micros, String::from_utf8_lossy(about));
            if inner.lines.len() >= LINES_MAX {
                inner.lines.pop_front();
            }
            inner.lines.push_back(line);
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hash
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).calls
    }

    pub(crate) fn lines(&self) -> String {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}
