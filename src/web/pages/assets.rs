//! The style sheet, the script and the icon: compiled in, the same for everybody, and asked for
//! again only when they changed.

use std::future::ready;

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use sha2::{Digest, Sha256};

use crate::web::WebState;

#[derive(Clone, Copy)]
struct Asset {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const ASSETS: [Asset; 8] = [
    Asset {
        path: "/assets/style.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../assets/style.css"),
    },
    Asset {
        path: "/assets/live.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../assets/live.js"),
    },
    Asset {
        path: "/assets/wallet.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../assets/wallet.js"),
    },
    Asset {
        path: "/assets/safe.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../assets/safe.js"),
    },
    Asset {
        path: "/assets/keccak.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../assets/keccak.js"),
    },
    Asset {
        path: "/assets/sha256.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../assets/sha256.js"),
    },
    Asset {
        path: "/assets/journal.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../assets/journal.js"),
    },
    Asset {
        path: "/assets/icon.svg",
        content_type: "image/svg+xml",
        bytes: include_bytes!("../assets/icon.svg"),
    },
];

pub fn routes() -> Router<WebState> {
    ASSETS.into_iter().fold(Router::new(), |router, asset| {
        let tag = tag(asset.bytes);
        let answer = move |headers: HeaderMap| ready(asset.answer(&tag, &headers));
        router.route(asset.path, get(answer))
    })
}

/// The start of the content's hash: another content has another tag.
fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", alloy::hex::encode(&Sha256::digest(bytes)[..12]))
}

impl Asset {
    fn answer(&self, tag: &str, headers: &HeaderMap) -> Response {
        let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        // Asked for on every page, answered without a body: no page is ever styled by an old file.
        let caching = [(header::ETAG, tag), (header::CACHE_CONTROL, "no-cache")];
        if known.is_some_and(|known| known.contains(tag)) {
            return (StatusCode::NOT_MODIFIED, caching).into_response();
        }
        (caching, [(header::CONTENT_TYPE, self.content_type)], self.bytes).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let tag = tag(ASSETS[0].bytes);
        let mut headers = HeaderMap::new();
        assert_eq!(ASSETS[0].answer(&tag, &headers).status(), StatusCode::OK);
        headers.insert(header::IF_NONE_MATCH, format!("W/{tag}").parse().unwrap());
        assert_eq!(ASSETS[0].answer(&tag, &headers).status(), StatusCode::NOT_MODIFIED);
        headers.insert(header::IF_NONE_MATCH, "\"other\"".parse().unwrap());
        assert_eq!(ASSETS[0].answer(&tag, &headers).status(), StatusCode::OK);
    }

    #[test]
    fn nothing_is_fetched_from_another_host() {
        for asset in ASSETS.iter().filter(|asset| asset.content_type != "image/svg+xml") {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            assert!(!text.contains("://"), "{} names another host", asset.path);
        }
    }
}
