//! What the chain says about a transaction, read through the signer's own endpoints.

use alloy::primitives::{Address, B256};
use anyhow::{Context, Result, bail};
use url::Url;

use super::{
    compare::shown_parts,
    said::{Claimed, Other, Said, Wanted},
};
use crate::{
    chain::{
        CallAnswer, Chain, Chains, OwnerKind, SafeState,
        simulate::{Foreseen, Subject},
    },
    cli::print::spinner,
    config::{Overrides, Settings},
    request::{
        facts::BlockRef,
        ids::{AppId, ComposeHash, DeviceId},
        need::Allowed,
    },
    safe::{self, Around, Operation, SafeTx, SafeTxHashes, packed::Part},
};

/// What was read, all at one block.
#[derive(Debug, Clone)]
pub struct Seen {
    pub block: BlockRef,
    /// The owner of the app, when it is known which app.
    pub app_owner: Option<Address>,
    pub kind: OwnerKind,
    /// Of a Safe: who else acts for it, and its owners that are contracts.
    pub around: Option<Around>,
    /// What the Safe itself computes for the transaction.
    pub own_hash: Option<B256>,
    /// Hash of the code that a delegate call would run.
    pub delegate_code: Option<B256>,
    /// What the app allows already.
    pub allowed: Option<Allowed>,
    /// The same for what is to be approved with it.
    pub others: Vec<SeenOther>,
    /// Owners who are shown to have signed without a key, and of whom the chain says the same.
    pub proven: Vec<Address>,
    /// What a Safe's transaction would do.
    pub foreseen: Option<Foreseen>,
}

/// What the chain says of another request.
#[derive(Debug, Clone)]
pub struct SeenOther {
    pub wanted: Wanted,
    pub app_owner: Address,
    pub allowed: Option<Allowed>,
}

impl Seen {
    /// Reads everything at the present head.
    pub async fn read(said: &Said, app: Option<AppId>, rpc: &[Url]) -> Result<Self> {
        let progress = spinner("reading the chain");
        let chains = chains(said, rpc)?;
        let chain = chains.get(said.claimed.chain)?;
        let block = chain.head().await.context("cannot read the chain")?.block;
        let seen = Self::read_at(chain, said, app, block).await.context("cannot read the chain")?;
        progress.finish_and_clear();
        Ok(seen)
    }

    async fn read_at(chain: &Chain, said: &Said, app: Option<AppId>, at: BlockRef) -> Result<Self> {
        let Claimed { owner, safe_tx, .. } = &said.claimed;
        let kind = chain.owner_kind(*owner, at).await?;
        let safe = if let OwnerKind::Safe(state) = &kind { Some(state.as_ref()) } else { None };
        let app_owner = match app {
            Some(app) => Some(chain.owner(app, at).await?),
            None => None,
        };
        let allowed = match said.wanted {
            Some(wanted) => {
                let (app, compose, device): (AppId, ComposeHash, DeviceId) =
                    (wanted.app, wanted.compose_hash, wanted.device_id);
                Some(chain.allowed(app, compose, device, at).await?)
            }
            None => None,
        };
        let mut others = vec![];
        for Other { wanted, .. } in &said.with {
            let Wanted { app, compose_hash, device_id } = *wanted;
            let allowed = Some(chain.allowed(app, compose_hash, device_id, at).await?);
            let app_owner = chain.owner(app, at).await?;
            others.push(SeenOther { wanted: *wanted, app_owner, allowed });
        }
        let delegate = safe_tx.as_ref().filter(|tx| tx.operation == Operation::DelegateCall);
        let delegate_code = match delegate {
            Some(tx) => Some(chain.code_hash(tx.to, at).await?),
            None => None,
        };
        let (mut around, mut own_hash, mut proven) = (None, None, vec![]);
        let mut foreseen = None;
        if let Some(safe) = safe {
            let found = chain.around(safe, at).await?;
            if let Some(tx) = safe_tx {
                own_hash = Some(hash_by_safe(chain, safe, tx, at).await?);
                let hashes = safe::hashes(tx, chain.id(), safe.address, safe.version);
                for part in shown_parts(said)? {
                    proven.extend(prove(chain, safe, &hashes, part, at).await?);
                }
                let wanted = said.wanted.map(|one| (one.app, one.compose_hash, one.device_id));
                let also: Vec<AppId> = said.with.iter().map(|one| one.wanted.app).collect();
                let modules = found.extensions.as_ref().map_or(&[][..], |known| &known.modules);
                let subject = Subject { safe, tx, modules, wanted, also: &also, signed: None };
                foreseen = Some(match chain.simulate(subject, at).await {
                    Ok(simulation) => Foreseen::Simulated(Box::new(simulation)),
                    Err(error) => Foreseen::NotSimulated { problem: error.to_string() },
                });
            }
            around = Some(found);
        }
        Ok(Self {
            block: at,
            app_owner,
            kind,
            around,
            own_hash,
            delegate_code,
            allowed,
            others,
            proven,
            foreseen,
        })
    }

    /// The Safe, when the owner is one.
    pub fn safe(&self) -> Option<&SafeState> {
        if let OwnerKind::Safe(state) = &self.kind { Some(state) } else { None }
    }
}

/// The chain over these endpoints, most of which must agree.
fn chains(said: &Said, rpc: &[Url]) -> Result<Chains> {
    let urls: Vec<&str> = rpc.iter().map(Url::as_str).collect();
    let flag = format!("{}={}", said.claimed.chain, urls.join(","));
    let overrides = Overrides { chains: vec![flag], ..Overrides::default() };
    let settings = Settings::read("", overrides).context("--rpc")?;
    Ok(Chains::new(&settings.chains)?)
}

async fn hash_by_safe(chain: &Chain, safe: &SafeState, tx: &SafeTx, at: BlockRef) -> Result<B256> {
    let what = format!("the hash that Safe {} computes", safe.address);
    match chain.call(&what, safe.address, &tx.hash_calldata(), at).await? {
        CallAnswer::Returned(bytes) if bytes.len() == 32 => Ok(B256::from_slice(&bytes)),
        _ => bail!("{what} does not read"),
    }
}

/// The owner, if the chain says that it signed without a key.
async fn prove(
    chain: &Chain,
    safe: &SafeState,
    hashes: &SafeTxHashes,
    part: Part,
    at: BlockRef,
) -> Result<Option<Address>> {
    let (owner, signed) = match part {
        Part::Key(_) => return Ok(None),
        // Who is no owner is not even asked.
        Part::ApprovedHash(owner) | Part::Contract { owner, .. }
            if !safe.owners.contains(&owner) =>
        {
            return Ok(None);
        }
        Part::ApprovedHash(owner) => {
            let hash = hashes.safe_tx_hash;
            (owner, chain.approved(safe.address, hash, &[owner], at).await? == [true])
        }
        Part::Contract { owner, data } => {
            let (asks, version) = (safe.address, safe.version);
            (owner, chain.contract_signed(asks, owner, version, hashes, &data, at).await?)
        }
    };
    Ok(signed.then_some(owner))
}
