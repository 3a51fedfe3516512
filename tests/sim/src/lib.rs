//! The simulator: shards, gateways, devices and consumers in virtual time on one thread, from a seed.
//!
//! Owns a virtual network with loss, duplication, reordering, short reads, stalled readers, resets, refused buffers and
//! restarts, a virtual disk that fills, fails, lies and loses power, and `driver::Driver` over both. The same seed gives the same history, whose hash is the trace; a failure says
//! its seed, and the seed becomes a test.
//!
//! ```text
//!   scenario:  network.advance -> network.due_host -> that shard's turn -> clients read and write -> again
//! ```

mod consumer;
mod control;
mod disk;
mod faults;
mod file;
mod folder;
mod inode;
mod laws;
mod machine;
mod network;
mod stream;
mod world;

pub use consumer::{Consumer, Received, Temper};
pub use control::Control;
pub use disk::{Disk, DiskTally, Lie, SharedDisk};
pub use faults::{DiskFaults, Faults};
pub use file::FileSizes;
pub use folder::Folder;
pub use inode::SECTOR_BYTES;
pub use laws::hold;
pub use machine::{Machine, Sizes};
pub use network::{HostIndex, Network, Shared, StreamId, Tally};
pub use stream::Ended;
pub use world::{Asked, History, STREAMS, Sent, Story, StreamOfStory, tell};
