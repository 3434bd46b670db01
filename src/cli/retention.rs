//! `vigie retention`: bounds of retention that wait, what they destroy, and their confirmation. Beside a gateway that may be
//! running.

use std::fmt::Write as _;

use clap::Subcommand;
use footage::units::{CameraKey, Ticks90k, WallTime};
use vigie::config::Config;
use vigie::gateway;
use vigie::index::policy::{Extent, Pending};
use vigie::index::{Index, IndexError};
use vigie::policy::due_until;
use vigie::retention::confirm;

use super::{ConfigArg, Failure, show};

/// What to do with bounds that wait.
#[derive(Debug, Subcommand)]
pub(crate) enum Retention {
    /// List bounds that wait, when they take effect, and what they destroy
    Show(ConfigArg),
    /// Let bounds that wait take effect with the gateway's next sweep
    Confirm {
        /// Cameras, as tenant/camera
        #[arg(required_unless_present = "all", value_name = "TENANT/CAMERA")]
        cameras: Vec<CameraKey>,
        /// Those of every camera
        #[arg(long, conflicts_with = "cameras")]
        all: bool,
        #[command(flatten)]
        config: ConfigArg,
    },
}

pub(super) async fn run(command: Retention) -> Result<(), Failure> {
    match command {
        Retention::Show(args) => {
            let config = args.load()?.config;
            let index = gateway::open(&config, true).await.map_err(Failure::failed)?.index;
            let text = shown(&config, &index).await.map_err(Failure::failed)?;
            show::print(if text.is_empty() { "no bounds wait\n" } else { &text })
        }
        Retention::Confirm { cameras, all, config } => {
            let config = config.load()?.config;
            let index = gateway::open(&config, true).await.map_err(Failure::failed)?.index;
            let pending = index.pending_policies().await.map_err(Failure::failed)?;
            if let Some(none) = cameras.iter().find(|camera| !pending.iter().any(|of| of.camera == **camera)) {
                return Err(Failure::Usage(format!("no bounds of camera {none} wait")));
            }
            let confirmed: Vec<_> =
                pending.iter().filter(|of| all || cameras.contains(&of.camera)).map(Into::into).collect();
            confirm::leave(&confirm::file(&config.data_dir), &confirmed).map_err(Failure::failed)?;
            let text = format!("{} confirmed: they take effect with the gateway's next sweep\n", confirmed.len());
            show::print(&text)
        }
    }
}

/// A line for each bound that waits.
pub(super) async fn shown(config: &Config, index: &Index) -> Result<String, IndexError> {
    let mut text = String::new();
    for Pending { camera, retention_max, at, .. } in index.pending_policies().await? {
        let goes = destroyed_by(config, index, &camera, retention_max, at).await?;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{camera}: at most {} h from {at} on: {}", hours(retention_max), what(goes));
    }
    Ok(text)
}

/// What there is now of a camera that a maximum destroys at this instant.
pub(super) async fn destroyed_by(
    config: &Config,
    index: &Index,
    camera: &CameraKey,
    max: Ticks90k,
    at: WallTime,
) -> Result<Extent, IndexError> {
    let margin = config.policies().into_iter().find(|policy| policy.camera == *camera);
    let margin = margin.map_or(Ticks90k::ZERO, |policy| policy.margin());
    index.extent_until(camera, due_until(at.saturating_add(margin), max, &config.time_zone)).await
}

pub(super) fn what(Extent { packs, bytes, start, end }: Extent) -> String {
    match (start, end) {
        (Some(start), Some(end)) => format!("destroys {packs} packs ({bytes} bytes) from {start} to {end}"),
        _ => "destroys nothing of what there is now".to_owned(),
    }
}

pub(super) fn hours(ticks: Ticks90k) -> u64 {
    ticks.to_duration().as_secs() / 3_600
}
