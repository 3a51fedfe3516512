//! Places for values of one kind that grow chunk by chunk: nothing that was put in is ever moved.
//!
//! Owns the list of free places, which runs through the places themselves. A chunk is allocated when the ones before it are
//! full and its pages are touched as its places are first used; places that were freed are used again before new ones.
//!
//! ```text
//!   place -> chunk = place * run / CHUNK, offset = place * run % CHUNK       a place holds `run` values side by side
//! ```

/// No place.
pub(crate) const NONE: u32 = u32::MAX;

/// Values of a chunk, as a power of two.
const CHUNK_BITS: u32 = 14;
const CHUNK: usize = 1 << CHUNK_BITS;

/// What can stand in a place.
pub(crate) trait Value {
    /// What stands in a free place, and in the rest of its run: the next free one is `next`.
    fn free(next: u32) -> Self;

    /// What [`Value::free`] was given.
    fn next_free(&self) -> u32;
}

/// The places.
#[derive(Debug)]
pub(crate) struct Chunks<V> {
    chunks: Vec<Vec<V>>,
    /// Values of a place, as a power of two.
    run_bits: u32,
    first_free: u32,
    /// Places that are in use.
    len: usize,
}

impl<V: Value> Chunks<V> {
    /// Places of one value each.
    pub(crate) const fn new() -> Self {
        Self::with_runs(0)
    }

    /// Places of `1 << run_bits` values each.
    pub(crate) const fn with_runs(run_bits: u32) -> Self {
        assert!(run_bits <= CHUNK_BITS, "a run lies in one chunk");
        Self { chunks: Vec::new(), run_bits, first_free: NONE, len: 0 }
    }

    /// Places in use.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes that the chunks take, whether used or not.
    pub(crate) fn bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<V>()).sum();
        chunks + self.chunks.capacity() * size_of::<Vec<V>>()
    }

    /// A place whose first value is this; the rest of its run are free ones.
    pub(crate) fn insert(&mut self, value: V) -> u32 {
        self.len += 1;
        if self.first_free != NONE {
            let place = self.first_free;
            self.first_free = self[place].next_free();
            self[place] = value;
            return place;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let full = (self.chunks.len() - 1) << CHUNK_BITS;
        let chunk = self.chunks.last_mut().expect("a chunk with room");
        let place = (full + chunk.len()) >> self.run_bits;
        chunk.push(value);
        chunk.extend((1..1 << self.run_bits).map(|_| V::free(NONE)));
        assert!(place < NONE as usize, "places fit their index");
        place as u32
    }

    /// Frees a place and hands out its first value; the rest of its run are free ones when it is used again.
    pub(crate) fn remove(&mut self, place: u32) -> V {
        self.len -= 1;
        let next = self.first_free;
        self.first_free = place;
        let run = self.run_mut(place);
        for value in &mut run[1..] {
            *value = V::free(NONE);
        }
        core::mem::replace(&mut run[0], V::free(next))
    }

    /// The values of a place.
    pub(crate) fn run(&self, place: u32) -> &[V] {
        let at = (place as usize) << self.run_bits;
        &self.chunks[at >> CHUNK_BITS][at & (CHUNK - 1)..][..1 << self.run_bits]
    }

    /// The values of a place.
    pub(crate) fn run_mut(&mut self, place: u32) -> &mut [V] {
        let at = (place as usize) << self.run_bits;
        &mut self.chunks[at >> CHUNK_BITS][at & (CHUNK - 1)..][..1 << self.run_bits]
    }
}

/// The first value of a place.
impl<V> core::ops::Index<u32> for Chunks<V> {
    type Output = V;
    fn index(&self, place: u32) -> &V {
        let at = (place as usize) << self.run_bits;
        &self.chunks[at >> CHUNK_BITS][at & (CHUNK - 1)]
    }
}

impl<V> core::ops::IndexMut<u32> for Chunks<V> {
    fn index_mut(&mut self, place: u32) -> &mut V {
        let at = (place as usize) << self.run_bits;
        &mut self.chunks[at >> CHUNK_BITS][at & (CHUNK - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Value for u64 {
        fn free(next: u32) -> Self {
            u64::from(next) << 32
        }

        fn next_free(&self) -> u32 {
            (*self >> 32) as u32
        }
    }

    #[test]
    fn freed_places_are_used_before_new_ones() {
        for run_bits in [0, 3] {
            let mut chunks = Chunks::with_runs(run_bits);
            let places: Vec<u32> = (0..40_000u64).map(|value| chunks.insert(value)).collect();
            assert!(places.iter().enumerate().all(|(value, place)| chunks[*place] == value as u64));
            let bytes = chunks.bytes();
            for place in places.iter().rev() {
                chunks.run_mut(*place).fill(7);
                assert_eq!(chunks.remove(*place), 7);
            }
            assert_eq!(chunks.len(), 0);
            let again: Vec<u32> = (0..40_000u64).map(|value| chunks.insert(value)).collect();
            assert_eq!((again, chunks.bytes()), (places.clone(), bytes));
            assert!(chunks.run(places[9])[1..].iter().all(|rest| *rest == u64::free(NONE)));
        }
    }
}
