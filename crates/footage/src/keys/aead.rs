//! AES-256-GCM (NIST SP 800-38D), and keys wrapped by keys with it.
//!
//! Invariant: a nonce is drawn at random for each use and is never given by a caller. With 96 random bits, a key may
//! seal 2³² messages (SP 800-38D §8.3); a pack's key seals two a fragment.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use secrecy::{ExposeSecret, SecretBox};

use crate::failure::{Failure, Kind};
use crate::platform;

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;
/// Bytes that an encrypted message is longer than the plain one: the nonce before it, the tag after it.
pub const AEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;
/// Bytes of a key that is wrapped by another.
pub const WRAPPED_BYTES: usize = 32 + AEAD_BYTES;

/// A key's 256 bits; wiped from memory when dropped.
pub type SecretKey = SecretBox<[u8; 32]>;

/// A new random key.
pub fn new_key() -> SecretKey {
    SecretBox::init_with_mut(|key: &mut [u8; 32]| *key = platform::random())
}

/// The bytes were not encrypted by this key for this use, or are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not encrypted by this key, or damaged")]
pub struct NotAuthentic;

impl Failure for NotAuthentic {
    fn kind(&self) -> Kind {
        Kind::Corrupt
    }
}

/// A key that is ready to encrypt and to decrypt.
pub struct Cipher(LessSafeKey);

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher(..)")
    }
}

impl Cipher {
    /// Of this key.
    pub fn new(key: &SecretKey) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key.expose_secret());
        Self(LessSafeKey::new(key.expect("AES-256 takes any 32 bytes")))
    }

    /// Appends nonce, ciphertext and tag. `context` is what the bytes are for: opening needs the same.
    pub fn encrypt(&self, context: &[u8], plain: &[u8], out: &mut Vec<u8>) {
        let nonce: [u8; NONCE_BYTES] = platform::random();
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.resize(start + plain.len() + TAG_BYTES, 0);
        let (encrypted, tag) = out[start..].split_at_mut(plain.len());
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_out_of_place_scatter(nonce, Aad::from(context), plain, encrypted, &[], tag)
            .expect("the lengths fit, and a message stays below the 64 GiB of the mode");
    }

    /// Opens what [`Cipher::encrypt`] made, in place: gives the plain bytes, which lie behind the nonce. After an error
    /// the bytes are worth nothing.
    ///
    /// # Errors
    /// When the bytes are damaged, too short, or encrypted by another key or for another use.
    pub fn open<'a>(&self, context: &[u8], encrypted: &'a mut [u8]) -> Result<&'a mut [u8], NotAuthentic> {
        let (nonce, encrypted) = encrypted.split_first_chunk_mut::<NONCE_BYTES>().ok_or(NotAuthentic)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_in_place(nonce, Aad::from(context), encrypted).map_err(|_| NotAuthentic)
    }

    /// Wraps a key. `context` says which one.
    pub fn wrap(&self, context: &[u8], key: &SecretKey) -> [u8; WRAPPED_BYTES] {
        let mut out = Vec::with_capacity(WRAPPED_BYTES);
        self.encrypt(context, key.expose_secret(), &mut out);
        out.try_into().expect("32 bytes are encrypted into as many as WRAPPED_BYTES says")
    }

    /// Unwraps a key.
    ///
    /// # Errors
    /// As [`Cipher::open`].
    pub fn unwrap(&self, context: &[u8], wrapped: &[u8; WRAPPED_BYTES]) -> Result<SecretKey, NotAuthentic> {
        let mut opened = SecretBox::new(Box::new(*wrapped));
        let opened = secrecy::ExposeSecretMut::expose_secret_mut(&mut opened);
        let plain = self.open(context, opened)?;
        let mut key = SecretBox::new(Box::new([0; 32]));
        secrecy::ExposeSecretMut::expose_secret_mut(&mut key).copy_from_slice(plain);
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn opening_gives_back_what_was_sealed_and_nothing_after_one_flipped_bit(
            plain: Vec<u8>, context: Vec<u8>, at: prop::sample::Index, bit in 0..8u8,
        ) {
            let cipher = Cipher::new(&new_key());
            let mut encrypted = Vec::new();
            cipher.encrypt(&context, &plain, &mut encrypted);
            prop_assert_eq!(encrypted.len(), plain.len() + AEAD_BYTES);
            let mut copy = encrypted.clone();
            prop_assert_eq!(&*cipher.open(&context, &mut copy).unwrap(), &plain[..]);
            encrypted[at.index(plain.len() + AEAD_BYTES)] ^= 1 << bit;
            prop_assert_eq!(cipher.open(&context, &mut encrypted), Err(NotAuthentic));
        }
    }

    #[test]
    fn a_key_unwraps_only_under_the_key_and_the_use_it_was_wrapped_for() {
        let (over, other, key) = (Cipher::new(&new_key()), Cipher::new(&new_key()), new_key());
        let wrapped = over.wrap(b"a day", &key);
        let back = over.unwrap(b"a day", &wrapped).unwrap();
        assert_eq!(back.expose_secret(), key.expose_secret());
        assert!(over.unwrap(b"another day", &wrapped).is_err());
        assert!(other.unwrap(b"a day", &wrapped).is_err());
    }

    #[test]
    fn the_same_bytes_are_sealed_differently_each_time() {
        let cipher = Cipher::new(&new_key());
        let [mut a, mut b] = [Vec::new(), Vec::new()];
        cipher.encrypt(b"", b"the same", &mut a);
        cipher.encrypt(b"", b"the same", &mut b);
        assert_ne!(a, b);
    }
}
