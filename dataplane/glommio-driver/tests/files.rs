//! Files, over glommio: the suite that every backend passes.

#[path = "../../uring/tests/suite/common.rs"]
mod common;
#[path = "../../uring/tests/suite/files.rs"]
mod files;

type Backend = glommio_driver::Glommio;
