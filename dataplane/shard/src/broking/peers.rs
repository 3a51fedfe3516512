//! How the brokers of several shards reach each other: rings for messages, and queues for connections that move.
//!
//! Rings of their own, since a message may be as long as the longest packet. Kept in [`Ports`](crate::Ports), which wake the
//! others.
//!
//! ```text
//!   | 0 | broker::Forwarded: head, topic, properties, payload |
//!   | 1 | broker::Word: head, filter |
//! ```

use crate::broking::moving::Moved;
use crate::hop::Ports;
use base::ring::{LENGTH_BYTES, Receiver, Sender, ring};
use broker::{FORWARDED_HEAD_BYTES, Forwarded, Word};
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;

/// Connections that may be on their way to one shard.
const MOVED_COUNT_MAX: usize = 4096;

const FORWARDED: u8 = 0;
const WORD: u8 = 1;

/// What a record takes beside what one packet brings: head, and a topic that an alias stood for.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 1 + FORWARDED_HEAD_BYTES + 65_535;

/// The broker's part of a shard's ports.
#[derive(Debug)]
pub(crate) struct Peers {
    /// To each shard, itself included, that all be alike.
    senders: Vec<Sender>,
    receivers: Vec<Receiver>,
    /// Connections on their way, by the shard that they go to.
    moved: Arc<[ArrayQueue<Moved>]>,
}

/// What one record says.
#[derive(Debug)]
pub(crate) enum Heard<'a> {
    Forwarded(Forwarded<'a>),
    Word(Word<'a>),
}

impl<'a> Heard<'a> {
    pub(crate) fn parse(record: &'a [u8]) -> Option<Self> {
        match record.split_first()? {
            (&FORWARDED, rest) => Forwarded::parse(rest).map(Self::Forwarded),
            (&WORD, rest) => Word::parse(rest).map(Self::Word),
            _ => None,
        }
    }
}

/// Gives the shards' ports what their brokers need: a ring for each ordered pair, long enough for several packets of
/// `packet_bytes_max`.
pub fn join_brokers(ports: &mut [Ports], packet_bytes_max: u32) {
    let count = ports.len();
    let capacity = 4 * (LENGTH_BYTES + RECORD_OVERHEAD_BYTES + packet_bytes_max as usize);
    let moved: Arc<[ArrayQueue<Moved>]> = (0..count).map(|_| ArrayQueue::new(MOVED_COUNT_MAX)).collect();
    let mut peers: Vec<Peers> =
        (0..count).map(|_| Peers { senders: Vec::new(), receivers: Vec::new(), moved: Arc::clone(&moved) }).collect();
    for source in 0..count {
        for target in 0..count {
            let (sender, receiver) = ring(capacity);
            peers[source].senders.push(sender);
            peers[target].receivers.push(receiver);
        }
    }
    for (ports, peers) in ports.iter_mut().zip(peers) {
        ports.peers = Some(Box::new(peers));
    }
}

impl Ports {
    /// Passes a message on. Returns the shards that had no room.
    pub(crate) fn forward(&mut self, shards: u64, message: &Forwarded<'_>) -> u64 {
        let head = message.head();
        self.push_each(shards, &[&[FORWARDED], &head, message.topic, message.properties, message.payload])
    }

    /// Passes a word on. Returns the shards that had no room.
    pub(crate) fn tell(&mut self, shards: u64, word: &Word<'_>) -> u64 {
        let (head, filter) = word.pieces();
        self.push_each(shards, &[&[WORD], &head, filter])
    }

    fn push_each(&mut self, shards: u64, parts: &[&[u8]]) -> u64 {
        let Some(peers) = &mut self.peers else { return shards };
        let (mut refused, mut rest) = (0, shards);
        while rest != 0 {
            let target = rest.trailing_zeros() as usize;
            let bit = 1 << target;
            rest &= !bit;
            match peers.senders[target].push_parts(parts) {
                Ok(()) => self.touched |= bit,
                Err(base::ring::Full) => refused |= bit,
            }
        }
        refused
    }

    /// Sends a connection on its way. False if too many are: then it is closed.
    pub(crate) fn move_to(&mut self, target: usize, moved: Moved) -> bool {
        let sent = self.peers.as_ref().is_some_and(|peers| peers.moved[target].push(moved).is_ok());
        self.touched |= u64::from(sent) << target;
        sent
    }
}

impl Peers {
    /// A connection that has come here.
    pub(crate) fn arrived(&self, own: usize) -> Option<Moved> {
        self.moved[own].pop()
    }

    /// Bytes that wait of a shard.
    pub(crate) fn waiting_bytes(&self, source: usize) -> usize {
        self.receivers[source].waiting_bytes()
    }

    /// Moves the oldest record from a shard into `target`. Returns its length.
    pub(crate) fn receive(&mut self, source: usize, target: &mut [u8]) -> Option<usize> {
        self.receivers[source].pop(target)
    }

    /// Bytes that a record of this length takes in a ring.
    pub(crate) const fn ring_bytes(count: usize) -> usize {
        LENGTH_BYTES + count
    }

    /// Whether nothing is on its way to this shard.
    pub(crate) fn quiet(&self, own: usize) -> bool {
        self.moved[own].is_empty() && self.receivers.iter().all(Receiver::is_empty)
    }
}
