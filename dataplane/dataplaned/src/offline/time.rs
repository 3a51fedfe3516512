//! Times as people type and read them: RFC 3339, or Unix seconds.

use base::UnixMicros;

const DAY_S: i64 = 86_400;

/// A time that somebody typed: RFC 3339 with its zone, or Unix seconds, either with a fraction.
pub(super) fn parse(text: &str) -> Result<UnixMicros, String> {
    unix(text).or_else(|| rfc3339(text)).map(UnixMicros).ok_or_else(|| "must be RFC 3339, or Unix seconds".into())
}

/// In UTC, to the millisecond.
pub(super) fn show(at: UnixMicros) -> String {
    let (seconds, millis) = ((at.0 / 1_000_000) as i64, at.0 / 1000 % 1000);
    let (year, month, day) = date_of(seconds.div_euclid(DAY_S));
    let second = seconds.rem_euclid(DAY_S);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

fn unix(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    digits(seconds)?.checked_mul(1_000_000)?.checked_add(micros(fraction)?)
}

/// `YYYY-MM-DDTHH:MM:SS.fraction` and `Z` or `+HH:MM`.
fn rfc3339(text: &str) -> Option<u64> {
    let at = |index: usize, wanted: &[u8]| text.as_bytes().get(index).is_some_and(|byte| wanted.contains(byte));
    if !(at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":")) {
        return None;
    }
    let part = |from: usize, count: usize| digits(text.get(from..from + count)?);
    let (year, month, day) = (part(0, 4)? as i64, part(5, 2)? as i64, part(8, 2)? as i64);
    let (hour, minute, second) = (part(11, 2)?, part(14, 2)?, part(17, 2)?);
    let (fraction, zone) = match text.get(19..)?.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|char: char| !char.is_ascii_digit())?),
        None => ("0", text.get(19..)?),
    };
    let days = days_before(year, month, day);
    // A day that there is not is another one's number. A leap second is the last of its minute.
    if date_of(days) != (year, month, day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let local = days * DAY_S + (hour * 3600 + minute * 60 + second.min(59)) as i64;
    let seconds = u64::try_from(local - offset(zone)?).ok()?;
    seconds.checked_mul(1_000_000)?.checked_add(micros(fraction)?)
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hour, minute) = zone.get(1..)?.split_once(':')?;
    let (hours, minutes) = (digits(hour)?, digits(minute)?);
    let is_one = hour.len() == 2 && minute.len() == 2 && hours < 24 && minutes < 60;
    is_one.then_some(sign * (hours * 3600 + minutes * 60) as i64)
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Of a fraction's digits; what is finer than a microsecond is cut.
fn micros(fraction: &str) -> Option<u64> {
    digits(fraction)?;
    let digit = |index: u32| fraction.as_bytes().get(index as usize).map_or(0, |byte| u64::from(byte - b'0'));
    Some((0..6).map(|index| digit(index) * 10_u64.pow(5 - index)).sum())
}

/// Days since 1970-01-01, and back, after Howard Hinnant's "chrono-compatible low-level date algorithms".
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_shows_times() {
        for (text, micros) in [
            ("1709251199", 1_709_251_199_000_000),
            ("1709251199.5", 1_709_251_199_500_000),
            ("2024-02-29T23:59:59Z", 1_709_251_199_000_000),
            ("2024-03-01T01:29:59.25+01:30", 1_709_251_199_250_000),
            ("2024-02-29 22:59:60.1234567-01:00", 1_709_251_199_123_456),
            ("1970-01-01T00:00:00z", 0),
        ] {
            assert_eq!(parse(text), Ok(UnixMicros(micros)), "{text}");
        }
        for bad in [
            "",
            "-1",
            "1.",
            "yesterday",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00+1:00",
            "1969-12-31T23:59:59Z",
            "99999999999999999999",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_709_251_199_250_999, "2024-02-29T23:59:59.250Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000Z"),
        ] {
            assert_eq!(show(UnixMicros(micros)), text);
        }
    }
}
