//! The contract that answers many questions in one call is the one that is in `contracts/src`.

use countersign::{chain::word_reader_code, devnet::artifacts::Artifacts};

/// Renewed with `make fixtures`.
#[test]
fn the_code_that_calls_carry_is_what_the_compiler_makes_of_its_source() {
    let compiled = Artifacts::find().unwrap().contract("WordReader").unwrap();
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/chain/word_reader.hex");
        std::fs::write(path, format!("{}\n", alloy::hex::encode(&compiled))).unwrap();
    } else {
        assert!(word_reader_code() == compiled, "run `make fixtures`");
    }
}
