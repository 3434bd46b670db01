//! Denials of a tenant that were entered lately: a page that asks each second for what it may not have is one entry a minute.

use std::collections::HashMap;
use std::time::Duration;

use journal::entry::{Author, Draft};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The same denial is entered again after this time.
const SAME_EVERY: Duration = Duration::from_secs(60);
/// Different denials of one author in that time; of more, the rest is not entered: names of cameras that do not exist are
/// the asker's to choose, and must fill no journal.
const OF_AUTHOR_MAX: usize = 32;
/// Different denials in that time, of all authors.
const KEPT_MAX: usize = 4_096;

/// When each was entered: by who, and of each author what and which camera, in words.
#[derive(Debug, Default)]
pub(super) struct Denied(Mutex<HashMap<Author, HashMap<String, Instant>>>);

impl Denied {
    /// Whether this one was not entered lately; it counts as entered now.
    pub(super) fn is_new(&self, draft: &Draft) -> bool {
        let key = format!("{:?} {:?}", draft.action, draft.cameras);
        let now = Instant::now();
        let is_late = |at: &Instant| now.duration_since(*at) < SAME_EVERY;
        let mut entered = self.0.lock();
        if entered.values().map(HashMap::len).sum::<usize>() >= KEPT_MAX {
            entered.retain(|_, of| {
                of.retain(|_, at| is_late(at));
                !of.is_empty()
            });
        }
        if entered.values().map(HashMap::len).sum::<usize>() >= KEPT_MAX {
            return false;
        }
        let of = entered.entry(draft.author.clone()).or_default();
        of.retain(|_, at| is_late(at));
        let is_new = of.len() < OF_AUTHOR_MAX && !of.contains_key(&key);
        if is_new {
            of.insert(key, now);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::entry::{ActingPerson, Action};

    fn denial(camera: &str) -> Draft {
        of("marie", camera)
    }

    fn of(person: &str, camera: &str) -> Draft {
        let action = Action::Denied { right: "export".to_owned(), why: "not_in_role".to_owned() };
        let (id, name, act) = (person.parse().unwrap(), person.to_owned(), "7".to_owned());
        Draft::new(Author::Person(ActingPerson { id, name, act }), action).on(camera.parse().unwrap(), None)
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
    async fn who_asks_for_cameras_without_end_fills_no_journal_and_hides_nobody_else() {
        let denied = Denied::default();
        let entered = |person: &str| (0..1_000).filter(|n| denied.is_new(&of(person, &format!("camera-{n}")))).count();
        assert_eq!(entered("marie"), OF_AUTHOR_MAX);
        assert!(denied.is_new(&of("paul", "gate")));
        tokio::time::advance(SAME_EVERY).await;
        assert!(denied.is_new(&denial("another")));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_comes_back() {
        let denied = Denied::default();
        let everybody = || (0..2 * KEPT_MAX).filter(|n| denied.is_new(&of(&format!("person-{n}"), "gate"))).count();
        assert_eq!(everybody(), KEPT_MAX);
        assert!(denied.0.lock().len() <= KEPT_MAX + 1);
        tokio::time::advance(SAME_EVERY).await;
        assert!(denied.is_new(&denial("another")));
    }
}
