//! The two processes under test, with a data directory, ports and a certificate of their own.
//!
//! Owns the processes and the directory; both are gone when it is dropped.

use super::disk::Disk;
use super::metrics::Metrics;
use super::ports;
use super::process::{Process, binary};
use super::rest::Api;
use super::socket::Door;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a process may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// Names the backend that every dataplane is started over; without it none is named.
pub(crate) const DRIVER: &str = "TRUNKLINE_IT_DRIVER";

/// A directory that is removed with its owner, unless the test fails.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    /// A new one.
    pub(crate) fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    fn below(parent: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("trunkline-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = parent.join(name);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }
}

/// Control and dataplane.
pub(crate) struct System {
    pub(crate) control: Option<Process>,
    pub(crate) dataplane: Option<Process>,
    pub(crate) rest_port: u16,
    pub(crate) udp_port: u16,
    pub(crate) wss_port: u16,
    pub(crate) metrics_port: u16,
    pub(crate) core_count: u32,
    pub(crate) options: Vec<String>,
    /// What the dataplane's data lies on, if not on the host's.
    pub(crate) disk: Option<Disk>,
    pub(crate) directory: Directory,
    /// In memory: what a killed dataplane leaves there goes with the test.
    pub(crate) memory: Directory,
}

impl System {
    /// Both processes, ready, nothing configured.
    pub(crate) fn start() -> Self {
        Self::start_with(2, &[])
    }

    /// The same with this many cores and further options of the dataplane.
    pub(crate) fn start_with(core_count: u32, options: &[&str]) -> Self {
        let mut system = Self::prepare(core_count, options);
        system.start_control();
        system.start_dataplane();
        system
    }

    /// Everything but the processes.
    pub(crate) fn prepare(core_count: u32, options: &[&str]) -> Self {
        let directory = Directory::new();
        certificate(&directory.0, "localhost");
        Self {
            control: None,
            dataplane: None,
            rest_port: ports::free(),
            udp_port: ports::free(),
            wss_port: ports::free(),
            metrics_port: ports::free(),
            core_count,
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            disk: None,
            directory,
            memory: Directory::below(Path::new("/dev/shm")),
        }
    }

    /// Starts control and waits until its API answers.
    pub(crate) fn start_control(&mut self) {
        let mut control = Process::start("control", &self.control_command(), &self.directory.0);
        let deadline = Instant::now() + PATIENCE;
        while self.connected().is_none() {
            assert!(control.runs(), "control has ended: {}", control.said());
            assert!(Instant::now() < deadline, "control is not ready: {}", control.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.control = Some(control);
    }

    /// Starts the dataplane and waits until it serves, and until control knows it if there is one.
    pub(crate) fn start_dataplane(&mut self) {
        let mut dataplane = Process::start("dataplane", &self.dataplane_command(), &self.directory.0);
        let deadline = Instant::now() + PATIENCE;
        let with_control = self.control.is_some();
        while !self.serves() || with_control && self.connected() != Some(true) {
            assert!(dataplane.runs(), "the dataplane has ended: {}", dataplane.said());
            assert!(Instant::now() < deadline, "the dataplane is not ready: {}", dataplane.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.dataplane = Some(dataplane);
    }

    /// `kill -9` of the dataplane.
    pub(crate) fn kill_dataplane(&mut self) {
        self.dataplane.take().expect("it runs").kill();
    }

    /// `kill -9` of control.
    pub(crate) fn kill_control(&mut self) {
        self.control.take().expect("it runs").kill();
    }

    /// How control is started.
    pub(crate) fn control_command(&self) -> Command {
        let mut command = Command::new(binary("trunkline-control"));
        command.arg("--data-dir").arg(self.path("control"));
        command.arg("--listen").arg(format!("127.0.0.1:{}", self.rest_port));
        command.arg("--control-socket").arg(self.path("control.sock"));
        command.arg("--stream-url").arg(format!("wss://localhost:{}", self.wss_port));
        command
    }

    /// How the dataplane is started.
    pub(crate) fn dataplane_command(&self) -> Command {
        self.dataplane_command_on(&self.path(if self.disk.is_some() { "disk/dataplane" } else { "dataplane" }))
    }

    /// The same with its data in another folder. Where there is a disk of its own it runs where that is.
    pub(crate) fn dataplane_command_on(&self, data_dir: &Path) -> Command {
        let mut command = Command::new(binary("trunkline-dataplane"));
        command.arg("--data-dir").arg(data_dir);
        command.arg("--cores").arg(self.core_count.to_string());
        command.arg("--carry-dir").arg(&self.memory.0);
        // Many dataplanes begin and end here: each makes small segments.
        command.args(["--journal-segment-mib", "1", "--journal-memory-mib", "1"]);
        command.arg("--control-socket").arg(self.path("control.sock"));
        command.arg("--udp-listen").arg(format!("[::]:{}", self.udp_port));
        command.arg("--wss-listen").arg(format!("[::]:{}", self.wss_port));
        command.arg("--cert").arg(self.path("cert.pem")).arg("--key").arg(self.path("key.pem"));
        command.arg("--metrics-listen").arg(format!("127.0.0.1:{}", self.metrics_port));
        if !self.options.iter().any(|option| option == "--devices-max") {
            command.arg("--devices-max").arg("10000");
        }
        command.args(&self.options);
        if let Ok(driver) = std::env::var(DRIVER) {
            command.arg("--driver").arg(driver);
        }
        match &self.disk {
            Some(disk) => disk.enter(&command),
            None => command,
        }
    }

    /// The API with the operator's key.
    pub(crate) fn api(&self) -> Api {
        let file = self.path("control").join("operator.key");
        let key = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Api::new(self.rest_port, key.trim())
    }

    /// Where gateways send, over IPv4.
    pub(crate) fn gateways(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.udp_port).into()
    }

    /// Where applications connect.
    pub(crate) fn door(&self) -> Door {
        Door::new(self.wss(), &self.path("cert.pem"))
    }

    /// The address of the WebSocket listener.
    pub(crate) fn wss(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.wss_port).into()
    }

    /// What the dataplane counts.
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::read(self.metrics_port)
    }

    /// A file of this system.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.0.join(name)
    }

    /// Whether the API answers, and if so, whether it has a dataplane.
    fn connected(&self) -> Option<bool> {
        let key = std::fs::read_to_string(self.path("control").join("operator.key")).ok()?;
        let answer = Api::new(self.rest_port, key.trim()).try_send("GET", "/api/v1/status", &[], None).ok()?;
        (answer.status == 200).then(|| answer.json()["dataplane"]["connected"] == true)
    }

    fn serves(&self) -> bool {
        ureq::get(format!("http://127.0.0.1:{}/metrics", self.metrics_port)).call().is_ok()
    }
}

/// Writes `cert.pem` and `key.pem`, self-signed, for this name and loopback.
pub(crate) fn certificate(directory: &Path, name: &str) {
    let names = vec![name.to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    std::fs::write(directory.join("cert.pem"), made.cert.pem()).expect("a file");
    std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).expect("a file");
}
