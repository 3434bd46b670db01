//! The hashes of a media file's pieces: its boxes first, then fragment by fragment with the time at which each was filmed. So a byte
//! that changed is named by its time, and each second of a film can be checked by itself.
//!
//! One piece a line, in the encoding of [`crate::canonical`]:
//! `{"at":0,"bytes":1234,"sha256":"…"}`, `{"at":1234,"bytes":567,"from":"…","sha256":"…","to":"…"}`.
//!
//! Invariant: pieces follow one another without a gap, from the first byte of the file to its last.

use jiff::Timestamp;
use journal::Span;
use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::sums::Sha256;

/// The longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 512;

/// A piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// Its first byte in the file.
    pub at: u64,
    /// Its length.
    pub bytes: u64,
    /// When it was filmed; absent of boxes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// In hexadecimal.
    pub sha256: String,
    /// Up to when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

impl Piece {
    /// Its line, with its newline.
    fn encode(&self) -> Vec<u8> {
        let mut line = canonical::encode(self).expect("a length in a file is below 2^53");
        line.push(b'\n');
        line
    }

    /// From its line, with its newline; `None` where it is none in its one form, and of a piece of nothing.
    pub fn decode(line: &[u8]) -> Option<Self> {
        let piece: Self = serde_json::from_slice(line.strip_suffix(b"\n")?).ok()?;
        (piece.bytes > 0 && canonical::encode(&piece).ok()? == line[..line.len() - 1]).then_some(piece)
    }

    /// When it was filmed.
    pub fn time(&self) -> Option<Span> {
        Some(Span { from: self.from?, to: self.to? })
    }
}

/// Hashes pieces as a file's bytes come.
#[derive(Debug)]
pub struct Hasher<I> {
    pieces: I,
    at: u64,
    /// The piece that bytes go into: how many it lacks.
    open: Option<(u64, u64, Option<Span>)>,
    hash: Sha256,
    lines: Vec<u8>,
}

/// A file has other bytes than its pieces.
#[derive(Debug, thiserror::Error)]
#[error("the file has other bytes than its pieces, from byte {0} on")]
pub struct OtherLength(u64);

impl<I: Iterator<Item = (u64, Option<Span>)>> Hasher<I> {
    /// Of a file with pieces of these lengths and times.
    pub fn new(pieces: I) -> Self {
        Self { pieces, at: 0, open: None, hash: Sha256::default(), lines: Vec::new() }
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// When they belong to no piece.
    pub fn update(&mut self, mut bytes: &[u8]) -> Result<(), OtherLength> {
        while !bytes.is_empty() {
            let (lacks, len, time) = match self.open {
                Some(open) => open,
                None => match self.pieces.find(|(len, _)| *len > 0) {
                    Some((len, time)) => (len, len, time),
                    None => return Err(OtherLength(self.at)),
                },
            };
            let take = lacks.min(bytes.len() as u64);
            let (own, rest) = bytes.split_at(take as usize);
            self.hash.update(own);
            bytes = rest;
            self.open = Some((lacks - take, len, time));
            if lacks == take {
                self.close(len, time);
            }
        }
        Ok(())
    }

    fn close(&mut self, bytes: u64, time: Option<Span>) {
        let sha256 = std::mem::take(&mut self.hash).finish();
        let (from, to) = (time.map(|time| time.from), time.map(|time| time.to));
        self.lines.extend(Piece { at: self.at, bytes, from, sha256, to }.encode());
        (self.at, self.open) = (self.at + bytes, None);
    }

    /// The lines of all pieces.
    ///
    /// # Errors
    /// When the file ended before its pieces.
    pub fn finish(mut self) -> Result<Vec<u8>, OtherLength> {
        match self.open.is_some() || self.pieces.any(|(len, _)| len > 0) {
            true => Err(OtherLength(self.at)),
            false => Ok(self.lines),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sums::sha256;

    #[test]
    fn pieces_are_the_same_however_the_bytes_come() {
        let bytes: Vec<u8> = (0..1000).map(|n| (n % 251) as u8).collect();
        let at = |second| Timestamp::from_second(second).unwrap();
        let pieces = [(100, None), (0, None), (400, Some(Span { from: at(1), to: at(2) })), (500, None)];
        let lines = |step: usize| {
            let mut hasher = Hasher::new(pieces.into_iter());
            bytes.chunks(step).for_each(|bytes| hasher.update(bytes).unwrap());
            hasher.finish().unwrap()
        };
        let all = lines(1000);
        assert!([1, 7, 100, 499].into_iter().all(|step| lines(step) == all));
        let read: Vec<Piece> = all.split_inclusive(|byte| *byte == b'\n').map(|l| Piece::decode(l).unwrap()).collect();
        assert_eq!(
            read.iter().map(|piece| (piece.at, piece.bytes)).collect::<Vec<_>>(),
            [(0, 100), (100, 400), (500, 500)]
        );
        assert_eq!(read[1].sha256, sha256(&bytes[100..500]));
        assert_eq!(read[1].time(), Some(Span { from: at(1), to: at(2) }));
    }

    #[test]
    fn a_piece_has_bytes() {
        let line = |bytes| Piece { at: 0, bytes, from: None, sha256: sha256(b""), to: None }.encode();
        assert!(Piece::decode(&line(1)).is_some());
        assert!(Piece::decode(&line(0)).is_none(), "a list could have any number of them");
    }

    #[test]
    fn a_file_that_is_shorter_or_longer_than_its_pieces_has_none() {
        let check = |len: usize| {
            let mut hasher = Hasher::new([(10, None)].into_iter());
            hasher.update(&vec![0; len]).and_then(|()| hasher.finish()).is_ok()
        };
        assert_eq!([9, 10, 11].map(check), [false, true, false]);
    }
}
