//! The client against a server that means no good, or is no Phala Cloud at all.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use countersign::{
    phala::{CommitEvidence, CommitToken, Instance, PhalaCloud, PhalaError},
    wire::Http,
};
use tokio::net::TcpListener;

use super::cloud_scene::{APP, compose_hash, source};

const TOKEN: &str = "5d1f0c9e-3b7a-4c2d-9e8f-0a1b2c3d4e5f";

/// Serves one answer to everything under `/api/v1`, and counts who comes to `/elsewhere`.
async fn serve(answer: fn() -> Response) -> (PhalaCloud, Arc<AtomicUsize>) {
    // Already installed by another test is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let strays = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&strays);
    let elsewhere = any(move || async move { count.fetch_add(1, Ordering::SeqCst).to_string() });
    let app = Router::new()
        .route("/elsewhere", elsewhere)
        .route("/api/v1/{*rest}", any(move || async move { answer() }));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = format!("http://{}/api/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (PhalaCloud::new(Http::new().unwrap(), base.parse().unwrap(), None), strays)
}

async fn commit(client: &PhalaCloud) -> Result<Instance, PhalaError> {
    let token = CommitToken::parse(TOKEN).unwrap();
    let evidence = CommitEvidence::AlreadyRegistered;
    client.commit_replica(&source(), &token, compose_hash(), &evidence).await
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_token_away() {
    let (client, strays) = serve(|| {
        (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/elsewhere")]).into_response()
    })
    .await;
    let error = commit(&client).await.unwrap_err();
    assert!(matches!(&error, PhalaError::Api(answer) if answer.status == 307), "{error:?}");
    assert_eq!(strays.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_token_thrown_back_is_not_repeated() {
    let answers: [fn() -> Response; 5] = [
        || {
            (StatusCode::BAD_REQUEST, format!(r#"{{"detail":"bad token {TOKEN}"}}"#))
                .into_response()
        },
        || format!(r#"{{"vm_uuid":"{TOKEN} {TOKEN}"}}"#).into_response(),
        // It would be kept and shown as the id of the replica.
        || format!(r#"{{"vm_uuid":"{TOKEN}"}}"#).into_response(),
        || format!(r#"{{"vm_uuid":"{}"}}"#, TOKEN.replace('-', "").to_uppercase()).into_response(),
        || format!("{TOKEN} is not JSON").into_response(),
    ];
    for answer in answers {
        let (client, _) = serve(answer).await;
        let error = commit(&client).await.unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(!told.contains(TOKEN), "{told}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let (client, _) = serve(|| {
        let endless = std::iter::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 20]));
        Body::from_stream(futures::stream::iter(endless)).into_response()
    })
    .await;
    let error = client.instances(APP.to_string().parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, PhalaError::Malformed { .. }), "{error:?}");
    assert!(commit(&client).await.unwrap_err().may_have_acted());
}

#[tokio::test]
async fn an_unreadable_success_of_a_commit_may_be_a_success() {
    let answers: [fn() -> Response; 3] =
        [|| "{}".into_response(), || "[]".into_response(), || "".into_response()];
    for answer in answers {
        let (client, _) = serve(answer).await;
        let error = commit(&client).await.unwrap_err();
        assert!(matches!(error, PhalaError::Malformed { .. }) && error.may_have_acted());
    }
}
