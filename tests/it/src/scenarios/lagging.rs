//! A durable reader that lags: it is read for from the disk, and nobody who keeps up is evicted, delayed or short of memory.
//!
//! One shard serves everybody, so that nobody is spared by being elsewhere. Steps are counted and not timed: while a reader
//! catches up it is let go on by so many messages for each live uplink, so that it is behind from the first to the last.

use crate::harness::device::{Device, Say};
use crate::harness::fixture::{Stream, World};
use crate::harness::gateway::{Gateway, Heard};
use crate::harness::socket::Socket;
use crate::harness::system::System;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// FRMPayload of an uplink: the most that EU868 takes at SF7.
const PAYLOAD_BYTES: usize = 222;

/// Uplinks that nobody of the group that lags has read, and their payloads alone: far beyond the journal's memory.
const BACKLOG: usize = 36_000;
const MEMORY_BYTES: usize = 1 << 20;
const _: () = assert!(BACKLOG * PAYLOAD_BYTES > 6 * MEMORY_BYTES);

/// Uplinks that come while one catches up, and while one stalls.
const LIVE: usize = 2_000;

/// Messages by which whoever catches up goes on for each live uplink: it has still some to go after the last one.
const CAUGHT_PER_UPLINK: usize = 16;
const _: () = assert!(LIVE * CAUGHT_PER_UPLINK < BACKLOG);

/// Uplinks by which consumers may be behind the gateway: the test's threads share two cores with the processes.
const SLACK: usize = 200;

/// What the dataplane may grow by while a reader lags: the 16 buffers of 256 KiB of its shard are touched, each for the
/// first time, and half as much for all else. The backlog has twice as many bytes.
const GROWTH_BYTES_MAX: u64 = 6 << 20;

/// Messages under way to one that takes nothing: more than its socket holds. They wait in the dataplane's queue memory.
const STALLED_COUNT: usize = 4_096;
const STALLED_BYTES_MAX: u64 = STALLED_COUNT as u64 * 1_024;

/// FCnts by device, in the order in which they came.
type Got = BTreeMap<String, Vec<u64>>;

/// How far a consumer may go, and how far it has come.
struct Pace {
    may: AtomicUsize,
    came: AtomicUsize,
}

impl Pace {
    fn of(may: usize) -> Self {
        Self { may: AtomicUsize::new(may), came: AtomicUsize::new(0) }
    }

    #[track_caller]
    fn reaches(&self, count: usize, who: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.came.load(SeqCst) < count {
            assert!(Instant::now() < deadline, "{who} got {} messages and not {count}", self.came.load(SeqCst));
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Lets everybody go on to their ends when it goes.
struct Ends<'a>(&'a [&'a Pace]);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|pace| pace.may.store(usize::MAX, SeqCst));
    }
}

/// Reads `count` messages at this pace, and sees that no more come. One of a durable stream settles what it got.
fn follow(mut socket: Socket, settles: bool, count: usize, pace: &Pace) -> Got {
    let mut got = Got::new();
    let mut came = 0;
    while came < count {
        if came >= pace.may.load(SeqCst) {
            thread::sleep(Duration::from_micros(200));
            continue;
        }
        let Some(message) = socket.next_within(PATIENCE) else { return got };
        let eui = message["DeviceEUI"].as_str().unwrap_or_else(|| panic!("no uplink: {message}")).to_owned();
        got.entry(eui).or_default().push(message["FCnt"].as_u64().expect("a counter"));
        came += 1;
        if settles {
            socket.send(&json!({ "AckThrough": came }));
        }
        pace.came.store(came, SeqCst);
    }
    if let Some(more) = socket.next_within(Duration::from_millis(200)) {
        panic!("all {count} had come, and then {more}");
    }
    got
}

/// Devices, their gateway, and how many uplinks they have sent.
struct Field {
    gateway: Gateway,
    devices: Vec<Device>,
    sent: usize,
}

impl Field {
    fn uplink(&mut self) {
        let of = self.sent % self.devices.len();
        let phy = self.devices[of].uplink(1, &[self.sent as u8; PAYLOAD_BYTES], Say::default());
        self.gateway.hear(&phy, Heard::default());
        self.sent += 1;
    }

    /// Everything that was sent, in each device's order.
    fn all(&self) -> Got {
        self.devices.iter().map(|device| (device.eui(), (0..u64::from(device.fcnt_up)).collect())).collect()
    }
}

fn durable(world: &World, more: &Value) -> Stream {
    let mut fields = json!({ "delivery": "durable", "copies": "first", "kinds": ["uplink"] });
    fields.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    world.stream(&fields)
}

fn done(world: &World, what: &str) -> u64 {
    world.system.metrics().sum("trunkline_shard_done_total", &[&format!("what=\"{what}\"")])
}

/// The drop counters that have moved. A message for which a ring had no room is none: it is sent again.
fn dropped(world: &World) -> Vec<(String, u64)> {
    let metrics = world.system.metrics();
    let families = ["trunkline_shard_drops_total", "trunkline_lorawan_drops_total"];
    let moved = families.into_iter().flat_map(|family| metrics.samples(family).collect::<Vec<_>>());
    let moved = moved.filter(|(labels, value)| *value > 0 && !labels.contains("\"hop_message\""));
    moved.map(|(labels, value)| (labels.to_owned(), value)).collect()
}

fn resident(world: &World) -> u64 {
    world.system.dataplane.as_ref().expect("it runs").resident_bytes()
}

#[test]
fn who_lags_reads_from_the_disk_and_who_keeps_up_does_not_notice() {
    let world = World::of(System::start_with(1, &[]));
    world.lift_rates();
    let mut field = Field { gateway: world.gateway(1), devices: (1..=8).map(|it| world.abp(it)).collect(), sent: 0 };
    let live = world.stream(&json!({ "copies": "first", "kinds": ["uplink"] }));
    let kept = durable(&world, &json!({}));
    let stalling = durable(&world, &json!({ "in_flight_max": STALLED_COUNT }));
    let door = world.system.door();
    let open =
        |stream: &Stream, more: &str| door.open(&format!("/?token={}{more}", stream.token), &[]).expect("it opens");

    let total = BACKLOG + 2 * LIVE;
    let [of_live, keeps, lags, stalls] = [usize::MAX, usize::MAX, 0, 0].map(Pace::of);
    let (of_live, keeps, lags, stalls) = (&of_live, &keeps, &lags, &stalls);
    thread::scope(|scope| {
        let _ends = Ends(&[of_live, keeps, lags, stalls]);
        let sockets = (open(&live, ""), open(&kept, "&group=keeps"));
        let live_reader = scope.spawn(move || follow(sockets.0, false, total, of_live));
        let keeping_reader = scope.spawn(move || follow(sockets.1, true, total, keeps));
        let keep_up = |field: &Field| {
            of_live.reaches(field.sent.saturating_sub(SLACK), "who is live");
            keeps.reaches(field.sent.saturating_sub(SLACK), "who keeps up");
        };

        // The backlog. Whoever keeps up is sent to from memory.
        while field.sent < BACKLOG {
            field.uplink();
            keep_up(&field);
        }
        assert_eq!((done(&world, "segment_bytes_read"), dropped(&world)), (0, vec![]), "nobody lags");

        // One catches up, while the others get what comes now.
        let mut memory = vec![resident(&world)];
        let socket = open(&kept, "&group=lags");
        let lagging_reader = scope.spawn(move || follow(socket, true, total, lags));
        for number in 1..=LIVE {
            lags.may.store(number * CAUGHT_PER_UPLINK, SeqCst);
            field.uplink();
            keep_up(&field);
            if number.is_multiple_of(SLACK) {
                lags.reaches(number * CAUGHT_PER_UPLINK, "who catches up");
                memory.push(resident(&world));
            }
        }
        assert_eq!(lags.came.load(SeqCst), LIVE * CAUGHT_PER_UPLINK, "it was behind all the time");
        let backlog = done(&world, "record_bytes_kept");
        assert!(backlog > 2 * GROWTH_BYTES_MAX, "a backlog of {backlog} bytes");
        let bytes = done(&world, "segment_bytes_read");
        let least = LIVE * CAUGHT_PER_UPLINK * PAYLOAD_BYTES - MEMORY_BYTES;
        assert!(bytes > least as u64, "{bytes} bytes were read from the disk, and not {least}");
        lags.may.store(usize::MAX, SeqCst);
        lags.reaches(field.sent, "who has caught up");
        memory.push(resident(&world));
        let growth = memory.iter().max().expect("some") - memory[0];
        assert!(growth <= GROWTH_BYTES_MAX, "the dataplane grew by {growth} bytes: {memory:?}");

        // One stalls: it is connected and takes nothing, while the others get what comes now.
        let socket = open(&stalling, "");
        let stalled = || world.api.get(&stalling.path)["state"]["groups"][0].clone();
        let deadline = Instant::now() + PATIENCE;
        while stalled()["in_flight"] != STALLED_COUNT {
            assert!(Instant::now() < deadline, "what is under way to it: {}", stalled());
            thread::sleep(Duration::from_millis(50));
        }
        for _ in 0..LIVE {
            field.uplink();
            keep_up(&field);
            lags.reaches(field.sent.saturating_sub(SLACK), "who has caught up");
        }
        assert_eq!((&stalled()["in_flight"], &stalled()["sessions"]), (&json!(STALLED_COUNT), &json!(1)));
        let growth = resident(&world).saturating_sub(memory[0]);
        assert!(growth <= GROWTH_BYTES_MAX + STALLED_BYTES_MAX, "the dataplane grew by {growth} bytes");

        // It goes on where it stood.
        stalls.may.store(usize::MAX, SeqCst);
        let stalling_reader = scope.spawn(move || follow(socket, true, total, stalls));
        let all = field.all();
        let readers = [live_reader, keeping_reader, lagging_reader, stalling_reader];
        for (reader, who) in readers.into_iter().zip(["live", "keeps up", "lagged", "stalled"]) {
            let got = reader.join().expect("a reader reads to its end");
            assert!(got == all, "who {who} got each uplink once and in order: {}", first_difference(&got, &all));
        }
    });
    assert_eq!(dropped(&world), []);
}

/// Where a device's messages are not what was sent.
fn first_difference(got: &Got, all: &Got) -> String {
    let none = Vec::new();
    let differs = |(eui, sent): (&String, &Vec<u64>)| {
        let got = got.get(eui).unwrap_or(&none);
        let at = (0..sent.len().max(got.len())).find(|at| got.get(*at) != sent.get(*at))?;
        Some(format!("{eui}: message {at} is {:?} and not {:?}", got.get(at), sent.get(at)))
    };
    all.iter().find_map(differs).unwrap_or_else(|| "a device that nobody knows".into())
}
