//! `vigie demo`.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Demo, Failure};

pub(super) fn run(args: &Demo) -> Result<(), Failure> {
    let scratch = match &args.data_dir {
        Some(_) => None,
        None => Some(Scratch::create().map_err(Failure::failed)?),
    };
    let data_dir: PathBuf = match (&args.data_dir, &scratch) {
        (Some(dir), _) => std::path::absolute(dir).map_err(Failure::failed)?,
        (None, Some(scratch)) => scratch.0.clone(),
        (None, None) => PathBuf::new(),
    };
    super::block_on(async {
        let demo = vigie::demo::Demo::start(args.listen, &data_dir).await.map_err(Failure::failed)?;
        show(&demo, &data_dir).map_err(Failure::failed)?;
        super::run::until_stop_requested().await.map_err(Failure::failed)?;
        demo.stop().await;
        Ok(())
    })
}

fn show(demo: &vigie::demo::Demo, data_dir: &Path) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "A simulated camera is being recorded into {}", data_dir.display())?;
    writeln!(out, "Open http://{}/   (Ctrl-C ends it)", demo.gateway.address())?;
    out.flush()
}

/// A folder of the demonstration's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn create() -> std::io::Result<Self> {
        let dir = std::env::temp_dir().join(format!("vigie-demo-{}", std::process::id()));
        std::fs::create_dir(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed from a temporary folder goes with it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
