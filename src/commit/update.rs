//! What is special about updates: nothing new is made, so whether one took effect is told by the CVM
//! itself and by what was ordered for it. Made twice, an update is the same.

use std::time::Duration;

use chrono::TimeDelta;

use crate::{
    clock::Time,
    phala::{Cvm, Operation, OperationState, PhalaCloud, PhalaError},
    request::{Request, facts::Replica, ids::ComposeHash},
    store::attempts::Baseline,
};

use super::{boot::Verdict, outcome::CLOCK_SKEW};

/// A CVM that runs what it ran before is waited for this long, although nothing is under way any more.
const PATIENCE: Duration = Duration::from_mins(15);

/// That an update took effect, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Effect {
    pub operation: Option<String>,
    pub how: &'static str,
}

/// Looks for what the commits of an update have set off.
pub(super) async fn effect(
    cloud: &PhalaCloud,
    request: &Request,
    baseline: &Baseline,
) -> Result<Option<Effect>, PhalaError> {
    let (cvm, operations) =
        futures::try_join!(cloud.cvm(&request.source), cloud.operations(&request.source))?;
    Ok(seen(request, baseline, &cvm, &operations))
}

/// What speaks for the update of this request: an operation for its hash since the first commit, or
/// that the CVM runs the hash and did not before. Pure.
fn seen(
    request: &Request,
    baseline: &Baseline,
    cvm: &Cvm,
    operations: &[Operation],
) -> Option<Effect> {
    // Their clock on both sides. What is not dated may be older.
    let is_since = |started: Option<Time>| match (started, baseline.listed_at) {
        (Some(started), Some(listed)) => started + CLOCK_SKEW >= listed,
        _ => false,
    };
    let ordered = operations
        .iter()
        .filter(|one| one.compose_hash == Some(request.compose) && is_since(one.started_at))
        .max_by_key(|one| one.started_at);
    if let Some(ordered) = ordered {
        let operation = Some(ordered.id.clone());
        return Some(Effect { operation, how: "the list of operations" });
    }
    let runs_anew =
        cvm.compose_hash == Some(request.compose) && baseline.compose != Some(request.compose);
    runs_anew.then_some(Effect { operation: None, how: "what the CVM runs" })
}

/// How an update is going that is under way. `judge` compares what runs with what was approved, once
/// the CVM shows that.
pub(super) async fn look(
    cloud: &PhalaCloud,
    request: &Request,
    replica: &Replica,
    before: Option<ComposeHash>,
    now: Time,
    cvm: &Cvm,
    judged: Verdict,
) -> Result<Verdict, PhalaError> {
    // Also when the CVM shows the hash: it may show what it is to run before it does.
    let operations = cloud.operations(&request.source).await?;
    let operation = ours(request, replica, &operations);
    let waited = (now - replica.committed_at).max(TimeDelta::zero());
    let is_patient = waited.to_std().is_ok_and(|waited| waited < PATIENCE);
    Ok(going(request, before, cvm, operation, is_patient, judged))
}

/// The operation of this request: by its name, else the newest one for its hash.
fn ours<'a>(
    request: &Request,
    replica: &Replica,
    operations: &'a [Operation],
) -> Option<&'a Operation> {
    let named = |one: &&Operation| Some(&one.id) == replica.operation.as_ref();
    operations.iter().find(named).or_else(|| {
        let since = replica.committed_at - CLOCK_SKEW;
        let fits = |one: &&Operation| {
            one.compose_hash == Some(request.compose)
                && one.started_at.is_some_and(|started| started >= since)
        };
        operations.iter().filter(fits).max_by_key(|one| one.started_at)
    })
}

/// What the operation and the CVM say together. Pure.
fn going(
    request: &Request,
    before: Option<ComposeHash>,
    cvm: &Cvm,
    operation: Option<&Operation>,
    is_patient: bool,
    judged: Verdict,
) -> Verdict {
    let is_shown = cvm.compose_hash == Some(request.compose);
    match operation {
        Some(Operation { state: OperationState::InProgress, .. }) => {
            return Verdict::Booting("being updated".into());
        }
        Some(Operation { state: OperationState::Failed, error, .. }) => {
            let why = error.as_deref().unwrap_or("Phala Cloud does not say why");
            return Verdict::Over(format!(
                "the update failed ({why}), and the CVM runs what it ran before. The approval stays \
                 good: prepare it again once that is mended"
            ));
        }
        _ if is_shown => return judged,
        _ => {}
    }
    let is_old = cvm.compose_hash.is_none() || before.is_none() || cvm.compose_hash == before;
    match (is_old, is_patient) {
        // Neither what it ran nor what was approved.
        (false, _) => judged,
        (true, true) => Verdict::Booting("to be updated".into()),
        (true, false) => Verdict::Trouble(
            "the update was accepted, and the CVM does not run what was approved: look at its \
             operations in Phala Cloud"
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;
    use crate::request::{
        kind::Kind,
        samples::{now, request},
        status::Status,
    };

    fn hash(byte: u8) -> ComposeHash {
        ComposeHash(B256::repeat_byte(byte))
    }

    fn asked() -> Request {
        Request { kind: Kind::Update, compose: hash(0xaa), ..request(Status::Committed, None) }
    }

    fn cvm(shown: Option<ComposeHash>) -> Cvm {
        Cvm {
            vm_uuid: asked().source,
            app: asked().app,
            name: "app".into(),
            status: "running".into(),
            chain_id: None,
            compose_hash: shown,
            node_id: None,
            node_name: None,
            device_id: None,
            boot_error: None,
        }
    }

    fn operation(id: &str, byte: u8, minutes: i64, state: OperationState) -> Operation {
        let started_at = Some(now() + TimeDelta::minutes(minutes));
        let id = id.to_owned();
        Operation { id, state, compose_hash: Some(hash(byte)), started_at, error: None }
    }

    #[test]
    fn an_update_is_seen_by_its_operation_or_by_what_runs_now() {
        let completed = OperationState::Completed;
        let baseline = |compose| Baseline {
            listed_at: Some(now()),
            instances: vec![],
            compose: Some(hash(compose)),
        };
        let seen = |before, shown, operations: &[Operation]| {
            seen(&asked(), &baseline(before), &cvm(Some(hash(shown))), operations)
        };
        let by = |id: &str| {
            Some(Effect { operation: Some(id.to_owned()), how: "the list of operations" })
        };
        assert_eq!(seen(0xbb, 0xbb, &[]), None);
        assert_eq!(seen(0xbb, 0xaa, &[]).unwrap().how, "what the CVM runs");
        assert_eq!(seen(0xaa, 0xaa, &[]), None, "it ran that before");
        let ours = operation("new", 0xaa, 1, OperationState::InProgress);
        let (older, other) =
            (operation("old", 0xaa, -60, completed), operation("o", 0xcc, 1, completed));
        assert_eq!(seen(0xbb, 0xbb, &[older.clone(), other.clone()]), None);
        assert_eq!(seen(0xbb, 0xbb, &[older, other, ours]), by("new"));
        let undated = Operation { started_at: None, ..operation("u", 0xaa, 1, completed) };
        assert_eq!(seen(0xbb, 0xbb, &[undated]), None, "it may be an old one");
    }

    #[test]
    fn an_update_runs_once_its_operation_is_over_and_the_cvm_shows_it() {
        use OperationState::{Completed, Failed, InProgress};
        let judged = || Verdict::Running { device_shown: true };
        let going =
            |before: Option<u8>, shown: Option<u8>, state: Option<OperationState>, patient| {
                let operation = state.map(|state| operation("id", 0xaa, 1, state));
                let (before, cvm) = (before.map(hash), cvm(shown.map(hash)));
                super::going(&asked(), before, &cvm, operation.as_ref(), patient, judged())
            };
        let is_booting = |verdict| matches!(verdict, Verdict::Booting(_));
        assert!(is_booting(going(Some(0xaa), Some(0xaa), Some(InProgress), true)));
        assert!(is_booting(going(Some(0xbb), Some(0xbb), Some(InProgress), false)));
        assert!(is_booting(going(Some(0xbb), Some(0xbb), Some(Completed), true)), "the page lags");
        assert!(is_booting(going(Some(0xbb), None, None, true)));
        assert!(is_booting(going(Some(0xbb), Some(0xaa), Some(InProgress), true)), "shown early");
        assert!(matches!(going(Some(0xbb), Some(0xaa), Some(Failed), true), Verdict::Over(_)));
        assert_eq!(going(Some(0xbb), Some(0xaa), Some(Completed), true), judged());
        assert_eq!(going(None, Some(0xaa), None, true), judged());
        assert!(matches!(going(Some(0xbb), Some(0xbb), Some(Failed), true), Verdict::Over(_)));
        assert!(matches!(
            going(Some(0xbb), Some(0xbb), Some(Completed), false),
            Verdict::Trouble(_)
        ));
        assert_eq!(going(Some(0xbb), Some(0xcc), Some(Completed), true), judged(), "it differs");
    }
}
