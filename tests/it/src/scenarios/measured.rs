//! The load and the floor, small: what the benchmark counts is exact at both servers, whatever the machine's speed.

use crate::harness::process::binary;
use std::process::Command;

/// What a trial printed, by column.
fn trial(server: &str) -> Vec<String> {
    let mut command = Command::new(binary("trunkline-load"));
    command.args(["--server", server, "--rate", "1000", "--seconds", "2"]);
    command.args(["--devices", "100", "--gateways", "10", "--devices-per-stream", "50"]);
    let output = command.output().expect("it runs");
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let row = said.lines().find(|line| line.trim_start().starts_with(server));
    let row = row.unwrap_or_else(|| panic!("no row of {server}: {said}{complaint}"));
    row.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_trial_at_the_dataplane_and_at_the_floor_is_exact() {
    for server in ["trunkline", "floor"] {
        let row = trial(server);
        assert_eq!(row[..6], [server, "1000", "0", "0", "0", "0"], "rate, lost, again, wrong, order: {row:?}");
        let cpu: f64 = row[10].parse().expect("microseconds of the server per uplink");
        assert!(cpu > 0.0, "the server's time was counted: {row:?}");
    }
}
