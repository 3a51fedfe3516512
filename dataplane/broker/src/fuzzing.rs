//! Laws that hold for all sequences of operations, and what they are tried with: brokers, hosts and clients without sockets.
//!
//! They allocate: nothing that serves calls them.

mod rig;
mod said;

pub use rig::{Rig, Shard};
pub use said::said;
