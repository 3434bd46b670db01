//! What the journals say, read whether or not they take any entry.

use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;

use jiff::civil::Date;

use super::{Journals, NoEntry};
use footage::failure::{Failure, Kind};
use footage::platform;
use footage::units::TenantId;
use journal::proof::Proven;

impl Journals {
    /// The tenant's entries from this number on, at most so many, each as its line.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn entries(&self, tenant: &TenantId, from: u64, limit: usize) -> Result<Vec<String>, NoEntry> {
        self.read(tenant, move |folder| journal::read::entries(folder, from, limit)).await
    }

    /// Takes each entry of these days (UTC) as its line, its newline included, into what is returned.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn fold<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        days: RangeInclusive<Date>,
        mut into: T,
        take: impl Fn(&mut T, &[u8]) -> ControlFlow<()> + Send + 'static,
    ) -> Result<T, NoEntry> {
        let read = move |folder: &Path| {
            journal::read::of_days(folder, days, |line| take(&mut into, line))?;
            Ok(into)
        };
        self.read(tenant, read).await
    }

    /// The first day (UTC) of which entries are kept.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn kept_since(&self, tenant: &TenantId) -> Result<Option<Date>, NoEntry> {
        self.read(tenant, journal::read::first_day).await
    }

    /// An entry of the tenant's journal with the proof that it is there, by a checkpoint of now; and the keys of the journal.
    ///
    /// # Errors
    /// When no checkpoint can be made of it, or it was forgotten.
    pub async fn prove(&self, tenant: &TenantId, n: u64) -> Result<(Proven, Vec<String>), NoEntry> {
        let of = self.of(tenant)?;
        self.checkpoint(&of).await;
        let proven = self.read(tenant, move |folder| {
            let proven = journal::proof::prove(folder, n)?;
            Ok(proven.zip(Some(journal::copy::keys(folder)?)))
        });
        let why = || format!("entry {n} is not under its checkpoint");
        proven.await?.ok_or_else(|| NoEntry { tenant: tenant.clone(), why: why(), kind: Kind::Retry })
    }

    async fn read<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        read: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, NoEntry> {
        let folder = self.0.folder.join(tenant.as_str());
        let failed = |why: String, kind| NoEntry { tenant: tenant.clone(), why, kind };
        let read = platform::spawn_blocking(move || read(&folder)).await;
        let read = read.map_err(|_| failed("reading it ended badly".to_owned(), Kind::Internal))?;
        read.map_err(|error| failed(error.to_string(), Failure::kind(&error)))
    }
}
