//! JSON numbers, kept as written: exact decimals first, floating point only where asked for.
//!
//! ```text
//!   -? (0 | 1-9 digit*) (. digit+)? ([eE] [+-]? digit+)?              RFC 8259 section 6
//! ```

/// A number as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number<'a>(&'a str);

/// A number as `digits` x 10^-`scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    /// All digits, the sign included.
    pub digits: i64,
    /// How many of them follow the point; negative if zeros were left out before it.
    pub scale: i32,
}

impl<'a> Number<'a> {
    /// A number whose grammar was checked by [`scan`].
    pub(super) const fn scanned(text: &'a str) -> Self {
        Self(text)
    }

    /// The number as written.
    #[must_use]
    pub const fn text(self) -> &'a str {
        self.0
    }

    /// The number exactly, or `None` if its digits exceed an `i64` or its exponent an `i32`.
    #[must_use]
    pub fn decimal(self) -> Option<Decimal> {
        let parts = self.parts();
        let mut digits = 0i64;
        for digit in parts.digits() {
            digits = digits.checked_mul(10)?.checked_sub(i64::from(digit))?;
        }
        if !parts.negative {
            digits = digits.checked_neg()?;
        }
        let exponent = i32::try_from(parts.exponent).ok()?;
        let scale = i32::try_from(parts.fraction.len()).ok()?.checked_sub(exponent)?;
        Some(Decimal { digits, scale })
    }

    /// The number times 10^`places`, rounded half away from zero: `868.1` with six places is 868 100 000. No step of it
    /// is floating point. `None` if the result exceeds an `i64`.
    #[must_use]
    pub fn fixed(self, places: u32) -> Option<i64> {
        let parts = self.parts();
        // How many of the written digits stand before the point once it has moved.
        let keep = parts.whole.len() as i64 + parts.exponent + i64::from(places);
        let mut sum = 0i64;
        let mut place = 0i64;
        for digit in parts.digits() {
            if place >= keep {
                if place == keep && digit >= 5 {
                    sum = sum.checked_sub(1)?;
                }
                break;
            }
            sum = sum.checked_mul(10)?.checked_sub(i64::from(digit))?;
            place += 1;
        }
        while sum != 0 && place < keep && place >= (parts.whole.len() + parts.fraction.len()) as i64 {
            sum = sum.checked_mul(10)?;
            place += 1;
        }
        if parts.negative { Some(sum) } else { sum.checked_neg() }
    }

    /// The number if it is whole and fits, however it is written (`12`, `12.0`, `1.2e1`).
    #[must_use]
    pub fn to_i64(self) -> Option<i64> {
        if self.is_whole() { self.fixed(0) } else { None }
    }

    /// The number if it is whole, not negative, and fits.
    #[must_use]
    pub fn to_u64(self) -> Option<u64> {
        if let Some(value) = self.to_i64() {
            return u64::try_from(value).ok();
        }
        // Above i64: plain digits only.
        self.0.parse().ok()
    }

    /// The nearest floating point number, or `None` if the number exceeds all of them.
    #[must_use]
    pub fn to_f64(self) -> Option<f64> {
        self.0.parse::<f64>().ok().filter(|value| value.is_finite())
    }

    fn is_whole(self) -> bool {
        let parts = self.parts();
        let keep = parts.whole.len() as i64 + parts.exponent;
        parts.digits().enumerate().all(|(place, digit)| (place as i64) < keep || digit == 0)
    }

    fn parts(self) -> Parts<'a> {
        let (negative, rest) = match self.0.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, self.0),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, saturating(exponent)),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        Parts { negative, whole, fraction, exponent }
    }
}

struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

impl Parts<'_> {
    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.bytes().chain(self.fraction.bytes()).map(|digit| digit - b'0')
    }
}

/// An exponent's value; beyond 10^12 all are alike, and no text is that long.
fn saturating(exponent: &str) -> i64 {
    let (negative, digits) = match exponent.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let size = digits.iter().fold(0i64, |sum, digit| (sum * 10 + i64::from(digit - b'0')).min(1_000_000_000_000));
    if negative { -size } else { size }
}

/// Bytes of the number at the front of `bytes`, or where it leaves the grammar.
pub(super) fn scan(bytes: &[u8]) -> Result<usize, usize> {
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    match bytes.get(at) {
        Some(b'0') => at += 1,
        Some(b'1'..=b'9') => at = digits(bytes, at),
        _ => return Err(at),
    }
    if bytes.get(at) == Some(&b'.') {
        at = some_digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = bytes.get(at) {
            at += 1;
        }
        at = some_digits(bytes, at)?;
    }
    // A digit after a leading zero is the likeliest mistake: say so here, not at the next comma.
    if bytes.get(at).is_some_and(u8::is_ascii_digit) { Err(at) } else { Ok(at) }
}

fn some_digits(bytes: &[u8], at: usize) -> Result<usize, usize> {
    let end = digits(bytes, at);
    if end > at { Ok(end) } else { Err(at) }
}

fn digits(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}
