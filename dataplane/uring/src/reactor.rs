//! One shard's ring: what was asked for goes in, what happened comes out.
//!
//! Owns the ring, all that the kernel holds addresses of, and the lists of what is still to be asked. A request never
//! fails for want of room in the queue: it is noted at its connection, and tried again at the next turn.
//!
//! ```text
//!   turn:  deadlines -> re-arm what ended -> dirty connections -> dirty files -> announce sleep -> enter -> clocks
//!   reap:  ready -> gone -> completion queue, one by one
//! ```

use crate::buffers::{Provided, Stock};
use crate::files::Files;
use crate::memory::{Carry, Region};
use crate::outbox::Outbox;
use crate::probe::{self, Flavour};
use crate::sizing::Sizing;
use crate::sockets::{PATIENCE, other_cores};
use crate::table::{Flags, Table};
use crate::tag::{self, Operation};
use crate::wake::{Door, Waker};
use crate::{clock, datagrams};
use base::{Monotonic, UnixMicros};
use driver::steering::SLOT_COUNT;
use driver::{Access, Busy, Completion, Connection, Detached, Driver, File, Lease, Limits, Listener, Socket};
use io_uring::types::{Fd, Timespec};
use io_uring::{IoUring, opcode, squeue};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Everything a shard starts with; moved to its thread.
#[derive(Debug)]
pub struct ShardConfig {
    /// Which shard this is: its place in `peers`.
    pub shard: usize,
    /// The gateway slots it serves. They close with the shard, so give duplicates if the group is to outlive it.
    pub sockets: Vec<(Socket, OwnedFd)>,
    /// Its listeners, numbered by its owner.
    pub listeners: Vec<(Listener, OwnedFd)>,
    /// The sizes of everything.
    pub sizing: Sizing,
    /// Its own bell.
    pub door: Door,
    /// The bells of all shards, by shard.
    pub peers: Vec<Waker>,
    /// The directory whose files it may open; without one it opens none.
    pub directory: Option<OwnedFd>,
}

/// A shard's ring and all that belongs to it. Stays on the thread that started it.
#[derive(Debug)]
pub struct Uring {
    // First, so that it is dropped before any memory that it was given.
    pub(crate) ring: Ring,
    pub(crate) flavour: Flavour,
    pub(crate) datagrams: Provided,
    pub(crate) streams: Provided,
    pub(crate) output: Stock,
    pub(crate) outbox: Outbox,
    pub(crate) files: Files,
    /// The count that a read of the eventfd leaves, then the message header of every multishot recvmsg.
    scratch: Region,
    pub(crate) sockets: Vec<datagrams::Slot>,
    /// Place in `sockets` by slot number.
    pub(crate) slots: [u16; SLOT_COUNT],
    /// Sockets whose receive has ended.
    pub(crate) unarmed: usize,
    pub(crate) gates: Vec<Gate>,
    pub(crate) table: Table,
    /// Connections to look at before entering; each at most once.
    pub(crate) dirty: VecDeque<u32>,
    /// Connections whose receive found no buffer; each at most once.
    pub(crate) starved: VecDeque<u32>,
    /// When the peers of connections we closed have had their time, oldest first.
    pub(crate) lingering: VecDeque<(Monotonic, Connection)>,
    /// Last words not told yet; passed over if it was closed after all. Only then is a place free.
    pub(crate) gone: VecDeque<Connection>,
    /// The second half of a completion that told two things.
    pub(crate) ready: Option<Completion>,
    listening: bool,
    door: Door,
    peers: Vec<Waker>,
    pub(crate) now: Monotonic,
    unix: UnixMicros,
    limits: Limits,
    shard: usize,
    carry: Option<Carry>,
    /// How long a sleep gathers what comes; 0 is not at all.
    gather: Duration,
    /// A send that was asked for in this turn fills its buffer, so there is more behind it.
    pub(crate) bulky: bool,
}

/// A listener.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) listener: Listener,
    pub(crate) fd: OwnedFd,
    pub(crate) armed: bool,
    /// Not to be armed before.
    pub(crate) retry: Monotonic,
}

/// What EXT_ARG points to: `struct io_uring_getevents_arg`.
#[repr(C)]
struct Waiting {
    signals: u64,
    signals_bytes: u32,
    /// For so long one completion does not end the sleep (Linux 6.12, zero before).
    least_us: u32,
    /// Address of a timespec.
    timeout: u64,
}

const _: () = assert!(size_of::<Waiting>() == 24, "the kernel looks at the length");

/// The ring, with a submission that flushes by itself.
pub(crate) struct Ring {
    pub(crate) inner: IoUring,
    /// How often the kernel took fewer entries than there were: what was linked across the cut runs unlinked.
    pub(crate) shortfalls: u32,
}

/// Groups of provided buffers.
pub(crate) const DATAGRAM_GROUP: u16 = 0;
pub(crate) const STREAM_GROUP: u16 = 1;

/// After an error that will not pass by itself at once (no descriptors, no memory).
pub(crate) const RETRY: Duration = Duration::from_millis(100);

/// Deadlines further off than this are looked at again: it bounds what a lost wake-up could cost.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// A sleep that gathers ends early with so many completions: answers and writes of the turn before are among them.
const GATHER_COUNT: u32 = 64;

/// Connections that may linger at once; beyond it they close at once.
const LINGERING_MAX: usize = 65_536;

const EVENT_OFFSET: usize = 0;
const HEADER_OFFSET: usize = 64;

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;

impl Uring {
    /// Makes the ring on the calling thread, which must be the shard's, and everything it needs; arms every socket.
    ///
    /// # Errors
    /// If the host refuses memory or a ring; the error says what to raise.
    pub fn start(config: ShardConfig) -> io::Result<Self> {
        Self::start_as(config, None)
    }

    /// The same with a flavour of the caller's choice.
    pub(crate) fn start_as(config: ShardConfig, flavour: Option<Flavour>) -> io::Result<Self> {
        let sizing = config.sizing;
        assert!((sizing.connection_count as usize) < tag::INDEX_COUNT_MAX, "connections fit their tag");
        assert!(config.shard < config.peers.len(), "a shard is one of its peers");
        let Opened { ring, flavour, datagrams: provided_datagrams, streams: provided_streams } =
            Opened::new(&sizing, flavour).map_err(|error| io::Error::new(error.kind(), probe::explain_here(&error)))?;
        // An fdatasync is done by a thread of the kernel's. On the core of a shard that is busy it would wait for its turn, up
        // to a tick, 4 ms. A kernel that does not know of this does as it did.
        if let Some(cores) = other_cores() {
            let _kept_away = ring.inner.submitter().register_iowq_aff(&cores);
        }
        let scratch = Region::new(HEADER_OFFSET + size_of::<libc::msghdr>())?;
        // SAFETY: the range is within the region (asserted by `at`), aligned (page plus 64), and the kernel is not given
        // it before this write.
        unsafe {
            scratch.at(HEADER_OFFSET, size_of::<libc::msghdr>()).cast::<libc::msghdr>().write(datagrams::header());
        };
        let sockets = config.sockets.into_iter().map(datagrams::Slot::new).collect::<io::Result<Vec<_>>>()?;
        let mut slots = [u16::MAX; SLOT_COUNT];
        for (index, slot) in sockets.iter().enumerate() {
            slots[usize::from(slot.socket.0)] = index as u16;
        }
        let gate = |(listener, fd): (Listener, OwnedFd)| {
            datagrams::set_blocking(&fd)?;
            Ok(Gate { listener, fd, armed: false, retry: Monotonic(0) })
        };
        let gates = config.listeners.into_iter().map(gate).collect::<io::Result<Vec<_>>>()?;
        let connections = sizing.connection_count as usize;
        let files = Files::new(config.directory, &sizing)?;
        let (file_count, file_buffer_count) = files.counts();
        let mut uring = Self {
            ring,
            flavour,
            datagrams: provided_datagrams,
            streams: provided_streams,
            output: Stock::new(sizing.output_count, sizing.output_bytes)?,
            outbox: Outbox::new(sizing.send_to_count)?,
            files,
            scratch,
            unarmed: sockets.len(),
            sockets,
            slots,
            gates,
            table: Table::new(sizing.connection_count),
            dirty: VecDeque::with_capacity(connections),
            starved: VecDeque::with_capacity(connections),
            lingering: VecDeque::with_capacity(connections.min(LINGERING_MAX)),
            gone: VecDeque::with_capacity(connections),
            ready: None,
            listening: false,
            door: config.door,
            peers: config.peers,
            now: clock::monotonic(),
            unix: clock::unix(),
            limits: Limits {
                connection_count: sizing.connection_count,
                receive_bytes: sizing.receive_bytes,
                output_bytes: sizing.output_bytes,
                output_count: sizing.output_count,
                file_count,
                file_buffer_bytes: sizing.file_buffer_bytes,
                file_buffer_count,
            },
            shard: config.shard,
            carry: None,
            gather: Duration::ZERO,
            bulky: false,
        };
        uring.arm();
        uring.enter(None);
        Ok(uring)
    }

    /// Gives it a place for [`Driver::carry`].
    pub fn carry_in(&mut self, carry: Carry) {
        self.carry = Some(carry);
    }

    /// From here on a sleep gathers for this long what comes, so that one turn does the work of several. What comes after a
    /// longer pause ends the sleep at once, and so does what has come while files are read or synced, or a connection has
    /// more to say than a buffer holds. Before Linux 6.12 nothing is gathered; says whether it is.
    pub fn gather(&mut self, span: Duration) -> bool {
        if self.ring.inner.params().is_feature_min_timeout() {
            self.gather = span;
        }
        !self.gather.is_zero()
    }

    /// How the ring runs its completions here.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Which shard this is.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Arms whatever has no request in the kernel and may have one again.
    fn arm(&mut self) {
        if !self.listening {
            let target = self.scratch.at(EVENT_OFFSET, 8);
            let entry = opcode::Read::new(Fd(self.door.event_fd()), target, 8).build();
            self.listening = self.ring.push(&entry.user_data(tag::encode(Operation::Wake, 0, 0)));
        }
        for index in 0..self.gates.len() {
            self.arm_gate(index);
        }
        if self.unarmed > 0 {
            self.arm_sockets(self.scratch.at(HEADER_OFFSET, size_of::<libc::msghdr>()).cast());
        }
        self.feed_starved();
    }

    /// Looks at every dirty connection; those that found no room in the queue stay for the next turn.
    fn settle(&mut self) {
        while let Some(index) = self.dirty.pop_front() {
            self.table.at(index).flags.clear(Flags::DIRTY);
            if !self.advance(index) {
                self.table.at(index).flags.set(Flags::DIRTY);
                self.dirty.push_front(index);
                break;
            }
        }
    }

    pub(crate) fn mark(&mut self, index: u32) {
        let flags = &mut self.table.at(index).flags;
        if !flags.has(Flags::DIRTY) {
            flags.set(Flags::DIRTY);
            self.dirty.push_back(index);
        }
    }

    /// Submits, runs the kernel's work for us, and waits up to `span` for a completion if it is given.
    pub(crate) fn enter(&mut self, span: Option<Duration>) {
        self.enter_gathering(span, Duration::ZERO);
    }

    /// The same; for the first `gather` of it one completion is not enough.
    fn enter_gathering(&mut self, span: Option<Duration>, gather: Duration) {
        let timeout = Timespec::from(span.unwrap_or_default());
        let arguments = Waiting {
            signals: 0,
            signals_bytes: 0,
            least_us: gather.as_micros() as u32,
            timeout: std::ptr::from_ref(&timeout).addr() as u64,
        };
        let enough = match span {
            None => 0,
            Some(_) if arguments.least_us > 0 => GATHER_COUNT,
            Some(_) => 1,
        };
        let submitted = self.ring.waiting();
        // SAFETY: the extended argument has the layout that EXT_ARG announces, and it and the timespec outlive the call;
        // every entry in the queue points to memory that its request's owner keeps (regions of `self`, dropped after the
        // ring) until its completion.
        let result = unsafe {
            self.ring.inner.submitter().enter(submitted, enough, ENTER_GETEVENTS | ENTER_EXT_ARG, Some(&arguments))
        };
        match result {
            Ok(taken) => self.ring.took(taken, submitted),
            // ETIME: nothing happened in time. EINTR: a signal. EBUSY, EAGAIN: the kernel wants completions reaped, or has
            // no memory now; what was not taken stays in the queue for the next turn.
            Err(error) => {
                let passing =
                    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN));
                assert!(passing, "the ring of shard {} failed: {error}", self.shard);
            }
        }
    }

    /// The earliest moment at which something must be done without being asked.
    fn deadline(&self) -> Monotonic {
        let lingering = self.lingering.front().map_or(Monotonic::NEVER, |&(deadline, _)| deadline);
        let gates = self.gates.iter().filter(|gate| !gate.armed).map(|gate| gate.retry);
        // Without buffers no socket can be armed before the owner releases some, which it does between turns.
        let armable = self.unarmed > 0 && self.datagrams.available() > 0;
        let sockets = self.sockets.iter().filter(|slot| armable && !slot.armed).map(|slot| slot.retry);
        gates.chain(sockets).fold(lingering, Monotonic::min)
    }

    fn translate(&mut self, result: i32, flags: u32, user_data: u64) -> Option<Completion> {
        let (operation, index, generation) = tag::decode(user_data).expect("every submission carries a tag");
        match operation {
            Operation::Wake => {
                self.listening = false;
                None
            }
            Operation::Accept => self.accepted(index as usize, result, flags),
            Operation::ReceiveFrom => self.datagram(index as usize, result, flags),
            Operation::SendTo => self.sent_to(index, result),
            Operation::Receive => self.received(Connection { index, generation }, result, flags),
            Operation::Send => self.sent(Connection { index, generation }, result),
            Operation::Cancel => {
                self.not_cancelled(Connection { index, generation }, result);
                None
            }
            Operation::Open => Some(self.files.opened(index, result)),
            Operation::Write => self.files.written(index, result),
            Operation::Sync => self.files.synced(index, result, self.ring.shortfalls),
            Operation::Read => Some(self.files.filled(index, result)),
            Operation::CloseFile => Some(self.files.closed(index)),
        }
    }
}

impl Driver for Uring {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn now(&self) -> Monotonic {
        self.now
    }

    fn instant(&self) -> Monotonic {
        clock::monotonic()
    }

    fn unix(&self) -> UnixMicros {
        self.unix
    }

    fn entropy(&mut self, target: &mut [u8]) {
        clock::entropy(target);
    }

    fn turn(&mut self, until: Monotonic, quiet: &mut dyn FnMut() -> bool) {
        self.now = clock::monotonic();
        self.expire();
        self.arm();
        self.settle();
        self.settle_files();
        let until = until.min(self.deadline());
        let span = until.since(self.now).min(SLEEP_MAX);
        // Without a read of its eventfd in the kernel a sleeper could not be woken.
        let idle = self.listening
            && self.ready.is_none()
            && self.gone.is_empty()
            && self.dirty.is_empty()
            && self.files.dirty.is_empty();
        if idle && !span.is_zero() && self.ring.inner.completion().is_empty() && self.door.may_sleep(quiet) {
            let hurried = self.bulky || self.files.are_awaited();
            self.enter_gathering(Some(span), if hurried { Duration::ZERO } else { self.gather.min(span) });
            self.door.awake();
        } else {
            self.enter(None);
        }
        self.bulky = false;
        self.now = clock::monotonic();
        self.unix = clock::unix();
    }

    fn reap(&mut self) -> Option<Completion> {
        if let Some(completion) = self.ready.take() {
            return Some(completion);
        }
        loop {
            while let Some(connection) = self.gone.pop_front() {
                if let Some(last) = self.last_word(connection) {
                    return Some(last);
                }
            }
            let entry = self.ring.inner.completion().next()?;
            let completion = self.translate(entry.result(), entry.flags(), entry.user_data());
            if completion.is_some() {
                return completion;
            }
        }
    }

    fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        let len = lease.len as usize;
        match Pool::of(lease) {
            (Pool::Datagrams, index) => self.datagrams.slice(index, datagrams::HEAD_BYTES, len),
            (Pool::Streams, index) => self.streams.slice(index, 0, len),
            (Pool::Output, index) => self.output.slice(index, len),
            (Pool::Files, index) => self.files.buffers.slice(index, len),
        }
    }

    fn release(&mut self, lease: Lease) {
        match Pool::of(&lease) {
            (Pool::Datagrams, index) => self.datagrams.give(index),
            (Pool::Streams, index) => self.streams.give(index),
            (Pool::Output, index) => {
                self.output.send(index);
                self.output.sent(index);
            }
            (Pool::Files, index) => {
                self.files.buffers.send(index);
                self.files.buffers.sent(index);
            }
        }
    }

    fn output(&mut self) -> Result<Lease, Busy> {
        let index = self.output.lend().ok_or(Busy)?;
        Ok(Pool::Output.lease(index, self.limits.output_bytes))
    }

    fn send(&mut self, connection: Connection, lease: Lease, count: usize) {
        assert!(count > 0 && count <= self.limits.output_bytes as usize, "bytes within an output buffer");
        let (pool, output) = Pool::of(&lease);
        assert!(pool == Pool::Output, "what is sent is an output buffer");
        self.output.send(output);
        let place = self.table.holder(connection.index, connection.generation).expect("the connection is open");
        if place.flags.has(Flags::CLOSING) {
            self.output.sent(output);
            return;
        }
        assert!(!place.flags.has(Flags::DETACHING), "nothing is sent on what is given away");
        assert!(!place.flags.has(Flags::QUEUED | Flags::FLYING), "one send is in flight per connection");
        (place.output, place.done, place.len) = (output, 0, count as u32);
        place.flags.set(Flags::QUEUED);
        self.bulky |= count > self.limits.output_bytes as usize / 2;
        self.mark(connection.index);
    }

    fn send_to(&mut self, socket: Socket, target: SocketAddr, bytes: &[u8]) -> Result<(), Busy> {
        self.send_datagram(socket, target, bytes)
    }

    fn carry(&mut self, offset: u64, bytes: &[u8]) -> bool {
        self.carry.as_mut().is_some_and(|carry| carry.put(offset, bytes))
    }

    fn pause(&mut self, connection: Connection) {
        let place = self.table.holder(connection.index, connection.generation).expect("the connection is open");
        place.flags.set(Flags::PAUSED);
        self.mark(connection.index);
    }

    fn resume(&mut self, connection: Connection) {
        let place = self.table.holder(connection.index, connection.generation).expect("the connection is open");
        place.flags.clear(Flags::PAUSED);
        self.mark(connection.index);
    }

    fn close(&mut self, connection: Connection, abort: bool) {
        let place = self.table.holder(connection.index, connection.generation).expect("the connection is open");
        if !place.flags.has(Flags::CLOSING) {
            // It was to be given away, and nobody has heard of it: it is not.
            place.flags.clear(Flags::GONE);
        }
        place.flags.set(if abort { Flags::CLOSING | Flags::ABORT } else { Flags::CLOSING });
        self.mark(connection.index);
    }

    fn detach(&mut self, connection: Connection) {
        let place = self.table.holder(connection.index, connection.generation).expect("the connection is open");
        assert!(!place.flags.has(Flags::QUEUED | Flags::FLYING), "no send is in flight on what is given away");
        assert!(!place.flags.has(Flags::CLOSING | Flags::DETACHING), "a connection leaves once");
        place.flags.set(Flags::DETACHING);
        self.mark(connection.index);
    }

    fn adopt(&mut self, socket: Detached) -> Result<Connection, Detached> {
        self.take_in(socket)
    }

    fn open(&mut self, name: &str, access: Access) -> Result<File, Busy> {
        self.files.open(name, access).ok_or(Busy)
    }

    fn file_buffer(&mut self) -> Result<Lease, Busy> {
        let index = self.files.buffers.lend().ok_or(Busy)?;
        Ok(Pool::Files.lease(index, self.limits.file_buffer_bytes))
    }

    fn write(&mut self, file: File, offset: u64, lease: Lease, count: usize, sync: bool) {
        let (pool, buffer) = Pool::of(&lease);
        assert!(pool == Pool::Files, "what is written is a file buffer");
        assert!(count <= self.limits.file_buffer_bytes as usize, "bytes within a file buffer");
        assert!(count > 0 || sync, "something is asked");
        self.files.write(file, offset, buffer, count as u32, sync);
    }

    fn read(&mut self, file: File, offset: u64, count: usize) -> Result<(), Busy> {
        assert!(count > 0 && count <= self.limits.file_buffer_bytes as usize, "bytes within a file buffer");
        self.read_file(file, offset, count as u32)
    }

    fn close_file(&mut self, file: File) {
        self.files.close(file);
    }

    fn wake(&mut self, peer: usize) {
        self.peers[peer].wake();
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // The kernel forgets every address before the memory goes. What it refuses to cancel it finishes when the ring,
        // the first field, is dropped.
        let _ = self
            .ring
            .inner
            .submitter()
            .register_sync_cancel(Some(Timespec::new().sec(1)), io_uring::types::CancelBuilder::any());
        self.await_files();
        for fd in self.table.open_fds().chain(self.files.open_fds()) {
            // SAFETY: the place owns its descriptor, and the tables are not used again.
            unsafe { libc::close(fd) };
        }
    }
}

/// A ring with its buffers. The ring first, so that it is dropped before the memory it was given.
struct Opened {
    ring: Ring,
    flavour: Flavour,
    datagrams: Provided,
    streams: Provided,
}

impl Opened {
    /// The rings of a predecessor that was just killed may count as locked for a moment: they are awaited.
    fn new(sizing: &Sizing, flavour: Option<Flavour>) -> io::Result<Self> {
        let start = Instant::now();
        loop {
            match Self::attempt(sizing, flavour) {
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                result => return result,
            }
        }
    }

    fn attempt(sizing: &Sizing, flavour: Option<Flavour>) -> io::Result<Self> {
        let (submission, completion) = (sizing.submission_entries, sizing.completion_entries);
        let (ring, flavour) = match flavour {
            Some(flavour) => (flavour.build(submission, completion)?, flavour),
            None => probe::build(submission, completion)?,
        };
        // If the second registration fails the first group's memory goes before the ring: harmless, for no request was made.
        let submitter = ring.submitter();
        let datagram_bytes = sizing.receive_bytes + datagrams::HEAD_BYTES as u32;
        let datagrams = Provided::register(&submitter, DATAGRAM_GROUP, sizing.datagram_count, datagram_bytes)?;
        let streams = Provided::register(&submitter, STREAM_GROUP, sizing.receive_count, sizing.receive_bytes)?;
        Ok(Self { ring: Ring::new(ring), flavour, datagrams, streams })
    }
}

impl Ring {
    pub(crate) const fn new(inner: IoUring) -> Self {
        Self { inner, shortfalls: 0 }
    }

    /// Adds an entry, flushing the queue if it is full; false if the kernel takes none now.
    pub(crate) fn push(&mut self, entry: &squeue::Entry) -> bool {
        self.push_linked(std::slice::from_ref(entry))
    }

    /// Adds all entries of a chain or none. All but the last must say that they are linked.
    pub(crate) fn push_linked(&mut self, chain: &[squeue::Entry]) -> bool {
        for _ in 0..2 {
            // SAFETY: what an entry points to is memory of the `Uring` that this ring belongs to: regions that never move,
            // in hands that do not touch it before the completion.
            if unsafe { self.inner.submission().push_multiple(chain) }.is_ok() {
                return true;
            }
            let waiting = self.waiting();
            match self.inner.submit() {
                Ok(taken) => self.took(taken, waiting),
                Err(_) => return false,
            }
        }
        false
    }

    /// A chain ends with the submission it is in, so one that was cut there is two.
    const fn took(&mut self, taken: usize, waiting: u32) {
        if taken < waiting as usize {
            self.shortfalls = self.shortfalls.wrapping_add(1);
        }
    }

    /// Entries that the kernel has not taken.
    fn waiting(&mut self) -> u32 {
        let mut queue = self.inner.submission();
        queue.sync();
        queue.len() as u32
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Ring").field(&self.inner.as_raw_fd()).finish()
    }
}

/// Which buffers a lease is of: the two highest bits of its index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pool {
    Datagrams = 0,
    Streams = 1,
    Output = 2,
    Files = 3,
}

impl Pool {
    pub(crate) const fn lease(self, index: u32, len: u32) -> Lease {
        Lease { index: (self as u32) << 30 | index, len }
    }

    pub(crate) const fn of(lease: &Lease) -> (Self, u32) {
        let pool = match lease.index >> 30 {
            0 => Self::Datagrams,
            1 => Self::Streams,
            2 => Self::Output,
            _ => Self::Files,
        };
        (pool, lease.index & 0x3FFF_FFFF)
    }
}
