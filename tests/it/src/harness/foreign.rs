//! Programs that nobody here wrote, driven through pipes: Python `websockets` and `protobuf`, npm `lora-packet`, Chromium.
//!
//! Owns the children; `cargo xtask foreign` and `scripts/test` install what they need.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

/// How long a foreign program may take to answer. They start slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A child that speaks in lines.
pub(crate) struct Lines {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
}

impl Lines {
    fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}; see `cargo xtask foreign`"));
        let input = child.stdin.take();
        let reader = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, output) = channel();
        std::thread::spawn(move || reader.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, input, output }
    }

    /// Writes one line.
    pub(crate) fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("not hung up yet");
        writeln!(input, "{line}").and_then(|()| input.flush()).expect("the child reads");
    }

    /// The next line in time.
    pub(crate) fn line(&self, patience: Duration) -> Option<String> {
        match self.output.recv_timeout(patience) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the child has ended"),
        }
    }

    /// The next line, as JSON.
    #[track_caller]
    pub(crate) fn next(&self) -> Value {
        let line = self.line(PATIENCE).expect("a line in time");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"))
    }

    /// Closes its input and returns the last line it said.
    pub(crate) fn hang_up(&mut self) -> Option<String> {
        self.input = None;
        let mut last = None;
        while let Ok(line) = self.output.recv_timeout(PATIENCE) {
            last = Some(line);
        }
        last
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A Python script of ours that speaks in lines, with the libraries that are pinned.
pub(crate) fn script(name: &str) -> Lines {
    Lines::start(Command::new(home().join("python/bin/python")).arg(source(name)))
}

/// Python `websockets` on this URL; returns once the socket is open, with or without compression.
pub(crate) fn python_socket(url: &str, certificate: &Path, deflate: bool) -> Lines {
    let mut command = Command::new(home().join("python/bin/python"));
    command.arg(source("stream_client.py")).arg(url).arg(certificate);
    let lines = Lines::start(&mut command);
    let opened = if deflate { "open permessage-deflate" } else { "open" };
    assert_eq!(lines.line(PATIENCE).as_deref(), Some(opened));
    lines
}

/// A control plane made of Python `protobuf` on this control socket; `facts` is what its plan holds.
pub(crate) fn python_control(control_socket: &Path, facts: &Value) -> Lines {
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dataplane/contract/contract.proto");
    let mut command = Command::new(home().join("python/bin/python"));
    command.arg(source("control_plane.py")).arg(contract).arg(control_socket).arg(facts.to_string());
    Lines::start(&mut command)
}

/// A device made of npm `lora-packet`.
pub(crate) struct Packets(Lines);

impl Packets {
    /// Starts the generator.
    pub(crate) fn start() -> Self {
        let mut command = Command::new("node");
        command.arg(source("frames.mjs")).env("FOREIGN_NODE", home().join("node"));
        Self(Lines::start(&mut command))
    }

    /// Asks for a frame, or for what a frame says.
    #[track_caller]
    pub(crate) fn ask(&mut self, ask: &str, mut fields: Value) -> Value {
        fields["ask"] = ask.into();
        self.0.say(&fields.to_string());
        let answer = self.0.next();
        assert!(answer.get("error").is_none(), "lora-packet on {fields}: {answer}");
        answer
    }

    /// Asks for a frame's bytes.
    #[track_caller]
    pub(crate) fn frame(&mut self, ask: &str, fields: Value) -> Vec<u8> {
        let answer = self.ask(ask, fields);
        let text = answer["phy"].as_str().expect("a frame");
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
    }
}

/// A headless browser with one page, spoken to over its own debugging protocol.
pub(crate) struct Browser {
    child: Child,
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    request: u64,
    session: Option<String>,
}

impl Browser {
    /// Starts the browser with a profile of its own in `directory`.
    pub(crate) fn start(directory: &Path) -> Self {
        let profile = directory.join("browser");
        let mut command = Command::new(browser());
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        // The test's own certificate is self-signed; a person would accept it by hand.
        command.args(["--ignore-certificate-errors", "--disable-dev-shm-usage", "--remote-debugging-port=0"]);
        command.arg(format!("--user-data-dir={}", profile.display())).arg("about:blank");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("a browser; see scripts/test");
        let url = debugging_url(&profile.join("DevToolsActivePort"));
        let (socket, _) = tungstenite::connect(url).expect("the browser listens");
        if let MaybeTlsStream::Plain(tcp) = socket.get_ref() {
            tcp.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        }
        let mut browser = Self { child, socket, request: 0, session: None };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser
    }

    /// Opens a page, and returns once the browser shows it and no longer what it showed before.
    pub(crate) fn open(&mut self, url: &str) {
        let answer = self.call("Page.navigate", &json!({ "url": url }));
        assert!(answer.get("errorText").is_none(), "{url}: {answer}");
        self.wait(&format!("document.readyState === 'complete' && document.URL === {}", json!(url)));
    }

    /// The value of a JavaScript expression; a promise is awaited.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let question = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", &question);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until a JavaScript expression is true.
    #[track_caller]
    pub(crate) fn wait(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.evaluate(expression) != true {
            let page = self.evaluate("document.body ? document.body.innerText : ''");
            assert!(Instant::now() < deadline, "never true: {expression}; the page says: {page}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.request += 1;
        let mut message = json!({ "id": self.request, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.socket.send(Message::text(message.to_string())).expect("the browser reads");
        loop {
            let Message::Text(text) = self.socket.read().expect("the browser answers") else { continue };
            let mut answer: Value = serde_json::from_str(&text).expect("JSON");
            if answer["id"] == self.request {
                assert!(answer.get("error").is_none(), "{message}: {answer}");
                return answer["result"].take();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to close, it ends its own helpers; killed, it might leave them.
        let close = json!({ "id": 0, "method": "Browser.close" });
        self.socket.send(Message::text(close.to_string())).ok();
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The browser writes its port and its path into its profile once it listens.
fn debugging_url(file: &Path) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if let Some((port, path)) = text.split_once('\n') {
            return format!("ws://127.0.0.1:{port}{}", path.trim());
        }
        assert!(Instant::now() < deadline, "the browser does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `$BROWSER`, or the first one there that starts.
fn browser() -> PathBuf {
    let named = std::env::var_os("BROWSER").map(PathBuf::from);
    let usual = ["chromium", "chromium-browser", "google-chrome"].map(PathBuf::from);
    let brought = std::fs::read_dir(home().join("../browsers")).into_iter().flatten().flatten().flat_map(|found| {
        let inner = std::fs::read_dir(found.path()).into_iter().flatten().flatten();
        inner.flat_map(|folder| ["headless_shell", "chrome-headless-shell"].map(|name| folder.path().join(name)))
    });
    let starts = |candidate: &PathBuf| {
        let version = Command::new(candidate).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    named.into_iter().chain(usual).chain(brought).find(starts).expect("a browser; see scripts/test")
}

/// Where `cargo xtask foreign` installs.
fn home() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own file");
    own.ancestors().nth(3).expect("target/PROFILE/deps/it").join("foreign")
}

/// A script of ours that makes a foreign library speak.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign").join(name)
}
