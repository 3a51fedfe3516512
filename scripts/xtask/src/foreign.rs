//! Clients that nobody here wrote, for the integration tests: Python `websockets` and `protobuf`, npm
//! `lora-packet`.
//!
//! Owns `target/foreign/`, where they live; their versions are pinned beside the tests. Never touches the system.

use crate::shell;
use std::path::Path;

/// What is pinned, and where the tests find it.
const SOURCE: &str = "tests/it/foreign";

/// Installs what is pinned, unless it is there already.
pub(crate) fn install() -> Result<(), String> {
    let home = shell::target_directory()?.join("foreign");
    std::fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    python(&home)?;
    node(&home)
}

fn python(home: &Path) -> Result<(), String> {
    let environment = home.join("python");
    let requirements = format!("{SOURCE}/requirements.txt");
    if !stale(&environment, &[&requirements])? {
        return Ok(());
    }
    let place = environment.to_string_lossy().into_owned();
    shell::run(&mut shell::command("python3", &["-m", "venv", "--clear", &place]))?;
    let python = environment.join("bin/python").to_string_lossy().into_owned();
    shell::run(&mut shell::command(&python, &["-m", "pip", "install", "--quiet", "-r", &requirements]))?;
    fresh(&environment, &[&requirements])
}

fn node(home: &Path) -> Result<(), String> {
    let place = home.join("node");
    let pins = [format!("{SOURCE}/package.json"), format!("{SOURCE}/package-lock.json")];
    let pins = [pins[0].as_str(), pins[1].as_str()];
    if !stale(&place, &pins)? {
        return Ok(());
    }
    std::fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    for pin in pins {
        let name = Path::new(pin).file_name().expect("a file");
        std::fs::copy(shell::root().join(pin), place.join(name)).map_err(|error| format!("{pin}: {error}"))?;
    }
    shell::run(shell::command("npm", &["ci", "--no-audit", "--no-fund", "--loglevel", "error"]).current_dir(&place))?;
    fresh(&place, &pins)
}

/// The pins as text: what an installation was made from.
fn pinned(pins: &[&str]) -> Result<String, String> {
    let read = |pin: &&str| std::fs::read_to_string(shell::root().join(pin)).map_err(|error| format!("{pin}: {error}"));
    pins.iter().map(read).collect()
}

fn stale(place: &Path, pins: &[&str]) -> Result<bool, String> {
    Ok(std::fs::read_to_string(place.join(".pinned")).unwrap_or_default() != pinned(pins)?)
}

fn fresh(place: &Path, pins: &[&str]) -> Result<(), String> {
    std::fs::write(place.join(".pinned"), pinned(pins)?).map_err(|error| format!("{}: {error}", place.display()))
}
