//! A node between the service and anvil: it counts what it is asked, and lags, lies or limits when
//! told to.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::State, routing::post};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use url::Url;

use super::Api;

/// How the node behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    #[default]
    Honest,
    /// It has not seen the newest blocks yet.
    LagsBehind(u64),
    /// Every contract answers one, which is "yes", in every word.
    SaysYes,
    /// Every contract answers zero, which is "no", in every word.
    SaysNo,
    /// Every slot of every contract is empty.
    EmptiesStorage,
    /// It announces its newest block and does not have it when asked by number.
    ForgetsItsHead,
    /// It refuses answers with more logs than this.
    LimitsLogs(usize),
    /// It cuts answers off after this many logs, and does not say so.
    CutsLogs(usize),
    /// It does not have the logs of any block by its hash.
    HidesLogs,
    /// It answers every fourth call with a rate limit.
    LimitsRate,
    /// It has blocks and state, and no receipts yet.
    HidesReceipts,
    /// It refuses one method, with this code and message.
    Refuses(&'static str, i64, &'static str),
}

/// The node. Dropping it ends it.
pub struct Node {
    url: Url,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    anvil: Url,
    http: reqwest::Client,
    manner: Mutex<Manner>,
    calls: Mutex<BTreeMap<String, usize>>,
}

impl Node {
    pub async fn before(anvil: &Url) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let shared = Arc::new(Shared {
            anvil: anvil.clone(),
            http: Api::bare(),
            manner: Mutex::default(),
            calls: Mutex::default(),
        });
        let router = Router::new().route("/", post(answer)).with_state(shared.clone());
        let task = tokio::spawn(async { axum::serve(listener, router).await.expect("it serves") });
        Self { url, shared, task }
    }

    pub fn url(&self) -> Url {
        self.url.clone()
    }

    pub fn set(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// How often each method was called since the last time this was asked.
    pub fn take_calls(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut self.shared.calls.lock().unwrap())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, Json(call): Json<Value>) -> Json<Value> {
    let method = call["method"].as_str().unwrap_or_default().to_owned();
    let count = {
        let mut calls = shared.calls.lock().unwrap();
        // Asking for the head is told apart: it is done by time, not by block.
        let tag = call["params"][0].as_str().filter(|tag| *tag == "latest").unwrap_or_default();
        *calls.entry(format!("{method} {tag}").trim_end().to_owned()).or_default() += 1;
        calls.values().sum::<usize>()
    };
    let manner = *shared.manner.lock().unwrap();
    if let Some(answer) = shared.instead(manner, &method, &call, count).await {
        return Json(answer);
    }
    let mut answer = shared.ask(&call).await;
    distort(manner, &method, &call, &mut answer);
    Json(answer)
}

impl Shared {
    async fn ask(&self, call: &Value) -> Value {
        let answer = self.http.post(self.anvil.clone()).json(call).send().await;
        answer.expect("anvil answers").json().await.expect("anvil answers JSON")
    }

    async fn block(&self, block: &Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber",
            "params": [block, false] });
        self.ask(&call).await["result"].clone()
    }

    /// What is answered without asking anvil the same.
    async fn instead(
        &self,
        manner: Manner,
        method: &str,
        call: &Value,
        count: usize,
    ) -> Option<Value> {
        let id = &call["id"];
        let refuse = |code: i64, message: &str| {
            let error = json!({ "code": code, "message": message });
            Some(json!({ "jsonrpc": "2.0", "id": id, "error": error }))
        };
        let give = |result: Value| Some(json!({ "jsonrpc": "2.0", "id": id, "result": result }));
        match manner {
            Manner::LimitsRate if count.is_multiple_of(4) => refuse(-32005, "rate limited"),
            Manner::HidesLogs if method == "eth_getLogs" => refuse(-32001, "Resource not found"),
            Manner::HidesReceipts if method == "eth_getTransactionReceipt" => give(Value::Null),
            Manner::Refuses(one, code, message) if method == one => refuse(code, message),
            Manner::LagsBehind(blocks) => {
                let head = number(&self.block(&json!("latest")).await["number"]);
                let head = head.saturating_sub(blocks);
                match (method, &call["params"][0]) {
                    ("eth_blockNumber", _) => give(json!(format!("{head:#x}"))),
                    ("eth_getBlockByNumber", tag) if tag == "latest" => {
                        give(self.block(&json!(format!("{head:#x}"))).await)
                    }
                    ("eth_getBlockByNumber", wanted) if number(wanted) > head => give(Value::Null),
                    ("eth_getLogs", filter) if !filter["blockHash"].is_null() => {
                        let known = self.knows(&filter["blockHash"], head).await;
                        if known { None } else { refuse(-32001, "Resource not found") }
                    }
                    ("eth_call", _) => {
                        let known = self.knows(&call["params"][1]["blockHash"], head).await;
                        if known { None } else { refuse(-32001, "Resource not found") }
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whether a block is at or below the head that the node admits to.
    async fn knows(&self, hash: &Value, head: u64) -> bool {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByHash",
            "params": [hash, false] });
        let block = self.ask(&call).await["result"].clone();
        !block.is_null() && number(&block["number"]) <= head
    }
}

/// Changes what anvil answered.
fn distort(manner: Manner, method: &str, call: &Value, answer: &mut Value) {
    match (manner, method) {
        (Manner::SaysYes | Manner::SaysNo, "eth_call") => {
            let Some(words) = answer["result"].as_str().map(|hex| (hex.len() - 2) / 64) else {
                return;
            };
            let one = u8::from(manner == Manner::SaysYes);
            // A batched answer has a head before each word.
            let result = match words {
                1 => format!("{one:0>64}"),
                _ => format!("8{:0>63}{one:0>64}", "20").repeat(words / 2),
            };
            answer["result"] = json!(format!("0x{result}"));
        }
        (Manner::EmptiesStorage, "eth_getStorageAt") => {
            answer["result"] = json!(format!("0x{:0>64}", 0));
        }
        (Manner::ForgetsItsHead, "eth_getBlockByNumber") if call["params"][0] != "latest" => {
            answer["result"] = Value::Null;
        }
        (Manner::LimitsLogs(most), "eth_getLogs")
            if answer["result"].as_array().is_some_and(|logs| logs.len() > most) =>
        {
            let message = format!("query returned more than {most} results");
            answer.as_object_mut().unwrap().remove("result");
            answer["error"] = json!({ "code": -32005, "message": message });
        }
        (Manner::CutsLogs(most), "eth_getLogs") => {
            if let Some(logs) = answer["result"].as_array_mut() {
                logs.truncate(most);
            }
        }
        _ => {}
    }
}

fn number(hex: &Value) -> u64 {
    let hex = hex.as_str().unwrap_or_default();
    u64::from_str_radix(hex.trim_start_matches("0x"), 16).unwrap_or_default()
}
