//! `vigie store`: which store is which. Beside a gateway that may be running, but for `forget`.

use clap::Subcommand;
use footage::units::StoreUid;
use vigie::gateway;
use vigie::index::{Change, Index};
use vigie::store::identity::Identified;
use vigie::store::{Store, StoreId};

use super::{ConfigArg, Failure, show};

/// What to do with stores.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Show each store, and whether it is the one that the index knows
    Show(ConfigArg),
    /// Put what lies at a store's configured address in the place of the store that the index knows
    ///
    /// An empty place gets a marker of its own. A place that has one is named by its id. The gateway goes on by itself.
    /// Packs in the former store are found only where that one stays configured, as one of `former_stores`.
    Adopt {
        /// The store's name in the configuration
        name: String,
        /// The id of the store that lies there, when it has one
        #[arg(long, value_name = "ID")]
        id: Option<StoreUid>,
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Forget a store that is gone for good and no longer configured; the gateway must be stopped
    Forget {
        /// The name that it had
        name: String,
        #[command(flatten)]
        config: ConfigArg,
    },
}

pub(super) async fn run(command: StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Show(config) => shown(&open(&config).await?).await,
        StoreCommand::Adopt { name, id, config } => {
            let store = open(&config).await?;
            let named = named(&store, &name)?;
            let what = match store.adopt(named, id).await.map_err(Failure::failed)? {
                Identified::Same(uid) => format!("store {name} is {uid} already\n"),
                Identified::New(uid) | Identified::Found(uid) => format!("store {name} is {uid}\n"),
                Identified::Replaced { now, before } => {
                    format!("store {name} is {now} now, in the place of {before}\n")
                }
            };
            show::print(&what)
        }
        StoreCommand::Forget { name, config } => forget(&name, &config).await,
    }
}

async fn open(config: &ConfigArg) -> Result<Store, Failure> {
    Ok(gateway::open(&config.load()?.config, true).await.map_err(Failure::failed)?.store)
}

fn named(store: &Store, name: &str) -> Result<StoreId, Failure> {
    let none = || Failure::Usage(format!("{name} is not a store of the configuration"));
    store.ids().find(|id| store.name(*id) == name).ok_or_else(none)
}

async fn shown(store: &Store) -> Result<(), Failure> {
    let mut wrong = 0;
    for id in store.ids() {
        let what = match store.ensure_known(id).await {
            Ok(()) => "is the one that the index knows".to_owned(),
            Err(e) => {
                wrong += 1;
                e.to_string()
            }
        };
        show::print(&format!("{}: {what}\n", store.name(id)))?;
    }
    if wrong == 0 { Ok(()) } else { Err(Failure::Failed(format!("{wrong} stores cannot be used"))) }
}

async fn forget(name: &str, args: &ConfigArg) -> Result<(), Failure> {
    let config = args.load()?.config;
    if config.stores.iter().any(|store| store.name == name) {
        return Err(Failure::Usage(format!("store {name} is in the configuration: take it out first")));
    }
    let _held = gateway::lock(&config).map_err(Failure::failed)?;
    let index = Index::open(&gateway::index_path(&config)).await.map_err(Failure::failed)?;
    index.write(vec![Change::ForgetStore { store: name.to_owned() }]).await.map_err(Failure::failed)?;
    index.close().await;
    show::print(&format!("store {name} is forgotten: packs that lay only there count as absent from now on\n"))
}
