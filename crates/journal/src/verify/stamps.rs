//! Time stamps against the checkpoints that they are of, and those against the tree.

use std::collections::BTreeSet;

use super::{DRAFT, NO_FILE, Report, Stamped, Verifier};
use crate::checkpoint;
use crate::stamp::{self, Authorities};
use crate::stamps::{self, Kept};

impl Verifier<'_> {
    /// Each time stamp. A checkpoint without one is what the end of the gateway cut off.
    pub(super) fn stamps(
        &mut self,
        size: u64,
        keys: &[String],
        authorities: Option<&Authorities>,
        report: &mut Report,
    ) {
        let names = match stamps::names(self.folder) {
            Ok(names) => names,
            Err(e) => {
                self.fault(stamps::STAMPS, e.to_string());
                return;
            }
        };
        let mut checkpoints = BTreeSet::new();
        for name in names {
            if self.is_full() {
                return;
            }
            let whole = name.strip_suffix(DRAFT).unwrap_or(&name);
            match Kept::of_name(whole) {
                None => self.fault(name, NO_FILE),
                Some(_) if whole != name => {}
                Some((kept, false)) => drop(checkpoints.insert(kept)),
                Some((kept, true)) if !checkpoints.contains(&kept) => {
                    self.fault(kept.checkpoint(), "is missing, and its time stamp is there");
                }
                Some((kept, true)) => self.stamp(size, kept, keys, authorities, report),
            }
        }
    }

    fn stamp(
        &mut self,
        size: u64,
        kept: Kept,
        keys: &[String],
        authorities: Option<&Authorities>,
        report: &mut Report,
    ) {
        let read = |name: &str| stamps::read(self.folder, name);
        let (checkpoint, reply) = match (read(&kept.checkpoint()), read(&kept.reply())) {
            (Ok(checkpoint), Ok(reply)) => (checkpoint, reply),
            (Err(e), _) => return self.fault(kept.checkpoint(), e.to_string()),
            (_, Err(e)) => return self.fault(kept.reply(), e.to_string()),
        };
        match checkpoint::open(&checkpoint, keys) {
            Ok(head) if head.size == kept.size => self.root(size, head),
            Ok(head) => return self.fault(kept.checkpoint(), format!("is of {} entries", head.size)),
            Err(e) => return self.fault(kept.checkpoint(), e.to_string()),
        }
        match stamp::verify(&reply, &checkpoint, authorities) {
            Ok(at) if at == kept.at => {
                report.stamps += 1;
                report.stamped = report.stamped.max(Some(Stamped { size: kept.size, at }));
            }
            Ok(at) => self.fault(kept.reply(), format!("says {at}")),
            Err(e) => self.fault(kept.reply(), e.to_string()),
        }
    }
}
