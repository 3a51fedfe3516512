//! `cargo xtask bench journal`: the journal beside the floor of its disk, and how soon it is found again.
//!
//! Builds and runs the programs of `bench/journaling`, one after the other, since they want the machine for themselves.

use crate::{records, shell};
use std::process::Command;
use std::time::Duration;

/// Longer than any run of the programs takes on a slow disk.
const PATIENCE: Duration = Duration::from_secs(3600);

const PROGRAMS: [&str; 2] = ["commit", "recovery"];

/// Runs it. `--record` writes what was printed to `bench/records/`; `--only PROGRAM`; what follows `--` goes to it.
pub(crate) fn bench(arguments: &[String]) -> Result<(), String> {
    let (own, passed) = match arguments.iter().position(|argument| argument == "--") {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None => (arguments, &[][..]),
    };
    let (mut record, mut only) = (false, None);
    let mut own = own.iter();
    while let Some(argument) = own.next() {
        match argument.as_str() {
            "--record" => record = true,
            "--only" => only = Some(own.next().ok_or("--only needs a program: commit, recovery")?.as_str()),
            other => return Err(format!("unknown option `{other}`")),
        }
    }
    let programs: Vec<&str> = PROGRAMS.into_iter().filter(|program| only.is_none_or(|only| only == *program)).collect();
    if programs.is_empty() {
        return Err(format!("--only {}: the programs are {}", only.unwrap_or_default(), PROGRAMS.join(", ")));
    }
    if !passed.is_empty() && programs.len() > 1 {
        return Err("options behind `--` are one program's: name it with --only".into());
    }
    shell::run(&mut shell::cargo(&["build", "--release", "-p", "journaling", "--bins"]))?;
    let target = shell::target_directory()?;
    let home = target.join("bench-journal");
    let mut missed = Vec::new();
    let mut all = String::new();
    for program in programs {
        let mut command = Command::new(target.join("release").join(program));
        command.arg("--dir").arg(&home).args(passed);
        eprintln!("{}", shell::spoken(&command));
        let ended = shell::output_within(&mut command, PATIENCE).map_err(|error| format!("{program}: {error}"))?;
        let text = String::from_utf8_lossy(&ended.stdout);
        print!("{text}");
        eprint!("{}", String::from_utf8_lossy(&ended.stderr));
        all += &format!("== {program}\n{text}\n");
        if !ended.status.is_some_and(|status| status.success()) {
            missed.push(program);
        }
    }
    if record {
        let path = records::write("journal", "cargo xtask bench journal --record", &all)?;
        println!("written to {}", path.display());
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("missed or failed: {}", missed.join(", "))) }
}
