//! Frames of the control socket: a length, then one protobuf message.
//! Owns the bytes of frames that are still incomplete; never does I/O, never holds more than one frame and what the
//! last read brought with it.
//!
//! ```text
//! | length u32 LE | message, length bytes, at most 4 MiB |
//! ```
//!
//! A stream that failed once stays failed: after a bad length there is no telling where the next frame begins, and a
//! peer that sends a message which does not parse is not one to guess about. Close the connection and start again.

use crate::{FRAME_BYTES_MAX, LENGTH_BYTES};
use core::marker::PhantomData;
use prost::Message;

base::counted! {
    /// Why a stream of frames cannot be read on.
    pub enum FrameError {
        Oversize = "oversize": "A frame says that it is longer than 4 MiB",
        Malformed = "malformed": "The bytes of a frame are not a message of the contract",
        Truncated = "truncated": "The stream ended inside a frame",
    }
}

/// The message is longer than a frame may be; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Writes messages as frames into a buffer that the caller drains into its socket.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    start: usize,
}

impl Encoder {
    /// Appends one message. Nothing is appended if it is too long.
    pub fn write<M: Message>(&mut self, message: &M) -> Result<(), TooLong> {
        encode(message, &mut self.bytes)
    }

    /// What waits to be sent.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Forgets the first `count` pending bytes, which the socket has taken.
    pub fn sent(&mut self, count: usize) {
        assert!(count <= self.pending().len(), "more was sent than was pending");
        self.start += count;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }
}

/// Appends one message as a frame to `bytes`. Nothing is appended if it is too long.
pub fn encode<M: Message>(message: &M, bytes: &mut Vec<u8>) -> Result<(), TooLong> {
    let length = message.encoded_len();
    if length > FRAME_BYTES_MAX {
        return Err(TooLong);
    }
    bytes.reserve(LENGTH_BYTES + length);
    bytes.extend_from_slice(&(length as u32).to_le_bytes());
    message.encode_raw(bytes);
    Ok(())
}

/// Takes bytes as they arrive and gives messages.
///
/// Feed, then call [`Decoder::message`] until it gives nothing; [`Decoder::finish`] at the end of the stream.
#[derive(Debug)]
pub struct Decoder<M> {
    bytes: Vec<u8>,
    start: usize,
    failed: Option<FrameError>,
    of: PhantomData<fn() -> M>,
}

impl<M> Default for Decoder<M> {
    fn default() -> Self {
        Self { bytes: Vec::new(), start: 0, failed: None, of: PhantomData }
    }
}

impl<M: Message + Default> Decoder<M> {
    /// Takes what a read gave. Ignored once the stream has failed.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message that is complete, or why there will be none.
    pub fn message(&mut self) -> Result<Option<M>, FrameError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let Some((length, rest)) = self.bytes[self.start..].split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(self.fail(FrameError::Oversize));
        }
        let Some(message) = rest.get(..length) else { return Ok(None) };
        match M::decode(message) {
            Ok(message) => {
                self.start += LENGTH_BYTES + length;
                Ok(Some(message))
            }
            Err(_) => Err(self.fail(FrameError::Malformed)),
        }
    }

    /// The end of the stream: an error if it came inside a frame.
    pub fn finish(&mut self) -> Result<(), FrameError> {
        match self.failed {
            Some(failed) => Err(failed),
            None if self.start < self.bytes.len() => Err(self.fail(FrameError::Truncated)),
            None => Ok(()),
        }
    }

    /// Bytes that are held because their frame is not complete.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn fail(&mut self, error: FrameError) -> FrameError {
        self.failed = Some(error);
        self.bytes = Vec::new();
        self.start = 0;
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Hello, ToDataplane, to_dataplane::Body};

    fn hello(software: &str) -> ToDataplane {
        ToDataplane {
            request: 9,
            body: Some(Body::Hello(Hello { major: 1, software: software.into(), ..Default::default() })),
        }
    }

    #[test]
    fn frames_survive_any_cut() {
        let messages: Vec<_> = ["", "a", &"b".repeat(300), "c"].map(hello).into();
        let mut encoder = Encoder::default();
        for message in &messages {
            encoder.write(message).unwrap();
        }
        let bytes = encoder.pending().to_vec();
        for step in [1, 2, 3, 5, 64, bytes.len()] {
            let mut decoder = Decoder::<ToDataplane>::default();
            let mut got = Vec::new();
            for part in bytes.chunks(step) {
                decoder.feed(part);
                while let Some(message) = decoder.message().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!((got, decoder.finish()), (messages.clone(), Ok(())), "steps of {step}");
        }
    }

    #[test]
    fn an_encoder_hands_out_what_was_not_sent() {
        let mut encoder = Encoder::default();
        encoder.write(&hello("x")).unwrap();
        let whole = encoder.pending().to_vec();
        encoder.sent(3);
        assert_eq!(encoder.pending(), &whole[3..]);
        encoder.sent(whole.len() - 3);
        assert_eq!(encoder.pending(), b"");
    }

    /// Wire bytes written by hand from the protobuf encoding rules: request 9 is field 1, varint; Hello is field 2,
    /// length-delimited, holding major 1 and software "x".
    #[test]
    fn the_wire_is_what_the_schema_says() {
        let golden = [9, 0, 0, 0, 0x08, 9, 0x12, 5, 0x08, 1, 0x1A, 1, b'x'];
        let mut bytes = Vec::new();
        encode(&hello("x"), &mut bytes).unwrap();
        assert_eq!(bytes, golden);
    }

    #[test]
    fn a_bad_stream_fails_once_and_for_good() {
        let cases: [(&[u8], FrameError); 3] = [
            (&[1, 0, 64, 0], FrameError::Oversize),
            (&[255, 255, 255, 255, 0], FrameError::Oversize),
            (&[2, 0, 0, 0, 0xFF, 0xFF], FrameError::Malformed),
        ];
        for (bytes, expected) in cases {
            let mut decoder = Decoder::<ToDataplane>::default();
            decoder.feed(bytes);
            assert_eq!(decoder.message(), Err(expected));
            decoder.feed(&[0, 0, 0, 0]);
            assert_eq!(decoder.message(), Err(expected));
            assert_eq!(decoder.finish(), Err(expected));
            assert_eq!(decoder.held(), 0);
        }
        let mut decoder = Decoder::<ToDataplane>::default();
        decoder.feed(&[2, 0, 0]);
        assert_eq!(decoder.message(), Ok(None));
        assert_eq!(decoder.finish(), Err(FrameError::Truncated));
    }

    #[test]
    fn a_message_that_is_too_long_leaves_the_buffer_alone() {
        let mut encoder = Encoder::default();
        let fits = FRAME_BYTES_MAX - hello("").encoded_len() - 16;
        encoder.write(&hello(&"x".repeat(fits))).unwrap();
        let count = encoder.pending().len();
        assert_eq!(encoder.write(&hello(&"x".repeat(FRAME_BYTES_MAX))), Err(TooLong));
        assert_eq!(encoder.pending().len(), count);
    }
}
