//! REST under `/api/v1`: one file per resource; what the outside calls things stops here.
//!
//! Owns the words, statuses and shapes of the API, its OpenAPI document, who may do what, and the pages. Never judges a
//! configuration alone (the model and the dataplane's compiler do), never speaks to the dataplane itself (a
//! [`dataplane::Dataplane`] does), never logs a query string or a body.
//!
//! ```text
//!   request -> Who (API key, role) -> body -> model -> store (checker, commit) -> Dataplane::committed
//!                                                                              -> in force? 200 : 202
//! ```

mod applications;
mod auth;
pub mod dataplane;
mod dead_letters;
mod devices;
mod downlinks;
mod events;
mod gateways;
mod groups;
mod history;
mod import;
mod input;
mod journal;
mod keys;
mod metrics;
mod openapi;
mod pages;
mod problem;
mod profiles;
mod resource;
mod settings;
mod state;
mod status;
mod streams;
mod tenants;
mod time;
mod tokens;
mod view;

#[cfg(test)]
mod tests;

pub use metrics::Connections;
pub use problem::{FieldProblem, Problem};
pub use state::{Api, Options};

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router, middleware};
use dataplane::Dataplane;
use events::EventLog;
use model::{ApiKey, Name, Role};
use std::sync::Arc;
use std::time::Instant;
use store::{Error, Scope, Store};
use tokio::sync::watch;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The greatest body of any request but an import.
const BODY_BYTES_MAX: usize = 1 << 20;

impl Api {
    /// An API over a store and a dataplane. Must be called within a tokio runtime: it starts the task that remembers
    /// events.
    #[must_use]
    pub fn new(store: Arc<Store>, dataplane: Arc<dyn Dataplane>, options: Options) -> Arc<Self> {
        let events = EventLog::start(Arc::clone(&store), dataplane.events());
        Arc::new(Self {
            store,
            dataplane,
            options,
            events,
            requests: metrics::Requests::default(),
            connections: Arc::default(),
            stopping: watch::Sender::new(false),
            started: Instant::now(),
        })
    }
}

/// Everything that is served: the API, its document, metrics, health, and the pages.
pub fn router(api: Arc<Api>) -> Router {
    let (routes, mut document) = documented().split_for_parts();
    openapi::name_operations(&mut document);
    document.info.version.clone_from(&api.options.version);
    let document = Json(document);
    Router::new()
        .merge(routes)
        .route("/api/v1/openapi.json", get(move || async move { document }))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(status::health))
        .merge(pages::routes())
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing here") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this cannot be done here")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), metrics::count))
        .with_state(api)
}

/// The routes that are in the document: exactly those, since both are made of the same list.
fn documented() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(openapi::Document::openapi())
        .routes(routes!(tenants::create, tenants::list))
        .routes(routes!(tenants::read, tenants::replace, tenants::patch, tenants::remove))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::read, keys::replace, keys::remove))
        .routes(routes!(applications::create, applications::list))
        .routes(routes!(applications::read, applications::replace, applications::patch, applications::remove))
        .routes(routes!(profiles::create, profiles::list))
        .routes(routes!(profiles::read, profiles::replace, profiles::patch, profiles::remove))
        .routes(routes!(devices::create, devices::list))
        .routes(routes!(devices::read, devices::replace, devices::patch, devices::remove))
        .routes(routes!(devices::show_keys))
        .routes(routes!(import::import))
        .routes(routes!(downlinks::create, downlinks::list, downlinks::flush))
        .routes(routes!(gateways::create, gateways::list))
        .routes(routes!(gateways::read, gateways::replace, gateways::patch, gateways::remove))
        .routes(routes!(streams::create, streams::list))
        .routes(routes!(streams::read, streams::replace, streams::patch, streams::remove))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::read, tokens::remove))
        .routes(routes!(tokens::rotate))
        .routes(routes!(groups::seek))
        .routes(routes!(groups::remove))
        .routes(routes!(history::read))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::put_back))
        .routes(routes!(events::list))
        .routes(routes!(events::follow))
        .routes(routes!(settings::read, settings::replace, settings::patch))
        .routes(routes!(status::me))
        .routes(routes!(status::status))
        .routes(routes!(journal::read))
}

/// At the first start, makes an operator's API key and says whether it did. `keep` is given its secret, this once only,
/// and before the key is stored: a secret that could not be kept is the secret of no key.
///
/// # Errors
/// Those of `keep`, or when the store fails.
pub fn bootstrap<E: From<Error>>(store: &Store, keep: impl FnOnce(&str) -> Result<(), E>) -> Result<bool, E> {
    let written = store.write(|writer| {
        if !writer.list::<ApiKey>(Scope::default(), 0, 1)?.is_empty() {
            writer.only_try();
            return Ok(false);
        }
        let name = Name::parse("First operator").map_err(Error::Broken)?;
        let (_, secret) = writer.insert_key(name, Role::Operator)?;
        keep(secret.reveal())?;
        Ok::<_, E>(true)
    })?;
    Ok(written.value)
}
