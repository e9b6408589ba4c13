//! The devnet as people start it, with what it prints, and an app that belongs to an account.

use std::process::Stdio;

use countersign::clock::{Clock, SystemClock};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::world::{Api, process::cli};

/// A devnet, and what it said of itself. Dropping it ends it.
pub struct Devnet {
    child: Child,
    pub said: Value,
}

impl Devnet {
    pub async fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.arg("devnet").args(arguments).args(["--json", "--block-time", "0.2"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the program starts");
        let out = child.stdout.take().expect("it is piped");
        let line = BufReader::new(out).lines().next_line().await.unwrap().expect("one line");
        Self { child, said: serde_json::from_str(&line).expect("it is JSON") }
    }

    pub fn said(&self, name: &str) -> &str {
        self.said[name].as_str().unwrap_or_else(|| panic!("no {name} in {:#}", self.said))
    }

    pub fn api(&self) -> Api {
        Api::new(self.said("service"), self.said("api_token"))
    }

    pub async fn end(mut self) {
        let pid = self.child.id().expect("it runs").to_string();
        let asked = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().await;
        assert!(asked.expect("there is a shell").success());
        assert!(self.child.wait().await.expect("it ends").success());
    }
}

/// A command of the devnet's owner, who prepares through the gateway.
async fn prepare(devnet: &Devnet) -> Value {
    let source = devnet.said("source_cvm");
    let (gateway, key) = (devnet.said("gateway"), devnet.said("phala_api_key"));
    let line = ["prepare", source, "--node", "prod6", "--json", "--phala-api-prefix", gateway];
    let (code, told, said) =
        cli(&devnet.api(), &[&line[..], &["--phala-api-key", key]].concat()).await;
    assert_eq!(code, 0, "{told}\n{said}");
    serde_json::from_str(&told).unwrap()
}

#[tokio::test]
async fn its_owners_sign_in_one_document_and_not_once_it_runs() {
    let devnet = Devnet::start(&["--prepared"]).await;
    let api = devnet.api();
    let id = devnet.said("request");
    let (code, told, said) = cli(&api, &["devnet", "sign", id, "--json"]).await;
    assert_eq!(code, 0, "{told}\n{said}");
    let signed: Value = serde_json::from_str(&told).expect("one document");
    let owners = devnet.said["owners"].as_array().unwrap();
    for (signed, owner) in signed.as_array().unwrap().iter().zip(owners) {
        assert_eq!(signed["owner"], owner["address"], "{told}");
    }
    assert_eq!(signed[1]["status"], "approved", "{told}");
    let (code, told, said) = cli(&api, &["devnet", "execute", id, "--json"]).await;
    assert_eq!(code, 0, "{told}\n{said}");
    assert!(serde_json::from_str::<Value>(&told).unwrap()["transaction"].is_string(), "{told}");
    api.wait_for(id, "running").await;
    for (act, words) in
        [("sign", "nothing is to be signed"), ("execute", "nothing is to be executed")]
    {
        let (code, _, said) = cli(&api, &["devnet", act, id]).await;
        assert!(
            code == 1 && said.contains("the request runs already") && said.contains(words),
            "{said}"
        );
    }
    devnet.end().await;
}

#[tokio::test]
async fn an_account_that_owns_the_app_makes_its_calls_and_the_replica_runs() {
    let devnet = Devnet::start(&["--owner", "eoa"]).await;
    let api = devnet.api();
    assert_eq!(devnet.said["owner"], devnet.said["owners"][0]["address"], "{:#}", devnet.said);
    let request = prepare(&devnet).await;
    assert_eq!(request["created_by"], "service:gateway", "the gateway is where it says");
    let id = request["id"].as_str().unwrap();
    let (code, _, said) = cli(&api, &["devnet", "sign", id]).await;
    assert!(code == 1 && said.contains("nothing is signed"), "{said}");
    let (code, told, said) = cli(&api, &["devnet", "execute", id]).await;
    assert!(code == 0 && told.matches("made by").count() == 2, "{told}\n{said}");
    api.wait_for(id, "running").await;
    devnet.end().await;
}

#[tokio::test]
async fn its_webhook_takes_what_is_signed_as_described_and_no_page_leads_away() {
    let devnet = Devnet::start(&[]).await;
    let api = devnet.api();
    assert_eq!(devnet.said["owner"], devnet.said["safe"]);
    let at = SystemClock.now().timestamp().to_string();
    let body = json!({ "id": "evt_1", "event": "webhook.test", "data": {} }).to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(devnet.said("webhook_secret").as_bytes()).unwrap();
    mac.update(format!("{at}.{body}").as_bytes());
    let signature = alloy::hex::encode(mac.finalize().into_bytes());
    let told = Api::bare()
        .post(devnet.said("webhook"))
        .header("X-Webhook-Timestamp", &at)
        .header("X-Webhook-Signature", format!("sha256={signature}"))
        .body(body);
    assert_eq!(told.send().await.expect("it answers").status(), 200);

    let request = prepare(&devnet).await;
    let id = request["id"].as_str().unwrap();
    let page = api.get(&format!("/requests/{id}")).await.text;
    assert!(page.contains("The Safe transaction"), "{page}");
    for elsewhere in ["app.safe.global", "Sign or check elsewhere"] {
        assert!(!page.contains(elsewhere), "{elsewhere}: nobody there knows this chain");
    }
    devnet.end().await;
}
