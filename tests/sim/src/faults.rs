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
            inbox_count: 16 + up_to(4096) as usize,
            segment_bytes_max: 1 + up_to(3000) as usize,
            window_bytes: 2048 + up_to(256 * 1024) as usize,
            busy: up_to(300),
            send_to_failure: up_to(40),
            completion_delay_max: Duration::from_micros(1 + up_to(5000)),
            turn_max: Duration::from_micros(2 + up_to(300)),
        }
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
