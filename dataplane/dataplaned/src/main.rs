//! `trunkline-dataplane`: arguments, limits, sockets, then the shards and the control thread.
//!
//! The one place that knows both the shards and the backend under them, and that installs the allocation guard. Every
//! failure to start is one line that says what to do.

mod answers;
mod arguments;
mod backend;
mod carried;
mod certificate;
mod control;
mod homes;
mod keeping;
mod link;
mod metrics;
mod mqtt;
mod offline;
mod plan_log;
mod serve;
mod waiting;

use arguments::{Arguments, Command};
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

#[global_allocator]
static GUARD: alloc_guard::Guard = alloc_guard::Guard;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Some(Command::Journal(journal)) => offline::run(journal),
        None => logs::start(&arguments.log).and_then(|_log| serve::run(&arguments)).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // It was said what is wrong.
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            // The log may be filtered; why nothing serves must be seen.
            let _said = writeln!(std::io::stderr(), "trunkline-dataplane: {reason}");
            ExitCode::FAILURE
        }
    }
}
