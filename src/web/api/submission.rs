//! What a submission may consist of, for the OpenAPI document.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    clock::Time,
    request::{
        ids::{AppId, ChainId, ComposeHash, DeviceId, NodeId, SourceCvm},
        kind::Kind,
    },
};

/// A preparation to submit: our own fields, or `prepare_response` with Phala's 465 answer or what
/// the `phala` CLI printed, beside the fields that it does not carry.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the body; it is read field by field to name what is wrong")]
pub struct NewRequest {
    /// Unless given, what `prepare_response` was prepared for as far as its links or words tell, else
    /// `replica`.
    kind: Option<Kind>,
    chain_id: Option<ChainId>,
    app: Option<AppId>,
    /// The CVM that the replica is made from, or that is updated; `app_` and the app's digits for an
    /// instance that is made from none.
    source_cvm: Option<SourceCvm>,
    /// Not for an update.
    node_id: Option<NodeId>,
    compose_hash: Option<ComposeHash>,
    device_id: Option<DeviceId>,
    /// Which one it is, from 1, of several replicas that are wanted of the same content at the same
    /// time: each is a request of its own. The same number again is the same request while that has
    /// no replica.
    copy: Option<u32>,
    #[schema(value_type = Option<String>, write_only)]
    commit_token: Option<String>,
    /// When the replica was prepared; now, unless given. The token lives 14 days from then.
    #[schema(value_type = Option<String>, format = DateTime)]
    prepared_at: Option<Time>,
    /// Whether it was prepared just now, by whoever submits it. Otherwise a token that comes without
    /// `prepared_at` may be as old as a token can be, and have been used since.
    just_prepared: Option<bool>,
    /// When the token dies, if Phala Cloud said so.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Time>,
    note: Option<String>,
    #[schema(value_type = Option<Object>)]
    prepare_response: Option<Value>,
    /// What was sent to Phala Cloud to prepare it, up to 240 KiB: kept sealed, and sent again when a
    /// fresh token is needed. Without it an update cannot be prepared again.
    #[schema(value_type = Option<Object>, write_only)]
    prepare_body: Option<Value>,
}
