//! Queues of bytes that borrow their room from one pool, so that an idle queue costs twelve bytes and a stalled one is bounded.
//!
//! Owns a fixed number of fixed blocks. Never allocates after [`Pool::new`], never moves a byte twice.
//!
//! ```text
//!   Queue { head, tail, offsets } ->  block -> block -> block       messages lie end to end, across blocks
//! ```

/// Bytes in one block.
pub const BLOCK_BYTES: usize = 4096;

const NONE: u32 = u32::MAX;

/// The blocks, and the list of those that are free.
#[derive(Debug)]
pub struct Pool {
    /// End to end: as one run of zeros, whose pages the host hands out when they are first written.
    bytes: Vec<u8>,
    next: Vec<u32>,
    free: u32,
    free_count: usize,
}

/// A queue of bytes. Belongs to exactly one pool; must be cleared there before it is dropped.
#[derive(Debug)]
pub struct Queue {
    head: u32,
    tail: u32,
    /// First unread byte in the head block.
    start: u16,
    /// First free byte in the tail block.
    end: u16,
    bytes: u32,
}

/// The pool has no block left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl Default for Queue {
    fn default() -> Self {
        Self { head: NONE, tail: NONE, start: 0, end: 0, bytes: 0 }
    }
}

impl Queue {
    /// Bytes that wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes as usize
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

impl Pool {
    /// A pool of `count` blocks. Their pages are touched when first used.
    ///
    /// # Panics
    /// If `count` does not fit its index.
    #[must_use]
    pub fn new(count: usize) -> Self {
        assert!(count < NONE as usize, "block count fits its index");
        let mut next: Vec<u32> = (1..=count as u32).collect();
        if let Some(last) = next.last_mut() {
            *last = NONE;
        }
        let free = if count == 0 { NONE } else { 0 };
        Self { bytes: vec![0; count * BLOCK_BYTES], next, free, free_count: count }
    }

    /// Blocks that no queue holds.
    #[must_use]
    pub const fn free_count(&self) -> usize {
        self.free_count
    }

    /// Blocks in all.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.next.len()
    }

    /// Whether so many bytes would find room.
    #[must_use]
    pub const fn has_room(&self, queue: &Queue, bytes: usize) -> bool {
        let room = if queue.tail == NONE { 0 } else { BLOCK_BYTES - queue.end as usize };
        bytes.saturating_sub(room).div_ceil(BLOCK_BYTES) <= self.free_count
    }

    /// Appends all of `parts`, in order, or nothing.
    ///
    /// # Errors
    /// [`Exhausted`] when the pool cannot hold it.
    pub fn push(&mut self, queue: &mut Queue, parts: &[&[u8]]) -> Result<(), Exhausted> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if !self.has_room(queue, total) {
            return Err(Exhausted);
        }
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                if queue.tail == NONE || usize::from(queue.end) == BLOCK_BYTES {
                    self.extend(queue);
                }
                let end = usize::from(queue.end);
                let count = rest.len().min(BLOCK_BYTES - end);
                self.block_mut(queue.tail)[end..end + count].copy_from_slice(&rest[..count]);
                queue.end += count as u16;
                rest = &rest[count..];
            }
        }
        queue.bytes += total as u32;
        Ok(())
    }

    /// The oldest bytes that lie together; empty only if the queue is.
    #[must_use]
    pub fn front(&self, queue: &Queue) -> &[u8] {
        if queue.head == NONE {
            return &[];
        }
        let end = if queue.head == queue.tail { usize::from(queue.end) } else { BLOCK_BYTES };
        &self.block(queue.head)[usize::from(queue.start)..end]
    }

    /// Copies the oldest bytes into `target` without taking them. Returns the count.
    pub fn peek(&self, queue: &Queue, target: &mut [u8]) -> usize {
        let (mut block, mut start, mut done) = (queue.head, usize::from(queue.start), 0);
        while block != NONE && done < target.len() {
            let end = if block == queue.tail { usize::from(queue.end) } else { BLOCK_BYTES };
            let count = (end - start).min(target.len() - done);
            target[done..done + count].copy_from_slice(&self.block(block)[start..start + count]);
            done += count;
            start = 0;
            block = if block == queue.tail { NONE } else { self.next[block as usize] };
        }
        done
    }

    /// Takes up to `target.len()` of the oldest bytes. Returns the count.
    pub fn pull(&mut self, queue: &mut Queue, target: &mut [u8]) -> usize {
        let count = self.peek(queue, target);
        self.consume(queue, count);
        count
    }

    /// Drops `count` of the oldest bytes.
    ///
    /// # Panics
    /// If fewer wait.
    pub fn consume(&mut self, queue: &mut Queue, count: usize) {
        assert!(count <= queue.len(), "consumed within what waits");
        let mut rest = count;
        while rest > 0 {
            let step = rest.min(self.front(queue).len());
            queue.start += step as u16;
            queue.bytes -= step as u32;
            rest -= step;
            if self.front(queue).is_empty() {
                self.release_head(queue);
            }
        }
    }

    /// Gives every block back.
    pub fn clear(&mut self, queue: &mut Queue) {
        self.consume(queue, queue.len());
    }

    fn block(&self, block: u32) -> &[u8] {
        &self.bytes[block as usize * BLOCK_BYTES..][..BLOCK_BYTES]
    }

    fn block_mut(&mut self, block: u32) -> &mut [u8] {
        &mut self.bytes[block as usize * BLOCK_BYTES..][..BLOCK_BYTES]
    }

    fn extend(&mut self, queue: &mut Queue) {
        let block = self.free;
        assert!(block != NONE, "room was counted before");
        self.free = self.next[block as usize];
        self.free_count -= 1;
        self.next[block as usize] = NONE;
        if queue.tail == NONE {
            queue.head = block;
            queue.start = 0;
        } else {
            self.next[queue.tail as usize] = block;
        }
        queue.tail = block;
        queue.end = 0;
    }

    fn release_head(&mut self, queue: &mut Queue) {
        let block = queue.head;
        let last = block == queue.tail;
        queue.head = if last { NONE } else { self.next[block as usize] };
        queue.start = 0;
        if last {
            queue.tail = NONE;
            queue.end = 0;
        }
        self.next[block as usize] = self.free;
        self.free = block;
        self.free_count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::SplitMix64;
    use std::collections::VecDeque;

    #[test]
    fn agrees_with_plain_queues() {
        let mut pool = Pool::new(40);
        let mut queues: Vec<Queue> = (0..4).map(|_| Queue::default()).collect();
        let mut models: Vec<VecDeque<u8>> = vec![VecDeque::new(); 4];
        let mut random = SplitMix64::new(3);
        let mut exhausted = 0;
        for turn in 0..30_000u64 {
            let index = random.below(4) as usize;
            let size = random.below(9000) as usize;
            let (queue, model) = (&mut queues[index], &mut models[index]);
            if random.below(5) < 2 {
                let bytes: Vec<u8> = (0..size).map(|at| (at as u64 + turn) as u8).collect();
                let (left, right) = bytes.split_at(size / 3);
                match pool.push(queue, &[left, right]) {
                    Ok(()) => model.extend(&bytes),
                    Err(Exhausted) => exhausted += 1,
                }
            } else {
                let mut out = vec![0; size];
                let count = pool.pull(queue, &mut out);
                assert_eq!(count, size.min(model.len()));
                assert!(model.drain(..count).eq(out[..count].iter().copied()));
            }
            assert_eq!(queue.len(), model.len());
            assert_eq!(pool.front(queue).is_empty(), model.is_empty());
        }
        assert!(exhausted > 0, "the bound was met");
        for queue in &mut queues {
            pool.clear(queue);
        }
        assert_eq!(pool.free_count(), 40, "every block came back");
    }
}
