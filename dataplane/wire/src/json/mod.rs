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
    /// Bit d: level d + 1 is an object.
    objects: u64,
    /// Bit d: level d + 1 has not had a member yet.
    fresh: u64,
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
        Ok(Self { text, at: 0, depth: 0, depth_max: limits.depth_max.min(64), objects: 0, fresh: 0 })
    }

    /// A reader over text that is known to be UTF-8, for parts of what was already read.
    #[must_use]
    pub fn over(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, depth_max: 64, objects: 0, fresh: 0 }
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
    pub fn key(&mut self) -> Result<Option<Text<'a>>, Error> {
        if !self.member(b'}')? {
            return Ok(None);
        }
        if self.next_byte()? != b'"' {
            return Err(self.error(ErrorKind::Unexpected));
        }
        let key = self.take_string()?;
        if self.next_byte()? != b':' {
            return Err(self.error(ErrorKind::Unexpected));
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// Whether the array that was entered has another item. The item must be taken before the next call.
    ///
    /// # Errors
    /// If neither an item nor the end is here.
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
        let rest = &self.text.as_bytes()[self.at..];
        match number::scan(rest) {
            Ok(count) => {
                let text = &self.text[self.at..self.at + count];
                self.at += count;
                Ok(Number::scanned(text))
            }
            Err(count) => {
                let kind = if count == rest.len() { ErrorKind::End } else { ErrorKind::Number };
                Err(Error { kind, offset: self.at + count })
            }
        }
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
        let mut kind = self.peek()?;
        let start = self.at;
        let floor = self.depth;
        loop {
            match kind {
                Kind::Object => self.object()?,
                Kind::Array => self.array()?,
                Kind::String => {
                    self.take_string()?;
                }
                Kind::Number => {
                    self.number()?;
                }
                Kind::Bool => {
                    self.bool()?;
                }
                Kind::Null => self.null()?,
            }
            // Climb out of what has ended, to the next value or to where we came in.
            loop {
                if self.depth == floor {
                    return Ok(&self.text[start..self.at]);
                }
                let in_object = self.objects >> (self.depth - 1) & 1 == 1;
                if if in_object { self.key()?.is_some() } else { self.item()? } {
                    break;
                }
            }
            kind = self.peek()?;
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

    fn enter(&mut self, object: bool) -> Result<(), Error> {
        if self.depth == self.depth_max {
            return Err(self.error(ErrorKind::Depth));
        }
        let bit = 1 << self.depth;
        self.objects = if object { self.objects | bit } else { self.objects & !bit };
        self.fresh |= bit;
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Passes the comma before a member, or the end. Whether there is a member.
    fn member(&mut self, end: u8) -> Result<bool, Error> {
        assert!(self.depth > 0, "within an object or array");
        let bit = 1 << (self.depth - 1);
        let byte = self.next_byte()?;
        if byte == end {
            self.depth -= 1;
            self.at += 1;
            return Ok(false);
        }
        if self.fresh & bit != 0 {
            self.fresh &= !bit;
            return Ok(true);
        }
        if byte != b',' {
            return Err(self.error(ErrorKind::Unexpected));
        }
        self.at += 1;
        // A comma promises a member.
        if self.next_byte()? == end {
            return Err(self.error(ErrorKind::Unexpected));
        }
        Ok(true)
    }

    fn take_string(&mut self) -> Result<Text<'a>, Error> {
        let start = self.at + 1;
        let bytes = self.text.as_bytes();
        match text::scan(&bytes[start..]) {
            Ok((count, escaped)) => {
                self.at = start + count + 1;
                Ok(Text::scanned(&self.text[start..start + count], escaped))
            }
            Err((kind, count)) => Err(Error { kind, offset: start + count }),
        }
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
    fn next_byte(&mut self) -> Result<u8, Error> {
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
