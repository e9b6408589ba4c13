//! The operator's hand: Countersign asks which instance a commit made, a person looks, says it, or
//! has it tried again; and everybody can read why a request is where it is.

use chrono::TimeDelta;
use countersign::{
    clock::Clock,
    review::RETRY_PAUSE,
    store::{Store, journal::Actor, retries::Retry},
};
use serde_json::{Value, json};

use crate::world::{Answer, Api, DEPTH, Running, World, api::make_token, eventually, process::cli};

/// How a commit fails that never reached the part which acts.
fn broken_before_it_acts() -> Value {
    json!({ "fail_next": [{ "endpoint": "commit", "status": 502, "code": null }] })
}

/// A request whose commit nobody understands: instances of other people came up beside it.
struct Scene {
    world: World,
    running: Running,
    id: String,
}

impl Scene {
    /// With this trouble, and so many strangers that come while the commit is under way.
    async fn asking(trouble: Value, strangers: usize) -> Self {
        let world = World::new().await;
        let running = world.start().await;
        let submission = world.submission(&world.prepare().await);
        world.switch(trouble);
        world.switch(json!({ "add_with_commit": vec![json!({ "node": 6 }); strangers] }));
        let id = world.carry(&running.api, &submission).await;
        running.api.wait_for_reason(&id, "which one is this request's").await;
        Self { world, running, id }
    }

    /// The commit was made, its answer lost, and another instance of the same kind appeared.
    async fn with_a_stranger() -> Self {
        Self::asking(json!({ "swallow_next_commit": 1 }), 1).await
    }

    fn api(&self) -> &Api {
        &self.running.api
    }

    /// What the commit really made.
    fn made(&self) -> String {
        let log = self.world.town.cloud.commit_log();
        log[0].created.expect("the commit had its effect").to_string()
    }

    fn commits(&self) -> usize {
        self.world.town.cloud.commit_log().len()
    }

    async fn say(&self, what: &str, body: Value) -> Answer {
        self.api().post(&format!("/v1/requests/{}/{what}", self.id), &body).await
    }

    async fn settle(&self, replica: Value) -> Answer {
        self.say("settle", json!({ "replica": replica, "reason": "looked at both" })).await
    }

    /// Who said the newest thing of this kind, and what.
    async fn said(&self, kind: &str) -> (String, Value) {
        said(self.api(), &self.id, kind).await
    }
}

async fn said(api: &Api, id: &str, kind: &str) -> (String, Value) {
    let entry = eventually(format!("an entry {kind}"), async || {
        api.timeline(id).await.into_iter().rfind(|entry| entry["kind"] == kind)
    });
    let entry = entry.await;
    (entry["actor"].as_str().unwrap().to_owned(), entry["body"].clone())
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str, field: Option<&str>) {
    let told = (answer.status, answer.body["code"].as_str(), answer.body["field"].as_str());
    assert_eq!(told, (status, Some(code), field), "{}", answer.text);
}

#[tokio::test]
async fn several_candidates_are_asked_about_and_the_right_one_is_taken() {
    let scene = Scene::with_a_stranger().await;
    let api = scene.api();
    let request = api.request(&scene.id).await;
    assert_eq!(request["status"], "committing");
    assert_eq!(request["explanation"]["when"]["kind"], "person", "{request:#}");
    let offered = request["candidates"]["instances"].as_array().unwrap();
    let offered: Vec<_> = offered.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert!(offered.len() == 2 && offered.contains(&scene.made().as_str()), "{request:#}");

    // Other requests of the app go on meanwhile.
    let prepared = scene.world.prepare_on(7).await;
    let other = scene.world.carry(api, &scene.world.submission_on(&prepared, 7)).await;
    api.wait_for(&other, "running").await;
    scene.world.look_again().await;
    api.wait_for_reason(&scene.id, "which one is this request's").await;
    assert_eq!(scene.commits(), 2, "one for each of them");

    let answer = scene.settle(json!(scene.made())).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("committed")));
    let request = api.wait_for(&scene.id, "running").await;
    assert_eq!(request["replica"]["id"], scene.made());
    assert_eq!((request["needs_attention"].clone(), scene.commits()), (json!(false), 2));
    assert_eq!(request["candidates"], Value::Null, "nothing is left to choose");
    let (who, said) = scene.said("settled").await;
    assert_eq!((who.as_str(), &said["reason"]), ("token:story", &json!("looked at both")));
    assert_eq!(said["replica"], scene.made());
    scene.running.stop().await;
}

#[tokio::test]
async fn none_of_them_means_that_it_is_committed_again() {
    let scene = Scene::asking(broken_before_it_acts(), 2).await;
    assert_eq!((scene.world.effective_commits(), scene.world.replicas()), (0, 2));
    let answer = scene.settle(Value::Null).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("registered")));
    let request = scene.api().wait_for(&scene.id, "running").await;
    assert_eq!((scene.world.effective_commits(), scene.world.replicas()), (1, 3));
    let made = scene.world.town.cloud.commit_log().pop().unwrap().created.unwrap();
    assert_eq!(request["replica"]["id"], made.to_string(), "{request:#}");
    assert_eq!(scene.said("settled").await.1["replica"], Value::Null);
    scene.running.stop().await;
}

/// A person may have the instances looked at again, instead of choosing.
#[tokio::test]
async fn a_retry_looks_again_and_asks_again() {
    let scene = Scene::with_a_stranger().await;
    assert_eq!(scene.say("retry", json!({ "reason": "look again" })).await.status, 200);
    eventually("it to be asked about again", async || {
        let told = scene.api().told(&scene.id).await;
        (told.iter().filter(|kind| *kind == "attention_needed").count() == 2).then_some(())
    })
    .await;
    assert_eq!(scene.commits(), 1);
    scene.running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_the_replica_is_refused() {
    let scene = Scene::with_a_stranger().await;
    let api = scene.api();
    let prepared = scene.world.prepare_on(7).await;
    let other = scene.world.carry(api, &scene.world.submission_on(&prepared, 7)).await;
    let other = api.wait_for(&other, "running").await;
    let another_hash = json!({ "node": 6, "compose_hash": "cc".repeat(32) });
    scene.world.switch(json!({ "add_instance": another_hash }));
    scene.world.switch(json!({ "add_instance": { "node": 7 } }));
    let instances = scene.world.town.cloud.instances();
    let [.., wrong_hash, wrong_node] = instances.as_slice() else { panic!("{instances:?}") };

    for (replica, why) in [
        ("9f8e7d6c-5b4a-4938-8271-605f4e3d2c1b".to_owned(), "has no instance"),
        (instances[0].id.to_string(), "was there before"),
        (other["replica"]["id"].as_str().unwrap().to_owned(), "replica of another request"),
        (wrong_hash.id.to_string(), "runs something else"),
        (wrong_node.id.to_string(), "runs something else"),
    ] {
        let answer = scene.settle(json!(replica)).await;
        assert_refused(&answer, 422, "not-the-replica", Some("replica"));
        assert!(answer.body["title"].as_str().unwrap().contains(why), "{why}: {}", answer.text);
    }
    for body in [json!({}), json!({ "reason": "none" }), json!({ "replica": 7, "reason": "r" })] {
        assert_refused(&scene.say("settle", body).await, 422, "invalid-field", Some("replica"));
    }
    let silent = scene.say("settle", json!({ "replica": null, "reason": " " })).await;
    assert_refused(&silent, 422, "invalid-field", Some("reason"));
    assert_refused(&scene.say("retry", json!({})).await, 422, "invalid-field", Some("reason"));

    // Nothing was taken, and nothing is settled that nobody asked about.
    let request = api.request(&scene.id).await;
    assert_eq!((&request["status"], &request["replica"]), (&json!("committing"), &Value::Null));
    let path = format!("/v1/requests/{}", other["id"].as_str().unwrap());
    let answer = api
        .post(&format!("{path}/settle"), &json!({ "replica": null, "reason": "no reason" }))
        .await;
    assert_refused(&answer, 409, "not-in-this-status", None);
    let answer = api.post(&format!("{path}/retry"), &json!({ "reason": "no reason" })).await;
    assert_refused(&answer, 409, "not-in-this-status", None);

    // Any spelling of the right one is the right one.
    let spelled = scene.made().replace('-', "").to_uppercase();
    assert_eq!(scene.settle(json!(spelled)).await.status, 200);
    assert_eq!(api.wait_for(&scene.id, "running").await["replica"]["id"], scene.made());
    scene.running.stop().await;
}

/// While the commit may still be on its way, nobody may say that it made nothing.
#[tokio::test]
async fn nothing_is_settled_before_it_is_asked_about() {
    let mut world = World::new().await;
    world.settings.settle = std::time::Duration::from_mins(10);
    let running = world.start().await;
    let submission = world.submission(&world.prepare().await);
    world.switch(broken_before_it_acts());
    let id = world.carry(&running.api, &submission).await;
    running.api.wait_for(&id, "committing").await;
    let body = json!({ "replica": null, "reason": "impatient" });
    let answer = running.api.post(&format!("/v1/requests/{id}/settle"), &body).await;
    assert_refused(&answer, 409, "not-in-this-status", None);
    assert!(answer.body["title"].as_str().unwrap().contains("still finding out"));
    running.stop().await;
}

#[tokio::test]
async fn a_cloud_that_cannot_be_read_does_not_hide_the_request() {
    let scene = Scene::with_a_stranger().await;
    let failure = json!({ "endpoint": "instances", "status": 503, "code": null, "times": 100 });
    scene.world.switch(json!({ "fail_next": [failure] }));
    let known = scene.api().request(&scene.id).await;
    assert_eq!(
        known["candidates"]["problem"],
        Value::Null,
        "what was read lately counts: {known:#}"
    );
    scene.world.clock.pass(TimeDelta::seconds(11));
    let request = scene.api().request(&scene.id).await;
    assert_eq!(request["candidates"]["instances"], json!([]));
    assert!(request["candidates"]["problem"].as_str().unwrap().contains("503"), "{request:#}");
    let answer = scene.settle(json!(scene.made())).await;
    assert_refused(&answer, 503, "cloud-unreadable", None);
    let (code, text, _) = cli(scene.api(), &["show", &scene.id]).await;
    assert!(code == 3 && text.contains("they cannot be read now"), "{text}");
    let page = Api::bare().get(format!("{}/requests/{}", scene.api().base(), scene.id));
    let page = scene.api().send(page).await;
    assert!(page.status == 200 && page.text.contains("cannot be read now"), "{}", page.text);

    scene.world.switch(json!({ "fail_next": [] }));
    scene.world.clock.pass(TimeDelta::seconds(11));
    let request = scene.api().request(&scene.id).await;
    assert_eq!(request["candidates"]["instances"].as_array().unwrap().len(), 2, "{request:#}");
    scene.running.stop().await;
}

#[tokio::test]
async fn a_retry_tries_at_once_what_a_person_was_asked_about() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let submission = world.submission(&world.prepare().await);
    let no_credit = json!({ "endpoint": "commit", "status": 402, "code": "ERR-04-001" });
    world.switch(json!({ "fail_next": [no_credit] }));
    let id = world.carry(api, &submission).await;
    let request = api.wait_for_reason(&id, "Add credit").await;
    let when = &request["explanation"]["when"];
    assert_eq!(when["commands"], json!([format!("countersign retry {id}")]), "{request:#}");
    assert!(when["at"].is_string() && request["next_try_at"].is_string(), "{request:#}");

    let body = json!({ "reason": "credit was added" });
    let answer = api.post(&format!("/v1/requests/{id}/retry"), &body).await;
    let told = (answer.status, &answer.body["needs_attention"]);
    assert_eq!(told, (200, &json!(false)), "{}", answer.text);
    api.wait_for(&id, "running").await;
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
    let (who, said) = said(api, &id, "retried").await;
    assert_eq!((who.as_str(), &said["reason"]), ("token:story", &json!("credit was added")));
    running.stop().await;
}

/// Each is an entry for good, so nobody can fill the timeline with them.
#[tokio::test]
async fn a_retry_is_not_asked_for_again_before_something_came_of_it() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for_reason(&id, "0 of 2 signatures").await;
    let path = format!("/v1/requests/{id}/retry");
    let retry = async || {
        let answer = api.post(&path, &json!({ "reason": "now" })).await;
        (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned())
    };
    let retries = async || api.told(&id).await.iter().filter(|kind| *kind == "retried").count();
    let refused = (409, "already-retried".to_owned());
    assert_eq!(retry().await.0, 200);
    for _ in 0..5 {
        assert_eq!(retry().await, refused);
    }
    // Once it was tried and some time has passed, it can be asked for again.
    api.wait_for_reason(&id, "0 of 2 signatures").await;
    assert_eq!(retry().await, refused);
    world.clock.pass(TimeDelta::seconds(11));
    assert_eq!(retry().await.0, 200);
    assert_eq!(retries().await, 2);
    running.stop().await;

    // As long as nobody takes it, time alone changes nothing.
    let store = Store::open(world.database.options()).await.unwrap();
    let (id, person) = (id.parse().unwrap(), Actor::service("story"));
    let later = |hours| world.clock.now() + TimeDelta::hours(hours);
    let retry = async |at| store.retry(id, "now".into(), RETRY_PAUSE, &person, at).await.unwrap();
    assert!(matches!(retry(later(1)).await, Retry::Recorded(_)));
    for hours in 2..5 {
        assert!(matches!(retry(later(hours)).await, Retry::OnItsWay));
    }
    store.close().await;
}

#[tokio::test]
async fn the_command_line_explains_settles_and_retries() {
    let scene = Scene::with_a_stranger().await;
    let (api, id) = (scene.api(), scene.id.as_str());

    let (code, text, _) = cli(api, &["show", id]).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(code, 3, "{text}");
    assert!(lines.len() <= 60, "{} lines: {text}", lines.len());
    for (line, start, told) in [
        (1, "  Status ", "committing, needs attention"),
        (2, "  Why ", "2 new instances fit"),
        (3, "  Next ", "nothing is committed again before a person has said"),
        (4, "  When ", "after a person: `countersign settle"),
    ] {
        let shown = lines[line];
        assert!(shown.starts_with(start) && shown.contains(told), "{shown}");
    }
    assert!(text.contains("Which instance is its replica?") && text.contains(&scene.made()));
    let json: Value = serde_json::from_str(&cli(api, &["show", id, "--json"]).await.1).unwrap();
    assert_eq!(json["candidates"]["instances"].as_array().unwrap().len(), 2);

    // Wrong usage, and what the service refuses.
    for wrong in [&["settle", id][..], &["settle", id, "--as", "none"], &["retry"]] {
        assert_eq!(cli(api, wrong).await.0, 2, "{wrong:?}");
    }
    let source = scene.world.town.cloud.instances()[0].id.to_string();
    let refused = ["settle", id, "--as", &source, "--reason", "a guess"];
    let (code, _, error) = cli(api, &refused).await;
    assert!(code == 1 && error.contains("was there before"), "{error}");
    let reader =
        make_token(&scene.running.service.store, &["read"], scene.running.service.clock.now())
            .await;
    let reader = api.with_token(&reader);
    assert_eq!(cli(&reader, &["show", id]).await.0, 3, "who may read may look");
    let made = scene.made();
    let settle = ["settle", id, "--as", &made, "--reason", "the other one is of team B"];
    for words in [&["retry", id][..], &settle] {
        let (code, _, error) = cli(&reader, words).await;
        assert!(
            code == 1 && error.contains("(viewer, auditor) does not allow"),
            "{words:?}: {error}"
        );
    }

    let (code, text, error) = cli(api, &["retry", id]).await;
    assert_eq!((code, text.lines().next()), (0, Some("To be tried now")), "{text}{error}");
    assert_eq!(scene.said("retried").await.1["reason"], "asked for on the command line");
    api.wait_for_reason(id, "which one is this request's").await;

    let (code, text, error) = cli(api, &settle).await;
    assert_eq!((code, text.lines().next()), (0, Some("Settled")), "{text}{error}");
    api.wait_for(id, "running").await;
    assert_eq!(scene.said("settled").await.1["reason"], "the other one is of team B");
    let (code, text, _) = cli(api, &["show", id]).await;
    assert!(code == 0 && text.contains("never: it has ended"), "{text}");
    assert!(text.contains("the replica runs what was approved"), "{text}");
    let (code, _, error) = cli(api, &["settle", id, "--as", "none", "--reason", "late"]).await;
    assert!(code == 1 && error.contains("there is no commit to settle"), "{error}");
    scene.running.stop().await;
}

#[tokio::test]
async fn a_request_that_waits_says_for_whom_and_when_it_is_looked_at() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    let request = api.wait_to_be_woken(&id, "a signature").await;
    assert!(request["reason"].as_str().unwrap().contains("0 of 2 signatures"), "{request:#}");
    assert_eq!(
        (&request["explanation"]["why"], &request["attempts"]),
        (&request["reason"], &json!(0))
    );
    let (code, text, _) = cli(api, &["show", &id]).await;
    assert!(code == 0 && text.contains("when woken by a signature"), "{text}");
    assert!(text.lines().count() <= 60, "{text}");
    let page = api.send(Api::bare().get(format!("{}/requests/{id}", api.base()))).await;
    for part in ["0 of 2 signatures", "when woken by a signature", "the owners sign here"] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    let list = api.get("/v1/requests").await.body;
    assert!(list["requests"][0].get("explanation").is_none(), "lists stay short: {list:#}");
    assert!(list["requests"][0]["next_try_at"].is_string(), "{list:#}");
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    let request = api.wait_to_be_woken(&id, "blocks on top of the execution").await;
    assert!(request["reason"].as_str().unwrap().contains("blocks deep"), "{request:#}");
    world.mine(DEPTH).await;
    let request = api.wait_for(&id, "running").await;
    assert_eq!(request["explanation"]["when"], json!({ "kind": "never" }), "{request:#}");
    assert_eq!(request["next_try_at"], Value::Null, "{request:#}");
    running.stop().await;
}
