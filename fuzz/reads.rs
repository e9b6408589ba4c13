//! Reads that decide something, over endpoints one of which says whatever libFuzzer comes up with.
//! The suite runs the same with answers drawn from a seed (`tests/stories/rpc_fuzz.rs`).

#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

#[path = "../tests/world"]
#[expect(dead_code, reason = "the suite uses the rest")]
mod world {
    pub mod hostile_reads;
    pub mod paper_chain;
    pub mod tamper;
}

use world::hostile_reads::{one_of_three_misleads_nobody, only_a_true_is_true};

thread_local! {
    static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
}

fuzz_target!(|bytes: &[u8]| {
    RUNTIME.with(|runtime| {
        let start = || Builder::new_current_thread().enable_time().build().expect("it starts");
        let runtime = runtime.get_or_init(start);
        let Some((first, choices)) = bytes.split_first() else { return };
        runtime.block_on(async {
            if first % 2 == 0 {
                one_of_three_misleads_nobody(choices).await;
            } else {
                only_a_true_is_true(choices).await;
            }
        });
    });
});
