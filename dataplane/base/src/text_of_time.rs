//! Times as people type and read them: RFC 3339 (§5.6), or Unix seconds.
//!
//! The calendar is the `time` crate's. Not for a serving thread: text is allocated.

use crate::UnixMicros;
use core::fmt;
use core::str::FromStr;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A text that is no time, or one before 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotATime;

impl fmt::Display for NotATime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("must be a time as in RFC 3339, or Unix seconds")
    }
}

impl core::error::Error for NotATime {}

impl FromStr for UnixMicros {
    type Err = NotATime;

    /// RFC 3339 with its zone, or Unix seconds, either with a fraction; what is finer than a microsecond is cut.
    fn from_str(text: &str) -> Result<Self, NotATime> {
        unix(text).or_else(|| rfc3339(text)).map(Self).ok_or(NotATime)
    }
}

impl UnixMicros {
    /// In UTC, to the millisecond: `YYYY-MM-DDTHH:MM:SS.mmmZ`. What lies behind the year 9999 is said as its last moment.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let seconds = i64::try_from(self.seconds()).unwrap_or(i64::MAX);
        let last = time::PrimitiveDateTime::MAX.assume_utc();
        let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(last);
        let (hour, minute, second) = at.to_hms();
        let (date, millis) = (at.date(), self.millis() % 1000);
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

fn unix(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if [seconds, fraction].iter().any(|part| part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    let micros = format!("{fraction:0<6}")[..6].parse::<u64>().ok()?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)
}

fn rfc3339(text: &str) -> Option<u64> {
    // A blank may stand for the T (§5.6).
    let text = match text.split_at_checked(10) {
        Some((date, rest)) if rest.starts_with(' ') => format!("{date}T{}", &rest[1..]),
        _ => text.to_owned(),
    };
    let nanos = OffsetDateTime::parse(&text, &Rfc3339).ok()?.unix_timestamp_nanos();
    u64::try_from(nanos.div_euclid(1000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(text.parse::<UnixMicros>().ok().map(|at| at.0), expected, "{text}");
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
        check("2024-02-29 20:29:59-03:30", Some(1_709_251_199_000_000));
        check("1970-01-01T00:00:00Z", Some(0));
        // A leap second is the last moment of its minute.
        check("2016-12-31T23:59:60Z", Some(1_483_228_799_999_999));
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
    fn reads_what_it_writes() {
        let mut us = 0;
        // Steps of some 11 days and a bit, up to the year 2200.
        while us < 7_258_118_400_000_000 {
            check(&UnixMicros(us).rfc3339(), Some(us));
            us += 1_000_003_337_000;
        }
    }

    #[test]
    fn writes_times() {
        // Seconds as `date -u -d @N` shows them.
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999_999, "2024-02-29T23:59:59.999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(UnixMicros(micros).rfc3339(), text);
        }
        assert!(UnixMicros(u64::MAX).rfc3339().starts_with("9999-12-31T23:59:59"), "no panic");
    }
}
