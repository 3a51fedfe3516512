//! The reader: received bytes in, events out. Everything that can be known to be wrong is told at the first byte that
//! shows it.
//!
//! ```text
//!   Head --data--> Start? --> Payload --> End? --> Head
//!     \--control--> gather at most 125 bytes --> Ping, Pong, Close --> Head      between any two fragments
//! ```

use super::{CONTROL_BYTES_MAX, CloseCode, Failure, HEAD_BYTES_MAX, MessageKind, Opcode, Role, Utf8, mask};

/// What a peer may send at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Payload bytes of one frame.
    pub frame_bytes_max: u64,
    /// Payload bytes of one message, as sent.
    pub message_bytes_max: u64,
}

/// What has arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A message begins.
    Start {
        /// What it is.
        kind: MessageKind,
        /// Its chunks are one compressed text (RFC 7692 §6).
        compressed: bool,
    },
    /// More of the message, unmasked; checked to be UTF-8 so far if it is text and not compressed.
    Chunk(&'a mut [u8]),
    /// The message is complete.
    End,
    /// To be answered with a pong of the same payload (RFC 6455 §5.5.2).
    Ping(&'a [u8]),
    /// An answer, or a sign of life.
    Pong(&'a [u8]),
    /// The peer closes. If we have not closed yet, answer with the same code; then end the connection. Nothing follows.
    Close(Option<CloseCode>, &'a str),
}

/// One connection's receiving side.
#[derive(Clone, Debug)]
pub struct Reader {
    limits: Limits,
    /// Payload bytes of the frame at hand that have not arrived.
    left: u64,
    /// Payload bytes of the message at hand, all frames so far.
    message_bytes: u64,
    role: Role,
    state: State,
    /// RSV1 is claimed by permessage-deflate.
    deflate: bool,
    /// The message at hand.
    message: Option<(MessageKind, bool)>,
    utf8: Utf8,
    opcode: Opcode,
    fin: bool,
    mask: [u8; 4],
    /// Payload bytes seen, modulo four.
    phase: u8,
    gathered: u8,
    head: [u8; HEAD_BYTES_MAX],
    control: [u8; CONTROL_BYTES_MAX],
}

/// An event whose control payload is in the reader: its count of bytes.
#[derive(Debug)]
pub(super) enum Step<'i> {
    Start(MessageKind, bool),
    Chunk(&'i mut [u8]),
    End,
    Ping(usize),
    Pong(usize),
    Close(Option<CloseCode>, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Start,
    Payload,
    End,
    Control,
    Closed,
    Failed(Failure),
}

impl Reader {
    /// A reader at the start of a connection. `deflate`: permessage-deflate was agreed on.
    #[must_use]
    pub const fn new(role: Role, limits: Limits, deflate: bool) -> Self {
        Self {
            limits,
            left: 0,
            message_bytes: 0,
            role,
            state: State::Head,
            deflate,
            message: None,
            utf8: Utf8::new(),
            opcode: Opcode::Continuation,
            fin: false,
            mask: [0; 4],
            phase: 0,
            gathered: 0,
            head: [0; HEAD_BYTES_MAX],
            control: [0; CONTROL_BYTES_MAX],
        }
    }

    /// Takes from the front of `input` up to the next event. `None`: all of it was taken, and more is needed.
    ///
    /// After a close nothing more is an event, and all input is passed over (RFC 6455 §5.5.1).
    ///
    /// # Errors
    /// Why the connection must be failed; from then on always the same.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i mut [u8]) -> Result<Option<Event<'s>>, Failure> {
        Ok(self.step(input)?.map(|step| match step {
            Step::Start(kind, compressed) => Event::Start { kind, compressed },
            Step::Chunk(chunk) => Event::Chunk(chunk),
            Step::End => Event::End,
            Step::Ping(count) => Event::Ping(&self.control[..count]),
            Step::Pong(count) => Event::Pong(&self.control[..count]),
            Step::Close(code, count) => Event::Close(code, self.reason(count)),
        }))
    }

    /// [`Reader::next`] without borrowing itself, so that a caller may loop.
    pub(super) fn step<'i>(&mut self, input: &mut &'i mut [u8]) -> Result<Option<Step<'i>>, Failure> {
        loop {
            match self.state {
                State::Head => match self.head(input) {
                    Ok(true) => {}
                    Ok(false) => return Ok(None),
                    Err(failure) => return Err(self.fail(failure)),
                },
                State::Start => {
                    self.state = State::Payload;
                    let (kind, compressed) = self.message.expect("a message began");
                    return Ok(Some(Step::Start(kind, compressed)));
                }
                State::Payload if self.left == 0 => {
                    self.state = if self.fin { State::End } else { State::Head };
                }
                State::Payload => {
                    let chunk = self.take(input);
                    if chunk.is_empty() {
                        return Ok(None);
                    }
                    if self.message == Some((MessageKind::Text, false)) && self.utf8.feed(chunk).is_err() {
                        return Err(self.fail(Failure::Utf8));
                    }
                    return Ok(Some(Step::Chunk(chunk)));
                }
                State::End => {
                    self.state = State::Head;
                    self.message = None;
                    if self.utf8.finish().is_err() {
                        return Err(self.fail(Failure::Utf8));
                    }
                    return Ok(Some(Step::End));
                }
                State::Control => {
                    let piece = self.take(input);
                    let at = usize::from(self.gathered);
                    self.control[at..at + piece.len()].copy_from_slice(piece);
                    self.gathered += piece.len() as u8;
                    if self.left > 0 {
                        return Ok(None);
                    }
                    self.state = State::Head;
                    let count = usize::from(core::mem::take(&mut self.gathered));
                    return match self.opcode {
                        Opcode::Ping => Ok(Some(Step::Ping(count))),
                        Opcode::Pong => Ok(Some(Step::Pong(count))),
                        _ => self.close(count).map(Some),
                    };
                }
                State::Closed => {
                    *input = &mut [];
                    return Ok(None);
                }
                State::Failed(failure) => return Err(failure),
            }
        }
    }

    pub(super) fn control(&self, count: usize) -> &[u8] {
        &self.control[..count]
    }

    /// A close frame's reason, which was checked.
    pub(super) fn reason(&self, count: usize) -> &str {
        core::str::from_utf8(self.control[..count].get(2..).unwrap_or(&[])).expect("checked when it arrived")
    }

    /// Whether a message has begun and not ended.
    #[must_use]
    pub const fn is_within_message(&self) -> bool {
        self.message.is_some()
    }

    /// Whether the peer has closed.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    pub(super) fn fail(&mut self, failure: Failure) -> Failure {
        self.state = State::Failed(failure);
        failure
    }

    /// Payload that has arrived, unmasked.
    fn take<'i>(&mut self, input: &mut &'i mut [u8]) -> &'i mut [u8] {
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        let (taken, rest) = core::mem::take(input).split_at_mut(count);
        *input = rest;
        if self.role == Role::Server {
            mask::apply(taken, self.mask, usize::from(self.phase));
        }
        self.phase = (usize::from(self.phase) + count) as u8 & 3;
        self.left -= count as u64;
        taken
    }

    /// Gathers a head. Whether it is complete; then the state has moved on.
    fn head(&mut self, input: &mut &mut [u8]) -> Result<bool, Failure> {
        while let Some((byte, rest)) = core::mem::take(input).split_first_mut() {
            *input = rest;
            self.head[usize::from(self.gathered)] = *byte;
            self.gathered += 1;
            match self.gathered {
                1 => self.first_byte(*byte)?,
                2 => self.second_byte(*byte)?,
                _ => {}
            }
            if self.gathered >= 2 && self.gathered == self.head_bytes() {
                self.head_complete()?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// RFC 6455 §5.2, §5.4, §5.5.
    fn first_byte(&mut self, byte: u8) -> Result<(), Failure> {
        self.fin = byte & 0x80 != 0;
        let rsv1 = byte & 0x40 != 0;
        self.opcode = Opcode::from_wire(byte & 0x0F).ok_or(Failure::Opcode)?;
        // RSV1 marks the first frame of a compressed message and nothing else (RFC 7692 §6.1).
        let may_rsv1 = self.deflate && matches!(self.opcode, Opcode::Text | Opcode::Binary);
        if byte & 0x30 != 0 || (rsv1 && !may_rsv1) {
            return Err(Failure::Rsv);
        }
        if self.opcode.is_control() {
            return if self.fin { Ok(()) } else { Err(Failure::ControlFragment) };
        }
        match (self.opcode, self.message) {
            (Opcode::Continuation, None) => Err(Failure::Continuation),
            (Opcode::Continuation, Some(_)) => Ok(()),
            (_, Some(_)) => Err(Failure::Interleaved),
            (_, None) => Ok(()),
        }
    }

    fn second_byte(&self, byte: u8) -> Result<(), Failure> {
        match (self.role, byte & 0x80 != 0) {
            (Role::Server, false) => return Err(Failure::MaskMissing),
            (Role::Client, true) => return Err(Failure::MaskPresent),
            _ => {}
        }
        if self.opcode.is_control() && usize::from(byte & 0x7F) > CONTROL_BYTES_MAX {
            return Err(Failure::ControlLength);
        }
        Ok(())
    }

    fn head_bytes(&self) -> u8 {
        let length = match self.head[1] & 0x7F {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        length + if self.role == Role::Server { 4 } else { 0 }
    }

    fn head_complete(&mut self) -> Result<(), Failure> {
        let head = &self.head[..usize::from(core::mem::take(&mut self.gathered))];
        let length = match head[1] & 0x7F {
            126 => u64::from(u16::from_be_bytes([head[2], head[3]])),
            127 => u64::from_be_bytes(head[2..10].try_into().expect("eight bytes")),
            short => u64::from(short),
        };
        let minimal = match head[1] & 0x7F {
            126 => length > 125,
            127 => length > 0xFFFF && length >> 63 == 0,
            _ => true,
        };
        if !minimal {
            return Err(Failure::LengthForm);
        }
        if self.role == Role::Server {
            self.mask = head[head.len() - 4..].try_into().expect("four bytes");
        }
        self.left = length;
        self.phase = 0;
        if self.opcode.is_control() {
            self.state = State::Control;
            return Ok(());
        }
        if length > self.limits.frame_bytes_max {
            return Err(Failure::FrameTooBig);
        }
        let rsv1 = head[0] & 0x40 != 0;
        self.state = State::Start;
        match self.opcode {
            Opcode::Text => self.message = Some((MessageKind::Text, rsv1)),
            Opcode::Binary => self.message = Some((MessageKind::Binary, rsv1)),
            _ => self.state = State::Payload,
        }
        if self.state == State::Start {
            self.message_bytes = 0;
        }
        // Both are below 2^63, and the sum was below the limit before.
        self.message_bytes = self.message_bytes.saturating_add(length);
        if self.message_bytes > self.limits.message_bytes_max { Err(Failure::MessageTooBig) } else { Ok(()) }
    }

    /// RFC 6455 §5.5.1, §7.4.
    fn close<'i>(&mut self, count: usize) -> Result<Step<'i>, Failure> {
        self.state = State::Closed;
        let (code, reason) = match &self.control[..count] {
            [] => (None, &[][..]),
            [_] => return Err(self.fail(Failure::CloseLength)),
            [high, low, reason @ ..] => (Some(CloseCode(u16::from_be_bytes([*high, *low]))), reason),
        };
        if code.is_some_and(|code| !code.is_sendable()) {
            return Err(self.fail(Failure::CloseCode));
        }
        if core::str::from_utf8(reason).is_err() {
            return Err(self.fail(Failure::CloseReason));
        }
        Ok(Step::Close(code, count))
    }
}
