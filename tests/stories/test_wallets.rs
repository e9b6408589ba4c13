//! The test wallets of the devnet: they work for its own pages, and nothing brings them into `serve`.

use std::process::{Command, Stdio};

use countersign::{devnet::Wallet, safe::OwnerSignature};
use reqwest::{RequestBuilder, header};
use serde_json::{Value, json};

use super::devnet::Devnet;
use crate::world::{Api, World, process::cli};

const ROUTES: [&str; 5] = [
    "/devnet/wallets.js",
    "/devnet/wallets.css",
    "/devnet/wallets",
    "/devnet/wallet/show",
    "/devnet/wallet",
];

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Nothing of the wallets is there, on whatever page and by whatever route.
async fn assert_without_wallets(api: &Api) {
    for route in ROUTES {
        let url = format!("{}{route}", api.base());
        let body = json!({ "address": Wallet::funded(0).unwrap().address().to_string(), "method": "eth_blockNumber" });
        let post = Api::bare().post(&url).header(header::ORIGIN, api.base()).json(&body);
        for call in [Api::bare().get(&url), post] {
            assert_eq!(api.send(call).await.status, 404, "{route}");
        }
    }
    for path in ["/", "/sign-in", "/apps", "/nowhere"] {
        let page =
            Api::bare().get(format!("{}{path}", api.base())).header(header::ACCEPT, "text/html");
        let page = api.send(page.bearer_auth(api.token())).await.text;
        assert!(page.contains("/assets/wallet.js") && !page.contains("devnet"), "{path}: {page}");
    }
}

#[tokio::test]
async fn no_setting_brings_the_test_wallets_into_serve() {
    // There is nothing to set: no flag, no variable and no key is named like it.
    let help = program().args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap().to_lowercase();
    assert!(help.contains("--open-reads"), "{help}");
    for word in ["devnet", "test wallet", "test-wallet"] {
        assert!(!help.contains(word), "{word}: {help}");
    }
    let mut world = World::new().await;
    for flag in ["--devnet", "--test-wallets", "--prepared"] {
        let said = world
            .refuses(|command| {
                command.arg(flag);
            })
            .await;
        assert!(said.contains("unexpected argument"), "{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    for key in ["devnet = true", "is_devnet = true", "test_wallets = true"] {
        let file = folder.path().join("countersign.toml");
        std::fs::write(&file, key).unwrap();
        let said = world
            .refuses(|command| {
                command.arg("--config").arg(&file);
            })
            .await;
        assert!(said.contains("unknown field"), "{said}");
    }
    let rpc = world.town.chain.rpc_url().to_string();
    let serve = world.spawn_with(|command| {
        for name in ["COUNTERSIGN_DEVNET", "COUNTERSIGN_IS_DEVNET", "COUNTERSIGN_TEST_WALLETS"] {
            command.env(name, "true");
        }
        command.env("COUNTERSIGN_DEVNET_RPC", rpc).env("COUNTERSIGN_OPEN_READS", "true");
    });
    let serve = serve.await;
    assert_without_wallets(&serve.api).await;
    serve.terminate().await;
    // Nor does what the devnet sets in code.
    world.settings.is_devnet = true;
    let running = world.start().await;
    assert_without_wallets(&running.api).await;
    running.stop().await;
}

struct Page<'a> {
    devnet: &'a Devnet,
    origin: String,
}

impl Page<'_> {
    fn post(&self, route: &str) -> RequestBuilder {
        Api::bare().post(format!("{}{route}", self.devnet.said("service")))
    }

    async fn ask(&self, route: &str, method: &str, params: Value) -> (u16, Value) {
        let address = &self.devnet.said["owners"][0]["address"];
        let body = json!({ "address": address, "method": method, "params": params });
        let call = self.post(route).header(header::ORIGIN, &self.origin).json(&body);
        let answer = self.devnet.api().send(call).await;
        (answer.status, answer.body)
    }
}

#[tokio::test]
async fn the_wallets_of_a_devnet_sign_for_its_own_page_and_give_no_key_away() {
    let devnet = Devnet::start(&["--prepared"]).await;
    let api = devnet.api();
    let id = devnet.said("request");
    let page = Api::bare().get(format!("{}/requests/{id}", api.base()));
    let page = api.send(page.header(header::ACCEPT, "text/html")).await;
    assert!(page.text.contains("/devnet/wallets.js"), "{}", page.text);
    assert!(
        page.headers[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap()
            .contains("script-src 'self';")
    );

    let told = api.get("/devnet/wallets").await;
    assert_eq!(told.body["wallets"].as_array().unwrap().len(), 4, "{}", told.text);
    for owner in devnet.said["owners"].as_array().unwrap() {
        assert!(told.text.contains(owner["address"].as_str().unwrap()));
        assert!(!told.text.contains(&owner["private_key"].as_str().unwrap()[2..]), "{}", told.text);
    }

    let here = Page { devnet: &devnet, origin: api.base().to_owned() };
    let owner = devnet.said["owners"][0]["address"].as_str().unwrap();
    let proposal = api.proposal(id).await;
    let document = proposal["eip712"].to_string();
    let params = json!([owner, document]);
    let (_, shown) = here.ask("/devnet/wallet/show", "eth_signTypedData_v4", params.clone()).await;
    let lines = shown["result"]["lines"].as_array().unwrap();
    for (name, field) in [
        ("safeTxHash", "safe_tx_hash"),
        ("Domain hash", "domain_hash"),
        ("Message hash", "message_hash"),
    ] {
        assert!(lines.contains(&json!([name, proposal[field]])), "{name}: {shown:#}");
    }
    let (_, signed) = here.ask("/devnet/wallet", "eth_signTypedData_v4", params.clone()).await;
    let signature: OwnerSignature = signed["result"].as_str().unwrap().parse().unwrap();
    let hash = proposal["safe_tx_hash"].as_str().unwrap().parse().unwrap();
    assert_eq!(signature.recover(hash).unwrap().to_string(), owner);

    for origin in ["https://evil.example", "http://evil.example", "null", "http://127.0.0.1:1"] {
        let there = Page { devnet: &devnet, origin: origin.into() };
        for route in ["/devnet/wallet", "/devnet/wallet/show"] {
            let (status, said) = there.ask(route, "eth_signTypedData_v4", params.clone()).await;
            assert_eq!((status, &said["result"]), (403, &Value::Null), "{origin}: {said}");
        }
    }
    let body = json!({ "address": owner, "method": "eth_blockNumber" });
    let untold = api.send(here.post("/devnet/wallet").json(&body)).await;
    assert_eq!(untold.status, 403, "{}", untold.text);
    let form =
        here.post("/devnet/wallet").header(header::ORIGIN, api.base()).body(body.to_string());
    assert_eq!(api.send(form).await.status, 415);
    for method in ["eth_sendRawTransaction", "anvil_setBalance", "evm_mine", "eth_accounts"] {
        let (status, said) = here.ask("/devnet/wallet", method, json!([])).await;
        assert_eq!((status, &said["error"]["code"]), (422, &json!(4200)), "{method}: {said}");
    }
    let (status, said) = here.ask("/devnet/wallet", "eth_blockNumber", json!([])).await;
    assert!(status == 200 && said["result"].as_str().unwrap().starts_with("0x"), "{said}");
    devnet.end().await;
}

#[tokio::test]
async fn execute_finds_the_chain_of_its_devnet_and_says_when_there_is_none() {
    let nobody = Api::new("http://127.0.0.1:1", "");
    let (code, _, said) = cli(&nobody, &["devnet", "execute", "x"]).await;
    assert!(code == 1 && said.contains("COUNTERSIGN_URL") && said.contains("--rpc"), "{said}");
}
