//! `trunkline-dataplane`: arguments, limits, sockets, then the shards and the control thread.
//!
//! The one place that knows both the shards and the backend under them, and that installs the allocation guard. Every
//! failure to start is one line that says what to do.

mod answers;
mod arguments;
mod certificate;
mod control;
mod keeping;
mod link;
mod metrics;
mod plan_log;
mod serve;
mod waiting;

use arguments::Arguments;
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

#[global_allocator]
static GUARD: alloc_guard::Guard = alloc_guard::Guard;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match logs::start(&arguments.log).and_then(|_log| serve::run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // The log may be filtered; why nothing serves must be seen.
            let _said = writeln!(std::io::stderr(), "trunkline-dataplane: {reason}");
            ExitCode::FAILURE
        }
    }
}
