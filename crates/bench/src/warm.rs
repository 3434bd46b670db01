//! Memory as it is on a machine that has recorded for a day: nearly all of it taken by the page cache.
//!
//! Otherwise the first recorder pays for pages that were never used, and under a hypervisor that takes back what is
//! free, each of them costs a round to the host: several times what is to be measured.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Failure;

/// Left free.
const FREE_BYTES: u64 = 512 << 20;

/// Fills free memory with the pages of a file without content. They go, once the file is removed or memory is wanted.
pub(super) fn fill_page_cache(file: &Path) -> Result<(), Failure> {
    let bytes = free_memory().saturating_sub(FREE_BYTES);
    let fill = || {
        File::create(file)?.set_len(bytes)?;
        let (mut holes, mut buffer) = (File::open(file)?, vec![0; 1 << 20]);
        while holes.read(&mut buffer)? > 0 {}
        Ok(())
    };
    fill().map_err(|e: std::io::Error| Failure(format!("{}: {e}", file.display())))
}

/// `MemFree` of /proc/meminfo (proc_meminfo(5)), in bytes.
fn free_memory() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemFree:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
