//! A write that is short, over glommio: the suite that every backend passes.

#[path = "../../uring/tests/suite/common.rs"]
mod common;
#[path = "../../uring/tests/suite/short_writes.rs"]
mod short_writes;

type Backend = glommio_driver::Glommio;
