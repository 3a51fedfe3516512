//! `trunkline-load`: the canonical workload at a server, and beside it at the floor.
//!
//! Owns the command line. Without arguments in `canonical`, whose figures for machines are in `figures`; with `--lagging` in
//! `lagging`. What is void is said and counts for nothing.

#![allow(clippy::print_stdout, reason = "a command line speaks on standard output")]

mod canonical;
mod figures;
mod lagging;

use load::Workload;
use load::server::{Driver, Kind};
use load::trial::{Outcome, run};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
Usage: trunkline-load [OPTIONS]
  (nothing)          The canonical workload at the floor, at trunkline over uring, and over glommio if it was built with it:
                     highest rates, then all of them in turn at 10, 50 and 90 % of that over uring.
  --server WHICH     One trial at trunkline or floor, at --rate.
  --lagging          Live consumers while somebody catches up from the disk, against alone, at --rate.
  --driver WHICH     What trunkline runs on: uring or glommio; nothing else is then measured beside the floor.
  --rate N           Uplinks per second of that trial (20000), or of the rounds of --lagging (4000).
  --seconds S        Of each trial (5).
  --rounds N         Of the comparison (3).
  --devices N, --gateways N, --devices-per-stream N
                     Another workload (10000, 1000, 1000).
  --backlog N        Uplinks that wait for the reader that lags, before the first round (1000000).
  --memory-mib N     Memory of the journal, --lagging (16).
  --json FILE        Writes the figures of the canonical workload there.
  --bin-dir DIR      Where the servers are (beside this program).
";

/// What a single trial and the rounds of `--lagging` send, uplinks per second. The latter leave the load's core room for the
/// reader, and the server's for what catches up.
const RATE_SINGLE: u64 = 20_000;
const RATE_LAGGING: u64 = 4_000;

struct Arguments {
    server: Option<String>,
    driver: Option<Driver>,
    lagging: bool,
    rate: Option<u64>,
    backlog: u64,
    memory_mib: u32,
    span: Duration,
    rounds: usize,
    workload: Workload,
    bin_dir: PathBuf,
    json: Option<PathBuf>,
}

impl Arguments {
    /// What trunkline runs on where there is one.
    fn one_driver(&self) -> Driver {
        self.driver.unwrap_or(Driver::Uring)
    }
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprint!("{wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = match &arguments.server {
        Some(server) => single(&arguments, server),
        None if arguments.lagging => lagging::measure(&arguments, arguments.rate.unwrap_or(RATE_LAGGING)),
        None => canonical::measure(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Arguments, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut parsed = Arguments {
        server: None,
        driver: None,
        lagging: false,
        rate: None,
        backlog: 1_000_000,
        memory_mib: 16,
        span: Duration::from_secs(5),
        rounds: 3,
        workload: Workload::default(),
        json: None,
        bin_dir: own.parent().map(PathBuf::from).unwrap_or_default(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        if option == "--lagging" {
            parsed.lagging = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
        let number =
            || value.parse::<u32>().ok().filter(|number| *number > 0).ok_or(format!("{option} {value}: no count"));
        match option.as_str() {
            "--server" if ["trunkline", "floor"].contains(&value.as_str()) => parsed.server = Some(value),
            "--server" => return Err(format!("--server {value}: trunkline or floor")),
            "--driver" if value == "uring" => parsed.driver = Some(Driver::Uring),
            "--driver" if value == "glommio" => parsed.driver = Some(Driver::Glommio),
            "--driver" => return Err(format!("--driver {value}: uring or glommio")),
            "--rate" => parsed.rate = Some(u64::from(number()?)),
            "--backlog" => parsed.backlog = u64::from(number()?),
            "--memory-mib" => parsed.memory_mib = number()?,
            "--seconds" => parsed.span = Duration::from_secs(u64::from(number()?)),
            "--rounds" => parsed.rounds = number()? as usize,
            "--devices" => parsed.workload.devices = number()?,
            "--gateways" => parsed.workload.gateways = number()?,
            "--devices-per-stream" => parsed.workload.devices_per_stream = number()?,
            "--json" => parsed.json = Some(PathBuf::from(&value)),
            "--bin-dir" => parsed.bin_dir = PathBuf::from(&value),
            _ => return Err(format!("unknown option `{option}`")),
        }
    }
    Ok(parsed)
}

/// Bytes of Trunkline's message for this workload: a short run tells.
fn message_bytes(arguments: &Arguments, driver: Driver) -> io::Result<usize> {
    let short = Duration::from_millis(500);
    let outcome = run(Kind::Trunkline(driver), &arguments.bin_dir, arguments.workload, 1000, short)?;
    Ok(outcome.heard.message_bytes)
}

/// One trial.
fn single(arguments: &Arguments, server: &str) -> io::Result<bool> {
    let kind = match server {
        "trunkline" => Kind::Trunkline(arguments.one_driver()),
        _ => Kind::Floor { message_bytes: message_bytes(arguments, arguments.one_driver())? },
    };
    let outcome =
        run(kind, &arguments.bin_dir, arguments.workload, arguments.rate.unwrap_or(RATE_SINGLE), arguments.span)?;
    println!("{HEADER}");
    println!("{}", row(server, &outcome));
    print!("{}", figures::stages_of(&outcome));
    Ok(outcome.is_exact() && outcome.void().is_none())
}

fn verdict(holds: bool, what: &str) -> bool {
    println!("{} {what}", if holds { "held  " } else { "MISSED" });
    holds
}

const HEADER: &str = "  server       rate     lost  again  wrong  order   us: p50      p99    p99.9      max   CPU us/up  the load's   load busy";

fn row(name: &str, outcome: &Outcome) -> String {
    let void = outcome.void().map(|reason| format!("   void: {reason}")).unwrap_or_default();
    line(name, outcome) + &void
}

fn line(name: &str, outcome: &Outcome) -> String {
    let heard = &outcome.heard;
    format!(
        "  {name:<10}{:>7}{:>9}{:>7}{:>7}{:>7}{:>10}{:>9}{:>9}{:>9}{:>12.2}{:>12.2}{:>10.0} %",
        outcome.rate,
        outcome.lost(),
        heard.duplicates,
        heard.wrong,
        heard.reordered,
        outcome.latency_us(0.5),
        outcome.latency_us(0.99),
        outcome.latency_us(0.999),
        heard.latency.max(),
        outcome.cpu_us(),
        outcome.load_cpu_us(),
        outcome.load_busy * 100.0,
    )
}
