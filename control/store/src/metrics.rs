//! How long reads and writes take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds; one more bucket holds the rest.
pub(crate) const BOUNDS_US: [u64; 8] = [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 1_000_000];

/// A histogram that any thread may add to.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// What a histogram holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Upper bounds in microseconds with how many took at most so long.
    pub at_most: Vec<(u64, u64)>,
    /// All of them.
    pub count: u64,
    /// Microseconds, together.
    pub sum_us: u64,
}

impl Histogram {
    pub(crate) fn add(&self, took: Duration) {
        let us = took.as_micros() as u64;
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn timing(&self) -> Timing {
        let mut count = 0;
        let mut at_most = Vec::with_capacity(BOUNDS_US.len());
        for (index, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            if let Some(bound) = BOUNDS_US.get(index) {
                at_most.push((*bound, count));
            }
        }
        Timing { at_most, count, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}
