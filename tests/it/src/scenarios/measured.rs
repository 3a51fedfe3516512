//! The load and the floor, small: what the benchmark counts is exact at both servers, whatever the machine's speed.

use crate::harness::process::binary;
use std::process::Command;

/// What a small workload printed.
fn said(arguments: &[&str]) -> String {
    let mut command = Command::new(binary("trunkline-load"));
    // A device's frames come by several gateways, whose sockets a server that had to wait may read in another order: so many
    // devices that each is silent for longer than that.
    command.args(["--rate", "1000", "--seconds", "2", "--devices", "2000", "--gateways", "10"]);
    command.args(["--devices-per-stream", "1000"]).args(arguments);
    let output = command.output().expect("it runs");
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

/// The row that begins with a word, by column.
fn row(said: &str, name: &str) -> Vec<String> {
    let row = said.lines().find(|line| line.split_whitespace().next() == Some(name));
    let row = row.unwrap_or_else(|| panic!("no row of {name}: {said}"));
    row.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_trial_at_the_dataplane_and_at_the_floor_is_exact() {
    for server in ["trunkline", "floor"] {
        let row = row(&said(&["--server", server]), server);
        assert_eq!(row[..6], [server, "1000", "0", "0", "0", "0"], "rate, lost, again, wrong, order: {row:?}");
        let cpu: f64 = row[10].parse().expect("microseconds of the server per uplink");
        assert!(cpu > 0.0, "the server's time was counted: {row:?}");
    }
}

#[test]
fn rounds_beside_a_reader_that_lags_are_exact() {
    let said = said(&["--lagging", "--rounds", "1", "--backlog", "20000", "--memory-mib", "1"]);
    for (name, rate) in [("backlog", "4000"), ("alone", "1000"), ("beside", "1000")] {
        let row = row(&said, name);
        assert_eq!(row[..6], [name, rate, "0", "0", "0", "0"], "rate, lost, again, wrong, order: {said}");
    }
    // reader: 9000 messages/s, 0 of them wrong or out of order; 3.5 MiB/s of segments read, ...
    let reader = row(&said, "reader:");
    let number = |at: usize| reader[at].parse::<f64>().unwrap_or_else(|error| panic!("{error}: {reader:?}"));
    assert!(number(1) > 0.0 && number(11) > 0.0, "it read, and from the disk: {said}");
    assert_eq!(reader[3], "0", "each device's messages, in order from the first on: {said}");
}
