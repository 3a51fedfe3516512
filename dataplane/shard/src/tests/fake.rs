//! A machine that does what a test says: it plays the peers, records what was asked, and is as strict as the real one.

use base::{Monotonic, UnixMicros};
use driver::{Busy, Completion, Connection, Driver, End, Lease, Limits, Listener, Socket};
use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

pub(super) const OUTPUT_BYTES: usize = 17 << 10;
const RECEIVE_BYTES: usize = 4096;

/// One connection, both ends of it.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) generation: u32,
    pub(super) open: bool,
    /// Whether it takes what it is sent.
    pub(super) reads: bool,
    /// What it was sent and took.
    pub(super) taken: Vec<u8>,
    /// How it was closed, if it was.
    pub(super) closed: Option<Closed>,
    pub(super) paused: bool,
    flight: Option<(u32, usize)>,
    closing: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Closed {
    Gracefully,
    ByReset,
}

#[derive(Debug)]
pub(super) struct Fake {
    pub(super) now: Monotonic,
    pub(super) peers: HashMap<u32, Peer>,
    pub(super) datagrams: Vec<Vec<u8>>,
    /// Bytes of a buffer for a datagram; what is longer is cut.
    pub(super) datagram_bytes: usize,
    /// No datagram finds a slot to be sent from.
    pub(super) is_busy: bool,
    batch: VecDeque<Completion>,
    buffers: HashMap<u32, Vec<u8>>,
    buffer_count: u32,
    output_free: u32,
    output_count: u32,
}

impl Fake {
    pub(super) fn new(output_count: u32) -> Self {
        Self {
            now: Monotonic(1_000_000_000),
            peers: HashMap::new(),
            datagrams: Vec::new(),
            datagram_bytes: RECEIVE_BYTES,
            is_busy: false,
            batch: VecDeque::new(),
            buffers: HashMap::new(),
            buffer_count: 0,
            output_free: output_count,
            output_count,
        }
    }

    /// Somebody connects.
    pub(super) fn connect(&mut self, listener: Listener) -> Connection {
        let index = (0..).find(|index| self.peers.get(index).is_none_or(|peer| !peer.open)).expect("a free place");
        let generation = self.peers.get(&index).map_or(1, |peer| peer.generation + 1);
        self.peers.insert(index, Peer { generation, open: true, reads: true, ..Peer::default() });
        let connection = Connection { index, generation };
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000 + index as u16));
        self.batch.push_back(Completion::Accepted { listener, connection, peer });
        connection
    }

    /// The peer says something.
    pub(super) fn say(&mut self, connection: Connection, bytes: &[u8]) {
        for chunk in bytes.chunks(RECEIVE_BYTES) {
            let lease = self.lend(chunk.to_vec());
            self.batch.push_back(Completion::Received { connection, lease });
        }
    }

    pub(super) fn end(&mut self, connection: Connection, end: End) {
        self.batch.push_back(Completion::Ended { connection, end });
    }

    pub(super) fn datagram(&mut self, socket: Socket, bytes: &[u8]) {
        let truncated = bytes.len() > self.datagram_bytes;
        let lease = self.lend(bytes[..bytes.len().min(self.datagram_bytes)].to_vec());
        let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 1700));
        self.batch.push_back(Completion::Datagram { socket, source, lease, truncated });
    }

    /// The kernel says something that concerns no buffer and no open connection.
    pub(super) fn complete(&mut self, completion: Completion) {
        self.batch.push_back(completion);
    }

    pub(super) fn peer(&mut self, connection: Connection) -> &mut Peer {
        let peer = self.peers.get_mut(&connection.index).expect("it connected");
        assert_eq!(peer.generation, connection.generation, "the same peer");
        peer
    }

    pub(super) fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    /// Every buffer is at home.
    pub(super) fn is_whole(&self) -> bool {
        self.buffers.is_empty() && self.output_free == self.output_count
    }

    fn lend(&mut self, bytes: Vec<u8>) -> Lease {
        self.buffer_count += 1;
        let lease = Lease { index: self.buffer_count, len: bytes.len() as u32 };
        self.buffers.insert(lease.index, bytes);
        lease
    }

    fn holder(&mut self, connection: Connection) -> &mut Peer {
        let peer = self.peers.get_mut(&connection.index).expect("a place");
        assert!(peer.open && peer.generation == connection.generation, "a stale handle: {connection:?}");
        peer
    }

    fn advance(&mut self) {
        let mut indexes: Vec<u32> = self.peers.keys().copied().collect();
        indexes.sort_unstable();
        for index in indexes {
            let peer = self.peers.get_mut(&index).expect("it is there");
            let connection = Connection { index, generation: peer.generation };
            let abort = peer.closing == Some(true);
            if let Some((output, count)) = peer.flight
                && (peer.reads || abort)
            {
                peer.flight = None;
                let bytes = self.buffers.remove(&output).expect("in flight");
                if !abort {
                    peer.taken.extend_from_slice(&bytes[..count]);
                }
                self.output_free += 1;
                if peer.closing.is_none() {
                    self.batch.push_back(Completion::Sent { connection });
                }
            }
            if let Some(abort) = peer.closing.filter(|_| peer.flight.is_none()) {
                (peer.open, peer.closing) = (false, None);
                peer.closed = Some(if abort { Closed::ByReset } else { Closed::Gracefully });
                self.batch.push_front(Completion::Closed { connection });
            }
        }
    }
}

impl Driver for Fake {
    fn limits(&self) -> Limits {
        Limits {
            connection_count: 1024,
            receive_bytes: RECEIVE_BYTES as u32,
            output_bytes: OUTPUT_BYTES as u32,
            output_count: self.output_count,
        }
    }

    fn now(&self) -> Monotonic {
        self.now
    }

    fn instant(&self) -> Monotonic {
        self.now
    }

    fn unix(&self) -> UnixMicros {
        UnixMicros(1_800_000_000_000_000 + self.now.0 / 1000)
    }

    fn entropy(&mut self, target: &mut [u8]) {
        target.fill(7);
    }

    fn turn(&mut self, _until: Monotonic, _quiet: &mut dyn FnMut() -> bool) {
        self.advance();
    }

    fn reap(&mut self) -> Option<Completion> {
        while let Some(completion) = self.batch.pop_front() {
            let connection = match &completion {
                Completion::Received { connection, .. }
                | Completion::Ended { connection, .. }
                | Completion::Sent { connection } => *connection,
                _ => return Some(completion),
            };
            let peer = &self.peers[&connection.index];
            if peer.open && peer.generation == connection.generation && peer.closing.is_none() {
                return Some(completion);
            }
            // From its closing on nothing else is told of a connection.
            if let Completion::Received { lease, .. } = completion {
                self.release(lease);
            }
        }
        None
    }

    fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        &mut self.buffers.get_mut(&lease.index).expect("on loan")[..lease.len as usize]
    }

    fn release(&mut self, lease: Lease) {
        let bytes = self.buffers.remove(&lease.index).expect("given back once");
        self.output_free += u32::from(bytes.len() == OUTPUT_BYTES);
    }

    fn output(&mut self) -> Result<Lease, Busy> {
        if self.output_free == 0 {
            return Err(Busy);
        }
        self.output_free -= 1;
        Ok(self.lend(vec![0; OUTPUT_BYTES]))
    }

    fn send(&mut self, connection: Connection, lease: Lease, count: usize) {
        assert!(count > 0 && count <= OUTPUT_BYTES, "bytes within an output buffer");
        let peer = self.holder(connection);
        assert!(peer.closing.is_none(), "a send after the close");
        assert!(peer.flight.is_none(), "one send is in flight per connection");
        peer.flight = Some((lease.index, count));
    }

    fn send_to(&mut self, _socket: Socket, _target: SocketAddr, bytes: &[u8]) -> Result<(), Busy> {
        if self.is_busy {
            return Err(Busy);
        }
        self.datagrams.push(bytes.to_vec());
        Ok(())
    }

    fn pause(&mut self, connection: Connection) {
        self.holder(connection).paused = true;
    }

    fn resume(&mut self, connection: Connection) {
        self.holder(connection).paused = false;
    }

    fn close(&mut self, connection: Connection, abort: bool) {
        let peer = self.holder(connection);
        assert!(peer.closing.is_none_or(|before| abort && !before), "closed again only to abort");
        peer.closing = Some(abort);
    }

    fn wake(&mut self, _peer: usize) {}
}
