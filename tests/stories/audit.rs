//! The ledger of an app, of every generation and whoever owns it: complete, with who acted and what
//! it changed, true at every block, and told apart from what the chain says.

use alloy::{
    primitives::{Address, B256, Bytes, U256, keccak256},
    providers::Provider,
    rpc::types::TransactionRequest,
    sol,
    sol_types::{SolCall, SolValue},
};
use countersign::{
    chain::Chain,
    devnet::{Wallet, execute},
    dstack::Generation,
    owner::Call,
    request::ids::AppId,
    watch::attribute::attribute,
};
use serde_json::{Value, json};

use crate::world::{Api, DEPTH, Running, World, eventually, process::cli};

sol! {
    function addComposeHash(bytes32 composeHash) external;
    function removeComposeHash(bytes32 composeHash) external;
    function addDevice(bytes32 deviceId) external;
    function removeDevice(bytes32 deviceId) external;
    function setAllowAnyDevice(bool allow) external;
    function setRequireTcbUpToDate(bool required) external;
    function disableUpgrades() external;
    function transferOwnership(address newOwner) external;
    function acceptOwnership() external;
    function allowedComposeHashes(bytes32) external view returns (bool);
    function allowedDeviceIds(bytes32) external view returns (bool);
    function allowAnyDevice() external view returns (bool);
    function owner() external view returns (address);
    function enableModule(address module) external;
    function execTransactionFromModule(address to, uint256 value, bytes data, uint8 operation) external returns (bool);
    function scheduleBatch(address[] targets, uint256[] values, bytes[] payloads, bytes32 predecessor, bytes32 salt, uint256 delay) external;
    function executeBatch(address[] targets, uint256[] values, bytes[] payloads, bytes32 predecessor, bytes32 salt) external payable;
    function hashOperationBatch(address[] targets, uint256[] values, bytes[] payloads, bytes32 predecessor, bytes32 salt) external pure returns (bytes32);
    function deployAndRegisterApp(address initialOwner, bool disableUpgrades, bool allowAnyDevice, bytes32 initialDeviceId, bytes32 initialComposeHash) external returns (address appId);
}

const COMPOSE: B256 = B256::repeat_byte(0xc1);
const DEVICE: B256 = B256::repeat_byte(0xd1);
const OTHER: B256 = B256::repeat_byte(0xd2);

/// A world whose settings name the app, so that it is watched without a request.
async fn watched(generation: Generation) -> World {
    let mut world = World::with(|town| town.generation = generation).await;
    world.settings.chains[0].apps = vec![world.town.chain.app];
    world
}

fn app(world: &World) -> AppId {
    world.town.chain.app
}

/// The owners of the Safe sign and execute calls, and the hash of what they signed.
async fn by_the_safe(world: &World, calls: &[(Address, Vec<u8>)]) -> Value {
    let chain = &world.town.chain;
    let calls: Vec<Call> = calls
        .iter()
        .map(|(to, data)| Call { to: *to, value: U256::ZERO, data: data.clone().into() })
        .collect();
    let tx = chain.propose(&calls).await.unwrap();
    let signatures = chain.sign(&tx);
    let executed = execute(&chain.rpc, &chain.executor, chain.safe, &tx, &signatures).await;
    assert!(executed.unwrap().success);
    let hash = chain.hashes(&tx).safe_tx_hash;
    json!({ "kind": "safe", "address": chain.safe.to_string(), "safe_tx_hash": hash })
}

/// A module acts for the Safe, without a signature.
async fn by_the_module(world: &World, module: &Wallet, data: Vec<u8>) -> Value {
    let chain = &world.town.chain;
    let call = execTransactionFromModuleCall {
        to: chain.app.0,
        value: U256::ZERO,
        data: data.into(),
        operation: 0,
    };
    chain.rpc.send(module, chain.safe, call.abi_encode().into()).await.unwrap();
    json!({ "kind": "module", "address": chain.safe.to_string(), "module": module.address().to_string() })
}

async fn by_the_account(world: &World, account: &Wallet, data: Vec<u8>) -> Value {
    world.town.chain.rpc.send(account, app(world).0, data.into()).await.unwrap();
    json!({ "kind": "account", "address": account.address().to_string() })
}

/// A timelock without a delay, to which the executor may propose and which anybody may execute.
async fn timelock(world: &World) -> Address {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/node_modules/@openzeppelin/contracts/build/contracts/TimelockController.json"
    );
    let artifact: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let code: Bytes = artifact["bytecode"].as_str().unwrap().parse().unwrap();
    let chain = &world.town.chain;
    let anybody = vec![Address::ZERO];
    let arguments = (U256::ZERO, vec![chain.executor.address()], anybody, Address::ZERO);
    let code = [code.to_vec(), arguments.abi_encode_params()].concat();
    chain.rpc.deploy(&chain.executor, code.into()).await.unwrap()
}

/// A timelock schedules and executes calls of the app as one operation.
async fn by_the_timelock(world: &World, timelock: Address, calls: &[Vec<u8>]) -> Value {
    let chain = &world.town.chain;
    let targets = vec![chain.app.0; calls.len()];
    let values = vec![U256::ZERO; calls.len()];
    let payloads: Vec<Bytes> = calls.iter().map(|call| call.clone().into()).collect();
    let (predecessor, salt) = (B256::ZERO, B256::ZERO);
    let schedule = scheduleBatchCall {
        targets: targets.clone(),
        values: values.clone(),
        payloads: payloads.clone(),
        predecessor,
        salt,
        delay: U256::ZERO,
    };
    let hash = hashOperationBatchCall {
        targets: targets.clone(),
        values: values.clone(),
        payloads: payloads.clone(),
        predecessor,
        salt,
    };
    let run = executeBatchCall { targets, values, payloads, predecessor, salt };
    let operation = chain.rpc.ask(timelock, &hash).await.unwrap();
    for call in [schedule.abi_encode(), run.abi_encode()] {
        chain.rpc.send(&chain.executor, timelock, call.into()).await.unwrap();
    }
    json!({ "kind": "timelock", "address": timelock.to_string(), "operation": operation })
}

/// What a ledger is to show: kind, who acted, and whether it changed anything.
type Told = (&'static str, Value, Option<bool>);

/// Everything that can happen to an app, by every kind of owner. `middle` is reached when about half
/// of it has happened.
async fn story(world: &World, generation: Generation, middle: impl AsyncFnOnce()) -> Vec<Told> {
    let chain = &world.town.chain;
    let (safe, to) = (chain.safe, chain.app.0);
    let (yes, no) = (Some(true), Some(false));
    let [module, account] = [5, 6].map(|funded| Wallet::funded(funded).unwrap());
    let add = |compose: B256| addComposeHashCall { composeHash: compose }.abi_encode();
    let device = |device: B256| addDeviceCall { deviceId: device }.abi_encode();
    let any = |allow: bool| setAllowAnyDeviceCall { allow }.abi_encode();
    let give = |owner: Address| transferOwnershipCall { newOwner: owner }.abi_encode();
    let deployment = json!({ "kind": "deployment" });
    let mut told = vec![
        ("upgraded", deployment.clone(), yes),
        ("ownership_transferred", deployment.clone(), yes),
        ("device_added", deployment.clone(), yes),
        ("compose_hash_added", deployment.clone(), yes),
        ("initialized", deployment, yes),
    ];

    let by = by_the_safe(world, &[(to, add(COMPOSE)), (to, device(DEVICE))]).await;
    told.extend([("compose_hash_added", by.clone(), yes), ("device_added", by, yes)]);
    let by = by_the_safe(world, &[(to, device(DEVICE))]).await;
    told.push(("device_added", by, no));
    let enable = enableModuleCall { module: module.address() }.abi_encode();
    by_the_safe(world, &[(safe, enable)]).await;
    let by = by_the_module(world, &module, any(true)).await;
    told.push(("allow_any_device_set", by, None));
    middle().await;
    let by = by_the_module(world, &module, any(true)).await;
    told.push(("allow_any_device_set", by, no));
    if generation >= Generation::G2 {
        let set = setRequireTcbUpToDateCall { required: true }.abi_encode();
        let by = by_the_safe(world, &[(to, set)]).await;
        told.push(("require_tcb_up_to_date_set", by, None));
    }
    let remove = removeDeviceCall { deviceId: OTHER }.abi_encode();
    let by = by_the_safe(world, &[(to, remove), (to, any(false))]).await;
    told.extend([("device_removed", by.clone(), no), ("allow_any_device_set", by, yes)]);

    let timelock = timelock(world).await;
    let by = by_the_safe(world, &[(to, give(timelock))]).await;
    if generation == Generation::G3 {
        told.push(("ownership_transfer_started", by, yes));
        let accept = acceptOwnershipCall {}.abi_encode();
        let by = by_the_timelock(world, timelock, &[accept]).await;
        told.push(("ownership_transferred", by, yes));
    } else {
        told.push(("ownership_transferred", by, yes));
    }
    let by = by_the_timelock(world, timelock, &[add(OTHER), device(OTHER)]).await;
    told.extend([("compose_hash_added", by.clone(), yes), ("device_added", by, yes)]);
    let by = by_the_timelock(world, timelock, &[give(account.address())]).await;
    if generation == Generation::G3 {
        told.push(("ownership_transfer_started", by, yes));
        let by = by_the_account(world, &account, acceptOwnershipCall {}.abi_encode()).await;
        told.push(("ownership_transferred", by, yes));
    } else {
        told.push(("ownership_transferred", by, yes));
    }
    let remove = removeComposeHashCall { composeHash: OTHER }.abi_encode();
    let by = by_the_account(world, &account, remove).await;
    told.push(("compose_hash_removed", by, yes));
    let by = by_the_account(world, &account, disableUpgradesCall {}.abi_encode()).await;
    told.push(("upgrades_disabled", by.clone(), None));
    by_the_account(world, &account, disableUpgradesCall {}.abi_encode()).await;
    told.push(("upgrades_disabled", by, no));
    told
}

fn chain(running: &Running) -> &Chain {
    running.service.chains.iter().next().unwrap()
}

async fn part(api: &Api, app: AppId, part: &str) -> Value {
    let answer = api.get(&format!("/v1/apps/8453/{app}{part}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.body
}

/// Waits until the ledger has everything up to the chain's head, back to the deployment, and it is
/// known who made each entry of it.
async fn known_to_the_end(world: &World, running: &Running, app: AppId) -> Vec<Value> {
    let head = world.town.chain.rpc.provider().get_block_number().await.unwrap();
    let mut now = running.service.clock.now();
    eventually("the whole ledger", async || {
        let (service, chain) = (&running.service, chain(running));
        // What was left for later is due.
        now += chrono::TimeDelta::minutes(1);
        let followed = service.store.head(chain.id()).await.unwrap()?.block.number;
        let is_whole = part(&running.api, app, "").await["is_whole"] == true;
        attribute(&service.store, chain, 100, now).await.unwrap();
        let ledger = part(&running.api, app, "/ledger").await.as_array().unwrap().clone();
        let all_known = ledger.iter().all(|one| one["acted_by"].is_object());
        (followed >= head && is_whole && all_known && !ledger.is_empty()).then_some(ledger)
    })
    .await
}

async fn tells_everything(generation: Generation) {
    let world = watched(generation).await;
    let mut running = None;
    let told = story(&world, generation, async || running = Some(world.start().await)).await;
    let running = running.unwrap();
    let ledger = known_to_the_end(&world, &running, app(&world)).await;

    let is_second = |entry: &&Value| entry["kind"] == "policy_changed";
    let first: Vec<&Value> = ledger.iter().filter(|entry| !is_second(entry)).collect();
    assert_eq!(first.len(), told.len(), "{generation}: {first:#?}");
    for (entry, (kind, by, changed)) in first.iter().zip(&told) {
        assert_eq!(entry["kind"], json!(kind), "{generation}");
        assert_eq!((&entry["acted_by"], kind), (by, kind), "{generation}: {entry:#}");
        assert_eq!(entry["changed"], json!(changed), "{generation}: {entry:#}");
        assert!(entry["decoded"].is_object() && entry["sender"].is_string(), "{entry:#}");
    }
    let second: Vec<&Value> = ledger.iter().filter(is_second).collect();
    assert_eq!(second.is_empty(), generation != Generation::G3);
    for entry in second {
        assert_eq!(entry["changed"], json!(false));
        let beside = first
            .iter()
            .find(|one| one["tx"] == entry["tx"] && one["acted_by"] == entry["acted_by"]);
        assert!(beside.is_some(), "{entry:#}");
    }
    agrees_at_every_block(&world, &running.api).await;
    agrees_now(&world, &running.api, generation).await;
    running.stop().await;
}

async fn asked<C: SolCall>(world: &World, call: C, at: u64) -> Option<C::Return> {
    let request = TransactionRequest::default().to(app(world).0).input(call.abi_encode().into());
    let answer = world.town.chain.rpc.provider().call(request).block(at.into()).await.unwrap();
    C::abi_decode_returns(&answer).ok()
}

/// As of every block the list is what the contract itself said at that block, and what else is told
/// is true.
async fn agrees_at_every_block(world: &World, api: &Api) {
    let app = app(world);
    let start = part(api, app, "").await["history_start"].as_u64().unwrap();
    let head = part(api, app, "/allowlist").await["head"]["number"].as_u64().unwrap();
    for at in start - 1..=head {
        let list = part(api, app, &format!("/allowlist?at={at}")).await;
        let entries = list["entries"].as_array().unwrap();
        assert_eq!(
            (list["is_whole"].clone(), list["warning"].is_null()),
            (json!(true), at >= start)
        );
        let listed = |kind: &str, value: B256| {
            entries.iter().any(|one| one["kind"] == kind && one["value"] == json!(value))
        };
        for value in [COMPOSE, OTHER, world.town.compose_hash.0, B256::repeat_byte(0xe0)] {
            let call = allowedComposeHashesCall::new((value,));
            let is_allowed = asked(world, call, at).await.unwrap_or_default();
            assert_eq!(listed("compose_hash", value), is_allowed, "{value} at {at}: {list:#}");
        }
        for value in [DEVICE, OTHER, world.town.nodes[0].device_id.0] {
            let call = allowedDeviceIdsCall::new((value,));
            let is_allowed = asked(world, call, at).await.unwrap_or_default();
            assert_eq!(listed("device", value), is_allowed, "{value} at {at}: {list:#}");
        }
        if let Some(any) = list["allow_any_device"].as_bool() {
            assert_eq!(asked(world, allowAnyDeviceCall {}, at).await, Some(any), "at {at}");
        }
        let owner = asked(world, ownerCall {}, at).await.map(|owner| owner.to_string());
        assert_eq!(list["owner"], json!(owner), "at {at}");
    }
    let beyond = api.get(&format!("/v1/apps/8453/{app}/allowlist?at={}", head + 1_000_000)).await;
    assert_eq!((beyond.status, beyond.body["code"].as_str()), (422, Some("beyond-head")));
}

/// Now everything is known: from events, or from the contract.
async fn agrees_now(world: &World, api: &Api, generation: Generation) {
    let now = part(api, app(world), "/allowlist").await;
    assert_eq!(now["unreadable"], Value::Null, "{now:#}");
    assert_eq!(now["generation"], json!(generation));
    let tcb = (generation >= Generation::G2).then_some(true);
    assert_eq!(now["require_tcb_up_to_date"], json!(tcb));
    assert_eq!(now["allow_any_device"], false);
    assert_eq!(now["upgrades_disabled"], true);
    assert_eq!(now["pending_owner"], Value::Null);
    assert!(now["implementation"].is_string());
    assert_eq!(part(api, app(world), "/drift").await, json!([]));
}

#[tokio::test]
async fn the_ledger_of_generation_0_tells_who_did_what() {
    tells_everything(Generation::G0).await;
}

#[tokio::test]
async fn the_ledger_of_generation_1_tells_who_did_what() {
    tells_everything(Generation::G1).await;
}

#[tokio::test]
async fn the_ledger_of_generation_2_tells_who_did_what() {
    tells_everything(Generation::G2).await;
}

#[tokio::test]
async fn the_ledger_of_generation_3_tells_who_did_what() {
    tells_everything(Generation::G3).await;
}

#[tokio::test]
async fn an_entry_names_the_request_that_brought_it_and_the_replica_that_uses_it() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = world.carry(api, &world.submission(&world.prepare().await)).await;
    let request = api.wait_for(&id, "running").await;
    let signed = api.proposal(&id).await["safe_tx_hash"].clone();
    known_to_the_end(&world, &running, app(&world)).await;
    let list = part(api, app(&world), "/allowlist").await;
    let entries = list["entries"].as_array().unwrap();
    let brought: Vec<&Value> =
        entries.iter().filter(|one| one["requests"] == json!([id])).collect();
    assert_eq!(brought.len(), 2, "compose hash and device: {list:#}");
    for entry in brought {
        assert_eq!(entry["replicas"], json!([request["replica"]["id"]]));
        assert_eq!(entry["acted_by"]["safe_tx_hash"], signed);
    }
    let others = entries.iter().filter(|one| one["requests"] == json!([]));
    for entry in others {
        assert_eq!(entry["replicas"], json!([]), "nobody here uses it: {entry:#}");
        assert_eq!(entry["acted_by"], json!({ "kind": "deployment" }));
    }
    let page = api.get(&format!("/apps/8453/{}", app(&world))).await.text;
    let replica = request["replica"]["id"].as_str().unwrap();
    assert!(page.contains(replica) && page.contains("deployment"), "{page}");
    running.stop().await;
}

#[tokio::test]
async fn a_long_ledger_comes_in_pages() {
    let world = watched(Generation::G3).await;
    let running = world.start().await;
    let all = known_to_the_end(&world, &running, app(&world)).await;
    let mut paged: Vec<Value> = vec![];
    let mut path = Some(format!("/v1/apps/8453/{}/ledger?limit=2", app(&world)));
    while let Some(here) = path.take() {
        let answer = running.api.get(&here).await;
        let rows = answer.body.as_array().unwrap();
        assert!((1..=2).contains(&rows.len()), "{}", answer.text);
        paged.extend(rows.iter().cloned());
        let link = answer.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        path = link.map(|link| {
            assert!(link.ends_with("; rel=\"next\""), "{link}");
            link[1..link.find('>').unwrap()].to_owned()
        });
    }
    assert_eq!(paged, all);
    for wrong in ["limit=0", "limit=10001", "cursor=x", "cursor=1", "other=1"] {
        let path = format!("/v1/apps/8453/{}/ledger?{wrong}", app(&world));
        assert!(matches!(running.api.get(&path).await.status, 400 | 422), "{wrong}");
    }
    running.stop().await;
}

#[tokio::test]
async fn who_acted_goes_with_what_a_reorganisation_took() {
    let world = watched(Generation::G2).await;
    let running = world.start().await;
    let before = known_to_the_end(&world, &running, app(&world)).await;
    let add = addDeviceCall { deviceId: DEVICE }.abi_encode();
    by_the_safe(&world, &[(app(&world).0, add)]).await;
    let with = known_to_the_end(&world, &running, app(&world)).await;
    assert_eq!(with.len(), before.len() + 1);
    world.town.chain.rpc.reorg(1).await.unwrap();
    world.mine(1).await;
    let after = known_to_the_end(&world, &running, app(&world)).await;
    assert_eq!(after, before);
    running.stop().await;
}

/// What the contract keeps is changed behind its back.
async fn overwrite(world: &World, app: AppId, slot: B256, value: B256) {
    let rpc = &world.town.chain.rpc;
    let _: bool = rpc.raw("anvil_setStorageAt", (app.0, slot, value)).await.unwrap();
}

#[tokio::test]
async fn drift_is_where_events_and_state_differ_and_silence_is_no_drift() {
    let mut world = World::new().await;
    let chain = &world.town.chain;
    let deploy = deployAndRegisterAppCall {
        initialOwner: chain.executor.address(),
        disableUpgrades: true,
        allowAnyDevice: true,
        initialDeviceId: DEVICE,
        initialComposeHash: COMPOSE,
    };
    let silent = AppId(chain.rpc.ask(chain.kms.address, &deploy).await.unwrap());
    chain.rpc.send(&chain.executor, chain.kms.address, deploy.abi_encode().into()).await.unwrap();
    world.settings.chains[0].apps = vec![silent];
    let running = world.start().await;
    let api = &running.api;
    known_to_the_end(&world, &running, silent).await;

    // `initialize` set both flags without an event.
    let head = part(api, silent, "/allowlist").await["head"]["number"].as_u64().unwrap();
    let flags =
        |list: &Value| (list["allow_any_device"].clone(), list["upgrades_disabled"].clone());
    let now = part(api, silent, "/allowlist").await;
    assert_eq!(flags(&now), (json!(true), json!(true)), "read from the contract");
    let then = part(api, silent, &format!("/allowlist?at={head}")).await;
    assert_eq!(flags(&then), (Value::Null, Value::Null), "events do not tell");
    assert_eq!(part(api, silent, "/drift").await, json!([]), "what no event told is no drift");

    // Now events tell, and the state is made to differ.
    let chain = &world.town.chain;
    let off = setAllowAnyDeviceCall { allow: false }.abi_encode();
    chain.rpc.send(&chain.executor, silent.0, off.into()).await.unwrap();
    known_to_the_end(&world, &running, silent).await;
    assert_eq!(part(api, silent, "/drift").await, json!([]));
    let slot = B256::with_last_byte(1);
    let any_device = B256::left_padding_from(&[1, 0]);
    overwrite(&world, silent, slot, any_device).await;
    let of_compose = keccak256([COMPOSE.0, B256::ZERO.0].concat());
    overwrite(&world, silent, of_compose, B256::ZERO).await;
    world.mine(1).await;
    known_to_the_end(&world, &running, silent).await;
    let drift = part(api, silent, "/drift").await;
    assert_eq!(
        drift,
        json!([
            { "kind": "compose_hash", "value": COMPOSE, "in_ledger": true, "on_chain": false },
            { "kind": "allow_any_device", "value": null, "in_ledger": false, "on_chain": true },
        ])
    );

    let page = api.get(&format!("/apps/8453/{silent}")).await.text;
    assert!(page.contains("the contract and the ledger differ (2)"), "{page}");
    assert!(page.contains("does not have it") && page.contains("any device is allowed"), "{page}");
    let (code, text, _) = audit(&world, api, silent, &[]).await;
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("disagree on 2 entries"), "{text}");
    running.stop().await;
}

/// Runs `countersign audit` against the service: exit code, standard output and standard error.
async fn audit(_: &World, api: &Api, app: AppId, more: &[&str]) -> (i32, String, String) {
    cli(api, &[&["audit", &app.to_string()], more].concat()).await
}

#[tokio::test]
async fn the_command_tells_the_same_in_every_format() {
    let world = watched(Generation::G2).await;
    let app = app(&world);
    let add = addDeviceCall { deviceId: DEVICE }.abi_encode();
    let by = by_the_safe(&world, &[(app.0, add)]).await;
    let running = world.start().await;
    let api = &running.api;
    let ledger = known_to_the_end(&world, &running, app).await;
    let safe = format!(
        "Safe {}, transaction {}",
        by["address"].as_str().unwrap(),
        by["safe_tx_hash"].as_str().unwrap()
    );

    let (code, table, stderr) = audit(&world, api, app, &[]).await;
    assert_eq!((code, stderr.as_str()), (0, ""), "{table}");
    for told in [&safe, "ledger and chain agree", "Owner", "the deployment", "deployment"] {
        assert!(table.contains(told), "{told}: {table}");
    }
    let (code, text, _) = audit(&world, api, app, &["--format", "json"]).await;
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["drift"]), (0, &json!([])));
    assert_eq!(json["entries"], part(api, app, "/allowlist").await["entries"]);
    let (code, csv, _) = audit(&world, api, app, &["--format", "csv"]).await;
    let file = api.get(&format!("/v1/apps/8453/{app}/allowlist/export?format=csv")).await.text;
    assert_eq!(code, 0, "{csv}");
    assert!(csv.contains(&safe) && csv.contains("upgrades_disabled,false"), "{csv}");
    assert_eq!(csv.lines().count(), file.lines().count(), "it is the file: {csv}\n{file}");
    assert_eq!(csv.lines().next(), file.lines().next());

    let (code, text, _) = audit(&world, api, app, &["--ledger", "--json"]).await;
    assert_eq!((code, serde_json::from_str::<Value>(&text).unwrap()), (0, json!(ledger)));
    let (code, csv, _) = audit(&world, api, app, &["--ledger", "--format", "csv"]).await;
    let file = api.get(&format!("/v1/apps/8453/{app}/ledger/export?format=csv")).await.text;
    assert_eq!((code, csv.lines().next()), (0, file.lines().next()), "{csv}");
    assert_eq!(csv.lines().count(), file.lines().count(), "it is the file: {csv}\n{file}");
    let (code, table, _) = audit(&world, api, app, &["--ledger"]).await;
    assert!(code == 0 && table.contains("WHAT HAPPENED") && table.contains(&safe), "{table}");

    let block = ledger[0]["block"]["number"].as_u64().unwrap().to_string();
    let (code, text, _) = audit(&world, api, app, &["--at", &block, "--format", "json"]).await;
    let then: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, then["entries"].as_array().unwrap().len()), (0, 2), "{text}");
    let (code, _, stderr) = audit(&world, api, app, &["--at", "1000000000"]).await;
    assert!(code == 1 && stderr.contains("beyond block"), "{stderr}");
    running.stop().await;
}

#[tokio::test]
async fn a_history_that_is_cut_off_is_said_to_be() {
    let world = watched(Generation::G2).await;
    let running = world.start().await;
    known_to_the_end(&world, &running, app(&world)).await;
    let stop = "update apps set history_is_whole = false, history_start = history_start + 1,
                ledger_from = history_start + 1";
    world.database.execute(stop).await;
    world.database.execute("delete from ledger").await;
    world.mine(DEPTH).await;
    let (code, table, stderr) = audit(&world, &running.api, app(&world), &["--no-wait"]).await;
    assert_eq!(code, 3, "{table}");
    assert!(stderr.contains("not known back to its deployment"), "{stderr}");
    let list = part(&running.api, app(&world), "/allowlist?at=0").await;
    assert_eq!((&list["is_whole"], &list["entries"]), (&json!(false), &json!([])));
    assert!(list["warning"].as_str().unwrap().contains("is not known"), "{list:#}");
    running.stop().await;
}
