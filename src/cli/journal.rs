//! `vigie journal`: verifies journals, shows their entries, and continues one after a loss.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use footage::failure::Kind;
use footage::units::TenantId;
use journal::Head;
use journal::stamp::Authorities;
use journal::verify::{Known, Report, Stamped, verify};
use vigie::config::Config;
use vigie::index::identity::Kind as IdentityKind;
use vigie::journals::copies::{self, Compared};
use vigie::journals::naming::{CopyError, Naming};
use vigie::{gateway, journals};

use super::{ConfigArg, Failure, show};

/// What to do with journals.
#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Verify journals, and name what was changed, is missing or damaged
    Verify(Verify),
    /// Show the entries of a tenant's journal, one JSON object a line
    Show {
        /// Whose journal
        tenant: TenantId,
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Continue a journal that was set back, is damaged or missing: it says so itself from then on. What is there is kept
    AcceptLoss {
        /// Whose journal
        tenant: TenantId,
        #[command(flatten)]
        config: ConfigArg,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Of this tenant alone
    #[arg(conflicts_with = "folder")]
    tenant: Option<TenantId>,
    /// A journal's folder, or a copy of one, without anything of a gateway
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// A key that may have signed the checkpoint, with --folder; without one, those that the journal lists
    #[arg(long, value_name = "KEY", requires = "folder")]
    key: Vec<String>,
    /// What an export or a witness has: the header `journal-checkpoint`, or a file with a checkpoint
    #[arg(long, value_name = "CHECKPOINT")]
    checkpoint: Vec<String>,
    /// Certificates of authorities whose time stamps are believed, in PEM, with --folder; without them, those that the time
    /// stamps have with them
    #[arg(long, value_name = "FILE", requires = "folder")]
    time_stamp_ca: Option<PathBuf>,
    /// Fail where a store that may have a copy of a journal cannot be asked; without this, that is said alone
    #[arg(long, conflicts_with = "folder")]
    store: bool,
    #[command(flatten)]
    config: ConfigArg,
}

pub(super) async fn run(command: JournalCommand) -> Result<(), Failure> {
    match command {
        JournalCommand::Verify(args) => verify_all(args).await,
        JournalCommand::Show { tenant, config } => {
            let config = known_tenant(&config, &tenant)?;
            show_entries(&journals::folder(&config.data_dir).join(tenant.as_str()))
        }
        JournalCommand::AcceptLoss { tenant, config } => {
            let config = known_tenant(&config, &tenant)?;
            let _held = gateway::lock(&config).map_err(Failure::failed)?;
            let opened = gateway::open(&config, false).await.map_err(Failure::failed)?;
            let folder = journals::folder(&config.data_dir);
            let naming = Naming::new(opened.keys.clone(), opened.store.clone());
            let said = journals::loss::accept(folder, &naming, &opened.index, &*opened.clock, &tenant).await;
            opened.index.close().await;
            show::print(&format!("{}\n", said.map_err(Failure::failed)?))
        }
    }
}

fn known_tenant(config: &ConfigArg, tenant: &TenantId) -> Result<Config, Failure> {
    let config = config.load()?.config;
    match config.tenants.iter().any(|of| of.id == *tenant) {
        true => Ok(config),
        false => Err(Failure::Usage(format!("no tenant {tenant} is configured"))),
    }
}

async fn verify_all(args: Verify) -> Result<(), Failure> {
    let heads = args.checkpoint.iter().map(|text| head(text)).collect::<Result<Vec<_>, _>>()?;
    let mut faults = 0;
    if let Some(folder) = &args.folder {
        let authorities = args.time_stamp_ca.as_deref().map(authorities).transpose()?;
        let known = Known { keys: args.key, heads, authorities };
        faults += verified(&folder.display().to_string(), folder, &known)?;
    } else {
        let config = match &args.tenant {
            Some(tenant) => known_tenant(&args.config, tenant)?,
            None => args.config.load()?.config,
        };
        let opened = gateway::open(&config, true).await.map_err(Failure::failed)?;
        let mut known = opened.index.identities(IdentityKind::Journal).await.map_err(Failure::failed)?;
        // Those of tenants that are configured no more are there until their time is over.
        let root = journals::folder(&config.data_dir);
        let mut tenants: Vec<TenantId> = config.tenants.iter().map(|of| of.id.clone()).collect();
        tenants.extend(journals::on_disk(&root).into_iter().filter(|id| !config.tenants.iter().any(|of| of.id == *id)));
        tenants.retain(|tenant| args.tenant.as_ref().is_none_or(|one| one == tenant));
        let naming = Naming::new(opened.keys.clone(), opened.store.clone());
        let authorities = gateway::time_stamp_roots(&config).map_err(Failure::failed)?;
        for tenant in &tenants {
            let mut heads = heads.clone();
            heads.extend(known.remove(tenant.as_str()).and_then(|bytes| journals::head_of(&bytes)));
            let folder = root.join(tenant.as_str());
            let named = naming.current(tenant, &folder);
            let compared = copies::compare(&naming, &named, tenant, &folder).await;
            heads.extend(&compared.heads);
            let known = Known { keys: named.keys().into(), heads, authorities: authorities.clone() };
            faults += verified(tenant.as_str(), &folder, &known)?;
            faults += show_compared(tenant, &compared, args.store)?;
        }
    }
    match faults {
        0 => Ok(()),
        faults => Err(Failure::Of(Kind::Corrupt, format!("{faults} faults"))),
    }
}

/// From a checkpoint's text, or from a file that holds one.
fn head(text: &str) -> Result<Head, Failure> {
    let of_file = std::fs::read_to_string(text);
    let text = of_file.as_deref().unwrap_or(text);
    text.parse().map_err(|e| Failure::Usage(format!("--checkpoint: {e}")))
}

/// From a file of certificates.
fn authorities(file: &Path) -> Result<Authorities, Failure> {
    let bad = |what: String| Failure::Usage(format!("--time-stamp-ca {}: {what}", file.display()));
    let pem = std::fs::read(file).map_err(|e| bad(e.to_string()))?;
    Authorities::from_pem(&pem).map_err(|e| bad(e.to_string()))
}

/// Prints what was found, and says how many faults that is.
fn verified(name: &str, folder: &Path, known: &Known) -> Result<usize, Failure> {
    if !folder.is_dir() {
        return Err(Failure::Of(Kind::NotFound, format!("there is no journal {}", folder.display())));
    }
    let Report { head, sound, forgotten, stamps, stamped, uncovered, faults } =
        verify(folder, known).map_err(Failure::failed)?;
    let mut text = String::new();
    faults
        .iter()
        .try_for_each(|fault| writeln!(text, "{name}: {fault}"))
        .map_err(|_| Failure::Failed(String::new()))?;
    let head = head.map_or("no checkpoint".to_owned(), |head| format!("checkpoint {head}"));
    let verdict = if faults.is_empty() { "sound" } else { "NOT SOUND" };
    text += &format!(
        "{name}: {verdict}; {head}; {sound} entries verified, {forgotten} destroyed at the end of their time, {uncovered} newer \
         than the checkpoint\n"
    );
    if let Some(Stamped { size, at }) = stamped {
        let by = if known.authorities.is_some() { "" } else { ", each by its own certificate alone" };
        text += &format!(
            "{name}: {stamps} time stamps verified{by}; the last says that {size} entries were there at {at}\n"
        );
    }
    for key in &known.keys {
        text += &format!("{name}: signed under {key}\n");
    }
    if known.keys.is_empty() {
        // What it says of itself convinces who has the key from elsewhere, and nobody else.
        let listed = std::fs::read_to_string(folder.join("keys")).unwrap_or_default();
        listed.lines().for_each(|key| text += &format!("{name}: by its own list, signed under {key}\n"));
    }
    show::print(&text)?;
    Ok(faults.len())
}

/// Prints what the copies say, and says how many faults that is.
fn show_compared(tenant: &TenantId, compared: &Compared, must_answer: bool) -> Result<usize, Failure> {
    let mut text = String::new();
    for (store, head) in &compared.equal {
        text += &format!("{tenant}: its copy in store {store} is the same, up to its checkpoint {head}\n");
    }
    compared.without.iter().for_each(|store| text += &format!("{tenant}: store {store} has no copy of it\n"));
    compared.faults.iter().for_each(|fault| text += &format!("{tenant}: {fault}\n"));
    show::print(&text)?;
    let is_fault = |fault: &&CopyError| must_answer || !matches!(fault, CopyError::Store { .. });
    Ok(compared.faults.iter().filter(is_fault).count())
}

fn show_entries(folder: &Path) -> Result<(), Failure> {
    let content = folder.join("content");
    let names = std::fs::read_dir(&content).map_err(|e| Failure::Failed(format!("{}: {e}", content.display())))?;
    let mut files: Vec<PathBuf> = names.filter_map(|name| Some(name.ok()?.path())).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|of| of == "jsonl")) {
        let text = std::fs::read_to_string(file).map_err(|e| Failure::Failed(format!("{}: {e}", file.display())))?;
        show::print(&text)?;
    }
    Ok(())
}
