//! `trunkline up`: the control plane and the dataplane, found beside this program, started and watched over.
//!
//! Owns the two children. Each leads a process group of its own, so that Ctrl-C in a terminal reaches this program
//! alone, which then ends them, the dataplane first. A child that ends by itself is started again after a pause that
//! grows. No child outlives this program however it ends: each asks the kernel, before it becomes what it is to be, for
//! a signal at its parent's death (`prctl(2)`, PR_SET_PDEATHSIG).
//!
//! ```text
//! trunkline up ── trunkline exec-child PID trunkline-control ...   ── execve ──> trunkline-control
//!             └── trunkline exec-child PID trunkline-dataplane ... ── execve ──> trunkline-dataplane
//! ```

use crate::place::Place;
use clap::Args;
use rustix::process::{Pid, Signal, getppid, kill_process, kill_process_group, set_parent_process_death_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How often the children are looked at.
const TURN: Duration = Duration::from_millis(20);
/// How long a child may take to become ready, and to end.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The first and the last pause before a child is started again; a child that lived longer than the last starts anew.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Starts everything: control plane and dataplane, with embedded defaults
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  trunkline up\n  trunkline up --data-dir /srv/trunkline --cores 4 --listen-udp [::]:1700\n\n\
    Ctrl-C, SIGTERM or SIGHUP stops both; a second one does not wait for them."
)]
pub(crate) struct Up {
    /// Shards, one per core; as many as there are cores if absent
    #[arg(long, value_name = "COUNT")]
    cores: Option<u32>,
    /// Address of the API and the console
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen_api: SocketAddr,
    /// Address of gateways (Semtech UDP)
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:1700")]
    listen_udp: SocketAddr,
    /// Address of streams (secure WebSocket)
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8443")]
    listen_wss: SocketAddr,
    /// Address of the dataplane's metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    listen_metrics: SocketAddr,
    /// Host name by which applications reach the streams
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    stream_host: String,
    /// Devices that memory is kept for
    #[arg(long, value_name = "COUNT")]
    devices_max: Option<u64>,
    /// Certificate chain (PEM) of the streams' listener; a self-signed one is made if absent
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// Further arguments for trunkline-control
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    control_arg: Vec<OsString>,
    /// Further arguments for trunkline-dataplane
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    dataplane_arg: Vec<OsString>,
}

/// What `exec-child` needs.
#[derive(Debug, Args)]
pub(crate) struct ExecChild {
    /// Who started it
    parent: i32,
    /// What it becomes
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Becomes the command, tied to the life of its parent. Returns only if it cannot.
pub(crate) fn exec_child(child: &ExecChild) -> String {
    // TERM, not KILL: even an orphan ends in order.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return format!("the kernel will not tell of a parent's death: {error}");
    }
    // A parent that died before the line above sent no signal.
    if getppid().map(Pid::as_raw_pid) != Some(child.parent) {
        return "its parent has ended".to_owned();
    }
    let (program, arguments) = child.command.split_first().expect("the command line needs one");
    let error = Command::new(program).args(arguments).exec();
    format!("{}: {error}", Path::new(program).display())
}

/// Runs until a signal. An error means that it never got going, or could not be kept going.
pub(crate) fn run(place: &Place, up: &Up) -> Result<(), String> {
    let stop = Arc::new(AtomicUsize::new(0));
    for number in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_usize(number, Arc::clone(&stop), 1)
            .map_err(|error| format!("signals cannot be taken: {error}"))?;
    }
    let beside = std::env::current_exe().map_err(|error| format!("this program cannot find itself: {error}"))?;
    std::fs::create_dir_all(place.path()).map_err(|error| format!("{}: {error}", place.path().display()))?;

    let mut group = Group { myself: beside.clone(), members: Vec::new() };
    phase(&format!("data directory {}", place.path().display()));
    let control = group.add("control", control(place, up, &beside)?);
    group.members[control].wait_until_ready(&stop)?;
    // Asked to stop meanwhile, nothing else is started.
    if stop.load(Ordering::Relaxed) == 0 {
        phase(&format!(
            "control plane ready: http://{}/, operator's key in {}",
            up.listen_api,
            place.operator_key().display()
        ));
        let dataplane = group.add("dataplane", dataplane(place, up, &beside)?);
        group.members[dataplane].wait_until_ready(&stop)?;
    }
    if stop.load(Ordering::Relaxed) == 0 {
        phase(&format!(
            "dataplane ready: gateways udp://{}, streams wss://{}:{}, metrics http://{}/metrics",
            up.listen_udp,
            up.stream_host,
            up.listen_wss.port(),
            up.listen_metrics
        ));
    }
    while stop.load(Ordering::Relaxed) == 0 {
        for member in &mut group.members {
            member.tend(Instant::now());
        }
        std::thread::sleep(TURN);
    }
    phase("stopping");
    // A signal from now on is a second one.
    stop.store(0, Ordering::Relaxed);
    group.stop(&stop);
    phase("stopped");
    Ok(())
}

fn phase(text: &str) {
    eprintln!("trunkline: {text}");
}

/// A program in the same folder as this one.
pub(crate) fn beside(myself: &Path, name: &str) -> Result<PathBuf, String> {
    let found = myself.with_file_name(name);
    if found.is_file() {
        Ok(found)
    } else {
        Err(format!("{} is missing: it belongs beside this program", found.display()))
    }
}

fn control(place: &Place, up: &Up, myself: &Path) -> Result<Vec<OsString>, String> {
    let mut line: Vec<OsString> = vec![beside(myself, "trunkline-control")?.into()];
    let stream_host = &up.stream_host;
    let stream_url = format!("wss://{stream_host}:{}", up.listen_wss.port());
    line.extend(["--data-dir".into(), place.control().into()]);
    line.extend(["--listen".into(), up.listen_api.to_string().into()]);
    line.extend(["--control-socket".into(), place.socket().into()]);
    line.extend(["--stream-url".into(), stream_url.into()]);
    line.extend(up.control_arg.iter().cloned());
    Ok(line)
}

fn dataplane(place: &Place, up: &Up, myself: &Path) -> Result<Vec<OsString>, String> {
    let mut line: Vec<OsString> = vec![beside(myself, "trunkline-dataplane")?.into()];
    let certificate = up.cert_file.clone().unwrap_or_else(|| place.certificate());
    let key = up.key_file.clone().unwrap_or_else(|| place.key());
    line.extend(["--data-dir".into(), place.dataplane().into()]);
    line.extend(["--control-socket".into(), place.socket().into()]);
    line.extend(["--udp-listen".into(), up.listen_udp.to_string().into()]);
    line.extend(["--wss-listen".into(), up.listen_wss.to_string().into()]);
    line.extend(["--metrics-listen".into(), up.listen_metrics.to_string().into()]);
    line.extend(["--cert".into(), certificate.into(), "--key".into(), key.into()]);
    if let Some(cores) = up.cores {
        line.extend(["--cores".into(), cores.to_string().into()]);
    }
    if let Some(count) = up.devices_max {
        line.extend(["--devices-max".into(), count.to_string().into()]);
    }
    line.extend(up.dataplane_arg.iter().cloned());
    Ok(line)
}

/// The children, in the order of their start. They end with it.
struct Group {
    myself: PathBuf,
    members: Vec<Member>,
}

impl Group {
    fn add(&mut self, name: &'static str, line: Vec<OsString>) -> usize {
        self.members.push(Member {
            name,
            myself: self.myself.clone(),
            line,
            state: State::Paused { until: Instant::now() },
            pause: PAUSES.0,
            is_ready: Arc::new(AtomicBool::new(false)),
        });
        self.members.len() - 1
    }

    /// Asks each to end, the last started first, and makes those that linger. A signal meanwhile ends the patience.
    fn stop(&mut self, signals: &AtomicUsize) {
        for member in self.members.iter_mut().rev() {
            member.stop(signals);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.stop(&AtomicUsize::new(0));
    }
}

struct Member {
    name: &'static str,
    myself: PathBuf,
    line: Vec<OsString>,
    state: State,
    pause: Duration,
    is_ready: Arc<AtomicBool>,
}

enum State {
    Running { child: Child, since: Instant },
    Paused { until: Instant },
}

impl Member {
    fn start(&mut self) -> Result<(), String> {
        self.is_ready.store(false, Ordering::Relaxed);
        let mut command = Command::new(&self.myself);
        command.arg("exec-child").arg(std::process::id().to_string()).args(&self.line);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", self.name))?;
        pass(self.name, child.stdout.take(), &self.is_ready);
        pass(self.name, child.stderr.take(), &self.is_ready);
        self.state = State::Running { child, since: Instant::now() };
        Ok(())
    }

    /// The first start: a child that ends before it is ready says itself why, and everything ends.
    fn wait_until_ready(&mut self, stop: &AtomicUsize) -> Result<(), String> {
        phase(&format!("starting {}", self.name));
        self.start()?;
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            if let Some(status) = self.ended() {
                return Err(format!("{} has ended ({status}) before it was ready; it said why above", self.name));
            }
            if self.is_ready.load(Ordering::Relaxed) || stop.load(Ordering::Relaxed) > 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{} was not ready in {} s", self.name, READY_TIMEOUT.as_secs()));
            }
            std::thread::sleep(TURN);
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        match &mut self.state {
            State::Running { child, .. } => child.try_wait().ok().flatten(),
            State::Paused { .. } => None,
        }
    }

    /// Starts it again if it has ended and its pause is over.
    fn tend(&mut self, now: Instant) {
        if let Some(status) = self.ended() {
            if let State::Running { since, .. } = self.state
                && now.duration_since(since) > PAUSES.1
            {
                self.pause = PAUSES.0;
            }
            phase(&format!("{} has ended ({status}); starting it again in {:?}", self.name, self.pause));
            self.state = State::Paused { until: now + self.pause };
            self.pause = (self.pause * 2).min(PAUSES.1);
        }
        if let State::Paused { until } = self.state
            && until <= now
            && let Err(reason) = self.start()
        {
            phase(&format!("{reason}; trying again in {:?}", self.pause));
            self.state = State::Paused { until: now + self.pause };
            self.pause = (self.pause * 2).min(PAUSES.1);
        }
    }

    fn stop(&mut self, signals: &AtomicUsize) {
        let State::Running { child, .. } = &mut self.state else { return };
        let id = Pid::from_child(child);
        // It has not been waited for, so the id is still its own.
        if !matches!(child.try_wait(), Ok(Some(_))) {
            let _ = kill_process(id, Signal::TERM);
            let deadline = Instant::now() + STOP_TIMEOUT;
            while matches!(child.try_wait(), Ok(None)) {
                if Instant::now() > deadline || signals.load(Ordering::Relaxed) > 0 {
                    phase(&format!("{} does not end: it is killed", self.name));
                    let _ = kill_process_group(id, Signal::KILL);
                    let _ = child.wait();
                    break;
                }
                std::thread::sleep(TURN);
            }
        }
        self.state = State::Paused { until: Instant::now() + PAUSES.1 };
    }
}

/// Whether a line of a child's log, for people or as JSON, is the message `ready: ...`; others may hold these words too.
fn is_ready_line(line: &str) -> bool {
    let message = line.split_once(" INFO ").map_or(line, |(_, message)| message).trim_start();
    message.starts_with("ready: ") || line.contains(r#""message":"ready: "#)
}

/// Passes a child's words on, line by line, under its name. The thread ends with the child.
fn pass(name: &'static str, source: Option<impl Read + Send + 'static>, is_ready: &Arc<AtomicBool>) {
    let Some(source) = source else { return };
    let is_ready = Arc::clone(is_ready);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(source);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(count) if count > 0) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            if is_ready_line(text) {
                is_ready.store(true, Ordering::Relaxed);
            }
            eprintln!("{name}: {text}");
            line.clear();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_message_says_that_a_child_is_ready() {
        for ready in [
            "2026-01-01T00:00:00.000000Z  INFO ready: http://127.0.0.1:8080/",
            r#"{"timestamp":"t","level":"INFO","fields":{"message":"ready: udp [::]:1700"},"target":"x"}"#,
            "ready: at once",
        ] {
            assert!(is_ready_line(ready), "{ready}");
        }
        for other in
            ["2026-01-01T00:00:00Z  WARN not ready: the disk is full", "2026-01-01T00:00:00Z  INFO already: x", ""]
        {
            assert!(!is_ready_line(other), "{other}");
        }
    }
}
