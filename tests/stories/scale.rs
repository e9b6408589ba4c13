//! An app is scaled: a plan, a yes, and no more of it when the command is given again.

use serde_json::{Value, json};

use crate::world::{DEPTH, World};

#[tokio::test]
async fn what_is_planned_is_what_comes_and_the_same_again_is_nothing() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let source = world.town.source.as_str();
    let up = ["scale", source, "--replicas", "3", "--on", "prod6", "prod7"];

    // A script that does not say yes gets the plan, and nothing happens.
    let (code, told, said) = world.cli(api, &up).await;
    assert_eq!(code, 3, "{told}\n{said}");
    assert!(told.contains("prod6 (6)") && told.contains("prod7 (7)"), "{told}");
    assert!(said.contains("--yes does it"), "{said}");
    let compose = world.town.compose_hash.to_string();
    let devices = [1, 2].map(|at: usize| world.town.nodes[at].device_id.to_string());
    let is_told = |told: &str| [&compose, &devices[0], &devices[1]].map(|one| told.contains(one));
    assert_eq!(is_told(&told), [true; 3], "{told}");
    assert_eq!(world.town.cloud.issued().len(), 0);

    let (code, told, said) = world.cli(api, &[&up[..], &["--yes", "--json"]].concat()).await;
    assert_eq!((code, is_told(&said)), (0, [true; 3]), "it is said before it is done: {said}");
    let told: Value = serde_json::from_str(&told).unwrap();
    let requests = told["requests"].as_array().unwrap();
    let ids: Vec<String> =
        requests.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told["together"], json!([ids]), "{told:#}");
    let again = world.cli_json(api, &[&up[..], &["--yes"]].concat()).await;
    assert_eq!(again["applied"], false);
    assert_eq!(again["plan"]["under_way"], 2, "{again:#}");
    let (_, told, _) = world.cli(api, &up).await;
    for id in &ids {
        assert!(
            told.contains(&format!("one more counts that is under way: request {id}")),
            "{told}"
        );
    }

    world.sign(api, &ids[0]).await;
    world.execute(api, &ids[0]).await;
    world.mine(DEPTH).await;
    for id in &ids {
        api.wait_for(id, "running").await;
    }
    let listed = world.cli_json(api, &["replicas", source]).await;
    let instances = listed["instances"].as_array().unwrap();
    assert_eq!(instances.len(), 3, "{listed:#}");
    let mut made: Vec<&str> = instances.iter().filter_map(|one| one["request"].as_str()).collect();
    made.sort_unstable();
    let mut wanted: Vec<&str> = ids.iter().map(String::as_str).collect();
    wanted.sort_unstable();
    assert_eq!(made, wanted, "each replica names its request");
    let nothing = world.cli_json(api, &[&up[..], &["--yes"]].concat()).await;
    assert_eq!(nothing["plan"]["under_way"], Value::from(0), "{nothing:#}");

    // Fewer: the newest goes, and its request tells what came of it as before.
    let down = ["scale", source, "--replicas", "2", "--yes"];
    let gone = world.cli_json(api, &down).await;
    assert_eq!(gone["deleted"].as_array().unwrap().len(), 1, "{gone:#}");
    assert_eq!(world.replicas(), 1);
    for id in &ids {
        assert_eq!(api.request(id).await["status"], "running");
    }
    let listed = world.cli_json(api, &["replicas", source]).await;
    assert_eq!(listed["instances"].as_array().unwrap().len(), 2);
    running.stop().await;
}
