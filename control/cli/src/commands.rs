//! Commands that are not the same for every resource: status, keys and tokens, downlinks, events, settings.

use crate::client::{Client, encode};
use crate::durable;
use crate::generic::{self, text};
use crate::resource::{Resource, by_name};
use crate::show::Printer;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Subcommand};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};

/// What a resource's command can do beside the usual.
pub(crate) fn extend(resource: &Resource, command: Command) -> Command {
    let id = || Arg::new("id").value_name("ID").required(true).help("Its id, or a name that only it has");
    let token = || Arg::new("token").value_name("TOKEN").required(true).help("The token's id");
    match resource.name {
        "device" => command
            .subcommand(Command::new("keys").about("Shows its keys").arg(id()))
            .subcommand(Command::new("queue").about("Shows the downlinks that wait for it").arg(id())),
        "stream" => durable::extend(command)
            .subcommand(
                Command::new("tail")
                    .about("Opens it and prints what comes")
                    .arg(id())
                    .arg(
                        Arg::new("token")
                            .long("token")
                            .value_name("TOKEN")
                            .help("A token; else one of its own is used"),
                    )
                    .arg(
                        Arg::new("server")
                            .long("server")
                            .value_name("HOST:PORT")
                            .help("Another server than the API says"),
                    )
                    .arg(
                        Arg::new("count")
                            .long("count")
                            .value_name("COUNT")
                            .value_parser(clap::value_parser!(u64))
                            .help("Stop after so many messages"),
                    ),
            )
            .subcommand(
                Command::new("token")
                    .about("Tokens that open it")
                    .subcommand_required(true)
                    .subcommand(Command::new("list").about("Lists them, without what they are").arg(id()))
                    .subcommand(
                        Command::new("create")
                            .about("Makes one and shows it")
                            .arg(id())
                            .arg(Arg::new("name").long("name").value_name("TEXT").help("Name"))
                            .arg(Arg::new("own").long("own").value_name("TOKEN").help("A token of your own")),
                    )
                    .subcommand(Command::new("show").about("Shows one").args([id(), token()]))
                    .subcommand(Command::new("rotate").about("Replaces one").args([id(), token()]))
                    .subcommand(Command::new("delete").about("Removes one").args([id(), token()])),
            ),
        "gateway" | "application" | "profile" | "tenant" | "api-key" => command,
        other => unreachable!("{other} is not in the table"),
    }
}

/// `device keys`, `device queue`.
pub(crate) fn device(client: &Client, printer: Printer, name: &str, matches: &ArgMatches) -> Result<(), String> {
    let path = generic::path(client, resource("device"), text(matches, "id"))?;
    match name {
        "queue" => queue(client, printer, &path),
        _ => printer.value(&client.read(&format!("{path}/keys"))?),
    }
}

fn queue(client: &Client, printer: Printer, device: &str) -> Result<(), String> {
    let items = items(client.read(&format!("{device}/downlinks"))?);
    printer.values(&items, &["id", "fport", "confirmed", "data", "attempts"])
}

/// `stream token ...`.
pub(crate) fn token(client: &Client, printer: Printer, matches: &ArgMatches) -> Result<(), String> {
    let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
    let tokens = format!("{}/tokens", generic::path(client, resource("stream"), text(matches, "id"))?);
    let one = || format!("{tokens}/{}", encode(text(matches, "token")));
    match name {
        "list" => printer.values(&items(client.read(&tokens)?), &["id", "name", "created_at"]),
        "create" => {
            let mut body = json!({});
            for (flag, key) in [("name", "name"), ("own", "token")] {
                if let Some(text) = matches.get_one::<String>(flag) {
                    body[key] = text.as_str().into();
                }
            }
            printer.value(&client.call("POST", &tokens, Some(&body))?)
        }
        "show" => printer.value(&client.read(&one())?),
        "rotate" => printer.value(&client.call("POST", &format!("{}/rotate", one()), None)?),
        _ => client.call("DELETE", &one(), None).and_then(|_| printer.note("removed")),
    }
}

/// A token that opens the stream: its first, or a new one.
pub(crate) fn token_of(client: &Client, stream: &str) -> Result<String, String> {
    let tokens = format!("/api/v1/streams/{}/tokens", encode(stream));
    let known = items(client.read(&tokens)?);
    let shown = match known.first().and_then(|token| token["id"].as_str()) {
        Some(id) => client.read(&format!("{tokens}/{}", encode(id)))?,
        None => client.call("POST", &tokens, Some(&json!({ "name": "trunkline stream tail" })))?,
    };
    shown["token"].as_str().map(str::to_owned).ok_or_else(|| "the API shows no token".to_owned())
}

/// Downlinks of one device
#[derive(Debug, Subcommand)]
pub(crate) enum Downlink {
    /// Queues one
    #[command(after_help = "Example:\n  trunkline downlink send 70B3D57ED0000001 --port 10 --data 0102 --confirmed")]
    Send {
        /// The device: DevEUI or name
        device: String,
        /// FPort, 1 to 223
        #[arg(long)]
        port: u8,
        /// Payload, hexadecimal
        #[arg(long, default_value = "")]
        data: String,
        /// The device must acknowledge it
        #[arg(long)]
        confirmed: bool,
        /// Give up if it was not sent within so many seconds
        #[arg(long, value_name = "SECONDS")]
        expires_in_s: Option<u32>,
    },
    /// Lists those that wait
    List {
        /// The device: DevEUI or name
        device: String,
    },
    /// Empties the queue
    Flush {
        /// The device: DevEUI or name
        device: String,
    },
}

/// `downlink ...`.
pub(crate) fn downlink(client: &Client, printer: Printer, downlink: &Downlink) -> Result<(), String> {
    let path = |device: &str| generic::path(client, resource("device"), device);
    match downlink {
        Downlink::Send { device, port, data, confirmed, expires_in_s } => {
            let mut body = json!({ "fport": port, "data": data, "confirmed": confirmed });
            if let Some(seconds) = expires_in_s {
                body["expires_in_s"] = (*seconds).into();
            }
            printer.value(&client.call("POST", &format!("{}/downlinks", path(device)?), Some(&body))?)
        }
        Downlink::List { device } => queue(client, printer, &path(device)?),
        Downlink::Flush { device } => {
            let flushed = client.call("DELETE", &format!("{}/downlinks", path(device)?), None)?;
            if printer.json { printer.value(&flushed) } else { printer.line(&format!("removed {}", flushed["count"])) }
        }
    }
}

/// What has happened and happens
#[derive(Debug, Subcommand)]
pub(crate) enum Event {
    /// Lists the newest
    List {
        #[command(flatten)]
        filter: EventFilter,
        /// How many at most
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Prints them as they happen, until it is interrupted
    Follow {
        #[command(flatten)]
        filter: EventFilter,
    },
}

/// Which events.
#[derive(Debug, Args)]
pub(crate) struct EventFilter {
    /// Only this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only about this device
    #[arg(long, value_name = "DEVEUI")]
    device: Option<String>,
    /// Only about this gateway
    #[arg(long, value_name = "EUI")]
    gateway: Option<String>,
    /// Only those after the event with this id
    #[arg(long, value_name = "ID")]
    since: Option<u64>,
}

impl EventFilter {
    fn query(&self) -> String {
        let since = self.since.map(|id| id.to_string());
        let all = [("kind", &self.kind), ("device", &self.device), ("gateway", &self.gateway), ("since", &since)];
        let one = |(name, value): (&str, &Option<String>)| Some(format!("&{name}={}", encode(value.as_deref()?)));
        all.into_iter().filter_map(one).collect()
    }
}

/// `event ...`.
pub(crate) fn event(client: &Client, printer: Printer, event: &Event) -> Result<(), String> {
    match event {
        Event::List { filter, limit } => {
            let items = items(client.read(&format!("/api/v1/events?limit={limit}{}", filter.query()))?);
            printer.values(&items, &["at", "kind", "device", "gateway", "stream", "detail"])
        }
        Event::Follow { filter } => {
            let query = filter.query();
            let path = format!("/api/v1/events/stream?{}", query.trim_start_matches('&'));
            let answer = client.send("GET", &path, None, None)?;
            let lines = BufReader::new(answer.into_body().into_reader()).lines();
            for line in lines {
                let line = line.map_err(|error| format!("the API went away: {error}"))?;
                // Server-sent events: `data:` lines carry the JSON; comments keep the connection alive.
                let Some(data) = line.strip_prefix("data:").map(str::trim_start) else { continue };
                match serde_json::from_str::<Value>(data) {
                    Ok(value) if !printer.json => printer.line(&event_line(&value))?,
                    _ => printer.line(data)?,
                }
            }
            Err("the API ended the stream of events".to_owned())
        }
    }
}

fn event_line(event: &Value) -> String {
    let parts = ["at", "kind", "device", "gateway", "stream", "detail"];
    let parts: Vec<&str> =
        parts.iter().filter_map(|key| event[*key].as_str()).filter(|part| !part.is_empty()).collect();
    parts.join("  ").chars().filter(|char| !char.is_control()).collect()
}

/// What holds for the whole
#[derive(Debug, Subcommand)]
pub(crate) enum Setting {
    /// Shows the settings
    Get,
    /// Changes what is named
    #[command(after_help = "Example:\n  trunkline settings set net_id=000013 accept_unknown_gateways=true")]
    Set {
        /// NAME=VALUE; an empty value is the default
        #[arg(required = true, action = ArgAction::Append, value_name = "NAME=VALUE")]
        pairs: Vec<String>,
    },
}

/// `settings ...`.
pub(crate) fn settings(client: &Client, printer: Printer, setting: &Setting) -> Result<(), String> {
    match setting {
        Setting::Get => printer.value(&client.read("/api/v1/settings")?),
        Setting::Set { pairs } => {
            let mut body = json!({});
            for pair in pairs {
                let Some((name, value)) = pair.split_once('=') else {
                    generic::misused(&format!("`{pair}` is not NAME=VALUE"))
                };
                body[name] = match value {
                    "" => Value::Null,
                    // A NetID is six digits and still a text.
                    value if name == "net_id" => value.into(),
                    value => serde_json::from_str(value).unwrap_or_else(|_| value.into()),
                };
            }
            printer.value(&client.call("PATCH", "/api/v1/settings", Some(&body))?)
        }
    }
}

/// `status`: the whole, and who is asking.
pub(crate) fn status(client: &Client, printer: Printer) -> Result<(), String> {
    let mut status = client.read("/api/v1/status")?;
    status["me"] = client.read("/api/v1/me")?;
    // How the disks do is the operator's business; a dataplane that cannot say is no reason to say nothing at all.
    let mut unsaid = None;
    if status["me"]["role"] == "operator" && status["dataplane"]["connected"] == true {
        match client.read("/api/v1/journal") {
            Ok(journal) => status["journal"] = items(journal).into(),
            Err(reason) => unsaid = Some(reason),
        }
    }
    if printer.json {
        return printer.value(&status);
    }
    let dataplane = &status["dataplane"];
    let is_connected = dataplane["connected"] == true;
    let pending = status["pending"].as_u64().unwrap_or(0);
    let state = match (is_connected, dataplane["snapshot"] == true, pending) {
        (false, _, _) => "not connected: changes are stored and wait".to_owned(),
        (true, true, _) => "receiving everything".to_owned(),
        (true, false, 0) => "in step".to_owned(),
        (true, false, count) => format!("{count} revisions behind"),
    };
    printer.line(&format!("dataplane  {state}"))?;
    if let Some(reason) = dataplane["refused"].as_str() {
        printer.line(&format!("refused    {reason}"))?;
    }
    if let Some(reason) = unsaid {
        printer.line(&format!("journal    {reason}"))?;
    }
    for shard in status["journal"].as_array().into_iter().flatten().filter(|shard| shard["disk"] != "healthy") {
        let detail = shard["detail"].as_str().unwrap_or_default();
        let text =
            format!("journal    shard {}: {} {detail}", shard["shard"], shard["disk"].as_str().unwrap_or_default());
        printer.line(text.trim_end())?;
    }
    printer.value(&status)
}

fn items(mut page: Value) -> Vec<Value> {
    match page.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn resource(name: &str) -> &'static Resource {
    by_name(name).expect("the table has it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::RESOURCES;

    #[test]
    fn every_resource_extends() {
        for resource in RESOURCES {
            extend(resource, resource.command()).debug_assert();
        }
    }

    #[test]
    fn filters_are_escaped() {
        let filter = EventFilter { kind: Some("a b".into()), device: None, gateway: None, since: Some(7) };
        assert_eq!(filter.query(), "&kind=a%20b&since=7");
    }

    #[test]
    fn an_event_is_one_line_of_what_it_has() {
        let event = json!({ "at": "t", "kind": "joined", "device": "AB", "gateway": null, "detail": "x\ny" });
        assert_eq!(event_line(&event), "t  joined  AB  xy");
    }
}
