//! Base64 with the standard alphabet, into and out of a caller's buffer.
//!
//! Reads with or without padding, as gateways write both; what is there must be right: padding completes a group of
//! four, and the bits that no byte uses are zero, so that every byte string has two spellings and no more.
//!
//! ```text
//!   AAAAAABB BBBBCCCC CCDDDDDD      three bytes, four digits          RFC 4648 section 4
//! ```

use crate::NoRoom;
use core::fmt;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Marks a byte that is no digit: its high bit survives the OR of four look-ups.
const NONE: u8 = 0x80;

const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut index = 0;
    while index < DIGITS.len() {
        values[DIGITS[index] as usize] = index as u8;
        index += 1;
    }
    values
};

/// Why a text is not the base64 form of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base64Error {
    /// A byte outside the alphabet.
    Digit,
    /// One digit is left over: six bits are no byte.
    Length,
    /// Padding that does not complete a group of four.
    Padding,
    /// Bits are set in the last digit that belong to no byte (RFC 4648 §3.5).
    TrailingBits,
    /// More bytes than the target holds.
    TooLong,
}

impl fmt::Display for Base64Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Digit => "a byte outside the base64 alphabet",
            Self::Length => "one base64 digit is left over",
            Self::Padding => "base64 padding that does not complete a group of four",
            Self::TrailingBits => "bits are set after the last byte",
            Self::TooLong => "more bytes than fit",
        })
    }
}

impl core::error::Error for Base64Error {}

/// Digits, padding included, that `count` bytes take.
#[must_use]
pub const fn encoded_len(count: usize) -> usize {
    count.div_ceil(3) * 4
}

/// Decodes `text` into the front of `target`. Returns the count of bytes written.
///
/// # Errors
/// When the text is not base64, or does not fit; `target` may then have been written to.
pub fn decode(text: &[u8], target: &mut [u8]) -> Result<usize, Base64Error> {
    let digits = strip_padding(text)?;
    let (whole, rest) = digits.split_at(digits.len() & !3);
    let tail_bytes = match rest.len() {
        0 => 0,
        1 => {
            return Err(if rest.iter().all(|digit| is_digit(*digit)) {
                Base64Error::Length
            } else {
                Base64Error::Digit
            });
        }
        digits => digits - 1,
    };
    let whole_bytes = whole.len() / 4 * 3;
    let target = target.get_mut(..whole_bytes + tail_bytes).ok_or(Base64Error::TooLong)?;
    let (body, tail) = target.split_at_mut(whole_bytes);

    let mut seen = 0;
    for (bytes, digits) in body.chunks_exact_mut(3).zip(whole.chunks_exact(4)) {
        let [a, b, c, d] = [value(digits[0]), value(digits[1]), value(digits[2]), value(digits[3])];
        seen |= a | b | c | d;
        bytes[0] = a << 2 | b >> 4;
        bytes[1] = b << 4 | c >> 2;
        bytes[2] = c << 6 | d;
    }
    let mut group = [0; 4];
    for (value_out, digit) in group.iter_mut().zip(rest) {
        *value_out = value(*digit);
        seen |= *value_out;
    }
    if seen & NONE != 0 {
        return Err(Base64Error::Digit);
    }
    let last = [group[0] << 2 | group[1] >> 4, group[1] << 4 | group[2] >> 2, group[2] << 6];
    tail.copy_from_slice(&last[..tail_bytes]);
    if !rest.is_empty() && last[tail_bytes] != 0 {
        return Err(Base64Error::TrailingBits);
    }
    Ok(whole_bytes + tail_bytes)
}

/// Writes `bytes` with padding into the front of `target`. Returns the count of digits.
///
/// # Errors
/// [`NoRoom`] if `target` is shorter than [`encoded_len`].
pub fn encode(bytes: &[u8], target: &mut [u8]) -> Result<usize, NoRoom> {
    let count = encoded_len(bytes.len());
    let target = target.get_mut(..count).ok_or(NoRoom)?;
    for (digits, group) in target.chunks_exact_mut(4).zip(bytes.chunks(3)) {
        let second = group.get(1).copied().unwrap_or(0);
        let third = group.get(2).copied().unwrap_or(0);
        digits[0] = digit(group[0] >> 2);
        digits[1] = digit(group[0] << 4 | second >> 4);
        digits[2] = if group.len() > 1 { digit(second << 2 | third >> 6) } else { b'=' };
        digits[3] = if group.len() > 2 { digit(third) } else { b'=' };
    }
    Ok(count)
}

/// The digits without the padding, which is right or absent.
fn strip_padding(text: &[u8]) -> Result<&[u8], Base64Error> {
    let pads = text.iter().rev().take_while(|byte| **byte == b'=').count();
    if pads > 0 && (pads > 2 || !text.len().is_multiple_of(4)) {
        return Err(Base64Error::Padding);
    }
    Ok(&text[..text.len() - pads])
}

const fn value(digit: u8) -> u8 {
    VALUES[digit as usize]
}

const fn is_digit(byte: u8) -> bool {
    value(byte) != NONE
}

const fn digit(value: u8) -> u8 {
    DIGITS[(value & 63) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::SplitMix64;

    fn check(text: &str, expected: Result<&[u8], Base64Error>) {
        let mut out = [0xAA; 64];
        assert_eq!(
            decode(text.as_bytes(), &mut out).map(|count| out[..count].to_vec()),
            expected.map(<[u8]>::to_vec),
            "{text}"
        );
    }

    /// RFC 4648 §10.
    #[test]
    fn agrees_with_the_rfcs_examples() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            check(text, Ok(bytes.as_bytes()));
            check(text.trim_end_matches('='), Ok(bytes.as_bytes()));
            let mut out = [0; 8];
            assert_eq!(encode(bytes.as_bytes(), &mut out), Ok(text.len()));
            assert_eq!(&out[..text.len()], text.as_bytes());
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        check("Zg=", Err(Base64Error::Padding));
        check("Zm8==", Err(Base64Error::Padding));
        check("Zm9v=", Err(Base64Error::Padding));
        check("Z===", Err(Base64Error::Padding));
        check("====", Err(Base64Error::Padding));
        check("=", Err(Base64Error::Padding));
        check("Zm9v====", Err(Base64Error::Padding));
        check("Z", Err(Base64Error::Length));
        check("Zm9vY", Err(Base64Error::Length));
        check("Zm9v!", Err(Base64Error::Digit));
        check("Zm 9", Err(Base64Error::Digit));
        check("Zg==Zg==", Err(Base64Error::Digit));
        check("Zm-_", Err(Base64Error::Digit));
        check("Zm\n9", Err(Base64Error::Digit));
        check("Zh==", Err(Base64Error::TrailingBits));
        check("Zm9", Err(Base64Error::TrailingBits));
        assert_eq!(decode(b"Zm9v", &mut [0; 2]), Err(Base64Error::TooLong));
        assert_eq!(encode(b"foo", &mut [0; 3]), Err(NoRoom));
    }

    #[test]
    fn round_trips_every_length() {
        let mut random = SplitMix64::new(3);
        for count in 0..300 {
            let bytes: Vec<u8> = (0..count).map(|_| random.next() as u8).collect();
            let (mut text, mut back) = ([0; 400], [0; 300]);
            let digits = encode(&bytes, &mut text).expect("room");
            assert_eq!(digits, encoded_len(count));
            assert_eq!(decode(&text[..digits], &mut back), Ok(count));
            assert_eq!(&back[..count], bytes);
        }
    }
}
