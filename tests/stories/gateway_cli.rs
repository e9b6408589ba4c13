//! The real `phala` command line tool cannot tell the gateway from Phala Cloud: two clouds in the same
//! state, one behind the gateway and one not, and every command says the same and ends the same.

use std::process::Output;

use countersign::{
    phala::{PhalaCloud, Prepared},
    wire::Http,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{
    cloud_scene::{APP, SOURCE, Scene, compose_hash, device},
    gateway_scene::gateway_of,
    phala_cli::Cli,
};
use crate::world::{Running, World};

const KEY: &str = "phak_devnet";
const PRIVATE_KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// Two clouds in the same state, the first behind a gateway.
struct Twins {
    behind: Scene,
    direct: Scene,
    running: Running,
    _world: World,
}

/// What a command came to, without the ports that differ by chance.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Twins {
    async fn set() -> Self {
        let (behind, direct) = (Scene::set().await, Scene::set().await);
        let mut world = World::new().await;
        world.settings.phala_api_prefix = behind.cloud.api_prefix().parse().unwrap();
        // What is kept is not carried on: the chain that the service looks at has no such app. And
        // whatever the service asks by itself reaches no cloud, so that both give the same numbers to
        // the same calls.
        let running = world.start_with(|service| {
            service.can_prepare = false;
            let nowhere = "http://127.0.0.1:9/api/v1".parse().unwrap();
            service.cloud = PhalaCloud::new(Http::new().unwrap(), nowhere, None);
        });
        let running = running.await;
        Self { behind, direct, running, _world: world }
    }

    fn switch(&self, change: Value) {
        self.behind.switch(change.clone());
        self.direct.switch(change);
    }

    /// Fails the next calls of an endpoint.
    fn fail(&self, endpoint: &str, status: u16, code: Option<&str>, times: u32) {
        let failure = json!({ "endpoint": endpoint, "status": status, "code": code,
            "retry_after": 1, "times": times });
        self.switch(json!({ "fail_next": [failure] }));
    }

    /// Runs a command both ways and gives what both came to. In its words `RPC` is the chain of each,
    /// and `TOKEN` the token that each gave out last.
    async fn same(&self, arguments: &[&str]) -> Ended {
        self.same_with(KEY, arguments).await
    }

    async fn same_with(&self, key: &str, arguments: &[&str]) -> Ended {
        let gateway = gateway_of(&self.running.api);
        let one = run(&gateway, &self.behind, key, arguments).await;
        let other = run(&self.direct.cloud.api_prefix(), &self.direct, key, arguments).await;
        assert_eq!(one, other, "{arguments:?}");
        one
    }

    async fn requests(&self) -> Vec<Value> {
        let list = self.running.api.get("/v1/requests").await;
        list.body["requests"].as_array().unwrap().clone()
    }
}

async fn run(prefix: &str, scene: &Scene, key: &str, arguments: &[&str]) -> Ended {
    let cli = Cli::new(prefix, key, scene.rpc());
    cli.put("dc.yml", "services:\n  web:\n    image: nginx:1.27\n");
    let token = scene.cloud.issued().pop().map(|issued| issued.token).unwrap_or_default();
    let arguments: Vec<&str> = arguments
        .iter()
        .map(|word| match *word {
            "RPC" => scene.rpc(),
            "TOKEN" => &token,
            word => word,
        })
        .collect();
    let Output { status, stdout, stderr } = cli.run(&arguments).await;
    let plain = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        let text = text.replace(prefix, "ORIGIN/api/v1").replace(&scene.cloud.origin(), "ORIGIN");
        text.replace(scene.rpc(), "RPC")
    };
    Ended { code: status.code(), stdout: plain(stdout), stderr: plain(stderr) }
}

impl Ended {
    #[track_caller]
    fn ok(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn fails_with(&self, words: &str) {
        let said = format!("{}\n{}", self.stdout, self.stderr);
        assert!(self.code != Some(0) && said.contains(words), "{self:#?}");
    }
}

#[tokio::test]
async fn looking_around_is_the_same() {
    let twins = Twins::set().await;
    let app = alloy::hex::encode(APP);
    let looks: [&[&str]; 11] = [
        &["whoami"],
        &["status"],
        &["apps"],
        &["apps", "--json"],
        &["nodes", "ls"],
        &["nodes", "ls", "--json"],
        &["cvms", "get", SOURCE],
        &["cvms", "get", SOURCE, "--json"],
        &["cvms", "get", "payments-api"],
        &["allow-devices", "list", &app, "--rpc-url", "RPC"],
        &["api", "/apps"],
    ];
    for look in looks {
        twins.same(look).await.ok();
    }
    twins.same(&["cvms", "get", "nobody"]).await.fails_with("not found");
    for look in [&["cvms", "list"], &["os-images", "--json"], &["kms", "list"]] {
        // The emulator has no such thing, and both say so.
        twins.same(look).await;
    }
    for command in [&["whoami"][..], &["apps"], &["cvms", "get", SOURCE]] {
        let ended = twins.same_with("phak_of_nobody", command).await;
        assert_ne!(ended.code, Some(0), "{command:?}: {ended:?}");
    }
    assert_eq!(twins.requests().await.len(), 0);
}

#[tokio::test]
async fn preparing_is_the_same_and_is_kept() {
    let twins = Twins::set().await;
    let app = alloy::hex::encode(APP);
    let replicate = ["cvms", "replicate", SOURCE, "--prepare-only"];
    twins.same(&[&replicate[..], &["--node-id", "6"]].concat()).await.ok();
    assert_eq!(twins.requests().await.len(), 1);
    twins.same(&[&replicate[..], &["--node-id", "prod6", "--json"]].concat()).await.ok();
    assert_eq!(twins.requests().await.len(), 1, "the newer token is taken into the same request");
    twins.switch(json!({ "nest_details": true, "prefix_hashes": true }));
    twins.same(&[&replicate[..], &["--node-id", "5"]].concat()).await.ok();
    assert_eq!(twins.requests().await.len(), 2);
    let named = ["cvms", "replicate", "payments-api", "--prepare-only", "--json"];
    twins.same(&named).await.ok();
    twins.switch(json!({ "nest_details": false }));
    let hash = compose_hash().to_string();
    twins.same(&[&replicate[..], &["--node-id", "6", "--compose-hash", &hash]].concat()).await.ok();
    let added = ["instances", "add", "--app-id", &app, "--node-id", "6", "--prepare-only"];
    twins.same(&added).await.ok();
    twins.same(&[&added[..], &["--json"]].concat()).await.ok();

    let kept = twins.requests().await.len();
    twins.same(&[&replicate[..], &["--node-id", "99"]].concat()).await.fails_with("ERR-01-001");
    let unknown = twins.same(&[&replicate[..], &["--node-id", "nowhere"]].concat()).await;
    assert_ne!(unknown.code, Some(0));
    let nobody = ["cvms", "replicate", "nobody", "--node-id", "6", "--prepare-only"];
    twins.same(&nobody).await.fails_with("not found");
    let onto_six = [&replicate[..], &["--node-id", "6"]].concat();
    let refused = twins.same_with("phak_of_nobody", &onto_six).await;
    assert_ne!(refused.code, Some(0));
    twins.fail("cvm", 429, None, 2);
    twins
        .same(&[&replicate[..], &["--node-id", "6"]].concat())
        .await
        .fails_with("failed as ordered");
    for (status, code) in [(503, None), (400, Some("ERR-02-003")), (409, None), (500, None)] {
        twins.fail("prepare", status, code, 1);
        let ended = twins.same(&[&replicate[..], &["--node-id", "6"]].concat()).await;
        ended.fails_with(code.unwrap_or_default());
    }
    twins.switch(json!({ "fail_next": [] }));
    assert_eq!(twins.requests().await.len(), kept, "what was refused is not kept");
    // A cloud that creates at once says so in both.
    twins.switch(json!({ "created_on_prepare": true }));
    twins.same(&[&replicate[..], &["--node-id", "6"]].concat()).await.ok();
    assert_eq!(twins.requests().await.len(), kept);
}

#[tokio::test]
async fn committing_is_the_same() {
    let twins = Twins::set().await;
    let app = format!("0x{}", alloy::hex::encode(APP));
    let prepared =
        twins.same(&["cvms", "replicate", SOURCE, "--node-id", "6", "--prepare-only"]).await;
    let prepared = Prepared::from_cli_text(&prepared.ok().stdout).unwrap();
    let issued = twins.behind.last_issued().token;
    assert_eq!(prepared.commit_token.secret().expose_secret(), issued);
    let hash = compose_hash().to_string();
    let commit = ["cvms", "replicate", SOURCE, "--commit", "--compose-hash", &hash, "--token"];
    twins.same(&[&commit[..], &["of-nobody"]].concat()).await.fails_with("ERR-01-006");
    twins.same(&[&commit[..], &["TOKEN"]].concat()).await.fails_with("ERR-01-005");
    let nowhere = twins.same(&["cvms", "replicate", SOURCE, "--commit", "--token", "TOKEN"]).await;
    assert_ne!(nowhere.code, Some(0), "it wants a compose hash");
    let added = twins.behind.approve().await.to_string();
    assert_eq!(twins.direct.approve().await.to_string(), added, "the same chain twice");
    twins.fail("commit", 503, None, 1);
    let unavailable = twins.same(&[&commit[..], &["TOKEN"]].concat()).await;
    assert_ne!(unavailable.code, Some(0));
    let with = [&commit[..], &["TOKEN", "--transaction-hash", &added, "--json"]].concat();
    twins.same(&with).await.ok();
    twins.same(&[&commit[..], &["TOKEN"]].concat()).await.fails_with("ERR-01-006");
    // By now the app has two instances, so its id alone says too little.
    let by_app = ["cvms", "replicate", &app[2..], "--node-id", "6", "--prepare-only", "--json"];
    twins.same(&by_app).await.ok();
    twins
        .same(&["instances", "add", "--app-id", &app, "--node-id", "6", "--prepare-only"])
        .await
        .ok();
    let add =
        ["instances", "add", "--app-id", &app, "--commit", "--compose-hash", &hash, "--token"];
    twins.same(&[&add[..], &["of-nobody"]].concat()).await.fails_with("ERR-01-006");
    twins.same(&[&add[..], &["TOKEN"]].concat()).await.ok();
    assert_eq!(twins.behind.cloud.instances().len(), 3);
    assert_eq!(twins.direct.cloud.instances().len(), 3);
    // Everything is registered, so this makes one at once.
    twins.same(&["cvms", "replicate", SOURCE, "--node-id", "6"]).await.ok();
    let boot = ["cvms", "get", SOURCE, "--json"];
    twins.same(&boot).await.ok();
}

#[tokio::test]
async fn updating_is_the_same_and_is_kept() {
    let twins = Twins::set().await;
    let deploy = ["deploy", "--cvm-id", SOURCE];
    let prepare = [&deploy[..], &["--prepare-only", "-c", "dc.yml"]].concat();
    twins.same(&[&prepare[..], &["--no-json"]].concat()).await.ok();
    let requests = twins.requests().await;
    assert_eq!((requests.len(), &requests[0]["kind"]), (1, &json!("update")));
    twins.same(&[&prepare[..], &["--json"]].concat()).await.ok();
    assert_eq!(twins.requests().await.len(), 1, "the newer token is taken into the same request");
    let nobody = ["deploy", "--cvm-id", "nobody", "--prepare-only", "-c", "dc.yml", "--no-json"];
    assert_ne!(twins.same(&nobody).await.code, Some(0));
    let refused = twins.same_with("phak_of_nobody", &[&prepare[..], &["--no-json"]].concat()).await;
    assert_ne!(refused.code, Some(0));

    let hash = twins.behind.last_issued().compose_hash;
    assert_eq!(twins.direct.last_issued().compose_hash, hash);
    let text = hash.to_string();
    let commit = [&deploy[..], &["--commit", "--compose-hash", &text, "--token"]].concat();
    twins.same(&[&commit[..], &["of-nobody"]].concat()).await.fails_with("token not found");
    twins.same(&[&commit[..], &["TOKEN"]].concat()).await.fails_with("registration required");
    for scene in [&twins.behind, &twins.direct] {
        scene.add_device(device(5)).await;
        scene.add_compose(hash).await;
    }
    twins.same(&[&commit[..], &["TOKEN"]].concat()).await.ok();
    twins.same(&[&commit[..], &["TOKEN"]].concat()).await.fails_with("already used");
    twins.same(&["cvms", "get", SOURCE, "--json"]).await.ok();
}

#[tokio::test]
async fn its_own_registration_by_a_key_is_the_same() {
    let twins = Twins::set().await;
    let by_key = ["cvms", "replicate", SOURCE, "--node-id", "6", "--private-key", PRIVATE_KEY];
    let ended = twins.same(&[&by_key[..], &["--rpc-url", "RPC"]].concat()).await;
    assert_ne!(ended.code, Some(0), "this chain has no multicall: {ended:?}");
    assert_eq!(twins.requests().await.len(), 1, "what needs an approval is kept in any case");
    twins.behind.add_device(device(6)).await;
    twins.direct.add_device(device(6)).await;
    twins.same(&["cvms", "replicate", SOURCE, "--node-id", "6", "--prepare-only"]).await.ok();
}
