//! Either process killed in the middle of traffic, and started again.

use crate::harness::device::{Device, Say, hex};
use crate::harness::fixture::World;
use crate::harness::gateway::{Gateway, Heard};
use crate::harness::metrics;
use crate::harness::socket::Socket;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(1);

/// Sends an uplink and reads it back.
#[track_caller]
fn round(gateway: &mut Gateway, device: &mut Device, socket: &mut Socket, payload: u8) -> Value {
    gateway.hear(&device.uplink(1, &[payload], Say::default()), Heard::default());
    let of_device = |message: &Value| message.get("Data").is_some() && message["DeviceEUI"] == device.eui();
    let message = socket.next_where(of_device);
    assert_eq!(message["Data"], hex(&[payload]));
    message
}

/// Joins through a gateway.
fn join(gateway: &mut Gateway, device: &mut Device) {
    gateway.hear(&device.join_request(), Heard::default());
    let accept = gateway.transmission(SOON).expect("a join-accept");
    gateway.tx_ack(&accept, "NONE");
    assert!(device.join_accept(&accept.phy));
}

#[test]
fn a_killed_dataplane_goes_on_where_it_was() {
    let mut world = World::start();
    let (mut gateway, mut abp, mut otaa) = (world.gateway(1), world.abp(1), world.otaa(2));
    let stream = world.stream(&json!({}));
    let mut socket = world.open(&stream);
    join(&mut gateway, &mut otaa);
    let mut last = Vec::new();
    for payload in 0..10 {
        last = vec![abp.uplink(1, &[payload], Say::default())];
        gateway.hear(&last[0], Heard::default());
        round(&mut gateway, &mut otaa, &mut socket, payload);
    }
    let say = Say { confirmed: true, ..Say::default() };
    gateway.hear(&abp.uplink(1, &[0], say), Heard::default());
    let before = abp.downlink(&gateway.transmission(SOON).expect("an answer").phy).expect("for the device");

    world.system.kill_dataplane();
    drop(socket);
    world.system.start_dataplane();
    assert!(gateway.open(), "the gateway finds its way back");
    let mut socket = world.open(&stream);

    // Sessions continue: the counters that were used stay used, both ways.
    gateway.hear(&last[0], Heard::default());
    socket.silent(Duration::from_millis(300));
    round(&mut gateway, &mut otaa, &mut socket, 0x51);
    round(&mut gateway, &mut abp, &mut socket, 0x52);
    gateway.hear(&abp.uplink(1, &[0], say), Heard::default());
    let after = abp.downlink(&gateway.transmission(SOON).expect("an answer").phy).expect("for the device");
    assert!(after.fcnt > before.fcnt, "FCntDown went back: {} after {}", after.fcnt, before.fcnt);

    // A used DevNonce stays used.
    otaa.dev_nonce -= 1;
    gateway.hear(&otaa.join_request(), Heard::default());
    assert!(gateway.transmission(SOON).is_none(), "a DevNonce was accepted twice");
}

#[test]
fn what_was_delivered_comes_once_however_soon_the_dataplane_is_killed() {
    let mut world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = world.stream(&json!({}));
    let mut socket = world.open(&stream);
    for payload in 0..6 {
        let frame = device.uplink(1, &[payload], Say::default());
        gateway.hear(&frame, Heard::default());
        // Nothing was stored yet: the consumer has it sooner than any disk.
        assert_eq!(socket.next()["Data"], format!("{payload:02X}"));
        world.system.kill_dataplane();
        drop(socket);
        world.system.start_dataplane();
        assert!(gateway.open(), "the gateway finds its way back");
        socket = world.open(&stream);
        gateway.hear(&frame, Heard::default());
        socket.silent(Duration::from_millis(100));
    }
    let left = std::fs::read_dir(&world.system.memory.0).expect("the directory").count();
    assert_eq!(left, 2, "one file for each shard: those of earlier runs are gone");
}

#[test]
fn a_dataplane_starts_from_its_own_store_while_control_is_dead() {
    let mut world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = world.stream(&json!({}));
    let mut socket = world.open(&stream);
    round(&mut gateway, &mut device, &mut socket, 1);

    world.system.kill_control();
    round(&mut gateway, &mut device, &mut socket, 2);
    world.system.kill_dataplane();
    world.system.start_dataplane();
    assert!(gateway.open());
    let mut socket = world.open(&stream);
    round(&mut gateway, &mut device, &mut socket, 3);

    // Control comes back and finds what is in force.
    world.system.start_control();
    let two = world.abp(2);
    round(&mut gateway, &mut { two }, &mut socket, 4);
    round(&mut gateway, &mut device, &mut socket, 5);
}

#[test]
fn a_killed_control_costs_no_message() {
    let mut world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = world.stream(&json!({}));
    let mut socket = world.open(&stream);
    for payload in 0..30 {
        if payload == 10 {
            world.system.kill_control();
        }
        if payload == 20 {
            world.system.start_control();
        }
        round(&mut gateway, &mut device, &mut socket, payload);
    }
    assert_eq!(world.api.get(&stream.path)["name"], "stream", "the store kept what it had accepted");
}

#[test]
fn changes_wait_for_a_dataplane_that_is_away() {
    let mut world = World::start();
    let mut gateway = world.gateway(1);
    let before = world.stream(&json!({ "name": "before" }));
    world.system.kill_dataplane();

    // Accepted, and said to be pending.
    let mut device = world.abp(1);
    let stream = world.stream(&json!({ "name": "during" }));
    let status = world.api.get("/api/v1/status");
    assert_eq!(status["dataplane"]["connected"], false, "{status}");
    let start = Instant::now();
    world.api.delete(&before.path);
    assert!(start.elapsed() < SOON, "a write does not wait for a dataplane that is away");

    world.system.start_dataplane();
    assert!(gateway.open());
    let deadline = Instant::now() + Duration::from_secs(5);
    let door = world.system.door();
    let mut socket = loop {
        match door.open(&format!("/?token={}", stream.token), &[]) {
            Ok(socket) => break socket,
            Err(status) => assert!(Instant::now() < deadline, "still refused with {status}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    round(&mut gateway, &mut device, &mut socket, 1);
    assert_eq!(door.open(&format!("/?token={}", before.token), &[]).err(), Some(401));
}

#[test]
fn a_corrupt_stored_plan_is_said_so_and_mended_by_control() {
    let mut world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = world.stream(&json!({}));
    world.system.dataplane.as_mut().expect("it runs").terminate();
    let directory = world.system.path("dataplane");
    let mut spoilt = 0;
    for entry in std::fs::read_dir(&directory).expect("a data directory").flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().contains("plan")) {
            let mut bytes = std::fs::read(&path).expect("a stored plan");
            let middle = bytes.len() / 2;
            for byte in bytes.iter_mut().skip(middle).take(16) {
                *byte ^= 0x5A;
            }
            std::fs::write(&path, bytes).expect("spoilt");
            spoilt += 1;
        }
    }
    assert!(spoilt > 0, "no stored plan in {}", directory.display());
    world.system.start_dataplane();
    let said = world.system.dataplane.as_ref().expect("it runs").said();
    assert!(said.to_lowercase().contains("plan"), "nothing is said of the spoilt plan: {said}");
    assert!(gateway.open());
    let mut socket = world.open(&stream);
    round(&mut gateway, &mut device, &mut socket, 1);
}

#[test]
fn a_process_asked_to_end_ends_well() {
    let mut world = World::start();
    let stream = world.stream(&json!({}));
    let mut socket = world.open(&stream);
    let status = world.system.dataplane.as_mut().expect("it runs").terminate();
    assert!(status.success(), "{status}");
    assert_eq!(socket.close_code(), Some(1001), "a session is told that the server goes away");
    let left = std::fs::read_dir(&world.system.memory.0).expect("the directory").count();
    assert_eq!(left, 0, "everything is stored: nothing is to be carried over");
    let status = world.system.control.as_mut().expect("it runs").terminate();
    assert!(status.success(), "{status}");
}

#[test]
fn metrics_are_there_on_both_sides() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    gateway.hear(&device.uplink(1, &[1], Say::default()), Heard::default());
    for port in [world.system.metrics_port, world.system.rest_port] {
        let text = metrics::Metrics::read(port).text().to_owned();
        assert!(text.contains("# TYPE ") && text.contains("# HELP "), "{text}");
    }
}
