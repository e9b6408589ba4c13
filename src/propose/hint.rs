//! What Safe's mailbox says of our nonce, in words, and what to do. Hints: the chain decides. Pure.

use alloy::primitives::Address;

use super::queue::what_it_is;
use crate::{
    safe::signature::SignatureKind,
    safe_service::{Execution, MailTransaction},
    store::confirmations::Confirmation,
};

/// Whose nonce it is about.
pub(super) struct Said {
    pub nonce: u64,
    pub safe: Address,
    /// Ours was in the mailbox, and is no more.
    pub is_deleted: bool,
}

impl Said {
    /// None when nothing speaks against ours. `others` have the same nonce.
    pub fn hint(
        &self,
        ours: Option<&MailTransaction>,
        others: &[MailTransaction],
    ) -> Option<String> {
        let nonce = self.nonce;
        if let Some(execution) = ours.and_then(|ours| ours.execution) {
            return Some(self.executed(execution));
        }
        if let Some(other) = others.iter().find(|other| other.execution.is_some()) {
            return Some(format!(
                "Safe's mailbox says that nonce {nonce} was used by another transaction, {}: once \
                 the chain shows it here, a new proposal with the next nonce is made, and must be \
                 signed anew",
                other.hash
            ));
        }
        if let Some(other) = others.first() {
            let (hash, what) = (other.hash, what_it_is(&other.tx, self.safe));
            return Some(format!(
                "in Safe's mailbox {what} stands at nonce {nonce} too, {hash}: only one of the two \
                 can be executed. Sign and execute this one, or end the request with `countersign \
                 reject`"
            ));
        }
        self.is_deleted.then(|| {
            format!(
                "it was deleted from Safe's mailbox and is not put there again: owners can still \
                 sign it here. If nobody wants it, end the request with `countersign reject`; \
                 nonce {nonce} is then given to another"
            )
        })
    }

    fn executed(&self, execution: Execution) -> String {
        let by = execution.tx.map(|tx| format!(" in {tx}")).unwrap_or_default();
        if execution.success == Some(false) {
            format!(
                "Safe's mailbox says that it was executed{by} and failed inside, which uses nonce \
                 {} up: once the chain shows it here, a new proposal is made",
                self.nonce
            )
        } else {
            format!(
                "Safe's mailbox says that it was executed{by}: the request goes on once the chain \
                 shows it here"
            )
        }
    }
}

/// Most signatures that are not counted of which the reason is told.
const DOUBTS_TOLD: usize = 3;

/// That signatures in the mailbox are not counted, and why.
pub(super) fn not_counted(doubts: &[String]) -> Option<String> {
    let told = doubts.iter().take(DOUBTS_TOLD).map(String::as_str).collect::<Vec<_>>().join("; ");
    let more = doubts.len().saturating_sub(DOUBTS_TOLD);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!doubts.is_empty()).then(|| {
        format!(
            "{} of what Safe's mailbox has as signatures is not counted: {told}{more}",
            doubts.len()
        )
    })
}

/// All hints there are, as one.
pub(super) fn all_hints<const N: usize>(hints: [Option<String>; N]) -> Option<String> {
    let all: Vec<String> = hints.into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(". "))
}

/// That signatures are not in the mailbox, and why.
pub(super) fn left_at_home(given: &[Confirmation]) -> Option<String> {
    let count = given.iter().filter(|one| one.signature.kind() == SignatureKind::EthSign).count();
    (count > 0).then(|| {
        format!(
            "{count} of the signatures were made with eth_sign, which Safe's web application \
             refuses: they count here and on the chain, and are not in Safe's mailbox"
        )
    })
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{B256, Bytes, U256};

    use super::*;
    use crate::{
        owner::Call,
        request::ids::{SafeTxHash, TxHash},
        safe::{Operation, OwnerSignature, SafeTx},
        safe_service::Confirmations,
    };

    const SAFE: Address = Address::repeat_byte(5);

    fn mail(to: Address, success: Option<bool>) -> MailTransaction {
        let call = Call { to, value: U256::ZERO, data: Bytes::new() };
        let tx = Some(TxHash(B256::repeat_byte(0xee)));
        MailTransaction {
            hash: SafeTxHash(B256::repeat_byte(0xab)),
            tx: SafeTx::new(call, Operation::Call, U256::from(12)),
            execution: success.map(|success| Execution { tx, success: Some(success) }),
            trusted: Some(true),
            confirmations: Confirmations::default(),
        }
    }

    #[test]
    fn what_speaks_against_a_proposal_is_said_with_what_to_do() {
        let (app, said) =
            (Address::repeat_byte(6), |is_deleted| Said { nonce: 12, safe: SAFE, is_deleted });
        let ours = mail(app, None);
        for (ours, others, is_deleted, says, what_to_do) in [
            (Some(mail(app, Some(true))), vec![], false, "was executed in 0xee", "goes on once"),
            (
                Some(mail(app, Some(false))),
                vec![],
                false,
                "failed inside",
                "a new proposal is made",
            ),
            (
                Some(ours.clone()),
                vec![mail(app, Some(true))],
                false,
                "nonce 12 was used by another transaction, 0xab",
                "signed anew",
            ),
            (
                Some(ours.clone()),
                vec![mail(SAFE, None), mail(app, Some(true))],
                false,
                "was used by another",
                "next nonce",
            ),
            (
                Some(ours.clone()),
                vec![mail(SAFE, None)],
                false,
                "a rejection",
                "countersign reject",
            ),
            (
                Some(ours.clone()),
                vec![mail(app, None)],
                false,
                "a call of 0x0606060606060606060606060606060606060606 stands at nonce 12",
                "only one",
            ),
            (None, vec![], true, "was deleted", "sign it here"),
        ] {
            let hint = said(is_deleted).hint(ours.as_ref(), &others).unwrap();
            assert!(hint.contains(says) && hint.contains(what_to_do), "{says}: {hint}");
        }
        assert_eq!(said(false).hint(Some(&ours), &[]), None);
        assert_eq!(said(false).hint(None, &[]), None, "it is not there yet");
    }

    #[test]
    fn what_is_not_counted_is_told_with_reasons_and_beside_the_rest() {
        assert_eq!(not_counted(&[]), None);
        let doubts: Vec<String> = (1..=5).map(|number| format!("reason {number}")).collect();
        let one = not_counted(&doubts[..1]).unwrap();
        assert!(one.starts_with("1 of what") && one.ends_with("not counted: reason 1"), "{one}");
        let many = not_counted(&doubts).unwrap();
        assert!(many.ends_with("reason 1; reason 2; reason 3; and 2 more"), "{many}");
        assert_eq!(all_hints([None, None]), None);
        let both = all_hints([Some("one".into()), None, Some("two".into())]);
        assert_eq!(both.as_deref(), Some("one. two"));
    }

    #[test]
    fn signatures_that_stay_at_home_are_counted() {
        let signed = |v: u8| {
            let mut bytes = [7; 65];
            bytes[64] = v;
            let signature = OwnerSignature::from_bytes(&bytes).unwrap();
            Confirmation {
                owner: SAFE,
                signature: signature.into(),
                received_at: crate::clock::Time::default(),
            }
        };
        assert_eq!(left_at_home(&[signed(27)]), None);
        assert!(left_at_home(&[signed(27), signed(31), signed(32)]).unwrap().starts_with("2 of"));
    }
}
