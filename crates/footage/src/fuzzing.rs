//! What must hold of any file that should be a pack: one function for each fuzz target of `fuzz/`, which panics where it
//! does not hold, and says how many fragments were found to be checked.
//!
//! Compiled for the targets and for the tests, which replay the seeds of the targets; no part of the gateway.

pub use crate::pack::fuzzing::{fragment_table, key, pack};

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Every seed of a target. One in which nothing is found would test nothing.
    fn replay(target: &str, judge: fn(&[u8]) -> usize) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
        let mut seeds = 0;
        for entry in std::fs::read_dir(&folder).expect("seeds of the target") {
            let seed = entry.expect("an entry").path();
            let found = judge(&std::fs::read(&seed).expect("a seed"));
            assert!(found > 0, "nothing was found in {}", seed.display());
            seeds += 1;
        }
        assert!(seeds > 0, "no seed in {}", folder.display());
    }

    #[test]
    fn seeds_of_packs_hold() {
        replay("pack", super::pack);
    }

    #[test]
    fn seeds_of_fragment_tables_hold() {
        replay("fragment_table", super::fragment_table);
    }
}
