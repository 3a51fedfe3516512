//! Frames as they are written: heads, and whole control frames.
//!
//! A head is encoded by itself, so that a payload can be produced in place and its head put right before it.

use super::{CloseCode, Opcode, mask};
use crate::NoRoom;

/// The longest head: two bytes, a 64-bit length, a mask.
pub const HEAD_BYTES_MAX: usize = 14;

/// The longest payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// The longest control frame.
pub const CONTROL_FRAME_BYTES_MAX: usize = 2 + 4 + CONTROL_BYTES_MAX;

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// The last frame of its message.
    pub fin: bool,
    /// The message is compressed; on its first frame only (RFC 7692 §6).
    pub rsv1: bool,
    /// The frame's purpose.
    pub opcode: Opcode,
    /// The client's mask; the payload must be XORed with it.
    pub mask: Option<[u8; 4]>,
    /// Bytes that follow.
    pub payload_bytes: u64,
}

impl FrameHead {
    /// The head of a server's whole message.
    #[must_use]
    pub const fn message(opcode: Opcode, payload_bytes: usize) -> Self {
        Self { fin: true, rsv1: false, opcode, mask: None, payload_bytes: payload_bytes as u64 }
    }

    /// Bytes of the encoded head.
    #[must_use]
    pub const fn encoded_bytes(&self) -> usize {
        let length = match self.payload_bytes {
            0..=125 => 2,
            126..=0xFFFF => 4,
            _ => 10,
        };
        length + if self.mask.is_some() { 4 } else { 0 }
    }

    /// Writes the head into the front of `out`. Returns the count of bytes.
    ///
    /// # Errors
    /// [`NoRoom`] if it does not fit; [`HEAD_BYTES_MAX`] always does.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, NoRoom> {
        let count = self.encoded_bytes();
        let out = out.get_mut(..count).ok_or(NoRoom)?;
        out[0] = u8::from(self.fin) << 7 | u8::from(self.rsv1) << 6 | self.opcode as u8;
        let masked = u8::from(self.mask.is_some()) << 7;
        let mask_at = match self.payload_bytes {
            short @ 0..=125 => {
                out[1] = masked | short as u8;
                2
            }
            medium @ 126..=0xFFFF => {
                out[1] = masked | 126;
                out[2..4].copy_from_slice(&(medium as u16).to_be_bytes());
                4
            }
            long => {
                out[1] = masked | 127;
                out[2..10].copy_from_slice(&long.to_be_bytes());
                10
            }
        };
        if let Some(mask) = self.mask {
            out[mask_at..].copy_from_slice(&mask);
        }
        Ok(count)
    }

    /// Writes the head so that it ends where `payload_at` is. Returns where it begins, or `None` if that is before `out`.
    pub fn write_before(&self, payload_at: usize, out: &mut [u8]) -> Option<usize> {
        let start = payload_at.checked_sub(self.encoded_bytes())?;
        self.write(out.get_mut(start..payload_at)?).ok()?;
        Some(start)
    }
}

/// Writes a ping or pong. Returns the count of bytes.
///
/// # Errors
/// [`NoRoom`] if it does not fit; [`CONTROL_FRAME_BYTES_MAX`] always does.
///
/// # Panics
/// If the opcode is no control frame's, or the payload exceeds [`CONTROL_BYTES_MAX`]: our own mistakes.
pub fn write_control(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>, out: &mut [u8]) -> Result<usize, NoRoom> {
    assert!(opcode.is_control(), "a control frame's opcode");
    assert!(payload.len() <= CONTROL_BYTES_MAX, "a control frame's payload within the bound");
    let head = FrameHead { fin: true, rsv1: false, opcode, mask, payload_bytes: payload.len() as u64 };
    let head_bytes = head.write(out)?;
    let body = out.get_mut(head_bytes..head_bytes + payload.len()).ok_or(NoRoom)?;
    body.copy_from_slice(payload);
    if let Some(mask) = mask {
        mask::apply(body, mask, 0);
    }
    Ok(head_bytes + payload.len())
}

/// Writes a close frame; the reason is cut to fit, between characters. Returns the count of bytes.
///
/// An answer repeats the code of the close that was received, and has none if that had none (RFC 6455 §5.5.1).
///
/// # Errors
/// [`NoRoom`] if it does not fit; [`CONTROL_FRAME_BYTES_MAX`] always does.
///
/// # Panics
/// If the code may not be sent: our own mistake.
pub fn write_close(
    code: Option<CloseCode>,
    reason: &str,
    mask: Option<[u8; 4]>,
    out: &mut [u8],
) -> Result<usize, NoRoom> {
    let Some(code) = code else {
        return write_control(Opcode::Close, &[], mask, out);
    };
    assert!(code.is_sendable(), "a code that may be sent");
    let mut payload = [0; CONTROL_BYTES_MAX];
    payload[..2].copy_from_slice(&code.0.to_be_bytes());
    let mut end = reason.len().min(CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    payload[2..2 + end].copy_from_slice(&reason.as_bytes()[..end]);
    write_control(Opcode::Close, &payload[..2 + end], mask, out)
}
