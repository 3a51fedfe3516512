//! Spelling: one value into bytes. The only place that knows how numbers, times, bytes and texts look.

use crate::{Escape, Inline, Value, run::NoRoom};
use core::fmt::Write as _;

/// How bytes are spelt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum BytesAs {
    /// Upper-case hexadecimal.
    #[default]
    Hex,
    /// Lower-case hexadecimal.
    HexLower,
    /// RFC 4648 §4, padded.
    Base64,
}

/// How a time is spelt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimeAs {
    /// RFC 3339 in UTC with this many digits of a second's fraction, 0 to 9.
    Iso8601(u8),
    /// Whole seconds since the epoch.
    Seconds,
    /// Whole milliseconds.
    Millis,
    /// Microseconds.
    Micros,
}

/// Everything that a filter chain and the place in the template decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spelling {
    pub(crate) bytes: BytesAs,
    pub(crate) time: TimeAs,
    pub(crate) escape: Escape,
    /// A whole JSON value is wanted: texts bring their own quotation marks.
    pub(crate) quoted: bool,
}

/// The caller's buffer and how much of it is written.
pub(crate) struct Sink<'a> {
    out: &'a mut [u8],
    count: usize,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self { out, count: 0 }
    }

    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let end = self.count + bytes.len();
        self.out.get_mut(self.count..end).ok_or(NoRoom)?.copy_from_slice(bytes);
        self.count = end;
        Ok(())
    }
}

/// Writes a value; says whether there was one.
pub(crate) fn value(sink: &mut Sink<'_>, value: &Value<'_>, spelling: Spelling) -> Result<bool, NoRoom> {
    match *value {
        Value::Absent | Value::List(_) => return Ok(false),
        Value::Flag(flag) => sink.put(if flag { b"true" } else { b"false" })?,
        Value::Unsigned(number) => unsigned(sink, number)?,
        Value::Signed(number) => decimal(sink, number, 0)?,
        Value::Decimal { digits, scale } => decimal(sink, digits, scale)?,
        Value::Text(words) => text(sink, words, spelling)?,
        Value::Inline(ref words) => text(sink, words.as_str(), spelling)?,
        Value::Json(json) if spelling.escape == Escape::Json && spelling.quoted => sink.put(json.as_bytes())?,
        Value::Json(json) => text(sink, json, spelling)?,
        Value::Bytes(raw) => bytes(sink, raw, spelling)?,
        Value::Octets { ref octets, count } => bytes(sink, &octets[..usize::from(count).min(8)], spelling)?,
        Value::Time(micros) => match spelling.time {
            TimeAs::Iso8601(places) => text(sink, iso8601(micros, places).as_str(), spelling)?,
            TimeAs::Seconds => unsigned(sink, micros / 1_000_000)?,
            TimeAs::Millis => unsigned(sink, micros / 1_000)?,
            TimeAs::Micros => unsigned(sink, micros)?,
        },
    }
    Ok(true)
}

/// Writes a text, escaped.
pub(crate) fn text(sink: &mut Sink<'_>, text: &str, spelling: Spelling) -> Result<(), NoRoom> {
    match spelling.escape {
        Escape::None => sink.put(text.as_bytes()),
        Escape::Json => {
            quote(sink, spelling)?;
            replace(sink, text, json_escape)?;
            quote(sink, spelling)
        }
        Escape::Xml => {
            let mut rest = text;
            // U+FFFE and U+FFFF are the two characters beyond ASCII that XML 1.0 §2.2 leaves out.
            while let Some(at) = rest.find(['\u{FFFE}', '\u{FFFF}']) {
                replace(sink, &rest[..at], xml_escape)?;
                sink.put("\u{FFFD}".as_bytes())?;
                rest = &rest[at + '\u{FFFE}'.len_utf8()..];
            }
            replace(sink, rest, xml_escape)
        }
        Escape::Csv if text.contains([',', '"', '\r', '\n']) => {
            sink.put(b"\"")?;
            replace(sink, text, csv_escape)?;
            sink.put(b"\"")
        }
        Escape::Csv => sink.put(text.as_bytes()),
        Escape::Url => replace(sink, text, url_escape),
        Escape::Line => replace(sink, text, line_escape),
    }
}

fn quote(sink: &mut Sink<'_>, spelling: Spelling) -> Result<(), NoRoom> {
    if spelling.escape == Escape::Json && spelling.quoted { sink.put(b"\"") } else { Ok(()) }
}

/// What stands for a byte: up to six bytes.
struct Stand {
    bytes: [u8; 6],
    count: u8,
}

impl Stand {
    fn new(text: &[u8]) -> Self {
        let mut bytes = [0; 6];
        bytes[..text.len()].copy_from_slice(text);
        Self { bytes, count: text.len() as u8 }
    }
}

/// Copies runs that may stay, and puts each other byte's stand-in.
fn replace(sink: &mut Sink<'_>, text: &str, stand: fn(u8) -> Option<Stand>) -> Result<(), NoRoom> {
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if let Some(stand) = stand(*byte) {
            sink.put(&bytes[start..at])?;
            sink.put(&stand.bytes[..usize::from(stand.count)])?;
            start = at + 1;
        }
    }
    sink.put(&bytes[start..])
}

fn json_escape(byte: u8) -> Option<Stand> {
    Some(match byte {
        b'"' => Stand::new(b"\\\""),
        b'\\' => Stand::new(b"\\\\"),
        b'\n' => Stand::new(b"\\n"),
        b'\r' => Stand::new(b"\\r"),
        b'\t' => Stand::new(b"\\t"),
        0..=0x1F => {
            let [high, low] = base::hex::upper(byte);
            Stand::new(&[b'\\', b'u', b'0', b'0', high, low])
        }
        _ => return None,
    })
}

fn xml_escape(byte: u8) -> Option<Stand> {
    Some(match byte {
        b'&' => Stand::new(b"&amp;"),
        b'<' => Stand::new(b"&lt;"),
        b'>' => Stand::new(b"&gt;"),
        b'"' => Stand::new(b"&quot;"),
        b'\'' => Stand::new(b"&apos;"),
        // A parser would turn a bare CR into LF (XML 1.0 §2.11).
        b'\r' => Stand::new(b"&#13;"),
        b'\t' | b'\n' => return None,
        0..=0x1F => Stand::new("\u{FFFD}".as_bytes()),
        _ => return None,
    })
}

fn csv_escape(byte: u8) -> Option<Stand> {
    (byte == b'"').then(|| Stand::new(b"\"\""))
}

fn url_escape(byte: u8) -> Option<Stand> {
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        return None;
    }
    let [high, low] = base::hex::upper(byte);
    Some(Stand::new(&[b'%', high, low]))
}

fn line_escape(byte: u8) -> Option<Stand> {
    (byte < 0x20 || byte == 0x7F).then(|| Stand::new(b" "))
}

fn bytes(sink: &mut Sink<'_>, raw: &[u8], spelling: Spelling) -> Result<(), NoRoom> {
    quote(sink, spelling)?;
    match spelling.bytes {
        BytesAs::Hex => raw.iter().try_for_each(|byte| sink.put(&base::hex::upper(*byte)))?,
        BytesAs::HexLower => {
            raw.iter()
                .try_for_each(|byte| sink.put(&base::hex::upper(*byte).map(|digit| digit.to_ascii_lowercase())))?;
        }
        BytesAs::Base64 => {
            for group in raw.chunks(3) {
                let letters = base64_group(group);
                let letters = core::str::from_utf8(&letters).expect("base64 letters are ASCII");
                text(sink, letters, Spelling { quoted: false, ..spelling })?;
            }
        }
    }
    quote(sink, spelling)
}

fn base64_group(group: &[u8]) -> [u8; 4] {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
    let bits = at(0) << 16 | at(1) << 8 | at(2);
    let letter = |shift: u32| LETTERS[(bits >> shift) as usize & 63];
    [
        letter(18),
        letter(12),
        if group.len() > 1 { letter(6) } else { b'=' },
        if group.len() > 2 { letter(0) } else { b'=' },
    ]
}

fn unsigned(sink: &mut Sink<'_>, number: u64) -> Result<(), NoRoom> {
    let (digits, start) = digits_of(number);
    sink.put(&digits[start..])
}

fn digits_of(mut number: u64) -> ([u8; 20], usize) {
    let mut digits = [b'0'; 20];
    let mut start = 19;
    loop {
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return (digits, start);
        }
        start -= 1;
    }
}

/// `digits / 10^scale`, exact, without zeros that say nothing.
fn decimal(sink: &mut Sink<'_>, digits: i64, scale: u8) -> Result<(), NoRoom> {
    let (mut number, mut scale) = (digits.unsigned_abs(), usize::from(scale));
    while scale > 0 && number % 10 == 0 {
        number /= 10;
        scale = if number == 0 { 0 } else { scale - 1 };
    }
    if digits < 0 {
        sink.put(b"-")?;
    }
    let (all, start) = digits_of(number);
    let whole = &all[start..];
    if scale == 0 {
        return sink.put(whole);
    }
    if whole.len() > scale {
        let (left, right) = whole.split_at(whole.len() - scale);
        sink.put(left)?;
        sink.put(b".")?;
        return sink.put(right);
    }
    sink.put(b"0.")?;
    (whole.len()..scale).try_for_each(|_| sink.put(b"0"))?;
    sink.put(whole)
}

/// RFC 3339 in UTC. Years past 9999 take the digits they need.
fn iso8601(micros: u64, places: u8) -> Inline {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date_of(days);
    let mut out = Inline::new();
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}").expect("a date fits");
    if places > 0 {
        let nanos = fraction * 1_000;
        write!(out, ".{:0places$}", nanos / 10u64.pow(9 - u32::from(places)), places = usize::from(places))
            .expect("nine digits fit");
    }
    out.write_char('Z').expect("a letter fits");
    out
}

/// Year, month and day of a day counted from 1970-01-01, proleptic Gregorian.
///
/// Years are counted from March, so that the leap day comes last; 400 years have 146 097 days, and the day number at
/// which a month begins is then the line `(153 m + 2) / 5`.
fn date_of(days: u64) -> (u64, u64, u64) {
    let from_march_of_year_0 = days + 719_468;
    let (era, day) = (from_march_of_year_0 / 146_097, from_march_of_year_0 % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}
