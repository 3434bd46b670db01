//! Why somebody looks at footage, as they stated it: for all that they begin from then on, whatever player asks for it.

use std::collections::HashMap;
use std::time::Duration;

use journal::entry::Author;
use parking_lot::Mutex;
use tokio::time::Instant;

use footage::units::TenantId;

/// A reason holds for a turn of duty at most; then it is to be stated again.
const HOLDS_FOR: Duration = Duration::from_secs(12 * 3600);
/// Reasons that are kept; of more, those of longest ago go, and are to be stated again.
const KEPT_MAX: usize = 8_192;

/// The reasons that hold.
#[derive(Debug, Default)]
pub(super) struct Reasons(Mutex<HashMap<(TenantId, Author), Stated>>);

#[derive(Debug)]
struct Stated {
    reason: String,
    at: Instant,
}

impl Reasons {
    /// What they stated last, while it holds.
    pub(super) fn get(&self, tenant: &TenantId, author: &Author) -> Option<String> {
        let reasons = self.0.lock();
        let stated = reasons.get(&(tenant.clone(), author.clone()))?;
        (stated.at.elapsed() < HOLDS_FOR).then(|| stated.reason.clone())
    }

    /// States it; it takes the place of the one before.
    pub(super) fn state(&self, tenant: &TenantId, author: Author, reason: String) {
        let mut reasons = self.0.lock();
        let key = (tenant.clone(), author);
        if reasons.len() >= KEPT_MAX && !reasons.contains_key(&key) {
            reasons.retain(|_, stated| stated.at.elapsed() < HOLDS_FOR);
            let oldest = reasons.iter().min_by_key(|(_, stated)| stated.at).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest.filter(|_| reasons.len() >= KEPT_MAX) {
                reasons.remove(&oldest);
            }
        }
        reasons.insert(key, Stated { reason, at: Instant::now() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn town(id: &str) -> TenantId {
        id.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_reason_is_of_one_who_stated_it_for_one_tenant_and_half_a_day() {
        let reasons = Reasons::default();
        reasons.state(&town("a"), Author::AccessToken, "a theft".to_owned());
        let of_a = |author| reasons.get(&town("a"), &author);
        assert_eq!(of_a(Author::AccessToken).as_deref(), Some("a theft"));
        assert_eq!((of_a(Author::Loopback), reasons.get(&town("b"), &Author::AccessToken)), (None, None));
        reasons.state(&town("a"), Author::AccessToken, "a fire".to_owned());
        assert_eq!(of_a(Author::AccessToken).as_deref(), Some("a fire"));
        tokio::time::advance(HOLDS_FOR).await;
        assert_eq!(of_a(Author::AccessToken), None);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_the_newest_stay() {
        let reasons = Reasons::default();
        for n in 0..KEPT_MAX + 10 {
            tokio::time::advance(Duration::from_millis(1)).await;
            reasons.state(&town(&format!("t{n}")), Author::AccessToken, "x".to_owned());
        }
        assert_eq!(reasons.0.lock().len(), KEPT_MAX);
        assert!(reasons.get(&town(&format!("t{}", KEPT_MAX + 9)), &Author::AccessToken).is_some());
        assert!(reasons.get(&town("t0"), &Author::AccessToken).is_none());
    }
}
