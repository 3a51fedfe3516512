//! What trials came to, for machines: everything that tables and charts are made of.
//!
//! Owns the names of the fields. Each figure of a share is the median of the rounds that are not void.

use crate::canonical::Contender;
use load::Workload;
use load::trial::Outcome;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The percentiles of a trial that are kept: enough for a curve that bends only at its end.
const PERCENTILES: [f64; 16] =
    [1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.99, 100.0];

/// A server against another, one figure for each round.
#[derive(Clone, Default)]
pub(crate) struct Compared {
    pub(crate) cpu: Vec<f64>,
    pub(crate) p999: Vec<f64>,
}

/// What is kept beside the trials.
pub(crate) struct Figures {
    workload: Workload,
    message_bytes: usize,
    /// By server: CPU per uplink and p99.9 at half load, Trunkline's by the floor's.
    pub(crate) ratios: BTreeMap<&'static str, (f64, f64)>,
}

impl Figures {
    pub(crate) const fn new(workload: Workload, message_bytes: usize) -> Self {
        Self { workload, message_bytes, ratios: BTreeMap::new() }
    }

    /// All of it: floor first, Trunkline second.
    pub(crate) fn of_load(&self, all: &[Contender]) -> Value {
        let (floor, one) = (&all[0], &all[1]);
        let ratio = self.ratios.get(one.name);
        let half = half(one);
        let servers: Map<String, Value> = all.iter().map(|one| (one.name.to_owned(), server(one))).collect();
        let trials: Vec<Value> = all.iter().flat_map(|one| one.trials.iter().map(|of| trial(one.name, of))).collect();
        json!({
            "uplink_cpu_ratio_to_floor": ratio.map(|ratio| ratio.0),
            "uplink_rate_ratio_to_floor": one.highest.0 as f64 / floor.highest.0.max(1) as f64,
            "uplinks_per_second_core": one.highest.0,
            "cpu_us_per_uplink": half["cpu_us_per_uplink"],
            "p50_us_half_load": half["p50_us"],
            "p99_us_half_load": half["p99_us"],
            "p999_us_half_load": half["p999_us"],
            "p999_ratio_to_floor": ratio.map(|ratio| ratio.1),
            "workload": {
                "gateways": self.workload.gateways,
                "devices": self.workload.devices,
                "streams": self.workload.streams(),
                "message_bytes": self.message_bytes,
            },
            "servers": servers,
            "trials": trials,
        })
    }
}

fn server(one: &Contender) -> Value {
    json!({ "uplinks_per_second": one.highest.0, "limited_by_load": !one.highest.1, "half_load": half(one) })
}

/// Half load in few figures.
fn half(one: &Contender) -> Value {
    let rounds = || one.trials.iter().filter(|(share, of)| *share == Some(50) && of.void().is_none()).map(|(_, of)| of);
    let median =
        |of: &dyn Fn(&Outcome) -> f64| spread(&mut rounds().map(of).collect::<Vec<_>>()).map(|(median, _)| median);
    json!({
        "uplinks_per_second": rounds().next().map(|of| of.rate),
        "cpu_us_per_uplink": median(&Outcome::cpu_us),
        "p50_us": median(&|of| of.latency_us(0.5) as f64),
        "p99_us": median(&|of| of.latency_us(0.99) as f64),
        "p999_us": median(&|of| of.latency_us(0.999) as f64),
        "resident_bytes": median(&|of| of.server_resident_bytes as f64),
    })
}

fn trial(name: &str, (share, of): &(Option<u64>, Outcome)) -> Value {
    let percentiles: Vec<(f64, u64)> = PERCENTILES.iter().map(|at| (*at, of.latency_us(at / 100.0))).collect();
    let stages: Map<String, Value> = of
        .stages
        .iter()
        .map(|(name, stage)| {
            let quantiles: Vec<(f64, f64)> =
                stage.quantiles.iter().map(|(at, seconds)| (at * 100.0, us(*seconds))).collect();
            (name.clone(), json!({ "count": stage.count, "mean_us": us(stage.mean()), "percentiles_us": quantiles }))
        })
        .collect();
    json!({
        "server": name,
        "share_percent": share,
        "rate": of.rate,
        "void": of.void(),
        "uplinks": of.sent.uplinks,
        "lost": of.lost(),
        "duplicates": of.heard.duplicates,
        "wrong": of.heard.wrong,
        "reordered": of.heard.reordered,
        "late_us_max": of.sent.late_ns_max / 1000,
        "cpu_us_per_uplink": of.cpu_us(),
        "resident_bytes": of.server_resident_bytes,
        "load_cpu_us_per_uplink": of.load_cpu_us(),
        "load_busy": of.load_busy,
        "percentiles_us": percentiles,
        "stages": stages,
    })
}

fn us(seconds: f64) -> f64 {
    (seconds * 1e9).round() / 1000.0
}

/// A line for each stage of which the server keeps time.
pub(crate) fn stages_of(outcome: &Outcome) -> String {
    let mut lines = String::new();
    for (name, stage) in &outcome.stages {
        write!(lines, "    stage {name:<10}{:>9} times, us: mean {:>8.1}", stage.count, us(stage.mean()))
            .expect("a string takes all");
        for (at, seconds) in &stage.quantiles {
            write!(lines, "   p{} {:>8.1}", at * 100.0, us(*seconds)).expect("a string takes all");
        }
        lines.push('\n');
    }
    lines
}

/// The median, and it with least and most as text.
pub(crate) fn spread(values: &mut [f64]) -> Option<(f64, String)> {
    values.sort_by(f64::total_cmp);
    let median = *values.get(values.len() / 2)?;
    Some((median, format!("{median:.2} ({:.2} to {:.2})", values[0], values[values.len() - 1])))
}
