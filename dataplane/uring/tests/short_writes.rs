//! A write that is short, over io_uring: the suite that every backend passes.

#[path = "suite/common.rs"]
mod common;
#[path = "suite/short_writes.rs"]
mod short_writes;

type Backend = uring::Uring;
