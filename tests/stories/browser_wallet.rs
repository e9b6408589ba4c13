//! The whole way in a browser: owners sign in, review, sign and execute with a wallet, and the replica
//! runs.

use countersign::devnet::Wallet;
use serde_json::json;

use crate::world::{DEPTH, World, browser::Browser};

#[tokio::test]
async fn two_owners_sign_and_execute_in_the_browser_and_the_replica_runs() {
    let Some(browser) = Browser::start().await else { return };
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.proposal(&id).await;
    let chain = &world.town.chain;
    let keys = chain.owners[..2].iter().map(Wallet::private_key);
    let stranger = Wallet::funded(Wallet::FUNDED - 1).unwrap();
    assert!(chain.owners.iter().all(|owner| owner.address() != stranger.address()));
    let scene = json!({
        "base": api.base(), "token": api.token(), "id": id, "owners": keys.collect::<Vec<_>>(),
        "stranger": stranger.private_key(), "rpc": chain.rpc_url(), "chain": "0x2105",
    });
    browser.run("wallet.mjs", &scene).await;
    world.mine(DEPTH).await;
    let request = api.wait_for(&id, "running").await;
    assert_eq!(request["replica"]["id"], json!(world.town.cloud.instances()[1].id));
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
    running.stop().await;
}
