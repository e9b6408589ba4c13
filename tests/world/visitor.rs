//! Somebody at a browser who has a wallet: signs in, and keeps the cookie.

use alloy::signers::SignerSync;
use countersign::devnet::Wallet;
use reqwest::{Method, header};
use serde_json::{Value, json};

use super::{Answer, Api};

/// Somebody on a page of the service.
#[derive(Clone)]
pub struct Visitor {
    /// Without a token.
    pub api: Api,
    /// What stands in `Cookie`; nothing before the sign-in.
    pub cookie: String,
    /// What the page that it shows is served from.
    pub origin: String,
}

/// How a wallet signs a text.
pub fn signed(wallet: &Wallet, text: &str) -> [u8; 65] {
    let signature = wallet.signer().sign_message_sync(text.as_bytes());
    signature.expect("a local key signs any text").as_bytes()
}

impl Visitor {
    pub fn new(api: &Api) -> Self {
        Self { api: api.with_token(""), cookie: String::new(), origin: api.base().to_owned() }
    }

    /// Signs in, and is somebody from then on.
    pub async fn signed_in(api: &Api, wallet: &Wallet) -> Self {
        let mut visitor = Self::new(api);
        let answer = visitor.sign_in(wallet).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        visitor
    }

    pub async fn sign_in(&mut self, wallet: &Wallet) -> Answer {
        let message = self.challenge(wallet).await;
        self.hand_in(&message, &signed(wallet, &message)).await
    }

    /// The message that the service has a wallet sign.
    pub async fn challenge(&self, wallet: &Wallet) -> String {
        let answer = self.ask_challenge(&wallet.address().to_string(), 8453).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.body["message"].as_str().unwrap().to_owned()
    }

    pub async fn ask_challenge(&self, address: &str, chain: u64) -> Answer {
        let body = json!({ "address": address, "chain_id": chain });
        self.post("/v1/session/challenge", &body).await
    }

    pub async fn hand_in(&mut self, message: &str, signature: &[u8]) -> Answer {
        let signature = alloy::hex::encode_prefixed(signature);
        let body = json!({ "message": message, "signature": signature });
        let answer = self.post("/v1/session", &body).await;
        if let Some(set) = answer.headers.get(header::SET_COOKIE) {
            set.to_str().unwrap().split(';').next().unwrap().clone_into(&mut self.cookie);
        }
        answer
    }

    /// A call as a page makes it.
    pub fn call(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let call = Api::bare().request(method, format!("{}{path}", self.api.base()));
        let call = call.header(header::ORIGIN, &self.origin);
        if self.cookie.is_empty() { call } else { call.header(header::COOKIE, &self.cookie) }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.api.send(self.call(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.api.send(self.call(Method::POST, path).json(body)).await
    }

    pub async fn sign_out(&self) -> Answer {
        self.api.send(self.call(Method::DELETE, "/v1/session")).await
    }

    /// Sends what somebody else has put together.
    pub async fn send(&self, call: reqwest::RequestBuilder) -> Answer {
        self.api.send(call).await
    }

    /// As what the journal knows whoever sits there.
    pub async fn actor(&self) -> Option<String> {
        let answer = self.get("/v1/session").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.body["actor"].as_str().map(str::to_owned)
    }
}
