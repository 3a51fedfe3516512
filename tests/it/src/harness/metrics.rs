//! What a process counts, as Prometheus would read it.

use std::time::{Duration, Instant};

/// One reading of `/metrics`.
pub(crate) struct Metrics(String);

impl Metrics {
    /// Reads now.
    pub(crate) fn read(port: u16) -> Self {
        let mut response = ureq::get(format!("http://127.0.0.1:{port}/metrics")).call().expect("/metrics answers");
        Self(response.body_mut().read_to_string().expect("text"))
    }

    /// The sum of every sample of `name` whose labels contain all of `labels`, as in `reason="bad_mic"`.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        self.samples(name).filter(|(of, _)| labels.iter().all(|label| of.contains(label))).map(|(_, value)| value).sum()
    }

    /// Every sample of `name`: its labels and its value.
    pub(crate) fn samples<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let whole = labels.is_empty() || labels.starts_with('{');
            Some((labels, whole.then(|| value.parse::<f64>().ok()).flatten()? as u64))
        })
    }

    /// All of it, for a failing test.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// Waits until `sum(name, labels)` is at least `count`.
#[track_caller]
pub(crate) fn reaches(port: u16, name: &str, labels: &[&str], count: u64) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let metrics = Metrics::read(port);
        let sum = metrics.sum(name, labels);
        if sum >= count {
            return;
        }
        assert!(Instant::now() < deadline, "{name}{labels:?} is {sum}, not {count}:\n{}", metrics.text());
        std::thread::sleep(Duration::from_millis(20));
    }
}
