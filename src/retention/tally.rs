//! What a sweep destroyed, for the journals.

use std::collections::BTreeMap;

use journal::Span;
use journal::entry::{Action, Author, Draft};

use crate::index::hold::Deleting;
use crate::journals::Journals;
use footage::units::{CameraKey, WallTime};

/// One entry for a camera and a reason.
#[derive(Default)]
pub(super) struct Tally(BTreeMap<(CameraKey, &'static str), Destroyed>);

struct Destroyed {
    start: WallTime,
    end: WallTime,
    packs: u64,
    bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, camera: &CameraKey, pack: &Deleting) {
        let none = Destroyed { start: pack.start, end: pack.end, packs: 0, bytes: 0 };
        let all = self.0.entry((camera.clone(), pack.reason.as_str())).or_insert(none);
        (all.start, all.end) = (all.start.min(pack.start), all.end.max(pack.end));
        (all.packs, all.bytes) = (all.packs + 1, all.bytes + pack.bytes);
    }

    pub(super) async fn enter(self, journals: &Journals) {
        for ((key, reason), Destroyed { start, end, packs, bytes }) in self.0 {
            let action = Action::FootageDestroyed { cause: reason.to_owned(), packs, bytes };
            let range = Span { from: start.to_timestamp(), to: end.to_timestamp() };
            journals.note(&key.tenant, Draft::new(Author::Gateway, action).on(key.camera, Some(range))).await;
        }
    }
}
