//! A signer of streams, as a camera of the ONVIF Media Signing Specification is one.
//!
//! Written from the standard, with hashes and messages of its own: it shares nothing with the verifier that it is for, so
//! that one mistake does not hide in both.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, RsaKeyPair, RsaPssSaltLength, RsaSignatureEncoding};
use footage::failure::{Failure, Kind};
use footage::media::VideoCodec;
use footage::units::WallTime;

#[cfg(test)]
mod tests;

/// From 1601-01-01 to 1970-01-01, in 100 ns.
const EPOCH_1601: i64 = 116_444_736_000_000_000;

const UUID: [u8; 16] = *b"\x00\x5b\xc9\x3f\x2d\x71\x5e\x95\xad\xa4\x79\x6f\x90\x87\x7a\x6f";

/// The key is none that signs.
#[derive(Debug, thiserror::Error)]
#[error("no private key of ECDSA P-256 or RSA in PKCS #8")]
pub struct BadKey;

impl Failure for BadKey {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

#[derive(Debug)]
enum Key {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// A camera's private key and its certificates.
#[derive(Clone, Debug)]
pub struct Identity {
    key: Arc<Key>,
    chain_pem: Arc<str>,
    longest_salt: bool,
}

/// As OpenSSL signs by itself, until its version 3.1.
static PSS_LONGEST_SALT: RsaSignatureEncoding = signature::RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);

impl Identity {
    /// From a PKCS #8 key, and the PEM chain of its certificate.
    ///
    /// # Errors
    /// [`BadKey`] for another kind of key.
    pub fn new(pkcs8: &[u8], chain_pem: &str) -> Result<Self, BadKey> {
        let ecdsa = EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).map(Key::Ecdsa);
        let key = ecdsa.or_else(|_| RsaKeyPair::from_pkcs8(pkcs8).map(Key::Rsa)).map_err(|_| BadKey)?;
        Ok(Self { key: Arc::new(key), chain_pem: chain_pem.into(), longest_salt: false })
    }

    /// With an RSA key, signs with the longest salt that it has room for.
    pub fn with_longest_salt(self) -> Self {
        Self { longest_salt: true, ..self }
    }

    fn sign(&self, document: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &*self.key {
            Key::Ecdsa(key) => key.sign(&random, document).expect("a P-256 key signs").as_ref().to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let how = if self.longest_salt { &PSS_LONGEST_SALT } else { &signature::RSA_PSS_SHA256 };
                key.sign(how, &random, document, &mut signature).expect("an RSA key signs");
                signature
            }
        }
    }
}

/// How a camera signs.
#[derive(Clone, Debug)]
pub struct Signing {
    /// With which key.
    pub identity: Identity,
    /// GOPs from certificate SEI to certificate SEI; 0 sends one alone, at the start.
    pub certificate_every_gops: u32,
    /// Statements name each hash.
    pub hash_list: bool,
    /// SEI messages are hashed with their emulation prevention; without, it is left out of them.
    pub escaped: bool,
    /// Of so many GOPs' statements one is signed.
    pub gops_per_signature: u32,
    /// Pictures of a part of a GOP that is stated by itself; 0 for whole GOPs.
    pub pictures_per_part: u32,
}

impl Signing {
    /// As most cameras: each GOP, hash lists, a certificate at the start.
    pub fn of(identity: Identity) -> Self {
        Self {
            identity,
            certificate_every_gops: 0,
            hash_list: true,
            escaped: true,
            gops_per_signature: 1,
            pictures_per_part: 0,
        }
    }
}

/// Signs one session's stream.
#[derive(Debug)]
pub struct Signer {
    how: Signing,
    codec: VideoCodec,
    anchor: [u8; 32],
    hashes: Vec<[u8; 32]>,
    /// The first hash of this GOP or part, and of the one before.
    first: [u8; 32],
    before: [u8; 32],
    started: WallTime,
    counter: u32,
    pictures: u32,
    gops: u32,
    /// SEI messages for the next picture, and whether each is signed.
    pending: Vec<(Vec<u8>, bool)>,
}

impl Signer {
    /// For a stream of this coding.
    pub fn new(how: Signing, codec: VideoCodec) -> Self {
        Self {
            how,
            codec,
            anchor: [0; 32],
            hashes: Vec::new(),
            first: [0; 32],
            before: [0; 32],
            started: WallTime(0),
            counter: 0,
            pictures: 0,
            gops: 0,
            pending: Vec::new(),
        }
    }

    /// The SEI messages that go before the slices of the next picture, which has these NAL units.
    pub fn picture(&mut self, nals: &[&[u8]], at: WallTime) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        for (message, signed) in std::mem::take(&mut self.pending) {
            if !signed {
                self.hashes.push(hash(&[&message]));
            }
            messages.push(message);
        }
        for nal in nals {
            let Some((first, intra)) = slice(self.codec, nal) else { continue };
            let begins_gop = first && intra;
            let part = self.how.pictures_per_part;
            let begins_part = first && !intra && part > 0 && self.pictures >= part;
            if begins_gop || begins_part {
                if !self.hashes.is_empty() {
                    self.state(begins_part, at);
                }
                if begins_gop {
                    let every = self.how.certificate_every_gops;
                    if self.gops == 0 || every > 0 && self.gops.is_multiple_of(every) {
                        messages.push(self.certificate_sei());
                    }
                    self.gops += 1;
                }
                (self.pictures, self.started) = (0, at);
            }
            self.pictures += u32::from(first);
            let own = hash(&[nal]);
            let hash = if begins_gop { own } else { hash(&[&self.anchor, &own]) };
            if begins_gop {
                self.anchor = own;
            }
            if self.hashes.is_empty() {
                (self.before, self.first) = (self.first, hash);
            }
            self.hashes.push(hash);
        }
        messages
    }

    /// The statement on what is left, at the end of the stream.
    pub fn finish(&mut self, at: WallTime) -> Vec<Vec<u8>> {
        self.gops = 0;
        self.state(false, at);
        std::mem::take(&mut self.pending).into_iter().map(|(message, _)| message).collect()
    }

    /// The next pictures are signed by another.
    pub fn become_another(&mut self, identity: Identity) {
        self.how.identity = identity;
        self.gops = 0;
    }

    fn state(&mut self, partial: bool, at: WallTime) {
        let gop_hash = hash(&self.hashes.iter().map(|hash| &hash[..]).collect::<Vec<_>>());
        self.counter += 1;
        let time = |at: WallTime| (at.0 * 1_000 / 9 + EPOCH_1601).to_be_bytes();
        let mut general = vec![2, 25, 12, 2, u8::from(partial)];
        general.extend(time(self.started));
        general.extend(time(at));
        general.extend(self.counter.to_be_bytes());
        general.extend((self.hashes.len() as u16).to_be_bytes());
        general.extend(gop_hash);
        general.extend(self.before);
        let mut tlvs = tlv(1, &general);
        if self.how.hash_list {
            tlvs.extend(tlv(2, &[&[1][..], &self.hashes.concat()].concat()));
        }
        let signed = self.gops.is_multiple_of(self.how.gops_per_signature.max(1));
        let message = self.message(false, tlvs, signed);
        self.pending.push((message, signed));
        self.hashes.clear();
    }

    fn certificate_sei(&self) -> Vec<u8> {
        let oid = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
        let crypto = [&[1, oid.len() as u8][..], &oid, &[0, 0, 0]].concat();
        let vendor = [&[1, 3][..], b"1.0", &[1], b"7", &[5], b"Vigie"].concat();
        let chain = [&[1, 0][..], self.how.identity.chain_pem.as_bytes()].concat();
        self.message(true, [tlv(4, &crypto), tlv(5, &vendor), tlv(6, &chain)].concat(), true)
    }

    fn message(&self, certificate: bool, tlvs: Vec<u8>, signed: bool) -> Vec<u8> {
        let longest = match &*self.how.identity.key {
            Key::Ecdsa(_) => 72,
            Key::Rsa(key) => key.public_modulus_len(),
        };
        let signature_bytes = if signed { 3 + 3 + longest } else { 0 };
        let size = UUID.len() + 1 + tlvs.len() + signature_bytes;
        let mut nal = match self.codec {
            VideoCodec::H264 => vec![6],
            VideoCodec::H265 => vec![78, 1],
        };
        nal.push(5);
        nal.extend(vec![0xff; size / 255]);
        nal.push((size % 255) as u8);
        nal.extend(UUID);
        nal.push(u8::from(certificate) << 7 | u8::from(self.how.escaped) << 6);
        nal.extend(tlvs);
        if signed {
            let document = if self.how.escaped { escaped(&nal) } else { nal.clone() };
            let mut signature = self.how.identity.sign(&document);
            let length = signature.len() as u16;
            signature.resize(longest, 1);
            nal.extend(tlv(3, &[&[1][..], &length.to_be_bytes(), &signature].concat()));
        }
        nal.push(0x80);
        if self.how.escaped { escaped(&nal) } else { nal }
    }
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    digest(&SHA256, &parts.concat()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("a GOP of a test has few NAL units");
    [&[tag][..], &length.to_be_bytes(), value].concat()
}

/// Whether it is the first slice of its picture, and of a random access point; `None` for what is not signed.
fn slice(codec: VideoCodec, nal: &[u8]) -> Option<(bool, bool)> {
    let kind = match codec {
        VideoCodec::H264 => nal.first()? & 31,
        VideoCodec::H265 => nal.first()? >> 1,
    };
    let (first, intra, inter) = match codec {
        VideoCodec::H264 => (nal.get(1)? >> 7 == 1, kind == 5, kind == 1),
        VideoCodec::H265 => (nal.get(2)? >> 7 == 1, (16..22).contains(&kind), kind < 2),
    };
    (intra || inter).then_some((first, intra))
}

/// Emulation prevention (H.264 §7.4.1.1, H.265 §7.4.2.1).
fn escaped(plain: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(plain.len());
    for &byte in plain {
        if byte <= 3 && out.ends_with(&[0, 0]) {
            out.push(3);
        }
        out.push(byte);
    }
    out
}
