//! One package after the other, tenants by turns; and what becomes of one that is prepared, or fails.

use std::sync::Arc;

use journal::entry::{Action, Author, Draft};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::describe::span;
use super::job::{Folder, Job, Package, State};
use super::prepare::blocking;
use super::{ExportError, Exports, FAILED, Known, LOOK_EVERY, RETRY_AFTER};
use footage::failure::{Failure, Kind};
use footage::platform;

impl Exports {
    /// Prepares packages, and destroys them in time, until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let turns = async {
            loop {
                self.prepare_all().await;
                tokio::select! {
                    () = self.0.wake.notified() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        };
        let keep = async {
            loop {
                self.keep().await;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        // Cut off at any await: the next start begins again.
        stop.run_until_cancelled(async { futures::join!(turns, keep) }).await;
    }

    /// Prepares all that can be prepared now, one after the other. Gives how many it were.
    pub async fn prepare_all(&self) -> usize {
        let mut done = 0;
        while let Some(next) = self.next().await {
            self.prepare_or_fail(next).await;
            done += 1;
        }
        done
    }

    /// The oldest that waits and can be prepared now, of another tenant than the last where there is one.
    async fn next(&self) -> Option<Known> {
        let mut waiting: Vec<Known> = {
            let known = self.0.known.lock();
            known.values().filter(|known| known.waits()).cloned().collect()
        };
        let last = self.0.last.lock().clone();
        waiting.sort_by_key(|of| (last.as_ref() == Some(&of.job.tenant), of.job.ordered, of.job.id));
        for known in waiting {
            if self.can_begin(&known.job).await {
                return Some(known);
            }
        }
        None
    }

    async fn prepare_or_fail(&self, known: Known) {
        let (tenant, id) = (known.job.tenant.clone(), known.job.id);
        *self.0.last.lock() = Some(tenant.clone());
        self.preparing(&known, true);
        let prepared = known.removed.run_until_cancelled(self.prepare(&known.job, &known.progress)).await;
        let settled = match prepared {
            None => Ok(()),
            Some(Ok(package)) => self.commit(&known, package).await,
            Some(Err(error)) if error.kind() == Kind::Retry => {
                warn!(%error, export = %id, %tenant, "an evidence package waits for what does not answer");
                self.later(&known);
                Ok(())
            }
            Some(Err(error)) => {
                warn!(%error, export = %id, %tenant, "an evidence package cannot be prepared");
                self.fail(&known, &error).await
            }
        };
        self.preparing(&known, false);
        if let Err(error) = settled {
            error!(%error, export = %id, %tenant, "an evidence package is not there, and is tried again after a restart");
            self.replace(&known, State::Failed { why: FAILED.to_owned() });
        }
    }

    fn preparing(&self, of: &Known, preparing: bool) {
        if let Some(known) = self.0.known.lock().get_mut(&(of.job.tenant.clone(), of.job.id)) {
            known.preparing = preparing;
        }
    }

    fn later(&self, of: &Known) {
        if let Some(known) = self.0.known.lock().get_mut(&(of.job.tenant.clone(), of.job.id)) {
            known.not_before = Some(Instant::now() + RETRY_AFTER);
        }
    }

    pub(super) fn replace(&self, of: &Known, state: State) {
        if let Some(known) = self.0.known.lock().get_mut(&(of.job.tenant.clone(), of.job.id)) {
            known.job = Arc::new(Job { state, ..Job::clone(&of.job) });
        }
    }

    /// The package is whole on the disk: gives it its name, enters it, and calls it ready.
    async fn commit(&self, known: &Known, package: Package) -> Result<(), ExportError> {
        let _turn = self.0.turn.lock().await;
        if known.removed.is_cancelled() {
            return Ok(());
        }
        let (job, folder) = (&known.job, Folder::of(self.root(), &known.job.tenant, known.job.id));
        let (from, to) = (folder.draft(), folder.package());
        blocking(move || {
            platform::rename(&from, &to)?;
            platform::sync_name(&to)
        })
        .await?;
        let action = Action::PackagePrepared {
            export: job.id.to_string(),
            bytes: package.bytes,
            manifest: package.manifest.clone(),
            key: package.key.clone(),
        };
        let cameras = job.cameras.iter().map(|of| of.camera.clone()).collect();
        let draft = Draft { cameras, range: job.range().map(span), ..Draft::new(Author::Gateway, action) };
        self.journals().append(&job.tenant, draft).await?;
        let state = State::Ready(package);
        self.store(&Job { state: state.clone(), ..Job::clone(job) }).await?;
        self.replace(known, state);
        info!(export = %job.id, tenant = %job.tenant, "an evidence package is ready");
        Ok(())
    }

    async fn fail(&self, known: &Known, error: &ExportError) -> Result<(), ExportError> {
        let _turn = self.0.turn.lock().await;
        if known.removed.is_cancelled() {
            return Ok(());
        }
        let why = match error.kind() {
            Kind::Invalid | Kind::NotFound | Kind::Full | Kind::Conflict => error.to_string(),
            _ => FAILED.to_owned(),
        };
        let (state, folder) = (State::Failed { why }, Folder::of(self.root(), &known.job.tenant, known.job.id));
        blocking(move || folder.clear()).await?;
        self.store(&Job { state: state.clone(), ..Job::clone(&known.job) }).await?;
        self.replace(known, state);
        Ok(())
    }
}
