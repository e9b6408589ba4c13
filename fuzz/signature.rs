//! The reader of an owner's signature, with bytes that libFuzzer comes up with.

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
    world::hostile_bytes::a_signature_is_what_its_bytes_say(bytes);
});
