//! The HTTP door: API under `/v1`, pages at `/`, probes and metrics.

pub mod answers;
pub mod api;
pub mod candidates;
pub mod compose_proof;
mod connections;
pub mod device_meaning;
pub mod explained;
pub mod gate;
pub mod gateway;
pub mod left_behind;
pub mod live;
pub mod mailbox;
pub mod owners;
pub mod pages;
pub mod peers;
pub mod probes;
pub mod problem;
pub mod queue;
pub mod relayer;
mod router;
pub mod sight;
pub mod simulations;
pub mod site;
pub mod standing;
pub mod statement;
mod webhook;

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::Router;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use router::{openapi, router};

use crate::flow::Service;

/// How long open connections may take to end after the service was told to stop.
const GOODBYE: Duration = Duration::from_secs(10);

/// How long a caller may take for the head of a request, and leave a connection unused.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// What every handler can reach.
#[derive(Clone)]
pub struct WebState {
    pub service: Arc<Service>,
    pub metrics: PrometheusHandle,
    pub live: live::Live,
    pub cloud_health: Arc<probes::CloudHealth>,
    pub relayer_health: Arc<probes::RelayerHealth>,
    pub candidates: Arc<candidates::Lately>,
    pub left_behind: Arc<left_behind::Lately>,
    pub simulations: Arc<simulations::Simulations>,
    pub gateway: Arc<gateway::Gateway>,
    pub owners: Arc<owners::Owners>,
    pub peers: Arc<peers::Peers>,
    pub answers: Arc<answers::Answers>,
}

/// The process's metrics. There is one recorder in a process, however many services run in it.
fn metrics_handle() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        // Another recorder was installed by whoever embeds us: then ours stays empty.
        drop(metrics::set_global_recorder(recorder));
        handle
    };
    HANDLE.get_or_init(install).clone()
}

/// Answers HTTP and does the work until `stop`; then finishes what is under way.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    stop: CancellationToken,
) -> io::Result<()> {
    serve_with(listener, service, stop, |site| site).await
}

/// The same with something beside the site, which is in code alone: a devnet's test wallets.
pub async fn serve_with(
    listener: TcpListener,
    service: Arc<Service>,
    stop: CancellationToken,
    beside: impl FnOnce(Router) -> Router,
) -> io::Result<()> {
    let live = live::Live::new(stop.clone());
    let gateway = gateway::Gateway::new(&service).map_err(io::Error::other)?;
    let state = WebState {
        service: service.clone(),
        metrics: metrics_handle(),
        live: live.clone(),
        cloud_health: Arc::default(),
        relayer_health: Arc::default(),
        candidates: Arc::default(),
        left_behind: Arc::default(),
        simulations: Arc::default(),
        gateway: Arc::new(gateway),
        owners: Arc::default(),
        peers: Arc::new(peers::Peers::new(service.clock.clone())),
        answers: Arc::default(),
    };
    let site = beside(router(state));
    let answering = Box::pin(connections::answer(listener, site, HEAD_PATIENCE, stop.clone()));
    let working = service.clone().run(stop.clone());
    let passing_on = live.run(service.store.clone());
    futures::join!(
        async {
            let late = async {
                stop.cancelled().await;
                tokio::time::sleep(GOODBYE).await;
            };
            tokio::select! {
                () = answering => {}
                () = late => {}
            }
        },
        working,
        passing_on,
    );
    Ok(())
}
