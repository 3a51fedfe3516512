//! `trunkline journal`: hands over to `trunkline-dataplane`, which knows what a journal is and stands beside this program.
//!
//! Owns the words and the data directory; becomes the other program, whose output and exit code are its own.

use crate::place::Place;
use crate::up::beside;
use clap::Subcommand;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Reads the journal of a data directory; nothing needs to run
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  trunkline journal verify --data-dir /var/lib/trunkline && echo whole\n  \
        trunkline journal export --stream live --since 2026-01-01T00:00:00Z > live.ndjson\n\n\
        Nothing is written, and a dataplane that runs on it is not disturbed; what it writes meanwhile may be missing.")]
pub(crate) enum Journal {
    /// Shows what is in each segment, and in the checkpoint
    Inspect,
    /// Checks every checksum; exit code 1 if anything is damaged, a torn tail aside
    Verify,
    /// Writes the messages that are kept, one JSON a line, as `stream history` does
    Export {
        /// Only of this stream, by its name or the dataplane's number, in its format; else of all that are durable
        #[arg(long, value_name = "STREAM")]
        stream: Option<String>,
        /// Only about the device with this DevEUI
        #[arg(long, value_name = "DEVEUI")]
        device: Option<String>,
        /// Only of this time or later: RFC 3339, or Unix seconds
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only before this time
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
}

/// Becomes `trunkline-dataplane journal ...`. Returns only if it cannot.
pub(crate) fn hand_over(place: &Place, journal: &Journal, json: bool) -> String {
    let program = std::env::current_exe()
        .map_err(|error| format!("this program cannot find itself: {error}"))
        .and_then(|myself| beside(&myself, "trunkline-dataplane"));
    match program {
        Ok(program) => {
            let error = Command::new(&program).args(line(&data_dir(place), journal, json)).exec();
            format!("{}: {error}", program.display())
        }
        Err(reason) => reason,
    }
}

/// The dataplane's part of a whole data directory, or that part itself.
fn data_dir(place: &Place) -> PathBuf {
    let itself = place.path();
    if !place.dataplane().is_dir() && itself.join("journal").is_dir() { itself.to_owned() } else { place.dataplane() }
}

fn line(data_dir: &Path, journal: &Journal, json: bool) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec!["journal".into()];
    match journal {
        Journal::Inspect => {
            line.push("inspect".into());
            line.extend(json.then(|| "--json".into()));
        }
        Journal::Verify => line.push("verify".into()),
        Journal::Export { stream, device, since, until } => {
            line.push("export".into());
            for (name, value) in [("stream", stream), ("device", device), ("since", since), ("until", until)] {
                // In one word: what follows may begin as an option does.
                line.extend(value.as_ref().map(|value| format!("--{name}={value}").into()));
            }
        }
    }
    line.extend(["--data-dir".into(), data_dir.into()]);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dataplane_is_told_what_is_wanted_and_where() {
        let check = |journal: &Journal, json, expected: &[&str]| {
            assert_eq!(line(Path::new("/d/dataplane"), journal, json), expected);
        };
        check(&Journal::Inspect, true, &["journal", "inspect", "--json", "--data-dir", "/d/dataplane"]);
        check(&Journal::Verify, true, &["journal", "verify", "--data-dir", "/d/dataplane"]);
        let (stream, since) = (Some("-live".to_owned()), Some("5".to_owned()));
        let export = Journal::Export { stream, device: None, since, until: None };
        check(&export, false, &["journal", "export", "--stream=-live", "--since=5", "--data-dir", "/d/dataplane"]);
    }

    #[test]
    fn a_journal_is_found_in_either_layout() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::find(Some(directory.path()));
        assert_eq!(data_dir(&place), place.dataplane());
        std::fs::create_dir(directory.path().join("journal")).unwrap();
        assert_eq!(data_dir(&place), directory.path());
        std::fs::create_dir(place.dataplane()).unwrap();
        assert_eq!(data_dir(&place), place.dataplane());
    }
}
