//! `vigie requests`: requests for footage, asked of a running gateway as a person, or with the tenant's access token.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand, ValueEnum};
use footage::units::RequestId;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::people::OfTenant;
use super::{Failure, operate, show};

/// Longest file that is sent, or token.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What to do with requests for footage.
#[derive(Debug, Subcommand)]
pub(crate) enum RequestsCommand {
    /// List a tenant's requests, the newest first
    List {
        /// Closed ones too
        #[arg(long)]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        asking: Asking,
    },
    /// Show a request and all that was done for it, as JSON
    Show {
        /// Which
        request: RequestId,
        #[command(flatten)]
        asking: Asking,
    },
    /// Show what there is of all that a request asks for, and why the rest is absent
    Search {
        /// Which
        request: RequestId,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        asking: Asking,
    },
    /// Take a request in from a file, JSON as POST /api/requests takes it; what it asks for is held at once. Shows its id
    Open {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        asking: Asking,
    },
    /// Close a request
    Close {
        /// Which
        request: RequestId,
        /// How it ended
        #[arg(long, value_enum)]
        outcome: Outcome,
        /// Keep its holds until their end; otherwise they are released
        #[arg(long)]
        keep_holds: bool,
        #[command(flatten)]
        asking: Asking,
    },
}

/// How a request ended.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Outcome {
    /// Footage was handed over or shown
    HandedOver,
    /// It was refused
    Refused,
    /// Footage is kept and used for nothing else
    Limited,
    /// There was no footage
    NothingFound,
    /// It was withdrawn, or the paper never came
    Withdrawn,
}

/// Whose requests, and who asks.
#[derive(Debug, Args)]
pub(crate) struct Asking {
    /// A file with a person's token; without it, the tenant's access token is presented
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    of: OfTenant,
}

impl Asking {
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let Some(file) = &self.token_file else { return self.of.ask(method, path, body).await };
        let config = self.of.config()?;
        let tenant = self.of.tenant(&config)?;
        let token = SecretString::from(text_of(file)?);
        let credentials = BASE64.encode(format!("{}:{}", tenant.id, token.expose_secret().trim()));
        let authorization = Some(SecretString::from(format!("Basic {credentials}")));
        let body = body.map_or_else(String::new, |body| body.to_string());
        operate::ask_as(&config, authorization, method, path, &body).await
    }
}

fn text_of(file: &PathBuf) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::Usage(format!("{}: {e}", file.display()));
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(failed)?;
    opened.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

pub(super) async fn run(command: RequestsCommand) -> Result<(), Failure> {
    match command {
        RequestsCommand::List { all, json, asking } => {
            let which = if all { "all" } else { "open" };
            let list = asking.ask("GET", &format!("/api/requests?limit=200&requests={which}"), None).await?;
            show::print(&if json { format!("{list:#}\n") } else { table(&list) })
        }
        RequestsCommand::Show { request, asking } => {
            let file = asking.ask("GET", &format!("/api/requests/{request}"), None).await?;
            show::print(&format!("{file:#}\n"))
        }
        RequestsCommand::Search { request, json, asking } => {
            let parts = asking.ask("GET", &format!("/api/requests/{request}/search"), None).await?;
            show::print(&if json { format!("{parts:#}\n") } else { found(&parts) })
        }
        RequestsCommand::Open { file, asking } => {
            let intake: Value = serde_json::from_str(&text_of(&file)?)
                .map_err(|e| Failure::Usage(format!("{}: {e}", file.display())))?;
            let made = asking.ask("POST", "/api/requests", Some(intake)).await?;
            for hold in made["holds_over_nothing"].as_array().into_iter().flatten() {
                tracing::warn!(
                    hold = hold.as_str().unwrap_or_default(),
                    "there is no footage of what this hold covers"
                );
            }
            show::print(&format!("{}\n", word(&made["id"])))
        }
        RequestsCommand::Close { request, outcome, keep_holds, asking } => {
            let outcome = match outcome {
                Outcome::HandedOver => "handed_over",
                Outcome::Refused => "refused",
                Outcome::Limited => "limited",
                Outcome::NothingFound => "nothing_found",
                Outcome::Withdrawn => "withdrawn",
            };
            let holds = if keep_holds { "keep" } else { "release" };
            let body = json!({"outcome": outcome, "holds": holds});
            let closed = asking.ask("POST", &format!("/api/requests/{request}/closing"), Some(body)).await?;
            show::print(&format!("{request} is closed; its file is destroyed on {}\n", word(&closed["destroy_at"])))
        }
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A line for each request.
fn table(list: &Value) -> String {
    let mut text = String::new();
    for file in list.as_array().into_iter().flatten() {
        let asker = &file["asker"];
        let who = ["officer", "name", "service"].map(|name| word(&asker[name])).concat();
        let procedure = word(&asker["procedure"]);
        let due = file["due"].as_str().map_or_else(String::new, |due| format!(", due {due}"));
        let cameras: Vec<_> = file["cameras"].as_array().into_iter().flatten().map(word).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{} {}: {} {who} {procedure}, {}{due}",
            word(&file["id"]),
            word(&file["state"]),
            word(&asker["kind"]),
            if cameras.is_empty() { word(&file["place"]) } else { cameras.join(", ") }
        );
    }
    if text.is_empty() { "no request\n".to_owned() } else { text }
}

/// A line for each part, and below it one for each stretch.
fn found(parts: &Value) -> String {
    let mut text = String::new();
    for part in parts.as_array().into_iter().flatten() {
        let (covered, gone) = (part["covered_s"].as_f64().unwrap_or_default(), part["destroyed_from"].as_str());
        let gone = gone.map_or_else(String::new, |at| format!(", not held: destroyed from {at}"));
        let (camera, start, end) = (word(&part["camera"]), word(&part["start"]), word(&part["end"]));
        let _ = writeln!(text, "{camera} {start} to {end}: {covered:.1} s of footage{gone}");
        for stretch in part["stretches"].as_array().into_iter().flatten() {
            let more = [&stretch["why"], &stretch["until"], &stretch["destroyed"]["end"]].map(word).join(" ");
            let (start, end, found) = (word(&stretch["start"]), word(&stretch["end"]), word(&stretch["found"]));
            let _ =
                writeln!(text, "  {start} to {end}: {found} {}", more.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    if text.is_empty() { "no camera is named\n".to_owned() } else { text }
}
