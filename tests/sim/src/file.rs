//! Files of the simulated machine: the file operations of `driver::Driver` over the virtual disk.
//!
//! Owns a host's table of files and its file buffers; the disk owns the bytes and says what comes of each operation. As
//! strict as the real backend about handles, leases and flights.

use crate::disk::{Disk, EBADF, Outcome, SharedDisk, What};
use crate::machine::{FILES, Pool};
use crate::network::HostIndex;
use base::Monotonic;
use driver::{Access, Busy, Completion, FILE_NAME_BYTES_MAX, File, FileFault, Lease};
use std::collections::VecDeque;

/// The sizes of a machine's files; small ones meet every bound.
#[derive(Clone, Copy, Debug)]
pub struct FileSizes {
    /// Files that may be open.
    pub count: u32,
    /// Bytes of a file buffer.
    pub buffer_bytes: u32,
    /// File buffers.
    pub buffer_count: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Vacant,
    /// An open or a close is in flight.
    Passing,
    Open,
    /// To be closed once nothing is in flight.
    Closing,
}

#[derive(Debug)]
struct Place {
    generation: u16,
    phase: Phase,
    inode: usize,
    writable: bool,
    /// The buffer of the write in flight.
    writing: Option<u32>,
    reads: u32,
}

#[derive(Debug)]
pub(crate) struct Files {
    disk: SharedDisk,
    host: HostIndex,
    pub(crate) sizes: FileSizes,
    pub(crate) pool: Pool,
    places: Vec<Place>,
    vacant: Vec<u16>,
}

impl Files {
    pub(crate) fn carry(&self, offset: u64, bytes: &[u8]) -> bool {
        self.disk.borrow_mut().carry(self.host, offset, bytes)
    }

    pub(crate) fn new(disk: &SharedDisk, host: HostIndex, sizes: FileSizes) -> Self {
        let vacant =
            || Place { generation: 0, phase: Phase::Vacant, inode: 0, writable: false, writing: None, reads: 0 };
        Self {
            disk: disk.clone(),
            host,
            sizes,
            pool: Pool::new(FILES, sizes.buffer_count, sizes.buffer_bytes),
            places: (0..sizes.count).map(|_| vacant()).collect(),
            vacant: (0..sizes.count as u16).rev().collect(),
        }
    }

    pub(crate) fn open_count(&self) -> usize {
        self.places.len() - self.vacant.len()
    }

    /// When something of these files gets on.
    pub(crate) fn next_due(&self) -> Monotonic {
        self.disk.borrow().next_due(self.host)
    }

    /// Takes what is done, and closes what has nothing in flight any more.
    pub(crate) fn gather(&mut self, now: Monotonic, batch: &mut VecDeque<Completion>) {
        let disk = self.disk.clone();
        let mut disk = disk.borrow_mut();
        disk.settle(now);
        while let Some((file, outcome)) = disk.done(self.host) {
            let completion = self.conclude(file, outcome);
            batch.push_back(completion);
        }
        for index in 0..self.places.len() {
            self.advance_close(&mut disk, index as u16, now);
        }
    }

    fn conclude(&mut self, file: File, outcome: Outcome) -> Completion {
        let place = &mut self.places[usize::from(file.index)];
        assert_eq!(place.generation, file.generation, "what is in flight has its holder");
        match outcome {
            Outcome::Opened(Ok(inode)) => {
                (place.phase, place.inode) = (Phase::Open, inode);
                Completion::Opened { file, outcome: Ok(()) }
            }
            Outcome::Opened(Err(errno)) => {
                self.vacate(file);
                Completion::Opened { file, outcome: Err(errno) }
            }
            Outcome::Written(outcome) => {
                self.pool.give(place.writing.take().expect("one write is in flight"));
                Completion::Written { file, outcome }
            }
            Outcome::Read { offset, buffer, bytes } => {
                place.reads -= 1;
                let outcome = match bytes {
                    Ok(bytes) => {
                        self.pool.buffers[buffer as usize][..bytes.len()].copy_from_slice(&bytes);
                        Ok(self.pool.lease(buffer, bytes.len() as u32))
                    }
                    Err(errno) => {
                        self.pool.give(buffer);
                        Err(errno)
                    }
                };
                Completion::Read { file, offset, outcome }
            }
            Outcome::Closed => {
                self.vacate(file);
                Completion::FileClosed { file }
            }
        }
    }

    fn vacate(&mut self, file: File) {
        let place = &mut self.places[usize::from(file.index)];
        assert!(place.phase == Phase::Passing, "a place is vacated once");
        place.phase = Phase::Vacant;
        self.vacant.push(file.index);
    }

    fn advance_close(&mut self, disk: &mut Disk, index: u16, now: Monotonic) {
        let place = &mut self.places[usize::from(index)];
        if place.phase == Phase::Closing && place.writing.is_none() && place.reads == 0 {
            place.phase = Phase::Passing;
            let file = File { index, generation: place.generation };
            disk.ask(self.host, file, What::Close { inode: place.inode }, now);
        }
    }

    fn holder(&mut self, file: File) -> &mut Place {
        let place = &mut self.places[usize::from(file.index)];
        assert!(place.phase == Phase::Open && place.generation == file.generation, "the file is open");
        place
    }

    // What is asked; each returns when to look again.

    pub(crate) fn open(&mut self, name: &str, access: Access, now: Monotonic) -> Result<(File, Monotonic), Busy> {
        assert!((1..=FILE_NAME_BYTES_MAX).contains(&name.len()), "a name of a file fits its place");
        assert!(!name.starts_with('/') && !name.contains('\0'), "a name is relative and of no NUL");
        let index = self.vacant.pop().ok_or(Busy)?;
        let place = &mut self.places[usize::from(index)];
        place.generation = place.generation.wrapping_add(1);
        (place.phase, place.writable) = (Phase::Passing, access == Access::Write);
        let file = File { index, generation: place.generation };
        let due = self.disk.borrow_mut().ask(self.host, file, What::Open { name: name.into(), access }, now);
        Ok((file, due))
    }

    pub(crate) fn buffer(&mut self) -> Result<Lease, Busy> {
        self.pool.lend(self.sizes.buffer_bytes).ok_or(Busy)
    }

    pub(crate) fn write(
        &mut self,
        file: File,
        offset: u64,
        buffer: u32,
        count: usize,
        sync: bool,
        now: Monotonic,
    ) -> Monotonic {
        assert!(count <= self.sizes.buffer_bytes as usize, "bytes within a file buffer");
        assert!(count > 0 || sync, "something is asked");
        assert!(!self.pool.free.contains(&buffer), "what is written was lent");
        let bytes = self.pool.buffers[buffer as usize][..count].to_vec();
        let place = self.holder(file);
        assert!(place.writing.is_none(), "one write is in flight per file");
        place.writing = Some(buffer);
        let (inode, writable) = (place.inode, place.writable);
        let mut disk = self.disk.borrow_mut();
        if !writable && count > 0 {
            disk.refuse(self.host, file, Outcome::Written(Err(FileFault::Write(EBADF))));
            return now;
        }
        let what = What::Write { inode, offset: offset as usize, bytes, done: 0, sync };
        disk.ask(self.host, file, what, now)
    }

    pub(crate) fn read(&mut self, file: File, offset: u64, len: usize, now: Monotonic) -> Result<Monotonic, Busy> {
        assert!(len > 0 && len <= self.sizes.buffer_bytes as usize, "bytes within a file buffer");
        self.holder(file);
        let buffer = self.pool.take().ok_or(Busy)?;
        let place = self.holder(file);
        place.reads += 1;
        let what = What::Read { inode: place.inode, offset, len, buffer };
        Ok(self.disk.borrow_mut().ask(self.host, file, what, now))
    }

    pub(crate) fn close(&mut self, file: File, now: Monotonic) -> Monotonic {
        self.holder(file).phase = Phase::Closing;
        now
    }
}

impl Drop for Files {
    /// The process is gone, by its own will or not.
    fn drop(&mut self) {
        self.disk.borrow_mut().kill(self.host);
    }
}
