//! `cargo xtask bench table`: the newest record as the table that the README shows.
//!
//! Owns the rows and where each figure stands. What no file of the record has is a dash. The README holds the output between two
//! markers; `tidy` has it equal.

use crate::summary::{newest, read_if_there};
use crate::svg::number;
use crate::{charts, shell, trials};
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- cargo xtask bench table --write -->\n";
const END: &str = "<!-- end of the table -->\n";

const COLUMNS: [&str; 3] = ["floor", "uring", "glommio"];

/// Shares of uring's highest rate at which all are set side by side, percent.
const SHARES: [u64; 2] = [50, 10];

/// Percentiles of the latency that are shown.
const PERCENTILES: [f64; 3] = [50.0, 99.0, 99.9];

/// What is measured apart for each backend, in files of its own. The floor has no sessions, and its connections are the load's.
const MEMORY: [(&str, &str, &str); 3] = [
    ("memory of a session, bytes", "scale", "bytes_per_session"),
    ("memory of an idle connection, plain, bytes", "idle", "bytes_per_idle_ws"),
    ("the same, secure", "idle", "bytes_per_idle_wss"),
];

/// Prints it; with `--write` it is put into the README.
///
/// # Errors
/// If there is no record, or a file cannot be read or written.
pub(crate) fn bench(arguments: &[String]) -> Result<(), String> {
    let text = generated()?;
    match arguments {
        [] => print!("{text}"),
        [only] if only == "--write" => {
            let path = shell::root().join("README.md");
            let failed = |error: std::io::Error| format!("{}: {error}", path.display());
            let readme = fs::read_to_string(&path).map_err(failed)?;
            let (from, to) = between(&readme).ok_or("README.md has no markers for the table")?;
            fs::write(&path, format!("{}{text}{}", &readme[..from], &readme[to..])).map_err(failed)?;
        }
        _ => return Err("bench table takes --write and nothing else".into()),
    }
    Ok(())
}

/// A finding if the README does not hold what the newest record gives.
pub(crate) fn finding() -> Option<String> {
    let readme = fs::read_to_string(shell::root().join("README.md")).unwrap_or_default();
    match generated() {
        Ok(text) => differs(&readme, &text),
        Err(reason) => Some(reason),
    }
}

fn differs(readme: &str, text: &str) -> Option<String> {
    let said = between(readme).map(|(from, to)| &readme[from..to]);
    (said != Some(text)).then(|| {
        "README.md: its table or charts are not the newest record's; `cargo xtask bench table --write` has them so"
            .into()
    })
}

/// Where what lies between the markers begins and ends.
fn between(readme: &str) -> Option<(usize, usize)> {
    let from = readme.find(BEGIN)? + BEGIN.len();
    Some((from, from + readme[from..].find(END)?))
}

fn generated() -> Result<String, String> {
    let record = newest(&shell::root().join("bench/records"))?;
    let pictures = charts::shown(&record);
    let apart = if pictures.is_empty() { "" } else { "\n" };
    Ok(table(&record)? + apart + &pictures)
}

fn table(record: &Path) -> Result<String, String> {
    let load = read_if_there(record, "load")?;
    let mut out = format!("| one core | {} |\n|---|{}\n", COLUMNS.join(" | "), "---|".repeat(COLUMNS.len()));
    let mut row = |what: &str, cells: Vec<String>| out += &format!("| {what} | {} |\n", cells.join(" | "));
    let highest = |server: &&str| written(load["servers"][*server]["uplinks_per_second"].as_f64(), 0);
    row("highest rate, uplinks/s", COLUMNS.iter().map(highest).collect());
    for share in SHARES {
        let at = trials::rate(&load, share)
            .map_or_else(|| format!("{share} %"), |rate| format!("{} uplinks/s", number(rate)));
        let cpu = |server: &&str| written(trials::figure(&load, server, share, "cpu_us_per_uplink"), 1);
        row(&format!("at {at}: CPU per uplink, us"), COLUMNS.iter().map(cpu).collect());
        for percentile in PERCENTILES {
            let cell = |server: &&str| written(trials::percentile(&load, server, share, percentile), 0);
            row(&format!("p{percentile} there, us"), COLUMNS.iter().map(cell).collect());
        }
    }
    for (what, file, field) in MEMORY {
        let of_uring = read_if_there(record, file)?;
        let of_glommio = read_if_there(record, &format!("{file}-glommio"))?;
        row(what, vec![written(None, 0), written(of_uring[field].as_f64(), 0), written(of_glommio[field].as_f64(), 0)]);
    }
    Ok(out)
}

fn written(value: Option<f64>, decimals: usize) -> String {
    match value {
        Some(value) if decimals == 0 => number(value.round()),
        Some(value) => format!("{value:.decimals$}"),
        None => "–".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_file_has_is_a_dash() {
        let record = std::env::temp_dir().join(format!("trunkline-table-{}", std::process::id()));
        fs::create_dir_all(&record).expect("a folder");
        let put = |name: &str, text: &str| fs::write(record.join(name), text).expect("a file");
        put(
            "load.json",
            r#"{"servers": {"floor": {"uplinks_per_second": 94921}, "uring": {"uplinks_per_second": 30937}}, "trials": [
                {"server": "floor", "share_percent": 50, "rate": 15468, "cpu_us_per_uplink": 20.53, "percentiles_us": []},
                {"server": "uring", "share_percent": 50, "rate": 15468, "percentiles_us": [[99.9, 3725]]}]}"#,
        );
        put("idle-glommio.json", r#"{"bytes_per_idle_ws": 2884.4}"#);
        let text = table(&record);
        fs::remove_dir_all(&record).expect("it was there");
        let text = text.expect("readable");
        for line in [
            "| one core | floor | uring | glommio |",
            "|---|---|---|---|",
            "| highest rate, uplinks/s | 94 921 | 30 937 | – |",
            "| at 15 468 uplinks/s: CPU per uplink, us | 20.5 | – | – |",
            "| p99.9 there, us | – | 3 725 | – |",
            "| at 10 %: CPU per uplink, us | – | – | – |",
            "| memory of a session, bytes | – | – | – |",
            "| memory of an idle connection, plain, bytes | – | – | 2 884 |",
        ] {
            assert!(text.lines().any(|said| said == line), "{line}\n{text}");
        }
        assert_eq!(text.lines().count(), 3 + SHARES.len() * (1 + PERCENTILES.len()) + MEMORY.len());
    }

    #[test]
    fn a_readme_with_another_table_is_found() {
        let readme = |text: &str| format!("before\n{BEGIN}{text}{END}after\n");
        assert_eq!(differs(&readme("| 1 |\n"), "| 1 |\n"), None);
        assert!(differs(&readme("| 2 |\n"), "| 1 |\n").is_some() && differs("no markers", "| 1 |\n").is_some());
        assert_eq!(between(&readme("x")).map(|(from, to)| readme("x")[from..to].to_owned()), Some("x".into()));
    }
}
