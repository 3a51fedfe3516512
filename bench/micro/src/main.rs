//! `micro`: runs one kernel or one node, or counts them all and holds them against their budgets.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks")]

use micro::count::{Wanted, count};
use micro::node::{self, Task};
use micro::{KERNELS, kernel, measured};
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static GUARD: alloc_guard::Guard = alloc_guard::Guard;

const USAGE: &str = "\
usage: micro list                               the kernels
       micro kernel NAME COUNT                  runs one so many times; says its allocations and the hash of its answer
       micro node SHARDS UPLINKS [PER_TURN]     runs a node; a shard finds PER_TURN (16) datagrams at a turn
       micro count [OPTIONS]                    counts all under callgrind; fails if a budget is exceeded
           --large            kernels as well that take minutes to prepare
           --only TEXT        only what has this in its name
           --uplinks N        uplinks per node (2048)
           --per-turn N       datagrams that a shard finds at a turn (16)
           --json FILE        the counts for machines
           --keep DIR         leaves callgrind's files there
       micro abilities                          what the code finds of the processor
";

/// Operations before those that count: what is done once is done.
const WARM_COUNT: u64 = 16;

const UPLINKS: u64 = 2048;
const PER_TURN: usize = 16;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match &words[..] {
        ["list"] => {
            KERNELS.iter().for_each(|kernel| println!("{:<18} {}", kernel.name, kernel.what));
            Ok(())
        }
        ["kernel", name, count] => run_kernel(name, count),
        ["node", shards, uplinks] => run_node(shards, uplinks, &PER_TURN.to_string()),
        ["node", shards, uplinks, per_turn] => run_node(shards, uplinks, per_turn),
        ["count", options @ ..] => run_count(options),
        ["abilities"] => {
            println!("{}", abilities());
            Ok(())
        }
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text}: no number"))
}

fn run_kernel(name: &str, count: &str) -> Result<(), String> {
    let kernel = kernel(name).ok_or_else(|| format!("{name}: no kernel"))?;
    let count = number(count)?;
    let mut work = (kernel.prepare)();
    work.run(WARM_COUNT);
    alloc_guard::serving(true);
    measured(&mut *work, count);
    alloc_guard::serving(false);
    let counts = alloc_guard::counts();
    let hash = work.check().map_err(|wrong| format!("{name}: {wrong}"))?;
    println!("allocations {} frees {} hash {hash:016x}", counts.allocations, counts.frees);
    Ok(())
}

fn run_node(shards: &str, uplinks: &str, per_turn: &str) -> Result<(), String> {
    let task = Task { shards: number(shards)?, per_turn: number(per_turn)?, uplinks: number(uplinks)? };
    let before = alloc_guard::counts();
    let done = node::run(task)?;
    let counts = alloc_guard::counts();
    let (allocations, frees) = (counts.allocations - before.allocations, counts.frees - before.frees);
    println!("turns {} allocations {allocations} frees {frees} hash {:016x}", done.turns, done.hash);
    Ok(())
}

fn run_count(options: &[&str]) -> Result<(), String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("the budgets are instructions of x86-64".into());
    }
    let mut wanted = Wanted { large: false, only: "", uplinks: UPLINKS, per_turn: PER_TURN, keep: None };
    let (mut json, mut keep) = (None, None);
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        let mut value = || rest.next().copied().ok_or_else(|| format!("{option} wants a value"));
        match *option {
            "--large" => wanted.large = true,
            "--only" => wanted.only = value()?,
            "--uplinks" => wanted.uplinks = number(value()?)?,
            "--per-turn" => wanted.per_turn = number(value()?)?,
            "--json" => json = Some(PathBuf::from(value()?)),
            "--keep" => keep = Some(PathBuf::from(value()?)),
            other => return Err(format!("unknown option `{other}`\n\n{USAGE}")),
        }
    }
    wanted.keep = keep.as_deref();
    let counts = count(wanted)?;
    print!("{counts}");
    if let Some(path) = json {
        std::fs::write(&path, counts.json()).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let excesses = counts.excesses();
    if excesses.is_empty() { Ok(()) } else { Err(format!("above budget:\n{}", excesses.join("\n"))) }
}

/// Which code the ciphers, and whoever else looks, choose here. Callgrind's processor has neither AVX-512 nor VAES.
fn abilities() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let found = [
            ("aes", std::is_x86_feature_detected!("aes")),
            ("pclmulqdq", std::is_x86_feature_detected!("pclmulqdq")),
            ("avx2", std::is_x86_feature_detected!("avx2")),
            ("bmi2", std::is_x86_feature_detected!("bmi2")),
            ("sha", std::is_x86_feature_detected!("sha")),
            ("vaes", std::is_x86_feature_detected!("vaes")),
            ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ];
        let word = |(name, there): &(&str, bool)| format!("{}{name}", if *there { "" } else { "no " });
        found.iter().map(word).collect::<Vec<_>>().join(", ")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::env::consts::ARCH.to_owned()
    }
}
