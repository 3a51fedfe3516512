//! Gateway slots, over glommio: the suite that every backend passes.

#[path = "../../uring/tests/suite/common.rs"]
mod common;
#[path = "../../uring/tests/suite/datagrams.rs"]
mod datagrams;

type Backend = glommio_driver::Glommio;
