//! How large an executor's rings are: what is wanted, cut to what the host lets us lock.
//!
//! glommio makes three rings of one depth (main, latency, polling) and registers one piece of memory with each of them, which
//! counts as locked three times. We use none of it, so it has glommio's least.
//!
//! ```text
//!   3 x (entries x 64 B + 2 x entries x 16 B + entries x 4 B + 64 KiB)       1024 entries: 504 KiB
//! ```

use std::fmt;
use uring::Sizing;

const PAGE: u64 = 4096;
const RINGS: u64 = 3;

/// The least that glommio registers, however little it is asked for.
const IO_BYTES: u64 = 65_536;

/// glommio does not start below this RLIMIT_MEMLOCK.
const MEMLOCK_MIN: u64 = 512 * 1024;

/// The sizes of one executor. Its `Display` is the line to print at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Entries of each submission queue, a power of two.
    pub ring_entries: u32,
    shard_count: u32,
}

impl Memory {
    /// The fewest entries of a ring.
    pub const ENTRIES_MIN: u32 = 64;

    /// Cuts the submission entries of `sizing` to half of what may be locked.
    ///
    /// # Errors
    /// One line saying how high the limit must be.
    pub fn within(sizing: &Sizing) -> Result<Self, String> {
        let shard_count = sizing.shard_count;
        let mut memory = Self { ring_entries: sizing.submission_entries.max(Self::ENTRIES_MIN), shard_count };
        let Some(limit) = sizing.host.memlock_bytes else { return Ok(memory) };
        let fits = |memory: &Self| memory.locked_bytes() * 2 <= limit && limit >= MEMLOCK_MIN;
        while !fits(&memory) && memory.ring_entries > Self::ENTRIES_MIN {
            memory.ring_entries /= 2;
        }
        if fits(&memory) {
            return Ok(memory);
        }
        let needed = (memory.locked_bytes() * 2).max(MEMLOCK_MIN);
        Err(format!(
            "RLIMIT_MEMLOCK of {limit} is too low for {shard_count} shards over glommio: raise it to {needed} (ulimit -l {})",
            needed.div_ceil(1024)
        ))
    }

    /// Bytes of all shards that count as locked.
    #[must_use]
    pub fn locked_bytes(&self) -> u64 {
        let entries = u64::from(self.ring_entries);
        // The heads and tails of a ring take less than another KiB.
        let queues = (entries * 64).next_multiple_of(PAGE) + (entries * (2 * 16 + 4) + 1024).next_multiple_of(PAGE);
        RINGS * (queues + IO_BYTES) * u64::from(self.shard_count)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, entries, locked) = (self.shard_count, self.ring_entries, self.locked_bytes() / 1024);
        write!(out, "{count} executors, each: {RINGS} rings of {entries} entries; {locked} KiB locked in all")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uring::{HostLimits, Wanted};

    fn check(memlock_bytes: Option<u64>, shard_count: u32) -> Result<u32, String> {
        let host = HostLimits { memlock_bytes: None, nofile: 20_000 };
        let sizing = Sizing::from_limits(host, shard_count, Wanted::default()).expect("sizes");
        let sizing = Sizing { host: HostLimits { memlock_bytes, ..host }, ..sizing };
        let memory = Memory::within(&sizing)?;
        if let Some(bytes) = memlock_bytes {
            assert!(memory.locked_bytes() <= bytes / 2, "{memory}");
        }
        Ok(memory.ring_entries)
    }

    #[test]
    fn stays_within_what_the_host_allows() {
        assert_eq!(check(None, 8), Ok(1024));
        assert_eq!(check(Some(8 << 20), 2), Ok(1024), "the usual limit holds two shards whole");
        assert_eq!(check(Some(8 << 20), 8), Ok(1024));
        assert_eq!(check(Some(8 << 20), 16), Ok(128));
        let refused = check(Some(8 << 20), 32).expect_err("too many");
        assert!(refused.starts_with("RLIMIT_MEMLOCK of 8388608 is too low for 32 shards over glommio: "), "{refused}");
        assert!(!refused.contains('\n'));
        assert!(check(Some(256 << 10), 1).is_err(), "glommio itself refuses");
    }
}
