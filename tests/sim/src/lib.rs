//! The simulator: shards, gateways, devices and consumers in virtual time on one thread, from a seed.
//!
//! Owns a virtual network with loss, duplication, reordering, short reads, stalled readers, resets, refused buffers and
//! restarts; a virtual disk that fills, freezes, stalls, fails, lies and loses power; a wall clock that is set; a control
//! plane that comes and goes; and `driver::Driver` over it all. The same seed gives the same history, whose hash is the
//! trace; a failure says its seed, and the seed becomes a test (`tests/found.rs`).
//!
//! ```text
//!   scenario:  network.advance -> network.due_host -> that shard's turn -> clients read and write -> again
//!   laws:      at every step `watch`; of the whole history `laws`; how often what went wrong `table`
//! ```

mod consumer;
mod control;
mod disk;
mod disk_words;
mod faults;
mod file;
mod folder;
mod history;
mod inode;
mod laws;
mod machine;
mod network;
mod story;
mod stream;
mod table;
mod watch;
mod witness;
mod world;

pub use consumer::{Consumer, Received, Temper};
pub use control::Control;
pub use disk::{Disk, SharedDisk};
pub use disk_words::{DiskTally, Lie, Lost};
pub use faults::{DiskFaults, Faults};
pub use file::FileSizes;
pub use folder::Folder;
pub use history::{Asked, Befell, History, Sent};
pub use inode::SECTOR_BYTES;
pub use laws::hold;
pub use machine::{Machine, Sizes};
pub use network::{HostIndex, Network, Shared, StreamId, Tally};
pub use story::{STREAMS, Spells, Story, StreamOfStory};
pub use stream::Ended;
pub use table::Table;
pub use witness::{Place, Witness};
pub use world::tell;
