//! Callers of the gateway who spell their calls in a way of their own.

use serde_json::Value;

use super::gateway_scene::{Stub, behind, gateway_of};
use crate::world::Api;

#[tokio::test]
async fn a_preparation_in_another_spelling_does_not_pass_unseen() {
    let stub = Stub::start().await;
    let (_world, running) = behind(&stub).await;
    let prefix = gateway_of(&running.api);
    for path in [
        "cvms/u/replicas/",
        "cvms/u/%72eplicas",
        "cvms/u/%2572eplicas",
        "cvms//u/replicas",
        "/cvms/u/replicas",
        "cvms%2fu%2freplicas",
        "apps/a/instances/",
        "cvms/u/commit-replica/",
    ] {
        let answer = Api::bare().post(format!("{prefix}/{path}")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 400, "{path}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error_code"], "COUNTERSIGN-ADDRESS", "{path}");
    }
    assert!(stub.seen().is_empty(), "{:?}", stub.seen());
    // What is not watched goes on in the very bytes.
    for path in ["cvms/u/%72eplicas/", "cvms/a%2Fb/envs/", "apps//x"] {
        Api::bare().get(format!("{prefix}/{path}")).send().await.unwrap();
        assert_eq!(stub.last_seen().target, format!("/api/v1/{path}"));
    }
    running.stop().await;
}
