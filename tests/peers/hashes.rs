//! Domain hash, message hash and safeTxHash, as others compute them, and as our pages do in a browser.

use countersign::{
    request::ids::ChainId,
    safe::{SafeVersion, hashes, network::NETWORKS},
};
use serde_json::{Value, json};

use super::{
    draw::{Case, cases},
    peer::Peer,
};

/// Each is hashed for every version of the Safe.
const TRANSACTIONS: usize = 500;

#[test]
fn the_three_hashes_are_those_of_every_peer() {
    let mut all = vec![];
    for case in cases(TRANSACTIONS) {
        all.extend(SafeVersion::ALL.map(|version| Case { version, ..case.clone() }));
    }
    let questions: Vec<Value> = all.iter().map(|case| case.question("hashes")).collect();
    for peer in Peer::present().into_iter().chain([Peer::Page]) {
        let answers = peer.ask(&questions);
        for (case, answer) in all.iter().zip(answers) {
            let Case { tx, chain, safe, version, .. } = case;
            let ours = json!(hashes(tx, *chain, *safe, *version));
            assert_eq!(answer, ours, "{peer:?}, {}", case.name());
        }
    }
}

#[test]
fn chains_have_the_short_names_that_safes_own_tools_give_them() {
    let chains = NETWORKS.map(|network| ChainId::new(network.chain).unwrap());
    let ask = |chain| json!({ "ask": "short_name", "chain_id": chain });
    let answers = Peer::ProtocolKit.ask(&chains.map(ask));
    for (network, answer) in NETWORKS.iter().zip(answers) {
        assert_eq!(answer["short_name"], network.short_name, "{}", network.chain);
    }
}
