//! `vigie keys`: the keys of encrypted stores. Beside a gateway that may be running: one at a time changes the folder.

use clap::Subcommand;
use footage::keys::Keys as GatewayKeys;
use footage::keys::vault::rotate::{Rotated, rotate_own_master};
use footage::keys::vault::{Shown, Vault};
use footage::units::TenantId;
use vigie::gateway;
use vigie::index::identity::Kind;
use vigie::index::{Change, Index};

use super::{ConfigArg, Failure, show};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// List tenant and day keys, and what wraps them; no key is shown
    Show(ConfigArg),
    /// Wrap every tenant key by the configured master key; where Vigie made its own, make another
    RotateMaster(ConfigArg),
    /// Give up a gateway key that is lost, and go on under its substitute; the gateway must be stopped
    ///
    /// What was recorded under the lost key plays as before where its store is not encrypted, but can never be checked again, and
    /// objects of encrypted stores can never be found again.
    GiveUpGatewayKey(ConfigArg),
    /// Give a tenant a new key, and wrap its day keys by that; no footage is rewritten
    RotateTenant {
        /// Which tenant
        tenant: TenantId,
        #[command(flatten)]
        config: ConfigArg,
    },
}

pub(super) fn run(keys: Keys) -> Result<(), Failure> {
    match keys {
        Keys::Show(config) => shown(&open(&config)?),
        Keys::RotateMaster(config) => rotate_master(&config),
        Keys::GiveUpGatewayKey(config) => super::block_on(give_up_gateway_key(config)),
        Keys::RotateTenant { tenant, config } => {
            let vault = open(&config)?;
            if !vault.list().map_err(Failure::failed)?.iter().any(|key| key.tenant == tenant) {
                return Err(Failure::Failed(format!("tenant {tenant} has no keys: nothing of it was encrypted yet")));
            }
            reported(vault.rotate_tenant(&tenant).map_err(Failure::failed)?)
        }
    }
}

fn open(config: &ConfigArg) -> Result<Vault, Failure> {
    let config = config.load()?.config;
    let none = || Failure::Failed("no store is encrypted, and none was: there are no keys".into());
    gateway::vault(&config).map_err(Failure::failed)?.ok_or_else(none)
}

async fn give_up_gateway_key(args: ConfigArg) -> Result<(), Failure> {
    let config = args.load()?.config;
    let _held = gateway::lock(&config).map_err(Failure::failed)?;
    let opened = gateway::open(&config, true).await.map_err(Failure::failed)?;
    if opened.keys.trouble().is_none() {
        return Err(Failure::Usage("the gateway's key is there, and is the right one".into()));
    }
    let path = gateway::gateway_key(&config);
    let keys = GatewayKeys::promote_substitute(&path).map_err(Failure::failed)?;
    let index = Index::open(&gateway::index_path(&config)).await.map_err(Failure::failed)?;
    let id = Some(keys.fingerprint().0.to_vec());
    let known = Change::Identify { kind: Kind::GatewayKey, name: String::new(), id };
    index.write(vec![known]).await.map_err(Failure::failed)?;
    index.close().await;
    for id in opened.store.ids() {
        let rekeyed = opened.store.rekey(id, keys.fingerprint()).await;
        rekeyed.map_err(|e| Failure::Failed(format!("{e}; run this again when the store answers")))?;
    }
    show::print(&format!("the gateway's key in {} is {} now: back it up\n", path.display(), keys.fingerprint()))
}

fn rotate_master(args: &ConfigArg) -> Result<(), Failure> {
    let vault = open(args)?;
    let config = args.load()?.config;
    if config.master_keys.current.is_some() {
        return reported(vault.wrap_by_current_master().map_err(Failure::failed)?);
    }
    let (folder, own) = gateway::key_places(&config);
    let (id, rotated) = rotate_own_master(&folder, &own).map_err(Failure::failed)?;
    show::print(&format!("the master key in {} is {id} now: back it up\n", own.display()))?;
    reported(rotated)
}

fn reported(Rotated { wrapped, destroyed }: Rotated) -> Result<(), Failure> {
    show::print(&format!("{wrapped} keys are wrapped again, {destroyed} former keys are destroyed\n"))
}

fn shown(vault: &Vault) -> Result<(), Failure> {
    let mut rows = vec![["tenant", "footage gone by", "key", "wrapped by"].map(str::to_owned)];
    for Shown { tenant, day, id, under } in vault.list().map_err(Failure::failed)? {
        let day = day.map_or_else(|| "(tenant key)".to_owned(), |day| day.to_string());
        rows.push([tenant.to_string(), day, id.to_string(), under]);
    }
    let masters: Vec<String> = vault.masters().iter().map(ToString::to_string).collect();
    show::print(&format!("{}\nmaster key: {}\n", show::table(&rows), masters.join(", before it ")))
}
