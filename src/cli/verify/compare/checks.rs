//! What a signer must be sure of, one check after the other.

use std::{cmp::Ordering, collections::BTreeSet};

use alloy::primitives::{Address, U256};

use super::{Check, Given, Report, Signer, Verdict};
use crate::{
    chain::{OwnerKind, SafeState},
    cli::verify::{
        said::{Other, Said, Wanted},
        seen::Seen,
    },
    dstack::{Addition, Write},
    request::{ids::AppId, need::Allowed},
    safe::{
        Around, Extensions, SafeTx,
        deployments::{find_multi_send_call_only, find_singleton, is_proxy},
        packed::Part,
        signature::SignatureKind,
    },
};

/// Most addresses that are named in one line.
const NAMED_MAX: usize = 3;

pub(super) fn all(
    said: &Said,
    seen: Option<&Seen>,
    given: &Given,
    report: &Report,
    signers: &[Signer],
    additions: &[Addition],
    app: Option<AppId>,
) -> Vec<Check> {
    let mut checks = vec![];
    match seen {
        Some(seen) => of_chain(said, seen, report, signers, app, &mut checks),
        None => checks.push(Check::new(
            Verdict::Open,
            "the chain was not asked: give your own endpoint with --rpc",
        )),
    }
    known(said, given, additions, app, &mut checks);
    if let (Some(asked), Some(hashes)) = (said.asked, report.hashes)
        && asked != hashes.safe_tx_hash
    {
        let words = format!("the link names {asked}, which this Safe never computes for it");
        checks.push(Check::new(Verdict::Bad, words));
    }
    if !said.refused.is_empty() {
        let words = format!("shown as signatures, and are none: {}", said.refused.join("; "));
        checks.push(Check::new(Verdict::Bad, words));
    }
    if !said.same_nonce.is_empty() {
        let hashes: Vec<String> = said.same_nonce.iter().map(ToString::to_string).collect();
        let words = format!("only one can execute with this nonce; also: {}", hashes.join(", "));
        checks.push(Check::new(Verdict::Note, words));
    }
    if !report.unknown_fields.is_empty() {
        let names = report.unknown_fields.join(", ");
        checks.push(Check::new(Verdict::Note, format!("not known to this version: {names}")));
    }
    checks
}

fn of_chain(
    said: &Said,
    seen: &Seen,
    report: &Report,
    signers: &[Signer],
    app: Option<AppId>,
    checks: &mut Vec<Check>,
) {
    let owner = said.claimed.owner;
    if let (Some(app_owner), Some(app)) = (seen.app_owner, app) {
        let good = format!("{owner} owns the app {app}");
        let bad = format!("the app {app} is owned by {app_owner}, not by {owner}");
        checks.push(Check::of(app_owner == owner, good, bad));
    }
    for (other, seen) in said.with.iter().zip(&seen.others) {
        let Other { id, wanted: Wanted { app, compose_hash, device_id } } = other;
        if seen.app_owner != owner {
            let words = format!("the app {app} of request {id} is owned by {}", seen.app_owner);
            checks.push(Check::new(Verdict::Bad, words));
        }
        let words = format!(
            "also for request {id}: app {app}, compose hash {compose_hash}, device {device_id}"
        );
        checks.push(Check::new(Verdict::Note, words));
    }
    match (&seen.kind, &said.claimed.safe_tx) {
        (OwnerKind::Safe(safe), Some(tx)) => {
            of_safe(safe, tx, seen, report, checks);
            // A document alone holds none.
            if said.shown.is_some() || !signers.is_empty() {
                checks.push(signatures(safe, seen, signers));
            }
        }
        (OwnerKind::Safe(safe), None) if said.batch.is_some() => {
            checks.extend(published_code(safe));
            checks.extend(seen.around.iter().flat_map(extensions));
            checks.push(Check::new(
                Verdict::Note,
                "a batch file binds neither a nonce nor the Safe: Safe{Wallet} makes the \
                 transaction, verify its link before you sign",
            ));
        }
        (OwnerKind::Safe(_), None) => checks.push(Check::new(
            Verdict::Bad,
            format!("{owner} is a Safe, and no transaction of it is shown"),
        )),
        (_, Some(_)) => {
            checks.push(Check::new(Verdict::Bad, format!("{owner} is no Safe that is known")));
        }
        (_, None) => checks.push(Check::new(
            Verdict::Note,
            format!("{owner} is no Safe: there is no hash to compare, only the calls"),
        )),
    }
    if let Some(Allowed { compose, device_listed, any_device }) = seen.allowed {
        let allowed = |is: bool| if is { "allowed" } else { "not allowed" };
        let device = if any_device { "any device allowed" } else { allowed(device_listed) };
        let words = format!("now: compose hash {}, device {device}", allowed(compose));
        checks.push(Check::new(Verdict::Note, words));
    }
}

fn of_safe(safe: &SafeState, tx: &SafeTx, seen: &Seen, report: &Report, checks: &mut Vec<Check>) {
    checks.extend(published_code(safe));
    if let (Some(hashes), Some(own)) = (report.hashes, seen.own_hash) {
        checks.push(Check::of(
            own == hashes.safe_tx_hash.0,
            "the Safe itself computes the same safeTxHash",
            format!("the Safe itself computes another safeTxHash: {own}"),
        ));
    }
    if let Some(code) = seen.delegate_code {
        let known = find_multi_send_call_only(tx.to);
        let version = known.map_or_else(String::new, |known| known.version.to_string());
        checks.push(Check::of(
            known.is_some_and(|known| known.code_hash == code),
            format!("the batch runs the published code of MultiSendCallOnly {version}"),
            format!("a delegate call to {}, which has not the code it should have", tx.to),
        ));
    }
    checks.push(nonce(safe.nonce, tx.nonce));
    checks.extend(seen.around.iter().flat_map(extensions));
}

/// Any other code has a warning of its own.
fn published_code(safe: &SafeState) -> Option<Check> {
    let known = find_singleton(safe.singleton)?;
    (is_proxy(safe.code_hash) && known.code_hash == safe.singleton_code_hash).then(|| {
        let words = format!("Safe {}, with the published code of {}", safe.version, known.contract);
        Check::new(Verdict::Good, words)
    })
}

fn nonce(next: u64, nonce: U256) -> Check {
    let at = U256::from(next);
    match nonce.cmp(&at) {
        Ordering::Equal => Check::new(Verdict::Good, format!("nonce {nonce} is the Safe's next")),
        Ordering::Less => Check::new(
            Verdict::Past,
            format!(
                "nonce {nonce} is used up, as the Safe is at {next}: this was executed, or never will be"
            ),
        ),
        Ordering::Greater => {
            let before = nonce - at;
            let words =
                format!("nonce {nonce}: {before} more come before it, the Safe is at {next}");
            Check::new(Verdict::Note, words)
        }
    }
}

fn extensions(around: &Around) -> Vec<Check> {
    let Some(extensions) = &around.extensions else {
        let words =
            "the modules and guards of the Safe do not read: somebody may act without signatures";
        return vec![Check::new(Verdict::Bad, words)];
    };
    let Extensions { modules, has_more_modules, guard, module_guard, fallback_handler } =
        extensions;
    let mut checks = vec![];
    if modules.is_empty() && guard.is_none() && module_guard.is_none() {
        checks.push(Check::new(Verdict::Good, "no module and no guard"));
    }
    if !modules.is_empty() {
        let named: Vec<String> = modules.iter().take(NAMED_MAX).map(ToString::to_string).collect();
        let more = if *has_more_modules || modules.len() > NAMED_MAX { " and more" } else { "" };
        let words = format!("modules act without signatures: {}{more}", named.join(", "));
        checks.push(Check::new(Verdict::Note, words));
    }
    for (name, guard) in [("guard", guard), ("module guard", module_guard)] {
        if let Some(guard) = guard {
            let words = format!("a {name} may refuse this: {guard}");
            checks.push(Check::new(Verdict::Note, words));
        }
    }
    if let Some(handler) = fallback_handler {
        checks.push(Check::new(Verdict::Note, format!("fallback handler {handler}")));
    }
    checks
}

/// Each owner counts once, however often it is shown and in whatever kind.
fn signatures(safe: &SafeState, seen: &Seen, signers: &[Signer]) -> Check {
    let counts = |one: &&Signer| match &one.signature {
        Part::Key(signature) => {
            let is_taken =
                signature.kind() != SignatureKind::EthSign || safe.version.takes_eth_sign();
            is_taken && safe.owners.contains(&one.owner)
        }
        Part::ApprovedHash(_) | Part::Contract { .. } => seen.proven.contains(&one.owner),
    };
    let owners: BTreeSet<Address> = signers.iter().filter(counts).map(|one| one.owner).collect();
    let others = signers.iter().filter(|one| !counts(one)).map(|one| one.owner.to_string());
    let others: Vec<String> = others.collect();
    if others.is_empty() && owners.len() < signers.len() {
        return Check::new(Verdict::Bad, "an owner is shown to have signed more than once");
    }
    Check::of(
        others.is_empty(),
        format!("{} of {} signatures, each of an owner", owners.len(), safe.threshold),
        format!("shown as signatures, and not those of owners: {}", others.join(", ")),
    )
}

/// What the signer knows from elsewhere, against what is asked for and what would be done.
fn known(
    said: &Said,
    given: &Given,
    additions: &[Addition],
    app: Option<AppId>,
    checks: &mut Vec<Check>,
) {
    let mut writes = additions.iter().map(|addition| addition.write);
    let compose = writes.clone().find_map(|write| match write {
        Write::AddComposeHash(compose) => Some(compose),
        Write::AddDevice(_) => None,
    });
    let device = writes.find_map(|write| match write {
        Write::AddDevice(device) => Some(device),
        Write::AddComposeHash(_) => None,
    });
    let wanted = said.wanted;
    if let Some(yours) = given.app {
        let bad = match app {
            Some(app) => format!("it is for the app {app}, and not for yours, {yours}"),
            None => format!("nothing is added to your app {yours}"),
        };
        checks.push(Check::of(app == Some(yours), "it is your app", bad));
    }
    let compose = wanted.map(|wanted| wanted.compose_hash).or(compose);
    if let Some(yours) = given.compose_hash {
        let good = "it is your compose hash";
        let bad = format!("the compose hash is not yours, {yours}");
        checks.push(Check::of(compose == Some(yours), good, bad));
    }
    if let Some(yours) = given.device {
        let device = wanted.map(|wanted| wanted.device_id).or(device);
        let bad = format!("the device is not yours, {yours}");
        checks.push(Check::of(device == Some(yours), "it is your device", bad));
    }
    match (&given.compose, compose) {
        (Some(file), Some(compose)) => {
            let form = file.forms().matching(compose);
            let good = "the compose hash is of the compose file given";
            let bad = format!("the compose file given has not the compose hash {compose}");
            checks.push(Check::of(form.is_some(), good, bad));
        }
        (Some(_), None) => checks
            .push(Check::new(Verdict::Bad, "no compose hash to hold against the compose file")),
        (None, Some(_)) => checks.push(Check::new(
            Verdict::Note,
            "--compose FILE checks that the compose hash is of the document you know",
        )),
        (None, None) => {}
    }
}
