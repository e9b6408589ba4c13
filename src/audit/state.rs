//! What an app's contract itself says at one block, beside what its events told.

use alloy::primitives::B256;

use super::fold::EntryKind;
use crate::{
    chain::{CallAnswer, Chain, ChainError, Question},
    dstack::{
        Generation, Read, UnreadableAnswer,
        read::{
            IMPLEMENTATION_SLOT, decode_address, decode_bool, decode_flags, decode_u64, flags_slot,
        },
    },
    owner::Account,
    request::{
        facts::BlockRef,
        ids::{AppId, ComposeHash, DeviceId},
    },
};

/// A part of the state, or why it does not read.
pub type Part<T> = Result<T, UnreadableAnswer>;

/// The rules of an app beside its lists. None is what contracts of its generation do not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub generation: Generation,
    pub allow_any_device: Part<bool>,
    pub require_tcb_up_to_date: Part<Option<bool>>,
    pub upgrades_disabled: Part<bool>,
    pub owner: Part<Account>,
    /// Zero when the app is offered to nobody.
    pub pending_owner: Part<Option<Account>>,
    /// None when it is no proxy.
    pub implementation: Part<Option<Account>>,
}

const QUESTIONS: [Read; 6] = [
    Read::AllowAnyDevice,
    Read::RequireTcbUpToDate,
    Read::Owner,
    Read::PendingOwner,
    Read::Version,
    Read::AppId,
];

/// Reads the rules of an app.
pub async fn state(chain: &Chain, app: AppId, at: BlockRef) -> Result<State, ChainError> {
    let questions: Vec<Question> =
        QUESTIONS.iter().map(|read| Question::of_app(app, *read)).collect();
    let answers = chain.words(&questions, at).await?;
    let [any_device, tcb, owner, pending, version, app_id] = answers.as_slice() else {
        return Err(unreadable(app, &"not every question has an answer"));
    };
    let generation = Generation::detect(
        part(version, decode_u64).ok(),
        part(pending, decode_address).is_ok(),
        part(app_id, decode_address).is_ok(),
    );
    let (flags, implementation) = futures::try_join!(
        chain.storage(app.0, flags_slot(generation), at),
        chain.storage(app.0, IMPLEMENTATION_SLOT, at),
    )?;
    let allow_any_device = part(any_device, decode_bool);
    let since =
        |first, answer: Part<_>| if generation >= first { answer.map(Some) } else { Ok(None) };
    Ok(State {
        generation,
        require_tcb_up_to_date: since(Generation::G2, part(tcb, decode_bool)),
        upgrades_disabled: allow_any_device.clone().and_then(|any| decode_flags(flags, any)),
        allow_any_device,
        owner: part(owner, decode_address).map(Account),
        pending_owner: match generation {
            Generation::G3 => part(pending, decode_address).map(Account).map(Some),
            _ => Ok(None),
        },
        implementation: decode_address(implementation.as_slice())
            .map(|code| (!code.is_zero()).then_some(Account(code))),
    })
}

/// Which of these values the app allows, in their order.
pub async fn allowed(
    chain: &Chain,
    app: AppId,
    values: &[(EntryKind, B256)],
    at: BlockRef,
) -> Result<Vec<bool>, ChainError> {
    let question = |(kind, value): &(EntryKind, B256)| {
        let read = match kind {
            EntryKind::ComposeHash => Read::AllowedComposeHash(ComposeHash(*value)),
            EntryKind::Device => Read::AllowedDevice(DeviceId(*value)),
        };
        Question::of_app(app, read)
    };
    let questions: Vec<Question> = values.iter().map(question).collect();
    let answers = chain.words(&questions, at).await?;
    let answers = answers.iter().map(|answer| part(answer, decode_bool));
    answers.map(|answer| answer.map_err(|problem| unreadable(app, &problem))).collect()
}

fn part<T>(answer: &CallAnswer, read: impl Fn(&[u8]) -> Part<T>) -> Part<T> {
    match answer {
        CallAnswer::Returned(bytes) => read(bytes),
        CallAnswer::Reverted => Err(UnreadableAnswer::Empty),
    }
}

pub fn unreadable(app: AppId, problem: &impl ToString) -> ChainError {
    ChainError::Unreadable { what: format!("the state of app {app}"), problem: problem.to_string() }
}
