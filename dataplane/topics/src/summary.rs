//! Which shards have a subscriber for a topic, as every shard knows it: a small replica that may say yes wrongly, never no.
//!
//! A filter is *coarsened*: cut behind [`LEVELS`] levels, `#` in the place of the rest. What is left has a *shape* (how many
//! levels, which of them are `+`, whether `#` follows) and a *bucket* (a keyed hash of space, shape and texts). A shard
//! counts its filters by shape and by bucket ([`Interests`]) and tells the others when a count leaves zero or comes back to
//! it ([`Delta`]); they keep a bit per shard ([`Summary`]). Both sizes are fixed: too many filters make more wrong yeses, no
//! refusals and no more memory.
//!
//! ```text
//!   site/7/device/+/up/# -> site/7/device/+/#: shape (4 levels, + at the fourth, #), bucket of ("site", "7", "device", +)
//!
//!   shape = (1 << levels) - 1 + pluses            with #: 0..=30
//!         = 31 + (1 << levels) - 2 + pluses       without: 31..=60
//!
//!   memory of each shard: a byte a bucket to count, a bit a bucket and shard of the replica. With 8 buckets for each
//!   filter of the whole node, about one in 8 times as many shards as it has shapes in use says yes wrongly.
//! ```

use crate::hash::{Hasher, Key};
use crate::levels::{self, Filter};
use base::mix::{BuildMixHasher, mix64};
use std::collections::HashMap;

/// Levels of a filter that others know.
pub const LEVELS: usize = 4;

/// The shards that a mask has bits for.
pub const SHARD_COUNT_MAX: usize = 64;

/// Shapes that end with `#`.
const COVERING: usize = (1 << (LEVELS + 1)) - 1;

const SHAPE_COUNT: usize = COVERING + (1 << (LEVELS + 1)) - 2;

const _: () = assert!(SHAPE_COUNT <= 64, "a word has a bit for each shape");

/// The most buckets: what a [`Delta`] has room for.
const BUCKET_COUNT_MAX: usize = 1 << 30;

/// A count that is in the table of large ones.
const LARGE: u8 = u8::MAX;

/// A change of what a shard is interested in, for all others, in its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delta {
    what: What,
    is_set: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Shape(u32),
    Bucket(u32),
}

impl Delta {
    /// As four bytes of a hop. `| set 1 | shape 1 | number 30 |`
    #[must_use]
    pub const fn to_wire(self) -> u32 {
        let what = match self.what {
            What::Shape(shape) => 1 << 30 | shape,
            What::Bucket(bucket) => bucket,
        };
        (self.is_set as u32) << 31 | what
    }

    /// What [`Delta::to_wire`] wrote.
    #[must_use]
    pub const fn from_wire(wire: u32) -> Self {
        let number = wire & ((1 << 30) - 1);
        let what = if wire >> 30 & 1 == 1 { What::Shape(number) } else { What::Bucket(number) };
        Self { what, is_set: wire >> 31 == 1 }
    }
}

/// How the filters of a node are spread: the same for all its shards.
#[derive(Clone, Copy, Debug)]
struct Spread {
    hasher: Hasher,
    bucket_count: usize,
}

impl Spread {
    fn new(bucket_count: usize, key: Key) -> Self {
        assert!((1..=BUCKET_COUNT_MAX).contains(&bucket_count), "a bucket has a number of 30 bits");
        Self { hasher: Hasher::new(key), bucket_count }
    }

    fn root(&self, space: u32) -> u64 {
        self.hasher.pair(1, space)
    }

    fn bucket(&self, way: u64, covers_below: bool) -> usize {
        let hash = mix64(way ^ u64::from(covers_below));
        ((u128::from(hash) * self.bucket_count as u128) >> 64) as usize
    }

    /// The shape and the bucket of a filter.
    fn place(&self, space: u32, filter: &[u8]) -> (usize, usize) {
        let parsed = Filter::parse(filter);
        let (mut way, mut count, mut pluses, mut covers_below) = (self.root(space), 0, 0, parsed.covers_below);
        for level in parsed.levels() {
            if count == LEVELS {
                covers_below = true;
                break;
            }
            let is_plus = level == b"+";
            way = further(way, if is_plus { self.hasher.plus() } else { self.hasher.level(level) });
            pluses |= usize::from(is_plus) << count;
            count += 1;
        }
        (shape(count, pluses, covers_below), self.bucket(way, covers_below))
    }
}

const fn further(way: u64, level: u64) -> u64 {
    mix64(way.rotate_left(1) ^ level)
}

/// The number of a shape; one without `#` has a level.
const fn shape(count: usize, pluses: usize, covers_below: bool) -> usize {
    if covers_below { (1 << count) - 1 + pluses } else { COVERING + (1 << count) - 2 + pluses }
}

/// What one shard is interested in, counted.
#[derive(Debug)]
pub struct Interests {
    spread: Spread,
    shapes: [u32; SHAPE_COUNT],
    buckets: Vec<u8>,
    /// Counts from 255 on: at most one for each 255 filters.
    large: HashMap<u32, u32, BuildMixHasher>,
}

impl Interests {
    /// No interests. `bucket_count`, up to 2^30, and the key are the same on all shards.
    ///
    /// # Panics
    /// If there are no buckets, or too many.
    #[must_use]
    pub fn new(bucket_count: usize, key: Key) -> Self {
        let spread = Spread::new(bucket_count, key);
        Self { spread, shapes: [0; SHAPE_COUNT], buckets: vec![0; bucket_count], large: HashMap::default() }
    }

    /// Counts a filter, when its first subscriber has come; `$share/NAME/` before it is passed over. Calls `told` with what
    /// the others must know before the subscriber hears that it has subscribed.
    pub fn add(&mut self, space: u32, filter: &[u8], mut told: impl FnMut(Delta)) {
        let (shape, bucket) = self.spread.place(space, filter);
        self.shapes[shape] += 1;
        if self.shapes[shape] == 1 {
            told(Delta { what: What::Shape(shape as u32), is_set: true });
        }
        let count = &mut self.buckets[bucket];
        match *count {
            LARGE => *self.large.get_mut(&(bucket as u32)).expect("a large count is in the table") += 1,
            small => {
                *count = small + 1;
                if *count == LARGE {
                    self.large.insert(bucket as u32, u32::from(LARGE));
                }
                if small == 0 {
                    told(Delta { what: What::Bucket(bucket as u32), is_set: true });
                }
            }
        }
    }

    /// Counts a filter no more, when its last subscriber has gone.
    ///
    /// # Panics
    /// If it was not counted.
    pub fn remove(&mut self, space: u32, filter: &[u8], mut told: impl FnMut(Delta)) {
        let (shape, bucket) = self.spread.place(space, filter);
        assert!(self.shapes[shape] > 0 && self.buckets[bucket] > 0, "what is removed was added");
        if self.buckets[bucket] == LARGE {
            let count = self.large.get_mut(&(bucket as u32)).expect("a large count is in the table");
            *count -= 1;
            if *count < u32::from(LARGE) {
                self.large.remove(&(bucket as u32));
                self.buckets[bucket] -= 1;
            }
        } else {
            self.buckets[bucket] -= 1;
            if self.buckets[bucket] == 0 {
                told(Delta { what: What::Bucket(bucket as u32), is_set: false });
            }
        }
        self.shapes[shape] -= 1;
        if self.shapes[shape] == 0 {
            told(Delta { what: What::Shape(shape as u32), is_set: false });
        }
    }

    /// All that a shard has to know that knows nothing yet.
    pub fn all(&self) -> impl Iterator<Item = Delta> + '_ {
        let set = |what| Delta { what, is_set: true };
        let shapes = self.shapes.iter().zip(0..).filter(|(count, _)| **count > 0);
        let buckets = self.buckets.iter().zip(0..).filter(|(count, _)| **count > 0);
        shapes.map(move |(_, shape)| set(What::Shape(shape))).chain(buckets.map(move |(_, at)| set(What::Bucket(at))))
    }

    /// Bytes of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buckets.capacity() + self.large.capacity() * size_of::<(u32, u32)>()
    }
}

/// What all shards are interested in.
#[derive(Debug)]
pub struct Summary {
    spread: Spread,
    /// For each shape the shards that have filters of it.
    shapes: [u64; SHAPE_COUNT],
    /// For each bucket the shards that have filters in it: a field of a power of two of bits.
    words: Vec<u64>,
    field_bits: usize,
}

impl Summary {
    /// Knows of no interests. `bucket_count` and the key are those of all shards' [`Interests`].
    ///
    /// # Panics
    /// If there are no buckets or too many, or no shards or more than [`SHARD_COUNT_MAX`].
    #[must_use]
    pub fn new(bucket_count: usize, shard_count: usize, key: Key) -> Self {
        assert!((1..=SHARD_COUNT_MAX).contains(&shard_count), "a mask has a bit for each shard");
        let field_bits = shard_count.next_power_of_two();
        let words = vec![0; (bucket_count * field_bits).div_ceil(64)];
        Self { spread: Spread::new(bucket_count, key), shapes: [0; SHAPE_COUNT], words, field_bits }
    }

    /// Takes a change of a shard in.
    ///
    /// # Panics
    /// If there is no such shard, or the change is of another number of buckets.
    pub fn apply(&mut self, shard: usize, delta: Delta) {
        assert!(shard < self.field_bits, "the shard is one of those that were said");
        let (word, bit) = match delta.what {
            What::Shape(shape) => (&mut self.shapes[shape as usize], shard),
            What::Bucket(bucket) => {
                assert!((bucket as usize) < self.spread.bucket_count, "all shards have as many buckets");
                let at = bucket as usize * self.field_bits + shard;
                (&mut self.words[at / 64], at % 64)
            }
        };
        *word = *word & !(1 << bit) | u64::from(delta.is_set) << bit;
    }

    /// The shards that may have a subscriber for a topic, a bit each.
    #[must_use]
    pub fn shards(&self, space: u32, topic: &[u8]) -> u64 {
        // One level more than others know of is enough to know that the topic goes on.
        let (mut texts, mut count) = ([0; LEVELS], 0);
        for level in levels::levels(topic).take(LEVELS + 1) {
            if let Some(text) = texts.get_mut(count) {
                *text = self.spread.hasher.level(level);
            }
            count += 1;
        }
        let wildcards = !levels::is_reserved(topic);
        let mut looked_up = LookUp { summary: self, texts, count, wildcards, shards: 0 };
        looked_up.from(self.spread.root(space), 0, 0);
        looked_up.shards
    }

    /// Bytes of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.words.capacity() * 8
    }

    fn at(&self, way: u64, count: usize, pluses: usize, covers_below: bool) -> u64 {
        let by_shape = self.shapes[shape(count, pluses, covers_below)];
        if by_shape == 0 {
            return 0;
        }
        let at = self.spread.bucket(way, covers_below) * self.field_bits;
        self.words[at / 64] >> (at % 64) & (u64::MAX >> (64 - self.field_bits)) & by_shape
    }
}

/// A topic on its way through all shapes.
struct LookUp<'a> {
    summary: &'a Summary,
    texts: [u64; LEVELS],
    /// Levels of the topic, more than [`LEVELS`] counted as one more.
    count: usize,
    wildcards: bool,
    shards: u64,
}

impl LookUp<'_> {
    /// With the first levels gone, some of them as `+`.
    fn from(&mut self, way: u64, depth: usize, pluses: usize) {
        if depth > 0 || self.wildcards {
            self.shards |= self.summary.at(way, depth, pluses, true);
        }
        if depth == self.count {
            self.shards |= self.summary.at(way, depth, pluses, false);
        }
        let Some(text) = self.texts.get(depth).filter(|_| depth < self.count) else { return };
        self.from(further(way, *text), depth + 1, pluses);
        if depth > 0 || self.wildcards {
            self.from(further(way, self.summary.spread.hasher.plus()), depth + 1, pluses | 1 << depth);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn shapes_have_numbers_of_their_own() {
        let mut numbers = BTreeSet::new();
        for count in 0..=LEVELS {
            for pluses in 0..1 << count {
                assert!(numbers.insert(shape(count, pluses, true)));
                assert!(count == 0 || numbers.insert(shape(count, pluses, false)));
            }
        }
        assert_eq!((numbers.len(), numbers.last()), (SHAPE_COUNT, Some(&(SHAPE_COUNT - 1))));
    }

    #[test]
    fn deltas_cross_the_wire() {
        for what in [What::Shape(60), What::Bucket(0), What::Bucket(BUCKET_COUNT_MAX as u32 - 1)] {
            for is_set in [false, true] {
                let delta = Delta { what, is_set };
                assert_eq!(Delta::from_wire(delta.to_wire()), delta);
            }
        }
    }

    /// Every shard gets what it subscribes to; of the others about as many as the header says hear of it for nothing.
    #[test]
    fn few_are_told_for_nothing() {
        const SHARDS: usize = 8;
        const FILTERS: u32 = 20_000;
        let (bucket_count, key) = (8 * FILTERS as usize, Key([9; 16]));
        let mut summary = Summary::new(bucket_count, SHARDS, key);
        let mut shards: Vec<Interests> = (0..SHARDS).map(|_| Interests::new(bucket_count, key)).collect();
        for filter in 0..FILTERS {
            let shard = filter as usize % SHARDS;
            let text = format!("stream/s/device/{filter:016x}/{}", if filter % 2 == 0 { "#" } else { "up/+" });
            shards[shard].add(1, text.as_bytes(), |delta| summary.apply(shard, delta));
        }
        let mut wrong = 0;
        for filter in 0..FILTERS {
            let told = summary.shards(1, format!("stream/s/device/{filter:016x}/up/x").as_bytes());
            assert!(told >> (filter as usize % SHARDS) & 1 == 1, "{filter}");
            wrong += told.count_ones() - 1;
            assert_eq!(summary.shards(1, b"stream/s/none"), 0, "nobody has a filter of such a shape");
        }
        let share = f64::from(wrong) / f64::from(FILTERS);
        assert!(share < 0.2, "{share} shards of 7 are told for nothing");
        assert_eq!((summary.bytes(), shards[0].bytes()), (bucket_count, bucket_count));
    }

    /// Many filters in one bucket: the count is exact beyond a byte, so the last one takes it back.
    #[test]
    fn large_counts_come_back_to_zero() {
        let mut interests = Interests::new(4, Key([1; 16]));
        let mut deltas = Vec::new();
        let filters: Vec<String> = (0..5000).map(|filter| format!("a/b/c/d/{filter}")).collect();
        filters.iter().for_each(|filter| interests.add(7, filter.as_bytes(), |delta| deltas.push(delta)));
        assert_eq!(deltas.len(), 2, "one shape and one bucket");
        assert_eq!(interests.all().collect::<Vec<_>>().len(), 2);
        filters.iter().for_each(|filter| interests.remove(7, filter.as_bytes(), |delta| deltas.push(delta)));
        assert_eq!(deltas.len(), 4);
        assert_eq!((interests.all().count(), interests.large.len()), (0, 0));
    }
}
