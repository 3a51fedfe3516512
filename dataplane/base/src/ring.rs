//! A ring of variable-length records from one thread to one other: the hop between two shards.
//!
//! Bounded, wait-free, sized once. Records are bytes; what they mean is the caller's business. A record that does not
//! fit is refused whole (`DropNewest` is the caller's to count), never split over two reads.
//!
//! ```text
//!   | length u32 | record … | length u32 | record … |        (a record may wrap around the ring's end)
//! ```
//!
//! Head and tail lie on cache lines of their own, and so do the two ends, which remember the other's place: whoever makes
//! the rings of several threads side by side does not have them write to one line.

/// The longest record that every ring has room for, in bytes.
pub const RECORD_BYTES_MAX: usize = 4096;

/// What a record takes beside itself.
pub const LENGTH_BYTES: usize = 4;

/// The writing end.
#[derive(Debug)]
#[repr(align(128))]
pub struct Sender(rtrb::Producer<u8>);

/// The reading end.
#[derive(Debug)]
#[repr(align(128))]
pub struct Receiver(rtrb::Consumer<u8>);

// The head, the tail and what never changes, each on lines of its own.
const _: () = assert!(align_of::<rtrb::RingBuffer<u8>>() >= 64 && size_of::<rtrb::RingBuffer<u8>>() >= 3 * 64);

/// Room for any record of the common length.
pub type Record = [u8; RECORD_BYTES_MAX];

/// The ring has no room for the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A ring that holds `capacity_bytes` of records and their lengths.
///
/// # Panics
/// If the capacity could not hold one record of the greatest length.
#[must_use]
pub fn ring(capacity_bytes: usize) -> (Sender, Receiver) {
    assert!(capacity_bytes >= RECORD_BYTES_MAX + LENGTH_BYTES, "a ring holds at least one record");
    let (sender, receiver) = rtrb::RingBuffer::new(capacity_bytes);
    (Sender(sender), Receiver(receiver))
}

impl Sender {
    /// Appends one record and makes it visible to the reader.
    ///
    /// # Errors
    /// [`Full`] when the reader is too far behind; nothing was written.
    pub fn push(&mut self, record: &[u8]) -> Result<(), Full> {
        let mut chunk = self.0.write_chunk(LENGTH_BYTES + record.len()).map_err(|_| Full)?;
        let (first, second) = chunk.as_mut_slices();
        scatter(first, second, 0, &(record.len() as u32).to_le_bytes());
        scatter(first, second, LENGTH_BYTES, record);
        chunk.commit_all();
        Ok(())
    }

    /// The same for a record whose parts lie apart.
    ///
    /// # Errors
    /// [`Full`] when the reader is too far behind, or the ring is shorter than the record; nothing was written.
    pub fn push_parts(&mut self, parts: &[&[u8]]) -> Result<(), Full> {
        let count: usize = parts.iter().map(|part| part.len()).sum();
        let mut chunk = self.0.write_chunk(LENGTH_BYTES + count).map_err(|_| Full)?;
        let (first, second) = chunk.as_mut_slices();
        scatter(first, second, 0, &(count as u32).to_le_bytes());
        let mut at = LENGTH_BYTES;
        for part in parts {
            scatter(first, second, at, part);
            at += part.len();
        }
        chunk.commit_all();
        Ok(())
    }
}

impl Receiver {
    /// Moves the oldest record, if there is one, into `target`. Returns its length.
    ///
    /// # Panics
    /// If `target` is shorter than the record: our own mistake.
    pub fn pop(&mut self, target: &mut [u8]) -> Option<usize> {
        let head = self.0.read_chunk(LENGTH_BYTES).ok()?;
        let mut length = [0; LENGTH_BYTES];
        gather(head.as_slices(), 0, &mut length);
        let count = u32::from_le_bytes(length) as usize;
        // A sender commits length and record in one step, so the record is there when its length is.
        let whole = self.0.read_chunk(LENGTH_BYTES + count).expect("a record is committed whole");
        gather(whole.as_slices(), LENGTH_BYTES, &mut target[..count]);
        whole.commit_all();
        Some(count)
    }

    /// Bytes that wait, lengths of records included.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.0.slots()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn scatter(first: &mut [u8], second: &mut [u8], at: usize, source: &[u8]) {
    if at >= first.len() {
        let at = at - first.len();
        second[at..at + source.len()].copy_from_slice(source);
        return;
    }
    let split = source.len().min(first.len() - at);
    first[at..at + split].copy_from_slice(&source[..split]);
    second[..source.len() - split].copy_from_slice(&source[split..]);
}

fn gather((first, second): (&[u8], &[u8]), at: usize, target: &mut [u8]) {
    if at >= first.len() {
        let at = at - first.len();
        target.copy_from_slice(&second[at..at + target.len()]);
        return;
    }
    let split = target.len().min(first.len() - at);
    target[..split].copy_from_slice(&first[at..at + split]);
    let rest = target.len() - split;
    target[split..].copy_from_slice(&second[..rest]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::SplitMix64;
    use std::collections::VecDeque;

    #[test]
    fn agrees_with_a_queue_of_vectors() {
        let (mut sender, mut receiver) = ring(RECORD_BYTES_MAX + LENGTH_BYTES + 301);
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        let mut random = SplitMix64::new(7);
        let mut refused = 0;
        let mut target = [0; RECORD_BYTES_MAX];
        for turn in 0..20_000u32 {
            if random.below(2) == 0 {
                let count = random.below(700) as usize;
                let record: Vec<u8> = (0..count).map(|at| (at as u32 ^ turn) as u8).collect();
                let (front, back) = record.split_at(count / 3);
                let pushed = if turn % 3 == 0 { sender.push(&record) } else { sender.push_parts(&[front, back]) };
                match pushed {
                    Ok(()) => model.push_back(record),
                    Err(Full) => refused += 1,
                }
            } else {
                let count = receiver.pop(&mut target);
                assert_eq!(count.map(|count| target[..count].to_vec()), model.pop_front());
            }
        }
        assert!(refused > 0, "the bound was met");
    }

    #[test]
    fn crosses_threads_in_order() {
        let (mut sender, mut receiver) = ring(8192);
        let writer = std::thread::spawn(move || {
            for value in 0u64..50_000 {
                while sender.push(&value.to_le_bytes()).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        let mut target = [0; RECORD_BYTES_MAX];
        for expected in 0u64..50_000 {
            while receiver.pop(&mut target).is_none() {
                std::thread::yield_now();
            }
            assert_eq!(target[..8], expected.to_le_bytes());
        }
        writer.join().expect("writer ends");
        assert!(receiver.is_empty());
    }
}
