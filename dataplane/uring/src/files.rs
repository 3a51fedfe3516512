//! Files at work: opened below one directory, written with a sync behind it, read, closed.
//!
//! Owns a small table, a stock of page-aligned buffers, and their descriptors. As with connections, a file is advanced by
//! one function that asks for what should be in the kernel and is not, and what finds no room is tried at the next turn.
//! Never looks at what it writes; never holds up a turn: what may wait for a disk waits in the kernel's own threads.
//!
//! ```text
//!   open:   openat -> Opened
//!   write:  write ==link==> fdatasync -> Written      a short or failed write breaks the link: the sync is cancelled
//!             short -> the rest, linked again
//!   read:   read into a buffer of the stock -> Read
//!   close:  nothing in flight -> close -> FileClosed
//! ```
//! A link holds only within one submission. Both of its entries enter the queue together, and should the kernel take
//! only the first, which a lack of memory could cause, that is seen ([`Ring::shortfalls`]) and the sync done once more.

use crate::buffers::Stock;
use crate::memory::Region;
use crate::reactor::{Pool, Ring, Uring};
use crate::sizing::Sizing;
use crate::tag::{self, Operation};
use driver::{Access, Busy, Completion, Driver, FILE_NAME_BYTES_MAX, File, FileFault};
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// How long a shard that ends waits for what its files have in flight.
const PATIENCE: Duration = Duration::from_secs(1);

/// A name and its NUL.
const NAME_BYTES: usize = FILE_NAME_BYTES_MAX + 1;

/// Where a place is in the life of its holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Vacant,
    /// To be opened.
    Wanted(Access),
    /// In the kernel, which does not know its descriptor yet, or no more.
    Passing,
    Open,
    /// To be closed once nothing is in flight.
    Closing,
}

/// A write, from the asking to the word of it.
#[derive(Clone, Copy, Debug)]
struct Write {
    buffer: u32,
    offset: u64,
    len: u32,
    /// Bytes that the kernel has taken.
    done: u32,
    /// It is still to be synced.
    sync: bool,
    /// Completions to come.
    awaited: u8,
    fault: Option<FileFault>,
    /// What the ring had counted when this was last asked for.
    shortfalls: u32,
}

#[derive(Debug)]
struct Place {
    generation: u16,
    phase: Phase,
    fd: RawFd,
    write: Option<Write>,
    /// Reads in flight.
    reads: u32,
    /// It is in the list of those to look at.
    dirty: bool,
}

/// A read in flight, by its buffer.
#[derive(Clone, Copy, Debug)]
struct Read {
    file: File,
    offset: u64,
}

#[derive(Debug)]
pub(crate) struct Files {
    directory: Option<OwnedFd>,
    pub(crate) buffers: Stock,
    buffer_count: u32,
    names: Region,
    places: Box<[Place]>,
    free: Vec<u16>,
    reads: Box<[Read]>,
    /// Opens, reads and syncs in the kernel: somebody waits for them.
    awaited: u32,
    /// Files to look at before entering; each at most once.
    pub(crate) dirty: VecDeque<u16>,
}

impl Files {
    /// Without a directory there is room for no file.
    pub(crate) fn new(directory: Option<OwnedFd>, sizing: &Sizing) -> io::Result<Self> {
        let (count, buffer_count) =
            if directory.is_some() { (sizing.file_count, sizing.file_buffer_count) } else { (0, 0) };
        assert!(count <= u32::from(u16::MAX) && (buffer_count as usize) < tag::INDEX_COUNT_MAX, "files fit their tags");
        let vacant = || Place { generation: 0, phase: Phase::Vacant, fd: -1, write: None, reads: 0, dirty: false };
        let nobody = Read { file: File { index: 0, generation: 0 }, offset: 0 };
        Ok(Self {
            directory,
            buffers: Stock::new(buffer_count, sizing.file_buffer_bytes)?,
            buffer_count,
            names: Region::new(count as usize * NAME_BYTES)?,
            places: (0..count).map(|_| vacant()).collect(),
            free: (0..count as u16).rev().collect(),
            reads: vec![nobody; buffer_count as usize].into_boxed_slice(),
            awaited: 0,
            dirty: VecDeque::with_capacity(count as usize),
        })
    }

    /// Places, and buffers.
    pub(crate) fn counts(&self) -> (u32, u32) {
        (self.places.len() as u32, self.buffer_count)
    }

    pub(crate) fn open_fds(&self) -> impl Iterator<Item = RawFd> {
        self.places.iter().filter(|place| place.fd >= 0).map(|place| place.fd)
    }

    // What is asked.

    pub(crate) fn open(&mut self, name: &str, access: Access) -> Option<File> {
        assert!((1..=FILE_NAME_BYTES_MAX).contains(&name.len()), "a name of a file fits its place");
        assert!(!name.starts_with('/') && !name.contains('\0'), "a name is relative and of no NUL");
        let index = self.free.pop()?;
        // SAFETY: the place was free, so no openat that reads its name is in flight.
        let target = unsafe { self.names.slice(usize::from(index) * NAME_BYTES, NAME_BYTES) };
        target[..name.len()].copy_from_slice(name.as_bytes());
        target[name.len()] = 0;
        let place = &mut self.places[usize::from(index)];
        place.generation = place.generation.wrapping_add(1);
        place.phase = Phase::Wanted(access);
        let generation = place.generation;
        self.mark(index);
        Some(File { index, generation })
    }

    pub(crate) fn write(&mut self, file: File, offset: u64, buffer: u32, len: u32, sync: bool) {
        self.buffers.send(buffer);
        let place = self.holder(file);
        assert!(place.write.is_none(), "one write is in flight per file");
        place.write = Some(Write { buffer, offset, len, done: 0, sync, awaited: 0, fault: None, shortfalls: 0 });
        self.mark(file.index);
    }

    pub(crate) fn close(&mut self, file: File) {
        self.holder(file).phase = Phase::Closing;
        self.mark(file.index);
    }

    fn holder(&mut self, file: File) -> &mut Place {
        let place = &mut self.places[usize::from(file.index)];
        assert!(place.phase == Phase::Open && place.generation == file.generation, "the file is open");
        place
    }

    fn mark(&mut self, index: u16) {
        let place = &mut self.places[usize::from(index)];
        if !place.dirty {
            place.dirty = true;
            self.dirty.push_back(index);
        }
    }

    // What is in flight.

    /// Asks for whatever should be in the kernel and is not; false if the queue has no room.
    fn advance(&mut self, ring: &mut Ring, index: u16) -> bool {
        let place = &mut self.places[usize::from(index)];
        let generation = u32::from(place.generation);
        let tag = |operation| tag::encode(operation, u32::from(index), generation);
        if let Phase::Wanted(access) = place.phase {
            let name = self.names.at(usize::from(index) * NAME_BYTES, NAME_BYTES).cast_const().cast();
            let directory = self.directory.as_ref().expect("without a directory there are no places").as_raw_fd();
            let flags = match access {
                Access::Read => libc::O_RDONLY,
                Access::Write => libc::O_RDWR,
            };
            let entry = opcode::OpenAt::new(Fd(directory), name).flags(flags | libc::O_CLOEXEC).build();
            if !ring.push(&entry.user_data(tag(Operation::Open))) {
                return false;
            }
            place.phase = Phase::Passing;
            self.awaited += 1;
        }
        if let Some(write) = place.write.as_mut().filter(|write| write.awaited == 0) {
            let (fd, len) = (Fd(place.fd), write.len - write.done);
            let source = self.buffers.address(write.buffer, write.done as usize, len as usize).cast_const();
            let offset = write.offset + u64::from(write.done);
            let bytes = opcode::Write::new(fd, source, len).offset(offset).build().user_data(tag(Operation::Write));
            let sync = opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build().user_data(tag(Operation::Sync));
            let chain = [bytes.clone().flags(squeue::Flags::IO_LINK), sync];
            let asked: &[squeue::Entry] = match (len > 0, write.sync) {
                (true, true) => &chain,
                (true, false) => &[bytes],
                (false, _) => &chain[1..],
            };
            if !ring.push_linked(asked) {
                return false;
            }
            write.awaited = asked.len() as u8;
            self.awaited += u32::from(write.sync);
            write.shortfalls = ring.shortfalls;
        }
        if place.phase == Phase::Closing && place.write.is_none() && place.reads == 0 {
            let entry = opcode::Close::new(Fd(place.fd)).build();
            if !ring.push(&entry.user_data(tag(Operation::CloseFile))) {
                return false;
            }
            // From here on the descriptor is the kernel's to close.
            (place.phase, place.fd) = (Phase::Passing, -1);
        }
        true
    }

    /// As if a write and its sync were in the kernel, so that a test can play it.
    #[cfg(test)]
    pub(crate) fn pretend_asked(&mut self, file: File, shortfalls: u32) {
        let write = self.holder(file).write.as_mut().expect("a write was asked for");
        (write.awaited, write.shortfalls) = (2, shortfalls);
        self.awaited += 1;
    }

    fn is_busy(&self) -> bool {
        let busy = |place: &Place| {
            place.phase == Phase::Passing || place.reads > 0 || place.write.is_some_and(|write| write.awaited > 0)
        };
        self.places.iter().any(busy)
    }

    /// Whether somebody waits for what is in flight: a write without a sync is nobody's hurry.
    pub(crate) const fn are_awaited(&self) -> bool {
        self.awaited > 0
    }

    // What happened.

    pub(crate) fn opened(&mut self, index: u32, result: i32) -> Completion {
        self.awaited -= 1;
        let place = &mut self.places[index as usize];
        let file = File { index: index as u16, generation: place.generation };
        if result < 0 {
            self.vacate(file.index);
            return Completion::Opened { file, outcome: Err(-result) };
        }
        (place.phase, place.fd) = (Phase::Open, result);
        Completion::Opened { file, outcome: Ok(()) }
    }

    pub(crate) fn written(&mut self, index: u32, result: i32) -> Option<Completion> {
        let write = self.writing(index);
        match result {
            1.. => {
                write.done += result as u32;
                assert!(write.done <= write.len, "no more is written than was asked");
            }
            // To write nothing and say no error would go on for ever.
            0 => write.fault = Some(FileFault::Write(libc::EIO)),
            _ if matches!(-result, libc::EINTR | libc::EAGAIN) => {}
            errno => write.fault = Some(FileFault::Write(-errno)),
        }
        self.conclude(index as u16)
    }

    pub(crate) fn synced(&mut self, index: u32, result: i32, shortfalls: u32) -> Option<Completion> {
        self.awaited -= 1;
        let write = self.writing(index);
        match result {
            // One that may have run beside its write says nothing.
            0 => write.sync = write.done < write.len || write.shortfalls != shortfalls,
            // The write it was linked to was short or failed.
            _ if result == -libc::ECANCELED => {}
            errno if write.fault.is_none() => write.fault = Some(FileFault::Sync(-errno)),
            _ => {}
        }
        self.conclude(index as u16)
    }

    fn writing(&mut self, index: u32) -> &mut Write {
        let write = self.places[index as usize].write.as_mut().expect("no completion outlives its write");
        write.awaited -= 1;
        write
    }

    /// Tells of a write once nothing more is to come of it.
    fn conclude(&mut self, index: u16) -> Option<Completion> {
        let place = &mut self.places[usize::from(index)];
        let write = place.write.filter(|write| write.awaited == 0)?;
        let whole = write.done == write.len;
        let outcome = match write.fault {
            None if whole && !write.sync => Ok(()),
            None => {
                self.mark(index);
                return None;
            }
            Some(FileFault::Sync(errno)) if !whole => Err(FileFault::Write(errno)),
            Some(fault) => Err(fault),
        };
        place.write = None;
        let file = File { index, generation: place.generation };
        self.buffers.sent(write.buffer);
        self.mark(index);
        Some(Completion::Written { file, outcome })
    }

    pub(crate) fn filled(&mut self, buffer: u32, result: i32) -> Completion {
        self.awaited -= 1;
        let Read { file, offset } = self.reads[buffer as usize];
        self.places[usize::from(file.index)].reads -= 1;
        self.mark(file.index);
        let outcome = if result < 0 {
            self.buffers.sent(buffer);
            Err(-result)
        } else {
            self.buffers.filled(buffer);
            Ok(Pool::Files.lease(buffer, result as u32))
        };
        Completion::Read { file, offset, outcome }
    }

    pub(crate) fn closed(&mut self, index: u32) -> Completion {
        let file = File { index: index as u16, generation: self.places[index as usize].generation };
        self.vacate(file.index);
        Completion::FileClosed { file }
    }

    fn vacate(&mut self, index: u16) {
        let place = &mut self.places[usize::from(index)];
        assert!(place.phase == Phase::Passing && place.fd < 0, "a place is vacated once, and closed");
        place.phase = Phase::Vacant;
        self.free.push(index);
    }
}

impl Uring {
    /// Looks at every dirty file; those that found no room in the queue stay for the next turn.
    pub(crate) fn settle_files(&mut self) {
        while let Some(index) = self.files.dirty.pop_front() {
            if !self.files.advance(&mut self.ring, index) {
                self.files.dirty.push_front(index);
                break;
            }
            self.files.places[usize::from(index)].dirty = false;
        }
    }

    pub(crate) fn read_file(&mut self, file: File, offset: u64, len: u32) -> Result<(), Busy> {
        let fd = Fd(self.files.holder(file).fd);
        let buffer = self.files.buffers.spend().ok_or(Busy)?;
        let target = self.files.buffers.address(buffer, 0, len as usize);
        let entry = opcode::Read::new(fd, target, len).offset(offset).build();
        if !self.ring.push(&entry.user_data(tag::encode(Operation::Read, buffer, 0))) {
            self.files.buffers.sent(buffer);
            return Err(Busy);
        }
        self.files.reads[buffer as usize] = Read { file, offset };
        self.files.places[usize::from(file.index)].reads += 1;
        self.files.awaited += 1;
        Ok(())
    }

    /// The shard ends: what its files have in flight comes back, or its memory stays with the kernel. A write that waits
    /// for a disk cannot be cancelled.
    pub(crate) fn await_files(&mut self) {
        let start = Instant::now();
        while self.files.is_busy() {
            if std::thread::panicking() || start.elapsed() > PATIENCE {
                self.files.buffers.abandon();
                return;
            }
            self.enter(Some(Duration::from_millis(10)));
            while self.reap().is_some() {}
        }
    }
}
