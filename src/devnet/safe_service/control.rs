//! The switches: what a real service does now and then, and what a hostile one might.

use alloy::primitives::{Address, Bytes, U256};
use axum::{
    Json,
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Service,
    refusal::Refusal,
    state::{Confirmation, Mail, World},
};
use crate::{
    owner::Call,
    request::ids::SafeTxHash,
    safe::{Operation, SafeTx, SafeVersion, hashes},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// What the service says about itself.
    About,
    Safe,
    /// The transactions of a Safe.
    List,
    Propose,
    /// One transaction.
    Detail,
    Delete,
    Confirmations,
    Confirm,
    Delegates,
}

/// A failure ordered in advance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFailure {
    pub endpoint: Endpoint,
    pub status: u16,
    #[serde(default)]
    pub body: Option<Value>,
    /// Seconds.
    #[serde(default)]
    pub retry_after: Option<u64>,
    /// Seconds until calls are left again: the `X-RateLimit-` headers.
    #[serde(default)]
    pub rate_limit_reset: Option<u64>,
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

/// Answers that are not true.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Lies {
    /// Transactions carry a hash that is not theirs.
    pub wrong_hash: bool,
    /// Confirmations are said to be of owners, and are signed by a stranger.
    pub foreign_signature: bool,
    /// Transactions go to somebody else than was signed.
    pub swap_call: bool,
}

/// How the switches stand.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Switches {
    pub lies: Lies,
    pub chain_id: Option<u64>,
    /// Executions are not noticed.
    pub stale_index: bool,
    pub listed_delegatecalls_only: bool,
    pub banned: Vec<Address>,
    pub api_key: Option<String>,
    pub fail_next: Vec<PlannedFailure>,
    pub swallow_next: Vec<Endpoint>,
}

/// A change of switches; what is left out stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MailboxChange {
    pub wrong_hash: Option<bool>,
    pub foreign_signature: Option<bool>,
    pub swap_call: Option<bool>,
    /// The chain that it says it is of; 0: the true one.
    pub chain_id: Option<u64>,
    pub stale_index: Option<bool>,
    pub listed_delegatecalls_only: Option<bool>,
    /// Safes and signers that are refused.
    pub banned: Option<Vec<Address>>,
    /// The key that is demanded; empty: none.
    pub api_key: Option<String>,
    pub fail_next: Option<Vec<PlannedFailure>>,
    /// Calls that have their effect and are not answered.
    pub swallow_next: Option<Vec<Endpoint>>,
    /// Takes a transaction out at once.
    pub delete: Option<SafeTxHash>,
    /// Puts an empty call of the Safe to itself beside a transaction, at the same nonce.
    pub replace: Option<SafeTxHash>,
    /// Lets an owner have signed, whatever the bytes are: in place of what it gave, if it did.
    pub plant: Option<Planted>,
}

/// A confirmation that nobody checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planted {
    pub hash: SafeTxHash,
    pub owner: Address,
    pub signature: Bytes,
    #[serde(rename = "type")]
    pub kind: PlantedKind,
}

/// As what it is given back.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PlantedKind {
    Eoa,
    EthSign,
    ApprovedHash,
    ContractSignature,
}

impl PlantedKind {
    fn name(self) -> &'static str {
        match self {
            Self::Eoa => "EOA",
            Self::EthSign => "ETH_SIGN",
            Self::ApprovedHash => "APPROVED_HASH",
            Self::ContractSignature => "CONTRACT_SIGNATURE",
        }
    }
}

impl World {
    pub fn apply(&mut self, change: MailboxChange) {
        fn set<T>(slot: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *slot = value;
            }
        }
        let switches = &mut self.switches;
        set(&mut switches.lies.wrong_hash, change.wrong_hash);
        set(&mut switches.lies.foreign_signature, change.foreign_signature);
        set(&mut switches.lies.swap_call, change.swap_call);
        set(&mut switches.chain_id, change.chain_id.map(|id| Some(id).filter(|id| *id > 0)));
        set(&mut switches.stale_index, change.stale_index);
        set(&mut switches.listed_delegatecalls_only, change.listed_delegatecalls_only);
        set(&mut switches.banned, change.banned);
        set(
            &mut switches.api_key,
            change.api_key.map(|key| Some(key).filter(|key| !key.is_empty())),
        );
        set(&mut switches.fail_next, change.fail_next);
        set(&mut switches.swallow_next, change.swallow_next);
        if let Some(hash) = change.delete {
            self.mail.retain(|mail| mail.hash != hash);
        }
        if let Some(hash) = change.replace {
            self.replace(hash);
        }
        if let Some(planted) = change.plant {
            self.plant(planted);
        }
    }

    fn plant(&mut self, planted: Planted) {
        let Planted { hash, owner, signature, kind } = planted;
        let at = self.now();
        let Some(mail) = self.mail(hash) else { return };
        mail.confirmations.retain(|given| given.owner != owner);
        mail.confirm(Confirmation { owner, at, signature, kind: kind.name(), tx: None });
    }

    /// What owners do to reject a transaction.
    fn replace(&mut self, hash: SafeTxHash) {
        let (now, chain) = (self.now(), self.config.chain_id);
        let Some(mail) = self.mail(hash).cloned() else { return };
        let call = Call { to: mail.safe, value: U256::ZERO, data: Bytes::new() };
        let tx = SafeTx::new(call, Operation::Call, mail.tx.nonce);
        // Whose version it is, its own hash tells.
        let version = SafeVersion::ALL
            .into_iter()
            .find(|version| hashes(&mail.tx, chain, mail.safe, *version).safe_tx_hash == mail.hash);
        let Some(version) = version else { return };
        let hash = hashes(&tx, chain, mail.safe, version).safe_tx_hash;
        let rejection = Mail { tx, hash, origin: None, confirmations: vec![], ..mail };
        self.mail.push(Mail { submitted: now, modified: now, trusted: true, ..rejection });
    }

    /// The failure that is due for a call, if one is.
    pub fn failure(&mut self, endpoint: Endpoint) -> Option<PlannedFailure> {
        let failures = &mut self.switches.fail_next;
        let place = failures.iter().position(|failure| failure.endpoint == endpoint)?;
        failures[place].times = failures[place].times.saturating_sub(1);
        let failure = failures[place].clone();
        if failure.times == 0 {
            failures.remove(place);
        }
        Some(failure)
    }

    /// Whether the answer to a call gets lost.
    pub fn is_swallowed(&mut self, endpoint: Endpoint) -> bool {
        let swallowed = &mut self.switches.swallow_next;
        let place = swallowed.iter().position(|one| *one == endpoint);
        place.map(|place| swallowed.remove(place)).is_some()
    }
}

pub(super) async fn show(State(service): State<Service>) -> Response {
    Json(record(&service)).into_response()
}

pub(super) async fn change(State(service): State<Service>, request: Request) -> Response {
    match Json::<MailboxChange>::from_request(request, &()).await {
        Ok(Json(change)) => {
            service.world().apply(change);
            Json(record(&service)).into_response()
        }
        Err(error) => Refusal::detail(422, &error.body_text()).into_response(),
    }
}

fn record(service: &Service) -> Value {
    let world = service.world();
    let hashes: Vec<_> = world.mail.iter().map(|mail| mail.hash).collect();
    json!({
        "switches": world.switches, "now": world.now(), "transactions": hashes,
        "requests": world.requests,
    })
}
