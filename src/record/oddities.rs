//! What is odd about a camera's stream: counted, with an event when a kind begins and one when it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use footage::media::{Oddity, OddityCounts};

/// A kind that has not occurred for so long has ended.
const ENDS_AFTER: Duration = Duration::from_secs(60);

/// One camera's, over all its sessions.
#[derive(Debug, Default)]
pub(super) struct Oddities {
    lasting: BTreeMap<Oddity, Lasting>,
}

/// A kind that has begun and not ended.
#[derive(Debug, Default)]
struct Lasting {
    count: u64,
    /// Monotonic time at which it last occurred.
    last: Duration,
}

impl Oddities {
    /// Takes what occurred until now; gives the kinds that begin with it.
    pub(super) fn occurred(&mut self, counts: &OddityCounts, now: Duration) -> Vec<Oddity> {
        let mut begun = Vec::new();
        for (oddity, count) in counts.iter() {
            let lasting = self.lasting.entry(oddity).or_insert_with(|| {
                begun.push(oddity);
                Lasting::default()
            });
            lasting.count = lasting.count.saturating_add(count);
            lasting.last = now;
        }
        begun
    }

    /// Gives the kinds that have ended by now, with how often each occurred.
    pub(super) fn ended(&mut self, now: Duration) -> Vec<(Oddity, u64)> {
        let has_ended = |lasting: &Lasting| now.saturating_sub(lasting.last) >= ENDS_AFTER;
        self.lasting.extract_if(.., |_, lasting| has_ended(lasting)).map(|(oddity, l)| (oddity, l.count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_begins_once_and_ends_when_it_has_not_occurred_for_a_minute() {
        let mut oddities = Oddities::default();
        let seconds = Duration::from_secs;
        let mut counts = OddityCounts::default();
        counts.add(Oddity::Bye);
        assert_eq!(oddities.occurred(&counts, seconds(0)), [Oddity::Bye]);
        counts.add(Oddity::StartCode);
        assert_eq!(oddities.occurred(&counts, seconds(30)), [Oddity::StartCode]);
        counts = OddityCounts::default();
        counts.add(Oddity::Bye);
        assert!(oddities.occurred(&counts, seconds(70)).is_empty());
        assert!(oddities.ended(seconds(89)).is_empty());
        assert_eq!(oddities.ended(seconds(90)), [(Oddity::StartCode, 1)]);
        assert_eq!(oddities.ended(seconds(130)), [(Oddity::Bye, 3)]);
        assert!(oddities.ended(seconds(500)).is_empty());
    }
}
