//! The chain as a story begins: Safe's contracts, a Safe, a KMS, and an app that the Safe owns and
//! on which one instance already runs.

use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256, address};
use url::Url;

use super::{
    Anvil, AnvilOptions, Artifacts, LocalRpcError, Rpc, Wallet,
    anvil::AnvilError,
    apps::{Kms, KmsError},
    artifacts::ArtifactError,
    safe_release::{ReleaseError, SafeRelease},
};
use crate::{
    dstack::Generation,
    owner::{
        Call,
        safe::{ProposeError, propose},
    },
    request::ids::{AppId, ChainId, ComposeHash, DeviceId},
    safe::{OwnerSignature, SafeTx, SafeTxHashes, SafeVersion, hashes, packed::pack, tx::Safe},
};

/// Where Multicall3 is on every chain.
pub const MULTICALL3: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");

/// What the app allows in place of the compose hash of the source CVM, when that is to be missing.
const EARLIER_COMPOSE: ComposeHash = ComposeHash(B256::repeat_byte(0xe0));

/// Why the scene cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    #[error(
        "expected 1 to {max} owners and a threshold they can reach, not {threshold} of {owners}"
    )]
    Owners { threshold: usize, owners: usize, max: usize },
    #[error(transparent)]
    Anvil(#[from] AnvilError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Rpc(#[from] LocalRpcError),
    #[error(transparent)]
    Release(#[from] ReleaseError),
    #[error(transparent)]
    Kms(#[from] KmsError),
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

/// What the scene looks like.
#[derive(Clone, Debug)]
pub struct SceneOptions {
    pub chain_id: ChainId,
    pub safe_version: SafeVersion,
    /// The Safe runs the singleton that emits no event for indexers. Before 1.3.0 there is no other.
    pub l1_singleton: bool,
    /// How many owners must sign.
    pub threshold: usize,
    pub owners: usize,
    /// The app belongs to the first owner's account, and not to the Safe.
    pub account_owns: bool,
    pub generation: Generation,
    /// A block this often; without it, one for each transaction.
    pub block_time: Option<Duration>,
    /// What it calls `safe` lies this many blocks below the head, `finalized` twice as many.
    pub epoch_blocks: u64,
    /// What the source CVM runs, and a replica will run.
    pub compose_hash: ComposeHash,
    /// Where the source CVM runs.
    pub source_device: DeviceId,
    /// The app allows an earlier compose hash only: a replica on another node then needs compose
    /// hash and device, not the device alone.
    pub missing_compose: bool,
}

impl Default for SceneOptions {
    fn default() -> Self {
        Self {
            chain_id: ChainId::BASE,
            safe_version: SafeVersion::V1_4_1,
            l1_singleton: false,
            threshold: 2,
            owners: 3,
            account_owns: false,
            generation: Generation::G2,
            block_time: None,
            // Depth policies that name `safe` or `finalized` can be met without mining for long.
            epoch_blocks: 1,
            compose_hash: ComposeHash(B256::repeat_byte(0xc0)),
            source_device: DeviceId(B256::repeat_byte(0xd0)),
            missing_compose: false,
        }
    }
}

/// The scene, set. Dropping it ends its chain.
#[derive(Debug)]
pub struct ChainScene {
    pub anvil: Anvil,
    pub rpc: Rpc,
    pub chain_id: ChainId,
    pub app: AppId,
    pub kms: Kms,
    /// Who owns the app: the Safe, or an account.
    pub owner: Address,
    pub safe: Address,
    pub safe_version: SafeVersion,
    pub release: SafeRelease,
    /// The code that the Safe runs.
    pub singleton: Address,
    pub threshold: usize,
    pub generation: Generation,
    pub owners: Vec<Wallet>,
    /// Pays for gas and owns nothing but the KMS.
    pub executor: Wallet,
}

impl ChainScene {
    pub async fn start(options: SceneOptions) -> Result<Self, SceneError> {
        let (owners, executor) = cast(options.threshold, options.owners)?;
        let release = SafeRelease::of(options.safe_version, options.chain_id);
        let artifacts = Artifacts::find()?;
        let SceneOptions { chain_id, block_time, epoch_blocks, .. } = options;
        let anvil = Anvil::start(AnvilOptions { chain_id, block_time, epoch_blocks }).await?;
        let rpc = anvil.rpc();
        let setup = if block_time.is_some() { rpc.hurried() } else { rpc.clone() };

        let multicall = setup.runtime_code(artifacts.multicall3()?).await?;
        setup.set_code(MULTICALL3, &multicall).await?;
        release.deploy(&setup, &artifacts, &executor).await?;
        let addresses = owners.iter().map(Wallet::address).collect();
        let singleton = release.singleton(options.l1_singleton);
        let safe =
            release.new_safe(&setup, &executor, singleton, addresses, options.threshold, 0).await?;
        let kms = Kms::deploy(&setup, &artifacts, &executor, options.generation).await?;
        let allowed = if options.missing_compose { EARLIER_COMPOSE } else { options.compose_hash };
        let owner = if options.account_owns { owners[0].address() } else { safe };
        let app = kms.new_app(&setup, &executor, owner, allowed, options.source_device).await?;

        Ok(Self {
            anvil,
            rpc,
            chain_id,
            app,
            kms,
            owner,
            safe,
            safe_version: options.safe_version,
            release,
            singleton,
            threshold: options.threshold,
            generation: options.generation,
            owners,
            executor,
        })
    }

    pub fn rpc_url(&self) -> &Url {
        self.anvil.url()
    }

    /// The transaction of the Safe that makes these calls, with its next nonce.
    pub async fn propose(&self, calls: &[Call]) -> Result<SafeTx, SceneError> {
        let nonce: U256 = self.rpc.ask(self.safe, &Safe::nonceCall {}).await?;
        Ok(propose(calls, self.release.multi_send_call_only, nonce)?)
    }

    pub fn hashes(&self, tx: &SafeTx) -> SafeTxHashes {
        hashes(tx, self.chain_id, self.safe, self.safe_version)
    }

    /// Signatures of the first owners, as many as the Safe asks for, packed for its execution.
    pub fn sign(&self, tx: &SafeTx) -> Bytes {
        let hash = self.hashes(tx).safe_tx_hash;
        let signed: Vec<(Address, OwnerSignature)> = self.owners[..self.threshold]
            .iter()
            .map(|owner| (owner.address(), owner.sign(hash)))
            .collect();
        pack(&signed).expect("every owner is there once")
    }
}

/// The owners, and the executor, which is the last funded account and never an owner.
fn cast(threshold: usize, owners: usize) -> Result<(Vec<Wallet>, Wallet), SceneError> {
    const MAX: usize = Wallet::FUNDED - 1;
    let error = SceneError::Owners { threshold, owners, max: MAX };
    if !(1..=MAX).contains(&owners) || !(1..=owners).contains(&threshold) {
        return Err(error);
    }
    let mut wallets: Vec<Wallet> = (0..).map_while(Wallet::funded).collect();
    let executor = wallets.pop().ok_or(error)?;
    wallets.truncate(owners);
    Ok((wallets, executor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_safe_needs_owners_that_reach_its_threshold() {
        for (threshold, owners) in [(0, 1), (1, 0), (3, 2), (1, 10)] {
            assert!(cast(threshold, owners).is_err(), "{threshold} of {owners}");
        }
        let (owners, executor) = cast(9, 9).unwrap();
        assert_eq!(owners.len(), 9);
        assert!(owners.iter().all(|owner| owner.address() != executor.address()));
    }
}
