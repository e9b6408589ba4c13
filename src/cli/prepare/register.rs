//! The owner of the app is an account, and its key is here: what a replica needs is added to the app
//! from this machine. The service sees it on the chain, and commits by itself.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use alloy::primitives::{Address, U256};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::many::Wanted;
use crate::{
    chain::{Chain, Chains, Estimate, Fees, OwnerKind, Payment, RelayerKey},
    cli::{client::Client, print, print::note_to_stderr, secret_file},
    config::{Overrides, Settings},
    dstack::Write,
    owner::{Call, Route},
    phala::Cvm,
    request::ids::{AppId, ChainId, TxHash},
};

const KEY: &str = "the owner's key";
/// How long a transaction is waited for, and how often it is looked for and sent again.
const PATIENCE: Duration = Duration::from_mins(3);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const SEND_AGAIN: u32 = 15;

/// The key of an account that owns the app.
#[derive(Debug, Args)]
pub struct OwnerArgs {
    /// File with the private key of the account that owns the app: what the replicas need is added
    /// to the app from here, and they are followed until they run.
    #[arg(long, env = "COUNTERSIGN_PRIVATE_KEY_FILE", value_name = "FILE", requires = "rpc_url")]
    private_key_file: Option<PathBuf>,
    /// The key itself. A file is better: other users see arguments.
    #[arg(
        long,
        env = "COUNTERSIGN_PRIVATE_KEY",
        hide_env_values = true,
        value_name = "HEX",
        conflicts_with = "private_key_file",
        requires = "rpc_url"
    )]
    private_key: Option<SecretString>,
    /// RPC endpoint of the app's chain, to send the transactions to.
    #[arg(long, env = "ETH_RPC_URL", hide_env_values = true, value_name = "URL")]
    rpc_url: Option<Url>,
}

/// The account that owns an app, looked at on its chain.
pub struct Owner {
    key: RelayerKey,
    chain: Chain,
    app: AppId,
}

impl OwnerArgs {
    /// The owner whose key was given, if one was. Nothing is prepared for an app that it does not
    /// own.
    pub async fn owner(&self, source: &Cvm) -> Result<Option<Owner>> {
        let Some(key) = self.key()? else { return Ok(None) };
        let (Some(rpc), Some(chain)) = (&self.rpc_url, source.chain_id) else {
            bail!("give --rpc-url, an endpoint of the app's chain");
        };
        let owner = Owner { key, chain: one_chain(chain, rpc)?, app: source.app };
        owner.check().await?;
        Ok(Some(owner))
    }

    fn key(&self) -> Result<Option<RelayerKey>> {
        let text = match (&self.private_key_file, &self.private_key) {
            (Some(file), _) => {
                if let Some(exposed) = secret_file::exposed(file, KEY) {
                    note_to_stderr(&format!("warning: {exposed}"));
                }
                secret_file::read(file, KEY)?
            }
            (None, Some(key)) => {
                let flag = |one: std::ffi::OsString| {
                    let one = one.to_string_lossy().into_owned();
                    one == "--private-key" || one.starts_with("--private-key=")
                };
                if std::env::args_os().any(flag) {
                    note_to_stderr(
                        "warning: other users of this machine see a key that is given as an \
                         argument: --private-key-file is better",
                    );
                }
                key.clone()
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(RelayerKey::from_hex(text.expose_secret())?))
    }
}

fn one_chain(id: ChainId, rpc: &Url) -> Result<Chain> {
    let overrides = Overrides { chains: vec![format!("{id}={rpc}")], ..Overrides::default() };
    let settings = Settings::read("", overrides).context("--rpc-url")?;
    Ok(Chains::new(&settings.chains)?.get(id)?.clone())
}

/// What is read of a proposal.
#[derive(Deserialize)]
struct Proposal {
    route: Route,
    chain_id: ChainId,
    owner: Address,
    bare_calls: Vec<Call>,
}

/// Who may be asked for what.
#[derive(Clone, Copy)]
struct Account {
    chain: ChainId,
    owner: Address,
    app: AppId,
}

impl Account {
    /// The calls of a proposal, if this account may be asked for every one of them.
    fn checked(&self, proposal: &Value, wanted: &Wanted) -> Result<Vec<Write>> {
        let proposal = Proposal::deserialize(proposal).context("the proposal does not read")?;
        let theirs = "the service asks for something else than was prepared";
        ensure!(proposal.route == Route::Eoa, "{theirs}: the owner is no account any more");
        ensure!(proposal.chain_id == self.chain, "{theirs}: on another chain");
        ensure!(wanted.chain.is_none_or(|chain| chain == self.chain), "another chain");
        ensure!(proposal.owner == self.owner, "{theirs}: of another owner");
        ensure!(wanted.app == self.app, "{theirs}: on another app");
        let allowed = [Write::AddComposeHash(wanted.compose), Write::AddDevice(wanted.device)];
        let call = |call: &Call| {
            let write = Write::from_calldata(&call.data);
            let write = write.filter(|write| allowed.contains(write));
            let fits = call.to == self.app.0 && call.value == U256::ZERO;
            write.filter(|_| fits).with_context(|| format!("{theirs}: it is not sent"))
        };
        proposal.bare_calls.iter().map(call).collect()
    }
}

impl Owner {
    fn account(&self) -> Account {
        Account { chain: self.chain.id(), owner: self.key.address(), app: self.app }
    }

    /// Whether the account owns the app now. The endpoint shows its chain id before it is believed.
    async fn check(&self) -> Result<()> {
        let (key, app) = (self.key.address(), self.app);
        let at = self.chain.head().await.context("--rpc-url")?.block;
        let owner = self.chain.owner(app, at).await?;
        if owner == key {
            return Ok(());
        }
        match self.chain.owner_kind(owner, at).await? {
            OwnerKind::Safe(_) | OwnerKind::UnknownSafe { .. } => bail!(
                "app {app} belongs to Safe {owner}, so its owners must sign: leave the key away, and \
                 let them sign what `countersign payload ID` shows"
            ),
            OwnerKind::Contract { .. } => bail!(
                "app {app} belongs to the contract {owner}, which acts in its own way: leave the key \
                 away; `countersign payload ID` shows the calls it must make"
            ),
            OwnerKind::Account => bail!("the key is of {key}, and app {app} belongs to {owner}"),
            OwnerKind::Nobody => {
                bail!("app {app} belongs to nobody: it cannot be changed any more")
            }
        }
    }

    /// Makes the calls that the service says are missing, each once, if they are what the requests
    /// are for and nothing else.
    pub async fn register(&self, client: &Client, wanted: &[(String, Wanted)]) -> Result<()> {
        let mut writes = BTreeSet::new();
        for (id, wanted) in wanted {
            let request = client.get(&["v1", "requests", id], &[]).await?;
            if request["status"] != "proposed" {
                // It is on the chain already, or somebody must look, and is told so.
                continue;
            }
            let proposal = client.get(&["v1", "requests", id, "proposal"], &[]).await?;
            writes.extend(self.account().checked(&proposal, wanted)?);
        }
        let all = writes.len();
        for (at, write) in writes.into_iter().enumerate() {
            let spinner = print::spinner("waits for the transaction of the owner");
            let sent = self.send(&write).await;
            spinner.finish_and_clear();
            let tx = sent.with_context(|| format!("{write}: {at} of {all} were sent before"))?;
            note_to_stderr(&format!("{write}: done in {tx}"));
        }
        Ok(())
    }

    /// Sends one call and waits until it is in a block.
    async fn send(&self, write: &Write) -> Result<TxHash> {
        self.check().await?;
        let (chain, from) = (&self.chain, self.key.address());
        let at = chain.head().await?.block;
        let data = write.calldata();
        let Estimate::Gas(gas) = chain.estimate(from, self.app.0, &data).await? else {
            bail!("the app would refuse it");
        };
        let (base, tip) = (chain.base_fee(at).await?, chain.tip().await?);
        let fees = Fees { max: base.saturating_mul(2).saturating_add(tip), tip };
        let gas_limit = gas.saturating_add(gas / 4);
        let (balance, most) =
            (chain.balance(from, at).await?, U256::from(gas_limit) * U256::from(fees.max));
        ensure!(balance >= most, "{from} holds {balance} wei, and it may cost {most}");
        let nonce = chain.account_nonce(from, at).await?;
        let to = self.app.0;
        let payment = Payment { chain: chain.id(), nonce, to, data, gas_limit, fees };
        let signed = self.key.sign(&payment)?;
        chain.broadcast(&signed.raw).await?;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mined = tokio::time::timeout(PATIENCE, async {
            for look in 1.. {
                looks.tick().await;
                if let Ok(Some(mined)) = chain.mined(signed.hash).await {
                    return Some(mined);
                }
                if look % SEND_AGAIN == 0 {
                    // The same bytes: a node may have lost them, and has them at most once.
                    drop(chain.broadcast(&signed.raw).await);
                }
            }
            None
        });
        match mined.await {
            Ok(Some(mined)) if mined.success => Ok(signed.hash),
            Ok(Some(_)) => bail!("transaction {} reverted", signed.hash),
            _ => bail!(
                "transaction {} is in no block after {} s; it may still come, and the service sees \
                 it then",
                signed.hash,
                PATIENCE.as_secs()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::ids::{ComposeHash, DeviceId};

    fn owner() -> Account {
        let app = AppId(Address::repeat_byte(0x11));
        Account { chain: ChainId::BASE, owner: Address::repeat_byte(0x0e), app }
    }

    fn wanted() -> Wanted {
        Wanted {
            app: AppId(Address::repeat_byte(0x11)),
            chain: Some(ChainId::BASE),
            compose: ComposeHash([0xc0; 32].into()),
            device: DeviceId([0xd0; 32].into()),
        }
    }

    fn proposal() -> Value {
        let call = |write: Write| json!({ "to": "0x1111111111111111111111111111111111111111", "value": "0", "data": write.calldata() });
        let wanted = wanted();
        json!({
            "route": "eoa", "chain_id": 8453, "owner": owner().owner.to_string(),
            "bare_calls": [
                call(Write::AddComposeHash(wanted.compose)), call(Write::AddDevice(wanted.device)),
            ],
        })
    }

    #[test]
    fn exactly_what_was_prepared_is_sent() {
        let wanted = wanted();
        let writes = owner().checked(&proposal(), &wanted).unwrap();
        let expected = [Write::AddComposeHash(wanted.compose), Write::AddDevice(wanted.device)];
        assert_eq!(writes, expected);
    }

    #[test]
    fn whatever_differs_is_not_sent() {
        let other_hash = Write::AddComposeHash(ComposeHash([0xc1; 32].into())).calldata();
        let longer = format!("{}00", Write::AddDevice(wanted().device).calldata());
        for (place, value) in [
            ("/route", json!("safe")),
            ("/chain_id", json!(1)),
            ("/owner", json!(Address::repeat_byte(9).to_string())),
            ("/bare_calls/0/to", json!(Address::repeat_byte(9).to_string())),
            ("/bare_calls/0/value", json!("1")),
            ("/bare_calls/0/data", json!(other_hash)),
            ("/bare_calls/1/data", json!(longer)),
            ("/bare_calls/1/data", json!("0xf2fde38b")),
            ("/bare_calls", json!("none")),
        ] {
            let mut proposal = proposal();
            *proposal.pointer_mut(place).unwrap() = value;
            assert!(owner().checked(&proposal, &wanted()).is_err(), "{place}");
        }
        let elsewhere = Wanted { app: AppId(Address::ZERO), ..wanted() };
        assert!(owner().checked(&proposal(), &elsewhere).is_err());
    }
}
