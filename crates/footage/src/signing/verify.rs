//! The verifier: access units in decode order in, a report out.
//!
//! NAL hashes wait in a queue until a statement covers them. A statement covers those of its GOP: all of them, when their
//! hash is its GOP hash; otherwise those that its hash list names, in its order.
//!
//! Invariant: memory is bounded whatever the stream says: the queue, the statements that wait for a certificate, the stretches.

use std::collections::{HashMap, VecDeque};

use aws_lc_rs::digest::Digest;

use super::certificate::{Anchors, Certificate, Trust};
use super::hashes::NalHasher;
use super::report::{CertificateUse, Reason, Report, Stretch, Stretches, Verdict};
use super::sei::{NalKind, SigningSei, nal_kind, nal_units};
use super::tlv::{General, VendorInfo};
use crate::media::VideoCodec;
use crate::units::WallTime;

/// NAL hashes that wait for their statement: GOPs of minutes.
const WAITING_MAX: usize = 20_000;

/// Statements that wait for a certificate.
const UNSIGNED_MAX: usize = 64;

/// Certificates in one report.
const CERTIFICATES_MAX: usize = 16;

/// GOPs that wait and are compared with a statement.
const GOPS_TRIED_MAX: usize = 64;

/// A camera signs within the GOP after: what waits longer at the end was never signed.
const GOPS_WAITING_MAX: usize = 2;

/// A hashed NAL unit that no statement has covered yet.
#[derive(Debug)]
struct Waiting {
    hash: Digest,
    at: WallTime,
    begins_gop: bool,
    /// What a statement without a signature of its own covers: it counts when this NAL unit does.
    states: Option<Covered>,
}

/// What a statement covers.
#[derive(Clone, Copy, Debug)]
struct Covered {
    start: WallTime,
    last: WallTime,
    authentic: u64,
    missing: u64,
    altered: u64,
    reason: Option<Reason>,
}

impl Covered {
    fn nothing(at: WallTime) -> Self {
        Self { start: at, last: at, authentic: 0, missing: 0, altered: 0, reason: None }
    }

    fn and(&mut self, other: Self) {
        self.start = self.start.min(other.start);
        self.last = self.last.max(other.last);
        self.authentic += other.authentic;
        self.missing += other.missing;
        self.altered += other.altered;
        self.reason = self.reason.or(other.reason);
    }

    /// None of it is as it was signed.
    fn refused(mut self, reason: Reason) -> Self {
        self.altered += self.authentic;
        self.authentic = 0;
        self.reason = Some(reason);
        self
    }
}

/// A signed statement whose certificate has not come.
#[derive(Debug)]
struct Unproven {
    sei: SigningSei,
    covered: Covered,
}

/// The statement before.
#[derive(Debug)]
struct Before {
    counter: u32,
    first_hash: Option<Vec<u8>>,
}

/// Verifies one stream of a camera.
#[derive(Debug)]
pub struct Verifier {
    codec: VideoCodec,
    anchors: Anchors,
    hasher: NalHasher,
    waiting: VecDeque<Waiting>,
    before: Option<Before>,
    certificate: Option<Certificate>,
    /// Set when another key came without an anchor: nobody vouches for it.
    key_changed: bool,
    unproven: Vec<Unproven>,
    stretches: Stretches,
    uses: Vec<CertificateUse>,
    vendor: Option<VendorInfo>,
    /// A SEI message of signing came. Certificates alone are none: they say nothing of a picture.
    is_signed: bool,
    /// A statement covered a NAL unit.
    has_begun: bool,
    unverified_at_start: u64,
    /// A statement named none of the NAL units that wait.
    suspect: bool,
}

impl Verifier {
    /// Trusting these anchors; without any, each key is taken and shown.
    pub fn new(codec: VideoCodec, anchors: Anchors) -> Self {
        Self {
            codec,
            anchors,
            hasher: NalHasher::default(),
            waiting: VecDeque::new(),
            before: None,
            certificate: None,
            key_changed: false,
            unproven: Vec::new(),
            stretches: Stretches::default(),
            uses: Vec::new(),
            vendor: None,
            is_signed: false,
            has_begun: false,
            unverified_at_start: 0,
            suspect: false,
        }
    }

    /// The next access unit, as it is stored, and when it was recorded.
    pub fn push(&mut self, access_unit: &[u8], at: WallTime) {
        for nal in nal_units(access_unit) {
            self.push_nal(nal, at);
        }
    }

    /// A certificate SEI that was sent before: it stands for the stretch where none does.
    pub fn remember(&mut self, sei: &[u8]) {
        if let Ok(sei) = SigningSei::parse(self.codec, sei) {
            self.take_certificate(&sei);
        }
    }

    fn push_nal(&mut self, nal: &[u8], at: WallTime) {
        let kind = nal_kind(self.codec, nal);
        if kind == NalKind::Signing {
            match SigningSei::parse(self.codec, nal) {
                Ok(sei) => self.take_sei(sei, at),
                Err(_) => {
                    self.is_signed = true;
                    self.stretches.add(stretch(Covered::nothing(at).refused(Reason::MalformedSei)));
                }
            }
        } else if let Some(hash) = self.hasher.slice(kind, nal) {
            self.wait(hash, at, kind == NalKind::GopStart, None);
        }
    }

    fn wait(&mut self, hash: Digest, at: WallTime, begins_gop: bool, states: Option<Covered>) {
        if self.waiting.len() == WAITING_MAX {
            self.pass_over(1);
        }
        self.waiting.push_back(Waiting { hash, at, begins_gop, states });
    }

    fn take_sei(&mut self, sei: SigningSei, at: WallTime) {
        self.is_signed |= !sei.is_certificate;
        if sei.is_signed() && sei.tlvs.certificates.is_some() {
            self.take_certificate(&sei);
        }
        let covered = match &sei.tlvs.general {
            Some(general) if !sei.is_certificate => {
                if general.gop_hash.len() != self.hasher.algorithm().hash_bytes() {
                    Some(Covered::nothing(at).refused(Reason::MalformedSei))
                } else {
                    self.cover(general, sei.tlvs.hash_list.as_deref().unwrap_or_default(), at)
                }
            }
            _ => None,
        };
        if !sei.is_signed() {
            let hash = self.hasher.algorithm().hash([&sei.document[..]]);
            self.wait(hash, at, false, covered);
        } else if let Some(covered) = covered {
            self.prove(Unproven { sei, covered });
        }
    }

    /// Takes the certificates of a message that its own key signed.
    fn take_certificate(&mut self, sei: &SigningSei) {
        let Some(certificate) = sei.proven_certificate() else { return };
        let algorithm = sei.tlvs.hash_algorithm.unwrap_or_default();
        if algorithm != self.hasher.algorithm() {
            // What waits was hashed in another way: nothing can cover it.
            self.pass_over(self.waiting.len());
            self.hasher = NalHasher::new(algorithm);
        }
        self.vendor = sei.tlvs.vendor.clone().or(self.vendor.take());
        match &self.certificate {
            Some(known) if *known == certificate => return,
            Some(known) => {
                let same_key = known.public_key_sha256 == certificate.public_key_sha256;
                self.key_changed |= self.anchors.is_empty() && !same_key;
            }
            None => {}
        }
        self.certificate = Some(certificate);
        for unproven in std::mem::take(&mut self.unproven) {
            self.prove(unproven);
        }
    }

    /// Counts what a signed statement covers, as its signature and its certificate allow.
    fn prove(&mut self, unproven: Unproven) {
        let Unproven { sei, covered } = &unproven;
        let Some(certificate) = &self.certificate else {
            if self.unproven.len() < UNSIGNED_MAX {
                self.unproven.push(unproven);
            } else {
                self.stretches.add(stretch(covered.refused(Reason::NoCertificate)));
            }
            return;
        };
        let signature = sei.tlvs.signature.as_deref().unwrap_or_default();
        let algorithm = self.hasher.algorithm();
        let covered = if !certificate.signed(algorithm, &sei.document, signature) {
            covered.refused(Reason::WrongSignature)
        } else if self.key_changed {
            covered.refused(Reason::KeyChanged)
        } else {
            let trust = certificate.trust(&self.anchors, covered.start);
            note(&mut self.uses, certificate, covered.start, trust);
            match trust {
                Trust::Anchored | Trust::NotAnchored => *covered,
                Trust::NotValidThen => covered.refused(Reason::CertificateNotValidThen),
                Trust::UnknownAuthority => covered.refused(Reason::UnknownAuthority),
            }
        };
        self.stretches.add(stretch(covered));
    }

    /// What the statement covers of what waits, which waits no more; `None` where it is on what was before the stretch.
    fn cover(&mut self, general: &General, list: &[u8], at: WallTime) -> Option<Covered> {
        let is_start = general.linked_hash.iter().all(|&byte| byte == 0);
        let wanted = usize::from(general.nal_units);
        let (skipped, mut covered, first_hash) = match self.whole(general, wanted) {
            Some(from) => {
                let first = self.waiting[from].hash.as_ref().to_vec();
                (from, self.matched(from, wanted, at), Some(first))
            }
            None => {
                let listed: Vec<&[u8]> = list.chunks_exact(self.hasher.algorithm().hash_bytes()).collect();
                let places = self.places(&listed);
                if places.is_empty() && !self.has_begun {
                    return None;
                }
                let covered = self.in_part(general, &listed, &places, at);
                (0, covered, listed.first().map(|hash| hash.to_vec()))
            }
        };
        if skipped > 0 {
            self.skip(skipped, is_start);
        }
        self.waiting.drain(..(covered.end - skipped).min(self.waiting.len()));
        let reason = self.link(general, is_start, &mut covered);
        self.has_begun = true;
        self.before = Some(Before { counter: general.counter, first_hash });
        Some(reason.map_or(covered.totals, |reason| covered.totals.refused(reason)))
    }

    /// From where on the NAL units that wait are those of the statement, all of them.
    fn whole(&self, general: &General, wanted: usize) -> Option<usize> {
        if wanted == 0 {
            return None;
        }
        let begins = |&from: &usize| from == 0 || self.waiting[from].begins_gop;
        (0..(self.waiting.len() + 1).saturating_sub(wanted)).filter(begins).take(GOPS_TRIED_MAX).find(|&from| {
            let hashes = self.waiting.range(from..from + wanted).map(|nal| nal.hash.as_ref());
            self.hasher.algorithm().hash(hashes).as_ref() == general.gop_hash
        })
    }

    /// Which NAL units that wait the hash list names, in its order: places here and in the list.
    fn places(&self, listed: &[&[u8]]) -> Vec<(usize, usize)> {
        // What the list does not have from there on is not searched for: the work stays in proportion to both.
        let last: HashMap<&[u8], usize> = listed.iter().enumerate().map(|(at, hash)| (*hash, at)).collect();
        let mut next = 0;
        let mut place = |(here, nal): (usize, &Waiting)| {
            last.get(nal.hash.as_ref()).filter(|&&last| last >= next)?;
            let found = listed[next..].iter().position(|hash| *hash == nal.hash.as_ref())? + next;
            next = found + 1;
            Some((here, found))
        };
        self.waiting.iter().enumerate().filter_map(&mut place).collect()
    }

    fn matched(&self, from: usize, count: usize, at: WallTime) -> Cover {
        let mut totals = Covered::nothing(self.waiting.get(from).map_or(at, |nal| nal.at));
        for nal in self.waiting.range(from..from + count) {
            totals.last = nal.at;
            totals.authentic += 1;
            if let Some(states) = nal.states {
                totals.and(states);
            }
        }
        Cover { totals, end: from + count }
    }

    /// By the hash list, where the GOP is not whole.
    fn in_part(&mut self, general: &General, listed: &[&[u8]], places: &[(usize, usize)], at: WallTime) -> Cover {
        let end = self.end_of_gop(general, places.last().map(|&(here, _)| here));
        let mut totals = Covered::nothing(self.waiting.front().map_or(at, |nal| nal.at));
        let mut places_left = places.iter().peekable();
        for (here, nal) in self.waiting.range(..end).enumerate() {
            totals.last = nal.at;
            let is_listed = places_left.next_if(|&&(place, _)| place == here).is_some();
            if is_listed {
                totals.authentic += 1;
            } else {
                totals.altered += 1;
                totals.reason = Some(Reason::Altered);
            }
            if let Some(states) = nal.states {
                totals.and(if is_listed { states } else { states.refused(Reason::Altered) });
            }
        }
        let wanted = listed.len().max(general.nal_units.into());
        totals.missing += (wanted - places.len().min(wanted)) as u64;
        self.suspect |= end == 0;
        Cover { totals, end }
    }

    /// Where the GOP of a statement ends in what waits, its last known NAL unit being at `last`.
    fn end_of_gop(&self, general: &General, last: Option<usize>) -> usize {
        let after = last.map_or(1, |last| last + 1);
        let next_gop = (after..self.waiting.len()).find(|&n| self.waiting[n].begins_gop);
        match (last, next_gop) {
            // A part of a GOP has no more NAL units than it says.
            (Some(_), _) if general.is_partial => {
                let counted = usize::from(general.nal_units).max(after);
                counted.min(next_gop.unwrap_or(self.waiting.len()))
            }
            (_, Some(next_gop)) => next_gop,
            (Some(_), None) => self.waiting.len(),
            // What waits may be the next GOP: it is left to its own statement.
            (None, None) => 0,
        }
    }

    /// NAL units before those of a statement: no statement covers them any more.
    fn skip(&mut self, count: usize, is_start: bool) {
        let has_gop = self.waiting.range(..count).any(|nal| nal.begins_gop);
        let covered = self.drained(count);
        if self.has_begun || has_gop {
            let (verdict, reason) = if is_start && !self.has_begun {
                (Verdict::NotSigned, None)
            } else {
                (Verdict::NotAuthentic, Some(Reason::NotCovered))
            };
            self.stretches.add(Stretch { verdict, reason, ..stretch(covered.refused(Reason::NotCovered)) });
        } else {
            self.unverified_at_start += covered.altered + covered.authentic;
        }
    }

    /// Whether the statement follows the one before. GOPs that are missing between are counted.
    fn link(&self, general: &General, is_start: bool, covered: &mut Cover) -> Option<Reason> {
        let before = self.before.as_ref()?;
        let ahead = general.counter.wrapping_sub(before.counter);
        if is_start && general.counter <= before.counter {
            return None;
        }
        match ahead {
            1 => {
                let linked = before.first_hash.as_ref().is_none_or(|hash| *hash == general.linked_hash);
                (!linked).then_some(Reason::BrokenLink)
            }
            // A step back: a statement that was used before.
            0 | 0x8000_0000.. => Some(Reason::BrokenLink),
            _ => {
                covered.totals.missing += u64::from(ahead - 1);
                None
            }
        }
    }

    /// The first ones that wait, which nothing covers.
    fn drained(&mut self, count: usize) -> Covered {
        let at = self.waiting.front().map_or(WallTime(0), |nal| nal.at);
        let mut covered = Covered::nothing(at);
        for nal in self.waiting.drain(..count) {
            covered.last = nal.at;
            covered.authentic += 1;
            if let Some(states) = nal.states {
                covered.and(states);
            }
        }
        covered
    }

    /// The first ones that wait have waited too long.
    fn pass_over(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let covered = self.drained(count);
        let verdict = if self.has_begun { Verdict::NotAuthentic } else { Verdict::NotSigned };
        let reason = self.has_begun.then_some(Reason::NotCovered);
        self.stretches.add(Stretch { verdict, reason, ..stretch(covered.refused(Reason::NotCovered)) });
    }

    /// The report on all of it.
    pub fn finish(mut self) -> Report {
        for unproven in std::mem::take(&mut self.unproven) {
            self.stretches.add(stretch(unproven.covered.refused(Reason::NoCertificate)));
        }
        let gops = self.waiting.iter().filter(|nal| nal.begins_gop).count();
        let at_end = self.waiting.len();
        let is_tail = self.has_begun && gops <= GOPS_WAITING_MAX && !self.suspect;
        let mut unverified_at_end = 0;
        if is_tail {
            unverified_at_end = at_end as u64;
        } else if !self.is_signed || self.has_begun || gops > GOPS_WAITING_MAX {
            // In a stream that is signed, what no signature covers may be another's.
            self.has_begun |= self.is_signed;
            self.pass_over(at_end);
        } else {
            // Too short to hold a whole GOP with its statement.
            unverified_at_end = at_end as u64;
        }
        let stretches = self.stretches.finish();
        let worst = stretches.iter().map(|stretch| stretch.verdict).max();
        Report {
            verdict: worst.unwrap_or(Verdict::NotSigned),
            stretches,
            certificates: self.uses,
            unverified_at_start: self.unverified_at_start,
            unverified_at_end,
            vendor: self.vendor,
        }
    }
}

/// What a statement covers, and up to where in what waits.
#[derive(Debug)]
struct Cover {
    totals: Covered,
    end: usize,
}

fn stretch(covered: Covered) -> Stretch {
    let Covered { start, last, authentic, missing, altered, reason } = covered;
    let verdict = match (altered, missing) {
        _ if reason.is_some() || altered > 0 => Verdict::NotAuthentic,
        (_, 0) => Verdict::Authentic,
        _ => Verdict::AuthenticWithMissing,
    };
    Stretch { start, last, verdict, authentic, missing, altered, reason }
}

/// A certificate signed pictures of that time.
fn note(uses: &mut Vec<CertificateUse>, certificate: &Certificate, at: WallTime, trust: Trust) {
    let is_this = |used: &&mut CertificateUse| {
        used.public_key_sha256 == certificate.public_key_sha256 && used.not_after == certificate.not_after
    };
    if let Some(used) = uses.iter_mut().find(is_this) {
        if !trust.suffices() {
            used.trust = Some(trust);
        }
    } else if uses.len() < CERTIFICATES_MAX {
        uses.push(CertificateUse {
            subject: certificate.subject.clone(),
            public_key_sha256: certificate.public_key_sha256.clone(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            first_used: Some(at),
            trust: Some(trust),
        });
    }
}
