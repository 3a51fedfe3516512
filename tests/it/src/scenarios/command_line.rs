//! The command line `trunkline`, as an operator types it.

use crate::harness::device::{Device, Say, hex};
use crate::harness::fixture::gateway_eui;
use crate::harness::gateway::{Gateway, Heard};
use crate::harness::process::binary;
use crate::harness::system::System;
use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A shell's worth of one installation.
struct Operator<'a> {
    system: &'a System,
    key: String,
}

impl Operator<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("trunkline"));
        command.args(arguments).args(["--url", &format!("http://127.0.0.1:{}", self.system.rest_port)]);
        command.args(["--key", &self.key, "--ca"]).arg(self.system.path("cert.pem"));
        command.current_dir(&self.system.directory.0);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the command starts")
    }

    /// What a command that succeeds says with `--json`.
    #[track_caller]
    fn says(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error} in {text}"))
    }

    /// What a command that fails complains of.
    #[track_caller]
    fn complains(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

#[test]
fn everything_can_be_made_watched_and_commanded_from_a_shell() {
    let system = System::start();
    let key = std::fs::read_to_string(system.path("control/operator.key")).expect("the operator's key");
    let operator = Operator { system: &system, key: key.trim().to_owned() };
    let mut device = Device::new(1);
    let eui = format!("{:016X}", gateway_eui(1));

    operator.says(&["tenant", "create", "--name", "acme"]);
    operator.says(&["application", "create", "--tenant", "acme", "--name", "meters"]);
    operator.says(&["profile", "create", "--name", "eu", "--region", "EU868", "--mac-version", "1.0.3"]);
    operator.says(&["gateway", "create", "--eui", &eui, "--tenant", "acme", "--name", "roof"]);
    let rows = format!(
        "dev_eui,join_eui,name,dev_addr,nwk_s_key,app_s_key\n{},{:016X},first,{:08X},{},{}\nnonsense,,,,,\n",
        device.eui(),
        device.join_eui,
        device.dev_addr,
        hex(&device.nwk_s_key),
        hex(&device.app_s_key)
    );
    std::fs::write(system.path("devices.csv"), rows).expect("a file");
    let output = operator.run(&["import", "devices.csv", "--application", "meters", "--profile", "eu"]);
    assert_eq!(output.status.code(), Some(3), "one row of two is bad: {output:?}");
    let said = [output.stdout, output.stderr].concat();
    assert!(String::from_utf8_lossy(&said).contains("dev_eui"), "{}", String::from_utf8_lossy(&said));
    let listed = operator.says(&["device", "list", "--application", "meters"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    operator.says(&[
        "stream",
        "create",
        "--tenant",
        "acme",
        "--name",
        "live",
        "--level",
        "application",
        "--application",
        "meters",
    ]);

    let mut tail = operator.command(&["stream", "tail", "live", "--count", "1", "--json"]);
    let tail = tail.stdout(Stdio::piped()).spawn().expect("the command starts");
    let opened = || {
        let stream = operator.says(&["stream", "get", "live"]);
        stream["state"]["connections"].as_array().is_some_and(|connections| !connections.is_empty())
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !opened() {
        assert!(std::time::Instant::now() < deadline, "the stream is never opened");
    }
    let sent = operator.says(&["downlink", "send", "first", "--port", "10", "--data", "0102"]);
    assert!(sent["id"].is_u64(), "{sent}");
    let queue = operator.says(&["downlink", "list", &device.eui()]);
    assert_eq!((&queue[0]["fport"], &queue[0]["id"]), (&json!(10), &sent["id"]), "{queue}");

    let mut gateway = Gateway::online(gateway_eui(1), system.gateways());
    gateway.hear(&device.uplink(1, &[7], Say::default()), Heard::default());
    let heard = gateway.transmission(Duration::from_secs(2)).expect("the downlink");
    gateway.tx_ack(&heard, "NONE");
    assert_eq!(device.downlink(&heard.phy).expect("for the device").payload, [1, 2]);
    let tailed = tail.wait_with_output().expect("it ends after one message");
    let line: Value = serde_json::from_slice(&tailed.stdout).expect("one JSON object");
    assert_eq!((&line["Data"], &line["DeviceEUI"]), (&json!("07"), &json!(device.eui())));

    let status = operator.says(&["status"]);
    assert_eq!((&status["dataplane"]["connected"], &status["counts"]["devices"]), (&json!(true), &json!(1)));
    let seen = operator.says(&["gateway", "get", "roof"]);
    assert_eq!(seen["state"]["online"], true, "{seen}");

    assert!(operator.complains(&["tenant", "create", "--name", ""], 1).contains("name"));
    assert!(operator.complains(&["device", "get", "FFFFFFFFFFFFFFFF"], 1).starts_with("trunkline: "));
    operator.complains(&["tenant", "crate"], 2);
    let completions = operator.run(&["completions", "bash"]);
    assert!(completions.status.success() && completions.stdout.len() > 1000);
    operator.says(&["tenant", "update", "acme", "--name", "acme2"]);
    assert_eq!(operator.says(&["stream", "state", "live"])["retained_messages"], 0, "a live one keeps nothing");
    assert!(operator.run(&["stream", "delete", "live"]).status.success());
}
