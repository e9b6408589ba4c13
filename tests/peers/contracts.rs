//! The contracts themselves, of every version that the devnet can put on a chain.

use alloy::primitives::{Address, B256};
use countersign::{
    devnet::{
        ChainScene, SceneOptions,
        execute::{execute, own_hash},
    },
    dstack::Write,
    owner::Call,
    request::ids::DeviceId,
    safe::{OwnerSignature, SafeVersion, packed::pack, tx::Safe},
};

use super::draw::{Signer, cases};

const TRANSACTIONS: usize = 60;

async fn start(safe_version: SafeVersion) -> ChainScene {
    // Whoever came first has installed it for all.
    drop(rustls::crypto::ring::default_provider().install_default());
    ChainScene::start(SceneOptions { safe_version, ..SceneOptions::default() }).await.unwrap()
}

#[tokio::test]
async fn every_deployed_version_hashes_as_we_do_and_takes_both_kinds_of_signature() {
    for version in SafeVersion::ALL {
        let scene = start(version).await;
        let separator = scene.rpc.ask(scene.safe, &Safe::domainSeparatorCall {}).await.unwrap();
        for case in cases(TRANSACTIONS) {
            let ours = scene.hashes(&case.tx);
            assert_eq!(ours.domain_hash, separator, "{version}");
            let own = own_hash(&scene.rpc, scene.safe, &case.tx).await.unwrap();
            assert_eq!(own, ours.safe_tx_hash, "{version}, {}", case.name());
        }
        takes_both_kinds(&scene).await;
    }
}

/// The first owner signs the EIP-712 document, the second with `eth_sign`, which 1.0.0 does not take
/// yet.
async fn takes_both_kinds(scene: &ChainScene) {
    let write = Write::AddDevice(DeviceId(B256::repeat_byte(0xee)));
    let tx = scene.propose(&[Call::of_write(scene.app, &write)]).await.unwrap();
    let hash = scene.hashes(&tx).safe_tx_hash;
    let [first, second] = [0, 1].map(|index| scene.owners[index].signer().clone());
    let second = if scene.safe_version > SafeVersion::V1_0_0 {
        Signer::eth_sign(second)
    } else {
        Signer::eip712(second)
    };
    let signed: Vec<(Address, OwnerSignature)> = [Signer::eip712(first), second]
        .iter()
        .map(|signer| (signer.address(), signer.sign(hash)))
        .collect();
    let signatures = pack(&signed).unwrap();
    let executed =
        execute(&scene.rpc, &scene.executor, scene.safe, &tx, &signatures).await.unwrap();
    assert!(executed.success, "{}", scene.safe_version);
}
