//! The WebSocket codec against `tungstenite`: random conversations, cut anywhere, in both directions, right and wrong.

use base::mix::SplitMix64;
use std::io::{self, Read, Write};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role as TheirRole, WebSocketConfig};
use tungstenite::{Error, Message as TheirMessage, WebSocket};
use wire::websocket::{
    Assembler, CloseCode, Failure, FrameHead, HEAD_BYTES_MAX, Lent, Limits, Message, Opcode, Role, apply_mask,
    write_close, write_control,
};

const LIMITS: Limits = Limits { frame_bytes_max: 5000, message_bytes_max: 8000 };

/// Bytes one way in, another out.
#[derive(Default)]
struct Pipe {
    input: io::Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.input.read(out)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Failed,
}

fn ours(role: Role, bytes: &[u8], random: &mut SplitMix64) -> Vec<Seen> {
    let mut assembler = Assembler::new(role, LIMITS, false);
    let mut message = vec![0; 8000];
    let mut seen = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at((1 + random.below(700) as usize).min(rest.len()));
        rest = tail;
        let mut piece = piece.to_vec();
        let mut input = piece.as_mut_slice();
        loop {
            let mut lent = Lent { message: &mut message, inflate: None };
            seen.push(match assembler.next(&mut input, &mut lent) {
                Ok(None) => break,
                Ok(Some(Message::Text(text))) => Seen::Text(text.to_owned()),
                Ok(Some(Message::Binary(bytes))) => Seen::Binary(bytes.to_vec()),
                Ok(Some(Message::Ping(payload))) => Seen::Ping(payload.to_vec()),
                Ok(Some(Message::Pong(payload))) => Seen::Pong(payload.to_vec()),
                Ok(Some(Message::Close(code, reason))) => Seen::Close(code.map(|code| code.0), reason.to_owned()),
                // The other side answers such a code with a close of its own, which is all it tells.
                Err(Failure::CloseCode) => Seen::Close(Some(1002), "Protocol violation".to_owned()),
                Err(_) => Seen::Failed,
            });
            if matches!(seen.last(), Some(Seen::Failed | Seen::Close(..))) {
                return seen;
            }
        }
    }
    seen
}

fn theirs(role: TheirRole, bytes: &[u8]) -> Vec<Seen> {
    let config = WebSocketConfig::default().max_frame_size(Some(5000)).max_message_size(Some(8000));
    let pipe = Pipe { input: io::Cursor::new(bytes.to_vec()), output: Vec::new() };
    let mut socket = WebSocket::from_raw_socket(pipe, role, Some(config));
    let mut seen = Vec::new();
    loop {
        seen.push(match socket.read() {
            Ok(TheirMessage::Text(text)) => Seen::Text(text.as_str().to_owned()),
            Ok(TheirMessage::Binary(bytes)) => Seen::Binary(bytes.to_vec()),
            Ok(TheirMessage::Ping(payload)) => Seen::Ping(payload.to_vec()),
            Ok(TheirMessage::Pong(payload)) => Seen::Pong(payload.to_vec()),
            Ok(TheirMessage::Close(frame)) => {
                let (code, reason) = frame.map_or((None, String::new()), |frame| {
                    (Some(u16::from(frame.code)), frame.reason.as_str().to_owned())
                });
                Seen::Close(code, reason)
            }
            Ok(TheirMessage::Frame(_)) => unreachable!("only written"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return seen,
            Err(_) => Seen::Failed,
        });
        if matches!(seen.last(), Some(Seen::Failed | Seen::Close(..))) {
            return seen;
        }
    }
}

fn text(random: &mut SplitMix64, characters: u64) -> String {
    (0..random.below(characters + 1)).map(|_| ['a', 'é', '€', '𝄞', '\0'][random.below(5) as usize]).collect()
}

fn bytes(random: &mut SplitMix64, count: u64) -> Vec<u8> {
    (0..random.below(count + 1)).map(|_| random.next() as u8).collect()
}

/// What a client of theirs writes, our server reads.
#[test]
fn our_server_reads_what_their_client_writes() {
    let mut random = SplitMix64::new(1);
    for _ in 0..3000 {
        let mut socket = WebSocket::from_raw_socket(Pipe::default(), TheirRole::Client, None);
        let mut expected = Vec::new();
        for _ in 0..random.below(8) {
            match random.below(5) {
                0 => {
                    let text = text(&mut random, 300);
                    socket.send(TheirMessage::text(text.clone())).expect("written");
                    expected.push(Seen::Text(text));
                }
                1 => {
                    let bytes = bytes(&mut random, 4000);
                    socket.send(TheirMessage::binary(bytes.clone())).expect("written");
                    expected.push(Seen::Binary(bytes));
                }
                2 => {
                    let bytes = bytes(&mut random, 125);
                    socket.send(TheirMessage::Ping(bytes.clone().into())).expect("written");
                    expected.push(Seen::Ping(bytes));
                }
                3 => {
                    let bytes = bytes(&mut random, 125);
                    socket.send(TheirMessage::Pong(bytes.clone().into())).expect("written");
                    expected.push(Seen::Pong(bytes));
                }
                // Fragments cut anywhere, with a ping between each two.
                _ => {
                    let text = text(&mut random, 300);
                    let mut rest = text.as_bytes();
                    let mut opcode = OpCode::Data(Data::Text);
                    loop {
                        let (piece, tail) = rest.split_at(random.below(rest.len() as u64 + 1) as usize);
                        rest = tail;
                        let frame = Frame::message(piece.to_vec(), opcode, rest.is_empty());
                        socket.send(TheirMessage::Frame(frame)).expect("written");
                        opcode = OpCode::Data(Data::Continue);
                        if rest.is_empty() {
                            break;
                        }
                        socket.send(TheirMessage::Ping(vec![1].into())).expect("written");
                        expected.push(Seen::Ping(vec![1]));
                    }
                    expected.push(Seen::Text(text));
                }
            }
        }
        let output = socket.get_ref().output.clone();
        assert_eq!(ours(Role::Server, &output, &mut random), expected);
    }
}

struct Writer<'r> {
    random: &'r mut SplitMix64,
    masked: bool,
    out: Vec<u8>,
}

impl Writer<'_> {
    fn mask(&mut self) -> Option<[u8; 4]> {
        self.masked.then(|| (self.random.next() as u32).to_le_bytes())
    }

    fn frame(&mut self, fin: bool, opcode: Opcode, payload: &[u8]) {
        let mask = self.mask();
        let mut head = [0; HEAD_BYTES_MAX];
        let frame = FrameHead { fin, rsv1: false, opcode, mask, payload_bytes: payload.len() as u64 };
        let count = frame.write(&mut head).expect("room");
        self.out.extend_from_slice(&head[..count]);
        let at = self.out.len();
        self.out.extend_from_slice(payload);
        if let Some(mask) = mask {
            // In two pieces, as an output buffer would be filled.
            let cut = self.random.below(payload.len() as u64 + 1) as usize;
            apply_mask(&mut self.out[at..at + cut], mask, 0);
            apply_mask(&mut self.out[at + cut..], mask, cut);
        }
    }

    /// One of everything that may come next, right or (if `wrong`) not.
    fn step(&mut self, wrong: bool, within: &mut Option<bool>) {
        let mut control = [0; 140];
        match self.random.below(if wrong { 12 } else { 6 }) {
            0..=2 => {
                let is_text = within.unwrap_or_else(|| self.random.below(2) == 0);
                let payload = if is_text {
                    text(self.random, 50).into_bytes()
                } else {
                    bytes(self.random, if wrong { 3000 } else { 600 })
                };
                let opcode = match (*within, is_text) {
                    (Some(_), _) => Opcode::Continuation,
                    (None, true) => Opcode::Text,
                    (None, false) => Opcode::Binary,
                };
                let fin = self.random.below(2) == 0;
                self.frame(fin, opcode, &payload);
                *within = (!fin).then_some(is_text);
            }
            3..=4 => {
                let opcode = [Opcode::Ping, Opcode::Pong][self.random.below(2) as usize];
                let payload = bytes(self.random, 125);
                let mask = self.mask();
                let count = write_control(opcode, &payload, mask, &mut control).expect("room");
                self.out.extend_from_slice(&control[..count]);
            }
            5 if self.random.below(4) == 0 => {
                let mask = self.mask();
                let codes = [None, Some(CloseCode::NORMAL), Some(CloseCode::POLICY), Some(CloseCode(4321))];
                let code = codes[self.random.below(4) as usize];
                let count = write_close(code, &text(self.random, 60), mask, &mut control).expect("room");
                self.out.extend_from_slice(&control[..count]);
            }
            6 => self.frame(true, Opcode::Continuation, b"x"),
            7 => {
                let payload = bytes(self.random, 5);
                self.frame(false, Opcode::Text, &payload);
            }
            8 => {
                let count = 4990 + self.random.below(20) as usize;
                self.frame(true, Opcode::Binary, &vec![0; count]);
            }
            9 => {
                let (fin, count) = (self.random.below(2) == 0, 120 + self.random.below(10) as usize);
                self.frame(fin, Opcode::Ping, &vec![0; count]);
            }
            10 => {
                let codes = [0, 999, 1000, 1004, 1005, 1006, 1013, 1015, 1016, 2999, 3000, 5000];
                let code = u16::to_be_bytes(codes[self.random.below(12) as usize]);
                let count = self.random.below(3) as usize;
                self.frame(true, Opcode::Close, &code[..count]);
            }
            11 => {
                // The head of a whole frame, its first byte replaced.
                let at = self.out.len();
                self.frame(true, Opcode::Binary, b"abc");
                self.out[at] = self.random.next() as u8;
            }
            _ => {}
        }
    }
}

fn conversation(random: &mut SplitMix64, masked: bool, wrong: bool) -> Vec<u8> {
    let mut writer = Writer { random, masked, out: Vec::new() };
    let mut within = None;
    for _ in 0..writer.random.below(12) {
        writer.step(wrong, &mut within);
    }
    writer.out
}

/// What we write, in either role, both readers see alike.
#[test]
fn their_ends_read_what_ours_write() {
    let mut random = SplitMix64::new(2);
    for round in 0..4000 {
        let masked = round % 2 == 0;
        let bytes = conversation(&mut random, masked, false);
        let (our_role, their_role) =
            if masked { (Role::Server, TheirRole::Server) } else { (Role::Client, TheirRole::Client) };
        let seen = theirs(their_role, &bytes);
        assert!(!seen.contains(&Seen::Failed), "round {round}: {bytes:02x?}");
        assert_eq!(ours(our_role, &bytes, &mut random), seen, "round {round}");
    }
}

/// What is wrong, both readers refuse at the same message.
#[test]
fn both_readers_refuse_alike() {
    let mut random = SplitMix64::new(3);
    let mut failed = 0;
    for round in 0..20_000 {
        let masked = round % 2 == 0;
        let bytes = conversation(&mut random, masked, true);
        let (our_role, their_role) =
            if masked { (Role::Server, TheirRole::Server) } else { (Role::Client, TheirRole::Client) };
        let seen = theirs(their_role, &bytes);
        failed += usize::from(seen.contains(&Seen::Failed));
        assert_eq!(ours(our_role, &bytes, &mut random), seen, "round {round}: {bytes:02x?}");
    }
    assert!(failed > 1000, "{failed} conversations failed");
}

/// Every code: the one they do not know was registered later (1014, Bad Gateway).
#[test]
fn close_codes_are_judged_alike() {
    for code in 0..=u16::MAX {
        let theirs = tungstenite::protocol::frame::coding::CloseCode::from(code).is_allowed();
        assert_eq!(CloseCode(code).is_sendable(), theirs || code == 1014, "{code}");
    }
}
