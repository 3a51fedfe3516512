//! A machine that does what a test says: it plays the peers, records what was asked, and is as strict as the real one.

use base::{Monotonic, UnixMicros};
use driver::{
    Access, Busy, Completion, Connection, Detached, Driver, End, FILE_NAME_BYTES_MAX, File, FileFault, Handle, Lease,
    Limits, Listener, Socket,
};
use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub(super) const OUTPUT_BYTES: usize = 17 << 10;
const RECEIVE_BYTES: usize = 4096;
const CONNECTION_COUNT: u32 = 1024;
const FILE_COUNT: usize = 8;
const FILE_BUFFER_BYTES: usize = 256 << 10;
const FILE_BUFFER_COUNT: usize = 4;
const EBADF: i32 = 9;
const ENOENT: i32 = 2;

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
    leaving: Option<Leaving>,
    /// What it was told of the end of the receiving side.
    ended: Option<End>,
}

/// How far it is on its way to another driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leaving {
    Asked,
    /// The word of it waits to be reaped.
    Said,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Closed {
    Gracefully,
    ByReset,
}

/// A place of the table of files, and what was asked of its holder.
#[derive(Debug, Default)]
struct OpenFile {
    generation: u16,
    name: Option<String>,
    writable: bool,
    /// Told of, and not closing.
    ready: bool,
    writing: bool,
}

#[derive(Debug)]
enum Asked {
    Open(File),
    Write { file: File, offset: u64, lease: Lease, count: usize },
    Read { file: File, offset: u64, lease: Lease },
    Close(File),
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
    /// What is on the disk.
    pub(super) files: HashMap<String, Vec<u8>>,
    /// What becomes of writes from now on.
    pub(super) file_fault: Option<FileFault>,
    /// Nothing that is asked of files is done.
    pub(super) files_stall: bool,
    open_files: Vec<OpenFile>,
    asked: VecDeque<Asked>,
    file_buffers: Vec<u32>,
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
            files: HashMap::new(),
            file_fault: None,
            files_stall: false,
            open_files: (0..FILE_COUNT).map(|_| OpenFile::default()).collect(),
            asked: VecDeque::new(),
            file_buffers: Vec::new(),
            batch: VecDeque::new(),
            buffers: HashMap::new(),
            buffer_count: 0,
            output_free: output_count,
            output_count,
        }
    }

    /// Somebody connects.
    pub(super) fn connect(&mut self, listener: Listener) -> Connection {
        let connection = self.occupy().expect("a free place");
        let index = connection.index;
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
        self.peer(connection).ended = Some(end);
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

    fn occupy(&mut self) -> Option<Connection> {
        let is_free = |index: &u32| self.peers.get(index).is_none_or(|peer| !peer.open);
        let index = (0..CONNECTION_COUNT).find(is_free)?;
        let generation = self.peers.get(&index).map_or(1, |peer| peer.generation + 1);
        self.peers.insert(index, Peer { generation, open: true, reads: true, ..Peer::default() });
        Some(Connection { index, generation })
    }

    fn holder(&mut self, connection: Connection) -> &mut Peer {
        let peer = self.peers.get_mut(&connection.index).expect("a place");
        assert!(peer.open && peer.generation == connection.generation, "a stale handle: {connection:?}");
        peer
    }

    fn open_file(&mut self, file: File) -> &mut OpenFile {
        let place = &mut self.open_files[usize::from(file.index)];
        assert!(place.ready && place.generation == file.generation, "a file that is open: {file:?}");
        place
    }

    fn lend_file_buffer(&mut self, bytes: usize) -> Result<Lease, Busy> {
        if self.file_buffers.len() == FILE_BUFFER_COUNT {
            return Err(Busy);
        }
        let lease = self.lend(vec![0; bytes]);
        self.file_buffers.push(lease.index);
        Ok(lease)
    }

    /// Does what was asked of files, in the order of asking.
    fn advance_files(&mut self) {
        while let Some(asked) = (!self.files_stall).then(|| self.asked.pop_front()).flatten() {
            let completion = match asked {
                Asked::Open(file) => {
                    let place = &mut self.open_files[usize::from(file.index)];
                    place.ready = self.files.contains_key(place.name.as_ref().expect("it has a holder"));
                    if !place.ready {
                        place.name = None;
                    }
                    let outcome = if place.ready { Ok(()) } else { Err(ENOENT) };
                    Completion::Opened { file, outcome }
                }
                Asked::Write { file, offset, lease, count } => {
                    let place = &mut self.open_files[usize::from(file.index)];
                    place.writing = false;
                    let outcome = match self.file_fault {
                        _ if !place.writable => Err(FileFault::Write(EBADF)),
                        Some(fault) => Err(fault),
                        None => Ok(()),
                    };
                    if outcome.is_ok() {
                        let name = place.name.as_ref().expect("it has a holder");
                        let content = self.files.get_mut(name).expect("nobody removes files");
                        let (start, end) = (offset as usize, offset as usize + count);
                        content.resize(content.len().max(end), 0);
                        content[start..end].copy_from_slice(&self.buffers[&lease.index][..count]);
                    }
                    self.release(lease);
                    Completion::Written { file, outcome }
                }
                Asked::Read { file, offset, mut lease } => {
                    let name = self.open_files[usize::from(file.index)].name.as_ref().expect("it has a holder");
                    let rest = self.files[name].get(offset as usize..).unwrap_or_default();
                    lease.len = lease.len.min(rest.len() as u32);
                    let buffer = self.buffers.get_mut(&lease.index).expect("lent");
                    buffer[..lease.len as usize].copy_from_slice(&rest[..lease.len as usize]);
                    Completion::Read { file, offset, outcome: Ok(lease) }
                }
                Asked::Close(file) => {
                    let place = &mut self.open_files[usize::from(file.index)];
                    place.name = None;
                    Completion::FileClosed { file }
                }
            };
            self.batch.push_back(completion);
        }
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
            if let Some(abort) = peer.closing.filter(|_| peer.flight.is_none() && peer.closed.is_none()) {
                peer.closed = Some(if abort { Closed::ByReset } else { Closed::Gracefully });
                self.batch.push_front(Completion::Closed { connection });
            } else if peer.closing.is_none() && peer.leaving == Some(Leaving::Asked) {
                peer.leaving = Some(Leaving::Said);
                let handle = Handle::Virtual(Arc::new(u64::from(index)));
                self.batch.push_back(Completion::Detached { connection, socket: Detached::new(handle, peer.ended) });
            }
        }
    }
}

impl Driver for Fake {
    fn limits(&self) -> Limits {
        Limits {
            connection_count: CONNECTION_COUNT,
            receive_bytes: RECEIVE_BYTES as u32,
            output_bytes: OUTPUT_BYTES as u32,
            output_count: self.output_count,
            file_count: FILE_COUNT as u32,
            file_buffer_bytes: FILE_BUFFER_BYTES as u32,
            file_buffer_count: FILE_BUFFER_COUNT as u32,
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
        self.advance_files();
    }

    fn reap(&mut self) -> Option<Completion> {
        while let Some(completion) = self.batch.pop_front() {
            let (connection, last) = match &completion {
                Completion::Received { connection, .. }
                | Completion::Ended { connection, .. }
                | Completion::Sent { connection } => (*connection, false),
                Completion::Detached { connection, .. } => (*connection, true),
                Completion::Closed { connection } => {
                    self.holder(*connection).open = false;
                    return Some(completion);
                }
                _ => return Some(completion),
            };
            let peer = self.peers.get_mut(&connection.index).expect("it connected");
            if peer.open && peer.generation == connection.generation && peer.closing.is_none() {
                peer.open = !last;
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
        if let Some(place) = self.file_buffers.iter().position(|index| *index == lease.index) {
            self.file_buffers.swap_remove(place);
            return;
        }
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
        assert!(peer.closing.is_none() && peer.leaving.is_none(), "a send after the close, or on what is given away");
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

    fn detach(&mut self, connection: Connection) {
        let peer = self.holder(connection);
        assert!(peer.flight.is_none(), "no send is in flight on what is given away");
        assert!(peer.closing.is_none() && peer.leaving.is_none(), "a connection leaves once");
        peer.leaving = Some(Leaving::Asked);
    }

    fn adopt(&mut self, socket: Detached) -> Result<Connection, Detached> {
        let Some(connection) = self.occupy() else { return Err(socket) };
        if let (Handle::Virtual(_), Some(end)) = socket.into_parts() {
            self.end(connection, end);
        }
        Ok(connection)
    }

    fn open(&mut self, name: &str, access: Access) -> Result<File, Busy> {
        let fits = (1..=FILE_NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('/') && !name.contains('\0');
        assert!(fits, "a name that fits: {name}");
        let index = self.open_files.iter().position(|place| place.name.is_none()).ok_or(Busy)?;
        let generation = self.open_files[index].generation.wrapping_add(1);
        let (name, writable) = (Some(name.into()), access == Access::Write);
        self.open_files[index] = OpenFile { generation, name, writable, ..OpenFile::default() };
        let file = File { index: index as u16, generation };
        self.asked.push_back(Asked::Open(file));
        Ok(file)
    }

    fn file_buffer(&mut self) -> Result<Lease, Busy> {
        self.lend_file_buffer(FILE_BUFFER_BYTES)
    }

    fn write(&mut self, file: File, offset: u64, lease: Lease, count: usize, sync: bool) {
        assert!(self.file_buffers.contains(&lease.index), "what is written is a file buffer");
        assert!(count <= FILE_BUFFER_BYTES && (count > 0 || sync), "bytes within a file buffer, or a sync");
        let place = self.open_file(file);
        assert!(!place.writing, "one write is in flight per file");
        place.writing = true;
        self.asked.push_back(Asked::Write { file, offset, lease, count });
    }

    fn read(&mut self, file: File, offset: u64, count: usize) -> Result<(), Busy> {
        assert!(count > 0 && count <= FILE_BUFFER_BYTES, "bytes within a file buffer");
        self.open_file(file);
        let lease = self.lend_file_buffer(count)?;
        self.asked.push_back(Asked::Read { file, offset, lease });
        Ok(())
    }

    fn close_file(&mut self, file: File) {
        self.open_file(file).ready = false;
        self.asked.push_back(Asked::Close(file));
    }

    fn wake(&mut self, _peer: usize) {}
}

#[test]
fn a_connection_moves_from_one_fake_to_another() {
    let (mut left, mut right) = (Fake::new(1), Fake::new(1));
    let connection = left.connect(Listener(0));
    left.reap().expect("accepted");
    left.say(connection, b"before");
    left.end(connection, End::Finished);
    left.detach(connection);
    left.turn(Monotonic::NEVER, &mut || true);
    let Some(Completion::Received { lease, .. }) = left.reap() else { panic!("what came before") };
    left.release(lease);
    assert!(matches!(left.reap(), Some(Completion::Ended { end: End::Finished, .. })));
    let Some(Completion::Detached { socket, .. }) = left.reap() else { panic!("the last word") };
    assert!(left.reap().is_none() && left.is_whole() && !left.peer(connection).open);
    let adopted = right.adopt(socket).expect("a place");
    assert!(matches!(right.reap(), Some(Completion::Ended { connection, .. }) if connection == adopted));
    // A close takes the place of what is not reaped yet.
    right.detach(adopted);
    right.turn(Monotonic::NEVER, &mut || true);
    right.close(adopted, false);
    assert!(right.reap().is_none());
    right.turn(Monotonic::NEVER, &mut || true);
    assert!(matches!(right.reap(), Some(Completion::Closed { connection }) if connection == adopted));
    assert!(right.reap().is_none() && !right.peer(adopted).open);
}
