//! The canonical workload: the highest rate that each server holds, then all of them in turn at shares of Trunkline's.
//!
//! Owns what is promised. Ratios are of trials of one round, so that what the machine does meanwhile meets both.

use crate::figures::{Compared, Figures, spread, stages_of};
use crate::{Arguments, HEADER, message_bytes, row, verdict};
use load::server::{Driver, Kind};
use load::trial::{Outcome, run};
use std::io;

/// The latency that the highest rate holds.
const P99_US_MAX: u64 = 10_000;

/// What is promised: processor time per uplink, throughput of one core, and p99.9 at half load, against the floor.
const CPU_RATIO_MAX: f64 = 1.5;
const RATE_RATIO_MIN: f64 = 0.65;
const P999_RATIO_MAX: f64 = 2.0;

/// Trials that look for the highest rate begin here, uplinks per second, and there are at most so many.
const RATE_FIRST: u64 = 10_000;
const SEARCH_TRIALS_MAX: usize = 12;

/// The shares of Trunkline's highest rate at which all run in turn, percent.
const SHARES: [u64; 3] = [10, 50, 90];

/// The share at which ratios are promised.
const HALF: u64 = 50;

/// A server that is measured.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    kind: Kind,
    /// The highest rate that it holds, uplinks per second, and whether it was the server that ended the search.
    pub(crate) highest: (u64, bool),
    /// Every trial: at which share of Trunkline's highest rate, if at one, and what came of it.
    pub(crate) trials: Vec<(Option<u64>, Outcome)>,
}

impl Contender {
    /// What came of the last trial, if something can be said of the server.
    fn latest(&self) -> Option<&Outcome> {
        self.trials.last().map(|(_, outcome)| outcome).filter(|outcome| outcome.void().is_none())
    }
}

/// Measures. Returns whether what is promised was held.
pub(crate) fn measure(arguments: &Arguments) -> io::Result<bool> {
    let (message_bytes, drivers) = drivers(arguments)?;
    let floor =
        Contender { name: "floor", kind: Kind::Floor { message_bytes }, highest: (0, false), trials: Vec::new() };
    let over = |driver: &Driver| Contender {
        name: driver.name(),
        kind: Kind::Trunkline(*driver),
        highest: (0, false),
        trials: Vec::new(),
    };
    let mut all: Vec<Contender> = std::iter::once(floor).chain(drivers.iter().map(over)).collect();
    let workload = &arguments.workload;
    println!(
        "{} gateways, {} devices, {} streams, messages of {message_bytes} B over TLS 1.3; one shard, Trunkline over {}; trials of {} s",
        workload.gateways,
        workload.devices,
        workload.streams(),
        drivers.iter().map(|driver| driver.name()).collect::<Vec<_>>().join(" and over "),
        arguments.span.as_secs()
    );
    println!("\nhighest rate with p99 below {} ms and nothing lost\n{HEADER}", P99_US_MAX / 1000);
    for contender in &mut all {
        find_highest(arguments, contender)?;
    }
    let highest = all[1].highest.0;
    if highest == 0 {
        println!("no rate was held");
        return Ok(false);
    }
    let mut held = true;
    let mut figures = Figures::new(arguments.workload, message_bytes);
    for share in SHARES {
        let rate = (highest * share / 100).max(100);
        println!("\n{share} % of {}'s: {rate} uplinks/s, in turn\n{HEADER}", all[1].name);
        let mut compared = vec![Compared::default(); all.len()];
        for _ in 0..arguments.rounds {
            held &= round(arguments, &mut all, &mut compared, (share, rate))?;
        }
        held &= say(&all, compared, share, &mut figures);
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, format!("{:#}\n", figures.of_load(&all)))?;
    }
    let limit = |(_, limited): (u64, bool)| if limited { "" } else { " (the load's limit, not its own)" };
    let (floor, one) = (all[0].highest, all[1].highest);
    let ratio = one.0 as f64 / floor.0.max(1) as f64;
    let what = format!(
        "throughput of one core: {} uplinks/s{} against the floor's {}{}: {ratio:.2}, promised {RATE_RATIO_MIN}",
        one.0,
        limit(one),
        floor.0,
        limit(floor)
    );
    Ok(verdict(ratio >= RATE_RATIO_MIN, &what) && held)
}

/// The drivers to be measured and the bytes of a message. Without being asked for, glommio is one if it was built in.
fn drivers(arguments: &Arguments) -> io::Result<(usize, Vec<Driver>)> {
    if let Some(driver) = arguments.driver {
        return Ok((message_bytes(arguments, driver)?, vec![driver]));
    }
    let bytes = message_bytes(arguments, Driver::Uring)?;
    match message_bytes(arguments, Driver::Glommio) {
        Ok(_) => Ok((bytes, vec![Driver::Uring, Driver::Glommio])),
        Err(error) if error.to_string().contains("built without it") => {
            println!("not over glommio: the dataplane was built without it");
            Ok((bytes, vec![Driver::Uring]))
        }
        Err(error) => Err(error),
    }
}

/// One trial of each at this share and rate. Returns whether Trunkline and the floor lost nothing.
fn round(
    arguments: &Arguments,
    all: &mut [Contender],
    compared: &mut [Compared],
    (share, rate): (u64, u64),
) -> io::Result<bool> {
    let mut held = true;
    for (index, contender) in all.iter_mut().enumerate() {
        let outcome = run(contender.kind, &arguments.bin_dir, arguments.workload, rate, arguments.span)?;
        println!("{}", row(contender.name, &outcome));
        // Nothing is promised of the second backend.
        held &= index > 1 || outcome.is_exact();
        contender.trials.push((Some(share), outcome));
    }
    for (index, compared) in compared.iter_mut().enumerate().skip(1) {
        // Trunkline is compared with the floor, a further backend with the first.
        let with = if index == 1 { 0 } else { 1 };
        if let (Some(outcome), Some(other)) = (all[index].latest(), all[with].latest()) {
            compared.cpu.push(outcome.cpu_us() / other.cpu_us());
            compared.p999.push(outcome.latency_us(0.999) as f64 / other.latency_us(0.999).max(1) as f64);
        }
    }
    Ok(held)
}

/// Prints what rounds at a share came to, and keeps it. Returns whether what is promised was held.
fn say(all: &[Contender], compared: Vec<Compared>, share: u64, figures: &mut Figures) -> bool {
    let mut held = true;
    for (index, (contender, mut compared)) in all.iter().zip(compared).enumerate().skip(1) {
        let other = if index == 1 { "the floor's" } else { "uring's" };
        let (Some(cpu), Some(p999)) = (spread(&mut compared.cpu), spread(&mut compared.p999)) else {
            println!("{}: every round was void", contender.name);
            continue;
        };
        println!("{}: CPU per uplink {} x {other}, p99.9 {} x", contender.name, cpu.1, p999.1);
        if share == HALF {
            figures.ratios.insert(contender.name, (cpu.0, p999.0));
        }
        if share == HALF && index == 1 {
            let text = format!("CPU per uplink at half load: {} x {other}, promised {CPU_RATIO_MAX}", cpu.1);
            held &= verdict(cpu.0 <= CPU_RATIO_MAX, &text);
            let text = format!("p99.9 at half load: {} x {other}, promised {P999_RATIO_MAX}", p999.1);
            held &= verdict(p999.0 <= P999_RATIO_MAX, &text);
        }
    }
    for contender in all.iter().skip(1) {
        if let Some((_, outcome)) = contender.trials.last() {
            print!("{}, its last trial:\n{}", contender.name, stages_of(outcome));
        }
    }
    held
}

/// Finds the highest rate that a server holds.
fn find_highest(arguments: &Arguments, contender: &mut Contender) -> io::Result<()> {
    let (mut held, mut failed) = (0, None::<(u64, bool)>);
    let mut rate = RATE_FIRST;
    for _ in 0..SEARCH_TRIALS_MAX {
        let outcome = run(contender.kind, &arguments.bin_dir, arguments.workload, rate, arguments.span)?;
        println!("{}", row(contender.name, &outcome));
        let by_server = outcome.void().is_none();
        if by_server && outcome.is_exact() && outcome.latency_us(0.99) < P99_US_MAX {
            held = rate;
        } else {
            failed = Some((rate, by_server));
        }
        contender.trials.push((None, outcome));
        rate = match failed {
            None => rate * 3 / 2,
            Some((failed, _)) if failed - held <= failed / 12 => break,
            Some((failed, _)) => held.midpoint(failed),
        };
        if rate < 100 {
            break;
        }
    }
    contender.highest = (held, failed.is_none_or(|(_, by_server)| by_server));
    Ok(())
}
