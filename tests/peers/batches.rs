//! Several calls in one: peers write the same bytes, and read the same calls out of ours.

use alloy::primitives::Bytes;
use countersign::safe::multisend;
use serde_json::{Value, json};

use super::{
    draw::{Case, cases},
    peer::Peer,
};

const CASES: usize = 250;

fn calls(case: &Case) -> Vec<Value> {
    let call = |call: &countersign::owner::Call| json!({ "to": call.to.to_string(), "value": call.value.to_string(), "data": call.data });
    case.calls.iter().map(call).collect()
}

#[test]
fn peers_write_the_same_batch_and_it_reads_back() {
    let cases = cases(CASES);
    let question = |case: &Case| json!({ "ask": "batch", "calls": calls(case) });
    let questions: Vec<Value> = cases.iter().map(question).collect();
    for peer in Peer::present() {
        for (case, answer) in cases.iter().zip(peer.ask(&questions)) {
            let theirs: Bytes = answer["calldata"].as_str().unwrap().parse().unwrap();
            assert_eq!(multisend::encode(&case.calls), theirs, "{peer:?}, {}", case.name());
            assert_eq!(multisend::decode(&theirs).as_ref(), Ok(&case.calls));
        }
    }
}

#[test]
fn peers_read_our_calls_out_of_our_batch() {
    let cases = cases(CASES);
    let question =
        |case: &Case| json!({ "ask": "calls", "calldata": multisend::encode(&case.calls) });
    let questions: Vec<Value> = cases.iter().map(question).collect();
    for peer in Peer::present() {
        for (case, answer) in cases.iter().zip(peer.ask(&questions)) {
            let mut expected = calls(case);
            for call in &mut expected {
                call["operation"] = json!(0);
            }
            assert_eq!(answer["calls"], json!(expected), "{peer:?}, {}", case.name());
        }
    }
}
