//! The service's API, as a client sees it.

use countersign::{access::OpenToken, flow::Service};
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
    pub body: Value,
    pub text: String,
}

/// Makes an API token that may read and write.
pub async fn write_token(service: &Service) -> String {
    let token = OpenToken::generate().expect("the system has random numbers");
    let scopes = ["read".to_owned(), "write".to_owned()];
    let now = service.clock.now();
    service.store.insert_token("story", &token.hash(), &scopes, now).await.expect("it is stored");
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

    /// The same service, reached with another token, or with none.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.into(), ..self.clone() }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let request =
            if self.token.is_empty() { request } else { request.bearer_auth(&self.token) };
        let answer = request.send().await.expect("the service answers");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("the answer is text");
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, body, text }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(format!("{}{path}", self.base))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.http.post(format!("{}{path}", self.base)).json(body)).await
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
        eventually(&format!("status {status}"), async || {
            let request = self.request(id).await;
            let now = request["status"].as_str().unwrap_or_default().to_owned();
            let ended = ["running", "rejected", "withdrawn", "expired", "failed"];
            assert!(
                now == status || !ended.contains(&now.as_str()),
                "ended {now} instead of {status}: {request:#}"
            );
            (now == status).then_some(request)
        })
        .await
    }

    /// Which events the timeline of a request tells, in order.
    pub async fn told(&self, id: &str) -> Vec<String> {
        let request = self.request(id).await;
        let timeline = request["timeline"].as_array().cloned().unwrap_or_default();
        timeline.iter().map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
    }
}
