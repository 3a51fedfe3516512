//! The dataplane that is measured: a process of its own, started with a data directory, ended by its id.
//!
//! Owns the child and what the kernel says of it. It has one shard, which keeps to the first core; the bench keeps to the
//! last.

use rcgen::generate_simple_self_signed;
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where dataplanes of one bench live: their certificate, and who trusts it.
pub struct Home {
    dir: PathBuf,
    /// In memory: what a dataplane that is killed leaves there goes with the bench.
    memory: TempDir,
    program: PathBuf,
    driver: String,
    /// Trusts the certificate; TLS 1.3.
    pub tls: Arc<ClientConfig>,
}

/// A dataplane that serves.
pub struct Dataplane {
    child: Child,
    /// When it was started.
    pub started: Instant,
    /// Between its start and its saying that it serves.
    pub took: Duration,
    /// Where gateways send.
    pub udp: SocketAddr,
    /// Where consumers connect, with TLS and without.
    pub wss: SocketAddr,
    /// Plain WebSocket.
    pub plain: SocketAddr,
    /// Where Prometheus asks.
    pub metrics: SocketAddr,
    /// Where the control plane speaks.
    pub control: PathBuf,
}

impl Home {
    /// Makes a certificate in `dir`. `bin_dir` has the programs, which run on `driver`.
    ///
    /// # Errors
    /// The host's.
    pub fn new(dir: &Path, bin_dir: &Path, driver: &str) -> io::Result<Self> {
        let certified = generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
        fs::write(dir.join("cert.pem"), certified.cert.pem())?;
        fs::write(dir.join("key.pem"), certified.signing_key.serialize_pem())?;
        let tls = client_config(certified.cert.der().clone()).map_err(io::Error::other)?;
        let memory = tempfile::tempdir_in("/dev/shm")?;
        Ok(Self { dir: dir.into(), memory, driver: driver.into(), program: bin_dir.join("trunkline-dataplane"), tls })
    }

    /// The data directory of this name.
    #[must_use]
    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts a dataplane on the data directory of this name, with room for so many devices; returns once it serves.
    ///
    /// # Errors
    /// What the host or the dataplane refuses.
    pub fn start(&self, name: &str, devices_max: u64) -> io::Result<Dataplane> {
        let control = self.dir.join(format!("{name}.sock"));
        let log = self.dir.join(format!("{name}.log"));
        // It ends with the bench, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
        command.args(["--cores", "1", "--udp-listen", "127.0.0.1:0", "--wss-listen", "127.0.0.1:0"]);
        command.args(["--plain-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--log-filter", "info"]);
        command.args(["--driver", &self.driver]);
        command.args(["--devices-max", &devices_max.to_string(), "--data-dir"]).arg(self.data_dir(name));
        command.arg("--control-socket").arg(&control).arg("--carry-dir").arg(self.memory.path());
        command.arg("--cert").arg(self.dir.join("cert.pem")).arg("--key").arg(self.dir.join("key.pem"));
        let started = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(&log)?).spawn()?;
        let mut ready = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut ready)?;
        }
        let took = started.elapsed();
        let address = |name: &str| {
            let behind = ready.split(&format!("{name} ")).nth(1)?;
            behind.split([',', '\n']).next()?.parse().ok()
        };
        let (Some(udp), Some(wss), Some(plain), Some(metrics)) =
            (address("udp"), address("wss"), address("plain"), address("metrics"))
        else {
            // It ends or has ended; what it said is why.
            let _killed = child.kill();
            child.wait()?;
            return Err(io::Error::other(format!("the dataplane is not ready: {}", fs::read_to_string(&log)?)));
        };
        Ok(Dataplane { child, started, took, udp, wss, plain, metrics, control })
    }
}

impl Dataplane {
    /// Asks it to end, as a service manager does, and waits.
    ///
    /// # Errors
    /// If it ended otherwise than asked.
    pub fn stop(mut self) -> io::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("the dataplane ended with {status}"))) }
    }

    /// Processor time of all its threads so far.
    ///
    /// # Errors
    /// If it has ended.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            nanos += text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Its resident memory, bytes.
    ///
    /// # Errors
    /// If it has ended.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        self.status("VmRSS:")
    }

    /// The most that it was, bytes.
    ///
    /// # Errors
    /// If it has ended.
    pub fn peak_bytes(&self) -> io::Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let kib = line.split_whitespace().next().and_then(|field| field.parse::<u64>().ok());
        kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other(format!("the kernel says no {name}")))
    }

    /// What it answers to Prometheus.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn scrape(&self) -> io::Result<String> {
        let mut link = TcpStream::connect(self.metrics)?;
        link.set_read_timeout(Some(Duration::from_secs(60)))?;
        link.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        link.read_to_string(&mut answer)?;
        if answer.starts_with("HTTP/1.1 200 ") { Ok(answer) } else { Err(io::Error::other(answer)) }
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Keeps the calling thread to the last core.
pub fn pin() {
    let core = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    // For evenness; a host that refuses it is measured all the same.
    let _pinned = uring::pin_to_core(core);
}

fn client_config(certificate: CertificateDer<'static>) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
