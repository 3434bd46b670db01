//! Which cameras may be recorded now: authorisations judged again and again, and the alarms that tell of their end.
//!
//! ```text
//! configuration, clocks → Permissions ─ permission → recorder
//!                                     └ events → alarms: six months … a week before the end, then until it is renewed
//! ```
//!
//! Invariants: a wall clock that leaps ahead stops no recording before it is believed
//! (`docs/adr/0003-a-step-ahead-destroys-nothing.md`), and one that falls back stops none that was permitted.
//! Absent on purpose: recorders; they follow their permission.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::authorisation::{AtEnd, Authorisation, Basis, Installation, Instants, Notice, Validity};
use crate::config::Config;
use crate::event::words::Language;
use crate::event::{Event, Fact, Scope};
use crate::index::{Change, Index, IndexError};
use crate::record::Permission;
use crate::retention::steady_clock::RetentionClock;
use footage::clock::Clock;
use footage::units::{AuthorisationId, CameraId, CameraKey, TenantId};

#[cfg(test)]
mod tests;

/// How often authorisations are judged: recording ends at most so long after their last day.
const EVERY: Duration = Duration::from_secs(10);

/// The permissions of all cameras; cheap to clone.
#[derive(Clone, Debug)]
pub struct Permissions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    index: Index,
    clock: Arc<dyn Clock>,
    zone: TimeZone,
    state: Mutex<State>,
    /// The configuration was read again.
    news: Notify,
}

#[derive(Debug)]
struct State {
    time: RetentionClock,
    now: Instants,
    tenants: BTreeMap<TenantId, Vec<Authorisation>>,
    cameras: HashMap<CameraKey, Camera>,
    /// Those that have been in force from that day on: a clock that falls back takes nothing away from them.
    begun: HashSet<(TenantId, AuthorisationId, Date)>,
    /// Alarms that last; `None` until the index was asked.
    raised: Option<BTreeSet<Alarm>>,
}

#[derive(Debug)]
struct Camera {
    installation: Installation,
    permission: watch::Sender<bool>,
}

/// An alarm about an authorisation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alarm {
    tenant: TenantId,
    authorisation: AuthorisationId,
    about: About,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Notice(Notice),
    /// Before its first day, or after its last; its cameras are recorded or not.
    Lacking {
        is_over: bool,
        records_on: bool,
    },
}

/// An authorisation as it stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Which.
    pub authorisation: Authorisation,
    /// How it stands.
    pub validity: Validity,
    /// The cameras that record under it, by their ids.
    pub cameras: Vec<(CameraId, Installation)>,
}

impl Permissions {
    /// Of this configuration.
    ///
    /// # Errors
    /// When the index does not say what the clock is worth.
    pub async fn open(index: Index, clock: Arc<dyn Clock>, config: &Config) -> Result<Self, IndexError> {
        let time = RetentionClock::of_index(&index, clock.read()).await?;
        let now = Instants::at(clock.wall());
        let (tenants, cameras) = (BTreeMap::new(), HashMap::new());
        let state = State { time, now, tenants, cameras, begun: HashSet::new(), raised: None };
        let zone = config.time_zone.clone();
        let permissions = Self(Arc::new(Inner { index, clock, zone, state: Mutex::new(state), news: Notify::new() }));
        permissions.apply(config);
        Ok(permissions)
    }

    /// Goes by this configuration from now on.
    pub fn apply(&self, config: &Config) {
        let mut state = self.0.state.lock();
        state.tenants = config.tenants.iter().map(|of| (of.id.clone(), of.authorisations.clone())).collect();
        let mut before = std::mem::take(&mut state.cameras);
        for tenant in &config.tenants {
            for camera in &tenant.cameras {
                let key = CameraKey { tenant: tenant.id.clone(), camera: camera.id.clone() };
                let permission = before.remove(&key).map_or_else(|| watch::channel(true).0, |of| of.permission);
                state.cameras.insert(key, Camera { installation: camera.installation.clone(), permission });
            }
        }
        self.judge(&mut state);
        drop(state);
        self.0.news.notify_one();
    }

    /// What a camera's recorder follows. One that is not configured has nothing withdrawn.
    pub fn of(&self, camera: &CameraKey) -> Permission {
        let state = self.0.state.lock();
        let follow = |of: &Camera| Permission::following(of.permission.subscribe());
        state.cameras.get(camera).map_or_else(Permission::always, follow)
    }

    /// A tenant's authorisations, in the order of the configuration.
    pub fn of_tenant(&self, tenant: &TenantId) -> Vec<Standing> {
        let state = self.0.state.lock();
        let all = state.tenants.get(tenant).into_iter().flatten();
        let standing = |of: &Authorisation| {
            let under = |key: &CameraKey, camera: &Camera| {
                key.tenant == *tenant && camera.installation.basis == Basis::Authorisation(of.id.clone())
            };
            let cameras = state.cameras.iter().filter(|(key, camera)| under(key, camera));
            let mut cameras: Vec<_> =
                cameras.map(|(key, camera)| (key.camera.clone(), camera.installation.clone())).collect();
            cameras.sort_by(|a, b| a.0.cmp(&b.0));
            Standing { authorisation: of.clone(), validity: self.validity(&state, tenant, of), cameras }
        };
        all.map(standing).collect()
    }

    /// How a camera stands in the law, and the authorisation that it records under.
    pub fn of_camera(&self, camera: &CameraKey) -> Option<(Installation, Option<(Authorisation, Validity)>)> {
        let state = self.0.state.lock();
        let installation = state.cameras.get(camera)?.installation.clone();
        let under = state.under(camera, &installation);
        let under = under.map(|of| (of.clone(), self.validity(&state, &camera.tenant, of)));
        Some((installation, under))
    }

    /// Judges until it is stopped. Alarms that the index does not take are tried again.
    pub async fn run(self, stop: CancellationToken) {
        let turns = async {
            loop {
                if let Err(error) = self.turn().await {
                    warn!(%error, "alarms about authorisations could not be entered, and will be again");
                }
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    () = self.0.news.notified() => {}
                }
            }
        };
        stop.run_until_cancelled(turns).await;
    }

    /// Judges once.
    async fn turn(&self) -> Result<(), IndexError> {
        self.judge(&mut self.0.state.lock());
        let resumed = self.0.state.lock().raised.is_some();
        if !resumed {
            let open = self.0.index.open_alarms().await?.into_iter().filter(|alarm| alarm.ended.is_none());
            let lasting = open.filter_map(|alarm| Alarm::of(&alarm.event)).collect();
            self.0.state.lock().raised = Some(lasting);
        }
        let (wanted, changes) = self.news();
        if !changes.is_empty() {
            self.0.index.write(changes).await?;
        }
        self.0.state.lock().raised = Some(wanted);
        Ok(())
    }

    /// What the clocks say, and who may be recorded by that.
    fn judge(&self, state: &mut State) {
        let reading = self.0.clock.read();
        let now = state.time.judge(reading).now;
        state.now = Instants { earliest: now, latest: now.max(state.time.state().steady) };
        let all = state.tenants.iter().flat_map(|(tenant, all)| all.iter().map(move |of| (tenant, of)));
        let in_force = all.filter(|(tenant, of)| matches!(self.validity(state, tenant, of), Validity::InForce(_)));
        let begun: Vec<_> = in_force.map(|(tenant, of)| (tenant.clone(), of.id.clone(), of.from)).collect();
        state.begun.extend(begun);
        for (key, camera) in &state.cameras {
            let under = state.under(key, &camera.installation);
            let permits = under.is_none_or(|of| of.permits(self.validity(state, &key.tenant, of)));
            camera.permission.send_if_modified(|before| std::mem::replace(before, permits) != permits);
        }
    }

    fn validity(&self, state: &State, tenant: &TenantId, of: &Authorisation) -> Validity {
        match of.validity(state.now, &self.0.zone) {
            Validity::NotYet if state.begun.contains(&(tenant.clone(), of.id.clone(), of.from)) => {
                Validity::InForce(None)
            }
            validity => validity,
        }
    }

    /// The alarms that there have to be, and the events that make it so.
    fn news(&self) -> (BTreeSet<Alarm>, Vec<Change>) {
        let state = self.0.state.lock();
        let before = state.raised.clone().unwrap_or_default();
        let mut wanted = BTreeMap::new();
        for (tenant, of) in state.tenants.iter().flat_map(|(tenant, all)| all.iter().map(move |of| (tenant, of))) {
            let basis = Basis::Authorisation(of.id.clone());
            let is_used =
                |(key, camera): (&CameraKey, &Camera)| key.tenant == *tenant && camera.installation.basis == basis;
            if let Some(about) = About::of(of, self.validity(&state, tenant, of))
                && state.cameras.iter().any(is_used)
            {
                wanted.insert(Alarm { tenant: tenant.clone(), authorisation: of.id.clone(), about }, of);
            }
        }
        let over = before.iter().filter(|alarm| !wanted.contains_key(alarm)).map(|alarm| (alarm, alarm.end()));
        let new =
            wanted.iter().filter(|(alarm, _)| !before.contains(alarm)).map(|(alarm, of)| (alarm, alarm.begin(of)));
        let at = self.0.clock.wall();
        let event = |(alarm, fact): (&Alarm, Fact)| {
            warn!(tenant = %alarm.tenant, "{}", fact.words(Language::English));
            Change::Event(Event::new(at, Scope::Tenant(alarm.tenant.clone()), fact))
        };
        // What ends first: a new alarm may have the place of an old one.
        let changes = over.chain(new).map(event).collect();
        (wanted.into_keys().collect(), changes)
    }
}

impl State {
    fn under(&self, camera: &CameraKey, installation: &Installation) -> Option<&Authorisation> {
        let Basis::Authorisation(id) = &installation.basis else { return None };
        self.tenants.get(&camera.tenant)?.iter().find(|of| of.id == *id)
    }
}

impl About {
    fn of(of: &Authorisation, validity: Validity) -> Option<Self> {
        let records_on = of.at_end == AtEnd::RecordOn;
        match validity {
            Validity::InForce(notice) => notice.map(Self::Notice),
            Validity::Ended => Some(Self::Lacking { is_over: true, records_on }),
            Validity::NotYet => Some(Self::Lacking { is_over: false, records_on }),
        }
    }
}

impl Alarm {
    /// The one that an event raised.
    fn of(event: &Event) -> Option<Self> {
        let lacking = |is_over, at_end: &AtEnd| About::Lacking { is_over, records_on: *at_end == AtEnd::RecordOn };
        let (authorisation, about) = match &event.fact {
            Fact::AuthorisationEnds { authorisation, notice, .. } => (authorisation, About::Notice(*notice)),
            Fact::AuthorisationEnded { authorisation, at_end, .. } => (authorisation, lacking(true, at_end)),
            Fact::AuthorisationNotYet { authorisation, at_end, .. } => (authorisation, lacking(false, at_end)),
            _ => return None,
        };
        Some(Self { tenant: event.scope.tenant()?.clone(), authorisation: authorisation.clone(), about })
    }

    fn begin(&self, of: &Authorisation) -> Fact {
        let (authorisation, number, at_end) = (of.id.clone(), of.number.clone(), of.at_end);
        match self.about {
            About::Notice(notice) => Fact::AuthorisationEnds { authorisation, number, until: of.until, notice },
            About::Lacking { is_over: true, .. } => {
                Fact::AuthorisationEnded { authorisation, number, until: of.until, at_end }
            }
            About::Lacking { is_over: false, .. } => {
                Fact::AuthorisationNotYet { authorisation, number, from: of.from, at_end }
            }
        }
    }

    fn end(&self) -> Fact {
        let authorisation = self.authorisation.clone();
        match self.about {
            About::Notice(notice) => Fact::AuthorisationNoticePassed { authorisation, notice },
            About::Lacking { .. } => Fact::AuthorisationSettled { authorisation },
        }
    }
}
