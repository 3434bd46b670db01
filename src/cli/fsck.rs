//! `vigie fsck`: every difference between the index and what is stored, beside a gateway that may be running.

use std::io::Write as _;
use std::time::Duration;

use vigie::fsck::{Finding, Fsck, Report};
use vigie::gateway;

use super::{Failure, Fsck as Args, show};

/// What a gateway that runs may need beyond its flushes to tell its index of a pack.
const SETTLE: Duration = Duration::from_secs(1);

/// Prints each finding as it is made; any complaint is a failure.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let config = args.config.load()?.config;
    let opened = gateway::open(&config, true).await.map_err(Failure::failed)?;
    let settle = config.recording.durability + SETTLE;
    let gateway::Opened { index, spool, store, packs, .. } = opened;
    let fsck = Fsck { index, spool, store, packs, settle, read_data: args.read_data };
    let report = fsck.check(&mut say).await.map_err(Failure::failed)?;
    show::print(&summary(&report))?;
    match report.complaints {
        0 => Ok(()),
        1 => Err(Failure::Failed("1 complaint".into())),
        complaints => Err(Failure::Failed(format!("{complaints} complaints"))),
    }
}

fn say(finding: Finding) {
    let line = match finding {
        Finding::Complaint(complaint) => format!("{complaint}\n"),
        Finding::Foreign(location) => format!("note: object {location} is not Vigie's, and is left alone\n"),
    };
    // Standard output may be closed; the summary after it then fails, and the exit code tells.
    let _ = std::io::stdout().write_all(line.as_bytes());
}

fn summary(report: &Report) -> String {
    let Report { packs, objects, spool_files, cameras, checked_bytes, complaints, .. } = report;
    let read = if *checked_bytes > 0 { format!(", {checked_bytes} bytes read and checked") } else { String::new() };
    let verdict = if *complaints == 0 { "sound" } else { "not sound" };
    format!("{verdict}: {cameras} cameras, {packs} packs, {objects} objects, {spool_files} files in the spool{read}\n")
}
