//! The main job: from a commit token to a running replica, with no human after the last signature.

use crate::world::{DEPTH, World};

#[tokio::test]
async fn a_prepared_replica_runs_after_two_signatures_and_one_execution() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;

    let id = api.submit(&world.submission(&world.prepare().await)).await;
    let proposal = api.proposal(&id).await;
    assert_eq!(proposal["route"], "safe");
    assert_eq!(proposal["calls"].as_array().unwrap().len(), 2, "compose hash and device");
    assert_eq!(proposal["warnings"].as_array().unwrap().len(), 0, "{proposal:#}");
    assert_eq!(proposal["safe_tx"]["operation"], 1, "two calls go through MultiSendCallOnly");

    world.sign(api, &id).await;
    world.execute(api, &id).await;
    let executed = api.wait_for(&id, "executed").await;
    assert!(executed["executed"]["transaction"].is_string(), "{executed:#}");

    world.mine(DEPTH).await;
    let request = api.wait_for(&id, "running").await;
    assert_eq!(world.replicas(), 1);
    assert_eq!(
        api.told(&id).await,
        [
            "opened",
            "proposed",
            "confirmed",
            "confirmed",
            "executed",
            "registered",
            "commit_started",
            "committed",
            "running"
        ]
    );
    let commit = &world.town.cloud.commit_log()[0];
    assert_eq!(
        Some(commit.transaction_hash.as_str()),
        request["executed"]["transaction"].as_str(),
        "the commit names the transaction that registered the compose hash"
    );
    running.stop().await;
}
