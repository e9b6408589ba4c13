//! Who acted, told from the receipt of a transaction. Pure.
//!
//! Only its owner can change an app, so who called it is known before the receipt is read: the
//! owner of that moment, as the events of ownership tell it. How that owner came to call is told by
//! the owner's own logs. What other contracts say in the same transaction is not believed, since
//! anybody can wrap an execution and say anything beside it.

use alloy::{
    primitives::{Address, B256, keccak256},
    rpc::types::Log,
};

use crate::{
    dstack::PolicyEvent,
    owner::{Account, ActedBy, GovernorProposal, trace::Trace},
    request::ids::AppId,
};

/// What a receipt tells of its transaction.
#[derive(Debug, Clone)]
pub struct Sent {
    pub from: Address,
    /// None when it made a contract.
    pub to: Option<Address>,
    pub created: Option<Address>,
    pub logs: Vec<Log>,
}

/// Where an event of an app stands: block and index of its log.
pub type Place = (u64, u64);

/// Who may have called the app for one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Known(Address),
    Unknown,
    /// Nobody owned the app yet.
    Deploying,
    /// Older events of ownership would tell; they are not read.
    Ambiguous,
}

/// Who called, by the events of ownership around it, oldest first. `now` is the present owner, which
/// counts for an app that never changed its owner as far as is known.
pub fn caller(
    event: &PolicyEvent,
    at: Place,
    ownership: &[(Place, PolicyEvent)],
    now: Option<Address>,
) -> Caller {
    use PolicyEvent::{OwnershipTransferStarted, OwnershipTransferred};
    let earlier = || ownership.iter().rev().filter(|(place, _)| *place < at).map(|(_, one)| *one);
    let known = |address: Address| match address {
        Address::ZERO => Caller::Unknown,
        address => Caller::Known(address),
    };
    match *event {
        OwnershipTransferred { from: Address::ZERO, .. } => return Caller::Deploying,
        OwnershipTransferred { from, to } => {
            // A new owner that was offered the app accepts it; otherwise the old one gives it away.
            return match earlier().next() {
                None => Caller::Ambiguous,
                Some(OwnershipTransferStarted { to: offered, .. }) if offered == to => known(to),
                Some(_) => known(from),
            };
        }
        OwnershipTransferStarted { from, .. } => return known(from),
        _ => {}
    }
    let mut before = earlier().filter_map(|one| match one {
        OwnershipTransferred { to, .. } => Some(to),
        OwnershipTransferStarted { from, .. } => Some(from),
        _ => None,
    });
    let mut after = ownership.iter().filter(|(place, _)| *place > at);
    match (before.next(), after.next()) {
        (Some(owner), _) => known(owner),
        (None, Some((_, OwnershipTransferred { from: Address::ZERO, .. }))) => Caller::Deploying,
        (
            None,
            Some((_, OwnershipTransferred { from, .. } | OwnershipTransferStarted { from, .. })),
        ) => known(*from),
        (None, _) => now.map_or(Caller::Unknown, known),
    }
}

/// Who called the app, and how. Never a guess: what the logs leave open is told as a contract.
pub fn path_of(
    sent: &Sent,
    app: AppId,
    index: u64,
    event: &PolicyEvent,
    caller: Caller,
) -> ActedBy {
    if caller == Caller::Deploying || is_set_up(sent, app, index) {
        return ActedBy::Deployment;
    }
    let told = actor(sent, app, index, event);
    let caller = told.or(match caller {
        Caller::Known(address) => Some(address),
        _ => None,
    });
    let called_directly = sent.to == Some(app.0) && caller.is_none_or(|one| one == sent.from);
    // The sender itself is the caller also when its account runs code (EIP-7702).
    if called_directly || caller == Some(sent.from) {
        return ActedBy::Account { address: Account(sent.from) };
    }
    let way = caller.and_then(|caller| way(sent, app, index, caller));
    way.unwrap_or(ActedBy::Contract { address: caller.map(Account), to: sent.to.map(Account) })
}

/// How a contract that called the app came to do so, by its own logs.
fn way(sent: &Sent, app: AppId, index: u64, caller: Address) -> Option<ActedBy> {
    let address = Account(caller);
    let traces = traces(sent, |emitter| emitter == caller);
    let operation = traces.iter().find_map(|(at, trace)| match trace {
        Trace::Called { operation, target } if *at > index && *target == app.0 => Some(*operation),
        _ => None,
    });
    if let Some(operation) = operation {
        let governor = the_proposal(&traces_of_others(sent, caller));
        return Some(ActedBy::Timelock { address, operation, governor });
    }
    match execution(&traces, index) {
        Some(Trace::SafeEnds(safe_tx_hash)) => Some(ActedBy::Safe { address, safe_tx_hash }),
        Some(Trace::ModuleEnds(module)) => {
            Some(ActedBy::Module { address, module: Account(module) })
        }
        _ => {
            let own = traces.iter().map(|(_, trace)| (caller, *trace)).collect::<Vec<_>>();
            the_proposal(&own)
                .map(|GovernorProposal { proposal, .. }| ActedBy::Governor { address, proposal })
        }
    }
}

fn place(log: &Log) -> Option<u64> {
    log.log_index
}

fn traces(sent: &Sent, is_wanted: impl Fn(Address) -> bool) -> Vec<(u64, Trace)> {
    let logs = sent.logs.iter().filter(|log| is_wanted(log.address()));
    logs.filter_map(|log| Some((place(log)?, Trace::read(log.topics(), &log.data().data)?)))
        .collect()
}

fn traces_of_others(sent: &Sent, caller: Address) -> Vec<(Address, Trace)> {
    let logs = sent.logs.iter().filter(|log| log.address() != caller);
    logs.filter_map(|log| Some((log.address(), Trace::read(log.topics(), &log.data().data)?)))
        .collect()
}

/// The proposal that was executed, if it is one.
fn the_proposal(traces: &[(Address, Trace)]) -> Option<GovernorProposal> {
    let mut proposals = traces.iter().filter_map(|(emitter, trace)| match trace {
        Trace::Proposal(proposal) => {
            Some(GovernorProposal { address: Account(*emitter), proposal: *proposal })
        }
        _ => None,
    });
    proposals.next().filter(|_| proposals.next().is_none())
}

/// How the execution ended within which a Safe made the call that left the log at `index`.
///
/// A Safe that tells where executions begin shows which one is the innermost around the log. One
/// that tells their ends alone does so only when a single execution ends after the log.
fn execution(traces: &[(u64, Trace)], index: u64) -> Option<Trace> {
    if let Some(stretches) = stretches(traces) {
        let around = stretches.iter().filter(|(begin, end, _)| (*begin..*end).contains(&index));
        return around.max_by_key(|(begin, ..)| *begin).map(|(.., end)| *end);
    }
    let mut ends = traces.iter().filter(|(at, trace)| *at > index && is_end(trace));
    ends.next().filter(|_| ends.next().is_none()).map(|(_, end)| *end)
}

fn is_end(trace: &Trace) -> bool {
    matches!(
        trace,
        Trace::SafeEnds(_) | Trace::SafeFails | Trace::ModuleEnds(_) | Trace::ModuleFails
    )
}

/// Executions from begin to end; none when begins and ends do not pair.
fn stretches(traces: &[(u64, Trace)]) -> Option<Vec<(u64, u64, Trace)>> {
    let (mut open, mut stretches) = (vec![], vec![]);
    for (at, trace) in traces {
        match trace {
            Trace::SafeBegins | Trace::ModuleBegins => open.push((*at, *trace)),
            end if is_end(end) => {
                let (begin, kind) = open.pop()?;
                let of_module = matches!(end, Trace::ModuleEnds(_) | Trace::ModuleFails);
                if of_module != (kind == Trace::ModuleBegins) {
                    return None;
                }
                stretches.push((begin, *at, *end));
            }
            _ => {}
        }
    }
    (open.is_empty() && !stretches.is_empty()).then_some(stretches)
}

/// The app's own logs, read.
fn own(sent: &Sent, app: AppId) -> Vec<(u64, PolicyEvent)> {
    let logs = sent.logs.iter().filter(|log| log.address() == app.0);
    logs.filter_map(|log| {
        let event = PolicyEvent::decode(log.topics(), &log.data().data).ok()??;
        Some((place(log)?, event))
    })
    .collect()
}

/// Whether the log was left while the app was set up: in the transaction that gave it its first
/// owner, up to the end of its initialisation.
fn is_set_up(sent: &Sent, app: AppId, index: u64) -> bool {
    if sent.created == Some(app.0) {
        return true;
    }
    let own = own(sent, app);
    let first_owner = own.iter().find_map(|(at, event)| match event {
        PolicyEvent::OwnershipTransferred { from: Address::ZERO, .. } => Some(*at),
        _ => None,
    });
    first_owner.is_some_and(|first_owner| {
        let is_end = |(at, event): &&(u64, PolicyEvent)| {
            *at > first_owner && matches!(event, PolicyEvent::Initialized(_))
        };
        index <= own.iter().find(is_end).map_or(first_owner, |(at, _)| *at)
    })
}

/// Who the app itself says has called: generation 3 says so beside each event of its policy.
fn actor(sent: &Sent, app: AppId, index: u64, event: &PolicyEvent) -> Option<Address> {
    if let PolicyEvent::PolicyChanged { actor, .. } = event {
        return Some(*actor);
    }
    let policy = policy_of(event)?;
    let own = own(sent, app);
    let here = own.iter().position(|(at, _)| *at == index)?;
    // An upgrade is announced before it is made.
    let is_upgrade = matches!(event, PolicyEvent::Upgraded(_));
    let beside = if is_upgrade { here.checked_sub(1)? } else { here + 1 };
    match own.get(beside)?.1 {
        PolicyEvent::PolicyChanged { actor, policy: told, .. } if told == policy => Some(actor),
        _ => None,
    }
}

/// What generation 3 calls the policy that an event is about.
fn policy_of(event: &PolicyEvent) -> Option<B256> {
    use PolicyEvent as E;
    let name = match event {
        E::ComposeHashAdded(_) | E::ComposeHashRemoved(_) => "compose-hash",
        E::DeviceAdded(_) | E::DeviceRemoved(_) => "device",
        E::AllowAnyDeviceSet(_) => "allow-any-device",
        E::RequireTcbUpToDateSet(_) => "require-tcb-up-to-date",
        E::UpgradesDisabled => "upgrades-disabled",
        E::Upgraded(_) => "implementation-upgrade",
        _ => return None,
    };
    Some(keccak256(name))
}

#[cfg(test)]
mod tests;
