//! An instance: what it runs, how its boot is going, and the update it may be in the middle of.

use std::sync::Arc;

use alloy::primitives::keccak256;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    clock::Time,
    request::ids::{AppId, ComposeHash, DeviceId},
};

/// A compose document in the bytes that are hashed.
pub(super) type Text = Arc<str>;

/// An instance.
#[derive(Debug, Clone, Serialize)]
pub struct EmulatedCvm {
    pub serial: u64,
    pub id: Uuid,
    pub app: AppId,
    pub name: String,
    pub node: u64,
    pub device_id: DeviceId,
    pub compose_hash: ComposeHash,
    pub created_at: Time,
    /// The instance it was replicated from; none for those that nobody had to ask for.
    pub source: Option<Uuid>,
    pub boot_error: Option<String>,
    #[serde(skip)]
    pub(super) document: Text,
    /// As it came: hexadecimal text that only the app can open.
    #[serde(skip)]
    pub(super) encrypted_env: String,
    pub(super) instance_id: String,
    /// Looks still needed until it is up.
    pub(super) polls_left: u32,
    pub(super) boot_polls: u32,
    pub(super) stopped: bool,
    /// What it will run once it has restarted.
    #[serde(skip)]
    pub(super) update: Option<Update>,
}

/// An update that is under way.
#[derive(Debug, Clone)]
pub(super) struct Update {
    pub document: Text,
    pub hash: ComposeHash,
    pub device_id: DeviceId,
    pub encrypted_env: Option<String>,
    /// The place of its operation.
    pub operation: usize,
    /// Looks until it is made, or has failed.
    pub polls_left: u32,
    pub fails_with: Option<String>,
}

impl EmulatedCvm {
    pub fn status(&self) -> &'static str {
        match (self.polls_left, &self.boot_error) {
            _ if self.stopped => "stopped",
            _ if self.update.is_some() => "starting",
            (0, None) => "running",
            (0, Some(_)) => "error",
            (left, _) if left == self.boot_polls => "provisioning",
            _ => "starting",
        }
    }

    pub fn in_progress(&self) -> bool {
        self.polls_left > 0 || self.update.is_some()
    }

    /// The error, once the boot has come to it.
    pub fn failure(&self) -> Option<&str> {
        if self.in_progress() { None } else { self.boot_error.as_deref() }
    }

    pub fn hashed_id(&self) -> String {
        format!("cvm_{:08x}", self.serial)
    }

    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// What it was last given as its environment.
    pub fn encrypted_env(&self) -> &str {
        &self.encrypted_env
    }

    /// The compose document that it runs.
    pub fn compose_document(&self) -> &str {
        &self.document
    }

    /// A look at it moves its boot on.
    pub(super) fn look(&mut self) -> (Self, Option<Update>) {
        let seen = self.clone();
        if let Some(update) = &mut self.update {
            update.polls_left = update.polls_left.saturating_sub(1);
            let is_over = update.polls_left == 0;
            return (seen, if is_over { self.update.take() } else { None });
        }
        self.polls_left = self.polls_left.saturating_sub(1);
        (seen, None)
    }
}

/// Made once for each instance: lists name it often.
pub(super) fn instance_id(id: Uuid) -> String {
    alloy::hex::encode(&keccak256(id.as_bytes())[..20])
}
