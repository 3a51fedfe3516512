//! TCP connections, over glommio: the suite that every backend passes.

#[path = "../../uring/tests/suite/common.rs"]
mod common;
#[path = "../../uring/tests/suite/connections.rs"]
mod connections;

type Backend = glommio_driver::Glommio;
