//! JSON numbers, kept as written: exact decimals first, floating point only where asked for.
//!
//! ```text
//!   -? (0 | 1-9 digit*) (. digit+)? ([eE] [+-]? digit+)?              RFC 8259 section 6
//! ```

/// A number as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number<'a> {
    /// ASCII, as the grammar has it.
    text: &'a [u8],
    digits: Digits,
}

/// What a number's digits come to, taken while its grammar is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digits {
    /// All of them, without sign and point.
    sum: u64,
    /// How many of them follow the point.
    places: u32,
    negative: bool,
    /// The number is sum / 10^places: no exponent, and no more digits than any sum holds.
    exact: bool,
}

/// Digits that an `u64` holds, whatever they are.
const DIGIT_COUNT_MAX: usize = 19;

/// Powers of ten that an `u64` holds.
const POWERS: [u64; DIGIT_COUNT_MAX + 1] = {
    let mut powers = [1; DIGIT_COUNT_MAX + 1];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};

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
    #[inline]
    pub(super) const fn scanned(text: &'a [u8], digits: Digits) -> Self {
        Self { text, digits }
    }

    /// The number as written.
    #[must_use]
    pub const fn text(self) -> &'a str {
        match core::str::from_utf8(self.text) {
            Ok(text) => text,
            Err(_) => unreachable!(),
        }
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
    #[inline]
    pub fn fixed(self, places: u32) -> Option<i64> {
        let Digits { sum, places: written, negative, exact } = self.digits;
        let power = |exponent: u32| POWERS.get(exponent as usize).copied();
        let (true, Some(power)) = (exact, power(places.abs_diff(written))) else {
            return self.fixed_as_written(places);
        };
        let size = if written <= places {
            sum.checked_mul(power)?
        } else {
            let left = sum % power;
            sum / power + u64::from(left >= power - left)
        };
        if negative { 0i64.checked_sub_unsigned(size) } else { i64::try_from(size).ok() }
    }

    /// [`Number::fixed`], digit by digit, of any number.
    fn fixed_as_written(self, places: u32) -> Option<i64> {
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
    #[inline]
    pub fn to_i64(self) -> Option<i64> {
        if self.digits.exact && self.digits.places == 0 || self.is_whole() { self.fixed(0) } else { None }
    }

    /// The number if it is whole, not negative, and fits.
    #[must_use]
    pub fn to_u64(self) -> Option<u64> {
        if let Some(value) = self.to_i64() {
            return u64::try_from(value).ok();
        }
        // Above i64: plain digits only.
        self.text().parse().ok()
    }

    /// The nearest floating point number, or `None` if the number exceeds all of them.
    #[must_use]
    pub fn to_f64(self) -> Option<f64> {
        self.text().parse::<f64>().ok().filter(|value| value.is_finite())
    }

    fn is_whole(self) -> bool {
        let parts = self.parts();
        let keep = parts.whole.len() as i64 + parts.exponent;
        parts.digits().enumerate().all(|(place, digit)| (place as i64) < keep || digit == 0)
    }

    fn parts(self) -> Parts<'a> {
        let rest = self.text().trim_start_matches('-');
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, saturating(exponent)),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        Parts { negative: self.digits.negative, whole, fraction, exponent }
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

/// What the number at `start` comes to and where it ends, or where it leaves the grammar.
#[inline(always)]
pub(super) fn scan(bytes: &[u8], start: usize) -> Result<(Digits, usize), usize> {
    let negative = bytes.get(start) == Some(&b'-');
    let first = start + usize::from(negative);
    let (mut sum, mut end) = run(bytes, first, 0);
    if end == first {
        return Err(first);
    }
    // A digit after a leading zero is the likeliest mistake: say so here, not at the next comma.
    if bytes[first] == b'0' && end > first + 1 {
        return Err(first + 1);
    }
    let mut count = end - first;
    let mut places = 0;
    if bytes.get(end) == Some(&b'.') {
        let point = end + 1;
        (sum, end) = run(bytes, point, sum);
        if end == point {
            return Err(end);
        }
        places = end - point;
        count += places;
    }
    let mut exact = count <= DIGIT_COUNT_MAX;
    if let Some(b'e' | b'E') = bytes.get(end) {
        end = exponent_end(bytes, end + 1)?;
        exact = false;
    }
    Ok((Digits { sum, places: places as u32, negative, exact }, end))
}

fn exponent_end(bytes: &[u8], mut at: usize) -> Result<usize, usize> {
    if let Some(b'+' | b'-') = bytes.get(at) {
        at += 1;
    }
    let (_, end) = run(bytes, at, 0);
    if end > at { Ok(end) } else { Err(at) }
}

/// The digits from `at` on behind those of `sum`, and where they end.
#[inline(always)]
fn run(bytes: &[u8], mut at: usize, mut sum: u64) -> (u64, usize) {
    while let Some(byte) = bytes.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        sum = sum.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (sum, at)
}
