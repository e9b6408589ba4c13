//! The catalogue that people read is the one that is acted on.

use std::{fs, path::PathBuf};

use countersign::phala::catalogue;

#[test]
fn the_document_of_codes_is_written_from_the_table() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/phala-codes.md");
    let text = catalogue::markdown();
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::write(path, text).expect("docs can be written to");
        return;
    }
    let committed = fs::read_to_string(path).expect("docs/phala-codes.md is committed");
    assert!(text == committed, "the catalogue changed: run `make fixtures` and review docs");
}
