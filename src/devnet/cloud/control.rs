//! The switches: everything the real backend does, may do, or once did to somebody.

use axum::{
    Json,
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::{
    Cloud,
    answers::{Answer, Refusal, ok},
    documents::{DocumentForm, Serving},
};
use crate::request::ids::{ComposeHash, DeviceId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    Commit,
    Prepare,
    /// The list of an app's instances.
    Instances,
    Cvm,
    /// The list of what was ordered for a CVM.
    Operations,
}

/// A failure ordered in advance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFailure {
    pub endpoint: Endpoint,
    pub status: u16,
    #[serde(default)]
    pub code: Option<String>,
    /// Seconds, or a text that is sent as it is.
    #[serde(default)]
    pub retry_after: Option<Value>,
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

/// A node whose device id changes, as after a firmware update.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MovedDevice {
    pub id: u64,
    pub device_id: DeviceId,
}

/// An instance of the app that somebody else makes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stranger {
    pub node: u64,
    /// What it runs; what the source runs, unless given.
    #[serde(default)]
    pub compose_hash: Option<ComposeHash>,
}

/// A change of switches; what is left out stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SwitchChange {
    pub supersede_per_source: Option<bool>,
    pub nest_details: Option<bool>,
    pub prefix_hashes: Option<bool>,
    #[serde(deserialize_with = "given")]
    pub capacity: Option<Option<u64>>,
    pub advance_seconds: Option<i64>,
    pub fail_next: Option<Vec<PlannedFailure>>,
    pub swallow_next_commit: Option<u32>,
    #[serde(deserialize_with = "given")]
    pub boot_error: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    pub boot_compose_hash: Option<Option<ComposeHash>>,
    #[serde(deserialize_with = "given")]
    pub boot_device_id: Option<Option<DeviceId>>,
    pub node_device: Option<MovedDevice>,
    pub created_on_prepare: Option<bool>,
    pub hide_replicas: Option<bool>,
    pub verification_lag: Option<u32>,
    /// Made at once.
    pub add_instance: Option<Stranger>,
    pub add_with_commit: Option<Vec<Stranger>>,
    pub token_days: Option<u32>,
    pub tell_expiry: Option<bool>,
    pub cloud_kms: Option<bool>,
    pub hide_operations: Option<bool>,
    #[serde(deserialize_with = "given")]
    pub update_error: Option<Option<String>>,
    pub compose_form: Option<DocumentForm>,
    pub compose_serving: Option<Serving>,
}

/// Tells `null` from nothing.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// How the switches stand.
#[derive(Debug, Clone, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "a panel of switches that are independent")]
pub(super) struct Switches {
    /// A newer prepare voids the older tokens of the same source.
    pub supersede_per_source: bool,
    /// The 465 envelope stands once more under `detail`.
    pub nest_details: bool,
    /// Hashes in a 465 have `0x` in front.
    pub prefix_hashes: bool,
    /// Replicas there is still room for; none means no end.
    pub capacity: Option<u64>,
    pub fail_next: Vec<PlannedFailure>,
    /// Commits that take effect and are never answered.
    pub swallow_next_commit: u32,
    /// What new instances fail with.
    pub boot_error: Option<String>,
    /// What new instances boot with, instead of what was approved.
    pub boot_compose_hash: Option<ComposeHash>,
    pub boot_device_id: Option<DeviceId>,
    /// A prepare creates the replica at once, as for a source that no chain governs.
    pub created_on_prepare: bool,
    /// The list of instances leaves out every replica, as one does that lags.
    pub hide_replicas: bool,
    /// Commits with a transaction that are told it cannot be verified yet.
    pub verification_lag: u32,
    /// Instances that somebody else makes while the next commit is under way, whatever becomes of
    /// that.
    pub add_with_commit: Vec<Stranger>,
    /// How long tokens live that are given out from now on.
    pub token_days: u32,
    /// A 465 says when its token dies.
    pub tell_expiry: bool,
    /// Phala Cloud itself keeps the keys, and no chain is asked: whatever is prepared is done at
    /// once.
    pub cloud_kms: bool,
    /// The list of operations is empty, as one that lags.
    pub hide_operations: bool,
    /// What the operations of updates fail with; their CVMs run what they ran before.
    pub update_error: Option<String>,
    /// How documents are written that the server makes from now on.
    pub compose_form: DocumentForm,
    pub compose_serving: Serving,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            supersede_per_source: true,
            nest_details: false,
            prefix_hashes: false,
            capacity: None,
            fail_next: Vec::new(),
            swallow_next_commit: 0,
            boot_error: None,
            boot_compose_hash: None,
            boot_device_id: None,
            created_on_prepare: false,
            hide_replicas: false,
            verification_lag: 0,
            add_with_commit: Vec::new(),
            token_days: 14,
            tell_expiry: false,
            cloud_kms: false,
            hide_operations: false,
            update_error: None,
            compose_form: DocumentForm::default(),
            compose_serving: Serving::default(),
        }
    }
}

impl Switches {
    pub fn apply(&mut self, change: SwitchChange) {
        fn set<T>(slot: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *slot = value;
            }
        }
        set(&mut self.supersede_per_source, change.supersede_per_source);
        set(&mut self.nest_details, change.nest_details);
        set(&mut self.prefix_hashes, change.prefix_hashes);
        set(&mut self.capacity, change.capacity);
        set(&mut self.fail_next, change.fail_next);
        set(&mut self.swallow_next_commit, change.swallow_next_commit);
        set(&mut self.boot_error, change.boot_error);
        set(&mut self.boot_compose_hash, change.boot_compose_hash);
        set(&mut self.boot_device_id, change.boot_device_id);
        set(&mut self.created_on_prepare, change.created_on_prepare);
        set(&mut self.hide_replicas, change.hide_replicas);
        set(&mut self.verification_lag, change.verification_lag);
        set(&mut self.add_with_commit, change.add_with_commit);
        set(&mut self.token_days, change.token_days);
        set(&mut self.tell_expiry, change.tell_expiry);
        set(&mut self.cloud_kms, change.cloud_kms);
        set(&mut self.hide_operations, change.hide_operations);
        set(&mut self.update_error, change.update_error);
        set(&mut self.compose_form, change.compose_form);
        set(&mut self.compose_serving, change.compose_serving);
    }
}

pub(super) async fn show(State(cloud): State<Cloud>) -> Answer {
    ok(record(&cloud))
}

pub(super) async fn change(State(cloud): State<Cloud>, request: Request) -> Response {
    match Json::<SwitchChange>::from_request(request, &()).await {
        Ok(Json(change)) => {
            cloud.world().apply(change);
            Json(record(&cloud)).into_response()
        }
        Err(error) => Refusal::plain(422, &error.body_text()).into_response(),
    }
}

/// The switches and all that happened, without the tokens themselves.
fn record(cloud: &Cloud) -> Value {
    let world = cloud.world();
    json!({
        "switches": world.switches, "now": world.now(), "tokens_issued": world.tokens.len(),
        "instances": world.cvms, "commits": world.commits, "operations": world.operations,
    })
}
