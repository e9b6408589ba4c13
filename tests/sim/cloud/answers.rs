//! What an honest server answers, in the shapes of the real one.

use alloy::{hex, primitives::B256};
use chrono::TimeDelta;
use countersign::{clock::Time, wire::WireAnswer};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::{
    Boot, Cloud, Dead, Made,
    wire::{Call, Want},
};

pub const CHAIN: u64 = 8453;

pub fn answer(status: u16, body: &Value) -> WireAnswer {
    WireAnswer { status, headers: HeaderMap::new(), body: body.to_string().into_bytes() }
}

pub fn refusal(status: u16, code: Option<&str>, message: &str) -> WireAnswer {
    match code {
        Some(code) => answer(status, &json!({ "error_code": code, "message": message })),
        None => answer(status, &json!({ "detail": message })),
    }
}

impl Cloud {
    /// Does what a call wants, and answers.
    pub fn serve(&mut self, call: &Call, now: Time) -> WireAnswer {
        match &call.want {
            Want::Cvm(id) => self.cvm(id, now),
            Want::Boot(id) => self.boot(id, now),
            Want::List(app) => {
                self.lists.push(now);
                self.list(app, now)
            }
            Want::Prepare { source, node, compose } => self.prepared(source, *node, *compose, now),
            Want::Commit { token, compose, .. } => self.committed(token, *compose, now),
            Want::Other => refusal(404, None, "Not Found"),
        }
    }

    fn committed(&mut self, token: &str, compose: Option<B256>, now: Time) -> WireAnswer {
        match self.commit(self.token(token), compose, now) {
            Ok(made) => answer(200, &self.vm(&self.made[made])),
            Err(Dead::Token) => refusal(466, Some("ERR-01-006"), "Hash is invalid or expired"),
            Err(Dead::NoRoom) => refusal(400, Some("ERR-02-005"), "No slot is free"),
        }
    }

    fn prepared(
        &mut self,
        source: &str,
        node: Option<u64>,
        compose: Option<B256>,
        now: Time,
    ) -> WireAnswer {
        let Some((source, (node, compose))) = self.source(source).zip(node.zip(compose)) else {
            return refusal(404, Some("ERR-03-001"), "CVM not found");
        };
        let app = self.sources[source].app;
        let Some(token) = self.prepare(source, node, compose, now) else {
            return refusal(400, Some("ERR-01-001"), "Node not found");
        };
        let token = &self.tokens[token];
        let field =
            |name: &str, value: Value| json!({ "field": name, "value": value, "message": null });
        answer(
            465,
            &json!({
                "error_code": "ERR-01-005",
                "message": "Compose hash registration required on-chain",
                "details": [
                    field("compose_hash", json!(token.compose)),
                    field("app_id", json!(hex::encode(app))),
                    field("device_id", json!(hex::encode(token.device))),
                    field("commit_token", json!(token.text)),
                    field("kms_info", json!({ "chain_id": CHAIN })),
                ],
            }),
        )
    }

    fn vm(&self, made: &Made) -> Value {
        json!({
            "vm_uuid": made.id,
            "name": "replica",
            "status": "starting",
            "teepod_id": made.node,
            "app_id": hex::encode(made.app),
            "created_at": self.dated(made).to_rfc3339(),
        })
    }

    /// When it was made, by the cloud's own clock.
    fn dated(&self, made: &Made) -> Time {
        made.at + TimeDelta::seconds(self.switches.skew)
    }

    fn list(&self, app: &str, now: Time) -> WireAnswer {
        let is_listed = |made: &&Made| hex::encode(made.app) == app && made.listed_at <= now;
        let listed = self.made.iter().filter(is_listed).map(|made| {
            let mut one = json!({
                "vm_uuid": made.id,
                "name": "replica",
                "status": if made.up_at <= now { "running" } else { "starting" },
                "node_info": { "id": made.node, "name": format!("node{}", made.node) },
            });
            if self.switches.shows_compose {
                one["compose_hash"] = json!(made.compose);
            }
            if self.switches.shows_device {
                one["node_info"]["device_id"] = json!(made.device);
            }
            if self.switches.shows_created {
                one["created_at"] = json!(self.dated(made).to_rfc3339());
            }
            one
        });
        answer(200, &Value::Array(listed.collect()))
    }

    fn cvm(&self, id: &str, now: Time) -> WireAnswer {
        if let Some(source) = self.source(id) {
            let source = &self.sources[source];
            return answer(
                200,
                &json!({
                    "vm_uuid": source.id,
                    "app_id": hex::encode(source.app),
                    "name": "source",
                    "status": "running",
                    "kms_info": { "chain_id": CHAIN },
                }),
            );
        }
        let Some(made) = self.instance(id) else {
            return refusal(404, Some("ERR-03-001"), "CVM not found");
        };
        let (compose, device) = runs(made);
        answer(
            200,
            &json!({
                "vm_uuid": made.id,
                "app_id": hex::encode(made.app),
                "name": "replica",
                "status": status(made, now),
                "kms_info": { "chain_id": CHAIN },
                "compose_hash": compose,
                "node_info": { "id": made.node, "name": "node", "device_id": device },
            }),
        )
    }

    fn boot(&self, id: &str, now: Time) -> WireAnswer {
        let Some(made) = self.instance(id) else { return answer(200, &json!({})) };
        let error = (status(made, now) == "error").then_some("the boot failed");
        let entry = json!({ "status": status(made, now), "boot_error": error });
        answer(200, &json!({ made.id.clone(): entry }))
    }
}

/// What really runs there.
pub fn runs(made: &Made) -> (B256, B256) {
    match made.boot {
        Boot::OtherCompose => (B256::repeat_byte(0xee), made.device),
        Boot::OtherDevice => (made.compose, B256::repeat_byte(0xdd)),
        Boot::Fine | Boot::Troubled(_) => (made.compose, made.device),
    }
}

fn status(made: &Made, now: Time) -> &'static str {
    match made.boot {
        _ if now < made.up_at => "starting",
        Boot::Troubled(seconds) if now < made.up_at + TimeDelta::seconds(seconds) => "error",
        _ => "running",
    }
}
