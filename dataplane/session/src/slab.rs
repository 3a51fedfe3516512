//! Places for values of one kind: a fixed number, handed out and taken back without allocating.
//!
//! Memory is reserved at once and touched only as places are first used.

/// The places.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    values: Vec<T>,
    free: Vec<u32>,
    count_max: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new(count_max: usize) -> Self {
        assert!(count_max < u32::MAX as usize, "places fit their index");
        Self { values: Vec::with_capacity(count_max), free: Vec::with_capacity(count_max), count_max }
    }

    /// Places in use.
    pub(crate) fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }

    /// Places that were ever used: all indexes are below it.
    pub(crate) fn used(&self) -> u32 {
        self.values.len() as u32
    }

    pub(crate) fn room(&self) -> usize {
        self.count_max - self.len()
    }

    /// Puts a value into a free place, or gives it up when there is none.
    pub(crate) fn insert(&mut self, value: T) -> Option<u32> {
        if let Some(place) = self.free.pop() {
            self.values[place as usize] = value;
            return Some(place);
        }
        if self.values.len() == self.count_max {
            return None;
        }
        self.values.push(value);
        Some((self.values.len() - 1) as u32)
    }

    /// A free place whose value the caller writes over, or none. Where one was before it still is; else it is `fresh`.
    pub(crate) fn claim(&mut self, fresh: impl FnOnce() -> T) -> Option<u32> {
        match self.free.pop() {
            None => self.insert(fresh()),
            used => used,
        }
    }

    /// Frees a place. Its value stays until the place is used again.
    pub(crate) fn remove(&mut self, place: u32) {
        self.free.push(place);
        assert!(self.free.len() <= self.values.len(), "no more places are freed than were used");
    }
}

impl<T> core::ops::Index<u32> for Slab<T> {
    type Output = T;
    fn index(&self, place: u32) -> &T {
        &self.values[place as usize]
    }
}

impl<T> core::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, place: u32) -> &mut T {
        &mut self.values[place as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_out_every_place_once() {
        let mut slab = Slab::new(3);
        let places: Vec<_> = (0..4).map(|value| slab.insert(value)).collect();
        assert_eq!(places, [Some(0), Some(1), Some(2), None]);
        slab.remove(1);
        assert_eq!((slab.len(), slab.room()), (2, 1));
        assert_eq!(slab.insert(9), Some(1));
        assert_eq!((slab[0], slab[1], slab[2]), (0, 9, 2));
        slab.remove(2);
        assert_eq!(slab.claim(|| 7), Some(2));
        assert_eq!((slab[2], slab.claim(|| 7)), (2, None));
        let mut slab = Slab::new(1);
        assert_eq!(slab.claim(|| 7), Some(0));
        assert_eq!((slab[0], slab.claim(|| 7)), (7, None));
    }
}
