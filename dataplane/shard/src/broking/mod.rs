//! The broker as a shard's connections see it: bytes into packets, packets to the broker, and its answers into queues.
//!
//! Owns what a connection needs to talk MQTT, over TCP, TLS and WebSocket. What packets mean is the broker's business.
//!
//! ```text
//!   plaintext (-> WebSocket frames) -> CONNECT -> whose client identifier? -> connect     -> Broker -> Host -> queues
//!                                  \             \-> another shard's: moving               |
//!                                   \-> packets -------------------------> packet ---------|
//!   rings of other shards ----------------------------------------------> forwarded, word -/
//! ```

mod host;
mod moving;
mod peers;
mod talk;

pub(crate) use peers::Peers;
pub use peers::join_brokers;
pub(crate) use talk::LATE_BYTES;

use crate::clients::{Clients, Context};
use crate::metrics::Drop;
use crate::shard_of_lane;
use base::Monotonic;
use broker::Broker;
use driver::Driver;
use host::Host;
use mqtt::ReasonCode;
use peers::{Heard, RECORD_OVERHEAD_BYTES};
use sha2::{Digest, Sha256};
use std::time::Duration;
use wire::websocket::Reader;

/// Between two looks at what waits: for memory, for room in a ring, for the next part of a walk.
const PAUSE: Duration = Duration::from_millis(1);

/// The topic space of listeners that ask nobody who he is.
const OPEN_SPACE: u32 = 0;

/// How a shard serves MQTT.
#[derive(Clone, Copy, Debug)]
pub struct BrokerOptions {
    /// Its bounds.
    pub limits: broker::Limits,
    /// Listeners, by number, that speak it, as a set.
    pub listeners: u64,
    /// The key of hashes, the same for every shard: nobody who does not know it can choose a shard or a chain to crowd.
    pub key: [u8; 16],
}

/// What a connection needs to talk MQTT.
pub(crate) struct Talk {
    /// Frames of WebSocket, if it came by that.
    pub(crate) reader: Option<Reader>,
    /// Nothing can be said before so many bytes of the packet at hand are there.
    pub(crate) needed: u32,
    /// What CONNECT said.
    pub(crate) version: Option<mqtt::Version>,
}

/// A shard's broker, and the room for what comes of its peers.
pub(crate) struct Brokering {
    pub(crate) broker: Broker,
    key: [u8; 16],
    packet_bytes_max: u32,
    output_bytes_max: usize,
    record: Box<[u8]>,
}

impl Talk {
    pub(crate) const fn new(reader: Option<Reader>) -> Self {
        Self { reader, needed: 0, version: None }
    }
}

impl Brokering {
    pub(crate) fn new(options: &BrokerOptions, shard: usize, shard_count: usize) -> Self {
        let packet_bytes_max = options.limits.packet_bytes_max;
        let record = vec![0; RECORD_OVERHEAD_BYTES + packet_bytes_max as usize].into_boxed_slice();
        Self {
            broker: Broker::new(options.limits, options.key, shard as u8, shard_count as u8),
            key: options.key,
            packet_bytes_max,
            output_bytes_max: options.limits.output_bytes_max,
            record,
        }
    }

    /// When it wants to be called by itself. What waits, waits for others: it is not asked for without a pause.
    pub(crate) fn deadline(&self, now: Monotonic) -> Monotonic {
        let again = if self.broker.is_waiting() { now.after(PAUSE) } else { Monotonic::NEVER };
        again.min(self.broker.deadline())
    }
}

impl Clients {
    /// Lends the broker to `act`, with a host over this shard. Nothing without one.
    fn with_broker<D: Driver, T>(
        &mut self,
        driver: &mut D,
        context: &mut Context<'_>,
        act: impl FnOnce(&mut Brokering, &mut Host<'_, '_, D>) -> T,
    ) -> Option<T> {
        let brokering = context.brokering.take()?;
        let mut host = Host::new(self, driver, context, brokering);
        let result = act(brokering, &mut host);
        context.brokering = Some(brokering);
        Some(result)
    }

    /// A turn's end for the broker: connections that came and went, what is due, and connections that are read again.
    pub(crate) fn broke<D: Driver>(&mut self, driver: &mut D, context: &mut Context<'_>) {
        if context.brokering.is_none() {
            return;
        }
        self.take_arrivals(driver, context);
        self.tell_lost(driver, context);
        let now = broker_now(context);
        self.with_broker(driver, context, |brokering, host| {
            if brokering.broker.is_waiting() {
                brokering.broker.turn(host, now);
            }
            if brokering.broker.deadline() <= now.monotonic {
                brokering.broker.expire(host, now);
            }
        });
        while let Some(index) = self.resumed.pop() {
            self.go_on_reading(driver, index as usize, context);
        }
        self.tell_lost(driver, context);
    }

    /// Ends a session's connection, which is told why.
    pub(crate) fn dismiss<D: Driver>(
        &mut self,
        driver: &mut D,
        index: usize,
        code: ReasonCode,
        context: &mut Context<'_>,
    ) {
        let now = broker_now(context);
        let Some(slot) = self.table[index].session else { return };
        self.with_broker(driver, context, |brokering, host| brokering.broker.dismiss(host, slot, code, now));
    }

    /// A write has left: more may follow.
    pub(crate) fn written<D: Driver>(&mut self, driver: &mut D, index: usize, context: &mut Context<'_>) {
        let client = &self.table[index];
        let (Some(slot), waiting) = (client.session, client.plain.len()) else { return };
        let now = broker_now(context);
        self.with_broker(driver, context, |brokering, host| {
            if waiting <= brokering.output_bytes_max / 2 {
                brokering.broker.writable(host, slot, now);
            }
        });
    }

    fn tell_lost<D: Driver>(&mut self, driver: &mut D, context: &mut Context<'_>) {
        let now = broker_now(context);
        while let Some((slot, why)) = self.lost.pop() {
            self.with_broker(driver, context, |brokering, host| brokering.broker.lost(host, slot, why, now));
        }
    }

    /// Takes what other shards' brokers have said by now: all of it, and before clients are heard, so that what one publishes
    /// finds the subscription that another had acknowledged before.
    pub(crate) fn hear_peers<D: Driver>(&mut self, driver: &mut D, context: &mut Context<'_>) {
        let now = broker_now(context);
        let count = self.shard_count;
        self.with_broker(driver, context, |brokering, host| {
            let Brokering { broker, record, .. } = brokering;
            for source in 0..count {
                let mut rest = host.waiting_bytes(source);
                while rest > 0 {
                    let Some(bytes) = host.receive(source, record) else { break };
                    rest = rest.saturating_sub(Peers::ring_bytes(bytes));
                    match Heard::parse(&record[..bytes]) {
                        Some(Heard::Forwarded(message)) => broker.forwarded(host, &message, now),
                        Some(Heard::Word(word)) => broker.word(host, &word, now),
                        None => host.drops(Drop::HopMalformed),
                    }
                }
            }
        });
    }
}

/// The shard that a client identifier belongs to.
pub(crate) fn shard_of(key: &[u8; 16], space: u32, client_id: &[u8], shard_count: usize) -> usize {
    let hash = Sha256::new().chain_update(key).chain_update(space.to_le_bytes()).chain_update(client_id);
    shard_of_lane(hash.finalize()[0] % session::LANE_COUNT as u8, shard_count)
}

/// Both clocks, as the broker wants them.
fn broker_now(context: &Context<'_>) -> broker::Now {
    broker::Now { monotonic: context.now.monotonic, unix: context.now.unix }
}
