//! No cache line is written by two shards on the way of a message, but those of the rings between them.
//!
//! Everything that the threads of two shards can reach, and why it is no trouble:
//!
//! | what | who writes | where it is seen to |
//! |---|---|---|
//! | head, tail and bytes of a ring | its two shards: the rings' own | `base::ring`, asserted there |
//! | the ends of rings, which remember the other's place | the shard that has the end | here |
//! | where a record is put together | the shard that sends it | here |
//! | sums of streams, made by the control thread | the shard that has the load | here |
//! | counters that others read | their shard | `base::counters`, tested there |
//! | strays | their shard | `dataplaned::metrics`, asserted there |
//! | the bell of a shard: a flag | the shard as it falls asleep, who wakes it | `uring::wake`, asserted there |
//! | the mailbox | its shard and the control thread | here: head and tail are apart |
//! | plans, options, TLS configurations, wakers | nobody while messages pass | |
//!
//! Everything else is made by the shard's own thread, whose heap is its own.

use super::*;
use crate::streams::StreamState;
use core::ops::Range;
use crossbeam::queue::ArrayQueue;

const LINE_BYTES: usize = 64;

const _: () = assert!(align_of::<ArrayQueue<ToShard>>() >= LINE_BYTES, "head and tail are apart");

/// Asserts that what is written by different shards lies on different lines.
fn assert_apart(written: &[(usize, Range<usize>)]) {
    let lines = |range: &Range<usize>| range.start / LINE_BYTES..range.end.div_ceil(LINE_BYTES);
    for (at, (shard, range)) in written.iter().enumerate() {
        assert!(!range.is_empty(), "shard {shard} has something");
        for (other, another) in written[at + 1..].iter().filter(|(other, _)| other != shard) {
            let (one, two) = (lines(range), lines(another));
            assert!(one.end <= two.start || two.end <= one.start, "{shard} and {other}: {range:x?} {another:x?}");
        }
    }
}

#[test]
fn ports_of_shards_share_no_line() {
    for count in [2, 3, 8] {
        let ports = fabric(count, base::ring::RECORD_BYTES_MAX + base::ring::LENGTH_BYTES);
        let written = ports.iter().enumerate();
        assert_apart(&written.flat_map(|(own, ports)| ports.written().map(|range| (own, range))).collect::<Vec<_>>());
    }
}

#[test]
fn sums_of_streams_share_no_line() {
    for count in [1, 3, 10] {
        // As the control thread makes them: one load after the other.
        let loads: Vec<Vec<StreamState>> = (0..8).map(|_| (0..count).map(StreamState::new).collect()).collect();
        let range = |streams: &Vec<StreamState>| {
            let range = streams.as_ptr_range();
            range.start.addr()..range.end.addr()
        };
        assert_apart(&loads.iter().map(range).enumerate().collect::<Vec<_>>());
    }
}
