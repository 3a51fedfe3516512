//! What can be done to any resource: list, get, create, update, delete.

use crate::client::{Client, encode};
use crate::resource::{Kind, Resource, at, by_path};
use crate::show::Printer;
use clap::ArgMatches;
use serde_json::{Map, Value, json};
use std::io::Read;

/// Does what the command line says. `None` if the command is none of these.
pub(crate) fn run(
    client: &Client,
    printer: Printer,
    resource: &Resource,
    name: &str,
    matches: &ArgMatches,
) -> Option<Result<(), String>> {
    Some(match name {
        "list" => list(client, printer, resource, matches),
        "get" => get(client, printer, resource, matches),
        "create" => create(client, printer, resource, matches),
        "update" => update(client, printer, resource, matches),
        "delete" => delete(client, printer, resource, matches),
        _ => return None,
    })
}

/// Where one of them is.
pub(crate) fn path(client: &Client, resource: &Resource, text: &str) -> Result<String, String> {
    Ok(format!("/api/v1/{}/{}", resource.path, encode(&client.id(resource, text)?)))
}

fn list(client: &Client, printer: Printer, resource: &Resource, matches: &ArgMatches) -> Result<(), String> {
    let count_max = match matches.get_one::<usize>("limit") {
        None | Some(0) => usize::MAX,
        Some(limit) => *limit,
    };
    let mut query = Vec::new();
    for (name, kind) in resource.filters {
        if let Some(text) = matches.get_one::<String>(name) {
            let id = match kind {
                Kind::Of(path) => client.id(by_path(path), text)?,
                _ => text.clone(),
            };
            query.push(format!("{name}={}", encode(&id)));
        }
    }
    let items = client.list(resource.path, &query.join("&"), count_max)?;
    printer.values(&items, resource.columns)
}

fn get(client: &Client, printer: Printer, resource: &Resource, matches: &ArgMatches) -> Result<(), String> {
    printer.value(&client.read(&path(client, resource, text(matches, "id"))?)?)
}

fn create(client: &Client, printer: Printer, resource: &Resource, matches: &ArgMatches) -> Result<(), String> {
    let mut object = resource.object(matches, body(matches)?).unwrap_or_else(|reason| misused(&reason));
    let missing = resource.missing(&object);
    if !missing.is_empty() {
        let flags: Vec<String> = missing.iter().map(|flag| format!("--{flag}")).collect();
        misused(&format!("{} must be given", flags.join(", ")));
    }
    client.resolve(resource, &mut object)?;
    let made = client.call("POST", &format!("/api/v1/{}", resource.path), Some(&object))?;
    printer.value(&made)?;
    pending(&made);
    Ok(())
}

fn update(client: &Client, printer: Printer, resource: &Resource, matches: &ArgMatches) -> Result<(), String> {
    let mut object = resource.object(matches, body(matches)?).unwrap_or_else(|reason| misused(&reason));
    if object.as_object().is_none_or(Map::is_empty) {
        misused("nothing to change was given");
    }
    if resource.update == "PATCH" {
        Resource::drop_others(&mut object);
    }
    client.resolve(resource, &mut object)?;
    let changed = client.call(resource.update, &path(client, resource, text(matches, "id"))?, Some(&object))?;
    printer.value(&changed)?;
    pending(&changed);
    Ok(())
}

fn delete(client: &Client, printer: Printer, resource: &Resource, matches: &ArgMatches) -> Result<(), String> {
    let ids = matches.get_many::<String>("id").into_iter().flatten();
    let mut removed = Vec::new();
    for id in ids {
        client.call("DELETE", &path(client, resource, id)?, None).map_err(|error| format!("{id}: {error}"))?;
        printer.note(&format!("removed {id}"))?;
        removed.push(Value::from(id.as_str()));
    }
    if printer.json { printer.value(&json!({ "removed": removed })) } else { Ok(()) }
}

/// Ends the program as the parser of the command line would, for what it cannot see.
pub(crate) fn misused(reason: &str) -> ! {
    eprintln!("trunkline: {reason}");
    std::process::exit(2)
}

/// Says so if a change is stored and not yet in force.
fn pending(object: &Value) {
    if at(object, "applied") == Some(&Value::Bool(false)) {
        eprintln!("stored; not yet in force (`trunkline status` says why)");
    }
}

/// A string argument that the command line cannot lack.
pub(crate) fn text<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

/// The JSON that flags are put on top of.
fn body(matches: &ArgMatches) -> Result<Value, String> {
    let Some(file) = matches.get_one::<String>("body") else { return Ok(json!({})) };
    let text = if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|error| format!("{file}: {error}"))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))?;
    if value.is_object() { Ok(value) } else { Err(format!("{file}: holds no JSON object")) }
}
