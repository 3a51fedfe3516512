//! PUBLISH (3.3).

use crate::{BOTH, V3, V5, bytes, client_refuses, client_takes, decode, server_refuses, server_takes};
use mqtt::{Delivery, Failure, Packet, PacketId, Publish, ReasonCode, Role, TopicName};

#[test]
fn qos_0_is_never_a_repetition() {
    server_refuses(&BOTH, "38 03 0001 'a'", Failure::Dup);
    client_refuses(&BOTH, "39 03 0001 'a'", Failure::Dup);
    server_takes(&[V3], "3A 05 0001 'a' 0001");
    let publish = Publish { dup: true, ..Publish::new(TopicName::new("a").expect("a name"), b"") };
    for version in BOTH {
        let mut out = [0; 6];
        publish.write(version, &mut out).expect("room");
        assert_eq!(out[0], 0x30);
    }
}

#[test]
fn qos_3_is_malformed() {
    for first in ["36", "37", "3E", "3F"] {
        server_refuses(&BOTH, &format!("{first} 05 0001 'a' 0001"), Failure::Qos);
        client_refuses(&BOTH, first, Failure::Qos);
    }
    assert_eq!(Failure::Qos.reason_code(), ReasonCode::MalformedPacket);
}

/// Each of the flags, there and back.
#[test]
fn flags_are_what_they_say() {
    let id = PacketId::new(0x1234).expect("not 0");
    for (first, delivery, dup, retain) in [
        (0x30, Delivery::AtMostOnce, false, false),
        (0x31, Delivery::AtMostOnce, false, true),
        (0x32, Delivery::AtLeastOnce(id), false, false),
        (0x3B, Delivery::AtLeastOnce(id), true, true),
        (0x34, Delivery::ExactlyOnce(id), false, false),
        (0x3C, Delivery::ExactlyOnce(id), true, false),
    ] {
        for version in BOTH {
            let topic = TopicName::new("t").expect("a name");
            let publish = Publish { delivery, dup, retain, ..Publish::new(topic, b"p") };
            let mut out = vec![0; publish.encoded_bytes(version)];
            publish.write(version, &mut out).expect("room");
            assert_eq!(out[0], first);
            assert_eq!(decode(Role::Client, version, &out), Ok(Packet::Publish(publish)));
        }
    }
}

#[test]
fn the_topic_comes_first_and_is_a_string() {
    server_refuses(&BOTH, "30 04 0002 C3 28", Failure::Text);
    server_refuses(&BOTH, "30 02 0001", Failure::Truncated);
    let wire = bytes("30 06 0004 'a/' C3BC");
    let Ok(Packet::Publish(read)) = decode(Role::Server, V3, &wire) else {
        panic!("a PUBLISH");
    };
    assert_eq!(read.topic.map(TopicName::as_str), Some("a/ü"));
}

#[test]
fn topic_names_have_no_wildcards() {
    for topic in
        ["'a/+'", "'a+b'", "'#'", "'a/#'", "'a#'", "'+'", "'aaaaaaaa+aaaaaaa'", "'aaaaaaaaaaaaaaa#'", "C3BC 2B"]
    {
        let name = bytes(topic);
        let wire = [&[0x30, 2 + name.len() as u8, 0, name.len() as u8], &name[..]].concat();
        for version in BOTH {
            assert_eq!(decode(Role::Server, version, &wire), Err(Failure::TopicName), "{topic}");
            assert_eq!(decode(Role::Client, version, &wire), Err(Failure::TopicName), "{topic}");
        }
    }
    assert_eq!(Failure::TopicName.reason_code(), ReasonCode::TopicNameInvalid);
}

#[test]
fn an_empty_topic_needs_an_alias() {
    server_refuses(&[V3], "30 02 0000", Failure::TopicName);
    server_refuses(&[V5], "30 03 0000 00", Failure::TopicMissing);
    server_refuses(&[V5], "30 05 0000 02 01 01", Failure::TopicMissing);
    let wire = bytes("30 06 0000 03 23 0007");
    let Ok(Packet::Publish(read)) = decode(Role::Server, V5, &wire) else {
        panic!("a PUBLISH");
    };
    assert_eq!((read.topic, read.properties.topic_alias().map(|alias| alias.get())), (None, Some(7)));
    assert_eq!(Failure::TopicMissing.reason_code(), ReasonCode::ProtocolError);
}

#[test]
fn an_alias_is_not_zero() {
    server_refuses(&[V5], "30 07 0001 'a' 03 23 0000", Failure::TopicAlias);
    client_refuses(&[V5], "30 06 0000 03 23 0000", Failure::TopicAlias);
    server_takes(&[V5], "30 07 0001 'a' 03 23 0001");
    server_takes(&[V5], "30 07 0001 'a' 03 23 FFFF");
    assert_eq!(Failure::TopicAlias.reason_code(), ReasonCode::TopicAliasInvalid);
}

#[test]
fn a_response_topic_is_a_string_and_a_name() {
    server_refuses(&[V5], "30 08 0001 'a' 04 08 0001 FF", Failure::Text);
    server_refuses(&[V5], "30 08 0001 'a' 04 08 0001 '#'", Failure::TopicName);
    server_refuses(&[V5], "30 08 0001 'a' 04 08 0001 '+'", Failure::TopicName);
    server_takes(&[V5], "30 08 0001 'a' 04 08 0001 'r'");
}

#[test]
fn a_content_type_is_a_string() {
    server_refuses(&[V5], "30 08 0001 'a' 04 03 0001 FF", Failure::Text);
    server_takes(&[V5], "30 08 0001 'a' 04 03 0001 't'");
}

#[test]
fn subscription_identifiers_come_from_servers_alone() {
    server_refuses(&[V5], "30 06 0001 'a' 02 0B 07", Failure::PropertyDirection);
    assert_eq!(Failure::PropertyDirection.reason_code(), ReasonCode::ProtocolError);
    client_takes(&[V5], "30 06 0001 'a' 02 0B 07");
    let wire = bytes("30 0A 0001 'a' 06 0B 07 0B FF7F 0B");
    assert_eq!(decode(Role::Client, V5, &wire), Err(Failure::Truncated));
    let wire = bytes("30 09 0001 'a' 05 0B 07 0B FF7F");
    let Ok(Packet::Publish(read)) = decode(Role::Client, V5, &wire) else {
        panic!("a PUBLISH");
    };
    let ids: Vec<_> = read.properties.subscription_identifiers().map(|id| id.get()).collect();
    assert_eq!(ids, [7, 16_383]);
}

/// A payload is what is left, of any bytes.
#[test]
fn a_payload_is_the_rest() {
    for count in [0, 1, 100, 200, 70_000] {
        let payload: Vec<_> = (0..count).map(|index| index as u8).collect();
        for version in BOTH {
            let publish = Publish::new(TopicName::new("t").expect("a name"), &payload);
            let mut out = vec![0; publish.encoded_bytes(version)];
            publish.write(version, &mut out).expect("room");
            assert_eq!(decode(Role::Server, version, &out), Ok(Packet::Publish(publish)));
        }
    }
}
