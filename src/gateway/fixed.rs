//! What a running gateway cannot take over from another configuration.

use std::collections::BTreeSet;

use super::camera_rows;
use crate::config::{CameraConfig, Config, StoreConfig, Tenant};
use crate::store::Store;
use footage::units::CameraKey;

/// What differs between these configurations and cannot be taken over by a running gateway.
pub(super) fn differs(now: &Config, then: &Config, store: &Store) -> Option<&'static str> {
    let places = |config: &Config| (config.data_dir.clone(), config.spool_dir.clone());
    let domains = |config: &Config| {
        let mut all: Vec<_> = config.tenants.iter().map(|t| (t.id.clone(), t.dedup_domain.clone())).collect();
        all.retain(|(_, domain)| domain.is_some());
        all
    };
    // Caps can be changed, the rest of a store cannot.
    let stores = |config: &Config| {
        let bare = config.stores.iter().map(|of| StoreConfig { caps: Vec::new(), ..of.clone() });
        format!("{:?}", bare.collect::<Vec<_>>())
    };
    let keys = |config: &Config| camera_rows(config).into_iter().map(|row| row.key).collect::<BTreeSet<_>>();
    let home = |tenant: &Tenant, camera: &CameraConfig| {
        let chosen = camera.store.store.as_ref().or(tenant.store.store.as_ref());
        chosen.cloned().unwrap_or_else(|| then.default_store().name.clone())
    };
    let moved = then.tenants.iter().any(|tenant| {
        tenant.cameras.iter().any(|camera| {
            let key = CameraKey { tenant: tenant.id.clone(), camera: camera.id.clone() };
            home(tenant, camera) != store.name(store.home(&key))
        })
    });
    let checks = [
        (places(now) != places(then), "[data] dir or spool_dir"),
        (now.http_listen != then.http_listen, "[http] listen"),
        (now.http_tls != then.http_tls, "[http.tls] (the files themselves are read again when they change)"),
        (now.check_played != then.check_played, "[http] check_played"),
        (now.time_stamps != then.time_stamps, "[journal] time_stamp_url, time_stamp_ca_file or time_stamp_minutes"),
        (now.export != then.export, "[export]"),
        (stores(now) != stores(then), "a [[store]], but for its caps,"),
        (format!("{:?}", now.recording) != format!("{:?}", then.recording), "[recording]"),
        (now.time_zone != then.time_zone, "time_zone"),
        (
            (now.disk_reserve_bytes, now.spool_bytes_max) != (then.disk_reserve_bytes, then.spool_bytes_max),
            "[data] disk_reserve_mib or spool_mib_max",
        ),
        (now.unwritten_bytes_max != then.unwritten_bytes_max, "[data] unwritten_mib_max"),
        (domains(now) != domains(then), "dedup_domain of a tenant"),
        (moved, "the store of a camera"),
        (store.is_shared() && keys(now) != keys(then), "the cameras of a shared store"),
    ];
    checks.into_iter().find(|(differs, _)| *differs).map(|(_, what)| what)
}
