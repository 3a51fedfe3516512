//! Packets that the specifications spell out byte by byte; v3 and v5 3.1 to 3.15, the non-normative examples.

use crate::{BOTH, V3, V5, bytes, connect, decode};
use mqtt::{
    Ack, AckKind, Binary, Codes, Connack, Connect, Delivery, Disconnect, Filters, Packet, PacketId, Properties,
    Property, Publish, Qos, ReasonCode, RetainHandling, Role, Suback, Subscribe, Subscription, Subscriptions, Text,
    TopicFilter, TopicName, Unsuback, Unsubscribe, Version, Will,
};

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not 0")
}

fn text(text: &str) -> Text<'_> {
    Text::new(text).expect("a text")
}

/// Read and written, byte for byte.
fn check(receiver: Role, versions: &[Version], hex: &str, packet: &Packet<'_>) {
    for version in versions {
        let wire = bytes(hex);
        assert_eq!(decode(receiver, *version, &wire).as_ref(), Ok(packet), "{version:?} {hex}");
        let mut out = vec![0; wire.len()];
        assert_eq!(packet.write(*version, &mut out), Ok(wire.len()), "{version:?} {hex}");
        assert_eq!(out, wire, "{version:?} {hex}");
    }
}

fn check_connect(hex: &str, expected: &Connect<'_>) {
    let wire = bytes(hex);
    assert_eq!(connect(&wire).as_ref(), Ok(expected));
    let mut out = vec![0; wire.len()];
    assert_eq!(expected.write(&mut out), Ok(wire.len()));
    assert_eq!(out, wire);
}

/// v3 figure 3.6 and what follows it; v5 figure 3-6 and its payload.
#[test]
fn a_connect_with_everything() {
    let mut expected = Connect {
        keep_alive_s: 10,
        user_name: Some(text("user")),
        password: Binary::new(b"pass"),
        will: Some(Will {
            qos: Qos::AtLeastOnce,
            retain: false,
            topic: TopicName::new("w").expect("a name"),
            payload: Binary::new(b"bye").expect("few bytes"),
            properties: Properties::NONE,
        }),
        ..Connect::new(V3, text("id"))
    };
    check_connect("10 22 0004 'MQTT' 04 CE 000A 0002 'id' 0001 'w' 0003 'bye' 0004 'user' 0004 'pass'", &expected);
    let list = [Property::SessionExpiryInterval(10)];
    expected.version = V5;
    expected.properties = Properties::listed(&list);
    check_connect(
        "10 29 0004 'MQTT' 05 CE 000A 05 11 0000000A 0002 'id' 00 0001 'w' 0003 'bye' 0004 'user' 0004 'pass'",
        &expected,
    );
}

#[test]
fn connacks() {
    let accepted = |session| Packet::Connack(Connack::accepted(session, Properties::NONE));
    check(Role::Client, &[V3], "20 02 00 00", &accepted(false));
    check(Role::Client, &[V3], "20 02 01 00", &accepted(true));
    check(Role::Client, &[V5], "20 03 01 00 00", &accepted(true));
    let refused = |code| Packet::Connack(Connack::refused(code));
    check(Role::Client, &[V3], "20 02 00 01", &refused(ReasonCode::UnsupportedProtocolVersion));
    check(Role::Client, &[V3], "20 02 00 05", &refused(ReasonCode::NotAuthorized));
    check(Role::Client, &[V5], "20 03 00 84 00", &refused(ReasonCode::UnsupportedProtocolVersion));
}

/// v3 figure 3.11, v5 figure 3-9: topic `a/b`, packet identifier 10.
#[test]
fn publishes() {
    let topic = TopicName::new("a/b").expect("a name");
    let publish = Publish { delivery: Delivery::AtLeastOnce(id(10)), ..Publish::new(topic, b"hi") };
    check(Role::Server, &[V3], "32 09 0003 'a/b' 000A 'hi'", &Packet::Publish(publish));
    check(Role::Server, &[V5], "32 0A 0003 'a/b' 000A 00 'hi'", &Packet::Publish(publish));
    check(Role::Server, &[V3], "30 05 0003 'a/b'", &Packet::Publish(Publish::new(topic, b"")));
    let again = Publish { delivery: Delivery::ExactlyOnce(id(10)), dup: true, retain: true, ..publish };
    check(Role::Client, &[V3], "3D 09 0003 'a/b' 000A 'hi'", &Packet::Publish(again));
}

#[test]
fn acknowledgements() {
    let ack = |kind, code| Packet::Ack(Ack::new(kind, id(0x1234), code));
    for role in [Role::Server, Role::Client] {
        check(role, &BOTH, "40 02 1234", &ack(AckKind::Puback, ReasonCode::Success));
        check(role, &BOTH, "50 02 1234", &ack(AckKind::Pubrec, ReasonCode::Success));
        check(role, &BOTH, "62 02 1234", &ack(AckKind::Pubrel, ReasonCode::Success));
        check(role, &BOTH, "70 02 1234", &ack(AckKind::Pubcomp, ReasonCode::Success));
        check(role, &[V5], "40 03 1234 10", &ack(AckKind::Puback, ReasonCode::NoMatchingSubscribers));
        check(role, &[V5], "62 03 1234 92", &ack(AckKind::Pubrel, ReasonCode::PacketIdentifierNotFound));
    }
    let list = [Property::ReasonString(text("no"))];
    let denied =
        Ack { properties: Properties::listed(&list), ..Ack::new(AckKind::Puback, id(1), ReasonCode::NotAuthorized) };
    check(Role::Client, &[V5], "40 09 0001 87 05 1F 0002 'no'", &Packet::Ack(denied));
}

/// v3 figure 3.23, v5 figure 3-21: `a/b` with QoS 1, `c/d` with QoS 2.
#[test]
fn subscribes_and_unsubscribes() {
    let filter = |text| TopicFilter::new(text).expect("a filter");
    let list = [Subscription::new(filter("a/b"), Qos::AtLeastOnce), Subscription::new(filter("c/d"), Qos::ExactlyOnce)];
    let subscribe = Packet::Subscribe(Subscribe::new(id(10), Subscriptions::listed(&list)));
    check(Role::Server, &[V3], "82 0E 000A 0003 'a/b' 01 0003 'c/d' 02", &subscribe);
    check(Role::Server, &[V5], "82 0F 000A 00 0003 'a/b' 01 0003 'c/d' 02", &subscribe);
    let list = [Subscription {
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
        ..Subscription::new(filter("#"), Qos::AtMostOnce)
    }];
    let subscribe = Packet::Subscribe(Subscribe::new(id(1), Subscriptions::listed(&list)));
    check(Role::Server, &[V5], "82 07 0001 00 0001 '#' 2C", &subscribe);
    let filters = [filter("a/b"), filter("c/d")];
    let unsubscribe = Packet::Unsubscribe(Unsubscribe::new(id(10), Filters::listed(&filters)));
    check(Role::Server, &[V3], "A2 0C 000A 0003 'a/b' 0003 'c/d'", &unsubscribe);
    check(Role::Server, &[V5], "A2 0D 000A 00 0003 'a/b' 0003 'c/d'", &unsubscribe);
}

/// v3 figure 3.26: success with QoS 0, success with QoS 2, failure.
#[test]
fn subacks_and_unsubacks() {
    let codes = [ReasonCode::Success, ReasonCode::GrantedQos2, ReasonCode::UnspecifiedError];
    let suback = Packet::Suback(Suback::new(id(10), Codes::listed(&codes)));
    check(Role::Client, &[V3], "90 05 000A 00 02 80", &suback);
    check(Role::Client, &[V5], "90 06 000A 00 00 02 80", &suback);
    check(Role::Client, &[V3], "B0 02 000A", &Packet::Unsuback(Unsuback::new(id(10), Codes::NONE)));
    let codes = [ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
    let unsuback = Packet::Unsuback(Unsuback::new(id(10), Codes::listed(&codes)));
    check(Role::Client, &[V5], "B0 05 000A 00 00 11", &unsuback);
}

#[test]
fn pings_and_ends() {
    check(Role::Server, &BOTH, "C0 00", &Packet::Pingreq);
    check(Role::Client, &BOTH, "D0 00", &Packet::Pingresp);
    let normal = Packet::Disconnect(Disconnect::new(ReasonCode::Success));
    check(Role::Server, &BOTH, "E0 00", &normal);
    let with_will = Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWill));
    check(Role::Server, &[V5], "E0 01 04", &with_will);
    let list = [Property::ServerReference(text("b:1883"))];
    let moved = Disconnect { code: ReasonCode::ServerMoved, properties: Properties::listed(&list) };
    check(Role::Client, &[V5], "E0 0B 9D 09 1C 0006 'b:1883'", &Packet::Disconnect(moved));
}
