//! Deadlines by number: at most one for each of a fixed set, the earliest first. A heap that knows where each stands: of four
//! children each, which lie together, since it is the lines of memory on the way down that cost.

use base::Monotonic;

const ABSENT: u32 = u32::MAX;

const CHILDREN: usize = 4;

/// The deadlines.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: Vec<(Monotonic, u32)>,
    /// Place in the heap by number.
    places: Vec<u32>,
}

impl Timers {
    /// For the numbers below `count`.
    pub(crate) fn new(count: usize) -> Self {
        Self { heap: Vec::with_capacity(count), places: vec![ABSENT; count] }
    }

    /// The earliest deadline, or never.
    pub(crate) fn deadline(&self) -> Monotonic {
        self.heap.first().map_or(Monotonic::NEVER, |(at, _)| *at)
    }

    /// Sets or moves a deadline.
    pub(crate) fn set(&mut self, number: u32, at: Monotonic) {
        let place = self.places[number as usize];
        if place == ABSENT {
            self.heap.push((at, number));
            self.rise(self.heap.len() - 1);
        } else {
            self.heap[place as usize].0 = at;
            self.settle(place as usize);
        }
    }

    /// Takes a deadline away, if there is one.
    pub(crate) fn cancel(&mut self, number: u32) {
        let place = core::mem::replace(&mut self.places[number as usize], ABSENT);
        if place == ABSENT {
            return;
        }
        self.heap.swap_remove(place as usize);
        if (place as usize) < self.heap.len() {
            self.settle(place as usize);
        }
    }

    /// Takes the earliest deadline that has come.
    pub(crate) fn pop(&mut self, now: Monotonic) -> Option<u32> {
        let (at, number) = *self.heap.first()?;
        if at > now {
            return None;
        }
        self.cancel(number);
        Some(number)
    }

    fn settle(&mut self, place: usize) {
        let place = self.rise(place);
        self.sink(place);
    }

    fn rise(&mut self, mut place: usize) -> usize {
        let entry = self.heap[place];
        while place > 0 && entry < self.heap[(place - 1) / CHILDREN] {
            self.put(place, self.heap[(place - 1) / CHILDREN]);
            place = (place - 1) / CHILDREN;
        }
        self.put(place, entry);
        place
    }

    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let first = CHILDREN * place + 1;
            let children = first..(first + CHILDREN).min(self.heap.len());
            match children.min_by_key(|child| self.heap[*child]) {
                Some(child) if self.heap[child] < entry => {
                    self.put(place, self.heap[child]);
                    place = child;
                }
                _ => break,
            }
        }
        self.put(place, entry);
    }

    fn put(&mut self, place: usize, entry: (Monotonic, u32)) {
        self.heap[place] = entry;
        self.places[entry.1 as usize] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::SplitMix64;
    use std::collections::BTreeMap;

    #[test]
    fn agrees_with_a_tree() {
        let mut timers = Timers::new(40);
        let mut model: BTreeMap<u32, Monotonic> = BTreeMap::new();
        let mut random = SplitMix64::new(2);
        let mut popped = 0;
        for turn in 0..40_000u64 {
            let number = random.below(40) as u32;
            match random.below(4) {
                0 | 1 => {
                    let at = Monotonic(turn + random.below(100));
                    timers.set(number, at);
                    model.insert(number, at);
                }
                2 => {
                    timers.cancel(number);
                    model.remove(&number);
                }
                _ => {
                    let expected = model.iter().map(|(number, at)| (*at, *number)).min();
                    let expected = expected.filter(|(at, _)| at.0 <= turn).map(|(_, number)| number);
                    assert_eq!(timers.pop(Monotonic(turn)), expected);
                    if let Some(number) = expected {
                        model.remove(&number);
                        popped += 1;
                    }
                }
            }
            assert_eq!(timers.deadline(), model.values().min().copied().unwrap_or(Monotonic::NEVER));
        }
        assert!(popped > 1000);
    }
}
