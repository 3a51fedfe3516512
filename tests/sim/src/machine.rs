//! The simulated machine: `driver::Driver` over the virtual network and, if it is given one, a virtual disk.
//!
//! Owns a host's buffers, its table of connections and what it was asked for; the network owns time. A turn never blocks:
//! where a real driver would sleep, this one tells the network until when, and the world goes on with someone else.
//! It is as strict as the real one about whose sockets and connections are used, and kinder about nothing.

use crate::disk::SharedDisk;
use crate::faults::strikes;
use crate::file::{FileSizes, Files};
use crate::network::{HostIndex, Network, Shared};
use crate::stream::{Ended, Mark, Way};
use base::mix::SplitMix64;
use base::{Monotonic, UnixMicros};
use driver::{
    Access, Busy, Completion, Connection, Detached, Driver, End, File, FileFault, Handle, Lease, Limits, Socket,
};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a peer that was sent FIN may take to send its own.
const LINGER: Duration = Duration::from_secs(1);

const ECONNRESET: i32 = 104;
const EPIPE: i32 = 32;
const ENETUNREACH: i32 = 101;
const ENOBUFS: i32 = 105;

/// A word that comes so long after what it tells of is late.
const LATE: Duration = Duration::from_micros(100);

/// The sizes of a machine; small ones meet every bound.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Connections.
    pub connection_count: u32,
    /// Bytes of a receive buffer.
    pub receive_bytes: u32,
    /// Buffers for what streams bring.
    pub receive_count: u32,
    /// Buffers for datagrams.
    pub datagram_count: u32,
    /// Bytes of an output buffer.
    pub output_bytes: u32,
    /// Output buffers.
    pub output_count: u32,
}

/// Buffers of one kind, and which are at home.
#[derive(Debug)]
pub(crate) struct Pool {
    kind: u32,
    pub(crate) buffers: Vec<Box<[u8]>>,
    pub(crate) free: Vec<u32>,
}

const KIND_SHIFT: u32 = 28;
const DATAGRAMS: u32 = 0;
const STREAMS: u32 = 1;
const OUTPUT: u32 = 2;
pub(crate) const FILES: u32 = 3;

impl Pool {
    pub(crate) fn new(kind: u32, count: u32, bytes: u32) -> Self {
        let buffers = (0..count).map(|_| vec![0; bytes as usize].into()).collect();
        Self { kind, buffers, free: (0..count).collect() }
    }

    pub(crate) fn lend(&mut self, len: u32) -> Option<Lease> {
        let index = self.take()?;
        Some(self.lease(index, len))
    }

    /// A buffer for the machine itself; once it is filled, [`Pool::lease`] lends it.
    pub(crate) fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }

    pub(crate) const fn lease(&self, index: u32, len: u32) -> Lease {
        Lease { index: self.kind << KIND_SHIFT | index, len }
    }

    pub(crate) fn give(&mut self, index: u32) {
        assert!(!self.free.contains(&index), "a buffer comes back once");
        self.free.push(index);
    }
}

/// A send in flight.
#[derive(Debug)]
struct Sending {
    output: u32,
    len: usize,
    done: usize,
    /// When the word of it comes; known once all bytes have gone.
    told_at: Option<Monotonic>,
}

/// How a connection is being closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Closing {
    /// Once what is in flight has gone.
    Asked { abort: bool },
    /// FIN or reset was sent; the place is free at this time, or when the peer has finished too.
    Said { until: Monotonic, abort: bool },
}

/// How a connection is being given away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leaving {
    /// Its receive ends at this time; until then it may still bring something.
    Asked { until: Monotonic },
    /// The word of it waits to be reaped.
    Said,
}

/// One place of the table.
#[derive(Debug, Default)]
struct Place {
    generation: u32,
    stream: Option<usize>,
    paused: bool,
    ended: bool,
    send_failed: bool,
    sending: Option<Sending>,
    closing: Option<Closing>,
    leaving: Option<Leaving>,
}

/// A host's machine, for one life of it.
#[derive(Debug)]
pub struct Machine {
    network: Shared,
    host: HostIndex,
    sizes: Sizes,
    pools: [Pool; 3],
    places: Vec<Place>,
    vacant: Vec<u32>,
    files: Option<Files>,
    batch: VecDeque<Completion>,
    /// Something waits for a buffer to come back.
    starved: bool,
    random: SplitMix64,
    now: Monotonic,
    unix: UnixMicros,
}

impl Machine {
    /// Brings a host up.
    #[must_use]
    pub fn start(network: &Shared, host: HostIndex, sizes: Sizes) -> Self {
        let (now, unix, seed) = {
            let mut network = network.borrow_mut();
            network.start(host);
            (network.now(), network.unix(), network.random.next())
        };
        Self {
            network: network.clone(),
            host,
            sizes,
            pools: [
                Pool::new(DATAGRAMS, sizes.datagram_count, sizes.receive_bytes),
                Pool::new(STREAMS, sizes.receive_count, sizes.receive_bytes),
                Pool::new(OUTPUT, sizes.output_count, sizes.output_bytes),
            ],
            places: (0..sizes.connection_count).map(|_| Place::default()).collect(),
            vacant: (0..sizes.connection_count).rev().collect(),
            files: None,
            batch: VecDeque::new(),
            starved: false,
            random: SplitMix64::new(seed),
            now,
            unix,
        }
    }

    /// Gives it a disk, which other hosts may share. Whoever drops the machine ends its process: `Disk::kill`.
    #[must_use]
    pub fn with_files(mut self, disk: &SharedDisk, sizes: FileSizes) -> Self {
        self.files = Some(Files::new(disk, self.host, sizes));
        self
    }

    /// File buffers that are lent or in flight, and files that are open.
    #[must_use]
    pub fn files_held(&self) -> (usize, usize) {
        let held = |files: &Files| (files.pool.buffers.len() - files.pool.free.len(), files.open_count());
        self.files.as_ref().map_or((0, 0), held)
    }

    /// Buffers that are lent or in flight: datagrams', streams', output.
    #[must_use]
    pub fn lent(&self) -> [usize; 3] {
        self.pools.each_ref().map(|pool| pool.buffers.len() - pool.free.len())
    }

    /// Connections in the table.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.places.len() - self.vacant.len()
    }

    fn holder(&mut self, connection: Connection) -> &mut Place {
        let place = &mut self.places[connection.index as usize];
        assert!(place.stream.is_some() && place.generation == connection.generation, "the connection is open");
        place
    }

    fn gather(&mut self, network: &mut Network) -> bool {
        let mut more = false;
        if let Some(files) = &mut self.files {
            let known = self.batch.len();
            files.gather(network.now(), &mut self.batch);
            self.batch.iter().skip(known).for_each(|completion| network.note(&digest(completion)));
        }
        while let Some((socket, count)) = network.host(self.host).overrun.pop_front() {
            self.batch.push_back(Completion::Overrun { socket, count });
        }
        let batch_max = 1 + self.random.below(64);
        for _ in 0..batch_max {
            if network.host(self.host).inbox.is_empty() {
                break;
            }
            let Some(mut lease) = self.pools[DATAGRAMS as usize].lend(self.sizes.receive_bytes) else {
                self.starved = true;
                network.tally.starved += 1;
                break;
            };
            let datagram = network.host(self.host).inbox.pop_front().expect("just seen");
            let buffer = self.bytes(&lease);
            let count = datagram.bytes.len().min(buffer.len());
            buffer[..count].copy_from_slice(&datagram.bytes[..count]);
            lease.len = count as u32;
            let truncated = count < datagram.bytes.len();
            let (socket, source) = (datagram.socket, datagram.source);
            self.batch.push_back(Completion::Datagram { socket, source, lease, truncated });
        }
        more |= !network.host(self.host).inbox.is_empty() && !self.pools[DATAGRAMS as usize].free.is_empty();
        while let Some(stream) = network.host(self.host).accepted.pop_front() {
            self.accept(network, stream);
        }
        // Connections come in no order that anyone could rely on.
        let start = self.random.below(self.places.len() as u64) as usize;
        for step in 0..self.places.len() {
            let index = (start + step) % self.places.len();
            if let Some(stream) = self.places[index].stream {
                more |= self.advance(network, index as u32, stream);
            }
        }
        more
    }

    fn accept(&mut self, network: &mut Network, stream: usize) {
        let (listener, peer) = (network.stream(stream).listener, network.stream(stream).peer);
        let Some(index) = self.vacant.pop() else {
            network.reset(stream, Way::Down);
            self.batch.push_back(Completion::Refused { listener });
            return;
        };
        let connection = self.occupy(index, stream);
        self.batch.push_back(Completion::Accepted { listener, connection, peer });
    }

    fn occupy(&mut self, index: u32, stream: usize) -> Connection {
        let place = &mut self.places[index as usize];
        *place = Place { generation: place.generation + 1, stream: Some(stream), ..Place::default() };
        Connection { index, generation: place.generation }
    }

    /// Does what can be done for a connection now. True if it should be looked at again at once.
    fn advance(&mut self, network: &mut Network, index: u32, stream: usize) -> bool {
        self.advance_send(network, index, stream);
        let place = &mut self.places[index as usize];
        let connection = Connection { index, generation: place.generation };
        if place.closing.is_some() {
            self.advance_close(network, index, stream);
            return false;
        }
        match place.leaving {
            Some(Leaving::Said) => return false,
            Some(Leaving::Asked { until }) if until <= network.now() => {
                place.leaving = Some(Leaving::Said);
                let ended = network.stream(stream).up.ended.filter(|_| place.ended);
                let handle = Handle::Virtual(network.set_adrift(stream));
                let socket = Detached::new(handle, ended.map(end_of));
                self.batch.push_back(Completion::Detached { connection, socket });
                return false;
            }
            _ => {}
        }
        let lane = &mut network.stream(stream).up;
        if place.paused || place.ended {
            return false;
        }
        if lane.waiting() > 0 {
            let most = lane.waiting().min(self.sizes.receive_bytes as usize) as u64;
            // Half of the reads take all there is, the others are cut anywhere.
            let count = if self.random.below(2) == 0 { most } else { 1 + self.random.below(most) } as u32;
            let Some(lease) = self.pools[STREAMS as usize].lend(count) else {
                self.starved = true;
                network.tally.starved += 1;
                return false;
            };
            let is_short = u64::from(count) < lane.waiting() as u64;
            let buffer = &mut self.pools[STREAMS as usize].buffers[(lease.index & 0xFFFF) as usize];
            lane.read(&mut buffer[..count as usize]);
            let more = lane.waiting() > 0 || lane.ended.is_some();
            network.tally.short_reads += u64::from(is_short);
            self.batch.push_back(Completion::Received { connection, lease });
            return more;
        }
        if let Some(ended) = lane.ended {
            place.ended = true;
            self.batch.push_back(Completion::Ended { connection, end: end_of(ended) });
        }
        false
    }

    fn advance_send(&mut self, network: &mut Network, index: u32, stream: usize) {
        let place = &mut self.places[index as usize];
        let connection = Connection { index, generation: place.generation };
        let Some(sending) = &mut place.sending else { return };
        let aborted = place.closing == Some(Closing::Asked { abort: true });
        let dead = network.stream(stream).up.ended == Some(Ended::Reset) || network.stream(stream).down.shut;
        if aborted || (dead && sending.told_at.is_none()) {
            self.pools[OUTPUT as usize].give(sending.output);
            place.sending = None;
            if !aborted {
                let errno = if place.send_failed { EPIPE } else { ECONNRESET };
                place.send_failed = true;
                self.batch.push_back(Completion::SendFailed { connection, errno });
            }
            return;
        }
        if sending.done < sending.len {
            let bytes = &self.pools[OUTPUT as usize].buffers[sending.output as usize];
            let count = network.push(stream, Way::Down, &bytes[sending.done..sending.len]);
            sending.done += count;
            if sending.done == sending.len {
                let span = network.faults.completion_delay_max;
                let told_at = network.poke_within(self.host, span);
                network.tally.late_words += u64::from(told_at.since(network.now()) >= LATE);
                sending.told_at = Some(told_at);
            } else {
                network.tally.stalled += u64::from(count > 0);
            }
        }
        if sending.told_at.is_some_and(|at| at <= network.now()) {
            self.pools[OUTPUT as usize].give(sending.output);
            place.sending = None;
            self.batch.push_back(Completion::Sent { connection });
        }
    }

    fn advance_close(&mut self, network: &mut Network, index: u32, stream: usize) {
        let place = &mut self.places[index as usize];
        let connection = Connection { index, generation: place.generation };
        match place.closing {
            Some(Closing::Asked { abort }) if place.sending.is_none() => {
                if abort {
                    network.reset(stream, Way::Down);
                } else {
                    network.shut(stream, Way::Down, Mark::Fin);
                }
                let span = if abort { network.faults.completion_delay_max } else { LINGER };
                let until = network.poke_within(self.host, span);
                place.closing = Some(Closing::Said { until, abort });
            }
            Some(Closing::Said { until, abort }) => {
                // Until the peer has finished, what it sends is read and thrown away.
                let due = until <= network.now();
                let lane = &mut network.stream(stream).up;
                let mut unwanted = vec![0; lane.waiting()];
                lane.read(&mut unwanted);
                if due || (lane.ended.is_some() && !abort) {
                    lane.ended.get_or_insert(Ended::Reset);
                    place.stream = None;
                    self.batch.push_back(Completion::Closed { connection });
                }
            }
            _ => {}
        }
    }

    /// Whether nothing more is told of a connection but that it is closed.
    fn silenced(&self, completion: &Completion) -> bool {
        let connection = match completion {
            Completion::Received { connection, .. }
            | Completion::Ended { connection, .. }
            | Completion::Sent { connection }
            | Completion::SendFailed { connection, .. }
            | Completion::Detached { connection, .. } => connection,
            _ => return false,
        };
        let place = &self.places[connection.index as usize];
        place.closing.is_some() || place.generation != connection.generation
    }

    /// A connection that no host had is this one's. Returns its number.
    fn land(&self, socket: Detached) -> usize {
        let (Handle::Virtual(held), _) = socket.into_parts() else { panic!("a connection of a virtual network") };
        self.network.borrow_mut().land(&held, self.host)
    }

    fn woken(&mut self) {
        let host = self.host;
        self.network.borrow_mut().poke(host);
    }

    fn woken_at(&mut self, at: Monotonic) {
        self.network.borrow_mut().poke_at(self.host, at);
    }

    fn files(&mut self) -> &mut Files {
        self.files.as_mut().expect("a machine with a disk")
    }

    fn pool(&mut self, lease: &Lease) -> &mut Pool {
        match lease.index >> KIND_SHIFT {
            FILES => &mut self.files().pool,
            kind => &mut self.pools[kind as usize],
        }
    }
}

/// What a driver tells of a lane's end.
const fn end_of(ended: Ended) -> End {
    match ended {
        Ended::Finished => End::Finished,
        Ended::Reset => End::Failed(ECONNRESET),
    }
}

/// What the trace keeps of a completion.
fn digest(completion: &Completion) -> [u8; 8] {
    let (kind, file, word) = match completion {
        Completion::Opened { file, outcome } => (1, file, outcome.err().unwrap_or(0)),
        Completion::Written { file, outcome } => match outcome {
            Ok(()) => (2, file, 0),
            Err(FileFault::Write(errno)) => (3, file, *errno),
            Err(FileFault::Sync(errno)) => (4, file, *errno),
        },
        Completion::Read { file, outcome: Ok(lease), .. } => (5, file, lease.len as i32),
        Completion::Read { file, outcome: Err(errno), .. } => (6, file, *errno),
        Completion::FileClosed { file } => (7, file, 0),
        other => unreachable!("not of a file: {other:?}"),
    };
    let [low, high] = file.generation.to_le_bytes();
    let [a, b, c, d] = word.to_le_bytes();
    [kind ^ low, file.index as u8 ^ high, low, high, a, b, c, d]
}

impl Driver for Machine {
    fn carry(&mut self, offset: u64, bytes: &[u8]) -> bool {
        self.files.as_mut().is_some_and(|files| files.carry(offset, bytes))
    }

    fn limits(&self) -> Limits {
        let none = FileSizes { count: 0, buffer_bytes: 0, buffer_count: 0 };
        let files = self.files.as_ref().map_or(none, |files| files.sizes);
        Limits {
            connection_count: self.sizes.connection_count,
            receive_bytes: self.sizes.receive_bytes,
            output_bytes: self.sizes.output_bytes,
            output_count: self.sizes.output_count,
            file_count: files.count,
            file_buffer_bytes: files.buffer_bytes,
            file_buffer_count: files.buffer_count,
        }
    }

    fn now(&self) -> Monotonic {
        self.now
    }

    fn instant(&self) -> Monotonic {
        self.network.borrow().now()
    }

    fn unix(&self) -> UnixMicros {
        self.unix
    }

    fn entropy(&mut self, target: &mut [u8]) {
        target.iter_mut().for_each(|byte| *byte = self.random.next() as u8);
    }

    fn turn(&mut self, until: Monotonic, quiet: &mut dyn FnMut() -> bool) {
        let network = self.network.clone();
        let mut network = network.borrow_mut();
        let more = self.gather(&mut network);
        (self.now, self.unix) = (network.now(), network.unix());
        if self.batch.is_empty() && !more && until > self.now && quiet() {
            let due = self.files.as_ref().map_or(Monotonic::NEVER, Files::next_due);
            network.sleep(self.host, until.min(due));
        } else {
            network.run_on(self.host);
        }
    }

    fn reap(&mut self) -> Option<Completion> {
        while let Some(completion) = self.batch.pop_front() {
            if !self.silenced(&completion) {
                // A place is free once its last word is reaped.
                if let Completion::Closed { connection } | Completion::Detached { connection, .. } = &completion {
                    self.places[connection.index as usize].stream = None;
                    self.vacant.push(connection.index);
                }
                return Some(completion);
            }
            match completion {
                Completion::Received { lease, .. } => self.release(lease),
                // Closed after all.
                Completion::Detached { socket, .. } => {
                    self.land(socket);
                }
                _ => {}
            }
        }
        None
    }

    fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        &mut self.pool(lease).buffers[(lease.index & 0xFFFF) as usize][..lease.len as usize]
    }

    fn release(&mut self, lease: Lease) {
        self.pool(&lease).give(lease.index & 0xFFFF);
        if core::mem::take(&mut self.starved) {
            self.woken();
        }
    }

    fn output(&mut self) -> Result<Lease, Busy> {
        if self.network.borrow_mut().refuses(self.host) {
            return Err(Busy);
        }
        self.pools[OUTPUT as usize].lend(self.sizes.output_bytes).ok_or(Busy)
    }

    fn send(&mut self, connection: Connection, lease: Lease, count: usize) {
        assert!(lease.index >> KIND_SHIFT == OUTPUT, "what is sent is an output buffer");
        assert!(count > 0 && count <= self.sizes.output_bytes as usize, "bytes within an output buffer");
        let output = lease.index & 0xFFFF;
        let place = self.holder(connection);
        if place.closing.is_some() {
            self.pools[OUTPUT as usize].give(output);
            return;
        }
        assert!(place.leaving.is_none(), "nothing is sent on what is given away");
        assert!(place.sending.is_none(), "one send is in flight per connection");
        place.sending = Some(Sending { output, len: count, done: 0, told_at: None });
        self.woken();
    }

    fn send_to(&mut self, socket: Socket, target: SocketAddr, bytes: &[u8]) -> Result<(), Busy> {
        let mut network = self.network.borrow_mut();
        assert!(network.serves(self.host, socket), "a slot of this shard");
        if network.refuses(self.host) {
            return Err(Busy);
        }
        let chance = network.faults.send_to_failure;
        if strikes(&mut self.random, chance) {
            let errno = if self.random.below(2) == 0 { ENOBUFS } else { ENETUNREACH };
            network.count_unsent(errno == ENOBUFS);
            self.batch.push_back(Completion::SendToFailed { socket, errno });
            network.poke(self.host);
        } else {
            network.send_back(target, bytes);
        }
        Ok(())
    }

    fn pause(&mut self, connection: Connection) {
        self.holder(connection).paused = true;
    }

    fn resume(&mut self, connection: Connection) {
        self.holder(connection).paused = false;
        self.woken();
    }

    fn close(&mut self, connection: Connection, abort: bool) {
        let place = self.holder(connection);
        place.closing = match place.closing {
            Some(said @ Closing::Said { .. }) => Some(said),
            Some(Closing::Asked { abort: before }) => Some(Closing::Asked { abort: abort || before }),
            None => Some(Closing::Asked { abort }),
        };
        self.woken();
    }

    fn detach(&mut self, connection: Connection) {
        let place = self.holder(connection);
        assert!(place.sending.is_none(), "no send is in flight on what is given away");
        assert!(place.closing.is_none() && place.leaving.is_none(), "a connection leaves once");
        let until = {
            let mut network = self.network.borrow_mut();
            let span = network.faults.completion_delay_max;
            network.poke_within(self.host, span)
        };
        self.holder(connection).leaving = Some(Leaving::Asked { until });
    }

    fn adopt(&mut self, socket: Detached) -> Result<Connection, Detached> {
        let Some(index) = self.vacant.pop() else { return Err(socket) };
        let stream = self.land(socket);
        let connection = self.occupy(index, stream);
        self.woken();
        Ok(connection)
    }

    fn open(&mut self, name: &str, access: Access) -> Result<File, Busy> {
        let now = self.network.borrow().now();
        let files = self.files.as_mut().ok_or(Busy)?;
        let (file, due) = files.open(name, access, now)?;
        self.woken_at(due);
        Ok(file)
    }

    fn file_buffer(&mut self) -> Result<Lease, Busy> {
        if self.files.is_none() || self.network.borrow_mut().refuses(self.host) {
            return Err(Busy);
        }
        self.files().buffer()
    }

    fn write(&mut self, file: File, offset: u64, lease: Lease, count: usize, sync: bool) {
        assert!(lease.index >> KIND_SHIFT == FILES, "what is written is a file buffer");
        let now = self.network.borrow().now();
        let due = self.files().write(file, offset, lease.index & 0xFFFF, count, sync, now);
        self.woken_at(due);
    }

    fn read(&mut self, file: File, offset: u64, count: usize) -> Result<(), Busy> {
        if self.network.borrow_mut().refuses(self.host) {
            return Err(Busy);
        }
        let now = self.network.borrow().now();
        let due = self.files().read(file, offset, count, now)?;
        self.woken_at(due);
        Ok(())
    }

    fn close_file(&mut self, file: File) {
        let now = self.network.borrow().now();
        let due = self.files().close(file, now);
        self.woken_at(due);
    }

    fn wake(&mut self, peer: HostIndex) {
        self.network.borrow_mut().poke(peer);
    }
}
