use alloy::primitives::{Bytes, U256, address};
use proptest::prelude::*;

use super::*;
use crate::{
    dstack::Write,
    owner::{Call, safe::propose},
    request::ids::{AppId, ComposeHash, DeviceId},
};

const SAFE: Address = address!("F71902B32C9854DB8d6f70Afa6Dcf685F7df8d79");
const MULTI_SEND: Address = address!("9641d764fc13c8B624c04430C7356C1C7C8102e2");
const HASH: &str = "0x3c0550ea6f44c260e534bcd1e860ee901997b71c1efa334f751ec51975f900cb";

/// The recorded transaction of the 1.4.1 Safe.
fn recorded() -> SafeTx {
    let app = AppId(Address::repeat_byte(0x11));
    let calls = [
        Write::AddComposeHash(ComposeHash(B256::repeat_byte(0xaa))),
        Write::AddDevice(DeviceId(B256::repeat_byte(0xbb))),
    ]
    .map(|write| Call::of_write(app, &write));
    propose(&calls, MULTI_SEND, U256::from(7)).unwrap()
}

fn exports(tx: &SafeTx, chain: ChainId) -> Exports {
    Exports::of(tx, chain, SAFE, SafeVersion::V1_4_1)
}

#[test]
fn links_are_those_of_the_safe_on_its_chain() {
    let links = exports(&recorded(), ChainId::BASE).links.unwrap();
    assert_eq!(links.queue, format!("https://app.safe.global/transactions/queue?safe=base:{SAFE}"));
    assert_eq!(
        links.transaction,
        format!(
            "https://app.safe.global/transactions/tx?safe=base:{SAFE}&id=multisig_{SAFE}_{HASH}"
        )
    );
    assert_eq!(
        links.transaction_builder,
        format!(
            "https://app.safe.global/apps/open?safe=base:{SAFE}&appUrl=https%3A%2F%2Fapps-portal.safe.global%2Ftx-builder"
        )
    );
    // The application takes the last 66 characters for the hash.
    assert!(links.transaction.ends_with(HASH) && HASH.len() == 66);
    let sepolia = ChainId::new(84532).unwrap();
    let links = exports(&recorded(), sepolia).links.unwrap();
    assert!(links.queue.ends_with(&format!("?safe=basesep:{SAFE}")), "{}", links.queue);
}

#[test]
fn the_command_names_network_safe_and_nonce() {
    for (chain, expected) in
        [(8453, Some("base")), (1, Some("ethereum")), (11_155_111, Some("sepolia")), (31337, None)]
    {
        let exports = exports(&recorded(), ChainId::new(chain).unwrap());
        let command = expected.map(|network| {
            format!("./safe_hashes.sh --network {network} --address {SAFE} --nonce 7")
        });
        assert_eq!(exports.hashes_command, command, "{chain}");
        assert_eq!(exports.links.is_some(), command.is_some(), "{chain}");
    }
}

#[test]
fn the_summary_of_the_recorded_transaction() {
    let (aa, bb) = ("aa".repeat(32), "bb".repeat(32));
    let expected = format!(
        "Safe transaction

Chain: Base (8453)
Safe: 0xF71902B32C9854DB8d6f70Afa6Dcf685F7df8d79
Safe version: 1.4.1
Nonce: 7

Calls: 2
1. allow compose hash 0x{aa}
   to 0x1111111111111111111111111111111111111111 (the app), 0 wei
2. allow device 0x{bb}
   to 0x1111111111111111111111111111111111111111 (the app), 0 wei
Warnings: 0

to: 0x9641d764fc13c8B624c04430C7356C1C7C8102e2
value: 0
data: {}
operation: 1 (delegate call)
safeTxGas: 0
baseGas: 0
gasPrice: 0
gasToken: 0x0000000000000000000000000000000000000000
refundReceiver: 0x0000000000000000000000000000000000000000

Domain hash: 0x4D2C552B33042D30B5E7521D9577319354D9A519A48A2CBB85298ACFB33C9423
Message hash: 0x60B7BB99DE89D553D4AC923BB769722EA83880A107801FDE011B0AE1AF0E6C6C
safeTxHash: {HASH}
",
        recorded().data
    );
    assert_eq!(exports(&recorded(), ChainId::BASE).summary, expected);
}

#[test]
fn the_text_of_the_qr_code_says_which_transaction_and_its_hashes() {
    let expected = format!(
        "Chain: 8453\nSafe: {SAFE}\nNonce: 7\n\
         Domain hash: 0x4D2C552B33042D30B5E7521D9577319354D9A519A48A2CBB85298ACFB33C9423\n\
         Message hash: 0x60B7BB99DE89D553D4AC923BB769722EA83880A107801FDE011B0AE1AF0E6C6C\n\
         safeTxHash: {HASH}"
    );
    assert_eq!(exports(&recorded(), ChainId::BASE).qr_text, expected);
}

#[test]
fn a_summary_that_is_signed_says_what_is_wrong_with_the_transaction() {
    let mut tx = recorded();
    tx.to = Address::repeat_byte(0x66);
    tx.gas_price = U256::from(1);
    let summary = exports(&tx, ChainId::BASE).summary;
    assert!(summary.contains("Warnings: 2\n"), "{summary}");
    assert!(summary.contains("! gasPrice is not 0"), "{summary}");
    assert!(summary.contains("! delegate call to 0x6666"), "{summary}");
    assert!(summary.contains(", 0 wei, delegate call\n"), "{summary}");
}

/// Any change of what is signed, as a function of one byte.
type Change = fn(&mut SafeTx, u8);

const CHANGES: [Change; 10] = [
    |tx, byte| tx.to = Address::repeat_byte(byte),
    |tx, byte| tx.value = U256::from(byte),
    |tx, byte| tx.data = Bytes::from(vec![byte]),
    |tx, byte| tx.operation = Operation::try_from(byte % 2).unwrap(),
    |tx, byte| tx.safe_tx_gas = U256::from(byte),
    |tx, byte| tx.base_gas = U256::from(byte),
    |tx, byte| tx.gas_price = U256::from(byte),
    |tx, byte| tx.gas_token = Address::repeat_byte(byte),
    |tx, byte| tx.refund_receiver = Address::repeat_byte(byte),
    |tx, byte| tx.nonce = U256::from(byte),
];

proptest! {
    /// So comparing two summaries compares two transactions, with nothing left out.
    #[test]
    fn summaries_are_equal_exactly_when_the_transactions_are(
        field in 0..CHANGES.len(),
        byte in any::<u8>(),
    ) {
        let mut other = recorded();
        CHANGES[field](&mut other, byte);
        let (one, two) = (exports(&recorded(), ChainId::BASE), exports(&other, ChainId::BASE));
        prop_assert_eq!(one.summary == two.summary, other == recorded());
        prop_assert_eq!(one.qr_text == two.qr_text, other == recorded());
        // What is shown of it is what people can read and type.
        prop_assert!(two.summary.chars().all(|c| c == '\n' || c.is_ascii_graphic() || c == ' '));
        prop_assert!(two.summary.lines().all(|line| line.trim_end() == line));
    }
}
