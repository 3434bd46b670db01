//! The verifier: access units in decode order in, a report out.
//!
//! NAL hashes wait in a queue until a statement covers them. A statement covers those of its GOP: all of them, when their
//! hash is its GOP hash; otherwise those that its hash list names, in its order.
//!
//! Invariant: memory is bounded whatever the stream says: the queue, the statements that wait for a certificate, the stretches.

use std::collections::{HashMap, HashSet, VecDeque};

use aws_lc_rs::digest::Digest;

use super::certificate::{Anchors, Certificate, Trust};
use super::covered::{Cover, Covered, Waiting, stretch};
use super::hashes::NalHasher;
use super::report::{CertificateUse, Reason, Report, Stretch, Stretches, Verdict};
use super::sei::{NalKind, SigningSei, nal_kind, nal_units};
use super::signed_time::{CLOCK_TOLERANCE, SignedTime};
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

/// A camera signs within the GOP after, or within as many as it signs together: what is older has no signature to come.
const GOPS_WAITING_MAX: u64 = 2;

/// Sessions of a camera in one stretch.
const SESSIONS_MAX: usize = 4_096;

/// Comparisons of hashes that each NAL unit allows. Statements that want more are not looked at.
const WORK_PER_NAL: u64 = 64;

/// Comparisons that a stretch begins with.
const WORK_AT_START: u64 = 100_000;

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
    /// When what it is on ended, by the camera's clock.
    end: WallTime,
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
    /// Set when another key came, and it is not known to be the same camera's.
    other_key: Option<Reason>,
    unproven: Vec<Unproven>,
    stretches: Stretches,
    uses: Vec<CertificateUse>,
    vendor: Option<VendorInfo>,
    /// A SEI message of signing came. Certificates alone are none: they say nothing of a picture.
    is_signed: bool,
    /// A statement covered a NAL unit.
    has_begun: bool,
    /// One did since the last interruption.
    has_resumed: bool,
    interruptions: u32,
    /// GOP hashes of the statements that sessions began with: none begins twice.
    sessions: HashSet<Vec<u8>>,
    /// Most GOPs under one signature that was verified.
    gops_together: u64,
    work_left: u64,
    unverified_at_start: u64,
    /// Before interruptions.
    unverified_at_ends: u64,
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
            other_key: None,
            unproven: Vec::new(),
            stretches: Stretches::default(),
            uses: Vec::new(),
            vendor: None,
            is_signed: false,
            has_begun: false,
            has_resumed: false,
            interruptions: 0,
            sessions: HashSet::new(),
            gops_together: 0,
            work_left: WORK_AT_START,
            unverified_at_start: 0,
            unverified_at_ends: 0,
            suspect: false,
        }
    }

    /// The next access unit, as it is stored, and when it was recorded.
    pub fn push(&mut self, access_unit: &[u8], at: WallTime) {
        let mut end = 0;
        for nal in nal_units(access_unit) {
            self.push_nal(nal, at);
            end += 4 + nal.len();
        }
        // A player may show them all the same.
        if let Some(rest @ [_, ..]) = access_unit.get(end..) {
            self.wait(self.hasher.algorithm().hash([rest]), at, false, None);
        }
    }

    /// Recording was interrupted, and goes on at a random access point. What no signature covers before may have had its
    /// own in what was not recorded.
    pub fn interrupted(&mut self) {
        self.interruptions += 1;
        self.has_resumed = false;
    }

    /// The camera's coding is another from here on: an interruption, across which the same rules hold.
    pub fn recoded(&mut self, codec: VideoCodec) {
        self.interrupted();
        self.codec = codec;
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
        } else if kind == NalKind::NeverSigned {
            let one = Covered { altered: 1, ..Covered::nothing(at) };
            self.stretches.add(Stretch { verdict: Verdict::NotSigned, reason: None, ..stretch(one) });
        } else if let Some(hash) = self.hasher.slice(kind, nal) {
            self.wait(hash, at, kind == NalKind::GopStart, None);
        }
    }

    fn wait(&mut self, hash: Digest, at: WallTime, begins_gop: bool, states: Option<Covered>) {
        if self.waiting.len() == WAITING_MAX {
            self.pass_over(1);
        }
        self.work_left = self.work_left.saturating_add(WORK_PER_NAL);
        let interruptions = self.interruptions;
        self.waiting.push_back(Waiting { hash, at, begins_gop, interruptions, states });
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
        let serial_number = |vendor: Option<&VendorInfo>| vendor.map(|vendor| vendor.serial_number.clone());
        let serial_before = serial_number(self.vendor.as_ref());
        self.vendor = sei.tlvs.vendor.clone().or(self.vendor.take());
        match &self.certificate {
            Some(known) if *known == certificate => return,
            Some(known) if known.public_key_sha256 != certificate.public_key_sha256 => {
                let serial = serial_number(self.vendor.as_ref());
                let is_same_camera =
                    known.subject == certificate.subject && (serial_before.is_none() || serial == serial_before);
                if self.anchors.is_empty() {
                    self.other_key = Some(Reason::KeyChanged);
                } else if !is_same_camera {
                    self.other_key = Some(Reason::AnotherCamera);
                }
            }
            _ => {}
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
                self.stretches.add(stretch(covered.unsigned(Reason::NoCertificate)));
            }
            return;
        };
        let signature = sei.tlvs.signature.as_deref().unwrap_or_default();
        let algorithm = self.hasher.algorithm();
        let covered = if !certificate.signed(algorithm, &sei.document, signature) {
            covered.unsigned(Reason::WrongSignature)
        } else if let Some(reason) = self.other_key {
            covered.refused(reason)
        } else {
            self.gops_together = self.gops_together.max(covered.gops);
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
        let (mut covered, first_hash) = match self.whole(general) {
            Some(from) => {
                self.skip(from, is_start);
                let first = self.waiting.front().map(|nal| nal.hash.as_ref().to_vec());
                (self.matched(general.nal_units.into(), at), first)
            }
            None => {
                let hash_bytes = self.hasher.algorithm().hash_bytes();
                let listed: Vec<&[u8]> = list.chunks_exact(hash_bytes).collect();
                if !self.may_work(self.waiting.len() + listed.len()) {
                    return Some(Covered::nothing(at).refused(Reason::TooManyStatements));
                }
                let mut places = self.places(&listed);
                if places.is_empty() && !self.has_resumed {
                    return None;
                }
                let before = places.first().map_or(self.waiting.len(), |&(here, _)| here);
                let left = self.leave_interrupted(before);
                places.iter_mut().for_each(|(here, _)| *here -= left);
                (self.in_part(general, &listed, &places, at), listed.first().map(|hash| hash.to_vec()))
            }
        };
        self.waiting.drain(..covered.end.min(self.waiting.len()));
        covered.totals.signed =
            SignedTime::joined(Some(SignedTime::of(general, covered.totals.start)), covered.totals.signed);
        let reason = self.link(general, is_start, &mut covered);
        (self.has_begun, self.has_resumed) = (true, true);
        let end = SignedTime::wall(general.end);
        self.before = Some(Before { counter: general.counter, first_hash, end });
        Some(reason.map_or(covered.totals, |reason| covered.totals.refused(reason)))
    }

    /// Whether so many comparisons may be made: a stream of statements alone costs no more than one of pictures.
    fn may_work(&mut self, comparisons: usize) -> bool {
        let left = self.work_left.checked_sub(comparisons as u64);
        self.work_left = left.unwrap_or(self.work_left);
        left.is_some()
    }

    /// From where on the NAL units that wait are those of the statement, all of them.
    fn whole(&mut self, general: &General) -> Option<usize> {
        let wanted = usize::from(general.nal_units);
        if wanted == 0 {
            return None;
        }
        let begins = |&from: &usize| from == 0 || self.waiting[from].begins_gop;
        let places = (0..(self.waiting.len() + 1).saturating_sub(wanted)).filter(begins).take(GOPS_TRIED_MAX);
        places.collect::<Vec<_>>().into_iter().find(|&from| {
            self.may_work(wanted) && {
                let hashes = self.waiting.range(from..from + wanted).map(|nal| nal.hash.as_ref());
                self.hasher.algorithm().hash(hashes).as_ref() == general.gop_hash
            }
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

    fn matched(&self, count: usize, at: WallTime) -> Cover {
        let mut totals = Covered::nothing(self.waiting.front().map_or(at, |nal| nal.at));
        for nal in self.waiting.range(..count) {
            totals.authentic += 1;
            totals.take(nal);
        }
        Cover { totals, end: count }
    }

    /// By the hash list, where the GOP is not whole.
    fn in_part(&mut self, general: &General, listed: &[&[u8]], places: &[(usize, usize)], at: WallTime) -> Cover {
        let end = self.end_of_gop(general, places.last().map(|&(here, _)| here));
        let mut totals = Covered::nothing(self.waiting.front().map_or(at, |nal| nal.at));
        let mut places_left = places.iter().peekable();
        for (here, nal) in self.waiting.range(..end).enumerate() {
            if places_left.next_if(|&&(place, _)| place == here).is_some() {
                totals.authentic += 1;
                totals.take(nal);
            } else {
                totals.altered += 1;
                totals.take(&Waiting { states: nal.states.map(|states| states.refused(Reason::Altered)), ..*nal });
                totals.reason = Some(Reason::Altered);
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
            // What follows may be the next part of the GOP: it is left to that one's statement.
            (Some(_), _) if general.is_partial => after,
            (_, Some(next_gop)) => next_gop,
            (Some(_), None) => self.waiting.len(),
            // What waits may be the next GOP: it is left to its own statement.
            (None, None) => 0,
        }
    }

    /// NAL units before those of a statement: no statement covers them any more.
    fn skip(&mut self, count: usize, is_start: bool) {
        let count = count - self.leave_interrupted(count);
        if count == 0 {
            return;
        }
        let has_gop = self.waiting.range(..count).any(|nal| nal.begins_gop);
        let covered = self.drained(count);
        if self.has_resumed || has_gop {
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

    /// Of the first `count` that wait, takes out those before an interruption: their signature may have been lost in it.
    fn leave_interrupted(&mut self, count: usize) -> usize {
        let now = self.interruptions;
        let left = self.waiting.range(..count).take_while(|nal| nal.interruptions < now).count();
        if left > 0 && self.may_be_tail(left) {
            let covered = self.drained(left);
            self.unverified_at_ends += covered.authentic + covered.altered;
        } else {
            self.pass_over(left);
        }
        left
    }

    /// Whether the first `count` that wait are no more than what a camera has sent before it signs.
    fn may_be_tail(&self, count: usize) -> bool {
        let gops = |nal: &Waiting| u64::from(nal.begins_gop) + nal.states.map_or(0, |states| states.gops);
        let waiting: u64 = self.waiting.range(..count).map(gops).sum();
        waiting <= GOPS_WAITING_MAX.max(self.gops_together + 1) && !self.suspect
    }

    /// Whether the statement follows the one before. GOPs that are missing between are counted.
    fn link(&mut self, general: &General, is_start: bool, covered: &mut Cover) -> Option<Reason> {
        let is_again =
            is_start && (self.sessions.len() == SESSIONS_MAX || !self.sessions.insert(general.gop_hash.clone()));
        let before = self.before.as_ref()?;
        if is_again {
            return Some(Reason::BrokenLink);
        }
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
            // Nothing links them: what was taken before does not follow.
            _ if SignedTime::wall(general.start).saturating_add(CLOCK_TOLERANCE) < before.end => {
                Some(Reason::BrokenLink)
            }
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
            covered.authentic += 1;
            covered.take(&nal);
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
            self.stretches.add(stretch(unproven.covered.unsigned(Reason::NoCertificate)));
        }
        if self.is_signed {
            self.leave_interrupted(self.waiting.len());
        }
        let at_end = self.waiting.len();
        if self.is_signed && self.may_be_tail(at_end) {
            let covered = self.drained(at_end);
            self.unverified_at_ends += covered.authentic + covered.altered;
        } else {
            // In a stream that is signed, what no signature covers may be another's.
            self.has_begun |= self.is_signed;
            self.pass_over(at_end);
        }
        let stretches = self.stretches.finish();
        let worst = stretches.iter().map(|stretch| stretch.verdict).max();
        Report {
            verdict: worst.unwrap_or(Verdict::NotSigned),
            stretches,
            certificates: self.uses,
            unverified_at_start: self.unverified_at_start,
            unverified_at_end: self.unverified_at_ends,
            vendor: self.vendor,
        }
    }
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
