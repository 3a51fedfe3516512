//! `trunkline-scale`: a dataplane that starts with very many sessions, what each of them takes, and whether traffic over
//! all of them costs more than over a thousand. 10 million unless told otherwise; needs 800 bytes of disk for each.
//!
//! The plan comes over the control socket, the sessions by the journal; both are read from the disk at the start that is
//! measured. Trials over all sessions and over a thousand of them take turns in one process.

#![allow(clippy::print_stdout, reason = "a command line speaks on standard output")]

use scale::median;
use scale::options::Options;
use scale::prepare::prepare;
use scale::process::{Dataplane, Home, pin};
use scale::traffic::{Outcome, Spread, Traffic};
use std::fs;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

/// What is promised: bytes of a session, the rate over all of them against that over a thousand, seconds to serve.
const SESSION_BYTES_MAX: f64 = 304.0;
const RATE_RATIO_MIN: f64 = 0.6;
const START_MAX: Duration = Duration::from_secs(30);

/// Below so many sessions what each takes is hidden by what a process takes anyway, and nothing is promised.
const JUDGED_MIN: u64 = 1_000_000;

/// Sessions of the trials that the others are held against.
const FEW: u64 = 1000;

/// The share of a core that the dataplane must have had, for its rate to be its own and not the load's.
const BUSY_MIN: f64 = 0.9;

/// Of each trial, unless told otherwise.
const SECONDS: u64 = 5;

const USAGE: &str = "\
Usage: trunkline-scale [OPTIONS]
  --sessions N      How many (10000000); each needs 800 bytes of disk.
  --seconds S       Of each trial (5).
  --rounds N        Of trials over all and over a thousand (5).
  --dir DIR         Where data may be put (the system's folder for what is temporary).
  --bin-dir DIR     Where trunkline-dataplane is (beside this program).
  --driver WHICH    What the dataplane runs on: uring (if nothing is said) or glommio, if it was built with it.
  --json FILE       Writes the figures there.
";

/// Memory is measured at these parts of all sessions as well, for its chart.
const FEWER: [u64; 3] = [100, 10, 2];

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1), SECONDS) {
        Ok(options) => options,
        Err(wrong) => {
            eprint!("{wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Resident bytes of dataplanes with fewer sessions and room for all, after the first uplink is through.
fn fewer(home: &Home, count: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    for sessions in FEWER.map(|part| count / part).into_iter().filter(|sessions| *sessions >= FEW) {
        let name = format!("fewer-{sessions}");
        prepare(home, &name, sessions)?;
        let dataplane = home.start(&name, count)?;
        dataplane.scrape()?;
        Traffic::open(&dataplane, &home.tls, sessions)?.first(sessions - 1)?;
        let bytes = dataplane.resident_bytes()?;
        dataplane.stop()?;
        fs::remove_dir_all(home.data_dir(&name))?;
        println!("resident        {:8} MiB   with {sessions} sessions", bytes >> 20);
        found.push((sessions, bytes));
    }
    Ok(found)
}

fn run(options: &Options) -> io::Result<bool> {
    let count = options.sessions;
    fs::create_dir_all(&options.dir)?;
    let folder = tempfile::tempdir_in(&options.dir)?;
    let home = Home::new(folder.path(), &options.bin_dir, &options.driver)?;
    let empty = {
        let dataplane = home.start("empty", count)?;
        dataplane.scrape()?;
        let bytes = dataplane.resident_bytes()?;
        dataplane.stop()?;
        bytes
    };
    let mut by_sessions = fewer(&home, count)?;
    let prepared = prepare(&home, "full", count)?;
    println!("plan            {:8.2} s until in force, by the control socket", prepared.plan.as_secs_f64());
    println!(
        "sessions        {:8.2} s to write: {} MiB, beside {} MiB of plan",
        prepared.sessions.as_secs_f64(),
        prepared.session_bytes >> 20,
        prepared.plan_bytes >> 20
    );

    let dataplane = home.start("full", count)?;
    dataplane.scrape()?;
    let answering = dataplane.started.elapsed();
    // Not before: what is started by a thread keeps to its cores.
    pin();
    let mut traffic = Traffic::open(&dataplane, &home.tls, count)?;
    traffic.first(count - 1)?;
    let start = dataplane.started.elapsed();
    let start_cpu = dataplane.cpu()?;
    println!(
        "start           {:8.2} s until ready, {:.2} s until metrics answer, {:.2} s until the first uplink is through; {:.2} s of CPU",
        dataplane.took.as_secs_f64(),
        answering.as_secs_f64(),
        start.as_secs_f64(),
        start_cpu.as_secs_f64()
    );
    let loaded = sessions(&dataplane)?;
    if loaded != count {
        return Err(io::Error::other(format!("{loaded} sessions of {count} are there")));
    }
    let (before, peak) = (dataplane.resident_bytes()?, dataplane.peak_bytes()?);
    by_sessions.push((count, before));
    println!("sessions        {loaded:8}   one shard, each with its device, over the air");

    let (all, few) = trials(options, &dataplane, &mut traffic)?;
    let after = dataplane.resident_bytes()?;
    let each = |bytes: u64| bytes.saturating_sub(empty) as f64 / count as f64;
    let mib = |bytes: u64| bytes >> 20;
    println!("resident empty  {:8} MiB   a process with the same options and nothing to hold", mib(empty));
    println!(
        "resident start  {:8} MiB   {:.1} bytes a session above it; at most {}",
        mib(before),
        each(before),
        mib(peak)
    );
    println!(
        "resident after  {:8} MiB   {:.1} bytes a session above it, traffic and its log included",
        mib(after),
        each(after)
    );
    dataplane.stop()?;

    let exact = all.iter().chain(&few).all(|outcome| outcome.lost == 0 && outcome.wrong == 0);
    let rates = ratio(&all, &few, |outcome| outcome.rate);
    let cpus = ratio(&few, &all, |outcome| outcome.cpu_us);
    let busy = all.iter().chain(&few).all(|outcome| outcome.busy >= BUSY_MIN);
    println!("over all against over {FEW}: rate {rates:.2}, CPU per uplink the other way round {cpus:.2}");
    if !busy {
        println!("the load ended some trials, not the dataplane: what its CPU per uplink says counts");
    }
    let rate_ratio = if busy { rates } else { rates.min(cpus) };
    if let Some(path) = &options.json {
        let figures = serde_json::json!({
            "sessions_loaded": loaded,
            "bytes_per_session": each(after),
            "bytes_per_session_at_start": each(before),
            "resident_empty_bytes": empty,
            "resident_by_sessions": by_sessions,
            "rate_ratio_full_to_thousand_sessions": rate_ratio,
            "cpu_us_per_uplink_full": median(&all.iter().map(|outcome| outcome.cpu_us).collect::<Vec<_>>()),
            "cpu_us_per_uplink_thousand": median(&few.iter().map(|outcome| outcome.cpu_us).collect::<Vec<_>>()),
            "start_seconds_full": start.as_secs_f64(),
            "start_cpu_seconds_full": start_cpu.as_secs_f64(),
            "uplinks_heard": all.iter().chain(&few).map(|outcome| outcome.heard).sum::<u64>(),
            "uplinks_lost_or_wrong": all.iter().chain(&few).map(|outcome| outcome.lost + outcome.wrong).sum::<u64>(),
        });
        fs::write(path, format!("{figures:#}\n"))?;
    }
    let mut held = verdict(exact, "every uplink came once, and was right");
    if count < JUDGED_MIN {
        println!("nothing more is promised of fewer than {JUDGED_MIN} sessions");
        return Ok(held);
    }
    held &= verdict(
        each(after) <= SESSION_BYTES_MAX,
        &format!("{:.1} bytes a session, promised {SESSION_BYTES_MAX}", each(after)),
    );
    held &= verdict(
        rate_ratio >= RATE_RATIO_MIN,
        &format!("rate over all {rate_ratio:.2} of that over {FEW}, promised {RATE_RATIO_MIN}"),
    );
    held &= verdict(
        start <= START_MAX,
        &format!("from start to serving {:.2} s, promised {}", start.as_secs_f64(), START_MAX.as_secs()),
    );
    Ok(held)
}

/// Sessions that the dataplane says it has.
fn sessions(dataplane: &Dataplane) -> io::Result<u64> {
    let text = dataplane.scrape()?;
    let lines = text.lines().filter(|line| line.starts_with("trunkline_shard_sessions"));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64)
}

/// The outcomes over all sessions, and over a thousand.
fn trials(options: &Options, dataplane: &Dataplane, traffic: &mut Traffic) -> io::Result<(Vec<Outcome>, Vec<Outcome>)> {
    let span = Duration::from_secs(options.seconds);
    let count = options.sessions;
    let mut spreads = [Spread::new(count, FEW.min(count)), Spread::new(count, count)];
    let mut outcomes = [Vec::new(), Vec::new()];
    println!("\n  sessions      rate/s   CPU us/up    lost   wrong   dataplane busy   load busy");
    for _ in 0..options.rounds {
        for (spread, outcomes) in spreads.iter_mut().zip(&mut outcomes) {
            let outcome = traffic.run(spread, span, dataplane)?;
            println!(
                "  {:>8}  {:>10.0}  {:>10.2}  {:>6}  {:>6}  {:>13.0} %  {:>8.0} %",
                spread.used(),
                outcome.rate,
                outcome.cpu_us,
                outcome.lost,
                outcome.wrong,
                outcome.busy * 100.0,
                outcome.load_busy * 100.0
            );
            outcomes.push(outcome);
        }
    }
    println!("(sessions: different ones that have sent, of {FEW} and of all {count})\n");
    let [few, all] = outcomes;
    Ok((all, few))
}

/// The median of the rounds' ratios.
fn ratio(upper: &[Outcome], lower: &[Outcome], of: impl Fn(&Outcome) -> f64) -> f64 {
    median(&upper.iter().zip(lower).map(|(upper, lower)| of(upper) / of(lower)).collect::<Vec<_>>())
}

fn verdict(holds: bool, what: &str) -> bool {
    println!("{} {what}", if holds { "held  " } else { "MISSED" });
    holds
}
