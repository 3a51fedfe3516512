//! Packets in words, for people and for comparison.

use core::fmt::Write;
use mqtt::{Packet, Properties, Property};

/// What a packet says: its name, codes in hexadecimal, `#` before a packet identifier, properties in braces.
#[must_use]
pub fn said(packet: &Packet<'_>) -> String {
    let mut out = String::new();
    let written = match packet {
        Packet::Connack(connack) => {
            let present = if connack.session_present { " present" } else { "" };
            write!(out, "CONNACK {:02X}{present}{}", connack.code as u8, properties(&connack.properties))
        }
        Packet::Publish(publish) => {
            let flag = |is_set, text| if is_set { text } else { "" };
            write!(
                out,
                "PUBLISH {} q{}{}{}{}{} = {}",
                publish.topic.map_or("-", mqtt::TopicName::as_str),
                publish.delivery.qos() as u8,
                publish.delivery.packet_id().map_or(String::new(), |id| format!(" #{id}")),
                flag(publish.dup, " dup"),
                flag(publish.retain, " retain"),
                properties(&publish.properties),
                String::from_utf8_lossy(publish.payload),
            )
        }
        Packet::Ack(ack) => {
            let name = format!("{:?}", ack.kind).to_uppercase();
            write!(out, "{name} #{} {:02X}{}", ack.packet_id, ack.code as u8, properties(&ack.properties))
        }
        Packet::Suback(suback) => {
            let codes: Vec<String> = suback.codes.iter().map(|code| format!("{:02X}", code as u8)).collect();
            write!(out, "SUBACK #{} {}", suback.packet_id, codes.join(" "))
        }
        Packet::Unsuback(unsuback) => {
            let codes: String = unsuback.codes.iter().map(|code| format!(" {:02X}", code as u8)).collect();
            write!(out, "UNSUBACK #{}{codes}", unsuback.packet_id)
        }
        Packet::Disconnect(disconnect) => {
            write!(out, "DISCONNECT {:02X}{}", disconnect.code as u8, properties(&disconnect.properties))
        }
        Packet::Auth(auth) => write!(out, "AUTH {:02X}{}", auth.code as u8, properties(&auth.properties)),
        Packet::Pingreq => write!(out, "PINGREQ"),
        Packet::Pingresp => write!(out, "PINGRESP"),
        Packet::Subscribe(_) => write!(out, "SUBSCRIBE"),
        Packet::Unsubscribe(_) => write!(out, "UNSUBSCRIBE"),
    };
    debug_assert!(written.is_ok(), "a string takes everything");
    out
}

fn properties(properties: &Properties<'_>) -> String {
    if properties.is_empty() {
        return String::new();
    }
    let one = |property: Property<'_>| match property {
        Property::SubscriptionIdentifier(id) => format!("id {}", id.get()),
        Property::TopicAlias(alias) => format!("alias {alias}"),
        Property::MessageExpiryInterval(left) => format!("expiry {left}"),
        Property::UserProperty((name, value)) => format!("{}: {}", name.as_str(), value.as_str()),
        Property::AssignedClientIdentifier(id) => format!("assigned {}", id.as_str()),
        other => format!("{other:?}"),
    };
    let all: Vec<String> = properties.iter().map(one).collect();
    format!(" {{{}}}", all.join(", "))
}
