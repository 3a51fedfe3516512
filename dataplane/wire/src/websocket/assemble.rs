//! Whole messages in a buffer that the caller lends.
//!
//! The payload is gathered as sent; a compressed one is inflated when it is complete. So one [`Inflater`], and one buffer
//! to inflate into, serve any number of connections; a connection needs a buffer only while [`Assembler::held`] is not 0.

use super::read::Step;
use super::{CloseCode, Failure, InflateError, Inflater, Limits, MessageKind, Reader, Role};

/// What has arrived, whole.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text: checked to be UTF-8.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// To be answered with a pong of the same payload (RFC 6455 §5.5.2).
    Ping(&'a [u8]),
    /// An answer, or a sign of life.
    Pong(&'a [u8]),
    /// The peer closes. If we have not closed yet, answer with the same code; then end the connection. Nothing follows.
    Close(Option<CloseCode>, &'a str),
}

/// What the caller lends for a call.
#[derive(Debug)]
pub struct Lent<'a> {
    /// Where a message is gathered: the same bytes as in the last call if some are held.
    pub message: &'a mut [u8],
    /// Where a message is decompressed: needed if permessage-deflate was agreed on.
    pub inflate: Option<(&'a mut Inflater, &'a mut [u8])>,
}

/// One connection's receiving side, by whole messages.
#[derive(Clone, Debug)]
pub struct Assembler {
    reader: Reader,
    held: usize,
    kind: MessageKind,
    compressed: bool,
}

// A million idle connections have one each, within a planned 1 KiB.
const _: () = assert!(size_of::<Assembler>() <= 256);

impl Assembler {
    /// An assembler at the start of a connection. `deflate`: permessage-deflate was agreed on.
    #[must_use]
    pub const fn new(role: Role, limits: Limits, deflate: bool) -> Self {
        Self { reader: Reader::new(role, limits, deflate), held: 0, kind: MessageKind::Text, compressed: false }
    }

    /// Bytes of an unfinished message in the lent buffer, which must be lent again as it is.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Whether the peer has closed.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.reader.is_closed()
    }

    /// Takes from the front of `input` up to the next message. `None`: all of it was taken, and more is needed.
    ///
    /// # Errors
    /// Why the connection must be failed; from then on always the same. A message that exceeds the lent buffer, or the one
    /// to inflate into, is [`Failure::MessageTooBig`].
    ///
    /// # Panics
    /// If permessage-deflate was agreed on and nothing to inflate with is lent: our own mistake.
    pub fn next<'s>(
        &'s mut self,
        input: &mut &mut [u8],
        lent: &'s mut Lent<'_>,
    ) -> Result<Option<Message<'s>>, Failure> {
        loop {
            let Some(step) = self.reader.step(input)? else {
                return Ok(None);
            };
            match step {
                Step::Start(kind, compressed) => (self.kind, self.compressed) = (kind, compressed),
                Step::Chunk(chunk) => {
                    let Some(room) = lent.message.get_mut(self.held..self.held + chunk.len()) else {
                        return Err(self.reader.fail(Failure::MessageTooBig));
                    };
                    room.copy_from_slice(chunk);
                    self.held += chunk.len();
                }
                Step::End => return self.whole(lent).map(Some),
                Step::Ping(count) => return Ok(Some(Message::Ping(self.reader.control(count)))),
                Step::Pong(count) => return Ok(Some(Message::Pong(self.reader.control(count)))),
                Step::Close(code, count) => return Ok(Some(Message::Close(code, self.reader.reason(count)))),
            }
        }
    }

    fn whole<'s>(&'s mut self, lent: &'s mut Lent<'_>) -> Result<Message<'s>, Failure> {
        let mut payload: &'s [u8] = &lent.message[..core::mem::take(&mut self.held)];
        if self.compressed {
            let (inflater, out) = lent.inflate.as_mut().expect("whoever agreed on deflate lends an inflater");
            let count = inflater.inflate(payload, out).map_err(|error| {
                self.reader.fail(match error {
                    InflateError::Data => Failure::Inflate,
                    InflateError::TooBig => Failure::MessageTooBig,
                })
            })?;
            payload = &out[..count];
        }
        match self.kind {
            MessageKind::Binary => Ok(Message::Binary(payload)),
            MessageKind::Text => match core::str::from_utf8(payload) {
                Ok(text) => Ok(Message::Text(text)),
                Err(_) => Err(self.reader.fail(Failure::Utf8)),
            },
        }
    }
}
