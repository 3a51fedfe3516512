//! The link on a real socket, against a dataplane that is as simple as the contract allows.

use crate::link::{DataplaneLink, Settings};
use crate::{Source, View};
use api::dataplane::{Dataplane, Enqueue, InForce, Query, Queued, Unavailable};
use base::Eui64;
use contract::frame::{Decoder, encode};
use contract::v1::{
    Acknowledged, Answer, Change, Device, DeviceState, Enqueued, FromDataplane, Happened, Hello, ToDataplane,
    change::Body as Changed, from_dataplane, to_dataplane,
};
use push::{Delta, Gap, Limits, Page};
use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SHARDS: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(10);

/// A store of devices: each with the revision that changed it last.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<BTreeMap<u64, u64>>>);

struct Sight(u64, VecDeque<Change>);

fn device(dev_eui: u64) -> Change {
    Change { body: Some(Changed::Device(Device { dev_eui, ..Default::default() })) }
}

impl Source for Shelf {
    type View = Sight;

    fn gap(&self, after: u64) -> Result<Gap, String> {
        let devices = self.0.lock().unwrap();
        let through = devices.values().copied().max().unwrap_or(0);
        let changes = devices.iter().filter(|(_, at)| **at > after).map(|(eui, _)| device(*eui)).collect();
        Ok(Gap::Delta(Delta { through, changes }))
    }

    fn open(&self) -> Result<Sight, String> {
        let devices = self.0.lock().unwrap();
        let revision = devices.values().copied().max().unwrap_or(0);
        Ok(Sight(revision, devices.keys().map(|eui| device(*eui)).collect()))
    }
}

impl View for Sight {
    fn revision(&self) -> u64 {
        self.0
    }

    fn page(&mut self) -> Result<Page, String> {
        let count = self.1.len().min(100);
        Ok(Page { changes: self.1.drain(..count).collect(), last: self.1.is_empty() })
    }
}

/// What the model dataplane has, and across restarts keeps.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held {
    store: u64,
    revision: u64,
    devices: Vec<u64>,
}

/// Serves one connection until it ends, or until `count_max` messages were taken. It lasts as long as what is returned.
fn serve(listener: &UnixListener, mut held: Held, count_max: usize) -> (UnixStream, Held) {
    let (mut socket, _) = listener.accept().unwrap();
    let mut decoder = Decoder::<ToDataplane>::default();
    let mut bytes = [0; 4096];
    let mut taken = 0;
    loop {
        // The first message of a connection is control's Hello, whatever ended the one before.
        let count = socket.read(&mut bytes).unwrap_or(0);
        if count == 0 {
            return (socket, held);
        }
        decoder.feed(&bytes[..count]);
        while let Some(message) = decoder.message().unwrap() {
            let is_hello = matches!(message.body, Some(to_dataplane::Body::Hello(_)));
            assert_eq!(is_hello, taken == 0, "{message:?}");
            obey(&mut held, message, &mut socket);
            taken += 1;
            if taken == count_max {
                return (socket, held);
            }
        }
    }
}

fn obey(held: &mut Held, message: ToDataplane, socket: &mut UnixStream) {
    let mut say = |request, body| {
        let mut bytes = Vec::new();
        encode(&FromDataplane { request, body: Some(body) }, &mut bytes).unwrap();
        // Control may have gone; the next read will tell.
        let _ = socket.write_all(&bytes);
    };
    let request = message.request;
    let mut take = |changes: Vec<Change>| {
        for change in changes {
            match change.body {
                Some(Changed::Device(device)) => held.devices.push(device.dev_eui),
                other => panic!("not in this model: {other:?}"),
            }
        }
    };
    let in_force = match message.body.unwrap() {
        to_dataplane::Body::Hello(_) => {
            let Held { store, revision, .. } = *held;
            let hello = Hello { major: 1, store, revision, shard_count: SHARDS, software: "model 1".into(), minor: 0 };
            return say(request, from_dataplane::Body::Hello(hello));
        }
        to_dataplane::Body::SnapshotBegin(begin) => {
            held.store = begin.store;
            return held.devices.clear();
        }
        to_dataplane::Body::SnapshotEnd(end) => end.revision,
        to_dataplane::Body::Apply(apply) => {
            take(apply.changes);
            if apply.revision == 0 {
                return;
            }
            apply.revision
        }
        to_dataplane::Body::Query(query) => {
            let devices = query.devices.iter().map(|eui| DeviceState { dev_eui: *eui, ..Default::default() }).collect();
            return say(request, from_dataplane::Body::Answer(Answer { devices, ..Default::default() }));
        }
        to_dataplane::Body::Enqueue(enqueue) => {
            let error = if enqueue.fport == 0 { "bad_port".to_owned() } else { String::new() };
            let happened = Happened { kind: "queued".into(), dev_eui: enqueue.dev_eui, ..Default::default() };
            say(0, from_dataplane::Body::Happened(happened));
            return say(request, from_dataplane::Body::Enqueued(Enqueued { id: 5, error }));
        }
        to_dataplane::Body::Flush(_) => return,
    };
    held.revision = in_force;
    for shard in 0..SHARDS {
        say(0, from_dataplane::Body::Acknowledged(Acknowledged { shard, revision: in_force }));
    }
}

fn start(socket: &Path, shelf: &Shelf) -> Arc<DataplaneLink> {
    let limits = Limits { ask_timeout: Duration::from_millis(300), ..Limits::default() };
    let settings = Settings { socket: socket.to_owned(), store: 9, revision: 0, limits };
    DataplaneLink::start(settings, shelf.clone()).unwrap().0
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn changes_wait_for_the_dataplane_and_outlive_its_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let shelf = Shelf::default();
    runtime().block_on(async {
        let link = start(&socket, &shelf);
        shelf.0.lock().unwrap().extend((1..=250).map(|eui| (eui, 7)));
        link.committed(7);
        assert_eq!(link.in_force(7, PATIENCE).await, InForce::Pending, "there is no dataplane");
        assert_eq!(link.query(Query::default()).await, Ok(Default::default()), "nothing asked, nothing to wait for");
        assert_eq!(link.flush(Eui64::new(1)).await, Err(Unavailable::NotSent));

        // A first dataplane dies in the middle of the snapshot, keeping nothing; the next one lives.
        let listener = UnixListener::bind(&socket).unwrap();
        let dataplane = std::thread::spawn(move || {
            drop(serve(&listener, Held::default(), 3));
            let (connection, held) = serve(&listener, Held::default(), 6);
            (listener, connection, held)
        });
        let mut before = Duration::ZERO;
        while link.in_force(7, PATIENCE).await == InForce::Pending {
            tokio::time::sleep(Duration::from_millis(5)).await;
            before += Duration::from_millis(5);
            assert!(before < PATIENCE, "the link never came back");
        }
        let (listener, connection, held) = dataplane.join().unwrap();
        assert_eq!(held, Held { store: 9, revision: 7, devices: (1..=250).collect() });

        // It comes back with what it had, and is given only what it lacks.
        shelf.0.lock().unwrap().insert(300, 8);
        link.committed(8);
        drop(connection);
        let dataplane = std::thread::spawn(move || serve(&listener, Held { devices: Vec::new(), ..held }, usize::MAX));
        while link.in_force(8, PATIENCE).await == InForce::Pending {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let status = link.status();
        assert_eq!((status.connected, status.revision, &status.shards[..]), (true, 8, &[8, 8][..]));
        assert_eq!(status.software, "model 1");
        drop(link);
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(dataplane.join().unwrap().1, Held { store: 9, revision: 8, devices: vec![300] });
    });
}

/// A view whose first page no frame can hold, once.
struct Fat(Shelf, AtomicBool);

impl Source for Fat {
    type View = Sight;

    fn gap(&self, _: u64) -> Result<Gap, String> {
        Ok(Gap::TooFar)
    }

    fn open(&self) -> Result<Sight, String> {
        if self.1.swap(false, Ordering::SeqCst) {
            let name = "x".repeat(contract::FRAME_BYTES_MAX);
            let fat = Change { body: Some(Changed::Tenant(contract::v1::Tenant { id: 1, name })) };
            return Ok(Sight(7, [fat].into()));
        }
        self.0.open()
    }
}

#[test]
fn a_message_that_is_too_long_leaves_nothing_to_precede_the_next_hello() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let dataplane = std::thread::spawn(move || {
        drop(serve(&listener, Held::default(), usize::MAX));
        serve(&listener, Held::default(), 4)
    });
    runtime().block_on(async {
        let shelf = Shelf::default();
        shelf.0.lock().unwrap().insert(1, 7);
        let settings = Settings { socket, store: 9, revision: 7, limits: Limits::default() };
        let link = DataplaneLink::start(settings, Fat(shelf, AtomicBool::new(true))).unwrap().0;
        let mut before = Duration::ZERO;
        while link.in_force(7, PATIENCE).await == InForce::Pending {
            tokio::time::sleep(Duration::from_millis(5)).await;
            before += Duration::from_millis(5);
            assert!(before < PATIENCE, "the link never came back");
        }
    });
    assert_eq!(dataplane.join().unwrap().1, Held { store: 9, revision: 7, devices: vec![1] });
}

#[test]
fn questions_reach_the_dataplane_and_events_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let dataplane = std::thread::spawn(move || serve(&listener, Held::default(), usize::MAX));
    runtime().block_on(async {
        let link = start(&socket, &Shelf::default());
        while !link.status().connected {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut events = link.events();
        let downlink =
            |fport| Enqueue { dev_eui: Eui64::new(3), fport, confirmed: false, payload: vec![1, 2], expires_us: 0 };
        assert_eq!(link.enqueue(downlink(1)).await, Ok(Queued::Accepted(5)));
        assert_eq!(link.enqueue(downlink(0)).await, Ok(Queued::Rejected("bad_port".into())));
        let event = events.recv().await.unwrap();
        assert_eq!((event.kind.as_str(), event.dev_eui), ("queued", Eui64::new(3)));
        let query = Query { devices: (0..2500).map(Eui64::new).collect(), ..Query::default() };
        assert_eq!(link.query(query).await.unwrap().devices.len(), 2500);
        assert_eq!(link.flush(Eui64::new(1)).await, Err(Unavailable::Unknown), "the model never answers a flush");
        drop(link);
        tokio::time::sleep(Duration::from_millis(20)).await;
    });
    dataplane.join().unwrap();
}
