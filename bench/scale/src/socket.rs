//! A consumer's WebSocket, with TLS or without.
//!
//! Owns the socket and what came of it and is no whole frame yet. Reads only what a server writes: unmasked, unfragmented
//! frames. Holds no buffer while nothing waits, so that tens of thousands are little.

use crate::plan::TOKEN;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// A frame with text.
pub const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
pub struct Socket {
    tls: Option<Box<ClientConnection>>,
    tcp: TcpStream,
    rest: Vec<u8>,
    /// Pings of ours that were answered.
    pongs: u64,
}

impl Socket {
    /// Opens the stream of the bench's plan. With `config` over TLS.
    ///
    /// # Errors
    /// What the host or the server refuses.
    pub fn open(server: SocketAddr, config: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let tcp = TcpStream::connect(server)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let tls = config.map(|config| ClientConnection::new(Arc::clone(config), name)).transpose();
        let mut socket = Self { tls: tls.map_err(io::Error::other)?.map(Box::new), tcp, rest: Vec::new(), pongs: 0 };
        let request = format!(
            "GET /?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write(request.as_bytes())?;
        let mut answer = Vec::new();
        let end = loop {
            if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if !socket.read(&mut answer)? {
                return Err(io::Error::other("no answer to the handshake in time"));
            }
        };
        if !answer.starts_with(b"HTTP/1.1 101 ") {
            return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
        }
        socket.rest = answer.split_off(end);
        socket.tcp.set_nonblocking(true)?;
        Ok(socket)
    }

    /// Its descriptor, to be polled.
    #[must_use]
    pub const fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Takes what came: `each` is given every message, pings are answered. Returns how many those were.
    ///
    /// # Errors
    /// A connection that ends, or breaks the protocol.
    pub fn take(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<u64> {
        let mut bytes = std::mem::take(&mut self.rest);
        let (mut pings, mut pongs) = (0, 0);
        loop {
            let more = self.read(&mut bytes)?;
            let mut at = 0;
            while let Some((opcode, from, to)) = frame(&bytes[at..]) {
                let body = &bytes[at + from..at + to];
                at += to;
                match opcode {
                    TEXT => each(body),
                    PING => {
                        self.say(PONG, body)?;
                        pings += 1;
                    }
                    PONG => pongs += 1,
                    _ => {
                        let said = String::from_utf8_lossy(body);
                        return Err(io::Error::other(format!("the server said {opcode:#x} {said:?}")));
                    }
                }
            }
            bytes.drain(..at);
            if !more {
                break;
            }
        }
        self.rest = if bytes.is_empty() { Vec::new() } else { bytes };
        self.pongs += pongs;
        Ok(pings)
    }

    /// Asks for a sign of life, and waits for it.
    ///
    /// # Errors
    /// As [`Socket::take`], or if none comes.
    pub fn ping(&mut self) -> io::Result<()> {
        let before = self.pongs;
        self.say(PING, b"")?;
        while self.pongs == before {
            let timeout = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
            if poll(&mut [PollFd::new(&self.tcp, PollFlags::IN)], Some(&timeout))? == 0 {
                return Err(io::Error::other("a ping was not answered in time"));
            }
            self.take(|_| ())?;
        }
        Ok(())
    }

    /// Appends what can be read; false if nothing can.
    fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else {
            let mut piece = [0; 64 << 10];
            return match self.tcp.read(&mut piece) {
                Ok(0) => Err(io::Error::other("the server hung up")),
                Ok(count) => {
                    into.extend_from_slice(&piece[..count]);
                    Ok(true)
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error),
            };
        };
        match tls.read_tls(&mut self.tcp) {
            Ok(0) => return Err(io::Error::other("the server hung up")),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        tls.process_new_packets().map_err(io::Error::other)?;
        match tls.reader().read_to_end(into) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        self.flush()?;
        Ok(true)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes)?,
            None => return self.tcp.write_all(bytes),
        }
        self.flush()
    }

    /// Writes what TLS has to say. What is said here is little: it fits the socket.
    fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            tls.write_tls(&mut self.tcp)?;
        }
        Ok(())
    }

    fn say(&mut self, opcode: u8, body: &[u8]) -> io::Result<()> {
        // A mask of zeros is a mask.
        let mut frame = vec![opcode, 0x80 | body.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(body);
        self.write(&frame)
    }
}

/// The first byte of a frame, and where its payload begins and ends; `None` if it is not all there.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (from, length) = match *bytes {
        [_, length, ..] if length < 126 => (2, usize::from(length)),
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        _ => return None,
    };
    (bytes.len() >= from + length).then_some((bytes[0], from, from + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_whole_or_not_at_all() {
        assert_eq!(frame(&[0x81, 2, b'a', b'b', 0x89]), Some((0x81, 2, 4)));
        assert_eq!(frame(&[0x81, 2, b'a']), None);
        let mut long = vec![0x81, 126, 1, 0];
        long.resize(4 + 256, b'x');
        assert_eq!(frame(&long), Some((0x81, 4, 260)));
        assert_eq!(frame(&long[..259]), None);
    }
}
