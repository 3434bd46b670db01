//! The commands that check and mend: `vigie fsck`, `vigie rebuild-index`.

use std::io::Write;

use vigie::{fsck, gateway, rebuild};

use super::{ConfigArg, Failure, Fsck};

pub(super) fn fsck(args: &Fsck) -> Result<(), Failure> {
    let config = args.config.load()?.config;
    super::block_on(async {
        // A lock that is held says that a gateway records meanwhile.
        let lock = gateway::lock(&config);
        let running = lock.is_err();
        let opened = gateway::open(&config, true).await.map_err(Failure::failed)?;
        let report = fsck::check(&opened, args.read_data, running).await.map_err(Failure::failed)?;
        let mut out = String::new();
        for complaint in &report.complaints {
            out.push_str(complaint);
            out.push('\n');
        }
        if report.foreign > 0 {
            out.push_str(&format!("{} objects are not Vigie's; they were left alone\n", report.foreign));
        }
        out.push_str(&format!(
            "{} packs, {} fragments, {} bytes checked, {} complaints\n",
            report.packs,
            report.fragments,
            report.bytes,
            report.complaints.len()
        ));
        std::io::stdout().write_all(out.as_bytes()).map_err(Failure::failed)?;
        match report.complaints.len() {
            0 => Ok(()),
            n => Err(Failure::Failed(format!("{n} differences between the index, the spool and the store"))),
        }
    })
}

pub(super) fn rebuild_index(args: &ConfigArg) -> Result<(), Failure> {
    let config = args.load()?.config;
    super::block_on(async {
        let report = rebuild::rebuild(&config).await.map_err(Failure::failed)?;
        let mut out = format!("{} packs are in the new index\n", report.packs);
        if let Some(old) = &report.old {
            out.push_str(&format!(
                "the old one, with its events and its register of deletions, is {}\n",
                old.display()
            ));
        }
        for line in &report.unreadable {
            out.push_str(&format!("not readable: {line}\n"));
        }
        std::io::stdout().write_all(out.as_bytes()).map_err(Failure::failed)?;
        match report.unreadable.len() {
            0 => Ok(()),
            n => Err(Failure::Failed(format!("{n} objects could not be read as packs; they were left alone"))),
        }
    })
}
