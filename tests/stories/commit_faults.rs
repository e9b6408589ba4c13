//! Phala Cloud answers a commit in every way it can: the replica is made once, or the request says
//! loudly why not.

use countersign::devnet::cloud::CommitCall;
use serde_json::{Value, json};

use crate::world::{DEPTH, Running, World};

/// A world whose cloud misbehaves, and a request that has everything it needs to be committed.
struct Scene {
    world: World,
    running: Running,
    id: String,
}

impl Scene {
    async fn with(trouble: Value) -> Self {
        let world = World::new().await;
        let running = world.start().await;
        let submission = world.submission(&world.prepare().await);
        world.switch(trouble);
        let id = world.carry(&running.api, &submission).await;
        Self { world, running, id }
    }

    async fn runs(&self) {
        self.running.api.wait_for(&self.id, "running").await;
        assert_eq!((self.world.replicas(), self.world.effective_commits()), (1, 1));
    }

    async fn fails(&self, code: &str) -> Value {
        let request = self.running.api.wait_for(&self.id, "failed").await;
        let event = self.running.api.last_told(&self.id, "failed").await;
        assert_eq!(event["code"], code, "{request:#}");
        request
    }

    fn commits(&self) -> Vec<CommitCall> {
        self.world.town.cloud.commit_log()
    }

    fn statuses(&self) -> Vec<u16> {
        self.commits().iter().map(|call| call.status).collect()
    }

    async fn told(&self) -> Vec<String> {
        self.running.api.told(&self.id).await
    }
}

fn commit_answers(status: u16, code: Option<&str>) -> Value {
    json!({ "fail_next": [{ "endpoint": "commit", "status": status, "code": code }] })
}

#[tokio::test]
async fn unavailable_with_a_time_to_come_back_is_waited_out() {
    let failure = json!({ "endpoint": "commit", "status": 503, "retry_after": 1, "times": 2 });
    let scene = Scene::with(json!({ "fail_next": [failure] })).await;
    scene.runs().await;
    assert_eq!(scene.statuses(), [503, 503, 200]);
    let calls = scene.commits();
    for pair in calls.windows(2) {
        assert!((pair[1].at - pair[0].at).num_milliseconds() >= 1000, "it came back too early");
    }
    scene.running.stop().await;
}

#[tokio::test]
async fn busy_or_without_room_is_tried_again() {
    for (answer, expected) in [
        (commit_answers(409, None), 409),
        (commit_answers(429, None), 429),
        (json!({ "verification_lag": 1 }), 467),
    ] {
        let scene = Scene::with(answer).await;
        scene.runs().await;
        assert_eq!(scene.statuses(), [expected, 200]);
        scene.running.stop().await;
    }
}

#[tokio::test]
async fn a_transaction_that_is_never_verified_gives_way_to_the_registered_state() {
    let scene = Scene::with(json!({ "verification_lag": 1000 })).await;
    scene.runs().await;
    let last = scene.commits().pop().unwrap();
    assert_eq!(last.transaction_hash, "already-registered");
    scene.running.stop().await;
}

#[tokio::test]
async fn a_node_without_room_is_waited_for() {
    let scene = Scene::with(json!({ "capacity": 0 })).await;
    scene.running.api.wait_for_reason(&scene.id, "no room").await;
    assert_eq!(scene.world.replicas(), 0);
    scene.world.switch(json!({ "capacity": 1 }));
    scene.world.look_again().await;
    scene.runs().await;
    scene.running.stop().await;
}

#[tokio::test]
async fn what_needs_a_person_is_asked_with_code_and_advice_and_tried_again() {
    let scene = Scene::with(commit_answers(402, Some("ERR-04-001"))).await;
    let api = &scene.running.api;
    let request = api.wait_for_reason(&scene.id, "balance").await;
    assert!(request["reason"].as_str().unwrap().contains("Add credit"), "{request:#}");
    let standing = (&request["status"], &request["needs_attention"]);
    assert_eq!(standing, (&json!("registered"), &json!(true)));
    assert_eq!(scene.statuses(), [402], "it is not tried again at once");
    scene.world.look_again().await;
    scene.runs().await;
    assert_eq!(scene.running.api.request(&scene.id).await["needs_attention"], false);
    scene.running.stop().await;
}

#[tokio::test]
async fn an_answer_that_nobody_knows_is_looked_into_and_then_asked_about() {
    let scene = Scene::with(commit_answers(400, Some("ERR-99-999"))).await;
    let api = &scene.running.api;
    let event = api.last_told(&scene.id, "commit_refused").await;
    assert_eq!((&event["code"], &event["asks"]), (&json!("ERR-99-999"), &json!(true)), "{event:#}");
    let kept = "select answer_body from commit_attempts";
    assert!(scene.world.database.text(kept).await.contains("ERR-99-999"));
    scene.world.look_again().await;
    scene.runs().await;
    scene.running.stop().await;
}

#[tokio::test]
async fn what_cannot_succeed_fails_with_code_and_advice() {
    let scene = Scene::with(commit_answers(400, Some("ERR-02-013"))).await;
    let request = scene.fails("ERR-02-013").await;
    assert!(request["reason"].as_str().unwrap().contains("Prepare again"), "{request:#}");
    assert_eq!(scene.statuses(), [400], "it is not tried again");
    scene.running.stop().await;
}

#[tokio::test]
async fn a_token_that_was_voided_elsewhere_is_replaced() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    // Somebody prepares the same replica by hand and keeps the token.
    world.prepare().await;
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    api.wait_for(&id, "running").await;
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
    assert!(api.told(&id).await.contains(&"renewed".to_owned()));
    running.stop().await;
}

#[tokio::test]
async fn an_answer_that_never_came_is_looked_for() {
    let scene = Scene::with(json!({ "swallow_next_commit": 1 })).await;
    scene.runs().await;
    assert_eq!(scene.commits().len(), 1, "nothing is committed again");
    let committed = scene.running.api.last_told(&scene.id, "committed").await;
    assert_eq!(committed["how"], "the list of instances");
    scene.running.stop().await;
}

#[tokio::test]
async fn a_server_that_breaks_before_it_acts_is_asked_again_after_a_look() {
    let scene = Scene::with(commit_answers(502, None)).await;
    scene.runs().await;
    assert_eq!(scene.statuses(), [502, 200]);
    let refused = scene.running.api.last_told(&scene.id, "commit_refused").await;
    assert_eq!(refused["code"], "no-effect-seen");
    scene.running.stop().await;
}

#[tokio::test]
async fn what_boots_is_compared_with_what_was_approved() {
    for wrong in [
        json!({ "boot_compose_hash": "cc".repeat(32) }),
        json!({ "boot_device_id": "dd".repeat(32) }),
    ] {
        let scene = Scene::with(wrong.clone()).await;
        let request = scene.fails("boot-differs").await;
        let reason = request["reason"].as_str().unwrap();
        assert!(reason.contains("approved was"), "{wrong}: {reason}");
        scene.running.stop().await;
    }
}

#[tokio::test]
async fn a_boot_error_asks_for_a_person_and_says_what_it_is() {
    let scene = Scene::with(json!({ "boot_error": "OS image is not allowed" })).await;
    let request = scene.running.api.wait_for_reason(&scene.id, "OS image is not allowed").await;
    assert_eq!(
        (&request["status"], &request["needs_attention"]),
        (&json!("committed"), &json!(true))
    );
    let told = scene.told().await;
    assert_eq!(told.iter().filter(|kind| *kind == "attention_needed").count(), 1, "said once");
    scene.running.stop().await;
}

#[tokio::test]
async fn a_device_that_changed_since_is_not_committed_with_the_old_approval() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    world.prepare().await;
    world.switch(json!({ "node_device": { "id": 6, "device_id": "dd".repeat(32) } }));
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    let request = api.wait_for(&id, "failed").await;
    assert_eq!(api.last_told(&id, "failed").await["code"], "preparation-differs", "{request:#}");
    assert_eq!(world.replicas(), 0);
    // What the node is now gets a request of its own, which nobody has approved.
    let newer = api.get("/v1/requests?limit=1").await.body["requests"][0].clone();
    let newer_id = newer["id"].as_str().unwrap();
    assert!(request["reason"].as_str().unwrap().contains(newer_id), "{request:#}");
    assert_eq!(newer["device_id"], format!("0x{}", "dd".repeat(32)));
    api.wait_for(newer_id, "proposed").await;
    world.sign(api, newer_id).await;
    world.execute(api, newer_id).await;
    world.mine(DEPTH).await;
    api.wait_for(newer_id, "running").await;
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_prepare_that_creates_at_once_ends_the_request_and_is_not_repeated() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    world.prepare().await;
    world.switch(json!({ "created_on_prepare": true }));
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    let request = api.wait_for(&id, "failed").await;
    assert!(
        request["reason"].as_str().unwrap().contains("created without approval"),
        "{request:#}"
    );
    assert_eq!(world.replicas(), 1);
    running.stop().await;
}

#[tokio::test]
async fn an_older_request_gets_a_token_again_once_its_approval_counts() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let submission = world.submission(&world.prepare().await);
    let older = api.submit(&submission).await;
    world.sign(api, &older).await;
    // Somebody prepares other content for the same source and node, which nobody approves.
    let mut body = world.submission(&world.prepare().await);
    body["prepare_response"]["details"][0]["value"] = json!("cc".repeat(32));
    let newer = api.submit(&body).await;
    api.last_told(&older, "token_superseded").await;

    world.execute(api, &older).await;
    world.mine(DEPTH).await;
    api.wait_for(&older, "running").await;
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
    // The cloud voided the newer token with that, and so do we.
    api.last_told(&newer, "token_superseded").await;
    running.stop().await;
}

#[tokio::test]
async fn two_replicas_of_one_source_void_each_others_tokens_and_both_run() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let mut ids = vec![];
    for node in [6, 7] {
        let prepared = world.prepare_on(node).await;
        ids.push(api.submit(&world.submission_on(&prepared, node)).await);
    }
    let mut in_order = vec![];
    for id in &ids {
        world.sign(api, id).await;
        let nonce = api.proposal(id).await["safe_tx"]["nonce"].as_str().unwrap().to_owned();
        in_order.push((nonce, id));
    }
    // Either may have got the first nonce, and a Safe executes them one after the other.
    in_order.sort();
    for (_, id) in in_order {
        world.execute(api, id).await;
    }
    world.mine(DEPTH).await;
    for id in &ids {
        api.wait_for(id, "running").await;
    }
    assert_eq!((world.replicas(), world.effective_commits()), (2, 2));
    let nodes: Vec<u64> = world.town.cloud.instances().iter().skip(1).map(|one| one.node).collect();
    assert!(nodes.contains(&6) && nodes.contains(&7), "{nodes:?}");
    let calls = world.town.cloud.commit_log().len();
    assert!(calls <= 4, "they take turns instead of voiding each other's tokens: {calls} commits");
    running.stop().await;
}
