//! What all requests share: the store, the dataplane, and the way to both.

use crate::dataplane::{Dataplane, InForce, Unavailable};
use crate::events::EventLog;
use crate::input::etag;
use crate::metrics::{Connections, Requests};
use crate::problem::Problem;
use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Reader, Store, Writer, Written};
use tokio::sync::watch;

/// What the API is told at start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Trunkline's version.
    pub version: String,
    /// Where streams are opened, without path: `wss://host:8443`.
    pub stream_url: String,
    /// How long a write waits to be in force before it answers that it is pending.
    pub patience: Duration,
    /// How long the body of a request may take; an import takes as long as it needs.
    pub body_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            stream_url: "wss://localhost:8443".into(),
            patience: Duration::from_secs(2),
            body_timeout: Duration::from_secs(30),
        }
    }
}

/// The API: everything that its handlers need.
pub struct Api {
    pub(crate) store: Arc<Store>,
    pub(crate) dataplane: Arc<dyn Dataplane>,
    pub(crate) options: Options,
    pub(crate) events: EventLog,
    pub(crate) requests: Requests,
    pub(crate) connections: Arc<Connections>,
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) started: Instant,
}

/// As handlers have it.
pub(crate) type Shared = Arc<Api>;

static APPLIED: HeaderName = HeaderName::from_static("trunkline-applied");
static REVISION: HeaderName = HeaderName::from_static("trunkline-revision");

impl Api {
    /// Ends what would never end by itself, as the following of events.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Where the listener counts its connections.
    #[must_use]
    pub fn connections(&self) -> Arc<Connections> {
        Arc::clone(&self.connections)
    }

    /// Reads the store on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Reader<'_>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let store = Arc::clone(&self.store);
        blocking(move || store.read(f)).await?
    }

    /// Writes to the store, tells the dataplane, and waits for it a little.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Writer<'_>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<(T, Done), Problem> {
        let written = self.commit(f).await?;
        let applied = self.dataplane.in_force(written.revision, self.options.patience).await == InForce::Yes;
        Ok((written.value, Done { revision: written.revision, applied }))
    }

    /// Writes what the dataplane does not know of, and waits for nothing.
    pub(crate) async fn write_quietly<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Writer<'_>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        Ok(self.commit(f).await?.value)
    }

    /// Writes to the store and tells the dataplane. Both happen on the thread that may block: a client that hangs up
    /// ends this future, but not that thread, and what is stored must be told.
    async fn commit<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Writer<'_>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<Written<T>, Problem> {
        let (store, dataplane) = (Arc::clone(&self.store), Arc::clone(&self.dataplane));
        blocking(move || {
            let written = store.write(f)?;
            dataplane.committed(written.revision);
            Ok(written)
        })
        .await?
    }

    /// The revision that is in force everywhere.
    pub(crate) fn in_force(&self) -> u64 {
        self.dataplane.status().revision
    }
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(f).await.map_err(|error| {
        tracing::error!("a request failed: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request failed; the log says more")
    })
}

/// A write that is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) revision: u64,
    pub(crate) applied: bool,
}

impl Done {
    /// The answer: `status` if the write is in force, else 202.
    pub(crate) fn respond(self, status: StatusCode, body: Option<&impl Serialize>) -> Response {
        let status = if self.applied { status } else { StatusCode::ACCEPTED };
        let mut response = match body {
            Some(body) => (status, Json(body)).into_response(),
            None => status.into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(APPLIED.clone(), HeaderValue::from_static(if self.applied { "true" } else { "false" }));
        headers.insert(REVISION.clone(), HeaderValue::from(self.revision));
        response
    }

    /// The answer to a removal: 204 if it is in force, else 202.
    pub(crate) fn respond_removed(self) -> Response {
        self.respond(StatusCode::NO_CONTENT, None::<&()>)
    }
}

/// Adds an entity tag.
pub(crate) fn tagged(mut response: Response, revision: u64) -> Response {
    if let Ok(value) = HeaderValue::from_str(&etag(revision)) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// Adds where a new thing is.
pub(crate) fn located(mut response: Response, path: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(path) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        match error {
            Unavailable::NotSent => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the dataplane is not connected, or busy; nothing was sent to it",
            ),
            Unavailable::Unknown => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "the dataplane did not answer; the command may have taken effect",
            ),
            Unavailable::Refused { field, reason } => Self::field(&field, reason),
            Unavailable::TooOld { needed, spoken } => Self::new(
                StatusCode::NOT_IMPLEMENTED,
                format!(
                    "the dataplane speaks version {spoken} of the contract and this needs {needed}: upgrade the dataplane"
                ),
            ),
            Unavailable::Rejected(reason) => match reason.as_str() {
                "unknown_stream" => Self::new(StatusCode::CONFLICT, "the dataplane does not have the stream yet"),
                "not_durable" => {
                    Self::new(StatusCode::CONFLICT, "the stream is not durable, and nothing of it is kept")
                }
                "unknown_group" => Self::absent("group"),
                "in_use" => Self::new(StatusCode::CONFLICT, "the group has sessions"),
                "unavailable" => {
                    Self::new(StatusCode::SERVICE_UNAVAILABLE, "the dataplane's journal cannot be read or written now")
                }
                reason => Self::new(StatusCode::CONFLICT, format!("the dataplane did not do it: {reason}")),
            },
        }
    }
}
