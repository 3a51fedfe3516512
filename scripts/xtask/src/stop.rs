//! Ctrl-C, once for every command.
//!
//! Owns one flag, which signals set and whatever waits looks at: a process that ends at once leaves its children behind.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Somebody wants this to end.
pub(crate) struct Stopped;

impl From<Stopped> for String {
    fn from(_: Stopped) -> Self {
        "stopped".into()
    }
}

/// Takes the signals. Until then they end this process as they always do.
pub(crate) fn take_signals() -> Result<(), String> {
    let flag = FLAG.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(flag)).map_err(|error| format!("signals: {error}"))?;
    }
    Ok(())
}

/// Whether one may go on.
pub(crate) fn going() -> Result<(), Stopped> {
    if FLAG.get().is_some_and(|flag| flag.load(Relaxed)) { Err(Stopped) } else { Ok(()) }
}
