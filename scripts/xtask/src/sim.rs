//! `cargo xtask sim`: fresh seeds of the simulator on every core, until the time is over or one breaks a law.
//!
//! Owns no seed's meaning: it builds the program in release, gives each child a few seeds at a time, adds up what they say
//! and, when one fails, says which and how to see it again.
//!
//! ```text
//!   next seeds ──▶ child per core: sim FROM COUNT --quiet ──▶ faults by kind, added up
//!       ▲                    └─ broke a law ──▶ what it said, the seed, the command; the others end
//!       └── until the time is over
//! ```

use crate::{shell, stop};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seeds that a child is given at a time: some seconds' worth.
const BATCH_COUNT: u64 = 50;

/// How long a batch may take.
const BATCH_TIMEOUT: Duration = Duration::from_secs(600);

/// Between two words of how it goes.
const SAY_INTERVAL: Duration = Duration::from_secs(10);

/// Faults by kind, in the order in which the program lists them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    names: Vec<String>,
    counts: BTreeMap<String, u64>,
}

impl Faults {
    /// Adds the lines `fault NAME: COUNT` of what the program said.
    pub(crate) fn add(&mut self, said: &str) {
        for line in said.lines() {
            let Some((name, count)) = line.strip_prefix("fault ").and_then(|rest| rest.rsplit_once(": ")) else {
                continue;
            };
            let Ok(count) = count.parse::<u64>() else { continue };
            if !self.counts.contains_key(name) {
                self.names.push(name.to_owned());
            }
            *self.counts.entry(name.to_owned()).or_default() += count;
        }
    }

    /// Kinds that never occurred.
    pub(crate) fn missing(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).filter(|name| self.counts[*name] == 0).collect()
    }

    /// How many kinds there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for name in &self.names {
            writeln!(out, "   {name:<44} {:>12}", self.counts[name])?;
        }
        Ok(())
    }
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asked {
    span: Duration,
    from: Option<u64>,
}

/// Runs until the time is over, somebody stops it, or a seed fails.
pub(crate) fn sim(arguments: &[String]) -> Result<(), String> {
    let asked = Asked::parse(arguments)?;
    shell::run(&mut shell::cargo(&["build", "--release", "-p", "sim", "--bin", "sim"]))?;
    let program = shell::target_directory()?.join("release/sim");
    // Nobody wants to see the same seeds every night.
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let from = asked.from.unwrap_or(clock * 1_000_000);
    let run = Run {
        program: &program,
        end: Instant::now() + asked.span,
        next: AtomicU64::new(from),
        done: AtomicU64::new(0),
        over: AtomicBool::new(false),
        faults: Mutex::default(),
        failed: Mutex::default(),
    };
    let start = Instant::now();
    println!("seeds from {from} on, for {} s", asked.span.as_secs());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let children: Vec<_> = (0..cores).map(|_| scope.spawn(|| run.child())).collect();
        let mut said = start;
        while children.iter().any(|child| !child.is_finished()) {
            std::thread::sleep(Duration::from_millis(100));
            if said.elapsed() >= SAY_INTERVAL {
                said = Instant::now();
                println!("{}", run.progress(start));
            }
        }
    });
    println!("{}\n{}", run.progress(start), locked(&run.faults));
    match locked(&run.failed).take() {
        Some(failure) => Err(failure),
        None => stop::going().map_err(Into::into),
    }
}

/// One run of the program by several children.
struct Run<'a> {
    program: &'a Path,
    end: Instant,
    next: AtomicU64,
    done: AtomicU64,
    over: AtomicBool,
    faults: Mutex<Faults>,
    failed: Mutex<Option<String>>,
}

impl Run<'_> {
    /// Takes batches until it is over. The last one of each child ends a little after the time.
    fn child(&self) {
        while Instant::now() < self.end && !self.over.load(Relaxed) && stop::going().is_ok() {
            let first = self.next.fetch_add(BATCH_COUNT, Relaxed);
            let mut command = Command::new(self.program);
            command.args([first.to_string(), BATCH_COUNT.to_string(), "--quiet".into()]).current_dir(shell::root());
            match shell::output_within(&mut command, BATCH_TIMEOUT) {
                Ok(output) if output.status.is_some_and(|status| status.success()) => {
                    self.done.fetch_add(BATCH_COUNT, Relaxed);
                    locked(&self.faults).add(&String::from_utf8_lossy(&output.stdout));
                }
                // Stopped by somebody: that is said by whoever waits for the children.
                Ok(output) if output.status.is_none() && stop::going().is_err() => {}
                Ok(output) => {
                    let ended = output.status.map_or("took too long".to_owned(), |status| status.to_string());
                    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
                    self.fail(failure(&String::from_utf8_lossy(&output.stdout), first, &ended));
                }
                Err(error) => self.fail(format!("{}: {error}", self.program.display())),
            }
        }
    }

    fn fail(&self, failure: String) {
        self.over.store(true, Relaxed);
        locked(&self.failed).get_or_insert(failure);
    }

    fn progress(&self, start: Instant) -> String {
        let (done, seconds) = (self.done.load(Relaxed), start.elapsed().as_secs_f64());
        format!("{seconds:>7.0} s: {done} seeds, {:.1} per second", done as f64 / seconds.max(0.001))
    }
}

/// What to say of a batch that failed: its seed, if the program could say it, and how to see it again.
fn failure(said: &str, first: u64, ended: &str) -> String {
    let seed = said.lines().rev().find_map(|line| line.strip_prefix("seed ")?.split(' ').next()?.parse::<u64>().ok());
    match seed {
        Some(seed) => format!("seed {seed} broke a law ({ended}); again: cargo run --release -p sim {seed}"),
        None => format!("no seed was named ({ended}); again: cargo run --release -p sim {first} {BATCH_COUNT}"),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Asked {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut asked = Self { span: Duration::from_secs(60), from: None };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("{argument} wants a value"))?;
            match argument.as_str() {
                "--for" => asked.span = span(value)?,
                "--from" => asked.from = Some(value.parse().map_err(|_| format!("--from {value}: no seed"))?),
                other => return Err(format!("unknown option `{other}`")),
            }
        }
        Ok(asked)
    }
}

/// `90s`, `10m`, `1h`; a bare number is of seconds.
fn span(text: &str) -> Result<Duration, String> {
    let (digits, unit_s) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    let count: Option<u64> = digits.parse().ok().filter(|count| *count > 0);
    let seconds = count.and_then(|count| count.checked_mul(unit_s));
    seconds.map(Duration::from_secs).ok_or_else(|| format!("--for {text}: as in 90s, 10m or 1h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(span(text).ok().map(|span| span.as_secs()), expected, "{text}");
        };
        check("90s", Some(90));
        check("10m", Some(600));
        check("1h", Some(3600));
        check("7", Some(7));
        for other in ["", "h", "0s", "-1m", "1d", "1.5h", "99999999999999999999h", "18446744073709551615h"] {
            check(other, None);
        }
    }

    #[test]
    fn options_are_read() {
        let parse = |text: &str| Asked::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(parse(""), Ok(Asked { span: Duration::from_secs(60), from: None }));
        assert_eq!(parse("--from 7 --for 1h"), Ok(Asked { span: Duration::from_secs(3600), from: Some(7) }));
        assert!(parse("--for").is_err() && parse("--from x").is_err() && parse("--quick 1").is_err());
    }

    #[test]
    fn faults_add_up() {
        let mut faults = Faults::default();
        faults.add("seed 1: nothing\nfault ENOSPC: 2\nfault EIO of writes: 0\n");
        faults.add("fault ENOSPC: 3\nfault EIO of writes: 0\nfault no number: x\n");
        assert_eq!((faults.len(), faults.missing()), (2, vec!["EIO of writes"]));
        assert!(faults.to_string().starts_with("   ENOSPC ") && faults.to_string().contains(" 5\n"));
    }

    #[test]
    fn a_failure_names_its_seed() {
        assert!(failure("seed 8: fine\nseed 9 broke a law: cargo run -p sim 9\n", 5, "aborted").starts_with("seed 9 "));
        assert!(failure("", 5, "aborted").contains("-p sim 5 50"));
    }
}
