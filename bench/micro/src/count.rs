//! Counts: this program once more under callgrind, kernel by kernel and node by node, and held against the budgets.
//!
//! Collection is on only while [`crate::measured`], or a shard's turn in [`crate::node`], runs, so what prepares and what
//! simulates is not in the figures. Virtual processors do not disturb each other: as many run at once as there are cores.

use crate::budgets::{self, Budget};
use crate::node::Task;
use crate::{KERNELS, Kernel};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Operations of a kernel that are counted.
const OPERATIONS: u64 = 1000;

/// Where collection is switched: on at the first of each line and off again at its end; off and on by the others.
const KERNEL_TOGGLES: &[&str] = &["micro::measured"];
const NODE_TOGGLES: &[&str] = &["micro::node::counted_turn", "micro::outside::door", "micro::outside::inside"];

/// What is counted, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Kernels that are large as well.
    pub large: bool,
    /// Only what has this in its name.
    pub only: &'a str,
    /// Uplinks per node.
    pub uplinks: u64,
    /// Datagrams that a shard finds at a turn.
    pub per_turn: usize,
    /// Where callgrind's files are left, for `callgrind_annotate`.
    pub keep: Option<&'a Path>,
}

/// What an operation costs.
#[derive(Clone, Debug)]
pub struct Count {
    /// The kernel, or `uplink_N_shards`.
    pub name: String,
    /// Operations that were counted.
    pub operations: u64,
    /// Instructions of all.
    pub instructions: u64,
    /// Allocations of all.
    pub allocations: u64,
    /// Frees of all.
    pub frees: u64,
    /// The hash of the answer.
    pub hash: String,
}

impl Count {
    /// Instructions of one operation.
    #[must_use]
    pub fn per_operation(&self) -> f64 {
        self.instructions as f64 / self.operations as f64
    }

    /// What of the budget is exceeded, if anything is.
    fn excess(&self, budget: &Budget) -> Option<String> {
        let mut said = Vec::new();
        if self.instructions > budget.instructions() * self.operations {
            let (per_operation, most) = (self.per_operation(), budget.instructions());
            said.push(format!("{per_operation:.1} instructions, at most {most}"));
        }
        for (what, count) in [("allocations", self.allocations), ("frees", self.frees)] {
            if count > budget.allocations * self.operations {
                let per_operation = count as f64 / self.operations as f64;
                said.push(format!("{per_operation:.2} {what}, at most {}", budget.allocations));
            }
        }
        (!said.is_empty()).then(|| format!("{}: {}", self.name, said.join("; ")))
    }
}

/// All counts, and the processor's abilities that the code under callgrind found.
#[derive(Debug)]
pub struct Counts {
    /// Kernels, in their order.
    pub kernels: Vec<Count>,
    /// Nodes by the number of their shards.
    pub nodes: Vec<(usize, Count)>,
    /// Abilities, by name.
    pub abilities: String,
}

/// One run of this program.
struct Run {
    name: String,
    arguments: Vec<String>,
    toggles: &'static [&'static str],
    operations: u64,
}

/// Counts what is wanted.
///
/// # Errors
/// What could not be run, or answered wrongly.
pub fn count(wanted: Wanted<'_>) -> Result<Counts, String> {
    let kernels: Vec<&Kernel> =
        KERNELS.iter().filter(|kernel| (wanted.large || !kernel.large) && kernel.name.contains(wanted.only)).collect();
    let shards: Vec<usize> =
        [1].into_iter().chain(budgets::SHARDS).filter(|_| "uplink".contains(wanted.only)).collect();
    let of_kernel = |kernel: &&Kernel| Run {
        name: kernel.name.to_owned(),
        arguments: vec!["kernel".into(), kernel.name.into(), OPERATIONS.to_string()],
        toggles: KERNEL_TOGGLES,
        operations: OPERATIONS,
    };
    let of_node = |shards: &usize| {
        let Task { shards, per_turn, uplinks } = wanted.task(*shards);
        Run {
            name: format!("uplink_{shards}_shards"),
            arguments: vec!["node".into(), shards.to_string(), uplinks.to_string(), per_turn.to_string()],
            toggles: NODE_TOGGLES,
            operations: uplinks,
        }
    };
    // The longest first.
    let runs: Vec<Run> = shards.iter().map(of_node).rev().chain(kernels.iter().map(of_kernel).rev()).collect();
    let directory = Scratch::new(wanted.keep)?;
    let mut counts = side_by_side(&runs, &directory.path)?;
    counts.reverse();
    let nodes = counts.split_off(kernels.len());
    Ok(Counts {
        kernels: counts,
        nodes: shards.into_iter().zip(nodes).collect(),
        abilities: said(&mut valgrind("none", &[], &["abilities".into()])?)?,
    })
}

impl Wanted<'_> {
    /// Whole rounds, as many uplinks as are wanted or a few more.
    fn task(&self, shards: usize) -> Task {
        let uplinks = self.uplinks.next_multiple_of((shards * self.per_turn) as u64);
        Task { shards, per_turn: self.per_turn, uplinks }
    }
}

/// Runs all, as many at once as there are cores.
fn side_by_side(runs: &[Run], directory: &Path) -> Result<Vec<Count>, String> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((at, run)) = Some(next.fetch_add(1, Relaxed)).and_then(|at| Some((at, runs.get(at)?))) {
            done.push((at, run.count(directory)));
        }
        done
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut counts: Vec<(usize, Result<Count, String>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a run that fails says so")).collect()
    });
    counts.sort_by_key(|(at, _)| *at);
    counts.into_iter().map(|(_, count)| count).collect()
}

impl Run {
    fn count(&self, directory: &Path) -> Result<Count, String> {
        let file = directory.join(format!("callgrind.{}", self.name));
        let mut options = vec![format!("--callgrind-out-file={}", file.display())];
        options.extend(self.toggles.iter().map(|toggle| format!("--toggle-collect={toggle}")));
        let failed = |reason: String| format!("{}: {reason}", self.name);
        let said =
            valgrind("callgrind", &options, &self.arguments).and_then(|mut run| said(&mut run)).map_err(failed)?;
        let text = std::fs::read_to_string(&file).map_err(|error| failed(error.to_string()))?;
        let instructions = totals(&text).ok_or_else(|| failed("callgrind counted nothing".into()))?;
        let word = |name: &str| {
            let found = said.split_whitespace().skip_while(|word| *word != name).nth(1);
            found.ok_or_else(|| failed(format!("did not say its {name}: {said}")))
        };
        let number = |name: &str| word(name)?.parse::<u64>().map_err(|error| failed(error.to_string()));
        Ok(Count {
            name: self.name.clone(),
            operations: self.operations,
            instructions,
            allocations: number("allocations")?,
            frees: number("frees")?,
            hash: word("hash")?.to_owned(),
        })
    }
}

/// The instructions in callgrind's file: the only event that is collected. Nothing that was collected is no count.
fn totals(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok().filter(|count| *count > 0)
}

/// This program under valgrind.
fn valgrind(tool: &str, options: &[String], arguments: &[String]) -> Result<Command, String> {
    let itself = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("valgrind");
    command.args(["-q", &format!("--tool={tool}")]).args(options).arg(itself).args(arguments);
    Ok(command)
}

/// What it says, if it ends well.
fn said(command: &mut Command) -> Result<String, String> {
    let output =
        command.output().map_err(|error| format!("valgrind: {error} (Debian, Ubuntu: apt-get install valgrind)"))?;
    if !output.status.success() {
        return Err(format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A folder for callgrind's files, which goes with them unless they are to be kept.
struct Scratch {
    path: PathBuf,
    kept: bool,
}

impl Scratch {
    fn new(keep: Option<&Path>) -> Result<Self, String> {
        let own = || std::env::temp_dir().join(format!("trunkline-micro-{}", std::process::id()));
        let path = keep.map_or_else(own, Path::to_path_buf);
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path, kept: keep.is_some() })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed is the host's to sweep.
            let _removed = std::fs::remove_dir_all(&self.path);
        }
    }
}

impl Counts {
    /// Instructions of an uplink on so many shards, in percent of those on one.
    fn percent(&self, count: &Count) -> f64 {
        self.nodes.first().map_or(0.0, |(_, one)| 100.0 * count.per_operation() / one.per_operation())
    }

    /// Everything that is above its budget, a line each.
    #[must_use]
    pub fn excesses(&self) -> Vec<String> {
        let budget = |count: &Count| budgets::of(&count.name).and_then(|budget| count.excess(budget));
        let mut excesses: Vec<String> = self.kernels.iter().filter_map(budget).collect();
        for (shards, count) in &self.nodes {
            // On several shards instructions are held against those on one, allocations against the same.
            let instructions = if *shards == 1 { budgets::UPLINK.instructions() } else { u64::MAX / count.operations };
            let budget = Budget { release: instructions, tests: instructions, ..budgets::UPLINK };
            excesses.extend(count.excess(&budget));
            let percent = self.percent(count);
            if percent > budgets::SHARDS_PERCENT_MAX as f64 {
                let most = budgets::SHARDS_PERCENT_MAX;
                excesses
                    .push(format!("{}: {percent:.1} % of the instructions on one shard, at most {most} %", count.name));
            }
        }
        excesses
    }

    /// As JSON, for machines.
    #[must_use]
    pub fn json(&self) -> String {
        let kernel = |count: &Count| {
            let each = |sum: u64| sum as f64 / count.operations as f64;
            format!(
                r#"    {{ "name": "{}", "instructions": {:.1}, "allocations": {}, "frees": {}, "hash": "{}" }}"#,
                count.name,
                count.per_operation(),
                each(count.allocations),
                each(count.frees),
                count.hash
            )
        };
        let node = |(shards, count): &(usize, Count)| format!(r#""{shards}": {:.1}"#, count.per_operation());
        let ratio = |(shards, count): &(usize, Count)| format!(r#""{shards}": {:.4}"#, self.percent(count) / 100.0);
        let heap = |(shards, count): &(usize, Count)| {
            format!(r#""{shards}": {:.4}"#, count.allocations as f64 / count.operations as f64)
        };
        let list = |items: Vec<String>, between: &str| items.join(between);
        format!(
            "{{\n  \"abilities\": \"{}\",\n  \"kernels\": [\n{}\n  ],\n  \"instructions_per_uplink\": {{ {} }},\n  \"ratio_to_one_shard\": {{ {} }},\n  \"allocations_per_uplink\": {{ {} }}\n}}\n",
            self.abilities,
            list(self.kernels.iter().map(kernel).collect(), ",\n"),
            list(self.nodes.iter().map(node).collect(), ", "),
            list(self.nodes.iter().map(ratio).collect(), ", "),
            list(self.nodes.iter().map(heap).collect(), ", "),
        )
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "code path: {}", self.abilities)?;
        writeln!(
            out,
            "{:<18} {:>12} {:>8} {:>11} {:>6}  hash",
            "kernel", "instructions", "at most", "allocations", "frees"
        )?;
        for count in &self.kernels {
            let most = budgets::of(&count.name).map_or(0, Budget::instructions);
            writeln!(out, "{}", line(count, &most.to_string()))?;
        }
        let mut most = budgets::UPLINK.instructions().to_string();
        for (_, count) in &self.nodes {
            let mut said = line(count, &most);
            write!(said, "  {:.1} %", self.percent(count))?;
            writeln!(out, "{said}")?;
            most = format!("{} %", budgets::SHARDS_PERCENT_MAX);
        }
        Ok(())
    }
}

fn line(count: &Count, most: &str) -> String {
    let each = |sum: u64| sum as f64 / count.operations as f64;
    let (name, instructions) = (&count.name, count.per_operation());
    let (allocations, frees) = (each(count.allocations), each(count.frees));
    format!("{name:<18} {instructions:>12.1} {most:>8} {allocations:>11} {frees:>6}  {}", count.hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(name: &str, instructions: u64, allocations: u64) -> Count {
        Count { name: name.into(), operations: 10, instructions, allocations, frees: 0, hash: "0".into() }
    }

    #[test]
    fn what_exceeds_its_budget_is_said() {
        let budget = Budget { kernel: "a", release: 100, tests: 100, allocations: 1 };
        assert_eq!(counted("a", 1000, 10).excess(&budget), None);
        assert!(counted("a", 1001, 10).excess(&budget).is_some_and(|said| said.contains("100.1 instructions")));
        assert!(counted("a", 1000, 11).excess(&budget).is_some_and(|said| said.contains("1.10 allocations")));
    }

    #[test]
    fn shards_are_held_against_one() {
        let least = budgets::UPLINK.instructions() * 10;
        let nodes = |eight: u64, strays: u64| Counts {
            kernels: Vec::new(),
            nodes: vec![(1, counted("one", least, 0)), (8, counted("eight", eight, strays))],
            abilities: String::new(),
        };
        assert_eq!(nodes(least * 6 / 5, 0).excesses(), Vec::<String>::new());
        assert!(nodes(least * 6 / 5 + 10, 0).excesses()[0].starts_with("eight: "));
        assert!(nodes(least, 1).excesses()[0].contains("0.10 allocations"));
        let slow = Counts { nodes: vec![(1, counted("one", least + 1, 0))], ..nodes(least, 0) };
        assert_eq!(slow.excesses().len(), 1);
    }

    #[test]
    fn nothing_collected_is_no_count() {
        assert_eq!(totals("events: Ir\ntotals: 1234\n"), Some(1234));
        assert_eq!(totals("events: Ir\ntotals: 0\n"), None);
        assert_eq!(totals("events: Ir\n"), None);
    }
}
