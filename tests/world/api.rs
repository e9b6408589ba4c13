//! The service's API, as a client sees it.

use std::{cell::RefCell, fmt};

use countersign::{access::OpenToken, clock::Time, store::Store};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::eventually;

/// A client with a token that may do everything.
#[derive(Clone)]
pub struct Api {
    base: String,
    token: String,
    http: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

/// Makes an API token, as `countersign token create` does.
pub async fn make_token(store: &Store, scopes: &[&str], now: Time) -> String {
    let token = OpenToken::generate().expect("the system has random numbers");
    let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    store.insert_token("story", &token.hash(), &scopes, now).await.expect("it is stored");
    token.expose().to_owned()
}

impl Api {
    pub fn new(base: &str, token: &str) -> Self {
        Self { base: base.into(), token: token.into(), http: Self::bare() }
    }

    /// A client of anything else.
    pub fn bare() -> reqwest::Client {
        super::install_tls();
        reqwest::Client::builder().build().expect("a client is built")
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// The same service, reached with another token, or with none.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.into(), ..self.clone() }
    }

    /// Sends any request to the service, with the token if there is one.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.expect("the service answers")
    }

    async fn try_send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let request =
            if self.token.is_empty() { request } else { request.bearer_auth(&self.token) };
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, headers, body, text })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(format!("{}{path}", self.base))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.http.post(format!("{}{path}", self.base)).json(body)).await
    }

    /// Posts to a service that may be gone before it has answered.
    pub async fn try_post(&self, path: &str, body: &Value) -> Option<Answer> {
        self.try_send(self.http.post(format!("{}{path}", self.base)).json(body)).await.ok()
    }

    pub async fn post_text(&self, path: &str, body: &str) -> Answer {
        self.send(self.http.post(format!("{}{path}", self.base)).body(body.to_owned())).await
    }

    /// Submits a preparation and returns the id of its request.
    pub async fn submit(&self, body: &Value) -> String {
        let answer = self.post("/v1/requests", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.body["id"].as_str().unwrap().to_owned()
    }

    pub async fn request(&self, id: &str) -> Value {
        self.get(&format!("/v1/requests/{id}")).await.body
    }

    /// Waits until nobody looks for documents any more, since those calls go to Phala Cloud too.
    pub async fn documents_are_known(&self) {
        eventually("the documents of all requests", async || {
            let list = self.get("/v1/requests?limit=200").await.body;
            let requests = list["requests"].as_array().cloned().unwrap_or_default();
            let is_settled = |request: &Value| {
                let proof = &request["compose_proof"];
                proof["state"] == "proved" && proof["looked_at"].is_string()
            };
            requests.iter().all(is_settled).then_some(())
        })
        .await;
    }

    /// The proposal, as soon as there is one.
    pub async fn proposal(&self, id: &str) -> Value {
        let path = format!("/v1/requests/{id}/proposal");
        eventually("a proposal", async || {
            let answer = self.get(&path).await;
            (answer.status == 200).then_some(answer.body)
        })
        .await
    }

    pub async fn confirm(&self, id: &str, signature: &str) -> Answer {
        let body = json!({ "signature": signature });
        self.with_token("").post(&format!("/v1/requests/{id}/confirmations"), &body).await
    }

    /// Waits until a request has a status; another end fails at once.
    pub async fn wait_for(&self, id: &str, status: &str) -> Value {
        self.look(id, &format!("status {status}"), |request| {
            let now = request["status"].as_str().unwrap_or_default().to_owned();
            let ended = ["running", "rejected", "withdrawn", "expired", "failed"];
            assert!(
                now == status || !ended.contains(&now.as_str()),
                "ended {now} instead of {status}: {request:#}"
            );
            now == status
        })
        .await
    }

    /// Waits until a request looks as it should; one that never does is shown.
    pub async fn look(&self, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let last = RefCell::new(Value::Null);
        eventually(Last { what, last: &last }, async || {
            let request = self.request(id).await;
            last.replace(request.clone());
            is_so(&request).then_some(request)
        })
        .await
    }

    /// The timeline of a request, oldest entry first.
    pub async fn timeline(&self, id: &str) -> Vec<Value> {
        self.request(id).await["timeline"].as_array().cloned().unwrap_or_default()
    }

    /// Which events the timeline of a request tells, in order.
    pub async fn told(&self, id: &str) -> Vec<String> {
        let timeline = self.timeline(id).await;
        timeline.iter().map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until the timeline tells of an event, and returns its newest body.
    pub async fn last_told(&self, id: &str, kind: &str) -> Value {
        eventually(&format!("event {kind}"), async || {
            let mut timeline = self.timeline(id).await.into_iter();
            timeline.rfind(|entry| entry["kind"] == kind).map(|entry| entry["body"].clone())
        })
        .await
    }

    /// Waits until a request says why it waits, in words with this in them.
    pub async fn wait_for_reason(&self, id: &str, words: &str) -> Value {
        self.look(id, &format!("a reason with {words:?}"), |request| {
            request["reason"].as_str().unwrap_or_default().contains(words)
        })
        .await
    }

    /// Waits until a request rests until something outside happens, with this in its words.
    pub async fn wait_to_be_woken(&self, id: &str, by: &str) -> Value {
        self.look(id, &format!("a wait for {by:?}"), |request| {
            request["explanation"]["when"]["by"].as_str().unwrap_or_default().contains(by)
        })
        .await
    }
}

/// What is waited for, and what was found last instead.
struct Last<'a> {
    what: &'a str,
    last: &'a RefCell<Value>,
}

impl fmt::Display for Last<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, found {:#}", self.what, self.last.borrow())
    }
}
