//! What a story is made of, all of it from a seed; and the streams of every story.
//!
//! Owns the chances of what befalls a world. Each part draws from a generator of its own, so that a new kind of trouble
//! leaves the rest of every known seed as it was.

use crate::faults::{DiskFaults, Faults};
use crate::world::{APPLICATION, TENANT, gateway_eui};
use base::mix::{SplitMix64, mix64};
use contract::v1;
use sha2::{Digest, Sha256};
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
    /// Whether streams, and devices, change while traffic flows.
    pub plan_changes: bool,
    /// What else happens, and how often.
    pub spells: Spells,
}

/// Troubles that come and go, by how often each comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spells {
    /// The node dies between two operations of its disk, whoever asked for them.
    pub crashes: u64,
    /// The wall clock is set, forward or back.
    pub clock_jumps: u64,
    /// The control plane goes away, comes again and says everything anew.
    pub control_restarts: u64,
    /// The disk has no room for a while.
    pub full_disks: u64,
    /// The disk takes no writes for a while.
    pub read_only_disks: u64,
    /// The disk answers nothing for a while.
    pub disk_stalls: u64,
}

impl Spells {
    fn of(seed: u64, lies: bool) -> Self {
        let mut random = SplitMix64::new(mix64(seed ^ 0x59E115));
        // Each in one story of three, once or twice.
        let mut some = || if random.below(3) == 0 { 1 + random.below(2) } else { 0 };
        let spells = Self {
            crashes: some(),
            clock_jumps: some(),
            control_restarts: some(),
            full_disks: some(),
            read_only_disks: some(),
            disk_stalls: some(),
        };
        // What a disk has lost shows once nobody remembers it.
        if lies { Self { crashes: spells.crashes.max(1), ..spells } } else { spells }
    }
}

impl Story {
    /// The story of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = SplitMix64::new(mix64(seed ^ 0x5707));
        // Every eighth is calm, so that what must arrive is known exactly.
        let calm = seed.is_multiple_of(8);
        let disk = if calm { DiskFaults::calm() } else { DiskFaults::of(mix64(seed)) };
        Self {
            seed,
            shards: 1 + random.below(6) as usize,
            gateways: 1 + random.below(5) as usize,
            devices: 3 + random.below(12) as usize,
            span: Duration::from_secs(25 + random.below(20)),
            faults: if calm { Faults::calm() } else { Faults::of(mix64(seed)) },
            disk,
            radio_loss_percent: if calm { 0 } else { random.below(20) as u8 },
            power_cuts: if calm || random.below(3) > 0 { 0 } else { 1 + random.below(2) },
            plan_changes: random.below(2) == 0,
            spells: if calm { Spells::default() } else { Spells::of(seed, disk.may_lie()) },
        }
    }

    /// Whether the node is ended at some time, so that its counters begin anew.
    #[must_use]
    pub const fn has_ends(&self) -> bool {
        self.power_cuts + self.spells.crashes > 0
    }

    /// Whether nothing is lost on any way.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.seed.is_multiple_of(8)
    }
}

/// A stream of every story: its token, its level, its copies.
#[derive(Clone, Copy, Debug)]
pub struct StreamOfStory {
    /// Its token and name; its id is its place, from 1.
    pub token: &'static str,
    pub(crate) level: v1::Level,
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

/// Its place.
pub(crate) const DURABLE_AT: usize = 7;

const _: () = assert!(DURABLE_AT + 1 == STREAMS.len());

/// The stream of one gateway, and that of one device.
pub(crate) const GATEWAY: usize = 5;
pub(crate) const DEVICE: usize = 6;

/// A stream as every story begins with it.
pub(crate) fn stream(index: usize) -> v1::Stream {
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
        // Who refuses twice, as liars do, has made a dead letter.
        attempts_max: if token == DURABLE { 2 } else { 0 },
        retry_s: (token == DURABLE).then_some(1),
        when_full: if token == "tenant" { v1::WhenFull::Disconnect.into() } else { v1::WhenFull::DropNewest.into() },
        ..v1::Stream::default()
    }
}
