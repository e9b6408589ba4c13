//! A Safe transaction is simulated before anybody signs: what is shown is what happens when it is
//! executed, for every version, and an endpoint that fails or lies gives an error.

use std::collections::{BTreeMap, BTreeSet};

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol,
    sol_types::{Revert, SolCall, SolError},
};
use countersign::{
    chain::{
        Chains, OwnerKind,
        simulate::{Outcome, Simulation, SimulationError, Subject},
    },
    config::{Overrides, Settings},
    devnet::{ChainScene, SceneOptions, Wallet, execute::execute},
    dstack::{Generation, Write},
    owner::Call,
    request::ids::{ComposeHash, DeviceId},
    safe::{Operation, SafeTx, SafeVersion},
};
use serde_json::{Value, json};
use url::Url;

use crate::world::node::{Manner, Node};

sol! {
    function transferOwnership(address newOwner) external;
    function disableUpgrades() external;
    function upgradeToAndCall(address newImplementation, bytes data) external;
    function enableModule(address module) external;
}

const COMPOSE: ComposeHash = ComposeHash(B256::repeat_byte(0xc7));
const DEVICE: DeviceId = DeviceId(B256::repeat_byte(0xd7));
const GUARD_SLOT: &str = "0x4a204f620c8c5ccdca3fd54d003badd85ba500436a431f0cbda4f558c93c34c8";
const STRANGER: Address = Address::repeat_byte(0x5a);

async fn scene(safe_version: SafeVersion, l1: bool, generation: Generation) -> ChainScene {
    drop(rustls::crypto::ring::default_provider().install_default());
    let l1_singleton = l1;
    ChainScene::start(SceneOptions {
        safe_version,
        l1_singleton,
        generation,
        ..SceneOptions::default()
    })
    .await
    .unwrap()
}

async fn simulate_over(
    scene: &ChainScene,
    tx: &SafeTx,
    urls: &[&Url],
) -> Result<Simulation, SimulationError> {
    let urls: Vec<&str> = urls.iter().map(|url| url.as_str()).collect();
    let chain = format!("{}={}", scene.chain_id, urls.join(","));
    let overrides = Overrides { chains: vec![chain], ..Overrides::default() };
    let chains = Chains::new(&Settings::read("", overrides).unwrap().chains).unwrap();
    let honest = format!("{}={}", scene.chain_id, scene.rpc_url());
    let overrides = Overrides { chains: vec![honest], ..Overrides::default() };
    let honest = Chains::new(&Settings::read("", overrides).unwrap().chains).unwrap();
    let honest = honest.get(scene.chain_id).unwrap();
    let at = honest.head().await.unwrap().block;
    let OwnerKind::Safe(safe) = honest.owner_kind(scene.safe, at).await.unwrap() else {
        panic!("it is a Safe")
    };
    let modules = honest.extensions(&safe, at).await.unwrap().modules;
    let wanted = Some((scene.app, COMPOSE, DEVICE));
    let subject = Subject { safe: &safe, tx, modules: &modules, wanted, also: &[], signed: None };
    chains.get(scene.chain_id).unwrap().simulate(subject, at).await
}

async fn simulate(scene: &ChainScene, tx: &SafeTx) -> Simulation {
    simulate_over(scene, tx, &[scene.rpc_url()]).await.unwrap()
}

fn adds(scene: &ChainScene) -> [Call; 2] {
    [Write::AddComposeHash(COMPOSE), Write::AddDevice(DEVICE)]
        .map(|write| Call::of_write(scene.app, &write))
}

fn call(to: Address, data: Vec<u8>) -> Call {
    Call { to, value: U256::ZERO, data: data.into() }
}

type Storage = BTreeMap<(Address, B256), (B256, B256)>;

/// Every slot that a mined transaction changed, as the node tells it.
async fn changed_by(scene: &ChainScene, tx: B256) -> Storage {
    let tracer = json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true } });
    let diff: Value = scene.rpc.raw("debug_traceTransaction", (tx, tracer)).await.unwrap();
    let mut found = Storage::new();
    for side in ["pre", "post"] {
        for (address, account) in diff[side].as_object().unwrap() {
            for (slot, word) in account["storage"].as_object().into_iter().flatten() {
                let key = (address.parse().unwrap(), slot.parse().unwrap());
                let value: B256 = word.as_str().unwrap().parse().unwrap();
                let both = found.entry(key).or_default();
                if side == "pre" { both.0 = value } else { both.1 = value }
            }
        }
    }
    found.retain(|_, (before, after)| before != after);
    found
}

fn foreseen(simulation: &Simulation) -> Storage {
    let changes = simulation.changes.iter();
    changes
        .map(|change| {
            let slot = change.place.parse().expect("nothing but storage changes");
            ((change.of.0, slot), (change.before, change.after))
        })
        .collect()
}

/// Simulates, executes, and compares: changed storage and who told of it.
async fn comes_as_foreseen(scene: &ChainScene, calls: &[Call]) -> Simulation {
    let tx = scene.propose(calls).await.unwrap();
    let simulation = simulate(scene, &tx).await;
    let executed =
        execute(&scene.rpc, &scene.executor, scene.safe, &tx, &scene.sign(&tx)).await.unwrap();
    assert_eq!(executed.success, simulation.outcome == Outcome::Succeeds, "{simulation:#?}");
    let changed = changed_by(scene, executed.tx_hash.0).await;
    assert_eq!(foreseen(&simulation), changed, "{}", scene.safe_version);
    let receipt: Value =
        scene.rpc.raw("eth_getTransactionReceipt", (executed.tx_hash.0,)).await.unwrap();
    let tellers = |logs: &Value| -> Vec<Address> {
        let logs = logs.as_array().unwrap();
        logs.iter().map(|log| log["address"].as_str().unwrap().parse().unwrap()).collect()
    };
    let told: Vec<Address> = simulation.events.iter().map(|event| event.by.0).collect();
    assert_eq!(told, tellers(&receipt["logs"]), "{}", scene.safe_version);
    simulation
}

async fn is_as_foreseen(version: SafeVersion, l1: bool, generation: Generation) {
    let scene = scene(version, l1, generation).await;
    let [compose, device] = adds(&scene);
    let batch = comes_as_foreseen(&scene, &[compose.clone(), device]).await;
    assert!(batch.is_as_expected(), "{version}: {batch:#?}");
    let (before, after) = (batch.before.unwrap(), batch.after.unwrap());
    assert_eq!(
        (before.may_boot, before.reason.as_str()),
        (Some(false), "Compose hash not allowed")
    );
    assert_eq!((before.compose_hash_allowed, before.device_listed), (Some(false), Some(false)));
    assert_eq!((after.may_boot, after.compose_hash_allowed), (Some(true), Some(true)));
    assert_eq!(batch.changes.len(), 3, "two entries and the nonce");

    // Adding what is there changes the nonce alone.
    let again = comes_as_foreseen(&scene, &[compose]).await;
    assert!(again.is_as_expected() && again.changes.len() == 1, "{version}: {again:#?}");

    // Later nonces are simulated as if their turn had come, and it is said.
    let mut later = scene.propose(&adds(&scene)).await.unwrap();
    later.nonce += U256::from(3);
    let later = simulate(&scene, &later).await;
    assert_eq!(later.outcome, Outcome::Succeeds);
    assert!(later.assumed.iter().any(|one| one.contains("nonce 2 to 4 come first")), "{later:?}");
}

#[tokio::test]
async fn what_every_version_of_a_safe_does_is_foreseen() {
    for version in SafeVersion::ALL {
        is_as_foreseen(version, true, Generation::G2).await;
    }
}

#[tokio::test]
async fn what_rollup_singletons_and_other_generations_do_is_foreseen() {
    is_as_foreseen(SafeVersion::V1_3_0, false, Generation::G0).await;
    is_as_foreseen(SafeVersion::V1_4_1, false, Generation::G1).await;
    is_as_foreseen(SafeVersion::V1_5_0, false, Generation::G3).await;
}

/// Acts as the Safe, without its owners.
async fn as_the_safe(scene: &ChainScene, to: Address, data: Vec<u8>) {
    let ether = U256::from(10).pow(U256::from(18));
    scene.rpc.set_balance(scene.safe, ether).await.unwrap();
    scene.rpc.impersonate(scene.safe).await.unwrap();
    scene.rpc.send_as(scene.safe, to, data.into()).await.unwrap();
}

#[tokio::test]
async fn a_refusal_of_the_app_is_told_whatever_the_safe_says() {
    for version in SafeVersion::ALL {
        let scene = scene(version, true, Generation::G2).await;
        let keeper = Wallet::funded(8).unwrap().address();
        let frozen = disableUpgradesCall {}.abi_encode();
        as_the_safe(&scene, scene.app.0, frozen).await;
        let upgrade =
            upgradeToAndCallCall { newImplementation: scene.singleton, data: Bytes::new() };
        let upgrade = [call(scene.app.0, upgrade.abi_encode())];
        let refused = simulate(&scene, &scene.propose(&upgrade).await.unwrap()).await;
        let why = refused.failure.clone().unwrap();
        assert!(why.contains("Upgrades are permanently disabled"), "{version}: {why}");

        let give = transferOwnershipCall { newOwner: keeper }.abi_encode();
        as_the_safe(&scene, scene.app.0, give).await;
        let tx = scene.propose(&adds(&scene)).await.unwrap();
        let refused = simulate(&scene, &tx).await;
        let why = refused.failure.clone().unwrap();
        assert!(why.contains(&format!("{} does not own the app", scene.safe)), "{version}: {why}");
        let expected =
            if version.failure_spends_nonce() { Outcome::SpendsNonce } else { Outcome::Reverts };
        assert_eq!(refused.outcome, expected, "{version}: {refused:#?}");
        assert!(!refused.is_as_expected());
        if version.failure_spends_nonce() {
            comes_as_foreseen(&scene, &adds(&scene)).await;
        } else {
            assert_eq!(refused.changes, [], "{version}: nothing happens");
        }
    }
}

/// Code that refuses every call with a reason.
fn refuser(reason: &str) -> Bytes {
    let data = Revert::from(reason).abi_encode();
    let length = u8::try_from(data.len()).unwrap();
    let head = [0x60, length, 0x60, 0x0c, 0x60, 0, 0x39, 0x60, length, 0x60, 0, 0xfd];
    [head.as_slice(), &data].concat().into()
}

#[tokio::test]
async fn guards_and_modules_are_told_of() {
    for version in [SafeVersion::V1_3_0, SafeVersion::V1_4_1, SafeVersion::V1_5_0] {
        let scene = scene(version, true, Generation::G2).await;
        let word = STRANGER.into_word();
        let _: Value =
            scene.rpc.raw("anvil_setStorageAt", (scene.safe, GUARD_SLOT, word)).await.unwrap();
        let tx = scene.propose(&adds(&scene)).await.unwrap();
        scene.rpc.set_code(STRANGER, &refuser("not on a Sunday")).await.unwrap();
        let refused = simulate(&scene, &tx).await;
        assert_eq!(refused.outcome, Outcome::Reverts, "{version}");
        let why = refused.failure.clone().unwrap();
        assert_eq!(why, format!("its guard {STRANGER} refuses: not on a Sunday"), "{version}");
        assert_eq!(refused.extensions, [format!("the guard {STRANGER} refuses")]);

        // It lets everything pass, and notes something of its own.
        let notes = Bytes::from_static(&[0x60, 1, 0x60, 9, 0x55, 0]);
        scene.rpc.set_code(STRANGER, &notes).await.unwrap();
        let passed = comes_as_foreseen(&scene, &adds(&scene)).await;
        assert_eq!(passed.extensions, [format!("the guard {STRANGER} is asked, and lets it pass")]);
        assert!(!passed.is_as_expected(), "what the guard notes is shown: {passed:#?}");
    }
    let scene = scene(SafeVersion::V1_4_1, false, Generation::G2).await;
    let enable = enableModuleCall { module: STRANGER }.abi_encode();
    let enabled = comes_as_foreseen(&scene, &[call(scene.safe, enable.clone())]).await;
    let loud = |part: &str| enabled.changes.iter().any(|change| change.words.starts_with(part));
    assert!(loud("THE MODULES: ") && !enabled.is_as_expected(), "{enabled:#?}");
    let present = simulate(&scene, &scene.propose(&adds(&scene)).await.unwrap()).await;
    assert!(present.is_as_expected() && present.extensions.is_empty(), "{present:#?}");
}

async fn delegate(scene: &ChainScene, code: &[u8]) -> SafeTx {
    scene.rpc.set_code(STRANGER, &Bytes::copy_from_slice(code)).await.unwrap();
    let next = scene.propose(&adds(scene)).await.unwrap().nonce;
    SafeTx::new(call(STRANGER, vec![]), Operation::DelegateCall, next)
}

#[tokio::test]
async fn a_hostile_delegate_call_is_loud_and_cannot_run_away() {
    let scene = scene(SafeVersion::V1_4_1, true, Generation::G2).await;
    // sstore(0, 0xdead), sstore(4, 1)
    let takes_over = [0x61, 0xde, 0xad, 0x60, 0, 0x55, 0x60, 1, 0x60, 4, 0x55, 0];
    let taken = simulate(&scene, &delegate(&scene, &takes_over).await).await;
    assert_eq!(taken.outcome, Outcome::Succeeds);
    assert!(!taken.is_as_expected());
    let words: BTreeSet<&str> = taken.changes.iter().map(|one| one.words.as_str()).collect();
    let dead = "0x000000000000000000000000000000000000dEaD";
    let code = format!("THE CODE OF THE SAFE: {} becomes {dead}", scene.singleton);
    assert!(words.contains(code.as_str()), "{words:?}");
    assert!(words.contains("THE THRESHOLD: 2 becomes 1"), "as it is, not as it runs: {words:?}");

    let for_ever = [0x5b, 0x60, 0, 0x56];
    let endless = simulate(&scene, &delegate(&scene, &for_ever).await).await;
    assert_eq!(endless.outcome, Outcome::Reverts);
    let why = endless.failure.clone().unwrap();
    let begins = format!("{STRANGER} refuses: the machine ends it: OutOfGas");
    assert!(why.starts_with(&begins) && why.contains("GS013"), "{why}");

    // for (i = 0;; i++) sload(i)
    let reads = [0x60, 0, 0x5b, 0x80, 0x54, 0x50, 0x60, 1, 0x01, 0x60, 2, 0x56];
    let tx = delegate(&scene, &reads).await;
    let stopped = simulate_over(&scene, &tx, &[scene.rpc_url()]).await;
    assert!(matches!(stopped, Err(SimulationError::TooManyReads)), "{stopped:?}");
}

#[tokio::test]
async fn an_endpoint_that_lies_or_fails_gives_no_wrong_picture() {
    let scene = scene(SafeVersion::V1_4_1, false, Generation::G2).await;
    let tx = scene.propose(&adds(&scene)).await.unwrap();
    let honest = simulate(&scene, &tx).await;
    let node = Node::before(scene.rpc_url()).await;
    let url = node.url();
    assert_eq!(simulate_over(&scene, &tx, &[&url]).await.unwrap(), honest);
    let calls: usize = node.take_calls().values().sum();
    assert!(calls < 60, "{calls} calls");

    node.set(Manner::EmptiesStorage);
    let differ = simulate_over(&scene, &tx, &[scene.rpc_url(), &url]).await;
    assert!(matches!(differ, Err(SimulationError::Chain(_))), "{differ:?}");
    let alone = simulate_over(&scene, &tx, &[&url]).await.unwrap();
    assert_eq!(alone.failure.as_deref(), Some("it does not answer as a Safe does"));

    node.set(Manner::LimitsRate);
    match simulate_over(&scene, &tx, &[&url]).await {
        Ok(simulation) => assert_eq!(simulation, honest),
        Err(error) => assert!(matches!(error, SimulationError::Chain(_)), "{error}"),
    }
    drop(node);
    let silent = simulate_over(&scene, &tx, &[&url]).await;
    assert!(matches!(silent, Err(SimulationError::Chain(_))), "{silent:?}");
}
