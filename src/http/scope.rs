//! In whose name a request is answered, and what they may: the only way to a camera, and to footage.
//!
//! Invariants: a handler gets a camera's key only through its [`TenantScope`]; a route is registered with the rights that
//! open it ([`needs`]); footage begins to go out only with an [`AccessKey`], which [`TenantScope::may_see`] gives to those who may
//! see it. What is denied is in the journal.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use catalogue::{Denial, Now, Person, Right, Roles, Sight};
use journal::entry::{Access, Action, Author, Draft};
use utoipa_axum::router::UtoipaMethodRouter;

use super::Service;
use super::problem::{Problem, ProblemKind};
use crate::index::Cameras;
use crate::journals::{AccessKey, Accessing};
use crate::people::{self, People};
use footage::units::{CameraId, CameraKey, TenantId, TimeRange, WallTime};

/// Where the description of a route says which rights open it, one of several.
pub(super) const RIGHTS_EXTENSION: &str = "x-rights";

/// Who makes a request, and what decides what they may.
#[derive(Clone, Debug)]
pub(super) enum Holder {
    /// The holder of a tenant's token, or a person at the machine itself: the rights of a role, without any act.
    Role {
        /// As entries of the journal name them.
        author: Author,
        /// The role.
        role: String,
    },
    /// A person.
    Person(Arc<Person>),
}

/// The tenant in whose name a request is answered, and who makes it.
#[derive(Clone, Debug)]
pub(super) struct TenantScope {
    tenant: TenantId,
    holder: Holder,
    address: Option<IpAddr>,
    roles: Arc<Roles>,
    now: Now,
    asks_why: bool,
    reason: Option<String>,
}

impl TenantScope {
    pub(super) fn new(tenant: TenantId, holder: Holder, address: Option<IpAddr>, roles: Arc<Roles>, now: Now) -> Self {
        Self { tenant, holder, address, roles, now, asks_why: false, reason: None }
    }

    /// The same, with the reason that they stated, and whether their tenant asks for one.
    pub(super) fn stating(self, asks_why: bool, reason: Option<String>) -> Self {
        Self { asks_why, reason, ..self }
    }

    /// Whether their tenant asks for a reason, and the one that they stated.
    pub(super) fn reason(&self) -> (bool, Option<&str>) {
        (self.asks_why, self.reason.as_deref())
    }

    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    pub(super) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// When the request was made.
    pub(super) fn now(&self) -> &Now {
        &self.now
    }

    pub(super) fn author(&self) -> Author {
        match &self.holder {
            Holder::Role { author, .. } => author.clone(),
            Holder::Person(person) => people::author(person),
        }
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// An act of the one who makes the request, for the journal.
    pub(super) fn act(&self, action: Action) -> Draft {
        Draft::new(self.author(), action).from_address(self.address)
    }

    /// The only way for a handler to name a camera of a request.
    pub(super) fn camera(&self, camera: CameraId) -> CameraKey {
        CameraKey { tenant: self.tenant.clone(), camera }
    }

    /// Whether they have one of these rights.
    pub(super) fn may(&self, rights: &[Right]) -> Result<(), Denial> {
        match &self.holder {
            Holder::Person(person) => person.may(rights, &self.roles, &self.now),
            Holder::Role { role, .. } => {
                let has = self.roles.get(role).ok_or_else(|| Denial::NoRole(role.clone()))?;
                match rights.iter().any(|right| has.contains(right)) {
                    true => Ok(()),
                    false => Err(Denial::NotInRole { role: role.clone(), right: rights[0] }),
                }
            }
        }
    }

    /// The rights that they have now, whatever the camera.
    pub(super) fn rights(&self) -> Vec<Right> {
        Right::ALL.into_iter().filter(|right| self.may(&[*right]).is_ok()).collect()
    }

    /// Whether they may know of this camera: its state, its events, its holds.
    pub(super) fn names(&self, camera: &CameraId) -> bool {
        match &self.holder {
            Holder::Role { .. } => true,
            Holder::Person(person) => person.is_for(camera) || person.is_granted(camera, &self.now),
        }
    }

    /// The cameras that lists show them; `None`: all.
    pub(super) fn cameras(&self) -> Option<Cameras> {
        match &self.holder {
            Holder::Role { .. } => None,
            Holder::Person(person) => person.cameras(&self.now).map(Cameras::new),
        }
    }

    /// Whether they may act on this camera: it is of their designation, and not only of a grant, which shows footage.
    pub(super) fn acts_on(&self, camera: &CameraId) -> bool {
        match &self.holder {
            Holder::Role { .. } => true,
            Holder::Person(person) => person.is_for(camera),
        }
    }

    /// Whether they may do to this camera what this right is about, as far as the camera goes: a grant shows footage, and
    /// lets nobody act.
    fn reaches(&self, right: Right, camera: &CameraId) -> bool {
        if right.acts_on_cameras() { self.acts_on(camera) } else { self.names(camera) }
    }

    /// Whether they may see this footage in this way; what begins an access of theirs.
    pub(super) fn may_see(&self, camera: &CameraId, access: Access, sight: Sight) -> Result<AccessKey, Denial> {
        let right = right_of(access);
        match &self.holder {
            Holder::Person(person) => person.may_see(right, camera, sight, &self.roles, &self.now)?,
            Holder::Role { .. } => self.may(&[right])?,
        }
        if self.asks_why && self.reason.is_none() {
            return Err(Denial::NoReason);
        }
        let (author, camera, reason) = (self.author(), camera.clone(), self.reason.clone());
        Ok(AccessKey { author, address: self.address, camera, access, reason })
    }
}

/// Footage that is being handed out, and to whom.
#[derive(Debug)]
pub(super) struct Handing {
    pub(super) accessing: Accessing,
    pub(super) to: Recipient,
}

/// Who gets footage for as long as a body lasts, which may be hours.
#[derive(Debug)]
pub(super) struct Recipient(Option<(People, Arc<Person>)>);

impl Recipient {
    pub(super) fn of(people: &People, scope: &TenantScope) -> Self {
        match &scope.holder {
            Holder::Role { .. } => Self(None),
            Holder::Person(person) => Self(Some((people.clone(), person.clone()))),
        }
    }

    /// Whether the designation was revoked since the request. A catalogue that cannot be read now does not say so.
    pub(super) fn is_revoked(&self) -> bool {
        let Some((people, person)) = &self.0 else { return false };
        let Ok(tables) = people.tables() else { return false };
        tables.person(&person.tenant, &person.id).is_none_or(|now| now.revoked.is_some())
    }
}

fn right_of(access: Access) -> Right {
    match access {
        Access::Live => Right::ViewLive,
        Access::Playback | Access::Snapshot => Right::ViewRecorded,
        Access::Clip | Access::HoldClip => Right::Export,
    }
}

/// Footage filmed in this range.
pub(super) fn recorded(range: TimeRange) -> Sight {
    Sight::Recorded { from: range.start().to_timestamp(), to: range.end().to_timestamp() }
}

/// The picture that was filmed then.
pub(super) fn filmed_at(at: WallTime) -> Sight {
    Sight::Recorded { from: at.to_timestamp(), to: at.to_timestamp() }
}

impl Service {
    /// The key to this footage, for those who may see it; for others the problem, which is entered in the journal.
    pub(super) async fn permit(
        &self,
        scope: &TenantScope,
        camera: &CameraId,
        access: Access,
        sight: Sight,
    ) -> Result<AccessKey, Problem> {
        match scope.may_see(camera, access, sight) {
            Ok(key) => Ok(key),
            Err(denial) => Err(self.denied(scope, right_of(access), Some(camera), &denial).await),
        }
    }

    /// Begins an access, before its first byte.
    pub(super) async fn begin(&self, scope: &TenantScope, key: AccessKey) -> Result<Handing, Problem> {
        let accessing = self.journals().begin(scope.tenant(), key).await?;
        Ok(Handing { accessing, to: Recipient::of(self.people(), scope) })
    }

    /// Refuses a camera that the holder may not know of, or not act on, whether or not there is one.
    pub(super) async fn permit_camera(
        &self,
        scope: &TenantScope,
        right: Right,
        camera: &CameraId,
    ) -> Result<(), Problem> {
        if scope.reaches(right, camera) {
            return Ok(());
        }
        Err(self.denied(scope, right, Some(camera), &Denial::OtherCamera).await)
    }

    pub(super) async fn denied(
        &self,
        scope: &TenantScope,
        right: Right,
        camera: Option<&CameraId>,
        denial: &Denial,
    ) -> Problem {
        if *denial == Denial::NoReason {
            // They are asked, and will state it: nothing was denied yet.
            return Problem::new(ProblemKind::ReasonMissing, denial.to_string());
        }
        let denied = scope.act(Action::Denied { right: right.to_string(), why: denial.as_str().to_owned() });
        let denied = Draft { cameras: camera.cloned().into_iter().collect(), ..denied };
        self.journals().denied(scope.tenant(), denied).await;
        Problem::new(ProblemKind::NotPermitted, denial.to_string())
    }
}

/// A route that one of these rights opens, its description included; without any, every holder of valid credentials.
pub(super) fn needs(
    service: &Service,
    rights: &'static [Right],
    (schemas, mut paths, methods): UtoipaMethodRouter<Service>,
) -> UtoipaMethodRouter<Service> {
    let names: Vec<&str> = rights.iter().map(|right| right.as_str()).collect();
    for item in paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let extensions = operation.extensions.get_or_insert_default();
            extensions.insert(RIGHTS_EXTENSION.to_owned(), serde_json::json!(names));
        }
    }
    let check = move |State(service): State<Service>, request, next| permitted(rights, service, request, next);
    (schemas, paths, methods.route_layer(middleware::from_fn_with_state(service.clone(), check)))
}

async fn permitted(rights: &'static [Right], service: Service, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let scope = match TenantScope::from_request_parts(&mut parts, &()).await {
        Ok(scope) => scope,
        Err(problem) => return problem.into_response(),
    };
    if let Some(first) = rights.first() {
        if let Err(denial) = scope.may(rights) {
            return service.denied(&scope, *first, None, &denial).await.into_response();
        }
        if let Some(camera) = camera_of(&mut parts).await
            && let Err(problem) = service.permit_camera(&scope, *first, &camera).await
        {
            return problem.into_response();
        }
    }
    next.run(Request::from_parts(parts, body)).await
}

/// The camera that the path names, whatever the route. One that no camera can be called is the handler's to refuse.
async fn camera_of(parts: &mut Parts) -> Option<CameraId> {
    let params = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    params.iter().find_map(|(name, text)| (name == "camera").then(|| text.parse().ok()).flatten())
}

impl<S: Sync> FromRequestParts<S> for TenantScope {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(|| {
            tracing::error!(path = parts.uri.path(), "a route lies outside the authorisation");
            Problem::new(
                ProblemKind::Internal,
                "the gateway refuses to answer without authorisation: report this as a bug",
            )
        })
    }
}
