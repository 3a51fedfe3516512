//! Many small sets as lists, most of one or two entries, a few of hundred thousands: each contiguous.
//!
//! An entry has an id, which no other of its list has. Whoever owns a list keeps its [`Handle`], which changes as it grows
//! and shrinks, and gives each list a number of its own. Order means nothing: the last entry fills a gap.
//!
//! ```text
//!   handle 32 = | class 3 | place 29 |     0 nothing, 1..=6: a run of 1, 2, 4 .. 32 entries in chunks, 7: a vector
//!   position < 16: looked through;  >= 16: a table has (list, id) -> position, so no step depends on the length
//! ```

use crate::chunks::{Chunks, NONE, Value};
use crate::hash::{Hasher, Key};
use crate::table::Table;

/// The classes of runs.
const RUN_CLASSES: usize = 6;

/// The class of vectors.
const VECTOR: u32 = RUN_CLASSES as u32 + 1;

/// Entries of the longest run.
const RUN_MAX: usize = 1 << (RUN_CLASSES - 1);

/// A vector that has so few entries becomes a run again.
const VECTOR_MIN: usize = RUN_MAX / 4;

/// Positions that are looked through.
const SEEN: usize = 16;

const PLACE_BITS: u32 = 29;

/// What a list consists of.
pub(crate) trait Entry: Value + Copy {
    /// Unlike that of every other entry of its list; never `NONE`, which is that of a free place.
    fn id(&self) -> u32;
}

/// Where a list is. Zero is one that is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Handle(u32);

impl Handle {
    pub(crate) const EMPTY: Self = Self(0);

    fn new(class: u32, place: u32) -> Self {
        assert!(place >> PLACE_BITS == 0, "places fit their handle");
        Self(class << PLACE_BITS | place)
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn class(self) -> u32 {
        self.0 >> PLACE_BITS
    }

    const fn place(self) -> u32 {
        self.0 & ((1 << PLACE_BITS) - 1)
    }
}

/// A list and its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    pub(crate) handle: Handle,
    pub(crate) number: u32,
}

/// The lists.
#[derive(Debug)]
pub(crate) struct Lists<E> {
    runs: [Chunks<E>; RUN_CLASSES],
    vectors: Vec<Vec<E>>,
    free_vectors: Vec<u32>,
    positions: Table,
    hasher: Hasher,
}

impl<E: Entry> Lists<E> {
    /// Lists of so many entries in all.
    pub(crate) fn new(entry_count_max: usize, key: Key) -> Self {
        Self {
            runs: core::array::from_fn(|class| Chunks::with_runs(class as u32)),
            vectors: Vec::new(),
            free_vectors: Vec::new(),
            positions: Table::new(entry_count_max),
            hasher: Hasher::new(key),
        }
    }

    /// Bytes that they take.
    pub(crate) fn bytes(&self) -> usize {
        let runs: usize = self.runs.iter().map(Chunks::bytes).sum();
        let entries: usize = self.vectors.iter().map(|vector| vector.capacity() * size_of::<E>()).sum();
        let vectors = self.vectors.capacity() * size_of::<Vec<E>>() + self.free_vectors.capacity() * 4;
        runs + entries + vectors + self.positions.bytes()
    }

    /// The entries of a list.
    #[inline]
    pub(crate) fn entries(&self, handle: Handle) -> &[E] {
        match handle.class() {
            0 => &[],
            VECTOR => &self.vectors[handle.place() as usize],
            class => {
                let run = self.runs[class as usize - 1].run(handle.place());
                // A run holds its entries before its free places.
                &run[..run.iter().position(|entry| entry.id() == NONE).unwrap_or(run.len())]
            }
        }
    }

    /// Where in its list an id is.
    pub(crate) fn position(&self, list: List, id: u32) -> Option<usize> {
        let entries = self.entries(list.handle);
        let seen = entries.iter().take(SEEN).position(|entry| entry.id() == id);
        if seen.is_some() || entries.len() <= SEEN {
            return seen;
        }
        let is_meant = |at: u32| entries.get(at as usize).is_some_and(|entry| entry.id() == id);
        self.positions.find(self.hash(list.number, id), is_meant).map(|at| at as usize)
    }

    /// Puts another entry of the same id in the place of one.
    pub(crate) fn replace(&mut self, handle: Handle, at: usize, entry: E) {
        let place = &mut self.all_mut(handle)[at];
        assert_eq!(place.id(), entry.id(), "an entry is replaced by one of its own id");
        *place = entry;
    }

    /// Adds an entry, whose id the list has not.
    #[must_use = "the list is elsewhere now"]
    pub(crate) fn push(&mut self, list: List, entry: E) -> Handle {
        let len = self.entries(list.handle).len();
        if len >= SEEN {
            self.positions.insert(self.hash(list.number, entry.id()), len as u32);
        }
        let class = list.handle.class();
        if class == VECTOR {
            self.vectors[list.handle.place() as usize].push(entry);
            return list.handle;
        }
        let room = if class == 0 { 0 } else { 1 << (class - 1) };
        let handle = if len == room { self.moved(list.handle, class + 1) } else { list.handle };
        match handle.class() {
            VECTOR => self.vectors[handle.place() as usize].push(entry),
            _ => self.all_mut(handle)[len] = entry,
        }
        handle
    }

    /// Takes the entry at a position away; the last one takes its place.
    #[must_use = "the list is elsewhere now"]
    pub(crate) fn remove(&mut self, list: List, at: usize) -> Handle {
        let entries = self.entries(list.handle);
        let (gone, last, end) = (entries[at].id(), entries[entries.len() - 1], entries.len() - 1);
        if end >= SEEN {
            self.positions.remove(self.hash(list.number, last.id()), end as u32);
            if at >= SEEN && at != end {
                self.positions.remove(self.hash(list.number, gone), at as u32);
                self.positions.insert(self.hash(list.number, last.id()), at as u32);
            }
        }
        let all = self.all_mut(list.handle);
        all[at] = last;
        all[end] = E::free(NONE);
        let class = list.handle.class();
        if class == VECTOR {
            let vector = &mut self.vectors[list.handle.place() as usize];
            vector.pop();
            if vector.len() * 4 <= vector.capacity() {
                vector.shrink_to(vector.len() * 2);
            }
            return if end <= VECTOR_MIN { self.moved(list.handle, VECTOR - 1) } else { list.handle };
        }
        let room = 1 << (class - 1);
        if end == 0 {
            self.moved(list.handle, 0)
        } else if end * 4 <= room {
            self.moved(list.handle, class - 1)
        } else {
            list.handle
        }
    }

    /// The places of a list, free ones included.
    fn all_mut(&mut self, handle: Handle) -> &mut [E] {
        match handle.class() {
            VECTOR => &mut self.vectors[handle.place() as usize],
            class => self.runs[class as usize - 1].run_mut(handle.place()),
        }
    }

    /// The same list in another class, in which there is room for it.
    fn moved(&mut self, from: Handle, class: u32) -> Handle {
        let mut kept = [E::free(NONE); RUN_MAX];
        let entries = self.entries(from);
        let len = entries.len();
        kept[..len].copy_from_slice(entries);
        match from.class() {
            0 => {}
            VECTOR => {
                self.vectors[from.place() as usize] = Vec::new();
                self.free_vectors.push(from.place());
            }
            class => {
                self.runs[class as usize - 1].remove(from.place());
            }
        }
        match class {
            0 => Handle::EMPTY,
            VECTOR => {
                let place = self.free_vectors.pop().unwrap_or_else(|| {
                    self.vectors.push(Vec::new());
                    self.vectors.len() as u32 - 1
                });
                let vector = &mut self.vectors[place as usize];
                vector.reserve_exact(2 * RUN_MAX);
                vector.extend_from_slice(&kept[..len]);
                Handle::new(VECTOR, place)
            }
            class => {
                let runs = &mut self.runs[class as usize - 1];
                let place = runs.insert(kept[0]);
                runs.run_mut(place)[..len].copy_from_slice(&kept[..len]);
                Handle::new(class, place)
            }
        }
    }

    fn hash(&self, number: u32, id: u32) -> u32 {
        (self.hasher.pair(number, id) >> 32) as u32
    }
}

/// A list of plain numbers.
impl Value for u32 {
    fn free(next: u32) -> Self {
        next
    }

    fn next_free(&self) -> u32 {
        *self
    }
}

impl Entry for u32 {
    fn id(&self) -> u32 {
        *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::SplitMix64;
    use std::collections::BTreeSet;

    const LIST_COUNT: u64 = 3;

    #[test]
    fn agree_with_sets() {
        let mut lists: Lists<u32> = Lists::new(10_000, Key([3; 16]));
        let mut handles = [Handle::EMPTY; LIST_COUNT as usize];
        let mut model: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); LIST_COUNT as usize];
        let mut random = SplitMix64::new(5);
        for round in 0..120_000u64 {
            // Lists that grow to hundreds and shrink to nothing again.
            let shrinks = round / 4000 % 2;
            let (number, id) = (random.below(LIST_COUNT) as u32, random.below(400) as u32);
            let index = number as usize;
            let list = List { handle: handles[index], number };
            let position = lists.position(list, id);
            assert_eq!(position.is_some(), model[index].contains(&id));
            match position {
                Some(at) => {
                    assert_eq!(lists.entries(list.handle)[at], id);
                    lists.replace(list.handle, at, id);
                    if random.below(3) <= shrinks {
                        handles[index] = lists.remove(list, at);
                        model[index].remove(&id);
                    }
                }
                None if random.below(3) > shrinks => {
                    handles[index] = lists.push(list, id);
                    model[index].insert(id);
                }
                None => {}
            }
            let mut entries = lists.entries(handles[index]).to_vec();
            entries.sort_unstable();
            assert!(entries.iter().eq(&model[index]), "round {round}");
        }
    }

    #[test]
    fn what_is_emptied_is_used_again() {
        let mut lists: Lists<u32> = Lists::new(100_000, Key([3; 16]));
        let mut bytes = 0;
        for round in 0..4 {
            let mut handle = Handle::EMPTY;
            for id in 0..50_000 {
                handle = lists.push(List { handle, number: 1 }, id);
            }
            for id in 0..50_000 {
                let at = lists.position(List { handle, number: 1 }, id).expect("it was added");
                handle = lists.remove(List { handle, number: 1 }, at);
            }
            assert!(handle.is_empty());
            assert!(round == 0 || lists.bytes() == bytes, "round {round}: {} and {bytes} bytes", lists.bytes());
            bytes = lists.bytes();
        }
    }
}
