//! A shard that serves takes nothing from the heap: counted by the real process's own allocator, Rust and C alike.

use crate::harness::device::Say;
use crate::harness::fixture::World;
use crate::harness::gateway::{Gateway, Heard};
use crate::harness::metrics::Metrics;
use crate::harness::ports;
use crate::harness::system::System;
use serde_json::{Value, json};
use std::time::Duration;
use tungstenite::Message;

const ROUND_COUNT: u32 = 300;

/// Allocations and frees of all shards so far, and TLS records with data that they sent.
fn counts(world: &World) -> (u64, u64, u64) {
    let metrics: Metrics = world.system.metrics();
    (
        metrics.sum("trunkline_shard_allocations_total", &[]),
        metrics.sum("trunkline_shard_frees_total", &[]),
        metrics.sum("trunkline_shard_done_total", &["=\"records_sent\""]),
    )
}

#[test]
fn from_datagram_to_socket_nothing_is_allocated_and_with_tls_one_buffer_per_record() {
    let plain = ports::free();
    let system = System::start_with(3, &["--plain-listen", &format!("127.0.0.1:{plain}")]);
    let world = World::of(system);
    // Several gateways and devices, so that every shard hears, decides and sends.
    let mut gateways: Vec<Gateway> = (1..=6).map(|number| world.gateway(number)).collect();
    let mut devices: Vec<_> = (1..=12).map(|number| world.abp(number)).collect();
    let stream = world.stream(&json!({ "copies": "first", "kinds": ["uplink"] }));
    let url = format!("ws://127.0.0.1:{plain}/?token={}", stream.token);
    let mut open: Vec<_> = (0..4).map(|_| tungstenite::connect(&url).expect("opened").0).collect();
    let mut round = |world: &World, say: Say<'_>, read: &mut dyn FnMut()| {
        for index in 0..ROUND_COUNT as usize {
            let (device, gateway) = (index % devices.len(), index % gateways.len());
            let phy = devices[device].uplink(1, &[1, 2, 3], say);
            gateways[gateway].hear(&phy, Heard::default());
            read();
        }
        while gateways.iter_mut().any(|gateway| gateway.transmission(Duration::ZERO).is_some()) {}
        counts(world)
    };
    let mut from_all = || {
        for socket in &mut open {
            let message = loop {
                match socket.read().expect("a message") {
                    Message::Text(text) => break text,
                    _ => continue,
                }
            };
            let message: Value = serde_json::from_str(&message).expect("JSON");
            assert_eq!(message["Data"], "010203");
        }
    };
    let before = counts(&world);
    let after = round(&world, Say::default(), &mut from_all);
    assert_eq!((after.0, after.1), (before.0, before.1), "a shard used the heap for uplinks");
    let answered = round(&world, Say { confirmed: true, ..Say::default() }, &mut from_all);
    assert_eq!((answered.0, answered.1), (after.0, after.1), "a shard used the heap for answers");

    let mut secure = world.open(&stream);
    let before = counts(&world);
    let after = round(&world, Say::default(), &mut || {
        from_all();
        assert_eq!(secure.next()["Data"], "010203");
    });
    let (allocations, records) = (after.0 - before.0, after.2 - before.2);
    assert!(records >= 1 && allocations <= records, "{allocations} allocations for {records} TLS records");
}
