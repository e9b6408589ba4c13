use alloy::{primitives::B256, signers::SignerSync};
use alloy_signer_local::PrivateKeySigner;
use proptest::prelude::*;

use super::*;

fn message() -> Message {
    Message {
        domain: "countersign.example.org".into(),
        address: "0x9D85ca56217D2bb651b00f15e694EB7E713637D4".parse().unwrap(),
        uri: "https://countersign.example.org/".into(),
        chain: ChainId::BASE,
        nonce: "bTyXgcQxn2htgkjJn0".into(),
        issued_at: "2026-11-26T09:00:00Z".parse().unwrap(),
        expires_at: "2026-11-26T09:10:00Z".parse().unwrap(),
        request: Uuid::from_u128(7),
    }
}

const TEXT: &str = "countersign.example.org wants you to sign in with your Ethereum account:
0x9D85ca56217D2bb651b00f15e694EB7E713637D4

Sign in to Countersign. This approves no transaction and costs nothing.

URI: https://countersign.example.org/
Version: 1
Chain ID: 8453
Nonce: bTyXgcQxn2htgkjJn0
Issued At: 2026-11-26T09:00:00Z
Expiration Time: 2026-11-26T09:10:00Z
Request ID: 00000000-0000-0000-0000-000000000007";

#[test]
fn a_message_prints_as_the_standard_says_and_reads_back() {
    assert_eq!(message().to_string(), TEXT);
    assert_eq!(TEXT.parse(), Ok(message()));
}

#[test]
fn only_the_very_text_is_read() {
    for (from, to) in [
        ("countersign.example.org wants", " wants"),
        ("countersign.example.org wants", "https://a b wants"),
        (
            "0x9D85ca56217D2bb651b00f15e694EB7E713637D4",
            "0x9d85ca56217d2bb651b00f15e694eb7e713637d4",
        ),
        ("costs nothing.", "costs nothing"),
        ("Sign in to", "Do not sign in to"),
        ("\n\nURI", "\nURI"),
        ("Version: 1", "Version: 2"),
        ("Chain ID: 8453", "Chain ID: 08453"),
        ("Chain ID: 8453", "Chain ID: +8453"),
        ("Chain ID: 8453", "Chain ID: 99999999999999999999"),
        ("bTyXgcQxn2htgkjJn0", "bTyXgcQ"),
        ("bTyXgcQxn2htgkjJn0", "bTyXgcQxn2-htgkjJn0"),
        ("09:00:00Z", "09:00:00.000Z"),
        ("09:00:00Z", "09:00:00+00:00"),
        ("09:00:00Z", "10:00:00+01:00"),
        ("00000000-0000-0000-0000-000000000007", "00000000000000000000000000000007"),
        ("000000000007", "000000000007\n"),
        ("000000000007", "000000000007\nResources:\n- https://example.org"),
        ("\nURI: ", "\nURI: \r"),
        ("\n", "\r\n"),
    ] {
        let other = TEXT.replacen(from, to, if from == "\n" { 99 } else { 1 });
        assert_ne!(other, TEXT, "{from:?} stands there");
        assert_eq!(other.parse::<Message>(), Err(Refused::Form), "{to:?}");
    }
}

#[test]
fn a_message_is_for_one_site_and_some_minutes() {
    let (domain, uri) = ("countersign.example.org", "https://countersign.example.org/");
    let at = |text: &str| format!("2026-11-26T{text}Z").parse().unwrap();
    let cases = [
        (domain, uri, "09:00:00", Ok(())),
        (domain, uri, "09:09:59", Ok(())),
        (domain, uri, "08:59:30", Ok(())),
        (domain, uri, "08:58:59", Err(Refused::Future)),
        (domain, uri, "09:10:00", Err(Refused::Expired)),
        ("example.org", uri, "09:00:00", Err(Refused::Domain)),
        ("countersign.example.org:8465", uri, "09:00:00", Err(Refused::Domain)),
        (domain, "http://countersign.example.org/", "09:00:00", Err(Refused::Uri)),
        (domain, "https://countersign.example.org", "09:00:00", Err(Refused::Uri)),
    ];
    for (domain, uri, now, expected) in cases {
        assert_eq!(message().check(domain, uri, at(now)), expected, "{domain} {uri} {now}");
    }
}

fn key(byte: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(byte)).unwrap()
}

/// The other signature that recovers to the same key: `s` in the upper half, parity turned.
fn mirrored(signature: [u8; 65]) -> [u8; 65] {
    const ORDER: U256 =
        alloy::uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
    let mut mirrored = signature;
    let s = ORDER - U256::from_be_slice(&signature[32..64]);
    mirrored[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    mirrored[64] = if signature[64] == 27 { 28 } else { 27 };
    mirrored
}

#[test]
fn a_signature_is_of_the_account_and_in_one_form() {
    let (anna, other) = (key(1), key(2));
    let signature = anna.sign_message_sync(TEXT.as_bytes()).unwrap().as_bytes();
    let by = |bytes: &[u8]| signed_by_key(TEXT, bytes, anna.address());
    assert_eq!(by(&signature), Ok(()));
    let with_v = |v: u8| [&signature[..64], &[v]].concat();
    assert_eq!(by(&with_v(signature[64] - 27)), Ok(()), "as some wallets write it");
    assert_eq!(by(&with_v(55 - signature[64])), Err(NotSigned::Another));
    assert_eq!(by(&with_v(signature[64] + 4)), Err(NotSigned::Parity), "that is the Safe's way");
    assert_eq!(by(&mirrored(signature)), Err(NotSigned::HighS));
    assert_eq!(by(&signature[..64]), Err(NotSigned::Length));
    assert_eq!(by(&[]), Err(NotSigned::Length));
    assert_eq!(by(&[[0; 64].as_slice(), &[27]].concat()), Err(NotSigned::Unrecoverable));
    assert_eq!(signed_by_key(TEXT, &signature, other.address()), Err(NotSigned::Another));
    let changed = TEXT.replace("8453", "1");
    assert_eq!(signed_by_key(&changed, &signature, anna.address()), Err(NotSigned::Another));
}

fn any_message() -> impl Strategy<Value = Message> {
    let names = ("[!-~]{1,40}", "[!-~]{1,60}", "[A-Za-z0-9]{8,64}");
    // From 1970 to 9999.
    let times = (0..253_402_300_800_i64, 0..253_402_300_800_i64);
    let rest = (any::<[u8; 20]>(), 1..1_u64 << 53, times, any::<u128>());
    (names, rest).prop_map(|((domain, uri, nonce), (address, chain, (from, to), request))| {
        let at = |seconds| Time::from_timestamp(seconds, 0).unwrap();
        Message {
            domain,
            address: address.into(),
            uri,
            chain: chain.to_string().parse().unwrap(),
            nonce,
            issued_at: at(from),
            expires_at: at(to),
            request: Uuid::from_u128(request),
        }
    })
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(message in any_message()) {
        prop_assert_eq!(message.to_string().parse(), Ok(message));
    }

    /// Cut, doubled and overwritten at random: it reads as what it prints, or not at all.
    #[test]
    fn no_text_has_two_readings(
        message in any_message(), at in any::<prop::sample::Index>(), what in 0..3_u8, other in any::<char>()
    ) {
        let mut text: Vec<char> = message.to_string().chars().collect();
        let at = at.index(text.len());
        match what {
            0 => text[at] = other,
            1 => text.insert(at, other),
            _ => drop(text.remove(at)),
        }
        let text: String = text.into_iter().collect();
        if let Ok(read) = text.parse::<Message>() {
            prop_assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn nothing_makes_the_reader_panic(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        prop_assert_eq!(text.parse::<Message>(), Err(Refused::Form));
        prop_assert!(signed_by_key(&text, &bytes, Address::ZERO).is_err());
    }
}
