//! Deadlines, the earliest first, each of which can be taken back: a binary heap that says where it moves what to.

use base::UnixMicros;

/// The deadlines, each with the number of what it is for.
#[derive(Debug)]
pub(crate) struct Heap(Vec<(UnixMicros, u32)>);

impl Heap {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<(UnixMicros, u32)>()
    }

    /// The earliest.
    pub(crate) fn first(&self) -> Option<(UnixMicros, u32)> {
        self.0.first().copied()
    }

    /// Adds a deadline. `moved` is told, here and below, who stands where now.
    pub(crate) fn insert(&mut self, at: UnixMicros, value: u32, mut moved: impl FnMut(u32, u32)) {
        self.0.push((at, value));
        self.rise(self.0.len() - 1, &mut moved);
    }

    /// Takes away what stands at a place.
    pub(crate) fn remove(&mut self, place: u32, mut moved: impl FnMut(u32, u32)) {
        let place = place as usize;
        self.0.swap_remove(place);
        if place < self.0.len() {
            self.sink(place, &mut moved);
            self.rise(place, &mut moved);
        }
    }

    fn rise(&mut self, place: usize, moved: &mut impl FnMut(u32, u32)) {
        let mut place = place;
        while place > 0 {
            let above = (place - 1) / 2;
            if self.0[above].0 <= self.0[place].0 {
                break;
            }
            self.0.swap(above, place);
            moved(self.0[place].1, place as u32);
            place = above;
        }
        moved(self.0[place].1, place as u32);
    }

    fn sink(&mut self, place: usize, moved: &mut impl FnMut(u32, u32)) {
        let mut place = place;
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            if left >= self.0.len() {
                break;
            }
            let least = if right < self.0.len() && self.0[right].0 < self.0[left].0 { right } else { left };
            if self.0[place].0 <= self.0[least].0 {
                break;
            }
            self.0.swap(least, place);
            moved(self.0[place].1, place as u32);
            place = least;
        }
        moved(self.0[place].1, place as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::SplitMix64;
    use std::collections::BTreeSet;

    #[test]
    fn agrees_with_a_set() {
        let (mut heap, mut model, mut random) = (Heap::new(), BTreeSet::new(), SplitMix64::new(2));
        let mut places = [None; 64];
        let mut deadlines = [UnixMicros(0); 64];
        for _ in 0..20_000 {
            let value = random.below(64) as usize;
            match places[value] {
                None => {
                    deadlines[value] = UnixMicros(random.below(50));
                    heap.insert(deadlines[value], value as u32, |value, at| places[value as usize] = Some(at));
                    model.insert((deadlines[value], value));
                }
                Some(place) => {
                    heap.remove(place, |value, at| places[value as usize] = Some(at));
                    places[value] = None;
                    model.remove(&(deadlines[value], value));
                }
            }
            assert_eq!(heap.first().map(|(at, _)| at), model.first().map(|(at, _)| *at));
            for (value, place) in places.iter().enumerate() {
                let Some(place) = place else { continue };
                assert_eq!(heap.0[*place as usize].1 as usize, value);
            }
        }
    }
}
