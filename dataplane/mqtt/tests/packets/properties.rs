//! Properties (v5 2.2.2).

use crate::sample::{Sample, allowed};
use crate::{V5, bytes, client_refuses, client_takes, connect, decode, server_refuses, server_takes};
use mqtt::{Failure, Packet, Place, Properties, Property, PropertyId, Publish, ReasonCode, Role, Text, TopicName};

const PLACES: [Place; 14] = [
    Place::Connect,
    Place::Will,
    Place::Connack,
    Place::Publish,
    Place::Puback,
    Place::Pubrec,
    Place::Pubrel,
    Place::Pubcomp,
    Place::Subscribe,
    Place::Suback,
    Place::Unsubscribe,
    Place::Unsuback,
    Place::Disconnect,
    Place::Auth,
];

/// Bytes of one property, written apart from any packet.
fn one(property: Property<'_>) -> Vec<u8> {
    let list = [property];
    let properties = Properties::listed(&list);
    let mut out = vec![0; properties.encoded_bytes()];
    assert_eq!(properties.write(&mut out), Ok(out.len()));
    out
}

#[test]
fn without_properties_there_is_a_length_of_zero() {
    let topic = TopicName::new("a").expect("a name");
    let mut out = [0; 16];
    let count = Publish::new(topic, b"").write(V5, &mut out).expect("room");
    assert_eq!(out[..count], bytes("30 04 0001 'a' 00"));
    server_refuses(&[V5], "30 03 0001 'a'", Failure::Truncated);
    server_refuses(&[V5], "82 02 0001", Failure::Truncated);
    client_refuses(&[V5], "20 02 00 00", Failure::Truncated);
    client_refuses(&[V5], "90 02 0001", Failure::Truncated);
}

/// Each property in each packet of each direction, against a table that goes packet by packet.
#[test]
fn each_stands_where_it_may() {
    let mut sample = Sample::new(3);
    for place in PLACES {
        for receiver in [Role::Server, Role::Client] {
            for id in PropertyId::ALL {
                let bytes = one(sample.property(*id));
                let parsed = Properties::parse(&bytes, place, receiver);
                assert_eq!(parsed.is_ok(), allowed(place, receiver).contains(id), "{id:?} {place:?} {receiver:?}");
            }
        }
    }
    assert_eq!(PropertyId::ALL.len(), 27);
    assert_eq!(Failure::Property.reason_code(), ReasonCode::MalformedPacket);
}

/// Each twice: user properties may, and identifiers of the subscriptions that a message matches.
#[test]
fn each_stands_once() {
    let mut sample = Sample::new(4);
    for place in PLACES {
        for receiver in [Role::Server, Role::Client] {
            for id in allowed(place, receiver) {
                let bytes = [one(sample.property(*id)), one(sample.property(*id))].concat();
                let repeats = *id == PropertyId::UserProperty
                    || (*id, place) == (PropertyId::SubscriptionIdentifier, Place::Publish);
                let outcome = Properties::parse(&bytes, place, receiver).map(drop);
                let expected = if repeats { Ok(()) } else { Err(Failure::PropertyTwice) };
                assert_eq!(outcome, expected, "{id:?} {place:?}");
            }
        }
    }
    assert_eq!(Failure::PropertyTwice.reason_code(), ReasonCode::ProtocolError);
}

#[test]
fn identifiers_are_known() {
    let known: Vec<u8> = PropertyId::ALL.iter().map(|id| *id as u8).collect();
    assert_eq!(known, bytes("01 02 03 08 09 0B 11 12 13 15 16 17 18 19 1A 1C 1F 21 22 23 24 25 26 27 28 29 2A"));
    for number in (0..=255u8).filter(|number| !known.contains(number)) {
        let wire = [0x30, 6, 0, 1, b'a', 2, number, 0];
        assert_eq!(decode(Role::Server, V5, &wire), Err(Failure::Property), "{number:02x}");
    }
}

#[test]
fn values_are_in_range() {
    let connack = |property: &str| {
        let property = bytes(property);
        [vec![0x20, 3 + property.len() as u8, 0, 0, property.len() as u8], property].concat()
    };
    for flag in ["25", "28", "29", "2A", "24"] {
        for value in 0..=255u8 {
            let wire = connack(&format!("{flag} {value:02x}"));
            let outcome = decode(Role::Client, V5, &wire).map(drop);
            let expected = if value <= 1 { Ok(()) } else { Err(Failure::PropertyValue) };
            assert_eq!(outcome, expected, "{flag} {value:02x}");
        }
    }
    for zero in ["21 0000", "27 00000000"] {
        assert_eq!(decode(Role::Client, V5, &connack(zero)).map(drop), Err(Failure::PropertyValue), "{zero}");
        let property = bytes(zero);
        let body = [bytes("0004 'MQTT' 05 02 0000"), vec![property.len() as u8], property, bytes("0000")].concat();
        let refusal = connect(&[vec![0x10, body.len() as u8], body].concat()).expect_err("refused");
        let (version, connack) = refusal.answer().expect("an answer");
        assert_eq!((version, connack.code), (V5, ReasonCode::ProtocolError));
    }
    for flag in ["17", "19"] {
        let body = bytes(&format!("0004 'MQTT' 05 02 0000 02 {flag} 02 0000"));
        let refusal = connect(&[vec![0x10, body.len() as u8], body].concat()).expect_err("refused");
        assert_eq!(refusal.failure, Failure::PropertyValue);
    }
    server_refuses(&[V5], "30 06 0001 'a' 02 01 02", Failure::PropertyValue);
    server_takes(&[V5], "30 06 0001 'a' 02 01 01");
    client_takes(&[V5], "20 06 00 00 03 22 0000");
}

#[test]
fn both_strings_of_a_pair_are_strings() {
    server_refuses(&[V5], "30 0B 0001 'a' 07 26 0001 FF 0001 'v'", Failure::Text);
    server_refuses(&[V5], "30 0B 0001 'a' 07 26 0001 'n' 0001 FF", Failure::Text);
    server_takes(&[V5], "30 0B 0001 'a' 07 26 0001 'n' 0001 'v'");
}

/// As they came, through a forwarded message and a will as well.
#[test]
fn user_properties_keep_their_order() {
    let text = |text| Text::new(text).expect("a text");
    let names = ["b", "a", "b", "c", "a"];
    let list: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(index, name)| Property::UserProperty((text(name), text(&"xxxxx"[index..]))))
        .collect();
    let mut mixed = list.clone();
    mixed.insert(2, Property::MessageExpiryInterval(9));
    mixed.insert(0, Property::TopicAlias(std::num::NonZeroU16::MAX));
    for place in [Place::Publish, Place::Will] {
        let given: Vec<_> = if place == Place::Publish { mixed.clone() } else { list.clone() };
        let properties = Properties::listed(&given);
        let mut out = vec![0; properties.encoded_bytes()];
        properties.write(&mut out).expect("room");
        let read = Properties::parse(&out, place, Role::Server).expect("properties");
        assert_eq!(read.forwarded().iter().collect::<Vec<_>>(), list);
        let seen: Vec<_> = read.user_properties().map(|(name, _)| name.as_str()).collect();
        assert_eq!(seen, names);
    }
}

/// What is not kept back goes on as it came: payload format, content type, response topic, correlation data.
#[test]
fn forwarded_properties_are_unaltered() {
    let mut sample = Sample::new(8);
    for _ in 0..2_000 {
        let properties = sample.properties(V5, Place::Publish, Role::Client);
        let kept_back = [
            PropertyId::TopicAlias,
            PropertyId::MessageExpiryInterval,
            PropertyId::SubscriptionIdentifier,
            PropertyId::WillDelayInterval,
        ];
        let expected: Vec<_> = properties.iter().filter(|property| !kept_back.contains(&property.id())).collect();
        let mut whole = vec![0; properties.encoded_bytes()];
        properties.write(&mut whole).expect("room");
        let read = Properties::parse(&whole, Place::Publish, Role::Client).expect("properties");
        let mut out = vec![0; read.forwarded().encoded_bytes()];
        read.forwarded().write(&mut out).expect("room");
        let again = Properties::parse(&out, Place::Publish, Role::Client).expect("properties");
        assert_eq!(again.iter().collect::<Vec<_>>(), expected);
        assert_eq!(again.is_empty(), expected.is_empty());
    }
}

/// Each getter finds its own and nothing else.
#[test]
fn getters_find_their_property() {
    let mut sample = Sample::new(6);
    let list: Vec<_> = PropertyId::ALL.iter().map(|id| sample.property(*id)).collect();
    let seen = |properties: Properties<'_>| {
        let p = &properties;
        [
            p.payload_format_indicator().map(Property::PayloadFormatIndicator).map(one),
            p.message_expiry_interval_s().map(Property::MessageExpiryInterval).map(one),
            p.content_type().map(Property::ContentType).map(one),
            p.response_topic().map(Property::ResponseTopic).map(one),
            p.correlation_data().map(Property::CorrelationData).map(one),
            p.subscription_identifier().map(Property::SubscriptionIdentifier).map(one),
            p.session_expiry_interval_s().map(Property::SessionExpiryInterval).map(one),
            p.assigned_client_identifier().map(Property::AssignedClientIdentifier).map(one),
            p.server_keep_alive_s().map(Property::ServerKeepAlive).map(one),
            p.authentication_method().map(Property::AuthenticationMethod).map(one),
            p.authentication_data().map(Property::AuthenticationData).map(one),
            p.request_problem_information().map(Property::RequestProblemInformation).map(one),
            p.will_delay_interval_s().map(Property::WillDelayInterval).map(one),
            p.request_response_information().map(Property::RequestResponseInformation).map(one),
            p.response_information().map(Property::ResponseInformation).map(one),
            p.server_reference().map(Property::ServerReference).map(one),
            p.reason_string().map(Property::ReasonString).map(one),
            p.receive_maximum().map(Property::ReceiveMaximum).map(one),
            p.topic_alias_maximum().map(Property::TopicAliasMaximum).map(one),
            p.topic_alias().map(Property::TopicAlias).map(one),
            p.maximum_qos().map(Property::MaximumQos).map(one),
            p.retain_available().map(Property::RetainAvailable).map(one),
            p.user_property().map(Property::UserProperty).map(one),
            p.maximum_packet_size_bytes().map(Property::MaximumPacketSize).map(one),
            p.wildcard_subscription_available().map(Property::WildcardSubscriptionAvailable).map(one),
            p.subscription_identifier_available().map(Property::SubscriptionIdentifierAvailable).map(one),
            p.shared_subscription_available().map(Property::SharedSubscriptionAvailable).map(one),
        ]
    };
    let all: Vec<_> = list.iter().map(|property| Some(one(*property))).collect();
    assert_eq!(seen(Properties::listed(&list)).to_vec(), all);
    for (index, property) in list.iter().enumerate() {
        let apart = [*property];
        let mut expected = vec![None; all.len()];
        expected[index].clone_from(&all[index]);
        assert_eq!(seen(Properties::listed(&apart)).to_vec(), expected);
        let mut others = all.clone();
        others[index] = None;
        assert_eq!(seen(Properties::listed(&list).without(property.id())).to_vec(), others);
    }
}

/// 5.0 alone writes them.
#[test]
fn v3_has_none() {
    let list = [Property::PayloadFormatIndicator(true)];
    let publish =
        Publish { properties: Properties::listed(&list), ..Publish::new(TopicName::new("a").expect("a name"), b"p") };
    let mut out = [0; 8];
    let count = publish.write(crate::V3, &mut out).expect("room");
    assert_eq!(out[..count], bytes("30 04 0001 'a' 'p'"));
    let Ok(Packet::Publish(read)) = decode(Role::Server, crate::V3, &out[..count]) else {
        panic!("a PUBLISH");
    };
    assert!(read.properties.is_empty());
}
