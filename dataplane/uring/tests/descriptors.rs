//! No descriptor left, over io_uring: the suite that every backend passes.

#[path = "suite/common.rs"]
mod common;
#[path = "suite/descriptors.rs"]
mod descriptors;

type Backend = uring::Uring;
