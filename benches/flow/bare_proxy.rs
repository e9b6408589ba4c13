//! The least that a proxy of the same libraries does: it knows one address, hands on method, headers and
//! bodies, and looks at nothing. It is a process of its own, as the gateway is.

use std::{net::Ipv4Addr, process::Stdio};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    http::header,
    response::Response,
};
use reqwest::Client;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use crate::world::Api;

/// Makes this program the proxy; what it leads to follows.
pub const ARGUMENT: &str = "--bare-proxy";

/// It ends with this.
pub struct BareProxy {
    pub prefix: String,
    _process: Child,
}

impl BareProxy {
    pub async fn start(prefix: &str) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.args([ARGUMENT, prefix]).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("it starts");
        let told = BufReader::new(process.stdout.take().expect("its output is kept"));
        let line = told.lines().next_line().await.expect("it tells").expect("where it listens");
        Self { prefix: line, _process: process }
    }
}

/// Serves until it is killed.
pub async fn serve(prefix: String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    println!("http://{}", listener.local_addr().expect("it has one"));
    let app = Router::new().fallback(pass).with_state((Api::bare(), prefix));
    axum::serve(listener, app).await.expect("it serves");
}

async fn pass(State((client, prefix)): State<(Client, String)>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(header::HOST);
    let url = format!("{prefix}{}", parts.uri);
    let mut going = client.request(parts.method, url).headers(parts.headers);
    if !body.is_end_stream() {
        going = going.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    let mut coming = going.send().await.expect("it answers");
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = coming.status();
    std::mem::swap(answer.headers_mut(), coming.headers_mut());
    *answer.body_mut() = Body::from_stream(coming.bytes_stream());
    answer
}
