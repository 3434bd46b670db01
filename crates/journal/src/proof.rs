//! That an entry is in a journal, from two small files alone: its line, and a proof of inclusion (RFC 6962 §2.1.1) with the
//! checkpoint that it leads to (C2SP tlog-proof).
//!
//! ```text
//! line ─ SHA-256 ─→ commitment ─ leaf ─→ with the hashes of the proof ─→ root of the checkpoint, which is signed
//! ```
//!
//! Invariant: one proof has one text, so that no byte of it can change unseen.

use std::io;
use std::path::Path;

use tlog_tiles::{
    Error as TreeError, HASH_SIZE, Hash, HashReader, RecordProof, Tile, check_record, prove_record, record_hash,
    split_stored_hash_index,
};

use crate::checkpoint::{self, CHECKPOINT_BYTES_MAX, CheckpointError, Head};
use crate::entry::{Commitment, Entry, Head as EntryHead, LINE_BYTES_MAX};
use crate::files;
use crate::read;
use crate::tree::{TILE_HEIGHT, TILE_WIDTH, TileKind};

/// The first line (C2SP tlog-proof).
const FORMAT: &str = "c2sp.org/tlog-proof@v1";
/// Hashes of a proof: one for each level of a tree of 2⁶⁴ entries.
const HASHES_MAX: usize = 64;

/// The longest proof that is read, in bytes.
pub const PROOF_BYTES_MAX: u64 = CHECKPOINT_BYTES_MAX + 8 * 1024;
/// The longest line of an entry, in bytes.
pub const ENTRY_BYTES_MAX: u64 = LINE_BYTES_MAX as u64;

/// An entry, and what proves that it is in its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Its line, with its newline.
    pub line: Vec<u8>,
    /// The proof (C2SP tlog-proof).
    pub proof: Vec<u8>,
}

/// Why a proof proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// It does not read as one.
    #[error("the proof does not read as one (C2SP tlog-proof): {0}")]
    Malformed(&'static str),
    /// Its checkpoint is refused.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It does not lead from the entry to the checkpoint.
    #[error("the proof does not lead from the entry to the root of its checkpoint: one of the two was changed")]
    Path,
    /// The line is no entry, or another.
    #[error("the entry is not the one that the proof is of: {0}")]
    Entry(String),
}

/// The entry of this number with its proof, by the checkpoint that lies in the journal's folder. `None` where that does not
/// cover it yet, or its contents were destroyed. Blocks.
///
/// # Errors
/// When the disk refuses, or the journal is damaged.
pub fn prove(folder: &Path, n: u64) -> io::Result<Option<Proven>> {
    let bad = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let Some(signed) = files::read(&folder.join(files::CHECKPOINT), CHECKPOINT_BYTES_MAX)? else { return Ok(None) };
    let head: Head = String::from_utf8_lossy(&signed).parse().map_err(|_| bad("the checkpoint is damaged".into()))?;
    let Some(line) = read::entries(folder, n, 1)?.pop() else { return Ok(None) };
    let line = [line.as_bytes(), b"\n"].concat();
    if n >= head.size || EntryHead::of_line(&line).is_none_or(|entry| entry.n != n) {
        return Ok(None);
    }
    let hashes = prove_record(head.size, n, &Tiles(folder)).map_err(|error| bad(error.to_string()))?;
    Ok(Some(Proven { line, proof: text(n, &hashes, &signed) }))
}

fn text(n: u64, hashes: &[Hash], checkpoint: &[u8]) -> Vec<u8> {
    let hashes: String = hashes.iter().map(|hash| format!("{hash}\n")).collect();
    [format!("{FORMAT}\nindex {n}\n{hashes}\n").as_bytes(), checkpoint].concat()
}

/// The entry that this line is, where the proof leads from it to a checkpoint that one of these keys has signed.
///
/// # Errors
/// See [`ProofError`].
pub fn verify(proof: &[u8], line: &[u8], keys: &[String]) -> Result<(Entry, Head), ProofError> {
    let malformed = ProofError::Malformed;
    if proof.len() as u64 > PROOF_BYTES_MAX {
        return Err(malformed("it is too long"));
    }
    let proof_text = str::from_utf8(proof).map_err(|_| malformed("it is no text"))?;
    let (own, checkpoint) = proof_text.split_once("\n\n").ok_or(malformed("it has no checkpoint"))?;
    let mut lines = own.lines();
    if lines.next() != Some(FORMAT) {
        return Err(malformed("it is of another format"));
    }
    let index = lines.next().and_then(|line| line.strip_prefix("index "));
    let n: u64 = index.and_then(|n| n.parse().ok()).ok_or(malformed("it names no entry"))?;
    let hashes = lines.take(HASHES_MAX + 1).map(Hash::parse_hash).collect::<Result<RecordProof, _>>();
    let hashes = hashes.map_err(|_| malformed("a hash of it is none"))?;
    if hashes.len() > HASHES_MAX || text(n, &hashes, checkpoint.as_bytes()) != proof {
        return Err(malformed("it has another form than the one that it may have"));
    }
    let head = checkpoint::open(checkpoint.as_bytes(), keys)?;
    let entry = entry_of(line, n)?;
    let leaf = record_hash(Commitment::of_line(entry.day(), line).as_bytes());
    check_record(&hashes, head.size, Hash(head.root), n, leaf).map_err(|_| ProofError::Path)?;
    Ok((entry, head))
}

fn entry_of(line: &[u8], n: u64) -> Result<Entry, ProofError> {
    if line.len() > LINE_BYTES_MAX || !line.ends_with(b"\n") {
        return Err(ProofError::Entry("it is no line of a journal".to_owned()));
    }
    let entry = Entry::decode(line).map_err(|error| ProofError::Entry(error.to_string()))?;
    match entry.n == n {
        true => Ok(entry),
        false => Err(ProofError::Entry(format!("it has the number {}, and the proof is of {n}", entry.n))),
    }
}

/// The hashes of the tree, from its tiles.
struct Tiles<'a>(&'a Path);

impl HashReader for Tiles<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, TreeError> {
        indexes.iter().map(|index| self.hash(*index)).collect()
    }
}

impl Tiles<'_> {
    fn hash(&self, index: u64) -> Result<Hash, TreeError> {
        let (level, n) = split_stored_hash_index(index);
        let (of, above) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let first = n << above;
        let (tile, from) = (first / TILE_WIDTH as u64, (first % TILE_WIDTH as u64) as usize);
        let width = from + (1 << above);
        let bytes = files::read_tile(self.0, TileKind::Hashes(of), tile, width);
        let bytes = bytes.map_err(|error| TreeError::InvalidInput(error.to_string()))?;
        Ok(Tile::subtree_hash(&bytes[from * HASH_SIZE..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Signer;
    use crate::{Action, Author, Draft, Journal};

    fn journal(folder: &Path, entries: u64) -> Vec<String> {
        let signer = Signer::new("vigie.invalid/journal/proofs", &[3; 32]);
        let keys = vec![signer.verifier().to_owned()];
        let at = "2026-03-01T12:00:00Z".parse().unwrap();
        let journal = Journal::open(folder, signer, &[], at).unwrap();
        for n in 0..entries {
            journal.append(at, Draft::new(Author::Operator, Action::JournalRead { from: n })).unwrap();
        }
        journal.checkpoint().unwrap();
        keys
    }

    #[test]
    fn each_entry_of_a_tree_of_any_size_is_proven() {
        for size in [1, 2, 3, 255, 256, 257, 700] {
            let dir = tempfile::tempdir().unwrap();
            let keys = journal(dir.path(), size);
            for n in (0..size).step_by(1 + size as usize / 9).chain([size - 1]) {
                let Proven { line, proof } = prove(dir.path(), n).unwrap().unwrap();
                let (entry, head) = verify(&proof, &line, &keys).unwrap_or_else(|e| panic!("{n} of {size}: {e}"));
                assert_eq!((entry.n, head.size, entry.draft.action), (n, size, Action::JournalRead { from: n }));
            }
            assert_eq!(prove(dir.path(), size).unwrap(), None, "it is not there yet");
        }
    }

    #[test]
    fn what_is_behind_the_checkpoint_has_no_proof_yet() {
        let dir = tempfile::tempdir().unwrap();
        let signer = Signer::new("vigie.invalid/journal/proofs", &[3; 32]);
        let at = "2026-03-01T12:00:00Z".parse().unwrap();
        let journal = Journal::open(dir.path(), signer, &[], at).unwrap();
        let n = journal.append(at, Draft::new(Author::Operator, Action::ConfigurationRead)).unwrap();
        assert_eq!(prove(dir.path(), n).unwrap(), None);
        journal.checkpoint().unwrap();
        assert!(prove(dir.path(), n).unwrap().is_some());
    }

    #[test]
    fn a_flipped_bit_of_proof_or_entry_proves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let keys = journal(dir.path(), 300);
        let Proven { line, proof } = prove(dir.path(), 77).unwrap().unwrap();
        let flipped = |bytes: &[u8], bit: usize| {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        for bit in 0..proof.len() * 8 {
            assert!(verify(&flipped(&proof, bit), &line, &keys).is_err(), "bit {bit} of the proof");
        }
        for bit in 0..line.len() * 8 {
            assert!(verify(&proof, &flipped(&line, bit), &keys).is_err(), "bit {bit} of the entry");
        }
        let other = Signer::new("vigie.invalid/journal/proofs", &[4; 32]);
        assert!(verify(&proof, &line, &[other.verifier().to_owned()]).is_err(), "another key");
        assert!(verify(&proof, &prove(dir.path(), 78).unwrap().unwrap().line, &keys).is_err(), "another entry");
    }
}
