//! The link on a real socket, against a dataplane that is as simple as the contract allows.

use crate::link::{DataplaneLink, Settings};
use crate::{Source, View};
use api::dataplane::{
    Dataplane, DeadLetters, Disk, Enqueue, History, InForce, Position, Query, Queued, SeekGroup, Unavailable,
};
use base::Eui64;
use contract::frame::{Decoder, encode};
use contract::v1::{
    Acknowledged, Answer, Change, DeadLetter, DeadLetterPage, Device, DeviceState, Enqueued, FromDataplane, GroupMoved,
    GroupState, Happened, Hello, HistoryPage, JournalState, PutBackDone, StreamState, ToDataplane,
    change::Body as Changed, from_dataplane, journal_state, seek_group, to_dataplane,
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
    /// Of the contract.
    minor: u32,
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
            let Held { store, revision, minor, .. } = *held;
            let hello = Hello { major: 1, store, revision, shard_count: SHARDS, software: "model 1".into(), minor };
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
            let no_room = |eui: u64| (eui == 7).then_some(1);
            let state = |eui: &u64| DeviceState { dev_eui: *eui, no_room: no_room(*eui), ..Default::default() };
            let devices = query.devices.iter().map(state).collect();
            let group = GroupState { group: "g".into(), lag_bytes: 9, ..Default::default() };
            let stream = |id: &u32| StreamState {
                id: *id,
                groups: vec![group.clone()],
                retained_bytes: 70,
                retained_messages: 7,
                retention_s: 60,
                retention_bytes: 80,
                not_stored: 3,
                ..Default::default()
            };
            let journal =
                JournalState { disk: journal_state::Disk::ReadOnly.into(), segments: 4, ..Default::default() };
            let streams = query.streams.iter().map(stream).collect();
            let journal = if query.journal { vec![journal] } else { Vec::new() };
            return say(
                request,
                from_dataplane::Body::Answer(Answer { devices, streams, journal, ..Default::default() }),
            );
        }
        to_dataplane::Body::Enqueue(enqueue) => {
            let error = if enqueue.fport == 0 { "bad_port".to_owned() } else { String::new() };
            let happened = Happened { kind: "queued".into(), dev_eui: enqueue.dev_eui, ..Default::default() };
            say(0, from_dataplane::Body::Happened(happened));
            return say(request, from_dataplane::Body::Enqueued(Enqueued { id: 5, error }));
        }
        to_dataplane::Body::Flush(_) => return,
        to_dataplane::Body::SeekGroup(seek) => {
            let error = match seek.to {
                Some(seek_group::To::Id(_)) => "unknown_id",
                Some(seek_group::To::Earliest(true) | seek_group::To::Latest(true) | seek_group::To::TimeUs(5)) => "",
                other => panic!("not asked for: {other:?}"),
            };
            return say(request, from_dataplane::Body::GroupMoved(GroupMoved { error: error.into() }));
        }
        to_dataplane::Body::RemoveGroup(remove) => {
            let error = if remove.group == "g" { String::new() } else { "unknown_group".into() };
            return say(request, from_dataplane::Body::GroupMoved(GroupMoved { error }));
        }
        to_dataplane::Body::History(history) => {
            let error = if history.page.is_empty() { "" } else { "bad_page" };
            let told = format!("{} {} {:?} {}", history.from_us, history.to_us, history.device, history.limit);
            let page = HistoryPage { messages: vec![told.into_bytes()], next: vec![1, 2], error: error.into() };
            return say(request, from_dataplane::Body::HistoryPage(page));
        }
        to_dataplane::Body::DeadLetters(asked) => {
            let letter = DeadLetter { id: "7".into(), attempts: asked.limit, at_us: 8, ..Default::default() };
            let page = DeadLetterPage { letters: vec![letter], ..Default::default() };
            return say(request, from_dataplane::Body::DeadLetterPage(page));
        }
        to_dataplane::Body::PutBack(put_back) => {
            let done = PutBackDone { count: put_back.ids.len() as u32, error: String::new() };
            return say(request, from_dataplane::Body::PutBackDone(done));
        }
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
        assert_eq!(held, Held { store: 9, revision: 7, devices: (1..=250).collect(), minor: 0 });

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
        assert_eq!(dataplane.join().unwrap().1, Held { store: 9, revision: 8, devices: vec![300], minor: 0 });
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
    assert_eq!(dataplane.join().unwrap().1, Held { store: 9, revision: 7, devices: vec![1], minor: 0 });
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
        let devices = link.query(query).await.unwrap().devices;
        assert_eq!(devices.len(), 2500);
        let without_room = devices.iter().filter_map(|device| Some((device.dev_eui, device.no_room?)));
        assert_eq!(without_room.collect::<Vec<_>>(), [(Eui64::new(7), 1)]);
        assert_eq!(link.flush(Eui64::new(1)).await, Err(Unavailable::Unknown), "the model never answers a flush");
        drop(link);
        tokio::time::sleep(Duration::from_millis(20)).await;
    });
    dataplane.join().unwrap();
}

/// A link to a model that speaks this minor version of the contract, and what `f` does with it.
fn with_model(minor: u32, f: impl AsyncFnOnce(&DataplaneLink)) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let dataplane = std::thread::spawn(move || serve(&listener, Held { minor, ..Held::default() }, usize::MAX));
    runtime().block_on(async {
        let link = start(&socket, &Shelf::default());
        while !link.status().connected {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let status = link.status();
        assert_eq!((status.contract, status.lacks_durable.is_none()), (format!("1.{minor}"), minor >= 1));
        f(&link).await;
        drop(link);
        tokio::time::sleep(Duration::from_millis(20)).await;
    });
    dataplane.join().unwrap();
}

#[test]
fn what_durable_streams_keep_is_asked_of_the_dataplane() {
    with_model(1, async |link| {
        let query = Query { streams: vec![4], journal: true, ..Query::default() };
        let answer = link.query(query).await.unwrap();
        let stream = &answer.streams[0];
        assert_eq!((stream.groups[0].group.as_str(), stream.groups[0].lag_bytes), ("g", 9));
        assert_eq!((stream.retained_bytes, stream.retained_messages, stream.not_stored), (70, 7, 3));
        assert_eq!((stream.retention_s, stream.retention_bytes), (60, 80));
        assert_eq!((answer.journal[0].disk, answer.journal[0].segments), (Disk::ReadOnly, 4));

        for (to, expected) in [
            (Position::Earliest, Ok(())),
            (Position::Latest, Ok(())),
            (Position::Time(5), Ok(())),
            (Position::Id("x".into()), Err(Unavailable::Rejected("unknown_id".into()))),
        ] {
            assert_eq!(link.seek_group(SeekGroup { stream: 4, group: "g".into(), to }).await, expected);
        }
        assert_eq!(link.remove_group(4, "g".into()).await, Ok(()));
        assert_eq!(link.remove_group(4, "h".into()).await, Err(Unavailable::Rejected("unknown_group".into())));

        let history =
            History { stream: 4, from_us: 1, to_us: 2, device: Some(Eui64::new(3)), page: Vec::new(), limit: 5 };
        let page = link.history(history.clone()).await.unwrap();
        assert_eq!((page.messages, page.next), (vec![b"1 2 Some(3) 5".to_vec()], vec![1, 2]));
        let second = link.history(History { page: vec![1], ..history }).await;
        assert_eq!(second, Err(Unavailable::Rejected("bad_page".into())));
        let letters = link.dead_letters(DeadLetters { stream: 4, page: Vec::new(), limit: 9 }).await.unwrap().letters;
        assert_eq!((letters[0].id.as_str(), letters[0].attempts, letters[0].at_us), ("7", 9, 8));
        assert_eq!(link.put_back(4, vec!["7".into()]).await, Ok(1));
    });
}

#[test]
fn an_older_dataplane_is_said_to_be_too_old() {
    with_model(0, async |link| {
        let too_old = Unavailable::TooOld { needed: "1.1".into(), spoken: "1.0".into() };
        let query = Query { devices: vec![Eui64::new(1)], journal: true, ..Query::default() };
        assert_eq!(link.query(query).await, Err(too_old.clone()));
        assert_eq!(link.history(History::default()).await, Err(too_old.clone()));
        assert_eq!(link.put_back(4, Vec::new()).await, Err(too_old));
        let query = Query { devices: vec![Eui64::new(1)], ..Query::default() };
        assert_eq!(link.query(query).await.unwrap().devices.len(), 1, "the rest is answered");
    });
}
