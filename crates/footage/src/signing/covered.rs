//! NAL units that wait for their statement, and what a statement covers of them.

use aws_lc_rs::digest::Digest;

use super::report::{Reason, Stretch, Verdict};
use super::signed_time::SignedTime;
use crate::units::WallTime;

/// A hashed NAL unit that no statement has covered yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) hash: Digest,
    pub(super) at: WallTime,
    pub(super) begins_gop: bool,
    /// Interruptions before it.
    pub(super) interruptions: u32,
    /// What a statement without a signature of its own covers: it counts when this NAL unit does.
    pub(super) states: Option<Covered>,
}

/// What a statement covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Covered {
    pub(super) start: WallTime,
    pub(super) last: WallTime,
    pub(super) authentic: u64,
    pub(super) missing: u64,
    pub(super) altered: u64,
    /// GOPs that begin in it.
    pub(super) gops: u64,
    pub(super) signed: Option<SignedTime>,
    pub(super) reason: Option<Reason>,
}

impl Covered {
    pub(super) fn nothing(at: WallTime) -> Self {
        Self { start: at, last: at, authentic: 0, missing: 0, altered: 0, gops: 0, signed: None, reason: None }
    }

    /// Goes on with a NAL unit that waited.
    pub(super) fn take(&mut self, nal: &Waiting) {
        self.last = nal.at;
        self.gops += u64::from(nal.begins_gop);
        if let Some(states) = nal.states {
            self.and(states);
        }
    }

    pub(super) fn and(&mut self, other: Self) {
        self.start = self.start.min(other.start);
        self.last = self.last.max(other.last);
        self.authentic += other.authentic;
        self.missing += other.missing;
        self.altered += other.altered;
        self.gops += other.gops;
        self.signed = SignedTime::joined(self.signed, other.signed);
        self.reason = self.reason.or(other.reason);
    }

    /// Nobody is known to have signed it, nor its times.
    pub(super) fn unsigned(self, reason: Reason) -> Self {
        Self { signed: None, ..self.refused(reason) }
    }

    /// None of it is as it was signed.
    pub(super) fn refused(mut self, reason: Reason) -> Self {
        self.altered += self.authentic;
        self.authentic = 0;
        self.reason = Some(reason);
        self
    }
}

/// What a statement covers, and up to which of the NAL units without a statement.
#[derive(Debug)]
pub(super) struct Cover {
    pub(super) totals: Covered,
    pub(super) end: usize,
}

pub(super) fn stretch(covered: Covered) -> Stretch {
    let Covered { start, last, authentic, missing, altered, signed, reason, .. } = covered;
    let verdict = match (altered, missing) {
        _ if reason.is_some() || altered > 0 => Verdict::NotAuthentic,
        (_, 0) => Verdict::Authentic,
        _ => Verdict::AuthenticWithMissing,
    };
    let remark = signed.and_then(SignedTime::remark);
    let (signed_start, signed_last) = signed.map(|signed| (signed.start, signed.last)).unzip();
    Stretch { start, last, verdict, authentic, missing, altered, reason, signed_start, signed_last, remark }
}
