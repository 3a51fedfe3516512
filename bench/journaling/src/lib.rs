//! The journal, measured: how fast it commits, what that costs, and what the disk could do at best.
//!
//! Owns loads and clocks, no journal: what it drives is `shard::Keeping` over `uring`, with a keeper beside it, as the
//! dataplane has them. Every run reads back what it wrote and compares it; a run that lost anything is no result.

pub mod floor;
pub mod load;
pub mod writer;

use driver::Driver;
use hdrhistogram::Histogram;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;
use uring::{HostLimits, ShardConfig, Sizing, Uring, Waker, Wanted};

/// A ring over the files of a directory, as a shard has it but without sockets, and its bell.
///
/// # Errors
/// What the host refuses.
pub fn ring(directory: &Path) -> io::Result<(Uring, Waker)> {
    let wanted = Wanted { connection_count: 1, ..Wanted::default() };
    let sizing = Sizing::from_limits(HostLimits::raise(), 1, wanted).map_err(io::Error::other)?;
    let (mut doors, peers) = uring::doors(1)?;
    let (door, waker) = (doors.remove(0), peers[0].clone());
    let directory = Some(File::open(directory)?.into());
    let config = ShardConfig { shard: 0, sockets: Vec::new(), listeners: Vec::new(), sizing, door, peers, directory };
    Ok((Uring::start(config)?, waker))
}

/// Keeps the calling thread to the first core.
fn pin() {
    // For evenness; a host that refuses it is measured all the same.
    let _pinned = uring::pin_to_core(0);
}

/// An empty histogram of microseconds, up to a minute, three digits.
///
/// # Panics
/// Never: the bounds are good ones.
#[must_use]
pub fn micros() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("good bounds")
}

/// Microseconds between two looks at the driver's clock.
fn micros_since(driver: &Uring, since: base::Monotonic) -> u64 {
    driver.instant().0.saturating_sub(since.0) / 1000
}

/// Processor time of the calling thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
