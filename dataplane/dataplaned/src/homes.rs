//! Every device that is configured, and the lane in which it lives.
//!
//! Owns no more than that, since there may be ten million: 8 bytes for a device, in one sorted list, beside it what changed
//! since the list was made. A lane follows from the DevEUI; only those that live elsewhere, by personalisation, have an
//! entry of their own.
//!
//! ```text
//!   sorted   | eui | eui | eui | ...      8 bytes each
//!   changed  eui -> there or gone         at most one in 16 of the list, then both become one list
//! ```

use base::Eui64;
use session::lane_of_eui;
use std::collections::BTreeMap;

/// The share of the list that may have changed, and what may have changed of a short one.
const CHANGED_SHARE: usize = 16;
const CHANGED_MIN: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Homes {
    sorted: Vec<u64>,
    changed: BTreeMap<u64, bool>,
    elsewhere: BTreeMap<u64, u8>,
    len: usize,
}

impl Homes {
    /// Of all devices at once. `elsewhere` has the lanes of those that do not follow from their DevEUI.
    pub(crate) fn new(mut devices: Vec<u64>, elsewhere: BTreeMap<u64, u8>) -> Self {
        devices.sort_unstable();
        devices.dedup();
        devices.shrink_to_fit();
        Self { len: devices.len(), sorted: devices, changed: BTreeMap::new(), elsewhere }
    }

    /// Devices.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The lane of a device, if it is configured.
    pub(crate) fn get(&self, eui: u64) -> Option<u8> {
        self.contains(eui).then(|| self.lane(eui))
    }

    /// A device lives in this lane by now.
    pub(crate) fn insert(&mut self, eui: u64, lane: u8) {
        if follows(eui, lane) {
            self.elsewhere.remove(&eui);
        } else {
            self.elsewhere.insert(eui, lane);
        }
        if !self.contains(eui) {
            self.len += 1;
            self.change(eui, true);
        }
    }

    /// A device is gone. The lane in which it was.
    pub(crate) fn remove(&mut self, eui: u64) -> Option<u8> {
        let lane = self.get(eui)?;
        self.elsewhere.remove(&eui);
        self.len -= 1;
        self.change(eui, false);
        Some(lane)
    }

    /// Each device and its lane, the lowest DevEUI first.
    pub(crate) fn into_each(mut self) -> impl Iterator<Item = (u64, u8)> {
        self.merge();
        let Self { sorted, elsewhere, .. } = self;
        sorted.into_iter().map(move |eui| (eui, elsewhere.get(&eui).copied().unwrap_or_else(|| by_eui(eui))))
    }

    fn contains(&self, eui: u64) -> bool {
        self.changed.get(&eui).copied().unwrap_or_else(|| self.sorted.binary_search(&eui).is_ok())
    }

    fn lane(&self, eui: u64) -> u8 {
        self.elsewhere.get(&eui).copied().unwrap_or_else(|| by_eui(eui))
    }

    fn change(&mut self, eui: u64, there: bool) {
        self.changed.insert(eui, there);
        if self.changed.len() > CHANGED_MIN.max(self.sorted.len() / CHANGED_SHARE) {
            self.merge();
        }
    }

    fn merge(&mut self) {
        let mut merged = Vec::with_capacity(self.len);
        let mut sorted = std::mem::take(&mut self.sorted).into_iter().peekable();
        for (eui, there) in std::mem::take(&mut self.changed) {
            merged.extend(std::iter::from_fn(|| sorted.next_if(|before| *before < eui)));
            sorted.next_if_eq(&eui);
            merged.extend(there.then_some(eui));
        }
        merged.extend(sorted);
        assert_eq!(merged.len(), self.len, "every device once");
        self.sorted = merged;
    }
}

/// Whether a device lives where its DevEUI says.
pub(crate) fn follows(eui: u64, lane: u8) -> bool {
    lane == by_eui(eui)
}

fn by_eui(eui: u64) -> u8 {
    lane_of_eui(Eui64::new(eui)).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::SplitMix64;

    #[test]
    fn agrees_with_a_tree() {
        let mut homes = Homes::default();
        let mut model = BTreeMap::new();
        let mut random = SplitMix64::new(3);
        for _ in 0..100_000 {
            // More than may have changed, so that lists are made again.
            let eui = random.below(3 * CHANGED_MIN as u64);
            if random.below(3) == 0 {
                assert_eq!(homes.remove(eui), model.remove(&eui));
            } else {
                let lane = if random.below(4) == 0 { random.below(64) as u8 } else { by_eui(eui) };
                homes.insert(eui, lane);
                model.insert(eui, lane);
            }
            let eui = random.below(3 * CHANGED_MIN as u64);
            assert_eq!((homes.get(eui), homes.len()), (model.get(&eui).copied(), model.len()));
        }
        assert!(homes.sorted.len() > CHANGED_MIN && !homes.changed.is_empty());
        assert!(homes.into_each().eq(model));
    }

    #[test]
    fn all_at_once_are_the_same_as_one_by_one() {
        let each = [(9, by_eui(9)), (3, by_eui(3)), (7, by_eui(7) ^ 1)];
        let mut one_by_one = Homes::default();
        each.iter().for_each(|(eui, lane)| one_by_one.insert(*eui, *lane));
        let elsewhere = each.iter().filter(|(eui, lane)| !follows(*eui, *lane)).copied().collect();
        let at_once = Homes::new(each.iter().map(|(eui, _)| *eui).collect(), elsewhere);
        assert_eq!((at_once.len(), at_once.get(7), at_once.get(8)), (3, Some(by_eui(7) ^ 1), None));
        assert!(at_once.into_each().eq(one_by_one.into_each()));
    }

    #[test]
    fn a_device_takes_little_more_than_its_eui() {
        let mut homes = Homes::default();
        let mut random = SplitMix64::new(5);
        for _ in 0..300_000 {
            let eui = random.next();
            homes.insert(eui, by_eui(eui));
        }
        assert_eq!((homes.len(), homes.elsewhere.len()), (300_000, 0));
        assert!(homes.sorted.capacity() <= homes.len() && homes.changed.len() <= homes.len() / CHANGED_SHARE + 1);
    }
}
