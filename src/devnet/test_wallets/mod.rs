//! Test wallets for the pages of the devnet, as extensions of a browser offer theirs (EIP-6963), with the
//! published keys of the local chain.
//!
//! ```text
//! GET  /devnet/wallets.js, .css  named by the pages of the devnet, and by no others
//! GET  /devnet/wallets           names and addresses; where the chain is
//! POST /devnet/wallet/show       what a wallet would show before it does as asked
//! POST /devnet/wallet            does it: the keys stay here
//! ```
//!
//! There is no setting for this. `countersign devnet` puts it beside the site in code, by [`beside`];
//! nothing else does, and without the feature `devnet` it is not compiled.

mod asked;

use std::sync::Arc;

use alloy::primitives::Address;
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use url::{Host, Url};

use super::{ChainScene, Rpc, Wallet};
use crate::request::ids::ChainId;
use asked::{Asked, Call, Refused};

const SCRIPT: &str = include_str!("wallets.js");
const STYLE: &str = include_str!("wallets.css");
/// What a page of the devnet has in its head, beside what every page has.
const NAMED: &str = "<link rel=\"stylesheet\" href=\"/devnet/wallets.css\">\n  \
     <script type=\"module\" src=\"/devnet/wallets.js\"></script>\n</head>";
/// Bytes of the longest page.
const PAGE_MAX: usize = 16 * 1024 * 1024;
/// Of every answer here, as of the others of the site.
const HEADERS: [(header::HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];

/// The wallets, and the chain that they are for.
struct Purse {
    rpc: Rpc,
    chain: ChainId,
    wallets: Vec<(String, Wallet)>,
}

/// Puts the test wallets of a chain beside the site, and has its pages name them.
pub fn beside(scene: &ChainScene) -> impl FnOnce(Router) -> Router + use<> {
    let owners = scene.owners.iter().zip(1..);
    let mut wallets: Vec<(String, Wallet)> =
        owners.map(|(wallet, number)| (format!("Test owner {number}"), wallet.clone())).collect();
    wallets.push(("Test operator".into(), scene.executor.clone()));
    let purse = Arc::new(Purse { rpc: scene.rpc.clone(), chain: scene.chain_id, wallets });
    let file = |kind: &'static str, text: &'static str| {
        get(move || async move { (HEADERS, [(header::CONTENT_TYPE, kind)], text) })
    };
    let routes = Router::new()
        .route("/devnet/wallets.js", file("text/javascript; charset=utf-8", SCRIPT))
        .route("/devnet/wallets.css", file("text/css; charset=utf-8", STYLE))
        .route("/devnet/wallets", get(list))
        .route("/devnet/wallet/show", post(show))
        .route("/devnet/wallet", post(act))
        .with_state(purse);
    move |site| site.merge(routes).layer(middleware::from_fn(name))
}

/// Has a page name script and style. The page is written by the service, which knows of neither.
async fn name(mut request: Request, next: Next) -> Response {
    let is = |value: Option<&HeaderValue>, kind| {
        value.and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains(kind))
    };
    if is(request.headers().get(header::ACCEPT), "text/html") {
        // A page that is compressed could not be added to.
        request.headers_mut().remove(header::ACCEPT_ENCODING);
    }
    let answer = next.run(request).await;
    let is_plain = !answer.headers().contains_key(header::CONTENT_ENCODING);
    if !is_plain || !is(answer.headers().get(header::CONTENT_TYPE), "text/html") {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    let Ok(page) = axum::body::to_bytes(body, PAGE_MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    head.headers.remove(header::CONTENT_LENGTH);
    let page = String::from_utf8_lossy(&page).replacen("</head>", NAMED, 1);
    Response::from_parts(head, page.into())
}

async fn list(State(purse): State<Arc<Purse>>) -> impl IntoResponse {
    let wallets = purse.wallets.iter();
    let wallets =
        wallets.map(|(name, one)| json!({ "name": name, "address": one.address().to_string() }));
    let chain_id = format!("{:#x}", purse.chain.get());
    (
        HEADERS,
        Json(
            json!({ "chain_id": chain_id, "rpc": purse.rpc.url(), "wallets": wallets.collect::<Vec<_>>() }),
        ),
    )
}

async fn show(
    State(purse): State<Arc<Purse>>,
    headers: HeaderMap,
    Json(call): Json<Call>,
) -> impl IntoResponse {
    (HEADERS, answer(read(&purse, &headers, &call).map(|(_, asked)| asked.shown())))
}

async fn act(
    State(purse): State<Arc<Purse>>,
    headers: HeaderMap,
    Json(call): Json<Call>,
) -> impl IntoResponse {
    let done = async {
        let (wallet, asked) = read(&purse, &headers, &call)?;
        asked.done_by(wallet, &purse.rpc).await
    };
    (HEADERS, answer(done.await))
}

fn answer(done: Result<Value, Refused>) -> Response {
    match done {
        Ok(result) => Json(json!({ "result": result })).into_response(),
        Err(refused) => {
            let said =
                json!({ "error": { "code": refused.code(), "message": refused.to_string() } });
            (refused.status(), Json(said)).into_response()
        }
    }
}

fn read<'a>(
    purse: &'a Purse,
    headers: &HeaderMap,
    call: &Call,
) -> Result<(&'a Wallet, Asked), Refused> {
    if !is_from_here(headers) {
        return Err(Refused::Elsewhere);
    }
    let of = |address: Address| purse.wallets.iter().find(|(_, one)| one.address() == address);
    let (_, wallet) = of(call.address).ok_or(Refused::Unknown)?;
    Ok((wallet, Asked::read(call)?))
}

/// Whether a page of this site asks. A name could be led here by whoever owns it, so the site counts
/// under its number, or as this machine.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(origin), Some(host)) = (text(header::ORIGIN), text(header::HOST)) else {
        return false;
    };
    let is_numbered = match Url::parse(origin).ok().as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    };
    is_numbered && origin.strip_prefix("http://") == Some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_of_this_site_is_from_here() {
        for (origin, host, expected) in [
            (Some("http://127.0.0.1:8465"), "127.0.0.1:8465", true),
            (Some("http://localhost:8465"), "localhost:8465", true),
            (Some("http://[::1]:8465"), "[::1]:8465", true),
            (Some("http://127.0.0.1:8466"), "127.0.0.1:8465", false),
            (Some("https://127.0.0.1:8465"), "127.0.0.1:8465", false),
            (Some("http://evil.example:8465"), "evil.example:8465", false),
            (Some("http://evil.example"), "127.0.0.1:8465", false),
            (Some("http://localhost.evil.example"), "localhost.evil.example", false),
            (Some("null"), "127.0.0.1:8465", false),
            (None, "127.0.0.1:8465", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            headers.extend(origin.map(|origin| (header::ORIGIN, origin.parse().unwrap())));
            assert_eq!(is_from_here(&headers), expected, "{origin:?} {host}");
        }
    }
}
