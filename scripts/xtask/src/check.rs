//! `cargo xtask check`: the steps that prove the project, each with its name, its time and one line of result.
//!
//! Owns the order: what fails soonest and cheapest comes first. The workspace is built once for all tests; their
//! executables are then run directly, so that choosing among crates never rebuilds one with other features.

use crate::sim::Faults;
use crate::{foreign, shell, stop, tidy};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Seeds that the simulator runs; `SIM_SEEDS` asks for another number.
const SEED_COUNT: u64 = 1000;

/// How long one test executable may take; the slowest takes seconds.
const EXECUTABLE_TIMEOUT: Duration = Duration::from_secs(300);

/// How long the simulator may take for one part of the seeds, and the integration tests; both take a few minutes.
const SEEDS_TIMEOUT: Duration = Duration::from_secs(1800);
const INTEGRATION_TIMEOUT: Duration = Duration::from_secs(1800);

/// How long the budgets may take; they take less than a minute.
const BUDGETS_TIMEOUT: Duration = Duration::from_secs(600);

/// Crates whose tests are steps of their own.
const APART: [&str; 2] = ["it", "corpus"];

/// Scenarios that are not run over glommio: that nothing is allocated, which it does not promise, and foreign clients, which
/// have to be installed and meet the same shard.
const NOT_OVER_GLOMMIO: [&str; 2] = ["scenarios::allocation", "scenarios::foreign"];

/// A step's result: what to say about it, or what went wrong.
type Outcome = Result<String, String>;

struct Step {
    name: &'static str,
    what: &'static str,
    action: fn(&mut Built) -> Outcome,
}

const STEPS: &[Step] = &[
    Step { name: "format", what: "rustfmt agrees with every file", action: format },
    Step { name: "tidy", what: "arrows between rooms, unsafe, lengths, leftovers, origins", action: house },
    Step { name: "clippy", what: "no lint in any target", action: clippy },
    Step { name: "docs", what: "every public item documented, every link leads somewhere", action: docs },
    Step { name: "fuzz", what: "the fuzz targets compile", action: fuzz },
    Step { name: "build", what: "all targets of the workspace", action: build },
    Step { name: "unit", what: "tests of each room, golden bytes of other producers among them", action: unit },
    Step {
        name: "budgets",
        what: "instructions and allocations of each kernel, and of an uplink on shards",
        action: budgets,
    },
    Step { name: "examples", what: "examples in the documentation", action: examples },
    Step { name: "corpus", what: "what fuzzing found, replayed", action: corpus },
    Step { name: "seeds", what: "the simulator, seed by seed", action: seeds },
    Step { name: "foreign", what: "clients nobody here wrote: installed", action: foreign_clients },
    Step { name: "integration", what: "real processes, real sockets", action: integration },
];

/// Run only if named.
const ON_DEMAND: &[Step] = &[Step {
    name: "glommio",
    what: "the other backend: its lints, its tests, real processes over it",
    action: glommio,
}];

/// A test executable of the one build.
#[derive(Clone)]
struct Executable {
    /// The crate, then the target if it differs.
    name: String,
    package: String,
    manifest_directory: PathBuf,
    path: PathBuf,
}

/// What the build step left, built on demand by whoever needs it first; a build that failed is not tried again.
#[derive(Default)]
struct Built(Option<Result<Artifacts, String>>);

/// What one build made that can be run.
#[derive(Clone, Default)]
struct Artifacts {
    tests: Vec<Executable>,
    /// The programs, by name.
    programs: BTreeMap<String, PathBuf>,
}

/// Runs the named steps, or all of them, and prints a table. Later steps run although an earlier one failed.
pub(crate) fn check(names: &[String]) -> Result<(), String> {
    if names.iter().any(|name| name == "--list") {
        for step in STEPS {
            println!("{:<12} {}", step.name, step.what);
        }
        println!("\nonly if named:");
        for step in ON_DEMAND {
            println!("{:<12} {}", step.name, step.what);
        }
        return Ok(());
    }
    let named = |step: &&Step| names.iter().any(|name| name == step.name);
    if let Some(unknown) = names.iter().find(|name| STEPS.iter().chain(ON_DEMAND).all(|step| step.name != *name)) {
        return Err(format!("no step `{unknown}`; `cargo xtask check --list` names them"));
    }
    let mut built = Built::default();
    let mut table = Vec::new();
    let start = Instant::now();
    let usual = STEPS.iter().filter(|step| names.is_empty() || named(step));
    for step in usual.chain(ON_DEMAND.iter().filter(named)) {
        stop::going()?;
        println!("\n== {}: {}", step.name, step.what);
        let start = Instant::now();
        let outcome = (step.action)(&mut built);
        if let Err(reason) = &outcome {
            eprintln!("{reason}");
        }
        table.push((step.name, start.elapsed(), outcome));
    }
    println!("\n{:<12} {:>8}  result", "step", "time");
    for (name, time, outcome) in &table {
        let said = match outcome {
            Ok(said) => format!("ok      {said}"),
            Err(reason) => format!("FAILED  {}", reason.lines().next().unwrap_or_default()),
        };
        println!("{name:<12} {:>8}  {}", clock(*time), said.trim_end());
    }
    println!("{:<12} {:>8}", "in all", clock(start.elapsed()));
    let failed: Vec<&str> = table.iter().filter(|(_, _, outcome)| outcome.is_err()).map(|(name, _, _)| *name).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

fn format(_: &mut Built) -> Outcome {
    shell::run(&mut shell::cargo(&["fmt", "--all", "--check"]))?;
    Ok(String::new())
}

fn house(_: &mut Built) -> Outcome {
    tidy::tidy()?;
    Ok(String::new())
}

fn clippy(_: &mut Built) -> Outcome {
    shell::run(&mut shell::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    Ok(String::new())
}

fn docs(_: &mut Built) -> Outcome {
    shell::run(shell::cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(String::new())
}

fn fuzz(_: &mut Built) -> Outcome {
    let target = shell::target_directory()?.join("fuzz");
    shell::run(
        shell::cargo(&["check", "--manifest-path", "fuzz/Cargo.toml", "--bins"]).env("CARGO_TARGET_DIR", target),
    )?;
    Ok(String::new())
}

fn build(built: &mut Built) -> Outcome {
    let artifacts = built.artifacts()?;
    Ok(format!("{} test executables, {} programs", artifacts.tests.len(), artifacts.programs.len()))
}

fn unit(built: &mut Built) -> Outcome {
    let here = |executable: &&Executable| !APART.contains(&executable.package.as_str());
    some(tests(built.artifacts()?.tests.iter().filter(here))?)
}

fn corpus(built: &mut Built) -> Outcome {
    some(tests(built.artifacts()?.tests.iter().filter(|executable| executable.package == "corpus"))?)
}

/// Counts what the one build made: no other has to be waited for. The build for release has budgets of its own, which
/// `cargo xtask bench micro` holds.
fn budgets(built: &mut Built) -> Outcome {
    let artifacts = built.artifacts()?;
    let program = artifacts.programs.get("micro").ok_or("bench/micro has no program")?;
    shell::run_within(Command::new(program).arg("count"), BUDGETS_TIMEOUT)?;
    Ok(String::new())
}

fn examples(_: &mut Built) -> Outcome {
    shell::run(&mut shell::cargo(&["test", "--workspace", "--doc", "--quiet"]))?;
    Ok(String::new())
}

/// Runs all seeds, as many at once as there are cores. A failure shows what its seed had to say. Over all of them every kind
/// of fault must have occurred: one that never does proves nothing.
fn seeds(built: &mut Built) -> Outcome {
    let artifacts = built.artifacts()?;
    let sim = artifacts.programs.get("sim").ok_or("tests/sim has no program")?;
    let asked = std::env::var("SIM_SEEDS").map(|count| count.parse().map_err(|_| format!("SIM_SEEDS={count}")));
    let count = asked.unwrap_or(Ok(SEED_COUNT))?;
    let side_by_side = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let children: Vec<_> = (0..side_by_side)
        .map(|part| (part * count / side_by_side, (part + 1) * count / side_by_side))
        .map(|(first, end)| {
            let mut command = Command::new(sim);
            command.args([first.to_string(), (end - first).to_string(), "--quiet".into()]).current_dir(shell::root());
            let run = move || shell::output_within(&mut command, SEEDS_TIMEOUT);
            (format!("sim {first} {}", end - first), std::thread::spawn(run))
        })
        .collect();
    let mut failed = Vec::new();
    let mut faults = Faults::default();
    for (spoken, child) in children {
        let output = child.join().map_err(|_| format!("{spoken}: could not be waited for"))?;
        let output = output.map_err(|error| format!("{spoken}: {error}"))?;
        if !output.status.is_some_and(|status| status.success()) {
            let said = String::from_utf8_lossy(&output.stdout);
            let last = said.lines().last().unwrap_or("nothing");
            eprintln!("{spoken} said last: {last}\n{}", String::from_utf8_lossy(&output.stderr));
            let ended = output.status.map_or("was ended before it was done".to_owned(), |status| status.to_string());
            failed.push(format!("{spoken}: {ended}"));
        }
        faults.add(&String::from_utf8_lossy(&output.stdout));
    }
    print!("{faults}");
    let missing = faults.missing();
    if count >= SEED_COUNT && failed.is_empty() && !missing.is_empty() {
        failed.push(format!("in {count} seeds there was never: {}", missing.join(", ")));
    }
    if failed.is_empty() {
        Ok(format!("{count} seeds, {} kinds of faults", faults.len()))
    } else {
        Err(failed.join("\n"))
    }
}

fn foreign_clients(_: &mut Built) -> Outcome {
    foreign::install()?;
    Ok(String::new())
}

fn integration(built: &mut Built) -> Outcome {
    let artifacts = built.artifacts()?;
    let it =
        artifacts.tests.iter().find(|executable| executable.package == "it").ok_or("tests/it has no executable")?;
    shell::run_within(&mut it.command(), INTEGRATION_TIMEOUT)?;
    Ok(String::new())
}

/// Leaves `trunkline-dataplane` with both backends in it; whoever builds the workspace has the usual one again.
fn glommio(_: &mut Built) -> Outcome {
    const PACKAGES: [&str; 4] = ["-p", "glommio-driver", "-p", "dataplaned"];
    const FEATURES: [&str; 3] = ["--all-targets", "--features", "glommio-driver/glommio,dataplaned/glommio"];
    shell::run(shell::cargo(&["clippy"]).args(PACKAGES).args(FEATURES).args(["--", "-D", "warnings"]))?;
    let mut build = shell::cargo(&["build", "--message-format", "json-render-diagnostics"]);
    let artifacts = Artifacts::of(&shell::output(build.arg("--workspace").args(FEATURES))?);
    let own = artifacts.tests.iter().filter(|executable| executable.package == "glommio-driver");
    let said = some(tests(own)?)?;
    let it =
        artifacts.tests.iter().find(|executable| executable.package == "it").ok_or("tests/it has no executable")?;
    let mut command = it.command();
    command.env("TRUNKLINE_IT_DRIVER", "glommio");
    for scenario in NOT_OVER_GLOMMIO {
        command.args(["--skip", scenario]);
    }
    shell::run_within(&mut command, INTEGRATION_TIMEOUT)?;
    Ok(said)
}

/// Runs executables one after another; their output is shown only if they fail.
fn tests<'a>(executables: impl Iterator<Item = &'a Executable>) -> Outcome {
    let (mut passed, mut failed) = (0, Vec::new());
    for executable in executables {
        match counted(&executable.name, &mut executable.command()) {
            Ok(count) => passed += count,
            Err(reason) => failed.push(reason),
        }
    }
    if failed.is_empty() { Ok(format!("{passed} tests")) } else { Err(failed.join("\n")) }
}

/// A step that has nothing to run proves nothing.
fn some(said: String) -> Outcome {
    if said == "0 tests" { Err("no test ran".into()) } else { Ok(said) }
}

/// Runs a test executable and counts the tests that passed.
fn counted(name: &str, command: &mut Command) -> Result<usize, String> {
    stop::going()?;
    let start = Instant::now();
    let output = shell::output_within(command, EXECUTABLE_TIMEOUT).map_err(|error| format!("{name}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let count = passed(&text);
    let failure = match output.status {
        Some(status) if status.success() => None,
        Some(status) => Some(status.to_string()),
        None => Some(format!("not done after {}", clock(EXECUTABLE_TIMEOUT))),
    };
    if let Some(failure) = failure {
        print!("{text}");
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        return Err(format!("{name}: {failure}"));
    }
    if count > 0 {
        println!("   {name:<28} {count:>5} tests {:>8}", clock(start.elapsed()));
    }
    Ok(count)
}

/// The count in libtest's `test result: ok. 12 passed; ...`.
fn passed(text: &str) -> usize {
    let count = |line: &str| {
        let words = line.strip_prefix("test result: ")?.split_once(". ")?.1;
        words.split_once(" passed")?.0.parse::<usize>().ok()
    };
    text.lines().filter_map(count).sum()
}

fn clock(time: Duration) -> String {
    if time >= Duration::from_secs(60) {
        format!("{}m {:02}s", time.as_secs() / 60, time.as_secs() % 60)
    } else {
        format!("{:.1}s", time.as_secs_f64())
    }
}

impl Executable {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.manifest_directory).env("CARGO_MANIFEST_DIR", &self.manifest_directory);
        command
    }
}

impl Built {
    fn artifacts(&mut self) -> Result<Artifacts, String> {
        self.0.get_or_insert_with(Artifacts::build).clone()
    }
}

impl Artifacts {
    fn build() -> Result<Self, String> {
        let arguments = ["build", "--workspace", "--all-targets", "--message-format", "json-render-diagnostics"];
        Ok(Self::of(&shell::output(&mut shell::cargo(&arguments))?))
    }

    /// The executables that cargo's messages tell of, by name.
    fn of(messages: &str) -> Self {
        let (mut tests, mut programs) = (BTreeMap::new(), BTreeMap::new());
        for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let Some(path) = message["executable"].as_str() else { continue };
            let Some(manifest) = message["manifest_path"].as_str().map(PathBuf::from) else { continue };
            let target = message["target"]["name"].as_str().unwrap_or_default();
            if message["profile"]["test"] != true {
                programs.insert(target.to_owned(), PathBuf::from(path));
                continue;
            }
            let directory = manifest.parent().expect("a manifest lies in a folder").to_path_buf();
            let package = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name = if target == package { package.clone() } else { format!("{package} {target}") };
            let executable = Executable { name, package, manifest_directory: directory, path: path.into() };
            tests.insert((executable.name.clone(), path.to_owned()), executable);
        }
        Self { tests: tests.into_values().collect(), programs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_passed() {
        let text =
            "running 2 tests\ntest result: ok. 12 passed; 0 failed; 0 ignored\n\ntest result: ok. 3 passed; 0 failed\n";
        assert_eq!(passed(text), 15);
        assert_eq!(passed("test result: FAILED. 1 passed; 2 failed"), 1);
        assert_eq!(passed("nothing of the kind"), 0);
    }

    #[test]
    fn tells_tests_from_programs() {
        let artifact = |test: bool, executable: &str, target: &str| {
            let value = serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": "/w/dataplane/base/Cargo.toml",
                "target": { "name": target }, "profile": { "test": test }, "executable": executable,
            });
            value.to_string()
        };
        let messages = [
            artifact(true, "/t/base-1", "base"),
            artifact(false, "/t/base", "base"),
            artifact(true, "/t/laws-1", "laws"),
            "not JSON".into(),
        ];
        let found = Artifacts::of(&messages.join("\n"));
        assert_eq!(found.tests.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), ["base", "base laws"]);
        assert_eq!(found.tests[0].manifest_directory, PathBuf::from("/w/dataplane/base"));
        assert_eq!(found.programs["base"], PathBuf::from("/t/base"));
    }

    #[test]
    fn a_step_without_tests_fails() {
        assert!(some("0 tests".into()).is_err());
        assert!(some("1 tests".into()).is_ok());
    }
}
