//! What the disk takes at best: the batches that the journal wrote, into one file that was made ahead, and nothing else.
//!
//! Two loops, since it is not known which is faster: linked write and fdatasync on a ring, and `pwrite`, `fdatasync`.

use crate::{micros, micros_since, pin, ring};
use driver::{Access, Completion, Driver};
use hdrhistogram::Histogram;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const FILE: &str = "floor";

/// Where the first batch goes: behind a header, as in a segment.
const START: u64 = 4096;

const PIECE_BYTES: usize = 1 << 20;

/// One file of zeros, large enough for the batches, all of it stored.
fn made_ahead(directory: &Path, batches: &[u32]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(directory.join(FILE))?;
    let zeros = vec![0; PIECE_BYTES];
    let bytes = START + batches.iter().map(|bytes| u64::from(*bytes)).sum::<u64>();
    for _ in 0..bytes.div_ceil(PIECE_BYTES as u64) {
        file.write_all(&zeros)?;
    }
    file.sync_all()
}

/// On a thread that keeps to the core of the shard.
fn pinned(work: impl FnOnce() -> io::Result<Histogram<u64>> + Send) -> io::Result<Histogram<u64>> {
    let done = thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            pin();
            work()
        });
        pinned.join()
    });
    done.map_err(|_| io::Error::other("a thread ended by a defect"))?
}

/// Microseconds of each linked write and fdatasync of the batches, one after the other, on a ring.
///
/// # Errors
/// What the host refuses, a failed write included.
pub fn linked(directory: &Path, batches: &[u32]) -> io::Result<Histogram<u64>> {
    made_ahead(directory, batches)?;
    pinned(|| linked_here(directory, batches))
}

fn linked_here(directory: &Path, batches: &[u32]) -> io::Result<Histogram<u64>> {
    let (mut ring, _waker) = ring(directory)?;
    let file = ring.open(FILE, Access::Write).map_err(|_| io::Error::other("no place for a file"))?;
    let mut took = micros();
    let mut at = START;
    let mut left = batches.iter();
    let mut since = ring.instant();
    loop {
        ring.turn(ring.now().after(Duration::from_secs(1)), &mut || true);
        while let Some(completion) = ring.reap() {
            match completion {
                Completion::Opened { outcome, .. } => outcome.map_err(io::Error::from_raw_os_error)?,
                Completion::Written { outcome, .. } => {
                    outcome.map_err(|fault| io::Error::other(format!("{fault:?}")))?;
                    took.saturating_record(micros_since(&ring, since).max(1));
                }
                other => return Err(io::Error::other(format!("unexpected {other:?}"))),
            }
            let Some(bytes) = left.next() else { return Ok(took) };
            let lease = ring.file_buffer().map_err(|_| io::Error::other("no buffer"))?;
            ring.bytes(&lease)[..*bytes as usize].fill(at as u8);
            since = ring.instant();
            ring.write(file, at, lease, *bytes as usize, true);
            at += u64::from(*bytes);
        }
    }
}

/// Microseconds of each `pwrite` and `fdatasync` of the batches, one after the other.
///
/// # Errors
/// What the host refuses.
pub fn blocking(directory: &Path, batches: &[u32]) -> io::Result<Histogram<u64>> {
    made_ahead(directory, batches)?;
    pinned(|| blocking_here(directory, batches))
}

fn blocking_here(directory: &Path, batches: &[u32]) -> io::Result<Histogram<u64>> {
    let file = OpenOptions::new().write(true).open(directory.join(FILE))?;
    let longest = batches.iter().max().copied().unwrap_or(0);
    let mut buffer = vec![0; longest as usize];
    let mut took = micros();
    let mut at = START;
    for bytes in batches {
        let batch = &mut buffer[..*bytes as usize];
        batch.fill(at as u8);
        let since = Instant::now();
        file.write_all_at(batch, at)?;
        file.sync_data()?;
        took.saturating_record((since.elapsed().as_micros() as u64).max(1));
        at += u64::from(*bytes);
    }
    Ok(took)
}
