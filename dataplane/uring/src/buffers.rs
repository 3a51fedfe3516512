//! Buffers: rings of them that the kernel takes from, and stocks of them that the shard takes from.
//!
//! Owns the memory. A buffer is in exactly one of three hands, and each crossing is asserted:
//!
//! ```text
//!   provided ring:   kernel --completion--> lent to the shard --release--> kernel
//!   stock, output:   free   --output-----> lent to the shard --send-----> kernel --completion--> free
//!                                                            --release-> free
//!   stock, files:    free   --file_buffer-> lent, written as above;  free --read--> kernel --completion--> lent
//! ```

use crate::memory::Region;
use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

/// Which buffers the shard holds, a bit each.
#[derive(Debug)]
struct Lent(Box<[u64]>);

impl Lent {
    fn new(count: u32) -> Self {
        Self(vec![0; count.div_ceil(64) as usize].into_boxed_slice())
    }

    fn take(&mut self, index: u32) {
        let (word, bit) = (&mut self.0[index as usize / 64], 1 << (index % 64));
        assert!(*word & bit == 0, "a buffer is lent once at a time");
        *word |= bit;
    }

    fn give(&mut self, index: u32) {
        let (word, bit) = (&mut self.0[index as usize / 64], 1 << (index % 64));
        assert!(*word & bit != 0, "a lease comes back exactly once");
        *word &= !bit;
    }

    fn holds(&self, index: u32) -> bool {
        self.0[index as usize / 64] >> (index % 64) & 1 == 1
    }
}

/// A registered ring of buffers that multishot receives take from.
#[derive(Debug)]
pub(crate) struct Provided {
    entries: Region,
    buffers: Region,
    count: u16,
    bytes: usize,
    tail: u16,
    lent: Lent,
    lent_count: u32,
}

impl Provided {
    /// Registers `count` buffers (a power of two) as `group`, all of them free for the kernel.
    pub(crate) fn register(submitter: &Submitter<'_>, group: u16, count: u32, bytes: u32) -> io::Result<Self> {
        assert!(count.is_power_of_two() && count <= 32_768, "the kernel's bound on a buffer ring");
        let entries = Region::new(count as usize * size_of::<BufRingEntry>())?;
        let buffers = Region::new(count as usize * bytes as usize)?;
        // SAFETY: `entries` is page-aligned, zeroed, holds `count` entries, and lives as long as `Self`, which its owner
        // drops only after the ring (`Uring` declares the ring first).
        unsafe { submitter.register_buf_ring_with_flags(entries.at(0, 0).addr() as u64, count as u16, group, 0)? };
        let lent = Lent::new(count);
        let mut ring =
            Self { entries, buffers, count: count as u16, bytes: bytes as usize, tail: 0, lent, lent_count: 0 };
        for index in 0..ring.count {
            ring.provide(index);
        }
        Ok(ring)
    }

    /// Buffers that the shard does not hold.
    pub(crate) fn available(&self) -> u32 {
        u32::from(self.count) - self.lent_count
    }

    /// The kernel filled buffer `index` and gave it to us.
    pub(crate) fn take(&mut self, index: u16) {
        self.lent.take(u32::from(index));
        self.lent_count += 1;
    }

    /// Back to the kernel.
    pub(crate) fn give(&mut self, index: u32) {
        self.lent.give(index);
        self.lent_count -= 1;
        self.provide(index as u16);
    }

    /// The first `len` bytes of a buffer that is lent.
    pub(crate) fn slice(&mut self, index: u32, offset: usize, len: usize) -> &mut [u8] {
        assert!(self.lent.holds(index), "only a lent buffer is read");
        assert!(offset + len <= self.bytes, "bytes within the buffer");
        // SAFETY: the buffer is lent to us: the kernel took it off the ring when it filled it, and does not write to it
        // until `give` puts it back.
        unsafe { self.buffers.slice(index as usize * self.bytes + offset, len) }
    }

    /// Puts a buffer at the tail, then publishes the tail.
    fn provide(&mut self, index: u16) {
        let address = self.buffers.at(usize::from(index) * self.bytes, self.bytes);
        let place = usize::from(self.tail & (self.count - 1));
        let entry: *mut BufRingEntry =
            self.entries.at(place * size_of::<BufRingEntry>(), size_of::<BufRingEntry>()).cast();
        // SAFETY: the entry lies within `entries` (asserted by `at`) and is aligned, since the region is page-aligned.
        // Every buffer is either lent or on the ring, so the ring never holds more than `count` and this place was
        // consumed by the kernel. Field writes only: the tail shares memory with entry 0's reserved field.
        unsafe {
            (*entry).set_addr(address.addr() as u64);
            (*entry).set_len(self.bytes as u32);
            (*entry).set_bid(index);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `entries` starts with entry 0, whose reserved field is the tail; it is aligned, valid as long as the
        // region, and accessed by both sides atomically.
        let tail = unsafe {
            AtomicU16::from_ptr(BufRingEntry::tail(self.entries.at(0, size_of::<BufRingEntry>()).cast()).cast_mut())
        };
        // Release: the kernel, reading the tail, sees the entry.
        tail.store(self.tail, Ordering::Release);
    }
}

/// Buffers that the shard takes one by one. The one freed last is used next: its pages are warm.
#[derive(Debug)]
pub(crate) struct Stock {
    buffers: Region,
    bytes: usize,
    free: Vec<u32>,
    lent: Lent,
    count: u32,
}

impl Stock {
    pub(crate) fn new(count: u32, bytes: u32) -> io::Result<Self> {
        let buffers = Region::new(count as usize * bytes as usize)?;
        Ok(Self { buffers, bytes: bytes as usize, free: (0..count).rev().collect(), lent: Lent::new(count), count })
    }

    pub(crate) fn lend(&mut self) -> Option<u32> {
        let index = self.free.pop()?;
        self.lent.take(index);
        Some(index)
    }

    /// From the shard to the kernel.
    pub(crate) fn send(&mut self, index: u32) {
        assert!(index < self.count, "a buffer of this stock");
        self.lent.give(index);
    }

    /// From the free to the kernel.
    pub(crate) fn spend(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// From the kernel, which filled it, to the shard.
    pub(crate) fn filled(&mut self, index: u32) {
        self.lent.take(index);
    }

    /// From the kernel to the free.
    pub(crate) fn sent(&mut self, index: u32) {
        debug_assert!(!self.lent.holds(index), "what was sent is not lent");
        self.free.push(index);
        assert!(self.free.len() <= self.count as usize, "a buffer is freed once");
    }

    pub(crate) fn slice(&mut self, index: u32, len: usize) -> &mut [u8] {
        assert!(self.lent.holds(index), "only a lent buffer is written");
        assert!(len <= self.bytes, "bytes within the buffer");
        // SAFETY: the buffer is lent to the shard, so no request that the kernel reads or fills it for is in flight.
        unsafe { self.buffers.slice(index as usize * self.bytes, len) }
    }

    /// Where the kernel reads or fills `len` bytes at `offset`.
    pub(crate) fn address(&self, index: u32, offset: usize, len: usize) -> *mut u8 {
        assert!(offset + len <= self.bytes, "bytes within the buffer");
        self.buffers.at(index as usize * self.bytes + offset, len)
    }

    /// Never gives the memory back: the kernel may still write to it.
    pub(crate) fn abandon(&mut self) {
        self.buffers.abandon();
    }
}
