//! Bytes put one after the other into a caller's buffer; running out of room is remembered and told once.

use crate::NoRoom;

/// A position in a buffer.
#[derive(Debug)]
pub(crate) struct Put<'a> {
    out: &'a mut [u8],
    at: usize,
    full: bool,
}

impl<'a> Put<'a> {
    /// At the front of `out`.
    pub(crate) const fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0, full: false }
    }

    /// Puts bytes, all of them or none.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.at..self.at + bytes.len()) {
            Some(room) if !self.full => {
                room.copy_from_slice(bytes);
                self.at += bytes.len();
            }
            _ => self.full = true,
        }
    }

    /// Lets `write` fill what is left of the buffer; it returns how many bytes it wrote.
    pub(crate) fn with(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize, NoRoom>) {
        match write(&mut self.out[self.at..]) {
            Ok(count) if !self.full => self.at += count,
            _ => self.full = true,
        }
    }

    /// Puts decimal digits.
    pub(crate) fn decimal(&mut self, value: u64) {
        self.padded(value, 1);
    }

    /// Puts decimal digits, with leading zeros up to `width`, which is at most 20.
    pub(crate) fn padded(&mut self, mut value: u64, width: usize) {
        let mut digits = [b'0'; 20];
        let mut from = digits.len();
        while value > 0 {
            from -= 1;
            digits[from] = b'0' + (value % 10) as u8;
            value /= 10;
        }
        let from = from.min(digits.len() - width);
        self.bytes(&digits[from..]);
    }

    /// Bytes put.
    pub(crate) const fn finish(&self) -> Result<usize, NoRoom> {
        if self.full { Err(NoRoom) } else { Ok(self.at) }
    }
}
