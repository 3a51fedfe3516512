//! Decimal digits without the formatter: two at a time into a caller's buffer, or eight at once in a word.

/// The two digits of each number below 100.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// How many digits `number` has, 1 to 20; zero has one.
#[inline]
#[must_use]
pub const fn count(number: u64) -> usize {
    match number {
        0..10 => 1,
        10..100 => 2,
        100..1000 => 3,
        _ => number.ilog10() as usize + 1,
    }
}

/// Fills `target` with the last digits of `number`, with zeros in front where it has fewer.
#[inline]
pub fn fill(mut number: u64, target: &mut [u8]) {
    // Most numbers of a message are that short.
    match target {
        [digit] => return *digit = b'0' + (number % 10) as u8,
        [tens, ones] => return [*tens, *ones] = PAIRS[(number % 100) as usize],
        _ => {}
    }
    let mut pairs = target.rchunks_exact_mut(2);
    for pair in &mut pairs {
        pair.copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    if let [digit] = pairs.into_remainder() {
        *digit = b'0' + (number % 10) as u8;
    }
}

/// One more than the greatest number of eight digits.
pub const EIGHT_DIGITS: u64 = 100_000_000;

/// The last eight digits of `number`, with zeros in front where it has fewer.
#[inline]
#[must_use]
pub const fn eight(number: u64) -> [u8; 8] {
    (values_of_eight(number) + ZEROS).to_le_bytes()
}

/// The digits of the last eight of `number` without zeros in front, and how many those are, 1 to 8.
#[inline]
#[must_use]
pub const fn at_most_eight(number: u64) -> ([u8; 8], usize) {
    let values = values_of_eight(number);
    // The bit keeps the last digit of zero.
    let zero_count = (values | 1 << 56).trailing_zeros() / 8;
    (((values + ZEROS) >> (zero_count * 8)).to_le_bytes(), 8 - zero_count as usize)
}

const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// The last eight digits, a byte each, the first in the lowest: halved three times, all parts at once.
///
/// `x * 10_486 >> 20` is `x / 100` for `x` below 10 000, and `x * 103 >> 10` is `x / 10` for `x` below 100.
const fn values_of_eight(number: u64) -> u64 {
    let number = number % EIGHT_DIGITS;
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007F_0000_007F;
    let twos = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((twos * 103) >> 10) & 0x000F_000F_000F_000F;
    tens | ((twos - tens * 10) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::SplitMix64;

    fn check(number: u64) {
        let expected = number.to_string();
        let mut out = [b'x'; 24];
        let count = count(number);
        fill(number, &mut out[2..2 + count]);
        assert_eq!(&out[2..2 + count], expected.as_bytes());
        assert_eq!(
            (&out[..2], &out[2 + count..]),
            (&b"xx"[..], &[b'x'; 24][2 + count..]),
            "{number}: nothing beside it"
        );
        let last = number % EIGHT_DIGITS;
        assert_eq!(eight(number), *format!("{last:08}").as_bytes());
        let (digits, count) = at_most_eight(number);
        assert_eq!(&digits[..count], last.to_string().as_bytes());
    }

    #[test]
    fn agrees_with_the_formatter() {
        for power in 0..20 {
            let power = 10u64.pow(power);
            [power - 1, power, power + 1].into_iter().for_each(check);
        }
        (0..=10_000).chain([u64::MAX - 1, u64::MAX]).for_each(check);
        let mut random = SplitMix64::new(31);
        for _ in 0..20_000 {
            check(random.next() >> random.below(64));
        }
    }

    #[test]
    fn fills_and_cuts_in_front() {
        let mut out = [0; 5];
        fill(42, &mut out);
        assert_eq!(&out, b"00042");
        fill(1_234_567, &mut out);
        assert_eq!(&out, b"34567");
        fill(7, &mut []);
    }
}
