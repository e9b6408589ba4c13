//! A Safe that owns a Safe, in every combination of versions, on the real contracts: which can sign
//! for which, what its owners sign for that, and that approving on chain always works.

use alloy::{
    primitives::{Address, Bytes, U256},
    sol_types::SolCall,
};
use countersign::{
    chain::Chain,
    config::{Overrides, Settings},
    devnet::{Artifacts, ChainScene, SceneOptions, Wallet, execute, safe_release::SafeRelease},
    owner::Call,
    request::{facts::BlockRef, ids::SafeTxHash},
    safe::{
        Operation, SafeTx, SafeTxHashes, SafeVersion,
        contract_signature::{can_sign_for, message, safe_message_hash},
        hashes,
        packed::{Part, pack},
        tx::Safe,
    },
};

use crate::world::{Api, install_tls};

/// A chain with the contracts of every version, and the way in which the service reads it.
struct Chains {
    scene: ChainScene,
    chain: Chain,
}

impl Chains {
    async fn start() -> Self {
        install_tls();
        let scene = ChainScene::start(SceneOptions::default()).await.unwrap();
        let artifacts = Artifacts::find().unwrap();
        for version in SafeVersion::ALL {
            let release = SafeRelease::of(version, scene.chain_id);
            release.deploy(&scene.rpc, &artifacts, &scene.executor).await.unwrap();
        }
        let flag = format!("{}={};calls_per_second=10000", scene.chain_id, scene.rpc_url());
        let overrides = Overrides { chains: vec![flag], ..Overrides::default() };
        let settings = Settings::read("", overrides).unwrap();
        let chain = Chain::new(settings.chains[0].clone(), &Api::bare());
        Self { scene, chain }
    }

    async fn new_safe(&self, version: SafeVersion, owners: &[Address], salt: u64) -> Address {
        let Self { scene, .. } = self;
        let release = SafeRelease::of(version, scene.chain_id);
        let threshold = owners.len();
        let singleton = release.singleton(false);
        release
            .new_safe(&scene.rpc, &scene.executor, singleton, owners.to_vec(), threshold, salt)
            .await
            .unwrap()
    }

    async fn head(&self) -> BlockRef {
        self.chain.head().await.unwrap().block
    }

    fn hashes(&self, tx: &SafeTx, safe: Address, version: SafeVersion) -> SafeTxHashes {
        hashes(tx, self.scene.chain_id, safe, version)
    }

    async fn execute(&self, safe: Address, tx: &SafeTx, signatures: &Bytes) -> bool {
        let Self { scene, .. } = self;
        let executed = execute(&scene.rpc, &scene.executor, safe, tx, signatures).await;
        executed.is_ok_and(|executed| executed.success)
    }

    /// The nested Safe approves a hash of its parent, by a transaction of its own.
    async fn approve(
        &self,
        child: Address,
        version: SafeVersion,
        key: &Wallet,
        to: Address,
        hash: SafeTxHash,
    ) {
        let data = Safe::approveHashCall { hashToApprove: hash.0 }.abi_encode().into();
        let call = Call { to, value: U256::ZERO, data };
        let tx = SafeTx::new(call, Operation::Call, U256::ZERO);
        let hash = self.hashes(&tx, child, version).safe_tx_hash;
        let signatures = pack(&[(key.address(), key.sign(hash))]).unwrap();
        assert!(self.execute(child, &tx, &signatures).await, "{version} approves");
    }
}

/// A parent with a nested Safe and a key for owners does nothing, by signatures of both.
async fn sign_and_approve(chains: &Chains, parent: SafeVersion, child: SafeVersion, salt: u64) {
    let (key, of_child) = (&chains.scene.owners[0], &chains.scene.owners[1]);
    let nested = chains.new_safe(child, &[of_child.address()], salt).await;
    let safe = chains.new_safe(parent, &[nested, key.address()], salt).await;
    let nothing = |nonce: u64| {
        let call = Call { to: key.address(), value: U256::ZERO, data: Bytes::new() };
        SafeTx::new(call, Operation::Call, U256::from(nonce))
    };
    let tx = nothing(0);
    let hashes = chains.hashes(&tx, safe, parent);
    let what = message(parent, &hashes);
    let to_sign = safe_message_hash(&what, chains.scene.chain_id, nested, child);
    let data = Bytes::from(of_child.sign(SafeTxHash(to_sign)).to_bytes());
    let both = |part: Part, hash| {
        pack(&[(nested, part), (key.address(), Part::from(key.sign(hash)))]).unwrap()
    };
    let at = chains.head().await;
    let told = chains.chain.contract_signed(safe, nested, parent, &hashes, &data, at);
    let told = told.await.unwrap();
    let can = can_sign_for(child, parent);
    assert_eq!(told, can, "{child} asked by {parent}");
    let part = Part::Contract { owner: nested, data };
    let executed = chains.execute(safe, &tx, &both(part, hashes.safe_tx_hash)).await;
    assert_eq!(executed, can, "{parent} with a signature of {child}");

    let tx = nothing(u64::from(can));
    let hash = chains.hashes(&tx, safe, parent).safe_tx_hash;
    let marker = both(Part::ApprovedHash(nested), hash);
    assert!(!chains.execute(safe, &tx, &marker).await, "not approved yet");
    chains.approve(nested, child, of_child, safe, hash).await;
    let at = chains.head().await;
    let told = chains.chain.approved(safe, hash, &[nested, key.address()], at).await.unwrap();
    assert_eq!(told, [true, false], "{parent}");
    assert!(chains.execute(safe, &tx, &marker).await, "{parent} approved by {child}");
}

#[tokio::test]
async fn a_nested_safe_signs_where_it_can_and_approves_everywhere() {
    let chains = Chains::start().await;
    let mut salt = 1_000;
    for parent in SafeVersion::ALL {
        for child in SafeVersion::ALL {
            salt += 1;
            sign_and_approve(&chains, parent, child, salt).await;
        }
    }
}
