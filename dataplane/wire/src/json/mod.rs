//! JSON texts: a pull parser over borrowed bytes and a small writer into a caller's buffer.
//!
//! The reader owns a position and one bit per level of nesting. It never allocates, never recurses, and takes no text
//! outside the grammar of RFC 8259: no byte order mark, no comments, no trailing commas, UTF-8 throughout. The owner asks
//! for what it expects; what it did not expect it may skip.
//!
//! ```text
//!   reader.object()?;                                   {
//!   while let Some(key) = reader.key()? {               "size" :
//!       if key.is("size") { reader.number()?; }         12 ,
//!       else { reader.skip()?; }                        ... }
//!   }
//!   reader.finish()?
//! ```

mod number;
mod text;
mod write;

pub use number::{Decimal, Number};
pub use text::{Text, TextError};
pub use write::Writer;

use core::fmt;

/// What a text may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole text.
    pub bytes_max: usize,
    /// Objects and arrays within each other; at most 64.
    pub depth_max: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes_max: 65_536, depth_max: 32 }
    }
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Longer than the limit.
    TooLong,
    /// Not UTF-8 (RFC 8259 §8.1).
    Utf8,
    /// The text ends within a value.
    End,
    /// A byte that cannot be here.
    Unexpected,
    /// More levels of nesting than the limit.
    Depth,
    /// A control character within a string that is not escaped (RFC 8259 §7).
    Control,
    /// An escape that does not exist.
    Escape,
    /// A number outside the grammar (RFC 8259 §6).
    Number,
    /// A name that is not `true`, `false` or `null`.
    Literal,
    /// Something after the value.
    Trailing,
    /// A value of another type than was asked for; nothing was consumed, so it can be skipped.
    Type,
}

/// What is wrong, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// What.
    pub kind: ErrorKind,
    /// Where.
    pub offset: usize,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ErrorKind::TooLong => "the text is too long",
            ErrorKind::Utf8 => "not UTF-8",
            ErrorKind::End => "the text ends within a value",
            ErrorKind::Unexpected => "unexpected character",
            ErrorKind::Depth => "nested too deeply",
            ErrorKind::Control => "control character within a string",
            ErrorKind::Escape => "unknown escape",
            ErrorKind::Number => "malformed number",
            ErrorKind::Literal => "unknown name",
            ErrorKind::Trailing => "something follows the value",
            ErrorKind::Type => "value of another type",
        };
        write!(out, "{what} at byte {}", self.offset)
    }
}

impl core::error::Error for Error {}

/// The type of a value, as its first byte tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A digit or `-`.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`
    Null,
}

/// A position in a text.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
    depth_max: u8,
    /// The innermost level has not had a member yet. No other can be so: it has what lies within it.
    fresh: bool,
    /// Bit d: level d + 1 is an object.
    objects: u64,
}

/// A string's place between its quotes, and whether any of it is an escape.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    escaped: bool,
}

/// A key, for those who compare bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key<'a> {
    /// As written, which is as meant.
    Plain(&'a [u8]),
    /// With escapes.
    Escaped(Text<'a>),
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`, within the usual limits.
    ///
    /// # Errors
    /// If the text is too long, or not UTF-8.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        Self::within(bytes, Limits::default())
    }

    /// A reader at the start of `bytes`.
    ///
    /// # Errors
    /// If the text is too long, or not UTF-8.
    pub fn within(bytes: &'a [u8], limits: Limits) -> Result<Self, Error> {
        if bytes.len() > limits.bytes_max {
            return Err(Error { kind: ErrorKind::TooLong, offset: limits.bytes_max });
        }
        let text = core::str::from_utf8(bytes)
            .map_err(|error| Error { kind: ErrorKind::Utf8, offset: error.valid_up_to() })?;
        Ok(Self { text, at: 0, depth: 0, depth_max: limits.depth_max.min(64), fresh: false, objects: 0 })
    }

    /// A reader over text that is known to be UTF-8, for parts of what was already read.
    #[must_use]
    pub fn over(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, depth_max: 64, fresh: false, objects: 0 }
    }

    /// A reader over an array's text, behind the item that ends at `at`.
    pub(crate) const fn behind_item(array: &'a str, at: usize) -> Self {
        Self { text: array, at, depth: 1, depth_max: 64, fresh: false, objects: 0 }
    }

    /// The next unread byte's place.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.at
    }

    /// The type of the value that comes next; consumes white space only.
    ///
    /// # Errors
    /// If no value starts here.
    #[inline]
    pub fn peek(&mut self) -> Result<Kind, Error> {
        match self.next_byte()? {
            b'{' => Ok(Kind::Object),
            b'[' => Ok(Kind::Array),
            b'"' => Ok(Kind::String),
            b'-' | b'0'..=b'9' => Ok(Kind::Number),
            b't' | b'f' => Ok(Kind::Bool),
            b'n' => Ok(Kind::Null),
            _ => Err(self.error(ErrorKind::Unexpected)),
        }
    }

    /// Enters an object; [`Reader::key`] then yields its keys and leaves it.
    ///
    /// # Errors
    /// If the value is no object, or too deep.
    pub fn object(&mut self) -> Result<(), Error> {
        self.expect(Kind::Object)?;
        self.enter(true)
    }

    /// Enters an array; [`Reader::item`] then says whether another item follows, and leaves it.
    ///
    /// # Errors
    /// If the value is no array, or too deep.
    pub fn array(&mut self) -> Result<(), Error> {
        self.expect(Kind::Array)?;
        self.enter(false)
    }

    /// The next key of the object that was entered, or `None` when it ends. The value must be taken before the next key.
    ///
    /// # Errors
    /// If neither a key nor the end is here.
    #[inline]
    pub fn key(&mut self) -> Result<Option<Text<'a>>, Error> {
        Ok(self.next_key()?.map(|span| self.text_of(span)))
    }

    /// [`Reader::key`], as bytes.
    #[inline(always)]
    pub(crate) fn key_bytes(&mut self) -> Result<Option<Key<'a>>, Error> {
        Ok(self.next_key()?.map(|span| {
            if span.escaped {
                Key::Escaped(self.text_of(span))
            } else {
                Key::Plain(&self.text.as_bytes()[span.start..span.end])
            }
        }))
    }

    /// What comes next, if that is a comma, a key of four bytes and a colon, as machines write them. The key's bytes are
    /// not checked: only who knows them may say that they are a key, to [`Reader::take_key_of_four`].
    #[inline(always)]
    pub(crate) fn key_of_four(&self) -> Option<[u8; 4]> {
        const AROUND: u64 = u64::from_le_bytes(*b",\"\0\0\0\0\":");
        const MASK: u64 = u64::from_le_bytes([0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF]);
        let word = u64::from_le_bytes(*self.text.as_bytes().get(self.at..)?.first_chunk()?);
        (word & MASK == AROUND && !self.fresh).then_some(((word >> 16) as u32).to_le_bytes())
    }

    /// Takes the key that [`Reader::key_of_four`] returned.
    #[inline(always)]
    pub(crate) fn take_key_of_four(&mut self) {
        debug_assert!(self.key_of_four().is_some_and(|key| text::is_plain(&key)));
        self.at += 8;
    }

    /// Whether the array that was entered has another item. The item must be taken before the next call.
    ///
    /// # Errors
    /// If neither an item nor the end is here.
    #[inline]
    pub fn item(&mut self) -> Result<bool, Error> {
        self.member(b']')
    }

    /// Takes a string.
    ///
    /// # Errors
    /// If the value is no string, or outside the grammar.
    pub fn string(&mut self) -> Result<Text<'a>, Error> {
        self.expect(Kind::String)?;
        self.take_string()
    }

    /// Takes a number.
    ///
    /// # Errors
    /// If the value is no number, or outside the grammar.
    pub fn number(&mut self) -> Result<Number<'a>, Error> {
        self.expect(Kind::Number)?;
        self.take_number()
    }

    /// Takes `true` or `false`.
    ///
    /// # Errors
    /// If the value is neither.
    pub fn bool(&mut self) -> Result<bool, Error> {
        self.expect(Kind::Bool)?;
        let value = self.text.as_bytes()[self.at] == b't';
        self.literal(if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// Takes `null`.
    ///
    /// # Errors
    /// If the value is another.
    pub fn null(&mut self) -> Result<(), Error> {
        self.expect(Kind::Null)?;
        self.literal("null")
    }

    /// Takes a value of any type, all of it checked, and returns its text.
    ///
    /// # Errors
    /// If it is outside the grammar, or nested too deeply.
    pub fn skip(&mut self) -> Result<&'a str, Error> {
        self.next_byte()?;
        let start = self.at;
        self.pass()?;
        Ok(self.since(start))
    }

    /// The text that was taken since `start`, where a value began.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// Takes a value of any type, all of it checked.
    ///
    /// # Errors
    /// As those of [`Reader::skip`].
    pub(crate) fn pass(&mut self) -> Result<(), Error> {
        let floor = self.depth;
        loop {
            match self.next_byte()? {
                b'"' => {
                    self.span()?;
                }
                b'-' | b'0'..=b'9' => {
                    number::scan(self.text.as_bytes(), self.at)
                        .map(|(_, end)| self.at = end)
                        .map_err(|at| self.no_number(at))?;
                }
                b'{' => self.enter(true)?,
                b'[' => self.enter(false)?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => return Err(self.error(ErrorKind::Unexpected)),
            }
            // Climb out of what has ended, to the next value or to where we came in.
            loop {
                if self.depth == floor {
                    return Ok(());
                }
                let in_object = self.objects >> (self.depth - 1) & 1 == 1;
                if if in_object { self.next_key()?.is_some() } else { self.item()? } {
                    break;
                }
            }
        }
    }

    /// Checks that nothing but white space is left.
    ///
    /// # Errors
    /// If something follows the value, or the value has not ended.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.white();
        match (self.depth, self.at == self.text.len()) {
            (0, true) => Ok(()),
            (0, false) => Err(self.error(ErrorKind::Trailing)),
            _ => Err(self.error(ErrorKind::End)),
        }
    }

    fn expect(&mut self, kind: Kind) -> Result<(), Error> {
        if self.peek()? == kind { Ok(()) } else { Err(self.error(ErrorKind::Type)) }
    }

    #[inline]
    fn enter(&mut self, object: bool) -> Result<(), Error> {
        if self.depth == self.depth_max {
            return Err(self.error(ErrorKind::Depth));
        }
        let bit = 1 << self.depth;
        self.objects = if object { self.objects | bit } else { self.objects & !bit };
        self.fresh = true;
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Passes the comma before a member, or the end. Whether there is a member.
    #[inline(always)]
    fn member(&mut self, end: u8) -> Result<bool, Error> {
        assert!(self.depth > 0, "within an object or array");
        let byte = self.next_byte()?;
        let fresh = core::mem::replace(&mut self.fresh, false);
        if byte == b',' && !fresh {
            self.at += 1;
            // A comma promises a member.
            return if self.next_byte()? == end { Err(self.error(ErrorKind::Unexpected)) } else { Ok(true) };
        }
        if byte == end {
            self.depth -= 1;
            self.at += 1;
            return Ok(false);
        }
        if fresh { Ok(true) } else { Err(self.error(ErrorKind::Unexpected)) }
    }

    #[inline(always)]
    fn next_key(&mut self) -> Result<Option<Span>, Error> {
        if !self.member(b'}')? {
            return Ok(None);
        }
        if self.next_byte()? != b'"' {
            return Err(self.error(ErrorKind::Unexpected));
        }
        let span = self.span()?;
        if self.next_byte()? != b':' {
            return Err(self.error(ErrorKind::Unexpected));
        }
        self.at += 1;
        Ok(Some(span))
    }

    /// Takes the string whose quote is the next byte.
    #[inline(always)]
    fn span(&mut self) -> Result<Span, Error> {
        let bytes = self.text.as_bytes();
        debug_assert!(bytes.get(self.at) == Some(&b'"'));
        let start = self.at + 1;
        let end = text::plain_end(bytes, start);
        let (end, escaped) = match bytes.get(end) {
            Some(b'"') => (end, false),
            _ => (text::escaped_end(bytes, end).map_err(|(kind, offset)| Error { kind, offset })?, true),
        };
        self.at = end + 1;
        Ok(Span { start, end, escaped })
    }

    #[inline(always)]
    fn text_of(&self, span: Span) -> Text<'a> {
        Text::scanned(&self.text[span.start..span.end], span.escaped)
    }

    /// Takes the string that [`Reader::peek`] saw.
    #[inline(always)]
    pub(crate) fn take_string(&mut self) -> Result<Text<'a>, Error> {
        let span = self.span()?;
        Ok(self.text_of(span))
    }

    /// Takes the number that [`Reader::peek`] saw.
    #[inline(always)]
    pub(crate) fn take_number(&mut self) -> Result<Number<'a>, Error> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let (digits, end) = number::scan(bytes, start).map_err(|at| self.no_number(at))?;
        self.at = end;
        Ok(Number::scanned(&bytes[start..end], digits))
    }

    #[cold]
    const fn no_number(&self, at: usize) -> Error {
        Error { kind: if at == self.text.len() { ErrorKind::End } else { ErrorKind::Number }, offset: at }
    }

    fn literal(&mut self, name: &str) -> Result<(), Error> {
        let rest = &self.text.as_bytes()[self.at..];
        if !rest.starts_with(name.as_bytes()) {
            let cut = name.as_bytes().starts_with(rest);
            return Err(self.error(if cut { ErrorKind::End } else { ErrorKind::Literal }));
        }
        self.at += name.len();
        Ok(())
    }

    /// The next byte that is no white space, not consumed.
    #[inline(always)]
    fn next_byte(&mut self) -> Result<u8, Error> {
        match self.text.as_bytes().get(self.at) {
            Some(byte) if *byte > b' ' => Ok(*byte),
            _ => self.byte_behind_white(),
        }
    }

    #[inline(never)]
    fn byte_behind_white(&mut self) -> Result<u8, Error> {
        self.white();
        self.text.as_bytes().get(self.at).copied().ok_or(self.error(ErrorKind::End))
    }

    fn white(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
    }

    const fn error(&self, kind: ErrorKind) -> Error {
        Error { kind, offset: self.at }
    }
}

/// Checks that `bytes` are one JSON text within the usual limits.
///
/// # Errors
/// What is wrong with it, and where.
pub fn validate(bytes: &[u8]) -> Result<(), Error> {
    let mut reader = Reader::new(bytes)?;
    reader.skip()?;
    reader.finish()
}

#[cfg(test)]
mod tests;
