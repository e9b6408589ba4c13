use alloy::{
    dyn_abi::TypedData,
    primitives::{address, bytes},
    sol_types::{SolStruct, eip712_domain},
};
use proptest::prelude::*;

use super::*;
use crate::{
    dstack::Write,
    owner::{Call, safe::propose},
    request::ids::{AppId, ComposeHash, DeviceId},
    safe::Operation,
};

mod reference {
    alloy::sol! {
        /// The signed struct as the contract declares it, hashed by alloy's own EIP-712 code.
        struct SafeTx {
            address to;
            uint256 value;
            bytes data;
            uint8 operation;
            uint256 safeTxGas;
            uint256 baseGas;
            uint256 gasPrice;
            address gasToken;
            address refundReceiver;
            uint256 nonce;
        }
    }
}

const SAFE_1_3_0: Address = address!("D27E699f481e849DBC69CdEF7E822e19F402993C");
const SAFE_1_4_1: Address = address!("F71902B32C9854DB8d6f70Afa6Dcf685F7df8d79");
const MULTI_SEND_1_3_0: Address = address!("40A2aCCbd92BCA938b02010E17A5b8929b49130D");
const MULTI_SEND_1_4_1: Address = address!("9641d764fc13c8B624c04430C7356C1C7C8102e2");

fn calls() -> [Call; 2] {
    let app = AppId(Address::repeat_byte(0x11));
    [
        Write::AddComposeHash(ComposeHash(B256::repeat_byte(0xaa))),
        Write::AddDevice(DeviceId(B256::repeat_byte(0xbb))),
    ]
    .map(|write| Call::of_write(app, &write))
}

/// The batch of the recorded vectors: nonce 7, both adds.
fn batch(multi_send: Address) -> SafeTx {
    propose(&calls(), multi_send, U256::from(7)).unwrap()
}

/// Recorded from `getTransactionHash` and `domainSeparator` of deployed Safes on chain 8453.
#[test]
fn hashes_are_those_of_deployed_safes() {
    use SafeVersion as V;
    for (version, safe, multi_send, domain, message, safe_tx) in [
        (
            V::V1_3_0,
            SAFE_1_3_0,
            MULTI_SEND_1_3_0,
            b256!("f7ddce7d6cc9e9ca9950f07660b1e1c124c776db882a7a0d72bbd006a3c7ae3b"),
            b256!("0f1ca98071173ee5d2cb527dc81f36c8153c0548e10fedd420b6add55ed82ccd"),
            b256!("e56cc64badad41f523cb8ca33a695ed7709c02be0c890e46f3439adf3716fbd0"),
        ),
        (
            V::V1_4_1,
            SAFE_1_4_1,
            MULTI_SEND_1_4_1,
            b256!("4d2c552b33042d30b5e7521d9577319354d9a519a48a2cbb85298acfb33c9423"),
            b256!("60b7bb99de89d553d4ac923bb769722ea83880a107801fde011b0ae1af0e6c6c"),
            b256!("3c0550ea6f44c260e534bcd1e860ee901997b71c1efa334f751ec51975f900cb"),
        ),
        (
            V::V1_2_0,
            SAFE_1_3_0,
            MULTI_SEND_1_3_0,
            b256!("61fd20b3225f72872bbcf6934fed676463507e4fc9dc48882bde47d4f3d321c8"),
            b256!("0f1ca98071173ee5d2cb527dc81f36c8153c0548e10fedd420b6add55ed82ccd"),
            b256!("b49f18ef53a8644236a8259bf0caeb93939fc163b2fbe4b45d0663aff1f91a22"),
        ),
        (
            V::V1_0_0,
            SAFE_1_4_1,
            MULTI_SEND_1_4_1,
            b256!("82a9b6728c0179e61f3a0adfed46104df1823f5d7802933c8e47d49b374ecd9a"),
            b256!("60b7bb99de89d553d4ac923bb769722ea83880a107801fde011b0ae1af0e6c6c"),
            b256!("1f1cc985435b7b720bc57c8ef8843ab5aa4ab1664b167bfb64856afa0d9d1e7e"),
        ),
    ] {
        let found = hashes(&batch(multi_send), ChainId::BASE, safe, version);
        let expected = SafeTxHashes {
            domain_hash: domain,
            message_hash: message,
            safe_tx_hash: SafeTxHash(safe_tx),
        };
        assert_eq!(found, expected, "{version}");
    }
}

#[test]
fn the_versions_without_a_chain_id_hash_alike() {
    let hashes = |version| hashes(&batch(MULTI_SEND_1_3_0), ChainId::BASE, SAFE_1_3_0, version);
    let recorded = b256!("b49f18ef53a8644236a8259bf0caeb93939fc163b2fbe4b45d0663aff1f91a22");
    for version in [SafeVersion::V1_0_0, SafeVersion::V1_1_1, SafeVersion::V1_2_0] {
        assert_eq!(hashes(version).safe_tx_hash.0, recorded, "{version}");
    }
}

#[test]
fn a_single_call_has_the_recorded_hashes() {
    let tx = SafeTx::new(calls()[0].clone(), Operation::Call, U256::from(7));
    for (version, safe, safe_tx) in [
        (
            SafeVersion::V1_3_0,
            SAFE_1_3_0,
            b256!("574509a8d97317ca6378695fde03d905f42979ee6adbd80ab25df99893823ab8"),
        ),
        (
            SafeVersion::V1_4_1,
            SAFE_1_4_1,
            b256!("99bc5c0d7a0ecc5089475d2224924f966b378c39d72eabd061369654b2646fc2"),
        ),
    ] {
        let found = hashes(&tx, ChainId::BASE, safe, version);
        assert_eq!(found.safe_tx_hash, SafeTxHash(safe_tx), "{version}");
        assert_eq!(
            found.message_hash,
            b256!("f287c5efca66fd3367d2dde712b268e05ff01af66f4e8133dc431f692b595789")
        );
    }
}

#[test]
fn typehashes_are_those_of_their_types() {
    let safe_tx = "SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,\
                   uint256 baseGas,uint256 gasPrice,address gasToken,address refundReceiver,\
                   uint256 nonce)";
    assert_eq!(keccak256(safe_tx), SAFE_TX_TYPEHASH);
    let domain = "EIP712Domain(uint256 chainId,address verifyingContract)";
    assert_eq!(keccak256(domain), DOMAIN_TYPEHASH);
    let domain = "EIP712Domain(address verifyingContract)";
    assert_eq!(keccak256(domain), DOMAIN_TYPEHASH_WITHOUT_CHAIN);
}

fn any_tx() -> impl Strategy<Value = SafeTx> {
    let numbers = prop::array::uniform5(any::<[u8; 32]>());
    let addresses = prop::array::uniform3(any::<[u8; 20]>());
    let data = prop::collection::vec(any::<u8>(), 0..100);
    (numbers, addresses, data, any::<bool>()).prop_map(|(numbers, addresses, data, delegate)| {
        let [value, safe_tx_gas, base_gas, gas_price, nonce] = numbers.map(U256::from_be_bytes);
        let [to, gas_token, refund_receiver] = addresses.map(Address::from);
        let operation = if delegate { Operation::DelegateCall } else { Operation::Call };
        let data = data.into();
        SafeTx {
            to,
            value,
            data,
            operation,
            safe_tx_gas,
            base_gas,
            gas_price,
            gas_token,
            refund_receiver,
            nonce,
        }
    })
}

fn reference_hash(tx: &SafeTx, chain: u64, safe: Address, version: SafeVersion) -> B256 {
    let domain = if version.domain_has_chain_id() {
        eip712_domain! { chain_id: chain, verifying_contract: safe, }
    } else {
        eip712_domain! { verifying_contract: safe, }
    };
    reference::SafeTx {
        to: tx.to,
        value: tx.value,
        data: tx.data.clone(),
        operation: tx.operation.number(),
        safeTxGas: tx.safe_tx_gas,
        baseGas: tx.base_gas,
        gasPrice: tx.gas_price,
        gasToken: tx.gas_token,
        refundReceiver: tx.refund_receiver,
        nonce: tx.nonce,
    }
    .eip712_signing_hash(&domain)
}

proptest! {
    #[test]
    fn hashes_agree_with_two_other_implementations(
        tx in any_tx(),
        chain in 1..=1_u64 << 53,
        safe in any::<[u8; 20]>(),
        version in prop::sample::select(SafeVersion::ALL.to_vec()),
    ) {
        let (chain, safe) = (ChainId::new(chain).unwrap(), Address::from(safe));
        let found = hashes(&tx, chain, safe, version).safe_tx_hash.0;
        prop_assert_eq!(found, reference_hash(&tx, chain.get(), safe, version));
        let document = eip712_document(&tx, chain, safe, version);
        let document: TypedData = serde_json::from_value(document).unwrap();
        prop_assert_eq!(found, document.eip712_signing_hash().unwrap());
    }

    #[test]
    fn json_keeps_every_field(tx in any_tx()) {
        let json = serde_json::to_string(&tx).unwrap();
        prop_assert_eq!(serde_json::from_str::<SafeTx>(&json).unwrap(), tx);
    }
}

#[test]
fn every_field_changes_the_hash() {
    let original = batch(MULTI_SEND_1_4_1);
    let changes: [fn(&mut SafeTx); 10] = [
        |tx| tx.to = Address::ZERO,
        |tx| tx.value = U256::ONE,
        |tx| tx.data = bytes!("00"),
        |tx| tx.operation = Operation::Call,
        |tx| tx.safe_tx_gas = U256::ONE,
        |tx| tx.base_gas = U256::ONE,
        |tx| tx.gas_price = U256::ONE,
        |tx| tx.gas_token = SAFE_1_3_0,
        |tx| tx.refund_receiver = SAFE_1_3_0,
        |tx| tx.nonce = U256::from(8),
    ];
    let hash = |tx: &SafeTx| hashes(tx, ChainId::BASE, SAFE_1_4_1, SafeVersion::V1_4_1);
    for (index, change) in changes.iter().enumerate() {
        let mut tx = original.clone();
        change(&mut tx);
        assert_ne!(hash(&tx).message_hash, hash(&original).message_hash, "field {index}");
    }
}
