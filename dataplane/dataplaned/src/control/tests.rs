//! The control thread between a link and shards that the test plays.

use super::*;
use contract::frame::Decoder;
use contract::v1::change::Body;
use session::{DeviceState, Lane, lane_of_addr};
use std::path::Path;
use tempfile::TempDir;

/// What waits in a shard's mailbox, in a word each.
fn words(mailbox: &Mailbox) -> Vec<&'static str> {
    let mut words = Vec::new();
    while let Some(message) = mailbox.to.pop() {
        words.push(match message {
            ToShard::Load(_) => "load",
            ToShard::Upsert(Upsert::Device(_)) => "device",
            ToShard::Upsert(Upsert::RemoveDevice(_)) => "remove device",
            ToShard::Upsert(Upsert::Gateway(_)) => "gateway",
            ToShard::Upsert(Upsert::RemoveGateway(_)) => "remove gateway",
            ToShard::Restore(_) => "restore",
            ToShard::RestoreDownlink(_) => "restore downlink",
            ToShard::Cursors(_) => "cursors",
            ToShard::Catalog(_) => "catalog",
            ToShard::Owed(_) => "owed",
            ToShard::PutBack { .. } => "put back",
            ToShard::Seek { .. } => "seek",
            ToShard::Found { .. } => "found",
            ToShard::RemoveGroup { .. } => "remove group",
            ToShard::SegmentMade(_) => "segment made",
            ToShard::SegmentNotMade(_) => "segment not made",
            ToShard::Mark(_) => "mark",
            ToShard::Query(_) => "query",
            ToShard::Report(_) => "report",
            ToShard::Command(_) => "command",
            ToShard::Flush { .. } => "flush",
            ToShard::Stop => "stop",
        });
    }
    words
}

struct Bench {
    control: Control,
    mailboxes: Vec<Mailbox>,
    said: Receiver<Vec<u8>>,
    inbound: Sender<Inbound>,
    stop: Arc<AtomicBool>,
    dir: TempDir,
}

impl Bench {
    fn new(shard_count: usize) -> Self {
        Self::over(shard_count, tempfile::tempdir().expect("a directory"))
    }

    fn over(shard_count: usize, dir: TempDir) -> Self {
        let (_doors, wakers) = uring::doors(shard_count).expect("eventfds");
        let mailboxes: Vec<_> = (0..shard_count).map(|_| Mailbox::new(256, Arc::new(|| {}))).collect();
        let seats = mailboxes.iter().zip(wakers).map(|(mailbox, waker)| Seat { mailbox: mailbox.clone(), waker });
        let (inbound_sender, inbound) = crossbeam::channel::bounded(64);
        let (_scrapes, scrapes) = crossbeam::channel::bounded(1);
        let stop = Arc::new(AtomicBool::new(false));
        let mut control = Control::new(Parts {
            seats: seats.collect(),
            plan_log: PlanLog::open(dir.path()).expect("a plan"),
            keeper: Handle::new().0,
            inbound,
            scrapes,
            stop: Arc::clone(&stop),
            slot_key: 1,
        });
        let (link, said) = Link::to_memory(1);
        control.link = Some(link);
        Self { control, mailboxes, said, inbound: inbound_sender, stop, dir }
    }

    fn tell(&mut self, body: Told) {
        self.control.obey(v1::ToDataplane { request: 9, body: Some(body) });
    }

    fn said(&self) -> Vec<Said> {
        let mut decoder = Decoder::<v1::FromDataplane>::default();
        self.said.try_iter().for_each(|bytes| decoder.feed(&bytes));
        let mut all = Vec::new();
        while let Some(message) = decoder.message().expect("well formed") {
            all.extend(message.body);
        }
        all
    }

    fn refused_field(&self) -> Option<String> {
        self.said().into_iter().find_map(|said| match said {
            Said::Refused(refused) => Some(refused.field),
            _ => None,
        })
    }

    fn snapshot(&mut self, revision: u64, bodies: Vec<Body>) {
        self.tell(Told::SnapshotBegin(v1::SnapshotBegin { revision, store: 77 }));
        self.tell(apply(0, bodies));
        self.tell(Told::SnapshotEnd(v1::SnapshotEnd { revision }));
    }

    fn staged_file(&self) -> bool {
        Path::exists(&self.dir.path().join("plan.new"))
    }
}

fn apply(revision: u64, bodies: Vec<Body>) -> Told {
    let changes = bodies.into_iter().map(|body| v1::Change { body: Some(body) }).collect();
    Told::Apply(v1::Apply { revision, changes })
}

fn structure() -> Vec<Body> {
    let (region, mac_version) = (v1::Region::Eu868.into(), v1::MacVersion::Lorawan103.into());
    vec![
        Body::Tenant(v1::Tenant { id: 1, ..Default::default() }),
        Body::Application(v1::Application { id: 11, tenant: 1, ..Default::default() }),
        Body::Profile(v1::Profile { id: 31, region, mac_version, ..Default::default() }),
    ]
}

fn device(dev_eui: u64, dev_addr: u32) -> Body {
    let abp = v1::Abp { dev_addr, nwk_s_key: vec![1; 16], app_s_key: vec![2; 16], ..Default::default() };
    Body::Device(v1::Device {
        dev_eui,
        tenant: 1,
        application: 11,
        profile: 31,
        enabled: true,
        activation: Some(v1::device::Activation::Abp(abp)),
        ..Default::default()
    })
}

fn gateway(eui: u64) -> Body {
    Body::Gateway(v1::Gateway { eui, ..Default::default() })
}

/// A DevAddr whose lane this shard of four has.
fn addr_of(shard: usize) -> u32 {
    (1..).find(|addr| shard::shard_of_lane(lane_of_addr(lorawan_addr(*addr)).0, 4) == shard).expect("some address")
}

fn lorawan_addr(addr: u32) -> lorawan::DevAddr {
    lorawan::DevAddr(addr)
}

#[test]
fn a_revision_is_acknowledged_when_a_shard_says_so() {
    let mut bench = Bench::new(1);
    bench.snapshot(5, [structure(), vec![device(0xA1, 1), gateway(0xB1)]].concat());
    assert_eq!(bench.said(), [], "nothing is in force yet");
    assert_eq!(words(&bench.mailboxes[0]), ["load", "device", "gateway", "mark"]);
    assert!(bench.mailboxes[0].from.push(FromShard::Acknowledged(5)).is_ok());
    bench.control.drain_shards();
    assert_eq!(bench.said(), [Said::Acknowledged(v1::Acknowledged { shard: 0, revision: 5 })]);
    // Devices alone load no plan; what a snapshot does not name is gone.
    bench.tell(apply(6, vec![device(0xA2, 1)]));
    assert_eq!(words(&bench.mailboxes[0]), ["device", "mark"]);
    bench.snapshot(7, structure());
    let removed = ["load", "remove device", "remove device", "remove gateway", "mark"];
    assert_eq!(words(&bench.mailboxes[0]), removed);
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut bench = Bench::new(1);
    bench.tell(apply(1, structure()));
    assert_eq!(bench.refused_field().as_deref(), Some("apply"), "a delta to nothing");
    bench.snapshot(5, structure());
    words(&bench.mailboxes[0]);
    for (revision, bodies, field) in [
        (5, vec![gateway(0xB1)], "apply.revision"),
        (6, vec![gateway(0xB1), gateway(0)], "changes[1].gateway.eui"),
        (6, vec![Body::RemoveTenant(1)], "applications[11].tenant"),
    ] {
        bench.tell(apply(revision, bodies));
        assert_eq!(bench.refused_field().as_deref(), Some(field));
    }
    // A snapshot with a fault in a later part.
    bench.tell(Told::SnapshotBegin(v1::SnapshotBegin { revision: 8, store: 78 }));
    bench.tell(apply(0, structure()));
    assert!(bench.staged_file());
    bench.tell(apply(0, vec![gateway(0)]));
    assert_eq!(bench.refused_field().as_deref(), Some("changes[0].gateway.eui"));
    assert!(!bench.staged_file(), "its room is given back");
    // What was on its way is no delta.
    bench.tell(apply(0, vec![gateway(0xB2)]));
    assert_eq!(bench.refused_field().as_deref(), Some("apply.revision"));
    bench.tell(Told::SnapshotEnd(v1::SnapshotEnd { revision: 8 }));
    assert_eq!(bench.refused_field().as_deref(), Some("snapshot"));
    assert_eq!(words(&bench.mailboxes[0]), [] as [&str; 0]);
    assert_eq!((bench.control.plan_log.store, bench.control.plan_log.revision), (77, 5));
    assert!(bench.control.gateways.is_empty());
}

#[test]
fn a_refused_question_does_not_give_up_a_snapshot() {
    let mut bench = Bench::new(1);
    bench.tell(Told::SnapshotBegin(v1::SnapshotBegin { revision: 5, store: 77 }));
    bench.tell(apply(0, structure()));
    bench.tell(Told::Query(v1::Query { devices: vec![1; 1001], ..Default::default() }));
    assert_eq!(bench.refused_field().as_deref(), Some("query"));
    bench.tell(Told::SnapshotEnd(v1::SnapshotEnd { revision: 5 }));
    assert_eq!(words(&bench.mailboxes[0]), ["load", "mark"]);
}

#[test]
fn a_restart_takes_frames_last() {
    let mut bench = Bench::new(1);
    bench.snapshot(5, [structure(), vec![gateway(0xB1), device(0xA1, 1), device(0xA2, 2)]].concat());
    let Bench { dir, control, .. } = bench;
    drop(control);
    let mut bench = Bench::over(1, dir);
    let mut limits = session::Limits::for_devices(4);
    limits.window_count_max = 4;
    let mut network = session::Network::new(limits, session::Lanes::ALL, 1);
    let (config, mut upserts) = (Config::default(), Vec::new());
    let changes: Vec<_> =
        [structure(), vec![device(0xA1, 1)]].concat().into_iter().map(|body| v1::Change { body: Some(body) }).collect();
    config.apply(&changes, &mut upserts).expect("consistent");
    let Some(Upsert::Device(spec)) = upserts.pop() else { panic!("a device") };
    network.upsert(&spec, &mut Deaf, base::UnixMicros(1)).expect("room");
    let records: Vec<_> = network.records().collect();
    assert_eq!(records.len(), 1);
    let devices = |each: &(dyn Fn(Vec<DeviceState>) + Sync)| {
        each(records.into_iter().map(|record| DeviceState { record: Some(record), queue: Vec::new() }).collect());
        Ok(())
    };
    let kept = Kept {
        devices: Box::new(devices),
        cursors: Vec::new(),
        catalog: journal::Catalog::default(),
        owed: Vec::new(),
    };
    bench.control.restore(kept).expect("readable");
    assert_eq!(
        words(&bench.mailboxes[0]),
        ["device", "device", "restore", "catalog", "cursors", "load", "gateway", "mark"]
    );
}

struct Deaf;

impl session::Sink for Deaf {
    fn event(&mut self, _: &event::Event<'_>) {}
    fn transmit(&mut self, _: &session::Transmit<'_>) {}
    fn keep(&mut self, _: session::Owner, _: session::Change<'_>) -> Result<session::Ticket, session::NotKept> {
        Ok(session::Ticket::KEPT)
    }
    fn is_kept(&mut self, _: session::Ticket) -> bool {
        true
    }
}

#[test]
fn stored_changes_are_in_force_but_for_those_that_cannot_be() {
    let bad = Body::Stream(v1::Stream { id: 3, tenant: 9, level: v1::Level::Tenant.into(), ..Default::default() });
    let bodies = [structure(), vec![bad, device(0xA1, 1), gateway(0), device(0xA2, 2)]].concat();
    let changes: Vec<_> = bodies.into_iter().map(|body| v1::Change { body: Some(body) }).collect();
    let (mut config, mut upserts) = (Config::default(), Vec::new());
    assert_eq!(apply_what_can_be(&mut config, &changes, &mut upserts), 2);
    assert_eq!(upserts.len(), 2);
    assert!(config.compile(1).expect("compiles").profile(31).is_some());
}

#[test]
fn a_device_that_moved_back_is_not_removed() {
    let mut bench = Bench::new(4);
    bench.snapshot(5, structure());
    let eui = 0xA1;
    let keeper = shard::shard_of_lane(lane_of_eui(Eui64::new(eui)).0, 4);
    let mut homes = (0..4).filter(|shard| *shard != keeper);
    let (first, second) = (homes.next().expect("one"), homes.next().expect("another"));
    bench.tell(apply(6, vec![device(eui, addr_of(first))]));
    bench.tell(apply(7, vec![device(eui, addr_of(second))]));
    bench.mailboxes.iter().for_each(|mailbox| drop(words(mailbox)));
    let moved =
        || FromShard::Moved { dev_eui: Eui64::new(eui), before: Lane(lane_of_addr(lorawan_addr(addr_of(first))).0) };
    assert!(bench.mailboxes[keeper].from.push(moved()).is_ok());
    bench.control.drain_shards();
    assert_eq!(words(&bench.mailboxes[first]), ["remove device"]);
    // The same word, heard after the device is at its first home again.
    bench.tell(apply(8, vec![device(eui, addr_of(first))]));
    bench.mailboxes.iter().for_each(|mailbox| drop(words(mailbox)));
    assert!(bench.mailboxes[keeper].from.push(moved()).is_ok());
    bench.control.drain_shards();
    assert_eq!(words(&bench.mailboxes[first]), [] as [&str; 0]);
}

/// What the control thread answers about these, once every shard has said that it has what `known` says.
fn asked(bench: &mut Bench, devices: &[u64], gateways: &[u64], known: &[u64]) -> v1::Answer {
    let (devices, gateways) = (devices.to_vec(), gateways.to_vec());
    bench.tell(Told::Query(v1::Query { devices, gateways, ..Default::default() }));
    for mailbox in bench.mailboxes.clone() {
        while let Some(message) = mailbox.to.pop() {
            let ToShard::Query(mut query) = message else { continue };
            let answer = |eui: &Eui64| shard::DeviceAnswer {
                dev_eui: *eui,
                active: false,
                dev_addr: 0,
                session: 0,
                fcnt_up: 0,
                fcnt_down: 0,
                last_seen: base::UnixMicros(0),
                gateway: Eui64::default(),
                rssi_deci: 0,
                snr_deci: 0,
                queue: [None; shard::QUEUE_LISTED_MAX],
            };
            query.device_answers =
                query.devices.iter().filter(|eui| known.contains(&eui.to_u64())).map(answer).collect();
            assert!(mailbox.from.push(FromShard::Queried(query)).is_ok());
        }
    }
    bench.control.drain_shards();
    let answer = |said| if let Said::Answer(answer) = said { Some(answer) } else { None };
    bench.said().into_iter().find_map(answer).expect("an answer")
}

#[test]
fn what_found_no_room_is_told_shown_and_tried_again() {
    let mut bench = Bench::new(1);
    bench.snapshot(5, [structure(), vec![device(0xA1, 1), device(0xA2, 2), gateway(0xB1)]].concat());
    // The shard has room for one device and for no gateway.
    let messages: Vec<_> = std::iter::from_fn(|| bench.mailboxes[0].to.pop()).collect();
    for message in messages {
        let ToShard::Upsert(upsert) = message else { continue };
        if !matches!(&upsert, Upsert::Device(device) if device.dev_eui.to_u64() == 0xA1) {
            assert!(bench.mailboxes[0].from.push(FromShard::UpsertFull(upsert)).is_ok());
        }
    }
    bench.control.drain_shards();
    let told = bench.said().into_iter().map(|said| match said {
        Said::Happened(happened) => {
            (happened.kind, happened.tenant, happened.dev_eui, happened.gateway, happened.shard, happened.at_us > 0)
        }
        other => panic!("{other:?}"),
    });
    let no_room = |tenant, dev_eui, gateway| ("no_room".to_owned(), tenant, dev_eui, gateway, Some(0), true);
    assert_eq!(told.collect::<Vec<_>>(), [no_room(1, 0xA2, 0), no_room(0, 0, 0xB1)]);

    let rooms = |answer: v1::Answer| -> (Vec<_>, Vec<_>) {
        let devices = answer.devices.iter().map(|device| (device.dev_eui, device.no_room));
        (devices.collect(), answer.gateways.iter().map(|gateway| (gateway.eui, gateway.no_room)).collect())
    };
    let answer = asked(&mut bench, &[0xA1, 0xA2, 0xA3], &[0xB1, 0xB2], &[0xA1]);
    assert_eq!(rooms(answer), (vec![(0xA1, None), (0xA2, Some(0))], vec![(0xB1, Some(0))]), "unknown ones are absent");

    // A place becomes free: the one that waits takes it, and nobody but it.
    bench.tell(apply(6, vec![Body::RemoveDevice(0xA1)]));
    assert_eq!(words(&bench.mailboxes[0]), ["remove device", "device", "mark"]);
    let answer = asked(&mut bench, &[0xA1, 0xA2], &[], &[0xA2]);
    assert_eq!(rooms(answer).0, [(0xA2, None)]);
    bench.tell(apply(7, vec![Body::RemoveDevice(0xA2)]));
    assert_eq!(words(&bench.mailboxes[0]), ["remove device", "mark"]);
    // What waits and is removed makes no room.
    bench.tell(apply(8, vec![Body::RemoveGateway(0xB1)]));
    assert_eq!(words(&bench.mailboxes[0]), ["remove gateway", "mark"]);
}

#[test]
fn a_snapshot_without_a_device_makes_room_for_another() {
    let mut bench = Bench::new(1);
    bench.snapshot(5, [structure(), vec![device(0xA1, 1)]].concat());
    words(&bench.mailboxes[0]);
    bench.snapshot(6, [structure(), vec![device(0xA2, 2)]].concat());
    // The new one arrives before the old one leaves.
    let first = bench.mailboxes[0].to.pop();
    assert!(matches!(first, Some(ToShard::Load(_))));
    let mut bench_words = words(&bench.mailboxes[0]);
    assert_eq!(bench_words, ["device", "remove device", "mark"]);
    bench.tell(apply(7, vec![device(0xA3, 3)]));
    let Some(ToShard::Upsert(upsert)) = bench.mailboxes[0].to.pop() else { panic!("a device") };
    assert!(bench.mailboxes[0].from.push(FromShard::UpsertFull(upsert)).is_ok());
    bench.control.drain_shards();
    words(&bench.mailboxes[0]);
    bench.snapshot(8, [structure(), vec![device(0xA3, 3)]].concat());
    bench_words = words(&bench.mailboxes[0]);
    assert_eq!(bench_words, ["load", "device", "remove device", "mark"]);
}

#[test]
fn a_stop_ends_in_the_middle_of_an_import() {
    let mut bench = Bench::new(2);
    bench.snapshot(1, structure());
    let Bench { control, mailboxes, inbound, stop, dir: _dir, .. } = bench;
    let shards: Vec<_> = (mailboxes.into_iter().enumerate())
        .map(|(index, mailbox)| {
            thread::spawn(move || {
                while !matches!(mailbox.to.pop(), Some(ToShard::Stop)) {}
                // The second one has consumers to say goodbye to.
                let until = Instant::now() + Duration::from_millis(300 * index as u64);
                while Instant::now() < until {
                    mailbox.to.pop();
                }
                assert!(mailbox.from.push(FromShard::Stopped { stored: true }).is_ok());
            })
        })
        .collect();
    let importer = thread::spawn(move || {
        for revision in 2.. {
            let bodies = (1..500).map(|eui| device(eui, eui as u32)).collect();
            let message = v1::ToDataplane { request: 1, body: Some(apply(revision, bodies)) };
            if inbound.send(Inbound::Message(1, Box::new(message))).is_err() {
                break;
            }
        }
    });
    let (ended, end) = crossbeam::channel::bounded(1);
    let runner = thread::spawn(move || {
        control.run();
        ended.send(()).expect("the test waits");
    });
    thread::sleep(Duration::from_millis(200));
    stop.store(true, Ordering::Release);
    end.recv_timeout(Duration::from_secs(20)).expect("the control thread ends");
    for thread in shards.into_iter().chain([importer, runner]) {
        thread.join().expect("no panic");
    }
}

/// What the keeper says of streams is in their state, with the retention that is in force.
#[test]
fn what_is_retained_is_part_of_a_streams_state() {
    let mut bench = Bench::new(1);
    let mut bodies = structure();
    let durable = v1::Stream {
        id: 41,
        tenant: 1,
        level: v1::Level::Tenant.into(),
        enabled: true,
        delivery: v1::Delivery::Durable.into(),
        retention_s: 3600,
        ..Default::default()
    };
    bodies.push(Body::Stream(durable.clone()));
    bodies.push(Body::Stream(v1::Stream { id: 42, delivery: v1::Delivery::Live.into(), retention_s: 0, ..durable }));
    bench.snapshot(5, bodies);
    let kept = Retained { messages: 3, bytes: 400, oldest: Some(base::UnixMicros(77)) };
    bench.control.retained = BTreeMap::from([(41, kept)]);
    bench.said();
    bench.tell(Told::Query(v1::Query { streams: vec![41, 42], ..Default::default() }));
    while let Some(message) = bench.mailboxes[0].to.pop() {
        let ToShard::Query(mut query) = message else { continue };
        let zero = shard::StreamAnswer {
            id: 41,
            delivered: 0,
            delivered_bytes: 0,
            dropped_queue_full: 0,
            dropped_pool_exhausted: 0,
            dropped_no_room: 0,
            not_stored: 0,
            downlinks: 0,
        };
        query.stream_answers.extend([zero, shard::StreamAnswer { id: 42, ..zero }]);
        bench.control.hear(0, FromShard::Queried(query));
    }
    let said = bench.said();
    let [Said::Answer(answer)] = &said[..] else { panic!("{said:?}") };
    let [of_durable, of_live] = &answer.streams[..] else { panic!("{answer:?}") };
    assert_eq!((of_durable.retained_messages, of_durable.retained_bytes, of_durable.retained_oldest_us), (3, 400, 77));
    assert_eq!((of_durable.retention_s, of_durable.retention_bytes), (3600, 10 << 30), "the default is spelled out");
    assert_eq!((of_live.retained_messages, of_live.retention_s), (0, 0));
}

/// A group is forgotten when every shard has stored that it is.
#[test]
fn a_group_is_forgotten_by_all_shards_or_it_is_said_why_not() {
    use shard::GroupRefused::{InUse, NotKept};
    let mut bench = Bench::new(2);
    let mut bodies = structure();
    let (level, delivery) = (v1::Level::Tenant.into(), v1::Delivery::Durable.into());
    bodies.push(Body::Stream(v1::Stream { id: 41, tenant: 1, level, delivery, enabled: true, ..Default::default() }));
    bench.snapshot(5, bodies);
    bench.said();
    for (outcomes, expected) in [
        ([Ok(true), Ok(false)], ""),
        ([Ok(false), Ok(false)], "unknown_group"),
        ([Ok(true), Err(InUse)], "in_use"),
        ([Err(InUse), Err(NotKept)], "in_use"),
        ([Err(NotKept), Ok(true)], "unavailable"),
    ] {
        bench.tell(Told::RemoveGroup(v1::RemoveGroup { stream: 41, group: "g".into() }));
        for (shard, outcome) in outcomes.into_iter().enumerate() {
            assert!(bench.said().is_empty(), "not before all have answered");
            while let Some(message) = bench.mailboxes[shard].to.pop() {
                let ToShard::RemoveGroup { request, stream: 41, .. } = message else { continue };
                bench.control.hear(shard, FromShard::GroupRemoved { request, outcome });
            }
        }
        let said = bench.said();
        assert!(matches!(&said[..], [Said::GroupMoved(moved)] if moved.error == expected), "{said:?}, {expected}");
    }
}
