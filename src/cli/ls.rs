//! `vigie ls`: what there is, beside a gateway that may be running.

use footage::failure::Kind;
use footage::units::{CameraKey, TICKS_PER_DAY, Ticks90k, TimeRange};
use jiff::tz::TimeZone;
use vigie::gateway::{self, Opened};
use vigie::index::clock::MisdatedRun;
use vigie::index::{CameraRow, GapRow};

use super::{Failure, Ls, range, show};

const DAY: Ticks90k = Ticks90k(TICKS_PER_DAY);

/// Prints the cameras, or one of them.
pub(super) async fn run(args: Ls) -> Result<(), Failure> {
    let config = args.config.load()?.config;
    let asked = args.start.as_deref().zip(args.end.as_deref());
    let asked = asked.map(|(start, end)| range(&config, start, end)).transpose()?;
    let opened = gateway::open(&config, true).await.map_err(Failure::failed)?;
    let text = match &args.camera {
        None => cameras(&opened, &config.time_zone).await?,
        Some(camera) => one_camera(&opened, &config.time_zone, camera, asked).await?,
    };
    show::print(&text)
}

async fn cameras(opened: &Opened, zone: &TimeZone) -> Result<String, Failure> {
    let head = ["camera", "first footage", "last footage", "name", "place", ""].map(str::to_owned);
    let mut rows = vec![head];
    for CameraRow { key, name, place, configured, .. } in opened.index.all_cameras().await.map_err(Failure::failed)? {
        let extent = opened.index.extent(&key).await.map_err(Failure::failed)?;
        let shown = |bound: fn(&TimeRange) -> _| extent.map_or_else(|| "-".to_owned(), |e| show::time(zone, bound(&e)));
        let (first, last) = (shown(TimeRange::start), shown(TimeRange::end));
        let note = if configured { "" } else { "no longer configured" };
        rows.push([key.to_string(), first, last, name, place, note.to_owned()]);
    }
    Ok(show::table(&rows))
}

async fn one_camera(
    opened: &Opened,
    zone: &TimeZone,
    key: &CameraKey,
    asked: Option<TimeRange>,
) -> Result<String, Failure> {
    let index = &opened.index;
    let camera = index.camera(key).await.map_err(Failure::failed)?;
    let camera =
        camera.ok_or_else(|| Failure::Of(Kind::NotFound, format!("no camera {key}: `vigie ls` lists them")))?;
    let mut text = format!("{key}  {}  {}\n", camera.name, camera.place);
    let extent = index.extent(key).await.map_err(Failure::failed)?;
    let Some(range) = asked.or_else(|| extent.and_then(|extent| last_day(opened, extent))) else {
        text.push_str("no footage\n");
        return Ok(text);
    };
    let spans = index.spans(key, range).await.map_err(Failure::failed)?;
    let gaps = index.gaps(key, range).await.map_err(Failure::failed)?;
    let covered = joined(spans.iter().filter_map(|span| span.intersection(&range)));
    text.push_str(if covered.is_empty() { "no footage\n" } else { "footage\n" });
    let line = |span: &TimeRange| {
        [show::time(zone, span.start()), show::time(zone, span.end()), show::duration(span.duration())]
    };
    text.push_str(&show::table(&covered.iter().map(line).collect::<Vec<_>>()));
    text.push_str(if gaps.is_empty() { "no gaps\n" } else { "gaps\n" });
    text.push_str(&show::table(&gap_lines(zone, &gaps)));
    let edge = index.edge_spans(key, range).await.map_err(Failure::failed)?;
    let edge = joined(edge.iter().filter_map(|span| span.intersection(&range)));
    if !edge.is_empty() {
        text.push_str("of the footage, recorded by the camera itself and fetched after a cut\n");
        text.push_str(&show::table(&edge.iter().map(line).collect::<Vec<_>>()));
    }
    let misdated = index.misdated(key).await.map_err(Failure::failed)?;
    let asked = |run: &&MisdatedRun| run.range.intersection(&range).is_some();
    let misdated: Vec<[String; 4]> = misdated.iter().filter(asked).map(|run| misdated_line(zone, run)).collect();
    if !misdated.is_empty() {
        text.push_str("wrong times: the gateway's clock was set later\n");
        text.push_str(&show::table(&misdated));
    }
    Ok(text)
}

fn misdated_line(zone: &TimeZone, run: &MisdatedRun) -> [String; 4] {
    let (start, end) = (run.range.start(), run.range.end());
    let (by, word) = (Ticks90k(run.error.0.abs()), if run.error.0 > 0 { "late" } else { "early" });
    let filmed = show::time(zone, start.saturating_sub(run.error));
    let error = format!("{} too {word}: filmed from {filmed} on", show::duration(by));
    [show::time(zone, start), show::time(zone, end), error, format!("run {}", run.run)]
}

/// The last day with footage, and what followed it.
fn last_day(opened: &Opened, extent: TimeRange) -> Option<TimeRange> {
    let after = extent.end().saturating_add(Ticks90k(1));
    TimeRange::new(extent.end().saturating_sub(DAY), opened.clock.wall().max(after))
}

/// Touching and overlapping stretches as one.
fn joined(spans: impl Iterator<Item = TimeRange>) -> Vec<TimeRange> {
    let mut out: Vec<TimeRange> = Vec::new();
    for span in spans {
        match out.last_mut() {
            Some(last) if span.start() <= last.end() => {
                *last = TimeRange::new(last.start(), last.end().max(span.end())).unwrap_or(*last);
            }
            _ => out.push(span),
        }
    }
    out
}

/// Gaps with their causes, a line each.
pub(super) fn gap_lines(zone: &TimeZone, gaps: &[GapRow]) -> Vec<[String; 5]> {
    let line = |gap: &GapRow| {
        let end = gap.end.map_or_else(|| "lasts".to_owned(), |end| show::time(zone, end));
        let length = gap.end.map_or_else(String::new, |end| show::duration(end.since(gap.start)));
        let lost = if gap.lost_packets > 0 { format!("{} packets lost", gap.lost_packets) } else { String::new() };
        [show::time(zone, gap.start), end, length, gap.cause.to_string(), lost]
    };
    gaps.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use footage::units::WallTime;

    #[test]
    fn touching_segments_are_one_stretch() {
        let range = |(start, end)| TimeRange::new(WallTime(start), WallTime(end)).unwrap();
        let check = |spans: &[(i64, i64)], expect: &[(i64, i64)]| {
            assert_eq!(joined(spans.iter().copied().map(range)), expect.iter().copied().map(range).collect::<Vec<_>>());
        };
        check(&[], &[]);
        check(&[(0, 5), (5, 9), (10, 11)], &[(0, 9), (10, 11)]);
        check(&[(0, 9), (2, 3), (8, 10)], &[(0, 10)]);
    }
}
