//! glommio behind [`driver::Driver`]: one executor per shard, made on the shard's own thread.
//!
//! Owns the executor, its tasks, and the buffers that travel between them and the shard. Interprets no byte it moves. It is
//! kept as a measure of the other backend, and so does each thing the way glommio offers it; where that is worse, decision
//! 0008 says how. It allocates, for glommio's tasks and requests do.
//!
//! ```text
//!   main thread                                      shard thread
//!   uring: Sizing, gateway_slots, tcp_listeners,
//!   doors ------------- ShardConfig --------------->  pin_to_core, Glommio::start, turn/reap for ever
//!
//!   turn:  what was asked -> the hub -> executor.run(until an event, a knock or the deadline)
//!            tasks: one per slot, listener and connection, one per request to a file, one at the door -> the hub
//!   reap:  events of the hub, one by one
//! ```
//!
//! What stands before the shards is `uring`'s, and so are its clocks and doors. Without feature `glommio` this crate is empty.

#![cfg(feature = "glommio")]

mod buffers;
mod connections;
mod datagrams;
mod files;
mod hub;
mod memory;
mod reactor;
mod table;

pub use memory::Memory;
pub use reactor::Glommio;
