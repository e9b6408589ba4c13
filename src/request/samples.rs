//! Requests in every status, for the tests of this room.

use alloy::primitives::{Address, B256};
use chrono::TimeDelta;
use uuid::Uuid;

use super::{
    LivePreparation, Request,
    facts::{BlockRef, End, EndKind, Execution, Facts, Registration, Replica},
    ids::{AppId, BlockHash, ChainId, ComposeHash, DeviceId, RequestId},
    kind::Kind,
    status::Status,
};
use crate::clock::Time;

pub fn now() -> Time {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

pub fn facts(status: Status) -> Facts {
    let block = BlockRef { number: 1, hash: BlockHash(B256::ZERO) };
    let execution = Some(Execution { at: now(), block, tx: None });
    let registration = Some(Registration { at: now(), block });
    let id = "replica".parse().unwrap();
    let replica = Some(Replica { id, committed_at: now(), operation: None });
    let id = Some(Uuid::nil());
    let end = |kind| {
        let end = End { kind, at: now(), code: None, reason: "because".into() };
        Facts { end: Some(end), ..Facts::default() }
    };
    match status {
        Status::Prepared => Facts::default(),
        Status::Proposed => Facts { proposal: id, ..Facts::default() },
        Status::Approved => Facts { approved_at: Some(now()), ..Facts::default() },
        Status::Executed => Facts { execution, ..Facts::default() },
        Status::Registered => Facts { registration, ..Facts::default() },
        Status::Committing => Facts { attempt: id, registration, ..Facts::default() },
        Status::Committed => Facts { replica, ..Facts::default() },
        Status::Running => Facts { replica, running_at: Some(now()), ..Facts::default() },
        Status::Rejected => end(EndKind::Rejected),
        Status::Withdrawn => end(EndKind::Withdrawn),
        Status::Expired => end(EndKind::Expired),
        Status::Failed => end(EndKind::Failed),
    }
}

/// A request whose token has so long to live; none means that it has no live token.
pub fn request(status: Status, token: Option<TimeDelta>) -> Request {
    let expires_at = now() + token.unwrap_or_default();
    let live = |left| LivePreparation {
        id: Uuid::nil(),
        prepared_at: now() + left - TimeDelta::days(14),
        expires_at: now() + left,
    };
    Request {
        id: RequestId(Uuid::nil()),
        kind: Kind::Replica,
        chain: ChainId::BASE,
        app: AppId(Address::ZERO),
        source: "source".parse().unwrap(),
        node: None,
        compose: ComposeHash(B256::ZERO),
        device: DeviceId(B256::ZERO),
        note: None,
        created_at: now(),
        created_by: "test".into(),
        facts: facts(status),
        preparation: token.map(live),
        expires_at,
        prepared_at: now(),
        is_repeatable: true,
        reason: None,
        next_try_at: now(),
        held_until: None,
        attempts: 0,
    }
}
