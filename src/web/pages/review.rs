//! What an owner is asked to sign, call by call, held against what the request asks for.

use alloy::primitives::{Address, B256};

use super::parts::When;
use crate::{
    dstack::Write,
    request::{
        Request,
        ids::{AppId, RequestId},
    },
    safe::{
        Operation, SafeTx,
        decode::{Contract, DecodedCall},
        deployments::find_multi_send_call_only,
        exports::as_on_a_ledger,
        qr::QrCode,
    },
    web::api::proposals::{ForRequest, ProposalView},
};

/// A proposal as the page of its request shows it.
pub struct Review {
    pub proposal: ProposalView,
    pub calls: Vec<CallLine>,
    /// The other requests that it is for.
    pub others: Vec<ForRequest>,
    pub signatures: Vec<SignatureLine>,
    /// Signatures of owners.
    pub given: usize,
    pub transaction: Option<TransactionLine>,
}

/// One call.
pub struct CallLine {
    pub call: DecodedCall,
    pub title: String,
    /// The hash an addition is about.
    pub value: Option<B256>,
    /// Whether the request asks for this call, and what its argument is.
    pub wanted: bool,
    /// The other request that asks for it.
    pub other: Option<RequestId>,
    pub meaning: String,
    pub target: &'static str,
    pub delegates: bool,
}

/// One owner, or somebody who signed and is none.
pub struct SignatureLine {
    pub owner: Address,
    pub is_owner: bool,
    pub signed: Option<(When, &'static str)>,
}

/// The Safe transaction around the calls.
pub struct TransactionLine {
    pub tx: SafeTx,
    pub operation: &'static str,
    pub target: &'static str,
    pub gas_is_zero: bool,
    /// The two hashes as a hardware wallet shows them.
    pub domain_upper: String,
    pub message_upper: String,
    pub qr: Option<QrLine>,
}

/// The hashes as a QR code, to be drawn in units of a module.
pub struct QrLine {
    pub side: usize,
    pub path: String,
}

impl Review {
    pub fn new(proposal: ProposalView, request: &Request) -> Self {
        let signatures = signatures(&proposal);
        let given = signatures.iter().filter(|one| one.is_owner && one.signed.is_some()).count();
        let mut others = proposal.requests.clone();
        others.retain(|other| other.id != request.id);
        let line = |call| CallLine::new(call, request, &others);
        Self {
            calls: proposal.calls.iter().map(line).collect(),
            transaction: proposal.safe_tx.as_ref().map(|tx| TransactionLine {
                tx: tx.clone(),
                operation: match tx.operation {
                    Operation::Call => "a plain call",
                    Operation::DelegateCall => "a delegate call",
                },
                target: target(tx.to, request.app, &proposal),
                gas_is_zero: tx.gas_fields_are_zero(),
                domain_upper: upper(proposal.domain_hash),
                message_upper: upper(proposal.message_hash),
                qr: proposal.exports.as_ref().and_then(|exports| QrLine::of(&exports.qr_text)),
            }),
            others,
            signatures,
            given,
            proposal,
        }
    }

    /// Whether this write is among the calls.
    pub fn makes(&self, write: Write) -> bool {
        self.calls.iter().any(|line| line.wanted && line.value == Some(write.value()))
    }

    pub fn missing(&self) -> usize {
        (self.proposal.threshold.unwrap_or_default() as usize).saturating_sub(self.given)
    }
}

fn upper(hash: Option<B256>) -> String {
    hash.map(as_on_a_ledger).unwrap_or_default()
}

impl QrLine {
    fn of(text: &str) -> Option<Self> {
        let code = QrCode::of(text).ok()?;
        Some(Self { side: code.side(), path: code.svg_path() })
    }
}

fn target(to: Address, app: AppId, proposal: &ProposalView) -> &'static str {
    if to == app.0 {
        "the app"
    } else if to == proposal.owner {
        "the Safe itself"
    } else if find_multi_send_call_only(to).is_some() {
        "MultiSendCallOnly, which makes the calls above one by one"
    } else {
        "an unknown contract"
    }
}

impl CallLine {
    fn new(call: &DecodedCall, request: &Request, others: &[ForRequest]) -> Self {
        let delegates = call.operation == Operation::DelegateCall;
        let on_app = call.contract == Some(Contract::App) && !delegates;
        let write = Write::from_calldata(&call.data).filter(|_| on_app);
        let asks = |one: &ForRequest| {
            one.app.0 == call.to
                && write.is_some_and(|write| match write {
                    Write::AddComposeHash(hash) => hash == one.compose_hash,
                    Write::AddDevice(device) => device == one.device_id,
                })
        };
        let wanted = call.value.is_zero() && asks(&request.into());
        let other = others.iter().find(|other| !wanted && call.value.is_zero() && asks(other));
        let node = request.node.as_ref().map(|node| format!(", node {node}")).unwrap_or_default();
        let (title, meaning) = match write {
            Some(Write::AddComposeHash(_)) if wanted => {
                ("Allow compose hash".into(), "the compose hash of this request".into())
            }
            Some(Write::AddDevice(_)) if wanted => {
                ("Allow device".into(), format!("the device of this request{node}"))
            }
            Some(write) if other.is_some() => {
                let what = match write {
                    Write::AddComposeHash(_) => "compose hash",
                    Write::AddDevice(_) => "device",
                };
                (format!("Allow {what}"), format!("the {what} of request"))
            }
            Some(Write::AddComposeHash(_)) => {
                ("Allow compose hash".into(), "not the compose hash of this request".into())
            }
            Some(Write::AddDevice(_)) => {
                ("Allow device".into(), "not the device of this request".into())
            }
            None => (call.words.clone(), "not something this request asks for".into()),
        };
        Self {
            wanted,
            other: other.map(|other| other.id),
            value: write.map(|write| write.value()),
            target: match call.contract {
                Some(Contract::App) => "the app",
                Some(Contract::ThisSafe) => "the Safe itself",
                Some(Contract::MultiSendCallOnly) => "MultiSendCallOnly",
                None => "an unknown contract",
            },
            call: call.clone(),
            title,
            meaning,
            delegates,
        }
    }
}

/// Every owner in the Safe's order, then those who signed and are none.
fn signatures(proposal: &ProposalView) -> Vec<SignatureLine> {
    let signed = |owner: Address| {
        let given = proposal.confirmations.iter().find(|one| one.owner == owner)?;
        Some((When(given.received_at), given.kind.words()))
    };
    let strangers = proposal.confirmations.iter().map(|one| one.owner);
    let strangers = strangers.filter(|owner| !proposal.owners.contains(owner));
    let line = |owner, is_owner| SignatureLine { owner, is_owner, signed: signed(owner) };
    let owners = proposal.owners.iter().map(|owner| line(*owner, true));
    owners.chain(strangers.map(|owner| line(owner, false))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::pages::samples;

    fn review(request: &Request) -> Review {
        Review::new(ProposalView::of(&samples::proposal(), &[], vec![request.into()]), request)
    }

    #[test]
    fn a_call_is_held_against_the_request() {
        let mut request = samples::request();
        let same = review(&request);
        assert!(same.calls[0].wanted && same.makes(Write::AddDevice(request.device)));
        assert_eq!(same.calls[0].meaning, "the device of this request, node 5");
        request.device.0 = B256::repeat_byte(0xcc);
        let other = review(&request);
        assert!(!other.calls[0].wanted && !other.makes(Write::AddDevice(request.device)));
        assert_eq!(other.calls[0].meaning, "not the device of this request");
    }

    #[test]
    fn hashes_come_as_a_hardware_wallet_shows_them() {
        let review = review(&samples::request());
        let shown = review.transaction.unwrap().domain_upper;
        let plain = review.proposal.domain_hash.unwrap().to_string();
        assert!(shown.starts_with("0x") && shown.to_lowercase() == plain);
        assert!(
            !shown.contains(char::is_lowercase) || shown.matches(char::is_lowercase).count() == 1
        );
    }

    #[test]
    fn every_owner_is_listed() {
        let review = review(&samples::request());
        assert_eq!((review.signatures.len(), review.given, review.missing()), (2, 0, 2));
    }
}
