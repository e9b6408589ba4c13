//! What a Safe transaction would do: executed on this machine, on the state of one block that is
//! read through the endpoints. Nobody else simulates.
//!
//! ```text
//! simulate   which state is needed, and within which bounds
//! machine    one run on what is known (revm; pure)
//! words      what came of it, in words (pure): a picture
//! lines      the same in a few lines (pure)
//! ```
//!
//! The owners need not have signed. For the run alone, as many owners as the threshold asks for have
//! approved the transaction's hash, and its nonce is the next one. Threshold and owners stay as they
//! are, and nothing of this is shown as a change. Slots as in the Safe contracts, the same from
//! 1.0.0 to 1.5.0: 0 singleton, 1 modules, 2 owners, 3 number of owners, 4 threshold, 5 nonce, 8
//! `approvedHashes`.

mod lines;
mod machine;
mod picture;
#[cfg(test)]
pub mod samples;
mod words;

use std::{collections::BTreeSet, time::Duration};

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use futures::future::try_join_all;
use revm::{bytecode::Bytecode, state::AccountInfo};

use super::{Chain, ChainError, SafeState};
use crate::{
    dstack::{
        Read,
        boot::{boot_calldata, decode_boot_answer},
        read::decode_bool,
    },
    request::{
        facts::BlockRef,
        ids::{AppId, ComposeHash, DeviceId},
    },
    safe::{SafeTx, hashes},
};
pub use lines::{Line, Tone};
use machine::{Message, Missing, NoRun, Place, Run, State};
pub use picture::{Answers, Change, Event, Foreseen, Outcome, Simulation};
use words::{Known, in_words};

/// Most things that are read for one simulation.
const READS_MAX: usize = 512;
/// Longest that a simulation may take.
const TIME_MAX: Duration = Duration::from_mins(1);
/// Longest code that is taken for a contract's, in bytes: several times what Ethereum allows.
const CODE_MAX: usize = 128 << 10;
const NONCE_SLOT: u8 = 5;
const APPROVED_HASHES_SLOT: u8 = 8;

/// What a transaction sees of the block it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surroundings {
    pub number: u64,
    /// In seconds since 1970.
    pub time: u64,
    pub beneficiary: Address,
    pub gas_limit: u64,
    /// In wei per gas.
    pub base_fee: u64,
    pub randomness: B256,
}

/// Why there is no simulation. None of it says anything about the transaction.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("it needs more than {READS_MAX} reads: ask a node of your own, or read the calls")]
    TooManyReads,
    #[error("it takes longer than {} seconds: give a faster endpoint", TIME_MAX.as_secs())]
    TooLong,
    #[error("{0}")]
    Machine(String),
}

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub safe: &'a SafeState,
    pub tx: &'a SafeTx,
    /// May act for the Safe without its owners.
    pub modules: &'a [Address],
    /// The app, and what is to be allowed.
    pub wanted: Option<(AppId, ComposeHash, DeviceId)>,
    /// Other apps that something may be added to.
    pub also: &'a [AppId],
    /// Who executes it with which signatures. Absent: as if enough owners had signed, and the nonce
    /// were the next one.
    pub signed: Option<Signed<'a>>,
}

/// A transaction that is executed exactly as it stands.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    pub executor: Address,
    /// Packed, as the Safe takes them.
    pub signatures: &'a Bytes,
}

impl Subject<'_> {
    fn executor(&self) -> Address {
        self.signed.map_or(self.safe.owners[0], |signed| signed.executor)
    }
}

impl Chain {
    /// Executes a Safe transaction on the state of one block, in memory.
    ///
    /// # Errors
    /// [`SimulationError`] when the state cannot be had, or a bound is met.
    pub async fn simulate(
        &self,
        subject: Subject<'_>,
        at: BlockRef,
    ) -> Result<Simulation, SimulationError> {
        let simulated = self.simulate_within(subject, at);
        tokio::time::timeout(TIME_MAX, simulated).await.map_err(|_| SimulationError::TooLong)?
    }

    async fn simulate_within(
        &self,
        subject: Subject<'_>,
        at: BlockRef,
    ) -> Result<Simulation, SimulationError> {
        let surroundings =
            self.ask(&format!("block {}", at.number), |endpoint| endpoint.surroundings(at)).await?;
        let (safe, tx) = (subject.safe, subject.tx);
        let mut bench =
            Bench { chain: self, at, state: State::new(self.id().get(), surroundings), reads: 0 };
        let first = [safe.address, safe.singleton, tx.to, subject.executor()];
        bench.read_accounts(first.into_iter().collect()).await?;
        let before = bench.answers(subject.wanted).await?;
        let apart = bench.approve(subject);
        let run = bench.run(execution(subject)).await?;
        let guard = bench.guard(safe.address);
        bench.apply(&run);
        let after = bench.answers(subject.wanted).await?;
        let differences = machine::differences(&run, &apart);
        let known = Known { subject, guard, run: &run, differences: &differences };
        Ok(in_words(&known, at, before, after))
    }

    async fn account(
        &self,
        address: Address,
        at: BlockRef,
    ) -> Result<AccountInfo, SimulationError> {
        let (of_balance, of_nonce) =
            (format!("the balance of {address}"), format!("the nonce of {address}"));
        let (balance, nonce, code) = futures::try_join!(
            self.ask(&of_balance, |endpoint| endpoint.balance(address, at.hash)),
            self.ask(&of_nonce, |endpoint| endpoint.nonce(address, at.hash)),
            self.code(address, at),
        )?;
        let unreadable = |problem: String| ChainError::Unreadable {
            what: format!("the code of {address}"),
            problem,
        };
        if code.len() > CODE_MAX {
            return Err(unreadable(format!("{} bytes", code.len())).into());
        }
        let hash = keccak256(&code);
        let code =
            Bytecode::new_raw_checked(code).map_err(|error| unreadable(error.to_string()))?;
        Ok(AccountInfo::new(balance, nonce, hash, code))
    }
}

/// The transaction as an executor would send it, unless it is signed with an approval of each owner in
/// place of a signature (`v` 1).
fn execution(subject: Subject<'_>) -> Message {
    let (from, to) = (subject.executor(), subject.safe.address);
    if let Some(signed) = subject.signed {
        return Message { from, to, data: subject.tx.exec_calldata(signed.signatures) };
    }
    let signatures: Vec<u8> = approvers(subject.safe)
        .iter()
        .flat_map(|owner| [owner.into_word().as_slice(), &[0; 32], &[1]].concat())
        .collect();
    let data = subject.tx.exec_calldata(&signatures.into());
    Message { from, to, data }
}

/// As many owners as must sign, in the order that the Safe wants.
fn approvers(safe: &SafeState) -> Vec<Address> {
    let mut owners = safe.owners.clone();
    owners.sort_unstable();
    owners.truncate(safe.threshold as usize);
    owners
}

/// `mapping[key]` of a mapping at a slot.
fn entry(key: B256, slot: B256) -> B256 {
    keccak256([key, slot].concat())
}

/// A simulation under way: what is known so far, and what more may be read.
struct Bench<'a> {
    chain: &'a Chain,
    at: BlockRef,
    state: State,
    reads: usize,
}

impl Bench<'_> {
    async fn read_accounts(&mut self, addresses: BTreeSet<Address>) -> Result<(), SimulationError> {
        self.reads += addresses.len();
        let (chain, at) = (self.chain, self.at);
        let read = async |address| chain.account(address, at).await.map(|info| (address, info));
        let accounts = try_join_all(addresses.into_iter().map(read)).await?;
        self.state.accounts.extend(accounts);
        Ok(())
    }

    async fn read(&mut self, missing: Missing) -> Result<(), SimulationError> {
        if self.reads >= READS_MAX {
            return Err(SimulationError::TooManyReads);
        }
        match missing {
            Missing::Account(address) => self.read_accounts([address].into()).await?,
            Missing::Storage(address, slot) => {
                self.reads += 1;
                let value = self.chain.storage(address, slot.into(), self.at).await?;
                self.state.storage.insert((address, slot), value.into());
            }
            Missing::BlockHash(number) => {
                self.reads += 1;
                let header = self.chain.header(number).await?;
                self.state.block_hashes.insert(number, header.block.hash.0);
            }
        }
        Ok(())
    }

    /// Runs, reads what is missing, and runs again, until nothing is.
    async fn run(&mut self, message: Message) -> Result<Run, SimulationError> {
        loop {
            let (mut state, task) = (self.state.clone(), message.clone());
            // A run may take long, and must not hold up others.
            let ran = tokio::task::spawn_blocking(move || machine::run(&mut state, &task)).await;
            match ran.map_err(|error| SimulationError::Machine(error.to_string()))? {
                Ok(run) => return Ok(run),
                Err(NoRun::Missing(missing)) => self.read(missing).await?,
                Err(refused @ NoRun::Refused(_)) => {
                    return Err(SimulationError::Machine(refused.to_string()));
                }
            }
        }
    }

    /// Lets the owners have approved, and the nonce be the next one, unless it is signed. Tells what
    /// that is, to be left out of the picture: approvals, and the nonce of who sends it.
    fn approve(&mut self, subject: Subject<'_>) -> BTreeSet<(Address, Place)> {
        let Subject { safe, tx, .. } = subject;
        let mut apart = BTreeSet::from([(subject.executor(), Place::Nonce)]);
        if subject.signed.is_some() {
            return apart;
        }
        let hash = hashes(tx, self.chain.id(), safe.address, safe.version).safe_tx_hash;
        for owner in approvers(safe) {
            let of_owner = entry(owner.into_word(), B256::with_last_byte(APPROVED_HASHES_SLOT));
            let slot = entry(hash.0, of_owner).into();
            self.state.storage.insert((safe.address, slot), U256::ONE);
            apart.insert((safe.address, Place::Slot(slot)));
        }
        self.state
            .storage
            .insert((safe.address, B256::with_last_byte(NONCE_SLOT).into()), tx.nonce);
        apart
    }

    /// The guard of the Safe, as far as the run asked for it.
    fn guard(&self, safe: Address) -> Option<Address> {
        let slot = super::extensions::GUARD.into();
        let word = B256::from(*self.state.storage.get(&(safe, slot))?);
        Some(Address::from_word(word)).filter(|guard| !guard.is_zero())
    }

    fn apply(&mut self, run: &Run) {
        self.state.apply(run.changes.clone());
    }

    /// What the app answers on the state as it is now.
    async fn answers(
        &mut self,
        wanted: Option<(AppId, ComposeHash, DeviceId)>,
    ) -> Result<Option<Answers>, SimulationError> {
        let Some((app, compose, device)) = wanted else { return Ok(None) };
        let mut asked =
            async |data: Bytes| self.run(Message { from: Address::ZERO, to: app.0, data }).await;
        let mut flags = [None; 3];
        let reads =
            [Read::AllowedComposeHash(compose), Read::AllowedDevice(device), Read::AllowAnyDevice];
        for (flag, read) in flags.iter_mut().zip(reads) {
            let run = asked(read.calldata()).await?;
            *flag = run.success.then(|| decode_bool(&run.output).ok()).flatten();
        }
        let run = asked(boot_calldata(app, compose, device)).await?;
        let (may_boot, reason) = match decode_boot_answer(&run.output) {
            Ok((may_boot, reason)) if run.success => (Some(may_boot), reason),
            Err(problem) if run.success => (None, problem.to_string()),
            _ => (None, words::refusal(&run.output, run.halted.as_deref())),
        };
        let [compose_hash_allowed, device_listed, any_device] = flags;
        Ok(Some(Answers { compose_hash_allowed, device_listed, any_device, may_boot, reason }))
    }
}
