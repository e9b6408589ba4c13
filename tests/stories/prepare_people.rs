//! People prepare replicas with one command: by names of nodes, several at once, on one node or many.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::world::{Api, DEPTH, Running, World};

/// The ids of the requests that a command made.
fn ids(told: &Value) -> Vec<String> {
    let requests = told["requests"].as_array().unwrap_or_else(|| panic!("no list: {told:#}"));
    requests.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

async fn approve_and_run(world: &World, running: &Running, ids: &[String]) {
    let api = &running.api;
    world.sign(api, &ids[0]).await;
    world.execute(api, &ids[0]).await;
    world.mine(DEPTH).await;
    for id in ids {
        api.wait_for(id, "running").await;
    }
}

fn source(world: &World) -> &str {
    world.town.source.as_str()
}

async fn proposed_for(api: &Api, id: &str) -> usize {
    api.proposal(id).await["requests"].as_array().unwrap().len()
}

#[tokio::test]
async fn replicas_on_several_nodes_are_one_approval() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let told = world.cli_json(api, &["prepare", source(&world), "--node", "PROD6", "7"]).await;
    let ids = ids(&told);
    assert_eq!(ids.len(), 2, "{told:#}");
    assert_eq!(told["together"], json!([ids]), "{told:#}");
    assert_eq!(told["failed"], Value::Null);
    assert!(!told.to_string().contains(&world.town.cloud.issued()[0].token), "no token is told");
    assert_eq!(proposed_for(api, &ids[0]).await, 2);
    // The same command again finds them, whatever it voids.
    let again = world.cli_json(api, &["prepare", source(&world), "--node", "prod6", "prod7"]).await;
    assert_eq!(self::ids(&again), ids);
    approve_and_run(&world, &running, &ids).await;
    assert_eq!(world.effective_commits(), 2);
    let nodes: BTreeSet<u64> =
        world.town.cloud.instances().iter().skip(1).map(|one| one.node).collect();
    assert_eq!(nodes, BTreeSet::from([6, 7]));
    running.stop().await;
}

#[tokio::test]
async fn three_replicas_on_one_node_are_three_requests_and_come_once_each() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let prepare = ["prepare", source(&world), "--node", "6", "--count", "3"];
    let told = world.cli_json(api, &prepare).await;
    let ids = ids(&told);
    let distinct: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), 3, "{told:#}");
    assert_eq!(self::ids(&world.cli_json(api, &prepare).await), ids, "and no more when repeated");
    assert_eq!(proposed_for(api, &ids[0]).await, 3);
    approve_and_run(&world, &running, &ids).await;
    assert_eq!((world.replicas(), world.effective_commits()), (3, 3));
    // What runs is not waited for any more: the same again makes another one.
    let more = world.cli_json(api, &["prepare", source(&world), "--node", "6", "--wait"]).await;
    assert_eq!(more["status"], "running", "{more:#}");
    assert!(!ids.contains(&more["id"].as_str().unwrap().to_owned()));
    assert_eq!(world.replicas(), 4);
    running.stop().await;
}

#[tokio::test]
async fn where_all_is_allowed_nobody_is_asked_and_the_command_sees_it_run() {
    let world = World::new().await;
    let running = world.start().await;
    let node = world.town.nodes[1].device_id;
    world.allow(node).await;
    world.mine(DEPTH).await;
    let prepare = ["prepare", source(&world), "--node", "prod6", "--wait"];
    let (code, told, said) = world.cli(&running.api, &prepare).await;
    assert_eq!(code, 0, "{told}\n{said}");
    assert!(told.contains("running") && said.contains("on node 6: running"), "{told}\n{said}");
    assert_eq!(world.replicas(), 1);
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_clear_is_refused_before_anything_is_sent() {
    let world = World::new().await;
    world.town.add_node(17);
    let running = world.start().await;
    let api = &running.api;
    let source = source(&world);
    let key = format!("0x{}", "11".repeat(32));
    let rpc = world.settings.chains[0].rpc[0].to_string();
    let safe = world.town.chain.safe.to_string();
    let cases: [(&[&str], &[&str]); 6] = [
        (&["--node", "prod"], &["no node is called `prod`", "prod6 has id 6"]),
        (&["--node", "6", "prod6"], &["named twice"]),
        (&["--node", "6", "--count", "0"], &["--count: expected 1 to 100"]),
        (&["--node", "6", "--direct"], &["is governed by its app on Base", "nothing was sent"]),
        (&["--node", "6", "--env-file", "/nowhere"], &["cannot read the variables in /nowhere"]),
        (
            &["--node", "6", "--private-key", &key, "--rpc-url", &rpc],
            &["belongs to Safe", &safe, "leave the key away", "other users of this machine"],
        ),
    ];
    for (arguments, says) in cases {
        let (code, told, said) = world.cli(api, &[&["prepare", source], arguments].concat()).await;
        assert_eq!((code, told.as_str()), (1, ""), "{arguments:?}: {said}");
        for words in says {
            assert!(said.contains(words), "{arguments:?} should say {words:?}: {said}");
        }
        assert!(!said.contains(&key), "{said}");
    }
    assert_eq!(world.town.cloud.issued().len(), 0, "nothing was prepared");
    running.stop().await;
}
