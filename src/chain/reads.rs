//! What the service reads of a DstackApp, of its owner, and of a Safe.

use alloy::{
    primitives::{Address, B256, Bytes, keccak256},
    sol_types::SolCall,
};

use super::{
    CallAnswer, Chain, ChainError,
    words::{self, Question},
};
use crate::{
    dstack::{
        Generation, Read,
        read::{decode_address, decode_bool, decode_u64},
    },
    request::{
        facts::BlockRef,
        ids::{AppId, ComposeHash, DeviceId},
        need::Allowed,
    },
    safe::{SafeVersion, tx::Safe},
};

/// A Safe at one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafeState {
    pub address: Address,
    pub version: SafeVersion,
    pub owners: Vec<Address>,
    pub threshold: u32,
    pub nonce: u64,
    /// keccak256 of the code at its address, which is a proxy's.
    pub code_hash: B256,
    /// The contract whose code the Safe runs.
    pub singleton: Address,
    /// keccak256 of that contract's code.
    pub singleton_code_hash: B256,
}

/// Who may sign for a Safe, at one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers {
    pub version: SafeVersion,
    pub owners: Vec<Address>,
    pub threshold: u32,
}

/// What kind of account owns an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnerKind {
    Safe(Box<SafeState>),
    /// It says it is a Safe of a version that is not known here.
    UnknownSafe {
        version: String,
    },
    /// A contract that is no Safe: a timelock, a governor or another contract.
    Contract {
        acts_as: ContractKind,
    },
    /// An account without code.
    Account,
    /// The zero address: ownership was renounced, nobody can change the app any more.
    Nobody,
}

/// What a contract that owns an app answers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContractKind {
    Timelock,
    Governor,
    Other,
}

/// `getMinDelay()`, which timelocks answer.
const GET_MIN_DELAY: [u8; 4] = [0xf2, 0x7a, 0x0c, 0x92];
/// `votingDelay()`, which governors answer.
const VOTING_DELAY: [u8; 4] = [0x39, 0x32, 0xab, 0xb1];

/// Most owners a Safe may have here.
const OWNERS_MAX: usize = 256;

#[expect(clippy::needless_pass_by_value, reason = "callers hand over errors and literals alike")]
fn unreadable(what: &str, problem: impl ToString) -> ChainError {
    ChainError::Unreadable { what: what.into(), problem: problem.to_string() }
}

impl Chain {
    /// Calls that must return: a revert is an answer that does not read.
    async fn read(
        &self,
        what: &str,
        to: Address,
        data: &Bytes,
        at: BlockRef,
    ) -> Result<Bytes, ChainError> {
        match self.call(what, to, data, at).await? {
            CallAnswer::Returned(bytes) => Ok(bytes),
            CallAnswer::Reverted => Err(unreadable(what, "the contract refused the call")),
        }
    }

    /// What contracts answer to questions, at one block; an answer that does not read is in its
    /// place, and does not hold up the others.
    pub async fn words(
        &self,
        questions: &[Question],
        at: BlockRef,
    ) -> Result<Vec<CallAnswer>, ChainError> {
        let mut answers = vec![];
        for batch in questions.chunks(words::QUESTIONS_MAX) {
            let what = format!("the state at block {}", at.number);
            answers.extend(
                self.ask(&what, |endpoint| words::answers(endpoint, batch, at.hash)).await?,
            );
        }
        Ok(answers)
    }

    /// What an app allows of one compose hash and one device, at one block.
    pub async fn allowed(
        &self,
        app: AppId,
        compose: ComposeHash,
        device: DeviceId,
        at: BlockRef,
    ) -> Result<Allowed, ChainError> {
        let mut allowed = self.allowed_each(&[(app, compose, device)], at).await?;
        allowed.pop().unwrap_or_else(|| Err(unreadable("the state", "there is no answer")))
    }

    /// The same for many, each with its own answer.
    pub async fn allowed_each(
        &self,
        entries: &[(AppId, ComposeHash, DeviceId)],
        at: BlockRef,
    ) -> Result<Vec<Result<Allowed, ChainError>>, ChainError> {
        let reads: Vec<(AppId, Read)> = entries
            .iter()
            .flat_map(|(app, compose, device)| {
                let reads = [
                    Read::AllowedComposeHash(*compose),
                    Read::AllowedDevice(*device),
                    Read::AllowAnyDevice,
                ];
                reads.map(|read| (*app, read))
            })
            .collect();
        let questions: Vec<Question> =
            reads.iter().map(|(app, read)| Question::of_app(*app, *read)).collect();
        let answers = self.words(&questions, at).await?;
        let read = |place: usize| -> Result<bool, ChainError> {
            let (app, read) = &reads[place];
            let what = || format!("{} of app {app}", question(*read));
            match &answers[place] {
                CallAnswer::Returned(bytes) => {
                    decode_bool(bytes).map_err(|problem| unreadable(&what(), problem))
                }
                CallAnswer::Reverted => Err(unreadable(&what(), "the contract refused the call")),
            }
        };
        let allowed = |first: usize| {
            Ok(Allowed {
                compose: read(first)?,
                device_listed: read(first + 1)?,
                any_device: read(first + 2)?,
            })
        };
        Ok((0..entries.len()).map(|entry| allowed(entry * 3)).collect())
    }

    pub async fn allow_any_device(&self, app: AppId, at: BlockRef) -> Result<bool, ChainError> {
        let what = format!("{} of app {app}", question(Read::AllowAnyDevice));
        let answer = self.read(&what, app.0, &Read::AllowAnyDevice.calldata(), at).await?;
        decode_bool(&answer).map_err(|problem| unreadable(&what, problem))
    }

    pub async fn owner(&self, app: AppId, at: BlockRef) -> Result<Address, ChainError> {
        let what = format!("the owner of app {app}");
        let answer = self.read(&what, app.0, &Read::Owner.calldata(), at).await?;
        decode_address(&answer).map_err(|problem| unreadable(&what, problem))
    }

    /// The same for many; none where it does not read.
    pub async fn owner_each(
        &self,
        apps: &[AppId],
        at: BlockRef,
    ) -> Result<Vec<Option<Address>>, ChainError> {
        let ask = |app: &AppId| Question::of_app(*app, Read::Owner);
        let answers = self.words(&apps.iter().map(ask).collect::<Vec<_>>(), at).await?;
        let read = |answer: CallAnswer| match answer {
            CallAnswer::Returned(bytes) => decode_address(&bytes).ok(),
            CallAnswer::Reverted => None,
        };
        Ok(answers.into_iter().map(read).collect())
    }

    /// Which of some accounts say, as Safes do, that this is an owner of theirs.
    pub async fn name_as_owner(
        &self,
        accounts: &[Address],
        owner: Address,
        at: BlockRef,
    ) -> Result<Vec<bool>, ChainError> {
        let calldata: Bytes = Safe::isOwnerCall { owner }.abi_encode().into();
        let ask = |to: &Address| Question { to: *to, calldata: calldata.clone() };
        let answers = self.words(&accounts.iter().map(ask).collect::<Vec<_>>(), at).await?;
        let read = |answer| matches!(answer, CallAnswer::Returned(bytes) if decode_bool(&bytes) == Ok(true));
        Ok(answers.into_iter().map(read).collect())
    }

    /// Which interface the app answers to.
    pub async fn generation(&self, app: AppId, at: BlockRef) -> Result<Generation, ChainError> {
        let version = self.probe(app.0, Read::Version.calldata(), at).await?;
        let pending_owner = self.probe(app.0, Read::PendingOwner.calldata(), at).await?;
        let app_id = self.probe(app.0, Read::AppId.calldata(), at).await?;
        Ok(Generation::detect(
            version.and_then(|answer| decode_u64(&answer).ok()),
            pending_owner.is_some_and(|answer| decode_address(&answer).is_ok()),
            app_id.is_some_and(|answer| decode_address(&answer).is_ok()),
        ))
    }

    /// What a contract answers, none when it refuses.
    async fn probe(
        &self,
        to: Address,
        data: Bytes,
        at: BlockRef,
    ) -> Result<Option<Bytes>, ChainError> {
        match self.call(&format!("what {to} is"), to, &data, at).await? {
            CallAnswer::Returned(bytes) if !bytes.is_empty() => Ok(Some(bytes)),
            CallAnswer::Returned(_) | CallAnswer::Reverted => Ok(None),
        }
    }

    /// What kind of account this is, and for a Safe everything a proposal needs.
    pub async fn owner_kind(&self, owner: Address, at: BlockRef) -> Result<OwnerKind, ChainError> {
        if owner.is_zero() {
            return Ok(OwnerKind::Nobody);
        }
        let code = self.code(owner, at).await?;
        if is_account(&code) {
            return Ok(OwnerKind::Account);
        }
        if let Some((version, threshold)) = self.as_safe(owner, at).await? {
            return match version.parse() {
                Ok(known) => {
                    let signers = self.signers_of(owner, known, &threshold, at).await?;
                    let safe = self.safe(owner, signers, keccak256(&code), at).await?;
                    Ok(OwnerKind::Safe(Box::new(safe)))
                }
                Err(_) => {
                    Ok(OwnerKind::UnknownSafe { version: version.chars().take(40).collect() })
                }
            };
        }
        let acts_as = if self.probe(owner, GET_MIN_DELAY.into(), at).await?.is_some() {
            ContractKind::Timelock
        } else if self.probe(owner, VOTING_DELAY.into(), at).await?.is_some() {
            ContractKind::Governor
        } else {
            ContractKind::Other
        };
        Ok(OwnerKind::Contract { acts_as })
    }

    /// Who may sign for a Safe; none when this is no Safe of a version that is known here.
    pub async fn signers(
        &self,
        safe: Address,
        at: BlockRef,
    ) -> Result<Option<Signers>, ChainError> {
        match self.as_safe(safe, at).await? {
            Some((version, threshold)) => match version.parse() {
                Ok(known) => self.signers_of(safe, known, &threshold, at).await.map(Some),
                Err(_) => Ok(None),
            },
            None => Ok(None),
        }
    }

    /// The version and the threshold that a Safe tells; none when this is no Safe.
    async fn as_safe(
        &self,
        address: Address,
        at: BlockRef,
    ) -> Result<Option<(String, Bytes)>, ChainError> {
        let version = self.probe(address, Safe::VERSIONCall {}.abi_encode().into(), at).await?;
        let threshold =
            self.probe(address, Safe::getThresholdCall {}.abi_encode().into(), at).await?;
        let version = version.and_then(|text| Safe::VERSIONCall::abi_decode_returns(&text).ok());
        Ok(version.zip(threshold))
    }

    async fn signers_of(
        &self,
        address: Address,
        version: SafeVersion,
        threshold: &Bytes,
        at: BlockRef,
    ) -> Result<Signers, ChainError> {
        let name = |part: &str| format!("the {part} of Safe {address}");
        let calldata = Safe::getOwnersCall {}.abi_encode().into();
        let owners = self.read(&name("owners"), address, &calldata, at).await?;
        let owners = Safe::getOwnersCall::abi_decode_returns(&owners)
            .map_err(|error| unreadable(&name("owners"), error))?;
        let threshold =
            decode_u64(threshold).map_err(|problem| unreadable(&name("threshold"), problem))?;
        if threshold == 0 || owners.len() > OWNERS_MAX || threshold > owners.len() as u64 {
            let problem = format!("{threshold} of {} owners", owners.len());
            return Err(unreadable(&name("threshold"), problem));
        }
        let threshold =
            u32::try_from(threshold).map_err(|_| unreadable("a threshold", "too large"))?;
        Ok(Signers { version, owners, threshold })
    }

    async fn safe(
        &self,
        address: Address,
        signers: Signers,
        code_hash: B256,
        at: BlockRef,
    ) -> Result<SafeState, ChainError> {
        let nonce = self.safe_nonce(address, at).await?;
        let slot = self.storage(address, B256::ZERO, at).await?;
        let singleton = Address::from_word(slot);
        let singleton_code_hash = self.code_hash(singleton, at).await?;
        let Signers { version, owners, threshold } = signers;
        Ok(SafeState {
            address,
            version,
            owners,
            threshold,
            nonce,
            code_hash,
            singleton,
            singleton_code_hash,
        })
    }

    /// The nonce of the Safe's next transaction.
    pub async fn safe_nonce(&self, safe: Address, at: BlockRef) -> Result<u64, ChainError> {
        let what = format!("the nonce of Safe {safe}");
        let answer = self.read(&what, safe, &Safe::nonceCall {}.abi_encode().into(), at).await?;
        decode_u64(&answer).map_err(|problem| unreadable(&what, problem))
    }

    /// keccak256 of the code at an address.
    pub async fn code_hash(&self, address: Address, at: BlockRef) -> Result<B256, ChainError> {
        Ok(keccak256(self.code(address, at).await?))
    }
}

/// Whether who has this code acts by a key. An account that delegates by EIP-7702 still does.
pub(super) fn is_account(code: &[u8]) -> bool {
    code.is_empty() || code.starts_with(&[0xef, 0x01, 0x00])
}

fn question(read: Read) -> &'static str {
    match read {
        Read::AllowedComposeHash(_) => "the compose hash's registration",
        Read::AllowedDevice(_) => "the device's registration",
        Read::AllowAnyDevice => "the switch for any device",
        _ => "the state",
    }
}
