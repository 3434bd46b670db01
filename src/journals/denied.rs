//! Denials of a tenant that were entered lately: a page that asks each second for what it may not have is one entry a minute.

use std::collections::HashMap;
use std::time::Duration;

use journal::entry::Draft;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The same denial is entered again after this time.
const SAME_EVERY: Duration = Duration::from_secs(60);
/// Different denials in that time; of more, the rest is not entered. A person has some dozens at most.
const KEPT_MAX: usize = 4_096;

/// When each was entered: by who, what and which camera, in words.
#[derive(Debug, Default)]
pub(super) struct Denied(Mutex<HashMap<String, Instant>>);

impl Denied {
    /// Whether this one was not entered lately; it counts as entered now.
    pub(super) fn is_new(&self, draft: &Draft) -> bool {
        let key = format!("{:?} {:?} {:?}", draft.author, draft.action, draft.cameras);
        let now = Instant::now();
        let mut entered = self.0.lock();
        if entered.get(&key).is_some_and(|at| now.duration_since(*at) < SAME_EVERY) {
            return false;
        }
        if entered.len() >= KEPT_MAX {
            entered.retain(|_, at| now.duration_since(*at) < SAME_EVERY);
        }
        let has_room = entered.len() < KEPT_MAX;
        if has_room {
            entered.insert(key, now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::entry::{Action, Author};

    fn denial(camera: &str) -> Draft {
        let action = Action::Denied { right: "export".to_owned(), why: "not_in_role".to_owned() };
        Draft::new(Author::AccessToken, action).on(camera.parse().unwrap(), None)
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_is_entered_once_a_minute_and_another_at_once() {
        let denied = Denied::default();
        assert!(denied.is_new(&denial("gate")));
        assert!(!denied.is_new(&denial("gate")));
        assert!(denied.is_new(&denial("square")));
        tokio::time::advance(SAME_EVERY).await;
        assert!(denied.is_new(&denial("gate")));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_comes_back() {
        let denied = Denied::default();
        let entered = (0..2 * KEPT_MAX).filter(|n| denied.is_new(&denial(&format!("camera-{n}")))).count();
        assert_eq!(entered, KEPT_MAX);
        tokio::time::advance(SAME_EVERY).await;
        assert!(denied.is_new(&denial("another")));
    }
}
