//! Commands of others, run where this project lives.
//!
//! Owns nothing. A failed command is an error that names it; its own words have been shown already.

use crate::stop;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The top of the work tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("scripts/xtask is two below the top").to_path_buf()
}

/// A command that will run at the top of the work tree.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// The cargo that runs us.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()), arguments)
}

/// Runs to the end, with its output shown. It shares our terminal, so that Ctrl-C ends it too.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    stop::going()?;
    let status = command.status().map_err(|error| format!("{}: {error}", spoken(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", spoken(command))) }
}

/// Runs to the end and returns its standard output; standard error is shown.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| format!("{}: {error}", spoken(command)))?;
    if !output.status.success() {
        return Err(format!("{}: {}", spoken(command), output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{}: output is not UTF-8", spoken(command)))
}

/// What a command that was given so long has said.
pub(crate) struct Within {
    /// How it ended; `None` if it had to be killed, with all that it had started.
    pub(crate) status: Option<ExitStatus>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Runs for at most `limit`, or until somebody stops us. The command leads a process group, so that nothing of it is left.
pub(crate) fn output_within(command: &mut Command, limit: Duration) -> std::io::Result<Within> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()?;
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let status = end_within(&mut child, limit)?;
    let all = |collected: JoinHandle<Vec<u8>>| collected.join().unwrap_or_default();
    Ok(Within { status, stdout: all(stdout), stderr: all(stderr) })
}

/// As [`output_within`], with its output shown.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<(), String> {
    let failed = |command: &Command, reason: String| format!("{}: {reason}", spoken(command));
    let child = command.stdin(Stdio::null()).process_group(0).spawn();
    let status = child.and_then(|mut child| end_within(&mut child, limit));
    match status.map_err(|error| failed(command, error.to_string()))? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(failed(command, status.to_string())),
        None => Err(failed(command, format!("was ended before it was done; it may take {} s", limit.as_secs()))),
    }
}

/// Waits for the leader of a process group. If it is late, or not wanted any more, its whole group is killed.
fn end_within(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    let status = loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= deadline || stop::going().is_err() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    if status.is_none() {
        kill_process_group(Pid::from_child(child), Signal::KILL).ok();
        child.wait()?;
    }
    Ok(status)
}

fn collect(source: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        source.map(|mut source| source.read_to_end(&mut bytes));
        bytes
    })
}

/// The command as one would type it.
pub(crate) fn spoken(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// What `cargo metadata` says of the workspace's own crates.
pub(crate) fn metadata() -> Result<serde_json::Value, String> {
    let text = output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
    serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))
}

/// Where cargo builds.
pub(crate) fn target_directory() -> Result<PathBuf, String> {
    let metadata = metadata()?;
    let directory = metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    Ok(PathBuf::from(directory))
}

/// Files that git tracks or would track: what a clone will hold, relative to the top.
pub(crate) fn files() -> Result<Vec<String>, String> {
    let listed = output(&mut command("git", &["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let mut files: Vec<String> = listed.lines().map(str::to_owned).collect();
    files.retain(|file| root().join(file).is_file());
    files.sort();
    files.dedup();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_ended_with_its_children() {
        let script = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let done = output_within(&mut script("echo out; echo err >&2; exit 3"), Duration::from_secs(10)).expect("runs");
        assert_eq!(done.status.and_then(|status| status.code()), Some(3));
        assert_eq!((&done.stdout[..], &done.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));

        let start = Instant::now();
        // Its child holds the pipes open: only if that ends too does this return.
        let late =
            output_within(&mut script("echo begun; sleep 600 & wait"), Duration::from_millis(200)).expect("runs");
        assert!(late.status.is_none() && late.stdout == b"begun\n");
        let shown = run_within(&mut script("sleep 600 & wait"), Duration::from_millis(200)).expect_err("it is late");
        assert!(shown.contains("before it was done"), "{shown}");
        assert!(run_within(&mut script("exit 3"), Duration::from_secs(10)).is_err_and(|shown| shown.contains('3')));
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
