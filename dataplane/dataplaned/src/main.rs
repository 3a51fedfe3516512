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

use arguments::Arguments;
use clap::Parser;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static GUARD: alloc_guard::Guard = alloc_guard::Guard;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("TRUNKLINE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false);
    if arguments.log_json {
        logs.json().init();
    } else {
        logs.init();
    }
    match serve::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // The log may be filtered; why nothing serves must be seen.
            let _said = writeln!(std::io::stderr(), "trunkline-dataplane: {reason}");
            ExitCode::FAILURE
        }
    }
}
