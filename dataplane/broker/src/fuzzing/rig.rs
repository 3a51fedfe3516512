//! Brokers of several shards, a host for each, and clients at the other end of what these hosts send.
//!
//! Everything happens when it is told to: rings deliver in [`Rig::turn`], clients read in [`Rig::read`], time passes in
//! [`Rig::pass`]. Rings and outputs have as much room as they are given.

use super::said::said;
use crate::{
    Action, Broker, Count, Forwarded, Full, Happened, Host, Identity, Limits, Link, Lost, Next, Now, Slot, Word,
};
use base::counters::Counted;
use base::mix::SplitMix64;
use base::{Monotonic, UnixMicros};
use core::time::Duration;
use mqtt::{Auth, Connect, Decoded, Decoder, PACKET_BYTES_MAX, Packet, ReasonCode, Role, Version};
use std::collections::VecDeque;

/// One end of a connection: what was sent and not read.
#[derive(Debug, Default)]
struct Wire {
    output: Vec<u8>,
    room: usize,
    closed: Option<ReasonCode>,
    is_paused: bool,
}

/// A host that does what it is told.
#[derive(Debug)]
pub struct Shard {
    number: u8,
    wires: Vec<Wire>,
    /// Records for each shard; a message begins with 0, a word with 1.
    rings: Vec<VecDeque<Vec<u8>>>,
    /// Records that a ring takes.
    pub ring_room: usize,
    /// Bytes of the largest record that it takes.
    pub record_bytes_max: usize,
    counts: Vec<u64>,
    /// What happened, in words.
    pub happened: Vec<String>,
    /// What nobody may do: an action, and the beginning of a topic.
    pub denied: Vec<(Action, String)>,
    /// What authentications were asked for, and how they end.
    pub authenticated: Vec<String>,
    /// The code that ends one.
    pub authentication: Result<(), ReasonCode>,
    random: SplitMix64,
}

impl Host for Shard {
    fn send(&mut self, link: Link, pieces: &[&[u8]]) -> Result<(), Full> {
        let wire = &mut self.wires[link.0 as usize];
        assert!(wire.closed.is_none(), "nothing is sent to a connection that was closed");
        let bytes = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        if wire.output.len() + bytes > wire.room {
            return Err(Full);
        }
        pieces.iter().for_each(|piece| wire.output.extend_from_slice(piece));
        Ok(())
    }

    fn waiting(&self, link: Link) -> usize {
        self.wires[link.0 as usize].output.len()
    }

    fn close(&mut self, link: Link, code: ReasonCode) {
        let wire = &mut self.wires[link.0 as usize];
        assert!(wire.closed.is_none(), "a connection is closed once");
        wire.closed = Some(code);
    }

    fn pause(&mut self, link: Link) {
        self.wires[link.0 as usize].is_paused = true;
    }

    fn resume(&mut self, link: Link) {
        self.wires[link.0 as usize].is_paused = false;
    }

    fn forward(&mut self, shards: u64, message: &Forwarded<'_>) -> u64 {
        let head = message.head();
        self.hop(shards, &[&[0], &head, message.topic, message.properties, message.payload])
    }

    fn tell(&mut self, shards: u64, word: &Word<'_>) -> u64 {
        let (head, filter) = word.pieces();
        self.hop(shards, &[&[1], &head, filter])
    }

    fn may(&self, _: u32, action: Action, topic: &[u8]) -> Result<(), ReasonCode> {
        let is_denied = |(what, begin): &(Action, String)| *what == action && topic.starts_with(begin.as_bytes());
        if self.denied.iter().any(is_denied) { Err(ReasonCode::NotAuthorized) } else { Ok(()) }
    }

    fn owns(&self, _: u32, client_id: &[u8]) -> bool {
        usize::from(client_id[client_id.len() - 1]) % self.rings.len() == usize::from(self.number)
    }

    fn authenticate(&mut self, _: Link, _: u32, auth: &Auth<'_>) -> Result<(), ReasonCode> {
        self.authenticated.push(said(&Packet::Auth(*auth)));
        self.authentication
    }

    fn entropy(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.random.next() as u8);
    }

    fn count(&mut self, what: Count) {
        self.counts[what.index()] += 1;
    }

    fn happened(&mut self, what: Happened<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.happened.push(match what {
            Happened::Connected { client_id, session_present, .. } => {
                format!("{} connected{}", text(client_id), if session_present { ", resumed" } else { "" })
            }
            Happened::Disconnected { client_id, end, .. } => format!("{} disconnected: {end:?}", text(client_id)),
            Happened::Forgotten { client_id, .. } => format!("{} forgotten", text(client_id)),
        });
    }
}

impl Shard {
    fn hop(&mut self, shards: u64, pieces: &[&[u8]]) -> u64 {
        let mut refused = 0;
        for target in 0..self.rings.len() {
            if shards >> target & 1 == 0 {
                continue;
            }
            assert!(target != usize::from(self.number), "nobody hops to itself");
            let record = pieces.concat();
            if self.rings[target].len() < self.ring_room && record.len() <= self.record_bytes_max {
                self.rings[target].push_back(record);
            } else {
                refused |= 1 << target;
            }
        }
        assert!(shards >> self.rings.len() == 0, "there is such a shard");
        refused
    }

    /// How often something was counted.
    #[must_use]
    pub fn counted(&self, what: Count) -> u64 {
        self.counts[what.index()]
    }
}

/// A client's end.
#[derive(Debug)]
struct Peer {
    shard: usize,
    link: Link,
    slot: Option<Slot>,
    version: Version,
    /// Sent, and not read by the broker.
    unread: VecDeque<Vec<u8>>,
}

/// All of it.
#[derive(Debug)]
pub struct Rig {
    /// A broker for each shard.
    pub brokers: Vec<Broker>,
    /// Its host.
    pub shards: Vec<Shard>,
    peers: Vec<Peer>,
    now: Now,
    /// Bytes that a new connection's output takes.
    pub output_room: usize,
}

/// Microseconds at which the clock begins.
const BEGIN: u64 = 1_700_000_000_000_000;

impl Rig {
    /// Brokers on so many shards.
    #[must_use]
    pub fn new(limits: Limits, shard_count: u8) -> Self {
        let shard = |number| Shard {
            number,
            wires: Vec::new(),
            rings: vec![VecDeque::new(); usize::from(shard_count)],
            ring_room: usize::MAX,
            record_bytes_max: usize::MAX,
            counts: vec![0; Count::ALL.len()],
            happened: Vec::new(),
            denied: Vec::new(),
            authenticated: Vec::new(),
            authentication: Ok(()),
            random: SplitMix64::new(u64::from(number) + 1),
        };
        Self {
            brokers: (0..shard_count).map(|number| Broker::new(limits, [7; 16], number, shard_count)).collect(),
            shards: (0..shard_count).map(shard).collect(),
            peers: Vec::new(),
            now: Now { monotonic: Monotonic(1), unix: UnixMicros(BEGIN) },
            output_room: usize::MAX,
        }
    }

    /// A client connects to a shard; returns its number, whether it was let in or not.
    pub fn connect(&mut self, shard: usize, connect: &Connect<'_>) -> usize {
        let identity = Identity { space: 1, principal: 1, owner: 1, authentication_data: None };
        self.connect_as(shard, connect, identity)
    }

    /// The same for a certain client.
    pub fn connect_as(&mut self, shard: usize, connect: &Connect<'_>, identity: Identity<'_>) -> usize {
        let host = &mut self.shards[shard];
        let link = Link(host.wires.len() as u32);
        host.wires.push(Wire { room: self.output_room, ..Wire::default() });
        let mut bytes = vec![0; connect.encoded_bytes()];
        let written = connect.write(&mut bytes);
        assert_eq!(written, Ok(bytes.len()), "a CONNECT is as long as it said");
        let Ok(Decoded::Packet(read, _)) = mqtt::first(&bytes, PACKET_BYTES_MAX) else {
            panic!("a client sends a CONNECT that is one: {connect:?}");
        };
        let slot = self.brokers[shard].connect(host, link, &read, identity, self.now);
        let version = connect.version;
        self.peers.push(Peer { shard, link, slot, version, unread: VecDeque::new() });
        self.forget_closed();
        self.peers.len() - 1
    }

    /// A client sends a packet, which the broker reads as soon as it reads from that client.
    pub fn send(&mut self, peer: usize, packet: &Packet<'_>) {
        let version = self.peers[peer].version;
        let mut bytes = vec![0; packet.encoded_bytes(version)];
        let written = packet.write(version, &mut bytes);
        assert_eq!(written, Ok(bytes.len()), "a packet is as long as it said");
        self.send_bytes(peer, bytes);
    }

    /// A client sends these bytes, which are a packet or not.
    pub fn send_bytes(&mut self, peer: usize, bytes: Vec<u8>) {
        self.peers[peer].unread.push_back(bytes);
        self.serve(peer);
    }

    /// The broker reads what a client has sent, as long as it wants to.
    fn serve(&mut self, peer: usize) {
        let now = self.now;
        loop {
            let Peer { shard, link, slot: Some(slot), version, unread } = &mut self.peers[peer] else { return };
            let (broker, host) = (&mut self.brokers[*shard], &mut self.shards[*shard]);
            if host.wires[link.0 as usize].is_paused {
                return;
            }
            let Some(bytes) = unread.pop_front() else { return };
            let decoder = Decoder { receiver: Role::Server, version: *version, packet_bytes_max: 1 << 20 };
            match decoder.decode(&bytes) {
                Ok(Decoded::Packet(packet, count)) => {
                    assert_eq!(count, bytes.len(), "a packet at a time");
                    let next = broker.packet(host, *slot, &packet, now);
                    let is_closed = host.wires[link.0 as usize].closed.is_some();
                    assert_eq!(next == Next::Closed, is_closed, "the host is told of a connection's end");
                    if next == Next::Again {
                        assert!(host.wires[link.0 as usize].is_paused, "what comes again waits");
                        unread.push_front(bytes);
                    }
                }
                Ok(Decoded::Incomplete { .. }) => panic!("a whole packet"),
                Err(failure) => broker.failed(host, *slot, failure, now),
            }
            self.forget_closed();
        }
    }

    /// A connection that was closed has no slot any more.
    fn forget_closed(&mut self) {
        for peer in &mut self.peers {
            if self.shards[peer.shard].wires[peer.link.0 as usize].closed.is_some() {
                peer.slot = None;
            }
        }
    }

    /// What a client has got since it last looked, in words; the last of it is how its connection was closed.
    pub fn read(&mut self, peer: usize) -> Vec<String> {
        let mut all = Vec::new();
        self.read_each(peer, |packet| all.push(said(packet)));
        let Peer { shard, link, .. } = self.peers[peer];
        if let Some(code) = self.shards[shard].wires[link.0 as usize].closed {
            all.push(format!("closed {:02X}", code as u8));
        }
        all
    }

    /// Passes the first packet over that a client has got, and reads no further.
    ///
    /// # Panics
    /// If there is none.
    pub fn skip_first(&mut self, peer: usize) {
        let Peer { shard, link, version, .. } = self.peers[peer];
        let output = &mut self.shards[shard].wires[link.0 as usize].output;
        let decoder = Decoder { receiver: Role::Client, version, packet_bytes_max: PACKET_BYTES_MAX };
        let Ok(Decoded::Packet(_, count)) = decoder.decode(output) else { panic!("a packet") };
        output.drain(..count);
    }

    /// The same, packet by packet.
    pub fn read_each(&mut self, peer: usize, mut each: impl FnMut(&Packet<'_>)) {
        loop {
            let Peer { shard, link, version, .. } = self.peers[peer];
            let output = core::mem::take(&mut self.shards[shard].wires[link.0 as usize].output);
            if output.is_empty() {
                return;
            }
            let decoder = Decoder { receiver: Role::Client, version, packet_bytes_max: PACKET_BYTES_MAX };
            let mut rest = &output[..];
            while !rest.is_empty() {
                match decoder.decode(rest) {
                    Ok(Decoded::Packet(packet, count)) => {
                        each(&packet);
                        rest = &rest[count..];
                    }
                    other => panic!("the broker sends packets: {other:?} of {rest:x?}"),
                }
            }
            if let Some(slot) = self.peers[peer].slot {
                self.brokers[shard].writable(&mut self.shards[shard], slot, self.now);
                self.forget_closed();
            }
            self.serve(peer);
        }
    }

    /// A client's connection breaks.
    pub fn lose(&mut self, peer: usize) {
        let Peer { shard, slot, .. } = self.peers[peer];
        if let Some(slot) = slot {
            self.peers[peer].slot = None;
            self.brokers[shard].lost(&mut self.shards[shard], slot, Lost::Broken, self.now);
            self.forget_closed();
        }
    }

    /// The operator ends a connection.
    pub fn dismiss(&mut self, peer: usize, code: ReasonCode) {
        let Peer { shard, slot, .. } = self.peers[peer];
        self.brokers[shard].dismiss(&mut self.shards[shard], slot.expect("a connection"), code, self.now);
        self.forget_closed();
    }

    /// Whether a client's connection is there.
    #[must_use]
    pub fn is_connected(&self, peer: usize) -> bool {
        self.peers[peer].slot.is_some()
    }

    /// Whether the broker reads from a client.
    #[must_use]
    pub fn is_paused(&self, peer: usize) -> bool {
        let Peer { shard, link, .. } = self.peers[peer];
        self.shards[shard].wires[link.0 as usize].is_paused
    }

    /// What rings hold arrives, and each shard has its turn, once.
    pub fn turn(&mut self) {
        for source in 0..self.shards.len() {
            for target in 0..self.shards.len() {
                self.deliver(source, target, usize::MAX);
            }
        }
        for shard in 0..self.shards.len() {
            if self.brokers[shard].is_waiting() {
                self.brokers[shard].turn(&mut self.shards[shard], self.now);
            }
        }
        self.forget_closed();
        for peer in 0..self.peers.len() {
            self.serve(peer);
        }
    }

    /// Some of what a ring holds arrives.
    pub fn deliver(&mut self, source: usize, target: usize, count_max: usize) {
        for _ in 0..count_max {
            let Some(record) = self.shards[source].rings[target].pop_front() else { break };
            let (broker, host) = (&mut self.brokers[target], &mut self.shards[target]);
            match record[0] {
                0 => {
                    let message = Forwarded::parse(&record[1..]).expect("a message of ours");
                    broker.forwarded(host, &message, self.now);
                }
                _ => broker.word(host, &Word::parse(&record[1..]).expect("a word of ours"), self.now),
            }
        }
        self.forget_closed();
    }

    /// Turns until nothing is left to do.
    pub fn rest(&mut self) {
        for _ in 0..100 {
            self.turn();
            let is_quiet = self.shards.iter().all(|shard| shard.rings.iter().all(VecDeque::is_empty));
            if is_quiet && !self.brokers.iter().any(Broker::is_waiting) {
                return;
            }
        }
    }

    /// Time passes; what is due happens when it is due.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now.monotonic.after(span);
        while self.now.monotonic < end {
            let due = self.brokers.iter().map(Broker::deadline).min().unwrap_or(Monotonic::NEVER);
            let next = due.max(Monotonic(self.now.monotonic.0 + 1)).min(end);
            let step = next.since(self.now.monotonic);
            self.now.monotonic = next;
            self.now.unix.0 += (step.as_nanos() as u64).div_ceil(1000);
            for (broker, host) in self.brokers.iter_mut().zip(&mut self.shards) {
                if broker.deadline() <= self.now.monotonic {
                    broker.expire(host, self.now);
                }
            }
            self.forget_closed();
        }
        self.rest();
    }

    /// How often something was counted, on all shards.
    #[must_use]
    pub fn counted(&self, what: Count) -> u64 {
        self.shards.iter().map(|shard| shard.counted(what)).sum()
    }

    /// Bytes that wait for a client.
    #[must_use]
    pub fn waiting(&self, peer: usize) -> usize {
        let Peer { shard, link, .. } = self.peers[peer];
        self.shards[shard].waiting(link)
    }

    /// From now on a client's output takes so many bytes in all.
    pub fn set_output_room(&mut self, peer: usize, bytes: usize) {
        let Peer { shard, link, .. } = self.peers[peer];
        self.shards[shard].wires[link.0 as usize].room = bytes;
    }
}
