//! What happened lately: a bounded memory of the dataplane's events, as a list and as server-sent events.
//!
//! Events are for people who look after the service; who needs every message opens a stream.

use crate::auth::Who;
use crate::dataplane::Happened;
use crate::input::Params;
use crate::openapi::Failed;
use crate::problem::Problem;
use crate::state::{Shared, blocking};
use crate::view::{limit, rfc3339};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use base::Eui64;
use futures_util::stream::{self, Stream};
use model::{ApiKey, Application, ApplicationId, KeyId, Stream as Tap, StreamId, Tenant, TenantId};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::{Error, Reader, Store};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, Interval, interval_at};
use utoipa::{IntoParams, ToSchema};

/// Events that are remembered.
const REMEMBERED_COUNT: usize = 10_000;
/// Events that a slow reader may fall behind.
const BEHIND_COUNT_MAX: usize = 1024;
/// How long the following of events outlives its API key.
const RECHECK: Duration = Duration::from_secs(2);
/// Events that are named together.
const BATCH_COUNT: usize = 256;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct EventView {
    /// Grows; to be given as `since`.
    id: String,
    /// What happened.
    #[schema(example = "joined")]
    kind: String,
    /// RFC 3339.
    at: String,
    /// The tenant's id.
    tenant: Option<String>,
    /// The application's id.
    application: Option<String>,
    /// The device's DevEUI.
    device: Option<String>,
    /// The gateway's EUI.
    gateway: Option<String>,
    /// The stream's id.
    stream: Option<String>,
    /// For people.
    detail: String,
}

/// Events, oldest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EventList {
    items: Vec<EventView>,
    /// To be given as `since` for what happens after these.
    next: Option<String>,
}

/// Which events.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventParams {
    /// Only events after the one with this id.
    #[serde(default)]
    since: Option<u64>,
    /// Events in one answer, 1 to 1000; 100 if absent. Without `since` the newest, else the oldest after it.
    #[serde(default)]
    limit: Option<usize>,
    /// Only events of this kind.
    #[serde(default)]
    kind: Option<String>,
    /// Only events about this device.
    #[serde(default)]
    device: Option<String>,
    /// Only events about this gateway.
    #[serde(default)]
    gateway: Option<String>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    tenant: u32,
    view: EventView,
}

/// The memory.
pub(crate) struct EventLog {
    kept: Arc<Mutex<VecDeque<Arc<Entry>>>>,
    live: broadcast::Sender<Arc<Entry>>,
}

impl EventLog {
    /// A memory that is filled from `source` by a task of its own, which ends with the source.
    pub(crate) fn start(store: Arc<Store>, source: broadcast::Receiver<Happened>) -> Self {
        let kept = Arc::new(Mutex::new(VecDeque::with_capacity(REMEMBERED_COUNT)));
        let (live, _) = broadcast::channel(BEHIND_COUNT_MAX);
        tokio::spawn(fill(store, source, Arc::clone(&kept), live.clone()));
        Self { kept, live }
    }

    fn after(&self, since: Option<u64>, limit: usize, wanted: &Wanted) -> Vec<Arc<Entry>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match since {
            Some(since) => {
                let start = kept.partition_point(|entry| entry.id <= since);
                kept.range(start..).filter(|entry| wanted.has(entry)).take(limit).cloned().collect()
            }
            None => {
                let mut newest: Vec<_> =
                    kept.iter().rev().filter(|entry| wanted.has(entry)).take(limit).cloned().collect();
                newest.reverse();
                newest
            }
        }
    }
}

async fn fill(
    store: Arc<Store>,
    mut source: broadcast::Receiver<Happened>,
    kept: Arc<Mutex<VecDeque<Arc<Entry>>>>,
    live: broadcast::Sender<Arc<Entry>>,
) {
    // Ids go on growing over a restart.
    let mut next_id = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    let mut batch = Vec::with_capacity(BATCH_COUNT);
    loop {
        match source.recv().await {
            Ok(event) => batch.push(event),
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        }
        while batch.len() < BATCH_COUNT {
            let Ok(event) = source.try_recv() else { break };
            batch.push(event);
        }
        let (events, reader) = (std::mem::take(&mut batch), Arc::clone(&store));
        let first = next_id;
        next_id += events.len() as u64;
        let named = blocking(move || reader.read(|reader| name(reader, first, events))).await;
        let Ok(Ok(entries)) = named else { continue };
        for entry in entries.into_iter().map(Arc::new) {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == REMEMBERED_COUNT {
                kept.pop_front();
            }
            kept.push_back(Arc::clone(&entry));
            // Nobody may be listening.
            let _ = live.send(entry);
        }
    }
}

fn name(reader: &Reader<'_>, first: u64, events: Vec<Happened>) -> Result<Vec<Entry>, Error> {
    let eui = |eui: Eui64| (eui != Eui64::default()).then(|| eui.to_string());
    let one = |(index, event): (usize, Happened)| {
        let id = first + index as u64;
        let view = EventView {
            id: id.to_string(),
            kind: event.kind,
            at: rfc3339(event.at_us),
            tenant: reader.uid_of::<Tenant>(TenantId(event.tenant))?.map(|uid| uid.to_string()),
            application: reader.uid_of::<Application>(ApplicationId(event.application))?.map(|uid| uid.to_string()),
            device: eui(event.dev_eui),
            gateway: eui(event.gateway),
            stream: reader.uid_of::<Tap>(StreamId(event.stream))?.map(|uid| uid.to_string()),
            detail: event.detail,
        };
        Ok(Entry { id, tenant: event.tenant, view })
    };
    events.into_iter().enumerate().map(one).collect()
}

/// What a caller may see and asks for.
struct Wanted {
    tenant: Option<u32>,
    kind: Option<String>,
    device: Option<String>,
    gateway: Option<String>,
}

impl Wanted {
    fn new(who: &Who, params: &EventParams) -> Result<Self, Problem> {
        let eui = |field: &str, text: &Option<String>| {
            let parse = |text: &String| text.parse::<Eui64>().map_err(|error| Problem::field(field, error.to_string()));
            Ok::<_, Problem>(text.as_ref().map(parse).transpose()?.map(|eui| eui.to_string()))
        };
        Ok(Self {
            tenant: who.role.tenant().map(|tenant| tenant.0),
            kind: params.kind.clone(),
            device: eui("device", &params.device)?,
            gateway: eui("gateway", &params.gateway)?,
        })
    }

    fn has(&self, entry: &Entry) -> bool {
        let same = |wanted: &Option<String>, has: Option<&String>| wanted.is_none() || wanted.as_ref() == has;
        self.tenant.is_none_or(|tenant| tenant == entry.tenant)
            && same(&self.kind, Some(&entry.view.kind))
            && same(&self.device, entry.view.device.as_ref())
            && same(&self.gateway, entry.view.gateway.as_ref())
    }
}

/// Lists what happened lately.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", params(EventParams), responses(
    (status = 200, description = "Events, oldest first", body = EventList),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn list(
    State(api): State<Shared>,
    who: Who,
    Params(params): Params<EventParams>,
) -> Result<Response, Problem> {
    let entries = api.events.after(params.since, limit(params.limit)?, &Wanted::new(&who, &params)?);
    let next = entries.last().map(|entry| entry.id.to_string()).or(params.since.map(|since| since.to_string()));
    let items = entries.iter().map(|entry| entry.view.clone()).collect();
    Ok(axum::Json(EventList { items, next }).into_response())
}

/// Follows what happens, as server-sent events; `since` or `Last-Event-ID` first replays what is remembered.
#[utoipa::path(get, path = "/api/v1/events/stream", tag = "events", params(EventParams), responses(
    (status = 200, description = "Events as they happen, each the JSON of an event; ends with its API key", body = String,
        content_type = "text/event-stream"),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn follow(
    State(api): State<Shared>,
    who: Who,
    headers: HeaderMap,
    Params(params): Params<EventParams>,
) -> Result<Response, Problem> {
    let wanted = Wanted::new(&who, &params)?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let since = seen.or(params.since);
    // Subscribed before the memory is read, so that nothing falls between; what is in both is told once.
    let live = api.events.live.subscribe();
    let replay = if since.is_some() { api.events.after(since, REMEMBERED_COUNT, &wanted) } else { Vec::new() };
    let told = replay.last().map_or(0, |entry| entry.id);
    let following = Following {
        replay: replay.into(),
        live,
        wanted,
        told,
        key: who.key.number,
        recheck: interval_at(Instant::now() + RECHECK, RECHECK),
        stopping: api.stopping.subscribe(),
        api,
    };
    let alive = sse::KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(following.stream()).keep_alive(alive).into_response())
}

struct Following {
    replay: VecDeque<Arc<Entry>>,
    live: broadcast::Receiver<Arc<Entry>>,
    wanted: Wanted,
    told: u64,
    key: KeyId,
    recheck: Interval,
    stopping: watch::Receiver<bool>,
    api: Shared,
}

impl Following {
    /// Whether the API key that it was asked with is still one.
    async fn is_allowed(&self) -> bool {
        let key = self.key;
        self.api.read(move |reader| Ok(reader.by_number::<ApiKey>(key)?.is_some())).await.unwrap_or(false)
    }

    fn stream(self) -> impl Stream<Item = Result<sse::Event, Infallible>> {
        stream::unfold(self, |mut state| async move {
            loop {
                if let Some(entry) = state.replay.pop_front() {
                    return Some((Ok(message(&entry)), state));
                }
                let stopped = async {
                    // The sender lives as long as the API.
                    let _ = state.stopping.wait_for(|is_over| *is_over).await;
                };
                let next = tokio::select! {
                    next = state.live.recv() => next,
                    () = stopped => return None,
                    _ = state.recheck.tick() => {
                        if !state.is_allowed().await {
                            return None;
                        }
                        continue;
                    }
                };
                match next {
                    Ok(entry) if entry.id > state.told && state.wanted.has(&entry) => {
                        return Some((Ok(message(&entry)), state));
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(count)) => {
                        let event = sse::Event::default().event("missed").data(count.to_string());
                        return Some((Ok(event), state));
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
        })
    }
}

fn message(entry: &Entry) -> sse::Event {
    let data = serde_json::to_string(&entry.view).unwrap_or_default();
    sse::Event::default().id(entry.id.to_string()).data(data)
}
