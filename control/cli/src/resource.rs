//! The resources of the API as data: how each is called, found, made and shown.
//!
//! Owns the only place that names fields of the API. Commands over resources are built from this table and written once.

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value};

/// One kind of thing that the API keeps.
#[derive(Debug)]
pub(crate) struct Resource {
    /// As the command spells it.
    pub(crate) name: &'static str,
    /// Below `/api/v1/`.
    pub(crate) path: &'static str,
    /// One line.
    pub(crate) about: &'static str,
    /// The field that names it in its path.
    pub(crate) id: &'static str,
    /// What a table of them shows.
    pub(crate) columns: &'static [&'static str],
    /// What can be set.
    pub(crate) fields: &'static [Field],
    /// What a list can be narrowed by: query parameters and what they name.
    pub(crate) filters: &'static [(&'static str, Kind)],
    /// How one is changed: PATCH, or PUT of what may change.
    pub(crate) update: &'static str,
    /// Lines of `--help`.
    pub(crate) examples: &'static str,
}

/// One field that can be set.
#[derive(Debug)]
pub(crate) struct Field {
    /// Its flag.
    flag: &'static str,
    /// Where it stands in the JSON, keys joined by dots.
    key: &'static str,
    kind: Kind,
    help: &'static str,
    /// When it can be given.
    when: When,
}

/// What a flag's text becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A JSON string.
    Text,
    /// A JSON number.
    Number,
    /// `true` or `false`.
    Flag,
    /// A list of JSON strings.
    Texts,
    /// A list of JSON numbers.
    Numbers,
    /// Another resource, by id or name.
    Of(&'static str),
    /// Any JSON.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Must be given when it is made, may be changed.
    Needed,
    /// May be given, may be changed.
    Optional,
    /// Must be given when it is made, never changes.
    Fixed,
    /// May be given when it is made, never changes.
    FixedOptional,
}

const fn field(flag: &'static str, key: &'static str, kind: Kind, when: When, help: &'static str) -> Field {
    Field { flag, key, kind, help, when }
}

use Kind::{Flag, Json, Number, Numbers, Of, Text, Texts};
use When::{Fixed, FixedOptional, Needed, Optional};

const NAME: Field = field("name", "name", Text, Needed, "Name");

/// All of them, in the order of the help.
pub(crate) const RESOURCES: &[Resource] = &[
    Resource {
        name: "tenant",
        path: "tenants",
        about: "Organisations",
        id: "id",
        columns: &["id", "name", "applied"],
        fields: &[NAME],
        filters: &[],
        update: "PATCH",
        examples: "  trunkline tenant create --name acme\n  trunkline tenant list",
    },
    Resource {
        name: "api-key",
        path: "api-keys",
        about: "Keys of the API; the key itself is shown once, when it is made",
        id: "id",
        columns: &["id", "name", "role", "tenant", "hint"],
        fields: &[
            NAME,
            field("role", "role", Text, Fixed, "operator, tenant_admin or tenant_viewer"),
            field("tenant", "tenant", Of("tenants"), FixedOptional, "Its tenant; none for an operator"),
        ],
        filters: &[("tenant", Of("tenants"))],
        update: "PUT",
        examples: "  trunkline api-key create --name ci --role tenant_admin --tenant acme",
    },
    Resource {
        name: "application",
        path: "applications",
        about: "Applications: sets of devices",
        id: "id",
        columns: &["id", "name", "tenant", "dedup_window_ms", "applied"],
        fields: &[
            NAME,
            field("tenant", "tenant", Of("tenants"), Fixed, "Its tenant"),
            field("dedup-window-ms", "dedup_window_ms", Number, Optional, "How long copies of a frame are waited for"),
        ],
        filters: &[("tenant", Of("tenants"))],
        update: "PATCH",
        examples: "  trunkline application create --tenant acme --name meters",
    },
    Resource {
        name: "profile",
        path: "profiles",
        about: "Device profiles: what a kind of device can do",
        id: "id",
        columns: &["id", "name", "tenant", "region", "mac_version", "applied"],
        fields: &[
            NAME,
            field("tenant", "tenant", Of("tenants"), FixedOptional, "Its tenant; without one every tenant may use it"),
            field("region", "region", Text, Needed, "EU868 or US915"),
            field("mac-version", "mac_version", Text, Needed, "1.0.0, 1.0.1, 1.0.2, 1.0.3 or 1.0.4"),
            field("rx1-delay-s", "rx1_delay_s", Number, Optional, "Seconds to RX1"),
            field("rx1-dr-offset", "rx1_dr_offset", Number, Optional, "RX1DROffset"),
            field("rx2-data-rate", "rx2_data_rate", Number, Optional, "Data rate of RX2"),
            field("rx2-frequency-hz", "rx2_frequency_hz", Number, Optional, "Frequency of RX2"),
            field("sub-bands", "sub_bands", Numbers, Optional, "US915: sub-bands that are on, 1 to 8"),
            field("confirmed-attempts-max", "confirmed_attempts_max", Number, Optional, "Of one confirmed downlink"),
            field("fcnt-gap-max", "fcnt_gap_max", Number, Optional, "Greatest gap in FCntUp"),
            field("queue-count-max", "queue_count_max", Number, Optional, "Downlinks that may wait for one device"),
        ],
        filters: &[("tenant", Of("tenants"))],
        update: "PATCH",
        examples: "  trunkline profile create --name eu --region EU868 --mac-version 1.0.3",
    },
    Resource {
        name: "device",
        path: "devices",
        about: "LoRaWAN end devices",
        id: "dev_eui",
        columns: &["dev_eui", "name", "application", "profile", "enabled", "last_seen", "applied"],
        fields: &[
            field("dev-eui", "dev_eui", Text, Fixed, "DevEUI, 16 hexadecimal digits"),
            field("join-eui", "join_eui", Text, Optional, "JoinEUI (AppEUI)"),
            field("application", "application", Of("applications"), Needed, "Its application"),
            field("profile", "profile", Of("profiles"), Needed, "Its profile"),
            field("name", "name", Text, Optional, "Name"),
            field("enabled", "enabled", Flag, Optional, "Whether it is served"),
            field("app-key", "otaa.app_key", Text, Optional, "OTAA: AppKey, 32 hexadecimal digits"),
            field("dev-addr", "abp.dev_addr", Text, Optional, "ABP: DevAddr, 8 hexadecimal digits"),
            field("nwk-s-key", "abp.nwk_s_key", Text, Optional, "ABP: NwkSKey"),
            field("app-s-key", "abp.app_s_key", Text, Optional, "ABP: AppSKey"),
            field("fcnt-up", "abp.fcnt_up", Number, Optional, "ABP: FCntUp to begin with"),
            field("fcnt-down", "abp.fcnt_down", Number, Optional, "ABP: FCntDown to begin with"),
        ],
        filters: &[("tenant", Of("tenants")), ("application", Of("applications")), ("profile", Of("profiles"))],
        update: "PATCH",
        examples: "  trunkline device create --dev-eui 70B3D57ED0000001 --join-eui 70B3D57ED000FF00 \\\n    \
            --application meters --profile eu --app-key 000102030405060708090A0B0C0D0E0F\n  \
            trunkline device get 70B3D57ED0000001 --json",
    },
    Resource {
        name: "gateway",
        path: "gateways",
        about: "LoRaWAN gateways",
        id: "eui",
        columns: &["eui", "name", "tenant", "state.online", "state.last_seen", "applied"],
        fields: &[
            field("eui", "eui", Text, Fixed, "EUI, 16 hexadecimal digits"),
            field("name", "name", Text, Optional, "Name"),
            field("tenant", "tenant", Of("tenants"), Optional, "Its tenant; without one all share it"),
            field("eirp-max-dbm", "eirp_max_dbm", Number, Optional, "Ceiling of its transmit power"),
            field("latitude", "place.latitude", Number, Optional, "Degrees north"),
            field("longitude", "place.longitude", Number, Optional, "Degrees east"),
            field("altitude-m", "place.altitude_m", Number, Optional, "Metres"),
        ],
        filters: &[("tenant", Of("tenants"))],
        update: "PATCH",
        examples: "  trunkline gateway create --eui B827EBFFFE000001 --name roof",
    },
    Resource {
        name: "stream",
        path: "streams",
        about: "Streams: standing, two-way taps",
        id: "id",
        columns: &["id", "name", "level", "copies", "delivery", "format", "enabled", "state.delivered", "applied"],
        fields: &[
            NAME,
            field("tenant", "tenant", Of("tenants"), FixedOptional, "Its tenant; the operator's without one"),
            field("level", "level", Text, Fixed, "device, application, gateway, tenant or operator"),
            field("application", "application", Of("applications"), FixedOptional, "Level application: which"),
            field("device", "device", Text, FixedOptional, "Level device: its DevEUI"),
            field("gateway", "gateway", Text, FixedOptional, "Level gateway: its EUI"),
            field("copies", "copies", Text, Optional, "all, best or first"),
            field("kinds", "kinds", Texts, Optional, "Kinds of events; every kind of the level without it"),
            field("format", "format", Text, Optional, "A shipped format, as json"),
            field("templates", "templates", Json, Optional, "Own templates: a JSON object by kind of event"),
            field("enabled", "enabled", Flag, Optional, "Whether it can be opened"),
            field("downlinks", "downlinks", Flag, Optional, "Whether its sessions may send downlinks"),
            field("deflate", "deflate", Flag, Optional, "Whether permessage-deflate is offered"),
            field("queue-bytes-max", "queue_bytes_max", Number, Optional, "Bytes that may wait, per connection"),
            field("when-full", "when_full", Text, Optional, "drop_newest or disconnect"),
            field("ping-interval-s", "ping_interval_s", Number, Optional, "Seconds between pings"),
            field("connection-count-max", "connection_count_max", Number, Optional, "Connections per shard"),
            field("delivery", "delivery", Text, Optional, "live, or durable: kept until each group acknowledged it"),
            field("accept", "accept", Text, Optional, "Durable: acceptance waits for disk or memory"),
            field("retention-s", "retention_s", Number, Optional, "Durable: seconds that messages are kept"),
            field("retention-bytes", "retention_bytes", Number, Optional, "Durable: bytes that are kept; 0 is 10 GiB"),
            field("in-flight-max", "in_flight_max", Number, Optional, "Durable: unacknowledged messages per session"),
            field("attempts-max", "attempts_max", Number, Optional, "Durable: deliveries before a dead letter"),
            field("retry-s", "retry_s", Number, Optional, "Durable: seconds until a refused message comes again"),
            field("ack-timeout-s", "ack_timeout_s", Number, Optional, "Durable: seconds to acknowledge; 0 is no limit"),
        ],
        filters: &[("tenant", Of("tenants"))],
        update: "PATCH",
        examples: "  trunkline stream create --tenant acme --name live --level application --application meters\n  \
            trunkline stream tail live\n  \
            trunkline stream update live --delivery durable --retention-s 86400\n  \
            trunkline stream history live --from 2026-01-01T00:00:00Z --device 70B3D57ED0000001\n  \
            trunkline stream seek live billing --to earliest",
    },
];

/// Fields of which a thing has one alone.
const EITHER: &[(&str, &str)] = &[("format", "templates"), ("otaa", "abp")];

/// The resource of that command.
pub(crate) fn by_name(name: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|resource| resource.name == name)
}

/// The resource below that path.
pub(crate) fn by_path(path: &str) -> &'static Resource {
    RESOURCES.iter().find(|resource| resource.path == path).expect("the table names its own resources")
}

impl Resource {
    /// The command with everything that can be done to any resource.
    pub(crate) fn command(&'static self) -> Command {
        let id = || Arg::new("id").value_name("ID").required(true).help("Its id, or a name that only it has");
        let body = || {
            Arg::new("body")
                .long("body")
                .value_name("FILE")
                .help("Take the JSON from a file (- is standard input); flags override it")
        };
        let list = Command::new("list")
            .about("Lists them")
            .arg(
                Arg::new("limit")
                    .long("limit")
                    .value_name("COUNT")
                    .default_value("100")
                    .value_parser(clap::value_parser!(usize))
                    .help("How many at most; 0 is all"),
            )
            .args(self.filters.iter().map(|(name, _)| {
                Arg::new(*name).long(*name).value_name("ID").help(format!("Only those of this {name}"))
            }));
        let create = Command::new("create").about("Makes one").arg(body()).args(self.fields.iter().map(Field::arg));
        let update = Command::new("update")
            .about("Changes what is named and leaves the rest")
            .arg(id())
            .arg(body())
            .args(self.fields.iter().filter(|field| field.may_change()).map(Field::arg));
        let delete = Command::new("delete").about("Removes them").arg(id().action(ArgAction::Append).num_args(1..));
        let get = Command::new("get").visible_alias("show").about("Shows one, whole").arg(id());
        Command::new(self.name)
            .about(self.about)
            .after_help(format!("Examples:\n{}", self.examples))
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommands([list, get, create, update, delete])
    }

    /// The fields that were given, on top of `body`. References are left as they were typed.
    pub(crate) fn object(&self, matches: &ArgMatches, body: Value) -> Result<Value, String> {
        let mut object = body;
        for field in self.fields {
            // `update` does not know the fields that never change.
            let Ok(Some(text)) = matches.try_get_one::<String>(field.flag) else { continue };
            put(&mut object, field.key, field.parse(text)?)?;
        }
        Ok(object)
    }

    /// For a change: who names one of two takes away the other, which may be what is there.
    pub(crate) fn drop_others(object: &mut Value) {
        let Some(map) = object.as_object_mut() else { return };
        for (one, other) in EITHER {
            for (given, others) in [(one, other), (other, one)] {
                if map.get(*given).is_some_and(|value| !value.is_null()) && !map.contains_key(*others) {
                    map.insert((*others).to_owned(), Value::Null);
                }
            }
        }
    }

    /// Which fields must be there for one to be made, and are not.
    pub(crate) fn missing(&self, object: &Value) -> Vec<&'static str> {
        let is_needed = |field: &&Field| matches!(field.when, When::Needed | When::Fixed);
        let is_missing = |field: &&Field| at(object, field.key).is_none();
        self.fields.iter().filter(is_needed).filter(is_missing).map(|field| field.flag).collect()
    }

    /// Fields that name other resources: where they stand and what they name.
    pub(crate) fn references(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.fields.iter().filter_map(|field| match field.kind {
            Kind::Of(path) => Some((field.key, path)),
            _ => None,
        })
    }
}

impl Field {
    fn may_change(&self) -> bool {
        matches!(self.when, When::Needed | When::Optional)
    }

    fn arg(&self) -> Arg {
        let arg = Arg::new(self.flag).long(self.flag).help(self.help).value_name(match self.kind {
            Kind::Text => "TEXT",
            Kind::Number => "NUMBER",
            Kind::Flag => "true|false",
            Kind::Texts | Kind::Numbers => "LIST",
            Kind::Of(_) => "ID",
            Kind::Json => "JSON",
        });
        // `--enabled` alone says yes.
        if self.kind == Kind::Flag {
            arg.num_args(0..=1).default_missing_value("true").require_equals(true)
        } else {
            arg
        }
    }

    fn parse(&self, text: &str) -> Result<Value, String> {
        let number = |text: &str| {
            serde_json::from_str::<Value>(text.trim())
                .ok()
                .filter(Value::is_number)
                .ok_or_else(|| format!("--{}: `{text}` is not a number", self.flag))
        };
        let parts = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
        match self.kind {
            Kind::Text | Kind::Of(_) => Ok(text.into()),
            Kind::Number => number(text),
            Kind::Flag => text.parse::<bool>().map(Value::from).map_err(|_| format!("--{}: true or false", self.flag)),
            Kind::Texts => Ok(parts().collect::<Vec<_>>().into()),
            Kind::Numbers => Ok(Value::Array(parts().map(number).collect::<Result<_, _>>()?)),
            Kind::Json => serde_json::from_str(text).map_err(|error| format!("--{}: {error}", self.flag)),
        }
    }
}

/// The value at a dotted key.
pub(crate) fn at<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(object, |value, part| value.get(part)).filter(|value| !value.is_null())
}

/// Puts a value at a dotted key, making the objects on the way.
pub(crate) fn put(object: &mut Value, key: &str, value: Value) -> Result<(), String> {
    let mut place = object;
    for part in key.split('.') {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        let map = place.as_object_mut().ok_or_else(|| format!("`{part}` of {key} is not inside an object"))?;
        place = map.entry(part).or_insert(Value::Null);
    }
    *place = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(resource: &str, arguments: &[&str]) -> Result<Value, String> {
        let resource = by_name(resource).unwrap();
        let matches = resource.command().try_get_matches_from([&[resource.name], arguments].concat()).unwrap();
        let (_, matches) = matches.subcommand().unwrap();
        resource.object(matches, json!({}))
    }

    #[test]
    fn flags_become_json() {
        let arguments = ["create", "--name", "x", "--region", "US915", "--sub-bands", "1, 2", "--rx1-delay-s", "5"];
        let expected = json!({ "name": "x", "region": "US915", "sub_bands": [1, 2], "rx1_delay_s": 5 });
        assert_eq!(object("profile", &arguments), Ok(expected));
        let arguments = ["update", "70B3D57ED0000001", "--dev-addr", "01020304", "--fcnt-up", "7", "--enabled=false"];
        let expected = json!({ "enabled": false, "abp": { "dev_addr": "01020304", "fcnt_up": 7 } });
        assert_eq!(object("device", &arguments), Ok(expected));
        let arguments = ["create", "--kinds", "uplink,joined", "--deflate", "--templates", r#"{"uplink":"x"}"#];
        let expected = json!({ "kinds": ["uplink", "joined"], "templates": { "uplink": "x" }, "deflate": true });
        assert_eq!(object("stream", &arguments), Ok(expected));
        let arguments =
            ["update", "live", "--delivery", "durable", "--accept", "memory", "--retention-bytes", "1073741824"];
        let expected = json!({ "delivery": "durable", "accept": "memory", "retention_bytes": 1_073_741_824 });
        assert_eq!(object("stream", &arguments), Ok(expected));
    }

    #[test]
    fn a_change_to_one_of_two_takes_the_other_away() {
        let check = |before: Value, after: Value| {
            let mut object = before.clone();
            Resource::drop_others(&mut object);
            assert_eq!(object, after, "{before}");
        };
        check(json!({ "templates": { "uplink": "x" } }), json!({ "templates": { "uplink": "x" }, "format": null }));
        check(json!({ "format": "xml" }), json!({ "format": "xml", "templates": null }));
        check(json!({ "otaa": { "app_key": "0" } }), json!({ "otaa": { "app_key": "0" }, "abp": null }));
        check(json!({ "abp": {} }), json!({ "abp": {}, "otaa": null }));
        // What contradicts itself is the API's to refuse; what is taken away brings nothing.
        for same in [json!({ "format": "a", "templates": {} }), json!({ "format": null }), json!({ "name": "x" })] {
            check(same.clone(), same);
        }
    }

    #[test]
    fn what_is_no_number_is_said_so() {
        let error = object("application", &["create", "--dedup-window-ms", "soon"]).unwrap_err();
        assert_eq!(error, "--dedup-window-ms: `soon` is not a number");
        assert!(object("stream", &["create", "--templates", "{"]).unwrap_err().starts_with("--templates: "));
        assert!(object("stream", &["create", "--enabled=maybe"]).unwrap_err().contains("true or false"));
    }

    #[test]
    fn what_is_needed_is_named() {
        let device = by_name("device").unwrap();
        assert_eq!(device.missing(&json!({ "dev_eui": "1", "profile": null })), ["application", "profile"]);
    }

    #[test]
    fn every_command_is_well_formed() {
        for resource in RESOURCES {
            resource.command().debug_assert();
            assert!(resource.columns.contains(&resource.id));
            for (_, path) in resource.references() {
                assert_eq!(by_path(path).path, path);
            }
        }
    }

    #[test]
    fn dotted_keys_do_not_break_what_is_there() {
        let mut object = json!({ "place": 5 });
        assert!(put(&mut object, "place.latitude", json!(1)).is_err());
        assert!(put(&mut object, "name", json!("x")).is_ok());
        assert_eq!(object, json!({ "place": 5, "name": "x" }));
    }
}
