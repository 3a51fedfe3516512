//! What a durable stream keeps: its history, its dead letters, and where its groups read on.

use crate::client::{Client, encode};
use crate::generic::{self, text};
use crate::resource::by_name;
use crate::show::Printer;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use serde_json::{Value, json};

/// Messages asked for at once.
const PAGE_COUNT: usize = 1000;

/// Adds the commands to `stream`.
pub(crate) fn extend(command: Command) -> Command {
    let id = || Arg::new("id").value_name("ID").required(true).help("Its id, or a name that only it has");
    let group = || Arg::new("group").value_name("GROUP").required(true).help("The group of consumers");
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let limit = || {
        option("limit", "COUNT", "How many at most; 0 is all")
            .default_value("100")
            .value_parser(clap::value_parser!(usize))
    };
    let all = Arg::new("all").long("all").action(ArgAction::SetTrue).help("All of the stream");
    command
        .subcommand(
            Command::new("state")
                .about("Shows how it goes: what is kept of what is to be, and its groups of consumers")
                .arg(id())
                .after_help("Example:\n  trunkline stream state live --json"),
        )
        .subcommand(
            Command::new("history")
                .about("Prints what a durable one kept, a message a line")
                .arg(id())
                .arg(option("from", "TIME", "Only of this time or later: RFC 3339, or Unix seconds"))
                .arg(option("to", "TIME", "Only before this time"))
                .arg(option("device", "DEVEUI", "Only about this device"))
                .arg(limit()),
        )
        .subcommand(
            Command::new("dead-letters")
                .about("Lists what the groups of a durable one could not take")
                .arg(id())
                .arg(limit()),
        )
        .subcommand(
            Command::new("put-back")
                .about("Delivers dead letters again")
                .arg(id())
                .arg(
                    Arg::new("letter")
                        .value_name("LETTER")
                        .num_args(1..)
                        .action(ArgAction::Append)
                        .help("The dead letters' ids"),
                )
                .arg(all)
                .group(ArgGroup::new("which").args(["letter", "all"]).required(true)),
        )
        .subcommand(
            Command::new("seek")
                .about("Lets a group of consumers read on elsewhere; makes it if there is none")
                .args([id(), group()])
                .arg(option("to", "earliest|latest", "The oldest message that is kept, or what comes next"))
                .arg(option("time", "TIME", "The first message of this time or later: RFC 3339, or Unix seconds"))
                .arg(option("message", "ID", "The message with this Id"))
                .group(ArgGroup::new("where").args(["to", "time", "message"]).required(true)),
        )
        .subcommand(Command::new("remove-group").about("Forgets a group of consumers").args([id(), group()]))
}

/// `stream state`, `history`, `dead-letters`, `put-back`, `seek`, `remove-group`.
pub(crate) fn run(client: &Client, printer: Printer, name: &str, matches: &ArgMatches) -> Result<(), String> {
    let stream = generic::path(client, by_name("stream").expect("the table has it"), text(matches, "id"))?;
    let group = || format!("{stream}/groups/{}", encode(text(matches, "group")));
    match name {
        "state" => state(printer, &client.read(&stream)?),
        "history" => history(client, printer, &stream, matches),
        "dead-letters" => {
            let below = format!("{}/dead-letters", stream.trim_start_matches("/api/v1/"));
            let items = client.list(&below, "", count_max(matches))?;
            printer.values(&items, &["id", "group", "at", "attempts", "reason", "message"])
        }
        "put-back" => {
            let ids: Vec<&String> = matches.get_many("letter").into_iter().flatten().collect();
            let done = client.call("POST", &format!("{stream}/dead-letters/put-back"), Some(&json!({ "ids": ids })))?;
            if printer.json { printer.value(&done) } else { printer.line(&format!("put back {}", done["count"])) }
        }
        "seek" => {
            client.call("POST", &format!("{}/seek", group()), Some(&place(matches)))?;
            printer.note("it reads on there")
        }
        _ => client.call("DELETE", &group(), None).and_then(|_| printer.note("removed")),
    }
}

fn state(printer: Printer, stream: &Value) -> Result<(), String> {
    match &stream["state"] {
        Value::Null if stream["live"] == true => Err("the dataplane does not know the stream yet".to_owned()),
        Value::Null => Err("the dataplane is not connected: nobody knows how it goes".to_owned()),
        state => printer.value(state),
    }
}

fn count_max(matches: &ArgMatches) -> usize {
    matches.get_one::<usize>("limit").copied().filter(|count| *count > 0).unwrap_or(usize::MAX)
}

fn place(matches: &ArgMatches) -> Value {
    let mut place = json!({});
    for (flag, key) in [("to", "to"), ("time", "time"), ("message", "id")] {
        if let Some(text) = matches.get_one::<String>(flag) {
            place[key] = text.as_str().into();
        }
    }
    place
}

fn history(client: &Client, printer: Printer, stream: &str, matches: &ArgMatches) -> Result<(), String> {
    let mut left = count_max(matches);
    let mut next = Some(format!("{stream}/history?{}", query(matches)));
    while let Some(path) = next.filter(|_| left > 0) {
        let (lines, link) = client.lines(&path)?;
        for line in lines.lines().take(left) {
            printer.line(line)?;
            left -= 1;
        }
        next = link;
    }
    Ok(())
}

fn query(matches: &ArgMatches) -> String {
    let mut query = format!("limit={}", count_max(matches).min(PAGE_COUNT));
    for name in ["from", "to", "device"] {
        if let Some(text) = matches.get_one::<String>(name) {
            query.push_str(&format!("&{name}={}", encode(text)));
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Option<ArgMatches> {
        let command = extend(Command::new("stream"));
        let matches = command.try_get_matches_from([&["stream"], arguments].concat()).ok()?;
        matches.subcommand().map(|(_, matches)| matches.clone())
    }

    #[test]
    fn a_group_is_sent_to_one_place() {
        for (arguments, expected) in [
            (["--to", "earliest"], json!({ "to": "earliest" })),
            (["--time", "2024-02-29T00:00:00Z"], json!({ "time": "2024-02-29T00:00:00Z" })),
            (["--message", "0A"], json!({ "id": "0A" })),
        ] {
            let matches = parsed(&[&["seek", "live", "billing"][..], &arguments].concat()).expect("it is right");
            assert_eq!(place(&matches), expected);
        }
        assert!(parsed(&["seek", "live", "billing"]).is_none());
        assert!(parsed(&["seek", "live", "billing", "--to", "latest", "--time", "1"]).is_none());
    }

    #[test]
    fn the_state_of_a_stream_is_there_or_it_is_said_why_not() {
        assert!(parsed(&["state", "live"]).is_some() && parsed(&["state"]).is_none());
        let printer = Printer { json: true };
        assert!(state(printer, &json!({ "live": true, "state": { "retained_messages": 7 } })).is_ok());
        assert!(state(printer, &json!({ "live": true, "state": null })).expect_err("no").contains("yet"));
        assert!(state(printer, &json!({ "live": false, "state": null })).expect_err("no").contains("connected"));
    }

    #[test]
    fn all_dead_letters_are_put_back_only_if_it_is_said() {
        assert!(parsed(&["put-back", "live"]).is_none());
        assert!(parsed(&["put-back", "live", "7", "--all"]).is_none());
        assert!(parsed(&["put-back", "live", "--all"]).is_some());
        let matches = parsed(&["put-back", "live", "7", "8"]).expect("it is right");
        assert_eq!(matches.get_many::<String>("letter").expect("given").count(), 2);
    }

    #[test]
    fn a_history_is_asked_for_in_parts() {
        let matches = parsed(&["history", "live", "--from", "2024-02-29T00:00:00+01:00"]).expect("it is right");
        assert_eq!(query(&matches), "limit=100&from=2024-02-29T00%3A00%3A00%2B01%3A00");
        let matches = parsed(&["history", "live", "--limit", "0", "--device", "A"]).expect("it is right");
        assert_eq!((query(&matches).as_str(), count_max(&matches)), ("limit=1000&device=A", usize::MAX));
    }
}
