//! The floor: the least that any server must do for the same bytes. Receives the load's datagrams, acknowledges each, and
//! writes a frame as long as Trunkline's to the consumer whose turn it is, over TLS or plain.
//!
//! Owns one ring, one UDP socket, one listener. Parses nothing: the load says in the two token bytes of a datagram to
//! whom the frame goes and whether there is one, and in ten digits which it is. Has no keys, no devices, no plan.
//!
//! ```text
//!   datagram  | 2 | token: copy 1 bit, consumer 15 bits | 0 | EUI 8 | {"rxpk":[{"tmst":NNNNNNNNNN, ...
//!   frame     | WebSocket head | ... "Data":"NNNNNNNNNN ... " ... padded to the length that was asked for |
//! ```

use base::Monotonic;
use driver::{Completion, Connection, Driver, Socket};
use rustls::ServerConfig;
use shard::tls::{Outlet, RECORD_OVERHEAD_BYTES, RECORD_PLAIN_BYTES_MAX, Scratch, Tls};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wire::http::{Answer, Head, RESPONSE_BYTES_MAX, Upgrade};
use wire::websocket::{FrameHead, HEAD_BYTES_MAX, Opcode};

/// The bit of the token that says: a further copy, for which there is no frame.
pub const COPY: u16 = 1 << 15;

/// Where a datagram has the ten digits that tell it from all others: behind the header and `{"rxpk":[{"tmst":`.
pub const DIGITS_AT: usize = HEADER_BYTES + 17;

/// How many digits.
pub const DIGIT_COUNT: usize = 10;

/// What a message says before those digits, so that the same consumer finds them.
pub const BEFORE_DIGITS: &[u8] = br#"{"Type":2,"Data":""#;

const HEADER_BYTES: usize = 12;
const PUSH_DATA: u8 = 0;
const PUSH_ACK: u8 = 1;
const PULL_DATA: u8 = 2;
const PULL_ACK: u8 = 4;

/// Output that may wait for one consumer, bytes. More is dropped whole, which the load sees as loss.
const PLAIN_BYTES_MAX: usize = 1 << 20;

struct Client {
    connection: Connection,
    tls: Option<Tls>,
    /// Received and not yet consumed.
    incoming: Vec<u8>,
    /// What the client asked for, in the clear.
    request: Vec<u8>,
    /// What TLS has to say by itself.
    flight: Vec<u8>,
    /// To be sent, in the clear.
    plain: Vec<u8>,
    sending: bool,
    ready: bool,
    upgraded: bool,
}

/// See the module.
pub struct Floor<D: Driver> {
    driver: D,
    tls: Option<Arc<ServerConfig>>,
    scratch: Scratch,
    clients: Vec<Client>,
    /// By the number that the load gave a consumer: its place among the clients.
    consumers: Vec<Option<usize>>,
    frame: Vec<u8>,
    digits_at: usize,
}

struct Taken<'a> {
    request: &'a mut Vec<u8>,
    flight: &'a mut Vec<u8>,
}

impl Outlet for Taken<'_> {
    fn plain(&mut self, bytes: &[u8]) {
        self.request.extend_from_slice(bytes);
    }

    fn cipher(&mut self, bytes: &[u8]) {
        self.flight.extend_from_slice(bytes);
    }
}

impl<D: Driver> Floor<D> {
    /// A floor whose messages have `message_bytes`; without `tls` it is plain.
    ///
    /// # Panics
    /// If a message is too short for its digits: our own mistake.
    #[must_use]
    pub fn new(driver: D, tls: Option<Arc<ServerConfig>>, message_bytes: usize) -> Self {
        let head = FrameHead::message(Opcode::Text, message_bytes);
        let mut bytes = [0; HEAD_BYTES_MAX];
        let count = head.write(&mut bytes).expect("room for any head");
        let mut frame = bytes[..count].to_vec();
        frame.extend_from_slice(BEFORE_DIGITS);
        let digits_at = frame.len();
        frame.resize(count + message_bytes, b'0');
        assert!(frame.len() >= digits_at + DIGIT_COUNT + 2, "a message has room for its digits");
        let end = frame.len();
        frame[end - 2..].copy_from_slice(b"\"}");
        Self { driver, tls, scratch: Scratch::default(), clients: Vec::new(), consumers: Vec::new(), frame, digits_at }
    }

    /// Serves until it is told to stop.
    pub fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.turn();
        }
    }

    fn turn(&mut self) {
        let until = Monotonic(self.driver.now().0).after(Duration::from_millis(100));
        self.driver.turn(until, &mut || true);
        while let Some(completion) = self.driver.reap() {
            match completion {
                Completion::Datagram { socket, source, lease, .. } => {
                    let mut start = [0; DIGITS_AT + DIGIT_COUNT];
                    let bytes = self.driver.bytes(&lease);
                    let count = bytes.len().min(start.len());
                    start[..count].copy_from_slice(&bytes[..count]);
                    self.driver.release(lease);
                    self.datagram(socket, source, &start[..count]);
                }
                Completion::Accepted { connection, .. } => self.accepted(connection),
                Completion::Received { connection, lease } => {
                    let bytes = self.driver.bytes(&lease).to_vec();
                    self.driver.release(lease);
                    self.received(connection, &bytes);
                }
                Completion::Sent { connection } => {
                    if let Some(client) = self.clients.iter_mut().find(|client| client.connection == connection) {
                        client.sending = false;
                    }
                }
                Completion::Ended { connection, .. } | Completion::SendFailed { connection, .. } => {
                    self.driver.close(connection, true);
                    for client in self.clients.iter_mut().filter(|client| client.connection == connection) {
                        (client.ready, client.upgraded) = (false, false);
                    }
                }
                _ => {}
            }
        }
        for index in 0..self.clients.len() {
            self.flush(index);
        }
    }

    fn datagram(&mut self, socket: Socket, source: SocketAddr, start: &[u8]) {
        let Some(&[version, high, low, kind]) = start.get(..4) else { return };
        let answer = match kind {
            PUSH_DATA => PUSH_ACK,
            PULL_DATA => PULL_ACK,
            _ => return,
        };
        // As Trunkline: an answer for which there is no room is not sent.
        let _busy = self.driver.send_to(socket, source, &[version, high, low, answer]);
        let token = u16::from_be_bytes([high, low]);
        let digits = start.get(DIGITS_AT..DIGITS_AT + DIGIT_COUNT);
        let (PUSH_DATA, Some(digits), 0) = (kind, digits, token & COPY) else { return };
        let Some(Some(index)) = self.consumers.get(usize::from(token)) else { return };
        let client = &mut self.clients[*index];
        if client.upgraded && client.plain.len() + self.frame.len() <= PLAIN_BYTES_MAX {
            let at = client.plain.len() + self.digits_at;
            client.plain.extend_from_slice(&self.frame);
            client.plain[at..at + DIGIT_COUNT].copy_from_slice(digits);
        }
    }

    fn accepted(&mut self, connection: Connection) {
        // A configuration that was checked at start cannot be refused later.
        let tls = self.tls.as_ref().map(|config| Tls::new(config).expect("a checked configuration"));
        self.clients.push(Client {
            connection,
            ready: tls.is_none(),
            tls,
            incoming: Vec::new(),
            request: Vec::new(),
            flight: Vec::new(),
            plain: Vec::with_capacity(PLAIN_BYTES_MAX),
            sending: false,
            upgraded: false,
        });
    }

    fn received(&mut self, connection: Connection, bytes: &[u8]) {
        let Some(index) = self.clients.iter().position(|client| client.connection == connection) else { return };
        let client = &mut self.clients[index];
        match &mut client.tls {
            Some(tls) => {
                client.incoming.extend_from_slice(bytes);
                let mut taken = Taken { request: &mut client.request, flight: &mut client.flight };
                let progress = tls.receive(&mut client.incoming, &mut self.scratch, &mut taken);
                client.incoming.drain(..progress.consumed);
                client.ready |= progress.ready;
            }
            None => client.request.extend_from_slice(bytes),
        }
        if !client.upgraded {
            self.upgrade(index);
        } else {
            // Pongs and the like; nobody here reads them.
            client.request.clear();
        }
    }

    fn upgrade(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Ok(Some((head, count))) = Head::parse(&client.request) else { return };
        let mut room = [0; 64];
        let number =
            head.query("token", &mut room).ok().flatten().and_then(|token| usize::from_str_radix(token, 16).ok());
        let (Ok(upgrade), Some(number)) = (Upgrade::check(&head), number.filter(|number| *number < usize::from(COPY)))
        else {
            return;
        };
        let mut answer = [0; RESPONSE_BYTES_MAX];
        let length = upgrade.write(&Answer::default(), &mut answer).expect("room for any answer");
        client.request.drain(..count);
        client.plain.extend_from_slice(&answer[..length]);
        client.upgraded = true;
        if self.consumers.len() <= number {
            self.consumers.resize(number + 1, None);
        }
        self.consumers[number] = Some(index);
    }

    /// One write per consumer and turn, one record of what waits: as Trunkline does it.
    fn flush(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let waits = !client.flight.is_empty() || (client.ready && !client.plain.is_empty());
        if client.sending || !waits {
            return;
        }
        let Ok(lease) = self.driver.output() else { return };
        let out = self.driver.bytes(&lease);
        let count = if client.flight.is_empty() {
            let most = RECORD_PLAIN_BYTES_MAX.min(out.len() - RECORD_OVERHEAD_BYTES);
            let taken = client.plain.len().min(most);
            let count = match &mut client.tls {
                Some(tls) => tls.encrypt(&mut client.incoming, &client.plain[..taken], out).unwrap_or(0),
                None => {
                    out[..taken].copy_from_slice(&client.plain[..taken]);
                    taken
                }
            };
            client.plain.drain(..taken);
            count
        } else {
            let count = client.flight.len().min(out.len());
            out[..count].copy_from_slice(&client.flight[..count]);
            client.flight.drain(..count);
            count
        };
        if count == 0 {
            self.driver.release(lease);
            return;
        }
        client.sending = true;
        self.driver.send(client.connection, lease, count);
    }
}
