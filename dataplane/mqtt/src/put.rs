//! Fields put one after the other into a buffer of exactly the right length.
//!
//! Every writer says first how long its packet is; room is checked once, here, and nothing behind that can fail.

use crate::REMAINING_BYTES_MAX;

/// The caller's buffer is too small for the packet, or no packet can be so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl core::fmt::Display for NoRoom {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str("the packet does not fit")
    }
}

impl core::error::Error for NoRoom {}

/// Bytes of a Variable Byte Integer.
pub(crate) const fn variable_bytes(value: usize) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

/// Bytes of a packet whose remaining length is `body_bytes`.
pub(crate) const fn framed_bytes(body_bytes: usize) -> usize {
    1 + variable_bytes(body_bytes) + body_bytes
}

/// What is left of the buffer.
pub(crate) struct Put<'a>(&'a mut [u8]);

impl<'a> Put<'a> {
    /// Exactly these bytes.
    pub(crate) const fn new(out: &'a mut [u8]) -> Self {
        Self(out)
    }

    /// A packet's fixed header; what follows it is of `body_bytes`. Returns the bytes of the whole.
    #[inline]
    pub(crate) fn framed(first: u8, body_bytes: usize, out: &'a mut [u8]) -> Result<(Self, usize), NoRoom> {
        if body_bytes > REMAINING_BYTES_MAX {
            return Err(NoRoom);
        }
        let count = framed_bytes(body_bytes);
        let mut put = Self(out.get_mut(..count).ok_or(NoRoom)?);
        put.one(first);
        put.variable(body_bytes);
        Ok((put, count))
    }

    #[inline]
    fn room(&mut self, count: usize) -> &mut [u8] {
        self.0.split_off_mut(..count).expect("room was checked for the whole packet")
    }

    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    #[inline]
    pub(crate) fn one(&mut self, byte: u8) {
        self.room(1)[0] = byte;
    }

    #[inline]
    pub(crate) fn two(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn four(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    pub(crate) fn variable(&mut self, mut value: usize) {
        while value > 127 {
            self.one(value as u8 | 0x80);
            value >>= 7;
        }
        self.one(value as u8);
    }

    /// Bytes behind a length of two; whoever made them saw to it that they are not more than that can say.
    #[inline]
    pub(crate) fn counted(&mut self, bytes: &[u8]) {
        self.two(bytes.len() as u16);
        self.bytes(bytes);
    }

    /// Bytes that are left.
    pub(crate) const fn left(&self) -> usize {
        self.0.len()
    }

    /// Everything is written.
    #[inline]
    pub(crate) fn end(&self) {
        debug_assert_eq!(self.0.len(), 0, "a packet is as long as it said");
    }
}
