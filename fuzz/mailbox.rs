//! The readers of a Safe Transaction Service, with answers that libFuzzer comes up with.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../tests/world"]
#[expect(dead_code, unused_imports, reason = "the other targets and the suite use the rest")]
mod world {
    pub mod hostile_bytes;
    pub mod paper_chain;
    pub mod tamper;
}

fuzz_target!(|bytes: &[u8]| {
    world::hostile_bytes::a_mailbox_is_believed_for_what_it_can_prove(bytes);
});
