//! What goes wrong, how often, and how long things take. All chances are in 1024ths.

use base::mix::SplitMix64;
use std::time::Duration;

/// A world's weather.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// A datagram is lost.
    pub datagram_loss: u64,
    /// A datagram arrives twice.
    pub datagram_duplicate: u64,
    /// The least time that anything is under way.
    pub delay_min: Duration,
    /// The greatest; datagrams overtake each other within the difference.
    pub delay_max: Duration,
    /// Datagrams that a host's sockets hold before they overrun.
    pub inbox_count: usize,
    /// A stream's write is cut into segments of at most this many bytes, at random places.
    pub segment_bytes_max: usize,
    /// Bytes that a stream holds, sent and not read, each way.
    pub window_bytes: usize,
    /// An output buffer, or room for a datagram, is refused though there is one.
    pub busy: u64,
    /// A datagram cannot be sent, with an errno.
    pub send_to_failure: u64,
    /// The greatest time between the last byte's copy into the kernel and the word of it.
    pub completion_delay_max: Duration,
    /// The greatest time that one turn of a host's loop takes.
    pub turn_max: Duration,
}

impl Faults {
    /// Nothing is lost or refused; delays vary a little.
    #[must_use]
    pub const fn calm() -> Self {
        Self {
            datagram_loss: 0,
            datagram_duplicate: 0,
            delay_min: Duration::from_micros(50),
            delay_max: Duration::from_micros(200),
            inbox_count: 4096,
            segment_bytes_max: 65_536,
            window_bytes: 128 * 1024,
            busy: 0,
            send_to_failure: 0,
            completion_delay_max: Duration::from_micros(20),
            turn_max: Duration::from_micros(20),
        }
    }

    /// A weather of its own for each seed, from calm to foul.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let mut up_to = |bound: u64| if random.below(3) == 0 { 0 } else { random.below(bound) };
        Self {
            datagram_loss: up_to(200),
            datagram_duplicate: up_to(200),
            delay_min: Duration::from_micros(20 + up_to(1000)),
            delay_max: Duration::from_micros(1100 + up_to(40_000)),
            inbox_count: 1 + up_to(4096) as usize / 64,
            segment_bytes_max: 1 + up_to(3000) as usize,
            window_bytes: 2048 + up_to(256 * 1024) as usize,
            busy: up_to(300),
            send_to_failure: up_to(40),
            completion_delay_max: Duration::from_micros(1 + up_to(5000)),
            turn_max: Duration::from_micros(2 + up_to(300)),
        }
    }
}

/// What a disk does to those who trust it. The capacity and whether it may be written are the disk's own, for they change.
#[derive(Clone, Copy, Debug)]
pub struct DiskFaults {
    /// A write fails (EIO), some of its bytes written.
    pub write_error: u64,
    /// A sync fails (EIO): some of the file is stored, and the rest is taken for clean.
    pub sync_error: u64,
    /// A read or an opening fails (EIO).
    pub read_error: u64,
    /// A write takes only some of what it is given, and goes on later.
    pub short_write: u64,
    /// A read gives fewer bytes than it could.
    pub short_read: u64,
    /// The kernel stores something that nobody asked it to, at a write.
    pub write_back: u64,
    /// A lie: a sync says that it is done, and nothing is stored.
    pub lost_sync: u64,
    /// A lie: a stored bit flips, at any operation.
    pub flip_stored: u64,
    /// A lie: a bit flips in memory, at any operation.
    pub flip_cached: u64,
    /// The least time that a write or a read takes.
    pub delay_min: Duration,
    /// The greatest; one that is cut short takes several.
    pub delay_max: Duration,
    /// The greatest time that a sync takes beyond that.
    pub sync_delay_max: Duration,
}

impl DiskFaults {
    /// Nothing fails; delays vary a little.
    #[must_use]
    pub const fn calm() -> Self {
        Self {
            write_error: 0,
            sync_error: 0,
            read_error: 0,
            short_write: 0,
            short_read: 0,
            write_back: 0,
            lost_sync: 0,
            flip_stored: 0,
            flip_cached: 0,
            delay_min: Duration::from_micros(5),
            delay_max: Duration::from_micros(50),
            sync_delay_max: Duration::from_micros(300),
        }
    }

    /// The same without lies: what is said to be stored is, and what is read is what was written.
    #[must_use]
    pub const fn honest(self) -> Self {
        Self { lost_sync: 0, flip_stored: 0, flip_cached: 0, ..self }
    }

    /// A temper of its own for each seed. One in four lies.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = SplitMix64::new(seed ^ 0xD15C);
        let lies = random.below(4) == 0;
        let mut up_to = |bound: u64| if random.below(3) == 0 { 0 } else { random.below(bound) };
        let honest = Self {
            write_error: up_to(30),
            sync_error: up_to(30),
            read_error: up_to(30),
            short_write: up_to(500),
            short_read: up_to(500),
            write_back: up_to(500),
            delay_min: Duration::from_micros(1 + up_to(100)),
            delay_max: Duration::from_micros(101 + up_to(3000)),
            sync_delay_max: Duration::from_micros(1 + up_to(20_000)),
            ..Self::calm()
        };
        if !lies {
            return honest;
        }
        Self { lost_sync: up_to(200), flip_stored: up_to(10), flip_cached: up_to(10), ..honest }
    }

    /// Whether a disk of this temper may lie, so that nothing it said can be held against its owner.
    #[must_use]
    pub const fn may_lie(&self) -> bool {
        self.lost_sync > 0 || self.flip_stored > 0 || self.flip_cached > 0
    }
}

/// Whether something with this chance happens now.
pub(crate) fn strikes(random: &mut SplitMix64, chance: u64) -> bool {
    random.below(1024) < chance
}

/// A span from `least` to `most`.
pub(crate) fn between(random: &mut SplitMix64, least: Duration, most: Duration) -> Duration {
    let span = most.saturating_sub(least).as_nanos() as u64;
    least + Duration::from_nanos(random.below(span + 1))
}
