//! UTF-8 checked as it arrives: at most three bytes of an unfinished code point wait for the rest.
//!
//! Fails at the first byte that no continuation could make right (RFC 3629 §3), wherever the text was cut.

/// The text so far is no prefix of UTF-8, or it ended within a code point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utf8Error;

/// The state between two pieces of a text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8 {
    pending: [u8; 4],
    count: u8,
}

impl Utf8 {
    /// The state before any text.
    #[must_use]
    pub const fn new() -> Self {
        Self { pending: [0; 4], count: 0 }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// [`Utf8Error`] as soon as no continuation could make the text right.
    pub fn feed(&mut self, mut piece: &[u8]) -> Result<(), Utf8Error> {
        while self.count > 0 {
            let Some((byte, rest)) = piece.split_first() else {
                return Ok(());
            };
            self.pending[usize::from(self.count)] = *byte;
            self.count += 1;
            piece = rest;
            match core::str::from_utf8(&self.pending[..usize::from(self.count)]) {
                Ok(_) => self.count = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(Utf8Error),
            }
        }
        match core::str::from_utf8(piece) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                let tail = &piece[error.valid_up_to()..];
                self.pending[..tail.len()].copy_from_slice(tail);
                self.count = tail.len() as u8;
                Ok(())
            }
            Err(_) => Err(Utf8Error),
        }
    }

    /// Ends the text; the state is fit for another.
    ///
    /// # Errors
    /// [`Utf8Error`] if it ended within a code point.
    pub fn finish(&mut self) -> Result<(), Utf8Error> {
        let whole = self.count == 0;
        self.count = 0;
        if whole { Ok(()) } else { Err(Utf8Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::SplitMix64;

    /// Cut anywhere, the verdict is that of the whole; and no byte is taken after the point of no return.
    #[test]
    fn agrees_with_the_whole_text_however_it_is_cut() {
        let mut random = SplitMix64::new(11);
        let pieces: [&[u8]; 12] = [
            b"a",
            "ü".as_bytes(),
            "€".as_bytes(),
            "𐍈".as_bytes(),
            b"\xC0",
            b"\xED\xA0",
            b"\xF4\x90",
            b"\xF0\x8F",
            b"\xE2\x82",
            b"\x80",
            "\u{10FFFF}".as_bytes(),
            "\u{D7FF}".as_bytes(),
        ];
        for _ in 0..20_000 {
            let mut text = Vec::new();
            for _ in 0..random.below(6) {
                text.extend_from_slice(pieces[random.below(12) as usize]);
            }
            let mut state = Utf8::default();
            let mut verdict = Ok(());
            let mut taken = 0;
            while verdict.is_ok() && taken < text.len() {
                let end = (taken + 1 + random.below(3) as usize).min(text.len());
                verdict = state.feed(&text[taken..end]);
                taken = end;
                let hopeless = core::str::from_utf8(&text[..taken]).is_err_and(|error| error.error_len().is_some());
                assert_eq!(verdict.is_err(), hopeless, "{text:x?} up to {taken}");
            }
            let verdict = verdict.and_then(|()| state.finish());
            assert_eq!(verdict.is_ok(), core::str::from_utf8(&text).is_ok(), "{text:x?}");
        }
    }
}
