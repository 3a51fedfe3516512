//! io_uring behind [`driver::Driver`]: one ring per shard, made on the shard's own thread.
//!
//! Owns every descriptor, buffer and system call of a shard. Never interprets a byte it moves, never allocates once
//! [`Uring::start`] has returned, never touches another shard's memory but for one sleeping flag and one eventfd.
//!
//! ```text
//!   main thread                                      shard thread
//!   probe, Sizing, gateway_slots, tcp_listener,
//!   doors ------------- ShardConfig --------------->  pin_to_core, Uring::start, turn/reap for ever
//!                          Waker <------------------  Door: sleeping flag + eventfd
//! ```
//!
//! What stands before the shards (limits, sizes, slots, listeners, cores, doors, clocks) serves another backend as well; so do
//! the tests in `tests/suite`, which know a backend only by the trait.
//!
//! This is one of the two rooms that may say `unsafe`; each block names the invariant that makes it sound.

#![allow(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod buffers;
pub mod clock;
mod connections;
mod datagrams;
mod files;
mod memory;
mod outbox;
mod probe;
mod reactor;
mod sizing;
mod sockets;
mod table;
mod tag;
mod wake;

#[cfg(test)]
mod tests;

pub use memory::Carry;
pub use probe::{Flavour, Support, probe};
pub use reactor::{ShardConfig, Uring};
pub use sizing::{HostLimits, Sizing, Wanted};
pub use sockets::{
    SLOT_RECEIVE_BYTES, Slots, adopt, dropped_so_far, gateway_slots, pin_to_core, tcp_listener, tcp_listeners,
};
pub use wake::{Door, Waker, doors};
