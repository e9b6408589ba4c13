//! The client against the emulated cloud: every kind of prepare and commit, in every shape of answer,
//! and each sent once.

use std::time::Duration;

use countersign::{
    devnet::cloud::IssuedToken,
    phala::{CommitEvidence, Made, OperationState, PhalaError},
    request::{
        ids::AppId,
        kind::{Kind, Target},
    },
};
use serde_json::{Value, json};

use super::cloud_scene::{APP, Scene, compose_hash, device, source};

/// Each target, with what is sent to prepare it: another compose document in each round.
fn targets(round: usize) -> [(Target, Value); 3] {
    let compose = format!("services:\n  web:\n    image: nginx:{round}\n");
    [
        (Target::Replica(source()), json!({ "node_id": 6 })),
        (Target::Instance(AppId(APP)), json!({ "node_id": 6, "docker_compose_file": compose })),
        (Target::Update(source()), json!({ "docker_compose_file": compose })),
    ]
}

#[tokio::test]
async fn each_target_is_prepared_and_committed_at_its_own_address() {
    let scene = Scene::set().await;
    let client = scene.client();
    scene.add_device(device(5)).await;
    scene.add_device(device(6)).await;
    for (round, (nested, prefixed)) in [(false, true), (true, false)].into_iter().enumerate() {
        scene.switch(json!({ "nest_details": nested, "prefix_hashes": prefixed }));
        for (target, body) in targets(round) {
            let runs = client.cvm(&source()).await.unwrap().compose_hash;
            let prepared = client.prepare(&target, &body).await.unwrap();
            let IssuedToken { kind, compose_hash: hash, .. } = scene.last_issued();
            assert_eq!((kind, hash), (kind_of(&target), prepared.compose_hash));
            let is_new = !matches!(target, Target::Replica(_));
            assert_eq!(Some(hash) != runs, is_new, "{target:?}");
            assert_eq!(prepared.source_cvm, Some(source()), "the link leads to the CVM");
            scene.add_compose(hash).await;
            let registered = CommitEvidence::AlreadyRegistered;
            let made =
                client.commit(&target, &prepared.commit_token, hash, &registered).await.unwrap();
            let call = scene.cloud.commit_log().pop().unwrap();
            match made {
                Made::Instance(made) => {
                    assert_eq!(made.id.as_str(), call.created.unwrap().to_string());
                }
                Made::Accepted { operation } => {
                    assert_eq!(operation, call.operation.map(|id| id.to_string()));
                    ends(&scene).await;
                }
            }
        }
    }
}

fn kind_of(target: &Target) -> Kind {
    if target.updated().is_some() { Kind::Update } else { Kind::Replica }
}

/// Looks until the last operation is over.
async fn ends(scene: &Scene) {
    let client = scene.client();
    while client.operations(&source()).await.unwrap()[0].state != OperationState::Completed {}
}

#[tokio::test]
async fn a_refusal_is_read_in_both_nestings_and_nothing_is_sent_again() {
    let scene = Scene::set().await;
    let client = scene.client();
    let mut sent = 0;
    for nested in [false, true] {
        for (target, _) in targets(0) {
            for (status, code) in [
                (465, Some("ERR-01-005")),
                (466, Some("ERR-01-006")),
                (467, Some("ERR-01-007")),
                (468, Some("ERR-01-008")),
                (409, None),
                (503, None),
            ] {
                let failure = json!({ "endpoint": "commit", "status": status, "code": code, "retry_after": 7 });
                scene.switch(json!({ "nest_details": nested, "fail_next": [failure] }));
                let token = "f3b0c6f2-0000-4000-8000-000000000001".parse().unwrap();
                let registered = CommitEvidence::AlreadyRegistered;
                let refused = client.commit(&target, &token, compose_hash(), &registered).await;
                let Err(PhalaError::Api(answer)) = refused else { panic!("{refused:?}") };
                assert_eq!((answer.status, answer.code.as_deref()), (status, code));
                assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
                sent += 1;
                assert_eq!(scene.cloud.commit_log().len(), sent, "each is sent once");
            }
        }
    }
}

#[tokio::test]
async fn a_prepare_that_acts_at_once_is_told_from_one_that_does_not() {
    let scene = Scene::set().await;
    scene.switch(json!({ "cloud_kms": true }));
    let client = scene.client();
    assert_eq!(client.chain_of(AppId(APP)).await.unwrap(), None);
    assert_eq!(client.cvm(&source()).await.unwrap().chain_id, None);
    for (target, body) in targets(0) {
        let acted = client.prepare(&target, &body).await;
        match (&target, acted) {
            (Target::Update(_), Err(PhalaError::UpdatedWithoutApproval)) => {}
            (_, Err(PhalaError::CreatedWithoutApproval { replica })) => {
                assert_eq!(replica.unwrap().as_str(), newest(&scene));
            }
            (_, other) => panic!("{target:?}: {other:?}"),
        }
    }
}

fn newest(scene: &Scene) -> String {
    scene.cloud.instances().pop().unwrap().id.to_string()
}
