//! The allowlist of an app as of a block, with everything that is known of how it came about.

use super::{
    AuditError,
    fold::{AllowedEntry, EntryKind, Policy, policy},
    state::{self, Part, State},
};
use crate::{
    chain::Chain,
    dstack::Generation,
    owner::Account,
    request::facts::BlockRef,
    store::{
        Store,
        apps::{AppHistory, Use},
        paths::Recorded,
    },
};

/// What an app allows as of a block.
#[derive(Debug, Clone)]
pub struct Allowlist {
    /// The newest block that was read.
    pub head: Option<BlockRef>,
    pub policy: Policy,
    /// Which interface the contract answers to, when it was asked.
    pub generation: Option<Generation>,
    /// What this list does not show, and why.
    pub warning: Option<String>,
    /// Why a part that the events do not tell could not be read from the contract.
    pub unreadable: Option<String>,
    /// The whole ledger, oldest first.
    pub ledger: Vec<Recorded>,
}

/// The allowlist as of block `at`, or now. What events do not tell is read from the contract, for
/// now only: an endpoint need not keep the state of older blocks.
pub async fn allowlist_at(
    store: &Store,
    chain: Option<&Chain>,
    history: &AppHistory,
    at: Option<u64>,
) -> Result<Allowlist, AuditError> {
    let head = store.head(history.chain).await?.map(|head| head.block);
    let known = head.map(|head| head.number);
    if let Some(at) = at.filter(|at| known.is_none_or(|head| *at > head)) {
        return Err(AuditError::BeyondHead { at, head: known });
    }
    let ledger = store.recorded(history.chain, history.app).await?;
    let mut list = Allowlist {
        head,
        policy: policy(&ledger, history.is_whole(), at),
        generation: None,
        warning: warning(history, at),
        unreadable: None,
        ledger,
    };
    let values: Vec<_> = list.policy.entries.iter().map(|entry| entry.value).collect();
    attach(&mut list.policy.entries, &store.uses(history.chain, history.app, &values).await?);
    if at.is_none() {
        match (chain, head) {
            (Some(chain), Some(head)) => match state::state(chain, history.app, head).await {
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

/// Names the requests that registered each entry, and the replicas that use it.
fn attach(entries: &mut [AllowedEntry], uses: &[Use]) {
    for entry in entries {
        let of_entry = uses.iter().filter(|one| match entry.kind {
            EntryKind::ComposeHash => one.compose.0 == entry.value,
            EntryKind::Device => one.device.0 == entry.value,
        });
        for one in of_entry {
            if one.transactions.contains(&entry.tx) {
                entry.requests.push(one.request);
            }
            entry.replicas.extend(one.replica.clone());
        }
    }
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

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};
    use uuid::Uuid;

    use super::*;
    use crate::{
        audit::samples,
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
        attach(&mut entries, &uses);
        let told = |at: usize| (entries[at].requests.clone(), entries[at].replicas.len());
        assert_eq!(told(0), (vec![uses[1].request], 2), "the compose hash");
        assert_eq!(told(1), (vec![uses[0].request], 2), "the device");
    }
}
