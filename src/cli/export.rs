//! `vigie export`: footage to a file, beside a gateway that may be running.
//!
//! Invariant: the file that is named exists whole or not at all, and no other file is touched.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use footage::units::{CameraKey, TimeRange};
use futures::TryStreamExt;
use journal::entry::{Action, Author};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use vigie::config::Config;
use vigie::gateway;
use vigie::index::GapRow;
use vigie::journals::left::{self, Left};
use vigie::retrieve::holes::Hole;
use vigie::retrieve::labels::Labels;
use vigie::retrieve::mp4::{Clip, ClipRequest, Gaps};
use vigie::retrieve::{Footage, RetrieveError};

use super::{Export, Failure, range, show};

/// Longest text for the journal.
const TEXT_BYTES_MAX: usize = 2_000;

/// Writes the clip, or says why not; an interrupt removes what was written.
pub(super) async fn run(args: Export) -> Result<(), Failure> {
    tokio::select! {
        done = export(&args) => done,
        _ = tokio::signal::ctrl_c() => Err(Failure::Failed("interrupted: nothing was exported".into())),
    }
}

async fn export(args: &Export) -> Result<(), Failure> {
    let config = args.footage.config.load()?.config;
    let asked = range(&config, &args.footage.start, &args.footage.end)?;
    for (option, text) in [("--reason", &args.reason), ("--recipient", &args.recipient)] {
        if text.as_ref().is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(Failure::Usage(format!("{option} is longer than {TEXT_BYTES_MAX} bytes")));
        }
    }
    let draft = Draft::create(&args.out)?;
    let opened = gateway::open(&config, true).await.map_err(Failure::failed)?;
    let footage = Footage::new(opened.index, opened.packs, opened.clock);
    footage.label(Labels::of(&config));
    let gaps = if args.join_gaps { Gaps::Joined } else { Gaps::Held };
    let asked = ClipRequest { gaps, part: args.part, ..ClipRequest::of(asked) };
    let clip = Clip::checked(&footage, &args.footage.camera, &asked).await.map_err(|e| match e {
        RetrieveError::Invalid(what) => Failure::Usage(what),
        RetrieveError::SeveralParts { parts, .. } => {
            let each = (1..).zip(&parts).map(|(number, part)| format!("\n  --part {number}: {}", part.in_words()));
            Failure::Usage(format!(
                "no one decoder plays all of that: it is {} files{}",
                parts.len(),
                each.collect::<String>()
            ))
        }
        e => Failure::failed(e),
    })?;
    let mut rows = footage.index.gaps(&args.footage.camera, clip.covers()).await.map_err(Failure::failed)?;
    rows.retain(|gap| gap.end.is_some_and(|end| end > clip.covers().start()));
    let (mut body, path) = (clip.body(0..clip.len()), draft.path.clone());
    let mut draft = draft;
    while let Some(bytes) = body.try_next().await.map_err(Failure::failed)? {
        draft = write(draft, bytes).await?;
    }
    let range = journal::Span { from: clip.covers().start().to_timestamp(), to: clip.covers().end().to_timestamp() };
    let act = journal::Draft::new(Author::Operator, Action::Exported { bytes: clip.len() });
    let act = act.on(args.footage.camera.camera.clone(), Some(range));
    let act = journal::Draft { reason: args.reason.clone(), recipient: args.recipient.clone(), ..act };
    let left = Left { tenant: args.footage.camera.tenant.clone(), at: footage.clock.wall().to_timestamp(), draft: act };
    let journals = vigie::journals::folder(&config.data_dir);
    left::leave(&journals, &left).map_err(|e| at(&journals, e))?;
    let finish = tokio::task::spawn_blocking(move || draft.finish());
    finish.await.map_err(|e| at(&path, std::io::Error::other(e)))??;
    let inside = match asked.gaps {
        Gaps::Held => "gaps inside, over which the last picture before each stays",
        Gaps::Joined => "gaps inside, which take no time in the file",
    };
    show::print(&said(&config, &args.footage.camera, &clip, &args.out, (inside, &rows)))
}

/// Off the runtime's threads.
async fn write(mut draft: Draft, bytes: bytes::Bytes) -> Result<Draft, Failure> {
    let path = draft.path.clone();
    let written = tokio::task::spawn_blocking(move || {
        let outcome = draft.file.write_all(&bytes);
        outcome.map_err(|e| at(&draft.path, e)).map(|()| draft)
    });
    written.await.map_err(|e| at(&path, std::io::Error::other(e)))?
}

fn said(
    config: &Config,
    camera: &CameraKey,
    clip: &Arc<Clip>,
    out: &Path,
    (inside, gaps): (&str, &[GapRow]),
) -> String {
    let covers: TimeRange = clip.covers();
    let zone = &config.time_zone;
    let (start, end) = (show::time(zone, covers.start()), show::time(zone, covers.end()));
    let mut text = format!("{}: {camera}, {start} to {end}, {} bytes\n", out.display(), clip.len());
    if gaps.is_empty() {
        text.push_str("no gap inside\n");
    } else {
        text.push_str(&format!("{inside}:\n"));
        text.push_str(&show::table(&super::ls::gap_lines(zone, gaps)));
    }
    if !clip.holes().is_empty() {
        text.push_str(
            "on record and NOT in the file, because it is missing or damaged (`vigie fsck --repair` looks for it):\n",
        );
        for Hole { range, pack, why } in clip.holes() {
            let (start, end) = (show::time(zone, range.start()), show::time(zone, range.end()));
            text.push_str(&format!("  {start} to {end}: {} (pack {pack})\n", why.as_str()));
        }
    }
    text
}

fn at(path: &Path, e: std::io::Error) -> Failure {
    Failure::Failed(format!("{}: {e}", path.display()))
}

/// A file under another name until it is whole; removed when it does not become so.
struct Draft {
    file: File,
    path: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl Draft {
    fn create(target: &Path) -> Result<Self, Failure> {
        let name = target
            .file_name()
            .ok_or_else(|| Failure::Usage(format!("--out {}: name a file, not a folder", target.display())))?;
        if target.symlink_metadata().is_ok() {
            return Err(exists(target));
        }
        let mut draft = std::ffi::OsString::from(".");
        draft.push(name);
        draft.push(format!(".part-{}", std::process::id()));
        let path = target.with_file_name(draft);
        let file = File::options().write(true).create_new(true).open(&path).map_err(|e| at(&path, e))?;
        Ok(Self { file, path, target: target.to_owned(), finished: false })
    }

    /// Makes the bytes durable, then the name.
    fn finish(mut self) -> Result<(), Failure> {
        self.file.sync_all().map_err(|e| at(&self.path, e))?;
        match renameat_with(CWD, &self.path, CWD, &self.target, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(exists(&self.target)),
            // Some network file systems cannot refuse to replace: there, the look at the beginning has to do.
            Err(Errno::INVAL | Errno::NOSYS) => {
                std::fs::rename(&self.path, &self.target).map_err(|e| at(&self.target, e))?;
            }
            Err(e) => return Err(at(&self.target, e.into())),
        }
        self.finished = true;
        let folder = self.target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|f| f.sync_all()).map_err(|e| at(folder, e))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            // The failure that led here is what is reported.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn exists(target: &Path) -> Failure {
    Failure::Failed(format!("{} exists: name a file that does not", target.display()))
}
