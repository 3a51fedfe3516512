//! `cargo xtask`: everything that is done to this project by machine.
//!
//! Owns the list of checks, the rules that no compiler knows, and the demonstration behind `scripts/run`. Installs
//! nothing system-wide: the two shell scripts do, before they call this.

#![allow(clippy::print_stdout, reason = "a command line speaks on standard output")]

mod arrows;
mod charts;
mod check;
mod demo;
mod flame;
mod folded;
mod foreign;
mod group;
mod measure;
mod micro;
mod million;
mod records;
mod rest;
mod run;
mod shell;
mod sim;
mod stop;
mod summary;
mod svg;
mod table;
mod tidy;
mod trials;
mod whole;
mod words;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask <command>

  check [STEP...]    Proves the project: all steps, or those named. `check --list` names them.
  run [OPTIONS]      Builds and starts everything, with a demonstration. Ctrl-C stops it.
      --no-demo          Start empty: no demonstration data, no simulated devices.
      --data-dir DIR     Where control and dataplane keep their data (default: .data).
      --no-build         Start what the last build left.
      --bin-dir DIR      Start the programs of this folder; builds nothing.
      --listen-api ADDRESS, --listen-udp ADDRESS, --listen-wss ADDRESS, --listen-metrics ADDRESS
                         Where to listen (default: 127.0.0.1:8080, [::]:1700, [::]:8443, 127.0.0.1:9464).
  bench              All that follows but control, one after the other. Wants a quiet machine, for an hour or two.
      --record           Write it to bench/records/DATE-MACHINE/, with charts, and have the README show them.
  bench control      A million devices through the real processes: import, snapshot, deltas under traffic.
      --devices N        Another number.
      --bin-dir DIR      Measure the programs of this folder; builds nothing.
  bench micro        Each kernel's time, instructions and allocations; an uplink's instructions on 1, 2, 4 and 8 shards.
  bench journal      Group commits beside the floor of the disk under target/, and recovery.
  bench load         The canonical workload at the floor, at the dataplane over uring and over glommio, in turn.
  bench lagging      Live consumers while somebody catches up from the disk, against alone.
  bench scale        Ten million sessions in one dataplane: memory, start, traffic over all of them. Wants 8 GB of disk.
  bench idle         Idle connections, plain and secure, from a thousand to 18 000: memory and CPU of each.
      --driver NAME      The dataplane over this backend alone, uring or glommio, which is built for it; not of journal.
      --sessions N, --steps N,N,...
                         Other numbers, of scale and idle.
      --only PROGRAM     One program of the bench; what follows `--` is passed to it.
  bench flame        Where the dataplane's processor time goes at half load: a flame graph, and CPU by stage. Wants perf.
      --rate N           Uplinks per second, instead of half of the record's highest rate.
      --record           Write what was printed to bench/records/DATE-MACHINE/; so with each of micro to flame.
  bench charts       Draws the newest record's figures, as SVG beside them.
  bench table        The newest record as the README's table; --write puts it and the charts there.
  bench summary      The newest record as one JSON object; what was not recorded is null.
  sim                Fresh seeds of the simulator on every core, until the time is over or one breaks a law.
      --for SPAN         How long: 90s, 10m, 1h (default: 60s).
      --from SEED        Where to begin (default: somewhere new each time).
  tidy               The house rules alone: arrows, unsafe, lengths, leftovers, origins.
  foreign            Installs the foreign clients that the integration tests talk to, under target/.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    if let Err(reason) = stop::take_signals() {
        eprintln!("{reason}");
        return ExitCode::FAILURE;
    }
    let outcome = match command.as_str() {
        "check" => check::check(&rest),
        "run" => run::run(&rest),
        "bench" if rest.first().is_some_and(|what| what == "control") => million::bench(&rest[1..]),
        "bench" if rest.first().is_some_and(|what| what == "micro") => micro::bench(&rest[1..]),
        "bench" if rest.is_empty() || rest == ["--record"] => whole::bench(&rest),
        "bench" if rest == ["charts"] => charts::write(),
        "bench" if rest.first().is_some_and(|what| what == "table") => table::bench(&rest[1..]),
        "bench" if rest.first().is_some_and(|what| what == "flame") => flame::bench(&rest[1..]),
        "bench" if rest == ["summary"] => summary::print(),
        "bench" if rest.first().is_some_and(|what| measure::knows(what)) => measure::bench(&rest[0], &rest[1..]),
        "sim" => sim::sim(&rest),
        "tidy" => tidy::tidy(),
        "foreign" => foreign::install(),
        "" | "help" | "-h" | "--help" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => Err(format!("unknown command `{other}`\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}
