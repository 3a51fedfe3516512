//! The simulator: shards, gateways, devices and consumers in virtual time on one thread, from a seed.
//!
//! Owns a virtual network with loss, duplication, reordering, short reads, stalled readers, resets, refused buffers and
//! restarts, and `driver::Driver` over it. The same seed gives the same history, whose hash is the trace; a failure says
//! its seed, and the seed becomes a test.
//!
//! ```text
//!   scenario:  network.advance -> network.due_host -> that shard's turn -> clients read and write -> again
//! ```

mod faults;
mod machine;
mod network;
mod stream;

pub use faults::Faults;
pub use machine::{Machine, Sizes};
pub use network::{HostIndex, Network, Shared, StreamId, Tally};
pub use stream::Ended;
