//! Time stamps of checkpoints: asked of an authority that is nobody's of the gateway (RFC 3161), verified, and kept.
//!
//! Invariants: a journal does not wait for an authority, nor for what it answers. An answer is read up to a bound, within a
//! bound of time, and kept only when it is a time stamp of the checkpoint that was sent.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use journal::stamp::{Authorities, REPLY_BYTES_MAX, Request, StampError};
use journal::stamps::{self, Kept};
use journal::{Head, copy};
use reqwest::header;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use url::Url;

use super::copies::blocking;
use super::{Journals, OfTenant, TENANTS_AT_ONCE};
use crate::event::{Fact, JournalProof};

/// What is due is looked for so often.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// An authority that did not answer is asked again after so long.
const RETRY_EVERY: Duration = Duration::from_secs(300);
/// An authority answers within so long, with all of its answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// One that does not answer so often in a row is an alarm. A wrong answer is one at once.
const SILENT_MAX: u32 = 3;
const QUERY: &str = "application/timestamp-query";
const REPLY: &str = "application/timestamp-reply";

/// The authority.
#[derive(Debug)]
pub struct Stamping {
    url: Url,
    every: Duration,
    roots: Authorities,
}

/// How far a tenant's journal is stamped.
#[derive(Debug, Default)]
pub(super) struct Stamped {
    /// The last one that is kept; known once the folder was looked at.
    pub(super) last: Option<Kept>,
    next: Option<Instant>,
    silent: u32,
    alarmed: bool,
}

impl Stamped {
    /// The folder may be another from here on.
    pub(super) fn forget(&mut self) {
        (self.last, self.next) = (None, None);
    }
}

/// Why there is no time stamp.
#[derive(Debug, thiserror::Error)]
enum NoStamp {
    #[error("the authority does not answer: {0}")]
    Silent(String),
    #[error("the authority answers something else: {0}")]
    Other(String),
    #[error(transparent)]
    Refused(#[from] StampError),
    #[error("the time stamp cannot be kept: {0}")]
    Disk(#[from] std::io::Error),
}

/// The authorities that the machine trusts.
pub fn trusted() -> Authorities {
    Authorities::from_trusted(&rustls_native_certs::load_native_certs().certs)
}

impl Stamping {
    /// The authority at this address asked so often, and believed where these vouch for it.
    pub fn new(url: Url, every: Duration, roots: Authorities) -> Self {
        Self { url, every, roots }
    }

    /// What it answers; anything but a reply of bounded length is an error.
    async fn ask(&self, request: &Request) -> Result<Vec<u8>, NoStamp> {
        let silent = |e: reqwest::Error| NoStamp::Silent(e.without_url().to_string());
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("vigie/", env!("CARGO_PKG_VERSION")))
            .timeout(ANSWER_MAX)
            .build()
            .map_err(silent)?;
        let query = client.post(self.url.clone()).header(header::CONTENT_TYPE, QUERY).body(request.encode());
        let mut answer = query.send().await.map_err(silent)?;
        let status = answer.status();
        if status.is_server_error() {
            return Err(NoStamp::Silent(format!("status {status}")));
        }
        let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|of| of.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !status.is_success() || !kind.eq_ignore_ascii_case(REPLY) {
            return Err(NoStamp::Other(format!("status {status}, no {REPLY}")));
        }
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(silent)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > REPLY_BYTES_MAX {
                return Err(NoStamp::Other(format!("more than {REPLY_BYTES_MAX} bytes")));
            }
        }
        Ok(bytes)
    }
}

impl Journals {
    /// Has checkpoints stamped until `stop`, where an authority is configured.
    pub(super) async fn stamp(&self, stop: &CancellationToken) {
        let Some(authority) = self.0.authority.get() else { return };
        let mut turns = interval(LOOK_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stamping = async {
            loop {
                turns.tick().await;
                let stamp = async |of: Arc<OfTenant>| self.stamp_due(authority, &of).await;
                stream::iter(self.all()).for_each_concurrent(TENANTS_AT_ONCE, stamp).await;
            }
        };
        let _: Option<()> = stop.run_until_cancelled(stamping).await;
    }

    /// Whether an authority stamps what is handed over.
    pub fn has_authority(&self) -> bool {
        self.0.authority.get().is_some()
    }

    /// The authority's time stamp of these bytes, as it came; `None` where none is configured, or it did not give one.
    pub async fn time_stamp(&self, of: &[u8]) -> Option<Vec<u8>> {
        let authority = self.0.authority.get()?;
        for _ in 0..SILENT_MAX {
            let request = Request::new(of);
            let asked = timeout(ANSWER_MAX, authority.ask(&request)).await;
            let reply = asked.unwrap_or_else(|_| Err(NoStamp::Silent("it takes too long".to_owned())));
            let now = self.0.clock.wall().to_timestamp();
            let stamped = reply.and_then(|reply| {
                request.accept(&reply, &authority.roots, now)?;
                Ok(reply)
            });
            match stamped {
                Ok(reply) => return Some(reply),
                Err(error) => warn!(%error, "what is exported has no time stamp yet"),
            }
        }
        None
    }

    async fn stamp_due(&self, authority: &Stamping, of: &Arc<OfTenant>) {
        let next = of.stamped.lock().next;
        let next = match next {
            Some(next) => next,
            None => match self.first_due(authority, of).await {
                Some(next) => next,
                None => return,
            },
        };
        if Instant::now() < next {
            return;
        }
        match self.stamp_now(authority, of).await {
            Ok(None) => {}
            Ok(Some(kept)) => {
                debug!(tenant = %of.tenant, size = kept.size, at = %kept.at, "the journal's checkpoint has a time stamp");
                let was_alarmed = {
                    let mut stamped = of.stamped.lock();
                    (stamped.last, stamped.silent) = (Some(kept), 0);
                    stamped.next = Some(Instant::now() + authority.every);
                    std::mem::take(&mut stamped.alarmed)
                };
                if was_alarmed {
                    let fact = Fact::JournalProven { proof: JournalProof::TimeStamp };
                    self.report(of, self.0.clock.wall(), fact).await;
                }
            }
            Err(error) => self.not_stamped(of, error).await,
        }
    }

    /// After the last one that is kept, of an earlier start perhaps. `None` while the journal is not open.
    async fn first_due(&self, authority: &Stamping, of: &OfTenant) -> Option<Instant> {
        let folder = of.state.lock().journal.as_ref()?.folder().to_owned();
        let last = blocking(&folder, |folder| stamps::kept(&folder)).await.unwrap_or_default().pop();
        let now = self.0.clock.wall().to_timestamp();
        let since = last.map(|last| Duration::try_from(now.duration_since(last.at)).unwrap_or_default());
        let wait = since.map_or(Duration::ZERO, |since| authority.every.saturating_sub(since));
        let next = Instant::now() + wait;
        let mut stamped = of.stamped.lock();
        (stamped.last, stamped.next) = (last, Some(next));
        Some(next)
    }

    async fn not_stamped(&self, of: &OfTenant, error: NoStamp) {
        let is_new = {
            let mut stamped = of.stamped.lock();
            stamped.next = Some(Instant::now() + RETRY_EVERY);
            stamped.silent = stamped.silent.saturating_add(1);
            let is_due = matches!(error, NoStamp::Other(_) | NoStamp::Refused(_)) || stamped.silent >= SILENT_MAX;
            is_due && !std::mem::replace(&mut stamped.alarmed, true)
        };
        if is_new {
            warn!(tenant = %of.tenant, %error, "the journal's checkpoints have no time stamps");
            let fact = Fact::JournalUnproven { proof: JournalProof::TimeStamp };
            self.report(of, self.0.clock.wall(), fact).await;
        } else {
            info!(tenant = %of.tenant, %error, "the journal's checkpoint has no time stamp yet");
        }
    }

    /// Has the last checkpoint stamped; `None` where there is nothing new in it.
    async fn stamp_now(&self, authority: &Stamping, of: &OfTenant) -> Result<Option<Kept>, NoStamp> {
        let Some(journal) = of.state.lock().journal.clone() else { return Ok(None) };
        let (folder, head) = (journal.folder().to_owned(), journal.head());
        if head.size == 0 || of.stamped.lock().last.is_some_and(|last| last.size == head.size) {
            return Ok(None);
        }
        let checkpoint = blocking(&folder, |folder| copy::checkpoint(&folder)).await?.unwrap_or_default();
        // It may be a newer one than was asked for just now.
        let Ok(head) = String::from_utf8_lossy(&checkpoint).parse::<Head>() else { return Ok(None) };
        let request = Request::new(&checkpoint);
        let asked = timeout(ANSWER_MAX, authority.ask(&request)).await;
        let reply = asked.unwrap_or_else(|_| Err(NoStamp::Silent("it takes too long".to_owned())))?;
        let (now, roots) = (self.0.clock.wall().to_timestamp(), authority.roots.clone());
        let kept = blocking(&folder, move |folder| {
            Ok(match request.accept(&reply, &roots, now) {
                Ok(at) => Ok(stamps::keep(&folder, head, &checkpoint, &reply, at)?),
                Err(error) => Err(error),
            })
        });
        Ok(Some(kept.await??))
    }
}
