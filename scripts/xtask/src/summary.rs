//! `cargo xtask bench summary`: the newest record in one JSON object, for people's own dashboards.
//!
//! Owns the list of fields and where each stands. Takes them from the record's files and nowhere else: what no file has is
//! null.

use crate::{shell, trials};
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

/// Fields, and the file that has them: its name, then the way to the value.
const FIELDS: [(&str, &str, &[&str]); 17] = [
    ("uplink_cpu_ratio_to_floor", "load", &["uplink_cpu_ratio_to_floor"]),
    ("uplink_rate_ratio_to_floor", "load", &["uplink_rate_ratio_to_floor"]),
    ("uplinks_per_second_core", "load", &["uplinks_per_second_core"]),
    ("cpu_us_per_uplink", "load", &["cpu_us_per_uplink"]),
    ("p50_us_half_load", "load", &["p50_us_half_load"]),
    ("p99_us_half_load", "load", &["p99_us_half_load"]),
    ("p999_us_half_load", "load", &["p999_us_half_load"]),
    ("p999_ratio_to_floor", "load", &["p999_ratio_to_floor"]),
    ("allocations_per_uplink", "micro", &["allocations_per_uplink", "1"]),
    ("sessions_loaded", "scale", &["sessions_loaded"]),
    ("bytes_per_session", "scale", &["bytes_per_session"]),
    ("rate_ratio_full_to_thousand_sessions", "scale", &["rate_ratio_full_to_thousand_sessions"]),
    ("start_seconds_full", "scale", &["start_seconds_full"]),
    ("bytes_per_idle_wss", "idle", &["bytes_per_idle_wss"]),
    ("bytes_per_idle_ws", "idle", &["bytes_per_idle_ws"]),
    ("instructions_per_uplink", "micro", &["instructions_per_uplink", "1"]),
    ("instructions_ratio_8_shards", "micro", &["ratio_to_one_shard", "8"]),
];

/// Prints it.
///
/// # Errors
/// If there is no record, or a file of it cannot be read.
pub(crate) fn print() -> Result<(), String> {
    let newest = newest(&shell::root().join("bench/records"))?;
    println!("{:#}", summary(&newest)?);
    Ok(())
}

/// The folder of the newest record: their names begin with the date.
///
/// # Errors
/// If there is none.
pub(crate) fn newest(records: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(records).map_err(|error| format!("{}: {error}", records.display()))?;
    let folders = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(|path| path.is_dir());
    folders.max().ok_or_else(|| format!("{}: no record", records.display()))
}

fn summary(record: &Path) -> Result<Value, String> {
    let mut all = Map::new();
    let name = record.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    all.insert("machine".into(), name.get(11..).unwrap_or_default().into());
    for (field, file, way) in FIELDS {
        let value = read_if_there(record, file)?;
        let found = way.iter().fold(&value, |value, step| &value[*step]);
        all.insert(field.into(), found.clone());
    }
    all.insert("glommio_cpu_ratio_to_uring".into(), trials::glommio_by_uring(&read_if_there(record, "load")?).into());
    all.insert("commit".into(), commit(record)?.into());
    Ok(Value::Object(all))
}

/// Of the file in which the uplinks were measured.
fn commit(record: &Path) -> Result<Option<String>, String> {
    let path = record.join("load.txt");
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("commit   "));
    Ok(line.and_then(|line| line.split_whitespace().next()).map(str::to_owned))
}

/// What a record's file of this name has for machines; null if there is none.
///
/// # Errors
/// If it is there and cannot be read.
pub(crate) fn read_if_there(record: &Path, name: &str) -> Result<Value, String> {
    let path = record.join(format!("{name}.json"));
    if path.exists() { read(&path) } else { Ok(Value::Null) }
}

fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_the_files_or_null() {
        let home = std::env::temp_dir().join(format!("trunkline-summary-{}", std::process::id()));
        let record = home.join("2026-01-02-some-cpu");
        fs::create_dir_all(home.join("2025-12-31-some-cpu")).expect("a folder");
        fs::create_dir_all(&record).expect("a folder");
        let put = |name: &str, text: &str| fs::write(record.join(name), text).expect("a file");
        put("load.txt", "cargo xtask bench load --record\n\ncommit   abc123 and changes that are in no commit\n");
        put("load.json", r#"{"cpu_us_per_uplink": 12.5, "unknown": 1}"#);
        put("micro.json", r#"{"instructions_per_uplink": {"1": 7, "8": 9}, "ratio_to_one_shard": {"8": 1.1}}"#);
        let found = newest(&home).and_then(|newest| summary(&newest));
        fs::remove_dir_all(&home).expect("it was there");
        let found = found.expect("readable");
        assert_eq!((&found["machine"], &found["commit"]), (&"some-cpu".into(), &"abc123".into()));
        assert_eq!((&found["cpu_us_per_uplink"], &found["instructions_per_uplink"]), (&12.5.into(), &7.into()));
        assert_eq!((&found["instructions_ratio_8_shards"], &found["start_seconds_full"]), (&1.1.into(), &Value::Null));
        assert_eq!(found.as_object().map(Map::len), Some(FIELDS.len() + 3));
    }
}
