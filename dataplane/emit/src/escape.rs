//! How a value's text is made safe for the format around it.
//!
//! A text is looked through once, for bytes that may not stay; one without them, which is the rule, is copied whole.

use crate::run::NoRoom;
use crate::sink::Sink;

/// What surrounds a value, and so which characters must not pass as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[repr(u8)]
pub enum Escape {
    /// Nothing is escaped.
    #[default]
    None,
    /// RFC 8259: inside quotation marks of the template the escaped text; elsewhere a whole value, quoted where it is text.
    Json,
    /// XML 1.0 §2.4: `&`, `<`, `>`, `"` and `'` as entities; characters that XML forbids become U+FFFD.
    Xml,
    /// RFC 4180: quoted if it holds a comma, a quotation mark or a line break.
    Csv,
    /// RFC 3986: everything but unreserved characters percent-encoded.
    Url,
    /// One line (headers, topics): control characters become spaces.
    Line,
}

impl Escape {
    /// Every escaping, in the order of the reference.
    pub const ALL: [Self; 6] = [Self::None, Self::Json, Self::Xml, Self::Csv, Self::Url, Self::Line];

    /// Its name in directives and filters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "raw",
            Self::Json => "json",
            Self::Xml => "xml",
            Self::Csv => "csv",
            Self::Url => "url",
            Self::Line => "line",
        }
    }

    /// The escaping with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|escape| escape.name() == name)
    }

    /// One sentence for the reference.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::None => "As it is, escaped for nothing.",
            Self::Json => {
                "JSON: escaped inside the template's quotation marks; a whole value (quoted where text) outside."
            }
            Self::Xml => "XML text or attribute.",
            Self::Csv => "CSV field, quoted where needed.",
            Self::Url => "Percent-encoded.",
            Self::Line => "Control characters become spaces, for headers and topics.",
        }
    }
}

/// Writes a UTF-8 text, escaped; between quotation marks if `quoted`, which only JSON asks for.
#[inline]
pub(crate) fn text(sink: &mut Sink<'_>, text: &[u8], escape: Escape, quoted: bool) -> Result<(), NoRoom> {
    if stays(text, escape) == text.len() {
        sink.room_within(text.len(), quoted)?.copy_from_slice(text);
        return Ok(());
    }
    let quoted = quoted || escape == Escape::Csv;
    quote(sink, quoted)?;
    replace(sink, text, escape)?;
    quote(sink, quoted)
}

fn quote(sink: &mut Sink<'_>, quoted: bool) -> Result<(), NoRoom> {
    if quoted { sink.put(b"\"") } else { Ok(()) }
}

/// How many bytes at the front are written as they are.
fn stays(text: &[u8], escape: Escape) -> usize {
    let clean = if escape == Escape::Json { clean_words(text) * WORD_BYTES } else { 0 };
    let mark = mark(escape);
    let found = text[clean..].iter().position(|byte| MARKS[usize::from(*byte)] & mark != 0);
    found.map_or(text.len(), |found| clean + found)
}

const WORD_BYTES: usize = size_of::<u64>();

/// How many words of eight bytes at the front hold nothing that JSON escapes.
///
/// In `(x - n * ONES) & !x` the top bit of some byte is set exactly if a byte of `x` is below `n`, for `n` up to 128; `x`
/// with its bytes compared by XOR has a byte below 1 exactly if one is equal.
fn clean_words(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xFF;
    const TOPS: u64 = ONES * 0x80;
    const fn below(x: u64, n: u8) -> u64 {
        x.wrapping_sub(ONES * n as u64) & !x
    }
    let (words, _) = text.as_chunks::<WORD_BYTES>();
    let dirty = words.iter().position(|word| {
        let x = u64::from_ne_bytes(*word);
        let quotation = below(x ^ (ONES * b'"' as u64), 1);
        let backslash = below(x ^ (ONES * b'\\' as u64), 1);
        (below(x, 0x20) | quotation | backslash) & TOPS != 0
    });
    dirty.unwrap_or(words.len())
}

/// For each byte a bit of each escaping under which it does not simply stay.
static MARKS: [u8; 256] = {
    let mut marks = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut index = 0;
        while index < Escape::ALL.len() {
            let escape = Escape::ALL[index];
            if stand(escape, byte as u8).is_some() || is_watched(escape, byte as u8) {
                marks[byte] |= mark(escape);
            }
            index += 1;
        }
        byte += 1;
    }
    marks
};

const fn mark(escape: Escape) -> u8 {
    1 << escape as u8
}

/// Bytes that have no stand-in but must be looked at: what makes CSV quote, and the first of U+FFFE and U+FFFF for XML.
const fn is_watched(escape: Escape, byte: u8) -> bool {
    match escape {
        Escape::Csv => matches!(byte, b',' | b'\r' | b'\n'),
        Escape::Xml => byte == 0xEF,
        _ => false,
    }
}

/// Copies runs that may stay, and puts each other byte's stand-in.
fn replace(sink: &mut Sink<'_>, text: &[u8], escape: Escape) -> Result<(), NoRoom> {
    let mut rest = text;
    loop {
        let (run, marked) = rest.split_at(stays(rest, escape));
        sink.put(run)?;
        rest = match (escape, marked) {
            (_, []) => return Ok(()),
            // U+FFFE and U+FFFF are the two characters beyond ASCII that XML 1.0 §2.2 leaves out.
            (Escape::Xml, [0xEF, 0xBF, 0xBE | 0xBF, after @ ..]) => {
                sink.put("\u{FFFD}".as_bytes())?;
                after
            }
            (_, [byte, after @ ..]) => {
                match stand(escape, *byte) {
                    Some(stand) => sink.put(&stand.bytes[..usize::from(stand.count)])?,
                    None => sink.put(&[*byte])?,
                }
                after
            }
        };
    }
}

/// What stands for a byte: up to six bytes.
struct Stand {
    bytes: [u8; 6],
    count: u8,
}

impl Stand {
    const fn new(text: &[u8]) -> Self {
        let mut bytes = [0; 6];
        bytes.split_at_mut(text.len()).0.copy_from_slice(text);
        Self { bytes, count: text.len() as u8 }
    }
}

const fn stand(escape: Escape, byte: u8) -> Option<Stand> {
    match escape {
        Escape::None => None,
        Escape::Json => json_stand(byte),
        Escape::Xml => xml_stand(byte),
        Escape::Csv if byte == b'"' => Some(Stand::new(b"\"\"")),
        Escape::Csv => None,
        Escape::Url => url_stand(byte),
        Escape::Line if byte < 0x20 || byte == 0x7F => Some(Stand::new(b" ")),
        Escape::Line => None,
    }
}

const fn json_stand(byte: u8) -> Option<Stand> {
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

const fn xml_stand(byte: u8) -> Option<Stand> {
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

const fn url_stand(byte: u8) -> Option<Stand> {
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        return None;
    }
    let [high, low] = base::hex::upper(byte);
    Some(Stand::new(&[b'%', high, low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_byte_that_may_not_stay() {
        for escape in Escape::ALL {
            for byte in 0..=255 {
                let stays_alone = stand(escape, byte).is_none() && !is_watched(escape, byte);
                for at in 0..20 {
                    let mut bytes = [b'a'; 20];
                    bytes[at] = byte;
                    // A second one behind it changes nothing.
                    bytes[19] = if at < 19 { byte } else { bytes[19] };
                    let expected = if stays_alone { 20 } else { at };
                    assert_eq!(stays(&bytes, escape), expected, "{escape:?}: {byte} at {at}");
                }
            }
        }
    }
}
