//! Transactions, owners and batches from a seed.
//!
//! `PEERS_SEED` sets the first one; each case has the next, and a failure names its own.

use std::env;

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    signers::SignerSync,
};
use alloy_signer_local::PrivateKeySigner;
use countersign::{
    owner::Call,
    request::ids::{ChainId, SafeTxHash},
    safe::{Operation, OwnerSignature, SafeTx, SafeVersion, signature::SignatureKind},
};
use serde_json::{Value, json};

use crate::world::tamper::{Choices, choices};

/// Bytes that one case draws from.
const BYTES: usize = 3 * 1024;
/// Longest data of a call.
const DATA_MAX: usize = 256;
const OWNERS_MAX: usize = 4;
const CALLS_MAX: usize = 6;

/// One case.
#[derive(Clone)]
pub struct Case {
    pub seed: u64,
    pub version: SafeVersion,
    pub chain: ChainId,
    pub safe: Address,
    pub tx: SafeTx,
    pub signers: Vec<Signer>,
    pub calls: Vec<Call>,
}

/// An owner, and how it signs.
#[derive(Clone)]
pub struct Signer {
    key: PrivateKeySigner,
    pub kind: SignatureKind,
}

/// So many cases, the versions in turn.
pub fn cases(count: usize) -> Vec<Case> {
    let first = env::var("PEERS_SEED").map_or(1, |text| text.parse().expect("it is a number"));
    println!("PEERS_SEED={first}");
    (0..count)
        .map(|index| {
            let seed = first + index as u64;
            Case::of(seed, SafeVersion::ALL[index % SafeVersion::ALL.len()])
        })
        .collect()
}

impl Case {
    fn of(seed: u64, version: SafeVersion) -> Self {
        let bytes = choices(seed, BYTES);
        let mut draw = Draw(Choices(&bytes));
        let chains = [1, 10, 8453, 84532, 31337, (1 << 53) - 1];
        Self {
            seed,
            version,
            chain: ChainId::new(chains[draw.0.below(chains.len())]).unwrap(),
            safe: draw.address(),
            tx: draw.transaction(),
            signers: (0..=draw.0.below(OWNERS_MAX)).map(|_| draw.signer()).collect(),
            calls: (0..=draw.0.below(CALLS_MAX)).map(|_| draw.call()).collect(),
        }
    }

    /// What a peer is told of it.
    pub fn question(&self, ask: &str) -> Value {
        json!({
            "ask": ask, "safe_version": self.version, "chain_id": self.chain,
            "safe": self.safe.to_string(), "safe_tx": self.tx,
        })
    }

    /// Says which case an assertion is about.
    pub fn name(&self) -> String {
        format!("PEERS_SEED={} on {}, chain {}", self.seed, self.version, self.chain)
    }
}

impl Signer {
    pub fn eip712(key: PrivateKeySigner) -> Self {
        Self { key, kind: SignatureKind::Eip712 }
    }

    pub fn eth_sign(key: PrivateKeySigner) -> Self {
        Self { key, kind: SignatureKind::EthSign }
    }

    pub fn address(&self) -> Address {
        self.key.address()
    }

    pub fn sign(&self, hash: SafeTxHash) -> OwnerSignature {
        let mut bytes = if self.kind == SignatureKind::EthSign {
            self.key.sign_message_sync(hash.0.as_slice())
        } else {
            self.key.sign_hash_sync(&hash.0)
        }
        .expect("a local key signs")
        .as_bytes();
        if self.kind == SignatureKind::EthSign {
            bytes[64] += 4;
        }
        OwnerSignature::from_bytes(&bytes).expect("a signature just made is one")
    }

    /// With its key, for a peer that signs.
    pub fn question(&self) -> Value {
        json!({ "key": self.key.to_bytes(), "kind": self.kind })
    }
}

struct Draw<'a>(Choices<'a>);

impl Draw<'_> {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.0.byte()).collect()
    }

    fn address(&mut self) -> Address {
        Address::from_slice(&self.bytes(20))
    }

    /// Zero, small, or anything that fits.
    fn number(&mut self) -> U256 {
        match self.0.below(3) {
            0 => U256::ZERO,
            1 => U256::from(self.0.below(1 << 16)),
            _ => U256::from_be_slice(&self.bytes(32)),
        }
    }

    fn address_or_zero(&mut self) -> Address {
        if self.0.below(2) == 0 { Address::ZERO } else { self.address() }
    }

    fn data(&mut self) -> Bytes {
        let length = if self.0.below(5) == 0 { 0 } else { self.0.below(DATA_MAX) };
        self.bytes(length).into()
    }

    fn call(&mut self) -> Call {
        Call { to: self.address(), value: self.number(), data: self.data() }
    }

    fn transaction(&mut self) -> SafeTx {
        let operation =
            if self.0.below(2) == 0 { Operation::Call } else { Operation::DelegateCall };
        SafeTx {
            safe_tx_gas: self.number(),
            base_gas: self.number(),
            gas_price: self.number(),
            gas_token: self.address_or_zero(),
            refund_receiver: self.address_or_zero(),
            ..SafeTx::new(self.call(), operation, self.number())
        }
    }

    fn signer(&mut self) -> Signer {
        let key = PrivateKeySigner::from_bytes(&B256::from_slice(&self.bytes(32)));
        let key = key.expect("nearly every number is a key");
        if self.0.below(2) == 0 { Signer::eip712(key) } else { Signer::eth_sign(key) }
    }
}
