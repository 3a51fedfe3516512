//! A consumer: a plain WebSocket client over a virtual stream, with a temper.
//!
//! Owns a naive codec of its own (RFC 6455, the little that a client needs), so that the shard's is judged by another.
//! Asserts what any client may rely on: no masked frame, no reserved bit, UTF-8, JSON objects, nothing after a close.
//!
//! ```text
//!   Upgrading -> Open -> (close frame or end) -> Gone -> again after a while, if its temper says so
//! ```

use crate::network::{Network, StreamId};
use base::Monotonic;
use base::mix::SplitMix64;
use driver::Listener;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// How a consumer behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Temper {
    /// Reads whatever arrives, at once.
    Prompt,
    /// Reads a little now and then.
    Slow,
    /// Opens its stream and never reads again.
    Deaf,
    /// Reads, and every few seconds closes, finishes, resets or just vanishes, and comes again.
    Fickle,
    /// Reads, and says of messages what is not so: it acknowledges what it never got, twice, or under no name that there is.
    Liar,
}

/// A message and the connection that it came on.
#[derive(Clone, Debug)]
pub struct Received {
    /// Counts the consumer's connections.
    pub connection: u32,
    /// What it says.
    pub message: Value,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Upgrading,
    Open,
    Closing,
    Gone,
}

/// One consumer.
#[derive(Debug)]
pub struct Consumer {
    /// Its address.
    pub address: SocketAddr,
    /// Which stream it opens, by token.
    pub token: String,
    /// How it behaves.
    pub temper: Temper,
    /// Everything it was told.
    pub received: Vec<Received>,
    /// Connections so far.
    pub connections: u32,
    /// Whether it acknowledges what it gets, as consumers of durable streams do.
    pub acknowledges: bool,
    /// In which group it reads a durable stream.
    pub group: &'static str,
    /// Close codes it was sent.
    pub close_codes: Vec<u16>,
    /// Lies that it told.
    pub lie_count: u64,
    /// Connections that it left without a word.
    pub vanished: Vec<StreamId>,
    returns: bool,
    /// Messages of this connection that are numbered.
    numbered: u64,
    stream: Option<StreamId>,
    phase: Phase,
    input: Vec<u8>,
    output: Vec<u8>,
    due: Monotonic,
    leave_at: Monotonic,
}

const OPCODE_TEXT: u8 = 1;
const OPCODE_CLOSE: u8 = 8;
const OPCODE_PING: u8 = 9;
const OPCODE_PONG: u8 = 10;

impl Consumer {
    /// A consumer that connects at its first step.
    #[must_use]
    pub fn new(address: SocketAddr, token: &str, temper: Temper) -> Self {
        Self {
            address,
            token: token.into(),
            temper,
            received: Vec::new(),
            connections: 0,
            acknowledges: false,
            group: "default",
            lie_count: 0,
            vanished: Vec::new(),
            close_codes: Vec::new(),
            returns: true,
            numbered: 0,
            stream: None,
            phase: Phase::Gone,
            input: Vec::new(),
            output: Vec::new(),
            due: Monotonic(0),
            leave_at: Monotonic::NEVER,
        }
    }

    /// When it must be stepped next, whatever arrives.
    #[must_use]
    pub fn deadline(&self) -> Monotonic {
        self.due
    }

    /// Its stream, to know what arrives for it.
    #[must_use]
    pub fn stream(&self) -> Option<StreamId> {
        self.stream
    }

    /// Whether its stream is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether what it was not given is lost: it acknowledges, and means what it says.
    #[must_use]
    pub fn is_relied_on(&self) -> bool {
        self.acknowledges && self.group == "default"
    }

    /// Sends a text message, if its stream is open.
    pub fn say(&mut self, text: &str, random: &mut SplitMix64) {
        if self.phase == Phase::Open {
            self.frame(OPCODE_TEXT, text.as_bytes(), random);
        }
    }

    /// From here on it reads at once and acknowledges everything, what it has left open so far as well. Where it had
    /// vanished from, somebody notices by now.
    pub fn settle(&mut self, network: &mut Network, random: &mut SplitMix64) {
        (self.temper, self.leave_at) = (Temper::Prompt, Monotonic::NEVER);
        self.vanished.iter().for_each(|stream| network.abort(*stream));
        if self.numbered > 0 {
            self.say(&format!(r#"{{"AckThrough":{}}}"#, self.numbered), random);
        }
    }

    /// Resets whatever it has open and does not come again.
    pub fn leave_for_good(&mut self, network: &mut Network) {
        self.vanished.iter().copied().chain(self.stream.take()).for_each(|stream| network.abort(stream));
        self.phase = Phase::Gone;
        self.stay_away();
    }

    /// It does not come again once its connection ends.
    pub fn stay_away(&mut self) {
        self.returns = false;
        if self.phase == Phase::Gone {
            self.due = Monotonic::NEVER;
        }
    }

    /// Reads, writes, and does what its temper says.
    pub fn step(&mut self, network: &mut Network, random: &mut SplitMix64) {
        let now = network.now();
        if self.phase == Phase::Gone {
            if self.due <= now && self.returns {
                self.connect(network, random);
            }
            return;
        }
        let Some(stream) = self.stream else { return };
        if self.due <= now || self.temper == Temper::Prompt {
            self.read(network, stream, random);
        }
        let written = network.write(stream, &self.output);
        self.output.drain(..written);
        if let Some(stream) = self.stream.filter(|stream| network.ended(*stream).is_some()) {
            network.finish(stream);
            self.gone(now, random);
        } else if self.leave_at <= now {
            self.leave(network, stream, random);
        }
        if self.phase != Phase::Gone && self.due <= now {
            self.due = match self.temper {
                Temper::Prompt | Temper::Fickle | Temper::Liar => now.after(Duration::from_millis(5)),
                Temper::Slow => now.after(Duration::from_millis(20 + random.below(400))),
                Temper::Deaf => now.after(Duration::from_secs(1)),
            };
        }
    }

    fn connect(&mut self, network: &mut Network, random: &mut SplitMix64) {
        self.connections += 1;
        let stream = network.connect(self.address, Listener(0));
        self.stream = Some(stream);
        self.phase = Phase::Upgrading;
        self.numbered = 0;
        self.input.clear();
        self.output = format!(
            "GET /?token={}&group={} HTTP/1.1\r\nHost: trunkline.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            self.token, self.group
        )
        .into();
        let stay = Duration::from_millis(500 + random.below(20_000));
        self.leave_at = if self.temper == Temper::Fickle { network.now().after(stay) } else { Monotonic::NEVER };
        self.due = network.now();
    }

    fn read(&mut self, network: &mut Network, stream: StreamId, random: &mut SplitMix64) {
        let count = match (self.temper, self.phase) {
            (Temper::Deaf, Phase::Open) => return,
            (Temper::Slow, Phase::Open) => 1 + random.below(600) as usize,
            _ => usize::MAX,
        };
        self.input.extend(network.read(stream, count));
        if self.phase == Phase::Upgrading {
            let Some(end) = self.input.windows(4).position(|window| window == b"\r\n\r\n") else { return };
            let head: Vec<u8> = self.input.drain(..end + 4).collect();
            let head = core::str::from_utf8(&head).expect("a response head is text");
            if !head.starts_with("HTTP/1.1 101 ") {
                // Refused: the answer says why, and the connection ends.
                return;
            }
            assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "the answer to RFC 6455's own example key: {head}");
            self.phase = Phase::Open;
        }
        while let Some((opcode, payload)) = self.unframe() {
            self.take(opcode, &payload, network, random);
        }
    }

    /// Takes one whole frame from the input.
    fn unframe(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.input.get(..2)?;
        assert_eq!(head[0] & 0xF0, 0x80, "a whole message without reserved bits");
        assert_eq!(head[1] & 0x80, 0, "a server masks nothing (RFC 6455 §5.1)");
        let (opcode, short) = (head[0] & 0x0F, usize::from(head[1]));
        let (start, count) = match short {
            126 => (4, usize::from(u16::from_be_bytes(self.input.get(2..4)?.try_into().expect("two bytes")))),
            127 => (10, u64::from_be_bytes(self.input.get(2..10)?.try_into().expect("eight bytes")) as usize),
            _ => (2, short),
        };
        assert!(count < 1 << 20, "a message of sane length");
        let payload = self.input.get(start..start + count)?.to_vec();
        self.input.drain(..start + count);
        Some((opcode, payload))
    }

    fn take(&mut self, opcode: u8, payload: &[u8], network: &mut Network, random: &mut SplitMix64) {
        assert_ne!(self.phase, Phase::Gone, "nothing comes after the end");
        network.note(payload);
        match opcode {
            OPCODE_TEXT => {
                let message: Value = serde_json::from_slice(payload).expect("a message is JSON");
                assert!(message.is_object(), "one object per message: {message}");
                // Answers to its own downlinks are no messages of the stream.
                let answer = message["Event"] == "accepted" || message["Event"] == "error";
                if self.acknowledges && message.get("Id").is_some() && !answer {
                    self.numbered += 1;
                    self.speak_of(&message["Id"], random);
                }
                self.received.push(Received { connection: self.connections, message });
            }
            OPCODE_PING => self.frame(OPCODE_PONG, payload, random),
            OPCODE_PONG => {}
            OPCODE_CLOSE => {
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                self.close_codes.push(code);
                if self.phase != Phase::Closing {
                    self.frame(OPCODE_CLOSE, &payload[..payload.len().min(2)], random);
                    self.phase = Phase::Closing;
                }
            }
            other => panic!("an opcode that no server sends: {other}"),
        }
    }

    /// Says what it is to say of the message that it got just now.
    fn speak_of(&mut self, id: &Value, random: &mut SplitMix64) {
        let number = self.numbered;
        if self.temper == Temper::Liar {
            let lie = match random.below(10) {
                0 => format!(r#"{{"Ack":{}}}"#, number + 1 + random.below(40)),
                1 => format!(r#"{{"AckThrough":{}}}"#, u64::MAX - random.below(2)),
                2 => format!(r#"{{"Ack":"70B3D57ED00000{:02X}-{}-{}-0"}}"#, random.below(12), random.below(3), number),
                3 => format!(r#"{{"Ack":{id}}}"#),
                4 => format!(r#"{{"Refuse":{id}}}"#),
                5 => r#"{"Ack":0}"#.to_owned(),
                6 => r#"{"Ack":{"Id":[1]},"AckThrough":-5}"#.to_owned(),
                7 => format!(r#"{{"AckThrough":"{}"}}"#, "x".repeat(random.below(80) as usize)),
                8 => format!(r#"{{"Refuse":{}}}"#, number + random.below(3)),
                // Nothing at all is no lie.
                _ => return,
            };
            // The same word twice: the second is none that could be true.
            let count = 1 + random.below(2);
            self.lie_count += count;
            (0..count).for_each(|_| self.say(&lie, random));
            return;
        }
        // Some at once, some with later ones, some never on this connection.
        let said = match if self.temper == Temper::Prompt { 0 } else { random.below(4) } {
            0 => format!(r#"{{"AckThrough":{number}}}"#),
            1 => format!(r#"{{"Ack":{id}}}"#),
            2 => format!(r#"{{"Ack":{number}}}"#),
            _ => return,
        };
        self.say(&said, random);
    }

    fn frame(&mut self, opcode: u8, payload: &[u8], random: &mut SplitMix64) {
        let mask = (random.next() as u32).to_be_bytes();
        self.output.push(0x80 | opcode);
        if payload.len() < 126 {
            self.output.push(0x80 | payload.len() as u8);
        } else {
            self.output.push(0x80 | 126);
            self.output.extend((payload.len() as u16).to_be_bytes());
        }
        self.output.extend(mask);
        self.output.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }

    /// Takes its leave, politely or not.
    fn leave(&mut self, network: &mut Network, stream: StreamId, random: &mut SplitMix64) {
        self.leave_at = Monotonic::NEVER;
        match random.below(4) {
            0 if self.phase == Phase::Open => {
                self.frame(OPCODE_CLOSE, &1000u16.to_be_bytes(), random);
                self.phase = Phase::Closing;
            }
            1 => network.finish(stream),
            2 => {
                // Its machine is gone: nobody reads, nobody answers, nobody resets.
                self.vanished.push(stream);
                self.gone(network.now(), random);
            }
            _ => {
                network.abort(stream);
                self.gone(network.now(), random);
            }
        }
    }

    fn gone(&mut self, now: Monotonic, random: &mut SplitMix64) {
        self.stream = None;
        self.phase = Phase::Gone;
        let pause = Duration::from_millis(50 + random.below(1000));
        self.due = if self.returns { now.after(pause) } else { Monotonic::NEVER };
    }
}
