use alloy::primitives::address;
use proptest::prelude::*;

use super::*;

/// Recorded: the first anvil key over some hash.
const SIGNED: &str = "0xa7dfca04a9aee842921ded5256d80b70c35b495f56f68e6f91c5e41ed66df7a405c429cad852f657c5bc9f653cf8cca8ff9eb9cd119f16e34dfb8afb66f0451f1b";
const SIGNER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
const LOW: Address = Address::repeat_byte(0x01);
const HIGH: Address = Address::repeat_byte(0xfe);

fn key() -> Part {
    Part::Key(SIGNED.parse().unwrap())
}

fn contract(owner: Address, data: &[u8]) -> Part {
    Part::Contract { owner, data: Bytes::copy_from_slice(data) }
}

/// A contract, a key and an approval, with two contracts' bytes behind.
fn mixed() -> Vec<(Address, Part)> {
    vec![
        (HIGH, contract(HIGH, &[1, 2, 3])),
        (SIGNER, key()),
        (LOW, contract(LOW, &[])),
        (Address::repeat_byte(0x02), Part::ApprovedHash(Address::repeat_byte(0x02))),
    ]
}

#[test]
fn parts_are_sorted_and_bytes_of_contracts_follow() {
    use SignatureKind::{ApprovedHash, ContractSignature, Eip712};
    let packed = pack(&mixed()).unwrap();
    assert_eq!(packed.len(), 4 * 65 + 32 + 32 + 3);
    let parts = unpack(&packed).unwrap();
    let kinds: Vec<SignatureKind> = parts.iter().map(Part::kind).collect();
    assert_eq!(kinds, [ContractSignature, ApprovedHash, Eip712, ContractSignature]);
    assert_eq!(U256::from_be_slice(&packed[32..64]), U256::from(260), "right after the parts");
    assert_eq!(U256::from_be_slice(&packed[3 * 65 + 32..3 * 65 + 64]), U256::from(292));
    assert_eq!(&packed[packed.len() - 3..], [1, 2, 3]);
}

#[test]
fn an_owner_counts_once() {
    let twice = [(LOW, Part::ApprovedHash(LOW)), (LOW, contract(LOW, &[]))];
    assert_eq!(pack(&twice), Err(DuplicateOwner(LOW)));
}

#[test]
fn one_part_stands_alone_and_only_one_is_read_as_that() {
    for (_, part) in mixed() {
        assert_eq!(Part::from_bytes(&part.to_bytes()), Ok(part));
    }
    assert!(Part::from_bytes(&pack(&mixed()).unwrap()).is_err());
}

#[test]
fn bytes_lie_exactly_where_they_should() {
    use UnpackError as E;
    let good = pack(&[(LOW, contract(LOW, &[7; 40])), (SIGNER, key())]).unwrap().to_vec();
    assert_eq!(unpack(&good).map(|parts| parts.len()), Ok(2));
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        unpack(&changed).unwrap_err()
    };
    let word = |number: U256| number.to_be_bytes::<32>();
    for offset in [U256::ZERO, U256::from(64), U256::from(129), U256::from(131), U256::MAX] {
        assert!(matches!(with(32, &word(offset)), E::Offset { number: 1, .. }), "{offset}");
    }
    // Inside the parts: what is the second owner's would be read as a length.
    assert_eq!(with(32, &word(U256::from(65))), E::CutOff(1));
    for length in [U256::from(41), U256::MAX, U256::from(usize::MAX)] {
        assert_eq!(with(130, &word(length)), E::CutOff(1), "{length}");
    }
    assert_eq!(with(130, &word(U256::from(39))), E::Trailing(1));
    assert_eq!(unpack(&[good.as_slice(), &[0]].concat()), Err(E::Trailing(1)));
    assert_eq!(unpack(&good[..good.len() - 1]), Err(E::CutOff(1)));
    let overlapping = pack(&[(LOW, contract(LOW, &[7; 40])), (HIGH, contract(HIGH, &[8]))]);
    let mut overlapping = overlapping.unwrap().to_vec();
    overlapping[65 + 32..65 + 64].copy_from_slice(&word(U256::from(130)));
    assert!(matches!(unpack(&overlapping), Err(E::Offset { number: 2, .. })));
}

#[test]
fn what_is_no_signature_is_told_by_its_number() {
    let mut bad = pack(&[(SIGNER, key()), (HIGH, Part::ApprovedHash(HIGH))]).unwrap().to_vec();
    bad[64] = 29;
    let source = SignatureError::UnknownKind(29);
    assert_eq!(unpack(&bad), Err(UnpackError::Part { number: 1, source }));
    bad[64] = 28;
    bad[65 + 63] = 1;
    assert_eq!(unpack(&bad), Err(UnpackError::ApprovedHash(2)));
    for (text, error) in [
        ("0x", UnpackError::Length(0)),
        ("0xzz", UnpackError::NotHex),
        (&SIGNED[..130], UnpackError::Compact),
        (&format!("{SIGNED}00"), UnpackError::Length(66)),
        (&"00".repeat(MAX_BYTES + 1), UnpackError::TooLong),
    ] {
        assert_eq!(parse(text), Err(error));
    }
}

#[test]
fn a_wallet_that_counts_v_from_zero_is_no_contract() {
    let mut ledger = SIGNED.parse::<OwnerSignature>().unwrap().to_bytes();
    ledger[64] = 0;
    assert_eq!(unpack(&ledger), Ok(vec![key()]));
}

fn part() -> impl Strategy<Value = (Address, Part)> {
    let owner = any::<[u8; 20]>().prop_map(Address::from);
    (owner, 0..3_u8, prop::collection::vec(any::<u8>(), 0..100)).prop_map(|(owner, kind, data)| {
        let part = match kind {
            0 => key(),
            1 => Part::ApprovedHash(owner),
            _ => contract(owner, &data),
        };
        (owner, part)
    })
}

proptest! {
    #[test]
    fn what_is_packed_is_unpacked(parts in prop::collection::btree_map(any::<[u8; 20]>(), part(), 1..12)) {
        let mut given: Vec<(Address, Part)> = parts.into_values().collect();
        given.sort_by_key(|(owner, _)| *owner);
        given.dedup_by_key(|(owner, _)| *owner);
        let packed = pack(&given).unwrap();
        let unpacked = unpack(&packed).unwrap();
        prop_assert_eq!(&unpacked, &given.into_iter().map(|(_, part)| part).collect::<Vec<_>>());
        prop_assert_eq!(join(&unpacked.iter().collect::<Vec<_>>()), packed);
    }

    #[test]
    fn nothing_makes_the_reader_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
        heads in prop::collection::vec((0..6_usize, 0..500_u64, 0..3_u8), 0..6),
    ) {
        for (index, s, v) in heads {
            if let Some(head) = bytes.get_mut(index * LENGTH..(index + 1) * LENGTH) {
                head[..12].fill(0);
                head[32..64].copy_from_slice(&U256::from(s).to_be_bytes::<32>());
                head[64] = v;
            }
        }
        if let Ok(parts) = unpack(&bytes) {
            // Only `v` of a key may be spelled in another way.
            prop_assert_eq!(join(&parts.iter().collect::<Vec<_>>()).len(), bytes.len());
        }
    }
}
