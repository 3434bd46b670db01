//! `vigie fsck`: every difference between the index and what is stored, beside a gateway that may be running.

use std::io::Write as _;
use std::time::Duration;

use vigie::config::Config;
use vigie::fsck::{Finding, Fsck, FsckReport};
use vigie::gateway;
use vigie::scrub::{LOST_IN_A_ROW_MAX, ScrubVerdict, Scrubber};

use super::{Failure, Fsck as Args, show};

/// What a gateway that runs may need beyond its flushes to tell its index of a pack.
const SETTLE: Duration = Duration::from_secs(1);

/// Rows looked up at a time.
const PAGE: u32 = 256;

/// Prints each finding as it is made; any complaint is a failure.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let config = args.config.load()?.config;
    if args.repair {
        repair(&config).await?;
    }
    let opened = gateway::open(&config, true).await.map_err(Failure::failed)?;
    if args.read_data
        && let Some(trouble) = opened.keys.trouble()
    {
        // By another key every fragment would look damaged.
        return Err(Failure::failed(trouble));
    }
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

/// Walks over every whole pack as the gateway's own scrub does, at once.
async fn repair(config: &Config) -> Result<(), Failure> {
    let _held = gateway::lock(config).map_err(Failure::failed)?;
    let gateway::Opened { index, spool, store, packs, clock, keys, .. } =
        gateway::open(config, false).await.map_err(Failure::failed)?;
    let scrubber = Scrubber::new((index.clone(), spool, store, packs), keys, clock, config.data_dir.join("scrub"));
    let scrubber = scrubber.map_err(Failure::failed)?;
    let (mut after, mut lost_in_a_row) = (None, 0);
    loop {
        let page = index.packs_after(after, PAGE).await.map_err(Failure::failed)?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        for row in page {
            let examined = scrubber.examine(row.id).await;
            lost_in_a_row = if matches!(examined, Ok(ScrubVerdict::Lost(_))) { lost_in_a_row + 1 } else { 0 };
            let said = match examined {
                Ok(ScrubVerdict::Mended(what)) => format!("mended: {what}\n"),
                Ok(ScrubVerdict::Lost(what)) => format!("lost: {what}\n"),
                Ok(ScrubVerdict::Sound | ScrubVerdict::NotLookedAt) => continue,
                Err(e) => format!("pack {} could not be mended: {e}\n", row.id),
            };
            show::print(&said)?;
            if lost_in_a_row >= LOST_IN_A_ROW_MAX {
                let what = "packs one after the other cannot be read: is it the right store, and is it whole? Once it is, run this again, which shows them again";
                return Err(Failure::Failed(format!("{LOST_IN_A_ROW_MAX} {what}")));
            }
        }
    }
    index.close().await;
    Ok(())
}

fn say(finding: Finding) {
    let line = match finding {
        Finding::Complaint(complaint) => format!("{complaint}\n"),
        Finding::Foreign(location) => format!("note: object {location} is not Vigie's, and is left alone\n"),
    };
    // Standard output may be closed; the summary after it then fails, and the exit code tells.
    let _ = std::io::stdout().write_all(line.as_bytes());
}

fn summary(report: &FsckReport) -> String {
    let FsckReport { packs, objects, spool_files, cameras, checked_bytes, complaints, .. } = report;
    let read = if *checked_bytes > 0 { format!(", {checked_bytes} bytes read and checked") } else { String::new() };
    let verdict = if *complaints == 0 { "sound" } else { "not sound" };
    format!("{verdict}: {cameras} cameras, {packs} packs, {objects} objects, {spool_files} files in the spool{read}\n")
}
