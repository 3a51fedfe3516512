//! `trunkline-control`: the control plane.

use clap::Parser;
use controld::options::Options;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::parse();
    match logs::start(&options.log).and_then(|_log| controld::run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("trunkline-control: {reason}");
            ExitCode::FAILURE
        }
    }
}
