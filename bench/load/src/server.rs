//! The server of a trial: a process of its own, started with nothing and ended by its id.
//!
//! Owns the child, its folder and its certificate.

use crate::stages::{Stages, stages};
use crate::{Workload, plan};
use rcgen::generate_simple_self_signed;
use rustix::fs::{Advice, fadvise};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `trunkline-dataplane` with one shard, over this backend.
    Trunkline(Driver),
    /// `trunkline-floor`, with messages of this many bytes.
    Floor {
        /// As long as Trunkline's.
        message_bytes: usize,
    },
}

/// What Trunkline's shard runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    /// io_uring itself.
    Uring,
    /// glommio, if the server was built with it.
    Glommio,
}

impl Driver {
    /// As the server's `--driver` spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Glommio => "glommio",
        }
    }
}

/// A server that serves.
pub struct Server {
    child: Child,
    home: TempDir,
    _memory: TempDir,
    metrics: Option<SocketAddr>,
    /// Where gateways send.
    pub udp: SocketAddr,
    /// Where consumers connect.
    pub wss: SocketAddr,
    /// Trusts its certificate; TLS 1.3.
    pub tls: Arc<ClientConfig>,
}

impl Server {
    /// Starts one of the programs in `bin_dir`; returns once it serves the workload.
    ///
    /// # Errors
    /// What the host or the server refuses.
    pub fn start(kind: Kind, bin_dir: &Path, workload: &Workload) -> io::Result<Self> {
        let (home, memory) = (tempfile::tempdir()?, tempfile::tempdir_in("/dev/shm")?);
        let certified = generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
        let (cert, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
        fs::write(&cert, certified.cert.pem())?;
        fs::write(&key, certified.signing_key.serialize_pem())?;
        let tls = client_config(certified.cert.der().clone()).map_err(io::Error::other)?;
        let socket = home.path().join("control.sock");
        let mut command = match kind {
            Kind::Trunkline(driver) => {
                let mut command = Command::new(bin_dir.join("trunkline-dataplane"));
                command.args(["--cores", "1", "--udp-listen", "127.0.0.1:0", "--wss-listen", "127.0.0.1:0"]);
                command
                    .args(["--metrics-listen", "127.0.0.1:0", "--log-filter", "warn", "--data-dir"])
                    .arg(home.path().join("data"));
                command.arg("--control-socket").arg(&socket).arg("--carry-dir").arg(memory.path());
                if let Some(mib) = workload.kept_memory_mib {
                    command.arg("--journal-memory-mib").arg(mib.to_string());
                }
                command.args(["--driver", driver.name()]);
                command
            }
            Kind::Floor { message_bytes } => {
                let mut command = Command::new(bin_dir.join("trunkline-floor"));
                command.args(["--message-bytes", &message_bytes.to_string()]);
                command
            }
        };
        command.arg("--cert").arg(&cert).arg("--key").arg(&key);
        let log = fs::File::create(home.path().join("log"))?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?;
        let ready = child.stdout.take().map(first_line).transpose()?.unwrap_or_default();
        let address = |name: &str| {
            let behind = ready.split(&format!("{name} ")).nth(1)?;
            behind.split([',', '\n']).next()?.parse().ok()
        };
        let (Some(udp), Some(wss)) = (address("udp"), address("wss")) else {
            // It ends or has ended; what it said is why.
            let _killed = child.kill();
            child.wait()?;
            let said = fs::read_to_string(home.path().join("log"))?;
            return Err(io::Error::other(format!("the server is not ready: {said}")));
        };
        let server = Self { child, home, _memory: memory, metrics: address("metrics"), udp, wss, tls };
        if matches!(kind, Kind::Trunkline(_)) {
            plan::push(&socket, workload)?;
        }
        Ok(server)
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

    /// The stages of which it keeps time, so far; none if it keeps none.
    ///
    /// # Errors
    /// If it has ended.
    pub fn stages(&self) -> io::Result<Stages> {
        self.metrics.map_or_else(|| Ok(Stages::new()), |metrics| Ok(stages(&scrape(metrics)?)))
    }

    /// What Trunkline's shards have counted of this so far.
    ///
    /// # Errors
    /// If it has ended, or is no Trunkline.
    pub fn done(&self, what: &str) -> io::Result<u64> {
        let metrics = self.metrics.ok_or_else(|| io::Error::other("this server counts nothing"))?;
        let text = scrape(metrics)?;
        let label = format!("what=\"{what}\"}} ");
        let samples = text.lines().filter(|line| line.starts_with("trunkline_shard_done_total{"));
        let mut values = samples.filter_map(|line| line.split_once(&label)?.1.parse::<u64>().ok()).peekable();
        if values.peek().is_none() {
            return Err(io::Error::other(format!("`{what}` is not counted")));
        }
        Ok(values.sum())
    }

    /// Bytes that it had read from storage so far: what the page cache had is none of them.
    ///
    /// # Errors
    /// If it has ended.
    pub fn storage_read_bytes(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/io", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap_or_default();
        Ok(line.trim().parse().unwrap_or(0))
    }

    /// Has the page cache forget the journal as far as it is on the disk.
    ///
    /// # Errors
    /// What the host refuses.
    pub fn forget_journal(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.home.path().join("data/journal"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "seg") {
                fadvise(fs::File::open(path)?, 0, None, Advice::DontNeed)?;
            }
        }
        Ok(())
    }

    /// Its resident memory, bytes.
    ///
    /// # Errors
    /// If it has ended.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        Ok(line.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0) * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What a server says of itself, in Prometheus' form.
fn scrape(metrics: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(metrics)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn first_line(stdout: impl io::Read) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok(line)
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
