//! The benchmarks, small: what they count is exact, and what they measure in bytes holds, whatever the machine's speed.

use crate::harness::process::binary;
use crate::harness::system::Directory;
use serde_json::Value;
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

/// What a program of `bench/scale` measured.
fn figures(program: &str, arguments: &[&str]) -> Value {
    let home = Directory::new();
    let json = home.0.join("figures.json");
    let mut command = Command::new(binary(program));
    command.args(arguments).arg("--dir").arg(&home.0).arg("--json").arg(&json);
    let output = command.output().expect("it runs");
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program}: {said}{complaint}");
    let text = std::fs::read_to_string(&json).expect("it wrote its figures");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn every_session_of_the_scale_bench_is_there_and_takes_frames() {
    let figures = figures("trunkline-scale", &["--sessions", "50000", "--seconds", "2", "--rounds", "1"]);
    assert_eq!(figures["sessions_loaded"], 50_000);
    assert_eq!(figures["uplinks_lost_or_wrong"], 0, "{figures}");
    assert!(figures["uplinks_heard"].as_u64().is_some_and(|heard| heard > 1000), "{figures}");
    let each = figures["bytes_per_session_at_start"].as_f64().expect("a figure");
    assert!((270.0..700.0).contains(&each), "{figures}");
    for field in ["bytes_per_session", "rate_ratio_full_to_thousand_sessions", "start_seconds_full"] {
        assert!(figures[field].as_f64().is_some_and(|figure| figure > 0.0), "{field}: {figures}");
    }
}

#[test]
fn idle_connections_take_what_is_promised_and_each_gets_its_message() {
    let figures = figures("trunkline-idle", &["--steps", "200,1000", "--seconds", "1"]);
    assert_eq!((&figures["messages_ws"], &figures["messages_wss"]), (&1000.into(), &1000.into()));
    for (field, most) in [("bytes_per_idle_ws", 1024.0), ("bytes_per_idle_wss", 10_240.0)] {
        let each = figures[field].as_f64().expect("a figure");
        assert!(each > 100.0 && each <= most, "{field}: {figures}");
    }
}
