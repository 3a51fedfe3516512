//! Times as packet forwarders write them.

use base::UnixMicros;

/// Seconds from the Unix epoch to the GPS epoch, 1980-01-06.
const GPS_EPOCH_S: u64 = 315_964_800;
/// Leap seconds since the GPS epoch (18 since 2017).
const LEAP_SECONDS: u64 = 18;

/// `2013-03-31T16:21:17.528002Z`
pub(crate) fn iso_time(at: UnixMicros) -> String {
    let [year, month, day, hour, minute, second] = civil(at.seconds());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", at.0 % 1_000_000)
}

/// `2014-01-12 08:59:28 GMT`
pub(crate) fn stat_time(at: UnixMicros) -> String {
    let [year, month, day, hour, minute, second] = civil(at.seconds());
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Milliseconds since the GPS epoch, leap seconds counted.
pub(crate) const fn gps_millis(at: UnixMicros) -> u64 {
    (at.millis() + LEAP_SECONDS * 1_000).saturating_sub(GPS_EPOCH_S * 1_000)
}

/// Year, month, day, hour, minute, second. The calendar counts days from 0000-03-01, so that leap days come last.
fn civil(seconds: u64) -> [u64; 6] {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    [year, month, day_of_year - (153 * shifted + 2) / 5 + 1, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_known_days() {
        let at = UnixMicros(1_364_746_877_528_002);
        assert_eq!(iso_time(at), "2013-03-31T16:21:17.528002Z");
        assert_eq!(stat_time(UnixMicros(1_389_517_168_000_000)), "2014-01-12 08:59:28 GMT");
        assert_eq!(stat_time(UnixMicros(0)), "1970-01-01 00:00:00 GMT");
        assert_eq!(stat_time(UnixMicros(1_709_164_800_000_000)), "2024-02-29 00:00:00 GMT");
        assert_eq!(gps_millis(UnixMicros(1_709_164_800_000_000)), 1_393_200_018_000);
    }
}
