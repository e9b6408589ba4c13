//! What `countersign serve` says when it cannot start, or not yet.

use std::{fs, os::unix::fs::PermissionsExt};

use countersign::vault::Vault;
use secrecy::ExposeSecret;
use tokio::process::Command;

use crate::world::{Api, World, eventually, process::cli};

#[tokio::test]
async fn a_wrong_seal_key_is_told_at_the_start_and_not_at_the_commit() {
    let world = World::new().await;
    let first = world.spawn().await;
    first.api.submit(&world.submission(&world.prepare().await)).await;
    first.terminate().await;
    let other = Vault::generate_key().unwrap();
    let other = other.expose_secret();
    let with_key = |serve: &mut Command, key: &str| {
        serve.env("COUNTERSIGN_SEAL_KEY", key);
    };
    let said = world.refuses(|serve| with_key(serve, other)).await;
    for words in ["the seal key is not the one", "after a comma", "--seal-key-lost"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains(other), "{said}");

    let both = format!("{other},{}", world.seal_key.expose_secret());
    let rotating = world.spawn_with(|serve| with_key(serve, &both)).await;
    rotating.terminate().await;
    let without = |serve: &mut Command| {
        serve.env("COUNTERSIGN_SEAL_KEY", other).env("COUNTERSIGN_SEAL_KEY_LOST", "true");
    };
    let log = world.spawn_with(without).await.terminate().await;
    assert!(log.contains("commit tokens do not open"), "{log}");
}

#[tokio::test]
async fn a_second_program_on_one_folder_says_what_it_waits_for() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    // PostgreSQL runs as another user when this is root.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let first = world.begin_in(folder.path()).listens(&world).await;
    let second = world.begin_in(folder.path());
    eventually("the second to say what it waits for", async || {
        second.log().contains("waits for its end").then_some(())
    })
    .await;
    first.terminate().await;
    second.listens(&world).await.terminate().await;
}

#[tokio::test]
async fn a_database_that_lets_nobody_in_is_named_at_once_and_at_the_end() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://me:SECRET@127.0.0.1:{port}/ours");
    let nobody = Api::new("http://127.0.0.1:1", "none");
    let (code, told, said) = cli(&nobody, &["journal", "verify", "--database-url", &url]).await;
    assert!(code == 1 && told.is_empty(), "{told}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], format!("waits for the database at 127.0.0.1:{port}/ours"), "{said}");
    for words in ["cannot open the database at", "DATABASE_URL", "let nobody in for 10 s"] {
        assert!(lines[1].contains(words), "{words}: {said}");
    }
    assert!(!said.contains("SECRET"), "{said}");
}

#[tokio::test]
async fn a_command_makes_no_database_of_its_own_and_wants_postgresql() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().display().to_string();
    let nobody = Api::new("http://127.0.0.1:1", "none");
    for (way, place, words) in [
        ("--data-dir", &empty[..], "there is no database in"),
        ("--database-url", "mysql://me:SECRET@127.0.0.1/ours", "expected postgres://"),
    ] {
        let (code, told, said) = cli(&nobody, &["token", "create", "me", way, place]).await;
        assert!(code == 1 && told.is_empty(), "{way}: {code} {told}");
        assert!(said.contains(words) && !said.contains("SECRET"), "{way}: {said}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_wrong_in_the_configuration_is_told_with_its_file() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("countersign.toml");
    let named = file.display().to_string();
    for (text, wrong) in [
        ("listen_on = 1", "does not read"),
        ("[chains.8453]\nrpc = [\"http://127.0.0.1:1\"]\ndepth = \"deep\"", "chains.8453.depth"),
    ] {
        fs::write(&file, text).unwrap();
        let with_file = |serve: &mut Command| {
            serve.env("COUNTERSIGN_CONFIG", &file).env_remove("COUNTERSIGN_CHAIN");
        };
        let said = world.refuses(with_file).await;
        assert!(said.contains(&named) && said.contains(wrong), "{said}");
    }
    fs::write(&file, "").unwrap();
    let by_flag = |serve: &mut Command| {
        serve.env("COUNTERSIGN_CONFIG", &file).env("COUNTERSIGN_CHAIN", "8453=ftp://x");
    };
    let said = world.refuses(by_flag).await;
    assert!(said.contains("chains.8453.rpc") && !said.contains(&named), "{said}");
}

#[tokio::test]
async fn a_command_without_what_it_needs_says_so_before_it_asks_anybody() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let (code, _, said) = cli(api, &["prepare", "my-cvm", "--node", "5"]).await;
    assert_eq!(code, 1);
    assert!(said.contains("no API key") && said.contains("PHALA_CLOUD_API_KEY"), "{said}");

    // A source is one thing, with dashes or without.
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    let plain = world.town.source.canonical().to_string();
    let dashed =
        [&plain[..8], &plain[8..12], &plain[12..16], &plain[16..20], &plain[20..]].join("-");
    for text in [plain.as_str(), &dashed, &id, &id.replace('-', ""), &id[..13]] {
        let (_, found, _) = cli(api, &["list", "-q", text]).await;
        assert!(found.contains(&id), "{text}: {found}");
    }
    running.stop().await;
}
