//! Readers of what strangers write, with bytes drawn from seeds. `make fuzz` lets libFuzzer look for
//! more.

use crate::world::{
    hostile_bytes::{
        Outcome, a_batch_file_means_what_its_checksum_covers,
        a_batch_is_read_only_as_it_would_be_written, a_mailbox_is_believed_for_what_it_can_prove,
        a_signature_is_what_its_bytes_say,
    },
    tamper::choices,
};

const RUNS: usize = 2_000;
const BYTES: usize = 512;

/// How many of the runs were taken.
fn taken(reader: impl Fn(&[u8]) -> Outcome, bytes: impl Fn(u64) -> Vec<u8>) -> usize {
    (0..).take(RUNS).filter(|seed| reader(&bytes(*seed)) == Outcome::Taken).count()
}

#[track_caller]
fn assert_both(taken: usize) {
    let few = RUNS / 20;
    assert!(taken > few && taken < RUNS - few, "both happen: {taken} of {RUNS} are taken");
}

#[test]
fn a_batch_of_any_bytes_is_read_as_it_would_be_written_or_not_at_all() {
    let bytes = |seed| choices(seed, BYTES);
    assert_both(taken(a_batch_is_read_only_as_it_would_be_written, bytes));
}

#[test]
fn a_signature_of_any_bytes_is_what_they_say() {
    let bytes = |seed| {
        let mut bytes = choices(seed, 97);
        // Any byte would name a kind once in forty times.
        bytes[64] %= 40;
        bytes
    };
    assert_both(taken(a_signature_is_what_its_bytes_say, bytes));
}

#[test]
fn a_batch_file_of_any_bytes_means_what_its_checksum_covers() {
    let bytes = |seed| choices(seed, BYTES);
    assert_both(taken(a_batch_file_means_what_its_checksum_covers, bytes));
}

#[test]
fn a_mailbox_of_any_bytes_is_believed_for_what_it_can_prove() {
    let bytes = |seed| choices(seed, BYTES);
    assert_both(taken(a_mailbox_is_believed_for_what_it_can_prove, bytes));
}
