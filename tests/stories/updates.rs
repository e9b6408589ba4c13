//! Compose updates: prepared, approved, committed once, followed until the CVM runs what was approved.

use countersign::request::ids::{ComposeHash, SourceCvm};
use serde_json::{Value, json};

use super::batches::{propose, proposed_for};
use crate::world::{
    Api, DEPTH, Running, World, eventually,
    line::{Fault, Line},
    process::Process,
};

const NEW_COMPOSE: &str = "services:\n  web:\n    image: nginx:2\n";
const ENV: &str = "aabbccdd";

/// What the owners of the CVM ask Phala Cloud for.
fn asked() -> Value {
    json!({ "docker_compose_file": NEW_COMPOSE, "encrypted_env": ENV })
}

async fn prepare(world: &World, path: &str, method: reqwest::Method, body: &Value) -> Value {
    let answer = Api::bare()
        .request(method, format!("{}{path}", world.town.cloud.api_prefix()))
        .header("X-API-Key", world.town.cloud.api_key())
        .header("X-Prepare-Only", "true")
        .json(body)
        .send()
        .await
        .expect("the emulator answers");
    assert_eq!(answer.status().as_u16(), 465);
    answer.json().await.expect("the answer is JSON")
}

async fn prepare_update(world: &World, cvm: &SourceCvm) -> Value {
    prepare(world, &format!("/cvms/{cvm}"), reqwest::Method::PATCH, &asked()).await
}

/// The submission of a fresh prepare of an update, with what was sent for it.
async fn submission(world: &World, cvm: &SourceCvm) -> Value {
    let prepared = prepare_update(world, cvm).await;
    json!({
        "kind": "update", "prepare_response": prepared, "source_cvm": cvm, "prepare_body": asked(),
    })
}

fn approved_hash(request: &Value) -> ComposeHash {
    request["compose_hash"].as_str().unwrap().parse().unwrap()
}

/// That the source, and it alone, runs what was approved, and no replica was made.
#[track_caller]
fn assert_updated(world: &World, request: &Value) {
    let cvms = world.town.cloud.instances();
    assert_eq!(cvms[0].compose_hash, approved_hash(request));
    assert_eq!(cvms[0].encrypted_env(), ENV);
    assert!(cvms.iter().all(|cvm| cvm.source.is_none()), "an update makes no replica");
}

/// What became of each commit that came in, in order.
fn statuses(world: &World) -> Vec<u16> {
    world.town.cloud.commit_log().iter().map(|call| call.status).collect()
}

struct Scene {
    world: World,
    running: Running,
    id: String,
}

impl Scene {
    /// An update whose owners have signed, and that is executed after the switch was turned.
    async fn with(switch: Value) -> Self {
        Self::of(switch, |_| {}).await
    }

    async fn of(switch: Value, change: impl FnOnce(&mut Value)) -> Self {
        let world = World::new().await;
        let running = world.start().await;
        let mut body = submission(&world, &world.town.source).await;
        change(&mut body);
        let id = running.api.submit(&body).await;
        world.sign(&running.api, &id).await;
        world.switch(switch);
        world.execute(&running.api, &id).await;
        world.mine(DEPTH).await;
        Self { world, running, id }
    }

    async fn ends(&self, status: &str) -> Value {
        self.running.api.wait_for(&self.id, status).await
    }
}

#[tokio::test]
async fn an_update_is_committed_followed_and_proved_and_those_left_behind_are_named() {
    let world = World::new().await;
    let sibling = world.town.add_source(world.town.chain.app);
    let running = world.start().await;
    let api = &running.api;
    let id = world.carry(api, &submission(&world, &world.town.source).await).await;
    let request = api.wait_for(&id, "running").await;
    assert_updated(&world, &request);
    let operation = world.town.cloud.operations().pop().unwrap();
    assert_eq!(request["replica"]["operation"], operation.id.to_string());
    assert_eq!(request["replica"]["id"], world.town.source.to_string());
    assert_eq!((statuses(&world), world.replicas()), (vec![202], 1));
    let behind = &request["left_behind"];
    assert_eq!(behind["compose_hash"], json!(world.town.compose_hash));
    let left: Vec<&Value> =
        behind["instances"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!(left, [&json!(sibling)], "{behind:#}");
    let (_, shown, _) = crate::world::process::cli(api, &["show", &id]).await;
    assert!(shown.contains("Still on") && shown.contains(sibling.as_str()), "{shown}");
    running.stop().await;
}

/// Waits until the compose hash of a request is proved by what was sent, before anybody has signed.
async fn proved_by_what_was_sent(api: &Api, id: &str) -> Value {
    let request = api
        .look(id, "its compose hash to be proved", |request| {
            request["compose_proof"]["state"] == "proved"
        })
        .await;
    let proof = &request["compose_proof"];
    assert_eq!((&proof["source"], &proof["form"]), (&json!("derived"), &json!("compact")));
    let words = proof["words"].as_str().unwrap();
    assert!(words.contains("what the CVM runs, with what was sent to prepare it"), "{words}");
    assert_eq!(api.proposal(id).await["review_warnings"], json!([]));
    let found = api.get(&format!("/v1/requests/{id}/compose")).await;
    assert_eq!(found.status, 200, "{}", found.text);
    assert!(!found.text.contains(ENV) && !request.to_string().contains(ENV));
    found.body
}

#[tokio::test]
async fn what_an_update_changes_is_proved_by_what_was_sent_before_anybody_signs() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let mut sent = asked();
    sent["allowed_envs"] = json!(["API_KEY", "LOG_LEVEL", "NEW_KEY"]);
    sent["public_logs"] = json!(false);
    sent["pre_launch_script"] = json!("echo hello\n");
    let path = format!("/cvms/{}", world.town.source);
    let prepared = prepare(&world, &path, reqwest::Method::PATCH, &sent).await;
    let submission = json!({
        "kind": "update", "prepare_response": prepared, "source_cvm": world.town.source,
        "prepare_body": sent,
    });
    let id = api.submit(&submission).await;
    api.wait_for(&id, "proposed").await;
    let found = proved_by_what_was_sent(api, &id).await;
    assert_eq!(found["lint_beside"], json!(world.town.compose_hash));
    let lint = found["lint"].to_string();
    assert!(lint.contains("new-env") && lint.contains("NEW_KEY"), "{found:#}");
    let changes = found["running"]["diff"]["changes"].to_string();
    for place in ["/docker_compose_file/services/web/image", "/allowed_envs", "/public_logs"] {
        assert!(changes.contains(place), "{place}: {changes}");
    }
    running.stop().await;
}

#[tokio::test]
async fn what_was_sent_proves_nothing_when_something_else_was_prepared() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let mut body = submission(&world, &world.town.source).await;
    body["prepare_body"]["docker_compose_file"] = json!("services: {}\n");
    let id = api.submit(&body).await;
    let request =
        api.look(&id, "a look", |request| request["compose_proof"]["looked_at"].is_string()).await;
    assert_eq!(request["compose_proof"]["state"], "unproved");
    let told = json!({ "place": "what the CVM runs, with what was sent to prepare it",
        "outcome": "no form has this hash" });
    let tried = request["compose_proof"]["tried"].as_array().unwrap();
    assert!(tried.contains(&told), "{request:#}");
    running.stop().await;
}

#[tokio::test]
async fn an_update_whose_answer_is_lost_is_found_by_its_operation_or_by_what_runs() {
    for (switch, how) in [
        (json!({ "swallow_next_commit": 1 }), "the list of operations"),
        (json!({ "swallow_next_commit": 1, "hide_operations": true }), "what the CVM runs"),
    ] {
        let scene = Scene::with(switch).await;
        let request = scene.ends("running").await;
        assert_updated(&scene.world, &request);
        let committed = scene.running.api.last_told(&scene.id, "committed").await;
        assert_eq!(committed["how"], how);
        assert_eq!(statuses(&scene.world), [202], "it is not made twice");
        scene.running.stop().await;
    }
}

#[tokio::test]
async fn an_update_of_which_nothing_is_seen_is_made_again_with_the_same_token() {
    let failure = json!({ "endpoint": "commit", "status": 504, "times": 2 });
    let scene = Scene::with(json!({ "fail_next": [failure] })).await;
    let request = scene.ends("running").await;
    assert_updated(&scene.world, &request);
    assert_eq!(statuses(&scene.world), [504, 504, 202]);
    assert_eq!(scene.world.town.cloud.issued().len(), 1);
    scene.running.stop().await;
}

#[tokio::test]
async fn a_dead_token_gives_way_to_one_of_the_same_content() {
    let world = World::new().await;
    let running = world.start().await;
    let id = running.api.submit(&submission(&world, &world.town.source).await).await;
    world.sign(&running.api, &id).await;
    // Somebody prepares the same, and Countersign does not hear of it.
    let plain = json!({ "docker_compose_file": "services: {}\n" });
    let path = format!("/cvms/{}", world.town.source);
    prepare(&world, &path, reqwest::Method::PATCH, &plain).await;
    world.execute(&running.api, &id).await;
    world.mine(DEPTH).await;
    let request = running.api.wait_for(&id, "running").await;
    assert_updated(&world, &request);
    assert_eq!(statuses(&world), [466, 202]);
    running.stop().await;
}

#[tokio::test]
async fn a_dead_token_of_an_update_that_nobody_can_prepare_again_ends_it_with_advice() {
    let world = World::new().await;
    let running = world.start().await;
    let mut body = submission(&world, &world.town.source).await;
    body.as_object_mut().unwrap().remove("prepare_body");
    let id = running.api.submit(&body).await;
    world.sign(&running.api, &id).await;
    prepare_update(&world, &world.town.source).await;
    world.execute(&running.api, &id).await;
    world.mine(DEPTH).await;
    let ended = running.api.wait_for(&id, "expired").await;
    assert!(ended["next_step"].as_str().unwrap().contains("prepare"), "{ended:#}");
    assert_eq!((statuses(&world), world.town.cloud.operations().len()), (vec![466], 0));
    // The approval stays good: a fresh prepare is committed without a signature.
    let again = running.api.submit(&submission(&world, &world.town.source).await).await;
    let request = running.api.wait_for(&again, "running").await;
    assert_updated(&world, &request);
    running.stop().await;
}

#[tokio::test]
async fn an_update_that_fails_in_its_operation_ends_and_says_why() {
    let scene = Scene::with(json!({ "update_error": "image pull failed" })).await;
    let ended = scene.ends("failed").await;
    assert!(ended["reason"].as_str().unwrap().contains("image pull failed"), "{ended:#}");
    assert_eq!(ended["needs_attention"], true);
    let next = ended["explanation"]["next"].as_str().unwrap();
    assert!(next.contains("prepares the update again"), "{next}");
    assert_eq!(scene.world.town.cloud.instances()[0].compose_hash, scene.world.town.compose_hash);
    scene.running.stop().await;
}

#[tokio::test]
async fn an_update_of_a_cvm_that_is_gone_asks_a_person() {
    let gone = json!({ "endpoint": "cvm", "status": 404, "code": "ERR-03-001", "times": 1_000 });
    let scene = Scene::with(json!({ "fail_next": [gone] })).await;
    let api = &scene.running.api;
    let asked = eventually("a person is asked", async || {
        let request = api.request(&scene.id).await;
        (request["needs_attention"] == true).then_some(request)
    })
    .await;
    assert!(asked["reason"].as_str().unwrap().contains("no longer knows the CVM"), "{asked:#}");
    assert_eq!(statuses(&scene.world), Vec::<u16>::new());
    scene.world.switch(json!({ "fail_next": [] }));
    let retry = format!("/v1/requests/{}/retry", scene.id);
    assert_eq!(api.post(&retry, &json!({ "reason": "it is back" })).await.status, 200);
    scene.ends("running").await;
    scene.running.stop().await;
}

#[tokio::test]
async fn a_cvm_that_runs_something_else_after_its_update_is_an_alarm() {
    let other = "cc".repeat(32);
    let scene = Scene::with(json!({ "boot_compose_hash": other })).await;
    let ended = scene.ends("failed").await;
    assert!(ended["reason"].as_str().unwrap().contains(&other), "{ended:#}");
    assert_eq!(ended["needs_attention"], true);
    scene.running.stop().await;
}

#[tokio::test]
async fn two_cvms_of_one_app_need_one_approval_for_one_hash() {
    let world = World::new().await;
    let sibling = world.town.add_source(world.town.chain.app);
    let running = world.start().await;
    let api = &running.api;
    let mut ids = vec![];
    for cvm in [&world.town.source, &sibling] {
        let id = api.submit(&submission(&world, cvm).await).await;
        api.wait_for(&id, "proposed").await;
        ids.push(id);
    }
    assert_eq!(propose(api, &[&ids[0], &ids[1]], None).await.status, 200);
    let together = proposed_for(api, &ids[0], 2).await;
    assert_eq!(together["calls"].as_array().unwrap().len(), 1, "{together:#}");
    world.sign(api, &ids[0]).await;
    world.execute(api, &ids[0]).await;
    world.mine(DEPTH).await;
    for id in &ids {
        api.wait_for(id, "running").await;
    }
    let calls = world.town.cloud.commit_log();
    assert_eq!(statuses(&world), [202, 202]);
    assert!(calls.iter().all(|call| call.under_way == 1), "one after the other");
    let cvms = world.town.cloud.instances();
    assert_eq!(cvms[0].compose_hash, cvms[1].compose_hash);
    assert_eq!(cvms.len(), 2, "an update makes no replica");
    running.stop().await;
}

/// A replica whose document is known, put together with an update whose document is not, so that it waits.
async fn held_up_by_another(world: &World, api: &Api) -> [String; 2] {
    world.switch(json!({ "supersede_per_source": false }));
    let known = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&known, "proposed").await;
    let mut body = submission(world, &world.town.source).await;
    body.as_object_mut().unwrap().remove("prepare_body");
    let unknown = api.submit(&body).await;
    api.wait_for_reason(&unknown, "the policy is to propose nothing").await;
    assert_eq!(propose(api, &[&known, &unknown], None).await.status, 200);
    api.wait_for_reason(&known, "which is to be proposed with it").await;
    [known, unknown]
}

#[tokio::test]
async fn who_waits_for_the_proof_of_another_goes_on_when_that_one_leaves() {
    let mut world = World::new().await;
    world.settings.require_compose_proof = true;
    let running = world.start().await;
    let api = &running.api;
    let [known, unknown] = held_up_by_another(&world, api).await;
    assert_eq!(propose(api, &[&unknown], None).await.status, 200, "each alone again");
    api.wait_for(&known, "proposed").await;

    assert_eq!(propose(api, &[&known, &unknown], None).await.status, 200);
    api.wait_for_reason(&known, "which is to be proposed with it").await;
    let withdraw = format!("/v1/requests/{unknown}/withdraw");
    assert_eq!(api.post(&withdraw, &json!({ "reason": "no" })).await.status, 200);
    api.wait_for(&known, "proposed").await;
    running.stop().await;
}

#[tokio::test]
async fn an_instance_of_an_app_is_prepared_again_and_committed_where_it_was_asked_for() {
    let world = World::new().await;
    let running = world.start().await;
    let app = alloy::hex::encode(world.town.chain.app.0);
    let body = json!({ "node_id": 6, "docker_compose_file": NEW_COMPOSE, "encrypted_env": ENV });
    let path = format!("/apps/{app}/instances");
    let prepared = prepare(&world, &path, reqwest::Method::POST, &body).await;
    let submission = json!({
        "prepare_response": prepared, "source_cvm": format!("app_{app}"), "node_id": 6,
        "prepare_body": body,
    });
    let id = running.api.submit(&submission).await;
    running.api.wait_for(&id, "proposed").await;
    proved_by_what_was_sent(&running.api, &id).await;
    world.sign(&running.api, &id).await;
    // Another prepare voids the token.
    prepare(&world, &path, reqwest::Method::POST, &json!({ "node_id": 7 })).await;
    world.execute(&running.api, &id).await;
    world.mine(DEPTH).await;
    let request = running.api.wait_for(&id, "running").await;
    let made = world.town.cloud.instances().pop().unwrap();
    assert_eq!(made.id.to_string(), request["replica"]["id"].as_str().unwrap());
    assert_eq!((made.compose_hash, made.encrypted_env()), (approved_hash(&request), ENV));
    assert_eq!((statuses(&world), world.replicas()), (vec![466, 200], 1));
    running.stop().await;
}

async fn approved(world: &World, program: &Process) -> String {
    let id = program.api.submit(&submission(world, &world.town.source).await).await;
    world.sign(&program.api, &id).await;
    id
}

#[tokio::test]
async fn an_update_survives_the_program_at_every_step() {
    let mut world = World::new().await;
    let cloud = Line::to(&world.settings.phala_api_prefix).await;
    world.settings.phala_api_prefix = cloud.near();
    let program = world.spawn().await;
    let id = approved(&world, &program).await;
    let call = program.api.proposal(&id).await["execution"].clone();
    program.kill().await;

    world.send(&call).await;
    world.leases_run_out().await;
    cloud.set(Fault::LosesAnswersTo("commit-update"));
    let program = world.spawn().await;
    world.mine(DEPTH).await;
    cloud.caught_one().await;
    program.kill().await;

    world.leases_run_out().await;
    cloud.set(Fault::None);
    let program = world.spawn().await;
    program.api.wait_for(&id, "committed").await;
    program.kill().await;

    world.leases_run_out().await;
    let program = world.spawn().await;
    let request = program.api.wait_for(&id, "running").await;
    assert_updated(&world, &request);
    assert_eq!((statuses(&world), world.town.cloud.operations().len()), (vec![202], 1));
}

#[tokio::test]
async fn two_instances_of_the_service_make_an_update_once() {
    let world = World::new().await;
    let (first, second) = (world.start().await, world.start().await);
    let body = submission(&world, &world.town.source).await;
    let id = first.api.submit(&body).await;
    assert_eq!(second.api.post("/v1/requests", &body).await.body["id"], json!(id));
    world.sign(&second.api, &id).await;
    world.execute(&first.api, &id).await;
    world.mine(DEPTH).await;
    let request = first.api.wait_for(&id, "running").await;
    assert_updated(&world, &request);
    assert_eq!((statuses(&world), world.town.cloud.operations().len()), (vec![202], 1));
    first.stop().await;
    second.stop().await;
}
