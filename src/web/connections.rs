//! Takes connections, and has the site answer on them until the service stops.
//!
//! As axum's own server does it, which sets no time for the head of a request: whoever sends one byte of
//! it now and then would hold a connection for ever.

use std::{net::SocketAddr, pin::pin, time::Duration};

use axum::{Extension, Router, extract::ConnectInfo, middleware::AddExtension, serve::Listener};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Layer;

type Protocol = Builder<TokioExecutor>;

/// Answers until `stop`, and then until what is under way is done. A connection on which no head of a
/// request is complete in `head_patience` is closed, one that is not used as well.
pub async fn answer(
    mut listener: TcpListener,
    site: Router,
    head_patience: Duration,
    stop: CancellationToken,
) {
    // One version: to tell it from another, the first bytes would be waited for without a limit.
    let mut protocol = Protocol::new(TokioExecutor::new()).http1_only();
    protocol.http1().timer(TokioTimer::new()).header_read_timeout(head_patience);
    let connections = TaskTracker::new();
    loop {
        let (connection, peer) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = stop.cancelled() => break,
        };
        // Answers that come in parts go out in parts.
        drop(connection.set_nodelay(true));
        let site = Extension(ConnectInfo(peer)).layer(site.clone());
        connections.spawn(answer_on(connection, site, protocol.clone(), stop.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Whatever ends a connection early is the caller's.
async fn answer_on(
    connection: TcpStream,
    site: AddExtension<Router, ConnectInfo<SocketAddr>>,
    protocol: Protocol,
    stop: CancellationToken,
) {
    let service = TowerToHyperService::new(site);
    let mut answering = pin!(protocol.serve_connection(TokioIo::new(connection), service));
    tokio::select! {
        ended = answering.as_mut() => return drop(ended),
        () = stop.cancelled() => answering.as_mut().graceful_shutdown(),
    }
    drop(answering.await);
}

#[cfg(test)]
mod tests {
    use axum::{body::Bytes, routing::post};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    const SHORT: Duration = Duration::from_millis(500);
    /// Far longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);
    const HEAD: &str = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n";

    async fn echo(ConnectInfo(peer): ConnectInfo<SocketAddr>, body: Bytes) -> String {
        format!("{} from {peer}", String::from_utf8_lossy(&body))
    }

    async fn ends(mut caller: TcpStream) -> String {
        let mut came = String::new();
        let read = tokio::time::timeout(PATIENCE, caller.read_to_string(&mut came)).await;
        read.expect("the connection is closed").unwrap();
        came
    }

    #[tokio::test]
    async fn who_does_not_finish_the_head_of_a_request_loses_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let site = Router::new().route("/", post(echo));
        let answering = tokio::spawn(answer(listener, site, SHORT, stop.clone()));
        let connect = async || TcpStream::connect(address).await.unwrap();

        let mut slow = connect().await;
        slow.write_all(&HEAD.as_bytes()[..HEAD.len() - 2]).await.unwrap();
        let silent = connect().await;
        assert_eq!((ends(slow).await, ends(silent).await), (String::new(), String::new()));

        // A body may take longer than that, and one connection is good for several requests.
        let mut patient = connect().await;
        let from = patient.local_addr().unwrap();
        for (first, second) in [("wh", "en"), ("th", "en")] {
            patient.write_all(HEAD.as_bytes()).await.unwrap();
            patient.write_all(first.as_bytes()).await.unwrap();
            // That it takes long is what is tried: another caller is given up meanwhile.
            assert_eq!(ends(connect().await).await, "");
            patient.write_all(second.as_bytes()).await.unwrap();
            let expected = format!("{first}{second} from {from}");
            let mut came = String::new();
            while !came.ends_with(&expected) {
                let mut part = [0; 1024];
                let read = tokio::time::timeout(PATIENCE, patient.read(&mut part)).await;
                let read = read.expect("it is answered").unwrap();
                assert_ne!(read, 0, "{came}");
                came.push_str(std::str::from_utf8(&part[..read]).unwrap());
            }
            assert!(came.starts_with("HTTP/1.1 200"), "{came}");
        }
        stop.cancel();
        tokio::time::timeout(PATIENCE, answering).await.expect("it ends").unwrap();
        assert_eq!(ends(patient).await, "");
    }
}
