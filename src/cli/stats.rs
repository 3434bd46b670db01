//! `vigie stats`: what each tenant's footage takes, beside a gateway that may be running.

use std::collections::BTreeSet;

use vigie::gateway;
use vigie::index::dedup::Savings;

use super::{ConfigArg, Failure, show};

const MEANING: &str = "\
Whole packs that are kept now. Received: what they would take if each held all of its bytes. Saved: what lies in another
pack, of the same tenant or of one that shares its deduplication domain. Cameras that are recorded once save nothing.
";

/// Prints one line a tenant.
pub(super) async fn run(args: ConfigArg) -> Result<(), Failure> {
    let config = args.load()?.config;
    let index = gateway::open(&config, true).await.map_err(Failure::failed)?.index;
    let cameras = index.all_cameras().await.map_err(Failure::failed)?;
    let tenants: BTreeSet<_> = cameras.into_iter().map(|camera| camera.key.tenant).collect();
    let mut rows = vec![["tenant", "packs", "received", "stored", "saved", "ratio"].map(str::to_owned)];
    for tenant in tenants {
        let savings = index.savings(&tenant).await.map_err(Failure::failed)?;
        let Savings { packs, stored_bytes, saved_bytes } = savings;
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let (received, ratio) = (mib(savings.received_bytes()), format!("{:.2}", savings.ratio()));
        rows.push([tenant.to_string(), packs.to_string(), received, mib(stored_bytes), mib(saved_bytes), ratio]);
    }
    show::print(&format!("{}\n{MEANING}", show::table(&rows)))
}
