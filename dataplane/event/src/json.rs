//! Whether bytes are one JSON object (RFC 8259), so that a template may hand them on as they are.
//!
//! Gateways are not trusted: what one reports goes into other people's documents only if it cannot break them.
//! Never allocates, never recurses: objects and arrays are remembered as bits of a word.

/// How deep objects and arrays may stand in one another.
const DEPTH_MAX: u32 = 32;

/// The text, if it is exactly one JSON object, with white space around it left out.
#[must_use]
pub(crate) fn object(bytes: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(bytes).ok()?.trim_matches([' ', '\t', '\r', '\n']);
    let end = text.starts_with('{').then(|| value(text.as_bytes()))??;
    (end == text.len()).then_some(text)
}

/// Where the value at the front ends. A bit of `nest` is set where an object is open, clear for an array.
fn value(text: &[u8]) -> Option<usize> {
    let (mut nest, mut depth, mut at) = (0u32, 0u32, 0);
    loop {
        // A value is due.
        match *text.get(at)? {
            opening @ (b'{' | b'[') => {
                if depth == DEPTH_MAX {
                    return None;
                }
                let is_object = opening == b'{';
                let first = blank(text, at + 1);
                if text.get(first) == Some(&(if is_object { b'}' } else { b']' })) {
                    at = first + 1;
                } else {
                    nest = nest << 1 | u32::from(is_object);
                    depth += 1;
                    at = if is_object { key(text, first)? } else { first };
                    continue;
                }
            }
            b'"' => at = string(text, at)?,
            b't' => at = word(text, at, b"true")?,
            b'f' => at = word(text, at, b"false")?,
            b'n' => at = word(text, at, b"null")?,
            _ => at = number(text, at)?,
        }
        // A value has ended: a comma goes on, closing brackets may follow.
        loop {
            if depth == 0 {
                return Some(at);
            }
            at = blank(text, at);
            let in_object = nest & 1 == 1;
            match *text.get(at)? {
                b',' => {
                    at = blank(text, at + 1);
                    if in_object {
                        at = key(text, at)?;
                    }
                    break;
                }
                closing if closing == (if in_object { b'}' } else { b']' }) => {
                    nest >>= 1;
                    depth -= 1;
                    at += 1;
                }
                _ => return None,
            }
        }
    }
}

fn blank(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

/// A member's name and its colon; returns where the value begins.
fn key(text: &[u8], at: usize) -> Option<usize> {
    let colon = blank(text, string(text, at)?);
    (text.get(colon) == Some(&b':')).then(|| blank(text, colon + 1))
}

fn string(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        match *text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => match *text.get(at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                b'u' if text.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => at += 6,
                _ => return None,
            },
            0..=0x1F => return None,
            _ => at += 1,
        }
    }
}

fn word(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    text[at..].starts_with(word).then_some(at + word.len())
}

fn number(text: &[u8], mut at: usize) -> Option<usize> {
    if text.get(at) == Some(&b'-') {
        at += 1;
    }
    at = if text.get(at) == Some(&b'0') { at + 1 } else { digits(text, at)? };
    if text.get(at) == Some(&b'.') {
        at = digits(text, at + 1)?;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        at = digits(text, at + 1 + sign)?;
    }
    Some(at)
}

fn digits(text: &[u8], at: usize) -> Option<usize> {
    let count = text[at.min(text.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then_some(at + count)
}
