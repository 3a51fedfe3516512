//! A request's head: `httparse` over a fixed count of fields, and look-ups in it.

use super::Status;

/// The longest head that is read.
pub const HEAD_BYTES_MAX: usize = 8192;

/// Fields that a head may have: browsers send about twenty.
pub const FIELD_COUNT_MAX: usize = 48;

base::counted! {
    /// Why a request's head is refused.
    pub enum HeadError {
        TooLong = "too_long": "The head exceeds 8192 bytes.",
        TooMany = "too_many": "The head has more than 48 fields.",
        Grammar = "grammar": "The bytes are no HTTP/1.x request.",
    }
}

impl HeadError {
    /// The status to refuse it with.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::TooLong | Self::TooMany => Status::HeadTooLarge,
            Self::Grammar => Status::BadRequest,
        }
    }
}

/// Why a query's parameter cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// A `%` without two hexadecimal digits.
    Escape,
    /// Not UTF-8 once decoded.
    Utf8,
    /// Longer than the caller's buffer.
    TooLong,
}

/// A request's head, borrowed from the bytes received.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    method: &'a str,
    target: &'a str,
    minor_version: u8,
    field_count: usize,
    fields: [httparse::Header<'a>; FIELD_COUNT_MAX],
}

impl<'a> Head<'a> {
    /// Reads a head from the front of `bytes`: with the count of bytes that it takes, or `None` if more must arrive.
    ///
    /// # Errors
    /// Why it will never be one.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let bounded = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        let mut fields = [httparse::EMPTY_HEADER; FIELD_COUNT_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let count = match request.parse(bounded) {
            Ok(httparse::Status::Complete(count)) => count,
            Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
            Ok(httparse::Status::Partial) => return Err(HeadError::TooLong),
            Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooMany),
            Err(_) => return Err(HeadError::Grammar),
        };
        let (Some(method), Some(target), Some(minor_version)) = (request.method, request.path, request.version) else {
            return Err(HeadError::Grammar);
        };
        let field_count = request.headers.len();
        Ok(Some((Self { method, target, minor_version, field_count, fields }, count)))
    }

    /// `GET`, as written: methods are case-sensitive (RFC 9110 §9.1).
    #[must_use]
    pub const fn method(&self) -> &'a str {
        self.method
    }

    /// Whether the version is HTTP/1.1.
    #[must_use]
    pub const fn is_http_1_1(&self) -> bool {
        self.minor_version == 1
    }

    /// The target's path, as written; `/` if it is empty (RFC 9110 §4.2.3).
    #[must_use]
    pub fn path(&self) -> &'a str {
        let (path, _) = split_at_mark(self.origin_form(), '?');
        if path.is_empty() { "/" } else { path }
    }

    /// The target's query, as written.
    #[must_use]
    pub fn raw_query(&self) -> Option<&'a str> {
        split_at_mark(self.origin_form(), '?').1
    }

    /// The first parameter of this name in the query, percent-decoded into the front of `out` if it must be. A plus sign
    /// is a plus sign (RFC 3986 §2.2), so that base64 tokens survive.
    ///
    /// # Errors
    /// If the parameter is there and cannot be read.
    pub fn query<'b>(&self, name: &str, out: &'b mut [u8]) -> Result<Option<&'b str>, QueryError>
    where
        'a: 'b,
    {
        let query = self.raw_query().unwrap_or("");
        let value = query.split('&').find_map(|pair| match split_at_mark(pair, '=') {
            (key, value) if key == name => Some(value.unwrap_or("")),
            _ => None,
        });
        value.map(|value| decode(value, out)).transpose()
    }

    /// The value of the first field of this name, whatever its case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields(name).next()
    }

    /// The values of all fields of this name, in order.
    pub fn fields<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        let fields = &self.fields[..self.field_count];
        fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The credentials of `Authorization: Bearer …` (RFC 6750 §2.1).
    #[must_use]
    pub fn bearer(&self) -> Option<&'a str> {
        let value = core::str::from_utf8(self.field("Authorization")?).ok()?;
        let (scheme, token) = value.split_once(' ')?;
        let token = token.trim_ascii();
        (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then_some(token)
    }

    /// Whether a body follows the head, or might (RFC 9112 §6.3).
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.field("Transfer-Encoding").is_some()
            || self.fields("Content-Length").any(|value| value.trim_ascii() != b"0")
    }

    /// The target without scheme and authority, which a client may write (RFC 9112 §3.2.2).
    fn origin_form(&self) -> &'a str {
        let Some((_, rest)) = self.target.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '?'])) else {
            return self.target;
        };
        rest.find(['/', '?']).map_or("", |at| &rest[at..])
    }
}

fn split_at_mark(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn decode<'b>(value: &'b str, out: &'b mut [u8]) -> Result<&'b str, QueryError> {
    if !value.contains('%') {
        return if value.len() <= out.len() { Ok(value) } else { Err(QueryError::TooLong) };
    }
    let bytes = value.as_bytes();
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        let target = out.get_mut(count).ok_or(QueryError::TooLong)?;
        if bytes[at] == b'%' {
            let digits = bytes.get(at + 1..at + 3).ok_or(QueryError::Escape)?;
            base::hex::decode(digits, core::slice::from_mut(target)).map_err(|_| QueryError::Escape)?;
            at += 3;
        } else {
            *target = bytes[at];
            at += 1;
        }
        count += 1;
    }
    core::str::from_utf8(&out[..count]).map_err(|_| QueryError::Utf8)
}
