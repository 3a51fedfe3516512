//! One shard's thread, on the backend that was asked for.
//!
//! The one place that names the backends. A shard does not know which it has.

use crate::arguments::Driver;
use crate::metrics::Strays;
use crossbeam::channel::Sender;
use journal::CARRY_HEADER_BYTES;
use shard::{Mailbox, Options, Ports, Shard};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use uring::{Carry, ShardConfig, Sizing, Uring};

/// A backend that this program was built with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Backend {
    Uring,
    #[cfg(feature = "glommio")]
    Glommio,
}

impl Backend {
    /// The one that was asked for, if this program has it and the host has room for it.
    ///
    /// # Errors
    /// One line for people: what to do.
    #[cfg(feature = "glommio")]
    pub(crate) fn of(driver: Driver, sizing: &Sizing) -> Result<Self, String> {
        if driver == Driver::Uring {
            return Ok(Self::Uring);
        }
        let memory = glommio_driver::Memory::within(sizing)?;
        tracing::info!(%memory, "glommio");
        Ok(Self::Glommio)
    }

    /// The one that was asked for, if this program has it.
    ///
    /// # Errors
    /// One line for people: how to build one that has it.
    #[cfg(not(feature = "glommio"))]
    pub(crate) fn of(driver: Driver, _: &Sizing) -> Result<Self, String> {
        match driver {
            Driver::Uring => Ok(Self::Uring),
            Driver::Glommio => {
                const BUILD: &str = "cargo build --release -p dataplaned --features glommio";
                Err(format!("--driver glommio: this program was built without it; build one that has it: {BUILD}"))
            }
        }
    }
}

/// What a shard's thread starts with.
pub(crate) struct ShardThread {
    pub(crate) config: ShardConfig,
    /// Where what it has not written is left if it is killed.
    pub(crate) carry: Option<File>,
    pub(crate) options: Options,
    /// How long it gathers what comes before it works on it.
    pub(crate) gather: Duration,
    pub(crate) ports: Ports,
    pub(crate) mailbox: Mailbox,
    /// Of all shards.
    pub(crate) strays: Arc<[Strays]>,
    /// Is told how the start went.
    pub(crate) started: Sender<Result<(), String>>,
}

impl ShardThread {
    /// Serves until the shard is told to end.
    pub(crate) fn run(self, backend: Backend) {
        match backend {
            Backend::Uring => {
                let gather = self.gather;
                let start = |config| {
                    let mut ring = Uring::start(config)?;
                    if !ring.gather(gather) && !gather.is_zero() {
                        tracing::warn!(shard = ring.shard(), "nothing is gathered: that needs Linux 6.12");
                    }
                    Ok(ring)
                };
                self.serve(start, Uring::carry_in);
            }
            #[cfg(feature = "glommio")]
            Backend::Glommio => self.serve(glommio_driver::Glommio::start, glommio_driver::Glommio::carry_in),
        }
    }

    fn serve<D: driver::Driver>(
        self,
        start: impl FnOnce(ShardConfig) -> io::Result<D>,
        carry_in: impl FnOnce(&mut D, Carry),
    ) {
        let Self { config, carry, options, gather: _, ports, mailbox, strays, started } = self;
        let index = config.shard;
        // Pinning is for speed; a host that refuses it (a restricted cpuset) is still served.
        if let Err(error) = uring::pin_to_core(index) {
            tracing::warn!(shard = index, %error, "not pinned to a core");
        }
        let mut driver = match start(config) {
            Ok(driver) => driver,
            Err(error) => {
                // The main thread waits for this word; it is gone only if another shard failed first.
                let _said = started.send(Err(format!("shard {index}: {error}")));
                return;
            }
        };
        if let (Some(file), Some(journal)) = (carry, &options.journal) {
            match Carry::reserve(&file, CARRY_HEADER_BYTES + journal.limits.tail_bytes) {
                Ok(carry) => carry_in(&mut driver, carry),
                Err(error) => tracing::warn!(
                    shard = index,
                    %error,
                    "nothing can be carried over in memory: the journal is written at every turn"
                ),
            }
        }
        let mut shard = Shard::new(driver, options, ports, mailbox);
        let _said = started.send(Ok(()));
        alloc_guard::serving(true);
        while shard.turn() {
            let counts = alloc_guard::counts();
            strays[index].allocations.store(counts.allocations, Ordering::Relaxed);
            strays[index].frees.store(counts.frees, Ordering::Relaxed);
        }
        alloc_guard::serving(false);
    }
}
