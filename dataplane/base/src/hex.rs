//! Hexadecimal, into and out of a caller's buffer.

/// The two upper-case digits of a byte.
#[must_use]
pub const fn upper(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [DIGITS[(byte >> 4) as usize], DIGITS[(byte & 15) as usize]]
}

/// The two digits of each byte, upper case.
static UPPER: [[u8; 2]; 256] = pairs(false);

/// The two digits of each byte, lower case.
static LOWER: [[u8; 2]; 256] = pairs(true);

const fn pairs(lower: bool) -> [[u8; 2]; 256] {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        let [high, low] = upper(byte as u8);
        pairs[byte] = if lower { [high.to_ascii_lowercase(), low.to_ascii_lowercase()] } else { [high, low] };
        byte += 1;
    }
    pairs
}

/// Why a text is not the hexadecimal form of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HexError {
    /// An odd number of digits.
    Odd,
    /// A byte that is no hexadecimal digit.
    Digit,
    /// More bytes than the target holds.
    TooLong,
}

/// Decodes `digits` into the front of `target`. Returns the count of bytes written.
///
/// # Errors
/// When the text is of odd length, holds a byte that is no digit, or does not fit.
pub fn decode(digits: &[u8], target: &mut [u8]) -> Result<usize, HexError> {
    if !digits.len().is_multiple_of(2) {
        return Err(HexError::Odd);
    }
    let count = digits.len() / 2;
    let target = target.get_mut(..count).ok_or(HexError::TooLong)?;
    for (byte, pair) in target.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(count)
}

/// Writes `bytes` as upper-case digits into the front of `target`. Returns the count of digits, or `None` without room.
#[inline]
pub fn encode(bytes: &[u8], target: &mut [u8]) -> Option<usize> {
    spell(&UPPER, bytes, target)
}

/// As [`encode`], in lower case.
#[inline]
pub fn encode_lower(bytes: &[u8], target: &mut [u8]) -> Option<usize> {
    spell(&LOWER, bytes, target)
}

/// Writes eight bytes, such as an EUI-64, as upper-case digits.
#[inline]
pub fn encode_eight(eight: &[u8; 8], target: &mut [u8; 16]) {
    for (at, byte) in eight.iter().enumerate() {
        [target[at * 2], target[at * 2 + 1]] = UPPER[usize::from(*byte)];
    }
}

fn spell(pairs: &[[u8; 2]; 256], bytes: &[u8], target: &mut [u8]) -> Option<usize> {
    let target = target.get_mut(..bytes.len() * 2)?;
    let (fours, rest) = bytes.as_chunks::<4>();
    let (digits, rest_digits) = target.as_chunks_mut::<8>();
    // Four at a time, for a loop of one costs as much again.
    for (digits, four) in digits.iter_mut().zip(fours) {
        for (at, byte) in four.iter().enumerate() {
            [digits[at * 2], digits[at * 2 + 1]] = pairs[usize::from(*byte)];
        }
    }
    for (pair, byte) in rest_digits.as_chunks_mut().0.iter_mut().zip(rest) {
        *pair = pairs[usize::from(*byte)];
    }
    Some(bytes.len() * 2)
}

const fn digit(byte: u8) -> Result<u8, HexError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(HexError::Digit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_every_byte() {
        let all: Vec<u8> = (0..=255).collect();
        let mut text = [0; 512];
        assert_eq!(encode(&all, &mut text), Some(512));
        let mut back = [0; 256];
        assert_eq!(decode(&text, &mut back), Ok(256));
        assert_eq!(back.as_slice(), all);
        for count in 0..20 {
            let upper: String = all[190..190 + count].iter().map(|byte| format!("{byte:02X}")).collect();
            assert_eq!(encode(&all[190..190 + count], &mut text), Some(count * 2));
            assert_eq!(&text[..count * 2], upper.as_bytes());
            assert_eq!(encode_lower(&all[190..190 + count], &mut text), Some(count * 2));
            assert_eq!(&text[..count * 2], upper.to_lowercase().as_bytes());
        }
        assert_eq!(decode(b"aBcD", &mut back), Ok(2));
        assert_eq!(back[..2], [0xAB, 0xCD]);
    }

    #[test]
    fn refuses_what_is_not_hex() {
        let mut out = [0; 2];
        assert_eq!(decode(b"abc", &mut out), Err(HexError::Odd));
        assert_eq!(decode(b"zz", &mut out), Err(HexError::Digit));
        assert_eq!(decode(b"010203", &mut out), Err(HexError::TooLong));
        assert_eq!(encode(&[1, 2], &mut [0; 3]), None);
    }
}
