//! WebSocket frames and messages: RFC 6455 whole, and RFC 7692's permessage-deflate, for both roles.
//!
//! Owns one connection's grammar: a few counters, a control frame's payload, four bytes of an unfinished code point. Never
//! owns a message: payload is unmasked in the bytes the caller received and handed out as it arrives. Never answers by
//! itself: the owner writes pongs and closes with the writers here.
//!
//! ```text
//!   received bytes -> Reader -> Start Chunk … End, Ping, Pong, Close       (RFC 6455 section 5)
//!                        \-> Assembler -> whole messages in a lent buffer, inflated if need be
//!
//!   | FIN RSV1-3 opcode 4 | MASK length 7 | length 0/2/8 | mask 0/4 | payload … |
//! ```

mod assemble;
mod deflate;
mod extension;
mod frame;
mod mask;
mod read;
mod utf8;

pub use assemble::{Assembler, Lent, Message};
pub use deflate::{Deflater, InflateError, Inflater};
pub use extension::{DeflateParams, EXTENSION_BYTES_MAX, negotiate};
pub use frame::{CONTROL_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, FrameHead, HEAD_BYTES_MAX, write_close, write_control};
pub use mask::apply as apply_mask;
pub use read::{Event, Limits, Reader};
pub use utf8::{Utf8, Utf8Error};

/// Which end of the connection we are. A server's peers mask, a client's do not (RFC 6455 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// We accepted the connection.
    Server,
    /// We opened it.
    Client,
}

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
}

/// A frame's purpose (RFC 6455 §5.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Opcode {
    /// More of a message.
    Continuation = 0x0,
    /// Text, or the first of it.
    Text = 0x1,
    /// Bytes, or the first of them.
    Binary = 0x2,
    /// The end of the connection.
    Close = 0x8,
    /// To be answered.
    Ping = 0x9,
    /// An answer, or a sign of life.
    Pong = 0xA,
}

impl Opcode {
    /// The opcode with this number; the others are reserved.
    #[must_use]
    pub const fn from_wire(value: u8) -> Option<Self> {
        Some(match value {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Whether it is one of the control frames (RFC 6455 §5.5).
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// Why a connection ends (RFC 6455 §7.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// We shut down, or the page was left.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A kind of message that we do not take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// A message's content is not of its type.
    pub const INVALID_DATA: Self = Self(1007);
    /// The peer broke our rules.
    pub const POLICY: Self = Self(1008);
    /// A message is too big.
    pub const TOO_BIG: Self = Self(1009);
    /// Something failed here.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// We restart; come back.
    pub const RESTART: Self = Self(1012);
    /// We are overloaded; come back later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// Whether the code may be in a close frame (RFC 6455 §7.4.1, §7.4.2, and the codes registered since).
    #[must_use]
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

base::counted! {
    /// Why a connection has to be failed; see [`Failure::close_code`].
    pub enum Failure {
        Rsv = "rsv": "A reserved bit is set that no extension claims.",
        Opcode = "opcode": "The opcode is reserved.",
        ControlFragment = "control_fragment": "A control frame is fragmented.",
        ControlLength = "control_length": "A control frame is longer than 125 bytes.",
        MaskMissing = "mask_missing": "A client's frame is not masked.",
        MaskPresent = "mask_present": "A server's frame is masked.",
        LengthForm = "length_form": "A length is not written in the fewest bytes, or has its highest bit set.",
        Continuation = "continuation": "A continuation of no message.",
        Interleaved = "interleaved": "A message begins within another.",
        CloseLength = "close_length": "A close frame of one byte.",
        CloseCode = "close_code": "A close code that may not be sent.",
        CloseReason = "close_reason": "A close reason that is not UTF-8.",
        Utf8 = "utf8": "A text message that is not UTF-8.",
        FrameTooBig = "frame_too_big": "A frame exceeds the limit.",
        MessageTooBig = "message_too_big": "A message exceeds the limit.",
        Inflate = "inflate": "A compressed message that cannot be decompressed.",
    }
}

impl Failure {
    /// The code to close the connection with.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::CloseReason | Self::Utf8 | Self::Inflate => CloseCode::INVALID_DATA,
            Self::FrameTooBig | Self::MessageTooBig => CloseCode::TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

#[cfg(test)]
mod tests;
