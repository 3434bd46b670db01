//! `vigie rebuild-index`: rebuilds the index from the packs, while no gateway runs.

use std::fmt::Write as _;
use std::io::Write as _;

use vigie::gateway;
use vigie::index::Index;
use vigie::index::examine::Companion;
use vigie::rebuild::{Rebuild, RebuildReport, Unreadable};

use super::{ConfigArg, Failure, show};

/// Rebuilds, and says what could not be read.
pub(super) async fn run(args: ConfigArg) -> Result<(), Failure> {
    let config = args.load()?.config;
    let _held = gateway::lock(&config).map_err(Failure::failed)?;
    let beside = Companion::load(&Companion::path(&config.data_dir));
    let known = beside.as_ref().map(Companion::belongings).unwrap_or_default();
    let (keys, store, clock) = gateway::parts(&config, &known).map_err(Failure::failed)?;
    if let Some(trouble) = keys.trouble() {
        return Err(Failure::failed(trouble));
    }
    for id in store.ids() {
        store.ensure_known(id).await.map_err(Failure::failed)?;
    }
    let rebuild = Rebuild {
        index: gateway::index_path(&config),
        cameras: gateway::camera_rows(&config),
        store,
        spool_dir: config.spool_dir.clone(),
        keys,
        clock,
    };
    let path = rebuild.index.clone();
    let report = rebuild.run(&mut say).await.map_err(Failure::failed)?;
    if let Some(beside) = beside {
        // It is the one that belongs here from now on.
        let index = Index::open(&path).await.map_err(Failure::failed)?;
        index.write(beside.adoption()).await.map_err(Failure::failed)?;
        index.close().await;
        let closed = Companion { running: false, ..beside };
        closed.save(&Companion::path(&config.data_dir)).map_err(Failure::failed)?;
    }
    show::print(&summary(&report))?;
    match report.unreadable {
        0 => Ok(()),
        packs => Err(Failure::Failed(format!("{packs} packs could not be read and are not in the index"))),
    }
}

fn say(Unreadable { what, why }: Unreadable) {
    // Standard error may be closed; the exit code still tells.
    let _ = writeln!(std::io::stderr(), "{what}: left out: {why}");
}

fn summary(report: &RebuildReport) -> String {
    let RebuildReport { stored, waiting, growing, foreign, .. } = report;
    let mut text = format!(
        "index rebuilt: {stored} packs in the store, {waiting} waiting in the spool, {growing} to be sealed at the next start\n"
    );
    // Writing to a String cannot fail.
    if *foreign > 0 {
        let _ = writeln!(text, "{foreign} objects in the store are not Vigie's, and are left alone");
    }
    for camera in &report.unnamed {
        let _ = writeln!(text, "camera {camera} is known from its packs only: its name and place are lost");
    }
    let _ = match &report.history {
        None => writeln!(text, "events and the register of destructions start empty: there was no old index"),
        Some(Err(e)) => writeln!(text, "events and the register of destructions start empty: {e}"),
        Some(Ok(carried)) => {
            let (events, deletions, gaps) = (carried.events, carried.deletions, carried.gaps);
            let cut = carried.cut_off.as_ref().map_or_else(String::new, |e| format!("; not all of them: {e}"));
            writeln!(
                text,
                "taken over from the old index: {events} events, {deletions} entries of the register of destructions, {gaps} gaps{cut}"
            )
        }
    };
    if let Some(kept) = &report.kept {
        let _ = writeln!(text, "the old index is kept as {}", kept.display());
    }
    text
}
