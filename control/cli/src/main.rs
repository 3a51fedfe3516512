//! `trunkline`: everything that an operator does, over the same API that everyone else uses.
//!
//! Owns the command line. Knows no store, no contract and no dataplane: what it cannot do through the API, nobody can. It
//! starts the others, and hands a journal that nobody serves from to the program that knows what it is.

mod client;
mod commands;
mod durable;
mod generic;
mod import;
mod journal;
mod place;
mod resource;
mod show;
mod tail;
mod trust;
mod up;

use clap::{ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use client::Client;
use place::Place;
use resource::{RESOURCES, Resource};
use show::Printer;
use std::path::PathBuf;
use std::process::ExitCode;
use trust::Trust;

/// Trunkline's command line
#[derive(Debug, Parser)]
#[command(
    name = "trunkline",
    version,
    after_help = "Examples:\n  trunkline up                                          start everything\n  \
        trunkline status                                      how is it going\n  \
        trunkline device list --application meters --json     for programs\n  \
        trunkline import devices.csv --application meters --profile eu\n  \
        trunkline stream tail live                            watch uplinks\n  \
        trunkline downlink send 70B3D57ED0000001 --port 10 --data 0102\n  \
        trunkline journal verify                              is all that was kept readable\n\n\
        The exit code is 0 if all went well, 1 if not, 2 if the command line is wrong, 3 if rows of an import failed."
)]
struct Options {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Args)]
struct Global {
    /// The API
    #[arg(
        long,
        global = true,
        env = "TRUNKLINE_URL",
        default_value = "http://127.0.0.1:8080",
        help_heading = "Everywhere"
    )]
    url: String,
    /// An API key; the operator's of the data directory if absent
    #[arg(long, global = true, env = "TRUNKLINE_API_KEY", hide_env_values = true, help_heading = "Everywhere")]
    key: Option<String>,
    /// The data directory; .data if it is there, else the system's or the user's
    #[arg(long, global = true, env = "TRUNKLINE_DATA_DIR", value_name = "DIR", help_heading = "Everywhere")]
    data_dir: Option<PathBuf>,
    /// Certificates to trust (PEM)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    ca: Option<PathBuf>,
    /// Trust any certificate
    #[arg(long, global = true, help_heading = "Everywhere")]
    insecure: bool,
    /// Write JSON
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    Up(up::Up),
    /// Shows how it is going
    Status,
    /// Downlinks of one device
    #[command(subcommand)]
    Downlink(commands::Downlink),
    /// What has happened and happens
    #[command(subcommand)]
    Event(commands::Event),
    /// What holds for the whole
    #[command(subcommand)]
    Settings(commands::Setting),
    Import(import::Import),
    #[command(subcommand)]
    Journal(journal::Journal),
    /// Prints completions for a shell
    #[command(after_help = "Example:\n  trunkline completions bash > /etc/bash_completion.d/trunkline")]
    Completions {
        /// Which
        shell: Shell,
    },
    #[command(hide = true)]
    ExecChild(up::ExecChild),
}

/// The whole command line: the actions above and one command for each resource.
fn command() -> Command {
    let resources = RESOURCES.iter().map(|resource| commands::extend(resource, resource.command()));
    Options::command().subcommands(resources)
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    match run(&matches) {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("trunkline: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(matches: &ArgMatches) -> Result<ExitCode, String> {
    let global = Global::from_arg_matches(matches).map_err(|error| error.to_string())?;
    let place = Place::find(global.data_dir.as_deref());
    let printer = Printer { json: global.json };
    let Some((name, inner)) = matches.subcommand() else { return Ok(ExitCode::FAILURE) };
    if let Some(resource) = resource::by_name(name) {
        on_resource(&global, &place, printer, resource, inner)?;
        return Ok(ExitCode::SUCCESS);
    }
    let client = || client(&global, &place);
    match Action::from_arg_matches(matches).map_err(|error| error.to_string())? {
        Action::Up(up) => up::run(&place, &up)?,
        Action::Status => commands::status(&client()?, printer)?,
        Action::Downlink(downlink) => commands::downlink(&client()?, printer, &downlink)?,
        Action::Event(event) => commands::event(&client()?, printer, &event)?,
        Action::Settings(setting) => commands::settings(&client()?, printer, &setting)?,
        Action::Import(import) => {
            let is_whole = import::run(&client()?, printer, &import)?;
            return Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(3) });
        }
        Action::Journal(journal) => return Err(journal::hand_over(&place, &journal, global.json)),
        Action::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "trunkline", &mut script);
            printer.line(String::from_utf8_lossy(&script).trim_end())?;
        }
        Action::ExecChild(child) => return Err(up::exec_child(&child)),
    }
    Ok(ExitCode::SUCCESS)
}

fn on_resource(
    global: &Global,
    place: &Place,
    printer: Printer,
    resource: &Resource,
    matches: &ArgMatches,
) -> Result<(), String> {
    let client = client(global, place)?;
    let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
    if let Some(result) = generic::run(&client, printer, resource, name, matches) {
        return result;
    }
    match (resource.name, name) {
        ("stream", "token") => commands::token(&client, printer, matches),
        ("stream", "tail") => tail_stream(global, place, &client, printer, resource, matches),
        ("stream", _) => durable::run(&client, printer, name, matches),
        _ => commands::device(&client, printer, name, matches),
    }
}

fn tail_stream(
    global: &Global,
    place: &Place,
    client: &Client,
    printer: Printer,
    resource: &Resource,
    matches: &ArgMatches,
) -> Result<(), String> {
    let id = client.id(resource, generic::text(matches, "id"))?;
    let stream = client.read(&format!("/api/v1/streams/{}", client::encode(&id)))?;
    let token = match matches.get_one::<String>("token") {
        Some(token) => token.clone(),
        None => commands::token_of(client, &id)?,
    };
    let url = match matches.get_one::<String>("server") {
        Some(server) => format!("wss://{server}/"),
        None => {
            stream["url"].as_str().ok_or("the API does not say where streams are opened: give --server")?.to_owned()
        }
    };
    let mut trust = trust(global)?;
    trust.authorities = trust.authorities.or_else(|| place.certificate_text());
    let silence = tail::silence(stream["ping_interval_s"].as_u64());
    tail::run(printer, &trust, &url, &token, silence, matches.get_one::<u64>("count").copied())
}

fn client(global: &Global, place: &Place) -> Result<Client, String> {
    Client::new(&global.url, global.key.clone(), &trust(global)?, place)
}

fn trust(global: &Global) -> Result<Trust, String> {
    let read = |file: &PathBuf| std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()));
    Ok(Trust { authorities: global.ca.as_ref().map(read).transpose()?, insecure: global.insecure })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn flags_that_hold_everywhere_may_stand_anywhere() {
        let line = ["trunkline", "device", "list", "--json", "--key", "k", "--application", "meters"];
        let matches = command().try_get_matches_from(line).unwrap();
        let global = Global::from_arg_matches(&matches).unwrap();
        assert_eq!((global.json, global.key.as_deref()), (true, Some("k")));
    }

    #[test]
    fn every_help_has_an_example_or_needs_none() {
        for resource in RESOURCES {
            let help = commands::extend(resource, resource.command()).render_help().to_string();
            assert!(help.contains("Examples:"), "{help}");
        }
    }

    #[test]
    fn completions_know_the_resources() {
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut command(), "trunkline", &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("api-key") && script.contains("--confirmed-attempts-max"));
    }
}
