//! Callers of the gateway who take their time, and those who spell their calls in a way of their own.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use reqwest::Body;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::gateway_scene::{Stub, behind, gateway_of, with_patience};
use crate::world::{Api, PATIENCE};

const SHORT: Duration = Duration::from_millis(500);

async fn connected(api: &Api) -> TcpStream {
    TcpStream::connect(api.base().trim_start_matches("http://")).await.expect("it listens")
}

#[tokio::test]
async fn who_sends_a_byte_now_and_then_is_told_so_and_loses_the_place() {
    let stub = Stub::start().await;
    let (_world, running) = with_patience(&stub, SHORT).await;
    let mut caller = connected(&running.api).await;
    let head = "POST /phala/api/v1/whole HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n";
    caller.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 4096];
    let trickle = async {
        loop {
            // A byte makes up for a millisecond, and comes after fifty.
            match tokio::time::timeout(SHORT / 10, caller.read(&mut answer)).await {
                Err(_) => _ = caller.write_all(b"x").await,
                Ok(read) => return read.unwrap(),
            }
        }
    };
    let read = tokio::time::timeout(PATIENCE, trickle).await.expect("it is answered");
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("COUNTERSIGN-SLOW"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn who_reads_nothing_of_an_answer_loses_it() {
    let stub = Stub::start().await;
    let (_world, running) = with_patience(&stub, SHORT).await;
    let mut caller = connected(&running.api).await;
    caller.write_all(b"GET /phala/api/v1/flood HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let over = stub.flood_is_over.cancelled();
    tokio::time::timeout(PATIENCE, over).await.expect("Phala Cloud is let go");
    // What was on the way arrives, and does not end as a whole answer does.
    let mut came = vec![];
    let ended = caller.read_to_end(&mut came).await;
    assert!(ended.is_err() || !came.ends_with(b"0\r\n\r\n"));
    running.stop().await;
}

#[tokio::test]
async fn events_that_are_far_apart_and_bodies_that_take_long_pass() {
    let stub = Stub::start().await;
    let (_world, running) = with_patience(&stub, SHORT).await;
    let prefix = gateway_of(&running.api);
    let answer = Api::bare().get(format!("{prefix}/events")).send().await.unwrap();
    let mut events = answer.bytes_stream();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        // The silence is what is tried: there is nothing else to wait for.
        tokio::time::sleep(SHORT * 3).await;
        stub.tell(event);
        assert_eq!(events.next().await.unwrap().unwrap(), event);
    }
    // It takes three times as long as a caller may keep a call waiting, and never stops.
    let (parts, body) = mpsc::unbounded_channel::<Result<Bytes, std::io::Error>>();
    let body = Body::wrap_stream(UnboundedReceiverStream::new(body));
    let call = Api::bare().post(format!("{prefix}/whole")).body(body).send();
    let send = async {
        for _ in 0..30 {
            // So is the pace.
            tokio::time::sleep(SHORT / 10).await;
            parts.send(Ok(Bytes::from(vec![0; 1024]))).unwrap();
        }
        drop(parts);
    };
    let (answer, ()) = futures::join!(call, send);
    assert_eq!(answer.unwrap().text().await.unwrap(), (30 * 1024).to_string());
    running.stop().await;
}

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
