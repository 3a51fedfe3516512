//! Streams over the same traffic: their levels, their changes, their consumers.

use crate::harness::device::{Device, Say, hex};
use crate::harness::fixture::{Stream, World};
use crate::harness::gateway::{Gateway, Heard};
use crate::harness::socket::Socket;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How soon a change must be in force.
const IN_FORCE: Duration = Duration::from_millis(50);

/// A gateway that forwards an uplink of one device every few milliseconds until it is dropped.
struct Traffic {
    stop: Arc<AtomicBool>,
    /// When the uplink of each counter was sent.
    sent: Arc<Mutex<Vec<Instant>>>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    fn start(mut gateway: Gateway, mut device: Device, interval: Duration) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (until, times) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            while !until.load(Relaxed) {
                let phy = device.uplink(1, &[1], Say::default());
                times.lock().expect("nobody panics").push(Instant::now());
                let rxpk = gateway.rxpk(&phy, Heard::default());
                gateway.send(&json!({ "rxpk": [rxpk] }));
                std::thread::sleep(interval);
            }
        });
        Self { stop, sent, thread: Some(thread) }
    }

    /// When the uplink with this FCnt was sent.
    fn sent_at(&self, message: &Value) -> Instant {
        let fcnt = message["FCnt"].as_u64().expect("a counter") as usize;
        self.sent.lock().expect("nobody panics")[fcnt]
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().expect("joined once").join().expect("the traffic ends well");
    }
}

#[test]
fn every_level_sees_what_it_covers_and_nothing_else() {
    let world = World::start();
    let (mut near, mut far) = (world.gateway(1), world.gateway(2));
    let (mut one, mut two) = (world.abp(1), world.abp(2));
    let other = json!({ "tenant": world.tenant, "name": "other" });
    let other = world.api.post("/api/v1/applications", &other)["id"].clone();
    let open = |level: Value| world.open(&world.stream_at(&level, &json!({ "kinds": ["uplink"] })));
    let mut device = open(json!({ "level": "device", "device": one.eui() }));
    let mut application = open(json!({ "level": "application", "application": world.application }));
    let mut elsewhere = open(json!({ "level": "application", "application": other }));
    let mut gateway = open(json!({ "level": "gateway", "gateway": near.name() }));
    let mut tenant = open(json!({ "level": "tenant" }));
    let mut operator = open(json!({ "level": "operator", "tenant": null }));

    near.hear(&one.uplink(1, &[0x11], Say::default()), Heard::default());
    far.hear(&two.uplink(1, &[0x22], Say::default()), Heard::default());
    let data = |socket: &mut Socket, count: usize| {
        let mut data: Vec<String> =
            (0..count).map(|_| socket.next()["Data"].as_str().expect("a payload").to_owned()).collect();
        data.sort();
        data
    };
    assert_eq!(data(&mut device, 1), ["11"]);
    assert_eq!(data(&mut gateway, 1), ["11"]);
    for socket in [&mut application, &mut tenant, &mut operator] {
        assert_eq!(data(socket, 2), ["11", "22"]);
    }
    for socket in [&mut device, &mut gateway, &mut elsewhere] {
        socket.silent(Duration::from_millis(200));
    }
}

/// How long something took in every repetition.
#[derive(Default)]
struct Delays(Vec<Duration>);

impl Delays {
    /// The other tests share the machine and may hold a repetition up; half of them are not held up by chance.
    fn check(mut self, what: &str) {
        self.0.sort();
        let (median, last) = (self.0[self.0.len() / 2], self.0[self.0.len() - 1]);
        eprintln!("{what}: median {median:?}, longest {last:?} of {}", self.0.len());
        assert!(median <= IN_FORCE, "{what}: {median:?}");
    }
}

#[test]
fn streams_come_change_and_go_while_traffic_flows() {
    const ROUND_COUNT: usize = 21;
    let world = World::start();
    let device = world.abp(1);
    let traffic = Traffic::start(world.gateway(1), device, Duration::from_millis(4));
    let door = world.system.door();
    let [mut writes, mut made, mut old_form, mut new_form, mut removed] = [(); 5].map(|()| Delays::default());
    for _ in 0..ROUND_COUNT {
        // Made (a stream, then a token): from the answer to the first message, connecting included.
        let start = Instant::now();
        let stream = world.stream(&json!({}));
        let answered = Instant::now();
        writes.0.push(answered.duration_since(start) / 2);
        let mut socket = world.open(&stream);
        let first = socket.next();
        made.0.push(answered.elapsed());

        // Changed: to the last uplink that was sent and still had the old form, and to the first message with the new
        // one, with nothing lost in between.
        let mut last = first["FCnt"].as_u64().expect("a counter");
        let tag = world.api.send("GET", &stream.path, &[], None).etag.expect("an ETag");
        let change = json!({ "format": "csv" }).to_string();
        let start = Instant::now();
        let answer = world.api.send("PATCH", &stream.path, &[("If-Match", &tag)], Some(&change));
        let answered = Instant::now();
        writes.0.push(answered.duration_since(start));
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut latest = Duration::ZERO;
        let csv = loop {
            let text = socket.text();
            let Ok(message) = serde_json::from_str::<Value>(&text) else { break text };
            let fcnt = message["FCnt"].as_u64().expect("a counter");
            assert_eq!(fcnt, last + 1, "an uplink was lost during the change");
            last = fcnt;
            latest = latest.max(traffic.sent_at(&message).saturating_duration_since(answered));
        };
        new_form.0.push(answered.elapsed());
        old_form.0.push(latest);
        assert!(csv.contains(&device_row()), "{csv}");

        // A stale ETag changes nothing.
        let back = json!({ "format": "json" }).to_string();
        let answer = world.api.send("PATCH", &stream.path, &[("If-Match", &tag)], Some(&back));
        assert_eq!(answer.status, 412, "{answer:?}");

        // Removed: from the answer to the last message and the close. The token opens nothing from then on.
        let start = Instant::now();
        world.api.delete(&stream.path);
        writes.0.push(start.elapsed());
        let answered = Instant::now();
        let code = socket.close_code();
        removed.0.push(answered.elapsed());
        assert!(code.is_some(), "the close is spoken, not torn");
        assert_eq!(door.open(&format!("/?token={}", stream.token), &[]).err(), Some(401));
    }
    // An answer waits until the write is in force, so a slow one would hide what the others measure.
    writes.check("a write's answer");
    made.check("a new stream's first message");
    old_form.check("a changed stream's last uplink in the old form");
    new_form.check("a changed stream's first message in the new form");
    removed.check("a removed stream's end");
}

fn device_row() -> String {
    Device::new(1).eui()
}

#[test]
fn every_session_of_a_stream_receives_everything() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = world.stream(&json!({}));
    let mut sockets: Vec<Socket> = (0..5).map(|_| world.open(&stream)).collect();
    for round in 0..20u8 {
        gateway.hear(&device.uplink(1, &[round], Say::default()), Heard::default());
    }
    for socket in &mut sockets {
        for round in 0..20u8 {
            assert_eq!(socket.next()["Data"], hex(&[round]));
        }
    }
    // One that leaves takes nothing with it.
    sockets.truncate(2);
    gateway.hear(&device.uplink(1, &[99], Say::default()), Heard::default());
    assert!(sockets.iter_mut().all(|socket| socket.next()["Data"] == hex(&[99])));
}

#[test]
fn a_stalled_consumer_disturbs_nobody() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    world.lift_rates();
    let small = json!({ "name": "stalled", "queue_bytes_max": 16_384, "format": "json" });
    let stalled: Stream = world.stream(&small);
    // Connected, upgraded, and never read from again.
    let stuck: Vec<Socket> = (0..3).map(|_| world.open(&stalled)).collect();
    let mut reader = world.open(&world.stream(&json!({ "name": "reader" })));

    let (mut slowest, mut dropped) = (Duration::ZERO, 0);
    // Longer rows fill the kernel's buffers, then the queue, sooner.
    let payload = [0xAB; 200];
    let deadline = Instant::now() + Duration::from_secs(30);
    while dropped == 0 {
        for _ in 0..200 {
            let start = Instant::now();
            gateway.hear(&device.uplink(1, &payload, Say::default()), Heard::default());
            reader.next();
            slowest = slowest.max(start.elapsed());
        }
        let drops = world.api.get(&stalled.path)["state"]["drops"].clone();
        dropped = drops.as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
        assert!(Instant::now() < deadline, "nothing was ever dropped: {drops}");
    }
    eprintln!("{dropped} dropped for the stalled sessions; the reader's slowest round trip was {slowest:?}");
    assert!(slowest < Duration::from_millis(500), "a stalled consumer delayed another by {slowest:?}");
    drop(stuck);
}
