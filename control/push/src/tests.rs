//! A link between a model store and a model dataplane, in virtual time, with everything going wrong that can.

use crate::{Ask, AskError, Delta, Gap, Input, Limits, Link, Log, Logged, Output, Page, Phase, Read, Reply, delta};
use base::Monotonic;
use base::mix::SplitMix64;
use contract::v1::{
    Acknowledged, Application, Change, DeadLetters, Device, Enqueue, Enqueued, FromDataplane, Hello, History,
    HistoryPage, PutBack, Query, Refused, RemoveGroup, SeekGroup, ToDataplane, change::Body as Changed, from_dataplane,
    to_dataplane,
};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

const STORE: u64 = 77;

/// What is configured: devices and the application each belongs to, and the applications.
#[derive(Clone, Debug, Default, PartialEq)]
struct Config {
    applications: BTreeMap<u32, String>,
    devices: BTreeMap<u64, u32>,
}

impl Config {
    /// All or nothing, as the contract says.
    fn apply(&self, changes: &[Change]) -> Result<Self, String> {
        let mut next = self.clone();
        for change in changes {
            match change.body.as_ref().expect("a change says what changes") {
                Changed::Application(application) => {
                    next.applications.insert(application.id, application.name.clone());
                }
                Changed::RemoveApplication(id) => {
                    next.applications.remove(id);
                }
                Changed::Device(device) => {
                    next.devices.insert(device.dev_eui, device.application);
                }
                Changed::RemoveDevice(dev_eui) => {
                    next.devices.remove(dev_eui);
                }
                other => panic!("not in this model: {other:?}"),
            }
        }
        match next.devices.iter().find(|(_, application)| !next.applications.contains_key(application)) {
            Some((device, application)) => Err(format!("device {device} names application {application}")),
            None => Ok(next),
        }
    }
}

fn change(body: Changed) -> Change {
    Change { body: Some(body) }
}

fn application(id: u32, name: String) -> Change {
    change(Changed::Application(Application { id, name, ..Default::default() }))
}

fn device(dev_eui: u64, application: u32) -> Change {
    change(Changed::Device(Device { dev_eui, application, ..Default::default() }))
}

/// The store: its configuration, and for everything that ever was the revision that changed it last.
#[derive(Default)]
struct Store {
    config: Config,
    revision: u64,
    applications_at: BTreeMap<u32, u64>,
    devices_at: BTreeMap<u64, u64>,
    view: VecDeque<Change>,
}

impl Store {
    fn commit(&mut self, random: &mut SplitMix64) {
        self.revision += 1;
        for _ in 0..=random.below(4) {
            match random.below(8) {
                0 | 1 => {
                    let id = 1 + random.below(12) as u32;
                    self.config.applications.insert(id, format!("at {}", self.revision));
                    self.applications_at.insert(id, self.revision);
                }
                2 => {
                    let id = 1 + random.below(12) as u32;
                    if !self.config.devices.values().any(|application| *application == id) {
                        self.config.applications.remove(&id);
                        self.applications_at.insert(id, self.revision);
                    }
                }
                3 => {
                    let dev_eui = random.below(60);
                    self.config.devices.remove(&dev_eui);
                    self.devices_at.insert(dev_eui, self.revision);
                }
                _ => {
                    let dev_eui = random.below(60);
                    let nth = random.below(self.config.applications.len() as u64) as usize;
                    if let Some((&id, _)) = self.config.applications.iter().nth(nth) {
                        self.config.devices.insert(dev_eui, id);
                        self.devices_at.insert(dev_eui, self.revision);
                    }
                }
            }
        }
    }

    fn log(&self, after: u64, count_max: usize) -> Log {
        let others = self.applications_at.iter().filter(|(_, at)| **at > after).map(|(id, _)| {
            let name = self.config.applications.get(id).cloned();
            name.map_or(change(Changed::RemoveApplication(*id)), |name| application(*id, name))
        });
        let mut devices: Vec<_> = self.devices_at.iter().filter(|(_, at)| **at > after).collect();
        devices.sort_by_key(|(_, at)| **at);
        let complete = devices.len() <= count_max;
        let devices = devices.into_iter().take(count_max).map(|(dev_eui, at)| {
            let application = self.config.devices.get(dev_eui);
            let body = application.map_or(change(Changed::RemoveDevice(*dev_eui)), |id| device(*dev_eui, *id));
            Logged { revision: *at, change: body }
        });
        Log { latest: self.revision, others: others.collect(), devices: devices.collect(), complete }
    }

    fn open(&mut self) -> u64 {
        let applications = self.config.applications.iter().map(|(id, name)| application(*id, name.clone()));
        self.view = applications.chain(self.config.devices.iter().map(|(eui, id)| device(*eui, *id))).collect();
        self.revision
    }

    fn page(&mut self) -> Page {
        let count = self.view.len().min(7);
        Page { changes: self.view.drain(..count).collect(), last: self.view.is_empty() }
    }
}

/// The dataplane: what it stored, what of it survives a restart, what each shard has yet to acknowledge.
#[derive(Default)]
struct Dataplane {
    store: u64,
    revision: u64,
    config: Config,
    snapshot: Option<(u64, u64, Config, bool)>,
    pending: VecDeque<FromDataplane>,
    refuse_above: Option<u64>,
    minor: u32,
}

const SHARDS: u32 = 3;

impl Dataplane {
    fn answer(&mut self, request: u64, body: from_dataplane::Body) {
        self.pending.push_back(FromDataplane { request, body: Some(body) });
    }

    fn refuse(&mut self, request: u64, field: &str, reason: &str, revision: u64) {
        let refused = Refused { field: field.to_owned(), reason: reason.to_owned(), revision };
        self.answer(request, from_dataplane::Body::Refused(refused));
    }

    fn acknowledge(&mut self, revision: u64, random: &mut SplitMix64) {
        let first = random.below(u64::from(SHARDS)) as u32;
        for shard in 0..SHARDS {
            let shard = (first + shard) % SHARDS;
            self.answer(0, from_dataplane::Body::Acknowledged(Acknowledged { shard, revision }));
        }
    }

    fn take(&mut self, message: ToDataplane, random: &mut SplitMix64) {
        let request = message.request;
        match message.body.expect("control says what it wants") {
            to_dataplane::Body::Hello(_) => {
                let hello = Hello {
                    major: 1,
                    store: self.store,
                    revision: self.revision,
                    shard_count: SHARDS,
                    minor: self.minor,
                    ..Default::default()
                };
                self.answer(request, from_dataplane::Body::Hello(hello));
            }
            to_dataplane::Body::SnapshotBegin(begin) => {
                self.snapshot = Some((begin.store, begin.revision, Config::default(), true));
            }
            to_dataplane::Body::Apply(apply) if apply.revision == 0 => {
                let (_, _, config, _) = self.snapshot.as_mut().expect("a part belongs to a snapshot");
                // Parts may name what a later part brings: only the end is checked.
                for change in &apply.changes {
                    match change.body.as_ref().unwrap() {
                        Changed::Application(it) => drop(config.applications.insert(it.id, it.name.clone())),
                        Changed::Device(it) => drop(config.devices.insert(it.dev_eui, it.application)),
                        other => panic!("a snapshot has no {other:?}"),
                    }
                }
            }
            to_dataplane::Body::SnapshotEnd(end) => {
                let (store, revision, config, _) = self.snapshot.take().expect("an end has a beginning");
                assert_eq!(revision, end.revision);
                if self.refuse_above.is_some_and(|above| revision > above) {
                    return self.refuse(request, "snapshot", "the model refuses", revision);
                }
                assert_eq!(config.apply(&[]).as_ref(), Ok(&config), "a snapshot is whole");
                (self.store, self.revision, self.config) = (store, revision, config);
                self.acknowledge(revision, random);
            }
            to_dataplane::Body::Apply(apply) => {
                assert!(apply.revision > self.revision, "revisions grow");
                if self.refuse_above.is_some_and(|above| apply.revision > above) {
                    return self.refuse(request, "changes[0]", "the model refuses", apply.revision);
                }
                self.config = self.config.apply(&apply.changes).expect("a delta fits what was there before");
                self.revision = apply.revision;
                self.acknowledge(apply.revision, random);
            }
            to_dataplane::Body::Enqueue(enqueue) => {
                let enqueued = Enqueued { id: enqueue.dev_eui, error: String::new() };
                self.answer(request, from_dataplane::Body::Enqueued(enqueued));
            }
            to_dataplane::Body::History(history) => {
                let page = HistoryPage { next: history.page, ..Default::default() };
                self.answer(request, from_dataplane::Body::HistoryPage(page));
            }
            _ => {}
        }
    }
}

/// One world: the link, its owner's transport and reads in flight, and both ends.
struct World {
    link: Link,
    store: Store,
    dataplane: Dataplane,
    random: SplitMix64,
    now: Monotonic,
    connected: bool,
    to_dataplane: VecDeque<ToDataplane>,
    reads: VecDeque<(crate::Ticket, Read)>,
    answered: BTreeMap<u64, Result<Reply, AskError>>,
    refused: u64,
    snapshots: u64,
    deltas: u64,
    delta_bytes_max: usize,
    log_count_max: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        Self {
            link: Link::new(STORE, 0, "model", Limits::default(), seed),
            store: Store::default(),
            dataplane: Dataplane::default(),
            now: Monotonic(1),
            connected: false,
            to_dataplane: VecDeque::new(),
            reads: VecDeque::new(),
            answered: BTreeMap::new(),
            refused: 0,
            snapshots: 0,
            deltas: 0,
            delta_bytes_max: 100 + random.below(2000) as usize,
            log_count_max: 5 + random.below(100) as usize,
            random,
        }
    }

    fn handle(&mut self, input: Input) {
        self.link.handle(input, self.now);
        while let Some(output) = self.link.poll() {
            match output {
                Output::Connect => self.connected = true,
                Output::Disconnect => self.cut(),
                Output::Send(message) => {
                    assert!(self.connected, "nothing is said to nobody");
                    self.to_dataplane.push_back(message);
                }
                Output::Read(ticket, read) => self.reads.push_back((ticket, read)),
                Output::CloseView => self.store.view.clear(),
                Output::InForce(revision) => {
                    assert_eq!(self.dataplane.store, STORE);
                    assert!(self.dataplane.revision >= revision, "in force means that the dataplane has it");
                    assert!(self.link.status().in_force >= revision);
                }
                Output::Refused(_) => self.refused += 1,
                Output::Answered(token, result) => {
                    assert!(self.answered.insert(token, result).is_none(), "one answer each");
                }
                Output::Happened(_) => {}
            }
        }
    }

    fn cut(&mut self) {
        self.connected = false;
        self.to_dataplane.clear();
        self.dataplane.pending.clear();
        self.dataplane.snapshot = None;
    }

    /// One thing happens, chosen among those that can.
    fn step(&mut self) {
        self.now = self.now.after(Duration::from_micros(self.random.below(500)));
        match self.random.below(5) {
            0 | 1 if !self.to_dataplane.is_empty() => {
                let message = self.to_dataplane.pop_front().unwrap();
                let bytes = prost::Message::encoded_len(&message);
                self.dataplane.take(message, &mut self.random);
                self.handle(Input::Written(bytes));
            }
            2 if !self.dataplane.pending.is_empty() => {
                let message = self.dataplane.pending.pop_front().unwrap();
                self.handle(Input::Message(message));
            }
            3 if !self.reads.is_empty() => {
                let (ticket, read) = self.reads.pop_front().unwrap();
                let input = match read {
                    Read::After(after) => {
                        let gap = delta(self.store.log(after, self.log_count_max), self.delta_bytes_max);
                        self.deltas += u64::from(matches!(gap, Gap::Delta(_)));
                        Input::Gap(ticket, gap)
                    }
                    Read::Open => {
                        self.snapshots += 1;
                        Input::Opened(ticket, self.store.open())
                    }
                    Read::Page => Input::Page(ticket, self.store.page()),
                };
                self.handle(input);
            }
            4 if self.connected && self.link.status().phase == Phase::Dialling => self.handle(Input::Connected),
            _ => {
                if self.link.deadline() <= self.now {
                    self.handle(Input::Tick);
                }
            }
        }
    }

    fn commit(&mut self) {
        self.store.commit(&mut self.random);
        self.handle(Input::Committed(self.store.revision));
    }

    /// Lets everything settle; time jumps when nothing else can happen.
    fn settle(&mut self) {
        for round in 0..100_000 {
            self.step();
            let idle = self.to_dataplane.is_empty() && self.dataplane.pending.is_empty() && self.reads.is_empty();
            if idle && self.link.status().phase == Phase::Level {
                return;
            }
            if idle && round % 64 == 0 && self.link.deadline() != Monotonic::NEVER {
                self.now = self.now.max(self.link.deadline());
            }
        }
        panic!("never settled: {:?}", self.link.status());
    }
}

#[test]
fn the_dataplane_follows_the_store_through_everything() {
    let (mut snapshots, mut deltas) = (0, 0);
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..2000 {
            match world.random.below(200) {
                0..20 => world.commit(),
                20 => {
                    world.cut();
                    world.handle(Input::Disconnected);
                }
                // Restarted without its disk, or with that of another store.
                21 if world.random.below(3) == 0 => {
                    world.cut();
                    let store = world.random.below(3);
                    world.dataplane = Dataplane { store, revision: store * 1000, ..Default::default() };
                    world.handle(Input::Disconnected);
                }
                22 => {
                    if let Some((ticket, _)) = world.reads.pop_front() {
                        world.handle(Input::ReadFailed(ticket));
                    }
                }
                _ => world.step(),
            }
        }
        world.settle();
        let status = world.link.status();
        assert_eq!(world.dataplane.config, world.store.config, "seed {seed}");
        assert_eq!(status.in_force, world.store.revision, "seed {seed}");
        assert_eq!(status.shards, vec![world.store.revision; SHARDS as usize], "seed {seed}");
        assert_eq!(world.dataplane.revision, world.store.revision, "seed {seed}");
        snapshots += world.snapshots;
        deltas += world.deltas;
    }
    assert!(snapshots > 300 && deltas > 300, "both ways were taken: {snapshots} snapshots, {deltas} deltas");
}

#[test]
fn a_refusal_is_surfaced_and_overcome_by_the_next_revision() {
    let mut world = World::new(1);
    (world.delta_bytes_max, world.log_count_max) = (1 << 20, 1 << 20);
    world.commit();
    world.settle();
    let before = world.store.revision;
    world.dataplane.refuse_above = Some(before);
    world.commit();
    for _ in 0..2000 {
        world.step();
    }
    let status = world.link.status();
    assert_eq!((status.phase, status.in_force), (Phase::Refused, before));
    let refusal = status.refusal.expect("the refusal stands");
    assert_eq!((refusal.revision, refusal.reason.as_str()), (world.store.revision, "the model refuses"));
    assert_eq!((world.refused, world.snapshots), (2, 2), "the delta, then the snapshot that was to settle it");

    // The same revision is tried again only after the longest pause.
    let last = Limits::default().refusal_backoff.1;
    world.now = world.now.after(last / 2);
    for _ in 0..200 {
        world.step();
    }
    assert_eq!((world.refused, world.snapshots), (2, 2));
    world.now = world.now.after(last / 2);
    for _ in 0..2000 {
        world.step();
    }
    assert_eq!((world.link.status().phase, world.refused, world.snapshots), (Phase::Refused, 4, 3));

    world.dataplane.refuse_above = None;
    world.commit();
    world.settle();
    let status = world.link.status();
    assert_eq!((status.refusal, status.in_force), (None, world.store.revision));
    assert_eq!(world.dataplane.config, world.store.config);
    assert_eq!(world.snapshots, 3, "a delta was enough");
}

/// A full disk: the same revision is taken as soon as there is room, after the longest pause or when the link is new.
#[test]
fn what_was_refused_for_a_while_comes_into_force() {
    for is_new in [false, true] {
        let mut world = World::new(6);
        world.commit();
        world.settle();
        world.dataplane.refuse_above = Some(world.store.revision);
        world.commit();
        for _ in 0..2000 {
            world.step();
        }
        assert_eq!(world.link.status().phase, Phase::Refused);
        world.dataplane.refuse_above = None;
        if is_new {
            world.cut();
            world.handle(Input::Disconnected);
        }
        world.settle();
        let status = world.link.status();
        assert_eq!((status.refusal, status.in_force), (None, world.store.revision), "new: {is_new}");
    }
}

/// A view that stays open keeps the store's log from shrinking.
#[test]
fn a_snapshot_that_is_refused_in_part_closes_its_view() {
    let mut world = World::new(7);
    for _ in 0..20 {
        world.commit();
    }
    while world.store.view.is_empty() {
        world.step();
    }
    let begin = world.to_dataplane.iter().rev().find_map(|message| match message.body {
        Some(to_dataplane::Body::SnapshotBegin(_)) => Some(message.request),
        _ => None,
    });
    let refused = Refused { field: "changes[0]".into(), reason: "not_stored".into(), revision: 0 };
    let refused =
        FromDataplane { request: begin.expect("it begins"), body: Some(from_dataplane::Body::Refused(refused)) };
    world.handle(Input::Message(refused));
    assert_eq!(world.link.status().phase, Phase::Refused);
    assert!(world.store.view.is_empty(), "the view is closed");
}

/// After its Hello a dataplane says again what it holds; the snapshot on its way replaces that.
#[test]
fn only_the_snapshots_own_revision_says_that_it_is_in_force() {
    let mut world = World::new(8);
    world.dataplane = Dataplane { store: 1, revision: 3, ..Default::default() };
    for _ in 0..5 {
        world.commit();
    }
    while world.link.status().phase != Phase::Snapshot {
        world.step();
    }
    for revision in [3, 4] {
        for shard in 0..SHARDS {
            let stale = from_dataplane::Body::Acknowledged(Acknowledged { shard, revision });
            world.handle(Input::Message(FromDataplane { request: 0, body: Some(stale) }));
        }
        while !matches!(
            world.to_dataplane.back().and_then(|it| it.body.as_ref()),
            Some(to_dataplane::Body::SnapshotEnd(_))
        ) {
            let (ticket, read) = world.reads.pop_front().expect("the view is read");
            let input = match read {
                Read::Open => Input::Opened(ticket, world.store.open()),
                _ => Input::Page(ticket, world.store.page()),
            };
            world.handle(input);
        }
    }
    assert_eq!((world.link.status().in_force, world.link.status().shards), (0, vec![0; SHARDS as usize]));
}

#[test]
fn questions_that_are_taken_are_no_progress() {
    let mut world = World::new(9);
    world.commit();
    world.settle();
    world.commit();
    let (ticket, _) = world.reads.pop_front().expect("the gap is read");
    let gap = Gap::Delta(Delta { through: world.store.revision, changes: Vec::new() });
    world.handle(Input::Gap(ticket, gap));
    let patience = Limits::default().patience;
    for token in 0..4 {
        world.handle(Input::Ask(token, Ask::Query(contract::v1::Query::default())));
        while let Some(message) = world.to_dataplane.pop_front() {
            world.handle(Input::Written(prost::Message::encoded_len(&message)));
        }
        world.now = world.now.after(patience / 2);
    }
    assert_ne!(world.link.status().phase, Phase::Delta, "it put nothing in force for so long");
    assert!(world.answered.values().all(|answer| answer.is_err()));
}

#[test]
fn a_store_that_lost_revisions_replaces_what_the_dataplane_saw() {
    let mut world = World::new(2);
    world.commit();
    world.dataplane = Dataplane { store: STORE, revision: 500, ..Default::default() };
    world.settle();
    assert_eq!((world.dataplane.revision, world.snapshots), (world.store.revision, 1));
    assert_eq!(world.dataplane.config, world.store.config);
}

#[test]
fn questions_are_answered_once_or_said_to_be_lost() {
    let mut world = World::new(3);
    let enqueue = |dev_eui| Ask::Enqueue(Enqueue { dev_eui, ..Default::default() });
    world.handle(Input::Ask(1, enqueue(1)));
    assert_eq!(world.answered.remove(&1), Some(Err(AskError::Absent)));

    world.commit();
    world.settle();
    world.handle(Input::Ask(2, enqueue(2)));
    world.settle();
    let reply = Reply::Enqueued(Enqueued { id: 2, error: String::new() });
    assert_eq!(world.answered.remove(&2), Some(Ok(reply)));

    // The model never answers a query.
    world.handle(Input::Ask(3, Ask::Query(contract::v1::Query::default())));
    world.settle();
    assert_eq!(world.answered.get(&3), None);
    world.now = world.link.deadline();
    world.handle(Input::Tick);
    assert_eq!(world.answered.remove(&3), Some(Err(AskError::Late)));

    world.handle(Input::Ask(4, enqueue(4)));
    world.cut();
    world.handle(Input::Disconnected);
    assert_eq!(world.answered.remove(&4), Some(Err(AskError::Lost)));
    assert_eq!(world.link.status().in_force, 0);
}

#[test]
fn an_older_dataplane_is_not_asked_what_it_cannot_answer() {
    let asks = || {
        [
            Ask::Query(Query { journal: true, ..Default::default() }),
            Ask::SeekGroup(SeekGroup::default()),
            Ask::RemoveGroup(RemoveGroup::default()),
            Ask::History(History { page: vec![7], ..Default::default() }),
            Ask::DeadLetters(DeadLetters::default()),
            Ask::PutBack(PutBack::default()),
        ]
    };
    let mut world = World::new(5);
    for (token, ask) in (10..).zip(asks()) {
        world.handle(Input::Ask(token, ask));
        assert_eq!(world.answered.remove(&token), Some(Err(AskError::Absent)), "of no dataplane is known what it can");
    }
    world.commit();
    world.settle();
    for (token, ask) in (20..).zip(asks()) {
        world.handle(Input::Ask(token, ask));
        assert!(world.to_dataplane.is_empty(), "nothing was sent");
        assert_eq!(world.answered.remove(&token), Some(Err(AskError::TooOld { needed: 1, spoken: 0 })));
    }
    world.handle(Input::Ask(1, Ask::Enqueue(Enqueue::default())));
    world.settle();
    assert!(matches!(world.answered.remove(&1), Some(Ok(Reply::Enqueued(_)))), "the rest goes on");

    // It is upgraded: the next Hello says so.
    world.cut();
    world.handle(Input::Disconnected);
    world.dataplane.minor = contract::MINOR_DURABLE;
    world.settle();
    assert_eq!(world.link.status().minor, 1);
    for (token, ask) in (30..).zip(asks()) {
        world.handle(Input::Ask(token, ask));
    }
    assert_eq!(world.to_dataplane.len(), 6);
    world.settle();
    let page = HistoryPage { next: vec![7], ..Default::default() };
    assert_eq!(world.answered.remove(&33), Some(Ok(Reply::HistoryPage(page))));
}

#[test]
fn a_crowd_of_questions_is_bounded() {
    let mut world = World::new(4);
    world.commit();
    world.settle();
    let count_max = Limits::default().ask_count_max as u64;
    for token in 0..=count_max {
        world.handle(Input::Ask(token, Ask::Query(contract::v1::Query::default())));
    }
    assert_eq!(world.answered.get(&count_max), Some(&Err(AskError::Busy)));
    assert_eq!(world.answered.len(), 1);
}

#[test]
fn silence_and_alien_versions_end_the_connection() {
    let mut link = Link::new(STORE, 1, "model", Limits::default(), 0);
    let mut now = Monotonic(0);
    let drain = |link: &mut Link, input, now| -> Vec<Output> {
        link.handle(input, now);
        core::iter::from_fn(|| link.poll()).collect()
    };
    assert_eq!(drain(&mut link, Input::Tick, now), [Output::Connect]);
    assert!(matches!(drain(&mut link, Input::Connected, now)[..], [Output::Send(_)]));
    now = link.deadline();
    assert_eq!(drain(&mut link, Input::Tick, now), [Output::Disconnect]);

    let mut pauses = Vec::new();
    for round in 0..12 {
        pauses.push(link.deadline().since(now));
        now = link.deadline();
        assert_eq!(drain(&mut link, Input::Tick, now), [Output::Connect]);
        drain(&mut link, Input::Connected, now);
        let hello = Hello { major: 9, shard_count: 1, software: "alien".into(), ..Default::default() };
        let message = FromDataplane { request: 1, body: Some(from_dataplane::Body::Hello(hello)) };
        let outputs = drain(&mut link, Input::Message(message), now);
        assert!(outputs.contains(&Output::Disconnect));
        assert_eq!(outputs.len(), if round == 0 { 2 } else { 1 }, "a refusal that stands is said once");
    }
    assert!(pauses[0] < Duration::from_millis(100));
    assert!(pauses[11] >= Duration::from_secs(1) && pauses[11] < Duration::from_secs(2));
    let refusal = link.status().refusal.expect("it is known why");
    assert_eq!(refusal.field, "hello.major");
}

#[test]
fn a_dataplane_that_stops_acknowledging_is_left() {
    let mut world = World::new(5);
    world.commit();
    world.settle();
    world.commit();
    let (ticket, _) = world.reads.pop_front().expect("the gap is read");
    let gap = Gap::Delta(Delta { through: world.store.revision, changes: Vec::new() });
    world.handle(Input::Gap(ticket, gap));
    assert_eq!(world.link.status().phase, Phase::Delta);
    world.now = world.link.deadline();
    world.handle(Input::Tick);
    assert_eq!((world.link.status().phase, world.connected), (Phase::Away, false));
}
