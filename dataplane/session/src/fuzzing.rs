//! Laws that hold for all sequences of operations, as functions a fuzz target calls in one line. Each panics if one is
//! broken.

mod gateways;

pub use gateways::gateways;

use crate::{
    Activation, Advance, Change, Command, DOWNLINK_BYTES_MAX, Dequeued, DeviceSpec, DeviceState, Heard, KeptDownlink,
    Lanes, Limits, Network, NotKept, Outcome, Owner, Rules, SessionRecord, Sink, Ticket, Transmit, TransmitError,
};
use base::{DataRate, Eui64, Monotonic, UnixMicros};
use event::{Copy, Event, Failure, Kind, Reception};
use lorawan::{
    AesKey, DataFrame, DevAddr, Direction, FCtrl, JoinRequestFrame, NetId, Phy, Profile, Region, SessionKeys,
};
use std::collections::BTreeMap;

const DEVICE_COUNT: usize = 4;

const LIMITS: Limits = Limits {
    device_count_max: DEVICE_COUNT,
    pending_count_max: 1,
    redirect_count_max: 0,
    window_count_max: 8,
    transmission_count_max: 2,
    downlink_count_max: 6,
    queue_bytes_max: 600,
};

struct Plan([Profile; 3]);

impl Rules for Plan {
    fn profile(&self, id: u32) -> Option<&Profile> {
        self.0.get(id as usize)
    }

    fn net_id(&self) -> NetId {
        // The smallest networks share addresses.
        NetId(7 << 21)
    }
}

/// What a device remembers.
#[derive(Clone, Default)]
struct Device {
    spec: Option<DeviceSpec>,
    keys: SessionKeys,
    dev_addr: DevAddr,
    fcnt_up: u32,
    dev_nonce: u16,
    last: Vec<u8>,
}

#[derive(Default)]
struct Output {
    asked: Vec<u32>,
    /// Accepts under way, for the devices to open.
    accepts: Vec<Vec<u8>>,
    /// The last FCnt of a first copy, by session.
    heard: BTreeMap<(Eui64, u32), u32>,
    /// Downlinks queued and not yet spoken of for the last time.
    waiting: BTreeMap<u64, bool>,
    /// Every change, in order. A ticket is the count of them; those up to `kept` survive a power loss.
    log: Vec<Owned>,
    kept: usize,
    /// The disk is full.
    full: bool,
    /// Something was refused for that.
    gap: bool,
    /// Frames that left since they were last looked at.
    frames: Vec<(Eui64, Vec<u8>)>,
    /// The frame that left under each FCntDown, by session.
    downs: BTreeMap<(Eui64, u32, u16), Vec<u8>>,
}

/// A change as bytes.
enum Owned {
    Uplink([u8; crate::ADVANCE_BYTES]),
    Device(Box<[u8; crate::RECORD_BYTES]>),
    Queued(Vec<u8>),
    Dequeued([u8; 16]),
    Removed(Eui64),
}

impl Owned {
    fn of(change: &Change<'_>) -> Self {
        match change {
            Change::Uplink(advance, _) => Self::Uplink(advance.to_wire()),
            Change::Device(record) => Self::Device(Box::new(record.to_wire())),
            Change::Queued(downlink) => {
                let mut out = [0; DOWNLINK_BYTES_MAX];
                let count = downlink.write(&mut out);
                Self::Queued(out[..count].to_vec())
            }
            Change::Dequeued(dequeued) => Self::Dequeued(dequeued.to_wire()),
            Change::Removed(dev_eui) => Self::Removed(*dev_eui),
        }
    }
}

/// What changes add up to.
fn folded(log: &[Owned]) -> BTreeMap<Eui64, DeviceState> {
    let mut states: BTreeMap<Eui64, DeviceState> = BTreeMap::new();
    for change in log {
        match change {
            Owned::Uplink(wire) => {
                let advance = Advance::from_wire(wire);
                states.entry(advance.dev_eui).or_default().advance(&advance, UnixMicros(1));
            }
            Owned::Device(wire) => {
                let record = SessionRecord::from_wire(wire).expect("its own bytes");
                states.entry(record.dev_eui).or_default().replace(record);
            }
            Owned::Queued(bytes) => {
                let downlink = KeptDownlink::parse(bytes).expect("its own bytes");
                states.entry(downlink.dev_eui).or_default().queued(&downlink);
            }
            Owned::Dequeued(wire) => {
                let Dequeued { dev_eui, id } = Dequeued::from_wire(wire);
                states.entry(dev_eui).or_default().dequeued(id);
            }
            Owned::Removed(dev_eui) => drop(states.remove(dev_eui)),
        }
    }
    states
}

impl Sink for Output {
    fn event(&mut self, event: &Event<'_>) {
        let mut bytes = [0; event::EVENT_BYTES_MAX];
        let count = event.write(&mut bytes).expect("every event fits");
        assert_eq!(Event::parse(&bytes[..count]).as_ref(), Ok(event));
        match event.kind {
            Kind::Uplink if event.copy == Copy::First => {
                let last = self.heard.insert((event.dev_eui, event.session), event.fcnt);
                assert!(last.is_none_or(|last| last < event.fcnt), "a counter is delivered once");
            }
            Kind::DownlinkSent => {
                let confirmed = *self.waiting.get(&event.downlink).expect("it was waiting");
                if !confirmed {
                    self.waiting.remove(&event.downlink);
                }
            }
            Kind::DownlinkAcknowledged => {
                assert_eq!(self.waiting.remove(&event.downlink), Some(true), "it was waiting, confirmed");
            }
            Kind::DownlinkFailed => {
                assert!(self.waiting.remove(&event.downlink).is_some(), "it was waiting");
                assert!(event.failure.is_some_and(|failure| failure != Failure::NotAcknowledged || event.mtype == 5));
            }
            _ => {}
        }
    }

    fn transmit(&mut self, transmit: &Transmit<'_>) {
        self.asked.push(transmit.transmission);
        match Phy::parse(transmit.phy) {
            Ok(Phy::JoinAccept(_)) => self.accepts.push(transmit.phy.to_vec()),
            Ok(Phy::Data(data)) => {
                assert_eq!(data.direction(), Direction::Down);
                self.frames.push((transmit.dev_eui, transmit.phy.to_vec()));
            }
            other => panic!("{other:?} is no downlink"),
        }
    }

    fn keep(&mut self, _: Owner, change: Change<'_>) -> Result<Ticket, NotKept> {
        if self.full {
            self.gap = true;
            return Err(NotKept);
        }
        self.log.push(Owned::of(&change));
        Ok(Ticket(self.log.len() as u64))
    }

    fn is_kept(&mut self, ticket: Ticket) -> bool {
        ticket.0 as usize <= self.kept
    }
}

/// The bytes that steer; zeros when they are used up.
struct Steps<'a>(&'a [u8]);

impl Steps<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let (head, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        head.to_vec()
    }
}

/// Whatever devices, gateways, consumers and operators do: no panic; every FCntUp of a session is delivered once; FCntDown
/// never goes back, crashes and power losses included; each accepted downlink has one end, and none disappears; and when all devices are gone, so is all that
/// was kept for them.
pub fn network(bytes: &[u8]) {
    let eu = Profile { confirmed_attempts_max: 2, ..Profile::from(Region::Eu868) };
    let us = Profile { sub_bands: 1, mac_version: lorawan::MacVersion::V1_0_4, ..Profile::from(Region::Us915) };
    let plan = Plan([eu, us, Profile { rx1_delay_s: 3, rx1_dr_offset: 2, ..eu }]);
    let mut network = Network::new(LIMITS, Lanes::ALL, 3);
    let mut devices: [Device; DEVICE_COUNT] = Default::default();
    let mut out = Output::default();
    let (mut now, mut unix) = (Monotonic(1), UnixMicros(1_700_000_000_000_000));
    let mut steps = Steps(bytes);
    while !steps.0.is_empty() {
        let operation = steps.byte() % 12;
        let index = steps.below(DEVICE_COUNT);
        let device = &mut devices[index];
        let dev_eui = Eui64::new(index as u64 + 1);
        match operation {
            0 => configure(device, dev_eui, &mut steps, &mut network, &mut out, unix),
            1..=3 => {
                let phy = match operation {
                    1 => speak(device, &mut steps),
                    2 if steps.byte() % 8 == 0 => steps.take(40),
                    2 => device.last.clone(),
                    _ => join(device, dev_eui, &mut steps),
                };
                let reception = Reception {
                    gateway: Eui64::new(u64::from(steps.byte() % 3)),
                    snr_deci: i16::from(steps.byte()),
                    ..Reception::default()
                };
                let sf = 7 + steps.byte() % 6;
                let data_rate = DataRate::Lora { sf, bw_khz: 125 };
                let frequency_hz = [868_100_000, 902_300_000][steps.below(2)];
                let heard = Heard { phy: &phy, reception, frequency_hz, data_rate };
                network.receive(&heard, &plan, &mut out, now, unix);
                device.last = phy;
            }
            4 | 5 => {
                let millis = [10, 100, 250, 1000, 3000, 10_000][steps.below(6)];
                now.0 += millis * 1_000_000;
                unix.0 += millis * 1000;
                network.expire(&plan, &mut out, now, unix);
                assert!(network.deadline() > now, "what is due is done");
            }
            6 => {
                let (confirmed, len) = (steps.byte() % 2 == 0, usize::from(steps.byte()));
                let payload = vec![7; len];
                let expires = (steps.byte() % 4 == 0).then_some(UnixMicros(unix.0 + 2_000_000));
                let command = Command { dev_eui, fport: steps.byte(), confirmed, payload: &payload, expires };
                if let Ok((id, _)) = network.enqueue(&command, &plan, &mut out, now, unix) {
                    assert!(out.waiting.insert(id, confirmed).is_none(), "ids are unique");
                }
            }
            7 | 8 => {
                let transmission = match out.asked.len() {
                    0 => u32::from(steps.byte()),
                    count => out.asked.remove(steps.below(count)),
                };
                let outcome = match steps.byte() % 4 {
                    0 | 1 => Outcome::Sent,
                    2 => Outcome::Error(TransmitError::TooLate),
                    _ => Outcome::NoPath,
                };
                network.transmitted(transmission, outcome, &plan, &mut out, now, unix);
            }
            9 => {
                // The disk is slow, quick, or full for a while.
                let count = out.log.len() - out.kept;
                out.kept += match steps.byte() % 4 {
                    0 => count,
                    part => count * usize::from(part) / 4,
                };
                out.full = steps.byte() % 8 == 0;
                network.kept(&plan, &mut out, now, unix);
            }
            10 if steps.byte() % 2 == 0 => {
                if let Some(count) = network.flush(dev_eui, &mut out, unix) {
                    assert!(count <= LIMITS.downlink_count_max as u32);
                }
            }
            _ => {
                let power_loss = steps.byte() % 2 == 0;
                network = restarted(&devices, &mut out, power_loss, now, unix);
                out.asked.clear();
            }
        }
        for accept in core::mem::take(&mut out.accepts) {
            devices.iter_mut().for_each(|device| device.take(&accept));
        }
        for index in 0..DEVICE_COUNT {
            let dev_eui = Eui64::new(index as u64 + 1);
            let Some(state) = network.state(dev_eui).filter(|state| state.active) else { continue };
            for (_, phy) in out.frames.extract_if(.., |(addressee, _)| *addressee == dev_eui) {
                let Ok(Phy::Data(data)) = Phy::parse(&phy) else { unreachable!("it was one when it left") };
                let before = out.downs.entry((dev_eui, state.session, data.fcnt16())).or_insert_with(|| phy.clone());
                assert_eq!(*before, phy, "no FCntDown is used for two frames");
            }
        }
        out.frames.clear();
        let queued: usize = (1..=DEVICE_COUNT as u64)
            .filter_map(|number| network.state(Eui64::new(number)))
            .map(|state| state.queue.len())
            .sum();
        assert_eq!(queued, out.waiting.len(), "what waits is in a queue");
    }
    for number in 1..=DEVICE_COUNT as u64 {
        network.remove(Eui64::new(number), &mut out, unix);
    }
    assert!(out.waiting.is_empty(), "every downlink has an end");
    assert_eq!((network.device_count(), network.session_count()), (0, 0));
    now.0 += 60_000_000_000;
    network.expire(&plan, &mut out, now, unix);
    assert_eq!(network.deadline(), Monotonic::NEVER, "nothing is left to wait for");
    assert!(network.is_idle(), "every place came back");
}

fn configure(
    device: &mut Device,
    dev_eui: Eui64,
    steps: &mut Steps<'_>,
    network: &mut Network,
    out: &mut Output,
    unix: UnixMicros,
) {
    let key = AesKey([steps.byte() % 2; 16]);
    let personal = SessionKeys { nwk_s_key: key, app_s_key: AesKey([dev_eui.0[7]; 16]) };
    let dev_addr = DevAddr(u32::from(steps.byte() % 2));
    let activation = match steps.byte() % 4 {
        0 => {
            network.remove(dev_eui, out, unix);
            // Even on a full disk: who configures a device knows that it is gone.
            out.log.push(Owned::Removed(dev_eui));
            out.heard.retain(|(known, _), _| *known != dev_eui);
            out.downs.retain(|(known, _, _), _| *known != dev_eui);
            *device = Device::default();
            return;
        }
        1 | 2 => Activation::Otaa { app_key: key },
        _ => Activation::Abp { dev_addr, keys: personal, fcnt_up: 0, fcnt_down: 0 },
    };
    let spec = DeviceSpec {
        dev_eui,
        join_eui: Eui64::new(1),
        tenant: 1,
        application: 1,
        profile: u32::from(steps.byte() % 4),
        enabled: steps.below(4) > 0,
        activation,
    };
    network.upsert(&spec, out, unix).expect("room for every device");
    let same = device.spec.as_ref().is_some_and(|old| old.activation == spec.activation);
    if let (Activation::Abp { dev_addr, keys, .. }, false) = (&spec.activation, same) {
        (device.dev_addr, device.keys, device.fcnt_up) = (*dev_addr, *keys, 0);
    }
    device.spec = Some(spec);
}

fn speak(device: &mut Device, steps: &mut Steps<'_>) -> Vec<u8> {
    let fcnt = match steps.byte() % 8 {
        0 => device.fcnt_up.saturating_sub(u32::from(steps.byte())),
        1 => device.fcnt_up + u32::from(steps.byte()) * 256,
        _ => device.fcnt_up,
    };
    let (flags, count) = (steps.byte(), steps.below(16));
    let fopts = steps.take(count);
    let payload = steps.take(usize::from(steps.0.first().copied().unwrap_or(0) % 32));
    let fport = (!payload.is_empty() || flags & 1 != 0).then_some(if fopts.is_empty() { flags >> 4 } else { 1 });
    let frame = DataFrame {
        direction: Direction::Up,
        confirmed: flags & 2 != 0,
        dev_addr: device.dev_addr,
        fctrl: FCtrl::default().with_ack(flags & 4 != 0).with_adr_ack_req(flags & 8 != 0),
        fcnt,
        fopts: &fopts,
        fport,
        payload: &payload,
    };
    let mut phy = [0; 255];
    let count = frame.write(&device.keys, &mut phy).expect("a frame that can be");
    device.fcnt_up = fcnt.max(device.fcnt_up) + 1;
    phy[..count].to_vec()
}

fn join(device: &mut Device, dev_eui: Eui64, steps: &mut Steps<'_>) -> Vec<u8> {
    device.dev_nonce = device.dev_nonce.wrapping_add(u16::from(steps.byte() % 3));
    let app_key = match device.spec.as_ref().map(|spec| &spec.activation) {
        Some(Activation::Otaa { app_key }) => *app_key,
        _ => AesKey([0; 16]),
    };
    JoinRequestFrame { join_eui: Eui64::new(1), dev_eui, dev_nonce: device.dev_nonce }.to_wire(&app_key).to_vec()
}

impl Device {
    /// Takes an accept, if it is for this device: its MIC says so, as far as root keys differ.
    fn take(&mut self, phy: &[u8]) {
        let Some(DeviceSpec { activation: Activation::Otaa { app_key }, .. }) = &self.spec else { return };
        let Ok(Phy::JoinAccept(sealed)) = Phy::parse(phy) else { return };
        if let Some(accept) = sealed.open(app_key) {
            self.keys = accept.session_keys(app_key, self.dev_nonce);
            (self.dev_addr, self.fcnt_up) = (accept.dev_addr, 0);
        }
    }
}

/// The network server after a crash: devices as configured, their state as kept. A power loss forgets what was not kept.
fn restarted(devices: &[Device], out: &mut Output, power_loss: bool, now: Monotonic, unix: UnixMicros) -> Network {
    let mut network = Network::new(LIMITS, Lanes::ALL, 4);
    if power_loss {
        // Who configures devices says again that one is gone.
        let kept = out.kept.min(out.log.len());
        let lost = out.log.split_off(kept);
        out.log.extend(lost.into_iter().filter(|change| matches!(change, Owned::Removed(_))));
    }
    if power_loss || out.gap {
        // What was told and not kept may be told again, under the same id.
        out.heard.clear();
    }
    out.kept = out.log.len();
    out.full = false;
    let states = folded(&out.log);
    out.waiting.clear();
    for spec in devices.iter().filter_map(|device| device.spec.as_ref()) {
        network.upsert(spec, out, unix).expect("room for every device");
        let Some(state) = states.get(&spec.dev_eui) else { continue };
        if let Some(record) = &state.record {
            // Refused if the keys were changed since: then everything begins anew.
            let restored = network.restore(record);
            if restored.is_err() {
                out.heard.retain(|(dev_eui, _), _| *dev_eui != spec.dev_eui);
            }
        }
        for downlink in &state.queue {
            let downlink = KeptDownlink::parse(downlink).expect("its own bytes");
            if network.restore_downlink(&downlink, now, unix) {
                out.waiting.insert(downlink.id, downlink.confirmed);
            } else {
                assert!(out.gap, "what had room has room, unless an end could not be kept");
            }
        }
    }
    network
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::SplitMix64;

    #[test]
    fn holds_for_random_operations() {
        for seed in 0..2000 {
            let mut random = SplitMix64::new(seed);
            let bytes: Vec<u8> = (0..random.below(3000)).map(|_| random.next() as u8).collect();
            network(&bytes);
            gateways(&bytes);
        }
    }
}
