use alloy::{
    hex,
    primitives::{address, b256},
};
use proptest::prelude::*;

use super::*;

const HASH: SafeTxHash =
    SafeTxHash(b256!("3c0550ea6f44c260e534bcd1e860ee901997b71c1efa334f751ec51975f900cb"));
/// Recorded: the first anvil key over [`HASH`].
const SIGNED: &str = "0xa7dfca04a9aee842921ded5256d80b70c35b495f56f68e6f91c5e41ed66df7a405c429cad852f657c5bc9f653cf8cca8ff9eb9cd119f16e34dfb8afb66f0451f1b";
const SIGNER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
/// Recorded: the same key over the transaction of the 1.3.0 Safe.
const SIGNED_1_3_0: &str = "0x5318c6ddb6cc5f6cea624b15556e65a49796056434d1b8897b1073a7bcf1de2176bb8cee479f0afc330d4c1d8a55ab8aced184c2539edc6629a271a5fa9f8c1c1b";
const HASH_1_3_0: SafeTxHash =
    SafeTxHash(b256!("e56cc64badad41f523cb8ca33a695ed7709c02be0c890e46f3439adf3716fbd0"));

fn bytes() -> [u8; LENGTH] {
    SIGNED.parse::<OwnerSignature>().unwrap().to_bytes()
}

#[test]
fn the_signer_of_the_recorded_signatures_is_found() {
    for (text, hash) in [(SIGNED, HASH), (SIGNED_1_3_0, HASH_1_3_0)] {
        let signature: OwnerSignature = text.parse().unwrap();
        assert_eq!(signature.kind(), SignatureKind::Eip712);
        assert_eq!(signature.recover(hash), Ok(SIGNER));
        assert_eq!(signature.to_string(), text);
    }
    let signature: OwnerSignature = SIGNED.parse().unwrap();
    assert_ne!(signature.recover(HASH_1_3_0), Ok(SIGNER), "a signature is good for one hash");
}

#[test]
fn spelling_does_not_matter() {
    let plain = SIGNED.trim_start_matches("0x");
    for text in [plain.to_uppercase(), format!(" {SIGNED}\n"), format!("0X{plain}")] {
        assert_eq!(text.parse::<OwnerSignature>().unwrap().to_string(), SIGNED);
    }
}

#[test]
fn a_wallet_that_counts_v_from_zero_is_understood() {
    let mut raw = bytes();
    raw[64] = 0;
    let signature = OwnerSignature::from_bytes(&raw).unwrap();
    assert_eq!(signature.to_string(), SIGNED, "v becomes 27, or the contract would refuse it");
    raw[64] = 1;
    assert_eq!(OwnerSignature::from_bytes(&raw).unwrap().to_bytes()[64], 28);
}

#[test]
fn high_s_is_taken_as_the_contract_takes_it() {
    let mut raw = bytes();
    let s = CURVE_ORDER - U256::from_be_slice(&raw[32..64]);
    raw[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    raw[64] = 28;
    assert_eq!(OwnerSignature::from_bytes(&raw).unwrap().recover(HASH), Ok(SIGNER));
}

#[test]
fn kinds_that_prove_nothing_alone_are_named_and_refused() {
    let mut owner_in_r = [0; LENGTH];
    owner_in_r[12..32].copy_from_slice(SIGNER.as_slice());
    assert_eq!(OwnerSignature::from_bytes(&owner_in_r), Err(SignatureError::Contract));
    owner_in_r[64] = 1;
    assert_eq!(OwnerSignature::from_bytes(&owner_in_r), Err(SignatureError::ApprovedHash));
    for v in [2, 26, 29, 30, 33, 255] {
        let mut raw = bytes();
        raw[64] = v;
        assert_eq!(OwnerSignature::from_bytes(&raw), Err(SignatureError::UnknownKind(v)));
    }
}

#[test]
fn what_is_no_signature_is_refused() {
    use SignatureError as E;
    let parse = |text: &str| text.parse::<OwnerSignature>().unwrap_err();
    assert_eq!(parse(""), E::Length(0));
    assert_eq!(parse(&SIGNED[..130]), E::Compact);
    assert_eq!(parse(&format!("{SIGNED}1b")), E::Length(134));
    assert_eq!(parse(&SIGNED.replace('a', "g")), E::NotHex);
    assert_eq!(parse(&"ä".repeat(65)), E::NotHex);
    for (range, fill) in [(0..32, 0xff), (32..64, 0), (32..64, 0xff)] {
        let mut raw = bytes();
        raw[range].fill(fill);
        assert_eq!(OwnerSignature::from_bytes(&raw), Err(E::OutOfRange));
    }
}

/// Signing needs the test wallets, which only the devnet feature brings.
#[cfg(feature = "devnet")]
#[test]
fn eth_sign_is_understood() {
    use alloy::signers::SignerSync;
    let key = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    let signer: alloy_signer_local::PrivateKeySigner = key.parse().unwrap();
    let mut raw = signer.sign_message_sync(HASH.0.as_slice()).unwrap().as_bytes();
    raw[64] += 4;
    let signature = OwnerSignature::from_bytes(&raw).unwrap();
    assert_eq!(signature.kind(), SignatureKind::EthSign);
    assert_eq!(signature.recover(HASH), Ok(SIGNER));
}

/// Signing is deterministic (RFC 6979), so the recorded signatures come out again.
#[cfg(feature = "devnet")]
#[test]
fn the_recorded_signatures_are_made_again() {
    use alloy::signers::SignerSync;
    let key = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    let signer: alloy_signer_local::PrivateKeySigner = key.parse().unwrap();
    for (hash, recorded) in [(HASH, SIGNED), (HASH_1_3_0, SIGNED_1_3_0)] {
        let made = signer.sign_hash_sync(&hash.0).unwrap().as_bytes();
        assert_eq!(hex::encode_prefixed(made), recorded);
    }
}

proptest! {
    #[test]
    fn nothing_makes_the_reader_panic(text in "(0x)?[0-9a-fA-F]{120,140}", hash in any::<[u8; 32]>()) {
        if let Ok(signature) = text.parse::<OwnerSignature>() {
            let _ = signature.recover(SafeTxHash(hash.into()));
            prop_assert_eq!(signature.to_string().parse(), Ok(signature));
        }
    }

    #[test]
    fn every_kind_of_bytes_is_survived(r in any::<[u8; 32]>(), s in any::<[u8; 32]>(), v in 0_u8..40) {
        let mut raw = [0; LENGTH];
        raw[..32].copy_from_slice(&r);
        raw[32..64].copy_from_slice(&s);
        raw[64] = v;
        if let Ok(signature) = OwnerSignature::from_bytes(&raw) {
            let _ = signature.recover(HASH);
        }
    }
}
