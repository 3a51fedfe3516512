//! `cargo xtask run`, which `scripts/run` calls: build, start, demonstrate, print, and on Ctrl-C leave nothing.
//!
//! Owns the children through [`Group`]. Whatever fails is said in a line with the last words of the one that failed.

use crate::group::Group;
use crate::rest::Api;
use crate::stop::{Stopped, going};
use crate::{demo, shell};
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long control and dataplane may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// After what time the stream is opened again, should it close.
const RETRY: Duration = Duration::from_secs(1);

/// How often the children are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What the command line asks for.
struct Options {
    demo: bool,
    build: bool,
    data_dir: PathBuf,
    bin_dir: Option<PathBuf>,
    api: String,
    udp: String,
    wss: String,
    metrics: String,
}

/// Why the story ends.
enum End {
    Stopped,
    Failed(String),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<String> for End {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

/// Runs until Ctrl-C.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let options = Options::parse(arguments)?;
    let mut group = Group::default();
    let end = story(&options, &mut group);
    let started = !group.is_empty();
    if started {
        println!("\nStopping ...");
        group.stop();
    }
    match end {
        Ok(()) | Err(End::Stopped) => {
            println!("Stopped. The data stays in {}.", options.data_dir.display());
            Ok(())
        }
        Err(End::Failed(reason)) => Err(reason),
    }
}

fn story(options: &Options, group: &mut Group) -> Result<(), End> {
    let bin_dir = match &options.bin_dir {
        Some(bin_dir) => bin_dir.clone(),
        None => shell::target_directory()?.join("release"),
    };
    if options.build {
        println!("Building (release; the first time takes some minutes) ...");
        let packages = ["-p", "cli", "-p", "controld", "-p", "dataplaned", "-p", "fleet"];
        shell::run(shell::cargo(&["build", "--release", "--bins"]).args(packages))?;
    }
    going()?;
    let data_dir = &options.data_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|error| format!("{}: {error}", data_dir.display()))?;

    println!("Starting control and dataplane ...");
    let log = data_dir.join("trunkline.log");
    File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let trunkline = bin_dir.join("trunkline");
    let mut up = Command::new(&trunkline);
    up.arg("up").arg("--data-dir").arg(data_dir);
    up.args(["--listen-api", &options.api, "--listen-udp", &options.udp, "--listen-wss", &options.wss]);
    up.args(["--listen-metrics", &options.metrics]);
    group.start("trunkline up", &mut up, &log)?;
    let key = ready(options, group)?;
    println!("{}", doors(options));

    if !options.demo {
        println!("Nothing is configured. Operator's API key: {key}\nLog: {}. Ctrl-C stops everything.", log.display());
        return watch(group);
    }
    let demo = demo::set_up(&Api::new(&options.api, &key), &data_dir.join("demo.json"))?;
    let devices = data_dir.join("fleet.json");
    let list = serde_json::to_string_pretty(&demo.devices).expect("plain data");
    demo::write_secret(&devices, &list)?;
    let mut fleet = Command::new(bin_dir.join("trunkline-fleet"));
    fleet.args(["--server", &local(&options.udp), "--gateways", &demo::GATEWAY_COUNT.to_string(), "--interval", "4s"]);
    fleet.arg("--devices").arg(&devices).arg("--state").arg(data_dir.join("fleet.state"));
    group.start("the fleet", &mut fleet, &data_dir.join("fleet.log"))?;
    println!("{}", by_hand(options, &demo, &trunkline));

    let mut tail = Command::new(&trunkline);
    tail.args(["--url", &format!("http://{}", options.api), "--json", "--data-dir"]).arg(data_dir);
    tail.args(["stream", "tail", demo::NAME, "--token", &demo.token]);
    loop {
        group.keep_aloud("stream tail", &mut tail)?;
        let until = Instant::now() + RETRY;
        while Instant::now() < until {
            going()?;
            group.alive()?;
            std::thread::sleep(LOOK);
        }
    }
}

/// Waits until the API answers and has a dataplane; returns the operator's key.
fn ready(options: &Options, group: &mut Group) -> Result<String, End> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        going()?;
        group.alive()?;
        if let Some(key) = connected(options) {
            return Ok(key);
        }
        if Instant::now() > deadline {
            return Err(format!(
                "not ready after {} s; see the log in {}",
                PATIENCE.as_secs(),
                options.data_dir.display()
            )
            .into());
        }
        std::thread::sleep(LOOK);
    }
}

fn connected(options: &Options) -> Option<String> {
    let key = std::fs::read_to_string(options.data_dir.join("control/operator.key")).ok()?.trim().to_owned();
    let status = Api::new(&options.api, &key).find("/status").ok()??;
    (status["dataplane"]["connected"] == true).then_some(key)
}

/// Waits for the end.
fn watch(group: &mut Group) -> Result<(), End> {
    loop {
        going()?;
        group.alive()?;
        std::thread::sleep(LOOK);
    }
}

/// What listens where.
fn doors(options: &Options) -> String {
    format!(
        "\nTrunkline is up.\n  \
         Console      http://{api}/\n  \
         REST API     http://{api}/api/v1    reference: http://{api}/api/docs\n  \
         Gateways     udp://{udp}    Semtech packet forwarder\n  \
         Streams      wss://{wss}/?token=...\n  \
         Metrics      http://{api}/metrics and http://{metrics}/metrics\n",
        api = options.api,
        udp = local(&options.udp),
        wss = local(&options.wss).replace("127.0.0.1", "localhost"),
        metrics = options.metrics,
    )
}

/// What a person may copy into another terminal.
fn by_hand(options: &Options, demo: &demo::Demo, trunkline: &Path) -> String {
    let url = stream_url(options, demo);
    let device = &demo.devices[0].dev_eui;
    let certificate = options.data_dir.join("control/cert.pem");
    format!(
        "The demonstration: {gateways} gateways and {devices} devices that join, send and answer.\n  \
         Stream       {url}\n               (self-signed certificate: {certificate})\n  \
         API key      {key}\n\n\
         Send a downlink; the device's next uplink fetches it:\n  \
         {trunkline} --url http://{api} --key {key} downlink send {device} --port 10 --data 0102 --confirmed\n\
         or type into any WebSocket client on the stream's URL:\n  \
         {{\"Type\":5,\"DeviceEUI\":\"{device}\",\"Port\":10,\"Data\":\"0102\"}}\n\
         List devices:\n  \
         curl -H 'Authorization: Bearer {key}' http://{api}/api/v1/devices\n\n\
         Live, as it comes out of the stream (Ctrl-C stops everything):",
        gateways = demo::GATEWAY_COUNT,
        devices = demo.devices.len(),
        certificate = certificate.display(),
        key = demo.api_key,
        trunkline = trunkline.display(),
        api = options.api,
    )
}

fn stream_url(options: &Options, demo: &demo::Demo) -> String {
    format!("wss://{}/?token={}", local(&options.wss).replace("127.0.0.1", "localhost"), demo.token)
}

/// Where a listener is reached from here: on every address also on the loopback one, else only on its own.
fn local(listen: &str) -> String {
    match listen.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => format!("127.0.0.1:{}", address.port()),
        _ => listen.to_owned(),
    }
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            demo: true,
            build: true,
            data_dir: shell::root().join(".data"),
            bin_dir: None,
            api: "127.0.0.1:8080".into(),
            udp: "[::]:1700".into(),
            wss: "[::]:8443".into(),
            metrics: "127.0.0.1:9464".into(),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().cloned().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--no-demo" => options.demo = false,
                "--no-build" => options.build = false,
                "--data-dir" => options.data_dir = std::path::absolute(value()?).map_err(|error| error.to_string())?,
                "--bin-dir" => (options.bin_dir, options.build) = (Some(value()?.into()), false),
                "--listen-api" => options.api = value()?,
                "--listen-udp" => options.udp = value()?,
                "--listen-wss" => options.wss = value()?,
                "--listen-metrics" => options.metrics = value()?,
                "-h" | "--help" => return Err(crate::USAGE.into()),
                other => return Err(format!("unknown option `{other}`\n\n{}", crate::USAGE)),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_defaults_and_are_checked() {
        let parse = |words: &[&str]| Options::parse(&words.iter().map(|word| (*word).into()).collect::<Vec<_>>());
        let options = parse(&[]).expect("defaults");
        assert!(options.demo && options.build && options.data_dir.ends_with(".data"));
        let options = parse(&["--no-demo", "--data-dir", "/tmp/x"]).expect("parsed");
        assert!(!options.demo && options.data_dir == Path::new("/tmp/x"));
        assert!(parse(&["--data-dir"]).is_err());
        assert!(parse(&["--nodemo"]).is_err());
    }

    #[test]
    fn listeners_are_reached_on_loopback() {
        assert_eq!(local("[::]:1700"), "127.0.0.1:1700");
        assert_eq!(local("0.0.0.0:8443"), "127.0.0.1:8443");
        assert_eq!(local("192.0.2.7:8443"), "192.0.2.7:8443");
        assert_eq!(local("[::1]:1700"), "[::1]:1700");
    }
}
