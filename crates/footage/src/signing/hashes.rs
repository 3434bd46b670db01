//! The hashes of NAL units, each bound to the first slice of its GOP.

use aws_lc_rs::digest::{self, Digest};

use super::sei::{NalKind, without_trailing_zeros};

/// How NAL units are hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// FIPS 180-4; what the standard begins with.
    #[default]
    Sha256,
    /// FIPS 180-4.
    Sha384,
    /// FIPS 180-4.
    Sha512,
}

impl HashAlgorithm {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its object identifier in DER (RFC 8017 appendix B.1).
    pub fn oid(self) -> [u8; 11] {
        let last = match self {
            Self::Sha256 => 1,
            Self::Sha384 => 2,
            Self::Sha512 => 3,
        };
        [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last]
    }

    /// From that identifier.
    pub fn of_oid(oid: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.oid() == oid)
    }

    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    /// Bytes of a hash.
    pub fn hash_bytes(self) -> usize {
        self.algorithm().output_len()
    }

    /// The hash of all parts, one after the other.
    pub fn hash<'a>(self, parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut context = digest::Context::new(self.algorithm());
        parts.into_iter().for_each(|part| context.update(part));
        context.finish()
    }
}

/// Hashes the NAL units of one stream, in decode order.
#[derive(Debug, Default)]
pub struct NalHasher {
    algorithm: HashAlgorithm,
    anchor: Option<Digest>,
}

impl NalHasher {
    /// With this algorithm.
    pub fn new(algorithm: HashAlgorithm) -> Self {
        Self { algorithm, anchor: None }
    }

    /// Which one.
    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The hash of a slice, without its length; `None` for a NAL unit that is not hashed. A slice before the first GOP has
    /// no anchor: its hash is of zeros and itself, which no statement names.
    pub fn slice(&mut self, kind: NalKind, nal: &[u8]) -> Option<Digest> {
        let own = || self.algorithm.hash([without_trailing_zeros(nal)]);
        match kind {
            NalKind::GopStart => {
                let own = own();
                self.anchor = Some(own);
                Some(own)
            }
            NalKind::Slice => {
                let zeros = vec![0; self.algorithm.hash_bytes()];
                let anchor = self.anchor.as_ref().map_or(&zeros[..], AsRef::as_ref);
                Some(self.algorithm.hash([anchor, own().as_ref()]))
            }
            NalKind::Signing | NalKind::NeverSigned | NalKind::Other => None,
        }
    }
}
