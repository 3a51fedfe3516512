//! `cargo xtask bench journal`, `load`, `lagging`, `scale` and `idle`: the programs of `bench/`, built for release, run one
//! after the other.
//!
//! Owns the table of them. They want the machine for themselves, print what they measured beside what was promised, and
//! fail if it was missed.

use crate::{records, shell};
use std::process::Command;
use std::time::Duration;

/// Longer than any of them takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What can be measured by programs.
struct Bench {
    name: &'static str,
    /// What has to be built for it.
    packages: &'static [&'static str],
    programs: &'static [&'static str],
    /// What each of them is told first.
    told: &'static [&'static str],
    /// The programs take `--dir`: where on the disk to be measured they may write.
    on_disk: bool,
    /// The programs take `--json`: where their figures go for machines.
    figures: bool,
    /// The programs take `--driver`.
    over_drivers: bool,
    /// All drivers are measured if none is named.
    all_drivers: bool,
}

const BENCHES: [Bench; 5] = [
    Bench {
        name: "journal",
        packages: &["journaling"],
        programs: &["commit", "recovery"],
        told: &[],
        on_disk: true,
        figures: false,
        over_drivers: false,
        all_drivers: false,
    },
    Bench {
        name: "load",
        packages: &["load", "floor", "dataplaned"],
        programs: &["trunkline-load"],
        told: &[],
        on_disk: false,
        figures: true,
        over_drivers: true,
        all_drivers: true,
    },
    Bench {
        name: "lagging",
        packages: &["load", "dataplaned"],
        programs: &["trunkline-load"],
        told: &["--lagging"],
        on_disk: false,
        figures: false,
        over_drivers: true,
        all_drivers: false,
    },
    Bench {
        name: "scale",
        packages: &["scale", "dataplaned"],
        programs: &["trunkline-scale"],
        told: &[],
        on_disk: true,
        figures: true,
        over_drivers: true,
        all_drivers: false,
    },
    Bench {
        name: "idle",
        packages: &["scale", "dataplaned"],
        programs: &["trunkline-idle"],
        told: &[],
        on_disk: true,
        figures: true,
        over_drivers: true,
        all_drivers: false,
    },
];

/// Whether there is one of that name.
pub(crate) fn knows(name: &str) -> bool {
    BENCHES.iter().any(|bench| bench.name == name)
}

/// Runs it. `--record` writes what was printed to `bench/records/`; `--only PROGRAM`; `--driver NAME` is passed to the program, has
/// the dataplane built with that backend and, if it is not the usual one, stands in the record's name; what follows `--` goes to
/// the program, and so does what is not known here if there is only one.
pub(crate) fn bench(name: &str, arguments: &[String]) -> Result<(), String> {
    let bench = BENCHES.iter().find(|bench| bench.name == name).ok_or_else(|| format!("unknown bench `{name}`"))?;
    let (own, passed) = match arguments.iter().position(|argument| argument == "--") {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None => (arguments, &[][..]),
    };
    let (mut record, mut only, mut driver) = (false, None, None);
    let mut passed = passed.to_vec();
    let mut own = own.iter();
    while let Some(argument) = own.next() {
        match argument.as_str() {
            "--record" => record = true,
            "--only" => only = Some(own.next().ok_or("--only needs a program")?.as_str()),
            "--driver" if bench.over_drivers => {
                driver = Some(own.next().ok_or("--driver needs a name")?.as_str());
            }
            other if bench.programs.len() == 1 => {
                let value = own.next().ok_or_else(|| format!("{other} needs a value"))?;
                passed.extend([other.to_owned(), value.clone()]);
            }
            other => return Err(format!("unknown option `{other}`")),
        }
    }
    let programs = bench.programs.iter().copied();
    let programs: Vec<&str> = programs.filter(|program| only.is_none_or(|only| only == *program)).collect();
    if programs.is_empty() {
        return Err(format!("--only {}: the programs are {}", only.unwrap_or_default(), bench.programs.join(", ")));
    }
    if !passed.is_empty() && programs.len() > 1 {
        return Err("options behind `--` are one program's: name it with --only".into());
    }
    let mut build = shell::cargo(&["build", "--release", "--bins"]);
    for package in bench.packages {
        build.args(["-p", package]);
    }
    if driver == Some("glommio") || driver.is_none() && bench.all_drivers {
        build.args(["--features", "dataplaned/glommio"]);
    }
    shell::run(&mut build)?;
    let target = shell::target_directory()?;
    let figures = target.join("bench").join(format!("{name}.json"));
    let mut missed = Vec::new();
    let mut all = String::new();
    for program in programs {
        let mut command = Command::new(target.join("release").join(program));
        if bench.on_disk {
            command.arg("--dir").arg(target.join("bench"));
        }
        if let Some(driver) = driver {
            command.args(["--driver", driver]);
        }
        command.args(bench.told);
        if bench.figures {
            // Those of an earlier run are not to be taken for this one's.
            let _absent = std::fs::remove_file(&figures);
            command.arg("--json").arg(&figures);
        }
        command.args(&passed);
        eprintln!("{}", shell::spoken(&command));
        let ended = shell::output_within(&mut command, PATIENCE).map_err(|error| format!("{program}: {error}"))?;
        let text = String::from_utf8_lossy(&ended.stdout);
        print!("{text}");
        eprint!("{}", String::from_utf8_lossy(&ended.stderr));
        all += &format!("== {program}\n{text}\n");
        if !ended.status.is_some_and(|status| status.success()) {
            missed.push(program);
        }
    }
    if record {
        let typed = [&["cargo xtask bench".to_owned(), name.to_owned()], arguments].concat().join(" ");
        // The usual backend has the bench's name; what all are in has no other.
        let of = match driver {
            Some(driver) if driver != "uring" => format!("{name}-{driver}"),
            _ => name.to_owned(),
        };
        let path = records::write(&of, &typed, &all)?;
        println!("written to {}", path.display());
        // A run in which nothing held has none.
        if bench.figures && figures.exists() {
            let to = path.with_extension("json");
            std::fs::copy(&figures, &to).map_err(|error| format!("{}: {error}", figures.display()))?;
            println!("and to {}", to.display());
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("missed or failed: {}", missed.join(", "))) }
}
