//! `cargo xtask bench control`: a million devices through the real processes, measured from outside.
//!
//! Imports them over the API, has them pushed as a snapshot to a dataplane that has lost its plan, then changes things
//! while simulated devices send. Every figure is checked against what was promised; what is missed fails the command.
//!
//! ```text
//!   import >= 20 000/s      snapshot in force <= 10 s      a delta in force <= 50 ms (p99), no uplink lost meanwhile
//! ```

use crate::group::Group;
use crate::rest::Api;
use crate::stop::going;
use crate::{demo, shell};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const ROWS_PER_IMPORT: u32 = 100_000;
const SENDER_COUNT: u32 = 300;
const DELTA_COUNT: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(120);

struct Bench {
    bin_dir: PathBuf,
    data_dir: PathBuf,
    api: String,
    udp: String,
    wss: String,
    metrics: String,
}

/// Runs it. `--devices N` (1 000 000), `--bin-dir DIR` (the release build, made first).
pub(crate) fn bench(arguments: &[String]) -> Result<(), String> {
    let mut device_count = 1_000_000u32;
    let mut bin_dir = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--devices" => device_count = value.parse().map_err(|error| format!("--devices {value}: {error}"))?,
            "--bin-dir" => bin_dir = Some(PathBuf::from(value)),
            other => return Err(format!("unknown option `{other}`")),
        }
    }
    let bin_dir = match bin_dir {
        Some(bin_dir) => bin_dir,
        None => {
            let packages = ["-p", "cli", "-p", "controld", "-p", "dataplaned", "-p", "fleet"];
            shell::run(shell::cargo(&["build", "--release", "--bins"]).args(packages))?;
            shell::target_directory()?.join("release")
        }
    };
    let data_dir = shell::target_directory()?.join("bench-control");
    if data_dir.exists() {
        std::fs::remove_dir_all(&data_dir).map_err(|error| format!("{}: {error}", data_dir.display()))?;
    }
    std::fs::create_dir_all(&data_dir).map_err(|error| format!("{}: {error}", data_dir.display()))?;
    let tcp = || TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).map(|at| at.to_string());
    let udp = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let failed = |error: std::io::Error| error.to_string();
    let bench = Bench {
        bin_dir,
        data_dir,
        api: tcp().map_err(failed)?,
        udp: udp.map_err(failed)?.to_string(),
        wss: tcp().map_err(failed)?,
        metrics: tcp().map_err(failed)?,
    };
    let mut group = Group::default();
    let measured = bench.story(device_count, &mut group);
    group.stop();
    measured
}

impl Bench {
    fn story(&self, device_count: u32, group: &mut Group) -> Result<(), String> {
        let api = self.start(group)?;
        let demo = demo::set_up(&api, &self.data_dir.join("demo.json"))?;
        let id = |path: &str| -> Result<String, String> {
            let found = api.named(path, demo::NAME)?.ok_or_else(|| format!("{path}: nothing is named demo"))?;
            Ok(found["id"].as_str().unwrap_or_default().to_owned())
        };
        let (application, profile) = (id("/applications")?, id("/profiles")?);

        let start = Instant::now();
        let mut done = 0;
        while done < device_count {
            going()?;
            let count = ROWS_PER_IMPORT.min(device_count - done);
            let rows: String = (done..done + count).map(|number| row(number, &application, &profile)).collect();
            let answer = api.import(&rows)?;
            let summary = &answer["summary"];
            if summary["created"] != count || summary["failed"] != 0 {
                return Err(format!("an import answered {summary}"));
            }
            done += count;
        }
        let rate = f64::from(device_count) / start.elapsed().as_secs_f64();
        self.in_step(&api)?;
        let all = f64::from(device_count) / start.elapsed().as_secs_f64();
        println!("import          {rate:>10.0} devices/s; {all:.0} devices/s until in force");

        let snapshot = self.snapshot(group)?;
        println!("snapshot        {:>10.2} s from the dataplane's start to in force", snapshot.as_secs_f64());

        let Deltas { p50, p99, sent, delivered, lost } = self.deltas(group, &application, &demo)?;
        println!("delta in force  {p50:>10.2} ms p50, {p99:.2} ms p99, of {DELTA_COUNT}, while devices send");
        println!(
            "uplinks         {sent:>10} begun meanwhile, {delivered} delivered (some were in the air at the end), {lost} lost"
        );
        let kept = [
            (rate >= 20_000.0, "import at 20 000 devices/s"),
            (snapshot <= Duration::from_secs(10), "snapshot in force in 10 s"),
            (p99 <= 50.0, "a delta in force in 50 ms (p99)"),
            (lost == 0 && delivered > 0, "no uplink lost"),
        ];
        let missed: Vec<&str> = kept.iter().filter(|(kept, _)| !kept).map(|(_, what)| *what).collect();
        if missed.is_empty() { Ok(()) } else { Err(format!("missed: {}", missed.join(", "))) }
    }

    fn start(&self, group: &mut Group) -> Result<Api, String> {
        let mut up = Command::new(self.bin_dir.join("trunkline"));
        up.arg("up").arg("--data-dir").arg(&self.data_dir).args(["--listen-api", &self.api]);
        up.args(["--listen-udp", &self.udp, "--listen-wss", &self.wss, "--listen-metrics", &self.metrics]);
        group.start("trunkline up", &mut up, &self.data_dir.join("trunkline.log"))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            going()?;
            group.alive()?;
            let api = self.api();
            if let Ok(Some(status)) = api.find("/status")
                && status["dataplane"]["connected"] == true
            {
                return Ok(api);
            }
            if Instant::now() > deadline {
                return Err("not ready in time; see trunkline.log".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until every shard has everything.
    fn in_step(&self, api: &Api) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            going()?;
            let status = api.find("/status")?.unwrap_or_default();
            let revision = &status["revision"];
            let shards = status["dataplane"]["shards"].as_array().cloned().unwrap_or_default();
            if status["pending"] == 0 && !shards.is_empty() && shards.iter().all(|shard| shard == revision) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("not in step in time: {status}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How long a dataplane without a plan takes to have everything in force.
    fn snapshot(&self, group: &mut Group) -> Result<Duration, String> {
        group.stop();
        let log = self.data_dir.join("dataplane/plan.log");
        std::fs::remove_file(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let start = Instant::now();
        let api = self.start(group)?;
        self.in_step(&api)?;
        Ok(start.elapsed())
    }

    /// Changes an application's name again and again while devices send.
    fn deltas(&self, group: &mut Group, application: &str, demo: &demo::Demo) -> Result<Deltas, String> {
        let api = self.api();
        let senders: Vec<Value> = (0..SENDER_COUNT).map(sender).collect();
        let list = self.data_dir.join("fleet.json");
        demo::write_secret(&list, &json!(senders).to_string())?;
        let tail_log = self.data_dir.join("tail.log");
        let mut tail = Command::new(self.bin_dir.join("trunkline"));
        tail.args(["--url", &format!("http://{}", self.api), "--json", "--data-dir"]).arg(&self.data_dir);
        tail.args(["stream", "tail", demo::NAME, "--token", &demo.token]);
        group.start("stream tail", &mut tail, &tail_log)?;
        std::thread::sleep(Duration::from_secs(2));
        let fleet_log = self.data_dir.join("fleet.log");
        let mut senders = Group::default();
        let mut fleet = Command::new(self.bin_dir.join("trunkline-fleet"));
        fleet.args(["--server", &self.udp, "--gateways", &demo::GATEWAY_COUNT.to_string(), "--interval", "3s"]);
        fleet.arg("--devices").arg(&list);
        senders.start("the fleet", &mut fleet, &fleet_log)?;
        std::thread::sleep(Duration::from_secs(3));

        let mut times = Vec::with_capacity(DELTA_COUNT);
        for number in 0..DELTA_COUNT {
            going()?;
            let start = Instant::now();
            let body = json!({ "name": format!("{} {number}", demo::NAME) });
            let answer = api.patch(&format!("/applications/{application}"), &body)?;
            times.push(start.elapsed().as_secs_f64() * 1000.0);
            if answer["applied"] != true {
                return Err(format!("a change was not in force in time: {answer}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        times.sort_by(f64::total_cmp);
        // What is on its way arrives: a dedup window, then the consumer's own pace.
        senders.stop();
        std::thread::sleep(Duration::from_secs(2));
        let sent = totals(&fleet_log)?;
        let text = std::fs::read_to_string(&tail_log).map_err(|error| error.to_string())?;
        let (delivered, lost) = continuity(&text);
        Ok(Deltas { p50: times[DELTA_COUNT / 2], p99: times[DELTA_COUNT * 99 / 100], sent, delivered, lost })
    }

    fn api(&self) -> Api {
        // Before the first start there is none, and nothing answers either.
        let key = std::fs::read_to_string(self.data_dir.join("control/operator.key")).unwrap_or_default();
        Api::new(&self.api, key.trim())
    }
}

/// What came of changes under traffic.
struct Deltas {
    /// Milliseconds from asking to in force.
    p50: f64,
    p99: f64,
    sent: u64,
    delivered: u64,
    lost: u64,
}

/// Uplinks in the stream's lines, and those missing before the last of each device: FCnt counts from 0 without a gap.
fn continuity(lines: &str) -> (u64, u64) {
    let mut devices: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for message in lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if let (Some(device), Some(fcnt), true) =
            (message["DeviceEUI"].as_str(), message["FCnt"].as_u64(), message["Type"].is_u64())
        {
            devices.entry(device.to_owned()).or_default().insert(fcnt);
        }
    }
    let delivered = devices.values().map(|seen| seen.len() as u64).sum();
    let expected: u64 = devices.values().filter_map(|seen| seen.last()).map(|last| last + 1).sum();
    (delivered, expected - delivered)
}

/// Data frames that the fleet says it sent, the first time each.
fn totals(log: &Path) -> Result<u64, String> {
    let text = std::fs::read_to_string(log).map_err(|error| error.to_string())?;
    let said = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let totals = said.into_iter().find(|line| line["event"] == "totals");
    totals.and_then(|totals| totals["uplinks"].as_u64()).ok_or_else(|| "the fleet said no totals".into())
}

fn dev_eui(number: u32) -> String {
    format!("70B3D57EE{number:07X}")
}

fn keys(number: u32) -> (String, String, String) {
    // NwkAddr counts; NetID 0 leaves 25 bits for it.
    (format!("{:08X}", 0x0010_0000 + number), format!("{number:032X}"), format!("{:032X}", u64::from(number) << 32))
}

/// The first devices are the senders, by personalisation; the others have a root key.
fn row(number: u32, application: &str, profile: &str) -> String {
    let mut device = if number < SENDER_COUNT {
        sender(number)
    } else {
        json!({ "dev_eui": dev_eui(number), "join_eui": "70B3D57ED000FF00", "otaa": { "app_key": format!("{number:032X}") } })
    };
    device["application"] = application.into();
    device["profile"] = profile.into();
    format!("{device}\n")
}

fn sender(number: u32) -> Value {
    let (dev_addr, nwk_s_key, app_s_key) = keys(number);
    let abp = json!({ "dev_addr": dev_addr, "nwk_s_key": nwk_s_key, "app_s_key": app_s_key });
    json!({ "dev_eui": dev_eui(number), "join_eui": "70B3D57ED000FF00", "abp": abp })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_before_the_last_is_a_loss() {
        let line = |device: &str, fcnt: u64| format!("{{\"Type\":2,\"DeviceEUI\":\"{device}\",\"FCnt\":{fcnt}}}\n");
        let lines =
            [line("A", 0), line("A", 1), line("B", 1), line("B", 3), "{\"Event\":\"joined\"}\n".into()].concat();
        assert_eq!(continuity(&lines), (4, 2));
    }
}
