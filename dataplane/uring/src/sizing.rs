//! How large a shard's ring, tables and pools are: what is wanted, cut to what the host lets us have.
//!
//! Locked memory per shard (charged against RLIMIT_MEMLOCK unless we hold CAP_IPC_LOCK):
//!
//! ```text
//!   submission entries x 64 B + completion entries x 16 B + (datagram + receive buffers) x 16 B
//!   wanted:  1024 x 64 + 8192 x 16 + (1024 + 2048) x 16 = 245 760 B      about 34 shards in 8 MiB
//! ```
//! The buffers themselves are ordinary memory that becomes resident when first used.

use std::fmt;

const PAGE: u64 = 4096;

/// What this process may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostLimits {
    /// Bytes that may be locked; none if unlimited, or if CAP_IPC_LOCK waives the limit.
    pub memlock_bytes: Option<u64>,
    /// Descriptors that may be open at once.
    pub nofile: u64,
}

/// What the operator would like, over all shards for connections, per shard for the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// TCP connections of all shards together.
    pub connection_count: u32,
    /// Descriptors that the rest of the process needs.
    pub descriptors_kept: u32,
    /// Entries of a submission queue, a power of two.
    pub submission_entries: u32,
    /// Entries of a completion queue, a power of two.
    pub completion_entries: u32,
    /// Buffers for datagrams per shard, a power of two.
    pub datagram_count: u32,
    /// Buffers for received TCP bytes per shard, a power of two.
    pub receive_count: u32,
    /// Bytes that a receive buffer of either kind takes.
    pub receive_bytes: u32,
    /// Output buffers per shard.
    pub output_count: u32,
    /// Bytes of an output buffer.
    pub output_bytes: u32,
    /// Datagrams that may be on their way out per shard.
    pub send_to_count: u32,
    /// Files that may be open per shard.
    pub file_count: u32,
    /// Buffers for writing and reading files per shard.
    pub file_buffer_count: u32,
    /// Bytes of such a buffer, whole pages.
    pub file_buffer_bytes: u32,
}

impl Default for Wanted {
    /// A shard of a large machine: one TLS record fits an output buffer, one packet forwarder's burst a datagram buffer,
    /// and what a turn has to store a file buffer.
    fn default() -> Self {
        Self {
            connection_count: 1_000_000,
            descriptors_kept: 512,
            submission_entries: 1024,
            completion_entries: 8192,
            datagram_count: 1024,
            receive_count: 2048,
            receive_bytes: 4096,
            output_count: 1024,
            output_bytes: 17 * 1024,
            send_to_count: 1024,
            file_count: 64,
            file_buffer_count: 16,
            file_buffer_bytes: 256 * 1024,
        }
    }
}

/// The sizes of one shard. Its `Display` is the line to print at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizing {
    /// Entries of the submission queue, a power of two.
    pub submission_entries: u32,
    /// Entries of the completion queue, a power of two.
    pub completion_entries: u32,
    /// Buffers for datagrams, a power of two.
    pub datagram_count: u32,
    /// Buffers for received TCP bytes, a power of two.
    pub receive_count: u32,
    /// Bytes that a receive buffer of either kind takes.
    pub receive_bytes: u32,
    /// Output buffers.
    pub output_count: u32,
    /// Bytes of an output buffer.
    pub output_bytes: u32,
    /// Datagrams that may be on their way out.
    pub send_to_count: u32,
    /// Files that may be open.
    pub file_count: u32,
    /// Buffers for writing and reading files.
    pub file_buffer_count: u32,
    /// Bytes of such a buffer, whole pages.
    pub file_buffer_bytes: u32,
    /// TCP connections.
    pub connection_count: u32,
    /// The limits that were met.
    pub host: HostLimits,
    /// Shards that share them.
    pub shard_count: u32,
}

impl HostLimits {
    /// Raises both limits as far as an ordinary process may (soft to hard), then reads them. Call it before any shard
    /// starts: an accept keeps the limit that held when it was armed.
    #[must_use]
    pub fn raise() -> Self {
        for resource in [libc::RLIMIT_MEMLOCK, libc::RLIMIT_NOFILE] {
            let mut value = limits(resource);
            value.rlim_cur = value.rlim_max;
            // SAFETY: `value` outlives the call, which writes nothing. A refusal leaves the limit, which is read next.
            unsafe { libc::setrlimit(resource, &raw const value) };
        }
        Self::read()
    }

    /// The limits in force now.
    #[must_use]
    pub fn read() -> Self {
        let memlock_bytes = if may_lock_any() { None } else { limit(libc::RLIMIT_MEMLOCK) };
        Self { memlock_bytes, nofile: limit(libc::RLIMIT_NOFILE).unwrap_or(u64::MAX) }
    }
}

impl Sizing {
    /// The least entries of either queue and of either buffer ring.
    pub const ENTRIES_MIN: u32 = 64;

    /// Cuts what is wanted to what the host allows: half of what may be locked, and the descriptors not otherwise needed.
    ///
    /// # Errors
    /// One line saying which limit is too low, and how high it must be.
    pub fn from_limits(host: HostLimits, shard_count: u32, wanted: Wanted) -> Result<Self, String> {
        assert!(shard_count > 0, "there is at least one shard");
        let mut sizing = Self {
            submission_entries: wanted.submission_entries.next_power_of_two().clamp(Self::ENTRIES_MIN, 32_768),
            completion_entries: wanted.completion_entries.next_power_of_two().clamp(Self::ENTRIES_MIN * 2, 65_536),
            datagram_count: wanted.datagram_count.next_power_of_two().clamp(Self::ENTRIES_MIN, 32_768),
            receive_count: wanted.receive_count.next_power_of_two().clamp(Self::ENTRIES_MIN, 32_768),
            receive_bytes: wanted.receive_bytes,
            output_count: wanted.output_count,
            output_bytes: wanted.output_bytes,
            send_to_count: wanted.send_to_count,
            file_count: 0,
            file_buffer_count: wanted.file_buffer_count,
            file_buffer_bytes: wanted.file_buffer_bytes.next_multiple_of(PAGE as u32),
            connection_count: 0,
            host,
            shard_count,
        };
        // Half, because other processes of the same user share the limit, and a restart overlaps with what it replaces.
        let share = host.memlock_bytes.map_or(u64::MAX, |bytes| bytes / 2 / u64::from(shard_count));
        while sizing.locked_bytes() > share {
            if !sizing.halve() {
                let needed = sizing.locked_bytes() * 2 * u64::from(shard_count);
                return Err(format!(
                    "RLIMIT_MEMLOCK of {} is too low for {shard_count} shards: raise it to {needed} (ulimit -l {})",
                    host.memlock_bytes.unwrap_or(u64::MAX),
                    needed.div_ceil(1024)
                ));
            }
        }
        let spare = host.nofile.saturating_sub(u64::from(wanted.descriptors_kept));
        // Files are few and come first, but never take more than half.
        let files = u64::from(wanted.file_count).min(spare / 2 / u64::from(shard_count));
        sizing.file_count = files.min(u64::from(u16::MAX)) as u32;
        let left = spare - u64::from(sizing.file_count) * u64::from(shard_count);
        let each = u64::from(wanted.connection_count).min(left) / u64::from(shard_count);
        sizing.connection_count = each.min(crate::tag::INDEX_COUNT_MAX as u64) as u32;
        if sizing.connection_count == 0 || (sizing.file_count == 0 && wanted.file_count > 0) {
            return Err(format!(
                "RLIMIT_NOFILE of {} leaves no connection or file: raise it above {} (ulimit -n)",
                host.nofile,
                u64::from(wanted.descriptors_kept) + 2 * u64::from(shard_count)
            ));
        }
        Ok(sizing)
    }

    /// Bytes of one shard that count as locked: queue entries and buffer ring entries, in whole pages.
    #[must_use]
    pub const fn locked_bytes(&self) -> u64 {
        // The head of a ring's shared memory (heads, tails, flags) takes less than another page.
        let queues = (self.submission_entries as u64 * 64).next_multiple_of(PAGE)
            + (self.completion_entries as u64 * 16 + 1024).next_multiple_of(PAGE);
        let buffers = (self.datagram_count as u64 * 16).next_multiple_of(PAGE)
            + (self.receive_count as u64 * 16).next_multiple_of(PAGE);
        queues + buffers
    }

    /// Halves what costs most; false if nothing can shrink.
    const fn halve(&mut self) -> bool {
        let (submission, completion) = (self.submission_entries * 64, self.completion_entries * 16);
        let buffers = (self.datagram_count + self.receive_count) * 16;
        if completion >= submission && completion >= buffers && self.completion_entries > Self::ENTRIES_MIN * 2 {
            self.completion_entries /= 2;
        } else if submission >= buffers && self.submission_entries > Self::ENTRIES_MIN {
            self.submission_entries /= 2;
        } else if self.receive_count > Self::ENTRIES_MIN || self.datagram_count > Self::ENTRIES_MIN {
            self.receive_count = halved(self.receive_count);
            self.datagram_count = halved(self.datagram_count);
        } else if self.submission_entries > Self::ENTRIES_MIN {
            self.submission_entries /= 2;
        } else if self.completion_entries > Self::ENTRIES_MIN * 2 {
            self.completion_entries /= 2;
        } else {
            return false;
        }
        true
    }
}

const fn halved(count: u32) -> u32 {
    if count > Sizing::ENTRIES_MIN { count / 2 } else { count }
}

impl fmt::Display for Sizing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} shards, each: ring {}/{}, {} datagram and {} receive buffers of {} B, {} output buffers of {} B, {} connections, \
             {} files, {} file buffers of {} B; {} KiB locked in all, of ",
            self.shard_count,
            self.submission_entries,
            self.completion_entries,
            self.datagram_count,
            self.receive_count,
            self.receive_bytes,
            self.output_count,
            self.output_bytes,
            self.connection_count,
            self.file_count,
            self.file_buffer_count,
            self.file_buffer_bytes,
            self.locked_bytes() * u64::from(self.shard_count) / 1024,
        )?;
        match self.host.memlock_bytes {
            Some(bytes) => write!(out, "{} KiB (RLIMIT_MEMLOCK)", bytes / 1024)?,
            None => write!(out, "any amount")?,
        }
        write!(out, "; {} descriptors (RLIMIT_NOFILE)", self.host.nofile)
    }
}

fn limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let value = limits(resource);
    (value.rlim_cur != libc::RLIM_INFINITY).then_some(value.rlim_cur)
}

fn limits(resource: libc::__rlimit_resource_t) -> libc::rlimit {
    let mut value = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `value` outlives the call, which writes nothing else.
    let result = unsafe { libc::getrlimit(resource, &raw mut value) };
    assert!(result == 0, "a known resource has a limit");
    value
}

/// Whether CAP_IPC_LOCK is in force, as `/proc/self/status` tells it.
fn may_lock_any() -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .is_some_and(|set| set >> CAP_IPC_LOCK & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(memlock_bytes: Option<u64>, nofile: u64, shard_count: u32) -> Result<Sizing, String> {
        let sizing = Sizing::from_limits(HostLimits { memlock_bytes, nofile }, shard_count, Wanted::default())?;
        if let Some(bytes) = memlock_bytes {
            assert!(sizing.locked_bytes() * u64::from(shard_count) <= bytes / 2, "{sizing}");
        }
        let descriptors = u64::from(sizing.connection_count + sizing.file_count) * u64::from(shard_count);
        assert!(descriptors + 512 <= nofile && sizing.file_count > 0, "{sizing}");
        for entries in
            [sizing.submission_entries, sizing.completion_entries, sizing.datagram_count, sizing.receive_count]
        {
            assert!(entries.is_power_of_two() && entries >= Sizing::ENTRIES_MIN, "{sizing}");
        }
        Ok(sizing)
    }

    #[test]
    fn stays_within_what_the_host_allows() {
        let plenty = check(None, 2_000_000, 4).expect("plenty");
        assert_eq!((plenty.submission_entries, plenty.connection_count), (1024, 250_000));
        let usual = check(Some(8 << 20), 20_000, 2).expect("the usual limits hold two shards");
        assert_eq!((usual.submission_entries, usual.completion_entries, usual.connection_count), (1024, 8192, 9680));
        assert_eq!((usual.file_count, usual.file_buffer_count, usual.file_buffer_bytes), (64, 16, 262_144));
        check(Some(8 << 20), 20_000, 64).expect("and 64 smaller ones");
        let narrow = check(Some(1 << 20), 1024, 8).expect("and 8 in one MiB");
        assert_eq!((narrow.file_count, narrow.connection_count), (32, 32), "half of the descriptors at most");
    }

    #[test]
    fn says_which_limit_is_too_low() {
        let memlock = check(Some(64 << 10), 20_000, 8).expect_err("64 KiB hold no eight shards");
        assert!(memlock.contains("RLIMIT_MEMLOCK of 65536") && memlock.contains("ulimit -l"), "{memlock}");
        let nofile = check(None, 256, 2).expect_err("256 descriptors leave none");
        assert!(nofile.contains("RLIMIT_NOFILE of 256"), "{nofile}");
    }

    #[test]
    fn reads_the_limits_of_this_host() {
        let before = HostLimits::read();
        let host = HostLimits::raise();
        assert!(before.nofile > 0 && host.nofile >= before.nofile);
        assert_eq!(host, HostLimits::read());
        let sizing = Sizing::from_limits(host, 1, Wanted::default()).expect("one shard fits");
        assert!(sizing.to_string().contains("RLIMIT_NOFILE"), "{sizing}");
    }
}
