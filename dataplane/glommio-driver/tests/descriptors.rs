//! No descriptor left, over glommio: the suite that every backend passes.

#[path = "../../uring/tests/suite/common.rs"]
mod common;
#[path = "../../uring/tests/suite/descriptors.rs"]
mod descriptors;

type Backend = glommio_driver::Glommio;
