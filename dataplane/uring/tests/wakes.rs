//! Sleeping and waking, over io_uring: the suite that every backend passes.

#[path = "suite/common.rs"]
mod common;
#[path = "suite/wakes.rs"]
mod wakes;

type Backend = uring::Uring;
