//! A log that a flood does not fill.

use crate::harness::process::Process;
use crate::harness::system::System;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Lines of one place in the code that ten seconds may bring.
const LINE_COUNT_MAX: usize = 20;

/// Lines of this log with `text` that were written as they happened, not repeated afterwards.
fn written(process: &Option<Process>, text: &str) -> usize {
    let said = process.as_ref().expect("it runs").said();
    said.lines().filter(|line| line.contains(text) && !line.contains("held back")).count()
}

/// Waits until it is said how many lines like `text` were held back.
#[track_caller]
fn held_back(process: &Option<Process>, text: &str) -> usize {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let said = process.as_ref().expect("it runs").said();
        if let Some(line) = said.lines().find(|line| line.contains("held back") && line.contains(text)) {
            let (_, count) = line.split_once("count=").expect("a count");
            return count.split(' ').next().and_then(|count| count.parse().ok()).expect("a number");
        }
        assert!(Instant::now() < deadline, "never said what was held back: {said}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_flood_fills_no_log_and_is_counted() {
    const COUNT: usize = 200;
    let mut system = System::start();
    // Control without a dataplane of its own, so that the flood meets the dataplane alone.
    system.kill_control();
    for _ in 0..COUNT {
        let mut peer = UnixStream::connect(system.path("control.sock")).expect("the dataplane listens");
        // No frame: the connection ends, and the log says so.
        peer.write_all(&[0xFF; 64]).ok();
        std::io::copy(&mut peer, &mut std::io::sink()).ok();
    }
    let line = "the control plane is gone";
    let held = held_back(&system.dataplane, line);
    let seen = written(&system.dataplane, line);
    assert!((1..=LINE_COUNT_MAX).contains(&seen), "{seen} lines");
    // One control plane was really there, and went. A connection that another one overtakes has a line of its own.
    let told = seen + held;
    assert!((COUNT / 2..=COUNT + 1).contains(&told), "{seen} written and {held} held back of {COUNT}");

    // Control, asked to say every request.
    let mut command = system.control_command();
    command.env("TRUNKLINE_LOG", "info,api=debug");
    system.control = Some(Process::start("control", &command, &system.directory.0));
    let (api, deadline) = (system.api(), Instant::now() + Duration::from_secs(15));
    while api.try_send("GET", "/api/v1/status", &[], None).is_err() {
        assert!(Instant::now() < deadline, "control does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    (0..COUNT).for_each(|_| drop(api.get("/api/v1/tenants")));
    let line = "path=\"/api/v1/tenants\"";
    assert!(held_back(&system.control, "of=\"api::metrics\" line=\"request\"") >= COUNT - LINE_COUNT_MAX);
    let seen = written(&system.control, line);
    assert!(seen <= LINE_COUNT_MAX, "{seen} lines");
}
