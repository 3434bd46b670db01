//! Names of objects that tell nobody but us what they are.
//!
//! ```text
//! <16 hex digits: the tenant, hashed> / <base64url: siv(16) | masked(pack id(16) | tenant/camera, padded)>
//! ```
//!
//! The name is a deterministic encryption of the pack's id and camera (a synthetic IV over the content, RFC 5297's
//! construction, with keyed BLAKE3 for both the IV and the mask): the same pack always has the same name, which no
//! table has to be kept for, and from a listing the gateway reads back what each object is. Others learn how many
//! objects of one tenant there are, their sizes, and when the store took them. Padding leaves four lengths of names.
//! Invariant: a name that we did not make is not read as one of ours.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::units::{CameraKey, PackId, TenantId};

const IV_BYTES: usize = 16;
const ID_BYTES: usize = 16;
/// `tenant/camera` is padded to one of these; 129 bytes are the longest.
const PADDED: [usize; 4] = [32, 64, 96, 130];

/// Makes and reads the names of one gateway's objects; cheap to clone.
#[derive(Clone)]
pub struct Names {
    iv: [u8; 32],
    mask: [u8; 32],
    tenant: [u8; 32],
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names(..)")
    }
}

impl Names {
    /// Under the gateway's secret.
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let derive = |context| blake3::derive_key(context, secret);
        Self {
            iv: derive("vigie 2026-11 synthetic iv of an object's name"),
            mask: derive("vigie 2026-11 mask of an object's name"),
            tenant: derive("vigie 2026-11 tenant in an object's name"),
        }
    }

    /// The first part of the names of a tenant's objects.
    pub fn folder(&self, tenant: &TenantId) -> String {
        let hash = blake3::keyed_hash(&self.tenant, tenant.as_str().as_bytes());
        hash.to_hex()[..16].to_owned()
    }

    /// The second part.
    pub fn file(&self, camera: &CameraKey, pack: PackId) -> String {
        let camera = camera.to_string();
        let padded = PADDED.into_iter().find(|bytes| *bytes >= camera.len()).unwrap_or(camera.len());
        let mut name = vec![0; IV_BYTES + ID_BYTES + padded];
        let (iv, content) = name.split_at_mut(IV_BYTES);
        content[..ID_BYTES].copy_from_slice(&pack.0);
        content[ID_BYTES..ID_BYTES + camera.len()].copy_from_slice(camera.as_bytes());
        iv.copy_from_slice(&self.iv_of(content));
        self.mask(iv, content);
        URL_SAFE_NO_PAD.encode(name)
    }

    /// What an object is; `None` when the name is not one of ours.
    pub fn read(&self, folder: &str, file: &str) -> Option<(CameraKey, PackId)> {
        let mut name = URL_SAFE_NO_PAD.decode(file).ok()?;
        let (iv, content) = name.split_at_mut_checked(IV_BYTES)?;
        self.mask(iv, content);
        if self.iv_of(content) != *iv {
            return None;
        }
        let (id, camera) = content.split_first_chunk::<ID_BYTES>()?;
        let end = camera.iter().position(|byte| *byte == 0).unwrap_or(camera.len());
        let camera: CameraKey = std::str::from_utf8(&camera[..end]).ok()?.parse().ok()?;
        (self.folder(&camera.tenant) == folder).then_some((camera, PackId(*id)))
    }

    fn iv_of(&self, content: &[u8]) -> [u8; IV_BYTES] {
        let hash = blake3::keyed_hash(&self.iv, content);
        *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
    }

    /// Masks and unmasks.
    fn mask(&self, iv: &[u8], content: &mut [u8]) {
        let mut mask = vec![0; content.len()];
        blake3::Hasher::new_keyed(&self.mask).update(iv).finalize_xof().fill(&mut mask);
        content.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn named_then_read_is_identity(id: [u8; 16], tenant in "[a-z0-9][a-z0-9-]{0,63}", camera in "[a-z0-9][a-z0-9-]{0,63}") {
            let names = Names::new(&[7; 32]);
            let key: CameraKey = format!("{tenant}/{camera}").parse().unwrap();
            let (folder, file) = (names.folder(&key.tenant), names.file(&key, PackId(id)));
            prop_assert!(file.len() < 255, "longer than file systems take");
            prop_assert_eq!(names.read(&folder, &file), Some((key, PackId(id))));
        }

        #[test]
        fn a_name_with_one_other_character_is_nobodys(at: prop::sample::Index, digit in "[A-Za-z0-9_-]") {
            let names = Names::new(&[7; 32]);
            let key: CameraKey = "saint-cyr/mairie".parse().unwrap();
            let (folder, file) = (names.folder(&key.tenant), names.file(&key, PackId([3; 16])));
            let at = at.index(file.len());
            let changed = format!("{}{digit}{}", &file[..at], &file[at + 1..]);
            prop_assert_eq!(names.read(&folder, &changed).is_some(), changed == file);
        }
    }

    #[test]
    fn names_of_neighbouring_packs_have_nothing_in_common() {
        let names = Names::new(&[7; 32]);
        let key: CameraKey = "saint-cyr/mairie".parse().unwrap();
        let [mut a, mut b] = [[9; 16]; 2];
        (a[15], b[15]) = (1, 2);
        let [a, b] = [a, b].map(|id| names.file(&key, PackId(id)));
        assert_eq!(a.len(), b.len());
        let same = a.bytes().zip(b.bytes()).filter(|(a, b)| a == b).count();
        assert!(same < a.len() / 4, "{a} and {b}");
    }

    #[test]
    fn another_gateways_names_and_folders_are_not_read() {
        let (ours, theirs) = (Names::new(&[7; 32]), Names::new(&[8; 32]));
        let key: CameraKey = "saint-cyr/mairie".parse().unwrap();
        let file = ours.file(&key, PackId([3; 16]));
        assert_eq!(theirs.read(&theirs.folder(&key.tenant), &file), None);
        assert_eq!(ours.read(&ours.folder(&"other".parse().unwrap()), &file), None);
        assert_eq!(ours.read("", ""), None);
    }
}
