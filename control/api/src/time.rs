//! Times as they come in: RFC 3339, or Unix seconds. How they go out is in [`crate::view`].

/// Unix microseconds of a time that somebody typed: RFC 3339 (§5.6), or Unix seconds, either with a fraction.
pub(crate) fn instant(text: &str) -> Result<u64, String> {
    unix(text).or_else(|| from_rfc3339(text)).ok_or_else(|| "must be a time as in RFC 3339, or Unix seconds".into())
}

fn unix(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    digits(seconds)?.checked_mul(1_000_000)?.checked_add(micros(fraction)?)
}

/// `| YYYY-MM-DD | T | HH:MM:SS | .fraction? | Z or ±HH:MM |`
fn from_rfc3339(text: &str) -> Option<u64> {
    let at = |index: usize, allowed: &[u8]| text.as_bytes().get(index).is_some_and(|byte| allowed.contains(byte));
    if !(at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":")) {
        return None;
    }
    let part = |from: usize, count: usize| digits(text.get(from..from + count)?);
    let (year, month, day) = (part(0, 4)?, part(5, 2)?, part(8, 2)?);
    let (hour, minute, second) = (part(11, 2)?, part(14, 2)?, part(17, 2)?);
    let (fraction, zone) = match text.get(19..)?.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|char: char| !char.is_ascii_digit())?),
        None => ("0", text.get(19..)?),
    };
    // A leap second is the last of its minute.
    if !(1..=days_of(year, month)?).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let local = days_before(year, month, day) * 86_400 + (hour * 3600 + minute * 60 + second.min(59)) as i64;
    let seconds = u64::try_from(local - offset(zone)?).ok()?;
    seconds.checked_mul(1_000_000)?.checked_add(micros(fraction)?)
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (hour, minute) = zone.get(1..)?.split_once(':')?;
    let is_short = hour.len() == 2 && minute.len() == 2;
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    let seconds = (hour * 3600 + minute * 60) as i64;
    match zone.as_bytes()[0] {
        _ if !is_short || hour > 23 || minute > 59 => None,
        b'-' => Some(-seconds),
        // In a query a bare plus is a blank.
        b'+' | b' ' => Some(seconds),
        _ => None,
    }
}

fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Of a fraction's digits; what is finer than a microsecond is cut.
fn micros(fraction: &str) -> Option<u64> {
    digits(fraction)?;
    let digit = |index: u32| fraction.as_bytes().get(index as usize).map_or(0, |byte| u64::from(byte - b'0'));
    Some((0..6).map(|index| digit(index) * 10_u64.pow(5 - index)).sum())
}

fn days_of(year: u64, month: u64) -> Option<u64> {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => Some(28 + u64::from(is_leap)),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

/// Days since 1970-01-01, after Howard Hinnant's "chrono-compatible low-level date algorithms".
fn days_before(year: u64, month: u64, day: u64) -> i64 {
    let (year, month, day) = (year as i64 - i64::from(month <= 2), month as i64, day as i64);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::rfc3339;

    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(instant(text).ok(), expected, "{text}");
    }

    #[test]
    fn reads_what_people_type() {
        // Seconds as `date -u -d TEXT +%s` shows them.
        check("1709251199", Some(1_709_251_199_000_000));
        check("1709251199.25", Some(1_709_251_199_250_000));
        check("0", Some(0));
        check("2024-02-29T23:59:59Z", Some(1_709_251_199_000_000));
        check("2024-02-29t23:59:59.1234567z", Some(1_709_251_199_123_456));
        check("2024-03-01T01:59:59+02:00", Some(1_709_251_199_000_000));
        check("2024-03-01T01:59:59 02:00", Some(1_709_251_199_000_000));
        check("2024-02-29 20:29:59-03:30", Some(1_709_251_199_000_000));
        check("1970-01-01T00:00:00Z", Some(0));
        check("2016-12-31T23:59:60Z", Some(1_483_228_799_000_000));
        for text in [
            "",
            "yesterday",
            "-1",
            "+1",
            "1.",
            ".5",
            "1e9",
            "99999999999999999999",
            "18446744073710",
            "2024-02-29",
            "2024-02-29T23:59:59",
            "2023-02-29T23:59:59Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+2:00",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00Zulu",
            "1969-12-31T23:59:59Z",
            "2024-01-01T00:00:0äZ",
            "20240101T000000Z",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn reads_what_the_api_writes() {
        let mut us = 0;
        // Steps of some 11 days and a bit, up to the year 2200.
        while us < 7_258_118_400_000_000 {
            check(&rfc3339(us), Some(us));
            us += 1_000_003_337_000;
        }
    }
}
