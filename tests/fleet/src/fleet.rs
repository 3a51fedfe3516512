//! Devices, gateways and the air between them, sans-IO and deterministic.
//!
//! Owns all of them and the order of what happens. A device's frame is heard, when it ends, by every gateway it is
//! linked to; a gateway's transmission is heard by every linked device whose window is open at its start. Frames do not
//! collide on the air; links lose at random if told to.
//!
//! ```text
//!   owner -- handle(input, now) --> Fleet -- poll() --> datagrams for the server, events
//!   deadline(): when to come back with Input::Due
//! ```

use crate::airtime::airtime;
use crate::device::{Device, DeviceConfig, DeviceEvent, DeviceOutput, Message};
use crate::gateway::{Gateway, GatewayConfig, GatewayOutput, Heard, Refusal, Socket, Transmission};
use base::mix::{SplitMix64, mix64};
use base::{Monotonic, UnixMicros};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How a device and a gateway hear each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Which gateway.
    pub gateway: usize,
    /// Mean, dBm.
    pub rssi_dbm: i16,
    /// Mean, dB.
    pub snr_db: i8,
    /// Frames of a hundred that are lost, each way.
    pub loss_percent: u8,
}

/// What the owner tells the fleet.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A datagram came from the server to this gateway.
    Datagram {
        /// Which gateway.
        gateway: usize,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// A device's application has something to say.
    Send {
        /// Which device.
        device: usize,
        /// What.
        message: Message,
    },
    /// Time passed.
    Due,
}

/// What the fleet wants its owner to do or know.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this datagram to the server.
    Datagram {
        /// From this gateway.
        gateway: usize,
        /// From this of its sockets.
        socket: Socket,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Something happened to a device.
    Device {
        /// Which.
        device: usize,
        /// What.
        event: DeviceEvent,
    },
    /// A gateway refused a downlink.
    Refused {
        /// Which gateway.
        gateway: usize,
        /// Why.
        refusal: Refusal,
    },
}

/// What has happened in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Join-requests sent.
    pub join_requests: u64,
    /// Sessions begun over the air.
    pub joins: u64,
    /// Data frames sent, the first time each.
    pub uplinks: u64,
    /// Data frames sent again.
    pub repeats: u64,
    /// Confirmed uplinks acknowledged.
    pub acknowledged: u64,
    /// Confirmed uplinks given up.
    pub given_up: u64,
    /// Downlinks that a device verified.
    pub downlinks: u64,
    /// Frames in a window that were not for that device, or not authentic.
    pub ignored: u64,
    /// Downlinks that gateways refused.
    pub refused: u64,
    /// Transmissions that no window heard.
    pub unheard: u64,
    /// Datagrams from the server that made no sense.
    pub malformed: u64,
}

#[derive(Debug)]
enum Happening {
    Device { device: usize },
    Gateway { gateway: usize },
    Heard { gateway: usize, heard: Heard },
    Start { gateway: usize, transmission: Transmission },
    Delivered { device: usize, snr_db: i8, phy: Vec<u8> },
}

/// The windows of a device, as the index of listeners holds them.
type Listening = Option<[Monotonic; 2]>;

/// Many devices and gateways.
#[derive(Debug)]
pub struct Fleet {
    seed: u64,
    epoch: UnixMicros,
    random: SplitMix64,
    devices: Vec<Device>,
    links: Vec<Vec<Link>>,
    gateways: Vec<Gateway>,
    /// What will happen, in order; the second number keeps the order of equal times.
    agenda: BTreeMap<(Monotonic, u64), Happening>,
    agenda_count: u64,
    device_due: Vec<Monotonic>,
    gateway_due: Vec<Monotonic>,
    listening: Vec<Listening>,
    listeners: BTreeSet<(Monotonic, usize)>,
    outputs: VecDeque<Output>,
    totals: Totals,
}

impl Fleet {
    /// A fleet of nobody. `epoch` is the wall clock at the monotonic clock's zero.
    #[must_use]
    pub fn new(seed: u64, epoch: UnixMicros) -> Self {
        Self {
            seed,
            epoch,
            random: SplitMix64::new(seed),
            devices: Vec::new(),
            links: Vec::new(),
            gateways: Vec::new(),
            agenda: BTreeMap::new(),
            agenda_count: 0,
            device_due: Vec::new(),
            gateway_due: Vec::new(),
            listening: Vec::new(),
            listeners: BTreeSet::new(),
            outputs: VecDeque::new(),
            totals: Totals::default(),
        }
    }

    /// Switches a gateway on. Returns its index.
    pub fn add_gateway(&mut self, config: GatewayConfig, now: Monotonic) -> usize {
        let index = self.gateways.len();
        self.gateways.push(Gateway::new(config, mix64(self.seed ^ 0x6761_7465), self.epoch, now));
        self.gateway_due.push(Monotonic::NEVER);
        self.settle_gateway(index, now);
        index
    }

    /// Switches a device on, heard by the gateways of `links`. Returns its index.
    pub fn add_device(&mut self, config: DeviceConfig, links: Vec<Link>, now: Monotonic) -> usize {
        let seed = mix64(self.seed ^ 0x6465_7669);
        self.add_prepared(Device::new(config, seed, now), links, now)
    }

    /// As [`Fleet::add_device`], for a device that was made, and maybe restored, before.
    pub fn add_prepared(&mut self, device: Device, links: Vec<Link>, now: Monotonic) -> usize {
        let index = self.devices.len();
        self.devices.push(device);
        self.links.push(links);
        self.device_due.push(Monotonic::NEVER);
        self.listening.push(None);
        self.settle_device(index, now);
        index
    }

    /// Links to one to `count_max` of the gateways, chosen and placed at random: the nearest first.
    pub fn random_links(&mut self, count_max: usize, loss_percent: u8) -> Vec<Link> {
        let available = self.gateways.len();
        let count = 1 + self.random.below(count_max.min(available).max(1) as u64) as usize;
        let first = self.random.below(available.max(1) as u64) as usize;
        (0..count.min(available))
            .map(|nth| {
                let fade = self.random.below(30) as i16 + 15 * nth as i16;
                let (rssi_dbm, snr_db) = (-60 - fade, (9 - fade / 4).max(-12) as i8);
                Link { gateway: (first + nth) % available, rssi_dbm, snr_db, loss_percent }
            })
            .collect()
    }

    /// Changes who hears a device.
    pub fn set_links(&mut self, device: usize, links: Vec<Link>) {
        self.links[device] = links;
    }

    /// A device.
    #[must_use]
    pub fn device(&self, index: usize) -> &Device {
        &self.devices[index]
    }

    /// A device, to be told something; its wishes are drained.
    pub fn with_device(&mut self, index: usize, now: Monotonic, change: impl FnOnce(&mut Device)) {
        change(&mut self.devices[index]);
        self.settle_device(index, now);
    }

    /// How many devices.
    #[must_use]
    pub fn device_count(&self) -> usize {
        self.devices.len()
    }

    /// A gateway.
    #[must_use]
    pub fn gateway(&self, index: usize) -> &Gateway {
        &self.gateways[index]
    }

    /// How many gateways.
    #[must_use]
    pub fn gateway_count(&self) -> usize {
        self.gateways.len()
    }

    /// What has happened in all.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Takes one input. What was due before `now` happens first, at its own time.
    pub fn handle(&mut self, input: Input<'_>, now: Monotonic) {
        self.catch_up(now);
        match input {
            Input::Datagram { gateway, bytes } => {
                self.gateways[gateway].receive(bytes, now);
                self.settle_gateway(gateway, now);
            }
            Input::Send { device, message } => {
                self.devices[device].send(message, now);
                self.settle_device(device, now);
            }
            Input::Due => {}
        }
    }

    /// What it wants, oldest first.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Fleet::handle`] must be called next.
    #[must_use]
    pub fn deadline(&self) -> Monotonic {
        self.agenda.first_key_value().map_or(Monotonic::NEVER, |((at, _), _)| *at)
    }

    fn catch_up(&mut self, now: Monotonic) {
        while let Some(entry) = self.agenda.first_entry() {
            let at = entry.key().0;
            if at > now {
                return;
            }
            match entry.remove() {
                Happening::Device { device } => {
                    // A deadline that moved leaves its old entry behind; only the present one counts.
                    if self.device_due[device] == at {
                        self.device_due[device] = Monotonic::NEVER;
                        self.devices[device].tick(at);
                        self.settle_device(device, at);
                    }
                }
                Happening::Gateway { gateway } => {
                    if self.gateway_due[gateway] == at {
                        self.gateway_due[gateway] = Monotonic::NEVER;
                        self.gateways[gateway].tick(at);
                        self.settle_gateway(gateway, at);
                    }
                }
                Happening::Heard { gateway, heard } => {
                    self.gateways[gateway].hear(heard, at);
                    self.settle_gateway(gateway, at);
                }
                Happening::Start { gateway, transmission } => self.start(gateway, &transmission),
                Happening::Delivered { device, snr_db, phy } => {
                    self.devices[device].receive(&phy, snr_db, at);
                    self.settle_device(device, at);
                }
            }
        }
    }

    fn plan(&mut self, at: Monotonic, happening: Happening) {
        self.agenda_count += 1;
        self.agenda.insert((at, self.agenda_count), happening);
    }

    /// Drains a device and files its deadline and windows.
    fn settle_device(&mut self, index: usize, now: Monotonic) {
        while let Some(output) = self.devices[index].poll() {
            match output {
                DeviceOutput::Transmit { phy, frequency_hz, data_rate } => {
                    let end = now.after(airtime(data_rate, phy.len(), true));
                    for at in 0..self.links[index].len() {
                        let link = self.links[index][at];
                        let lost = self.random.below(100) < u64::from(link.loss_percent);
                        if lost || !self.gateways[link.gateway].listens_to(frequency_hz, data_rate) {
                            continue;
                        }
                        // Fading of up to 2 dB either way.
                        let fade = self.random.below(41) as i32 - 20;
                        let heard = Heard {
                            phy: phy.clone(),
                            frequency_hz,
                            data_rate,
                            rssi_deci: i32::from(link.rssi_dbm) * 10 + fade,
                            snr_deci: i32::from(link.snr_db) * 10 + fade,
                            crc_ok: true,
                        };
                        self.plan(end, Happening::Heard { gateway: link.gateway, heard });
                    }
                }
                DeviceOutput::Event(event) => {
                    self.count(&event);
                    self.outputs.push_back(Output::Device { device: index, event });
                }
            }
        }
        let due = self.devices[index].deadline();
        if due != self.device_due[index] && due != Monotonic::NEVER {
            self.plan(due.max(now), Happening::Device { device: index });
        }
        self.device_due[index] = if due == Monotonic::NEVER { due } else { due.max(now) };
        let listening = self.devices[index].windows().map(|windows| windows.map(|window| window.at));
        let before = core::mem::replace(&mut self.listening[index], listening);
        if before != listening {
            before.into_iter().flatten().for_each(|at| {
                self.listeners.remove(&(at, index));
            });
            self.listeners.extend(listening.into_iter().flatten().map(|at| (at, index)));
        }
    }

    fn settle_gateway(&mut self, index: usize, now: Monotonic) {
        while let Some(output) = self.gateways[index].poll() {
            match output {
                GatewayOutput::Datagram { socket, bytes } => {
                    self.outputs.push_back(Output::Datagram { gateway: index, socket, bytes });
                }
                GatewayOutput::Transmit(transmission) => {
                    self.plan(transmission.start, Happening::Start { gateway: index, transmission });
                }
                GatewayOutput::Refused(refusal) => {
                    self.totals.refused += 1;
                    self.outputs.push_back(Output::Refused { gateway: index, refusal });
                }
                GatewayOutput::Malformed => self.totals.malformed += 1,
            }
        }
        let due = self.gateways[index].deadline().max(now);
        if due != self.gateway_due[index] {
            self.plan(due, Happening::Gateway { gateway: index });
            self.gateway_due[index] = due;
        }
    }

    /// A gateway's preamble begins: who listens?
    fn start(&mut self, gateway: usize, transmission: &Transmission) {
        const REACH_NS: u64 = 5_000_000;
        let (start, end) = (transmission.start, transmission.end);
        let from = (Monotonic(start.0.saturating_sub(REACH_NS)), 0);
        let until = (Monotonic(start.0 + REACH_NS), usize::MAX);
        let near: Vec<usize> = self.listeners.range(from..=until).map(|(_, device)| *device).collect();
        let mut heard = false;
        for device in near {
            let Some(link) = self.links[device].iter().copied().find(|link| link.gateway == gateway) else { continue };
            let lost = self.random.below(100) < u64::from(link.loss_percent);
            // Devices listen for inverted polarisation only, so that they do not hear each other.
            if lost || !transmission.inverted {
                continue;
            }
            let (hz, rate) = (transmission.frequency_hz, transmission.data_rate);
            if self.devices[device].locks_on(start, end, hz, rate) {
                heard = true;
                let phy = transmission.phy.clone();
                self.plan(end, Happening::Delivered { device, snr_db: link.snr_db, phy });
                self.settle_device(device, start);
            }
        }
        self.totals.unheard += u64::from(!heard);
    }

    fn count(&mut self, event: &DeviceEvent) {
        let totals = &mut self.totals;
        match event {
            DeviceEvent::Joining { .. } => totals.join_requests += 1,
            DeviceEvent::Joined { .. } => totals.joins += 1,
            DeviceEvent::Sent { attempt: 1, .. } => totals.uplinks += 1,
            DeviceEvent::Sent { .. } => totals.repeats += 1,
            DeviceEvent::Acknowledged { .. } => totals.acknowledged += 1,
            DeviceEvent::GaveUp { .. } => totals.given_up += 1,
            DeviceEvent::Received { .. } => totals.downlinks += 1,
            DeviceEvent::Ignored => totals.ignored += 1,
            _ => {}
        }
    }
}
