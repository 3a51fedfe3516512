//! A simulated gateway, sans-IO: a packet forwarder that speaks Semtech UDP, version 1 or 2.
//!
//! Owns the forwarder's tokens, its concentrator's counter and its transmit queue. What it writes is spelt as
//! `lora_pkt_fwd` spells it (PROTOCOL.TXT of Lora-net/packet_forwarder): same keys, same order, same number formats.
//! Never hears or sends radio frames by itself: its owner says what was heard and carries out what it transmits.
//!
//! ```text
//!   heard --10 ms batches--> PUSH_DATA     PULL_DATA every few seconds     PULL_RESP -> queue -> TX_ACK (v2), Transmit
//! ```

use crate::airtime::airtime;
use crate::base64;
use crate::text::{gps_millis, iso_time, stat_time};
use base::mix::SplitMix64;
use base::{DataRate, Eui64, Monotonic, UnixMicros};
use core::fmt::Write as _;
use core::time::Duration;
use lorawan::Region;
use lorawan::region::ChannelMask;
use std::collections::VecDeque;

const PUSH_DATA: u8 = 0;
const PUSH_ACK: u8 = 1;
const PULL_DATA: u8 = 2;
const PULL_RESP: u8 = 3;
const PULL_ACK: u8 = 4;
const TX_ACK: u8 = 5;

/// The forwarder asks the concentrator for packets this often.
const FETCH_INTERVAL: Duration = Duration::from_millis(10);
/// Packets of one PUSH_DATA.
const BATCH_COUNT_MAX: usize = 8;
/// A transmission must be known this long before it begins.
const START_DELAY: Duration = Duration::from_micros(1_500);
/// And not longer than this.
const ADVANCE_MAX: Duration = Duration::from_secs(300);
/// The gap between two queued transmissions.
const GUARD: Duration = Duration::from_millis(1);

/// Which concentrator a gateway has: it decides some JSON members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Concentrator {
    /// SX1301, packet_forwarder.
    #[default]
    Sx1301,
    /// SX1302, sx1302_hal: adds `jver`, `mid`, `rssis`, `foff` and the temperature.
    Sx1302,
}

/// What a gateway is.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayConfig {
    /// Its EUI.
    pub eui: Eui64,
    /// Protocol version, 1 or 2.
    pub version: u8,
    /// Its region.
    pub region: Region,
    /// Sub-bands it listens to (US915); 0 is all, as a 72-channel gateway does.
    pub sub_bands: u8,
    /// Its concentrator.
    pub concentrator: Concentrator,
    /// Whether it has GPS: then it writes `time` and `tmms`, and its place.
    pub gps: bool,
    /// Time between PULL_DATA.
    pub pull_interval: Duration,
    /// Time between stat objects.
    pub stat_interval: Duration,
    /// Greatest power its amplifier can do, dBm.
    pub power_max_dbm: i32,
}

impl GatewayConfig {
    /// A version 2 gateway with the forwarder's usual settings.
    #[must_use]
    pub const fn new(eui: Eui64, region: Region) -> Self {
        Self {
            eui,
            version: 2,
            region,
            sub_bands: 0,
            concentrator: Concentrator::Sx1301,
            gps: false,
            pull_interval: Duration::from_secs(5),
            stat_interval: Duration::from_secs(30),
            power_max_dbm: 27,
        }
    }
}

/// A frame as a gateway heard it.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// PHYPayload.
    pub phy: Vec<u8>,
    /// Carrier, Hz.
    pub frequency_hz: u32,
    /// Modulation.
    pub data_rate: DataRate,
    /// Tenths of a dBm.
    pub rssi_deci: i32,
    /// Tenths of a dB.
    pub snr_deci: i32,
    /// Whether its CRC was good.
    pub crc_ok: bool,
}

/// Which of the forwarder's two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Socket {
    /// PUSH_DATA goes out here and PUSH_ACK comes in.
    Up,
    /// PULL_DATA and TX_ACK go out here; PULL_ACK and PULL_RESP come in.
    Down,
}

/// A downlink on the air.
#[derive(Clone, Debug, PartialEq)]
pub struct Transmission {
    /// When its preamble begins.
    pub start: Monotonic,
    /// When it ends.
    pub end: Monotonic,
    /// PHYPayload.
    pub phy: Vec<u8>,
    /// Carrier, Hz.
    pub frequency_hz: u32,
    /// Modulation.
    pub data_rate: DataRate,
    /// Whether the polarisation is inverted, as devices expect it.
    pub inverted: bool,
    /// dBm.
    pub power_dbm: i32,
}

/// Why a gateway refuses a downlink (the words of TX_ACK).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its time has passed.
    TooLate,
    /// Its time is too far off.
    TooEarly,
    /// Another transmission is queued for that time.
    CollisionPacket,
    /// The frequency is not the region's.
    TxFreq,
    /// It asks for GPS time and there is none.
    GpsUnlocked,
}

impl Refusal {
    const fn word(self) -> &'static str {
        match self {
            Self::TooLate => "TOO_LATE",
            Self::TooEarly => "TOO_EARLY",
            Self::CollisionPacket => "COLLISION_PACKET",
            Self::TxFreq => "TX_FREQ",
            Self::GpsUnlocked => "GPS_UNLOCKED",
        }
    }
}

/// What a gateway wants.
#[derive(Clone, Debug, PartialEq)]
pub enum GatewayOutput {
    /// Send this datagram to the server.
    Datagram {
        /// From this socket.
        socket: Socket,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Put this on the air.
    Transmit(Transmission),
    /// A downlink was refused.
    Refused(Refusal),
    /// A datagram from the server made no sense.
    Malformed,
}

/// What a forwarder counts for its stat object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatewayCounts {
    /// Frames heard.
    pub received: u64,
    /// Of these, with good CRC, hence forwarded.
    pub forwarded: u64,
    /// PUSH_DATA sent.
    pub pushed: u64,
    /// PUSH_ACK received.
    pub acknowledged: u64,
    /// PULL_ACK received.
    pub pull_acknowledged: u64,
    /// PULL_RESP received.
    pub downlinks: u64,
    /// Frames transmitted.
    pub transmitted: u64,
    /// Downlinks refused.
    pub refused: u64,
}

/// One simulated gateway.
#[derive(Debug)]
pub struct Gateway {
    config: GatewayConfig,
    random: SplitMix64,
    /// The concentrator's counter at the monotonic clock's zero.
    counter_offset: u32,
    /// The wall clock at the monotonic clock's zero.
    epoch: UnixMicros,
    batch: Vec<(Heard, Monotonic)>,
    fetch_at: Monotonic,
    pull_at: Monotonic,
    stat_at: Monotonic,
    push_tokens: VecDeque<u16>,
    /// Intervals on the air, by start.
    queue: Vec<(Monotonic, Monotonic)>,
    counts: GatewayCounts,
    /// `counts` at the last stat.
    reported: GatewayCounts,
    outputs: VecDeque<GatewayOutput>,
}

impl Gateway {
    /// A gateway that was just switched on. `epoch` is the wall clock at the monotonic clock's zero.
    #[must_use]
    pub fn new(config: GatewayConfig, seed: u64, epoch: UnixMicros, now: Monotonic) -> Self {
        let mut random = SplitMix64::new(seed ^ config.eui.to_u64());
        let stat_at = now.after(Duration::from_nanos(random.below(config.stat_interval.as_nanos() as u64)));
        Self {
            counter_offset: random.next() as u32,
            random,
            epoch,
            batch: Vec::new(),
            fetch_at: Monotonic::NEVER,
            pull_at: now,
            stat_at,
            push_tokens: VecDeque::new(),
            queue: Vec::new(),
            counts: GatewayCounts::default(),
            reported: GatewayCounts::default(),
            outputs: VecDeque::new(),
            config,
        }
    }

    /// What it is.
    #[must_use]
    pub const fn config(&self) -> &GatewayConfig {
        &self.config
    }

    /// What it has counted since it was switched on.
    #[must_use]
    pub const fn counts(&self) -> GatewayCounts {
        self.counts
    }

    /// Whether its receive channels include this one.
    #[must_use]
    pub fn listens_to(&self, frequency_hz: u32, data_rate: DataRate) -> bool {
        let plan = self.config.region.plan();
        if plan.sub_band_count == 0 {
            return plan.holds(frequency_hz);
        }
        let mask = ChannelMask::of_sub_bands(self.config.sub_bands);
        plan.uplink_channel(frequency_hz, data_rate).is_some_and(|channel| mask.has(channel))
    }

    /// A frame's reception ended now. Unlike a real concentrator it also hears while it transmits.
    pub fn hear(&mut self, heard: Heard, now: Monotonic) {
        self.counts.received += 1;
        if !heard.crc_ok {
            // forward_crc_error is off by default.
            return;
        }
        self.batch.push((heard, now));
        self.fetch_at =
            if self.batch.len() >= BATCH_COUNT_MAX { now } else { self.fetch_at.min(now.after(FETCH_INTERVAL)) };
        self.tick(now);
    }

    /// A datagram came from the server.
    pub fn receive(&mut self, bytes: &[u8], now: Monotonic) {
        self.tick(now);
        let [version, token @ .., kind] = bytes.get(..4).unwrap_or_default() else {
            return self.outputs.push_back(GatewayOutput::Malformed);
        };
        let token = u16::from_be_bytes([token[0], token[1]]);
        match *kind {
            _ if *version != self.config.version => self.outputs.push_back(GatewayOutput::Malformed),
            PUSH_ACK => {
                if let Some(at) = self.push_tokens.iter().position(|known| *known == token) {
                    self.push_tokens.remove(at);
                    self.counts.acknowledged += 1;
                }
            }
            PULL_ACK => self.counts.pull_acknowledged += 1,
            PULL_RESP => self.pull_resp(token, &bytes[4..], now),
            _ => self.outputs.push_back(GatewayOutput::Malformed),
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Monotonic) {
        if self.pull_at <= now {
            self.pull_at = now.after(self.config.pull_interval);
            let token = self.random.next() as u16;
            self.datagram(Socket::Down, token, PULL_DATA, "");
        }
        let stat = (self.stat_at <= now).then(|| {
            self.stat_at = now.after(self.config.stat_interval);
            self.stat(now)
        });
        if self.fetch_at <= now || stat.is_some() {
            self.fetch_at = Monotonic::NEVER;
            self.push(stat);
        }
        self.queue.retain(|(_, end)| *end > now);
    }

    /// What it wants, oldest first.
    pub fn poll(&mut self) -> Option<GatewayOutput> {
        self.outputs.pop_front()
    }

    /// When [`Gateway::tick`] must be called next.
    #[must_use]
    pub fn deadline(&self) -> Monotonic {
        self.pull_at.min(self.stat_at).min(self.fetch_at)
    }

    /// The concentrator's counter: microseconds, wrapping.
    #[must_use]
    pub const fn counter(&self, now: Monotonic) -> u32 {
        ((now.0 / 1_000) as u32).wrapping_add(self.counter_offset)
    }

    const fn unix(&self, now: Monotonic) -> UnixMicros {
        UnixMicros(self.epoch.0 + now.0 / 1_000)
    }

    fn push(&mut self, stat: Option<String>) {
        let mut json = String::from("{");
        if !self.batch.is_empty() {
            json.push_str("\"rxpk\":[");
            for (index, (heard, at)) in core::mem::take(&mut self.batch).iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                self.rxpk(&mut json, heard, *at);
                self.counts.forwarded += 1;
            }
            json.push(']');
        }
        if let Some(stat) = stat {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&stat);
        }
        json.push('}');
        let token = self.random.next() as u16;
        self.counts.pushed += 1;
        self.push_tokens.push_back(token);
        if self.push_tokens.len() > 64 {
            self.push_tokens.pop_front();
        }
        self.datagram(Socket::Up, token, PUSH_DATA, &json);
    }

    fn rxpk(&self, out: &mut String, heard: &Heard, at: Monotonic) {
        let newer = self.config.concentrator == Concentrator::Sx1302;
        out.push_str(if newer { "{\"jver\":1" } else { "{" });
        let comma = if newer { "," } else { "" };
        let _ = write!(out, "{comma}\"tmst\":{}", self.counter(at));
        if self.config.gps {
            let unix = self.unix(at);
            let _ = write!(out, ",\"time\":\"{}\",\"tmms\":{}", iso_time(unix), gps_millis(unix));
        }
        let (chan, rfch) = self.chain(heard);
        let mhz = f64::from(heard.frequency_hz) / 1e6;
        let _ = write!(out, ",\"chan\":{chan},\"rfch\":{rfch},\"freq\":{mhz:.6}");
        if newer {
            out.push_str(",\"mid\": 8");
        }
        out.push_str(",\"stat\":1");
        let snr = f64::from(heard.snr_deci) / 10.0;
        let rssi = f64::from(heard.rssi_deci) / 10.0;
        match heard.data_rate {
            DataRate::Fsk { bps } => {
                let _ = write!(out, ",\"modu\":\"FSK\",\"datr\":{bps}");
            }
            rate => {
                let _ = write!(out, ",\"modu\":\"LORA\",\"datr\":\"{rate}\",\"codr\":\"4/5\"");
                if newer {
                    let _ = write!(out, ",\"rssis\":{rssi:.0}");
                }
                let _ = write!(out, ",\"lsnr\":{snr:.1}");
                if newer {
                    out.push_str(",\"foff\":-312");
                }
            }
        }
        let data = base64::encode(&heard.phy);
        let _ = write!(out, ",\"rssi\":{rssi:.0},\"size\":{},\"data\":\"{data}\"}}", heard.phy.len());
    }

    /// The concentrator's channel and radio for a frame.
    fn chain(&self, heard: &Heard) -> (u8, u8) {
        let plan = self.config.region.plan();
        match plan.uplink_channel(heard.frequency_hz, heard.data_rate) {
            Some(channel) if channel >= 64 => (8, 0),
            Some(channel) => (channel % 8, u8::from(channel % 8 >= 4)),
            None => (3 + (heard.frequency_hz / 200_000 % 5) as u8, 0),
        }
    }

    fn stat(&mut self, now: Monotonic) -> String {
        let (all, old) = (self.counts, self.reported);
        self.reported = all;
        let pushed = all.pushed - old.pushed;
        let ackr = if pushed == 0 { 0.0 } else { 100.0 * (all.acknowledged - old.acknowledged) as f64 / pushed as f64 };
        let mut out = format!("\"stat\":{{\"time\":\"{}\"", stat_time(self.unix(now)));
        if self.config.gps {
            out.push_str(",\"lati\":46.24000,\"long\":3.25230,\"alti\":145");
        }
        let _ = write!(
            out,
            ",\"rxnb\":{},\"rxok\":{},\"rxfw\":{},\"ackr\":{:.1},\"dwnb\":{},\"txnb\":{}",
            all.received - old.received,
            all.forwarded - old.forwarded,
            all.forwarded - old.forwarded,
            ackr,
            all.downlinks - old.downlinks,
            all.transmitted - old.transmitted,
        );
        if self.config.concentrator == Concentrator::Sx1302 {
            out.push_str(",\"temp\":24.5");
        }
        out.push('}');
        out
    }

    fn pull_resp(&mut self, token: u16, body: &[u8], now: Monotonic) {
        self.counts.downlinks += 1;
        let outcome = self.read_txpk(body, now);
        let Some(outcome) = outcome else {
            return self.outputs.push_back(GatewayOutput::Malformed);
        };
        let (answer, output) = match outcome {
            Ok(mut transmission) => {
                let mut answer = String::new();
                if transmission.power_dbm > self.config.power_max_dbm {
                    transmission.power_dbm = self.config.power_max_dbm;
                    if self.config.concentrator == Concentrator::Sx1302 {
                        let power = self.config.power_max_dbm;
                        answer = format!("{{\"txpk_ack\":{{\"warn\":\"TX_POWER\",\"value\":{power}}}}}");
                    }
                }
                self.queue.push((transmission.start, transmission.end));
                self.counts.transmitted += 1;
                (answer, GatewayOutput::Transmit(transmission))
            }
            Err(refusal) => {
                self.counts.refused += 1;
                (format!("{{\"txpk_ack\":{{\"error\":\"{}\"}}}}", refusal.word()), GatewayOutput::Refused(refusal))
            }
        };
        if self.config.version == 2 {
            self.datagram(Socket::Down, token, TX_ACK, &answer);
        }
        self.outputs.push_back(output);
    }

    /// `None` where the real forwarder would log "PULL_RESP ignored": a member is missing or of the wrong type.
    fn read_txpk(&self, body: &[u8], now: Monotonic) -> Option<Result<Transmission, Refusal>> {
        let json: serde_json::Value = serde_json::from_slice(body).ok()?;
        let txpk = json.get("txpk")?;
        let frequency_hz = (txpk.get("freq")?.as_f64()? * 1e6).round() as u32;
        let _rf_chain = txpk.get("rfch")?.as_u64()?;
        let data_rate = match txpk.get("modu")?.as_str()? {
            "LORA" => {
                txpk.get("codr")?.as_str()?.strip_prefix("4/")?;
                DataRate::parse(txpk.get("datr")?.as_str()?.as_bytes())
                    .filter(|rate| matches!(rate, DataRate::Lora { .. }))?
            }
            "FSK" => DataRate::Fsk { bps: u32::try_from(txpk.get("datr")?.as_u64()?).ok()? },
            _ => return None,
        };
        let phy = base64::decode(txpk.get("data")?.as_str()?)?;
        if txpk.get("size")?.as_u64()? != phy.len() as u64 || phy.is_empty() || phy.len() > 255 {
            return None;
        }
        let power_dbm = txpk.get("powe").map_or(Some(14), serde_json::Value::as_i64)? as i32;
        let inverted = txpk.get("ipol").map_or(Some(false), serde_json::Value::as_bool)?;
        let immediate = txpk.get("imme").map_or(Some(false), serde_json::Value::as_bool)?;
        let start = if immediate {
            now.after(START_DELAY)
        } else if let Some(counter) = txpk.get("tmst") {
            let ahead = u32::try_from(counter.as_u64()?).ok()?.wrapping_sub(self.counter(now));
            if ahead > i32::MAX as u32 {
                return Some(Err(Refusal::TooLate));
            }
            Monotonic((now.0 / 1_000 + u64::from(ahead)) * 1_000)
        } else {
            txpk.get("tmms")?;
            return Some(Err(Refusal::GpsUnlocked));
        };
        let end = start.after(airtime(data_rate, phy.len(), false));
        let collides = |(from, until): &(Monotonic, Monotonic)| start < until.after(GUARD) && *from < end.after(GUARD);
        Some(if start < now.after(START_DELAY) {
            Err(Refusal::TooLate)
        } else if start.since(now) > ADVANCE_MAX {
            Err(Refusal::TooEarly)
        } else if !self.config.region.plan().holds(frequency_hz) {
            Err(Refusal::TxFreq)
        } else if self.queue.iter().any(collides) {
            Err(Refusal::CollisionPacket)
        } else {
            Ok(Transmission { start, end, phy, frequency_hz, data_rate, inverted, power_dbm })
        })
    }

    fn datagram(&mut self, socket: Socket, token: u16, kind: u8, json: &str) {
        let [high, low] = token.to_be_bytes();
        let mut bytes = vec![self.config.version, high, low, kind];
        bytes.extend_from_slice(&self.config.eui.0);
        bytes.extend_from_slice(json.as_bytes());
        self.outputs.push_back(GatewayOutput::Datagram { socket, bytes });
    }
}
