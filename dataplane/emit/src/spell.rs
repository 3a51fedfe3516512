//! Spelling: one value into bytes. The only place that knows how numbers, times, bytes and texts look.

use crate::run::NoRoom;
use crate::sink::Sink;
use crate::{Escape, Inline, Value, escape};
use base::{decimal as digits, hex};

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

/// Writes a value; says whether there was one.
#[inline]
pub(crate) fn value(sink: &mut Sink<'_>, value: &Value<'_>, spelling: &Spelling) -> Result<bool, NoRoom> {
    match *value {
        Value::Absent | Value::List(_) => return Ok(false),
        Value::Flag(flag) => sink.put(if flag { b"true" } else { b"false" })?,
        Value::Unsigned(number) => unsigned(sink, number)?,
        Value::Signed(number) => decimal(sink, number, 0)?,
        Value::Decimal { digits, scale } => decimal(sink, digits, scale)?,
        Value::Text(words) => text(sink, words.as_bytes(), spelling)?,
        Value::Inline(ref words) if words.is_plain() => sink.put_inline(words, spelling.quoted)?,
        Value::Inline(ref words) => text(sink, words.as_bytes(), spelling)?,
        Value::Json(json) if spelling.escape == Escape::Json && spelling.quoted => sink.put(json.as_bytes())?,
        Value::Json(json) => text(sink, json.as_bytes(), spelling)?,
        Value::Bytes(raw) => bytes(sink, raw, spelling)?,
        Value::Octets { ref octets, count: 8 } if spelling.bytes == BytesAs::Hex => {
            eight(sink, octets, spelling.quoted)?;
        }
        Value::Octets { ref octets, count } => bytes(sink, &octets[..usize::from(count).min(8)], spelling)?,
        Value::Time(micros) => match spelling.time {
            TimeAs::Iso8601(places) => text(sink, iso8601(micros, places).as_bytes(), spelling)?,
            TimeAs::Seconds => unsigned(sink, micros / 1_000_000)?,
            TimeAs::Millis => unsigned(sink, micros / 1_000)?,
            TimeAs::Micros => unsigned(sink, micros)?,
        },
    }
    Ok(true)
}

/// Writes a UTF-8 text, escaped.
pub(crate) fn text(sink: &mut Sink<'_>, text: &[u8], spelling: &Spelling) -> Result<(), NoRoom> {
    escape::text(sink, text, spelling.escape, spelling.quoted)
}

/// An EUI, mostly.
#[inline]
fn eight(sink: &mut Sink<'_>, octets: &[u8; 8], quoted: bool) -> Result<(), NoRoom> {
    let digits = sink.room_within(16, quoted)?.first_chunk_mut().ok_or(NoRoom)?;
    hex::encode_eight(octets, digits);
    Ok(())
}

/// Digits and letters need no escape, nor does base64 but in an URL.
fn bytes(sink: &mut Sink<'_>, raw: &[u8], spelling: &Spelling) -> Result<(), NoRoom> {
    match spelling.bytes {
        BytesAs::Hex => hex::encode(raw, sink.room_within(raw.len() * 2, spelling.quoted)?).map(|_| ()).ok_or(NoRoom),
        BytesAs::HexLower => {
            hex::encode_lower(raw, sink.room_within(raw.len() * 2, spelling.quoted)?).map(|_| ()).ok_or(NoRoom)
        }
        BytesAs::Base64 if spelling.escape == Escape::Url => {
            raw.chunks(3).try_for_each(|group| text(sink, &base64_group(group), spelling))
        }
        BytesAs::Base64 => {
            let letters = sink.room_within(raw.len().div_ceil(3) * 4, spelling.quoted)?;
            for (letters, group) in letters.chunks_exact_mut(4).zip(raw.chunks(3)) {
                letters.copy_from_slice(&base64_group(group));
            }
            Ok(())
        }
    }
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

#[inline]
fn unsigned(sink: &mut Sink<'_>, number: u64) -> Result<(), NoRoom> {
    if number < 10 { sink.put(&[b'0' + number as u8]) } else { longer(sink, number) }
}

fn longer(sink: &mut Sink<'_>, number: u64) -> Result<(), NoRoom> {
    if number < digits::EIGHT_DIGITS {
        let (block, count) = digits::at_most_eight(number);
        return sink.put_block(&block, count);
    }
    unsigned(sink, number / digits::EIGHT_DIGITS)?;
    sink.put(&digits::eight(number))
}

/// The powers of ten that 64 bits hold.
const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut index = 1;
    while index < powers.len() {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// `digits / 10^scale`, exact, without zeros that say nothing.
fn decimal(sink: &mut Sink<'_>, digits: i64, scale: u8) -> Result<(), NoRoom> {
    let number = digits.unsigned_abs();
    let (whole, fraction, places) = match scale {
        0 => (number, 0, 0),
        1 => (number / 10, number % 10, usize::from(!number.is_multiple_of(10))),
        _ => split(number, scale.into()),
    };
    if digits < 0 {
        sink.put(b"-")?;
    }
    unsigned(sink, whole)?;
    if places > 0
        && let [point, right @ ..] = sink.room(1 + places)?
    {
        *point = b'.';
        digits::fill(fraction, right);
    }
    Ok(())
}

/// The parts of `number / 10^places` before and behind the point, and how many places the second one needs.
fn split(mut number: u64, mut places: usize) -> (u64, u64, usize) {
    if number == 0 {
        return (0, 0, 0);
    }
    // Hz as MHz mostly has five such zeros: channels lie on a grid of 100 kHz.
    if places >= 5 && number.is_multiple_of(100_000) {
        (number, places) = (number / 100_000, places - 5);
    }
    while places > 0 && number.is_multiple_of(10) {
        (number, places) = (number / 10, places - 1);
    }
    POWERS.get(places).map_or((0, number, places), |power| (number / power, number % power, places))
}

/// RFC 3339 in UTC with at most nine places. Years past 9999 take the digits they need.
fn iso8601(micros: u64, places: u8) -> Inline {
    let mut out = Inline::new();
    write_iso8601(micros, places, &mut out).expect("thirty-two bytes at most");
    out
}

fn write_iso8601(micros: u64, places: u8, out: &mut Inline) -> Result<(), NoRoom> {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date_of(days);
    out.push_number(year, 4)?;
    let parts = [("-", month), ("-", day), ("T", second / 3600), (":", second / 60 % 60), (":", second % 60)];
    for (mark, number) in parts {
        out.push_text(mark)?;
        out.push_number(number, 2)?;
    }
    if places > 0 {
        out.push_text(".")?;
        out.push_number(fraction * 1_000 / POWERS[9 - usize::from(places)], places.into())?;
    }
    out.push_text("Z")
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
