//! Semtech UDP: datagrams from gateways in, PULL_RESPs out.
//!
//! Owns nothing; the links are `session::gateways`, the frames `wire::semtech_udp`. PUSH_ACK and PULL_ACK leave at once
//! and accept nothing. A datagram that cannot be used is counted by reason.
//!
//! ```text
//!   PUSH_DATA -> ack, stat -> event, each rxpk -> Heard -> its lane's shard
//!   PULL_DATA -> ack, return path          TX_ACK -> Transmitted -> the lane's shard that asked
//! ```

use crate::hop::{HeardHop, Hop, TransmitHop};
use crate::metrics::{Done, Drop};
use crate::outlets::shard_of_gateway;
use crate::{Now, Shard, shard_of_lane};
use base::{Eui64, UnixMicros};
use driver::{Driver, Lease, Socket};
use event::{Event, Kind, Reception};
use session::gateways::{Path, Policy};
use session::{Outcome, Sink, TransmitError, lane_of_frame};
use std::net::SocketAddr;
use wire::semtech_udp::{
    ACK_BYTES, Body, Crc, Datagram, Malformed, PAYLOAD_BYTES_MAX, PULL_RESP_BYTES_MAX, PullData, PushData, Rxpk, TxAck,
    TxOutcome, Txpk, Version, When, write_pull_ack, write_pull_resp, write_push_ack,
};

/// The longest report that travels in an event.
const STATUS_EVENT_BYTES_MAX: usize = 1024;

impl<D: Driver> Shard<D> {
    pub(crate) fn datagram(&mut self, socket: Socket, source: SocketAddr, lease: Lease, truncated: bool, now: Now) {
        self.counters.done.count(Done::DatagramsReceived);
        if truncated {
            self.counters.drops.count(Drop::DatagramTruncated);
            self.driver.release(lease);
            return;
        }
        // What is parsed borrows the bytes while the driver is asked to answer, so they move to a room of the shard's.
        let mut room = self.record.take().expect("the room comes back after every use");
        let bytes = self.driver.bytes(&lease);
        // A driver's buffers may be larger than the room; half a datagram is none.
        let copied = room.get_mut(..bytes.len()).map(|room| {
            room.copy_from_slice(bytes);
            &*room
        });
        self.driver.release(lease);
        match copied.ok_or(Malformed::TooLong).and_then(Datagram::parse) {
            Err(malformed) => self.counters.datagrams.count(malformed),
            Ok(datagram) if self.shard_of(datagram.eui()) != self.options.index => {
                self.counters.drops.count(Drop::GatewayForeign);
            }
            Ok(Datagram::PushData(push)) => self.push_data(socket, source, &push, now),
            Ok(Datagram::PullData(pull)) => self.pull_data(socket, source, &pull, now),
            Ok(Datagram::TxAck(ack)) => self.tx_ack(source, &ack, now),
        }
        self.record = Some(room);
    }

    fn shard_of(&self, gateway: Eui64) -> usize {
        shard_of_gateway(self.options.slot_key, gateway, self.shard_count)
    }

    fn policy(&self) -> Policy {
        let settings = &self.load.plan.settings;
        Policy {
            accept_unknown: settings.accept_unknown_gateways,
            gateway_rate_max: settings.gateway_rate_max,
            address_rate_max: settings.address_rate_max,
            silence: settings.gateway_silence,
        }
    }

    fn push_data(&mut self, socket: Socket, source: SocketAddr, push: &PushData<'_>, now: Now) {
        let policy = self.policy();
        let tenant = match self.gateways.heard(push.eui, source, &policy, now.monotonic, now.unix) {
            Ok(link) => link.tenant,
            Err(_) => return,
        };
        let mut ack = [0; ACK_BYTES];
        let count = write_push_ack(push.version, push.token, &mut ack).expect("room for an acknowledgement");
        self.send_to(socket, source, &ack[..count]);
        match push.body() {
            Err(malformed) => self.counters.datagrams.count(malformed),
            Ok(body) => self.body(push.eui, tenant, &body, now),
        }
    }

    fn body(&mut self, gateway: Eui64, tenant: u32, body: &Body<'_>, now: Now) {
        let mut frame_count = 0;
        for rxpk in body.rxpk() {
            frame_count += 1;
            self.counters.done.count(Done::RxpkReceived);
            match rxpk {
                Err(refusal) => self.counters.rxpk.count(refusal),
                Ok(rxpk) => match rxpk.crc {
                    Crc::Ok => self.rxpk(gateway, &rxpk, now),
                    Crc::Bad => self.counters.drops.count(Drop::RxpkCrcBad),
                    Crc::None => self.counters.drops.count(Drop::RxpkCrcAbsent),
                },
            }
        }
        if frame_count > 0 {
            self.gateways.count_uplinks(gateway, frame_count);
        }
        if let Some(stat) = body.stat() {
            let text = stat.json.as_bytes();
            self.gateways.report(gateway, text);
            if text.len() <= STATUS_EVENT_BYTES_MAX {
                let (_, _, mut outlets) = self.split(now);
                let event = Event { gateway, tenant, payload: text, ..Event::new(Kind::GatewayStatus, now.unix) };
                outlets.event(&event);
            } else {
                self.counters.drops.count(Drop::StatusTooLong);
            }
        }
    }

    fn rxpk(&mut self, gateway: Eui64, rxpk: &Rxpk<'_>, now: Now) {
        let mut room = [0; PAYLOAD_BYTES_MAX];
        let phy = match rxpk.payload(&mut room) {
            Ok(phy) => &*phy,
            Err(refusal) => {
                self.counters.rxpk.count(refusal);
                return;
            }
        };
        let reception = Reception {
            gateway,
            time: rxpk.time.unwrap_or(UnixMicros(0)),
            tmst: rxpk.tmst,
            rssi_deci: rxpk.rssi_deci,
            snr_deci: rxpk.snr_deci,
            channel: rxpk.chan,
            rf_chain: rxpk.rfch,
            antenna: rxpk.ant,
        };
        let (frequency_hz, data_rate) = (rxpk.freq_hz, rxpk.data_rate);
        let target = shard_of_lane(lane_of_frame(phy).0, self.shard_count);
        if target == self.options.index {
            let heard = session::Heard { phy, reception, frequency_hz, data_rate };
            let (network, rules, mut outlets) = self.split(now);
            network.receive(&heard, &rules, &mut outlets, now.monotonic, now.unix);
            return;
        }
        let heard = HeardHop { reception, frequency_hz, data_rate, phy };
        match self.ports.send(target, &Hop::Heard(heard)) {
            Ok(()) => self.counters.done.count(Done::HeardForwarded),
            Err(_) => self.counters.drops.count(Drop::HopHeard),
        }
    }

    fn pull_data(&mut self, socket: Socket, source: SocketAddr, pull: &PullData, now: Now) {
        let policy = self.policy();
        let path = Path { address: source, socket: socket.0, acknowledges: pull.version == Version::V2 };
        let Ok(news) = self.gateways.pull(pull.eui, path, &policy, now.monotonic, now.unix) else { return };
        let mut ack = [0; ACK_BYTES];
        let count = write_pull_ack(pull.version, pull.token, &mut ack).expect("room for an acknowledgement");
        self.send_to(socket, source, &ack[..count]);
        if news {
            let tenant = self.gateways.link(pull.eui).map_or(0, |link| link.tenant);
            self.gateway_event(Kind::GatewayOnline, pull.eui, tenant, now);
        }
    }

    fn tx_ack(&mut self, source: SocketAddr, ack: &TxAck, now: Now) {
        let policy = self.policy();
        if self.gateways.heard(ack.eui, source, &policy, now.monotonic, now.unix).is_err() {
            return;
        }
        if let Ok(reference) = self.gateways.tx_ack(ack.eui, ack.token) {
            let outcome = match ack.outcome {
                TxOutcome::Sent => Outcome::Sent,
                TxOutcome::TooLate => Outcome::Error(TransmitError::TooLate),
                TxOutcome::TooEarly => Outcome::Error(TransmitError::TooEarly),
                TxOutcome::CollisionPacket => Outcome::Error(TransmitError::CollisionPacket),
                TxOutcome::CollisionBeacon => Outcome::Error(TransmitError::CollisionBeacon),
                TxOutcome::TxFreq => Outcome::Error(TransmitError::Frequency),
                TxOutcome::TxPower => Outcome::Error(TransmitError::Power),
                TxOutcome::GpsUnlocked => Outcome::Error(TransmitError::GpsUnlocked),
                TxOutcome::Other => Outcome::Error(TransmitError::Other),
            };
            self.say_transmitted(reference, outcome);
        }
    }

    /// A lane asks for a frame to be sent by a gateway of ours.
    pub(crate) fn transmit(&mut self, transmit: &TransmitHop<'_>) {
        let reference = u64::from(transmit.origin) << 32 | u64::from(transmit.transmission);
        let Ok(sending) = self.gateways.transmit(transmit.gateway, reference) else {
            self.say_transmitted(reference, Outcome::NoPath);
            return;
        };
        let ceiling = sending.eirp_max_dbm.map_or(i8::MAX, |dbm| dbm as i8);
        let power_dbm = transmit.power_dbm.min(ceiling);
        let when = When::Tmst(transmit.tmst);
        let txpk = Txpk::downlink(when, transmit.frequency_hz, transmit.data_rate, power_dbm, transmit.phy);
        let version = if sending.path.acknowledges { Version::V2 } else { Version::V1 };
        let mut out = [0; PULL_RESP_BYTES_MAX];
        let count = write_pull_resp(version, sending.token, &txpk, &mut out).expect("room for any PULL_RESP");
        let sent = self.send_to(Socket(sending.path.socket), sending.path.address, &out[..count]);
        if !sent {
            self.say_transmitted(reference, Outcome::NoPath);
        } else if !sending.path.acknowledges {
            // Version 1 has no TX_ACK: that it was sent is all that will ever be known.
            self.say_transmitted(reference, Outcome::Sent);
        }
    }

    pub(crate) fn expire_gateways(&mut self, now: Now) {
        let policy = self.policy();
        while let Some(link) = self.gateways.expire(&policy, now.monotonic) {
            let (eui, tenant) = (link.eui, link.tenant);
            self.gateway_event(Kind::GatewayOffline, eui, tenant, now);
        }
    }

    fn gateway_event(&mut self, kind: Kind, gateway: Eui64, tenant: u32, now: Now) {
        let (_, _, mut outlets) = self.split(now);
        outlets.event(&Event { gateway, tenant, ..Event::new(kind, now.unix) });
    }

    fn say_transmitted(&mut self, reference: u64, outcome: Outcome) {
        let hop = Hop::Transmitted { transmission: reference as u32, outcome: outcome_to_wire(outcome) };
        // If the word is lost, the lane's own timeout finds the gateway silent.
        if self.ports.send((reference >> 32) as usize, &hop).is_err() {
            self.counters.drops.count(Drop::HopTransmitted);
        }
    }

    fn send_to(&mut self, socket: Socket, target: SocketAddr, bytes: &[u8]) -> bool {
        let sent = self.driver.send_to(socket, target, bytes).is_ok();
        if sent {
            self.counters.done.count(Done::DatagramsSent);
        } else {
            self.counters.drops.count(Drop::AnswerBusy);
        }
        sent
    }
}

const OUTCOMES: [Outcome; 10] = [
    Outcome::Sent,
    Outcome::NoPath,
    Outcome::Error(TransmitError::TooLate),
    Outcome::Error(TransmitError::TooEarly),
    Outcome::Error(TransmitError::CollisionPacket),
    Outcome::Error(TransmitError::CollisionBeacon),
    Outcome::Error(TransmitError::Frequency),
    Outcome::Error(TransmitError::Power),
    Outcome::Error(TransmitError::GpsUnlocked),
    Outcome::Error(TransmitError::Other),
];

fn outcome_to_wire(outcome: Outcome) -> u8 {
    OUTCOMES.iter().position(|known| *known == outcome).expect("every outcome is listed") as u8
}

pub(crate) fn outcome_from_wire(wire: u8) -> Outcome {
    OUTCOMES.get(usize::from(wire)).copied().unwrap_or(Outcome::Error(TransmitError::Other))
}
