//! The other side of the network server: devices, gateways, streams and a plan, all in one place and in virtual time.

use base::{DataRate, Eui64, Monotonic, UnixMicros};
use core::time::Duration;
use event::{Event, Kind, Reception};
use lorawan::mac::{DownlinkCommand, Downlinks, UplinkCommand};
use lorawan::{AesKey, DataFrame, DevAddr, Direction, FCtrl, JoinAccept, JoinRequestFrame, NetId, Phy, Profile};
use lorawan::{Region, SessionKeys};
use session::{
    Achievement, Activation, Advance, Change, Command, DeviceSpec, DeviceState, Drop, Heard, Lanes, Limits, Network,
    NotKept, Outcome, Owner, Refusal, Rules, SessionRecord, Sink, Ticket, Transmit,
};
use std::collections::BTreeMap;

pub(crate) const SF7: DataRate = DataRate::Lora { sf: 7, bw_khz: 125 };
pub(crate) const SF12: DataRate = DataRate::Lora { sf: 12, bw_khz: 125 };

/// The first profile: EU868 without wishes.
pub(crate) const EU: u32 = 1;
/// EU868, LoRaWAN 1.0.4.
pub(crate) const EU_104: u32 = 2;
/// US915, second sub-band, LoRaWAN 1.0.2: no CFList.
pub(crate) const US_SUB: u32 = 3;
/// US915, second sub-band, LoRaWAN 1.0.4.
pub(crate) const US_SUB_104: u32 = 4;
/// EU868 with RX2 and RX1 elsewhere, and later.
pub(crate) const EU_OTHER: u32 = 5;

/// The plan.
pub(crate) struct Plan {
    pub(crate) profiles: BTreeMap<u32, Profile>,
    pub(crate) window: Duration,
    pub(crate) net_id: NetId,
    /// Kinds that no stream wants.
    pub(crate) unwanted: Vec<(Kind, event::Copy)>,
}

impl Rules for Plan {
    fn profile(&self, id: u32) -> Option<&Profile> {
        self.profiles.get(&id)
    }

    fn dedup_window(&self, _: u32) -> Duration {
        self.window
    }

    fn net_id(&self) -> NetId {
        self.net_id
    }

    fn wants(&self, about: &session::About) -> bool {
        !self.unwanted.contains(&(about.kind, about.copy))
    }
}

/// A transmission that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) transmission: u32,
    pub(crate) gateway: Eui64,
    pub(crate) tmst: u32,
    pub(crate) delay: Duration,
    pub(crate) frequency_hz: u32,
    pub(crate) data_rate: DataRate,
    pub(crate) power_dbm: i8,
    pub(crate) phy: Vec<u8>,
}

/// What came out.
#[derive(Default)]
pub(crate) struct Output {
    events: Vec<Vec<u8>>,
    pub(crate) asked: Vec<Asked>,
    /// Whole states, as they were kept.
    pub(crate) records: Vec<SessionRecord>,
    /// What all changes add up to.
    pub(crate) states: BTreeMap<Eui64, DeviceState>,
    /// Uplinks that were kept with what they say.
    pub(crate) kept_events: usize,
    /// The last ticket given out, and, on a slow disk, the last whose change is kept.
    pub(crate) ticket: u64,
    pub(crate) kept: u64,
    pub(crate) slow: bool,
    pub(crate) full: bool,
}

impl Sink for Output {
    fn event(&mut self, event: &Event<'_>) {
        let mut bytes = vec![0; event.encoded_bytes()];
        event.write(&mut bytes).expect("an event fits its own size");
        self.events.push(bytes);
    }

    fn transmit(&mut self, transmit: &Transmit<'_>) {
        self.asked.push(Asked {
            transmission: transmit.transmission,
            gateway: transmit.gateway,
            tmst: transmit.tmst,
            delay: transmit.delay,
            frequency_hz: transmit.frequency_hz,
            data_rate: transmit.data_rate,
            power_dbm: transmit.power_dbm,
            phy: transmit.phy.to_vec(),
        });
    }

    fn keep(&mut self, _: Owner, change: Change<'_>) -> Result<Ticket, NotKept> {
        if self.full {
            return Err(NotKept);
        }
        self.ticket += 1;
        match change {
            Change::Uplink(advance, event) => {
                let wire = Advance::from_wire(&advance.to_wire());
                self.state(advance.dev_eui).advance(&wire, UnixMicros(1));
                self.kept_events += usize::from(event.is_some());
            }
            Change::Device(record) => {
                self.records.push(record.clone());
                self.state(record.dev_eui).replace(record.clone());
            }
            Change::Queued(downlink) => self.state(downlink.dev_eui).queued(downlink),
            Change::Dequeued(dequeued) => self.state(dequeued.dev_eui).dequeued(dequeued.id),
            Change::Removed(dev_eui) => drop(self.states.remove(&dev_eui)),
        }
        Ok(Ticket(self.ticket))
    }

    fn is_kept(&mut self, ticket: Ticket) -> bool {
        !self.slow || ticket.0 <= self.kept
    }
}

impl Output {
    fn state(&mut self, dev_eui: Eui64) -> &mut DeviceState {
        self.states.entry(dev_eui).or_default()
    }
}

pub(crate) struct World {
    pub(crate) network: Network,
    pub(crate) plan: Plan,
    pub(crate) out: Output,
    pub(crate) now: Monotonic,
    pub(crate) unix: UnixMicros,
}

pub(crate) const fn gateway(number: u64) -> Eui64 {
    Eui64::new(0x0016_C001_FF00_0000 + number)
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Limits::for_devices(100))
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let eu = Profile::from(Region::Eu868);
        let us = Profile { sub_bands: 0b10, ..Profile::from(Region::Us915) };
        let profiles = [
            (EU, eu),
            (EU_104, Profile { mac_version: lorawan::MacVersion::V1_0_4, ..eu }),
            (US_SUB, Profile { mac_version: lorawan::MacVersion::V1_0_2, ..us }),
            (US_SUB_104, Profile { mac_version: lorawan::MacVersion::V1_0_4, ..us }),
            (
                EU_OTHER,
                Profile {
                    rx1_delay_s: 5,
                    rx1_dr_offset: 1,
                    rx2_data_rate: Some(3),
                    rx2_frequency_hz: Some(868_500_000),
                    ..eu
                },
            ),
        ];
        Self {
            network: Network::new(limits, Lanes::ALL, 7),
            plan: Plan {
                profiles: profiles.into_iter().map(|(id, profile)| (id, profile.checked().expect("sound"))).collect(),
                window: session::DEDUP_WINDOW,
                net_id: NetId(0x13),
                unwanted: Vec::new(),
            },
            out: Output::default(),
            now: Monotonic(1_000_000_000),
            unix: UnixMicros(1_700_000_000_000_000),
        }
    }

    /// Adds or changes a device that lives here.
    pub(crate) fn upsert(&mut self, spec: &DeviceSpec) {
        let upserted = self.network.upsert(spec, &mut self.out, self.unix);
        assert_eq!(upserted, Ok(session::Upserted::Home { before: None }));
    }

    /// Lets time pass and does what is due, exactly when it is due.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now.after(span);
        while self.network.deadline() <= end {
            let due = self.network.deadline().max(self.now);
            self.step(due);
            self.network.expire(&self.plan, &mut self.out, self.now, self.unix);
        }
        self.step(end);
    }

    fn step(&mut self, to: Monotonic) {
        self.unix.0 += to.since(self.now).as_micros() as u64;
        self.now = to;
    }

    pub(crate) fn millis(&mut self, count: u64) {
        self.pass(Duration::from_millis(count));
    }

    /// The concentrator counter that goes with `now`.
    pub(crate) fn tmst(&self) -> u32 {
        (self.now.0 / 1000) as u32
    }

    pub(crate) fn heard_by(&mut self, number: u64, snr_deci: i16, phy: &[u8]) {
        self.heard_on(number, snr_deci, phy, 868_100_000, SF7);
    }

    pub(crate) fn heard_on(&mut self, number: u64, snr_deci: i16, phy: &[u8], frequency_hz: u32, data_rate: DataRate) {
        let tmst = self.tmst();
        let reception = Reception { gateway: gateway(number), snr_deci, rssi_deci: -900, tmst, ..Reception::default() };
        let heard = Heard { phy, reception, frequency_hz, data_rate };
        self.network.receive(&heard, &self.plan, &mut self.out, self.now, self.unix);
    }

    /// One gateway hears it; its window ends.
    pub(crate) fn heard(&mut self, phy: &[u8]) {
        self.heard_by(1, 90, phy);
        self.millis(250);
    }

    pub(crate) fn outcome(&mut self, transmission: u32, outcome: Outcome) {
        self.network.transmitted(transmission, outcome, &self.plan, &mut self.out, self.now, self.unix);
    }

    /// The one transmission that was asked for since the last look.
    pub(crate) fn asked(&mut self) -> Asked {
        assert_eq!(self.out.asked.len(), 1, "one transmission: {:?}", self.out.asked);
        self.out.asked.remove(0)
    }

    /// That one, which the gateway takes.
    pub(crate) fn sent(&mut self) -> Asked {
        let asked = self.asked();
        self.outcome(asked.transmission, Outcome::Sent);
        asked
    }

    pub(crate) fn silent(&self) -> bool {
        self.out.asked.is_empty()
    }

    /// The disk has caught up.
    pub(crate) fn disk_catches_up(&mut self) {
        self.out.kept = self.out.ticket;
        self.network.kept(&self.plan, &mut self.out, self.now, self.unix);
    }

    pub(crate) fn enqueue(&mut self, dev_eui: Eui64, confirmed: bool, payload: &[u8]) -> Result<u64, Refusal> {
        self.enqueue_until(dev_eui, confirmed, payload, None)
    }

    pub(crate) fn enqueue_until(
        &mut self,
        dev_eui: Eui64,
        confirmed: bool,
        payload: &[u8],
        expires: Option<UnixMicros>,
    ) -> Result<u64, Refusal> {
        let command = Command { dev_eui, fport: 10, confirmed, payload, expires };
        self.network.enqueue(&command, &self.plan, &mut self.out, self.now, self.unix).map(|(id, _)| id)
    }

    /// The events since the last look.
    pub(crate) fn events(&mut self) -> Vec<Seen> {
        core::mem::take(&mut self.out.events).iter().map(|bytes| Seen::of(bytes)).collect()
    }

    pub(crate) fn kinds(&mut self) -> Vec<(Kind, event::Copy)> {
        self.events().iter().map(|seen| (seen.event().kind, seen.event().copy)).collect()
    }

    pub(crate) fn drops(&self, drop: Drop) -> u64 {
        self.network.counts().drops.value(drop)
    }

    pub(crate) fn achieved(&self, achievement: Achievement) -> u64 {
        self.network.counts().achieved.value(achievement)
    }
}

/// An event that outlives its sink.
pub(crate) struct Seen(Vec<u8>);

impl Seen {
    fn of(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    pub(crate) fn event(&self) -> Event<'_> {
        Event::parse(&self.0).expect("an event that was written")
    }
}

/// A device: keys and counters of its own, and the frames that it makes.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) dev_eui: Eui64,
    pub(crate) join_eui: Eui64,
    pub(crate) profile: u32,
    pub(crate) app_key: AesKey,
    pub(crate) dev_nonce: u16,
    pub(crate) dev_addr: DevAddr,
    pub(crate) keys: SessionKeys,
    pub(crate) fcnt_up: u32,
    pub(crate) fcnt_down: Option<u32>,
}

/// What a device sends.
#[derive(Clone, Copy, Default)]
pub(crate) struct Says<'a> {
    pub(crate) confirmed: bool,
    pub(crate) ack: bool,
    pub(crate) adr_ack_req: bool,
    pub(crate) fopts: &'a [u8],
    pub(crate) fport: Option<u8>,
    pub(crate) payload: &'a [u8],
}

/// What a device reads from a downlink.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) confirmed: bool,
    pub(crate) ack: bool,
    pub(crate) fpending: bool,
    pub(crate) fcnt: u32,
    pub(crate) fport: Option<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) commands: Vec<DownlinkCommand>,
}

impl Device {
    pub(crate) fn otaa(number: u64, profile: u32) -> Self {
        Self {
            dev_eui: Eui64::new(0x70B3_D57E_D000_0000 + number),
            join_eui: Eui64::new(0x70B3_D57E_F000_0001),
            profile,
            app_key: AesKey([number as u8; 16]),
            dev_nonce: 0,
            dev_addr: DevAddr(0),
            keys: SessionKeys::default(),
            fcnt_up: 0,
            fcnt_down: None,
        }
    }

    pub(crate) fn abp(number: u64, profile: u32, dev_addr: u32) -> Self {
        let key = |salt: u8| AesKey(core::array::from_fn(|at| salt ^ at as u8 ^ number as u8));
        let keys = SessionKeys { nwk_s_key: key(0x10), app_s_key: key(0x80) };
        Self { dev_addr: DevAddr(dev_addr), keys, ..Self::otaa(number, profile) }
    }

    fn spec(&self, activation: Activation) -> DeviceSpec {
        DeviceSpec {
            dev_eui: self.dev_eui,
            join_eui: self.join_eui,
            tenant: 3,
            application: 4,
            profile: self.profile,
            enabled: true,
            activation,
        }
    }

    pub(crate) fn otaa_spec(&self) -> DeviceSpec {
        self.spec(Activation::Otaa { app_key: self.app_key })
    }

    pub(crate) fn abp_spec(&self) -> DeviceSpec {
        self.spec(Activation::Abp {
            dev_addr: self.dev_addr,
            keys: self.keys,
            fcnt_up: self.fcnt_up,
            fcnt_down: self.fcnt_down.map_or(0, |fcnt| fcnt + 1),
        })
    }

    /// A personalised device that the world knows.
    pub(crate) fn personalised(world: &mut World, number: u64, profile: u32) -> Self {
        let device = Self::abp(number, profile, 0x2600_0000 + number as u32);
        world.upsert(&device.abp_spec());
        device
    }

    /// A device that has joined and not spoken yet.
    pub(crate) fn joined(world: &mut World, number: u64, profile: u32) -> Self {
        let mut device = Self::otaa(number, profile);
        world.upsert(&device.otaa_spec());
        device.join(world);
        device
    }

    pub(crate) fn join(&mut self, world: &mut World) -> JoinAccept {
        let request = self.join_request();
        let us = matches!(self.profile, US_SUB | US_SUB_104);
        let (frequency_hz, rate) =
            if us { (903_900_000, DataRate::Lora { sf: 10, bw_khz: 125 }) } else { (868_100_000, SF7) };
        world.heard_on(1, 90, &request, frequency_hz, rate);
        world.millis(250);
        let asked = world.sent();
        self.take_accept(&asked.phy).expect("an accept under the root key")
    }

    pub(crate) fn join_request(&mut self) -> Vec<u8> {
        self.dev_nonce += 1;
        let frame = JoinRequestFrame { join_eui: self.join_eui, dev_eui: self.dev_eui, dev_nonce: self.dev_nonce };
        frame.to_wire(&self.app_key).to_vec()
    }

    pub(crate) fn take_accept(&mut self, phy: &[u8]) -> Option<JoinAccept> {
        let Ok(Phy::JoinAccept(sealed)) = Phy::parse(phy) else { return None };
        let accept = sealed.open(&self.app_key)?;
        self.dev_addr = accept.dev_addr;
        self.keys = accept.session_keys(&self.app_key, self.dev_nonce);
        (self.fcnt_up, self.fcnt_down) = (0, None);
        Some(accept)
    }

    /// The next frame.
    pub(crate) fn says(&mut self, says: Says<'_>) -> Vec<u8> {
        let frame = self.frame(self.fcnt_up, says);
        self.fcnt_up += 1;
        frame
    }

    pub(crate) fn frame(&self, fcnt: u32, says: Says<'_>) -> Vec<u8> {
        let frame = DataFrame {
            direction: Direction::Up,
            confirmed: says.confirmed,
            dev_addr: self.dev_addr,
            fctrl: FCtrl::default().with_ack(says.ack).with_adr_ack_req(says.adr_ack_req),
            fcnt,
            fopts: says.fopts,
            fport: says.fport,
            payload: says.payload,
        };
        let mut phy = [0; 255];
        let count = frame.write(&self.keys, &mut phy).expect("a frame that can be");
        phy[..count].to_vec()
    }

    pub(crate) fn data(&mut self, payload: &[u8]) -> Vec<u8> {
        self.says(Says { fport: Some(1), payload, ..Says::default() })
    }

    pub(crate) fn confirmed(&mut self, payload: &[u8]) -> Vec<u8> {
        self.says(Says { confirmed: true, fport: Some(1), payload, ..Says::default() })
    }

    /// Reads a downlink as a device does: MIC, then counter, then commands.
    pub(crate) fn reads(&mut self, phy: &[u8]) -> Told {
        let Ok(Phy::Data(data)) = Phy::parse(phy) else { panic!("a data frame") };
        assert_eq!(data.direction(), Direction::Down);
        let low = u32::from(data.fcnt16());
        let next = self.fcnt_down.map_or(0, |fcnt| fcnt + 1);
        let fcnt = next + (low.wrapping_sub(next) & 0xFFFF);
        assert!(data.mic_is_valid(&self.keys.nwk_s_key, fcnt), "its MIC");
        self.fcnt_down = Some(fcnt);
        let mut payload = data.frm_payload().to_vec();
        let fport = data.fport();
        if let Some(fport) = fport {
            lorawan::crypt_payload(self.keys.of_port(fport), self.dev_addr, fcnt, Direction::Down, &mut payload);
        }
        let mut commands = if fport == Some(0) { Downlinks::new(&payload) } else { data.downlink_commands() };
        let read: Vec<_> = commands.by_ref().collect();
        assert!(commands.unread().is_empty());
        Told {
            confirmed: data.confirmed(),
            ack: data.fctrl().ack(),
            fpending: data.fctrl().fpending(),
            fcnt,
            fport,
            payload: if fport == Some(0) { Vec::new() } else { payload },
            commands: read,
        }
    }
}

pub(crate) fn commands(list: &[UplinkCommand]) -> Vec<u8> {
    let mut out = [0; 64];
    let mut len = 0;
    for command in list {
        len += command.write(&mut out[len..]).expect("room");
    }
    out[..len].to_vec()
}
