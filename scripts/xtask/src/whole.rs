//! `cargo xtask bench`: the whole set, one after the other, and what is drawn from it.
//!
//! Owns the order: what needs the dataplane with glommio in it comes last but for what is drawn, so that it is built twice and
//! no more. A bench that misses what was promised does not keep the others from being measured.

use crate::{charts, flame, measure, micro, table};

/// A bench, and what it is told beside `--record`.
const SET: [(&str, &[&str]); 8] = [
    ("micro", &[]),
    ("journal", &[]),
    ("lagging", &[]),
    ("scale", &[]),
    ("idle", &[]),
    ("load", &[]),
    ("idle", &["--driver", "glommio"]),
    ("flame", &[]),
];

/// Measures all. With `--record` everything lies in `bench/records/` then, the charts with it, and the README shows them.
///
/// # Errors
/// What was missed or failed, after all of it has been measured.
pub(crate) fn bench(arguments: &[String]) -> Result<(), String> {
    let record = match arguments {
        [] => false,
        [only] if only == "--record" => true,
        _ => return Err("bench takes --record and nothing else; `cargo xtask help` names its parts".into()),
    };
    let mut failed = Vec::new();
    for (name, told) in SET {
        println!("\n== bench {name} {}", told.join(" "));
        let told: Vec<String> = told.iter().copied().chain(record.then_some("--record")).map(str::to_owned).collect();
        let done = match name {
            "micro" => micro::bench(&told),
            "flame" => flame::bench(&told),
            name => measure::bench(name, &told),
        };
        if let Err(reason) = done {
            eprintln!("{reason}");
            failed.push(format!("{name}: {reason}"));
        }
    }
    if record {
        charts::write()?;
        table::bench(&["--write".to_owned()])?;
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}
