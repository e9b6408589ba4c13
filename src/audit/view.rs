//! The allowlist of an app as of a block, with everything that is known of how it came about.

use std::collections::{HashMap, HashSet};

use alloy::primitives::B256;

use super::{
    AuditError,
    fold::{AllowedEntry, EntryKind, Policy, policy},
    moment::AsOf,
    state::{self, Part, State},
};
use crate::{
    chain::Chain,
    clock::Time,
    dstack::Generation,
    owner::Account,
    request::ids::ReplicaId,
    store::{
        Store,
        apps::{AppHistory, Use},
        chain::Head,
        paths::Recorded,
        reliance::Reliance,
        troubles::Trouble,
    },
};

/// What an app allows as of a block.
#[derive(Debug, Clone)]
pub struct Allowlist {
    /// The block it is as of; none is now.
    pub at: Option<u64>,
    /// The newest block that was read.
    pub head: Option<Head>,
    pub policy: Policy,
    /// Which interface the contract answers to, when it was asked.
    pub generation: Option<Generation>,
    /// When Phala Cloud's list of the app's instances was read last. Before that nobody can be said not to
    /// need an entry.
    pub instances_listed_at: Option<Time>,
    /// What this list does not show, and why.
    pub warning: Option<String>,
    /// Why a part that the events do not tell could not be read from the contract.
    pub unreadable: Option<String>,
    /// Why rules that are none are not known as of an earlier block.
    pub untold: Option<String>,
    /// The whole ledger, oldest first.
    pub ledger: Vec<Recorded>,
}

/// The allowlist as of a block or a moment, or now. What events do not tell is read from the contract, for
/// now only: an endpoint need not keep the state of older blocks.
pub async fn allowlist_at(
    store: &Store,
    chain: Option<&Chain>,
    history: &AppHistory,
    as_of: AsOf,
) -> Result<Allowlist, AuditError> {
    let head = store.head(history.chain).await?;
    let ledger = store.recorded(history.chain, history.app).await?;
    let at = as_of.block(&ledger, history.ledger_from, head.as_ref())?;
    let halted = store.trouble(history.chain).await?.filter(|trouble| trouble.halted);
    let halted = halted.map(|Trouble { since, .. }| {
        format!(
            "the chain is not followed since {}: what is shown was read before",
            since.to_rfc3339()
        )
    });
    let warnings: Vec<String> = halted.into_iter().chain(warning(history, at)).collect();
    let mut list = Allowlist {
        at,
        head,
        policy: policy(&ledger, history.is_whole(), at),
        generation: None,
        instances_listed_at: store.instances_listed_at(history.chain, history.app).await?,
        warning: (!warnings.is_empty()).then(|| warnings.join("; ")),
        unreadable: None,
        untold: None,
        ledger,
    };
    list.untold = at.filter(|_| list.policy.lacks_rules()).map(|at| untold(history, at));
    let values: Vec<_> = list.policy.entries.iter().map(|entry| entry.value).collect();
    let uses = store.uses(history.chain, history.app, &values).await?;
    let relying = store.relying(history.chain, history.app, &values).await?;
    rely(&mut list.policy.entries, &relying);
    attach(&mut list.policy.entries, &uses);
    if at.is_none() {
        match (chain, head) {
            (Some(chain), Some(head)) => match state::state(chain, history.app, head.block).await {
                Ok(state) => list.complete(&state),
                Err(error) => list.unreadable = Some(error.to_string()),
            },
            (None, _) => list.unreadable = Some("this chain is not configured any more".into()),
            (_, None) => list.unreadable = Some("the chain has not been read yet".into()),
        }
    }
    Ok(list)
}

impl Allowlist {
    /// Takes from the contract what no event told.
    fn complete(&mut self, state: &State) {
        let mut problems = vec![];
        let policy = &mut self.policy;
        fill(&mut policy.allow_any_device, &state.allow_any_device, Some, &mut problems);
        fill(&mut policy.upgrades_disabled, &state.upgrades_disabled, Some, &mut problems);
        fill(&mut policy.owner, &state.owner, Some, &mut problems);
        let itself = |part| part;
        fill(
            &mut policy.require_tcb_up_to_date,
            &state.require_tcb_up_to_date,
            itself,
            &mut problems,
        );
        fill(&mut policy.pending_owner, &state.pending_owner, |part| part, &mut problems);
        fill(&mut policy.implementation, &state.implementation, |part| part, &mut problems);
        self.generation = Some(state.generation);
        problems.dedup();
        self.unreadable = (!problems.is_empty())
            .then(|| format!("the contract does not tell everything: {}", problems.join("; ")));
    }

    /// To whom the app is offered, if to anybody.
    pub fn pending_owner(&self) -> Option<Account> {
        self.policy.pending_owner.filter(|offered| !offered.0.is_zero())
    }
}

fn fill<T, F>(
    part: &mut Option<T>,
    found: &Part<F>,
    read: impl Fn(F) -> Option<T>,
    problems: &mut Vec<String>,
) where
    F: Clone,
{
    if part.is_some() {
        return;
    }
    match found {
        Ok(found) => *part = read(found.clone()),
        Err(problem) => problems.push(problem.to_string()),
    }
}

/// Names the requests that registered each entry, and of the instances that rely on it those made here.
fn attach(entries: &mut [AllowedEntry], uses: &[Use]) {
    let places = places(entries);
    let made: HashSet<&ReplicaId> = uses.iter().filter_map(|one| one.replica.as_ref()).collect();
    for entry in entries.iter_mut() {
        let here = entry.removal.instances.iter().filter(|id| made.contains(id));
        entry.replicas = here.cloned().collect();
    }
    for one in uses {
        let of_use = [(EntryKind::ComposeHash, one.compose.0), (EntryKind::Device, one.device.0)];
        for place in of_use.iter().filter_map(|named| places.get(named)) {
            let entry = &mut entries[*place];
            if one.transactions.contains(&entry.tx) {
                entry.requests.push(one.request);
            }
        }
    }
}

/// Where each entry stands: a list may be long, and so may what is to be found in it.
fn places(entries: &[AllowedEntry]) -> HashMap<(EntryKind, B256), usize> {
    entries.iter().enumerate().map(|(place, entry)| ((entry.kind, entry.value), place)).collect()
}

/// Says what the removal of each entry would hit.
fn rely(entries: &mut [AllowedEntry], relying: &[Reliance]) {
    let places = places(entries);
    for one in relying {
        let compose = one.compose.map(|hash| (EntryKind::ComposeHash, hash.0));
        let device = one.device.map(|id| (EntryKind::Device, id.0));
        let needed = compose.into_iter().chain(device);
        for place in needed.filter_map(|needed| places.get(&needed)) {
            let removal = &mut entries[*place].removal;
            note(&mut removal.instances, one.instance.as_ref());
            note(&mut removal.requests, one.request.as_ref());
            note(&mut removal.nodes, one.node.as_ref());
        }
    }
}

/// The same instance may be known from its request and from a list.
fn note<T: PartialEq + Clone>(known: &mut Vec<T>, one: Option<&T>) {
    known.extend(one.filter(|one| !known.contains(one)).cloned().into_iter().collect::<Vec<_>>());
}

/// What the list as of `at` cannot show.
fn warning(history: &AppHistory, at: Option<u64>) -> Option<String> {
    let Some(from) = history.ledger_from else {
        return Some("the history of this app has not been read yet".into());
    };
    let before = at.is_some_and(|at| at < from);
    Some(match (history.is_whole(), history.is_read(), before) {
        (true, _, false) => return None,
        (true, _, true) => format!("the app was deployed in block {from}, after the one asked for"),
        (false, false, _) => format!(
            "the history of this app is still being read; what happened before block {from} is \
             missing"
        ),
        (false, true, _) => format!(
            "the history of this app begins at block {from}; what happened before is not known"
        ),
    })
}

/// Why no event tells a rule as of `at`. The contract itself is asked for now only.
fn untold(history: &AppHistory, at: u64) -> String {
    const NOT_ASKED: &str = "and the contract is asked for its present state only";
    match history.ledger_from {
        None => "the history of this app has not been read yet".into(),
        Some(from) if at < from && history.is_whole() => {
            format!("the app was deployed in block {from}, after the one asked for")
        }
        Some(from) if at < from => {
            format!("the history that is known begins at block {from}, after the one asked for")
        }
        Some(_) if history.is_whole() => {
            format!("no event up to block {at} tells it, {NOT_ASKED}")
        }
        Some(from) => format!("no event of blocks {from} to {at} tells it, {NOT_ASKED}"),
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;
    use uuid::Uuid;

    use super::*;
    use crate::{
        audit::{Removal, samples},
        dstack::PolicyEvent,
        request::ids::{AppId, ChainId, ComposeHash, DeviceId, RequestId, TxHash},
    };

    fn history(start: Option<u64>, starts_at_deployment: bool) -> AppHistory {
        AppHistory {
            chain: ChainId::BASE,
            app: AppId(Address::ZERO),
            discovered: "request".into(),
            ledger_from: Some(10),
            history_start: start,
            starts_at_deployment,
        }
    }

    #[test]
    fn a_list_says_what_it_cannot_show() {
        let whole = history(Some(10), true);
        assert_eq!((warning(&whole, None), warning(&whole, Some(10))), (None, None));
        assert!(warning(&whole, Some(9)).unwrap().contains("deployed in block 10"));
        let reading = history(Some(5), true);
        assert!(warning(&reading, None).unwrap().contains("still being read"));
        let cut = history(Some(10), false);
        assert!(warning(&cut, Some(9)).unwrap().contains("begins at block 10"));
        let unread = AppHistory { ledger_from: None, ..reading };
        assert!(warning(&unread, None).unwrap().contains("not been read yet"));
    }

    #[test]
    fn a_rule_that_no_event_tells_is_not_known_for_a_reason() {
        let (whole, cut) = (history(Some(10), true), history(Some(10), false));
        let unread = AppHistory { ledger_from: None, ..whole.clone() };
        for (history, at, words) in [
            (&unread, 20, "not been read yet"),
            (&whole, 9, "deployed in block 10, after"),
            (&cut, 9, "begins at block 10, after"),
            (&whole, 20, "no event up to block 20"),
            (&cut, 20, "no event of blocks 10 to 20"),
        ] {
            let why = untold(history, at);
            assert!(why.contains(words), "{words}: {why}");
        }
        assert!(policy(&[], true, None).lacks_rules());
    }

    #[test]
    fn an_entry_names_the_requests_that_registered_it_and_the_replicas_that_use_it() {
        let (compose, device) = (ComposeHash(B256::repeat_byte(1)), DeviceId(B256::repeat_byte(2)));
        let ledger = samples::ledger(&[
            PolicyEvent::ComposeHashAdded(compose),
            PolicyEvent::DeviceAdded(device),
        ]);
        let mut entries = policy(&ledger, true, None).entries;
        let one = |id: u128, device, tx: TxHash, replica: Option<&str>| Use {
            request: RequestId(Uuid::from_u128(id)),
            compose,
            device,
            transactions: vec![tx],
            replica: replica.map(|id| id.parse().unwrap()),
        };
        let uses = [
            one(1, device, ledger[1].entry.tx, Some("replica-1")),
            one(2, DeviceId(B256::ZERO), ledger[0].entry.tx, None),
            one(3, device, TxHash(B256::ZERO), Some("replica-3")),
        ];
        // The first replica runs with both; of the other it is not known any more that it runs.
        let instance = |compose, device, id: &str| Reliance {
            compose,
            device,
            node: None,
            request: None,
            instance: Some(id.parse().unwrap()),
        };
        let relying = [
            instance(Some(compose), Some(device), "replica-1"),
            instance(Some(compose), None, "not-made-here"),
        ];
        rely(&mut entries, &relying);
        attach(&mut entries, &uses);
        let told = |at: usize| (entries[at].requests.clone(), entries[at].replicas.clone());
        let first = vec!["replica-1".parse().unwrap()];
        assert_eq!(told(0), (vec![uses[1].request], first.clone()), "the compose hash");
        assert_eq!(told(1), (vec![uses[0].request], first), "the device");
    }

    #[test]
    fn a_removal_hits_each_of_those_who_need_the_entry_once() {
        let (compose, device) = (ComposeHash(B256::repeat_byte(1)), DeviceId(B256::repeat_byte(2)));
        let other = DeviceId(B256::repeat_byte(3));
        let ledger = samples::ledger(&[
            PolicyEvent::ComposeHashAdded(compose),
            PolicyEvent::DeviceAdded(device),
            PolicyEvent::DeviceAdded(other),
        ]);
        let mut entries = policy(&ledger, true, None).entries;
        let one = |compose, device, request: Option<u128>, instance: Option<&str>| Reliance {
            compose,
            device: Some(device),
            node: Some("5".parse().unwrap()),
            request: request.map(|id| RequestId(Uuid::from_u128(id))),
            instance: instance.map(|id| id.parse().unwrap()),
        };
        let unrelated = DeviceId(B256::repeat_byte(9));
        rely(
            &mut entries,
            &[
                one(Some(compose), device, Some(1), None),
                one(Some(compose), device, None, Some("replica-1")),
                one(Some(compose), unrelated, None, Some("replica-1")),
                one(None, unrelated, None, Some("replica-2")),
            ],
        );
        let told = |at: usize| {
            let Removal { instances, requests, nodes } = &entries[at].removal;
            (instances.len(), requests.len(), nodes.len())
        };
        assert_eq!((told(0), told(1), told(2)), ((1, 1, 1), (1, 1, 1), (0, 0, 0)));
        assert!(entries[2].removal.hits_nobody() && !entries[1].removal.hits_nobody());
    }
}
