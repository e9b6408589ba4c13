//! One endpoint of a chain on paper: what it shows of the chain, and how it fails.

use std::{
    future::ready,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use alloy::{
    primitives::U64,
    rpc::{
        client::RpcClient,
        json_rpc::{RequestPacket, ResponsePacket, SerializedRequest},
    },
    transports::{TransportError, TransportErrorKind, TransportFut},
};
use serde_json::{Value, json};

use super::{
    Block, PaperChain, Shared, lock,
    rpc::{Node, Refusal},
};

/// How an endpoint fails, as providers were seen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It shows the chain as it was some blocks ago.
    Lags(usize),
    /// The same, for one call only: another machine behind the same name.
    GoesBackOnce(usize),
    /// After some calls it answers some from before the last reorganisation: a machine behind the
    /// same name has not heard of it.
    Stale { after: usize, calls: usize },
    /// It announces its newest block and does not have it.
    LacksItsHead,
    /// It answers for logs with those of the block below.
    LogsOfTheBlockBelow,
    /// It answers for logs from another fork.
    LogsOfAFork(usize),
    /// It leaves out all logs but the first few, and does not say so.
    CutsLogs(usize),
    /// It keeps state for so many blocks only, and says of older ones that there was no contract.
    ForgetsState(usize),
    /// It refuses more logs than that.
    RefusesManyLogs(usize),
    /// It takes no calls without an addressee.
    RefusesBareCalls,
    /// It refuses calls for their rate: by JSON-RPC.
    LimitsRate,
    /// By HTTP.
    TooManyRequests,
    /// Every call takes too long.
    Silent,
    /// It answers with what nobody asked for.
    Garbage,
    /// It follows a fork from some blocks ago.
    Forked(usize),
    /// It is on another chain.
    WrongChain,
}

impl Fault {
    /// Whether it keeps something back in a way that nobody finds out who asks it alone.
    pub fn lies(self) -> bool {
        matches!(
            self,
            Self::LogsOfTheBlockBelow
                | Self::LogsOfAFork(_)
                | Self::CutsLogs(_)
                | Self::ForgetsState(_)
        )
    }
}

/// A call that an endpoint was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub params: Value,
}

/// Changes the text of an answer before it is given.
pub type Tamper = Box<dyn FnMut(&Asked, Value) -> String + Send>;

/// An endpoint. Clones are the same one.
#[derive(Clone)]
pub struct Endpoint {
    chain: Shared,
    id: u64,
    /// Which fork it follows when it follows one.
    salt: u64,
    fault: Arc<Mutex<Option<Fault>>>,
    tamper: Arc<Mutex<Option<Tamper>>>,
}

/// What an endpoint answers to one call.
enum Told {
    Result(Result<Value, Refusal>),
    Broken(TransportError),
}

impl Endpoint {
    /// An honest endpoint of a chain with this id. Endpoints with different numbers never follow
    /// the same fork.
    pub fn of(chain: &Shared, id: u64, number: u64) -> Self {
        let chain = Arc::clone(chain);
        Self { chain, id, salt: number, fault: Arc::default(), tamper: Arc::default() }
    }

    pub fn set(&self, fault: Option<Fault>) {
        *lock(&self.fault) = fault;
    }

    pub fn tamper(&self, tamper: Option<Tamper>) {
        *lock(&self.tamper) = tamper;
    }

    pub fn client(&self) -> RpcClient {
        RpcClient::new(self.clone(), true)
    }

    fn answer(&self, request: &SerializedRequest) -> Result<Value, TransportError> {
        let params = request.params().and_then(|params| serde_json::from_str(params.get()).ok());
        let asked =
            Asked { method: request.method().to_owned(), params: params.unwrap_or_default() };
        let mut chain = lock(&self.chain);
        chain.called();
        let told = match self.told(&chain, &asked) {
            Told::Broken(error) => return Err(error),
            Told::Result(told) => told,
        };
        let mut body = json!({ "jsonrpc": "2.0", "id": request.id() });
        match told {
            Ok(result) => body["result"] = result,
            Err(refusal) => {
                body["error"] = json!({ "code": refusal.code, "message": refusal.message });
                if let Some(data) = refusal.data {
                    body["error"]["data"] = json!(data);
                }
            }
        }
        drop(chain);
        let Some(tamper) = &mut *lock(&self.tamper) else { return Ok(body) };
        let text = tamper(&asked, body);
        serde_json::from_str(&text).map_err(|error| TransportError::deser_err(error, text))
    }

    fn told(&self, chain: &PaperChain, asked: &Asked) -> Told {
        let mut fault = lock(&self.fault);
        let is_logs = asked.method == "eth_getLogs";
        let honest = |blocks: &[Arc<Block>]| {
            Told::Result(Node(blocks).answer(self.id, &asked.method, &asked.params))
        };
        let forked = |depth| honest(&chain.fork(depth, self.salt));
        let all = chain.blocks();
        let without = |blocks: usize| &all[..all.len().saturating_sub(blocks).max(1)];
        match *fault {
            None => honest(all),
            Some(Fault::Lags(blocks)) => honest(without(blocks)),
            Some(Fault::GoesBackOnce(blocks)) => {
                *fault = None;
                honest(without(blocks))
            }
            Some(Fault::Stale { after: after @ 1.., calls }) => {
                *fault = Some(Fault::Stale { after: after - 1, calls });
                honest(all)
            }
            Some(Fault::Stale { after, calls: calls @ 1.. }) => {
                *fault = Some(Fault::Stale { after, calls: calls - 1 });
                honest(&chain.before)
            }
            Some(Fault::LacksItsHead) => {
                let is_by_role = asked.params[0].as_str() == Some("latest");
                honest(if is_by_role { all } else { without(1) })
            }
            Some(Fault::LogsOfTheBlockBelow) if is_logs => Told::Result(logs_below(all, asked)),
            Some(Fault::LogsOfAFork(depth)) if is_logs => forked(depth),
            Some(Fault::ForgetsState(blocks)) if asked.method == "eth_getCode" => {
                let number = |block: &Arc<Block>| json!(U64::from(block.number));
                let mut kept = all.iter().rev().take(blocks).map(number);
                if kept.any(|number| number == asked.params[1]) {
                    honest(all)
                } else {
                    Told::Result(Ok(json!("0x")))
                }
            }
            Some(Fault::CutsLogs(most)) if is_logs => match honest(all) {
                Told::Result(Ok(Value::Array(mut logs))) => {
                    logs.truncate(most);
                    Told::Result(Ok(Value::Array(logs)))
                }
                told => told,
            },
            Some(Fault::RefusesManyLogs(most)) if is_logs => match honest(all) {
                Told::Result(Ok(Value::Array(logs))) if logs.len() > most => refusal(
                    -32602,
                    "query returned more than 10000 results. Try with a smaller block range",
                ),
                told => told,
            },
            Some(Fault::RefusesBareCalls)
                if asked.method == "eth_call" && asked.params[0]["to"].is_null() =>
            {
                refusal(-32602, "missing field `to`")
            }
            Some(Fault::LimitsRate) => refusal(-32005, "limit exceeded"),
            Some(Fault::TooManyRequests) => {
                Told::Broken(TransportErrorKind::http_error(429, "Too Many Requests".into()))
            }
            Some(Fault::Silent) => {
                Told::Broken(TransportErrorKind::custom_str("operation timed out"))
            }
            Some(Fault::Garbage) => Told::Result(Ok(json!({ "ok": ["0xzz", -1, { "": null }] }))),
            Some(Fault::Forked(depth)) => forked(depth),
            Some(Fault::WrongChain) => {
                let blocks = chain.fork(usize::MAX, self.salt);
                Told::Result(Node(&blocks).answer(self.id + 1, &asked.method, &asked.params))
            }
            _ => honest(all),
        }
    }
}

fn refusal(code: i64, message: &'static str) -> Told {
    Told::Result(Err(Refusal::new(code, message)))
}

/// The logs of other blocks than those asked for, in answer to the same filter.
fn logs_below(all: &[Arc<Block>], asked: &Asked) -> Result<Value, Refusal> {
    let mut params = asked.params.clone();
    let filter = &mut params[0];
    if let Some(hash) = filter.get("blockHash").cloned() {
        let block = all.iter().find(|block| json!(block.hash) == hash);
        filter["blockHash"] = json!(block.map(|block| block.parent));
    } else {
        for bound in ["fromBlock", "toBlock"] {
            let number: Option<U64> = serde_json::from_value(filter[bound].clone()).ok();
            if let Some(number) = number {
                filter[bound] = json!(number.saturating_sub(U64::ONE));
            }
        }
    }
    Node(all).answer(0, &asked.method, &params)
}

impl tower::Service<RequestPacket> for Endpoint {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let body = match &packet {
            RequestPacket::Single(request) => self.answer(request),
            RequestPacket::Batch(requests) => {
                requests.iter().map(|request| self.answer(request)).collect()
            }
        };
        Box::pin(ready(body.and_then(|body| {
            // As it would come over the wire.
            let text = body.to_string();
            serde_json::from_str(&text).map_err(|error| TransportError::deser_err(error, text))
        })))
    }
}
