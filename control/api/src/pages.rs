//! The pages: the console and the reference. Whole in the binary, nothing from elsewhere.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Scripts and styles from here only; connections to here, and to streams (WebSockets) wherever they are.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! page {
    ($name:literal, $kind:literal) => {
        get(|| async { served(include_str!(concat!("../../console/", $name)), $kind) })
    };
}

/// The pages' routes.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", page!("index.html", "text/html; charset=utf-8"))
        .route("/console.js", page!("console.js", "text/javascript; charset=utf-8"))
        .route("/console.css", page!("console.css", "text/css; charset=utf-8"))
        .route("/api/docs", page!("docs.html", "text/html; charset=utf-8"))
        .route("/docs.js", page!("docs.js", "text/javascript; charset=utf-8"))
}

fn served(text: &'static str, kind: &'static str) -> Response {
    let headers: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    let mut response = text.into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
