//! `trunkline stream tail`: a plain WebSocket client that prints what a stream carries.

use crate::show::Printer;
use crate::trust::Trust;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;
use tungstenite::Message;
use tungstenite::client::client_with_config;
use tungstenite::error::Error;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::{Request, Uri};
use tungstenite::protocol::WebSocketConfig;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds between pings of a stream that does not say.
const PING_INTERVAL_S: u64 = 30;

/// How long nothing may come. Pings come more often than this; a session without any is dead.
pub(crate) fn silence(ping_interval_s: Option<u64>) -> Duration {
    Duration::from_secs(ping_interval_s.unwrap_or(PING_INTERVAL_S) * 2 + 60)
}

/// Opens `url`, a `wss://` one, with the token, and prints until the peer closes or `count_max` messages came.
pub(crate) fn run(
    printer: Printer,
    trust: &Trust,
    url: &str,
    token: &str,
    silence: Duration,
    count_max: Option<u64>,
) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    let host = uri.host().ok_or_else(|| format!("{url}: names no host"))?;
    let host = host.trim_matches(['[', ']']);
    if uri.scheme_str() != Some("wss") {
        return Err(format!("{url}: streams are opened with wss://"));
    }
    let port = uri.port_u16().unwrap_or(443);
    let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("{host}: {error}"))?;
    let socket = connect(host, port, silence)?;
    let session = ClientConnection::new(trust.for_streams()?, name).map_err(|error| format!("{host}: {error}"))?;
    let request = request(&uri, host, port, token)?;
    let config = WebSocketConfig::default().read_buffer_size(16 << 10);
    let handshake = client_with_config(request, StreamOwned::new(session, socket), Some(config));
    let (mut session, _) = handshake.map_err(|error| match error {
        HandshakeError::Failure(error) => explain(&format!("{host}:{port}"), &error),
        HandshakeError::Interrupted(_) => format!("{host}:{port}: no answer"),
    })?;
    let mut count = 0;
    loop {
        match session.read() {
            Ok(Message::Text(text)) => printer.line(text.trim_end())?,
            Ok(Message::Binary(bytes)) => printer.line(&String::from_utf8_lossy(&bytes))?,
            Ok(Message::Close(frame)) => {
                let why = frame.map(|frame| format!("{} {}", frame.code, frame.reason)).unwrap_or_default();
                return Err(format!("the server closed the stream {why}").trim_end().to_owned());
            }
            // Pongs are sent by the next read.
            Ok(_) => continue,
            Err(error) => return Err(explain("the stream", &error)),
        }
        count += 1;
        if Some(count) == count_max {
            // The peer is told; it need not be waited for.
            let _ = session.close(None);
            let _ = session.flush();
            return Ok(());
        }
    }
}

/// The first address of the host that answers.
fn connect(host: &str, port: u16, silence: Duration) -> Result<TcpStream, String> {
    let addresses = (host, port).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    let mut last = format!("{host}: has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(socket) => {
                let settled = socket.set_read_timeout(Some(silence)).and_then(|()| socket.set_nodelay(true));
                return settled.map(|()| socket).map_err(|error| format!("{address}: {error}"));
            }
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(last)
}

/// The token goes into a header: what is in a URL ends up in logs.
fn request(uri: &Uri, host: &str, port: u16, token: &str) -> Result<Request<()>, String> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Request::builder()
        .uri(uri)
        .header("Host", format!("{host}:{port}"))
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", tungstenite::handshake::client::generate_key())
        .header("Authorization", format!("Bearer {token}"))
        .body(())
        .map_err(|error| error.to_string())
}

fn explain(peer: &str, error: &Error) -> String {
    match error {
        Error::Http(response) => {
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let body: String = body.chars().filter(|char| !char.is_control()).take(200).collect();
            format!("{peer}: HTTP {} {body}", response.status().as_u16()).trim_end().to_owned()
        }
        Error::Io(error) if error.to_string().contains("invalid peer certificate") => {
            format!("{peer}: its certificate is not trusted ({error}): give --ca FILE, --data-dir DIR or --insecure")
        }
        error => format!("{peer}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_not_in_the_address() {
        let uri: Uri = "wss://[::1]:8443/".parse().unwrap();
        let request = request(&uri, "::1", 8443, "secret").unwrap();
        assert_eq!(request.headers()["host"], "[::1]:8443");
        assert_eq!(request.headers()["authorization"], "Bearer secret");
        assert!(!request.uri().to_string().contains("secret"));
    }

    #[test]
    fn a_stream_that_pings_seldom_is_waited_for() {
        assert!(silence(Some(3600)) > Duration::from_secs(3600));
        assert!(silence(None) > Duration::from_secs(30) && silence(Some(5)) < Duration::from_secs(120));
    }

    #[test]
    fn what_cannot_be_opened_is_explained_at_once() {
        let printer = Printer { json: false };
        let open = |url| run(printer, &Trust::default(), url, "t", silence(None), None).unwrap_err();
        assert!(open("ws://localhost/").contains("wss://"));
        assert!(open("localhost").contains("localhost"));
        // Port 1 of loopback: nobody listens there.
        assert!(open("wss://127.0.0.1:1/").contains("127.0.0.1:1"));
    }
}
