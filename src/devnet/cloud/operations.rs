//! Updates of CVMs as they are carried out: what was ordered, how it stands, and what was before.

use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Cloud,
    answers::{Answer, Refusal, ok},
    control::Endpoint,
    instance::{EmulatedCvm, Text, Update},
    state::World,
    tokens::Plan,
};
use crate::{clock::Time, request::ids::ComposeHash};

/// Something that was ordered for a CVM.
#[derive(Debug, Clone, Serialize)]
pub struct EmulatedOperation {
    pub id: Uuid,
    pub cvm: Uuid,
    pub kind: &'static str,
    pub compose_hash: ComposeHash,
    pub started_at: Time,
    pub completed_at: Option<Time>,
    pub error: Option<String>,
}

impl EmulatedOperation {
    fn status(&self) -> &'static str {
        match (self.completed_at, &self.error) {
            (None, _) => "in_progress",
            (Some(_), None) => "completed",
            (Some(_), Some(_)) => "failed",
        }
    }
}

/// What a CVM ran at one time.
#[derive(Debug, Clone)]
pub(super) struct Revision {
    pub id: Uuid,
    pub cvm: Uuid,
    pub hash: ComposeHash,
    pub document: Text,
    pub encrypted_env: String,
    pub created_at: Time,
    pub kind: &'static str,
}

impl World {
    /// Orders an update; the CVM restarts with it after some looks.
    pub fn order(&mut self, plan: Plan) -> Result<Uuid, Refusal> {
        let at = self.cvms.iter().position(|cvm| cvm.id == plan.source);
        let at = at.ok_or_else(|| Refusal::coded(404, "ERR-03-001", "CVM not found"))?;
        if self.cvms[at].in_progress() {
            return Err(Refusal::plain(409, "Another operation is in progress"));
        }
        let operation = EmulatedOperation {
            id: self.mint_uuid(),
            cvm: plan.source,
            kind: "update",
            compose_hash: plan.compose_hash,
            started_at: self.now(),
            completed_at: None,
            error: None,
        };
        let id = operation.id;
        self.operations.push(operation);
        let polls = self.config.boot_polls.max(1);
        self.cvms[at].update = Some(Update {
            document: plan.document,
            hash: plan.compose_hash,
            device_id: plan.device_id,
            encrypted_env: plan.encrypted_env,
            operation: self.operations.len() - 1,
            polls_left: polls,
            fails_with: self.switches.update_error.clone(),
        });
        Ok(id)
    }

    /// A look at one CVM, which may end its update.
    pub fn look(&mut self, at: usize) -> EmulatedCvm {
        let (seen, over) = self.cvms[at].look();
        if let Some(update) = over {
            self.end_update(at, update);
        }
        seen
    }

    fn end_update(&mut self, at: usize, update: Update) {
        let now = self.now();
        let operation = &mut self.operations[update.operation];
        operation.completed_at = Some(now);
        operation.error.clone_from(&update.fails_with);
        if update.fails_with.is_some() {
            return;
        }
        let cvm = &mut self.cvms[at];
        cvm.document = update.document;
        cvm.compose_hash = self.switches.boot_compose_hash.unwrap_or(update.hash);
        cvm.device_id = self.switches.boot_device_id.unwrap_or(update.device_id);
        cvm.boot_error.clone_from(&self.switches.boot_error);
        if let Some(env) = update.encrypted_env {
            cvm.encrypted_env = env;
        }
        self.note_revision(at, "update");
    }

    /// What an instance runs from now on becomes part of the app's history.
    pub fn note_revision(&mut self, at: usize, kind: &'static str) {
        let cvm = &self.cvms[at];
        let revision = Revision {
            id: Uuid::nil(),
            cvm: cvm.id,
            hash: cvm.compose_hash,
            document: cvm.document.clone(),
            encrypted_env: cvm.encrypted_env.clone(),
            created_at: self.now(),
            kind,
        };
        let id = self.mint_uuid();
        self.revisions.push(Revision { id, ..revision });
    }
}

#[derive(Deserialize)]
pub(super) struct Page {
    cursor: Option<usize>,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(cloud): State<Cloud>,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Answer {
    let mut world = cloud.world();
    world.arrive(Endpoint::Operations);
    world.planned_failure(Endpoint::Operations)?;
    let at = world.find(&id)?;
    world.look(at);
    let cvm = &world.cvms[at];
    let hidden = world.switches.hide_operations;
    let all: Vec<&EmulatedOperation> =
        world.operations.iter().rev().filter(|one| one.cvm == cvm.id && !hidden).collect();
    let (from, limit) = (page.cursor.unwrap_or(0), page.limit.unwrap_or(50).clamp(1, 500));
    let items: Vec<Value> = all.iter().skip(from).take(limit).map(|one| view(one, cvm)).collect();
    let next = (from + limit < all.len()).then(|| (from + limit).to_string());
    ok(json!({ "items": items, "next_cursor": next, "total": all.len() }))
}

fn view(operation: &EmulatedOperation, cvm: &EmulatedCvm) -> Value {
    let EmulatedOperation { started_at, completed_at, .. } = operation;
    let mut events = vec![json!({
        "event_type": "started", "timestamp": started_at, "state": "in_progress",
    })];
    events.extend(completed_at.map(
        |at| json!({ "event_type": "finished", "timestamp": at, "state": operation.status() }),
    ));
    json!({
        "correlation_id": operation.id, "operation_type": operation.kind,
        "target_state": "running", "triggered_by": 1, "triggered_by_username": "devnet",
        "triggered_by_email": null, "started_at": started_at, "completed_at": completed_at,
        "duration_ms": completed_at.map(|at| (at - *started_at).num_milliseconds()),
        "status": operation.status(), "error_message": operation.error, "sub_operations": [],
        "events": events, "instance_name": cvm.name,
        "compose_hash": alloy::hex::encode(operation.compose_hash.0),
    })
}
