//! Runs one transaction on what is known of a state. Pure: what is not known ends the run and is
//! named, so that it can be read and the run repeated.
//!
//! revm can wait for a state in the middle of a run too, on a stack of its own. Repeating a run of
//! a few milliseconds needs neither that nor a runtime, and the reads stay where all reads are.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use alloy::primitives::{Address, B256, Bytes, Log, TxKind, U256};
use revm::{
    Context, Database, InspectEvm, Inspector, MainBuilder, MainContext,
    bytecode::Bytecode,
    context::{
        BlockEnv, TxEnv,
        result::{EVMError, ExecutionResult},
    },
    database_interface::DBErrorMarker,
    interpreter::{CallInputs, CallOutcome},
    primitives::hardfork::SpecId,
    state::{AccountInfo, EvmState},
};

use super::Surroundings;

/// Gas a run may use: what a transaction may have on Ethereum (EIP-7825).
pub const GAS_MAX: u64 = 16_777_216;
/// Calls that failed, and contracts that ran, of which a run keeps account.
const KEPT: usize = 64;

/// Something of the state that was not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{self:?} is not known")]
pub enum Missing {
    Account(Address),
    Storage(Address, U256),
    BlockHash(u64),
}

impl DBErrorMarker for Missing {}

/// What is known of a chain's state at one block, with the changes that were made to it here.
#[derive(Debug, Clone)]
pub struct State {
    pub chain: u64,
    pub block: Surroundings,
    pub accounts: HashMap<Address, AccountInfo>,
    pub storage: HashMap<(Address, U256), U256>,
    pub block_hashes: HashMap<u64, B256>,
    /// Made here: all their storage is known.
    made: HashSet<Address>,
}

impl State {
    pub fn new(chain: u64, block: Surroundings) -> Self {
        Self {
            chain,
            block,
            accounts: HashMap::new(),
            storage: HashMap::new(),
            block_hashes: HashMap::new(),
            made: HashSet::new(),
        }
    }

    /// Makes the changes of a run.
    pub fn apply(&mut self, changes: EvmState) {
        for (address, account) in changes {
            if !account.is_touched() {
                continue;
            }
            if account.is_created() || account.is_selfdestructed() {
                self.made.insert(address);
                self.storage.retain(|(of, _), _| *of != address);
            }
            let is_gone = account.is_selfdestructed();
            self.accounts
                .insert(address, if is_gone { AccountInfo::default() } else { account.info });
            for (slot, value) in account.storage {
                self.storage.insert((address, slot), value.present_value);
            }
        }
    }
}

impl Database for State {
    type Error = Missing;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Missing> {
        self.accounts.get(&address).cloned().map(Some).ok_or(Missing::Account(address))
    }

    /// Accounts come with their code.
    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Missing> {
        let of = self.accounts.values().find(|account| account.code_hash == hash);
        Ok(of.and_then(|account| account.code.clone()).unwrap_or_default())
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Missing> {
        match self.storage.get(&(address, slot)) {
            Some(value) => Ok(*value),
            None if self.made.contains(&address) => Ok(U256::ZERO),
            None => Err(Missing::Storage(address, slot)),
        }
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Missing> {
        self.block_hashes.get(&number).copied().ok_or(Missing::BlockHash(number))
    }
}

/// A call inside a transaction that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedCall {
    /// As whom it ran.
    pub to: Address,
    /// Whose code it ran: another's in a delegate call.
    pub code: Address,
    pub output: Bytes,
    /// Why the machine itself ended it; absent when the contract refused.
    pub halted: Option<String>,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Run {
    pub success: bool,
    pub output: Bytes,
    /// Why the machine itself ended it.
    pub halted: Option<String>,
    pub gas_used: u64,
    pub logs: Vec<Log>,
    pub changes: EvmState,
    /// In the order in which they ended, so the innermost comes first.
    pub failed: Vec<FailedCall>,
    /// Whose code ran.
    pub ran: BTreeSet<Address>,
}

#[derive(Debug, Default)]
struct Watcher {
    failed: Vec<FailedCall>,
    ran: BTreeSet<Address>,
}

impl<CTX> Inspector<CTX> for Watcher {
    fn call(&mut self, _: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        if self.ran.len() < KEPT {
            self.ran.insert(inputs.bytecode_address);
        }
        None
    }

    fn call_end(&mut self, _: &mut CTX, inputs: &CallInputs, outcome: &mut CallOutcome) {
        let result = &outcome.result;
        if !result.result.is_ok() && self.failed.len() < KEPT {
            let halted = (!result.result.is_revert()).then(|| format!("{:?}", result.result));
            let output = result.output.clone();
            let (to, code) = (inputs.target_address, inputs.bytecode_address);
            self.failed.push(FailedCall { to, code, output, halted });
        }
    }
}

/// A call as a transaction of its own, which costs its sender nothing.
#[derive(Debug, Clone)]
pub struct Message {
    pub from: Address,
    pub to: Address,
    pub data: Bytes,
}

/// Why there is no run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRun {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("the machine does not take it: {0}")]
    Refused(String),
}

/// Runs a message on the state, which stays as it is.
pub fn run(state: &mut State, message: &Message) -> Result<Run, NoRun> {
    let block = BlockEnv {
        number: U256::from(state.block.number),
        beneficiary: state.block.beneficiary,
        timestamp: U256::from(state.block.time),
        gas_limit: state.block.gas_limit,
        basefee: state.block.base_fee,
        prevrandao: Some(state.block.randomness),
        ..BlockEnv::default()
    };
    let gas_limit = GAS_MAX.min(state.block.gas_limit);
    let tx = TxEnv {
        caller: message.from,
        gas_limit,
        gas_price: 0,
        kind: TxKind::Call(message.to),
        data: message.data.clone(),
        chain_id: Some(state.chain),
        ..TxEnv::default()
    };
    let chain = state.chain;
    let mut machine = Context::mainnet()
        .with_db(state)
        .with_block(block)
        .modify_cfg_chained(|cfg| {
            cfg.set_spec_and_mainnet_gas_params(SpecId::OSAKA);
            cfg.chain_id = chain;
            cfg.disable_nonce_check = true;
            // An owner may be a contract, and pays nothing here.
            cfg.disable_eip3607 = true;
            cfg.disable_base_fee = true;
            cfg.disable_balance_check = true;
        })
        .build_mainnet_with_inspector(Watcher::default());
    let outcome = machine.inspect_tx(tx).map_err(|error| match error {
        EVMError::Database(missing) => NoRun::Missing(missing),
        other => NoRun::Refused(other.to_string()),
    })?;
    let Watcher { failed, ran } = std::mem::take(&mut machine.inspector);
    let gas_used = outcome.result.tx_gas_used();
    let (success, output, halted, logs) = match outcome.result {
        ExecutionResult::Success { output, logs, .. } => (true, output.into_data(), None, logs),
        ExecutionResult::Revert { output, .. } => (false, output, None, vec![]),
        ExecutionResult::Halt { reason, .. } => {
            (false, Bytes::new(), Some(reason.to_string()), vec![])
        }
    };
    Ok(Run { success, output, halted, gas_used, logs, changes: outcome.state, failed, ran })
}

/// One thing that a run changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Slot(U256),
    Balance,
    Nonce,
    Code,
}

/// What was there, and what is.
pub type Difference = (U256, U256);

/// Everything that differs afterwards, but for what stands in `apart`.
pub fn differences(
    run: &Run,
    apart: &BTreeSet<(Address, Place)>,
) -> BTreeMap<(Address, Place), Difference> {
    let mut found = BTreeMap::new();
    for (address, account) in run.changes.iter().filter(|(_, account)| account.is_touched()) {
        let (before, after) = (account.original_info(), &account.info);
        let mut note = |place, before: U256, after: U256| {
            if before != after && !apart.contains(&(*address, place)) {
                found.insert((*address, place), (before, after));
            }
        };
        note(Place::Balance, before.balance, after.balance);
        note(Place::Nonce, U256::from(before.nonce), U256::from(after.nonce));
        let code = |info: &AccountInfo| {
            if info.is_empty_code_hash() { U256::ZERO } else { info.code_hash.into() }
        };
        let gone = account.is_selfdestructed();
        note(Place::Code, code(&before), if gone { U256::ZERO } else { code(after) });
        for (slot, value) in &account.storage {
            note(Place::Slot(*slot), value.original_value, value.present_value);
        }
    }
    found
}
