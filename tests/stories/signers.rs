//! What signers see, who have no other role: what belongs to the apps of their Safes, wherever a list or an
//! address shows it; and nothing that tells whether there is anything else.

use std::collections::BTreeSet;

use alloy::{hex, primitives::Address};
use chrono::TimeDelta;
use countersign::{
    dstack::Write,
    owner::Call,
    request::ids::{AppId, ComposeHash},
};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::roles::{Caller, OTHER_SIGNER, Scene, submission};
use crate::world::{
    Visitor, World, eventually,
    node::{Manner, Node},
};

/// The same for an app, on a node of its own and with a compose hash of its own.
async fn submit(scene: &Scene, app: AppId, number: u8, compose: &[u8]) -> String {
    let mut body = submission(app, &format!("number-{number}"));
    body["node_id"] = json!(number.to_string());
    body["compose_hash"] = json!(hex::encode_prefixed(compose));
    scene.running.api.submit(&body).await
}

/// The ids of a list, page by page, each as long as it can be.
async fn ids_by_page(caller: &Caller, filter: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (vec![], String::new());
    loop {
        let page = caller.get(&format!("/v1/requests?limit=2&{filter}&cursor={cursor}")).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let requests = page.body["requests"].as_array().unwrap();
        ids.extend(requests.iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        match page.body["next_cursor"].as_str() {
            Some(next) => {
                assert_eq!(requests.len(), 2, "a page that is not the last one is full");
                next.clone_into(&mut cursor);
            }
            None => return ids,
        }
    }
}

#[tokio::test]
async fn lists_show_a_signer_the_own_apps_and_pages_are_as_long_as_all() {
    let scene = Scene::set().await;
    let (our_app, their_app) = (scene.world.town.chain.app, scene.other_app);
    let (mut ours, mut theirs) = (vec![scene.ours.clone()], vec![scene.theirs.clone()]);
    for number in 0..4 {
        ours.push(submit(&scene, our_app, 100 + number, &[number + 1; 32]).await);
        theirs.push(submit(&scene, their_app, 200 + number, &[number + 1; 32]).await);
    }
    let as_set = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
    for (signer, own, app, others, other_app) in [
        (scene.wallet(0).await, &ours, our_app, &theirs, their_app),
        (scene.wallet(OTHER_SIGNER).await, &theirs, their_app, &ours, our_app),
    ] {
        let seen = ids_by_page(&signer, "").await;
        assert_eq!((seen.len(), as_set(&seen)), (own.len(), as_set(own)));
        assert_eq!(ids_by_page(&signer, &format!("app={app}")).await.len(), own.len());
        assert_eq!(ids_by_page(&signer, &format!("app={other_app}")).await, [""; 0]);
        assert_eq!(ids_by_page(&signer, &format!("q={}", others[0])).await, [""; 0]);
        let apps = signer.get("/v1/apps").await;
        assert_eq!(apps.status, 200, "{}", apps.text);
        let apps: Vec<_> = apps.body.as_array().unwrap().iter().map(|one| &one["app"]).collect();
        assert_eq!(apps, [&json!(app)]);
        let page = signer.get("/apps").await.text;
        assert!(
            page.contains(&app.to_string()) && !page.contains(&other_app.to_string()),
            "{page}"
        );
        // The page of the queue, by its links.
        let (mut seen, mut place) = (vec![], "/?limit=2".to_owned());
        loop {
            let page = signer.get(&place).await;
            assert_eq!(page.status, 200, "{}", page.text);
            let links = page.text.split("href=\"/requests/").skip(1);
            let before = seen.len();
            seen.extend(links.map(|link| link.split('"').next().unwrap().to_owned()));
            let next = page.text.split("\" rel=\"next\"").next().filter(|it| *it != page.text);
            let Some(next) = next else { break };
            assert_eq!(seen.len() - before, 2, "a page that is not the last one is full");
            place = next.rsplit("href=\"").next().unwrap().replace("&#38;", "&");
        }
        assert_eq!((seen.len(), as_set(&seen)), (own.len(), as_set(own)));
    }
    let admin = scene.token("admin").await;
    assert_eq!(ids_by_page(&admin, "").await.len(), ours.len() + theirs.len());
    scene.running.stop().await;
}

#[tokio::test]
async fn what_is_not_a_signer_s_is_to_them_what_is_not_at_all() {
    let scene = Scene::set().await;
    let document = json!({ "manifest_version": 2, "name": "theirs", "runner": "docker-compose",
        "docker_compose_file": "services:\n  web:\n    image: web\n" });
    let document = document.to_string();
    let hash: [u8; 32] = Sha256::digest(&document).into();
    let theirs = submit(&scene, scene.other_app, 201, &hash).await;
    let admin = scene.token("admin").await;
    let call = admin.call(Method::POST, &format!("/v1/requests/{theirs}/compose"));
    let answer = admin.visitor.send(call.body(document)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let (signer, other) = (scene.wallet(0).await, scene.wallet(OTHER_SIGNER).await);
    let compose = format!("/v1/compose/{}", hex::encode_prefixed(hash));
    let nothing = format!("/v1/compose/{}", hex::encode_prefixed([0x99; 32]));
    let missing = signer.get(&nothing).await;
    assert_eq!(missing.status, 404);
    assert_eq!(other.get(&compose).await.status, 200);
    assert_eq!(same(&signer.get(&compose).await), same(&missing));
    // Anybody can write the hash of somebody else on the allowlist of an own app.
    let chain = &scene.world.town.chain;
    let write = Call::of_write(chain.app, &Write::AddComposeHash(ComposeHash(hash.into())));
    scene.world.as_the_safe(write.to, write.data).await;
    eventually("the hash on the allowlist", async || {
        let path = format!("/v1/apps/8453/{}/allowlist", chain.app);
        admin.get(&path).await.text.contains(&hex::encode(hash)).then_some(())
    })
    .await;
    assert_eq!(same(&signer.get(&compose).await), same(&missing), "that makes it nobody's");

    let device = |byte: u8| format!("/v1/devices/{}", hex::encode_prefixed([byte; 32]));
    let missing = signer.get(&device(0x99)).await;
    assert_eq!(missing.status, 404);
    assert_eq!(same(&signer.get(&device(4)).await), same(&missing));
    let used = admin.get(&device(4)).await.body;
    assert!(used["requests"].as_array().unwrap().len() == 2, "{used}");
    // One of ours on the same device makes it known to us, and nothing of theirs.
    let ours = submit(&scene, chain.app, 101, &[7; 32]).await;
    let told = signer.get(&device(4)).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let ids: Vec<_> =
        told.body["requests"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, [&json!(ours)]);
    assert!(!told.text.contains(&scene.other_app.to_string()), "{}", told.text);
    scene.running.stop().await;
}

fn same(answer: &crate::world::Answer) -> (u16, &Value) {
    (answer.status, &answer.body)
}

/// What a stream tells until `last` comes, or until it ends.
async fn heard(stream: &mut Response, last: Option<&str>) -> String {
    let mut told = String::new();
    while let Some(bytes) = stream.chunk().await.expect("it streams") {
        told.push_str(&String::from_utf8_lossy(&bytes));
        if last.is_some_and(|last| told.contains(last)) {
            break;
        }
    }
    told
}

#[tokio::test]
async fn a_stream_tells_a_signer_of_the_own_apps_and_lasts_five_minutes() {
    let scene = Scene::set().await;
    let (signer, admin) = (scene.wallet(0).await, scene.token("admin").await);
    let listen = async |caller: &Caller| {
        let answer = caller.call(Method::GET, "/v1/events").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer
    };
    let (mut mine, mut all) = (listen(&signer).await, listen(&admin).await);
    for id in [&scene.theirs, &scene.ours] {
        let path = format!("/v1/requests/{id}/comments");
        assert_eq!(admin.post(&path, &json!({ "text": "something" })).await, 200);
    }
    let told = heard(&mut all, Some(&scene.ours)).await;
    assert!(told.contains(&scene.theirs), "{told}");
    let told = heard(&mut mine, Some(&scene.ours)).await;
    assert!(!told.contains(&scene.theirs), "{told}");
    // Who has signed out hears no more once the stream has had its time, and gets no other.
    assert_eq!(signer.visitor.sign_out().await.status, 204);
    scene.world.clock.pass(TimeDelta::minutes(5));
    heard(&mut mine, None).await;
    heard(&mut all, None).await;
    assert_eq!(signer.visitor.get("/v1/events").await.status, 401);
    let service = &scene.running.service;
    let again = listen(&admin).await;
    drop(again);
    service.store.revoke_tokens("admin", service.clock.now()).await.unwrap();
    let refused = admin.call(Method::GET, "/v1/events").send().await.unwrap();
    assert_eq!(refused.status(), 401);
    scene.running.stop().await;
}

#[tokio::test]
async fn an_owner_of_a_thousand_apps_costs_a_few_reads() {
    let mut world = World::new().await;
    let node = Node::before(world.town.chain.rpc_url()).await;
    world.settings.chains[0].rpc = vec![node.url()];
    let chain = &world.town.chain;
    // Contracts that name the Safe as their owner, whatever they are asked.
    let code = [hex!("73").as_slice(), chain.safe.as_slice(), &hex!("5f5260205ff3")].concat();
    for number in 1..=1_000_u64 {
        let mut address = [0xee; 20];
        address[12..].copy_from_slice(&number.to_be_bytes());
        chain.rpc.set_code(Address::from(address), &code.clone().into()).await.unwrap();
    }
    let running = world.start().await;
    world
        .database
        .execute(
            r"insert into apps (chain_id, app, first_seen_at, ledger_from, discovered, history_start, history_is_whole)
              select 8453, decode(repeat('ee', 12) || lpad(to_hex(n), 16, '0'), 'hex'), now(), 0, 'configuration', 0, true
              from generate_series(1, 1000) n",
        )
        .await;
    let reads = |node: &Node| {
        let calls = node.take_calls();
        calls.iter().filter(|(name, _)| name.starts_with("eth_call")).map(|(_, n)| n).sum::<usize>()
    };
    reads(&node);
    let signer = Visitor::signed_in(&running.api, &chain.owners[0]).await;
    let apps = signer.get("/v1/apps").await;
    assert_eq!(apps.body.as_array().map(Vec::len), Some(1_000), "{}", apps.text);
    let (first, others) = (reads(&node), signer.get("/v1/requests").await);
    assert!(first < 30, "{first} reads for a page");
    assert_eq!(others.status, 200, "{}", others.text);
    let second = reads(&node);
    assert!(second < 10, "{second} reads for a page soon after");
    // What does not read is no empty list.
    node.set(Manner::Refuses("eth_call", -32_000, "no state"));
    world.clock.pass(TimeDelta::seconds(16));
    let unread = signer.get("/v1/requests").await;
    let told = (unread.status, unread.body["code"].as_str());
    assert_eq!(told, (503, Some("chain-unreadable")), "{}", unread.text);
    for app in [chain.app, AppId(Address::repeat_byte(0x99))] {
        let one = signer.get(&format!("/v1/apps/8453/{app}")).await;
        assert_eq!(same(&one), same(&unread), "whether it is there or not");
    }
    running.stop().await;
}

#[tokio::test]
async fn an_app_whose_owner_does_not_read_keeps_nobody_from_the_own_ones() {
    let scene = Scene::set().await;
    let nothing = AppId(Address::repeat_byte(0x77));
    submit(&scene, nothing, 150, &[9; 32]).await;
    scene.world.clock.pass(TimeDelta::seconds(16));
    let signer = scene.wallet(0).await;
    assert_eq!(ids_by_page(&signer, "").await, [scene.ours.as_str()]);
    let told = signer.get("/v1/session").await.body;
    assert_eq!(told["unread_chains"], json!([]), "{told}");
    scene.running.stop().await;
}
