//! How long fragments wait until they are durable.

use std::time::Duration;

/// Width of a bucket: what percentiles are rounded up to.
const BUCKET: Duration = Duration::from_millis(10);
/// Longer delays share the last bucket; the longest of all is kept by itself.
const BUCKETS: usize = 1_000;

/// A distribution of delays, of fixed size.
#[derive(Clone, Debug)]
pub struct Delays {
    counts: Vec<u64>,
    longest: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], longest: Duration::ZERO }
    }
}

impl Delays {
    /// One more.
    pub fn add(&mut self, delay: Duration) {
        let bucket = (delay.as_micros() / BUCKET.as_micros()) as usize;
        self.counts[bucket.min(BUCKETS - 1)] += 1;
        self.longest = self.longest.max(delay);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The delay that this share of all did not exceed, rounded up to 10 ms; zero when there were none.
    pub fn percentile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return (BUCKET * (bucket as u32 + 1)).min(self.longest);
            }
        }
        self.longest
    }

    /// The longest.
    pub fn longest(&self) -> Duration {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_added_to_a_bucket() {
        let mut delays = Delays::default();
        assert_eq!((delays.count(), delays.percentile(0.5)), (0, Duration::ZERO));
        (1..=1_000).for_each(|ms| delays.add(Duration::from_millis(ms)));
        assert_eq!(delays.percentile(0.5), Duration::from_millis(510));
        assert_eq!(delays.percentile(0.99), Duration::from_millis(1_000));
        assert_eq!(delays.longest(), Duration::from_millis(1_000));
        delays.add(Duration::from_secs(3_600));
        assert_eq!(delays.percentile(1.0), Duration::from_secs(10), "the last bucket");
        assert_eq!(delays.longest(), Duration::from_secs(3_600));
    }
}
