//! Sleeping and waking, over glommio: the suite that every backend passes.

#[path = "../../uring/tests/suite/common.rs"]
mod common;
#[path = "../../uring/tests/suite/wakes.rs"]
mod wakes;

type Backend = glommio_driver::Glommio;
