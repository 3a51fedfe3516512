//! The world: several shards, a fleet of gateways and devices, consumers of every temper, and one story from a seed.
//!
//! Owns the order of things. Everything it decides comes from the seed; everything it sees is kept for the laws.
//!
//! ```text
//!   control --mailboxes--> shards <--datagrams-- fleet        devices speak, gateways forward, consumers listen
//!                            |                                 downlinks are asked for, plans change,
//!                            +------streams------ consumers    and once in a while the power is cut
//! ```

use crate::consumer::{Consumer, Temper};
use crate::control::Control;
use crate::disk::{Disk, SharedDisk};
use crate::faults::{DiskFaults, Faults};
use crate::file::FileSizes;
use crate::machine::{Machine, Sizes};
use crate::network::{Network, Shared, Tally};
use base::mix::{SplitMix64, mix64};
use base::{Eui64, Monotonic, UnixMicros};
use contract::v1;
use contract::v1::change::Body;
use fleet::{Activation, DeviceConfig, DeviceEvent, Fleet, GatewayConfig, Input, Link, Output, Socket, Traffic};
use lorawan::{AesKey, DevAddr, MacVersion, Region, SessionKeys};
use sha2::{Digest, Sha256};
use shard::{JournalOptions, Options, Shard, fabric, shard_of_slot};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// What a story is made of.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    /// Everything else follows from it.
    pub seed: u64,
    /// Shards.
    pub shards: usize,
    /// Gateways.
    pub gateways: usize,
    /// Devices.
    pub devices: usize,
    /// How long traffic lasts, in virtual time.
    pub span: Duration,
    /// The weather.
    pub faults: Faults,
    /// The disk's.
    pub disk: DiskFaults,
    /// Frames of a hundred that the air swallows.
    pub radio_loss_percent: u8,
    /// How often the power is cut.
    pub power_cuts: u64,
    /// Whether streams change while traffic flows.
    pub plan_changes: bool,
}

impl Story {
    /// The story of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = SplitMix64::new(mix64(seed ^ 0x5707));
        // Every eighth is calm, so that what must arrive is known exactly.
        let calm = seed.is_multiple_of(8);
        Self {
            seed,
            shards: 1 + random.below(6) as usize,
            gateways: 1 + random.below(5) as usize,
            devices: 3 + random.below(12) as usize,
            span: Duration::from_secs(25 + random.below(20)),
            faults: if calm { Faults::calm() } else { Faults::of(mix64(seed)) },
            disk: if calm { DiskFaults::calm() } else { DiskFaults::of(mix64(seed)).honest() },
            radio_loss_percent: if calm { 0 } else { random.below(20) as u8 },
            power_cuts: if calm || random.below(3) > 0 { 0 } else { 1 + random.below(2) },
            plan_changes: random.below(2) == 0,
        }
    }

    /// Whether nothing is lost on any way.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.seed.is_multiple_of(8)
    }
}

/// A data frame as its device sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// FPort, if it had one.
    pub fport: Option<u8>,
    /// The clear payload.
    pub payload: Vec<u8>,
    /// Whether it asked for acknowledgement.
    pub confirmed: bool,
}

/// A downlink that a consumer asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// For whom.
    pub dev_eui: Eui64,
    /// Its payload, unique among all.
    pub payload: Vec<u8>,
    /// Whether it is to be acknowledged.
    pub confirmed: bool,
}

/// Everything that happened.
#[derive(Debug)]
pub struct History {
    /// What was told.
    pub story: Story,
    /// By device and FCntUp; several if the device joined again.
    pub sent: BTreeMap<(Eui64, u32), Vec<Sent>>,
    /// Downlinks that devices took: device, payload.
    pub heard: Vec<(Eui64, Vec<u8>)>,
    /// Uplinks that devices were told were taken.
    pub acknowledged: BTreeSet<(Eui64, u32)>,
    /// Uplinks that the journal has at the end.
    pub journaled: BTreeSet<(Eui64, u32)>,
    /// Downlinks by the consumer's own id.
    pub asked: BTreeMap<String, Asked>,
    /// Consumers, in the order of [`STREAMS`] and then the others.
    pub consumers: Vec<Consumer>,
    /// The control thread, with the counters of the last life.
    pub control: Control,
    /// The network's tally.
    pub tally: Tally,
    /// The fleet's totals.
    pub totals: fleet::Totals,
    /// Good frames that gateways forwarded.
    pub forwarded: u64,
    /// Devices in the order of the fleet.
    pub devices: Vec<Eui64>,
    /// The most bytes that ever waited in the network.
    pub held_bytes_max: usize,
    /// Buffers that machines had lent when their shard had stopped, and connections.
    pub lent: Vec<([usize; 3], usize)>,
    /// Whether every stream was open, and everything in force, before the first device spoke.
    pub ready: bool,
    /// The hash of it all.
    pub trace: u64,
}

/// A stream of every story: its token, its level, its copies.
#[derive(Clone, Copy, Debug)]
pub struct StreamOfStory {
    /// Its token and name; its id is its place, from 1.
    pub token: &'static str,
    level: v1::Level,
    /// Which copies.
    pub copies: v1::Copies,
    /// Whether a prompt consumer stays on it from before the first frame to the end.
    pub kept: bool,
}

/// The streams of every story. Consumer `n` of a history listens to stream `n`.
pub const STREAMS: [StreamOfStory; 8] = [
    StreamOfStory { token: "operator", level: v1::Level::Operator, copies: v1::Copies::First, kept: true },
    StreamOfStory { token: "first", level: v1::Level::Application, copies: v1::Copies::First, kept: true },
    StreamOfStory { token: "all", level: v1::Level::Application, copies: v1::Copies::All, kept: true },
    StreamOfStory { token: "best", level: v1::Level::Application, copies: v1::Copies::Best, kept: true },
    StreamOfStory { token: "tenant", level: v1::Level::Tenant, copies: v1::Copies::First, kept: false },
    StreamOfStory { token: "gateway", level: v1::Level::Gateway, copies: v1::Copies::All, kept: false },
    StreamOfStory { token: "device", level: v1::Level::Device, copies: v1::Copies::First, kept: false },
    StreamOfStory { token: DURABLE, level: v1::Level::Application, copies: v1::Copies::First, kept: false },
];

/// The durable stream's token.
pub(crate) const DURABLE: &str = "durable";

/// The stream that comes and goes.
const CHANGING: usize = 6;

const SLOT_KEY: u32 = 0x5EED;
const TENANT: u32 = 1;
const APPLICATION: u32 = 1;
const EU868: u32 = 1;
const QUEUE_BLOCKS: usize = 48;

const SIZES: Sizes = Sizes {
    connection_count: 16,
    receive_bytes: 2048,
    receive_count: 8,
    datagram_count: 16,
    output_bytes: 4096,
    output_count: 5,
};

const FILES: FileSizes = FileSizes { count: 8, buffer_bytes: JOURNAL.batch_bytes as u32, buffer_count: 3 };

/// Small, so that segments end.
const JOURNAL: journal::Limits = journal::Limits {
    segment_bytes: 160 << 10,
    tail_bytes: 264 << 10,
    batch_bytes: 136 << 10,
    epoch_bytes: (160 << 10) + 8,
};

/// More than any story fills.
const DISK_BYTES: u64 = 256 << 20;

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
    control_due: Monotonic,
    downlink_due: Monotonic,
    change_due: Monotonic,
    changed: bool,
    /// One for all hosts: they are shards of one process.
    disk: SharedDisk,
    cuts: Vec<Monotonic>,
    power_back: Monotonic,
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
    world.cuts = (0..story.power_cuts).map(|_| world.moment(end)).collect();
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
            control_due: now,
            downlink_due: Monotonic::NEVER,
            change_due: Monotonic::NEVER,
            changed: false,
            cuts: Vec::new(),
            power_back: Monotonic::NEVER,
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

    // Beginnings.

    fn configure(&mut self) {
        let change = |body| v1::Change { body: Some(body) };
        let mut changes = vec![
            change(Body::Tenant(v1::Tenant { id: TENANT, name: "tenant".into() })),
            change(Body::Application(v1::Application {
                id: APPLICATION,
                tenant: TENANT,
                name: "application".into(),
                dedup_window_ms: 0,
            })),
            change(Body::Profile(v1::Profile {
                id: EU868,
                name: "EU868".into(),
                region: v1::Region::Eu868.into(),
                mac_version: v1::MacVersion::Lorawan104.into(),
                ..v1::Profile::default()
            })),
        ];
        changes.extend((0..STREAMS.len()).map(|index| change(Body::Stream(stream(index)))));
        self.control.apply(&changes);
    }

    fn power_up(&mut self) {
        let count = self.story.shards;
        let (mailboxes, epoch) = self.control.start(count);
        let network = session::Limits {
            device_count_max: 64,
            pending_count_max: 64,
            redirect_count_max: 64,
            window_count_max: 64,
            transmission_count_max: 64,
            downlink_count_max: 256,
            queue_bytes_max: 64 << 10,
        };
        // Each ring holds some records of the greatest length, so that it is sometimes full.
        let ring_bytes = 5 * 4096;
        self.shards = fabric(count, ring_bytes)
            .into_iter()
            .zip(mailboxes)
            .enumerate()
            .map(|(index, (ports, mailbox))| {
                let machine = Machine::start(&self.network, index, SIZES).with_files(&self.disk, FILES);
                let options = Options {
                    index,
                    slot_key: SLOT_KEY,
                    network,
                    gateways: session::gateways::Limits { gateway_count_max: 16 },
                    queue_block_count: QUEUE_BLOCKS,
                    tls: None,
                    plain_listeners: 1,
                    echo: false,
                    journal: Some(JournalOptions { epoch, limits: JOURNAL }),
                };
                Some(Shard::new(machine, options, ports, mailbox))
            })
            .collect();
        self.power_back = Monotonic::NEVER;
    }

    fn add_gateways(&mut self) {
        for index in 0..self.story.gateways {
            let eui = gateway_eui(index);
            let mut config = GatewayConfig::new(eui, Region::Eu868);
            config.version = if index % 3 == 2 { 1 } else { 2 };
            config.gps = index % 2 == 0;
            config.pull_interval = Duration::from_secs(2);
            self.fleet.add_gateway(config, self.network.borrow().now());
            self.network.borrow_mut().bind(address(index, Socket::Up));
            self.network.borrow_mut().bind(address(index, Socket::Down));
            let gateway = v1::Gateway { eui: eui.to_u64(), tenant: TENANT, name: String::new(), eirp_max_dbm: 0 };
            self.control.apply(&[v1::Change { body: Some(Body::Gateway(gateway)) }]);
        }
    }

    fn add_devices(&mut self) {
        let now = self.now();
        let kept_quiet = Duration::from_secs(1 + self.random.below(5));
        for index in 0..self.story.devices {
            let dev_eui = Eui64::new(0x70B3_D57E_D000_0000 + index as u64);
            let join_eui = Eui64::new(0x70B3_D57E_D0FF_0000);
            let key = |salt: u64| {
                let word = |half| mix64(self.story.seed ^ (index as u64) << 8 ^ salt << 4 ^ half).to_be_bytes();
                [word(0), word(1)].concat().try_into().expect("sixteen bytes")
            };
            let (activation, told) = if index % 3 == 0 {
                // Two devices of three on one address: the MIC tells them apart.
                let dev_addr = 0x0100_0000 | (index as u32 / 6 + 1);
                let (nwk, app): ([u8; 16], [u8; 16]) = (key(1), key(2));
                let keys = SessionKeys { nwk_s_key: AesKey(nwk), app_s_key: AesKey(app) };
                let abp = v1::Abp { dev_addr, nwk_s_key: nwk.into(), app_s_key: app.into(), fcnt_up: 0, fcnt_down: 0 };
                (Activation::Abp { dev_addr: DevAddr(dev_addr), keys }, v1::device::Activation::Abp(abp))
            } else {
                let app_key: [u8; 16] = key(3);
                let otaa = v1::Otaa { app_key: app_key.into() };
                (Activation::Otaa { app_key: AesKey(app_key) }, v1::device::Activation::Otaa(otaa))
            };
            let device = v1::Device {
                dev_eui: dev_eui.to_u64(),
                join_eui: join_eui.to_u64(),
                tenant: TENANT,
                application: APPLICATION,
                profile: EU868,
                enabled: true,
                activation: Some(told),
            };
            self.control.apply(&[v1::Change { body: Some(Body::Device(device)) }]);
            let mut config = DeviceConfig::new(dev_eui, join_eui, activation, Region::Eu868);
            config.mac_version = MacVersion::V1_0_4;
            config.adr = index % 2 == 0;
            config.traffic = Some(Traffic {
                interval: kept_quiet + Duration::from_millis(self.random.below(4000)),
                confirmed_percent: 30,
                request_percent: 10,
                payload_bytes: (0, 40),
            });
            let links: Vec<Link> = self.fleet.random_links(self.story.gateways, self.story.radio_loss_percent);
            self.fleet.add_device(config, links, now);
            self.devices.push(dev_eui);
        }
        self.downlink_due = now.after(Duration::from_secs(3));
        self.change_due = if self.story.plan_changes { now.after(Duration::from_secs(5)) } else { Monotonic::NEVER };
    }

    fn add_consumers(&mut self) {
        let mut add = |token: &str, temper: Temper| {
            let address = SocketAddr::from(([10, 2, 0, self.consumers.len() as u8], 40_000));
            let mut consumer = Consumer::new(address, token, temper);
            consumer.acknowledges = token == DURABLE;
            self.consumers.push(consumer);
        };
        for stream in STREAMS {
            let temper = match self.random.below(3) {
                _ if stream.kept => Temper::Prompt,
                _ if stream.token == DURABLE => Temper::Fickle,
                0 => Temper::Prompt,
                1 => Temper::Slow,
                _ => Temper::Fickle,
            };
            add(stream.token, temper);
        }
        add("first", Temper::Deaf);
        add("operator", Temper::Deaf);
        add("operator", Temper::Fickle);
        add("all", Temper::Slow);
        add("nobody", Temper::Fickle);
    }

    // Time.

    fn run(&mut self, end: Monotonic) {
        while self.now() < end {
            self.step(end);
        }
    }

    fn step(&mut self, end: Monotonic) {
        let consumers = self.consumers.iter().map(Consumer::deadline).min().unwrap_or(end);
        let cut = self.cuts.iter().copied().min().unwrap_or(end);
        let due = [
            end,
            if self.silent { end } else { self.fleet.deadline() },
            consumers,
            cut,
            self.control_due,
            self.downlink_due,
            self.change_due,
            self.power_back,
        ];
        let until = due.into_iter().min().expect("one of them");
        self.network.borrow_mut().advance(until);
        let now = self.now();
        loop {
            let due = self.network.borrow().due_host();
            let Some(host) = due else { break };
            let shard = self.shards[host].as_mut().expect("a host that is up has its shard");
            if !shard.turn() {
                let machine = shard.driver_mut();
                self.lent.push((machine.lent(), machine.connection_count()));
                self.shards[host] = None;
                self.network.borrow_mut().kill(host);
            }
        }
        if !self.silent {
            self.step_fleet(now);
        }
        self.step_consumers(now);
        if self.control_due <= now {
            let woken = self.control.step();
            woken.into_iter().for_each(|shard| self.network.borrow_mut().poke(shard));
            self.control_due = now.after(Duration::from_micros(500 + self.random.below(4000)));
            self.held_bytes_max = self.held_bytes_max.max(self.network.borrow().held_bytes());
        }
        self.step_story(now);
    }

    fn step_fleet(&mut self, now: Monotonic) {
        for index in 0..self.story.gateways {
            for socket in [Socket::Up, Socket::Down] {
                loop {
                    let datagram = self.network.borrow_mut().receive(address(index, socket));
                    let Some(bytes) = datagram else { break };
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
    }

    fn step_story(&mut self, now: Monotonic) {
        if self.downlink_due <= now {
            self.ask_for_downlink();
            self.downlink_due = now.after(Duration::from_millis(300 + self.random.below(2500)));
        }
        if self.change_due <= now {
            self.changed = !self.changed;
            let body =
                if self.changed { Body::RemoveStream(CHANGING as u32 + 1) } else { Body::Stream(stream(CHANGING)) };
            self.control.apply(&[v1::Change { body: Some(body) }]);
            self.change_due = now.after(Duration::from_secs(1 + self.random.below(8)));
        }
        if self.power_back <= now {
            self.power_up();
        }
        if self.cuts.iter().any(|cut| *cut <= now) {
            self.cuts.retain(|cut| *cut > now);
            if self.power_back == Monotonic::NEVER {
                for host in 0..self.shards.len() {
                    self.network.borrow_mut().kill(host);
                }
                self.shards.clear();
                // The power goes, or only the process: then the kernel keeps what was written.
                if self.random.below(2) == 0 {
                    self.disk.borrow_mut().power_cut();
                } else {
                    (0..self.story.shards).for_each(|host| self.disk.borrow_mut().kill(host));
                }
                self.power_back = now.after(Duration::from_millis(50 + self.random.below(3000)));
            }
        }
    }

    /// Someone whose stream is open asks for a downlink, now and then a bad one.
    fn ask_for_downlink(&mut self) {
        let index = self.random.below(self.consumers.len() as u64) as usize;
        let device = self.random.below(self.devices.len() as u64) as usize;
        let (dev_eui, confirmed) = (self.devices[device], self.random.below(2) == 0);
        let number = self.asked.len() as u32;
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(4 + self.random.below(30) as usize, 0xA5);
        let id = format!("ask{number}");
        let digits: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        let kind = if confirmed { 5 } else { 3 };
        let text = match self.random.below(8) {
            0 => r#"{"Type":3,"Port":0}"#.to_string(),
            1 => "no JSON at all".to_string(),
            _ => format!(r#"{{"type":{kind},"DEVICEEUI":"{dev_eui}","Port":7,"Data":"{digits}","Id":"{id}"}}"#),
        };
        let consumer = &mut self.consumers[index];
        if consumer.is_open() {
            if text.contains("DEVICEEUI") {
                self.asked.insert(id, Asked { dev_eui, payload, confirmed });
            }
            consumer.say(&text, &mut self.random);
        }
    }

    // The end.

    fn stop(&mut self) {
        if self.shards.is_empty() {
            self.power_up();
        }
        let counts = (0..self.story.gateways).map(|index| self.fleet.gateway(index).counts());
        self.forwarded = counts.map(|counts| counts.forwarded).sum();
        (self.silent, self.change_due, self.downlink_due) = (true, Monotonic::NEVER, Monotonic::NEVER);
        // What is under way arrives, and everything that was configured is in force.
        for consumer in self.consumers.iter_mut().filter(|consumer| consumer.acknowledges) {
            consumer.settle(&mut self.random);
        }
        self.run(self.now().after(Duration::from_secs(8)));
        assert!(self.control.in_force(), "seed {}: everything configured is in force on every shard", self.story.seed);
        self.control.ask_reports();
        self.run(self.now().after(Duration::from_secs(1)));
        assert_eq!(self.control.reports, self.story.shards, "every shard reports");
        self.consumers.iter_mut().for_each(Consumer::stay_away);
        self.control.stop();
        self.run(self.now().after(Duration::from_secs(4)));
    }

    fn into_history(mut self) -> History {
        let journaled = self.control.journaled();
        let network = self.network.borrow();
        History {
            story: self.story,
            sent: self.sent,
            heard: self.heard,
            acknowledged: self.acknowledged,
            journaled,
            asked: self.asked,
            consumers: self.consumers,
            control: self.control,
            tally: network.tally(),
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

fn stream(index: usize) -> v1::Stream {
    let StreamOfStory { token, level, copies, .. } = STREAMS[index];
    v1::Stream {
        id: index as u32 + 1,
        tenant: if level == v1::Level::Operator { 0 } else { TENANT },
        name: token.into(),
        level: level.into(),
        application: APPLICATION,
        device: 0x70B3_D57E_D000_0000,
        gateway: gateway_eui(0).to_u64(),
        copies: copies.into(),
        token_hashes: vec![Sha256::digest(token.as_bytes()).to_vec()],
        enabled: true,
        downlinks: true,
        queue_bytes_max: 16 << 10,
        ping_interval_s: 5,
        delivery: if token == DURABLE { v1::Delivery::Durable.into() } else { v1::Delivery::Live.into() },
        in_flight_max: if token == DURABLE { 16 } else { 0 },
        when_full: if token == "tenant" { v1::WhenFull::Disconnect.into() } else { v1::WhenFull::DropNewest.into() },
        ..v1::Stream::default()
    }
}

const fn gateway_eui(index: usize) -> Eui64 {
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
