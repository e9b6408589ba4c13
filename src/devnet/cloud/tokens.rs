//! Commit tokens: giving them out, and whether one is still good.

use chrono::TimeDelta;
use uuid::Uuid;

use super::{answers::Refusal, instance::Text, state::World};
use crate::{
    clock::Time,
    request::{
        ids::{AppId, ComposeHash, DeviceId},
        kind::Kind,
    },
};

/// A commit token that was given out.
#[derive(Debug, Clone)]
pub struct IssuedToken {
    pub kind: Kind,
    pub token: String,
    pub app: AppId,
    pub source: Uuid,
    pub node: u64,
    pub device_id: DeviceId,
    pub compose_hash: ComposeHash,
    pub issued_at: Time,
    pub expires_at: Time,
    pub used: bool,
    pub superseded: bool,
    pub(super) document: Text,
    pub(super) encrypted_env: Option<String>,
}

/// What is prepared.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub kind: Kind,
    pub app: AppId,
    /// The CVM that a replica is made of, or that is updated.
    pub source: Uuid,
    pub node: u64,
    pub device_id: DeviceId,
    pub compose_hash: ComposeHash,
    pub document: Text,
    pub encrypted_env: Option<String>,
}

impl World {
    pub fn issue(&mut self, plan: Plan) -> usize {
        if self.switches.supersede_per_source {
            for earlier in self.tokens.iter_mut().filter(|token| token.source == plan.source) {
                earlier.superseded = true;
            }
        }
        let Plan { kind, app, source, node, device_id, compose_hash, document, encrypted_env } =
            plan;
        let token = IssuedToken {
            kind,
            token: self.mint_uuid().to_string(),
            app,
            source,
            node,
            device_id,
            compose_hash,
            issued_at: self.now(),
            expires_at: self.now() + TimeDelta::days(self.switches.token_days.into()),
            used: false,
            superseded: false,
            document,
            encrypted_env,
        };
        self.tokens.push(token);
        self.tokens.len() - 1
    }

    /// The token, if it is still good for this source and hash.
    pub fn live_token(
        &self,
        kind: Kind,
        text: &str,
        source: Uuid,
        hash: &str,
    ) -> Result<usize, Refusal> {
        let at = self.tokens.iter().position(|token| token.token == text);
        let at = at.ok_or_else(|| dead("Commit token not found"))?;
        let token = &self.tokens[at];
        self.is_live(token)?;
        if token.source != source {
            Err(dead("Commit token belongs to another CVM"))
        } else if token.kind != kind {
            Err(dead("Commit token belongs to another kind of operation"))
        } else if !hash.is_empty() && hash.parse() != Ok(token.compose_hash) {
            Err(dead("Compose hash does not match the prepared one"))
        } else {
            Ok(at)
        }
    }

    pub fn is_live(&self, token: &IssuedToken) -> Result<(), Refusal> {
        if token.expires_at <= self.now() {
            Err(dead("Commit token expired"))
        } else if token.used {
            Err(dead("Commit token already used"))
        } else if token.superseded {
            Err(dead("Commit token superseded by a newer prepare for the same CVM"))
        } else {
            Ok(())
        }
    }

    /// The token of the newest prepare of an update to this hash, for a second phase that names no
    /// token.
    pub fn prepared_update(&self, cvm: Uuid, hash: ComposeHash) -> Result<usize, Refusal> {
        let is_it = |token: &IssuedToken| {
            token.kind == Kind::Update && token.source == cvm && token.compose_hash == hash
        };
        let at = self.tokens.iter().rposition(|token| is_it(token) && self.is_live(token).is_ok());
        at.ok_or_else(|| dead("Compose hash not prepared, or expired"))
    }
}

fn dead(why: &str) -> Refusal {
    Refusal::coded(466, "ERR-01-006", why)
}
