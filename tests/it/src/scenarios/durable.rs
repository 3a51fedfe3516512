//! Durable streams from outside: what was accepted is delivered, whoever is away, and whoever is killed.

use crate::harness::device::{Device, Say, hex};
use crate::harness::fixture::{Stream, World};
use crate::harness::gateway::{Gateway, Heard};
use crate::harness::socket::Socket;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(1);

fn durable(world: &World, more: &Value) -> Stream {
    let mut fields = json!({ "delivery": "durable", "copies": "first", "kinds": ["uplink"] });
    fields.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    world.stream(&fields)
}

/// A confirmed uplink; the device is told that it was taken.
#[track_caller]
fn accepted(gateway: &mut Gateway, device: &mut Device, payload: &[u8]) {
    let phy = device.uplink(1, payload, Say { confirmed: true, ..Say::default() });
    gateway.hear(&phy, Heard::default());
    let answer = gateway.transmission(SOON).expect("an answer in time");
    gateway.tx_ack(&answer, "NONE");
    assert!(device.downlink(&answer.phy).expect("for the device").ack);
}

/// The payloads of the next messages.
#[track_caller]
fn payloads(socket: &mut Socket, count: usize) -> Vec<String> {
    (0..count).map(|_| socket.next()["Data"].as_str().expect("a payload").to_owned()).collect()
}

#[test]
fn a_durable_stream_waits_for_its_consumers() {
    let mut world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = durable(&world, &json!({}));
    for payload in 0..5 {
        accepted(&mut gateway, &mut device, &[payload]);
    }
    let mut socket = world.open(&stream);
    assert_eq!(payloads(&mut socket, 5), ["00", "01", "02", "03", "04"], "what came while nobody was there");
    accepted(&mut gateway, &mut device, &[5]);
    let last = socket.next();
    socket.send(&json!({ "AckThrough": 3 }));
    socket.send(&json!({ "Ack": last["Id"] }));
    std::thread::sleep(Duration::from_millis(400));
    drop(socket);

    // The dataplane dies, and so does nothing that was not acknowledged.
    world.system.kill_dataplane();
    world.system.start_dataplane();
    assert!(gateway.open());
    let mut socket = world.open(&stream);
    // A cursor goes no further than the first message that is not acknowledged.
    assert_eq!(payloads(&mut socket, 3), ["03", "04", "05"]);
    socket.send(&json!({ "AckThrough": 3 }));
    accepted(&mut gateway, &mut device, &[6]);
    assert_eq!(payloads(&mut socket, 1), ["06"]);

    let state = world.api.get(&stream.path);
    let group = &state["state"]["groups"][0];
    assert_eq!((&group["group"], &group["in_flight"]), (&json!("default"), &json!(1)), "{state}");
}

#[test]
fn groups_replay_and_history_read_what_is_kept() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = durable(&world, &json!({}));
    for payload in 0..4 {
        accepted(&mut gateway, &mut device, &[payload]);
    }
    let door = world.system.door();
    let open = |more: &str| door.open(&format!("/?token={}{more}", stream.token), &[]).expect("it opens");
    let mut first = open("&group=first");
    let ids: Vec<Value> = (0..4).map(|_| first.next()["Id"].clone()).collect();
    first.send(&json!({ "AckThrough": 4 }));
    let mut second = open("&group=second&from=latest");
    second.silent(Duration::from_millis(300));
    accepted(&mut gateway, &mut device, &[4]);
    assert_eq!((payloads(&mut first, 1), payloads(&mut second, 1)), (vec!["04".to_owned()], vec!["04".to_owned()]));
    drop(first);
    let mut again = open("&group=first&from=earliest");
    assert_eq!(payloads(&mut again, 5), ["00", "01", "02", "03", "04"]);

    // By the API: back to one message.
    let seek = format!("{}/groups/second/seek", stream.path);
    let answer = world.api.send("POST", &seek, &[], Some(&json!({ "id": ids[2] }).to_string()));
    assert!((200..300).contains(&answer.status), "{answer:?}");
    assert_eq!(payloads(&mut second, 3), ["02", "03", "04"]);

    // History: pages of what the stream keeps, one message a line.
    let page = world.api.send("GET", &format!("{}/history?limit=3&device={}", stream.path, device.eui()), &[], None);
    assert_eq!(page.status, 200, "{page:?}");
    let lines: Vec<Value> = page.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.iter().map(|line| line["Id"].clone()).collect::<Vec<_>>(), ids[..3]);
    let nobody = world.api.send("GET", &format!("{}/history?device=00000000000000AA", stream.path), &[], None);
    assert_eq!((nobody.status, nobody.text.lines().count()), (200, 0), "{nobody:?}");
}

#[test]
fn what_nobody_takes_is_a_dead_letter_and_can_be_put_back() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = durable(&world, &json!({ "attempts_max": 2, "retry_s": 0 }));
    let mut socket = world.open(&stream);
    accepted(&mut gateway, &mut device, b"\xAA");
    for number in 1..=2 {
        let message = socket.next();
        assert_eq!(message["Data"], "AA");
        socket.send(&json!({ "Refuse": number }));
    }
    accepted(&mut gateway, &mut device, b"\xBB");
    assert_eq!(payloads(&mut socket, 1), ["BB"], "the device goes on without it");
    socket.send(&json!({ "Ack": 3 }));
    let letters = world.api.get(&format!("{}/dead-letters", stream.path));
    let letter = &letters["items"][0];
    assert_eq!((&letter["reason"], &letter["attempts"]), (&json!("refused"), &json!(2)), "{letters}");
    let back = world.api.send("POST", &format!("{}/dead-letters/put-back", stream.path), &[], Some("{}"));
    assert_eq!(back.status, 200, "{back:?}");
    assert_eq!(payloads(&mut socket, 1), ["AA"]);
    socket.send(&json!({ "Ack": 4 }));
    let letters = world.api.get(&format!("{}/dead-letters", stream.path));
    assert_eq!(letters["items"], json!([]), "{letters}");
}

/// What the fleet knows at the end: what it was told of, and what it heard.
#[derive(Default)]
struct Told {
    /// FCntUp that were acknowledged, by DevEUI.
    acknowledged: BTreeMap<String, BTreeSet<u64>>,
    /// Payloads of downlinks that devices heard.
    heard: BTreeSet<Vec<u8>>,
    /// FCntDown of every frame, by DevAddr, with the frame.
    frames: BTreeMap<(u32, u32), Vec<u8>>,
}

impl Told {
    /// Takes what a gateway transmits. Returns whether it acknowledges this device.
    fn take(&mut self, gateway: &mut Gateway, devices: &[Device], of: usize, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while let Some(transmission) = gateway.transmission(deadline.saturating_duration_since(Instant::now())) {
            gateway.tx_ack(&transmission, "NONE");
            for (index, device) in devices.iter().enumerate() {
                let Some(downlink) = device.downlink(&transmission.phy) else { continue };
                let frame =
                    self.frames.entry((device.dev_addr, downlink.fcnt)).or_insert_with(|| transmission.phy.clone());
                assert_eq!(*frame, transmission.phy, "an FCntDown was used for two frames");
                if downlink.fport == Some(9) {
                    self.heard.insert(downlink.payload.clone());
                }
                if downlink.ack && index == of {
                    return true;
                }
            }
        }
        false
    }
}

/// Devices send confirmed uplinks until each is acknowledged, a consumer reads, acknowledges some, commands downlinks and
/// comes back whenever it is cut off, and the dataplane is killed at random instants; now and then control too.
fn killed_again_and_again(kills: u32) {
    const DEVICES: u8 = 4;
    let mut world = World::start();
    let fast = json!({ "dedup_window_ms": 20 }).to_string();
    let application = format!("/api/v1/applications/{}", world.application.as_str().expect("an id"));
    assert_eq!(world.api.send("PATCH", &application, &[], Some(&fast)).status, 200);
    world.lift_rates();
    let mut gateway = world.gateway(1);
    let mut devices: Vec<Device> = (1..=DEVICES).map(|number| world.abp(number)).collect();
    let stream = durable(&world, &json!({ "in_flight_max": 64 }));
    let door = world.system.door();
    let path = format!("/?token={}", stream.token);

    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut told = Told::default();
    let (received, commanded) = std::thread::scope(|scope| {
        // However this ends, the consumer ends too.
        let _stops = Stops(&stop);
        let consumer = scope.spawn(|| consume(&door, &path, &stop));
        let mut next_kill = Instant::now() + Duration::from_millis(500);
        let mut killed = 0;
        let mut turn = 0_usize;
        // Instants that nobody chose: those at which the threads happen to be.
        let jitter = || u64::from(Instant::now().elapsed().subsec_nanos()) % 97 + 1;
        while killed < kills {
            let of = turn % devices.len();
            turn += 1;
            let fcnt = u64::from(devices[of].fcnt_up);
            let phy = devices[of].uplink(1, &[turn as u8], Say { confirmed: true, ..Say::default() });
            let give_up = Instant::now() + Duration::from_secs(30);
            loop {
                assert!(Instant::now() < give_up, "an uplink is never acknowledged");
                let rxpk = gateway.rxpk(&phy, Heard::default());
                gateway.send(&json!({ "rxpk": [rxpk] }));
                if Instant::now() >= next_kill {
                    // Somewhere between the frame's arrival and well after its answer.
                    std::thread::sleep(Duration::from_micros(jitter() * 600));
                    if killed % 5 == 4 {
                        world.system.kill_control();
                    }
                    world.system.kill_dataplane();
                    world.system.start_dataplane();
                    if killed % 5 == 4 {
                        world.system.start_control();
                    }
                    killed += 1;
                    assert!(gateway.open(), "the gateway finds its way back");
                    next_kill = Instant::now() + Duration::from_millis(80 + jitter() * 7);
                }
                if told.take(&mut gateway, &devices, of, Duration::from_millis(120)) {
                    break;
                }
                // A device repeats itself no sooner than its receive windows have passed.
                std::thread::sleep(Duration::from_millis(40));
            }
            told.acknowledged.entry(devices[of].eui()).or_default().insert(fcnt);
        }
        // What is still queued for devices goes with their next uplinks.
        for turn in 0..40 * usize::from(DEVICES) {
            let of = turn % devices.len();
            let phy = devices[of].uplink(1, &[0xEE], Say::default());
            let rxpk = gateway.rxpk(&phy, Heard::default());
            gateway.send(&json!({ "rxpk": [rxpk] }));
            told.take(&mut gateway, &devices, of, Duration::from_millis(60));
        }
        std::thread::sleep(Duration::from_secs(2));
        stop.store(true, std::sync::atomic::Ordering::Release);
        consumer.join().expect("the consumer has seen nothing that cannot be")
    });

    let count: usize = told.acknowledged.values().map(BTreeSet::len).sum();
    assert!(count > kills as usize, "{count} uplinks were acknowledged");
    for (device, acknowledged) in &told.acknowledged {
        let got = received.get(device).cloned().unwrap_or_default();
        let lost: Vec<_> = acknowledged.difference(&got).collect();
        assert!(lost.is_empty(), "{device}: acknowledged and never delivered: {lost:?}");
    }
    let unheard: Vec<_> = commanded.iter().filter(|payload| !told.heard.contains(*payload)).map(|it| hex(it)).collect();
    assert!(unheard.is_empty(), "accepted downlinks that no device heard: {unheard:?} of {}", commanded.len());
    assert!(!commanded.is_empty(), "some downlinks were accepted");
    eprintln!("{kills} kills: {count} acknowledged uplinks delivered, {} accepted downlinks heard", commanded.len());
}

/// Sets a flag when it goes.
struct Stops<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Release);
    }
}

/// Reads until told to stop. Returns every FCnt that came, by device, and the payloads of the downlinks that were accepted.
/// On one connection first deliveries of a device come in order, and what was acknowledged there does not come again.
fn consume(
    door: &crate::harness::socket::Door,
    path: &str,
    stop: &std::sync::atomic::AtomicBool,
) -> (BTreeMap<String, BTreeSet<u64>>, BTreeSet<Vec<u8>>) {
    let mut received: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    let mut asked: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut accepted = BTreeSet::new();
    let mut number = 0_u32;
    while !stop.load(std::sync::atomic::Ordering::Acquire) {
        let Some(mut socket) = door.try_open(path) else {
            std::thread::sleep(Duration::from_millis(30));
            continue;
        };
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        let mut count = 0_u64;
        while let Some(message) = socket.try_next(stop) {
            if message["Event"] == "accepted" {
                let id = message["Id"].as_str().expect("our own").to_owned();
                accepted.insert(asked[&id].clone());
                continue;
            }
            let Some(fcnt) = message["FCnt"].as_u64() else { continue };
            let device = message["DeviceEUI"].as_str().expect("a DevEUI").to_owned();
            count += 1;
            let before = last.insert(device.clone(), fcnt);
            assert!(before.is_none_or(|before| before < fcnt), "{device}: {fcnt} came after {before:?}");
            received.entry(device.clone()).or_default().insert(fcnt);
            if count.is_multiple_of(3) && !socket.try_send(&json!({ "AckThrough": count })) {
                break;
            }
            if count.is_multiple_of(7) {
                number += 1;
                let (id, payload) = (format!("c{number}"), number.to_be_bytes().to_vec());
                let command = json!({ "Type": 3, "DeviceEUI": device, "Port": 9, "Data": hex(&payload), "Id": id });
                asked.insert(id, payload);
                if !socket.try_send(&command) {
                    break;
                }
            }
        }
    }
    (received, accepted)
}

#[test]
fn killed_thirty_times_nothing_that_was_accepted_is_lost() {
    let kills = std::env::var("KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(30);
    killed_again_and_again(kills);
}
