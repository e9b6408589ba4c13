//! The local chain: is it the real thing, does it do what the owners signed, and is it gone after?

use std::{error::Error, fs, path::Path, time::Duration};

use alloy::{
    primitives::{Address, B256, U256, keccak256},
    providers::Provider,
};
use countersign::{
    devnet::{
        Anvil, AnvilOptions, ChainScene, SceneOptions, chain_scene::MULTICALL3, execute,
        execute::own_hash,
    },
    dstack::{Generation, Read, Write, abi::DstackApp, read::decode_bool},
    owner::Call,
    request::ids::{AppId, ChainId, ComposeHash, DeviceId},
    safe::{
        SafeVersion,
        deployments::{find_multi_send_call_only, find_singleton},
        tx::Safe,
    },
};

const COMPOSE: ComposeHash = ComposeHash(B256::repeat_byte(0xaa));
const SOURCE: DeviceId = DeviceId(B256::repeat_byte(0xb0));
const REPLICA: DeviceId = DeviceId(B256::repeat_byte(0xb1));

fn options() -> SceneOptions {
    SceneOptions { compose_hash: COMPOSE, source_device: SOURCE, ..SceneOptions::default() }
}

async fn start(options: SceneOptions) -> ChainScene {
    // Whoever came first has installed it for all.
    drop(rustls::crypto::ring::default_provider().install_default());
    ChainScene::start(options).await.unwrap()
}

async fn allows(scene: &ChainScene, app: AppId, read: Read) -> bool {
    let call =
        alloy::rpc::types::TransactionRequest::default().to(app.0).input(read.calldata().into());
    decode_bool(&scene.rpc.provider().call(call).await.unwrap()).unwrap()
}

async fn code_hash(scene: &ChainScene, address: Address) -> B256 {
    keccak256(scene.rpc.code(address).await.unwrap())
}

fn both_writes(app: AppId) -> [Call; 2] {
    [Write::AddComposeHash(COMPOSE), Write::AddDevice(REPLICA)]
        .map(|write| Call::of_write(app, &write))
}

/// From an app that allows neither to one that allows both, by one signed batch.
async fn approve_both(options: SceneOptions) {
    let scene = start(SceneOptions { missing_compose: true, ..options }).await;
    let (app, release) = (scene.app, scene.release);
    let singleton = find_singleton(scene.singleton).expect("a canonical singleton");
    assert_eq!(singleton.version, scene.safe_version);
    // The package of 1.0.0 was built in a folder nobody knows any more, and the code names it.
    let is_published = scene.safe_version > SafeVersion::V1_0_0;
    let found = code_hash(&scene, singleton.address).await;
    assert_eq!(found == singleton.code_hash, is_published);
    let multi_send =
        find_multi_send_call_only(release.multi_send_call_only).expect("a canonical MultiSend");
    assert_eq!(code_hash(&scene, multi_send.address).await, multi_send.code_hash);
    assert!(!scene.rpc.code(MULTICALL3).await.unwrap().is_empty());

    let owner = scene.rpc.ask(app.0, &DstackApp::ownerCall {}).await.unwrap();
    assert_eq!(owner, scene.safe);
    let version = scene.rpc.ask(scene.safe, &Safe::VERSIONCall {}).await.unwrap();
    assert_eq!(version.parse(), Ok(scene.safe_version));
    assert!(allows(&scene, app, Read::AllowedDevice(SOURCE)).await);
    for read in [Read::AllowedComposeHash(COMPOSE), Read::AllowedDevice(REPLICA)] {
        assert!(!allows(&scene, app, read).await, "{read:?} before");
    }

    let tx = scene.propose(&both_writes(app)).await.unwrap();
    let own = own_hash(&scene.rpc, scene.safe, &tx).await.unwrap();
    assert_eq!(own, scene.hashes(&tx).safe_tx_hash, "the Safe hashes as we do");
    let signatures = scene.sign(&tx);
    assert_eq!(signatures.len(), 2 * 65);
    let executed =
        execute(&scene.rpc, &scene.executor, scene.safe, &tx, &signatures).await.unwrap();
    assert!(executed.success, "ExecutionSuccess");

    for read in [Read::AllowedComposeHash(COMPOSE), Read::AllowedDevice(REPLICA)] {
        assert!(allows(&scene, app, read).await, "{read:?} after");
    }
    let boots = scene.kms.is_app_allowed(&scene.rpc, app, COMPOSE, REPLICA).await.unwrap();
    assert_eq!(boots, Ok(()));
}

#[tokio::test]
async fn safes_before_1_3_0_approve_too() {
    for safe_version in [SafeVersion::V1_0_0, SafeVersion::V1_1_1, SafeVersion::V1_2_0] {
        for chain_id in [ChainId::BASE, ChainId::ANVIL] {
            approve_both(SceneOptions { safe_version, chain_id, ..options() }).await;
        }
    }
}

#[tokio::test]
async fn the_singletons_for_ethereum_approve_too() {
    for safe_version in [SafeVersion::V1_3_0, SafeVersion::V1_4_1, SafeVersion::V1_5_0] {
        approve_both(SceneOptions { safe_version, l1_singleton: true, ..options() }).await;
    }
}

#[tokio::test]
async fn safe_1_3_0_approves_an_app_of_generation_1() {
    let safe_version = SafeVersion::V1_3_0;
    approve_both(SceneOptions { safe_version, generation: Generation::G1, ..options() }).await;
}

#[tokio::test]
async fn safe_1_3_0_of_the_older_set_approves_too() {
    let safe_version = SafeVersion::V1_3_0;
    approve_both(SceneOptions { safe_version, chain_id: ChainId::ANVIL, ..options() }).await;
}

#[tokio::test]
async fn safe_1_4_1_approves_an_app_of_generation_2() {
    let safe_version = SafeVersion::V1_4_1;
    approve_both(SceneOptions { safe_version, generation: Generation::G2, ..options() }).await;
}

#[tokio::test]
async fn safe_1_5_0_approves_an_app_of_generation_3() {
    let safe_version = SafeVersion::V1_5_0;
    approve_both(SceneOptions { safe_version, generation: Generation::G3, ..options() }).await;
}

#[tokio::test]
async fn a_replica_elsewhere_lacks_the_device_alone() {
    let scene = start(SceneOptions { threshold: 1, owners: 1, ..options() }).await;
    assert!(allows(&scene, scene.app, Read::AllowedComposeHash(COMPOSE)).await);
    let boots = |device| scene.kms.is_app_allowed(&scene.rpc, scene.app, COMPOSE, device);
    assert_eq!(boots(SOURCE).await.unwrap(), Ok(()));
    assert_eq!(boots(REPLICA).await.unwrap(), Err("Device not allowed".to_owned()));
}

#[tokio::test]
async fn what_fails_inside_with_safe_tx_gas_is_no_success() {
    let scene = start(options()).await;
    // The owner of the KMS is the executor, so the Safe may not do this.
    let stranger = Call { to: scene.kms.address, ..both_writes(scene.app)[0].clone() };
    let mut tx = scene.propose(&[stranger]).await.unwrap();
    let refused =
        execute(&scene.rpc, &scene.executor, scene.safe, &tx, &scene.sign(&tx)).await.unwrap_err();
    let reason = refused.source().map(ToString::to_string).unwrap_or_default();
    assert!(reason.contains("GS013"), "{reason}");
    tx.safe_tx_gas = U256::from(100_000);
    let executed =
        execute(&scene.rpc, &scene.executor, scene.safe, &tx, &scene.sign(&tx)).await.unwrap();
    assert!(!executed.success);
    let nonce = scene.rpc.ask(scene.safe, &Safe::nonceCall {}).await.unwrap();
    assert_eq!(nonce, U256::ONE, "the nonce is spent");
}

#[tokio::test]
async fn before_1_3_0_what_fails_inside_spends_the_nonce_at_once() {
    for safe_version in [SafeVersion::V1_0_0, SafeVersion::V1_1_1, SafeVersion::V1_2_0] {
        let scene = start(SceneOptions { safe_version, ..options() }).await;
        let stranger = Call { to: scene.kms.address, ..both_writes(scene.app)[0].clone() };
        for calls in [vec![stranger.clone()], vec![both_writes(scene.app)[0].clone(), stranger]] {
            let tx = scene.propose(&calls).await.unwrap();
            assert!(tx.gas_fields_are_zero());
            let signatures = scene.sign(&tx);
            let executed =
                execute(&scene.rpc, &scene.executor, scene.safe, &tx, &signatures).await.unwrap();
            assert!(!executed.success, "{safe_version}");
            let nonce = scene.rpc.ask(scene.safe, &Safe::nonceCall {}).await.unwrap();
            assert_eq!(nonce, tx.nonce + U256::ONE, "the nonce is spent");
        }
    }
}

#[tokio::test]
async fn a_key_may_own_an_app_and_a_reorg_takes_its_write_back() {
    let scene = start(options()).await;
    let (rpc, owner) = (&scene.rpc, &scene.owners[0]);
    let app =
        scene.kms.new_app(rpc, &scene.executor, owner.address(), COMPOSE, SOURCE).await.unwrap();
    let write = Write::AddDevice(REPLICA);
    rpc.send(owner, app.0, write.calldata()).await.unwrap();
    assert!(allows(&scene, app, Read::AllowedDevice(REPLICA)).await);
    let height = rpc.provider().get_block_number().await.unwrap();
    rpc.reorg(1).await.unwrap();
    assert_eq!(rpc.provider().get_block_number().await.unwrap(), height);
    assert!(!allows(&scene, app, Read::AllowedDevice(REPLICA)).await);

    rpc.impersonate(scene.safe).await.unwrap();
    rpc.set_balance(scene.safe, U256::from(10).pow(U256::from(18))).await.unwrap();
    rpc.send_as(scene.safe, scene.app.0, write.calldata()).await.unwrap();
    assert!(allows(&scene, scene.app, Read::AllowedDevice(REPLICA)).await);
}

#[tokio::test]
async fn a_block_time_does_not_slow_the_setting_down() {
    // Were the scene to wait for blocks, this test would not end today.
    let block_time = Some(Duration::from_hours(24));
    let scene = start(SceneOptions { block_time, ..options() }).await;
    assert!(allows(&scene, scene.app, Read::AllowedDevice(SOURCE)).await);
    drop(scene);

    let block_time = Some(Duration::from_millis(200));
    let scene = start(SceneOptions { block_time, ..options() }).await;
    let calls = [Call::of_write(scene.app, &Write::AddDevice(REPLICA))];
    let tx = scene.propose(&calls).await.unwrap();
    let executed =
        execute(&scene.rpc, &scene.executor, scene.safe, &tx, &scene.sign(&tx)).await.unwrap();
    assert!(executed.success, "mined by time alone");
}

/// Whether an anvil runs that was given this folder. Its guardian's helper, which has the folder on
/// its command line too, may be a moment behind.
fn runs(folder: &Path) -> bool {
    let folder = folder.to_str().unwrap();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("cmdline")).ok())
        .any(|line| {
            let mut words = line.split('\0');
            words.next().is_some_and(|program| program.ends_with("/anvil"))
                && words.any(|word| word == folder)
        })
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let scene = start(options()).await;
    let folder = scene.anvil.folder().to_owned();
    assert!(runs(&folder));
    drop(scene);
    assert!(!runs(&folder));
    assert!(!folder.exists());
}

#[tokio::test]
async fn an_anvil_may_be_dropped_as_soon_as_it_listens() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let options = AnvilOptions { chain_id: ChainId::BASE, block_time: None, epoch_blocks: 1 };
    for _ in 0..3 {
        let anvil = Anvil::start(options).await.unwrap();
        let folder = anvil.folder().to_owned();
        drop(anvil);
        assert!(!runs(&folder));
    }
}

#[tokio::test]
async fn a_start_that_is_given_up_ends() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let options = AnvilOptions { chain_id: ChainId::BASE, block_time: None, epoch_blocks: 1 };
    for patience in [2, 10, 20].map(Duration::from_millis) {
        // Dropping the unfinished start waits for the end of the process: this must return.
        drop(tokio::time::timeout(patience, Anvil::start(options)).await);
    }
}
