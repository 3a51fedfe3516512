//! One run of bytes, cut by halves: where messages lie whole, in as much memory as was set aside and no more.
//!
//! Owns the bytes. Never allocates after [`Arena::new`], never moves what was put; its pages are touched when first used.
//! A block is of 64 bytes times a power of two and lies at a multiple of its size, so that its other half, with which it joins
//! again, is one bit away (buddies, Knowlton 1965). Lists of free blocks go through the free blocks themselves.
//!
//! ```text
//!   | A A A A | A A A A | free, 8 units                  |      unit: 64 bytes; states: a byte for the first unit of a block
//! ```

const UNIT_BYTES: usize = 64;

const ORDER_COUNT: usize = 32;

const NONE: u32 = u32::MAX;

/// In the state of a unit: a free block begins here.
const FREE: u8 = 0x80;

/// Bytes that were put; not a copy, but the name of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first unit; `NONE` if there are no bytes.
    at: u32,
    bytes: u32,
}

impl Span {
    pub(crate) const EMPTY: Self = Self { at: NONE, bytes: 0 };

    pub(crate) const fn bytes(self) -> usize {
        self.bytes as usize
    }
}

#[derive(Debug)]
pub(crate) struct Arena {
    bytes: Vec<u8>,
    /// For each unit: where a free block begins, its order and `FREE`.
    states: Vec<u8>,
    /// The first free block of each order.
    first: [u32; ORDER_COUNT],
    /// Orders that have one, a bit each.
    free: u32,
    used_bytes: usize,
}

/// The order of a block that holds so many bytes.
const fn order_of(bytes: usize) -> u32 {
    let units = bytes.div_ceil(UNIT_BYTES);
    if units <= 1 { 0 } else { usize::BITS - (units - 1).leading_zeros() }
}

impl Arena {
    pub(crate) fn new(bytes: usize) -> Self {
        let units = bytes / UNIT_BYTES;
        assert!(units.is_power_of_two() && bytes.is_multiple_of(UNIT_BYTES), "an arena is a power of two of units");
        assert!(units <= 1 << (ORDER_COUNT - 2), "units fit their number");
        let mut arena =
            Self { bytes: vec![0; bytes], states: vec![0; units], first: [NONE; ORDER_COUNT], free: 0, used_bytes: 0 };
        arena.add(0, units.trailing_zeros());
        arena
    }

    /// Bytes in blocks that are in use.
    pub(crate) const fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Bytes in all.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether so many can be put.
    pub(crate) const fn has_room(&self, bytes: usize) -> bool {
        let order = order_of(bytes);
        bytes == 0 || order < ORDER_COUNT as u32 && self.free >> order != 0
    }

    /// Puts these pieces end to end. `None`: no block is large enough.
    pub(crate) fn put(&mut self, pieces: &[&[u8]]) -> Option<Span> {
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        if bytes == 0 {
            return Some(Span::EMPTY);
        }
        if !self.has_room(bytes) {
            return None;
        }
        let order = order_of(bytes);
        let mut found = (self.free >> order).trailing_zeros() + order;
        let at = self.first[found as usize];
        self.remove(at, found);
        while found > order {
            found -= 1;
            self.add(at + (1 << found), found);
        }
        self.used_bytes += UNIT_BYTES << order;
        let mut place = at as usize * UNIT_BYTES;
        for piece in pieces {
            self.bytes[place..place + piece.len()].copy_from_slice(piece);
            place += piece.len();
        }
        Some(Span { at, bytes: bytes as u32 })
    }

    pub(crate) fn get(&self, span: Span) -> &[u8] {
        if span.at == NONE { &[] } else { &self.bytes[span.at as usize * UNIT_BYTES..][..span.bytes as usize] }
    }

    /// Gives a block back; its name is not used again.
    pub(crate) fn free(&mut self, span: Span) {
        if span.at == NONE {
            return;
        }
        let (mut at, mut order) = (span.at, order_of(span.bytes as usize));
        self.used_bytes -= UNIT_BYTES << order;
        while 1 << order < self.states.len() {
            let other = at ^ (1 << order);
            if self.states[other as usize] != order as u8 | FREE {
                break;
            }
            self.remove(other, order);
            at &= !(1 << order);
            order += 1;
        }
        self.add(at, order);
    }

    /// The next and the previous free block of the same order.
    fn links(&self, at: u32) -> [u32; 2] {
        let place = at as usize * UNIT_BYTES;
        let four = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| self.bytes[at + byte]));
        [four(place), four(place + 4)]
    }

    fn set_link(&mut self, at: u32, which: usize, target: u32) {
        let place = at as usize * UNIT_BYTES + 4 * which;
        self.bytes[place..place + 4].copy_from_slice(&target.to_le_bytes());
    }

    fn add(&mut self, at: u32, order: u32) {
        let next = self.first[order as usize];
        self.set_link(at, 0, next);
        self.set_link(at, 1, NONE);
        if next != NONE {
            self.set_link(next, 1, at);
        }
        self.first[order as usize] = at;
        self.free |= 1 << order;
        self.states[at as usize] = order as u8 | FREE;
    }

    fn remove(&mut self, at: u32, order: u32) {
        let [next, previous] = self.links(at);
        if next != NONE {
            self.set_link(next, 1, previous);
        }
        if previous == NONE {
            self.first[order as usize] = next;
            if next == NONE {
                self.free &= !(1 << order);
            }
        } else {
            self.set_link(previous, 0, next);
        }
        self.states[at as usize] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::SplitMix64;

    #[test]
    fn what_is_put_stays_until_it_is_given_back() {
        let mut arena = Arena::new(1 << 16);
        let mut kept: Vec<(Span, Vec<u8>)> = Vec::new();
        let mut random = SplitMix64::new(7);
        let mut refused = 0;
        for round in 0..60_000u64 {
            if random.below(100) < 52 {
                let bytes: Vec<u8> = (0..random.below(1200)).map(|at| (at + round) as u8).collect();
                let (left, right) = bytes.split_at(bytes.len() / 3);
                let has_room = arena.has_room(bytes.len());
                let put = arena.put(&[left, b"", right]);
                assert_eq!(put.is_some(), has_room);
                match put {
                    Some(span) => kept.push((span, bytes)),
                    None => refused += 1,
                }
            } else if !kept.is_empty() {
                let (span, bytes) = kept.swap_remove(random.below(kept.len() as u64) as usize);
                assert_eq!(arena.get(span), bytes);
                arena.free(span);
            }
        }
        assert!(refused > 0, "the bound was met");
        for (span, bytes) in kept {
            assert_eq!(arena.get(span), bytes);
            arena.free(span);
        }
        assert_eq!(arena.used_bytes(), 0);
        let whole = vec![1; 1 << 16];
        assert!(arena.put(&[&whole]).is_some(), "all halves have joined again");
        assert!(!arena.has_room(1) && arena.has_room(0));
    }
}
