//! A whole node over the simulator's driver: shards, a journal, gateways, devices, consumers; and what an uplink costs.
//!
//! Every shard is equally loaded, whatever their number: so many gateways, devices and streams for each, and at each turn
//! as many datagrams as one of them would find that is busy. Hops and events of a turn are found at the next one, beside
//! new datagrams. Consumers speak WebSocket without TLS; state is journaled as it is with live streams.
//!
//! ```text
//!   round:  datagrams set out -> 2.5 ms pass -> a turn of every shard (counted) -> consumers read -> control's mail
//! ```

use crate::outside::Outside;
use crate::uplink::{keys, phy, push_data};
use base::Eui64;
use base::mix::SplitMix64;
use contract::v1;
use contract::v1::change::Body;
use lorawan::DevAddr;
use session::Limits;
use sha2::{Digest, Sha256};
use shard::{JournalOptions, Options, Shard, fabric, shard_of_slot};
use sim::{Consumer, Control, Disk, DiskFaults, Faults, FileSizes, Machine, Network, Shared, Sizes, Temper};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

const SEED: u64 = 7;
const SLOT_KEY: u32 = 0x5EED;
const TENANT: u32 = 1;
const PROFILE: u32 = 1;

/// Between two turns. What costs by the time, and not by the uplink, weighs as on shards that turn 400 times a second.
const ROUND: Duration = Duration::from_micros(2500);

/// The shortest that may be configured: windows are open over eight turns.
const DEDUP_WINDOW_MS: u32 = 20;

/// Rounds before it is counted: as many windows end as begin.
const WARM_ROUND_COUNT: u64 = 12;

/// Rounds until the last message is with its consumer.
const LAST_ROUND_COUNT: usize = 16;

/// Rounds in which everybody finds their place.
const BEGIN_ROUND_COUNT: usize = 2000;

const STREAMS_PER_SHARD: usize = 4;
const DEVICES_PER_SHARD: usize = 64;

/// More than rings and queues of a busy shard hold.
const RING_BYTES: usize = 256 << 10;

const JOURNAL: journal::Limits = journal::Limits {
    segment_bytes: 1 << 20,
    tail_bytes: 512 << 10,
    batch_bytes: 256 << 10,
    epoch_bytes: journal::OFFSET_END,
};

/// What a node is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Task {
    /// Shards.
    pub shards: usize,
    /// Datagrams that a shard finds at a turn, on average.
    pub per_turn: usize,
    /// Uplinks that are counted: a multiple of `shards * per_turn`.
    pub uplinks: u64,
}

/// What it came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// Turns that were counted, of all shards.
    pub turns: u64,
    /// Allocations and frees of shards in these turns.
    pub strays: u64,
    /// The hash of all that was told, and when.
    pub hash: u64,
}

struct Node {
    task: Task,
    network: Shared,
    shards: Vec<Shard<Outside>>,
    control: Control,
    consumers: Vec<Consumer>,
    random: SplitMix64,
    /// Uplinks of all devices so far: devices take turns.
    sent: u64,
}

/// What is counted: callgrind collects from here on until this returns, but for what is `Outside`.
#[inline(never)]
fn counted_turn(shard: &mut Shard<Outside>) -> bool {
    let goes_on = shard.turn();
    black_box(goes_on)
}

/// Does it.
///
/// # Errors
/// What was not told as it should have been.
pub fn run(task: Task) -> Result<Done, String> {
    let per_round = (task.shards * task.per_turn) as u64;
    if per_round == 0 || !task.uplinks.is_multiple_of(per_round) {
        return Err(format!("{} uplinks are no rounds of {per_round}", task.uplinks));
    }
    let mut node = Node::new(task);
    node.begin()?;
    for _ in 0..WARM_ROUND_COUNT {
        node.speak();
        node.round(false);
    }
    let before = alloc_guard::strays();
    let rounds = task.uplinks / per_round;
    for _ in 0..rounds {
        node.speak();
        node.round(true);
    }
    let strays = alloc_guard::strays() - before;
    (0..LAST_ROUND_COUNT).for_each(|_| node.round(false));
    node.check()?;
    let hash = node.network.borrow().trace();
    Ok(Done { turns: rounds * task.shards as u64, strays, hash })
}

impl Node {
    fn new(task: Task) -> Self {
        let shards = task.shards;
        let network = Network::new(SEED, Faults::calm(), shards, SLOT_KEY, |slot| shard_of_slot(slot, shards));
        let disk = Disk::new(SEED, DiskFaults::calm(), 1 << 30);
        let mut control = Control::new(SLOT_KEY, &disk);
        let (mailboxes, epoch) = control.start(shards).expect("a disk that keeps what it is given");
        control.apply(&configuration(task));
        let stream_count = STREAMS_PER_SHARD * shards;
        let sizes = Sizes {
            // Chance may give one shard all of them.
            connection_count: stream_count as u32,
            receive_bytes: 2048,
            receive_count: 64,
            datagram_count: 256,
            output_bytes: 16 << 10,
            output_count: stream_count as u32,
        };
        let files = FileSizes { count: 8, buffer_bytes: JOURNAL.batch_bytes as u32, buffer_count: 4 };
        let shards =
            fabric(shards, RING_BYTES).into_iter().zip(mailboxes).enumerate().map(|(index, (ports, mailbox))| {
                let machine = Machine::start(&network, index, sizes).with_files(&disk, files);
                let options = Options {
                    index,
                    slot_key: SLOT_KEY,
                    network: Limits { window_count_max: 1024, ..Limits::for_devices(DEVICES_PER_SHARD * shards) },
                    gateways: session::gateways::Limits { gateway_count_max: gateway_count(task).max(64) },
                    queue_block_count: 16 * stream_count,
                    tls: None,
                    plain_listeners: 1,
                    broker_tls: None,
                    broker: None,
                    echo: false,
                    journal: Some(JournalOptions { epoch, limits: JOURNAL }),
                };
                Shard::new(Outside::new(machine), options, ports, mailbox)
            });
        let shards = shards.collect();
        let consumers = (0..stream_count).map(|index| {
            let address = SocketAddr::from(([10, 2, 0, index as u8], 40_000));
            Consumer::new(address, &token(index), Temper::Prompt)
        });
        (0..gateway_count(task)).for_each(|index| network.borrow_mut().bind(address(index)));
        let consumers = consumers.collect();
        Self { task, network, shards, control, consumers, random: SplitMix64::new(SEED), sent: 0 }
    }

    /// Until the configuration is in force and every consumer has its stream.
    fn begin(&mut self) -> Result<(), String> {
        for _ in 0..BEGIN_ROUND_COUNT {
            self.round(false);
            if self.control.in_force() && self.consumers.iter().all(Consumer::is_open) {
                return Ok(());
            }
        }
        Err("not everybody found their place".into())
    }

    /// Each gateway hears one device.
    fn speak(&mut self) {
        let device_count = (DEVICES_PER_SHARD * self.task.shards) as u64;
        for index in 0..gateway_count(self.task) {
            let (device, fcnt) = (self.sent % device_count, self.sent / device_count);
            self.sent += 1;
            let datagram = push_data(gateway_eui(index), &phy(dev_addr(device as usize), fcnt as u32));
            self.network.borrow_mut().send(address(index), &datagram);
        }
    }

    fn round(&mut self, counted: bool) {
        let until = self.network.borrow().now().after(ROUND);
        self.network.borrow_mut().pass(until);
        for shard in &mut self.shards {
            shard.driver_mut().counted = counted;
            alloc_guard::serving(counted);
            let goes_on = if counted { counted_turn(shard) } else { shard.turn() };
            alloc_guard::serving(false);
            assert!(goes_on, "nobody told it to stop");
        }
        let (now, unix) = {
            let mut network = self.network.borrow_mut();
            for consumer in &mut self.consumers {
                consumer.step(&mut network, &mut self.random);
            }
            for index in 0..gateway_count(self.task) {
                while network.receive(address(index)).is_some() {}
            }
            (network.now(), network.unix())
        };
        self.control.step(now, unix);
    }

    /// Every uplink was told once, to the one consumer of its stream.
    fn check(&self) -> Result<(), String> {
        let mut told = BTreeSet::new();
        for (index, consumer) in self.consumers.iter().enumerate() {
            for received in &consumer.received {
                let message = &received.message;
                let eui = message["DeviceEUI"].as_str().and_then(|eui| u64::from_str_radix(eui, 16).ok()).unwrap_or(0);
                let device = (eui - DEV_EUI) as usize;
                let (fcnt, right) = (message["FCnt"].as_u64(), message["Data"] == DATA);
                if !right || device % self.consumers.len() != index || !told.insert((device, fcnt)) {
                    return Err(format!("consumer {index} was told {message}"));
                }
            }
        }
        if told.len() as u64 == self.sent { Ok(()) } else { Err(format!("{} of {} told", told.len(), self.sent)) }
    }
}

const DEV_EUI: u64 = 0x70B3_D57E_D000_0000;

/// The payload of every uplink as it is told.
const DATA: &str = "7477656E7479206279746573206F662064617461";

const fn gateway_count(task: Task) -> usize {
    task.shards * task.per_turn
}

const fn gateway_eui(index: usize) -> Eui64 {
    Eui64::new(0xB827_EBFF_FE00_0000 + index as u64)
}

fn address(gateway: usize) -> SocketAddr {
    SocketAddr::from(([10, 1, (gateway >> 8) as u8, gateway as u8], 1700))
}

const fn dev_addr(device: usize) -> DevAddr {
    DevAddr(0x2600_0001 + device as u32)
}

fn token(stream: usize) -> String {
    format!("stream-{stream}")
}

/// One tenant; an application, with a stream, for each consumer; devices spread over them.
fn configuration(task: Task) -> Vec<v1::Change> {
    let stream_count = STREAMS_PER_SHARD * task.shards;
    let tenant = Body::Tenant(v1::Tenant { id: TENANT, name: "tenant".into() });
    let profile = Body::Profile(v1::Profile {
        id: PROFILE,
        name: "EU868".into(),
        region: v1::Region::Eu868.into(),
        mac_version: v1::MacVersion::Lorawan104.into(),
        ..v1::Profile::default()
    });
    let applications = (0..stream_count).map(|index| {
        let id = index as u32 + 1;
        Body::Application(v1::Application { id, tenant: TENANT, name: token(index), dedup_window_ms: DEDUP_WINDOW_MS })
    });
    let streams = (0..stream_count).map(|index| {
        Body::Stream(v1::Stream {
            id: index as u32 + 1,
            tenant: TENANT,
            name: token(index),
            level: v1::Level::Application.into(),
            application: index as u32 + 1,
            copies: v1::Copies::First.into(),
            token_hashes: vec![Sha256::digest(token(index).as_bytes()).to_vec()],
            enabled: true,
            ..v1::Stream::default()
        })
    });
    let gateways = (0..gateway_count(task)).map(|index| {
        let eui = gateway_eui(index).to_u64();
        Body::Gateway(v1::Gateway { eui, tenant: TENANT, name: String::new(), eirp_max_dbm: 0 })
    });
    let keys = keys();
    let devices = (0..DEVICES_PER_SHARD * task.shards).map(|index| {
        let abp = v1::Abp {
            dev_addr: dev_addr(index).0,
            nwk_s_key: keys.nwk_s_key.0.into(),
            app_s_key: keys.app_s_key.0.into(),
            fcnt_up: 0,
            fcnt_down: 0,
        };
        Body::Device(v1::Device {
            dev_eui: DEV_EUI + index as u64,
            join_eui: 1,
            tenant: TENANT,
            application: (index % stream_count) as u32 + 1,
            profile: PROFILE,
            enabled: true,
            activation: Some(v1::device::Activation::Abp(abp)),
        })
    });
    let bodies = [tenant, profile].into_iter().chain(applications).chain(streams).chain(gateways).chain(devices);
    bodies.map(|body| v1::Change { body: Some(body) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_tell_every_uplink_once() {
        for (shards, per_turn) in [(1, 16), (3, 5), (8, 4)] {
            let task = Task { shards, per_turn, uplinks: (shards * per_turn * 20) as u64 };
            let done = run(task).unwrap_or_else(|wrong| panic!("{task:?}: {wrong}"));
            assert_eq!(done.turns, 20 * shards as u64);
            assert_eq!(run(task), Ok(done), "the same task, the same history");
        }
        assert!(run(Task { shards: 2, per_turn: 4, uplinks: 9 }).is_err());
    }
}
