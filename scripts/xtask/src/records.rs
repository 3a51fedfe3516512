//! Records of benchmarks: what was printed, and on what it was.
//!
//! Owns the folder `bench/records/DATE-MACHINE/`. Written only when asked for: a run on a busy machine is no record.

use crate::shell;
use std::path::PathBuf;
use std::process::Command;

/// Writes what a benchmark printed, below a description of the machine and the commit. Says where.
pub(crate) fn write(name: &str, command: &str, printed: &str) -> Result<PathBuf, String> {
    let first_line = |program: &str, arguments: &[&str]| -> Result<String, String> {
        Ok(shell::output(&mut shell::command(program, arguments))?.trim().to_owned())
    };
    let lscpu = first_line("lscpu", &[])?;
    let date = first_line("date", &["-u", "+%Y-%m-%d"])?;
    // What a run before this one has recorded is no change to what is measured.
    let asked = ["status", "--porcelain", "--", ".", ":!bench/records"];
    let changed = !shell::output(&mut shell::command("git", &asked))?.trim().is_empty();
    let commit = first_line("git", &["rev-parse", "HEAD"])?;
    let directory = shell::root().join("bench/records").join(format!("{date}-{}", machine(&lscpu)));
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    std::fs::create_dir_all(&directory).map_err(failed)?;
    let text = format!(
        "{command}\n\ncommit   {commit}{}\nrustc    {}\nkernel   {}\nlimits   memlock {} KiB, nofile {}\nload     {} before the run's end\n\n{}\n\n{}",
        if changed { " and changes that are in no commit" } else { "" },
        first_line("rustc", &["-V"])?,
        first_line("uname", &["-sr"])?,
        limit("-l")?,
        limit("-n")?,
        std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        lscpu.lines().filter(|line| interesting(line)).collect::<Vec<_>>().join("\n"),
        printed.trim_end(),
    );
    let path = directory.join(format!("{name}.txt"));
    std::fs::write(&path, text + "\n").map_err(failed)?;
    Ok(path)
}

fn limit(which: &str) -> Result<String, String> {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit {which}")]);
    Ok(shell::output(&mut command)?.trim().to_owned())
}

fn interesting(line: &str) -> bool {
    ["Model name", "CPU(s):", "Thread(s)", "L1d", "L2", "L3", "Hypervisor"]
        .iter()
        .any(|start| line.trim_start().starts_with(start))
}

/// A folder's name for a machine: its processor and how many of them.
fn machine(lscpu: &str) -> String {
    let field = |name: &str| {
        let line = lscpu.lines().find(|line| line.trim_start().starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim())
    };
    let named: String =
        field("Model name").to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { ' ' }).collect();
    let words: Vec<&str> = named.split_whitespace().take(4).collect();
    format!("{}-{}cpu", words.join("-"), field("CPU(s)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_named_by_its_processor() {
        let lscpu =
            "Architecture:  x86_64\nCPU(s):        2\n  On-line CPU(s) list: 0,1\nModel name:    AMD EPYC 7B13\n";
        assert_eq!(machine(lscpu), "amd-epyc-7b13-2cpu");
        assert_eq!(machine(""), "unknown-unknowncpu");
        let kept: Vec<_> = lscpu.lines().filter(|line| interesting(line)).collect();
        assert_eq!(kept, ["CPU(s):        2", "Model name:    AMD EPYC 7B13"]);
    }
}
