//! Signatures of several owners in one: what is packed here others read, and what others sign and
//! pack is read here.

use alloy::primitives::{Address, Bytes};
use countersign::{
    request::ids::SafeTxHash,
    safe::{
        OwnerSignature, SafeTxHashes, hashes,
        packed::pack,
        signature::{LENGTH, SignatureKind},
    },
};
use serde_json::{Value, json};

use super::{
    draw::{Case, Signer, cases},
    peer::Peer,
};

const CASES: usize = 150;

fn hash(case: &Case) -> SafeTxHash {
    let SafeTxHashes { safe_tx_hash, .. } = hashes(&case.tx, case.chain, case.safe, case.version);
    safe_tx_hash
}

/// In the order that the contract wants.
fn sorted(case: &Case) -> Vec<(Address, SignatureKind)> {
    let mut owners: Vec<_> = case.signers.iter().map(|one| (one.address(), one.kind)).collect();
    owners.sort_by_key(|(owner, _)| *owner);
    owners
}

fn signed(case: &Case) -> Vec<(Address, OwnerSignature)> {
    let sign = |one: &Signer| (one.address(), one.sign(hash(case)));
    case.signers.iter().map(sign).collect()
}

/// One after the other, as a contract reads them.
fn unpacked(packed: &Bytes) -> Vec<OwnerSignature> {
    let (parts, rest) = packed.as_chunks::<LENGTH>();
    assert!(rest.is_empty(), "nothing follows the signatures");
    parts.iter().map(|part| OwnerSignature::from_bytes(part).unwrap()).collect()
}

/// A signature is a function of key and hash (RFC 6979), so all that differs would be a defect.
#[test]
fn peers_that_sign_alike_pack_the_same_bytes_and_their_signatures_are_taken() {
    let cases = cases(CASES);
    let question = |case: &Case| {
        let mut question = case.question("sign");
        question["signers"] = case.signers.iter().map(Signer::question).collect();
        question
    };
    let questions: Vec<Value> = cases.iter().map(question).collect();
    for peer in Peer::present() {
        for (case, answer) in cases.iter().zip(peer.ask(&questions)) {
            let theirs: Bytes = answer["packed"].as_str().unwrap().parse().unwrap();
            let signatures = unpacked(&theirs);
            let found: Vec<_> = signatures
                .iter()
                .map(|one| (one.recover(hash(case)).unwrap(), one.kind()))
                .collect();
            assert_eq!(found, sorted(case), "{peer:?}, {}", case.name());
            assert_eq!(pack(&signed(case)).unwrap(), theirs, "{peer:?}, {}", case.name());
        }
    }
}

#[test]
fn safe_eth_py_reads_the_owners_that_signed_in_their_order() {
    if !Peer::present().contains(&Peer::SafeEthPy) {
        return;
    }
    let cases = cases(CASES);
    let question = |case: &Case| {
        let packed = pack(&signed(case)).unwrap();
        json!({ "ask": "read", "packed": packed, "safe_tx_hash": hash(case) })
    };
    let questions: Vec<Value> = cases.iter().map(question).collect();
    for (case, answer) in cases.iter().zip(Peer::SafeEthPy.ask(&questions)) {
        let expected: Vec<Value> = sorted(case)
            .iter()
            .map(|(owner, kind)| {
                let kind = match kind {
                    SignatureKind::Eip712 => "EOA",
                    SignatureKind::EthSign => "ETH_SIGN",
                    SignatureKind::ApprovedHash => "APPROVED_HASH",
                    SignatureKind::ContractSignature => "CONTRACT_SIGNATURE",
                };
                json!({ "owner": owner.to_string(), "kind": kind, "valid": true })
            })
            .collect();
        assert_eq!(answer["signatures"], json!(expected), "{}", case.name());
    }
}

#[test]
fn the_protocol_kit_packs_our_signatures_as_we_do() {
    let cases = cases(CASES);
    let question = |case: &Case| {
        let given = signed(case);
        let given = given.iter().map(
            |(owner, signature)| json!({ "owner": owner.to_string(), "signature": signature }),
        );
        json!({ "ask": "pack", "signatures": given.collect::<Vec<_>>() })
    };
    let questions: Vec<Value> = cases.iter().map(question).collect();
    for (case, answer) in cases.iter().zip(Peer::ProtocolKit.ask(&questions)) {
        let owners: Vec<String> = sorted(case).iter().map(|(owner, _)| owner.to_string()).collect();
        assert_eq!(answer["packed"], pack(&signed(case)).unwrap().to_string(), "{}", case.name());
        assert_eq!(answer["owners"], json!(owners), "{}", case.name());
    }
}
