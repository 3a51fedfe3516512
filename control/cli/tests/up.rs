//! `trunkline up` with children that are shell scripts: it starts both, passes their words on, starts again what ends,
//! and leaves nothing behind, however it ends itself.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

struct Up {
    directory: tempfile::TempDir,
    child: Child,
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script(path: &Path, body: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A child that writes its id and its arguments to files, says that it is ready, and waits to be ended.
fn obedient(name: &str) -> String {
    format!(
        "echo $$ >> \"$(dirname \"$0\")/{name}.pids\"; echo \"$@\" > \"$(dirname \"$0\")/{name}.args\"\n\
         trap 'exit 0' TERM; echo 'ready: {name}' >&2\nwhile :; do sleep 0.05; done"
    )
}

/// Held while programs are written and started: a child forked meanwhile would hold them open for writing until its
/// own exec, and a file that is open for writing cannot be executed (ETXTBSY).
static STARTING: Mutex<()> = Mutex::new(());

impl Up {
    fn start(control: &str, dataplane: &str, arguments: &[&str]) -> Self {
        let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        std::fs::copy(env!("CARGO_BIN_EXE_trunkline"), place("trunkline")).unwrap();
        script(&place("trunkline-control"), control);
        script(&place("trunkline-dataplane"), dataplane);
        let log = std::fs::File::create(place("log")).unwrap();
        let child = Command::new(place("trunkline"))
            .arg("up")
            .arg("--data-dir")
            .arg(place("data"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { directory, child }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The ids that a child has had.
    fn ids(&self, name: &str) -> Vec<Pid> {
        let text = self.text(&format!("{name}.pids"));
        text.lines().map(|line| Pid::from_raw(line.parse().unwrap()).unwrap()).collect()
    }

    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.text("log"));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

fn is_gone(id: &Pid) -> bool {
    test_kill_process(*id).is_err()
}

#[test]
fn starts_both_and_ends_both() {
    let arguments = ["--cores", "3", "--listen-udp", "[::1]:1700", "--dataplane-arg", "--echo"];
    let mut up = Up::start(&obedient("control"), &obedient("dataplane"), &arguments);
    up.until("the dataplane is ready", |up| up.text("log").contains("dataplane ready"));
    let line = up.text("dataplane.args");
    for part in ["--cores 3", "--udp-listen [::1]:1700", "/data/control/cert.pem", "--echo", "/data/control.sock"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(up.text("control.args").contains("/data/control.sock"));
    let ids = [up.ids("control"), up.ids("dataplane")].concat();
    assert_eq!(ids.len(), 2);
    up.signal(Signal::INT);
    assert!(up.child.wait().unwrap().success(), "{}", up.text("log"));
    assert!(ids.iter().all(is_gone), "{}", up.text("log"));
    assert!(up.text("log").contains("control: ready: control"), "a child's words are passed on");
}

#[test]
fn what_ends_is_started_again() {
    let mut up = Up::start(&obedient("control"), &obedient("dataplane"), &[]);
    up.until("the dataplane is ready", |up| up.text("log").contains("dataplane ready"));
    kill_process(up.ids("dataplane")[0], Signal::KILL).unwrap();
    up.until("the dataplane is there again", |up| up.ids("dataplane").len() == 2);
    assert_eq!(up.ids("control").len(), 1, "control went on");
    up.signal(Signal::TERM);
    assert!(up.child.wait().unwrap().success());
    assert!(up.ids("dataplane").iter().all(is_gone));
}

#[test]
fn a_child_that_cannot_start_ends_everything() {
    let mut up = Up::start(&obedient("control"), "echo 'port 1700 is in use' >&2; exit 1", &[]);
    assert!(!up.child.wait().unwrap().success());
    let log = up.text("log");
    assert!(log.contains("dataplane: port 1700 is in use") && log.contains("before it was ready"), "{log}");
    assert!(up.ids("control").iter().all(is_gone), "{log}");
}

#[test]
fn a_child_that_does_not_listen_is_killed_by_a_second_signal() {
    let deaf = obedient("dataplane").replace("trap 'exit 0' TERM", "trap '' TERM");
    let mut up = Up::start(&obedient("control"), &deaf, &[]);
    up.until("the dataplane is ready", |up| up.text("log").contains("dataplane ready"));
    up.signal(Signal::INT);
    up.until("it stops", |up| up.text("log").contains("stopping"));
    std::thread::sleep(Duration::from_millis(100));
    up.signal(Signal::INT);
    let start = Instant::now();
    assert!(up.child.wait().unwrap().success());
    assert!(start.elapsed() < Duration::from_secs(5), "it did not wait out its patience");
    assert!(up.ids("dataplane").iter().all(is_gone));
}

#[test]
fn nothing_outlives_a_killed_parent() {
    let mut up = Up::start(&obedient("control"), &obedient("dataplane"), &[]);
    up.until("the dataplane is ready", |up| up.text("log").contains("dataplane ready"));
    let ids = [up.ids("control"), up.ids("dataplane")].concat();
    up.signal(Signal::KILL);
    assert!(!up.child.wait().unwrap().success());
    up.until("the children end", |_| ids.iter().all(is_gone));
}

#[test]
fn a_signal_while_control_starts_starts_nothing_else() {
    let slow = obedient("control").replace("echo 'ready: control' >&2", "echo 'not ready: wait' >&2");
    let mut up = Up::start(&slow, &obedient("dataplane"), &[]);
    up.until("control is there", |up| up.text("log").contains("not ready: wait"));
    up.signal(Signal::INT);
    assert!(up.child.wait().unwrap().success(), "{}", up.text("log"));
    assert!(up.ids("dataplane").is_empty() && !up.text("log").contains("starting dataplane"), "{}", up.text("log"));
    assert!(up.ids("control").iter().all(is_gone));
}

/// What the parser of the command line cannot see ends as what it sees: with 2.
#[test]
fn a_wrong_command_line_ends_with_two() {
    let cases: [&[&str]; 5] = [
        &["--nonsense"],
        &["tenant", "create"],
        &["application", "update", "70B3D57ED0000001"],
        &["settings", "set", "nonsense"],
        &["import", "devices.txt"],
    ];
    for arguments in cases {
        let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let output = Command::new(env!("CARGO_BIN_EXE_trunkline")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
}

/// `trunkline journal` becomes the program beside it: its words, its exit code.
#[test]
fn a_journal_is_handed_over() {
    let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    std::fs::copy(env!("CARGO_BIN_EXE_trunkline"), place("trunkline")).unwrap();
    let verify = || {
        let mut command = Command::new(place("trunkline"));
        command.args(["journal", "verify", "--data-dir"]).arg(place("data")).output().unwrap()
    };
    let missing = verify();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("trunkline-dataplane is missing"), "{missing:?}");
    script(&place("trunkline-dataplane"), "echo \"$@\"; exit 7");
    let handed = verify();
    let expected = format!("journal verify --data-dir {}\n", place("data/dataplane").display());
    assert_eq!((handed.status.code(), String::from_utf8_lossy(&handed.stdout).as_ref()), (Some(7), expected.as_str()));
}
