//! All routes, and what every request passes through.

use std::{any::Any, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    http::{self, HeaderName, HeaderValue, StatusCode, header},
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::get,
};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    timeout::TimeoutLayer,
    trace::{DefaultOnFailure, TraceLayer},
};
use tracing::Level;
use utoipa::{
    OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::compose::MAX_BYTES;

use super::{
    WebState, answers, api, gateway, live, pages, probes, problem::Problem, site, webhook,
};

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// A submission may bring what was sent to prepare: 240 KiB, which may be written with blanks and
/// escapes here.
const SUBMISSION_BYTES_MAX: usize = 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// No script, style or picture from anywhere else, and none of ours inside the page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// For browsers that do not know `frame-ancestors` there is `X-Frame-Options`; none of these is in the
/// list of the `http` crate.
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// What a page of ours could ask people for, and never does.
const NO_PERMISSIONS: &str = "camera=(), display-capture=(), geolocation=(), hid=(), microphone=(), \
     payment=(), publickey-credentials-get=(), serial=(), usb=()";
/// For a year. Other names beside ours are not ours to speak for.
const TLS_ONLY: &str = "max-age=31536000";
const FIXED_HEADERS: [(HeaderName, &str); 8] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (PERMISSIONS_POLICY, NO_PERMISSIONS),
    (OPENER_POLICY, "same-origin"),
    (RESOURCE_POLICY, "same-origin"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Countersign",
        description = "Carries a Phala Cloud replica from prepared to running, with no human after the last signature."
    ),
    components(schemas(Problem))
)]
struct Document;

fn documented() -> OpenApiRouter<WebState> {
    let mut document = Document::openapi();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    document
        .components
        .get_or_insert_default()
        .add_security_scheme("token", SecurityScheme::Http(bearer));
    let cookie = ApiKeyValue::new("countersign");
    document
        .components
        .get_or_insert_default()
        .add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    let signature = ApiKeyValue::new("X-Webhook-Signature");
    document
        .components
        .get_or_insert_default()
        .add_security_scheme("webhook", SecurityScheme::ApiKey(ApiKey::Header(signature)));
    OpenApiRouter::with_openapi(document)
        .merge(
            OpenApiRouter::new()
                .routes(routes!(api::requests::submit, api::request_list::list))
                .layer(DefaultBodyLimit::max(SUBMISSION_BYTES_MAX)),
        )
        .routes(routes!(api::session::challenge))
        .routes(routes!(api::session::sign_in, api::session::show, api::session::sign_out))
        .routes(routes!(api::requests::show))
        .routes(routes!(api::review::comment))
        .routes(routes!(api::review::withdraw))
        .routes(routes!(api::review::reject))
        .routes(routes!(api::review::retry))
        .routes(routes!(api::review::settle))
        .routes(routes!(api::review::arrange))
        .routes(routes!(api::proposals::show))
        .routes(routes!(api::batch_files::safe_batch))
        .routes(routes!(api::batch_files::approval_batch))
        .routes(routes!(api::proposals::confirm))
        .routes(routes!(api::simulation::show))
        .merge(compose())
        .routes(routes!(api::devices::show))
        .routes(routes!(api::apps::list))
        .routes(routes!(api::apps::show))
        .routes(routes!(api::apps::allowlist))
        .routes(routes!(api::apps::ledger))
        .routes(routes!(api::exports::allowlist))
        .routes(routes!(api::exports::ledger))
        .routes(routes!(api::apps::drift))
        .routes(routes!(api::chains::list))
        .routes(routes!(api::journal::page))
        .routes(routes!(api::journal::chain))
        .routes(routes!(api::operator::show))
        .routes(routes!(probes::healthz))
        .routes(routes!(probes::readyz))
        .routes(routes!(probes::metrics))
        .routes(routes!(webhook::take))
}

/// Documents are longer than anything else that is taken.
fn compose() -> OpenApiRouter<WebState> {
    OpenApiRouter::new()
        .routes(routes!(api::compose::show, api::compose::attach))
        .layer(DefaultBodyLimit::max(MAX_BYTES + 1))
        .routes(routes!(api::compose::document))
}

/// The OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    // The stream of events stays open, and the gateway is not ours to limit: both stand outside the
    // timeout, and are added by hand.
    let apart = OpenApiRouter::<WebState>::new();
    let apart = apart.routes(routes!(live::events)).routes(routes!(gateway::pass));
    let (_, mut document) = documented().split_for_parts();
    document.merge(apart.split_for_parts().1);
    document
}

/// The whole site.
pub fn router(state: WebState) -> Router {
    let is_https = site::is_https(&state.service.settings);
    // What went wrong inside is an error where it went wrong. That a chain does not read is none, and
    // strangers can ask for that as often as they like.
    let failure = DefaultOnFailure::new().level(Level::DEBUG);
    let (api, _) = documented().split_for_parts();
    let document = openapi();
    let bounded = api
        .merge(pages::routes(&state))
        .route("/openapi.json", get(async move || Json(document)))
        .fallback(pages::nothing_here)
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "not with this method",
            )
        })
        .layer(
            ServiceBuilder::new()
                // No answer holds a secret beside what somebody else may have put there, which its length
                // could tell.
                .layer(CompressionLayer::new())
                .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, TIMEOUT))
                .layer(from_fn_with_state(state.clone(), answers::again)),
        );
    let gateway = gateway::routes().with_state(state.clone());
    // In one, from the outside in: every layer that a router takes by itself costs each request a box.
    let around = ServiceBuilder::new()
        .map_request(without_odd_id)
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(TraceLayer::new_for_http().make_span_with(span).on_failure(failure))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .map_response(move |response| with_fixed_headers(is_https, response))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(map_response(in_our_words))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let site = bounded.route("/v1/events", get(live::events)).with_state(state).layer(around);
    // Beside the site, not inside its layers.
    site.merge(gateway)
}

/// What every answer says to browsers, unless it says something else itself.
fn with_fixed_headers<B>(is_https: bool, mut response: http::Response<B>) -> http::Response<B> {
    let tls_only = is_https.then_some((header::STRICT_TRANSPORT_SECURITY, TLS_ONLY));
    for (name, value) in FIXED_HEADERS.into_iter().chain(tls_only) {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// What the framework refuses by itself, such as a body that is too long, it refuses in plain
/// text. Callers get it in the form of all other errors.
async fn in_our_words(response: Response) -> Response {
    let status = response.status();
    let refused = status.is_client_error() || status.is_server_error();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let plain = content_type.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !refused || !plain {
        return response;
    }
    if status == StatusCode::GATEWAY_TIMEOUT {
        tracing::warn!("a request took longer than {} s", TIMEOUT.as_secs());
    }
    let (code, title) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => ("body-too-large", "the body is too long"),
        StatusCode::METHOD_NOT_ALLOWED => ("method-not-allowed", "not with this method"),
        StatusCode::GATEWAY_TIMEOUT => ("timeout", "this took too long"),
        StatusCode::BAD_REQUEST => ("bad-request", "the query or the path does not read"),
        _ => ("refused", status.canonical_reason().unwrap_or("refused")),
    };
    Problem::new(status, code, title).into_response()
}

/// An id that a caller gives a request stands in the log and in the answer. What is long or odd is none.
fn without_odd_id<B>(mut request: http::Request<B>) -> http::Request<B> {
    let is_plain = |id: &HeaderValue| {
        let byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        (1..=64).contains(&id.len()) && id.as_bytes().iter().all(byte)
    };
    if !request.headers().get(REQUEST_ID).is_none_or(is_plain) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

/// What a log line says about a request: never its query, headers or body.
fn span(request: &Request) -> tracing::Span {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    tracing::info_span!("http", http.method = %request.method(), http.route = route, http.request_id = id)
}

fn panicked(_panic: Box<dyn Any + Send>) -> Response {
    tracing::error!("a handler panicked, which is a defect of Countersign");
    let title = "Countersign could not do this; the log of the service says why";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_long_or_odd_is_no_id() {
        let long = "z".repeat(65);
        for (id, is_kept) in [
            ("0193f1b2-7a6c.job_7", true),
            (&long[1..], true),
            (&long, false),
            ("", false),
            ("<b>", false),
            ("two words", false),
            ("\u{fc}", false),
        ] {
            let value = HeaderValue::from_bytes(id.as_bytes()).unwrap();
            let request = http::Request::builder().header(REQUEST_ID, value).body(()).unwrap();
            let kept = without_odd_id(request).headers().contains_key(REQUEST_ID);
            assert_eq!(kept, is_kept, "{id:?}");
        }
    }
}
