//! The HTTP door: API under `/v1`, pages at `/`, probes and metrics.

pub mod api;
pub mod gate;
pub mod live;
pub mod pages;
pub mod probes;
pub mod problem;
mod router;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;

pub use router::{openapi, router};

use crate::flow::Service;

/// What every handler can reach.
#[derive(Clone)]
pub struct WebState {
    pub service: Arc<Service>,
    pub metrics: PrometheusHandle,
    pub live: live::Live,
    pub cloud_health: Arc<probes::CloudHealth>,
}

impl WebState {
    pub fn new(service: Arc<Service>, metrics: PrometheusHandle) -> Self {
        let live = live::Live::default();
        Self { service, metrics, live, cloud_health: Arc::default() }
    }
}
