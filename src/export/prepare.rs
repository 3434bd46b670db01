//! Prepares a package: hour by hour and camera by camera, each film read once, paced, in bounded memory.

use std::fs::File as DiskFile;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use evidence::manifest::{Camera, FORMAT, File, Manifest, Ordered, Signed, Software, TimeStamp, VERSION};
use evidence::pieces::Hasher;
use evidence::sign::GatewayKey;
use evidence::write::{Writer, Written};
use evidence::{names, zip};
use futures::TryStreamExt;
use journal::Entry;
use tracing::warn;

use super::describe::{Found, media, span};
use super::job::{Folder, Job, Package, Place};
use super::sink::{Pace, Sink};
use super::{ExportError, Exports};
use crate::retrieve::mp4::{self, Clip, ClipRequest, Part};
use crate::retrieve::{FootageOf, RetrieveError};
use footage::platform;
use footage::units::{CameraId, CameraKey, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

/// A film covers at most so much: it fits every file system, and its layout in memory.
const FILM_MAX: Ticks90k = Ticks90k(3_600 * TICKS_PER_SECOND);
/// What is found damaged while it is written is left out of the next attempt.
const ATTEMPTS_MAX: u32 = 3;
/// What a person needs to read first, in both languages.
const README: &str = include_str!("readme.txt");

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Of the time asked for, of all cameras, in ticks.
    done: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    fn reset(&self) {
        self.done.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// In percent; the last one comes with the package.
    pub(super) fn percent(&self, job: &Job) -> u8 {
        let asked = job.range().map_or(0, |range| range.duration().0.unsigned_abs());
        let all = u128::from(asked) * job.cameras.len() as u128;
        let done = u128::from(self.done.load(Ordering::Relaxed)) * 100;
        done.checked_div(all).map_or(0, |percent| percent.min(99) as u8)
    }
}

impl Exports {
    /// Writes the package under its draft's name.
    pub(super) async fn prepare(&self, job: &Job, progress: &Progress) -> Result<Package, ExportError> {
        progress.reset();
        let folder = Folder::of(self.root(), &job.tenant, job.id);
        let file = blocking(move || {
            folder.clear()?;
            // Footage in the clear, whatever the store does: its owner's alone.
            DiskFile::options().read(true).write(true).create_new(true).mode(0o600).open(folder.draft())
        });
        let file = file.await?;
        let mut sink = Sink::new(file.try_clone()?, Pace::new(self.settings().bytes_per_second_max));
        let of = FootageOf::from(job);
        let (mut cameras, mut earliest) = (Vec::new(), None);
        for key in job.keys() {
            let mut found = Found::default();
            for hour in hours(job.range().ok_or(ExportError::Gone)?) {
                self.films(&mut sink, (&key, of, hour), &mut found, progress).await?;
                self.verdicts(&key, of, hour, &mut found).await;
                progress.done.fetch_add(hour.duration().0.unsigned_abs(), Ordering::Relaxed);
            }
            earliest = earliest.into_iter().chain(found.earliest).min();
            cameras.push(self.camera(job, &key, of, found).await?);
        }
        let key = self.key(&job.tenant);
        let fingerprint = key.fingerprint();
        let (written, sha256) = self.seal(job, sink, file, (key, cameras)).await?;
        let places = places(&written);
        let (bytes, manifest) = (written.bytes, written.manifest);
        progress.bytes.store(bytes, Ordering::Relaxed);
        Ok(Package { bytes, sha256, manifest, key: fingerprint, at: self.now().to_timestamp(), earliest, places })
    }

    /// Adds what proves and signs, and reads all of it back: the SHA-256 of the whole.
    async fn seal(
        &self,
        job: &Job,
        mut sink: Sink,
        file: DiskFile,
        (key, cameras): (GatewayKey, Vec<Camera>),
    ) -> Result<(Written, String), ExportError> {
        let (proven, keys) = self.journals().prove(&job.tenant, job.entry).await?;
        let entry = Entry::decode(&proven.line).map_err(|error| ExportError::Internal(error.to_string()))?;
        let signers = Arc::new((key, self.settings().authority.clone()));
        let by = signers.clone();
        let files = sink.with(move |writer| {
            writer.add(names::ENTRY, &proven.line)?;
            writer.add(names::PROOF, &proven.proof)?;
            writer.add(names::README, README.as_bytes())?;
            writer.add_keys(&by.0, by.1.as_deref())
        });
        let files = files.await?;
        let mut manifest = Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            export: job.id.to_string(),
            made: self.now().to_timestamp(),
            software: Software { name: "vigie".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
            asked: self.asked(job).await?,
            ordered: Ordered { by: entry.draft.author, at: entry.at, entry: job.entry },
            cameras,
            files,
            signed: Signed {
                gateway: signers.0.fingerprint(),
                authority: signers.1.as_ref().map(|of| of.fingerprint()),
                journal: keys,
            },
            time_stamp: TimeStamp::None,
        };
        let stamp = self.stamped(&mut manifest).await?;
        let end = move |writer: Writer| writer.finish(&manifest, (&signers.0, signers.1.as_deref()), stamp.as_deref());
        Ok(sink.finish(file, end).await?)
    }

    /// The authority's time stamp, where one is configured; the manifest says what came of it.
    async fn stamped(&self, manifest: &mut Manifest) -> Result<Option<Vec<u8>>, ExportError> {
        if !self.journals().has_authority() {
            return Ok(None);
        }
        manifest.time_stamp = TimeStamp::Present;
        let encoded = manifest.encode().map_err(|error| ExportError::Internal(error.to_string()))?;
        let stamp = self.journals().time_stamp(&encoded).await;
        if stamp.is_none() {
            manifest.time_stamp = TimeStamp::Missing;
        }
        Ok(stamp)
    }

    /// The films of one camera and hour: one for each stretch that one decoder plays.
    async fn films(
        &self,
        sink: &mut Sink,
        (key, from, hour): (&CameraKey, FootageOf, TimeRange),
        found: &mut Found,
        progress: &Progress,
    ) -> Result<(), ExportError> {
        let asked = ClipRequest { from, ..ClipRequest::of(hour) };
        let parts = match mp4::parts(self.footage(), key, &asked).await {
            Ok((parts, holes)) => {
                found.lost(holes);
                parts
            }
            Err(RetrieveError::NoFootage { .. }) => return Ok(()),
            Err(RetrieveError::Lost { holes, .. }) => {
                found.lost(holes);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for (number, part) in (1..).zip(parts) {
            let asked = ClipRequest { part: Some(number), ..asked };
            self.film(sink, (key, &asked, &part), found, progress).await?;
        }
        Ok(())
    }

    async fn film(
        &self,
        sink: &mut Sink,
        (key, asked, part): (&CameraKey, &ClipRequest, &Part),
        found: &mut Found,
        progress: &Progress,
    ) -> Result<(), ExportError> {
        for attempt in 1.. {
            let laid = match attempt {
                1 => Clip::to_keep(self.footage(), key, asked).await,
                // All of it is read before: what cannot be read is left out.
                _ => Clip::checked(self.footage(), key, asked).await,
            };
            let clip = match laid {
                // Where none of the part can be read, its number is the next one's.
                Ok(clip) if clip.covers().intersection(&part.covers).is_none() => break,
                Ok(clip) => clip,
                Err(RetrieveError::NoFootage { .. } | RetrieveError::Invalid(_)) => break,
                Err(RetrieveError::Lost { holes, .. }) => {
                    found.lost(holes);
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            self.leave_room(&key.tenant, progress.bytes() + clip.len(), clip.len()).await?;
            match self.write(sink, (key, asked, &clip)).await {
                Ok(()) => {
                    progress.bytes.fetch_add(clip.len(), Ordering::Relaxed);
                    found.film(&clip);
                    break;
                }
                Err(ExportError::Retrieve(error)) if attempt < ATTEMPTS_MAX => {
                    warn!(%error, camera = %key, "a film of an export broke off, and is written again");
                    sink.abandon().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        sink: &mut Sink,
        (key, asked, clip): (&CameraKey, &ClipRequest, &Arc<Clip>),
    ) -> Result<(), ExportError> {
        let labels = self.footage().labels();
        let [start, end] = [clip.covers().start(), clip.covers().end()].map(|at| labels.compact(at));
        let number = asked.part.unwrap_or(1);
        let name = format!("video/{0}/{0}_{start}_{end}_{number}.mp4", key.camera);
        let begun = name.clone();
        sink.with(move |writer| writer.begin(&begun)).await?;
        let mut hasher = Hasher::new(clip.pieces().map(|(bytes, time)| (bytes, time.map(span))));
        let mut body = clip.body(0..clip.len());
        let other = |error: evidence::pieces::OtherLength| ExportError::Internal(error.to_string());
        while let Some(bytes) = body.try_next().await? {
            hasher.update(&bytes).map_err(other)?;
            sink.write(&bytes).await?;
        }
        sink.flush().await?;
        let (lines, media) = (hasher.finish().map_err(other)?, media(key, clip.facts(), &name));
        sink.with(move |writer| {
            writer.end(Some(media))?;
            writer.add(&names::pieces_of(&name), &lines)
        })
        .await?;
        Ok(())
    }
}

/// Where the films lie.
fn places(written: &Written) -> Vec<Place> {
    let place = |(entry, file): &(zip::Entry, File)| {
        let media = file.media.as_ref()?;
        let camera: CameraId = media.camera.parse().ok()?;
        let [start, end] = [media.covers.from, media.covers.to].map(WallTime::from_timestamp);
        Some(Place { from: entry.data_at(), to: entry.end(), camera, start, end })
    };
    written.entries.iter().filter_map(place).collect()
}

/// A range in stretches of an hour at most.
fn hours(range: TimeRange) -> Vec<TimeRange> {
    let mut hours = Vec::new();
    let mut from = range.start();
    while let Some(hour) = TimeRange::new(from, from.saturating_add(FILM_MAX).min(range.end())) {
        hours.push(hour);
        from = hour.end();
    }
    hours
}

/// In a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, ExportError> {
    let done = platform::spawn_blocking(work).await;
    Ok(done.map_err(|_| std::io::Error::other("the work on it ended badly"))??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_covered_by_its_hours_without_a_gap() {
        let at = |minute: i64| WallTime(minute * 60 * TICKS_PER_SECOND);
        let hours = hours(TimeRange::new(at(10), at(150)).unwrap());
        let minutes: Vec<_> = hours.iter().map(|hour| hour.duration().0 / 60 / TICKS_PER_SECOND).collect();
        assert_eq!(minutes, [60, 60, 20]);
        assert!(hours.windows(2).all(|pair| pair[0].end() == pair[1].start()));
        assert_eq!((hours[0].start(), hours[2].end()), (at(10), at(150)));
    }
}
