//! The server of a trial: a process of its own, started with nothing and ended by its id.
//!
//! Owns the child, its folder and its certificate.

use crate::{Workload, plan};
use rcgen::generate_simple_self_signed;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `trunkline-dataplane` with one shard.
    Trunkline,
    /// `trunkline-floor`, with messages of this many bytes.
    Floor {
        /// As long as Trunkline's.
        message_bytes: usize,
    },
}

/// A server that serves.
pub struct Server {
    child: Child,
    _home: TempDir,
    _memory: TempDir,
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
            Kind::Trunkline => {
                let mut command = Command::new(bin_dir.join("trunkline-dataplane"));
                command.args(["--cores", "1", "--udp-listen", "127.0.0.1:0", "--wss-listen", "127.0.0.1:0"]);
                command
                    .args(["--metrics-listen", "127.0.0.1:0", "--log-filter", "warn", "--data-dir"])
                    .arg(home.path().join("data"));
                command.arg("--control-socket").arg(&socket).arg("--carry-dir").arg(memory.path());
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
        let server = Self { child, _home: home, _memory: memory, udp, wss, tls };
        if kind == Kind::Trunkline {
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
