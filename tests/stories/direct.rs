//! An app that no chain governs: its replicas are created and deleted at once, without the service.

use serde_json::json;

use crate::world::{Api, World};

#[tokio::test]
async fn without_a_chain_a_replica_is_created_only_if_that_is_wanted() {
    let world = World::new().await;
    let source = world.town.source.as_str();
    world.switch(json!({ "cloud_kms": true }));
    // Nobody listens there, and nobody has to.
    let nobody = Api::new("http://127.0.0.1:9", "");
    let prepare = ["prepare", source, "--node", "prod6", "7"];
    let running = world.start().await;
    let (code, _, said) = world.cli(&running.api, &prepare).await;
    assert_eq!(code, 1);
    assert!(said.contains("nothing was sent. --direct creates it"), "{said}");
    assert_eq!(world.replicas(), 0);
    running.stop().await;

    let (code, told, said) = world.cli(&nobody, &[&prepare[..], &["--direct"]].concat()).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(told.matches("Source CVM ID:").count(), 2, "{told}");
    assert_eq!(told.matches("Status:          running").count(), 2, "{told}");
    assert_eq!(told.lines().filter(|line| !line.trim().is_empty()).count(), 24, "{told}");
    assert_eq!(world.replicas(), 2);

    // Variables are encrypted to the key that Phala Cloud names, which nobody signs.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("env");
    std::fs::write(&file, "API_KEY=hunter2\n").unwrap();
    let env_file = ["--direct", "--env-file", file.to_str().unwrap()];
    let one = ["prepare", source, "--node", "prod6"];
    let (code, told, said) = world.cli(&nobody, &[&one[..], &env_file].concat()).await;
    assert_eq!(code, 0, "{told}\n{said}");
    assert!(said.contains("a key that Phala Cloud names"), "{said}");
    let newest = world.town.cloud.instances().pop().unwrap();
    assert!(!newest.encrypted_env().is_empty(), "it has them");
    let id = newest.id.to_string();
    let (code, _, _) = world.cli(&nobody, &["scale", source, "--replicas", "3", "--yes"]).await;
    assert!(code == 0 && world.replicas() == 2, "{id} is gone again");

    // Scaling is as direct, up and down; the source stays.
    let up = ["scale", source, "--replicas", "4", "--on", "prod6", "--yes"];
    let made = world.cli_json(&nobody, &up).await;
    assert_eq!(made["success"], true, "{made:#}");
    assert_eq!(world.replicas(), 3);
    let newest = world.town.cloud.instances()[3].id.to_string();
    let down = ["scale", source, "--replicas", "3"];
    let (code, told, _) = world.cli(&nobody, &down).await;
    assert_eq!(code, 3);
    assert!(told.contains(&newest), "{told}");
    assert_eq!(world.replicas(), 3, "nobody said yes");
    let gone = world.cli_json(&nobody, &[&down[..], &["--yes"]].concat()).await;
    assert_eq!(gone["deleted"], json!([newest]));
    let down = ["scale", source, "--replicas", "1", "--yes"];
    assert_eq!(world.cli_json(&nobody, &down).await["deleted"].as_array().unwrap().len(), 2);
    let (code, _, said) = world.cli(&nobody, &["scale", source, "--replicas", "0"]).await;
    assert_eq!(code, 1);
    assert!(said.contains("keeps one instance at least"), "{said}");
    assert_eq!(world.town.cloud.instances()[0].id.to_string(), source);
}
