//! What a shard may ask of the machine: operations, completions, buffer leases, timers and the clock.
//!
//! Backends (`uring`, the simulator) implement [`Driver`]; everything above it is sans-IO and cannot tell them apart.
//! Owns only the words. Sockets are opened by the backend's constructor, before serving; a shard never opens one. Files it
//! opens by itself, below the one directory that the backend was started with.
//!
//! ```text
//!   loop {
//!       driver.turn(deadline, quiet)          submit what was asked, sleep until something happened
//!       while let Some(done) = driver.reap()  completions, a batch
//!           driver.bytes(&lease)              received bytes, lent until release
//!           driver.release(lease)
//!       driver.output() / send / send_to      ask for more; nothing happens before the next turn
//!       driver.file_buffer() / write / read
//!   }
//!
//!   connection:  Accepted, or adopt -> Received, several -> Ended, at most once
//!                at any time   send -> Sent, one at a time
//!                then   close -> Closed,   or   detach -> Received, Ended -> Detached -> adopt of another shard's driver
//!
//!   file:  open -> Opened -> write -> Written, one at a time; read -> Read, several -> close_file -> FileClosed
//! ```
//!
//! Leases are affine: each one that is handed out comes back by exactly one of `release`, `send` and `write`.

mod detached;
pub mod steering;

pub use detached::{Detached, Handle};

use base::{Monotonic, UnixMicros};
use std::net::SocketAddr;

/// A UDP socket of this shard, by its global gateway slot number (0..256).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Socket(pub u16);

/// A listening TCP socket: its place in the list the backend was started with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Listener(pub u16);

/// A TCP connection of this shard. The generation tells a place's present holder from earlier ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Connection {
    /// Place in the backend's table, below [`Limits::connection_count`].
    pub index: u32,
    /// Counts the holders of that place.
    pub generation: u32,
}

/// A file that this shard opened. The generation tells a place's present holder from earlier ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct File {
    /// Place in the backend's table, below [`Limits::file_count`].
    pub index: u16,
    /// Counts the holders of that place.
    pub generation: u16,
}

/// What a file is opened for. It must exist: whoever makes files may wait, and a shard may not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Only to be read.
    Read,
    /// To be written in place, and read.
    Write,
}

/// Why what was to be written is not, or may not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileFault {
    /// Writing failed with this errno; any part of the bytes may be in the file. No sync was done.
    Write(i32),
    /// All bytes were written, the sync failed with this errno. What of them is stored nobody knows, and a later sync that
    /// succeeds says nothing of them: the kernel tells an error once.
    Sync(i32),
}

/// A buffer on loan. Not `Copy`: whoever holds it must give it back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a lease must be released, sent or written"]
pub struct Lease {
    /// Which buffer; the backend's business.
    pub index: u32,
    /// Bytes of it that may be touched.
    pub len: u32,
}

/// Why a connection's receiving side ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The peer sent FIN.
    Finished,
    /// Reset, timed out, or failed with this errno.
    Failed(i32),
}

/// Something that happened since the last turn.
#[derive(Debug)]
pub enum Completion {
    /// One datagram arrived, whole, or cut to the buffer and marked so.
    Datagram {
        /// The gateway slot that received it.
        socket: Socket,
        /// Who sent it.
        source: SocketAddr,
        /// Its bytes.
        lease: Lease,
        /// It was longer than the buffer.
        truncated: bool,
    },
    /// A datagram that was asked for with [`Driver::send_to`] could not be sent (errno).
    SendToFailed {
        /// The socket that was to send it.
        socket: Socket,
        /// The kernel's reason.
        errno: i32,
    },
    /// The kernel dropped this many datagrams since the last such word, for want of room (`SO_RXQ_OVFL`).
    Overrun {
        /// The slot whose buffer ran over.
        socket: Socket,
        /// Datagrams lost.
        count: u32,
    },
    /// A connection was accepted; it receives at once.
    Accepted {
        /// Where.
        listener: Listener,
        /// Its handle until [`Completion::Closed`] or [`Completion::Detached`].
        connection: Connection,
        /// Its other end.
        peer: SocketAddr,
    },
    /// The connection table or the descriptor table is full: one was accepted and closed again.
    Refused {
        /// Where.
        listener: Listener,
    },
    /// Bytes arrived.
    Received {
        /// On which connection.
        connection: Connection,
        /// The bytes, at least one.
        lease: Lease,
    },
    /// No more will be received. What was asked to be sent is still tried.
    Ended {
        /// Which connection.
        connection: Connection,
        /// Why.
        end: End,
    },
    /// What [`Driver::send`] was given has been handed to the kernel, all of it; the next may be sent.
    Sent {
        /// On which connection.
        connection: Connection,
    },
    /// Sending failed (errno); nothing more can be sent.
    SendFailed {
        /// Which connection.
        connection: Connection,
        /// The kernel's reason.
        errno: i32,
    },
    /// After [`Driver::close`]: the kernel holds nothing of it any more and its index may come back with a new generation.
    Closed {
        /// Which connection.
        connection: Connection,
    },
    /// After [`Driver::detach`]: this driver has nothing of it any more, and its index may come back with a new generation.
    Detached {
        /// Which connection.
        connection: Connection,
        /// The connection itself, for [`Driver::adopt`].
        socket: Detached,
    },
    /// What [`Driver::open`] came to. After an error the place is free again.
    Opened {
        /// Which file.
        file: File,
        /// Whether it may be used, or the errno.
        outcome: Result<(), i32>,
    },
    /// What [`Driver::write`] came to; the next may be given. All bytes are written, and stored if that was asked, or not.
    Written {
        /// Which file.
        file: File,
        /// Whether all was done that was asked.
        outcome: Result<(), FileFault>,
    },
    /// What one [`Driver::read`] came to. Reads of one file may overtake each other.
    Read {
        /// Which file.
        file: File,
        /// From where, as it was asked: tells several in flight apart.
        offset: u64,
        /// The bytes: fewer than were asked for if the file ends there or the kernel had no more at hand, none at the end
        /// of the file; or the errno.
        outcome: Result<Lease, i32>,
    },
    /// After [`Driver::close_file`]: its index may come back with a new generation.
    FileClosed {
        /// Which file.
        file: File,
    },
}

/// What a backend sized at start, for its owner to size its own tables by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that can be open at once; indexes are below it.
    pub connection_count: u32,
    /// Bytes of a receive buffer.
    pub receive_bytes: u32,
    /// Bytes of an output buffer.
    pub output_bytes: u32,
    /// Output buffers in all.
    pub output_count: u32,
    /// Files that can be open at once; indexes are below it. None if the backend was given no directory.
    pub file_count: u32,
    /// Bytes of a file buffer.
    pub file_buffer_bytes: u32,
    /// File buffers in all, for writes and reads.
    pub file_buffer_count: u32,
}

/// The longest datagram that [`Driver::send_to`] takes: far above any message to a gateway, within one Ethernet frame.
pub const DATAGRAM_BYTES_MAX: usize = 1472;

/// The longest name that [`Driver::open`] takes.
pub const FILE_NAME_BYTES_MAX: usize = 64;

/// No buffer or queue entry is left this turn; ask again after the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

/// The machine, as one shard sees it. `!Send` once started.
pub trait Driver {
    /// The sizes fixed at start.
    fn limits(&self) -> Limits;

    /// The monotonic clock, read once per turn.
    fn now(&self) -> Monotonic;

    /// The monotonic clock, read anew: for measuring, where a turn is too coarse.
    fn instant(&self) -> Monotonic;

    /// The wall clock, read once per turn.
    fn unix(&self) -> UnixMicros;

    /// Fills `target` with random bytes fit for keys.
    fn entropy(&mut self, target: &mut [u8]);

    /// Submits everything asked for, then waits until a completion is there, `until` has come, or another thread woke us.
    ///
    /// Before it sleeps it publishes that it will, then asks `quiet` whether the queues other threads fill are still
    /// empty; if not, it does not sleep. So a wake-up is never lost.
    fn turn(&mut self, until: Monotonic, quiet: &mut dyn FnMut() -> bool);

    /// The next completion of this turn's batch.
    fn reap(&mut self) -> Option<Completion>;

    /// The bytes of a lease.
    fn bytes(&mut self, lease: &Lease) -> &mut [u8];

    /// Gives a buffer back unsent.
    fn release(&mut self, lease: Lease);

    /// An output buffer of [`Limits::output_bytes`].
    ///
    /// # Errors
    /// [`Busy`] when all are in flight; their completions free them.
    fn output(&mut self) -> Result<Lease, Busy>;

    /// Sends the first `count` bytes of an output buffer, all of them, and frees the buffer. One send is in flight per connection.
    ///
    /// # Panics
    /// If one is in flight already: our own mistake.
    fn send(&mut self, connection: Connection, lease: Lease, count: usize);

    /// Sends one datagram; its bytes are copied before this returns.
    ///
    /// # Errors
    /// [`Busy`] when too many are in flight.
    ///
    /// # Panics
    /// If it is longer than [`DATAGRAM_BYTES_MAX`]: our own mistake.
    fn send_to(&mut self, socket: Socket, target: SocketAddr, bytes: &[u8]) -> Result<(), Busy>;

    /// Stops receiving on a connection, so that its peer feels backpressure. Bytes already received may still be reaped.
    fn pause(&mut self, connection: Connection);

    /// Receives again after [`Driver::pause`].
    fn resume(&mut self, connection: Connection);

    /// Closes once a send in flight is done; [`Completion::Closed`] follows. With `abort`, at once and by reset.
    ///
    /// From here on nothing but `Closed` is told of the connection, and its handle is good until then. A peer that does
    /// not read holds up a close; a second call, with `abort`, ends it.
    fn close(&mut self, connection: Connection, abort: bool);

    /// Gives a connection away: stops receiving, and [`Completion::Detached`] follows, its last word.
    ///
    /// Every byte is told once and in order: what is received before the stop here, before `Detached`; the rest by whoever
    /// adopts the socket. An end of the receiving side that is met before the stop is told here too ([`Completion::Ended`],
    /// then `Detached` all the same), and is told again by whoever adopts the socket, as its reason and after all bytes:
    /// so the giver may pass over it.
    ///
    /// Until `Detached` is reaped the handle is good: pausing and resuming change nothing, and a [`Driver::close`] takes the
    /// place of it, so that `Closed` follows and no `Detached`.
    ///
    /// # Panics
    /// If a send is in flight, if it is being closed or was given away before: our own mistake, and so is a send from here on.
    fn detach(&mut self, connection: Connection);

    /// Takes in a connection that another driver of the same backend gave away. It receives at once, paused or not before.
    ///
    /// # Errors
    /// When every place of the table is taken, with the socket: it is closed when it is dropped.
    ///
    /// # Panics
    /// If it is of another backend: our own mistake.
    fn adopt(&mut self, socket: Detached) -> Result<Connection, Detached>;

    /// Opens a file below the backend's directory: `name` is relative to it and may name folders. [`Completion::Opened`]
    /// follows; before it the file may not be used.
    ///
    /// # Errors
    /// [`Busy`] when every place of the table is taken.
    ///
    /// # Panics
    /// If the name is empty, absolute, has a NUL or is longer than [`FILE_NAME_BYTES_MAX`]: our own mistake.
    fn open(&mut self, name: &str, access: Access) -> Result<File, Busy>;

    /// A buffer of [`Limits::file_buffer_bytes`] to be filled and written. What is in it is left from its last use.
    ///
    /// # Errors
    /// [`Busy`] when all are lent or in flight.
    fn file_buffer(&mut self) -> Result<Lease, Busy>;

    /// Writes the first `count` bytes of a file buffer at `offset`, all of them; then, with `sync`, sees that they and
    /// everything written to the file before are stored. [`Completion::Written`] follows, and with it the buffer is free.
    ///
    /// A `count` of 0 with `sync` only stores. One write is in flight per file.
    ///
    /// # Panics
    /// If one is in flight already, the file is not open, or nothing is asked: our own mistake.
    fn write(&mut self, file: File, offset: u64, lease: Lease, count: usize, sync: bool);

    /// Reads up to `count` bytes at `offset` into a file buffer. [`Completion::Read`] follows. Several may be in flight.
    ///
    /// # Errors
    /// [`Busy`] when no file buffer or queue entry is left.
    ///
    /// # Panics
    /// If the file is not open, or `count` is 0 or more than a file buffer holds: our own mistake.
    fn read(&mut self, file: File, offset: u64, count: usize) -> Result<(), Busy>;

    /// Closes once what is in flight is done, all of which is still told; [`Completion::FileClosed`] is the last. Nothing is
    /// stored by it.
    ///
    /// # Panics
    /// If the file is not open: our own mistake.
    fn close_file(&mut self, file: File);

    /// Puts bytes where the end of this process leaves them, though the end of the machine does not: at `offset` of a file in
    /// memory, at once. Says whether that was done; a backend that was given no such place never does it.
    fn carry(&mut self, _offset: u64, _bytes: &[u8]) -> bool {
        false
    }

    /// Sees that shard `peer` looks at its queues soon, if it sleeps.
    fn wake(&mut self, peer: usize);
}
