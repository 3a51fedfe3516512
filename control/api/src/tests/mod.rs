//! The router, in process, over a real store and a dataplane that is played.

mod access;
mod documents;
mod durable;
mod events;
mod imports;
mod resources;

use crate::dataplane::{
    Answer, Dataplane, DeadLetter, DeadLetterPage, DeadLetters, DeviceState, Disk, Enqueue, GatewayState, GroupState,
    Happened, History, HistoryPage, InForce, JournalState, LinkStatus, Query, Queued, QueuedDownlink, Reply, SeekGroup,
    StreamConnection, StreamState, Unavailable,
};
use crate::{Api, Options, bootstrap, router};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, header};
use base::Eui64;
use model::Compiler;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::Store;
use tempfile::TempDir;
use tokio::sync::broadcast;
use tower::ServiceExt;

/// A dataplane that has everything in force at once, or is away.
pub(super) struct Played {
    pub(super) is_away: AtomicBool,
    /// Whether it speaks a version of the contract without durable streams.
    pub(super) is_old: AtomicBool,
    /// What was asked of its durable streams.
    pub(super) asked: Mutex<Vec<String>>,
    revision: AtomicU64,
    pub(super) queue: Mutex<Vec<Enqueue>>,
    pub(super) reject: Mutex<Option<String>>,
    /// It has no room for these.
    pub(super) full_for: Mutex<Vec<Eui64>>,
    pub(super) events: broadcast::Sender<Happened>,
}

impl Played {
    fn here(&self) -> Result<(), Unavailable> {
        if self.is_away.load(Ordering::SeqCst) { Err(Unavailable::NotSent) } else { Ok(()) }
    }

    fn too_old(&self) -> Option<Unavailable> {
        let too_old = Unavailable::TooOld { needed: "1.1".into(), spoken: "1.0".into() };
        self.is_old.load(Ordering::SeqCst).then_some(too_old)
    }

    /// Takes a question about durable streams, or says why it does not.
    fn take(&self, asked: &impl std::fmt::Debug) -> Result<(), Unavailable> {
        self.here()?;
        self.too_old().map_or(Ok(()), Err)?;
        self.asked.lock().expect("sound").push(format!("{asked:?}"));
        let reject = self.reject.lock().expect("sound").clone();
        reject.map_or(Ok(()), |reason| Err(Unavailable::Rejected(reason)))
    }
}

impl Dataplane for Played {
    fn committed(&self, revision: u64) {
        if self.here().is_ok() {
            self.revision.fetch_max(revision, Ordering::SeqCst);
        }
    }

    fn in_force(&self, revision: u64, _: Duration) -> Reply<'_, InForce> {
        let is_in_force = self.here().is_ok() && self.revision.load(Ordering::SeqCst) >= revision;
        Box::pin(async move { if is_in_force { InForce::Yes } else { InForce::Pending } })
    }

    fn query(&self, query: Query) -> Reply<'_, Result<Answer, Unavailable>> {
        Box::pin(async move {
            self.here()?;
            if query.journal {
                self.too_old().map_or(Ok(()), Err)?;
            }
            let queue = self.queue.lock().expect("sound").clone();
            let full_for = self.full_for.lock().expect("sound").clone();
            let no_room = |eui| full_for.contains(&eui).then_some(1);
            let device = |dev_eui: Eui64| DeviceState {
                no_room: no_room(dev_eui),
                dev_eui,
                active: true,
                dev_addr: 0x2601_1BDA,
                session: 3,
                fcnt_up: 17,
                fcnt_down: 4,
                last_seen_us: 1_709_251_199_000_000,
                gateway: Eui64::new(9),
                rssi_deci: -1125,
                snr_deci: 75,
                queue: queue
                    .iter()
                    .enumerate()
                    .filter(|(_, downlink)| downlink.dev_eui == dev_eui)
                    .map(|(index, downlink)| QueuedDownlink {
                        id: index as u64 + 1,
                        fport: downlink.fport,
                        confirmed: downlink.confirmed,
                        payload: downlink.payload.clone(),
                        attempts: 0,
                    })
                    .collect(),
            };
            let gateway = |eui| GatewayState {
                no_room: no_room(eui),
                eui,
                online: true,
                last_seen_us: 1_709_251_199_000_000,
                address: "192.0.2.1:1700".into(),
                shard: 1,
                status: r#"{"rxnb":2}"#.into(),
                uplinks: 5,
                downlinks: 6,
            };
            let stream = |id| StreamState {
                id,
                connections: vec![StreamConnection { peer: "192.0.2.2:5".into(), since_us: 1, ..Default::default() }],
                delivered: 8,
                delivered_bytes: 900,
                drops: [("queue_full".to_owned(), 2)].into(),
                downlinks: 1,
                groups: vec![GroupState {
                    group: "billing".into(),
                    lag_messages: 7,
                    oldest_us: 1,
                    ..Default::default()
                }],
                retained_messages: 700,
                retained_bytes: 70_000,
                retained_oldest_us: 1_709_251_199_000_000,
                retention_s: 604_800,
                retention_bytes: 10 << 30,
                not_stored: 3,
            };
            let journal = |shard| JournalState {
                shard,
                disk: if shard == 0 { Disk::Healthy } else { Disk::Full },
                bytes: 1 << 40,
                segments: 9,
                ..Default::default()
            };
            Ok(Answer {
                devices: (query.devices.into_iter().map(device))
                    .map(|it| if it.no_room.is_some() { DeviceState { active: false, ..it } } else { it })
                    .collect(),
                gateways: query.gateways.into_iter().map(gateway).collect(),
                streams: query.streams.into_iter().map(stream).collect(),
                journal: if query.journal { [1, 0].map(journal).into() } else { Vec::new() },
            })
        })
    }

    fn enqueue(&self, downlink: Enqueue) -> Reply<'_, Result<Queued, Unavailable>> {
        Box::pin(async move {
            self.here()?;
            if let Some(reason) = self.reject.lock().expect("sound").clone() {
                return Ok(Queued::Rejected(reason));
            }
            let mut queue = self.queue.lock().expect("sound");
            queue.push(downlink);
            Ok(Queued::Accepted(queue.len() as u64))
        })
    }

    fn flush(&self, dev_eui: Eui64) -> Reply<'_, Result<u32, Unavailable>> {
        Box::pin(async move {
            self.here()?;
            let mut queue = self.queue.lock().expect("sound");
            let before = queue.len();
            queue.retain(|downlink| downlink.dev_eui != dev_eui);
            Ok((before - queue.len()) as u32)
        })
    }

    fn seek_group(&self, seek: SeekGroup) -> Reply<'_, Result<(), Unavailable>> {
        Box::pin(async move { self.take(&seek) })
    }

    fn remove_group(&self, stream: u32, group: String) -> Reply<'_, Result<(), Unavailable>> {
        Box::pin(async move { self.take(&(stream, group)) })
    }

    fn history(&self, history: History) -> Reply<'_, Result<HistoryPage, Unavailable>> {
        Box::pin(async move {
            self.take(&history)?;
            let messages = vec![br#"{"Type":2,"FCnt":1}"#.to_vec(), b"2;\"x\"".to_vec()];
            let next = if history.page.is_empty() { vec![0xAB, 0] } else { Vec::new() };
            Ok(HistoryPage { messages, next })
        })
    }

    fn dead_letters(&self, letters: DeadLetters) -> Reply<'_, Result<DeadLetterPage, Unavailable>> {
        Box::pin(async move {
            self.take(&letters)?;
            let letter = DeadLetter {
                id: "77".into(),
                group: "billing".into(),
                reason: "too hot".into(),
                attempts: 5,
                at_us: 1_709_251_199_000_000,
                message: br#"{"Type":2}"#.to_vec(),
            };
            Ok(DeadLetterPage { letters: vec![letter], next: vec![9] })
        })
    }

    fn put_back(&self, stream: u32, ids: Vec<String>) -> Reply<'_, Result<u32, Unavailable>> {
        Box::pin(async move {
            self.take(&(stream, &ids))?;
            Ok(if ids.is_empty() { 12 } else { ids.len() as u32 })
        })
    }

    fn events(&self) -> broadcast::Receiver<Happened> {
        self.events.subscribe()
    }

    fn status(&self) -> LinkStatus {
        let connected = self.here().is_ok();
        let revision = if connected { self.revision.load(Ordering::SeqCst) } else { 0 };
        let lacks_durable = if connected { self.too_old() } else { None };
        LinkStatus { connected, shards: vec![revision; 2], revision, lacks_durable, ..LinkStatus::default() }
    }
}

/// An API with an operator's key, two tenants, and their keys.
pub(super) struct House {
    _folder: TempDir,
    pub(super) router: Router,
    pub(super) api: Arc<Api>,
    pub(super) store: Arc<Store>,
    pub(super) dataplane: Arc<Played>,
    pub(super) operator: String,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answered {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The value, after seeing that the status is what it must be.
    #[track_caller]
    pub(super) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// The fields that a problem names.
    #[track_caller]
    pub(super) fn fields(&self) -> Vec<String> {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().expect("a field").to_owned()).collect()
    }
}

impl House {
    pub(super) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(super) fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sqlite");
        let store = Store::open(&path, &folder.path().join("control.key"), Box::<Compiler>::default());
        let store = Arc::new(store.expect("a store"));
        let mut operator = String::new();
        // A secret that cannot be kept leaves no key behind: the next start makes another.
        let lost = bootstrap(&store, |_| Err(store::Error::Broken("no file".into())));
        assert!(lost.is_err_and(|error| error.to_string().contains("no file")));
        let keep = |secret: &str| {
            operator.push_str(secret);
            Ok::<_, store::Error>(())
        };
        assert!(bootstrap(&store, keep).expect("a store"), "the first start");
        assert!(!bootstrap(&store, |_| Ok::<_, store::Error>(())).expect("a store"), "once only");
        let dataplane = Arc::new(Played {
            is_away: AtomicBool::new(false),
            is_old: AtomicBool::new(false),
            asked: Mutex::default(),
            revision: AtomicU64::new(store.revision()),
            queue: Mutex::default(),
            reject: Mutex::default(),
            full_for: Mutex::default(),
            events: broadcast::channel(64).0,
        });
        let link: Arc<dyn Dataplane> = Arc::<Played>::clone(&dataplane);
        let api = Api::new(Arc::clone(&store), link, options);
        Self { _folder: folder, router: router(Arc::clone(&api)), api, store, dataplane, operator }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answered {
        let response = self.router.clone().oneshot(request).await.expect("a router always answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = to_bytes(response.into_body(), 64 << 20).await.expect("a body");
        Answered { status, headers, text: String::from_utf8(bytes.to_vec()).expect("text") }
    }

    pub(super) async fn ask(&self, key: &str, method: &str, path: &str, body: Option<Value>) -> Answered {
        self.ask_if(key, method, path, body, None).await
    }

    pub(super) async fn ask_if(
        &self,
        key: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
        tag: Option<&str>,
    ) -> Answered {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = Request::builder().method(method).uri(format!("/api/v1/{path}"));
        if !key.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        if let Some(tag) = tag {
            request = request.header(header::IF_MATCH, tag);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).expect("a request")).await
    }

    pub(super) async fn post(&self, key: &str, path: &str, body: Value) -> Answered {
        self.ask(key, "POST", path, Some(body)).await
    }

    pub(super) async fn get(&self, key: &str, path: &str) -> Answered {
        self.ask(key, "GET", path, None).await
    }

    /// Makes something and gives its id.
    pub(super) async fn make(&self, key: &str, path: &str, body: Value) -> String {
        let made = self.post(key, path, body).await.expect(201).json();
        made["id"].as_str().expect("an id").to_owned()
    }

    /// Makes a tenant with an admin's and a viewer's key.
    pub(super) async fn tenant(&self, name: &str) -> Tenant {
        let id = self.make(&self.operator, "tenants", json!({"name": name})).await;
        let mut keys = Vec::new();
        for role in ["tenant_admin", "tenant_viewer"] {
            let body = json!({"name": role, "role": role, "tenant": id});
            let made = self.post(&self.operator, "api-keys", body).await.expect(201).json();
            keys.push(made["key"].as_str().expect("a key").to_owned());
        }
        let viewer = keys.pop().expect("two");
        let admin = keys.pop().expect("two");
        let application = self.make(&admin, "applications", json!({"name": "Meters"})).await;
        let body = json!({"name": "EU", "region": "EU868", "mac_version": "1.0.4"});
        let profile = self.make(&admin, "profiles", body).await;
        Tenant { id, admin, viewer, application, profile }
    }
}

/// A tenant with what it needs to have devices.
pub(super) struct Tenant {
    pub(super) id: String,
    pub(super) admin: String,
    pub(super) viewer: String,
    pub(super) application: String,
    pub(super) profile: String,
}

impl Tenant {
    pub(super) fn otaa(&self, dev_eui: &str) -> Value {
        json!({
            "dev_eui": dev_eui,
            "application": self.application,
            "profile": self.profile,
            "otaa": {"app_key": "000102030405060708090A0B0C0D0E0F"},
        })
    }
}
