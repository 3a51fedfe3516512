//! Places of one size, reserved at once and used again.

/// No place.
pub(crate) const NONE: u32 = u32::MAX;

/// Up to a fixed count of values, each at a place of its own.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    items: Vec<T>,
    free: Vec<u32>,
    count_max: usize,
}

impl<T: Copy> Slab<T> {
    /// Room for so many; its pages are touched when they are first used.
    pub(crate) fn new(count_max: usize) -> Self {
        assert!(count_max < NONE as usize, "places fit their number");
        Self { items: Vec::with_capacity(count_max), free: Vec::with_capacity(count_max), count_max }
    }

    /// Values there are.
    pub(crate) const fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    /// Whether there is room for another.
    pub(crate) const fn has_room(&self) -> bool {
        self.len() < self.count_max
    }

    /// `None`: there is no room.
    pub(crate) fn insert(&mut self, item: T) -> Option<u32> {
        if let Some(place) = self.free.pop() {
            self.items[place as usize] = item;
            return Some(place);
        }
        if self.items.len() == self.count_max {
            return None;
        }
        self.items.push(item);
        Some(self.items.len() as u32 - 1)
    }

    pub(crate) fn remove(&mut self, place: u32) -> T {
        self.free.push(place);
        self.items[place as usize]
    }
}

impl<T> core::ops::Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, place: u32) -> &T {
        &self.items[place as usize]
    }
}

impl<T> core::ops::IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, place: u32) -> &mut T {
        &mut self.items[place as usize]
    }
}
