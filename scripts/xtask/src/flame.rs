//! `cargo xtask bench flame`: where the processor time of a server goes at half load, from perf's samples: a flame graph of the
//! dataplane, and the stages of dataplane and floor for machines.
//!
//! Owns the run and what counts as which stage. Samples are of the clock, so that it works where there are no counters, and of
//! every thread of the server; stacks are unwound by what the release build says of its frames.

use crate::folded::{Folded, picture};
use crate::summary::{newest, read_if_there};
use crate::{records, shell};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Samples of each thread per second while it runs: no part of any tick.
const SAMPLES_HZ: u64 = 1999;

/// How long is sampled, and how long the load sends: long enough around it.
const SAMPLED_S: u64 = 5;
const LOAD_S: u64 = 12;

/// From the load's start until its trial runs: a server comes to rest first.
const START_PATIENCE: Duration = Duration::from_secs(30);
const WARM_UP: Duration = Duration::from_secs(3);

/// Longer than perf takes to tell its samples on a slow machine.
const PATIENCE: Duration = Duration::from_secs(900);

/// Where no record says what half load is, uplinks per second.
const RATE: u64 = 15_000;

/// Bytes of the stack that is kept with each sample.
const STACK_BYTES: &str = "dwarf,16384";

/// Stages and what they are known by, somewhere in a stack: the first that is found counts. What the kernel does for a stage
/// stands before what calls it.
const STAGES: [(&str, &[&str]); 10] = [
    ("journal", &["io_wq_worker", "io_write", "ext4_", "fdatasync", "journal::", "keeper::"]),
    ("datagrams out", &["udp_sendmsg", "io_sendmsg", "send_datagram"]),
    ("to consumers", &["tcp_sendmsg", "io_send"]),
    ("datagrams in", &["udp_recvmsg", "io_recvmsg"]),
    ("TLS", &["rustls::", "aws_lc", "shard::tls"]),
    ("rendering", &["emit::", "event::", "shard::outbound"]),
    ("sessions", &["session::", "lorawan::", "aes::", "cmac::"]),
    ("gateways", &["wire::", "shard::gateway"]),
    ("ring", &["uring::", "io_uring", "io_cqring", "io_run_", "schedule", "glommio"]),
    ("the rest of the shard", &["shard::", "plan::", "base::", "floor::", "dataplaned::"]),
];

/// What no stage is known by.
const OTHER: &str = "other";

/// Measures; `--record` writes into the newest record, otherwise below cargo's folder. `--rate N` is another load.
///
/// # Errors
/// What fails to build or run, perf included.
pub(crate) fn bench(arguments: &[String]) -> Result<(), String> {
    let (mut record, mut rate) = (false, None);
    let mut given = arguments.iter();
    while let Some(argument) = given.next() {
        match (argument.as_str(), given.as_slice().first()) {
            ("--record", _) => record = true,
            ("--rate", Some(value)) => {
                rate = Some(
                    value.parse::<u64>().ok().filter(|rate| *rate > 0).ok_or(format!("--rate {value}: no count"))?,
                );
                given.next();
            }
            _ => return Err(format!("bench flame: unknown option `{argument}`, or no value for it")),
        }
    }
    let packages = ["build", "--release", "--bins", "-p", "load", "-p", "floor", "-p", "dataplaned"];
    shell::run(shell::cargo(&packages).args(["--features", "dataplaned/glommio"]))?;
    let target = shell::target_directory()?;
    let records = shell::root().join("bench/records");
    let known = newest(&records).and_then(|newest| read_if_there(&newest, "load")).unwrap_or_default();
    let rate = rate.or_else(|| known["servers"]["uring"]["half_load"]["uplinks_per_second"].as_u64()).unwrap_or(RATE);

    let mut stages = Map::new();
    let mut graph = None;
    let mut printed = format!("{rate} uplinks/s, {SAMPLES_HZ} samples of each thread per second, for {SAMPLED_S} s\n");
    for (name, server) in [("floor", "floor"), ("uring", "trunkline")] {
        let folded = sample(&target, server, rate)?;
        let uplinks = (rate * SAMPLED_S) as f64;
        let us_of = |samples: u64| samples as f64 * 1e6 / SAMPLES_HZ as f64 / uplinks;
        let parts = by_stage(&folded);
        printed += &format!("\n{name}: {:.2} us of CPU per uplink\n", us_of(folded.samples()));
        for (stage, samples) in &parts {
            printed += &format!("  {stage:<24}{:>8.2} us\n", us_of(*samples));
        }
        let parts: Vec<Value> = parts.iter().map(|(stage, samples)| json!([stage, us_of(*samples)])).collect();
        stages.insert(name.into(), parts.into());
        graph = Some(folded);
    }
    print!("{printed}");
    let title = format!("trunkline-dataplane at {rate} uplinks/s, one shard over io_uring");
    let graph = graph.map(|folded| picture(&folded, &title)).unwrap_or_default();
    let figures = json!({ "uplinks_per_second": rate, "cpu_us_per_uplink_by_stage": stages });
    let folder = if record {
        let typed = ["cargo xtask bench flame", &arguments.join(" ")].join(" ");
        let written = records::write("flame", typed.trim(), &printed)?;
        written.parent().ok_or("a record lies in a folder")?.to_path_buf()
    } else {
        target.join("bench")
    };
    put(&folder, "flame.svg", &graph)?;
    put(&folder, "flame.json", &format!("{figures:#}\n"))
}

fn put(folder: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = folder.join(name);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, text))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    println!("written to {}", path.display());
    Ok(())
}

/// Runs a trial, and samples its server.
fn sample(target: &Path, server: &str, rate: u64) -> Result<Folded, String> {
    let mut load = Command::new(target.join("release/trunkline-load"));
    load.args(["--server", server, "--rate", &rate.to_string(), "--seconds", &LOAD_S.to_string()]);
    let load = load.stdin(Stdio::null()).stdout(Stdio::null()).spawn().map_err(|error| format!("the load: {error}"))?;
    let mut load = Running(load);
    let name = if server == "floor" { "trunkline-floor" } else { "trunkline-dataplane" };
    let process = busy_child(load.0.id(), name)?;
    thread::sleep(WARM_UP);
    let samples = target.join("bench").join(format!("{server}.perf"));
    fs::create_dir_all(target.join("bench")).map_err(|error| error.to_string())?;
    let mut perf = shell::command("perf", &["record", "--quiet", "-e", "cpu-clock", "--call-graph", STACK_BYTES]);
    perf.args(["-F", &SAMPLES_HZ.to_string(), "-p", &process.to_string(), "-o"]).arg(&samples);
    perf.args(["--", "sleep", &SAMPLED_S.to_string()]);
    shell::run(&mut perf)?;
    // A trial that is void is none for its figures; its stacks are what they are.
    let _void = load.0.wait();
    let mut told = shell::command("perf", &["script", "--no-inline", "-F", "comm,ip,sym", "-i"]);
    let told = shell::output_within(told.arg(&samples), PATIENCE).map_err(|error| format!("perf script: {error}"))?;
    let _kept = fs::remove_file(&samples);
    let folded = Folded::of(&String::from_utf8_lossy(&told.stdout));
    if folded.samples() == 0 {
        return Err(format!("perf found nothing of {name}: {}", String::from_utf8_lossy(&told.stderr)));
    }
    Ok(folded)
}

/// The load, ended with us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Waits for the child of this name that has begun to work for its trial. The server that only says how long its messages are
/// has gone by then: it serves for half a second.
fn busy_child(parent: u32, name: &str) -> Result<u32, String> {
    let until = Instant::now() + START_PATIENCE;
    let mut since: Option<(u32, Instant)> = None;
    while Instant::now() < until {
        let now = child(parent, name);
        match (now, since) {
            (Some(process), Some((known, at))) if process == known => {
                if at.elapsed() > Duration::from_secs(2) {
                    return Ok(process);
                }
            }
            (now, _) => since = now.map(|process| (process, Instant::now())),
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err(format!("the load has started no {name}"))
}

/// The child of a process whose program has this name.
fn child(parent: u32, name: &str) -> Option<u32> {
    fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok()).find(
        |process| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            // pid (comm) state ppid: proc(5). The kernel keeps fifteen bytes of a name.
            let Some((head, tail)) = stat.rsplit_once(") ") else { return false };
            let is_named = head.split_once('(').is_some_and(|(_, comm)| name.starts_with(comm) && !comm.is_empty());
            is_named && tail.split_whitespace().nth(1) == Some(&parent.to_string())
        },
    )
}

/// Samples of each stage that has some, most first; the rest comes last.
fn by_stage(folded: &Folded) -> Vec<(&'static str, u64)> {
    let mut all: Vec<(&'static str, u64)> = STAGES.iter().map(|(name, _)| (*name, 0)).chain([(OTHER, 0)]).collect();
    for (stack, samples) in folded.stacks() {
        let known = STAGES.iter().position(|(_, by)| by.iter().any(|by| stack.iter().any(|frame| frame.contains(by))));
        all[known.unwrap_or(STAGES.len())].1 += samples;
    }
    all.retain(|(_, samples)| *samples > 0);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_of_the_first_stage_that_knows_it() {
        let script = "\
shard-0 \n\t    ffffffff81000001 udp_sendmsg\n\t    ffffffff81000002 io_submit_sqes\n\t    5500000001 uring::reactor::Uring::turn\n\n\
shard-0 \n\t    5500000002 emit::run\n\t    5500000003 shard::outbound::flush\n\t    5500000001 shard::Shard::turn\n\n\
shard-0 \n\t    5500000002 emit::run\n\t    5500000001 shard::Shard::turn\n\n\
shard-0 \n\t    5500000009 memmove\n\n";
        let stages = by_stage(&Folded::of(script));
        assert_eq!(stages, [("datagrams out", 1), ("rendering", 2), ("other", 1)]);
    }

    #[test]
    fn a_child_is_found_by_its_parent_and_name() {
        let sleeping = Running(Command::new("sleep").arg("600").spawn().expect("starts"));
        let found = || child(std::process::id(), "sleep");
        let until = Instant::now() + Duration::from_secs(10);
        while found().is_none() && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!((found(), child(1, "sleep-of-nobody")), (Some(sleeping.0.id()), None));
    }
}
