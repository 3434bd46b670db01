//! Checkpoints: size and root of the tree at a moment, signed (C2SP tlog-checkpoint, signed-note, Ed25519).
//!
//! Who has one, on an export or from a witness, has a proof against the journal: whatever was in it then is in it now,
//! in its place and unchanged, or [`crate::verify`] says that it is not.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use signed_note::{Note, NoteError, StandardSigner, StandardVerifier, Verifier, VerifierList, key_id};
use tlog_tiles::{Checkpoint, Hash};

/// The algorithm Ed25519 (C2SP signed-note).
const ED25519: u8 = 1;

/// The longest checkpoint that is read, in bytes.
pub(crate) const CHECKPOINT_BYTES_MAX: u64 = 64 * 1024;

/// Size and root of the tree at a moment: what a checkpoint signs, and what a short text can carry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Entries in it.
    pub size: u64,
    /// Its root (RFC 6962 §2.1).
    pub root: [u8; 32],
}

/// `<size> <root in base64>`: of an answer's header, or printed on an export.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.size, Hash(self.root))
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is neither a checkpoint nor `<size> <root in base64>`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "this is neither a checkpoint nor a size and a root such as \"12 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\""
)]
pub struct BadHead;

impl FromStr for Head {
    type Err = BadHead;

    /// From its text, or from that of a whole checkpoint, whose signatures are not looked at.
    fn from_str(text: &str) -> Result<Self, BadHead> {
        if let Ok(note) = Note::from_bytes(text.as_bytes())
            && let Ok(checkpoint) = Checkpoint::from_bytes(note.text())
        {
            return Ok(Self { size: checkpoint.size(), root: checkpoint.hash().0 });
        }
        let (size, root) = text.trim().split_once(' ').ok_or(BadHead)?;
        let size = size.parse().map_err(|_| BadHead)?;
        let root = Hash::parse_hash(root).map_err(|_| BadHead)?.0;
        Ok(Self { size, root })
    }
}

/// Signs checkpoints.
pub struct Signer {
    origin: String,
    signer: StandardSigner,
    verifier: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.verifier)
    }
}

impl Signer {
    /// The signer of the journal of this name, with the Ed25519 key of this seed (RFC 8032 §5.1.5).
    ///
    /// # Panics
    /// When the name is empty, or has a space or `+` in it: it is the caller's own.
    pub fn new(origin: &str, seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed");
        let with_algorithm = |key: &[u8]| [&[ED25519], key].concat();
        let public = with_algorithm(pair.public_key().as_ref());
        let id = key_id(origin, &public);
        let private = BASE64.encode(with_algorithm(seed));
        let signer = StandardSigner::new(&format!("PRIVATE+KEY+{origin}+{id:08x}+{private}"));
        let signer = signer.expect("the name is one of a note's signer, and the key was just made");
        let verifier = format!("{origin}+{id:08x}+{}", BASE64.encode(public));
        Self { origin: origin.to_owned(), signer, verifier }
    }

    /// The key that verifies (C2SP signed-note, verifier key).
    pub fn verifier(&self) -> &str {
        &self.verifier
    }

    pub(crate) fn sign(&self, head: Head) -> Vec<u8> {
        let checkpoint = Checkpoint::new(&self.origin, head.size, Hash(head.root), "");
        let text = checkpoint.expect("the name is not empty").to_bytes();
        let mut note = Note::new(&text, &[]).expect("a checkpoint is a text of a note");
        note.add_sigs(&[&self.signer]).expect("signing in memory does not fail");
        note.to_bytes()
    }
}

/// Why a checkpoint is refused.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It does not read as one.
    #[error("the checkpoint does not read as one (C2SP tlog-checkpoint): it is damaged")]
    Malformed,
    /// No key that is known has signed it.
    #[error("no key that is known signed the checkpoint")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the signature of the checkpoint is wrong: it was changed, or is damaged")]
    Signature,
    /// It is of another journal.
    #[error("the checkpoint is of another journal, {0}")]
    Origin(String),
    /// A verifier key does not read as one.
    #[error("{0:?} is no verifier key (C2SP signed-note)")]
    Key(String),
}

/// A verifier key from its text, of which there is one only: no byte of it can change unseen.
pub(crate) fn verifier(key: &str) -> Result<StandardVerifier, CheckpointError> {
    let bad = || CheckpointError::Key(key.to_owned());
    let verifier = StandardVerifier::new(key).map_err(|_| bad())?;
    let id = format!("{:08x}", verifier.key_id());
    if key.split('+').nth(1) == Some(id.as_str()) { Ok(verifier) } else { Err(bad()) }
}

/// Reads a checkpoint that one of these keys must have signed. All that is in it is checked, further signatures too where
/// their keys are known.
///
/// # Errors
/// See [`CheckpointError`].
pub fn open(bytes: &[u8], verifiers: &[String]) -> Result<Head, CheckpointError> {
    let note = Note::from_bytes(bytes).map_err(|_| CheckpointError::Malformed)?;
    let mut names = Vec::new();
    let mut keys: Vec<Box<dyn Verifier>> = Vec::new();
    for key in verifiers {
        let verifier = verifier(key)?;
        names.push(verifier.name().to_owned());
        keys.push(Box::new(verifier));
    }
    note.verify(&VerifierList::new(keys)).map_err(|e| match e {
        NoteError::UnverifiedNote => CheckpointError::UnknownKey,
        NoteError::InvalidSignature { .. } => CheckpointError::Signature,
        _ => CheckpointError::Malformed,
    })?;
    let checkpoint = Checkpoint::from_bytes(note.text()).map_err(|_| CheckpointError::Malformed)?;
    if !names.iter().any(|name| name == checkpoint.origin()) {
        return Err(CheckpointError::Origin(checkpoint.origin().to_owned()));
    }
    // One text alone may stand for a head, so that no byte of it can change unseen.
    let head = Head { size: checkpoint.size(), root: checkpoint.hash().0 };
    if note.to_bytes() != bytes {
        return Err(CheckpointError::Malformed);
    }
    Ok(head)
}
