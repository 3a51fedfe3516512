//! The formats that come with Trunkline: templates like any user's, in files of their own, without a private door.
//!
//! A kind of event for which a format has no template is not sent in that format.
//!
//! What a kind of event does not always have is left out of its JSON object or XML document: an uplink without FPort
//! has no `Port`, a downlink that failed before it was sent no `FCnt`. What it should have but lacks is `null`.

use crate::Kind;

/// A format: what it is called and how it writes each kind of event.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Its name in a stream's configuration.
    pub name: &'static str,
    /// Media type of one message.
    pub content_type: &'static str,
    /// One sentence for the reference.
    pub help: &'static str,
    /// Kinds in the order of their discriminants, each with its template's text.
    pub templates: &'static [(Kind, &'static str)],
}

/// The name of the format of streams that name none.
pub const DEFAULT: &str = "json";

/// The shipped format with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Format> {
    SHIPPED.iter().find(|format| format.name == name)
}

/// The shipped formats as a Markdown table, for the reference.
#[must_use]
pub fn table() -> String {
    let mut out = String::from("| Format | Media type | Kinds | What it is |\n|---|---|---|---|\n");
    for format in SHIPPED {
        let kinds: Vec<&str> = format.templates.iter().map(|(kind, _)| kind.name()).collect();
        let kinds = if kinds.len() == Kind::ALL.len() { "all".into() } else { kinds.join(", ") };
        out += &format!("| `{}` | {} | {kinds} | {} |\n", format.name, format.content_type, format.help);
    }
    out
}

/// Every shipped format; the default first.
pub const SHIPPED: &[Format] = &[
    Format {
        name: "json",
        content_type: "application/json",
        help: "The default: the fields of the stream reference, one object per message.",
        templates: &[
            (Kind::Uplink, include_str!("../formats/json/uplink.txt")),
            (Kind::JoinRequest, include_str!("../formats/json/join_request.txt")),
            (Kind::Joined, include_str!("../formats/json/joined.txt")),
            (Kind::UnknownFrame, include_str!("../formats/json/unknown_frame.txt")),
            (Kind::DownlinkSent, include_str!("../formats/json/downlink_sent.txt")),
            (Kind::DownlinkAcknowledged, include_str!("../formats/json/downlink_acknowledged.txt")),
            (Kind::DownlinkFailed, include_str!("../formats/json/downlink_failed.txt")),
            (Kind::GatewayStatus, include_str!("../formats/json/gateway_status.txt")),
            (Kind::GatewayOnline, include_str!("../formats/json/gateway_online.txt")),
            (Kind::GatewayOffline, include_str!("../formats/json/gateway_offline.txt")),
        ],
    },
    Format {
        name: "xml",
        content_type: "application/xml",
        help: "The same fields as elements under one root.",
        templates: &[
            (Kind::Uplink, include_str!("../formats/xml/uplink.txt")),
            (Kind::JoinRequest, include_str!("../formats/xml/join_request.txt")),
            (Kind::Joined, include_str!("../formats/xml/joined.txt")),
            (Kind::UnknownFrame, include_str!("../formats/xml/unknown_frame.txt")),
            (Kind::DownlinkSent, include_str!("../formats/xml/downlink_sent.txt")),
            (Kind::DownlinkAcknowledged, include_str!("../formats/xml/downlink_acknowledged.txt")),
            (Kind::DownlinkFailed, include_str!("../formats/xml/downlink_failed.txt")),
            (Kind::GatewayStatus, include_str!("../formats/xml/gateway_status.txt")),
            (Kind::GatewayOnline, include_str!("../formats/xml/gateway_online.txt")),
            (Kind::GatewayOffline, include_str!("../formats/xml/gateway_offline.txt")),
        ],
    },
    Format {
        name: "csv",
        content_type: "text/csv",
        help: "One row per uplink: time, id, type, device, AppEUI, port, counter, data, MHz, data rate, gateway, RSSI, SNR.",
        templates: &[(Kind::Uplink, include_str!("../formats/csv/uplink.txt"))],
    },
    Format {
        name: "actility-xml",
        content_type: "application/xml",
        help: "After Actility's `DevEUI_uplink` document.",
        templates: &[(Kind::Uplink, include_str!("../formats/actility-xml/uplink.txt"))],
    },
    Format {
        name: "loriot",
        content_type: "application/json",
        help: "After LORIOT: `rx` at once, `gw` where the stream takes the best copy.",
        templates: &[
            (Kind::Uplink, include_str!("../formats/loriot/uplink.txt")),
            (Kind::DownlinkSent, include_str!("../formats/loriot/downlink_sent.txt")),
        ],
    },
    Format {
        name: "chirpstack",
        content_type: "application/json",
        help: "After ChirpStack v4 events; values that are zero or false are left out, as there.",
        templates: &[
            (Kind::Uplink, include_str!("../formats/chirpstack/uplink.txt")),
            (Kind::Joined, include_str!("../formats/chirpstack/joined.txt")),
            (Kind::DownlinkSent, include_str!("../formats/chirpstack/downlink_sent.txt")),
            (Kind::DownlinkAcknowledged, include_str!("../formats/chirpstack/downlink_acknowledged.txt")),
            (Kind::DownlinkFailed, include_str!("../formats/chirpstack/downlink_failed.txt")),
        ],
    },
    Format {
        name: "tts",
        content_type: "application/json",
        help: "After The Things Stack v3 messages.",
        templates: &[
            (Kind::Uplink, include_str!("../formats/tts/uplink.txt")),
            (Kind::Joined, include_str!("../formats/tts/joined.txt")),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SCHEMA;
    use emit::Template;

    #[test]
    fn every_template_compiles() {
        for format in SHIPPED {
            for (kind, text) in format.templates {
                if let Err(error) = Template::parse(text, &SCHEMA) {
                    panic!("{} {}: {error}", format.name, kind.name());
                }
            }
        }
        assert_eq!(table().lines().count(), SHIPPED.len() + 2);
        assert_eq!(find(DEFAULT).map(|format| format.templates.len()), Some(Kind::ALL.len()));
    }
}
