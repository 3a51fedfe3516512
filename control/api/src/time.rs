//! Times as they come in by a query.

use base::UnixMicros;

/// A time that somebody typed: RFC 3339, or Unix seconds. In a query a bare plus, as of a zone, is a blank.
pub(crate) fn instant(text: &str) -> Result<u64, String> {
    let text = match text.rsplit_once(' ') {
        Some((time, zone)) if time.len() > 10 => format!("{time}+{zone}"),
        _ => text.to_owned(),
    };
    text.parse::<UnixMicros>().map(|at| at.0).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_may_be_a_plus() {
        for text in
            ["2024-03-01T01:59:59 02:00", "2024-03-01 01:59:59 02:00", "2024-03-01T01:59:59+02:00", "1709251199"]
        {
            assert_eq!(instant(text), Ok(1_709_251_199_000_000), "{text}");
        }
        for text in ["2024-03-01T01:59:59 Z", "2024-03-01T01:59:59", "yesterday at noon", ""] {
            assert!(instant(text).is_err(), "{text}");
        }
    }
}
