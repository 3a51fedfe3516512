//! The bytes of a log's tail: a ring in which every record is one slice.
//!
//! ```text
//!   | ring: byte `o` of the log stands at `o % capacity` | spare: the longest record |
//!                                    record begins here ─┘──────▶ and goes on here, and is copied to the ring's front
//! ```
//! So whoever reads a record finds it whole from where it begins, and whoever copies a stretch finds each byte in the
//! ring. The spare holds one record's rest, that of the last which came over the end: of two such records the former
//! begins more than a ring before the latter ends, so that it is forgotten by then.

use crate::record::RECORD_BYTES_MAX;

/// The ring.
#[derive(Debug)]
pub(crate) struct Ring {
    bytes: Vec<u8>,
    capacity: usize,
}

impl Ring {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity + RECORD_BYTES_MAX], capacity }
    }

    pub(crate) const fn capacity(&self) -> u64 {
        self.capacity as u64
    }

    /// The record that begins at an offset, and what stands behind it.
    pub(crate) fn record(&self, offset: u64) -> &[u8] {
        &self.bytes[self.index(offset)..]
    }

    /// Lets `write` fill the room of one record; it returns the count of bytes that it used.
    pub(crate) fn put(&mut self, offset: u64, write: impl FnOnce(&mut [u8]) -> usize) {
        let index = self.index(offset);
        let end = index + write(&mut self.bytes[index..]);
        if end > self.capacity {
            self.bytes.copy_within(self.capacity..end, 0);
        }
    }

    /// Clears a stretch that holds no record.
    pub(crate) fn clear(&mut self, from: u64, until: u64) {
        let (index, count) = (self.index(from), (until - from) as usize);
        let first = count.min(self.capacity - index);
        self.bytes[index..index + first].fill(0);
        self.bytes[..count - first].fill(0);
    }

    /// Copies a stretch, whatever records it holds.
    pub(crate) fn copy(&self, from: u64, target: &mut [u8]) {
        let index = self.index(from);
        let first = target.len().min(self.capacity - index);
        let (head, rest) = target.split_at_mut(first);
        head.copy_from_slice(&self.bytes[index..index + first]);
        rest.copy_from_slice(&self.bytes[..rest.len()]);
    }

    /// The front of a stretch, up to the ring's end.
    pub(crate) fn stretch(&self, from: u64, until: u64) -> &[u8] {
        let index = self.index(from);
        let count = (self.capacity - index).min((until - from) as usize);
        &self.bytes[index..index + count]
    }

    const fn index(&self, offset: u64) -> usize {
        (offset % self.capacity as u64) as usize
    }
}
