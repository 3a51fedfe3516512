//! The consumers: one secure WebSocket per stream, and a check of every message that comes.
//!
//! Owns the sockets and the book of what came. Reads only what a server writes: unmasked, unfragmented frames.

use crate::frames::{PAYLOAD_BYTES, dev_eui, number, payload};
use crate::gateways::due;
use crate::{Workload, clock, plan};
use floor::DIGIT_COUNT;
use hdrhistogram::Histogram;
use memchr::memmem::Finder;
use rustix::event::{Timespec, epoll};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that one read of a socket takes.
pub(crate) const READ_BYTES: usize = 64 << 10;

/// Connections that one look finds ready at most; the others' turn is the next one.
const READY_AT_ONCE: usize = 64;

/// What the consumers got.
#[derive(Debug)]
pub struct Heard {
    /// Different uplinks.
    pub uplinks: u64,
    /// Uplinks that came again.
    pub duplicates: u64,
    /// Messages that are not what was sent.
    pub wrong: u64,
    /// Uplinks that came after a later one of their device.
    pub reordered: u64,
    /// Microseconds from an uplink's due time to its being read.
    pub latency: Histogram<u64>,
    /// Bytes of the first message.
    pub message_bytes: usize,
}

/// One consumer.
pub(crate) struct Consumer {
    tls: ClientConnection,
    pub(crate) tcp: TcpStream,
    /// Plaintext that is not a whole frame yet.
    pub(crate) rest: Vec<u8>,
}

/// What a message is looked through for.
pub(crate) struct Keys {
    pub(crate) data: Finder<'static>,
    pub(crate) device_eui: Finder<'static>,
    pub(crate) fcnt: Finder<'static>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            data: Finder::new(b"\"Data\":\""),
            device_eui: Finder::new(b"\"DeviceEUI\":\""),
            fcnt: Finder::new(b"\"FCnt\":"),
        }
    }
}

/// All consumers.
pub struct Consumers {
    all: Vec<Consumer>,
    workload: Workload,
    /// By uplink: it came.
    came: Vec<bool>,
    /// By device: the last of its uplinks, plus one.
    last: Vec<u64>,
    heard: Heard,
    /// Whether messages carry the payload, or digits alone as the floor's do.
    whole: bool,
    /// What was read last, as it came.
    cipher: Vec<u8>,
    keys: Keys,
    /// Tells who has something to read.
    ready: OwnedFd,
}

impl Consumers {
    /// Opens one WebSocket per stream.
    ///
    /// # Errors
    /// What the host or the server refuses.
    pub fn open(
        server: SocketAddr,
        tls: &Arc<ClientConfig>,
        workload: &Workload,
        count: u64,
        whole: bool,
    ) -> io::Result<Self> {
        let all = (0..workload.streams())
            .map(|stream| Consumer::open(server, tls, &plan::token(stream)))
            .collect::<io::Result<Vec<_>>>()?;
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, consumer) in all.iter().enumerate() {
            epoll::add(&ready, &consumer.tcp, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        }
        let heard = Heard {
            uplinks: 0,
            duplicates: 0,
            wrong: 0,
            reordered: 0,
            latency: Histogram::new_with_bounds(1, 60_000_000, 3).map_err(io::Error::other)?,
            message_bytes: 0,
        };
        let (came, last) = (vec![false; count as usize], vec![0; workload.devices as usize]);
        Ok(Self {
            all,
            workload: *workload,
            came,
            last,
            heard,
            whole,
            cipher: vec![0; READ_BYTES],
            keys: Keys::default(),
            ready,
        })
    }

    /// Reads what has come, from every connection.
    ///
    /// # Errors
    /// A connection that ends, or breaks the protocol.
    pub fn step(&mut self, rate: u64, start: u64) -> io::Result<()> {
        let mut room = [const { MaybeUninit::uninit() }; READY_AT_ONCE];
        let (events, _) = epoll::wait(&self.ready, &mut room, Some(&Timespec::default()))?;
        for event in events {
            let index = event.data.u64() as usize;
            let now = clock();
            self.all[index].fill(&mut self.cipher)?;
            let mut rest = std::mem::take(&mut self.all[index].rest);
            let taken = self.take(&rest, index as u32, now, rate, start)?;
            if taken == rest.len() {
                rest.clear();
            } else {
                rest.drain(..taken);
            }
            self.all[index].rest = rest;
        }
        Ok(())
    }

    /// Whether all uplinks came.
    #[must_use]
    pub fn have_all(&self) -> bool {
        self.heard.uplinks == self.came.len() as u64
    }

    /// What came.
    #[must_use]
    pub fn heard(self) -> Heard {
        self.heard
    }

    /// Takes the whole frames at the front. Returns how many bytes they have.
    fn take(&mut self, bytes: &[u8], stream: u32, now: u64, rate: u64, start: u64) -> io::Result<usize> {
        let mut at = 0;
        while let Some((opcode, from, to)) = frame(&bytes[at..]) {
            let body = &bytes[at + from..at + to];
            at += to;
            match opcode {
                TEXT => self.message(body, stream, now, rate, start),
                PING => self.all[stream as usize].pong(body)?,
                _ => {
                    return Err(io::Error::other(format!(
                        "the server said {opcode:#x} {:?}",
                        String::from_utf8_lossy(body)
                    )));
                }
            }
        }
        Ok(at)
    }

    fn message(&mut self, text: &[u8], stream: u32, now: u64, rate: u64, start: u64) {
        if self.heard.message_bytes == 0 {
            self.heard.message_bytes = text.len();
        }
        let Some(data) = after(text, &self.keys.data) else { return self.heard.wrong += 1 };
        let number = data.get(..DIGIT_COUNT).and_then(number).filter(|number| *number < self.came.len() as u64);
        let Some(number) = number.filter(|number| self.workload.stream(*number) == stream) else {
            return self.heard.wrong += 1;
        };
        let device = self.workload.device(number);
        if self.whole && !self.is_whole(text, data, number, device) {
            return self.heard.wrong += 1;
        }
        if std::mem::replace(&mut self.came[number as usize], true) {
            return self.heard.duplicates += 1;
        }
        if number < self.last[device as usize] {
            self.heard.reordered += 1;
        }
        self.last[device as usize] = number + 1;
        self.heard.uplinks += 1;
        self.heard.latency.saturating_record((now.saturating_sub(due(number, rate, start)) / 1000).max(1));
    }

    fn is_whole(&self, text: &[u8], data: &[u8], number: u64, device: u32) -> bool {
        let payload = payload(number, device);
        let mut hex = [0; 2 * PAYLOAD_BYTES];
        hex_of(&payload, &mut hex);
        let mut eui = [0; 16];
        hex_of(&dev_eui(device).to_be_bytes(), &mut eui);
        let fcnt = self.workload.fcnt(number);
        data.len() > hex.len()
            && data.starts_with(&hex)
            && after(text, &self.keys.device_eui)
                .is_some_and(|said| said.starts_with(&eui) && said[16..].starts_with(b"\""))
            && after(text, &self.keys.fcnt).is_some_and(|said| decimal(said) == Some(u64::from(fcnt)))
    }
}

/// Upper-case hexadecimal digits.
fn hex_of(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        (pair[0], pair[1]) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
    }
}

/// The number at the front, up to the comma behind it.
fn decimal(text: &[u8]) -> Option<u64> {
    let end = text.iter().position(|byte| *byte == b',')?;
    std::str::from_utf8(&text[..end]).ok()?.parse().ok()
}

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8A;

/// The first byte of a frame, and where its payload begins and ends; `None` if it is not all there.
pub(crate) fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (from, length) = match *bytes {
        [_, length, ..] if length < 126 => (2, usize::from(length)),
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        _ => return None,
    };
    (bytes.len() >= from + length).then_some((bytes[0], from, from + length))
}

/// What stands behind the first `key`.
pub(crate) fn after<'a>(text: &'a [u8], key: &Finder<'_>) -> Option<&'a [u8]> {
    Some(&text[key.find(text)? + key.needle().len()..])
}

impl Consumer {
    /// Opens the WebSocket to which a token, and what may stand behind it, leads.
    pub(crate) fn open(server: SocketAddr, config: &Arc<ClientConfig>, token: &str) -> io::Result<Self> {
        let mut tcp = TcpStream::connect(server)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(10)))?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let request = format!(
            "GET /?token={token} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        tls.writer().write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
            tls.complete_io(&mut tcp)?;
            read_plain(&mut tls, &mut answer)?;
        }
        if !answer.starts_with(b"HTTP/1.1 101 ") {
            return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
        }
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("just found") + 4;
        tcp.set_nonblocking(true)?;
        Ok(Self { tls, tcp, rest: answer.split_off(end) })
    }

    /// Reads what the socket has, into `cipher` first.
    pub(crate) fn fill(&mut self, cipher: &mut [u8]) -> io::Result<()> {
        loop {
            let count = match self.tcp.read(cipher) {
                Ok(0) => return Err(io::Error::other("the server hung up")),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut rest = &cipher[..count];
            while !rest.is_empty() {
                self.tls.read_tls(&mut rest)?;
                self.tls.process_new_packets().map_err(io::Error::other)?;
                read_plain(&mut self.tls, &mut self.rest)?;
            }
            if count < cipher.len() {
                return Ok(());
            }
        }
    }

    fn pong(&mut self, body: &[u8]) -> io::Result<()> {
        self.say(PONG, body)
    }

    /// Writes a frame of at most 125 bytes.
    pub(crate) fn say(&mut self, opcode: u8, body: &[u8]) -> io::Result<()> {
        // A mask of zeros is a mask.
        let mut frame = vec![opcode, 0x80 | body.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(body);
        self.tls.writer().write_all(&frame)?;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.tcp) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn read_plain(tls: &mut ClientConnection, into: &mut Vec<u8>) -> io::Result<()> {
    match tls.reader().read_to_end(into) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_whole_or_not_at_all() {
        assert_eq!(frame(&[0x81, 2, b'a', b'b', 0x89]), Some((0x81, 2, 4)));
        assert_eq!(frame(&[0x81, 2, b'a']), None);
        assert_eq!(frame(&[0x81]), None);
        let mut long = vec![0x81, 126, 1, 0];
        long.resize(4 + 256, b'x');
        assert_eq!(frame(&long), Some((0x81, 4, 260)));
        assert_eq!(frame(&long[..259]), None);
        let data = Finder::new(b"\"Data\":\"");
        assert_eq!(after(b"{\"Data\":\"12", &data), Some(&b"12"[..]));
        assert_eq!(after(b"{}", &data), None);
        assert_eq!((decimal(b"17,"), decimal(b"17"), decimal(b"x,")), (Some(17), None, None));
    }
}
