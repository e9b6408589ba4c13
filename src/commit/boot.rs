//! Follows a new replica until it runs, and compares what runs with what was approved.

use std::time::Duration;

use crate::{
    clock::Clock,
    phala::{Cvm, PhalaCloud, PhalaError},
    planted::{Bug, planted},
    request::{
        Request,
        event::Event,
        facts::Replica,
        kind::Kind,
        step::{Pace, Step},
    },
    store::{Store, StoreError, lease::Lease},
};

use super::{CommitError, begin::actor, boot_error, update};

/// Boots that take long are looked at less often, up to this.
const PACE_MAX: Duration = Duration::from_mins(1);
/// A boot is looked at as often as the settings say for this long.
const USUAL: Duration = Duration::from_mins(15);

/// One look at a booting replica. It goes on as long as it takes: a boot that takes long is an alert,
/// never an end.
pub async fn boot(
    store: &Store,
    cloud: &PhalaCloud,
    clock: &dyn Clock,
    pace: Duration,
    request: &Request,
    replica: &Replica,
    lease: &Lease,
) -> Result<Step, CommitError> {
    let verdict = look(store, cloud, clock, request, replica).await?;
    let since = (clock.now() - replica.committed_at).to_std().unwrap_or_default();
    let pace = if since > USUAL { PACE_MAX.max(pace) } else { pace };
    let (event, step) = match verdict {
        Verdict::Running { device_shown } => (Event::Running { device_shown }, Step::Changed),
        Verdict::Wrong(reason) => {
            (Event::Failed { code: Some("boot-differs".into()), reason }, Step::Changed)
        }
        Verdict::Over(reason) => {
            (Event::Failed { code: Some("update-failed".into()), reason }, Step::Changed)
        }
        Verdict::Booting(status) => {
            let reason = format!("the {} is {status}", request.kind.subject());
            return Ok(Step::wait(reason, Pace::After(pace)));
        }
        Verdict::Trouble(reason) => {
            if request.facts.attention.as_ref() == Some(&reason) {
                return Ok(Step::wait(reason, Pace::After(pace)));
            }
            let event = Event::AttentionNeeded { reason: reason.clone(), about: vec![] };
            (event, Step::wait(reason, Pace::After(pace)))
        }
    };
    store.record(request.id, Some(lease), &actor(), &event, clock.now()).await?;
    Ok(step)
}

/// What Phala Cloud shows of the replica.
async fn look(
    store: &Store,
    cloud: &PhalaCloud,
    clock: &dyn Clock,
    request: &Request,
    replica: &Replica,
) -> Result<Verdict, CommitError> {
    let id = replica.id.as_str().parse().map_err(|_| StoreError::Inconsistent {
        table: "requests",
        column: "replica_id",
        row: request.id.to_string(),
    })?;
    let mut cvm = match cloud.cvm(&id).await {
        Ok(cvm) => cvm,
        // Only Phala Cloud itself can say that it is gone; a proxy may lose its way.
        Err(PhalaError::Api(answer)) if answer.status == 404 && answer.code.is_some() => {
            let reason = "Phala Cloud no longer knows the replica: it was deleted, or belongs to \
                          another workspace than the API key";
            return Ok(Verdict::Trouble(format!("{reason} ({answer})")));
        }
        Err(error) => return Err(error.into()),
    };
    if cvm.boot_error.is_none() && cvm.status != "running" {
        // Why a boot failed is told by another endpoint only.
        cvm.boot_error = cloud.boot(&replica.id).await?.error;
    }
    let judged = judge(request, &cvm);
    if request.kind == Kind::Replica {
        return Ok(judged);
    }
    let before = store.baseline(request.id).await?.and_then(|baseline| baseline.compose);
    Ok(update::look(cloud, request, replica, before, clock.now(), &cvm, judged).await?)
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Running {
        device_shown: bool,
    },
    Booting(String),
    /// It may still come up: a person is told, and it is looked at further.
    Trouble(String),
    /// It is not what was approved.
    Wrong(String),
    /// Nothing came of an update that was accepted.
    Over(String),
}

/// What runs against what was approved (invariant I3). Pure.
fn judge(request: &Request, cvm: &Cvm) -> Verdict {
    if planted(Bug::BootNotCompared) && cvm.status == "running" {
        return Verdict::Running { device_shown: false };
    }
    if cvm.app != request.app {
        return Verdict::Wrong(format!(
            "the {} belongs to app {}",
            request.kind.subject(),
            cvm.app
        ));
    }
    if let Some(compose) = cvm.compose_hash.filter(|compose| *compose != request.compose) {
        return Verdict::Wrong(format!(
            "the {} has compose hash {compose}; approved was {}",
            request.kind.subject(),
            request.compose
        ));
    }
    if let Some(device) = cvm.device_id.filter(|device| *device != request.device) {
        return Verdict::Wrong(format!(
            "the {} is on device {device}; approved was {}",
            request.kind.subject(),
            request.device
        ));
    }
    if let Some(error) = &cvm.boot_error {
        let told = format!("the replica does not boot: {error}");
        let meaning = boot_error::explain(error);
        return Verdict::Trouble(meaning.map_or(told.clone(), |it| format!("{told}. {it}.")));
    }
    match cvm.status.as_str() {
        "running" if cvm.compose_hash.is_none() => Verdict::Trouble(
            "the replica runs, but Phala Cloud does not show its compose hash, so it is unproved"
                .into(),
        ),
        "running" => Verdict::Running { device_shown: cvm.device_id.is_some() },
        "error" | "failed" | "stopped" | "deleted" => {
            Verdict::Trouble(format!("the replica is {}", cvm.status))
        }
        status => Verdict::Booting(status.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};
    use uuid::Uuid;

    use super::*;
    use crate::request::{
        facts::Facts,
        ids::{AppId, ChainId, ComposeHash, DeviceId, RequestId},
    };

    const AT: &str = "2026-11-21T12:00:00Z";

    fn request() -> Request {
        Request {
            id: RequestId(Uuid::nil()),
            kind: Kind::Replica,
            chain: ChainId::BASE,
            app: AppId(Address::repeat_byte(1)),
            source: "source".parse().unwrap(),
            node: None,
            compose: ComposeHash(B256::repeat_byte(0xaa)),
            device: DeviceId(B256::repeat_byte(0xbb)),
            note: None,
            created_at: AT.parse().unwrap(),
            created_by: "test".into(),
            facts: Facts::default(),
            preparation: None,
            expires_at: AT.parse().unwrap(),
            prepared_at: AT.parse().unwrap(),
            is_repeatable: true,
            reason: None,
            next_try_at: AT.parse().unwrap(),
            held_until: None,
            attempts: 0,
        }
    }

    fn cvm(change: impl FnOnce(&mut Cvm)) -> Cvm {
        let mut cvm = Cvm {
            vm_uuid: "replica".parse().unwrap(),
            app: request().app,
            name: "app".into(),
            status: "running".into(),
            chain_id: Some(ChainId::BASE),
            compose_hash: Some(request().compose),
            node_id: None,
            node_name: None,
            device_id: Some(request().device),
            boot_error: None,
        };
        change(&mut cvm);
        cvm
    }

    #[test]
    fn running_means_running_what_was_approved() {
        let verdict = |change: fn(&mut Cvm)| judge(&request(), &cvm(change));
        assert_eq!(verdict(|_| {}), Verdict::Running { device_shown: true });
        assert_eq!(verdict(|cvm| cvm.device_id = None), Verdict::Running { device_shown: false });
        assert_eq!(
            verdict(|cvm| cvm.status = "starting".into()),
            Verdict::Booting("starting".into())
        );
        let other = B256::repeat_byte(0xcc);
        for wrong in [
            cvm(|cvm| cvm.compose_hash = Some(ComposeHash(other))),
            cvm(|cvm| cvm.device_id = Some(DeviceId(other))),
            cvm(|cvm| cvm.app = AppId(Address::repeat_byte(2))),
        ] {
            assert!(matches!(judge(&request(), &wrong), Verdict::Wrong(_)), "{wrong:?}");
        }
        assert!(matches!(verdict(|cvm| cvm.compose_hash = None), Verdict::Trouble(_)));
        assert!(matches!(verdict(|cvm| cvm.status = "error".into()), Verdict::Trouble(_)));
        let failing = cvm(|cvm| cvm.boot_error = Some("OS image is not allowed".into()));
        assert!(matches!(judge(&request(), &failing), Verdict::Trouble(_)));
    }
}
