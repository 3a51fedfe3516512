//! A WebSocket client over TLS: tungstenite on rustls, neither of which the listener's framing is made of.
//!
//! Owns one connection. The server's certificate is checked against the one file the test knows.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use serde_json::Value;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Error, Message, WebSocket};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(5);

/// TLS over TCP.
pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// An open WebSocket.
pub(crate) struct Socket(WebSocket<Tls>);

/// Where and how to connect.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Door {
    /// The listener at `address`, whose certificate is in `certificate`.
    pub(crate) fn new(address: SocketAddr, certificate: &Path) -> Self {
        Self::of_versions(address, certificate, rustls::DEFAULT_VERSIONS, &[])
    }

    /// The same with these TLS versions and ALPN protocols alone.
    pub(crate) fn of_versions(
        address: SocketAddr,
        certificate: &Path,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(certificate).expect("a certificate file") {
            roots.add(certificate.expect("a certificate")).expect("a usable certificate");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let mut config = config.expect("known versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self { address, config: Arc::new(config) }
    }

    /// A finished TLS handshake.
    pub(crate) fn tls(&self) -> Tls {
        let tcp = TcpStream::connect_timeout(&self.address, PATIENCE).expect("the listener accepts");
        tcp.set_nodelay(true).expect("a TCP socket");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::clone(&self.config), name).expect("a client");
        let mut tls = StreamOwned::new(connection, tcp);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock).expect("the handshake succeeds");
        }
        tls
    }

    /// Opens a WebSocket at `path`; the HTTP status if it is refused.
    pub(crate) fn open(&self, path: &str, headers: &[(&'static str, &str)]) -> Result<Socket, u16> {
        let mut request =
            format!("wss://localhost:{}{path}", self.address.port()).into_client_request().expect("a URL");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header's value"));
        }
        match tungstenite::client(request, self.tls()) {
            Ok((socket, _)) => Ok(Socket(socket)),
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
            Err(error) => panic!("the upgrade failed: {error}"),
        }
    }

    /// A WebSocket at `path`, if somebody is there who takes one.
    pub(crate) fn try_open(&self, path: &str) -> Option<Socket> {
        let tcp = TcpStream::connect(self.address).ok()?;
        tcp.set_nodelay(true).ok()?;
        tcp.set_read_timeout(Some(PATIENCE)).ok()?;
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::clone(&self.config), name).expect("a client");
        let request = format!("wss://localhost:{}{path}", self.address.port()).into_client_request().expect("a URL");
        let (socket, _) = tungstenite::client(request, StreamOwned::new(connection, tcp)).ok()?;
        Some(Socket(socket))
    }

    /// The stream that this token opens.
    pub(crate) fn stream(&self, token: &str) -> Socket {
        self.open(&format!("/?token={token}"), &[]).unwrap_or_else(|status| panic!("the upgrade got {status}"))
    }
}

impl Socket {
    /// The next JSON message, until the connection ends or one is told to stop.
    pub(crate) fn try_next(&mut self, stop: &std::sync::atomic::AtomicBool) -> Option<Value> {
        while !stop.load(std::sync::atomic::Ordering::Acquire) {
            match self.read(Instant::now() + Duration::from_millis(200)) {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).expect("JSON")),
                Ok(Message::Close(_)) => return None,
                Ok(_) => {}
                Err(Error::Io(error)) if waits(&error) => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// Sends a JSON message, if the connection still takes one.
    pub(crate) fn try_send(&mut self, message: &Value) -> bool {
        self.0.send(Message::text(message.to_string())).is_ok()
    }

    /// The next text message in time, pings answered on the way.
    pub(crate) fn text_within(&mut self, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.message_until(deadline)? {
                Message::Text(text) => return Some(text.to_string()),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("unexpected message: {other:?}"),
            }
        }
    }

    /// The next text message, byte for byte.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        self.text_within(PATIENCE).expect("a message in time")
    }

    /// The next JSON message in time.
    pub(crate) fn next_within(&mut self, patience: Duration) -> Option<Value> {
        let text = self.text_within(patience)?;
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}")))
    }

    /// The next JSON message.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Value {
        self.next_within(PATIENCE).expect("a message in time")
    }

    /// The next JSON message that satisfies `wanted`; others are passed over.
    #[track_caller]
    pub(crate) fn next_where(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + 2 * PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next_within(left) {
                Some(message) if wanted(&message) => return message,
                Some(message) => seen.push(message),
                None => panic!("the awaited message did not come; came: {seen:?}"),
            }
        }
    }

    /// Asserts that nothing comes for a while.
    #[track_caller]
    pub(crate) fn silent(&mut self, duration: Duration) {
        if let Some(message) = self.next_within(duration) {
            panic!("unexpected: {message}");
        }
    }

    /// Sends a JSON message.
    pub(crate) fn send(&mut self, message: &Value) {
        self.say(Message::text(message.to_string()));
    }

    /// Sends any message.
    pub(crate) fn say(&mut self, message: Message) {
        self.0.send(message).expect("the socket takes a message");
    }

    /// Sends these bytes below the WebSocket's framing.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        use std::io::Write;
        self.0.get_mut().write_all(bytes).expect("the socket takes bytes");
    }

    /// Reads until the peer closes; its close code, or `None` if it merely hung up.
    pub(crate) fn close_code(&mut self) -> Option<u16> {
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            match self.read(deadline) {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(Error::Io(error)) if waits(&error) => panic!("the peer does not close"),
                Err(_) => return None,
            }
        }
    }

    /// The next message before the deadline, whatever it is.
    pub(crate) fn message_until(&mut self, deadline: Instant) -> Option<Message> {
        match self.read(deadline) {
            Ok(message) => Some(message),
            Err(Error::Io(error)) if waits(&error) => None,
            Err(error) => panic!("the socket failed: {error}"),
        }
    }

    fn read(&mut self, deadline: Instant) -> Result<Message, Error> {
        // A timeout of zero would mean none.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.0.get_ref().sock.set_read_timeout(Some(left)).expect("a TCP socket");
        self.0.read()
    }
}

fn waits(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
