//! A chain with a Safe on it, and a Transaction Service that reads it.

use std::{num::NonZeroU32, sync::Arc};

use alloy::primitives::{Address, U256};
use chrono::TimeDelta;
use countersign::{
    clock::{Clock, ManualClock, SystemClock},
    devnet::{
        ChainScene, SceneOptions, Wallet,
        safe_service::{SafeServiceConfig, SafeServiceEmulator},
    },
    dstack::Write,
    owner::Call,
    request::ids::{ChainId, DeviceId, SafeTxHash},
    safe::{SafeTx, SafeVersion},
    safe_service::{Account, Origin, Post, SafeService},
    wire::{Http, Throttle},
};
use secrecy::SecretString;
use serde_json::Value;

use crate::world::install_tls;

/// The scene, set: a Safe of three owners, two of whom must sign.
pub struct Mailbox {
    pub chain: ChainScene,
    pub emulator: SafeServiceEmulator,
    pub clock: Arc<ManualClock>,
}

impl Mailbox {
    pub async fn set() -> Self {
        Self::of(SafeVersion::V1_4_1).await
    }

    pub async fn of(safe_version: SafeVersion) -> Self {
        install_tls();
        let options = SceneOptions { safe_version, ..SceneOptions::default() };
        let chain = ChainScene::start(options).await.expect("the scene is set");
        // What Safe's own client signs is dated by the machine.
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let emulator = start(&chain, clock.clone()).await;
        Self { chain, emulator, clock }
    }

    /// A second service of the same chain, with nothing in it.
    pub async fn another(&self) -> SafeServiceEmulator {
        start(&self.chain, self.clock.clone()).await
    }

    pub fn client(&self) -> SafeService {
        self.client_of(&self.emulator, None)
    }

    pub fn client_of(&self, emulator: &SafeServiceEmulator, key: Option<&str>) -> SafeService {
        let throttle =
            Arc::new(Throttle::new(self.clock.clone(), NonZeroU32::new(10_000).unwrap()));
        let root = emulator.root().parse().unwrap();
        let key = key.map(SecretString::from);
        SafeService::new(Http::new().unwrap(), &root, self.chain.chain_id, key, throttle)
    }

    pub fn account(&self) -> Account {
        let ChainScene { chain_id: chain, safe, safe_version: version, .. } = self.chain;
        Account { chain, safe, version }
    }

    /// A transaction of the Safe that allows a device.
    pub async fn tx(&self) -> SafeTx {
        let device = DeviceId(alloy::primitives::B256::repeat_byte(0xd1));
        let write = Write::AddDevice(device);
        let call = Call::of_write(self.chain.app, &write);
        self.chain.propose(&[call]).await.expect("it is proposed")
    }

    pub fn hash(&self, tx: &SafeTx) -> SafeTxHash {
        self.chain.hashes(tx).safe_tx_hash
    }

    pub fn owner(&self, number: usize) -> &Wallet {
        &self.chain.owners[number]
    }

    /// A proposal by somebody.
    pub fn post(&self, tx: &SafeTx, sender: &Wallet) -> Post {
        let sign = |hash| sender.sign(hash);
        Post::new(&self.account(), tx.clone(), sender.address(), sign, origin())
    }

    /// Turns switches the way people do, by JSON.
    pub fn switch(&self, change: Value) {
        self.emulator.control(serde_json::from_value(change).expect("there are such switches"));
    }

    pub async fn execute(&self, tx: &SafeTx) {
        let signatures = self.chain.sign(tx);
        let ChainScene { rpc, executor, safe, .. } = &self.chain;
        countersign::devnet::execute(rpc, executor, *safe, tx, &signatures).await.unwrap();
    }

    pub fn an_hour_passes(&self) {
        self.clock.advance(TimeDelta::hours(1));
    }
}

pub fn origin() -> Origin {
    Origin {
        url: Some("https://approve.example".into()),
        name: "Countersign".into(),
        note: "request 7".into(),
    }
}

async fn start(chain: &ChainScene, clock: Arc<ManualClock>) -> SafeServiceEmulator {
    let config = SafeServiceConfig { rpc: chain.rpc_url().clone(), chain_id: ChainId::BASE, clock };
    SafeServiceEmulator::start(config).await.expect("it starts")
}

/// A key that owns nothing.
pub fn stranger() -> Wallet {
    Wallet::funded(Wallet::FUNDED - 2).unwrap()
}

/// An empty call of the Safe to itself.
pub fn rejection(safe: Address, nonce: U256) -> SafeTx {
    let call = Call { to: safe, value: U256::ZERO, data: alloy::primitives::Bytes::new() };
    SafeTx::new(call, countersign::safe::Operation::Call, nonce)
}
