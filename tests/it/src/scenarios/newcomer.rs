//! What a newcomer does: one command starts everything and shows uplinks; Ctrl-C stops it; a second start finds its data.

use crate::harness::ports;
use crate::harness::process::{Process, binary};
use crate::harness::system::Directory;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Joining, by devices that begin one after another, takes its seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// `scripts/run`, as it goes on after the build.
struct Run {
    process: Process,
    api: u16,
    /// Where in the log this run begins: earlier ones wrote to it too.
    from: usize,
}

impl Run {
    fn start(directory: &Path, more: &[&str]) -> Self {
        let binaries = binary("xtask").parent().expect("target/PROFILE").to_path_buf();
        let ports: [u16; 4] = std::array::from_fn(|_| ports::free());
        let mut command = Command::new(binary("xtask"));
        command.args(["run", "--bin-dir"]).arg(binaries).arg("--data-dir").arg(directory.join("data"));
        command.args(["--listen-api", &format!("127.0.0.1:{}", ports[0])]);
        command.args(["--listen-udp", &format!("[::]:{}", ports[1])]);
        command.args(["--listen-wss", &format!("[::]:{}", ports[2])]);
        command.args(["--listen-metrics", &format!("127.0.0.1:{}", ports[3])]);
        command.args(more);
        let from = std::fs::metadata(directory.join("run.log")).map_or(0, |log| log.len() as usize);
        Self { process: Process::start("run", &command, directory), api: ports[0], from }
    }

    /// Waits until what was said satisfies `enough`; returns it.
    fn said(&mut self, enough: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.process.said()[self.from..].to_owned();
            if enough(&said) {
                return said;
            }
            assert!(self.process.runs(), "it has ended: {said}");
            assert!(Instant::now() < deadline, "it never says what is awaited: {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ctrl-C.
    fn interrupt(&mut self) {
        let status = self.process.interrupt();
        assert!(status.success(), "{status}: {}", self.process.said());
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // A failed test must not leave what the command started.
        self.process.let_go();
    }
}

/// Uplinks among the lines: JSON objects with data.
fn uplinks(said: &str) -> Vec<Value> {
    let parsed = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed.filter(|message| message.get("Data").is_some()).collect()
}

/// What follows a label in the banner.
fn after<'a>(said: &'a str, label: &str) -> &'a str {
    let line =
        said.lines().find(|line| line.trim_start().starts_with(label)).unwrap_or_else(|| panic!("{label}: {said}"));
    line.trim_start().trim_start_matches(label).trim()
}

/// Processes whose command line names this directory.
fn processes_of(directory: &Path) -> Vec<String> {
    let needle = directory.to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&needle)).collect()
}

#[test]
fn one_command_shows_uplinks_stops_and_finds_its_data_again() {
    let directory = Directory::new();
    let mut run = Run::start(&directory.0, &[]);
    let said = run.said(|said| uplinks(said).len() >= 5);
    let (stream, key) = (after(&said, "Stream").to_owned(), after(&said, "API key").to_owned());
    assert!(stream.contains("?token="), "{stream}");

    // The key that was shown opens the API; the command that was shown sends a downlink.
    let api = crate::harness::rest::Api::new(run.api, &key);
    let devices = api.get("/api/v1/devices");
    assert!(devices["items"].as_array().is_some_and(|items| items.len() == 8), "{devices}");
    let command = said.lines().find(|line| line.contains(" downlink send ")).expect("a command to copy").trim();
    let sent = Command::new("sh").args(["-c", command]).output().expect("a shell");
    assert!(sent.status.success(), "{command}: {}", String::from_utf8_lossy(&sent.stderr));
    run.said(|said| said.contains("\"downlink_sent\""));

    run.interrupt();
    assert_eq!(processes_of(&directory.0), Vec::<String>::new(), "a process was left");

    // The same tenant, token and key; the devices go on where they were.
    let mut run = Run::start(&directory.0, &[]);
    let again = run.said(|said| uplinks(said).len() >= 5);
    assert_eq!((after(&again, "API key"), token(after(&again, "Stream"))), (key.as_str(), token(&stream)));
    run.interrupt();
    assert_eq!(processes_of(&directory.0), Vec::<String>::new(), "a process was left");
}

fn token(url: &str) -> &str {
    url.rsplit("token=").next().unwrap_or_default()
}

#[test]
fn without_the_demonstration_it_starts_empty() {
    let directory = Directory::new();
    let mut run = Run::start(&directory.0, &["--no-demo"]);
    run.said(|said| said.contains("Nothing is configured"));
    let key = std::fs::read_to_string(directory.0.join("data/control/operator.key")).expect("the operator's key");
    let api = crate::harness::rest::Api::new(run.api, key.trim());
    assert_eq!(api.get("/api/v1/tenants")["items"].as_array().map(Vec::len), Some(0));
    run.interrupt();
    assert_eq!(processes_of(&directory.0), Vec::<String>::new(), "a process was left");
}
