//! Connections that move between shards, over io_uring: the suite that every backend passes.

#[path = "suite/common.rs"]
mod common;
#[path = "suite/crowd.rs"]
mod crowd;
#[path = "suite/moves.rs"]
mod moves;

type Backend = uring::Uring;
