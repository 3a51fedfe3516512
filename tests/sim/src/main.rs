//! `sim <seed> [count]`: tells the story of a seed, or of that many from it on, and checks the laws.
//!
//! One seed is told with all it is made of; many end with a table of what went wrong how often. With `--quiet` the seeds
//! themselves are not told, but for one that fails.

use sim::{Story, Table, hold, tell};
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The seed whose story is told, for the last words.
static SEED: AtomicU64 = AtomicU64::new(0);

const USAGE: &str = "usage: sim <seed> [count] [--quiet]";

fn main() -> std::io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quiet = arguments.iter().any(|argument| argument == "--quiet");
    let numbers: Result<Vec<u64>, _> =
        arguments.iter().filter(|argument| *argument != "--quiet").map(|argument| argument.parse()).collect();
    let (seed, count) = match numbers.as_deref() {
        Ok([seed]) => (*seed, 1),
        Ok([seed, count]) => (*seed, *count),
        _ => {
            writeln!(std::io::stderr(), "{USAGE}")?;
            return Ok(ExitCode::from(2));
        }
    };
    // A panic on the way says no seed by itself.
    let says_what = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        says_what(panic);
        let seed = SEED.load(Relaxed);
        // Whoever cannot hear it sees the end of the process.
        let _said = writeln!(std::io::stdout(), "seed {seed} broke a law: cargo run -p sim {seed}");
    }));
    let mut out = std::io::stdout();
    let mut table = Table::default();
    for seed in seed..seed.saturating_add(count) {
        let story = Story::of(seed);
        if count == 1 && !quiet {
            writeln!(out, "{story:#?}")?;
        }
        SEED.store(seed, Relaxed);
        let history = tell(story);
        hold(&history);
        table.add(&history);
        if quiet {
            continue;
        }
        let told: usize = history.consumers.iter().map(|consumer| consumer.received.len()).sum();
        writeln!(
            out,
            "seed {seed}: {} frames sent, {told} messages told, {} downlinks heard, {} turns, trace {:016x}",
            history.sent.len(),
            history.heard.len(),
            history.tally.turns,
            history.trace
        )?;
    }
    write!(out, "{table}")?;
    Ok(ExitCode::SUCCESS)
}
