//! What an owner is asked for that is no Safe: the bare calls, which it makes in its own way.

use alloy::primitives::U256;

use super::{Proposal, Wanted};
use crate::{
    cli::page::{Cell, Page},
    owner::{Call, Route},
    safe::{Expected, Operation, SafeTx, decode, decode::DecodedCall},
};

/// The calls as this machine sees them.
pub struct Bare {
    pub calls: Vec<DecodedCall>,
    /// What this machine warns of and the service does not.
    pub warnings: Vec<String>,
}

/// Reads the calls again, and warns of whatever the request does not ask for.
pub fn look(proposal: &Proposal, wanted: &Wanted) -> Bare {
    let additions = wanted.additions();
    let asked = additions.each_ref().map(Call::from);
    let expected = Expected { safe: proposal.owner, app: None, additions: Some(&additions) };
    let decoded = proposal.bare_calls.iter().flat_map(|call| {
        decode(&SafeTx::new(call.clone(), Operation::Call, U256::ZERO), &expected).calls
    });
    let calls: Vec<DecodedCall> = decoded.collect();
    let mut warnings = vec![];
    if calls != proposal.calls {
        let text = "the service shows other calls than its own fields give: do not make them";
        warnings.push(text.into());
    }
    let odd = proposal.bare_calls.iter().enumerate().filter(|(_, call)| !asked.contains(call));
    warnings.extend(odd.map(|(at, _)| {
        format!("call {} is not what the request asks for: do not make it", at + 1)
    }));
    Bare { calls, warnings }
}

/// Command lines for an account that makes the calls; none for contracts, which act otherwise.
pub fn commands(proposal: &Proposal) -> Vec<String> {
    let calls = proposal.bare_calls.iter().filter(|_| proposal.route == Route::Eoa);
    calls.map(|call| call.cast_command(proposal.owner)).collect()
}

/// The calls in full, and how they are made.
pub fn how(page: Page, proposal: &Proposal) -> Page {
    let page = proposal.bare_calls.iter().enumerate().fold(page, |page, (at, call)| {
        page.title(format!("Call {}", at + 1)).facts(vec![
            ("to", call.to.to_string().into()),
            ("value", call.value.to_string().into()),
            ("data", call.data.to_string().into()),
        ])
    });
    let (route, commands) = (proposal.route, commands(proposal));
    let page = page.title("How the owner makes them").line(format!(
        "in its own way ({route}), each exactly as it stands; what happens next follows from the chain"
    ));
    if commands.is_empty() {
        return page;
    }
    page.line("if it is an account with a key, for example so:")
        .lines(commands.into_iter().map(Cell::from).collect())
        .line("and add how it signs: --ledger, --account NAME or --interactive")
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};

    use super::*;
    use crate::{
        dstack::Write,
        request::ids::{AppId, ChainId, ComposeHash, DeviceId, RequestId},
    };

    fn wanted() -> Wanted {
        Wanted {
            id: RequestId(uuid::Uuid::nil()),
            app: AppId(Address::repeat_byte(0x11)),
            compose_hash: ComposeHash(B256::repeat_byte(0xaa)),
            device_id: DeviceId(B256::repeat_byte(0xbb)),
        }
    }

    fn warnings(change: impl FnOnce(&mut Proposal)) -> Vec<String> {
        let wanted = wanted();
        let mut proposal = Proposal {
            chain_id: ChainId::BASE,
            owner: Address::repeat_byte(0x77),
            route: Route::Eoa,
            requests: vec![],
            bare_calls: wanted.additions().iter().map(Call::from).collect(),
            calls: vec![],
            warnings: vec![],
            review_warnings: vec![],
            safe_version: None,
            safe_tx: None,
            domain_hash: None,
            message_hash: None,
            safe_tx_hash: None,
            owners: vec![],
            threshold: None,
            around: None,
            nested_owners: vec![],
            confirmations: vec![],
        };
        proposal.calls = look(&proposal, &wanted).calls;
        change(&mut proposal);
        look(&proposal, &wanted).warnings
    }

    #[test]
    fn what_the_request_does_not_ask_for_is_warned_of() {
        assert_eq!(warnings(|_| ()), [""; 0]);
        let other = Write::AddDevice(DeviceId(B256::repeat_byte(0xcc)));
        for (at, call) in [
            (0, Call::of_write(wanted().app, &other)),
            (1, Call { value: U256::from(1), ..Call::from(&wanted().additions()[1]) }),
            (1, Call { to: Address::ZERO, ..Call::from(&wanted().additions()[1]) }),
        ] {
            let told = warnings(|proposal| proposal.bare_calls[at] = call.clone());
            let line = format!("call {} is not what the request asks for: do not make it", at + 1);
            assert!(told.contains(&line) && told.len() == 2, "{call:?}: {told:?}");
        }
        let told = warnings(|proposal| proposal.calls[0].words = "harmless".into());
        assert_eq!(told.len(), 1, "its words are not taken for it: {told:?}");
    }
}
