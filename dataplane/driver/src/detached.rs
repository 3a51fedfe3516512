//! A connection between two drivers: given away by one, to be taken in by another, maybe on another thread.
//!
//! Owns the connection while it has no driver. Never looks into it: what it is, the backends know.
//!
//! ```text
//!   detach -> Completion::Detached { socket } -> any queue between threads -> adopt
//!                                                drop -> closed
//! ```

use crate::End;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A connection that no driver has. Affine: it is adopted once, or closed when it is dropped, as by the end of a process (a
/// peer whose bytes were not read is told of a reset, any other of the end).
#[derive(Debug)]
#[must_use = "a connection that nobody adopts is closed"]
pub struct Detached {
    handle: Handle,
    ended: Option<End>,
}

/// What a connection is, to the backends.
#[derive(Debug)]
pub enum Handle {
    /// A socket of the kernel's.
    Kernel(OwnedFd),
    /// A connection of a network that is made up, by its number there. Such a network keeps a `Weak` of it, and so sees that it was dropped.
    Virtual(Arc<u64>),
}

impl Detached {
    /// Made by backends alone. `ended` is why the receiving side ended, if a giver was told that it has.
    pub const fn new(handle: Handle, ended: Option<End>) -> Self {
        Self { handle, ended }
    }

    /// Taken apart by the backend that adopts it.
    #[must_use]
    pub fn into_parts(self) -> (Handle, Option<End>) {
        (self.handle, self.ended)
    }
}

const _: () = {
    const fn travels<T: Send>() {}
    travels::<Detached>();
};
