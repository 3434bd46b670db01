//! Whether a camera may be recorded: a word from outside, which may change at any time.

use tokio::sync::watch;

/// Followed by a recorder.
#[derive(Clone, Debug)]
pub struct Permission(watch::Receiver<bool>);

impl Permission {
    /// As the other end of the channel says; its last word holds when that end is gone.
    pub fn following(channel: watch::Receiver<bool>) -> Self {
        Self(channel)
    }

    /// Never withdrawn.
    pub fn always() -> Self {
        Self(watch::channel(true).1)
    }

    /// As it stands.
    pub fn is_given(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is given, or is not. Cancel-safe.
    pub(super) async fn becomes(&mut self, given: bool) {
        if self.0.wait_for(|now| *now == given).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
