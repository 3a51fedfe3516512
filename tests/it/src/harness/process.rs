//! A process under test: started with its words in a file, ended by its id, never left behind.
//!
//! Owns the child and its log. When a test fails, the end of the log is shown.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Lines of a log that a failing test shows.
const TAIL_LINE_COUNT: usize = 60;

/// A running child.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, its output appended to `name.log` in `directory`.
    ///
    /// The kernel ends it when the thread that started it ends, so that even a killed test leaves nothing behind.
    pub(crate) fn start(name: &'static str, command: &Command, directory: &Path) -> Self {
        let log = directory.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).expect("a log file in the test's folder");
        let mut guarded = Command::new("setpriv");
        guarded.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            guarded.env(key, value.expect("variables are only added"));
        }
        let err = out.try_clone().expect("a second handle");
        let child = guarded.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        Self { name, child: child.unwrap_or_else(|error| panic!("{name}: {error}")), log }
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Its resident memory, bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("as proc(5) says");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Everything it said.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child can be reaped");
    }

    /// Asks it to end, as a service manager does, and waits.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM)
    }

    /// Asks it to end, as Ctrl-C does, and waits.
    pub(crate) fn interrupt(&mut self) -> ExitStatus {
        self.signal(Signal::INT)
    }

    /// Lets it end what it has started, without judging how.
    pub(crate) fn let_go(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(15);
        if self.runs() {
            kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
        }
        while self.runs() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).expect("a child can be signalled");
        self.ended(Duration::from_secs(15))
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self, patience: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(start.elapsed() < patience, "{} has not ended in {patience:?}", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let status = match self.child.try_wait() {
            Ok(Some(status)) => status,
            _ => {
                self.child.kill().ok();
                self.child.wait().unwrap_or_else(|_| ExitStatus::from_raw(0))
            }
        };
        if std::thread::panicking() {
            let said = self.said();
            let skipped = said.lines().count().saturating_sub(TAIL_LINE_COUNT);
            eprintln!("---- {} ({status}), last lines:", self.name);
            said.lines().skip(skipped).for_each(|line| eprintln!("{line}"));
        }
    }
}

/// A built binary of this project, beside the test's own.
pub(crate) fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own file");
    let built = own.ancestors().nth(2).expect("target/PROFILE/deps/it").join(name);
    assert!(built.exists(), "{} is missing: cargo build --workspace --bins", built.display());
    built
}
