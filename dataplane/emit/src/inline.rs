//! A short text by value, for what a record must spell on the fly. Never allocates, never grows.

use core::fmt;

/// Bytes that an [`Inline`] holds.
pub const INLINE_BYTES_MAX: usize = 64;

/// UTF-8 of at most [`INLINE_BYTES_MAX`] bytes. Writing past the end fails and changes nothing.
#[derive(Clone, Copy)]
pub struct Inline {
    bytes: [u8; INLINE_BYTES_MAX],
    count: u8,
}

impl Inline {
    /// The empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; INLINE_BYTES_MAX], count: 0 }
    }

    /// What `value` displays as, or `None` if that is too long.
    #[must_use]
    pub fn of(value: &dyn fmt::Display) -> Option<Self> {
        let mut text = Self::new();
        fmt::write(&mut text, format_args!("{value}")).ok()?;
        Some(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..usize::from(self.count)]).expect("only whole texts are appended")
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
        let start = usize::from(self.count);
        let end = start + text.len();
        self.bytes.get_mut(start..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.count = end as u8;
        Ok(())
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
}
