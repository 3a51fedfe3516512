//! Gateway slots, over io_uring: the suite that every backend passes.

#[path = "suite/common.rs"]
mod common;
#[path = "suite/datagrams.rs"]
mod datagrams;

type Backend = uring::Uring;
