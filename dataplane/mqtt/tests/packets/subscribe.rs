//! SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK (3.8 to 3.11).

use crate::{BOTH, V3, V5, bytes, client_refuses, client_takes, decode, server_refuses, server_takes};
use mqtt::{
    Codes, Failure, Packet, PacketId, Properties, Property, Qos, ReasonCode, RetainHandling, Role, Suback, Text,
    Unsuback,
};

#[test]
fn subscribe_has_the_flags_of_its_own() {
    for flags in (0..16).filter(|flags| *flags != 2) {
        server_refuses(&BOTH, &format!("8{flags:x}"), Failure::Flags);
    }
}

#[test]
fn unsubscribe_has_the_flags_of_its_own() {
    for flags in (0..16).filter(|flags| *flags != 2) {
        server_refuses(&BOTH, &format!("A{flags:x}"), Failure::Flags);
    }
}

#[test]
fn filters_of_subscribe_are_strings() {
    server_refuses(&[V3], "82 06 0001 0001 FF 00", Failure::Text);
    server_refuses(&[V5], "82 07 0001 00 0001 FF 00", Failure::Text);
    server_refuses(&[V5], "82 0B 0001 00 0001 'a' 00 0001 FF 00", Failure::Text);
}

#[test]
fn filters_of_unsubscribe_are_strings() {
    server_refuses(&[V3], "A2 05 0001 0001 FF", Failure::Text);
    server_refuses(&[V5], "A2 06 0001 00 0001 FF", Failure::Text);
    let wire = bytes("A2 0A 0001 0001 'a' 0003 'b/#'");
    let Ok(Packet::Unsubscribe(read)) = decode(Role::Server, V3, &wire) else {
        panic!("an UNSUBSCRIBE");
    };
    assert_eq!(read.filters.iter().map(|filter| filter.as_str()).collect::<Vec<_>>(), ["a", "b/#"]);
}

#[test]
fn filters_are_well_formed() {
    for filter in ["", "#/a", "a#", "a/#/b", "+a", "a+", "a/b+/c", "##", "++", "a/#b"] {
        let count = filter.len() as u8;
        let head = |first, extra| vec![first, 4 + count + extra, 0, 1];
        let v3 = [head(0x82, 1), vec![0, count], filter.into(), vec![0]].concat();
        assert_eq!(decode(Role::Server, V3, &v3), Err(Failure::TopicFilter), "{filter}");
        let v5 = [head(0x82, 2), vec![0, 0, count], filter.into(), vec![0]].concat();
        assert_eq!(decode(Role::Server, V5, &v5), Err(Failure::TopicFilter), "{filter}");
        let v3 = [head(0xA2, 0), vec![0, count], filter.into()].concat();
        assert_eq!(decode(Role::Server, V3, &v3), Err(Failure::TopicFilter), "{filter}");
    }
    assert_eq!(Failure::TopicFilter.reason_code(), ReasonCode::TopicFilterInvalid);
}

#[test]
fn there_is_at_least_one_filter() {
    server_refuses(&[V3], "82 02 0001", Failure::Empty);
    server_refuses(&[V5], "82 03 0001 00", Failure::Empty);
    server_refuses(&[V3], "A2 02 0001", Failure::Empty);
    server_refuses(&[V5], "A2 03 0001 00", Failure::Empty);
    assert_eq!(Failure::Empty.reason_code(), ReasonCode::ProtocolError);
}

/// All options of a byte, against the tables of both versions.
#[test]
fn options_are_those_of_the_version() {
    for options in 0..=255u8 {
        let (qos, handling) = (options & 3, options >> 4 & 3);
        let v3 = [0x82, 6, 0, 1, 0, 1, b'a', options];
        assert_eq!(decode(Role::Server, V3, &v3).is_ok(), options <= 2, "{options:02x}");
        let v5 = [0x82, 7, 0, 1, 0, 0, 1, b'a', options];
        match decode(Role::Server, V5, &v5) {
            Ok(Packet::Subscribe(read)) => {
                let one = read.subscriptions.iter().next().expect("a subscription");
                assert!(options & 0xC0 == 0 && qos != 3 && handling != 3, "{options:02x}");
                assert_eq!((one.qos as u8, one.retain_handling as u8), (qos, handling));
                assert_eq!((one.no_local, one.retain_as_published), (options & 4 != 0, options & 8 != 0));
            }
            Err(failure) => {
                let expected = match (options & 0xC0, handling) {
                    (0, 3) => Failure::RetainHandling,
                    (0, _) => Failure::Qos,
                    _ => Failure::SubscriptionOptions,
                };
                assert_eq!(failure, expected, "{options:02x}");
                assert!(options & 0xC0 != 0 || qos == 3 || handling == 3, "{options:02x}");
            }
            Ok(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(Failure::SubscriptionOptions.reason_code(), ReasonCode::MalformedPacket);
    assert_eq!(Failure::RetainHandling.reason_code(), ReasonCode::ProtocolError);
}

#[test]
fn a_shared_subscription_is_never_no_local() {
    server_refuses(&[V5], "82 10 0001 00 000A '$share/g/a' 04", Failure::NoLocalShared);
    server_takes(&[V5], "82 10 0001 00 000A '$share/g/a' 01");
    assert_eq!(Failure::NoLocalShared.reason_code(), ReasonCode::ProtocolError);
}

/// A name without wildcards, then a filter; to 3.1.1 it is a topic like any other.
#[test]
fn shared_subscriptions_have_a_name_and_a_filter() {
    for filter in ["$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/#"] {
        let count = filter.len() as u8;
        let v5 = [&[0x82, 6 + count, 0, 1, 0, 0, count], filter.as_bytes(), &[0]].concat();
        assert_eq!(decode(Role::Server, V5, &v5), Err(Failure::TopicFilter), "{filter}");
        let v3 = [&[0x82, 5 + count, 0, 1, 0, count], filter.as_bytes(), &[0]].concat();
        let Ok(Packet::Subscribe(read)) = decode(Role::Server, V3, &v3) else {
            panic!("{filter}");
        };
        assert_eq!(read.subscriptions.iter().map(|one| one.filter.as_str()).collect::<Vec<_>>(), [filter]);
    }
    server_takes(&[V5], "82 0C 0001 00 0006 '$share' 00");
}

#[test]
fn subscriptions_keep_their_order() {
    let wire = bytes("82 10 0007 0001 'b' 01 0001 'a' 00 0003 'a/+' 02");
    let Ok(Packet::Subscribe(read)) = decode(Role::Server, V3, &wire) else {
        panic!("a SUBSCRIBE");
    };
    let seen: Vec<_> = read.subscriptions.iter().map(|one| (one.filter.as_str(), one.qos)).collect();
    assert_eq!(seen, [("b", Qos::AtLeastOnce), ("a", Qos::AtMostOnce), ("a/+", Qos::ExactlyOnce)]);
    assert!(read.subscriptions.iter().all(|one| one.retain_handling == RetainHandling::Send));
}

#[test]
fn a_subscription_identifier_is_not_zero() {
    server_refuses(&[V5], "82 09 0001 02 0B 00 0001 'a' 00", Failure::PropertyValue);
    server_refuses(&[V5], "82 0B 0001 04 0B 01 0B 02 0001 'a' 00", Failure::PropertyTwice);
    server_takes(&[V5], "82 0C 0001 05 0B FF FF FF 7F 0001 'a' 00");
}

#[test]
fn codes_of_suback() {
    let listed = bytes("00 01 02 80 83 87 8F 91 97 9E A1 A2");
    for number in 0..=255u8 {
        let outcome = decode(Role::Client, V5, &[0x90, 5, 0, 1, 0, 0, number]).map(drop);
        assert_eq!(outcome.is_ok(), listed.contains(&number), "{number:02x}");
        let outcome = decode(Role::Client, V3, &[0x90, 4, 0, 1, 0, number]).map(drop);
        assert_eq!(outcome.is_ok(), matches!(number, 0 | 1 | 2 | 0x80), "{number:02x}");
    }
    client_refuses(&[V3], "90 02 0001", Failure::Empty);
}

#[test]
fn codes_of_unsuback() {
    let listed = bytes("00 11 80 83 87 8F 91");
    for number in 0..=255u8 {
        let outcome = decode(Role::Client, V5, &[0xB0, 5, 0, 1, 0, 0, number]).map(drop);
        assert_eq!(outcome.is_ok(), listed.contains(&number), "{number:02x}");
    }
    client_refuses(&[V5], "B0 03 0001 00", Failure::Empty);
    client_takes(&[V3], "B0 02 0001");
}

/// A code for each filter, in their order; 3.1.1 knows one failure.
#[test]
fn codes_keep_their_order() {
    let codes = [ReasonCode::GrantedQos2, ReasonCode::NotAuthorized, ReasonCode::Success, ReasonCode::GrantedQos1];
    let suback = Suback::new(PacketId::MIN, Codes::listed(&codes));
    let mut out = [0; 16];
    assert_eq!(suback.write(V3, &mut out), Ok(8));
    assert_eq!(out[..8], bytes("90 06 0001 02 80 00 01"));
    assert_eq!(suback.write(V5, &mut out), Ok(9));
    assert_eq!(out[..9], bytes("90 07 0001 00 02 87 00 01"));
    let codes = [ReasonCode::NoSubscriptionExisted, ReasonCode::Success];
    let unsuback = Unsuback::new(PacketId::MIN, Codes::listed(&codes));
    assert_eq!(unsuback.write(V5, &mut out), Ok(7));
    assert_eq!(out[..7], bytes("B0 05 0001 00 11 00"));
    assert_eq!(unsuback.write(V3, &mut out), Ok(4));
    assert_eq!(out[..4], bytes("B0 02 0001"));
    assert_eq!(ReasonCode::granted(Qos::ExactlyOnce), ReasonCode::GrantedQos2);
}

#[test]
fn what_is_too_large_goes_without_words() {
    let text = |text| Text::new(text).expect("a text");
    let list = [Property::ReasonString(text("because")), Property::UserProperty((text("name"), text("value")))];
    let codes = [ReasonCode::Success];
    let (properties, codes) = (Properties::listed(&list), Codes::listed(&codes));
    let suback = Packet::Suback(Suback { packet_id: PacketId::MIN, properties, codes });
    let unsuback = Packet::Unsuback(Unsuback { packet_id: PacketId::MIN, properties, codes });
    for packet in [suback, unsuback] {
        let sizes = |bytes_max| packet.fitted(V5, bytes_max).map(|packet| packet.encoded_bytes(V5));
        assert_eq!([sizes(30), sizes(29), sizes(16)], [Some(30), Some(16), Some(16)]);
        assert_eq!([sizes(15), sizes(6), sizes(5)], [Some(6), Some(6), None]);
    }
}
