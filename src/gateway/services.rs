//! What runs beside the recorders: probes, scrubs, devices, journals, and what each is made of.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evidence::sign::Authority;
use journal::entry::{Action, Author, Draft};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::open::Opened;
use super::{CERTIFICATES_DIR, GatewayError};
use crate::authorisation::Basis;
use crate::backfill::{Backfill, EdgeCameras, Parts};
use crate::config::{AuthorityFiles, CameraConfig, Config, Tenant};
use crate::desk::{self, Desk};
use crate::device::Devices;
use crate::event::{Event, Fact, TrialVerdict};
use crate::export::{self, Exports};
use crate::hold::Holds;
use crate::index::Change;
use crate::journals::Journals;
use crate::oidc::Oidc;
use crate::people::{self, People};
use crate::policy::RequestRules;
use crate::record::PackLimits;
use crate::retrieve::Footage;
use crate::retrieve::holes::Looks;
use crate::scrub::Scrubber;
use crate::status::StatusBoard;
use crate::store::StoreId;
use crate::store::probe::ProbeVerdict;
use footage::units::{CameraId, TenantId};

/// Packs that readers could not read and that wait to be looked at; of more, the next reader names them again.
const LOOKS_QUEUED_MAX: usize = 256;

/// One task for each store that is read and checked, and one for what readers could not read, in any store. Gives where they
/// name it.
pub(super) fn start_scrubs(
    config: &Config,
    opened: &Opened,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Looks, GatewayError> {
    let Opened { index, spool, store, packs, keys, clock, .. } = opened;
    let parts = (index.clone(), spool.clone(), store.clone(), packs.clone());
    let scrubber = Arc::new(Scrubber::new(parts, keys.clone(), clock.clone(), config.data_dir.join("scrub"))?);
    for (id, of) in store.ids().zip(&config.stores).filter(|(_, of)| of.scrub_days > 0) {
        let (scrubber, stop) = (scrubber.clone(), stop.clone());
        let every = Duration::from_secs(u64::from(of.scrub_days) * 86_400);
        tasks.spawn(async move { scrubber.run(id, every, stop).await });
    }
    let (looks, unreadable) = mpsc::channel(LOOKS_QUEUED_MAX);
    let stop = stop.clone();
    tasks.spawn(async move { scrubber.look_at(unreadable, stop).await });
    Ok(Looks::new(looks))
}

/// Says of a store what it lacks, in the log and as events. Recording does not wait for it.
pub(super) async fn probe_store(opened: &Opened, id: StoreId) {
    let report = opened.store.probe(id, &*opened.clock).await;
    let mut events = Vec::new();
    for finding in report.complaints() {
        let name = &report.store;
        match finding.verdict {
            ProbeVerdict::Refused => error!(store = %name, "{finding}"),
            _ => warn!(store = %name, "{finding}"),
        }
        let verdict = match finding.verdict {
            ProbeVerdict::Good | ProbeVerdict::Lacking => TrialVerdict::Lacking,
            ProbeVerdict::Away => TrialVerdict::Away,
            ProbeVerdict::Refused => TrialVerdict::Refused,
        };
        let store = Some(name.clone());
        let fact = match finding.is_versioned {
            true => Fact::StoreVersioned { store },
            false => Fact::StoreProbe { store, verdict },
        };
        events.push(Change::Event(Event::of_gateway(opened.clock.wall(), fact)));
    }
    if events.is_empty() {
        info!(store = %report.store, "the store does all that is asked of it");
    } else if let Err(error) = opened.index.write(events).await {
        warn!(%error, "the index did not take what was found out about a store");
    }
}

/// Opens the journals of the configured tenants, and enters in each that the configuration was read.
pub(super) async fn follow(journals: &Journals, config: &Config) {
    journals.follow(config.tenants.iter().map(|tenant| (tenant.id.clone(), tenant.journal_months))).await;
    for tenant in &config.tenants {
        journals.note(&tenant.id, Draft::new(Author::Operator, Action::ConfigurationRead)).await;
        for draft in bases(tenant) {
            journals.note(&tenant.id, draft).await;
        }
    }
}

/// What the tenant's cameras record under, and on what basis more than pictures is kept: an entry for each, with its cameras.
fn bases(tenant: &Tenant) -> Vec<Draft> {
    let mut entries: Vec<(Action, Vec<CameraId>)> = Vec::new();
    let mut enter = |action: Action, camera: &CameraConfig| match entries.iter_mut().find(|(of, _)| *of == action) {
        Some((_, cameras)) => cameras.push(camera.id.clone()),
        None => entries.push((action, vec![camera.id.clone()])),
    };
    for camera in &tenant.cameras {
        let recorded = match &camera.installation.basis {
            Basis::Outside(basis) => Action::RecordedOutside { legal_basis: basis.clone() },
            Basis::Unstated => Action::RecordedWithoutBasis,
            Basis::Authorisation(id) => match tenant.authorisations.iter().find(|of| of.id == *id) {
                Some(of) => Action::RecordedUnder { authorisation: of.number.clone(), until: of.until },
                None => Action::RecordedWithoutBasis,
            },
        };
        enter(recorded, camera);
        let sound = camera.audio_legal_basis.clone();
        let noticed = camera.onvif.as_ref().and_then(|onvif| onvif.events_legal_basis.clone());
        sound.into_iter().for_each(|legal_basis| enter(Action::SoundRecorded { legal_basis }, camera));
        noticed.into_iter().for_each(|legal_basis| enter(Action::OccurrencesGathered { legal_basis }, camera));
    }
    let draft = |(action, cameras)| Draft { cameras, ..Draft::new(Author::Operator, action) };
    entries.into_iter().map(draft).collect()
}

/// Opens the catalogue of persons.
pub(super) async fn open_people(config: &Config, opened: &Opened, journals: &Journals) -> People {
    let (index, clock) = (opened.index.clone(), opened.clock.clone());
    let (path, roles) = (people::path(&config.data_dir), config.roles.clone());
    let people = People::open(path, roles, (index, &opened.keys), journals.clone(), clock).await;
    for tenant in without_viewers(config, &people) {
        warn!(%tenant, "nobody may see this tenant's footage: designate a person with `vigie people designate`");
    }
    people
}

/// The requisition desk, with the requests that the index does not know taken in from their files.
pub(super) async fn open_desk(config: &Config, opened: &Opened, holds: &Holds, journals: &Journals) -> Desk {
    let (parts, clock) = ((opened.index.clone(), holds.clone(), journals.clone()), opened.clock.clone());
    let files = (desk::folder(&config.data_dir), opened.keys.clone());
    let desk = Desk::new(parts, files, clock, config.time_zone.clone());
    desk.set_rules(desk_rules(config));
    if let Err(error) = desk.compare().await {
        warn!(%error, "the files of requests could not be compared with the index, and will be");
    }
    desk
}

/// How each tenant's requests for footage are handled.
pub(super) fn desk_rules(config: &Config) -> Vec<(TenantId, RequestRules)> {
    config.tenants.iter().map(|tenant| (tenant.id.clone(), tenant.requests)).collect()
}

/// The identity providers by which persons sign in.
pub(super) fn follow_providers(config: &Config, oidc: &Oidc, people: &People) {
    oidc.apply(config);
    let pairs = config.oidc.iter().flat_map(|of| of.tenants.iter().map(|tenant| (of.id.clone(), tenant.id.clone())));
    people.set_providers(pairs);
}

/// What cameras say beside their streams.
pub(super) fn start_devices(
    config: &Config,
    opened: &Opened,
    status: &StatusBoard,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Devices {
    let certificates = config.data_dir.join(CERTIFICATES_DIR);
    let (index, clock) = (opened.index.clone(), opened.clock.clone());
    let mut devices = Devices::new(index, clock, status.clone(), certificates, tasks.clone(), stop.clone());
    devices.apply(config);
    devices
}

/// Tenants of which nobody may see footage: their access token shows none, and no person is designated.
fn without_viewers<'a>(config: &'a Config, people: &People) -> Vec<&'a TenantId> {
    let Ok(tables) = people.tables() else { return Vec::new() };
    let shows = |role: &str| config.roles.get(role).is_some_and(|of| of.iter().any(|right| right.shows_footage()));
    let is_designated = |tenant: &TenantId| tables.persons(tenant).any(|person| person.revoked.is_none());
    let has_none = |of: &&Tenant| of.access_token.is_some() && !shows(&of.token_role) && !is_designated(&of.id);
    config.tenants.iter().filter(has_none).map(|of| &of.id).collect()
}

/// Cuts are filled from what cameras recorded themselves. Gives the cameras that this is done for.
pub(super) fn start_backfill(
    config: &Config,
    opened: &Opened,
    status: &StatusBoard,
    limits: PackLimits,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> EdgeCameras {
    let cameras = EdgeCameras::default();
    cameras.apply(config, &config.data_dir.join(CERTIFICATES_DIR));
    let Opened { index, spool, packs, clock, .. } = opened;
    let parts = Parts {
        index: index.clone(),
        spool: spool.clone(),
        packs: packs.clone(),
        clock: clock.clone(),
        status: status.clone(),
        limits,
    };
    tasks.spawn(Backfill::new(parts, cameras.clone()).run(stop.clone()));
    cameras
}

/// The authority's certificate and key, which sign evidence packages.
pub(super) fn export_authority(config: &Config) -> Result<Option<Arc<Authority>>, GatewayError> {
    let Some(AuthorityFiles { certificate, key }) = &config.export.authority else { return Ok(None) };
    let read = |path: &PathBuf| std::fs::read(path).map_err(|source| GatewayError::Io { path: path.clone(), source });
    let authority = Authority::from_pem(&read(certificate)?, &read(key)?).map_err(|bad| {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, bad);
        GatewayError::Io { path: certificate.clone(), source }
    });
    Ok(Some(Arc::new(authority?)))
}

/// Evidence packages are prepared and destroyed. A folder that cannot be used stops no recording.
pub(super) async fn start_exports(
    config: &Config,
    (opened, footage, holds, journals): (&Opened, &Footage, &Holds, &Journals),
    authority: Option<Arc<Authority>>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Option<Exports> {
    let settings = export::Settings {
        days_max: config.export.days_max,
        bytes_per_second_max: config.export.bytes_per_second_max,
        authority,
        // At the reserve itself the oldest footage goes: packages do not bring it there.
        reserve_bytes: config.disk_reserve_bytes.saturating_mul(2),
        tenants: config.tenants.len() as u64,
    };
    let (folder, kept) = (export::folder(&config.data_dir), (journals.clone(), opened.keys.clone()));
    match Exports::open(folder, footage.clone(), holds.clone(), kept, settings).await {
        Ok(exports) => {
            tasks.spawn(exports.clone().run(stop.clone()));
            Some(exports)
        }
        Err(error) => {
            error!(%error, "no evidence packages are prepared, and those that are there are not destroyed: see to their folder");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::{authorisation, demo};

    #[tokio::test]
    async fn a_tenant_of_whom_nobody_may_see_footage_is_named_until_somebody_is_designated() {
        use catalogue::{Act, Designation, Roles, Scope};
        let dir = tempfile::tempdir().unwrap();
        let mut config = demo::config("127.0.0.1:0".parse().unwrap(), dir.path(), Vec::new()).unwrap();
        let opened = super::super::open(&config, false).await.unwrap();
        let Opened { index, keys, store, clock, .. } = opened.clone();
        let journals =
            Journals::new(crate::journals::folder(&config.data_dir), keys.clone(), store, index.clone(), clock);
        follow(&journals, &config).await;
        let people = open_people(&config, &opened, &journals).await;
        assert!(without_viewers(&config, &people).is_empty(), "without a token this machine sees it");
        config.tenants[0].access_token = Some("the-town-s-own-token".into());
        assert_eq!(without_viewers(&config, &people), [&config.tenants[0].id]);
        config.tenants[0].token_role = Roles::ALL_RIGHTS.to_owned();
        assert!(without_viewers(&config, &people).is_empty());
        config.tenants[0].token_role = Roles::TENANT_ADMINISTRATOR.to_owned();
        let act = Act {
            authority: "le maire".to_owned(),
            number: "7".to_owned(),
            date: date(2026, 1, 5),
            until: date(2031, 1, 4),
        };
        let (name, role) = ("Marie Durand".to_owned(), "operator".to_owned());
        let designation = Designation { name, role, act, scope: Scope::default() };
        let entry = Draft::new(Author::Operator, Action::ConfigurationRead);
        let who = (&config.tenants[0].id, &"marie".parse().unwrap());
        people.designate(who, designation, entry).await.unwrap();
        assert!(without_viewers(&config, &people).is_empty());
    }

    #[test]
    fn h1_r5_what_cameras_record_under_and_on_what_basis_sound_is_kept_is_entered_for_each_basis_once() {
        let camera = |id: &str, basis: Basis, sound: Option<&str>| {
            let mut camera = demo::camera(id.parse().unwrap(), id, "rtsp://127.0.0.1:1/".parse().unwrap());
            (camera.installation.basis, camera.audio_legal_basis) = (basis, sound.map(str::to_owned));
            camera
        };
        let under = || Basis::Authorisation("streets".parse().unwrap());
        let rule = || Basis::Outside("a rule".to_owned());
        let cameras = vec![
            camera("a", under(), None),
            camera("b", rule(), Some("a rule")),
            camera("c", under(), None),
            camera("d", Basis::Unstated, None),
        ];
        let mut config = demo::config("127.0.0.1:0".parse().unwrap(), "/data".as_ref(), cameras).unwrap();
        config.tenants[0].authorisations =
            vec![authorisation::tests::authorisation(date(2026, 1, 5), date(2031, 1, 4))];
        let entered = |draft: Draft| (draft.action, draft.cameras.iter().map(CameraId::to_string).collect::<String>());
        let legal_basis = || "a rule".to_owned();
        let expect = [
            (Action::RecordedUnder { authorisation: "2026-117".to_owned(), until: date(2031, 1, 4) }, "ac"),
            (Action::RecordedOutside { legal_basis: legal_basis() }, "b"),
            (Action::SoundRecorded { legal_basis: legal_basis() }, "b"),
            (Action::RecordedWithoutBasis, "d"),
        ];
        let found: Vec<_> = bases(&config.tenants[0]).into_iter().map(entered).collect();
        assert_eq!(found, expect.map(|(action, cameras)| (action, cameras.to_owned())));
    }
}
