//! The world: several shards, a fleet of gateways and devices, consumers of every temper, and one story from a seed.
//!
//! Owns the order of things. Everything it decides comes from the seed; everything it sees is kept for the laws, and those
//! that can be are held against it at every step (`watch`). How it begins is in `beginnings`, what befalls it in
//! `happenings`.
//!
//! ```text
//!   control --mailboxes--> shards <--datagrams-- fleet        devices speak, gateways forward, consumers listen
//!                            |                                 downlinks are asked for, plans change, clocks are set,
//!                            +------streams------ consumers    and once in a while the power is cut
//! ```

mod beginnings;
mod happenings;

use crate::consumer::{Consumer, Temper};
use crate::control::Control;
use crate::disk::{Disk, SharedDisk};
use crate::history::{Asked, Befell, History, Sent};
use crate::machine::Machine;
use crate::network::{Network, Shared};
use crate::story::{STREAMS, Story};
use crate::watch::Watch;
use base::mix::{SplitMix64, mix64};
use base::{Eui64, Monotonic, UnixMicros};
use contract::v1;
use fleet::{DeviceEvent, Fleet, Input, Output, Socket};
use happenings::Happening;
use shard::{Shard, shard_of_slot};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) const SLOT_KEY: u32 = 0x5EED;
pub(crate) const TENANT: u32 = 1;
pub(crate) const APPLICATION: u32 = 1;
pub(crate) const EU868: u32 = 1;

/// More than any story fills, unless it is to be filled.
pub(crate) const DISK_BYTES: u64 = 256 << 20;

/// Between two looks at the counters.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(4);

/// A story being told.
struct World {
    story: Story,
    random: SplitMix64,
    network: Shared,
    shards: Vec<Option<Shard<Machine>>>,
    control: Control,
    fleet: Fleet,
    consumers: Vec<Consumer>,
    sent: BTreeMap<(Eui64, u32), Vec<Sent>>,
    heard: Vec<(Eui64, Vec<u8>)>,
    acknowledged: BTreeSet<(Eui64, u32)>,
    asked: BTreeMap<String, Asked>,
    devices: Vec<Eui64>,
    /// The devices as they were configured first.
    told: Vec<v1::Device>,
    control_due: Monotonic,
    downlink_due: Monotonic,
    scrape_due: Monotonic,
    /// What will befall it, and when; the second number keeps the order of equal times.
    agenda: BTreeMap<(Monotonic, usize), Happening>,
    /// Streams, and devices, that are not as they were at first.
    changed: [bool; STREAMS.len()],
    disabled: Option<usize>,
    befell: Befell,
    /// One for all hosts: they are shards of one process.
    disk: SharedDisk,
    power_back: Monotonic,
    watch: Watch,
    held_bytes_max: usize,
    lent: Vec<([usize; 3], usize)>,
    ready: bool,
    forwarded: u64,
    /// The air has gone silent, so that what is counted stands still.
    silent: bool,
}

/// Tells a story from beginning to end.
#[must_use]
pub fn tell(story: Story) -> History {
    let mut world = World::new(story);
    let start = world.now();
    // First everyone finds their place, then devices begin to speak.
    world.run(start.after(Duration::from_secs(2)));
    let kept = STREAMS.iter().zip(&world.consumers).filter(|(stream, _)| stream.kept);
    let open = kept.filter(|(_, consumer)| !consumer.is_open()).count() == 0;
    world.ready = open && world.control.in_force();
    world.add_devices();
    let end = world.now().after(story.span);
    world.foresee(end);
    world.run(end);
    world.stop();
    world.into_history()
}

impl World {
    fn new(story: Story) -> Self {
        let shards = story.shards;
        let network = Network::new(story.seed, story.faults, shards, SLOT_KEY, |slot| shard_of_slot(slot, shards));
        let now = network.borrow().now();
        let epoch = UnixMicros(network.borrow().unix().0 - now.0 / 1_000);
        let disk = Disk::new(story.seed, story.disk, DISK_BYTES);
        let mut world = Self {
            story,
            random: SplitMix64::new(mix64(story.seed ^ 0x0A11)),
            network,
            shards: Vec::new(),
            control: Control::new(SLOT_KEY, &disk),
            disk,
            fleet: Fleet::new(mix64(story.seed ^ 0xF1EE7), epoch),
            consumers: Vec::new(),
            sent: BTreeMap::new(),
            heard: Vec::new(),
            acknowledged: BTreeSet::new(),
            asked: BTreeMap::new(),
            devices: Vec::new(),
            told: Vec::new(),
            control_due: now,
            downlink_due: Monotonic::NEVER,
            scrape_due: now,
            agenda: BTreeMap::new(),
            changed: [false; STREAMS.len()],
            disabled: None,
            befell: Befell::default(),
            power_back: Monotonic::NEVER,
            watch: Watch::new(story),
            held_bytes_max: 0,
            lent: Vec::new(),
            ready: false,
            forwarded: 0,
            silent: false,
        };
        world.configure();
        world.power_up();
        world.add_gateways();
        world.add_consumers();
        world
    }

    fn now(&self) -> Monotonic {
        self.network.borrow().now()
    }

    fn moment(&mut self, end: Monotonic) -> Monotonic {
        let span = end.since(self.now()).as_nanos() as u64;
        self.now().after(Duration::from_nanos(self.random.below(span)))
    }

    // Time.

    fn run(&mut self, end: Monotonic) {
        while self.now() < end {
            self.step(end);
        }
    }

    fn step(&mut self, end: Monotonic) {
        let consumers = self.consumers.iter().map(Consumer::deadline).min().unwrap_or(end);
        let befalls = self.agenda.first_key_value().map_or(end, |((at, _), _)| *at);
        let due = [
            end,
            if self.silent { end } else { self.fleet.deadline() },
            consumers,
            befalls,
            self.control_due,
            self.downlink_due,
            self.power_back,
        ];
        let until = due.into_iter().min().expect("one of them");
        self.network.borrow_mut().advance(until);
        let now = self.now();
        loop {
            let due = self.network.borrow().due_host();
            let Some(host) = due else { break };
            let shard = self.shards[host].as_mut().expect("a host that is up has its shard");
            let goes_on = shard.turn();
            self.watch.turned(host, shard);
            if !goes_on {
                let machine = shard.driver_mut();
                self.lent.push((machine.lent(), machine.connection_count()));
                self.shards[host] = None;
                self.network.borrow_mut().kill(host);
            }
            if self.disk.borrow().has_ended() {
                self.end_at_operation();
                break;
            }
        }
        if !self.silent {
            self.step_fleet(now);
        }
        self.step_consumers(now);
        if self.control_due <= now {
            let unix = self.network.borrow().unix();
            let woken = self.control.step(now, unix);
            woken.into_iter().for_each(|shard| self.network.borrow_mut().poke(shard));
            self.control_due = now.after(Duration::from_micros(500 + self.random.below(4000)));
            let held = self.network.borrow().held_bytes();
            self.held_bytes_max = self.held_bytes_max.max(held);
            self.watch.held(held);
            if self.scrape_due <= now && !self.silent {
                self.scrape_due = now.after(SCRAPE_INTERVAL);
                self.control.scrape();
            }
            if self.disk.borrow().has_ended() {
                self.end_at_operation();
            }
        }
        self.step_happenings(now);
    }

    fn step_fleet(&mut self, now: Monotonic) {
        for index in 0..self.story.gateways {
            for socket in [Socket::Up, Socket::Down] {
                loop {
                    let datagram = self.network.borrow_mut().receive(address(index, socket));
                    let Some(bytes) = datagram else { break };
                    self.watch.gateway_heard(&bytes, &self.fleet);
                    self.fleet.handle(Input::Datagram { gateway: index, bytes: &bytes }, now);
                }
            }
        }
        if self.fleet.deadline() <= now {
            self.fleet.handle(Input::Due, now);
        }
        while let Some(output) = self.fleet.poll() {
            match output {
                Output::Datagram { gateway, socket, bytes } => {
                    self.network.borrow_mut().send(address(gateway, socket), &bytes);
                }
                Output::Device { device, event } => self.device_event(device, event),
                Output::Refused { .. } => {}
            }
        }
    }

    fn device_event(&mut self, device: usize, event: DeviceEvent) {
        let dev_eui = self.devices.get(device).copied().unwrap_or_else(|| panic!("device {device} was added"));
        match event {
            DeviceEvent::Sent { fcnt, fport, payload, confirmed, .. } => {
                let sent = Sent { fport, payload, confirmed };
                let known = self.sent.entry((dev_eui, fcnt)).or_default();
                if !known.contains(&sent) {
                    known.push(sent);
                }
            }
            DeviceEvent::Received { fport: Some(_), payload, .. } => self.heard.push((dev_eui, payload)),
            DeviceEvent::Acknowledged { fcnt } => drop(self.acknowledged.insert((dev_eui, fcnt))),
            DeviceEvent::Joined { .. } => self.watch.joined(device),
            _ => {}
        }
    }

    fn step_consumers(&mut self, now: Monotonic) {
        let mut network = self.network.borrow_mut();
        let stirred = network.stirred();
        for consumer in &mut self.consumers {
            let called = consumer.stream().is_some_and(|stream| stirred.contains(&stream));
            if called || consumer.deadline() <= now {
                consumer.step(&mut network, &mut self.random);
            }
        }
        self.watch.told(&self.consumers, &self.sent, &self.devices);
    }

    // The end.

    fn stop(&mut self) {
        self.settle_troubles();
        let counts = (0..self.story.gateways).map(|index| self.fleet.gateway(index).counts());
        self.forwarded = counts.map(|counts| counts.forwarded).sum();
        (self.silent, self.downlink_due) = (true, Monotonic::NEVER);
        // What is under way arrives, and everything that was configured is in force.
        for consumer in &mut self.consumers {
            let mut network = self.network.borrow_mut();
            if consumer.is_relied_on() {
                consumer.settle(&mut network, &mut self.random);
            } else if consumer.acknowledges || consumer.temper == Temper::Deaf {
                // What they hold of the shards' memory others need now: how long those wait for it is no matter here.
                consumer.leave_for_good(&mut network);
            }
        }
        self.run(self.now().after(Duration::from_secs(8)));
        assert!(self.control.in_force(), "seed {}: everything configured is in force on every shard", self.story.seed);
        self.control.ask_reports();
        self.control.ask_connections(&(1..=STREAMS.len() as u32).collect::<Vec<_>>());
        self.run(self.now().after(Duration::from_secs(1)));
        assert_eq!(self.control.reports, self.story.shards, "every shard reports");
        self.consumers.iter_mut().for_each(Consumer::stay_away);
        self.control.stop();
        self.run(self.now().after(Duration::from_secs(4)));
    }

    fn into_history(mut self) -> History {
        let sessions = self.control.journaled();
        let journaled_count = sessions.len() as u64;
        let journaled = sessions.into_iter().map(|(dev_eui, _, fcnt)| (dev_eui, fcnt)).collect();
        let network = self.network.borrow();
        let disk = self.disk.borrow();
        History {
            story: self.story,
            sent: self.sent,
            heard: self.heard,
            acknowledged: self.acknowledged,
            journaled_count,
            journaled,
            asked: self.asked,
            consumers: self.consumers,
            control: self.control,
            tally: network.tally(),
            disk: disk.tally(),
            lies: disk.lies().to_vec(),
            witness: disk.witness().clone(),
            befell: self.befell,
            totals: self.fleet.totals(),
            forwarded: self.forwarded,
            devices: self.devices,
            held_bytes_max: self.held_bytes_max,
            lent: self.lent,
            ready: self.ready,
            trace: network.trace(),
        }
    }
}

pub(crate) const fn gateway_eui(index: usize) -> Eui64 {
    Eui64::new(0xAA55_5A00_0000_0000 + index as u64 * 0x0101)
}

/// A forwarder sends PUSH_DATA and PULL_DATA from different ports.
fn address(gateway: usize, socket: Socket) -> SocketAddr {
    let port = match socket {
        Socket::Up => 30_001,
        Socket::Down => 30_002,
    };
    SocketAddr::from(([10, 1, 0, gateway as u8], port))
}
