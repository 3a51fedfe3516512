//! From a hash to the values that have it: open addressing in many small segments, each of which grows by itself.
//!
//! Holds no keys: an entry is 32 bits of hash and a value, and the caller says whether a value is the one that is meant. As
//! the whole hash is in the entry, growing and removing look at nothing else. The longest pause is that of one segment's
//! growth: some [`SEGMENT_LEN`] entries, a fraction of a millisecond.
//!
//! ```text
//!   entry u64 = | hash 32 | value + 1 |      0 is empty; half to three quarters are taken
//!   hash      = | segment | home in it, as a fraction of its length |
//! ```

/// Entries that a segment has when the table is as full as was said.
const SEGMENT_LEN: usize = 1 << 15;

/// The most segments, as a power of two: the hash must leave enough bits for the home.
const SEGMENT_BITS_MAX: u32 = 12;

/// Slots of the first growth, then half as many again each time.
const SLOTS_MIN: usize = 8;

/// Slots that [`Table::likely`] looks at: most values are there, and most of the time in one cache line.
const LIKELY: usize = 4;

#[derive(Debug, Default)]
struct Segment {
    slots: Box<[u64]>,
    len: usize,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    segments: Box<[Segment]>,
    segment_bits: u32,
    len: usize,
}

impl Table {
    /// An empty table, cut for at most so many entries.
    pub(crate) fn new(len_max: usize) -> Self {
        let segment_bits = len_max.div_ceil(SEGMENT_LEN).next_power_of_two().ilog2().min(SEGMENT_BITS_MAX);
        let segments = (0..1 << segment_bits).map(|_| Segment::default()).collect();
        Self { segments, segment_bits, len: 0 }
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let slots: usize = self.segments.iter().map(|segment| size_of_val(&*segment.slots)).sum();
        slots + size_of_val(&*self.segments)
    }

    /// The value under `hash` that `is_meant` says is the one.
    #[inline]
    pub(crate) fn find(&self, hash: u32, mut is_meant: impl FnMut(u32) -> bool) -> Option<u32> {
        let segment = &self.segments[self.segment_of(hash)];
        let slots = &*segment.slots;
        let mut at = self.home(hash, slots.len());
        while let Some(entry) = slots.get(at).filter(|entry| **entry != 0) {
            if hash_of(*entry) == hash && is_meant(value_of(*entry)) {
                return Some(value_of(*entry));
            }
            at = after(at, slots.len());
        }
        None
    }

    /// A value that stands under `hash` where it is looked for first, `u32::MAX` if there is none: no loop and no guess of
    /// the processor's is in the way of the next load.
    #[inline]
    pub(crate) fn likely(&self, hash: u32) -> u32 {
        let slots = &*self.segments[self.segment_of(hash)].slots;
        let home = self.home(hash, slots.len());
        let Some(first) = slots.get(home..home + LIKELY) else { return u32::MAX };
        first.iter().fold(u32::MAX, |found, entry| if hash_of(*entry) == hash { value_of(*entry) } else { found })
    }

    /// Adds a value under `hash`.
    pub(crate) fn insert(&mut self, hash: u32, value: u32) {
        assert!(value < u32::MAX, "a value leaves room for the empty entry");
        let index = self.segment_of(hash);
        if self.segments[index].len * 4 >= self.segments[index].slots.len() * 3 {
            self.grow(index);
        }
        self.len += 1;
        self.segments[index].len += 1;
        self.put(index, u64::from(hash) << 32 | u64::from(value + 1));
    }

    /// Takes a value under `hash` away and closes the gap.
    pub(crate) fn remove(&mut self, hash: u32, value: u32) {
        let index = self.segment_of(hash);
        let bits = self.segment_bits;
        let segment = &mut self.segments[index];
        let (slots, entry) = (&mut *segment.slots, u64::from(hash) << 32 | u64::from(value + 1));
        let count = slots.len();
        let mut at = home(hash, bits, count);
        while slots[at] != entry {
            assert!(slots[at] != 0, "a value that is taken away was there");
            at = after(at, count);
        }
        let mut gap = at;
        loop {
            at = after(at, count);
            let entry = slots[at];
            if entry == 0 {
                break;
            }
            // An entry may fill the gap unless its home lies cyclically after the gap and no later than itself.
            let home = home(hash_of(entry), bits, count);
            let stays = if gap < at { gap < home && home <= at } else { gap < home || home <= at };
            if !stays {
                slots[gap] = entry;
                gap = at;
            }
        }
        slots[gap] = 0;
        segment.len -= 1;
        self.len -= 1;
    }

    fn grow(&mut self, index: usize) {
        let count = (self.segments[index].slots.len() * 3 / 2).max(SLOTS_MIN);
        let before = core::mem::replace(&mut self.segments[index].slots, vec![0; count].into_boxed_slice());
        for entry in before.into_iter().filter(|entry| *entry != 0) {
            self.put(index, entry);
        }
    }

    fn put(&mut self, index: usize, entry: u64) {
        let bits = self.segment_bits;
        let slots = &mut *self.segments[index].slots;
        let mut at = home(hash_of(entry), bits, slots.len());
        while slots[at] != 0 {
            at = after(at, slots.len());
        }
        slots[at] = entry;
    }

    fn segment_of(&self, hash: u32) -> usize {
        (u64::from(hash) << self.segment_bits >> 32) as usize
    }

    fn home(&self, hash: u32, count: usize) -> usize {
        home(hash, self.segment_bits, count)
    }
}

/// Where in a segment of so many slots an entry would stand if nobody else did.
fn home(hash: u32, segment_bits: u32, count: usize) -> usize {
    ((u64::from(hash << segment_bits) * count as u64) >> 32) as usize
}

const fn hash_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}

const fn value_of(entry: u64) -> u32 {
    (entry as u32).wrapping_sub(1)
}

const fn after(at: usize, count: usize) -> usize {
    if at + 1 == count { 0 } else { at + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::{SplitMix64, mix64};
    use std::collections::BTreeSet;

    fn hash(key: u64) -> u32 {
        // Few distinct hashes, so that strangers meet.
        (mix64(key / 3) >> 32) as u32
    }

    #[test]
    fn agrees_with_a_tree() {
        for len_max in [10, 10 * SEGMENT_LEN] {
            let mut table = Table::new(len_max);
            let mut model = BTreeSet::new();
            let mut random = SplitMix64::new(11);
            for _ in 0..60_000 {
                let key = random.below(300);
                if model.insert(key) {
                    table.insert(hash(key), key as u32);
                } else if random.below(2) == 0 {
                    model.remove(&key);
                    table.remove(hash(key), key as u32);
                }
                let key = random.below(300);
                let found = table.find(hash(key), |value| u64::from(value) == key);
                assert_eq!(found.is_some(), model.contains(&key));
                assert_eq!(table.len, model.len());
            }
        }
    }

    #[test]
    fn segments_grow_one_by_one_and_never_for_churn() {
        let mut table = Table::new(1 << 20);
        let mut largest = 0;
        for key in 0..1 << 20 {
            table.insert((mix64(key) >> 32) as u32, key as u32);
            largest = largest.max(table.segments[table.segment_of((mix64(key) >> 32) as u32)].slots.len());
        }
        assert!(largest < 3 * SEGMENT_LEN, "a segment of {largest} slots");
        let bytes = table.bytes();
        assert!(bytes <= (1 << 20) * 8 * 2, "{bytes} bytes");
        for key in 0..1 << 20 {
            table.remove((mix64(key) >> 32) as u32, key as u32);
            table.insert((mix64(key) >> 32) as u32, key as u32);
        }
        assert_eq!(table.bytes(), bytes);
    }
}
