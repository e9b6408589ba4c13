//! What signers take elsewhere: made on their own machine, the same for everybody, readable by other
//! programs.

use countersign::safe::batch_file;
use serde_json::json;

use crate::world::{Api, World, process::cli};

async fn payload(api: &Api, id: &str, more: &[&str]) -> (i32, String, String) {
    cli(api, &[&["payload", id], more].concat()).await
}

/// What another program reads in a code that a terminal shows: two rows in each line, light ones as
/// blocks.
fn scanned(text: &str) -> String {
    const PIXELS: usize = 3;
    let lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
    let side = lines[0].len();
    let shade = |x: usize, y: usize| {
        let (row, column) = (y / PIXELS, x / PIXELS);
        let light = if row % 2 == 0 { ['█', '▀'] } else { ['█', '▄'] };
        if light.contains(&lines[row / 2][column]) { 255 } else { 0 }
    };
    let (width, height) = (side * PIXELS, side * PIXELS);
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, shade);
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1, "one code is seen");
    grids[0].decode().unwrap().1
}

#[tokio::test]
async fn a_proposal_is_taken_elsewhere_as_links_a_command_a_text_and_a_code() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    let proposal = api.proposal(&id).await;
    let exports = &proposal["exports"];
    let (safe, hash) = (world.town.chain.safe, proposal["safe_tx_hash"].as_str().unwrap());
    let link = format!(
        "https://app.safe.global/transactions/tx?safe=base:{safe}&id=multisig_{safe}_{hash}"
    );
    assert_eq!(exports["links"]["transaction"], link);
    let command = format!("./safe_hashes.sh --network base --address {safe} --nonce 0");
    assert_eq!(exports["hashes_command"], command);

    // Made from the fields on the signer's machine, it is what the service shows.
    let (code, summary, notes) = payload(api, &id, &["--summary"]).await;
    assert_eq!((code, notes.as_str()), (0, ""));
    assert_eq!(exports["summary"], summary);
    assert!(summary.ends_with(&format!("safeTxHash: {hash}\n")), "{summary}");
    let (code, drawing, _) = payload(api, &id, &["--qr"]).await;
    assert_eq!(code, 0);
    assert_eq!(exports["qr_text"], scanned(&drawing));
    let (code, file, _) = payload(api, &id, &["--batch", "-"]).await;
    let batch = batch_file::read(&file).unwrap();
    assert_eq!((code, json!(batch.calls)), (0, proposal["bare_calls"].clone()));
    let (_, shown, _) = payload(api, &id, &[]).await;
    assert!(shown.contains(&link) && shown.contains(&command), "{shown}");
    let (code, _, refusal) = payload(api, &id, &["--summary", "--qr"]).await;
    assert!(code == 2 && refusal.contains("cannot be used with"), "{refusal}");

    let page = api.get(&format!("/requests/{id}")).await.text;
    let escaped = link.replace('&', "&#38;");
    for part in [escaped.as_str(), command.as_str(), "<svg class=\"qr\"", &summary] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
    // What the policy of the pages would not let happen.
    for part in ["style=", "<style", "javascript:", "onclick"] {
        assert!(!page.contains(part), "{part} is in {page}");
    }
    running.stop().await;
}
