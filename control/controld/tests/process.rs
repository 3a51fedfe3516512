//! The process itself: what it makes at its first start, what it says when it cannot start, how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running control plane; killed if a test fails before it ends it.
struct Running {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    address: String,
}

fn command(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline-control"));
    command.arg("--data-dir").arg(data_dir).args(["--listen", "127.0.0.1:0"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn start(data_dir: &Path, arguments: &[&str]) -> Running {
    let mut child = command(data_dir, arguments).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    // From here on it ends with what owns it, also when the assertion below fails.
    let mut running = Running { child, log, address: String::new() };
    let mut said = String::new();
    while running.address.is_empty() {
        let mut line = String::new();
        assert!(running.log.read_line(&mut line).unwrap() > 0, "it ended: {said}");
        if let Some((_, rest)) = line.split_once("ready: http") {
            let address = rest.trim_start_matches('s').trim_start_matches("://").trim_end().trim_end_matches('/');
            running.address = address.to_owned();
        }
        said.push_str(&line);
    }
    running
}

impl Running {
    /// SIGTERM; answers whether it ended well.
    fn stop(mut self) -> bool {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        self.child.wait().unwrap().success() && rest.contains("stopping")
    }

    /// A request as bytes; the answer's status line and body.
    fn request(&self, path: &str, key: &str) -> String {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a start that fails says: one line, and it must be there.
fn refusal(data_dir: &Path, arguments: &[&str]) -> String {
    let mut child = command(data_dir, arguments).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    // One that started after all would run for ever.
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code().is_some_and(|code| code != 0), "it started: {said}");
    let last: Vec<&str> = said.lines().filter(|line| line.starts_with("trunkline-control: ")).collect();
    assert_eq!(last.len(), 1, "{said}");
    assert!(!said.contains("panicked"), "{said}");
    last[0].to_owned()
}

#[test]
fn the_first_start_makes_what_the_second_finds() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let running = start(&data_dir, &[]);
    let mode = |name: &str| std::fs::metadata(data_dir.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(std::fs::metadata(&data_dir).unwrap().permissions().mode() & 0o777, 0o700);
    for name in ["operator.key", "cert.pem", "key.pem", "store.key"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    let key = std::fs::read_to_string(data_dir.join("operator.key")).unwrap();
    let answer = running.request("/api/v1/status", key.trim());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#""connected":false"#), "there is no dataplane: {answer}");
    assert!(running.request("/api/v1/status", "wrong").starts_with("HTTP/1.1 401"));
    assert!(refusal(&data_dir, &[]).contains("another trunkline-control"));
    assert!(running.stop(), "SIGTERM ends it well");

    let running = start(&data_dir, &["--new-operator-key"]);
    let other = std::fs::read_to_string(data_dir.join("operator.key")).unwrap();
    assert_ne!(key, other);
    for key in [key, other] {
        assert!(running.request("/api/v1/me", key.trim()).starts_with("HTTP/1.1 200"));
    }
    assert!(running.stop());
}

#[test]
fn what_keeps_it_from_starting_is_said_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let data_dir = path("data");
    assert!(start(&data_dir, &[]).stop());

    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut arguments = vec!["--data-dir".to_owned(), data_dir.display().to_string(), "--listen".to_owned()];
    arguments.push(held.local_addr().unwrap().to_string());
    let output = Command::new(env!("CARGO_BIN_EXE_trunkline-control")).args(&arguments).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("is in use by another program"));

    arguments.pop();
    arguments.push("0.0.0.0:0".to_owned());
    let output = Command::new(env!("CARGO_BIN_EXE_trunkline-control")).args(&arguments).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not loopback"));

    std::fs::write(path("file"), "").unwrap();
    assert!(refusal(&path("file"), &[]).contains("is not a directory"));

    assert!(refusal(&data_dir, &["--log-filter", "a=b=c"]).contains("--log-filter"));

    // Another installation's certificate, then another installation's key file.
    let other = path("other");
    assert!(start(&other, &[]).stop());
    std::fs::rename(data_dir.join("key.pem"), path("key.pem")).unwrap();
    assert!(refusal(&data_dir, &[]).contains("key.pem is not"));
    std::fs::copy(other.join("key.pem"), data_dir.join("key.pem")).unwrap();
    assert!(refusal(&data_dir, &[]).contains("does not belong to the key"));
    std::fs::rename(path("key.pem"), data_dir.join("key.pem")).unwrap();

    let (cert, key) = (other.join("cert.pem"), data_dir.join("key.pem"));
    let arguments = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    assert!(refusal(&data_dir, &arguments).contains("does not belong to the key"));

    std::fs::rename(data_dir.join("store.key"), path("store.key")).unwrap();
    std::fs::copy(other.join("store.key"), data_dir.join("store.key")).unwrap();
    assert!(refusal(&data_dir, &[]).contains("does not belong to the store"));
    std::fs::rename(path("store.key"), data_dir.join("store.key")).unwrap();

    // The log of the last writes would bring the store back.
    let _ = std::fs::remove_file(other.join("trunkline.db-wal"));
    std::fs::write(other.join("trunkline.db"), "this is no database, and it is long enough to be looked at").unwrap();
    assert!(refusal(&other, &[]).contains("trunkline.db"));
    assert!(start(&data_dir, &[]).stop(), "nothing above did any harm");
}

#[test]
fn the_api_is_served_over_tls_too() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    assert!(start(&data_dir, &[]).stop());
    let pair = ["cert.pem", "key.pem"].map(|name| data_dir.join(name).display().to_string());
    let running = start(&data_dir, &["--tls-cert", &pair[0], "--tls-key", &pair[1]]);

    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&pair[0]).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A peer that never shakes hands keeps nobody else out.
    let _silent = TcpStream::connect(&running.address).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let session = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut stream = rustls::StreamOwned::new(session, TcpStream::connect(&running.address).unwrap());
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // The server may close without a close_notify.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert!(running.stop());
}

/// Everything that comes until the peer closes.
fn rest(mut socket: TcpStream) -> String {
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn who_keeps_silent_keeps_no_place() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(&directory.path().join("data"), &["--connections-max", "2", "--request-timeout-s", "1"]);
    let key = std::fs::read_to_string(directory.path().join("data/operator.key")).unwrap();
    let say = |text: &str| {
        let mut socket = TcpStream::connect(&running.address).unwrap();
        socket.write_all(text.as_bytes()).unwrap();
        socket
    };
    let start = Instant::now();
    let half = say("GET /healthz HTTP/1.1\r\nHost: x\r\n");
    let silent = say("");
    // Both places are taken until their time is over.
    let metrics = running.request("/metrics", "");
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    assert!(metrics.contains("trunkline_control_connections_waited_total 1\n"), "{metrics}");
    assert!(!rest(half).contains("200 OK"));
    assert_eq!(rest(silent), "");
    let bodiless = say(&format!(
        "POST /api/v1/tenants HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\nConnection: close\r\n\r\n{{",
        key.trim()
    ));
    let answer = rest(bodiless);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(running.stop());
}

#[test]
fn followers_of_events_do_not_hold_up_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(&directory.path().join("data"), &[]);
    let key = std::fs::read_to_string(directory.path().join("data/operator.key")).unwrap();
    let mut socket = TcpStream::connect(&running.address).unwrap();
    let request =
        format!("GET /api/v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", key.trim());
    socket.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 15];
    socket.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let start = Instant::now();
    assert!(running.stop());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn a_key_whose_file_cannot_be_written_is_made_by_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    std::fs::create_dir_all(data_dir.join("operator.key/in the way")).unwrap();
    assert!(refusal(&data_dir, &[]).contains("operator.key: cannot be written"));
    std::fs::remove_dir_all(data_dir.join("operator.key")).unwrap();
    let running = start(&data_dir, &[]);
    let key = std::fs::read_to_string(data_dir.join("operator.key")).unwrap();
    assert!(running.request("/api/v1/me", key.trim()).starts_with("HTTP/1.1 200"));
    assert!(running.stop());
}
