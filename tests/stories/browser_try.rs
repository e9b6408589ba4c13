//! What somebody with a browser and two minutes does with a devnet: no command, no wallet of their own, no
//! documentation. `make screenshots` takes the pictures of the README from here.

use std::fs;

use serde_json::json;

use super::{browser::SCREENSHOTS, devnet::Devnet};
use crate::world::browser::Browser;

#[tokio::test]
async fn a_replica_is_signed_for_executed_and_runs_by_clicks_in_the_page_of_a_devnet() {
    let Some(browser) = Browser::start().await else { return };
    fs::create_dir_all(SCREENSHOTS).expect("a folder for pictures");
    let devnet = Devnet::start(&["--prepared"]).await;
    let id = devnet.said("request");
    let scene = json!({
        "base": devnet.said("service"), "token": "", "id": id, "screenshots": SCREENSHOTS,
        "owners": devnet.said["owners"].as_array().unwrap().iter()
            .map(|owner| &owner["address"]).collect::<Vec<_>>(),
    });
    browser.run("try.mjs", &scene).await;
    assert_eq!(devnet.api().request(id).await["status"], "running");
    devnet.end().await;
}
