//! A gateway lives on one shard, whatever port it sends from and however many cores there are.

use crate::harness::fixture::{World, gateway_eui};
use crate::harness::gateway::Gateway;
use crate::harness::system::System;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const GATEWAY_COUNT: u64 = 24;
const DATAGRAM_COUNT: u64 = 20;

#[test]
fn every_datagram_of_an_eui_is_handled_by_one_shard() {
    let mut world = World::of(System::start_with(2, &[]));
    for number in 1..=GATEWAY_COUNT {
        let gateway = json!({ "eui": format!("{:016X}", gateway_eui(number)), "tenant": world.tenant });
        world.api.post("/api/v1/gateways", &gateway);
    }
    for core_count in [2, 3, 1, 2] {
        if world.system.core_count != core_count {
            let status = world.system.dataplane.as_mut().expect("it runs").terminate();
            assert!(status.success(), "{status}");
            world.system.core_count = core_count;
            world.system.start_dataplane();
        }
        let mut used = 0;
        for number in 1..=GATEWAY_COUNT {
            used |= 1u32 << shard_of(&world, number);
        }
        assert_eq!(used.count_ones(), core_count, "every core has gateways of its own");
    }
}

/// The shard whose count of datagrams moved while one gateway spoke from many ports; exactly one may have.
fn shard_of(world: &World, number: u64) -> u32 {
    let before = datagrams(world);
    for _ in 0..DATAGRAM_COUNT / 2 {
        // Each has sockets of its own, so each sends from two new ports.
        let mut gateway = Gateway::online(gateway_eui(number), world.system.gateways());
        assert!(gateway.report(&json!({ "stat": { "rxnb": 0 } })));
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let after = datagrams(world);
        let moved: Vec<(u32, u64)> = after
            .iter()
            .map(|(shard, count)| (*shard, count - before.get(shard).copied().unwrap_or_default()))
            .filter(|(_, count)| *count > 0)
            .collect();
        if let [(shard, DATAGRAM_COUNT)] = moved[..] {
            return shard;
        }
        assert!(Instant::now() < deadline, "gateway {number}: datagrams by shard {moved:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Datagrams received so far, by shard.
fn datagrams(world: &World) -> BTreeMap<u32, u64> {
    let metrics = world.system.metrics();
    let shard = |labels: &str| labels.split("shard=\"").nth(1)?.split('"').next()?.parse().ok();
    let samples = metrics.samples("trunkline_shard_done_total");
    let received = samples.filter(|(labels, _)| labels.contains("what=\"datagrams_received\""));
    received.filter_map(|(labels, count)| Some((shard(labels)?, count))).collect()
}
