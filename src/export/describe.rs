//! What a manifest says of a camera, and of the whole.

use evidence::manifest::{self, Camera, Clock, Gap, KnownWrong, Media, Offsets, Span, Verdict};
use evidence::names;

use super::job::Job;
use super::{ExportError, Exports};
use crate::hold::holes as holes_of;
use crate::retrieve::holes::Hole;
use crate::retrieve::mp4::{Clip, Part};
use crate::retrieve::timeline::{filled, missing};
use crate::retrieve::{FootageOf, signatures};
use footage::media::VideoCodec;
use footage::units::{CameraKey, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

/// What is neither covered nor explained is a gap from here on: what is shorter lies between the clocks of two runs.
const GAP_MIN: Ticks90k = Ticks90k(TICKS_PER_SECOND);
/// Stretches of one kind and camera: of more, no manifest is made.
const STRETCHES_MAX: usize = 100_000;

pub(super) fn span(range: TimeRange) -> Span {
    Span { from: range.start().to_timestamp(), to: range.end().to_timestamp() }
}

fn gap(range: TimeRange, cause: Option<&'static str>) -> Gap {
    let Span { from, to } = span(range);
    Gap { from, to, cause: cause.map(str::to_owned) }
}

/// What was found of a camera while its films were written.
#[derive(Debug, Default)]
pub(super) struct Found {
    covered: Vec<TimeRange>,
    holes: Vec<Hole>,
    offsets: Option<(Ticks90k, Ticks90k)>,
    verdicts: Vec<Verdict>,
    pub(super) earliest: Option<WallTime>,
}

impl Found {
    pub(super) fn film(&mut self, clip: &Clip) {
        self.covered.extend(&clip.facts().stretches);
        self.holes.extend(clip.holes().iter().cloned());
        let filmed = clip.pieces().filter_map(|(_, time)| time).map(|time| time.start());
        self.earliest = self.earliest.into_iter().chain(filmed).min();
        if let Some((least, most)) = clip.camera_clock() {
            let known = self.offsets.unwrap_or((least, most));
            self.offsets = Some((known.0.min(least), known.1.max(most)));
        }
    }

    pub(super) fn lost(&mut self, holes: Vec<Hole>) {
        self.holes.extend(holes);
    }

    fn covered(&self) -> Vec<TimeRange> {
        joined(self.covered.clone())
    }

    fn unreadable(&mut self) -> Vec<Gap> {
        self.holes.sort_by_key(|hole| (hole.range.start(), hole.range.end(), hole.pack));
        self.holes.dedup_by_key(|hole| (hole.range, hole.pack));
        self.holes.iter().map(|hole| gap(hole.range, Some(hole.why.as_str()))).collect()
    }
}

/// Those that do not overlap, in their order.
fn joined(mut ranges: Vec<TimeRange>) -> Vec<TimeRange> {
    ranges.sort_by_key(|range| (range.start(), range.end()));
    let mut joined: Vec<TimeRange> = Vec::new();
    for range in ranges {
        match joined.last_mut().filter(|last| last.end() >= range.start()) {
            Some(last) => *last = TimeRange::new(last.start(), last.end().max(range.end())).unwrap_or(*last),
            None => joined.push(range),
        }
    }
    joined
}

/// What of a range is not in the films, with what is known of why. Footage that was destroyed since it was written is no gap; what nobody
/// explains is one.
fn gaps_of(
    range: TimeRange,
    known: Vec<(TimeRange, Option<&'static str>)>,
    covered: &[TimeRange],
    holes: &[Hole],
) -> Vec<Gap> {
    let within = known.into_iter().filter_map(|(gap, cause)| Some((gap.intersection(&range)?, cause)));
    let open = within.flat_map(|(gap, cause)| holes_of(gap, covered).into_iter().map(move |part| (part, cause)));
    let mut gaps: Vec<_> = open.collect();
    let said = gaps.iter().map(|(gap, _)| *gap).chain(holes.iter().map(|hole| hole.range));
    let explained = joined(covered.iter().copied().chain(said).collect());
    let rest = holes_of(range, &explained).into_iter().filter(|rest| rest.duration() >= GAP_MIN);
    gaps.extend(rest.map(|rest| (rest, None)));
    gaps.sort_by_key(|(gap, _)| (gap.start(), gap.end()));
    gaps.into_iter().map(|(of, cause)| gap(of, cause)).collect()
}

/// A film, as the manifest lists it under this name.
pub(super) fn media(camera: &CameraKey, part: &Part, name: &str) -> Media {
    Media {
        camera: camera.camera.to_string(),
        covers: span(part.covers),
        codec: match part.codec {
            VideoCodec::H264 => "h264".to_owned(),
            VideoCodec::H265 => "h265".to_owned(),
        },
        codecs: part.rfc6381.clone(),
        width: part.size.0,
        height: part.size.1,
        stretches: part.stretches.iter().copied().map(span).collect(),
        pieces: names::pieces_of(name),
    }
}

impl Exports {
    /// What the camera's own signatures say of an hour, where it signs.
    pub(super) async fn verdicts(&self, camera: &CameraKey, of: FootageOf, hour: TimeRange, found: &mut Found) {
        let footage = self.footage();
        let signs = footage.index.certificate_sei(camera, hour.end()).await;
        if !signs.is_ok_and(|sei| sei.is_some()) {
            return;
        }
        let verdict = |from: WallTime, to: WallTime, verdict: &str| Verdict {
            from: from.to_timestamp(),
            to: to.to_timestamp(),
            verdict: verdict.to_owned(),
        };
        // Copies of a hold begin and end at groups of pictures, which breaks the chain of signatures at each.
        let report = match of {
            FootageOf::Timeline => signatures::verdict(footage, camera, hour).await.ok(),
            FootageOf::Hold(_) | FootageOf::Run(_) => None,
        };
        match report {
            Some(report) => {
                let of = report.stretches.iter().map(|of| verdict(of.start, of.last, of.verdict.as_str()));
                found.verdicts.extend(of);
            }
            None => found.verdicts.push(verdict(hour.start(), hour.end(), "not_checked")),
        }
    }

    /// What the manifest says of a camera.
    pub(super) async fn camera(
        &self,
        job: &Job,
        key: &CameraKey,
        of: FootageOf,
        mut found: Found,
    ) -> Result<Camera, ExportError> {
        let (footage, range) = (self.footage(), job.range().ok_or(ExportError::Gone)?);
        let row = footage.index.camera(key).await?.ok_or(ExportError::Gone)?;
        let known = match of {
            FootageOf::Hold(hold) => {
                let state = self.holds().get(&key.tenant, hold).await?;
                state.absent.iter().map(|absent| (absent.range, Some(absent.why.as_str()))).collect()
            }
            FootageOf::Timeline | FootageOf::Run(_) => {
                let missing = missing(footage, key, range).await?;
                missing.into_iter().map(|of| (of.range, of.cause.map(|cause| cause.as_str()))).collect()
            }
        };
        let covered = found.covered();
        let gaps = gaps_of(range, known, &covered, &found.holes);
        let wrong = footage.index.misdated(key).await?.into_iter().filter_map(|run| {
            let Span { from, to } = span(run.range.intersection(&range)?);
            Some(KnownWrong { from, to, error_ms: run.error.0 / 90 })
        });
        let ms = |offset: Ticks90k| offset.0.div_euclid(90);
        let camera = Camera {
            camera: key.camera.to_string(),
            name: row.name,
            place: row.place,
            covered: covered.into_iter().map(span).collect(),
            gaps,
            unreadable: found.unreadable(),
            filled: filled(footage, key, of, range).await?.into_iter().map(span).collect(),
            clock: Clock {
                source: "gateway".to_owned(),
                camera_offset_ms: found.offsets.map(|(least, most)| Offsets { least: ms(least), most: ms(most) }),
                known_wrong: wrong.collect(),
            },
            signatures: found.verdicts,
        };
        let most = camera.covered.len().max(camera.gaps.len()).max(camera.unreadable.len());
        match most > STRETCHES_MAX {
            true => Err(ExportError::Invalid(format!("more than {STRETCHES_MAX} stretches: export a shorter range"))),
            false => Ok(camera),
        }
    }

    /// What was asked, in the manifest's words.
    pub(super) async fn asked(&self, job: &Job) -> Result<manifest::Asked, ExportError> {
        let labels = self.footage().labels();
        let hold = match job.hold {
            None => None,
            Some(id) => {
                let row = self.footage().index.hold(&job.tenant, id).await?.ok_or(ExportError::Gone)?;
                Some(manifest::Hold {
                    id: id.to_string(),
                    reference: row.facts.reference,
                    requester: row.facts.requester,
                    placed: row.facts.placed.to_timestamp(),
                })
            }
        };
        Ok(manifest::Asked {
            tenant: job.tenant.to_string(),
            authority: labels.authorities.get(&job.tenant).cloned().unwrap_or_else(|| job.tenant.to_string()),
            time_zone: labels.zone_name().to_owned(),
            range: span(job.range().ok_or(ExportError::Gone)?),
            cameras: job.cameras.iter().map(|of| of.camera.to_string()).collect(),
            hold,
            reference: job.reference.clone(),
            reason: job.reason.clone(),
            recipient: job.recipient.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(start: i64, end: i64) -> TimeRange {
        TimeRange::new(WallTime(start * TICKS_PER_SECOND), WallTime(end * TICKS_PER_SECOND)).unwrap()
    }

    #[test]
    fn what_is_in_the_films_is_no_gap_and_what_nobody_explains_is_one() {
        let known = vec![(between(-5, 10), Some("silent")), (between(30, 50), None)];
        // From 35 on it was destroyed after it was written; from 60 on nothing is known.
        let covered = joined(vec![between(20, 30), between(10, 25), between(35, 60)]);
        assert_eq!(covered, [between(10, 30), between(35, 60)]);
        let gaps = gaps_of(between(0, 100), known, &covered, &[]);
        let expect = [gap(between(0, 10), Some("silent")), gap(between(30, 35), None), gap(between(60, 100), None)];
        assert_eq!(gaps, expect);
    }

    #[test]
    fn what_cannot_be_read_is_said_once() {
        let why = crate::archive::readable::Unreadable::Damaged;
        let hole = Hole { range: between(4, 8), pack: footage::units::PackId([1; 16]), why };
        assert_eq!(gaps_of(between(0, 10), Vec::new(), &[between(0, 4), between(8, 10)], &[hole]), []);
    }
}
