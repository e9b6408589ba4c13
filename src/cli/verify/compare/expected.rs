//! What a transaction may do: what was asked for, and nothing else.

use std::collections::BTreeSet;

use alloy::primitives::U256;

use super::{Given, addition};
use crate::{
    cli::verify::{
        said::{Other, Said, Wanted},
        seen::Seen,
    },
    compose::Compose,
    dstack::{Addition, Write},
    owner::{self, Call},
    propose::singleton_warning,
    request::ids::{AppId, ChainId, RequestId},
    safe::{
        self, Expected, SafeTx, SafeVersion,
        decode::{Decoded, Warning, WarningCode, addition_in_words},
        deployments::multi_send_call_only,
    },
    web::api::proposals::ProposalView,
};

/// The transaction in words, with everything about it that is not what was asked for.
pub(super) fn decoded(
    said: &Said,
    seen: Option<&Seen>,
    given: &Given,
    tx: Option<&SafeTx>,
    app: Option<AppId>,
    calls: &[Call],
) -> Decoded {
    let safe = said.claimed.owner;
    let compose = said.wanted.map(|wanted| wanted.compose_hash).or(given.compose_hash);
    let device = said.wanted.map(|wanted| wanted.device_id).or(given.device);
    let own = app.zip(compose).zip(device);
    let own = own.map(|((app, compose_hash), device_id)| Wanted { app, compose_hash, device_id });
    // What several need is added once.
    let all: Vec<Wanted> = said.with.iter().map(|other| other.wanted).chain(own).collect();
    let wanted: Option<BTreeSet<Addition>> =
        (!all.is_empty()).then(|| all.iter().flat_map(Wanted::additions).collect());
    let wanted: Option<Vec<Addition>> = wanted.map(|all| all.into_iter().collect());
    let expected = Expected { safe, app, additions: wanted.as_deref() };
    let mut decoded = match tx {
        Some(tx) => safe::decode(tx, &expected),
        None => decode_bare(calls, &expected),
    };
    // What is allowed already need not be added.
    let allowed = |wanted: &Wanted| match (seen, Some(*wanted) == own) {
        (Some(seen), true) => seen.allowed,
        (Some(seen), false) => seen.others.iter().find(|one| one.wanted == *wanted)?.allowed,
        (None, _) => None,
    };
    let is_there = |wanted: &Wanted, addition: &Addition| {
        wanted.additions().contains(addition)
            && allowed(wanted).is_none_or(|allowed| match addition.write {
                Write::AddComposeHash(_) => allowed.compose,
                Write::AddDevice(_) => allowed.device(),
            })
    };
    let is_there = |addition: &Addition| all.iter().any(|wanted| is_there(wanted, addition));
    let there = wanted.iter().flatten().filter(|addition| is_there(addition));
    let there: Vec<String> =
        there.flat_map(|one| [true, false].map(|is_several| missing(one, is_several))).collect();
    decoded.warnings.retain(|one| {
        one.code != WarningCode::MissingWrite
            || !there.iter().any(|missing| one.text.starts_with(missing.as_str()))
    });
    if wanted.is_none() {
        decoded.warnings.extend(not_named(calls, given));
    }
    decoded.warnings.extend(not_meant(said, given));
    decoded.warnings.extend(seen.and_then(Seen::safe).and_then(singleton_warning));
    decoded
}

/// Which other requests it is for that the signer has not named, and the other way round.
fn not_meant(said: &Said, given: &Given) -> Vec<Warning> {
    let others = said.with.iter().filter(|other| !given.with.contains(&other.id));
    let text = |Other { id, .. }: &Other| {
        format!("it approves request {id} as well: look at that too, and name it with --with {id}")
    };
    let unnamed =
        others.map(|other| Warning { code: WarningCode::UnexpectedWrite, text: text(other) });
    let is_for =
        |id: &RequestId| said.request == Some(*id) || said.with.iter().any(|other| other.id == *id);
    let missing = given.with.iter().filter(|id| !is_for(id)).map(|id| {
        let text = format!("it does not approve request {id}, which you named");
        Warning { code: WarningCode::MissingWrite, text }
    });
    unnamed.chain(missing).collect()
}

/// Where no request says what is wanted: what the signer named admits that alone, and of each kind a
/// replica needs one addition at most.
fn not_named(calls: &[Call], given: &Given) -> Vec<Warning> {
    let (mut composes, mut devices, mut warnings) = (0, 0, vec![]);
    for Addition { write, .. } in calls.iter().filter_map(addition) {
        let is_named = match write {
            Write::AddComposeHash(compose) => {
                composes += 1;
                let of_file = |file: &Compose| file.forms().matching(compose).is_some();
                given.compose_hash.is_none_or(|named| named == compose)
                    && given.compose.as_ref().is_none_or(of_file)
            }
            Write::AddDevice(device) => {
                devices += 1;
                given.device.is_none_or(|named| named == device)
            }
        };
        if !is_named {
            let text = format!("{write}: you named another one");
            warnings.push(Warning { code: WarningCode::UnexpectedWrite, text });
        }
    }
    for (count, what) in [(composes, "compose hash"), (devices, "device")] {
        if count > 1 {
            let text = format!("more than one {what} would be allowed: a replica needs one");
            warnings.push(Warning { code: WarningCode::UnexpectedWrite, text });
        }
    }
    warnings
}

/// Bare calls are looked at as a Safe would make them, through whichever batch contract.
fn decode_bare(calls: &[Call], expected: &Expected<'_>) -> Decoded {
    let multi_send = multi_send_call_only(SafeVersion::V1_4_1, ChainId::ETHEREUM);
    let address = multi_send.first().map(|one| one.address).unwrap_or_default();
    match owner::safe::propose(calls, address, U256::ZERO) {
        Ok(tx) => safe::decode(&tx, expected),
        Err(error) => {
            let bare = ProposalView::bare(calls, *expected);
            let warning = Warning { code: WarningCode::UnreadableBatch, text: error.to_string() };
            Decoded { calls: bare.calls, warnings: vec![warning] }
        }
    }
}

/// How a warning begins that this is not in the transaction.
fn missing(addition: &Addition, is_several: bool) -> String {
    format!("{}: ", addition_in_words(addition, is_several))
}

impl Wanted {
    pub(super) fn additions(&self) -> [Addition; 2] {
        Addition::of_replica(self.app, self.compose_hash, self.device_id)
    }
}
