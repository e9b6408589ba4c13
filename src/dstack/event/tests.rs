use alloy::{hex, primitives::keccak256, sol_types::SolEvent};
use proptest::prelude::*;

use super::{PolicyEvent as P, *};

/// Recorded from deployed contracts, in the order of [`PolicyEvent::topics`].
const RECORDED: [&str; 12] = [
    "fecb34306dd9d8b785b54d65489d06afc8822a0893ddacedff40c50a4942d0af",
    "755b79bd4b0eeab344d032284a99003b2ddc018b646752ac72d681593a6e8947",
    "67fc71ab96fe3fa3c6f78e9a00e635d591b7333ce611c0380bc577aac702243b",
    "e0862975ac517b0478d308012afabc4bc37c23874a18144d7f2dfb852ff95c2c",
    "bb2cdb6c7b362202d40373f87bc4788301cca658f91711ac1662e1ad2cba4a20",
    "afae60561b2481a349b45b3a47357f70eef6ae67e5b6e1749d74de7f19a25aa1",
    "0e5daa943fcd7e7182d0e893d180695c2ea9f6f1b4a1c5432faf14cf17b774e8",
    "341d3bc64e32172fc5bcf27b0f7f69dc5adc19af64b7aa1dee361e5883c32375",
    "bc7cd75a20ee27fd9adebab32041f755214dbc6bffa90cc0225b39da2e5c2d3b",
    "8be0079c531659141344cd1fd0a4f28419497f9722a3daafe3b4186f6b6457e0",
    "38d16b8cac22d99fc7c124b9cd0de2d3fa1faef420bfe791d8c362d765e22700",
    "c7f505b2f371ae2175ee4913f4499e1f2633a7b5936321eed1cdaeb6115181d2",
];

fn some_hash() -> B256 {
    B256::repeat_byte(0xaa)
}

fn log(event: &impl SolEvent, ours: PolicyEvent) -> (PolicyEvent, Vec<B256>, Vec<u8>) {
    let data = event.encode_log_data();
    (ours, data.topics().to_vec(), data.data.to_vec())
}

/// Each kind of event once, as alloy would write it to a log.
fn logs() -> Vec<(PolicyEvent, Vec<B256>, Vec<u8>)> {
    let (from, to) = (Address::repeat_byte(1), Address::repeat_byte(2));
    let policy = keccak256("compose-hash");
    vec![
        log(
            &DstackApp::ComposeHashAdded { composeHash: some_hash() },
            P::ComposeHashAdded(ComposeHash(some_hash())),
        ),
        log(
            &DstackApp::ComposeHashRemoved { composeHash: some_hash() },
            P::ComposeHashRemoved(ComposeHash(some_hash())),
        ),
        log(
            &DstackApp::DeviceAdded { deviceId: some_hash() },
            P::DeviceAdded(DeviceId(some_hash())),
        ),
        log(
            &DstackApp::DeviceRemoved { deviceId: some_hash() },
            P::DeviceRemoved(DeviceId(some_hash())),
        ),
        log(&DstackApp::AllowAnyDeviceSet { allow: true }, P::AllowAnyDeviceSet(true)),
        log(&DstackApp::RequireTcbUpToDateSet { required: false }, P::RequireTcbUpToDateSet(false)),
        log(&DstackApp::UpgradesDisabled {}, P::UpgradesDisabled),
        log(
            &DstackApp::PolicyChanged { actor: from, policy, value: some_hash(), enabled: true },
            P::PolicyChanged { actor: from, policy, value: some_hash(), enabled: true },
        ),
        log(&DstackApp::Upgraded { implementation: to }, P::Upgraded(to)),
        log(
            &DstackApp::OwnershipTransferred { previousOwner: from, newOwner: to },
            P::OwnershipTransferred { from, to },
        ),
        log(
            &DstackApp::OwnershipTransferStarted { previousOwner: from, newOwner: to },
            P::OwnershipTransferStarted { from, to },
        ),
        log(&DstackApp::Initialized { version: 2 }, P::Initialized(2)),
    ]
}

#[test]
fn topics_are_the_recorded_ones() {
    let topics: Vec<String> = PolicyEvent::topics().iter().map(hex::encode).collect();
    assert_eq!(topics, RECORDED);
}

#[test]
fn logs_are_read_and_stored_and_read_again() {
    let logs = logs();
    assert_eq!(logs.len(), PolicyEvent::topics().len(), "every event has its line here");
    for (expected, topics, data) in logs {
        assert_eq!(PolicyEvent::decode(&topics, &data), Ok(Some(expected)));
        assert_eq!(PolicyEvent::from_parts(expected.kind(), &expected.value()), Ok(expected));
    }
}

#[test]
fn a_wrong_shape_is_an_error_and_not_a_skipped_log() {
    for (event, topics, data) in logs() {
        let mut more_topics = topics.clone();
        more_topics.push(some_hash());
        let longer = [data.as_slice(), &[0]].concat();
        for (topics, data) in [(&more_topics, &data), (&topics, &longer)] {
            let found = PolicyEvent::decode(topics, data);
            assert!(matches!(found, Err(MalformedEvent::Shape { .. })), "{}", event.kind());
        }
        let longer = [event.value().as_slice(), &[0]].concat();
        assert!(PolicyEvent::from_parts(event.kind(), &longer).is_err(), "{}", event.kind());
    }
    assert_eq!(PolicyEvent::from_parts("other", &[]), Err(MalformedEvent::UnknownKind));
}

#[test]
fn a_flag_that_is_neither_yes_nor_no_is_an_error() {
    let topics = [DstackApp::AllowAnyDeviceSet::SIGNATURE_HASH];
    let found = PolicyEvent::decode(&topics, &[2; 32]);
    assert!(matches!(found, Err(MalformedEvent::Word { .. })));
}

#[test]
fn logs_of_others_are_not_ours() {
    assert_eq!(PolicyEvent::decode(&[], &[]), Ok(None));
    assert_eq!(PolicyEvent::decode(&[some_hash()], &[0; 32]), Ok(None));
}

proptest! {
    #[test]
    fn no_log_makes_the_reader_panic(
        first in 0..TOPICS.len(),
        rest in prop::collection::vec(any::<[u8; 32]>(), 0..4),
        data in prop::collection::vec(any::<u8>(), 0..97),
    ) {
        let mut topics = vec![TOPICS[first]];
        topics.extend(rest.into_iter().map(B256::from));
        if let Ok(Some(event)) = PolicyEvent::decode(&topics, &data) {
            prop_assert_eq!(PolicyEvent::from_parts(event.kind(), &event.value()), Ok(event));
        }
    }
}
