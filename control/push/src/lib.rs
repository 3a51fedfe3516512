//! What control wants against what the dataplane has: the conversation that makes the second follow the first.
//!
//! Owns the state of one link to one dataplane: who it is, what it holds, what each of its shards has put in force,
//! what is on its way, which questions are open. Owns no socket, no store and no clock: [`Link`] is driven by
//! `handle`, `poll` and `deadline`, and asks its owner to read the store when it needs changes.
//!
//! ```text
//! Connect -> Hello both ways -> same store, revision known?   yes: deltas after it      no: a snapshot
//!                                                              \__________________________/
//!                                   committed by the store -> one Apply on its way -> every shard acknowledged
//! ```
//!
//! One delta is on its way at a time, and it takes with it everything that was committed meanwhile: a refused delta is
//! then never overtaken by a later one, and the batches grow with the load as a group commit's do. A snapshot is a
//! stream of parts whose bytes in flight are bounded; its parts need no acknowledgement of their own.

mod asks;
mod delta;
mod link;

#[cfg(test)]
mod tests;

pub use asks::{Ask, AskError, Reply};
pub use delta::{Delta, Gap, Log, Logged, bytes_of, delta};
pub use link::{Input, Limits, Link, Output, Page, Phase, Read, Refusal, Status, Ticket};
