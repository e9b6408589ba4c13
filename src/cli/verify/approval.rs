//! A batch file in which a Safe approves a transaction of another Safe, that it is an owner of: what it
//! approves, and whether that is the transaction that was looked at. Pure.

use alloy::{primitives::Address, sol_types::SolCall};
use serde_json::json;

use super::{
    compare::{Check, Report, Verdict},
    said::Said,
    seen::Seen,
};
use crate::{
    cli::{
        page::{Cell, Page, Tone},
        print::{Answer, Ending},
    },
    request::ids::{ChainId, SafeTxHash},
    safe::tx::Safe,
};

/// An approval, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    by: String,
    chain: ChainId,
    /// The Safe that approves: the file is for it.
    nested: Address,
    /// The Safe whose transaction is approved.
    parent: Address,
    hash: SafeTxHash,
}

impl Approval {
    /// None when it is anything but the one call.
    pub fn of(said: &Said) -> Option<Self> {
        let [call] = said.batch.as_deref()? else { return None };
        let approve = Safe::approveHashCall::abi_decode(&call.data).ok()?;
        // Nothing behind the argument, and no ether with it.
        let is_plain = call.value.is_zero() && approve.abi_encode() == call.data;
        is_plain.then(|| Self {
            by: said.by.clone(),
            chain: said.claimed.chain,
            nested: said.claimed.owner,
            parent: call.to,
            hash: SafeTxHash(approve.hashToApprove),
        })
    }

    /// What it is, as long as nobody said what it should approve.
    pub fn alone(&self) -> Answer {
        let Self { by, chain, nested, parent, hash } = self;
        let words = format!(
            "{by} is an approval by an owner that is a Safe, and is not checked: what it approves \
             stands in no file like it"
        );
        let page = Page::default().line(Cell::toned(words, Tone::Waiting)).facts(vec![
            ("Chain", chain.label().into()),
            ("Approves as an owner", nested.to_string().into()),
            ("Transaction of", parent.to_string().into()),
            ("Its safeTxHash", hash.to_string().into()),
        ]);
        let page = page.line(format!(
            "next: countersign verify {by} --approves ID, with the request that it should be, \
             verifies the transaction and holds the approval against it"
        ));
        let json = json!({
            "matches": false, "shown_by": by,
            "approval": {
                "chain_id": chain, "owner": nested.to_string(), "safe": parent.to_string(),
                "safe_tx_hash": hash,
            },
        });
        Answer::new(page, json).ending(Ending::Attention)
    }

    /// Adds to what was found of a transaction whether this approves just that.
    pub fn hold_against(&self, said: &Said, seen: Option<&Seen>, report: &mut Report) {
        let Self { by, chain, nested, parent, hash } = self;
        let approved = report.hashes.map(|hashes| hashes.safe_tx_hash);
        let is_this = (said.claimed.chain, said.claimed.owner) == (*chain, *parent)
            && approved == Some(*hash);
        let mut checks = vec![if is_this {
            let words = format!("{by} approves exactly this transaction, and nothing else: {hash}");
            Check::new(Verdict::Good, words)
        } else {
            let words = format!(
                "{by} approves {hash} of {parent} on {}, which is not this transaction: do not sign it",
                chain.label()
            );
            Check::new(Verdict::Bad, words)
        }];
        if let Some(safe) = seen.and_then(Seen::safe) {
            let is_owner = safe.owners.contains(nested);
            let (verdict, words) = if is_owner {
                (Verdict::Good, format!("{nested}, which approves it, is an owner of {parent}"))
            } else {
                (Verdict::Bad, format!("{nested}, which approves it, is no owner of the Safe"))
            };
            checks.push(Check::new(verdict, words));
        }
        report.matches &= checks.iter().all(|check| check.verdict == Verdict::Good);
        checks.append(&mut report.checks);
        report.checks = checks;
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{B256, U256};

    use super::*;
    use crate::{
        cli::verify::said::Claimed,
        owner::{Call, Route},
    };

    const NESTED: Address = Address::repeat_byte(1);
    const PARENT: Address = Address::repeat_byte(2);

    fn said(calls: Vec<Call>) -> Said {
        let (route, chain, owner) = (Route::Safe, ChainId::BASE, NESTED);
        Said {
            by: "approval.json".into(),
            request: None,
            wanted: None,
            with: vec![],
            claimed: Claimed { route, chain, owner, version: None, safe_tx: None },
            shown: None,
            batch: Some(calls),
            signatures: vec![],
            refused: vec![],
            asked: None,
            same_nonce: vec![],
        }
    }

    #[test]
    fn only_the_one_call_is_an_approval() {
        let hash = B256::repeat_byte(0xaa);
        let data = Safe::approveHashCall { hashToApprove: hash }.abi_encode();
        let call = Call { to: PARENT, value: U256::ZERO, data: data.clone().into() };
        let found = Approval::of(&said(vec![call.clone()])).unwrap();
        assert_eq!((found.nested, found.parent, found.hash), (NESTED, PARENT, SafeTxHash(hash)));
        let longer = [data.as_slice(), &[0]].concat().into();
        let dear = Call { value: U256::ONE, ..call.clone() };
        let odd = Call { data: longer, ..call.clone() };
        for calls in [vec![], vec![call.clone(), call], vec![dear], vec![odd]] {
            assert_eq!(Approval::of(&said(calls.clone())), None, "{calls:?}");
        }
    }
}
