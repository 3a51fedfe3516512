//! JSON strings: borrowed as written, compared and unescaped without allocation.
//!
//! ```text
//!   " (unescaped | \ ["\/bfnrt] | \u HHHH)* "                         RFC 8259 section 7
//! ```

use super::ErrorKind;
use core::fmt;

/// A string as written between its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

/// Why a string could not be unescaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextError {
    /// Half of a surrogate pair: no Unicode text (RFC 8259 §8.2).
    Surrogate,
    /// Longer than the caller's buffer.
    TooLong,
}

impl fmt::Display for TextError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Surrogate => "half of a surrogate pair",
            Self::TooLong => "the string is too long",
        })
    }
}

impl core::error::Error for TextError {}

impl<'a> Text<'a> {
    /// A string whose grammar was checked by the reader.
    pub(super) const fn scanned(raw: &'a str, escaped: bool) -> Self {
        Self { raw, escaped }
    }

    /// The string as written, escapes and all.
    #[must_use]
    pub const fn raw(self) -> &'a str {
        self.raw
    }

    /// The string itself, if nothing in it was escaped.
    #[must_use]
    pub const fn plain(self) -> Option<&'a str> {
        if self.escaped { None } else { Some(self.raw) }
    }

    /// The string, borrowed if it can be, else unescaped into the front of `out`.
    ///
    /// # Errors
    /// If it needs unescaping and does not fit, or is no Unicode text.
    pub fn unescape<'b>(self, out: &'b mut [u8]) -> Result<&'b str, TextError>
    where
        'a: 'b,
    {
        if let Some(plain) = self.plain() {
            return Ok(plain);
        }
        let mut at = 0;
        for character in self.chars() {
            let character = character.ok_or(TextError::Surrogate)?;
            let room = out.get_mut(at..at + character.len_utf8()).ok_or(TextError::TooLong)?;
            at += character.encode_utf8(room).len();
        }
        Ok(core::str::from_utf8(&out[..at]).expect("characters make UTF-8"))
    }

    /// Whether the string is `other`.
    #[must_use]
    #[inline]
    pub fn is(self, other: &str) -> bool {
        match self.plain() {
            Some(plain) => plain == other,
            None => self.chars().eq(other.chars().map(Some)),
        }
    }

    /// Whether the string is `other`, if the case of ASCII letters does not count.
    #[must_use]
    pub fn is_ignoring_case(self, other: &str) -> bool {
        match self.plain() {
            Some(plain) => plain.eq_ignore_ascii_case(other),
            None => {
                let lower = |character: char| character.to_ascii_lowercase();
                self.chars().map(|character| character.map(lower)).eq(other.chars().map(lower).map(Some))
            }
        }
    }

    /// The characters; `None` stands for half of a surrogate pair.
    pub fn chars(self) -> impl Iterator<Item = Option<char>> + 'a {
        Characters { rest: self.raw }
    }
}

struct Characters<'a> {
    rest: &'a str,
}

impl Iterator for Characters<'_> {
    type Item = Option<char>;

    #[inline]
    fn next(&mut self) -> Option<Option<char>> {
        let mut rest = self.rest.chars();
        let first = rest.next()?;
        self.rest = rest.as_str();
        if first == '\\' { self.escape() } else { Some(Some(first)) }
    }
}

impl Characters<'_> {
    /// What follows a backslash.
    fn escape(&mut self) -> Option<Option<char>> {
        let mut rest = self.rest.chars();
        let escape = rest.next()?;
        self.rest = rest.as_str();
        Some(match escape {
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'u' => self.unicode(),
            other => Some(other),
        })
    }

    /// What follows `\u`: one unit, or two that make a pair (RFC 8259 §7).
    fn unicode(&mut self) -> Option<char> {
        let first = self.unit()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first);
        }
        let mut ahead = Characters { rest: self.rest.strip_prefix("\\u")? };
        let second = ahead.unit()?;
        if !(0xDC00..0xE000).contains(&second) {
            return None;
        }
        self.rest = ahead.rest;
        char::from_u32(0x1_0000 + ((first - 0xD800) << 10 | (second - 0xDC00)))
    }

    fn unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        u32::from_str_radix(digits, 16).ok()
    }
}

/// Where the closing quote is of a string whose plain beginning ends at `at`, or what is wrong and where.
pub(super) fn escaped_end(bytes: &[u8], mut at: usize) -> Result<usize, (ErrorKind, usize)> {
    loop {
        match bytes.get(at) {
            None => return Err((ErrorKind::End, at)),
            Some(b'"') => return Ok(at),
            Some(b'\\') => at = plain_end(bytes, escape(bytes, at + 1)?),
            Some(_) => return Err((ErrorKind::Control, at)),
        }
    }
}

/// Whether a string of these bytes is written as it is.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    plain_end(bytes, 0) == bytes.len()
}

/// Where the next quote, backslash or control character from `at` on is, or the end: eight bytes at a time.
#[inline(always)]
pub(super) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let marks = marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + bytes[at..].iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1F)).count()
}

/// The high bit of the lowest byte of `word` that is a quote, a backslash or a control character; what is above it may be
/// wrong.
///
/// A byte is below 0x20, or equal to a constant c, iff subtracting borrows into its high bit and the bit was clear
/// before; borrows can only run upwards from a byte that already matched, so the lowest match is exact.
#[inline(always)]
const fn marks(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let quotes = word ^ (ONES * b'"' as u64);
    let slashes = word ^ (ONES * b'\\' as u64);
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (controls | (quotes.wrapping_sub(ONES) & !quotes) | (slashes.wrapping_sub(ONES) & !slashes)) & HIGHS
}

/// Where the escape that starts after the backslash ends.
fn escape(bytes: &[u8], at: usize) -> Result<usize, (ErrorKind, usize)> {
    match bytes.get(at) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 1),
        Some(b'u') => {
            for digit in at + 1..at + 5 {
                match bytes.get(digit) {
                    None => return Err((ErrorKind::End, digit)),
                    Some(byte) if byte.is_ascii_hexdigit() => {}
                    Some(_) => return Err((ErrorKind::Escape, digit)),
                }
            }
            Ok(at + 5)
        }
        Some(_) => Err((ErrorKind::Escape, at)),
        None => Err((ErrorKind::End, at)),
    }
}
