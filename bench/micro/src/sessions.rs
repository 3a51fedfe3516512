//! What an uplink looks up: its window, if a copy of it came before, or else its session.

use crate::uplink::{keys, phy};
use crate::{Kernel, Work, fnv};
use base::{DataRate, Eui64, Monotonic, UnixMicros};
use event::{Event, Reception};
use lorawan::{DevAddr, MacVersion, NetId, Profile, Region};
use session::{
    About, Achievement, Activation, Change, DeviceSpec, Heard, Lanes, Limits, Network, NotKept, Owner, Rules, Sink,
    Ticket, Transmit,
};
use std::hint::black_box;

pub(crate) const THOUSAND: Kernel = Kernel {
    name: "session_1k",
    what: "the session of a DevAddr, any of a thousand",
    large: false,
    prepare: || look_up(1_000),
};
pub(crate) const MILLION: Kernel = Kernel {
    name: "session_1m",
    what: "the session of a DevAddr, any of a million",
    large: true,
    prepare: || look_up(1_000_000),
};
pub(crate) const TEN_MILLION: Kernel = Kernel {
    name: "session_10m",
    what: "the session of a DevAddr, any of ten million",
    large: true,
    prepare: || look_up(10_000_000),
};
pub(crate) const DEDUP: Kernel = Kernel {
    name: "dedup",
    what: "one more copy of a frame finds its window among 4096",
    large: false,
    prepare: dedup,
};

const WINDOW_COUNT: usize = 4096;

/// Copies of one frame that a window lists beside the first.
const COPY_COUNT: usize = event::RECEPTION_COUNT_MAX - 1;

/// A plan of one profile in which nobody wants later copies.
struct Plan(Profile);

impl Rules for Plan {
    fn profile(&self, _: u32) -> Option<&Profile> {
        Some(&self.0)
    }

    fn net_id(&self) -> NetId {
        NetId(0x13)
    }

    fn wants(&self, about: &About) -> bool {
        about.copy == event::Copy::First
    }
}

/// Keeps and says nothing.
struct Nobody;

impl Sink for Nobody {
    fn event(&mut self, _: &Event<'_>) {}

    fn transmit(&mut self, _: &Transmit<'_>) {}

    fn keep(&mut self, _: Owner, _: Change<'_>) -> Result<Ticket, NotKept> {
        Ok(Ticket::KEPT)
    }

    fn is_kept(&mut self, _: Ticket) -> bool {
        true
    }
}

/// The DevAddr of a device.
fn dev_addr(index: u32) -> DevAddr {
    DevAddr(0x2600_0000 | index)
}

/// A network server with so many personalised devices.
fn network(count: u32, window_count_max: usize) -> Network {
    let limits = Limits {
        device_count_max: count as usize,
        pending_count_max: 64,
        redirect_count_max: 64,
        window_count_max,
        transmission_count_max: 64,
        downlink_count_max: 64,
        queue_bytes_max: 64 << 10,
    };
    let mut network = Network::new(limits, Lanes::ALL, 0x5EED);
    for index in 0..count {
        let spec = DeviceSpec {
            dev_eui: Eui64::new(0x70B3_D57E_D000_0000 + u64::from(index)),
            join_eui: Eui64::new(1),
            tenant: 1,
            application: 1,
            profile: 1,
            enabled: true,
            activation: Activation::Abp { dev_addr: dev_addr(index), keys: keys(), fcnt_up: 0, fcnt_down: 0 },
        };
        network.upsert(&spec, &mut Nobody, UnixMicros(0)).expect("room");
    }
    network
}

struct LookUp {
    network: Network,
    count: u32,
    random: u64,
    asked: u64,
    found: u64,
}

fn look_up(count: u32) -> Box<dyn Work> {
    Box::new(LookUp { network: network(count, 64), count, random: 1, asked: 0, found: 0 })
}

impl Work for LookUp {
    fn run(&mut self, count: u64) {
        for _ in 0..count {
            // Any device, so that what is looked at is in no cache if it does not fit: a step of Knuth's generator.
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let index = ((self.random >> 32) * u64::from(self.count)) >> 32;
            self.found += self.network.session_count_at(black_box(dev_addr(index as u32))) as u64;
        }
        self.asked += count;
    }

    fn check(&mut self) -> Result<u64, String> {
        let unknown = self.network.session_count_at(dev_addr(self.count));
        if self.found == self.asked && unknown == 0 {
            Ok(fnv(&self.count.to_le_bytes()))
        } else {
            Err(format!("found {} of {}, and {unknown} that are not there", self.found, self.asked))
        }
    }
}

struct Dedup {
    network: Network,
    plan: Plan,
    frames: Vec<Vec<u8>>,
    done: usize,
}

fn heard(phy: &[u8]) -> Heard<'_> {
    Heard {
        phy,
        reception: Reception { gateway: Eui64::new(1), rssi_deci: -570, snr_deci: 95, ..Reception::default() },
        frequency_hz: 868_100_000,
        data_rate: DataRate::Lora { sf: 7, bw_khz: 125 },
    }
}

fn dedup() -> Box<dyn Work> {
    let profile = Profile { region: Region::Eu868, mac_version: MacVersion::V1_0_4, ..Profile::default() };
    let mut work = Dedup {
        network: network(WINDOW_COUNT as u32, WINDOW_COUNT),
        plan: Plan(profile),
        frames: (0..WINDOW_COUNT as u32).map(|index| phy(dev_addr(index), 0)).collect(),
        done: 0,
    };
    for frame in &work.frames {
        work.network.receive(&heard(frame), &work.plan, &mut Nobody, Monotonic(1), UnixMicros(1));
    }
    Box::new(work)
}

impl Work for Dedup {
    fn run(&mut self, count: u64) {
        for _ in 0..count {
            let frame = &self.frames[self.done % WINDOW_COUNT];
            self.done += 1;
            self.network.receive(black_box(&heard(frame)), &self.plan, &mut Nobody, Monotonic(2), UnixMicros(2));
        }
    }

    fn check(&mut self) -> Result<u64, String> {
        let achieved = &self.network.counts().achieved;
        let counted = [Achievement::Uplinks, Achievement::Copies].map(|what| achieved.value(what));
        let unlisted = self.network.counts().drops.value(session::Drop::ReceptionsFull);
        if counted == [WINDOW_COUNT as u64, self.done as u64] && unlisted == 0 {
            Ok(fnv(&counted.map(u64::to_le_bytes).concat()))
        } else {
            Err(format!("{counted:?} uplinks and copies, {unlisted} not listed, of {WINDOW_COUNT} and {}", self.done))
        }
    }

    fn left(&self) -> u64 {
        (WINDOW_COUNT * COPY_COUNT - self.done) as u64
    }
}
