//! A short text by value, for what a record must spell on the fly. Never allocates, never grows.

use crate::NoRoom;
use base::{decimal, hex};
use core::fmt;

/// Bytes that an [`Inline`] holds.
pub const INLINE_BYTES_MAX: usize = 64;

/// UTF-8 of at most [`INLINE_BYTES_MAX`] bytes. Writing past the end fails and changes nothing.
#[derive(Clone, Copy)]
pub struct Inline {
    bytes: [u8; INLINE_BYTES_MAX],
    count: u8,
    /// It has only letters, digits and hyphens of ASCII, which no escaping changes.
    plain: bool,
}

impl Inline {
    /// The empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; INLINE_BYTES_MAX], count: 0, plain: true }
    }

    /// What `value` displays as, or `None` if that is too long.
    #[must_use]
    pub fn of(value: &dyn fmt::Display) -> Option<Self> {
        let mut text = Self::new();
        fmt::write(&mut text, format_args!("{value}")).ok()?;
        Some(text)
    }

    /// Appends a text.
    ///
    /// # Errors
    /// [`NoRoom`] past the end; nothing has changed then.
    #[inline]
    pub fn push_text(&mut self, text: &str) -> Result<(), NoRoom> {
        self.room(text.len())?.copy_from_slice(text.as_bytes());
        self.plain &= text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        Ok(())
    }

    /// Appends a number in decimal, with zeros in front if it has fewer digits than `digit_count_min`.
    ///
    /// # Errors
    /// As for [`Inline::push_text`].
    #[inline]
    pub fn push_number(&mut self, number: u64, digit_count_min: usize) -> Result<(), NoRoom> {
        if number < 10 && digit_count_min <= 1 {
            self.room(1)?[0] = b'0' + number as u8;
            return Ok(());
        }
        let digits = self.room(decimal::count(number).max(digit_count_min))?;
        decimal::fill(number, digits);
        Ok(())
    }

    /// Appends bytes as upper-case hexadecimal digits.
    ///
    /// # Errors
    /// As for [`Inline::push_text`].
    #[inline]
    pub fn push_hex(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        hex::encode(bytes, self.room(bytes.len() * 2)?).map(|_| ()).ok_or(NoRoom)
    }

    /// The next bytes, which the caller fills with whole characters.
    fn room(&mut self, count: usize) -> Result<&mut [u8], NoRoom> {
        let start = usize::from(self.count);
        let room = self.bytes.get_mut(start..start + count).ok_or(NoRoom)?;
        self.count = (start + count) as u8;
        Ok(room)
    }

    pub(crate) const fn is_plain(&self) -> bool {
        self.plain
    }

    /// The bytes, and how many of them are the text's.
    pub(crate) fn block(&self) -> (&[u8; INLINE_BYTES_MAX], usize) {
        (&self.bytes, self.count.into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.count)]
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).expect("only whole texts are appended")
    }
}

impl Default for Inline {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Inline {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Inline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), out)
    }
}

impl fmt::Write for Inline {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_text(text).map_err(|_| fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write as _;

    #[test]
    fn holds_its_bound_and_refuses_more() {
        let mut text = Inline::new();
        for _ in 0..16 {
            text.write_str("abcé").unwrap_or_default();
        }
        assert_eq!(text.as_str().len(), 60, "twelve times five bytes, and no half text");
        assert!(text.write_str("12345").is_err());
        assert!(text.write_str("1234").is_ok());
        assert_eq!(text.as_str().len(), INLINE_BYTES_MAX);
        assert_eq!(Inline::of(&"x".repeat(65)), None);
        assert_eq!(Inline::of(&7).expect("short").as_str(), "7");
    }

    #[test]
    fn spells_numbers_and_bytes() {
        let mut text = Inline::new();
        assert_eq!(text.push_hex(&[0xDE, 0xAD]), Ok(()));
        assert_eq!(text.push_number(7, 3), Ok(()));
        assert_eq!(text.push_text("é"), Ok(()));
        assert_eq!(text.push_number(u64::MAX, 0), Ok(()));
        assert_eq!(text.as_str(), "DEAD007é18446744073709551615");
        assert_eq!(text.push_hex(&[0; 18]), Err(NoRoom));
        assert_eq!(text.push_number(0, 36), Err(NoRoom));
        assert_eq!(text.as_str(), "DEAD007é18446744073709551615", "nothing has changed");
    }
}
