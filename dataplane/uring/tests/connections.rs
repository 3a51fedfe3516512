//! TCP connections, over io_uring: the suite that every backend passes.

#[path = "suite/common.rs"]
mod common;
#[path = "suite/connections.rs"]
mod connections;

type Backend = uring::Uring;
