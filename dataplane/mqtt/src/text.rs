//! UTF-8 encoded strings and binary data: at most 65 535 bytes behind a length of two (v3 1.5.3, v5 1.5.4, 1.5.6).
//!
//! A text is checked once, where it enters, eight bytes at a step as long as it is ASCII. It is kept as bytes, which is what
//! servers compare and copy; only who wants a `str` pays for a second look.

/// The most bytes of a string or of binary data.
pub(crate) const BYTES_MAX: usize = 65_535;

/// Well-formed UTF-8 without U+0000, as long as a string may be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// `None` if it has U+0000 or is too long.
    #[must_use]
    pub fn new(text: &'a str) -> Option<Self> {
        Self::parse(text.as_bytes())
    }

    /// `None` if these bytes are no UTF-8, have U+0000 or are too many.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        (bytes.len() <= BYTES_MAX && scan(bytes).is_text(bytes)).then_some(Self(bytes))
    }

    /// Bytes that are known to be such.
    pub(crate) const fn checked(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The UTF-8 of it.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The same as a `str`, for which it is looked at again.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        checked_str(self.0)
    }

    /// Whether there are no characters.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl core::fmt::Debug for Text<'_> {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self.as_str(), out)
    }
}

/// Bytes of any kind, as many as binary data may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binary<'a>(&'a [u8]);

impl<'a> Binary<'a> {
    /// `None` if there are more than 65 535.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() <= BYTES_MAX { Some(Self(bytes)) } else { None }
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// The `str` of bytes that were found to be UTF-8.
pub(crate) fn checked_str(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).expect("checked where it entered")
}

/// What occurs among some bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Marks {
    any: u64,
    nul: u64,
    wild: u64,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = ONES << 7;

/// Not 0 if and only if one of the eight bytes is 0 (Mycroft 1987).
const fn zero_in(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

impl Marks {
    #[inline]
    const fn word(&mut self, word: u64) {
        self.any |= word;
        self.nul |= zero_in(word);
        // `+` is 0x2B and `#` is 0x23: one bit apart.
        self.wild |= zero_in((word | ONES << 3) ^ (ONES * 0x2B));
    }

    /// Whether a `+` or `#` is among them.
    pub(crate) const fn is_wild(self) -> bool {
        self.wild != 0
    }

    /// Whether they are a text: ASCII without U+0000 at once, anything else after a closer look.
    #[inline]
    pub(crate) fn is_text(self, bytes: &[u8]) -> bool {
        self.nul == 0 && (self.any & HIGHS == 0 || core::str::from_utf8(bytes).is_ok())
    }
}

/// Looks at all bytes, eight at a step; the last step may look at some again.
#[inline]
pub(crate) fn scan(bytes: &[u8]) -> Marks {
    let mut marks = Marks::default();
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        marks.word(u64::from_le_bytes(*word));
    }
    match bytes.last_chunk::<8>() {
        Some(last) => marks.word(u64::from_le_bytes(*last)),
        None => marks.word(rest.iter().fold(ONES * 0x20, |word, byte| word << 8 | u64::from(*byte))),
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::SplitMix64;

    /// Each byte at each place of texts of each length, and among characters of more than one byte, against the plain rule.
    #[test]
    fn scanning_agrees_with_looking_at_each_byte() {
        let plain = |bytes: &[u8]| {
            let wild = bytes.iter().any(|byte| matches!(byte, b'+' | b'#'));
            (core::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0')), wild)
        };
        let check = |bytes: &[u8]| {
            let marks = scan(bytes);
            assert_eq!((marks.is_text(bytes), marks.is_wild()), plain(bytes), "{bytes:x?}");
        };
        for count in 0..=25 {
            let mut bytes = vec![b'a'; count];
            check(&bytes);
            for at in 0..count {
                for byte in 0..=255 {
                    bytes[at] = byte;
                    check(&bytes);
                }
                bytes[at] = b'a';
            }
        }
        let mut random = SplitMix64::new(5);
        let pieces: [&[u8]; 9] =
            [b"a", b"+", b"#", b"\0", "ü".as_bytes(), "€".as_bytes(), b"\xED\xA0\x80", b"\x80", b"/"];
        for _ in 0..20_000 {
            let count = random.below(12);
            let bytes: Vec<u8> = (0..count).flat_map(|_| pieces[random.below(9) as usize].to_vec()).collect();
            check(&bytes);
        }
    }

    #[test]
    fn texts_and_data_have_a_longest() {
        let long = "a".repeat(BYTES_MAX + 1);
        assert!(Text::new(&long).is_none() && Text::new(&long[1..]).is_some());
        assert!(Binary::new(long.as_bytes()).is_none() && Binary::new(&long.as_bytes()[1..]).is_some());
        assert!(Text::new("a\0").is_none());
        assert_eq!(Text::new("é").map(Text::as_str), Some("é"));
    }
}
