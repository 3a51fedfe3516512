//! A simulated LoRaWAN 1.0.x class A end device, sans-IO: it really joins, enciphers, counts and answers.
//!
//! Owns one device's session, counters and radio settings. Never sleeps, never sends by itself: its owner hands in what
//! was heard and the time, drains what is to be sent, and comes back at the deadline. Duty cycles are not kept.
//!
//! ```text
//!   Idle --send--> Listening (RX1, RX2) --answered--> Idle
//!                      | closed, unanswered: confirmed or NbTrans left
//!                      v
//!                   Resting --time--> the same bytes again, on another channel
//! ```

mod channels;
mod commands;
mod words;

pub use words::{Activation, DeviceConfig, DeviceEvent, DeviceOutput, Message, Saved, SavedSession, Traffic, Window};

use crate::airtime::airtime;
use base::mix::SplitMix64;
use base::{DataRate, Monotonic};
use channels::{Channels, Choice};
use core::time::Duration;
use lorawan::mac::UplinkCommand;
use lorawan::region::RegionPlan;
use lorawan::{
    Data, DataFrame, DevAddr, Direction, FCnt, FCtrl, FOPTS_BYTES_MAX, JoinRequestFrame, Phy, SessionKeys, fcnt_extend,
};
use std::collections::VecDeque;

/// How far from its opening a window still hears a preamble.
const WINDOW_TOLERANCE: Duration = Duration::from_millis(2);
/// How long after RX2 opened a device that heard nothing goes back to sleep.
const WINDOW_LENGTH: Duration = Duration::from_millis(300);
/// Messages that may wait in a device; the oldest gives way.
const OUTBOX_COUNT_MAX: usize = 16;
/// The greatest gap in FCntDown that is accepted (MAX_FCNT_GAP).
const FCNT_GAP_MAX: u32 = 16_384;

#[derive(Clone, Debug)]
struct Session {
    dev_addr: DevAddr,
    keys: SessionKeys,
    fcnt_up: u32,
    fcnt_down: Option<u32>,
    ack_due: bool,
    rx1_delay_s: u8,
    rx1_dr_offset: u8,
    rx2_data_rate: u8,
    rx2_frequency_hz: u32,
    channels: Channels,
    data_rate: u8,
    nb_trans: u8,
    /// Answers and requests for the next uplink.
    commands: Vec<u8>,
    /// Answers repeated until a downlink shows that one was heard (L2 §5.4, §5.7).
    sticky: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Kind {
    Join { dev_nonce: u16 },
    Data { fcnt: u32, fport: Option<u8>, payload: Vec<u8>, confirmed: bool, ack: bool },
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Listening { until: Monotonic },
    Resting { until: Monotonic },
}

#[derive(Clone, Debug)]
struct Exchange {
    phy: Vec<u8>,
    kind: Kind,
    attempt: u8,
    attempts_max: u8,
    windows: [Window; 2],
    answered: bool,
    acknowledged: bool,
    stage: Stage,
}

/// One simulated end device.
#[derive(Debug)]
pub struct Device {
    config: DeviceConfig,
    plan: &'static RegionPlan,
    random: SplitMix64,
    dev_nonce: u16,
    join_count: u32,
    session: Option<Session>,
    exchange: Option<Exchange>,
    outbox: VecDeque<Message>,
    /// When to join, or to join again.
    join_at: Monotonic,
    /// When its application speaks next.
    traffic_at: Monotonic,
    /// When to send an empty frame, because something must be said and the application is silent.
    reply_at: Monotonic,
    heard_snr_db: i8,
    /// Confirmed uplinks in a row that were never acknowledged.
    give_up_count: u8,
    outputs: VecDeque<DeviceOutput>,
}

impl Device {
    /// A device that was just switched on. The same seed makes the same device.
    #[must_use]
    pub fn new(config: DeviceConfig, seed: u64, now: Monotonic) -> Self {
        let mut random = SplitMix64::new(seed ^ config.dev_eui.to_u64());
        let plan = config.region.plan();
        let dev_nonce = if config.mac_version.dev_nonce_counts() { 0 } else { random.next() as u16 };
        let mut device = Self {
            config,
            plan,
            random,
            dev_nonce,
            join_count: 0,
            session: None,
            exchange: None,
            outbox: VecDeque::new(),
            join_at: now,
            traffic_at: Monotonic::NEVER,
            reply_at: Monotonic::NEVER,
            heard_snr_db: 0,
            give_up_count: 0,
            outputs: VecDeque::new(),
        };
        if let Activation::Abp { dev_addr, keys } = config.activation {
            device.session = Some(device.fresh_session(dev_addr, keys));
        }
        if let Some(traffic) = config.traffic {
            // Spread the first words over one interval, or all devices would speak at once.
            let first = device.random.below(traffic.interval.as_nanos() as u64);
            device.join_at = now.after(Duration::from_nanos(first));
            device.traffic_at = device.join_at;
        }
        device
    }

    /// Gives back what an earlier power cycle saved. For OTAA without a session, only the DevNonce.
    pub fn restore(&mut self, saved: &Saved) {
        self.dev_nonce = saved.dev_nonce;
        if let Some(old) = saved.session {
            let fresh = self.fresh_session(old.dev_addr, old.keys);
            self.session = Some(Session {
                fcnt_up: old.fcnt_up,
                fcnt_down: old.fcnt_down,
                rx1_delay_s: old.rx1_delay_s,
                rx1_dr_offset: old.rx1_dr_offset,
                rx2_data_rate: old.rx2_data_rate,
                rx2_frequency_hz: old.rx2_frequency_hz,
                ..fresh
            });
        }
    }

    /// What must survive a power cycle.
    #[must_use]
    pub fn saved(&self) -> Saved {
        let session = self.session.as_ref().map(|session| SavedSession {
            dev_addr: session.dev_addr,
            keys: session.keys,
            fcnt_up: session.fcnt_up,
            fcnt_down: session.fcnt_down,
            rx1_delay_s: session.rx1_delay_s,
            rx1_dr_offset: session.rx1_dr_offset,
            rx2_data_rate: session.rx2_data_rate,
            rx2_frequency_hz: session.rx2_frequency_hz,
        });
        Saved { dev_nonce: self.dev_nonce, session }
    }

    /// What it is.
    #[must_use]
    pub const fn config(&self) -> &DeviceConfig {
        &self.config
    }

    /// Its address, if it has a session.
    #[must_use]
    pub fn dev_addr(&self) -> Option<DevAddr> {
        self.session.as_ref().map(|session| session.dev_addr)
    }

    /// The session's keys, if there is one.
    #[must_use]
    pub fn keys(&self) -> Option<SessionKeys> {
        self.session.as_ref().map(|session| session.keys)
    }

    /// The data rate index of its uplinks.
    #[must_use]
    pub fn data_rate(&self) -> Option<u8> {
        self.session.as_ref().map(|session| session.data_rate)
    }

    /// Queues a message of its application; sent as soon as the device is free and has a session.
    pub fn send(&mut self, message: Message, now: Monotonic) {
        if self.outbox.len() == OUTBOX_COUNT_MAX {
            self.outbox.pop_front();
            self.event(DeviceEvent::Dropped);
        }
        self.outbox.push_back(message);
        self.advance(now);
    }

    /// Adds a MAC request (LinkCheckReq, DeviceTimeReq) to the next uplink.
    pub fn request(&mut self, command: UplinkCommand) {
        if let Some(session) = &mut self.session {
            append(&mut session.commands, command);
        }
    }

    /// Forgets the session and joins anew (OTAA).
    pub fn rejoin(&mut self, now: Monotonic) {
        self.exchange = None;
        self.leave(now);
        self.advance(now);
    }

    fn leave(&mut self, now: Monotonic) {
        if matches!(self.config.activation, Activation::Otaa { .. }) {
            self.session = None;
            self.give_up_count = 0;
            self.join_at = now;
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Monotonic) {
        self.advance(now);
    }

    /// The windows that it opens, if it listens.
    #[must_use]
    pub fn windows(&self) -> Option<[Window; 2]> {
        let exchange = self.exchange.as_ref()?;
        matches!(exchange.stage, Stage::Listening { .. }).then_some(exchange.windows)
    }

    /// Whether it locks on to a preamble that begins at `start`; if so it listens until `end`.
    pub fn locks_on(&mut self, start: Monotonic, end: Monotonic, frequency_hz: u32, data_rate: DataRate) -> bool {
        let Some(exchange) = &mut self.exchange else { return false };
        let Stage::Listening { until } = &mut exchange.stage else { return false };
        let hit = exchange.windows.iter().any(|window| {
            let off = start.since(window.at).max(window.at.since(start));
            off <= WINDOW_TOLERANCE && window.frequency_hz == frequency_hz && window.data_rate == data_rate
        });
        if hit {
            *until = (*until).max(end.after(Duration::from_millis(1)));
        }
        hit
    }

    /// A frame was received whole in a window.
    pub fn receive(&mut self, phy: &[u8], snr_db: i8, now: Monotonic) {
        if self.windows().is_none() {
            return;
        }
        let understood = match Phy::parse(phy) {
            Ok(Phy::JoinAccept(sealed)) => self.accept(sealed, now),
            Ok(Phy::Data(data)) if data.direction() == Direction::Down => self.downlink(data, snr_db, now),
            _ => false,
        };
        if understood {
            // A class A device that was answered in RX1 does not open RX2.
            if let Some(exchange) = &mut self.exchange {
                exchange.stage = Stage::Listening { until: now };
            }
        } else {
            self.event(DeviceEvent::Ignored);
        }
        self.advance(now);
    }

    /// What it wants, oldest first.
    pub fn poll(&mut self) -> Option<DeviceOutput> {
        self.outputs.pop_front()
    }

    /// When [`Device::tick`] must be called next.
    #[must_use]
    pub fn deadline(&self) -> Monotonic {
        match (&self.exchange, &self.session) {
            (Some(Exchange { stage: Stage::Listening { until } | Stage::Resting { until }, .. }), _) => *until,
            (None, None) => self.join_at,
            (None, Some(_)) => self.traffic_at.min(self.reply_at),
        }
    }

    fn advance(&mut self, now: Monotonic) {
        loop {
            match self.exchange.take() {
                None if !self.begin(now) => return,
                None => {}
                Some(exchange) => match exchange.stage {
                    Stage::Listening { until } if until <= now => self.close(exchange, now),
                    Stage::Resting { until } if until <= now => self.transmit(exchange, now),
                    _ => {
                        self.exchange = Some(exchange);
                        return;
                    }
                },
            }
        }
    }

    /// Starts what is due; false if nothing is.
    fn begin(&mut self, now: Monotonic) -> bool {
        if self.session.is_none() {
            return now >= self.join_at && self.begin_join(now);
        }
        if now >= self.traffic_at {
            self.speak(now);
        }
        (!self.outbox.is_empty() || now >= self.reply_at) && self.begin_data(now)
    }

    /// The application has something to say.
    fn speak(&mut self, now: Monotonic) {
        let Some(traffic) = self.config.traffic else { return };
        let interval = traffic.interval.as_nanos() as u64;
        self.traffic_at = now.after(Duration::from_nanos(interval * 3 / 4 + self.random.below(interval / 2 + 1)));
        let (least, most) = traffic.payload_bytes;
        let count = u64::from(least) + self.random.below(u64::from(most.saturating_sub(least)) + 1);
        let payload = (0..count).map(|_| self.random.next() as u8).collect();
        let confirmed = self.random.below(100) < u64::from(traffic.confirmed_percent);
        if self.random.below(100) < u64::from(traffic.request_percent) {
            let command =
                if self.random.below(2) == 0 { UplinkCommand::LinkCheckReq } else { UplinkCommand::DeviceTimeReq };
            self.request(command);
        }
        if self.outbox.is_empty() {
            self.outbox.push_back(Message { fport: 1 + self.random.below(10) as u8, payload, confirmed });
        }
    }

    fn begin_join(&mut self, now: Monotonic) -> bool {
        let Activation::Otaa { app_key } = self.config.activation else { return false };
        self.dev_nonce = if self.config.mac_version.dev_nonce_counts() {
            self.dev_nonce.wrapping_add(1)
        } else {
            // Random, but never the same twice in a row.
            self.dev_nonce.wrapping_add(1 + self.random.below(0xFFFE) as u16)
        };
        self.join_count += 1;
        let frame = JoinRequestFrame {
            join_eui: self.config.join_eui,
            dev_eui: self.config.dev_eui,
            dev_nonce: self.dev_nonce,
        };
        let dev_nonce = self.dev_nonce;
        self.event(DeviceEvent::Joining { dev_nonce });
        let exchange = Exchange {
            phy: frame.to_wire(&app_key).to_vec(),
            kind: Kind::Join { dev_nonce },
            attempt: 0,
            attempts_max: 1,
            windows: [Window { at: now, frequency_hz: 0, data_rate: DataRate::default() }; 2],
            answered: false,
            acknowledged: false,
            stage: Stage::Resting { until: now },
        };
        self.transmit(exchange, now);
        true
    }

    fn begin_data(&mut self, now: Monotonic) -> bool {
        let Some(session) = &mut self.session else { return false };
        let message = self.outbox.front();
        let pending = session.sticky.len() + session.commands.len();
        let room = |fopts: usize| self.plan.payload_bytes_max(session.data_rate, Direction::Up, fopts).unwrap_or(0);
        // Commands that do not fit FOpts, or leave no room for the message, travel alone on port 0.
        let alone = pending > FOPTS_BYTES_MAX || message.is_some_and(|message| message.payload.len() > room(pending));
        if alone && pending == 0 {
            self.outbox.pop_front();
            self.event(DeviceEvent::Dropped);
            return true;
        }
        let commands = [&session.sticky[..], &session.commands[..]].concat();
        session.commands.clear();
        let (fopts, fport, payload, confirmed) = if alone {
            let count = commands.len().min(room(0));
            (Vec::new(), Some(0), commands[..count].to_vec(), false)
        } else {
            match self.outbox.pop_front() {
                Some(message) => (commands, Some(message.fport), message.payload, message.confirmed),
                None => (commands, None, Vec::new(), false),
            }
        };
        let frame = DataFrame {
            direction: Direction::Up,
            confirmed,
            dev_addr: session.dev_addr,
            fctrl: FCtrl::default().with_adr(self.config.adr).with_ack(session.ack_due),
            fcnt: session.fcnt_up,
            fopts: &fopts,
            fport,
            payload: &payload,
        };
        let mut phy = vec![0; frame.encoded_bytes()];
        frame.write(&session.keys, &mut phy).expect("a frame within the region's bounds can be written");
        let kind = Kind::Data { fcnt: session.fcnt_up, fport, payload, confirmed, ack: session.ack_due };
        session.fcnt_up = session.fcnt_up.wrapping_add(1);
        session.ack_due = false;
        let attempts_max = if confirmed { self.config.confirmed_attempts_max } else { session.nb_trans };
        self.reply_at = Monotonic::NEVER;
        let exchange = Exchange {
            phy,
            kind,
            attempt: 0,
            attempts_max: attempts_max.max(1),
            windows: [Window { at: now, frequency_hz: 0, data_rate: DataRate::default() }; 2],
            answered: false,
            acknowledged: false,
            stage: Stage::Resting { until: now },
        };
        self.transmit(exchange, now);
        true
    }

    /// Puts the exchange's bytes on the air and opens its windows.
    fn transmit(&mut self, mut exchange: Exchange, now: Monotonic) {
        exchange.attempt += 1;
        let join = matches!(exchange.kind, Kind::Join { .. });
        let Some(choice) = self.choose(join) else {
            // The network left us without a usable channel: start over when we can.
            self.event(DeviceEvent::Dropped);
            self.join_at = now.after(Duration::from_secs(10));
            return;
        };
        let plan = self.plan;
        let uplink = plan.data_rate_index(choice.data_rate, Direction::Up).unwrap_or(0);
        let (delay_s, offset, rx2_rate, rx2_hz) = match self.session.as_ref().filter(|_| !join) {
            None => (plan.join_accept_delay_s, 0, plan.rx2_data_rate, plan.rx2_frequency_hz),
            Some(session) => {
                (session.rx1_delay_s, session.rx1_dr_offset, session.rx2_data_rate, session.rx2_frequency_hz)
            }
        };
        let end = now.after(airtime(choice.data_rate, exchange.phy.len(), true));
        let modulation = |index: u8| plan.data_rate(index, Direction::Down).unwrap_or_default();
        let rx1_at = end.after(Duration::from_secs(u64::from(delay_s)));
        let rx2_at = rx1_at.after(Duration::from_secs(1));
        let rx1_rate = modulation(plan.rx1_data_rate(uplink, offset).unwrap_or(rx2_rate));
        exchange.windows = [
            Window { at: rx1_at, frequency_hz: choice.down_hz, data_rate: rx1_rate },
            Window { at: rx2_at, frequency_hz: rx2_hz, data_rate: modulation(rx2_rate) },
        ];
        exchange.stage = Stage::Listening { until: rx2_at.after(WINDOW_LENGTH) };
        let phy = exchange.phy.clone();
        self.outputs.push_back(DeviceOutput::Transmit { phy, frequency_hz: choice.up_hz, data_rate: choice.data_rate });
        if let Kind::Data { fcnt, fport, payload, confirmed, ack } = &exchange.kind {
            let event = DeviceEvent::Sent {
                fcnt: *fcnt,
                fport: *fport,
                payload: payload.clone(),
                confirmed: *confirmed,
                attempt: exchange.attempt,
                ack: *ack,
            };
            self.event(event);
        }
        self.exchange = Some(exchange);
    }

    fn choose(&mut self, join: bool) -> Option<Choice> {
        let fastest = self.config.data_rate.unwrap_or_else(|| default_data_rate(self.plan));
        let Some(session) = self.session.as_ref().filter(|_| !join) else {
            let channels = Channels::new(self.plan, self.config.sub_bands);
            // US915 devices alternate between 125 and 500 kHz channels when they join (RP002, US902-928, join).
            let wide = self.plan.sub_band_count > 0 && self.join_count.is_multiple_of(2);
            return channels.pick(self.plan, if wide { 4 } else { fastest }, &mut self.random);
        };
        let (plan, random) = (self.plan, &mut self.random);
        session
            .channels
            .pick(plan, session.data_rate, random)
            .or_else(|| (0..16).rev().find_map(|rate| session.channels.pick(plan, rate, random)))
    }

    /// The windows have closed, or an answer made the rest of them needless.
    fn close(&mut self, exchange: Exchange, now: Monotonic) {
        match exchange.kind {
            Kind::Join { .. } if self.session.is_none() => {
                self.join_at = now.after(Duration::from_millis(1_000 + self.random.below(4_000)));
            }
            Kind::Data { fcnt, confirmed: true, .. } if !exchange.acknowledged => {
                if exchange.attempt < exchange.attempts_max {
                    // ACK_TIMEOUT is 2 s, plus or minus a random second (RP002, default settings).
                    let until = now.after(Duration::from_millis(1_000 + self.random.below(2_000)));
                    self.exchange = Some(Exchange { stage: Stage::Resting { until }, ..exchange });
                } else {
                    self.event(DeviceEvent::GaveUp { fcnt });
                    self.give_up_count = self.give_up_count.saturating_add(1);
                    if self.config.rejoin_after > 0 && self.give_up_count >= self.config.rejoin_after {
                        self.leave(now);
                    }
                }
            }
            Kind::Data { confirmed: false, .. } if !exchange.answered && exchange.attempt < exchange.attempts_max => {
                let until = now.after(Duration::from_millis(self.random.below(1_000)));
                self.exchange = Some(Exchange { stage: Stage::Resting { until }, ..exchange });
            }
            _ => {}
        }
    }

    fn accept(&mut self, sealed: lorawan::SealedJoinAccept<'_>, now: Monotonic) -> bool {
        let Activation::Otaa { app_key } = self.config.activation else { return false };
        let Some(Exchange { kind: Kind::Join { dev_nonce }, .. }) = self.exchange else { return false };
        let Some(accept) = sealed.open(&app_key) else { return false };
        let keys = accept.session_keys(&app_key, dev_nonce);
        let mut session = self.fresh_session(accept.dev_addr, keys);
        session.rx1_delay_s = accept.rx_delay_s.max(1);
        session.rx1_dr_offset = accept.dl_settings.rx1_dr_offset;
        session.rx2_data_rate = accept.dl_settings.rx2_data_rate;
        if let Some(list) = &accept.cf_list {
            session.channels.apply_cf_list(self.plan, list);
        }
        self.session = Some(session);
        if self.config.traffic.is_some() {
            // Speak soon after joining; a person may be watching.
            self.traffic_at = now.after(Duration::from_millis(200 + self.random.below(800)));
        }
        self.event(DeviceEvent::Joined { dev_addr: accept.dev_addr });
        true
    }

    fn downlink(&mut self, data: Data<'_>, snr_db: i8, now: Monotonic) -> bool {
        let Some(session) = &mut self.session else { return false };
        if data.dev_addr() != session.dev_addr {
            return false;
        }
        let (fcnt, repeated) = match fcnt_extend(session.fcnt_down, data.fcnt16(), FCNT_GAP_MAX) {
            FCnt::New(fcnt) => (fcnt, false),
            FCnt::Repeat(fcnt) => (fcnt, true),
            FCnt::Refused => return false,
        };
        let Some(verified) = data.verify(&session.keys.nwk_s_key, fcnt) else { return false };
        session.fcnt_down = Some(fcnt);
        session.sticky.clear();
        session.ack_due |= data.confirmed();
        self.heard_snr_db = snr_db;
        let keys = session.keys;
        let ack = data.fctrl().ack();
        if let Some(exchange) = &mut self.exchange {
            exchange.answered = true;
            self.give_up_count = 0;
            let acknowledged = match exchange.kind {
                Kind::Data { fcnt, confirmed: true, .. } if ack && !exchange.acknowledged => Some(fcnt),
                _ => None,
            };
            if let Some(fcnt) = acknowledged {
                exchange.acknowledged = true;
                self.event(DeviceEvent::Acknowledged { fcnt });
            }
        }
        if !repeated {
            let mut clear = [0; lorawan::PHY_BYTES_MAX];
            let payload = verified.decrypt_into(&keys, &mut clear).expect("a frame's payload fits a frame").to_vec();
            let on_mac_port = data.fport() == Some(0);
            self.obey(if on_mac_port { &payload } else { data.fopts() });
            self.event(DeviceEvent::Received {
                fcnt,
                fport: data.fport(),
                payload: if on_mac_port { Vec::new() } else { payload },
                confirmed: data.confirmed(),
                ack,
            });
        }
        let session = self.session.as_ref().expect("still there");
        let must_speak = session.ack_due || !session.commands.is_empty() || !session.sticky.is_empty();
        if must_speak || data.fctrl().fpending() {
            self.reply_at = self.reply_at.min(now.after(Duration::from_millis(500 + self.random.below(1_500))));
        }
        true
    }

    fn fresh_session(&self, dev_addr: DevAddr, keys: SessionKeys) -> Session {
        Session {
            dev_addr,
            keys,
            fcnt_up: 0,
            fcnt_down: None,
            ack_due: false,
            rx1_delay_s: self.plan.rx1_delay_s,
            rx1_dr_offset: 0,
            rx2_data_rate: self.plan.rx2_data_rate,
            rx2_frequency_hz: self.plan.rx2_frequency_hz,
            channels: Channels::new(self.plan, self.config.sub_bands),
            data_rate: self.config.data_rate.unwrap_or_else(|| default_data_rate(self.plan)),
            nb_trans: 1,
            commands: Vec::new(),
            sticky: Vec::new(),
        }
    }

    fn event(&mut self, event: DeviceEvent) {
        self.outputs.push_back(DeviceOutput::Event(event));
    }
}

/// The fastest LoRa rate of 125 kHz that devices of the region may use.
fn default_data_rate(plan: &RegionPlan) -> u8 {
    (0..16)
        .rev()
        .find(|index| matches!(plan.data_rate(*index, Direction::Up), Some(DataRate::Lora { bw_khz: 125, .. })))
        .unwrap_or(0)
}

fn append(target: &mut Vec<u8>, command: UplinkCommand) {
    let mut bytes = [0; lorawan::mac::COMMAND_BYTES_MAX];
    let count = command.write(&mut bytes).expect("a command fits its bound");
    target.extend_from_slice(&bytes[..count]);
}
