//! The TLVs of a SEI message. Lengths are a camera's word, or an attacker's: each is checked.

use super::hashes::HashAlgorithm;

/// What a TLV is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// The statement on a GOP or a part of one.
    General = 1,
    /// The hashes that its GOP hash is of.
    HashList = 2,
    /// The signature over all before it.
    Signature = 3,
    /// The algorithms.
    CryptoInfo = 4,
    /// Who made the camera.
    VendorInfo = 5,
    /// The certificate chain.
    Certificates = 6,
    /// The maker's own.
    ArbitraryData = 7,
}

/// Why TLVs cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadTlv {
    /// A length points past the end.
    #[error("TLV {tag} at byte {at} says {length} bytes, and {left} are left")]
    Length {
        /// Which kind.
        tag: u8,
        /// Where.
        at: usize,
        /// What it says.
        length: usize,
        /// What there is.
        left: usize,
    },
    /// Its version is not known.
    #[error("TLV {0} has version {1}, which is not known")]
    Version(u8, u8),
    /// Its fields do not fill it.
    #[error("TLV {0}: its fields do not fill it")]
    Fields(u8),
    /// It names an algorithm that is not supported.
    #[error("TLV 4 names a hash algorithm that is not supported: use SHA-256, SHA-384 or SHA-512")]
    Algorithm,
    /// It stands after the signature, which it would not be covered by, or twice.
    #[error("TLV {0} stands after the signature, or twice")]
    Place(u8),
}

/// The statement on a GOP, or on a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct General {
    /// It ends before its GOP does.
    pub is_partial: bool,
    /// When its first picture was taken, by the camera's clock: 100 ns since 1601-01-01 UTC.
    pub start: i64,
    /// When it ended.
    pub end: i64,
    /// Its number: one more than that of the statement before.
    pub counter: u32,
    /// How many NAL units it is on.
    pub nal_units: u16,
    /// The hash of their hashes.
    pub gop_hash: Vec<u8>,
    /// The first NAL hash of the statement before; zeros where there is none.
    pub linked_hash: Vec<u8>,
}

/// Who made the camera, by its own word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VendorInfo {
    /// Its firmware.
    pub firmware: String,
    /// Its serial number.
    pub serial_number: String,
    /// Its maker.
    pub manufacturer: String,
}

/// What a SEI message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tlvs {
    /// The statement.
    pub general: Option<General>,
    /// The single hashes, one after the other.
    pub hash_list: Option<Vec<u8>>,
    /// The signature.
    pub signature: Option<Vec<u8>>,
    /// Where its TLV begins.
    pub signature_at: Option<usize>,
    /// How NAL units are hashed.
    pub hash_algorithm: Option<HashAlgorithm>,
    /// Who made the camera.
    pub vendor: Option<VendorInfo>,
    /// A PEM chain.
    pub certificates: Option<Vec<u8>>,
    /// The maker's own.
    pub arbitrary_data: Option<Vec<u8>>,
}

impl Tlvs {
    /// Reads all. A tag that is not known is passed over.
    ///
    /// # Errors
    /// [`BadTlv`], naming the TLV.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadTlv> {
        let (mut tlvs, mut rest) = (Self::default(), bytes);
        while let Some((&tag, after)) = rest.split_first() {
            let at = bytes.len() - rest.len();
            let bad_length = |length, left| BadTlv::Length { tag, at, length, left };
            let (length, after) = after.split_first_chunk::<2>().ok_or_else(|| bad_length(2, after.len()))?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (value, next) = after.split_at_checked(length).ok_or_else(|| bad_length(length, after.len()))?;
            if tlvs.signature_at.is_some() {
                return Err(BadTlv::Place(tag));
            }
            tlvs.take(tag, at, &mut Fields { tag, rest: value })?;
            rest = next;
        }
        Ok(tlvs)
    }

    fn take(&mut self, tag: u8, at: usize, fields: &mut Fields<'_>) -> Result<(), BadTlv> {
        fn once<T>(slot: &mut Option<T>, value: T, tag: u8) -> Result<(), BadTlv> {
            if slot.replace(value).is_some() { Err(BadTlv::Place(tag)) } else { Ok(()) }
        }
        match tag {
            tag if tag == Tag::General as u8 => once(&mut self.general, General::parse(fields)?, tag),
            tag if tag == Tag::HashList as u8 => once(&mut self.hash_list, fields.versioned()?.rest().to_vec(), tag),
            tag if tag == Tag::Signature as u8 => {
                let fields = fields.versioned()?;
                let length = u16::from_be_bytes(fields.array()?);
                self.signature = Some(fields.take(length.into())?.to_vec());
                self.signature_at = Some(at);
                Ok(())
            }
            tag if tag == Tag::CryptoInfo as u8 => {
                let fields = fields.versioned()?;
                let algorithm = HashAlgorithm::of_oid(fields.counted()?).ok_or(BadTlv::Algorithm)?;
                fields.counted()?;
                let [_, _] = fields.array()?;
                fields.end()?;
                once(&mut self.hash_algorithm, algorithm, tag)
            }
            tag if tag == Tag::VendorInfo as u8 => {
                let fields = fields.versioned()?;
                let mut text = || fields.counted().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                let vendor = VendorInfo { firmware: text()?, serial_number: text()?, manufacturer: text()? };
                fields.end()?;
                once(&mut self.vendor, vendor, tag)
            }
            tag if tag == Tag::Certificates as u8 => {
                let fields = fields.versioned()?;
                let [_user_provisioned] = fields.array()?;
                once(&mut self.certificates, fields.rest().to_vec(), tag)
            }
            tag if tag == Tag::ArbitraryData as u8 => {
                once(&mut self.arbitrary_data, fields.versioned()?.rest().to_vec(), tag)
            }
            _ => Ok(()),
        }
    }
}

impl General {
    fn parse(fields: &mut Fields<'_>) -> Result<Self, BadTlv> {
        let [version, _major, _minor, _patch, is_partial] = fields.array()?;
        let start = i64::from_be_bytes(fields.array()?);
        let end = match version {
            1 => start,
            2 => i64::from_be_bytes(fields.array()?),
            _ => return Err(BadTlv::Version(fields.tag, version)),
        };
        let counter = u32::from_be_bytes(fields.array()?);
        let nal_units = u16::from_be_bytes(fields.array()?);
        let hashes = fields.rest();
        // Two hashes of the same length, that of a supported algorithm.
        if ![64, 96, 128].contains(&hashes.len()) {
            return Err(BadTlv::Fields(fields.tag));
        }
        let (gop_hash, linked_hash) = hashes.split_at(hashes.len() / 2);
        let (gop_hash, linked_hash) = (gop_hash.to_vec(), linked_hash.to_vec());
        Ok(Self { is_partial: is_partial != 0, start, end, counter, nal_units, gop_hash, linked_hash })
    }
}

/// The value of a TLV while it is read.
struct Fields<'a> {
    tag: u8,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Past the version, which is 1.
    fn versioned(&mut self) -> Result<&mut Self, BadTlv> {
        match self.array()? {
            [1] => Ok(self),
            [version] => Err(BadTlv::Version(self.tag, version)),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], BadTlv> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(BadTlv::Fields(self.tag))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadTlv> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(BadTlv::Fields(self.tag))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Bytes after their number in one byte.
    fn counted(&mut self) -> Result<&'a [u8], BadTlv> {
        let [length] = self.array()?;
        self.take(length.into())
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    fn end(&self) -> Result<(), BadTlv> {
        if self.rest.is_empty() { Ok(()) } else { Err(BadTlv::Fields(self.tag)) }
    }
}
