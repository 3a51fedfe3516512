//! The trials of `bench load`, as its record keeps them: what several servers came to at the same rate, in turn.
//!
//! Owns how they are read. Void trials say nothing; each figure is the median of the others.

use serde_json::Value;

/// Shares of the highest rate, percent, the greatest first.
const SHARES: [u64; 3] = [90, 50, 10];

/// The trials of a server at a share, void ones included, so that rounds can be paired.
fn rounds<'a>(load: &'a Value, server: &str, share: u64) -> impl Iterator<Item = &'a Value> {
    let trials = load["trials"].as_array().into_iter().flatten();
    trials.filter(move |trial| trial["server"] == server && trial["share_percent"] == share)
}

fn counts(trial: &&Value) -> bool {
    trial["void"].is_null()
}

/// The rate of a share, uplinks/s.
pub(crate) fn rate(load: &Value, share: u64) -> Option<f64> {
    rounds(load, "uring", share).next()?["rate"].as_f64()
}

/// The median of a figure.
pub(crate) fn figure(load: &Value, server: &str, share: u64, field: &str) -> Option<f64> {
    median(rounds(load, server, share).filter(counts).filter_map(|trial| trial[field].as_f64()))
}

/// The median of a percentile, us.
pub(crate) fn percentile(load: &Value, server: &str, share: u64, at: f64) -> Option<f64> {
    let point = |trial: &Value| {
        let points = trial["percentiles_us"].as_array().into_iter().flatten();
        points.filter(|point| point[0].as_f64() == Some(at)).find_map(|point| point[1].as_f64())
    };
    median(rounds(load, server, share).filter(counts).filter_map(point))
}

/// Glommio's CPU per uplink by uring's, round by round, at the greatest share at which both say something.
pub(crate) fn glommio_by_uring(load: &Value) -> Option<f64> {
    SHARES.into_iter().find_map(|share| {
        let pairs = rounds(load, "glommio", share).zip(rounds(load, "uring", share));
        let both = pairs.filter(|(one, other)| counts(one) && counts(other));
        let cpu = |trial: &Value| trial["cpu_us_per_uplink"].as_f64();
        median(both.filter_map(|(one, other)| Some(cpu(one)? / cpu(other)?)))
    })
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn trial(server: &str, share: u64, cpu: f64, void: Option<&str>) -> Value {
        let points = [(50.0, cpu * 10.0), (99.9, cpu * 100.0)];
        json!({ "server": server, "share_percent": share, "rate": share * 100, "void": void,
            "cpu_us_per_uplink": cpu, "percentiles_us": points })
    }

    #[test]
    fn medians_are_of_what_is_not_void() {
        let load = json!({ "trials": [
            trial("uring", 50, 3.0, None), trial("uring", 50, 1.0, None), trial("uring", 50, 2.0, None),
            trial("uring", 50, 99.0, Some("busy")), trial("floor", 50, 7.0, None), trial("uring", 10, 8.0, None),
        ] });
        assert_eq!(figure(&load, "uring", 50, "cpu_us_per_uplink"), Some(2.0));
        assert_eq!(percentile(&load, "uring", 50, 99.9), Some(200.0));
        assert_eq!(percentile(&load, "uring", 50, 99.0), None);
        assert_eq!((rate(&load, 10), rate(&load, 90)), (Some(1000.0), None));
        assert_eq!(figure(&load, "glommio", 50, "cpu_us_per_uplink"), None);
    }

    #[test]
    fn glommio_is_compared_where_both_count() {
        let load = json!({ "trials": [
            trial("uring", 10, 2.0, None), trial("glommio", 10, 3.0, None),
            trial("uring", 10, 2.0, Some("busy")), trial("glommio", 10, 90.0, None),
            trial("uring", 50, 2.0, None), trial("glommio", 50, 8.0, Some("busy")),
        ] });
        assert_eq!(glommio_by_uring(&load), Some(1.5));
        assert_eq!(glommio_by_uring(&json!({ "trials": [] })), None);
    }
}
