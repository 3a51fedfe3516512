//! `trunkline import`: a file of devices, streamed to the API while a bar says how far it is.

use crate::client::{Client, encode, field};
use crate::generic::misused;
use crate::resource::by_path;
use crate::show::Printer;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};

/// Rows that failed, of which the terminal shows each.
const SHOWN_COUNT_MAX: usize = 100;

/// Imports devices from a file
#[derive(Debug, Args)]
#[command(after_help = "One device per line as JSON (.ndjson, .jsonl), or CSV with a header line of any of dev_eui, \
    join_eui,\napplication, profile, name, enabled, app_key, dev_addr, nwk_s_key, app_s_key, fcnt_up, fcnt_down.\n\
    A device that is there already is replaced. The exit code is 3 if any row failed.\n\n\
    Examples:\n  trunkline import devices.csv --application meters --profile eu\n  \
    zcat devices.ndjson.gz | trunkline import - --form ndjson --dry-run")]
pub(crate) struct Import {
    /// The file; - is standard input
    file: PathBuf,
    /// ndjson or csv; by the file's name if absent
    #[arg(long, value_parser = ["ndjson", "csv"])]
    form: Option<String>,
    /// Application of rows that name none
    #[arg(long, value_name = "ID")]
    application: Option<String>,
    /// Profile of rows that name none
    #[arg(long, value_name = "ID")]
    profile: Option<String>,
    /// Check everything and keep nothing
    #[arg(long)]
    dry_run: bool,
}

/// Whether every row was imported.
pub(crate) fn run(client: &Client, printer: Printer, import: &Import) -> Result<bool, String> {
    let kind = content_type(import).unwrap_or_else(|reason| misused(&reason));
    let mut query = vec![format!("dry_run={}", import.dry_run)];
    for (name, text, path) in
        [("application", &import.application, "applications"), ("profile", &import.profile, "profiles")]
    {
        if let Some(text) = text {
            query.push(format!("{name}={}", encode(&client.id(by_path(path), text)?)));
        }
    }
    let path = format!("/api/v1/devices/import?{}", query.join("&"));
    let (file, length) = open(&import.file)?;
    let bar = bar(length);
    let mut file = bar.wrap_read(file);
    let answer = client.send("POST", &path, Some(kind), Some(&mut file));
    bar.finish_and_clear();
    report(printer, BufReader::new(answer?.into_body().into_reader()))
}

fn content_type(import: &Import) -> Result<&'static str, String> {
    let ending = import.file.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    match (import.form.as_deref().or(ending.as_deref())).unwrap_or_default() {
        "ndjson" | "jsonl" | "json" => Ok("application/x-ndjson"),
        "csv" => Ok("text/csv"),
        _ => Err(format!("{}: say --form ndjson or --form csv", import.file.display())),
    }
}

fn open(path: &Path) -> Result<(Box<dyn Read>, Option<u64>), String> {
    if path == Path::new("-") {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if facts.is_dir() {
        return Err(format!("{}: is a directory", path.display()));
    }
    Ok((Box::new(file), facts.is_file().then_some(facts.len())))
}

/// On standard error and only for people: what reads standard output sees results alone.
fn bar(length: Option<u64>) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let form = if length.is_some() {
        "importing {bar:40} {percent:>3}% {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left"
    } else {
        "importing {spinner} {bytes}, {bytes_per_sec}"
    };
    // The forms above are right; a bar without one still moves.
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar
}

/// Reads the answer: a line for each row that failed, then the summary.
fn report(printer: Printer, answer: impl BufRead) -> Result<bool, String> {
    let mut failed = Vec::new();
    let mut summary = None;
    for line in answer.lines() {
        let line = line.map_err(|error| format!("the import's answer broke off: {error}"))?;
        let mut value: Value =
            serde_json::from_str(&line).map_err(|error| format!("the import's answer is not JSON: {error}"))?;
        match value.get_mut("summary").map(Value::take) {
            Some(found) => summary = Some(found),
            None => {
                if failed.len() < SHOWN_COUNT_MAX && !printer.json {
                    eprintln!("{}", row(&value));
                }
                failed.push(value);
            }
        }
    }
    let summary = summary.ok_or("the import broke off: some rows may have been imported")?;
    let count = |name: &str| summary[name].as_u64().unwrap_or(0);
    let broke_off = summary["broke_off"].as_str();
    let is_whole = count("failed") == 0 && broke_off.is_none();
    let ended = |is_whole| match broke_off {
        Some(reason) => Err(format!("the import broke off after {} rows: {reason}", count("rows"))),
        None => Ok(is_whole),
    };
    if printer.json {
        printer.value(&json!({ "failed": failed, "summary": summary }))?;
        return ended(is_whole);
    }
    let unseen = count("failed").saturating_sub(failed.len().min(SHOWN_COUNT_MAX) as u64);
    if unseen > 0 {
        eprintln!("... and {unseen} more rows failed");
    }
    let checked = if summary["dry_run"] == true { " (nothing was kept)" } else { "" };
    printer.line(&format!(
        "{} rows: {} created, {} updated, {} unchanged, {} failed{checked}",
        count("rows"),
        count("created"),
        count("updated"),
        count("unchanged"),
        count("failed"),
    ))?;
    if summary["applied"] == false && summary["dry_run"] == false && count("created") + count("updated") > 0 {
        eprintln!("stored; not yet in force (`trunkline status` says why)");
    }
    ended(is_whole)
}

fn row(value: &Value) -> String {
    let errors = value["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let errors: Vec<String> = errors.iter().map(field).collect();
    let device = value["dev_eui"].as_str().map(|eui| format!(" ({eui})")).unwrap_or_default();
    format!("row {}{device}: {}", value["row"], errors.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_summary_is_no_success() {
        let printer = Printer { json: false };
        let whole = r#"{"row":2,"dev_eui":"1","errors":[{"field":"profile","reason":"is missing"}]}"#;
        assert!(report(printer, whole.as_bytes()).unwrap_err().contains("broke off"));
        assert!(report(printer, &b"{"[..]).is_err());
        let good = r#"{"summary":{"rows":1,"created":1,"failed":0,"applied":true,"dry_run":false}}"#;
        assert_eq!(report(printer, good.as_bytes()), Ok(true));
        let bad = format!("{whole}\n{}", r#"{"summary":{"rows":1,"failed":1}}"#);
        assert_eq!(report(printer, bad.as_bytes()), Ok(false));
        let cut = r#"{"summary":{"rows":7,"created":7,"failed":0,"broke_off":"the store failed"}}"#;
        let reason = report(printer, cut.as_bytes()).unwrap_err();
        assert_eq!(reason, "the import broke off after 7 rows: the store failed");
    }

    #[test]
    fn a_failed_row_is_one_line() {
        let value = json!({ "row": 7, "dev_eui": "AB", "errors": [{ "field": "f", "reason": "r" }, { "field": "", "reason": "s" }] });
        assert_eq!(row(&value), "row 7 (AB): f: r; s");
        assert_eq!(row(&json!({ "row": 1, "dev_eui": null, "errors": [] })), "row 1: ");
    }
}
