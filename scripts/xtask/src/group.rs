//! Children that live and die together.
//!
//! Owns them. Each leads a process group of its own, so that Ctrl-C in a terminal reaches this program alone, which then
//! ends them in the reverse order of their start: first by SIGTERM, then, for those that linger, by SIGKILL to the group.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a child may take to end by itself: `trunkline up` gives each of its two 10 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lines of a log that are shown when its writer has failed.
const TAIL_LINE_COUNT: usize = 12;

struct Member {
    name: &'static str,
    child: Child,
    log: Option<PathBuf>,
}

/// The children, in the order of their start.
#[derive(Default)]
pub(crate) struct Group(Vec<Member>);

impl Group {
    /// Starts a child whose words go to a file.
    pub(crate) fn start(&mut self, name: &'static str, command: &mut Command, log: &Path) -> Result<(), String> {
        let out = File::options().create(true).append(true).open(log);
        let out = out.map_err(|error| format!("{}: {error}", log.display()))?;
        let err = out.try_clone().map_err(|error| format!("{}: {error}", log.display()))?;
        self.spawn(name, command.stdout(out).stderr(err), Some(log.to_path_buf()))
    }

    /// Starts a child that speaks for itself, unless it runs. Its end fails nothing: the next call starts it again.
    pub(crate) fn keep_aloud(&mut self, name: &'static str, command: &mut Command) -> Result<(), String> {
        self.0.retain_mut(|member| member.name != name || matches!(member.child.try_wait(), Ok(None)));
        if self.0.iter().any(|member| member.name == name) {
            return Ok(());
        }
        self.spawn(name, command, None)
    }

    fn spawn(&mut self, name: &'static str, command: &mut Command, log: Option<PathBuf>) -> Result<(), String> {
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        let child = child.map_err(|error| format!("{name}: {error}"))?;
        self.0.push(Member { name, child, log });
        Ok(())
    }

    /// Whether nothing was started.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fails if a child that keeps a log has ended; its last lines say why.
    pub(crate) fn alive(&mut self) -> Result<(), String> {
        for member in self.0.iter_mut().filter(|member| member.log.is_some()) {
            if let Ok(Some(status)) = member.child.try_wait() {
                return Err(member.epitaph(status));
            }
        }
        Ok(())
    }

    /// Ends all of them; returns once they are gone.
    pub(crate) fn stop(&mut self) {
        while let Some(mut member) = self.0.pop() {
            member.stop();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Member {
    fn stop(&mut self) {
        let id = Pid::from_child(&self.child);
        if matches!(self.child.try_wait(), Ok(None)) {
            // It cannot have been reaped by anyone else, so the id is still its own.
            kill_process(id, Signal::TERM).ok();
        }
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Whatever it has started and left behind goes with it.
        kill_process_group(id, Signal::KILL).ok();
        self.child.wait().ok();
    }

    fn epitaph(&self, status: ExitStatus) -> String {
        let text = self.log.as_ref().and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(TAIL_LINE_COUNT)..].join("\n");
        format!("{} has ended: {status}\n{last}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_stopped_group_leaves_no_grandchild() {
        let directory = std::env::temp_dir().join(format!("xtask-group-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a folder");
        let log = directory.join("log");
        let mut group = Group::default();
        group.start("family", &mut shell("sleep 600 & echo $!; wait"), &log).expect("starts");
        let deadline = Instant::now() + PATIENCE;
        let grandchild = loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if let Ok(id) = said.trim().parse::<i32>() {
                break id;
            }
            assert!(Instant::now() < deadline, "the child says its own child's id");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(group.alive().is_ok());
        group.stop();
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        while !gone() {
            assert!(Instant::now() < deadline, "the grandchild still runs");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::fs::remove_dir_all(directory).ok();
    }

    #[test]
    fn a_dead_child_is_reported_with_its_last_words() {
        let log = std::env::temp_dir().join(format!("xtask-words-{}", std::process::id()));
        let mut group = Group::default();
        group.start("brief", &mut shell("echo port in use; exit 3"), &log).expect("starts");
        let deadline = Instant::now() + PATIENCE;
        let reason = loop {
            if let Err(reason) = group.alive() {
                break reason;
            }
            assert!(Instant::now() < deadline, "the child ends");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(reason.contains("brief") && reason.contains("port in use") && reason.contains('3'), "{reason}");
        std::fs::remove_file(log).ok();
    }
}
