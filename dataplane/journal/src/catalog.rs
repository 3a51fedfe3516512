//! Catalog: the segments of all epochs and logs, and what of each is the log.
//!
//! Owns what is known of them; the keeper tells it. Never looks into a directory. May allocate: it does not serve.
//!
//! ```text
//!   number 4   base ├───────────────┤ end         given up at `base` of 6: from there on it never happened
//!          5                        ├ (empty)     was made to follow 4; nothing was ever written to it
//!          6                 ├──────┤
//!          7                        ├─────────
//!   the log          ├── 4 ──┤─ 6 ──┤─── 7 ───
//! ```
//! A segment counts up to where any later one of its log begins. So an offset belongs to one segment at most, and to none
//! if it was lost.

use crate::info::SegmentInfo;
use crate::position::{ALIGN_BYTES, Position};
use crate::scan::Extent;
use crate::segment::SegmentName;
use base::UnixMicros;
use std::collections::BTreeMap;

/// The segments.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    segments: BTreeMap<SegmentName, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    info: SegmentInfo,
    /// The least base of all later segments of the log, those included that were removed since.
    limit: u64,
    /// A later segment is known to hold records.
    followed: bool,
}

/// A segment, and what of it counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// The segment.
    pub info: SegmentInfo,
    /// Where to read it; `from` is where the reader has come to.
    pub extent: Extent,
}

/// Offsets of a log that no segment holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The segment before it.
    pub before: SegmentName,
    /// The segment behind it.
    pub behind: SegmentName,
    /// Bytes that are missing.
    pub bytes: u64,
}

/// How long records are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Records before this may go.
    pub oldest: UnixMicros,
    /// Bytes of files beyond this may go, the oldest first.
    pub bytes_max: u64,
}

impl Catalog {
    /// Learns of a segment, or more of one that it knows.
    pub fn insert(&mut self, info: SegmentInfo) {
        let later = self.later(info.name).next();
        let (mut limit, mut followed) = later.map_or((u64::MAX, false), Entry::seen_from_before);
        if let Some(known) = self.segments.get(&info.name) {
            (limit, followed) = (limit.min(known.limit), followed || known.followed);
        }
        let entry = Entry { info, limit, followed };
        self.segments.insert(info.name, entry);
        let (base, followed) = entry.seen_from_before();
        let first = SegmentName { number: 0, ..info.name };
        for (_, earlier) in self.segments.range_mut(first..info.name).rev() {
            if earlier.limit <= base && (earlier.followed || !followed) {
                // So it is for all before it.
                break;
            }
            earlier.limit = earlier.limit.min(base);
            earlier.followed |= followed;
        }
    }

    /// Forgets a segment whose file was removed.
    pub fn remove(&mut self, name: SegmentName) -> Option<SegmentInfo> {
        self.segments.remove(&name).map(|entry| entry.info)
    }

    /// What is known of a segment.
    #[must_use]
    pub fn get(&self, name: SegmentName) -> Option<&SegmentInfo> {
        self.segments.get(&name).map(|entry| &entry.info)
    }

    /// All segments, in the order in which they are read.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &SegmentInfo> {
        self.segments.values().map(|entry| &entry.info)
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.iter().map(|info| info.bytes).sum()
    }

    /// What of a segment counts, if anything does and it is there. It is known to be stored if a later one holds records; to know the same
    /// of the last, and of one before a segment that was only made, it is to be scanned.
    #[must_use]
    pub fn part(&self, name: SegmentName) -> Option<Part> {
        self.segments.get(&name)?.part().filter(|part| !part.info.is_awaited())
    }

    /// The parts that a reader of these lanes needs from a position on, in order; the first may begin at that position. Some
    /// may still be [awaited](SegmentInfo::is_awaited).
    pub fn needed(&self, lanes: u64, from: Position) -> impl Iterator<Item = Part> {
        let first = SegmentName { epoch: from.epoch(), log: from.log(), number: 0 };
        let entries = self.segments.range(first..).filter(move |(_, entry)| entry.info.lanes & lanes != 0);
        entries.filter_map(move |(name, entry)| {
            let mut part = entry.part()?;
            if name.position(part.extent.until) <= from {
                return None;
            }
            if name.position(part.extent.from) < from {
                // A consumer may have made it up.
                part.extent.from = from.offset() / ALIGN_BYTES as u64 * ALIGN_BYTES as u64;
            }
            Some(part)
        })
    }

    /// The first part that reaches behind a position, whatever lanes it holds.
    #[must_use]
    pub fn after(&self, position: Position) -> Option<Part> {
        let first = SegmentName { epoch: position.epoch(), log: position.log(), number: 0 };
        let mut parts = self.segments.range(first..).filter_map(|(_, entry)| entry.part());
        parts.find(|part| part.info.name.position(part.extent.until) > position)
    }

    /// The segments that may go, the oldest first: those of which nothing counts any more, and those that the retention does
    /// not want. Whether a checkpoint or a feed still needs one of them is for the caller to say. One that was not read may
    /// be in use, and stays.
    #[must_use]
    pub fn removable(&self, retention: Retention) -> Vec<SegmentInfo> {
        let mut candidates: Vec<_> = self.segments.values().collect();
        candidates.sort_by_key(|entry| (entry.info.name.epoch, entry.info.last_at, entry.info.name));
        let mut bytes = self.bytes();
        candidates.retain(|Entry { info, .. }| {
            let unwanted = info.last_at < retention.oldest || bytes > retention.bytes_max;
            let goes = self.part(info.name).is_none() || unwanted && !info.is_unread();
            bytes -= if goes { info.bytes } else { 0 };
            goes
        });
        candidates.into_iter().map(|entry| entry.info).collect()
    }

    /// Where a log is interrupted: a segment was lost. Numbers that were given up leave none.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> {
        let mut last: Option<Part> = None;
        self.segments.values().filter_map(Entry::part).filter_map(move |part| {
            let (behind, from) = (part.info.name, part.extent.from);
            let before = last.replace(part)?;
            let one_log = (before.info.name.epoch, before.info.name.log) == (behind.epoch, behind.log);
            let bytes = from.saturating_sub(before.extent.until);
            (one_log && bytes > 0).then_some(Gap { before: before.info.name, behind, bytes })
        })
    }

    /// The segments of the same log behind this one.
    fn later(&self, name: SegmentName) -> impl Iterator<Item = &Entry> {
        let last = SegmentName { number: u32::MAX, ..name };
        let behind = (core::ops::Bound::Excluded(name), core::ops::Bound::Included(last));
        self.segments.range(behind).map(|(_, entry)| entry)
    }
}

impl Entry {
    fn part(&self) -> Option<Part> {
        let until = self.info.end.min(self.limit);
        let stored = if self.followed { until } else { self.info.base };
        let extent = Extent { from: self.info.base, until, stored };
        (self.info.base < until).then_some(Part { info: self.info, extent })
    }

    /// What it and those behind it are to the segment before them.
    fn seen_from_before(&self) -> (u64, bool) {
        (self.limit.min(self.info.base), self.followed || self.info.holds_records())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::SplitMix64;

    fn info(epoch: u16, log: u8, number: u32, base: u64, end: u64) -> SegmentInfo {
        SegmentInfo {
            name: SegmentName { epoch, log, number },
            base,
            end,
            lanes: u64::from(base < end),
            first_at: UnixMicros(base),
            last_at: UnixMicros(end),
            bytes: 100,
        }
    }

    fn catalog(infos: &[SegmentInfo]) -> Catalog {
        let mut catalog = Catalog::default();
        infos.iter().for_each(|info| catalog.insert(*info));
        catalog
    }

    /// The picture above.
    fn given_up() -> [SegmentInfo; 4] {
        [info(1, 0, 4, 0, 800), info(1, 0, 5, 800, 800), info(1, 0, 6, 480, 800), info(1, 0, 7, 800, 1600)]
    }

    fn extents(parts: impl Iterator<Item = Part>) -> Vec<(u32, u64, u64)> {
        parts.map(|part| (part.info.name.number, part.extent.from, part.extent.until)).collect()
    }

    #[test]
    fn the_higher_number_wins_from_its_base_on() {
        let mut catalog = catalog(&given_up());
        assert_eq!(extents(catalog.needed(1, Position::ZERO)), [(4, 0, 480), (6, 480, 800), (7, 800, 1600)]);
        assert_eq!(catalog.gaps().next(), None);
        catalog.remove(given_up()[1].name);
        assert_eq!(catalog.gaps().next(), None, "a number that was given up leaves no gap");
        let six = catalog.remove(given_up()[2].name).expect("it was there");
        let gap = Gap { before: given_up()[0].name, behind: given_up()[3].name, bytes: 320 };
        assert_eq!(catalog.gaps().collect::<Vec<_>>(), [gap], "what six had replaced does not come back");
        catalog.insert(six);
        assert_eq!(catalog.gaps().next(), None);
    }

    #[test]
    fn readers_begin_where_they_are() {
        let mut infos = given_up().to_vec();
        infos.extend([info(1, 3, 0, 0, 800), info(2, 0, 0, 0, 800)]);
        infos[4].lanes = 0b110;
        let catalog = catalog(&infos);
        let names = |lanes, from| extents(catalog.needed(lanes, from));
        assert_eq!(names(0b111, Position::new(1, 0, 640)), [(6, 640, 800), (7, 800, 1600), (0, 0, 800), (0, 0, 800)]);
        assert_eq!(names(0b001, Position::new(1, 0, 1600)), [(0, 0, 800)]);
        assert_eq!(names(0b010, Position::ZERO), [(0, 0, 800)]);
        assert_eq!(names(0b001, Position::new(2, 0, 800)), []);
        let after = |position| catalog.after(position).map(|part| (part.info.name.epoch, part.info.name.number));
        assert_eq!(after(Position::new(1, 0, 472)), Some((1, 4)));
        assert_eq!(after(Position::new(1, 0, 480)), Some((1, 6)));
        assert_eq!(after(Position::new(1, 3, 800)), Some((2, 0)));
        assert_eq!(after(Position::new(2, 0, 800)), None);
    }

    #[test]
    fn what_is_followed_is_stored() {
        let mut catalog = catalog(&[info(1, 0, 0, 0, 800), info(1, 0, 1, 800, 800)]);
        let stored = |catalog: &Catalog, number| {
            catalog.part(SegmentName { epoch: 1, log: 0, number }).map(|part| part.extent.stored)
        };
        assert_eq!((stored(&catalog, 0), stored(&catalog, 1)), (Some(0), None), "the second was only made");
        catalog.insert(info(1, 0, 1, 800, 1600));
        assert_eq!((stored(&catalog, 0), stored(&catalog, 1)), (Some(800), Some(800)));
    }

    #[test]
    fn the_oldest_goes_first() {
        let mut infos = given_up().to_vec();
        infos.push(SegmentInfo { lanes: u64::MAX, last_at: UnixMicros(u64::MAX), ..info(1, 0, 8, 1600, 2400) });
        let catalog = catalog(&infos);
        let numbers = |oldest, bytes_max| {
            let removable = catalog.removable(Retention { oldest: UnixMicros(oldest), bytes_max });
            removable.iter().map(|info| info.name.number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(0, u64::MAX), [5], "nothing counts of it");
        assert_eq!(numbers(801, u64::MAX), [4, 5, 6]);
        assert_eq!(numbers(0, 300), [4, 5]);
        assert_eq!(numbers(0, 0), [4, 5, 6, 7], "the last is in use");
    }

    #[test]
    fn agrees_with_the_rule_in_any_order() {
        let mut random = SplitMix64::new(5);
        for _ in 0..2000 {
            let mut catalog = Catalog::default();
            let mut model: Vec<SegmentInfo> = Vec::new();
            for _ in 0..8 {
                let (log, number) = (random.below(2) as u8, random.below(6) as u32);
                let base = random.below(6) * 8;
                let known = model.iter().find(|known| (known.name.log, known.name.number) == (log, number)).copied();
                let base = known.map_or(base, |known| known.base);
                let fresh = info(1, log, number, base, base + random.below(3) * 8);
                model.retain(|known| known.name != fresh.name);
                model.push(fresh);
                catalog.insert(fresh);
            }
            for info in &model {
                let later = |other: &&SegmentInfo| other.name.log == info.name.log && other.name > info.name;
                let until = model.iter().filter(later).map(|other| other.base).fold(info.end, u64::min);
                let part = catalog.part(info.name);
                assert_eq!(part.map(|part| part.extent.until), (until > info.base).then_some(until));
                // What it was once known to be followed by may have been found empty since.
                let followed = model.iter().filter(later).any(|other| other.lanes != 0);
                assert!(part.is_none_or(|part| !followed || part.extent.stored == until));
            }
        }
    }
}
