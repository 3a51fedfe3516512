//! `trunkline-control`: the control plane.

use clap::Parser;
use controld::options::{LogForm, Options};
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let options = Options::parse();
    let result = log(&options).and_then(|()| controld::run(&options));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("trunkline-control: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn log(options: &Options) -> Result<(), String> {
    let filter = EnvFilter::try_new(&options.log_filter)
        .map_err(|error| format!("--log-filter {}: {error}", options.log_filter))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match options.log {
        LogForm::Human => log.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        LogForm::Json => log.json().init(),
    }
    Ok(())
}
