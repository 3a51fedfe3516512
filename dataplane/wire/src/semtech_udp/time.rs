//! Times as gateways write them: ISO 8601 in `rxpk`, the expanded form with a zone name in `stat`.
//!
//! ```text
//!   2013-03-31T16:21:17.528002Z        2014-01-12 08:59:28 GMT        2024-02-29T12:00:00+02:00
//! ```

use base::UnixMicros;

/// The instant, or `None` if the text is no time after 1969. A leap second reads as the second that follows it.
#[must_use]
pub fn parse(text: &[u8]) -> Option<UnixMicros> {
    let mut rest = text;
    let year = field(&mut rest, 4)?;
    mark(&mut rest, b"-")?;
    let month = field(&mut rest, 2)?;
    mark(&mut rest, b"-")?;
    let day = field(&mut rest, 2)?;
    mark(&mut rest, b"Tt ")?;
    let hour = field(&mut rest, 2)?;
    mark(&mut rest, b":")?;
    let minute = field(&mut rest, 2)?;
    mark(&mut rest, b":")?;
    let second = field(&mut rest, 2)?;
    let micros = if mark(&mut rest, b".,").is_some() { fraction(&mut rest)? } else { 0 };
    let offset_minutes = zone(rest)?;
    if hour > 23 || minute > 59 || second > 60 || !(1..=days_in(year, month)?).contains(&day) {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + (minute - offset_minutes) * 60 + second;
    u64::try_from(seconds * 1_000_000 + micros).ok().map(UnixMicros)
}

fn mark(rest: &mut &[u8], any: &[u8]) -> Option<()> {
    let (first, tail) = rest.split_first()?;
    if !any.contains(first) {
        return None;
    }
    *rest = tail;
    Some(())
}

fn field(rest: &mut &[u8], width: usize) -> Option<i64> {
    let (digits, tail) = rest.split_at_checked(width)?;
    *rest = tail;
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

/// Microseconds; digits beyond are dropped.
fn fraction(rest: &mut &[u8]) -> Option<i64> {
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, tail) = rest.split_at(count);
    *rest = tail;
    let digit = |place: usize| digits.get(place).map_or(0, |digit| i64::from(digit - b'0'));
    (count > 0).then(|| (0..6).fold(0, |sum, place| sum * 10 + digit(place)))
}

/// Minutes east of Greenwich. A time without a zone is UTC: forwarders write no other.
fn zone(rest: &[u8]) -> Option<i64> {
    let (sign, mut rest) = match rest {
        [] | b"Z" | b"z" | b" GMT" | b" UTC" => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let hours = field(&mut rest, 2)?;
    let _ = mark(&mut rest, b":");
    let minutes = if rest.is_empty() { 0 } else { field(&mut rest, 2)? };
    (rest.is_empty() && hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn days_in(year: i64, month: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    Some(match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    })
}

/// Days of the proleptic Gregorian calendar, counted in years that begin in March so that the leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, micros: Option<u64>) {
        assert_eq!(parse(text.as_bytes()), micros.map(UnixMicros), "{text}");
    }

    /// Expected values from GNU date.
    #[test]
    fn reads_what_gateways_write() {
        check("2013-03-31T16:21:17.528002Z", Some(1_364_746_877_528_002));
        check("2014-01-12 08:59:28 GMT", Some(1_389_517_168_000_000));
        check("2024-02-29T12:00:00+02:00", Some(1_709_200_800_000_000));
        check("2024-02-29T12:00:00-0230", Some(1_709_217_000_000_000));
        check("2016-12-31T23:59:60Z", Some(1_483_228_800_000_000));
        check("2000-03-01T00:00:00.1234569Z", Some(951_868_800_123_456));
        check("1970-01-01T00:00:00Z", Some(0));
        check("2100-03-01T00:00:00", Some(4_107_542_400_000_000));
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "2013",
            "2013-03-31",
            "2013-02-29T00:00:00Z",
            "2013-13-01T00:00:00Z",
            "2013-00-01T00:00:00Z",
            "2013-01-00T00:00:00Z",
            "2013-01-01T24:00:00Z",
            "2013-01-01T00:60:00Z",
            "2013-01-01T00:00:61Z",
            "2013-01-01T00:00:00.Z",
            "2013-01-01T00:00:00 CET",
            "2013-01-01T00:00:00+1",
            "2013-01-01T00:00:00+01:00x",
            "1969-12-31T23:59:59Z",
            "+013-01-01T00:00:00Z",
        ] {
            check(text, None);
        }
    }
}
