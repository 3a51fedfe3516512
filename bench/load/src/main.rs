//! `trunkline-load`: the canonical workload at a server, and beside it at the floor.
//!
//! Without arguments: finds the highest rate that each holds, then runs both at shares of Trunkline's in turn, and prints
//! the ratios. With `--lagging` in `lagging`. What is void is said and counts for nothing.

#![allow(clippy::print_stdout, reason = "a command line speaks on standard output")]

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
  (nothing)          The canonical workload: highest rates, then ratios to the floor at 10, 50 and 90 % of Trunkline's.
  --server WHICH     One trial at trunkline or floor, at --rate.
  --lagging          Live consumers while somebody catches up from the disk, against alone, at --rate.
  --driver WHICH     What trunkline runs on: uring (if nothing is said) or glommio.
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

/// The latency that the highest rate holds.
const P99_US_MAX: u64 = 10_000;

/// What is promised: processor time per uplink, and throughput of one core, against the floor.
const CPU_RATIO_MAX: f64 = 1.5;
const RATE_RATIO_MIN: f64 = 0.65;

/// What a single trial and the rounds of `--lagging` send, uplinks per second. The latter leave the load's core room for the
/// reader, and the server's for what catches up.
const RATE_SINGLE: u64 = 20_000;
const RATE_LAGGING: u64 = 4_000;

/// Trials that look for the highest rate begin here, uplinks per second.
const RATE_FIRST: u64 = 10_000;

struct Arguments {
    server: Option<String>,
    driver: Driver,
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
        None => canonical(&arguments),
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
        driver: Driver::Uring,
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
            "--driver" if value == "uring" => parsed.driver = Driver::Uring,
            "--driver" if value == "glommio" => parsed.driver = Driver::Glommio,
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
fn message_bytes(arguments: &Arguments) -> io::Result<usize> {
    let outcome = run(
        Kind::Trunkline(arguments.driver),
        &arguments.bin_dir,
        arguments.workload,
        1000,
        Duration::from_millis(500),
    )?;
    Ok(outcome.heard.message_bytes)
}

fn single(arguments: &Arguments, server: &str) -> io::Result<bool> {
    let kind = match server {
        "trunkline" => Kind::Trunkline(arguments.driver),
        _ => Kind::Floor { message_bytes: message_bytes(arguments)? },
    };
    let outcome =
        run(kind, &arguments.bin_dir, arguments.workload, arguments.rate.unwrap_or(RATE_SINGLE), arguments.span)?;
    println!("{HEADER}");
    println!("{}", row(server, &outcome));
    Ok(outcome.is_exact() && outcome.void().is_none())
}

fn canonical(arguments: &Arguments) -> io::Result<bool> {
    let message_bytes = message_bytes(arguments)?;
    let kinds = [("trunkline", Kind::Trunkline(arguments.driver)), ("floor", Kind::Floor { message_bytes })];
    let workload = &arguments.workload;
    println!(
        "{} gateways, {} devices, {} streams, messages of {message_bytes} B over TLS 1.3; one shard over {}; trials of {} s",
        workload.gateways,
        workload.devices,
        workload.streams(),
        arguments.driver.name(),
        arguments.span.as_secs()
    );
    println!("\nhighest rate with p99 below {} ms and nothing lost\n{HEADER}", P99_US_MAX / 1000);
    let mut highest = Vec::new();
    for (name, kind) in kinds {
        highest.push(find_highest(arguments, name, kind)?);
    }
    let (rate, limited) = highest[0];
    let (floor_rate, floor_limited) = highest[1];
    if rate == 0 {
        println!("no rate was held");
        return Ok(false);
    }
    let (mut held, mut half) = (true, None);
    for share in [10, 50, 90] {
        let at = (rate * share / 100).max(100);
        println!("\n{share} % of trunkline's: {at} uplinks/s, in turn\n{HEADER}");
        let mut cpu = Vec::new();
        let mut p999 = Vec::new();
        let mut whole = Vec::new();
        for _ in 0..arguments.rounds {
            let mut both = Vec::new();
            for (name, kind) in kinds {
                let outcome = run(kind, &arguments.bin_dir, *workload, at, arguments.span)?;
                println!("{}", row(name, &outcome));
                held &= outcome.is_exact();
                both.push(outcome);
            }
            if both.iter().all(|outcome| outcome.void().is_none()) {
                cpu.push(both[0].cpu_us() / both[1].cpu_us());
                p999.push(both[0].latency_us(0.999) as f64 / both[1].latency_us(0.999) as f64);
                whole.extend(both.drain(..1));
            }
        }
        match (spread(&mut cpu), spread(&mut p999)) {
            (Some(cpu), Some(p999)) => {
                println!("CPU per uplink {} x the floor's, p99.9 {} x", cpu.1, p999.1);
                if share == 50 {
                    half = Some(Half { cpu_ratio: cpu.0, p999_ratio: p999.0, outcomes: whole });
                }
                held &= share != 50
                    || verdict(
                        cpu.0 <= CPU_RATIO_MAX,
                        &format!("CPU per uplink at 50 %: {} x the floor's, promised {CPU_RATIO_MAX}", cpu.1),
                    );
            }
            _ => println!("every round was void"),
        }
    }
    let ratio = rate as f64 / floor_rate.max(1) as f64;
    if let (Some(path), Some(half)) = (&arguments.json, half) {
        std::fs::write(path, format!("{:#}\n", half.figures(rate, ratio)))?;
    }
    let limit = |limited: bool| if limited { "" } else { " (the load's limit, not its own)" };
    held &= verdict(
        ratio >= RATE_RATIO_MIN,
        &format!(
            "throughput of one core: {rate} uplinks/s{} against the floor's {floor_rate}{}: {ratio:.2}, promised {RATE_RATIO_MIN}",
            limit(limited),
            limit(floor_limited)
        ),
    );
    Ok(held)
}

/// The highest rate that a server holds, and whether it was the server that ended the search.
fn find_highest(arguments: &Arguments, name: &str, kind: Kind) -> io::Result<(u64, bool)> {
    let (mut held, mut failed) = (0, None::<(u64, bool)>);
    let mut rate = RATE_FIRST;
    for _ in 0..12 {
        let outcome = run(kind, &arguments.bin_dir, arguments.workload, rate, arguments.span)?;
        println!("{}", row(name, &outcome));
        let by_server = outcome.void().is_none();
        if by_server && outcome.is_exact() && outcome.latency_us(0.99) < P99_US_MAX {
            held = rate;
        } else {
            failed = Some((rate, by_server));
        }
        rate = match failed {
            None => rate * 3 / 2,
            Some((failed, _)) if failed - held <= failed / 12 => break,
            Some((failed, _)) => held.midpoint(failed),
        };
        if rate < 100 {
            break;
        }
    }
    Ok((held, failed.is_none_or(|(_, by_server)| by_server)))
}

/// What half of the highest rate came to.
struct Half {
    cpu_ratio: f64,
    p999_ratio: f64,
    /// Trunkline's, of the rounds that are not void.
    outcomes: Vec<Outcome>,
}

impl Half {
    /// For machines; each figure is the median of the rounds.
    fn figures(&self, rate: u64, rate_ratio: f64) -> serde_json::Value {
        let median = |of: &dyn Fn(&Outcome) -> f64| {
            let mut values: Vec<f64> = self.outcomes.iter().map(of).collect();
            spread(&mut values).map(|(median, _)| median)
        };
        serde_json::json!({
            "uplink_cpu_ratio_to_floor": self.cpu_ratio,
            "uplink_rate_ratio_to_floor": rate_ratio,
            "uplinks_per_second_core": rate,
            "cpu_us_per_uplink": median(&Outcome::cpu_us),
            "p50_us_half_load": median(&|outcome| outcome.latency_us(0.5) as f64),
            "p99_us_half_load": median(&|outcome| outcome.latency_us(0.99) as f64),
            "p999_us_half_load": median(&|outcome| outcome.latency_us(0.999) as f64),
            "p999_ratio_to_floor": self.p999_ratio,
        })
    }
}

fn verdict(holds: bool, what: &str) -> bool {
    println!("{} {what}", if holds { "held  " } else { "MISSED" });
    holds
}

/// The median, and it with least and most as text.
fn spread(values: &mut [f64]) -> Option<(f64, String)> {
    values.sort_by(f64::total_cmp);
    let median = *values.get(values.len() / 2)?;
    Some((median, format!("{median:.2} ({:.2} to {:.2})", values[0], values[values.len() - 1])))
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
