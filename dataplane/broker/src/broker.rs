//! The broker's doors: what a shard calls, each for one thing that has happened.
//!
//! Owns everything of one shard. Each call does what it says, then sees to what that has left to do ([`Broker::settle`]):
//! messages that were let go, connections that have to end, wills.

use crate::clients::{Clients, Doomed, Name};
use crate::hops::Hops;
use crate::retained::Kept;
use crate::session::Pause;
use crate::store::Store;
use crate::{Count, End, Forwarded, Host, Limits, Lost, Next, Now, Slot, Word};
use base::{Monotonic, UnixMicros};
use mqtt::{Disconnect, Failure, Packet, ReasonCode, Version};
use std::collections::VecDeque;
use topics::{Fold, Key, Retained, RetainedLimits, Subscriptions};

/// The broker of one shard.
#[derive(Debug)]
pub struct Broker {
    pub(crate) limits: Limits,
    pub(crate) store: Store,
    pub(crate) clients: Clients,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) fold: Fold,
    pub(crate) retained: Retained<Kept>,
    pub(crate) hops: Hops,
    /// Wills that are to be published.
    pub(crate) wills: VecDeque<u32>,
    /// Connections that wait for memory.
    pub(crate) short: Vec<Name>,
    /// The stamp of the last message.
    pub(crate) stamp: u64,
    /// The topic at hand, if an alias stood for it.
    pub(crate) topic: Vec<u8>,
    pub(crate) codes: Vec<ReasonCode>,
    /// An instant by both clocks, not long ago.
    pub(crate) last: Now,
}

impl Broker {
    /// A broker without sessions, on shard `shard` of `shard_count`. `key` is of the hashes, the same
    /// on all shards and told to nobody.
    ///
    /// # Panics
    /// If a limit is beyond what numbers hold, or there are more than 64 shards.
    #[must_use]
    pub fn new(limits: Limits, key: [u8; 16], shard: u8, shard_count: u8) -> Self {
        assert!(shard < shard_count && shard_count <= 64, "shards are a bit each");
        let subscription_limits = topics::Limits {
            level_count_max: limits.level_count_max,
            subscription_count_max: limits.subscription_count_max,
            session_count_max: limits.session_count_max,
            depth_max: limits.depth_max,
        };
        let retained_limits = RetainedLimits { level_count_max: limits.level_count_max, depth_max: limits.depth_max };
        Self {
            limits,
            store: Store::new(limits.message_bytes_max, limits.message_count_max),
            clients: Clients::new(limits, key),
            subscriptions: Subscriptions::new(subscription_limits, Key(key)),
            fold: Fold::new(limits.session_count_max),
            retained: Retained::new(retained_limits, Key(key)),
            hops: Hops::new(shard, shard_count, limits.bucket_count, Key(key)),
            wills: VecDeque::new(),
            short: Vec::new(),
            stamp: 0,
            topic: Vec::new(),
            codes: Vec::new(),
            last: Now { monotonic: Monotonic(0), unix: UnixMicros(0) },
        }
    }

    /// A packet after CONNECT.
    ///
    /// # Panics
    /// If the slot is not the host's to name.
    pub fn packet<H: Host>(&mut self, host: &mut H, slot: Slot, packet: &Packet<'_>, now: Now) -> Next {
        let name = self.clients.name(slot.0);
        let connection = self.clients.get_mut(slot.0).connection_mut();
        connection.heard = now.monotonic;
        let number = connection.number;
        let next = match packet {
            Packet::Publish(publish) => self.publish(host, slot.0, publish, now),
            Packet::Ack(ack) => self.acknowledged(host, slot.0, ack, now),
            Packet::Subscribe(subscribe) => self.subscribe(host, slot.0, subscribe, now),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(host, slot.0, unsubscribe),
            Packet::Pingreq => {
                self.clients.answer(host, slot.0, &Packet::Pingresp);
                Next::Packet
            }
            Packet::Disconnect(disconnect) => self.disconnect(host, slot.0, disconnect, now),
            Packet::Auth(auth) => self.authenticate(host, slot.0, auth, now),
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                self.broken(host, slot.0, ReasonCode::ProtocolError, now)
            }
        };
        self.settle(host, now);
        if self.has_connection(name, number) { next } else { Next::Closed }
    }

    /// A connection is gone.
    ///
    /// # Panics
    /// If the slot is not the host's to name.
    pub fn lost<H: Host>(&mut self, host: &mut H, slot: Slot, why: Lost, now: Now) {
        self.end(host, slot.0, End::Lost(why), now);
        self.settle(host, now);
    }

    /// What a client sent is no packet: it is told why, and its connection closed.
    ///
    /// # Panics
    /// If the slot is not the host's to name.
    pub fn failed<H: Host>(&mut self, host: &mut H, slot: Slot, failure: Failure, now: Now) {
        host.count(Count::Malformed);
        self.dismiss(host, slot, failure.reason_code(), now);
    }

    /// Ends a connection: with 5.0 a DISCONNECT says why.
    ///
    /// # Panics
    /// If the slot is not the host's to name.
    pub fn dismiss<H: Host>(&mut self, host: &mut H, slot: Slot, code: ReasonCode, now: Now) {
        self.cut(host, slot.0, code, now);
        self.settle(host, now);
    }

    /// The output of a connection has drained: goes on with what waits for it. To be called whenever less waits in an output
    /// than before, at the latest when nothing does.
    ///
    /// # Panics
    /// If the slot is not the host's to name.
    pub fn writable<H: Host>(&mut self, host: &mut H, slot: Slot, now: Now) {
        self.clients.drained(host, slot.0, &self.store, now);
        self.settle(host, now);
    }

    /// A message of another shard. Shards hear each other before their clients in each turn, so that a message finds the
    /// subscription that was acknowledged before it was sent.
    pub fn forwarded<H: Host>(&mut self, host: &mut H, message: &Forwarded<'_>, now: Now) {
        self.arrived(host, message, now);
        self.settle(host, now);
    }

    /// A word of another shard.
    pub fn word<H: Host>(&mut self, host: &mut H, word: &Word<'_>, now: Now) {
        self.heard(host, word, now);
        self.settle(host, now);
    }

    /// Whether something waits for a turn: a ring that was full, memory, retained messages that are looked through.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.short.is_empty() || !self.clients.walking.is_empty() || self.hops.is_waiting()
    }

    /// Goes on with what waits for a turn; once a turn while [`Self::is_waiting`].
    pub fn turn<H: Host>(&mut self, host: &mut H, now: Now) {
        self.hop_again(host, now);
        self.walk(host, now);
        self.settle(host, now);
        if !self.short.is_empty() && !self.store.is_short() {
            while let Some(name) = self.short.pop() {
                if self.clients.named(name).is_some() {
                    self.clients.resume(host, name.slot, Pause::Memory);
                }
            }
        }
    }

    /// When [`Self::expire`] is to be called next.
    #[must_use]
    pub fn deadline(&self) -> Monotonic {
        let retained = self.retained.deadline().map_or(Monotonic::NEVER, |at| {
            let left = at.0.saturating_sub(self.last.unix.0);
            self.last.monotonic.after(core::time::Duration::from_micros(left))
        });
        self.clients.deadline().min(retained)
    }

    /// Does what is due: keep alive, wills, sessions, retained messages.
    pub fn expire<H: Host>(&mut self, host: &mut H, now: Now) {
        self.last = now;
        while let Some(slot) = self.clients.due(now.monotonic) {
            self.expired(host, slot, now);
            self.settle(host, now);
        }
        self.expire_retained(host, now);
        self.settle(host, now);
    }

    /// Sessions that there are.
    #[must_use]
    pub const fn session_count(&self) -> usize {
        self.clients.len()
    }

    /// Subscriptions that there are.
    #[must_use]
    pub const fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    /// Retained messages that there are, those included whose end is remembered.
    #[must_use]
    pub const fn retained_count(&self) -> usize {
        self.retained.len()
    }

    /// Messages that are kept for any reason.
    #[must_use]
    pub const fn message_count(&self) -> usize {
        self.store.len()
    }

    /// Deliveries that wait or are in flight.
    #[must_use]
    pub const fn delivery_count(&self) -> usize {
        self.clients.deliveries.len()
    }

    /// Bytes of [`Limits::message_bytes_max`] that are in use.
    #[must_use]
    pub const fn message_bytes(&self) -> usize {
        self.store.used_bytes()
    }

    /// Sees to what was left to do, until nothing is.
    pub(crate) fn settle<H: Host>(&mut self, host: &mut H, now: Now) {
        loop {
            while let Some(message) = self.clients.let_go.pop() {
                self.store.release(message);
            }
            if let Some(Doomed { name, number, code }) = self.clients.doomed.pop() {
                if self.has_connection(name, number) {
                    self.cut(host, name.slot, code, now);
                }
            } else if let Some(will) = self.wills.pop_front() {
                self.publish_will(host, will, now);
            } else {
                return;
            }
        }
    }

    /// Whether a session still has that connection.
    pub(crate) fn has_connection(&self, name: Name, number: u32) -> bool {
        let connection = self.clients.named(name).and_then(|session| session.connection.as_ref());
        connection.is_some_and(|connection| connection.number == number)
    }

    /// Ends a connection whose client broke the protocol.
    pub(crate) fn broken<H: Host>(&mut self, host: &mut H, slot: u32, code: ReasonCode, now: Now) -> Next {
        host.count(Count::Protocol);
        self.cut(host, slot, code, now);
        Next::Closed
    }

    /// Ends a connection, with a DISCONNECT that says why (v5 3.14).
    pub(crate) fn cut<H: Host>(&mut self, host: &mut H, slot: u32, code: ReasonCode, now: Now) {
        let connection = self.clients.get(slot).connection();
        let link = connection.link;
        if connection.version == Version::V5 {
            self.clients.answer(host, slot, &Packet::Disconnect(Disconnect::new(code)));
        }
        self.end(host, slot, End::Broker(code), now);
        host.close(link, code);
    }
}
