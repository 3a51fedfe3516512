//! `cargo xtask bench micro`: what each kernel of `bench/micro` takes in time, instructions and allocations, and an uplink
//! through whole nodes in instructions.
//!
//! Owns how the two are put together: times are criterion's medians, counts what the program says of itself under callgrind,
//! which fails where a budget is exceeded. Both are of one release build.

use crate::{records, shell};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Longer than ten million sessions take under callgrind on a slow machine.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Seconds that criterion spends on a kernel before it measures, and while it does.
const WARM_UP_S: &str = "1";
const MEASURE_S: &str = "3";

/// The bench that is no kernel: it has a time alone.
const BETWEEN_THREADS: &str = "hop_between_threads";

/// Measures. `--record` writes it to `bench/records/`, for people and for machines.
pub(crate) fn bench(arguments: &[String]) -> Result<(), String> {
    let record = match arguments {
        [] => false,
        [only] if only == "--record" => true,
        _ => return Err("bench micro takes --record and nothing else".into()),
    };
    shell::run(&mut shell::cargo(&["build", "--release", "-p", "micro", "--bin", "micro"]))?;
    let target = shell::target_directory()?;
    let times = target.join("criterion");
    // Only what is measured now may be found there afterwards.
    if times.exists() {
        std::fs::remove_dir_all(&times).map_err(|error| format!("{}: {error}", times.display()))?;
    }
    let mut timing = shell::cargo(&["bench", "-p", "micro", "--bench", "kernels", "--"]);
    timing.args(["--noplot", "--warm-up-time", WARM_UP_S, "--measurement-time", MEASURE_S]);
    shell::run_within(timing.env("CRITERION_HOME", &times), PATIENCE)?;

    let busy = count(&target, &["--large"])?;
    let idle = count(&target, &["--only", "uplink", "--per-turn", "1", "--uplinks", "512"])?;
    let mut counts = busy.json;
    counts["one_datagram_per_turn"] = json!({
        "instructions_per_uplink": idle.json["instructions_per_uplink"],
        "ratio_to_one_shard": idle.json["ratio_to_one_shard"],
    });
    let mut printed = String::from("== time, criterion's median\n");
    for kernel in counts["kernels"].as_array_mut().ok_or("micro counted no kernels")? {
        let name = kernel["name"].as_str().unwrap_or_default().to_owned();
        let ns = median_ns(&times, &name)?;
        kernel["ns"] = json!(ns);
        line(&mut printed, &name, ns);
    }
    let between = median_ns(&times, BETWEEN_THREADS)?;
    counts["hop_between_threads_ns"] = json!(between);
    line(&mut printed, BETWEEN_THREADS, between);
    printed += "\n== instructions and allocations of one operation, callgrind\n";
    printed += &busy.printed;
    printed += "\n== the same with one datagram at each turn of a shard, instead of 16\n";
    printed += &idle.printed;
    print!("{printed}");
    if record {
        let path = records::write("micro", "cargo xtask bench micro --record", &printed)?;
        let machines = path.with_extension("json");
        let text = serde_json::to_string_pretty(&counts).map_err(|error| error.to_string())? + "\n";
        std::fs::write(&machines, text).map_err(|error| format!("{}: {error}", machines.display()))?;
        println!("written to {} and {}", path.display(), machines.display());
    }
    if busy.held && idle.held { Ok(()) } else { Err("micro: a budget is exceeded".into()) }
}

/// What the program counted.
struct Counted {
    printed: String,
    json: Value,
    /// Whether every budget held.
    held: bool,
}

fn count(target: &Path, options: &[&str]) -> Result<Counted, String> {
    let path = target.join("micro.json");
    // What an earlier run left is no count of this one.
    if path.exists() {
        std::fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let mut command = Command::new(target.join("release/micro"));
    command.arg("count").args(options).arg("--json").arg(&path);
    let ended = shell::output_within(&mut command, PATIENCE).map_err(|error| format!("micro: {error}"))?;
    eprint!("{}", String::from_utf8_lossy(&ended.stderr));
    let held = ended.status.is_some_and(|status| status.success());
    Ok(Counted { printed: String::from_utf8_lossy(&ended.stdout).into_owned(), json: read(&path)?, held })
}

fn line(out: &mut String, name: &str, ns: f64) {
    writeln!(out, "{name:<20} {ns:>10.1} ns").expect("a string takes all");
}

/// What criterion found of a bench, nanoseconds.
fn median_ns(times: &Path, name: &str) -> Result<f64, String> {
    let path = times.join(name).join("new/estimates.json");
    let found = read(&path)?;
    found["median"]["point_estimate"].as_f64().ok_or_else(|| format!("{}: no median", path.display()))
}

fn read(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}
