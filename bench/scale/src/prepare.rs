//! A data directory as a dataplane leaves it: the plan that it stored, and the sessions of every device in its journal.
//!
//! Owns the order: the plan comes first, by a dataplane that runs and ends; the sessions are written behind it.

use crate::devices::write_sessions;
use crate::plan;
use crate::process::Home;
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// What it took.
#[derive(Clone, Copy, Debug)]
pub struct Prepared {
    /// From the first word of the plan until it was in force.
    pub plan: Duration,
    /// Bytes of the stored plan.
    pub plan_bytes: u64,
    /// To write the sessions.
    pub sessions: Duration,
    /// Bytes of the journal.
    pub session_bytes: u64,
}

/// Makes the data directory of this name, with the first `count` devices. Nothing of it is left in memory.
///
/// # Errors
/// What the host or the dataplane refuses.
pub fn prepare(home: &Home, name: &str, count: u64) -> io::Result<Prepared> {
    let dataplane = home.start(name, count)?;
    let since = Instant::now();
    plan::push(&dataplane.control, count)?;
    let plan = since.elapsed();
    dataplane.stop()?;
    let since = Instant::now();
    let data_dir = home.data_dir(name);
    let session_bytes = write_sessions(&data_dir, count);
    let sessions = since.elapsed();
    let plan_bytes = fs::metadata(data_dir.join("plan.log"))?.len();
    forget(&data_dir)?;
    forget(&data_dir.join("journal"))?;
    Ok(Prepared { plan, plan_bytes, sessions, session_bytes })
}

/// Has the kernel forget what it knows of the files, so that they come from the disk.
fn forget(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() {
            fadvise(File::open(path)?, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}
