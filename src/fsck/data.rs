//! Each byte of a pack against the ids in it.

use super::{Complaint, Fsck};
use crate::archive::PackRef;
use crate::archive::check::Scratch;
use crate::index::PackRow;

impl Fsck {
    /// Checks a whole pack where its row says that it is.
    pub(super) async fn damage(&self, row: &PackRow, scratch: &Scratch) -> Result<(), Vec<Complaint>> {
        let (pack, camera) = (row.id, row.camera.clone());
        let of = PackRef { id: pack, camera: camera.clone(), state: row.state };
        let checked = match self.packs.check(&of, row.bytes, scratch).await {
            Ok(checked) => checked,
            Err(e) => return Err(vec![Complaint::Unreadable { pack, camera, what: e.to_string() }]),
        };
        let complaint = |what: String| Complaint::Damaged { pack, camera: camera.clone(), what };
        let found: Vec<_> = checked.damages.iter().map(|damage| complaint(damage.error.to_string())).collect();
        if found.is_empty() { Ok(()) } else { Err(found) }
    }
}
