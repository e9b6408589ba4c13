//! A chain with an app on it, and a Phala Cloud that believes it.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use alloy::{
    primitives::{Address, B256, address},
    providers::{DynProvider, Provider, ProviderBuilder},
};
use chrono::DateTime;
use countersign::{
    clock::ManualClock,
    devnet::cloud::{
        CloudConfig, CloudEmulator, EmulatedNode, EmulatedSource, IssuedToken, SwitchChange,
    },
    phala::PhalaCloud,
    request::ids::{AppId, ChainId, ComposeHash, DeviceId, NodeId, SourceCvm, TxHash},
    wire::Http,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub const SOURCE: &str = "0b7c4a52-6d7e-4f0a-9c1d-2f3a4b5c6d7e";
pub const APP: Address = address!("a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3");
const COMPOSE_FILE: &str = r#"{"docker_compose_file":"services:\n  web:\n    image: nginx\n","manifest_version":2,"name":"app","runner":"docker-compose"}"#;
/// The first account that anvil unlocks.
const SENDER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");

/// The least of an app: `addComposeHash` (which says so in a log) and `addDevice` set a slot named
/// by their argument, and every read answers with the slot named by its argument, or slot zero.
const APP_CODE: &str = concat!(
    "0x60003560e01c",
    "8063dfc77223146025576",
    "32a81972814605957",
    "600435546000526020",
    "6000f3",
    "5b6001600435556004356000527ffecb34306dd9d8b785b54d65489d06afc8822a0893ddacedff40c50a4942d0af",
    "60206000a100",
    "5b60016004355500",
);

pub struct Scene {
    pub cloud: CloudEmulator,
    pub provider: DynProvider,
    anvil: Anvil,
}

impl Scene {
    pub async fn set() -> Self {
        // Already installed by another test is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let anvil = Anvil::start();
        let rpc: url::Url = anvil.rpc.parse().unwrap();
        let provider = ProviderBuilder::new().connect_http(rpc.clone()).erased();
        call(&provider, "anvil_setCode", json!([APP, APP_CODE])).await;
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let config = CloudConfig {
            rpc,
            chain_id: ChainId::BASE,
            kms_contract: address!("2f83172A49584C017F2B256F0FB2Dca14126Ba9C"),
            app: AppId(APP),
            workspace: "devnet".into(),
            api_key: "phak_devnet".into(),
            nodes: vec![node(5, "prod5"), node(6, "prod6")],
            source: EmulatedSource {
                id: SOURCE.parse().unwrap(),
                name: "payments-api".into(),
                node: 5,
                compose_file: COMPOSE_FILE.into(),
                compose_hash: compose_hash(),
            },
            boot_polls: 2,
            clock: Arc::new(ManualClock::at(now)),
        };
        Self { cloud: CloudEmulator::start(config).await.unwrap(), provider, anvil }
    }

    pub fn client(&self) -> PhalaCloud {
        self.client_with(Some(SecretString::from(self.cloud.api_key())))
    }

    pub fn client_with(&self, key: Option<SecretString>) -> PhalaCloud {
        PhalaCloud::new(Http::new().unwrap(), self.cloud.api_prefix().parse().unwrap(), key)
    }

    /// Turns switches the way people do, by JSON.
    pub fn switch(&self, change: Value) {
        self.cloud.control(serde_json::from_value::<SwitchChange>(change).unwrap());
    }

    pub async fn add_compose(&self, hash: ComposeHash) -> TxHash {
        self.write("0xdfc77223", hash.0).await
    }

    pub async fn add_device(&self, device: DeviceId) -> TxHash {
        self.write("0x2a819728", device.0).await
    }

    /// Everything the replica on node 6 needs; gives the transaction that added the hash.
    pub async fn approve(&self) -> TxHash {
        self.add_device(device(6)).await;
        self.add_compose(compose_hash()).await
    }

    async fn write(&self, selector: &str, argument: B256) -> TxHash {
        let data = format!("{selector}{}", alloy::hex::encode(argument));
        let transaction = json!({ "from": SENDER, "to": APP, "data": data });
        let receipt = call(&self.provider, "eth_sendTransactionSync", json!([transaction])).await;
        assert_eq!(receipt["status"], "0x1");
        receipt["transactionHash"].as_str().unwrap().parse().unwrap()
    }

    pub fn rpc(&self) -> &str {
        &self.anvil.rpc
    }

    pub fn lose_chain(&mut self) {
        self.anvil.end();
    }

    pub fn last_issued(&self) -> IssuedToken {
        self.cloud.issued().pop().expect("a token was issued")
    }
}

async fn call(provider: &DynProvider, method: &'static str, params: Value) -> Value {
    provider.raw_request(method.into(), params).await.unwrap()
}

pub fn source() -> SourceCvm {
    SOURCE.parse().unwrap()
}

pub fn node_six() -> NodeId {
    "6".parse().unwrap()
}

pub fn compose_hash() -> ComposeHash {
    ComposeHash(B256::from_slice(&Sha256::digest(COMPOSE_FILE)))
}

pub fn compose_file() -> &'static str {
    COMPOSE_FILE
}

pub fn device(node: u8) -> DeviceId {
    DeviceId(B256::repeat_byte(0xd0 | node))
}

fn node(id: u8, name: &str) -> EmulatedNode {
    let (device_id, region) = (device(id), "us-west".into());
    EmulatedNode { id: id.into(), name: name.into(), device_id, region }
}

/// Where npm put the tools.
pub fn node_modules() -> PathBuf {
    std::env::var_os("COUNTERSIGN_NODE_MODULES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("node_modules"),
        PathBuf::from,
    )
}

/// A chain of our own, gone when dropped.
struct Anvil {
    child: Child,
    rpc: String,
}

impl Anvil {
    fn start() -> Self {
        let program = node_modules().join("@foundry-rs/anvil-linux-amd64/bin/anvil");
        let mut child = Command::new(&program)
            .args(["--port", "0", "--chain-id", "8453"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error} (run npm ci)", program.display()));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("Listening on ").map(str::to_owned))
            .expect("anvil says where it listens");
        // Anvil stops when nobody reads what it prints.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, rpc: format!("http://{address}") }
    }

    fn end(&mut self) {
        // Ended already is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.end();
    }
}
