//! The commands that read footage beside a gateway: `vigie export`, `vigie ls`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use vigie::config::Config;
use vigie::gateway;
use vigie::retrieve::mp4::Clip;
use vigie::retrieve::{Footage, timeline};
use vigie::units::{CameraKey, Ticks90k, TimeRange, WallTime};

use super::{Export, Failure, Ls};

/// What `ls` shows of a camera unless a range is given.
const LAST: Ticks90k = Ticks90k(24 * 3_600 * 90_000);

async fn footage(config: &Config) -> Result<Footage, Failure> {
    let opened = gateway::open(config, true).await.map_err(Failure::failed)?;
    Ok(Footage::new(opened.index, opened.packs, opened.clock))
}

fn range(config: &Config, start: &str, end: &str) -> Result<TimeRange, Failure> {
    let instant = |text: &str| config.instant(text).map_err(|e| Failure::Usage(e.to_string()));
    let usage = || Failure::Usage(format!("--start {start} is not before --end {end}"));
    TimeRange::new(instant(start)?, instant(end)?).ok_or_else(usage)
}

pub(super) fn export(args: &Export) -> Result<(), Failure> {
    let config = args.config.load()?.config;
    let range = range(&config, &args.start, &args.end)?;
    if args.out.exists() {
        return Err(Failure::Usage(format!("{} exists: nothing is overwritten", args.out.display())));
    }
    super::block_on(async {
        let footage = footage(&config).await?;
        let clip = Clip::new(&footage, &args.camera, range).await.map_err(Failure::failed)?;
        let draft = Draft::create(&args.out).map_err(Failure::failed)?;
        write(&clip, &draft).await?;
        draft.publish(&args.out).map_err(Failure::failed)?;
        let gaps = footage.index.gaps(&args.camera, clip.covers()).await.map_err(Failure::failed)?;
        let covers = clip.covers();
        say(&format!(
            "{}: {} bytes, {} from {} to {}, {} gaps inside\n",
            args.out.display(),
            clip.len(),
            args.camera,
            local(&config, covers.start()),
            local(&config, covers.end()),
            gaps.len(),
        ))
    })
}

async fn write(clip: &Arc<Clip>, draft: &Draft) -> Result<(), Failure> {
    let mut file = &draft.file;
    let mut body = clip.body(0..clip.len());
    while let Some(bytes) = body.try_next().await.map_err(Failure::failed)? {
        file.write_all(&bytes).map_err(Failure::failed)?;
    }
    file.sync_all().map_err(Failure::failed)
}

/// A file that has its name only once it is whole.
struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    fn create(target: &Path) -> std::io::Result<Self> {
        let mut name = target.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let file = File::create_new(&path)?;
        Ok(Self { path, file })
    }

    fn publish(self, target: &Path) -> std::io::Result<()> {
        // Unlike a rename, a link does not overwrite.
        std::fs::hard_link(&self.path, target)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // A name left behind is an untidiness only: the footage is in the store.
        let _ = std::fs::remove_file(&self.path);
    }
}

pub(super) fn ls(args: &Ls) -> Result<(), Failure> {
    let config = args.config.load()?.config;
    super::block_on(async {
        let footage = footage(&config).await?;
        match &args.camera {
            None => list_cameras(&config, &footage).await,
            Some(camera) => {
                let asked = match (&args.start, &args.end) {
                    (Some(start), Some(end)) => Some(range(&config, start, end)?),
                    _ => last_day(&footage, camera).await?,
                };
                match asked {
                    Some(asked) => list_footage(&config, &footage, camera, asked).await,
                    None => say(&format!("{camera} has no footage\n")),
                }
            }
        }
    })
}

async fn list_cameras(config: &Config, footage: &Footage) -> Result<(), Failure> {
    let mut out = String::new();
    for camera in footage.index.all_cameras().await.map_err(Failure::failed)? {
        let extent = footage.index.extent(&camera.key).await.map_err(Failure::failed)?;
        let from_to = extent.map_or_else(
            || "no footage".to_owned(),
            |extent| format!("{} to {}", local(config, extent.start()), local(config, extent.end())),
        );
        let removed = if camera.configured { "" } else { " (no longer configured)" };
        out.push_str(&format!("{}\t{}\t{}\t{from_to}{removed}\n", camera.key, camera.name, camera.place));
    }
    say(&out)
}

async fn last_day(footage: &Footage, camera: &CameraKey) -> Result<Option<TimeRange>, Failure> {
    let extent = footage.index.extent(camera).await.map_err(Failure::failed)?;
    Ok(extent.and_then(|extent| TimeRange::new(extent.start().max(extent.end().saturating_sub(LAST)), extent.end())))
}

async fn list_footage(config: &Config, footage: &Footage, camera: &CameraKey, asked: TimeRange) -> Result<(), Failure> {
    let found = timeline::timeline(footage, camera, asked, Ticks90k::ZERO).await.map_err(Failure::failed)?;
    let shown = |text: &str| text.parse().map_or_else(|_| text.to_owned(), |at| local(config, at));
    let footage = found
        .coverage
        .iter()
        .map(|span| (&span.start, format!("footage\t{}\t{}", shown(&span.start), shown(&span.end))));
    let gaps = found.gaps.iter().map(|gap| {
        let end = gap.end.as_deref().map_or_else(|| "now".to_owned(), shown);
        let lost = if gap.lost_packets > 0 { format!(", {} packets", gap.lost_packets) } else { String::new() };
        (&gap.start, format!("gap\t{}\t{end}\t{}{lost}", shown(&gap.start), gap.cause))
    });
    let mut lines: Vec<_> = footage.chain(gaps).collect();
    lines.sort();
    let mut out = lines.into_iter().fold(String::new(), |out, (_, line)| out + &line + "\n");
    out.push_str(&format!(
        "{:.1} s of {:.1} s covered\n",
        found.covered_ms as f64 / 1e3,
        asked.duration().as_seconds_f64()
    ));
    say(&out)
}

fn local(config: &Config, at: WallTime) -> String {
    let zoned = at.to_timestamp().to_zoned_datetime(config.time_zone.clone());
    zoned.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

fn say(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Failure::failed)
}
