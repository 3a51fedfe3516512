//! `cargo xtask bench charts`: the newest record as pictures, beside the files they are made of.
//!
//! Owns which chart shows what. Takes everything from the record's JSON files: a chart whose figures no file has is not made,
//! and one that an earlier run left goes.

use crate::shell;
use crate::summary::{newest, read_if_there};
use crate::svg::{Axis, Line, Stack, lines, number, stacks};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A chart: its file, what it shows, and what makes it.
struct Chart {
    file: &'static str,
    shows: &'static str,
    make: fn(&Path) -> Result<Option<String>, String>,
}

const CHARTS: [Chart; 4] = [
    Chart { file: "throughput.svg", shows: "highest rate of one core", make: throughput },
    Chart { file: "latency.svg", shows: "latency by percentile", make: latency },
    Chart { file: "cpu.svg", shows: "CPU per uplink by stage", make: cpu },
    Chart { file: "memory.svg", shows: "memory by sessions and connections", make: memory },
];

/// Beside the charts, made by `bench flame`.
const FLAME: (&str, &str) = ("flame.svg", "flame graph of the dataplane at half load");

/// Servers in the order of their colours.
const SERVERS: [&str; 3] = ["floor", "uring", "glommio"];

/// Shares of the highest rate, and the dashes of their lines.
const SHARES: [(u64, &str); 3] = [(10, "2 4"), (50, ""), (90, "10 4")];

/// How much higher than the highest stack its field is, so that what stands above it has room.
const ABOVE: f64 = 1.08;

/// Writes the charts into the newest record.
///
/// # Errors
/// If there is no record, or a file of it cannot be read or written.
pub(crate) fn write() -> Result<(), String> {
    let record = newest(&shell::root().join("bench/records"))?;
    for chart in CHARTS {
        let path = record.join(chart.file);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        match (chart.make)(&record)? {
            Some(drawn) => {
                fs::write(&path, drawn).map_err(failed)?;
                println!("{}: {}", chart.file, chart.shows);
            }
            None => {
                if path.exists() {
                    fs::remove_file(&path).map_err(failed)?;
                }
                println!("{}: not made, the record has no figures for it", chart.file);
            }
        }
    }
    Ok(())
}

/// Markdown that shows what pictures a record has, by paths from the top of the work tree.
pub(crate) fn shown(record: &Path) -> String {
    let name = record.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let pictures = CHARTS.iter().map(|chart| (chart.file, chart.shows)).chain([FLAME]);
    let there = pictures.filter(|(file, _)| record.join(file).exists());
    there.map(|(file, shows)| format!("![{shows}](bench/records/{name}/{file})\n")).collect()
}

fn throughput(record: &Path) -> Result<Option<String>, String> {
    let load = read_if_there(record, "load")?;
    let stack = |name: &&str| {
        let server = &load["servers"][*name];
        let rate = server["uplinks_per_second"].as_f64()?;
        let limit = if server["limited_by_load"].as_bool()? { ", the load's limit" } else { "" };
        Some(Stack { name: (*name).into(), note: number(rate) + limit, parts: vec![("uplinks/s".into(), rate)] })
    };
    let all: Vec<Stack> = SERVERS.iter().filter_map(stack).collect();
    let most = all.iter().map(|stack| stack.parts[0].1).fold(0.0, f64::max);
    let note = "one core; p99 below 10 ms, nothing lost, repeated or out of order; TLS 1.3";
    let y = Axis::linear("uplinks per second", most * ABOVE);
    Ok((most > 0.0).then(|| stacks("Highest rate of one core", note, &y, &all)))
}

/// Time by percentile. Each point is the median of the rounds that are not void.
fn latency(record: &Path) -> Result<Option<String>, String> {
    let load = read_if_there(record, "load")?;
    let mut all = Vec::new();
    for (colour, name) in SERVERS.iter().enumerate().take(2) {
        for (share, dashes) in SHARES {
            let points = percentiles(&load, name, share);
            if !points.is_empty() {
                all.push(Line { name: format!("{name}, {share} %"), colour, dashes, points });
            }
        }
    }
    let values = || all.iter().flat_map(|line| line.points.iter().map(|(_, us)| *us));
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    if all.is_empty() || least <= 0.0 {
        return Ok(None);
    }
    // Each nine takes as much room as the one before: the axis is one in how many is slower.
    let mut x = Axis::log("percentile", 1.0, 10_000.0);
    let ticks = [(1.0, "0"), (2.0, "50"), (10.0, "90"), (100.0, "99"), (1000.0, "99.9"), (10_000.0, "99.99")];
    x.ticks = ticks.map(|(at, label)| (at, label.to_owned())).to_vec();
    let note = "from an uplink's due time to its message read by the consumer; shares are of uring's highest rate";
    let y = Axis::log("microseconds", least, most);
    Ok(Some(lines("Latency by percentile", note, &x, &y, &all)))
}

/// One in how many is slower, and the microseconds: medians over the trials of a server at a share.
fn percentiles(load: &Value, server: &str, share: u64) -> Vec<(f64, f64)> {
    let empty = Vec::new();
    let trials = load["trials"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .filter(|trial| trial["server"] == server && trial["share_percent"] == share && trial["void"].is_null());
    let curves: Vec<Vec<(f64, f64)>> = trials
        .map(|trial| {
            let points = trial["percentiles_us"].as_array().unwrap_or(&empty).iter();
            points.filter_map(|point| Some((point[0].as_f64()?, point[1].as_f64()?))).collect()
        })
        .collect();
    let Some(first) = curves.first() else { return Vec::new() };
    let median = |at: usize| {
        let mut values: Vec<f64> = curves.iter().filter_map(|curve| curve.get(at).map(|(_, us)| *us)).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let points = first.iter().enumerate().map(|(index, (at, _))| (100.0 / (100.0 - at), median(index)));
    // The slowest of all is no percentile of anything to come.
    points.filter(|(slower, _)| slower.is_finite()).collect()
}

fn cpu(record: &Path) -> Result<Option<String>, String> {
    let flame = read_if_there(record, "flame")?;
    let rate = flame["uplinks_per_second"].as_f64().unwrap_or(0.0);
    let stack = |name: &&str| {
        let parts = flame["cpu_us_per_uplink_by_stage"][*name].as_array()?;
        let parts: Vec<(String, f64)> =
            parts.iter().filter_map(|part| Some((part[0].as_str()?.to_owned(), part[1].as_f64()?))).collect();
        let sum: f64 = parts.iter().map(|(_, us)| us).sum();
        Some(Stack { name: (*name).into(), note: format!("{} us", number(sum)), parts })
    };
    let all: Vec<Stack> = SERVERS.iter().filter_map(stack).collect();
    let most = all.iter().map(|stack| stack.parts.iter().map(|(_, us)| us).sum()).fold(0.0, f64::max);
    let note = format!("all threads of the server, the kernel's work for it included; {} uplinks/s", number(rate));
    let y = Axis::linear("microseconds of CPU per uplink", most * ABOVE);
    Ok((most > 0.0).then(|| stacks("CPU per uplink by stage", &note, &y, &all)))
}

fn memory(record: &Path) -> Result<Option<String>, String> {
    let (scale, idle) = (read_if_there(record, "scale")?, read_if_there(record, "idle")?);
    let wanted = [
        (&scale, "resident_by_sessions", "sessions"),
        (&idle, "resident_by_connections_ws", "connections, plain"),
        (&idle, "resident_by_connections_wss", "connections, secure"),
    ];
    let empty = Vec::new();
    let line = |(colour, (file, field, name)): (usize, &(&Value, &str, &str))| {
        let points = file[*field].as_array().unwrap_or(&empty).iter();
        let points = points.filter_map(|point| Some((point[0].as_f64()?, point[1].as_f64()? / f64::from(1 << 20))));
        let points: Vec<_> = points.filter(|(count, mib)| *count >= 1.0 && *mib > 0.0).collect();
        (points.len() > 1).then(|| Line { name: (*name).into(), colour, dashes: "", points })
    };
    let all: Vec<Line> = wanted.iter().enumerate().filter_map(line).collect();
    let points = || all.iter().flat_map(|line| line.points.iter());
    let (least, most) =
        points().fold((f64::INFINITY, 0f64), |(low, high), (count, _)| (low.min(*count), high.max(*count)));
    let (low, high) = points().fold((f64::INFINITY, 0f64), |(low, high), (_, mib)| (low.min(*mib), high.max(*mib)));
    let note = "of the whole dataplane, one shard, pools and log included; sessions are LoRaWAN devices over the air";
    let x = |least, most| Axis::log("sessions or connections", least, most);
    let y = |low, high| Axis::log("resident memory, MiB", low, high);
    Ok((!all.is_empty())
        .then(|| lines("Memory by sessions and connections", note, &x(least, most), &y(low, high), &all)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_curve_is_the_median_of_the_rounds_that_count() {
        let trial = |server: &str, share: u64, void: Option<&str>, us: [u64; 3]| {
            json!({ "server": server, "share_percent": share, "void": void,
                "percentiles_us": [[50.0, us[0]], [99.0, us[1]], [100.0, us[2]]] })
        };
        let load = json!({ "trials": [
            trial("uring", 50, None, [100, 900, 9000]),
            trial("uring", 50, None, [120, 700, 9000]),
            trial("uring", 50, None, [110, 800, 9000]),
            trial("uring", 50, Some("busy"), [1, 1, 1]),
            trial("uring", 50, Some("busy"), [1, 1, 1]),
            trial("uring", 90, None, [2, 2, 2]),
            trial("floor", 50, None, [3, 3, 3]),
        ]});
        let points = percentiles(&load, "uring", 50);
        assert_eq!(points.iter().map(|(_, us)| *us).collect::<Vec<_>>(), [110.0, 800.0]);
        assert!((points[0].0 - 2.0).abs() < 1e-9 && (points[1].0 - 100.0).abs() < 1e-6);
        assert!(percentiles(&load, "glommio", 50).is_empty() && percentiles(&Value::Null, "uring", 50).is_empty());
    }

    #[test]
    fn a_record_has_the_charts_for_which_it_has_figures() {
        let record = std::env::temp_dir().join(format!("trunkline-charts-{}", std::process::id()));
        fs::create_dir_all(&record).expect("a folder");
        let put = |name: &str, value: Value| fs::write(record.join(name), value.to_string()).expect("a file");
        let made = || CHARTS.map(|chart| (chart.make)(&record).expect("readable"));
        assert!(made().iter().all(Option::is_none), "nothing is made of nothing");
        let server = |rate: f64, limited: bool| json!({ "uplinks_per_second": rate, "limited_by_load": limited });
        let trial = json!({ "server": "floor", "share_percent": 10, "void": null, "percentiles_us": [[50.0, 150], [99.0, 900]] });
        put(
            "load.json",
            json!({ "servers": { "floor": server(94921.0, true), "uring": server(30937.0, false) }, "trials": [trial] }),
        );
        put(
            "flame.json",
            json!({ "uplinks_per_second": 15000.0, "cpu_us_per_uplink_by_stage": { "uring": [["TLS", 2.5], ["journal", 1.5]] } }),
        );
        put("idle.json", json!({ "resident_by_connections_ws": [[1000, 2 << 20], [2000, 4 << 20]] }));
        put("latency.svg", json!(""));
        let [throughput, latency, cpu, memory] = made();
        let shown = shown(&record);
        fs::remove_dir_all(&record).expect("it was there");
        let (throughput, latency) = (throughput.expect("made"), latency.expect("made"));
        assert!(throughput.contains(">94 921, the load's limit</text>"));
        assert!(throughput.contains(">30 937</text>") && !throughput.contains("glommio"));
        assert!(
            latency.contains(">floor, 10 %</text>")
                && latency.contains(">99.9</text>")
                && !latency.contains("uring, 50")
        );
        assert!(cpu.expect("made").contains(">4 us</text>"));
        assert!(memory.expect("made").contains(">connections, plain</text>"));
        assert!(
            shown.starts_with("![latency by percentile](bench/records/trunkline-charts-") && shown.lines().count() == 1
        );
    }
}
