//! From a hash to the places of the values that have it: open addressing over one `u32` per entry.
//!
//! Holds no keys. An entry is a place and as many bits of the hash as are left, so that a probe seldom looks at a value
//! that is not meant. Several values may have the same key.
//!
//! ```text
//!   entry u32 = | tag: top bits of the hash | place + 1 |        0 is empty; at most three quarters are taken
//! ```

/// The table: 5⅓ bytes per value.
#[derive(Debug)]
pub(crate) struct Index {
    entries: Vec<u32>,
    place_bits: u32,
    len: usize,
    len_max: usize,
}

impl Index {
    /// A table for `count_max` values. Its pages are touched when first used.
    pub(crate) fn new(count_max: usize) -> Self {
        let place_bits = usize::BITS - (count_max + 1).leading_zeros();
        assert!(place_bits <= 31, "places leave a bit for the tag");
        Self { entries: vec![0; count_max * 4 / 3 + 2], place_bits, len: 0, len_max: count_max }
    }

    /// The places under `hash`, with a few strangers among them: the caller compares keys.
    pub(crate) fn find(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let tag = self.tag(hash);
        let mut at = self.home(hash);
        core::iter::from_fn(move || {
            loop {
                let entry = self.entries[at];
                if entry == 0 {
                    return None;
                }
                at = self.after(at);
                if entry >> self.place_bits == tag {
                    return Some(self.place(entry));
                }
            }
        })
    }

    /// Adds a place under `hash`.
    pub(crate) fn insert(&mut self, hash: u64, place: u32) {
        assert!(self.len < self.len_max, "no more entries than places");
        self.len += 1;
        let mut at = self.home(hash);
        while self.entries[at] != 0 {
            at = self.after(at);
        }
        self.entries[at] = self.tag(hash) << self.place_bits | (place + 1);
    }

    /// Takes a place away and closes the gap; `hash_of` says under which hash another place stands.
    pub(crate) fn remove(&mut self, hash: u64, place: u32, hash_of: impl Fn(u32) -> u64) {
        let mut at = self.home(hash);
        while self.entries[at] == 0 || self.place(self.entries[at]) != place {
            assert!(self.entries[at] != 0, "a place that is taken away was there");
            at = self.after(at);
        }
        self.len -= 1;
        let mut gap = at;
        loop {
            at = self.after(at);
            let entry = self.entries[at];
            if entry == 0 {
                break;
            }
            // An entry may fill the gap unless its home lies cyclically after the gap and no later than itself.
            let home = self.home(hash_of(self.place(entry)));
            let stays = if gap < at { gap < home && home <= at } else { gap < home || home <= at };
            if !stays {
                self.entries[gap] = entry;
                gap = at;
            }
        }
        self.entries[gap] = 0;
    }

    fn home(&self, hash: u64) -> usize {
        (((hash & 0xFFFF_FFFF) * self.entries.len() as u64) >> 32) as usize
    }

    fn tag(&self, hash: u64) -> u32 {
        ((hash >> 32) as u32) >> self.place_bits
    }

    fn place(&self, entry: u32) -> u32 {
        (entry & ((1 << self.place_bits) - 1)) - 1
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.entries.len() { 0 } else { at + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::{SplitMix64, mix64};
    use std::collections::BTreeMap;

    #[test]
    fn agrees_with_a_tree() {
        const COUNT: usize = 50;
        let mut index = Index::new(COUNT);
        let mut keys: Vec<Option<u64>> = vec![None; COUNT];
        let mut model: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        let mut random = SplitMix64::new(11);
        for _ in 0..40_000 {
            let place = random.below(COUNT as u64) as u32;
            match keys[place as usize] {
                None => {
                    let key = random.below(30);
                    keys[place as usize] = Some(key);
                    index.insert(mix64(key), place);
                    model.entry(key).or_default().push(place);
                }
                Some(key) if random.below(2) == 0 => {
                    index.remove(mix64(key), place, |other| mix64(keys[other as usize].expect("taken")));
                    keys[place as usize] = None;
                    model.get_mut(&key).expect("known").retain(|other| *other != place);
                }
                Some(_) => {}
            }
            let key = random.below(30);
            let mut found: Vec<u32> =
                index.find(mix64(key)).filter(|place| keys[*place as usize] == Some(key)).collect();
            found.sort_unstable();
            let mut expected = model.get(&key).cloned().unwrap_or_default();
            expected.sort_unstable();
            assert_eq!(found, expected);
        }
    }
}
