//! More devices and gateways than the dataplane has room for.

use crate::harness::device::{Say, hex};
use crate::harness::fixture::{World, gateway_eui};
use crate::harness::gateway::Heard;
use crate::harness::metrics;
use crate::harness::system::System;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Asks until the thing is as it should be.
#[track_caller]
fn becomes(world: &World, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let value = world.api.get(path);
        if wanted(&value) {
            return value;
        }
        assert!(Instant::now() < deadline, "never so: {value}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The events of this kind about the device or gateway at `path`.
fn events(world: &World, key: &str, eui: &str) -> Vec<Value> {
    let list = world.api.get(&format!("/api/v1/events?kind=no_room&{key}={eui}&limit=1000"));
    list["items"].as_array().expect("events").clone()
}

#[test]
fn a_device_without_room_is_stored_told_and_in_force_once_there_is_room() {
    let mut world = World::of(System::start_with(1, &["--devices-max", "2"]));
    let mut gateway = world.gateway(1);
    let mut socket = world.open(&world.stream(&json!({ "kinds": ["uplink"] })));
    let (mut first, _second) = (world.abp(1), world.abp(2));
    let mut third = world.abp(3);
    let path = |device: &str| format!("/api/v1/devices/{device}");

    // It is stored, says that it is not in force, and on which shard; the others are not touched.
    let stored = world.api.get(&path(&third.eui()));
    assert_eq!((&stored["no_room"], &stored["applied"]), (&json!(0), &json!(false)), "{stored}");
    let fits = world.api.get(&path(&first.eui()));
    assert_eq!((&fits["no_room"], &fits["applied"]), (&Value::Null, &json!(true)), "{fits}");
    let answer = world.api.send("PATCH", &path(&third.eui()), &[], Some("{\"name\":\"third\"}"));
    assert_eq!(answer.status, 202, "a write that is not in force says so: {answer:?}");
    gateway.hear(&third.uplink(1, &[3], Say::default()), Heard::default());
    gateway.hear(&first.uplink(1, &[1], Say::default()), Heard::default());
    assert_eq!(socket.next()["Data"], hex(&[1]), "only what is in force is heard");

    // The event list and the metrics say it too.
    let deadline = Instant::now() + Duration::from_secs(5);
    while events(&world, "device", &third.eui()).is_empty() {
        assert!(Instant::now() < deadline, "no event");
        std::thread::sleep(Duration::from_millis(20));
    }
    let event = &events(&world, "device", &third.eui())[0];
    assert!(event["detail"].as_str().is_some_and(|detail| detail.contains("shard 0")), "{event}");
    assert_eq!(event["tenant"], world.tenant, "{event}");
    metrics::reaches(world.system.metrics_port, "trunkline_shard_drops_total", &["what=\"no_room\""], 2);

    // Neither restart forgets it.
    world.system.kill_control();
    world.system.start_control();
    world.system.kill_dataplane();
    world.system.start_dataplane();
    assert!(gateway.open());
    let mut socket = world.open(&world.stream(&json!({ "name": "again", "kinds": ["uplink"] })));
    becomes(&world, &path(&third.eui()), |device| device["no_room"] == 0 && device["applied"] == false);

    // One goes, and the one that waited is in force by itself.
    world.api.delete(&path(&first.eui()));
    becomes(&world, &path(&third.eui()), |device| device["no_room"].is_null() && device["applied"] == true);
    gateway.hear(&third.uplink(1, &[33], Say::default()), Heard::default());
    assert_eq!(socket.next()["Data"], hex(&[33]));
}

#[test]
fn a_gateway_without_room_is_stored_and_says_so() {
    // A shard has room for 64 gateways at least.
    let world = World::of(System::start_with(1, &["--gateways-max", "64"]));
    let eui = |number: u64| format!("{:016X}", gateway_eui(number));
    for number in 0..65 {
        let gateway = json!({ "eui": eui(number), "tenant": world.tenant }).to_string();
        let answer = world.api.send("POST", "/api/v1/gateways", &[], Some(&gateway));
        assert_eq!(answer.status, if number < 64 { 201 } else { 202 }, "{answer:?}");
    }
    let path = format!("/api/v1/gateways/{}", eui(64));
    let stored = world.api.get(&path);
    assert_eq!((&stored["no_room"], &stored["applied"]), (&json!(0), &json!(false)), "{stored}");
    assert_eq!(stored["state"], Value::Null, "{stored}");
    assert!(!events(&world, "gateway", &eui(64)).is_empty());
    world.api.delete(&format!("/api/v1/gateways/{}", eui(3)));
    becomes(&world, &path, |gateway| gateway["no_room"].is_null() && gateway["applied"] == true);
}
