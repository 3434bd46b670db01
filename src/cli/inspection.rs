//! `vigie inspection`: everything that an inspector asks of a tenant, as files that open anywhere. Beside a gateway that may be
//! running.

use std::io;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use footage::clock::{Clock, SystemClock};
use footage::units::{TimeRange, WallTime};
use jiff::ToSpan;
use jiff::civil::Date;
use journal::entry::{Action, Author};
use vigie::event::words::Language;
use vigie::gateway;
use vigie::inspection::days::bounds;
use vigie::inspection::report::{self, Reader};
use vigie::inspection::tables::Table;
use vigie::inspection::{DAYS_MAX, Inspector};
use vigie::journals::left::{self, Left};
use vigie::journals::{self, Journals};
use vigie::retrieve::Footage;

use super::people::OfTenant;
use super::{Failure, show};

#[derive(Debug, Args)]
pub(crate) struct Inspection {
    /// A new folder for the files
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The first day; a year ago unless it is named
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<Date>,
    /// The last day; today unless it is named
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<Date>,
    /// In which language
    #[arg(long, value_enum, default_value_t = PageLanguage::Fr)]
    language: PageLanguage,
    #[command(flatten)]
    of: OfTenant,
}

/// A language of pages and tables.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum PageLanguage {
    /// French
    Fr,
    /// English
    En,
}

impl From<PageLanguage> for Language {
    fn from(of: PageLanguage) -> Self {
        match of {
            PageLanguage::Fr => Self::French,
            PageLanguage::En => Self::English,
        }
    }
}

pub(super) async fn run(args: Inspection) -> Result<(), Failure> {
    let config = args.of.config()?;
    let tenant = args.of.tenant(&config)?.clone();
    let range = period(&args, SystemClock::default().wall(), &config.time_zone)?;
    let opened = gateway::open(&config, true).await.map_err(Failure::failed)?;
    let folder = journals::folder(&config.data_dir);
    let journals = Journals::new(folder.clone(), opened.keys, opened.store, opened.index.clone(), opened.clock.clone());
    let footage = Footage::new(opened.index, opened.packs, opened.clock.clone());
    let inspector = Inspector::new(&footage, &journals, &config.time_zone);
    let language = args.language.into();
    let found = inspector.inspect(&tenant.id, range, |_| true).await.map_err(Failure::failed)?;

    let at = |path: &std::path::Path, error: io::Error| Failure::Failed(format!("{}: {error}", path.display()));
    let span = journal::Span { from: range.start().to_timestamp(), to: range.end().to_timestamp() };
    let draft = journal::Draft { range: Some(span), ..journal::Draft::new(Author::Operator, Action::Inspected) };
    let act = Left { tenant: tenant.id.clone(), at: opened.clock.wall().to_timestamp(), draft };
    left::leave(&folder, &act).map_err(|error| at(&folder, error))?;

    std::fs::create_dir(&args.out).map_err(|error| at(&args.out, error))?;
    let reader = Reader { language, zone: config.time_zone.clone(), authority: tenant.name };
    let mut files = vec![("inspection.html".to_owned(), report::inspection(&found, &reader))];
    for table in Table::ALL {
        let text = match table {
            Table::Journal => inspector.journal_table(&tenant.id, range, language).await.map_err(Failure::failed)?,
            table => found.table(table, language, &config.time_zone),
        };
        files.push((format!("{}.csv", table.as_str()), text));
    }
    let mut lines = String::new();
    for (name, text) in files {
        let path = args.out.join(name);
        std::fs::write(&path, text).map_err(|error| at(&path, error))?;
        lines.push_str(&format!("{}\n", path.display()));
    }
    show::print(&lines)
}

fn period(args: &Inspection, now: WallTime, zone: &jiff::tz::TimeZone) -> Result<TimeRange, Failure> {
    let today = zone.to_datetime(now.to_timestamp()).date();
    let last = args.to.unwrap_or(today);
    let year_ago = || last.checked_sub(1.year()).map_err(|error| Failure::Usage(error.to_string()));
    let first = args.from.map_or_else(year_ago, Ok)?;
    let whole = bounds(first, zone).zip(bounds(last, zone));
    let range = whole.and_then(|(first, last)| TimeRange::new(first.start(), last.end()));
    let range = range.ok_or_else(|| Failure::Usage(format!("{first} has to be before {last}")))?;
    let days = (last - first).get_days();
    match i64::from(days) < DAYS_MAX {
        true => Ok(range),
        false => Err(Failure::Usage(format!("from {first} to {last} are more than {DAYS_MAX} days"))),
    }
}
