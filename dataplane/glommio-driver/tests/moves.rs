//! Connections that move between shards, over glommio: the suite that every backend passes.

#[path = "../../uring/tests/suite/common.rs"]
mod common;
#[path = "../../uring/tests/suite/crowd.rs"]
mod crowd;
#[path = "../../uring/tests/suite/moves.rs"]
mod moves;

type Backend = glommio_driver::Glommio;
