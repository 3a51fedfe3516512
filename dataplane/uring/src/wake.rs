//! How a sleeping shard is woken: a flag that says it sleeps, and an eventfd its ring reads.
//!
//! ```text
//!   shard                                 any other thread
//!   sleeping = true                       publish to a queue
//!   fence                                 fence
//!   queues still empty? enter and wait    sleeping? take the flag, write the eventfd
//! ```
//! Each side writes before the fence and reads after it, so at least one of them sees the other: either the shard
//! finds the queue filled and does not sleep, or the waker finds it asleep. Whoever takes the flag does the one write.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// The bell of one shard, as everybody else holds it.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Bell>);

/// The bell as its shard holds it: it alone sleeps on it.
#[derive(Debug)]
pub struct Door(Arc<Bell>);

/// Alone on its cache lines: it is written by one thread and read by all.
#[derive(Debug)]
#[repr(align(128))]
struct Bell {
    sleeping: AtomicBool,
    event: File,
}

const _: () = assert!(align_of::<Bell>() >= 64, "no two bells on one line");

/// One door and one waker per shard, made before any shard starts so that each can be told of all.
///
/// # Errors
/// If the host refuses an eventfd.
pub fn doors(count: usize) -> io::Result<(Vec<Door>, Vec<Waker>)> {
    let bells = (0..count).map(|_| Bell::new().map(Arc::new)).collect::<io::Result<Vec<_>>>()?;
    Ok((bells.iter().cloned().map(Door).collect(), bells.into_iter().map(Waker).collect()))
}

impl Bell {
    fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; a result that is not negative is a descriptor nobody else owns.
        let event = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Self { sleeping: AtomicBool::new(false), event: event.into() })
    }
}

impl Waker {
    /// Sees that the shard looks at its queues soon, if it sleeps. Call it after publishing what the shard shall find.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.0.sleeping.load(Ordering::Relaxed) && self.0.sleeping.swap(false, Ordering::AcqRel) {
            // The only failure of adding one is a counter that is full, and then the shard is being woken anyway.
            let _ = (&self.0.event).write(&1u64.to_ne_bytes());
        }
    }
}

impl Door {
    /// Announces sleep; false if `quiet` finds that there is work after all. Whoever sleeps must be reading the event by then.
    pub fn may_sleep(&self, quiet: &mut dyn FnMut() -> bool) -> bool {
        self.0.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if quiet() {
            return true;
        }
        self.awake();
        false
    }

    /// Ends the announcement.
    pub fn awake(&self) {
        self.0.sleeping.store(false, Ordering::Relaxed);
    }

    /// The eventfd, once more: eight bytes can be read of it after the door was knocked on.
    ///
    /// # Errors
    /// If the host has no descriptor left.
    pub fn event(&self) -> io::Result<OwnedFd> {
        self.0.event.try_clone().map(OwnedFd::from)
    }

    pub(crate) fn event_fd(&self) -> RawFd {
        self.0.event.as_raw_fd()
    }
}
