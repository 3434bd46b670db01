//! `vigie alarms`: what is wrong, and that somebody has seen it.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use footage::clock::{Clock, SystemClock};
use serde_json::Value;
use vigie::alarm::deliver::Delivery;
use vigie::alarm::notice::{News, Notice};
use vigie::event::{Event, Fact};
use vigie::index::alarm::AlarmRow;

use super::{ConfigArg, Failure, operate, show};

/// Alarms shown.
const SHOWN_MAX: u32 = 100;

#[derive(Debug, Args)]
pub(crate) struct Alarms {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) action: Option<AlarmAction>,
}

/// What to do with alarms.
#[derive(Debug, Subcommand)]
pub(crate) enum AlarmAction {
    /// Acknowledge an alarm: it is not sent again
    Ack {
        /// Its number
        alarm: i64,
    },
    /// Send a trial message to a target of the configuration
    Test {
        /// Its id in [[alarm]]
        target: String,
    },
}

pub(super) async fn run(args: Alarms) -> Result<(), Failure> {
    let config = args.config.load()?.config;
    match args.action {
        None => {
            let path = format!("/operator/alarms?limit={SHOWN_MAX}");
            let alarms = operate::ask(&config, "GET", &path, "").await?;
            let text = if args.json { format!("{alarms:#}\n") } else { screen(&alarms) };
            show::print(&text)
        }
        Some(AlarmAction::Ack { alarm }) => {
            let path = format!("/operator/alarms/{alarm}/acknowledge");
            let row = operate::ask(&config, "POST", &path, "{}").await?;
            show::print(&screen(&Value::Array(vec![row])))
        }
        Some(AlarmAction::Test { target }) => {
            let known = config.alarms.iter().find(|known| known.id.as_str() == target);
            let Some(known) = known else {
                let ids: Vec<&str> = config.alarms.iter().map(|known| known.id.as_str()).collect();
                let ids = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
                return Err(Failure::Usage(format!("no [[alarm]] has the id {target:?}; there are: {ids}")));
            };
            let at = SystemClock::default().wall();
            let fact = Fact::AlarmDelivered { target: target.clone() };
            let event = Event::of_gateway(at, fact);
            let alarm = AlarmRow {
                id: 0,
                kind: "trial".to_owned(),
                severity: event.fact.severity(),
                event,
                began: at,
                ended: None,
                acknowledged: None,
            };
            let notice = Notice { alarm, news: News::Began, last: Some(at) };
            let delivery = Delivery::new(known.clone(), config.time_zone.clone());
            delivery.send(&[notice], at).await.map_err(|why| Failure::Failed(format!("{target}: {why}")))?;
            show::print(&format!("{target}: the trial message was accepted\n"))
        }
    }
}

fn screen(alarms: &Value) -> String {
    let mut text = String::new();
    let alarms = alarms.as_array().map(Vec::as_slice).unwrap_or_default();
    if alarms.is_empty() {
        text.push_str("no alarm\n");
    }
    for alarm in alarms {
        let word = |name: &str| alarm[name].as_str().unwrap_or_default();
        let place = [word("tenant"), word("camera")];
        let place: Vec<&str> = place.into_iter().filter(|part| !part.is_empty()).collect();
        let place = if place.is_empty() { "gateway".to_owned() } else { place.join("/") };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:>6}  {:<12}  {:<8}  {}  {place}: {}",
            alarm["id"].as_i64().unwrap_or_default(),
            word("state"),
            word("severity"),
            word("began"),
            word("text")
        );
    }
    text
}
