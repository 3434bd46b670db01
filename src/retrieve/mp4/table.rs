//! One track's sample table while it grows: compact, one pass, nothing allocated per sample.

use bytes::Bytes;

use footage::media::Sample;

/// How long the last hidden picture lasts, in 1/90000 s: a player that seeks to the start takes what is within 5 ms of it
/// for the picture there.
const HIDDEN_LAST_TICKS: u32 = 900;

/// Equal values in a row, counted: the entries of `stts` and `ctts` (ISO/IEC 14496-12 §8.6.1), as they are written.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// Count and value of each run but the last, big-endian.
    written: Vec<u8>,
    /// How many samples, and the value of each; none before the first.
    last: Option<(u32, u32)>,
}

impl Runs {
    fn push(&mut self, value: u32) {
        self.extend(1, value);
    }

    /// So many of a value.
    fn extend(&mut self, count: u32, value: u32) {
        match &mut self.last {
            _ if count == 0 => {}
            Some((known, last)) if *last == value => *known += count,
            last => {
                let run = last.replace((count, value));
                self.write(run);
            }
        }
    }

    fn pop(&mut self) -> Option<u32> {
        let (count, value) = self.last?;
        self.last = match count {
            1 => self.unwrite(),
            _ => Some((count - 1, value)),
        };
        Some(value)
    }

    fn write(&mut self, run: Option<(u32, u32)>) {
        if let Some((count, value)) = run {
            self.written.extend_from_slice(&(u64::from(count) << 32 | u64::from(value)).to_be_bytes());
        }
    }

    fn unwrite(&mut self) -> Option<(u32, u32)> {
        let run = u64::from_be_bytes(*self.written.last_chunk()?);
        self.written.truncate(self.written.len() - 8);
        Some(((run >> 32) as u32, run as u32))
    }

    /// Every run, as count and value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        let field = |bytes: [u8; 8]| (u64::from_be_bytes(bytes) >> 32, u64::from_be_bytes(bytes) as u32);
        let written = self.written.as_chunks::<8>().0.iter().map(move |bytes| field(*bytes));
        written.map(|(count, value)| (count as u32, value)).chain(self.last)
    }

    /// The entries as the box holds them.
    pub(super) fn into_entries(mut self) -> Vec<u8> {
        let run = self.last.take();
        self.write(run);
        self.written
    }
}

/// From this chunk on, chunks have this many samples of this description (`stsc`, §8.7.4).
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkRun {
    pub(super) first_chunk: u32,
    pub(super) samples: u32,
    pub(super) description: u32,
}

/// A track: what `stbl` (§8.5) says, in the order in which samples are appended.
#[derive(Debug, Default)]
pub(super) struct TrackTable {
    /// Decode durations.
    pub(super) durations: Runs,
    /// Presentation minus decode times, as two's complement.
    pub(super) offsets: Runs,
    /// Sizes, big-endian as in `stsz`.
    pub(super) sizes: Vec<u8>,
    /// Numbers of the random access points, big-endian as in `stss`; samples are numbered from 1.
    pub(super) sync: Vec<u8>,
    /// Where each chunk begins in the `mdat` payload.
    pub(super) chunks: Vec<u64>,
    /// Chunks by shape.
    pub(super) chunk_runs: Vec<ChunkRun>,
    /// Sample entries, each once.
    pub(super) descriptions: Vec<Bytes>,
    /// How many samples.
    pub(super) samples: u32,
    /// Sum of the durations.
    pub(super) ticks: u64,
}

impl TrackTable {
    /// The next `samples` samples lie together from `at`, and need this sample entry.
    pub(super) fn begin_chunk(&mut self, at: u64, samples: usize, entry: &Bytes) {
        let known = self.descriptions.iter().rposition(|d| d == entry);
        let position = known.unwrap_or_else(|| {
            self.descriptions.push(entry.clone());
            self.descriptions.len() - 1
        });
        let (samples, description) = (samples as u32, position as u32 + 1);
        self.chunks.push(at);
        if self.chunk_runs.last().is_none_or(|r| (r.samples, r.description) != (samples, description)) {
            self.chunk_runs.push(ChunkRun { first_chunk: self.chunks.len() as u32, samples, description });
        }
    }

    /// Appends a sample to the current chunk.
    pub(super) fn push(&mut self, sample: Sample, random_access: bool) {
        self.samples += 1;
        self.ticks += u64::from(sample.duration);
        self.durations.push(sample.duration);
        self.offsets.push(sample.composition_offset.cast_unsigned());
        self.sizes.extend_from_slice(&sample.size.to_be_bytes());
        if random_access {
            self.sync.extend_from_slice(&self.samples.to_be_bytes());
        }
    }

    /// Appends a fragment's pictures to the current chunk, of which only the first can be a random access point.
    pub(super) fn push_pictures(&mut self, samples: &[Sample], random_access: bool) {
        if random_access {
            self.sync.extend_from_slice(&(self.samples + 1).to_be_bytes());
        }
        self.samples += samples.len() as u32;
        self.ticks += samples.iter().map(|s| u64::from(s.duration)).sum::<u64>();
        samples.iter().for_each(|s| self.durations.push(s.duration));
        samples.iter().for_each(|s| self.offsets.push(s.composition_offset.cast_unsigned()));
        self.sizes.extend(samples.iter().flat_map(|s| s.size.to_be_bytes()));
    }

    /// Moves the end of the last sample to `ticks`. Where that is too early for it, the samples before it are cut too,
    /// each to one tick at the least.
    pub(super) fn end_at(&mut self, ticks: u64) {
        let mut shortest = 0u64;
        while self.ticks + shortest != ticks
            && let Some(duration) = self.durations.pop()
        {
            self.ticks -= u64::from(duration);
            let left = ticks.saturating_sub(self.ticks + shortest);
            if left > 0 {
                let duration = u32::try_from(left).unwrap_or(u32::MAX);
                self.durations.push(duration);
                self.ticks += u64::from(duration);
                break;
            }
            shortest += 1;
        }
        self.ticks += shortest;
        (0..shortest).for_each(|_| self.durations.push(1));
    }

    /// The same where no more than the last sample is cut; else the end stays where it is.
    pub(super) fn end_near(&mut self, ticks: u64) {
        let last = self.durations.last.map_or(0, |(_, duration)| u64::from(duration));
        if ticks != self.ticks && ticks > self.ticks.saturating_sub(last) {
            self.end_at(ticks);
        }
    }

    /// Samples before `first`, which no player should show, take next to no time: not every player knows edit lists.
    /// Gives where the first that is shown begins then. Pictures that are shown in another order than they are decoded in
    /// keep their times.
    pub(super) fn hide(&mut self, first: u64) -> u64 {
        if first == 0 || self.offsets.iter().any(|(_, offset)| offset != 0) {
            return first;
        }
        let (mut left, mut hidden, mut rest) = (first, 0u32, Runs::default());
        for (count, duration) in self.durations.iter() {
            let most = left.checked_div(duration.into()).unwrap_or(0);
            let taken = u32::try_from(most).unwrap_or(u32::MAX).min(count);
            left -= u64::from(taken) * u64::from(duration);
            hidden += taken;
            rest.extend(count - taken, duration);
        }
        // The start is where a sample begins; where it is not, all stays.
        if left != 0 || hidden == 0 {
            return first;
        }
        let mut durations = Runs::default();
        durations.extend(hidden - 1, 1);
        durations.extend(1, HIDDEN_LAST_TICKS);
        rest.iter().for_each(|(count, duration)| durations.extend(count, duration));
        self.durations = durations;
        let takes = u64::from(hidden - 1) + u64::from(HIDDEN_LAST_TICKS);
        self.ticks = self.ticks - first + takes;
        takes
    }

    /// Leaves out the samples that end at or before `first`, each of which can be decoded alone: they stay where they lie and
    /// are in no list. Gives how much time they took.
    pub(super) fn leave_out_before(&mut self, first: u64) -> u64 {
        let (mut gone, mut ticks, mut rest) = (0u32, 0u64, Runs::default());
        for (count, duration) in self.durations.iter() {
            let most = (first - ticks).checked_div(duration.into()).unwrap_or(0);
            let taken = if rest.last.is_some() { 0 } else { u32::try_from(most).unwrap_or(u32::MAX).min(count) };
            (gone, ticks) = (gone + taken, ticks + u64::from(taken) * u64::from(duration));
            rest.extend(count - taken, duration);
        }
        let mut left = gone;
        while let Some((run, next)) = self.chunk_runs.first().map(|run| (*run, self.chunk_runs.get(1).copied())) {
            let chunks = next.map_or(self.chunks.len() as u32 + 1, |next| next.first_chunk) - run.first_chunk;
            let whole = left.checked_div(run.samples).unwrap_or(0).min(chunks);
            left -= whole * run.samples;
            self.chunks.drain(..whole as usize);
            self.sizes.drain(..(whole * run.samples * 4) as usize);
            self.chunk_runs.iter_mut().skip(1).for_each(|run| run.first_chunk -= whole);
            if whole < chunks {
                self.cut_first_chunk(left, chunks - whole);
                break;
            }
            self.chunk_runs.remove(0);
        }
        self.samples -= gone;
        self.sync.truncate(self.samples as usize * 4);
        self.durations = rest;
        self.ticks -= ticks;
        ticks
    }

    /// Its first samples are in no list; `alike` chunks have as many as it had.
    fn cut_first_chunk(&mut self, samples: u32, alike: u32) {
        let (Some(run), Some(chunk)) = (self.chunk_runs.first_mut(), self.chunks.first_mut()) else { return };
        run.first_chunk = 1;
        if samples == 0 {
            return;
        }
        let (sizes, _) = self.sizes.as_chunks::<4>();
        *chunk += sizes.iter().take(samples as usize).map(|size| u64::from(u32::from_be_bytes(*size))).sum::<u64>();
        self.sizes.drain(..(samples * 4) as usize);
        let others = ChunkRun { first_chunk: 2, ..*run };
        run.samples -= samples;
        if alike > 1 {
            self.chunk_runs.insert(1, others);
        }
    }

    /// Not less than its boxes take.
    pub(super) fn encoded_bytes_max(&self) -> usize {
        let listed = self.durations.written.len() + self.offsets.written.len() + 16 + self.sizes.len();
        listed + self.small_bytes_max()
    }

    /// The same without the lists of durations, offsets and sizes.
    pub(super) fn small_bytes_max(&self) -> usize {
        let described: usize = self.descriptions.iter().map(Bytes::len).sum();
        2048 + self.chunk_runs.len() * 12 + self.sync.len() + self.chunks.len() * 8 + described
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(durations: &[u32]) -> TrackTable {
        let mut track = TrackTable::default();
        for &duration in durations {
            track.push(Sample { size: 1, duration, composition_offset: 0 }, true);
        }
        track
    }

    fn check(durations: &[u32], end: u64, expect: &[(u32, u32)]) {
        let mut track = track(durations);
        track.end_at(end);
        assert_eq!(track.durations.iter().collect::<Vec<_>>(), expect);
        assert_eq!(track.ticks, expect.iter().map(|&(n, d)| u64::from(n) * u64::from(d)).sum::<u64>());
    }

    #[test]
    fn the_last_sample_is_stretched_or_cut_to_the_wanted_end() {
        check(&[10, 10, 10], 30, &[(3, 10)]);
        check(&[10, 10, 10], 35, &[(2, 10), (1, 15)]);
        check(&[10, 10, 10], 25, &[(2, 10), (1, 5)]);
    }

    #[test]
    fn samples_that_do_not_fit_before_the_wanted_end_keep_one_tick() {
        check(&[10, 10, 10], 20, &[(1, 10), (1, 9), (1, 1)]);
        check(&[10, 10, 10], 5, &[(1, 3), (2, 1)]);
        check(&[10, 10, 10], 0, &[(3, 1)]);
        check(&[], 5, &[]);
    }

    #[test]
    fn samples_left_out_are_in_no_list_and_the_others_stay_where_they_lie() {
        let entry = Bytes::from_static(b"a");
        // Where each sample lies, its size and its duration.
        let listed = |track: &TrackTable| {
            let durations: Vec<u32> =
                track.durations.iter().flat_map(|(count, d)| std::iter::repeat_n(d, count as usize)).collect();
            let sizes: Vec<u32> = track.sizes.as_chunks::<4>().0.iter().map(|size| u32::from_be_bytes(*size)).collect();
            let mut places = Vec::new();
            for (number, &chunk) in (1..).zip(&track.chunks) {
                let run = track.chunk_runs.iter().rfind(|run| run.first_chunk <= number).unwrap();
                let mut at = chunk;
                for _ in 0..run.samples {
                    let n = places.len();
                    places.push((at, sizes[n], durations[n]));
                    at += u64::from(sizes[n]);
                }
            }
            assert_eq!((places.len(), durations.len(), track.sync.len() / 4), (sizes.len(), sizes.len(), sizes.len()));
            assert_eq!(track.ticks, durations.iter().map(|&d| u64::from(d)).sum::<u64>());
            assert_eq!(track.samples as usize, sizes.len());
            places
        };
        let whole = || {
            let mut track = TrackTable::default();
            for (n, samples) in [3u32, 3, 3, 2, 4].into_iter().enumerate() {
                track.begin_chunk(n as u64 * 1_000, samples as usize, &entry);
                for k in 0..samples {
                    track.push(Sample { size: 10 + k, duration: 100 + k % 2, composition_offset: 0 }, true);
                }
            }
            track
        };
        let all = listed(&whole());
        for first in 0..=all.len() {
            let at: u64 = all[..first].iter().map(|sample| u64::from(sample.2)).sum();
            for more in [0, 99] {
                let mut track = whole();
                assert_eq!(track.leave_out_before(at + more), at, "{first} samples");
                assert_eq!(listed(&track), all[first..], "{first} samples");
            }
        }
    }

    #[test]
    fn hidden_samples_take_next_to_no_time() {
        let check = |durations: &[u32], first: u64, hidden: u64, expect: &[(u32, u32)]| {
            let mut track = track(durations);
            assert_eq!(track.hide(first), hidden);
            assert_eq!(track.durations.iter().collect::<Vec<_>>(), expect);
            assert_eq!(track.ticks, expect.iter().map(|&(n, d)| u64::from(n) * u64::from(d)).sum::<u64>());
        };
        check(&[3_000, 3_000, 6_000, 3_000], 12_000, 902, &[(2, 1), (1, 900), (1, 3_000)]);
        check(&[3_000, 3_000], 3_000, 900, &[(1, 900), (1, 3_000)]);
        check(&[3_000, 3_000], 0, 0, &[(2, 3_000)]);
        check(&[3_000, 3_000], 3_001, 3_001, &[(2, 3_000)]);
        let mut reordered = track(&[3_000]);
        reordered.push(Sample { size: 1, duration: 3_000, composition_offset: 3_000 }, false);
        assert_eq!(reordered.hide(3_000), 3_000);
    }

    #[test]
    fn equal_descriptions_are_kept_once_and_chunks_of_one_shape_are_one_run() {
        let (a, b) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
        let mut track = TrackTable::default();
        for (at, entry) in [(0, &a), (10, &a), (20, &b), (30, &a)] {
            track.begin_chunk(at, 5, entry);
        }
        let runs: Vec<_> = track.chunk_runs.iter().map(|r| (r.first_chunk, r.samples, r.description)).collect();
        assert_eq!(runs, [(1, 5, 1), (3, 5, 2), (4, 5, 1)]);
        assert_eq!(track.descriptions, [a, b]);
    }
}
