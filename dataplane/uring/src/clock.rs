//! The two clocks and the source of randomness, as the host has them: what every backend tells its shard.

use base::{Monotonic, UnixMicros};

/// CLOCK_MONOTONIC, nanoseconds since boot.
#[must_use]
pub fn monotonic() -> Monotonic {
    let time = read(libc::CLOCK_MONOTONIC);
    Monotonic(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// CLOCK_REALTIME, microseconds since 1970.
#[must_use]
pub fn unix() -> UnixMicros {
    let time = read(libc::CLOCK_REALTIME);
    UnixMicros(time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000)
}

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call, which writes nothing else.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert!(result == 0, "the host has both clocks");
    time
}

/// Fills `target` with random bytes fit for keys.
///
/// # Panics
/// If the host has no randomness: nothing that needs a key can go on.
pub fn entropy(target: &mut [u8]) {
    let mut done = 0;
    while done < target.len() {
        let rest = &mut target[done..];
        // SAFETY: the kernel writes at most `rest.len()` bytes into `rest`, which is exclusively ours.
        let count = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if count < 0 {
            let error = std::io::Error::last_os_error();
            assert!(error.kind() == std::io::ErrorKind::Interrupted, "the host has randomness: {error}");
            continue;
        }
        done += count as usize;
    }
}
