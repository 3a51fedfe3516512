//! `commit`: group commits of a shard's journal beside the floor of its disk, in one run, a round after the other.
//!
//! Prints what was measured and what was promised; what is missed fails the command.
//!
//! ```text
//!   round:  journal at the rate ─▶ its batches ─▶ floor: linked write + fdatasync ─▶ floor: pwrite, fdatasync
//!   then:   as many records as it takes;  device state alone
//! ```

#![allow(clippy::print_stdout, reason = "a command line speaks on standard output")]

use hdrhistogram::Histogram;
use journaling::floor;
use journaling::load::{self, Load, Measured, What};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
Usage: commit [OPTIONS]
  --rate N       Records per second (200000), and uplinks per second of device state (100000 at most).
  --seconds S    Of each run (5).
  --rounds N     Of journal and floors (5).
  --dir DIR      Where: on the disk to be measured (target/bench).
";

/// What is promised.
const RATE: u64 = 200_000;
const FLOOR_RATIO_MAX: f64 = 2.0;

/// Uplinks per second of the run with device state alone.
const STATE_RATE: u64 = 100_000;

struct Arguments {
    rate: u64,
    span: Duration,
    rounds: usize,
    dir: PathBuf,
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprint!("{wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match bench(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}: {error}", arguments.dir.display());
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed =
        Arguments { rate: RATE, span: Duration::from_secs(5), rounds: 5, dir: PathBuf::from("target/bench") };
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
        let number =
            || value.parse::<u64>().ok().filter(|number| *number > 0).ok_or(format!("{option} {value}: no count"));
        match option.as_str() {
            "--rate" => parsed.rate = number()?,
            "--seconds" => parsed.span = Duration::from_secs(number()?),
            "--rounds" => parsed.rounds = number()? as usize,
            "--dir" => parsed.dir = PathBuf::from(&value),
            _ => return Err(format!("unknown option `{option}`")),
        }
    }
    Ok(parsed)
}

fn bench(arguments: &Arguments) -> io::Result<bool> {
    std::fs::create_dir_all(&arguments.dir)?;
    let dir = arguments.dir.as_path();
    println!(
        "group commit of one shard, {} records/s for {} s, each waited for until it is stored",
        arguments.rate,
        arguments.span.as_secs()
    );
    let (mut ratios, mut of_calls) = (Vec::new(), Vec::new());
    let mut kept_up = true;
    for round in 1..=arguments.rounds {
        let load = Load { what: What::Uplinks, per_second: Some(arguments.rate), span: arguments.span };
        let measured = load::run(dir, load)?;
        let linked = floor::linked(dir, &measured.batches)?;
        let blocking = floor::blocking(dir, &measured.batches)?;
        println!("\nround {round}: {}", told(&measured));
        println!("  {:<44}{:>8}{:>8}{:>8}{:>8}", "us", "p50", "p99", "p99.9", "max");
        row("record due to stored", &measured.wait);
        row("commit of the journal", &measured.commit);
        row("floor: linked write + fdatasync", &linked);
        row("floor: pwrite, fdatasync", &blocking);
        let p99 = |took: &Histogram<u64>| took.value_at_quantile(0.99) as f64;
        ratios.push(p99(&measured.commit) / p99(&linked));
        of_calls.push(p99(&measured.commit) / p99(&blocking));
        kept_up &= measured.held_up == 0
            && measured.records + arguments.rate / 100 >= arguments.rate * arguments.span.as_secs();
    }
    let (ratio, spread) = median(&mut ratios);
    let (_, spread_of_calls) = median(&mut of_calls);
    let most_records = load::run(dir, Load { what: What::Uplinks, per_second: None, span: arguments.span })?;
    println!("\nas many as it takes: {}", told(&most_records));
    row("commit of the journal", &most_records.commit);
    let rate = STATE_RATE.min(arguments.rate);
    let alone = |what| load::run(dir, Load { what, per_second: Some(rate), span: arguments.span });
    let (state, nothing) = (alone(What::State)?, alone(What::Nothing)?);
    println!("\ndevice state of live uplinks, nobody waits: {}", told(&state));
    let each = |measured: &Measured| measured.cpu.as_secs_f64() * 1e6 / measured.records.max(1) as f64;
    println!(
        "  of that the loop without a journal takes {:.2} us: an uplink's state costs {:.2} us and {:.0} B, its fdatasync is shared with {:.0} others",
        each(&nothing),
        (each(&state) - each(&nothing)).max(0.0),
        state.bytes as f64 / state.records as f64,
        state.records as f64 / state.batches.len().max(1) as f64 - 1.0,
    );
    std::fs::remove_file(dir.join("floor"))?;

    let keeps = verdict(kept_up, &format!("{} records/s kept up with, none held up", arguments.rate));
    let bounded = verdict(
        ratio <= FLOOR_RATIO_MAX,
        &format!(
            "p99 of the commit {spread} x that of linked write + fdatasync, promised {FLOOR_RATIO_MAX}; {spread_of_calls} x that of pwrite, fdatasync"
        ),
    );
    Ok(keeps && bounded)
}

/// The median, and it as text, with least and most.
fn median(values: &mut [f64]) -> (f64, String) {
    values.sort_by(f64::total_cmp);
    let (median, least, most) = (values[values.len() / 2], values[0], values[values.len() - 1]);
    (median, format!("{median:.2} ({least:.2} to {most:.2} in {} rounds)", values.len()))
}

fn verdict(holds: bool, what: &str) -> bool {
    println!("{} {what}", if holds { "\nheld  " } else { "\nMISSED" });
    holds
}

/// One line about a run.
fn told(measured: &Measured) -> String {
    let seconds = measured.elapsed.as_secs_f64();
    let records = measured.records as f64;
    let commits = measured.batches.len().max(1) as f64;
    format!(
        "{:.0} records/s, {:.0} B each, {:.1} MB/s, {:.0} commits/s of {:.0} records, {:.2} us of one core per record ({:.0} % busy), {} held up; read back whole",
        records / seconds,
        measured.bytes as f64 / records,
        measured.bytes as f64 / seconds / 1e6,
        commits / seconds,
        records / commits,
        measured.cpu.as_secs_f64() * 1e6 / records,
        measured.cpu.as_secs_f64() * 100.0 / seconds,
        measured.held_up,
    )
}

fn row(what: &str, took: &Histogram<u64>) {
    let at = |quantile| took.value_at_quantile(quantile);
    println!("  {what:<44}{:>8}{:>8}{:>8}{:>8}", at(0.5), at(0.99), at(0.999), took.max());
}
