//! CONNECT (3.1).

use crate::{BOTH, V3, V5, bytes, connect, server_refuses};
use mqtt::{Connack, Connect, Decoded, Decoder, Failure, Packet, Qos, ReasonCode, Role, TopicName, Version};

/// A CONNECT of these flags, whose variable header and payload end as given.
fn with_flags(version: Version, flags: u8, rest: &str) -> Vec<u8> {
    let properties = if version == V5 { "00" } else { "" };
    let body = [bytes("0004 'MQTT'"), vec![version as u8, flags, 0, 60], bytes(properties), bytes(rest)].concat();
    [vec![0x10, body.len() as u8], body].concat()
}

fn failure(bytes: &[u8]) -> Option<Failure> {
    connect(bytes).err().map(|refusal| refusal.failure)
}

/// What is refused in each version.
fn refuses(versions: &[Version], flags: u8, rest: &str, expected: Failure) {
    for version in versions {
        let refusal = connect(&with_flags(*version, flags, rest)).expect_err("refused");
        assert_eq!((refusal.failure, refusal.version), (expected, Some(*version)), "{flags:02x} {rest}");
    }
}

fn takes(version: Version, flags: u8, rest: &str, check: impl Fn(&Connect<'_>)) {
    let wire = with_flags(version, flags, rest);
    check(&connect(&wire).expect("a CONNECT"));
}

/// Will properties, in the version that has them.
fn with_will(version: Version, rest: &str) -> String {
    let properties = if version == V5 { "00" } else { "" };
    format!("0001 'c' {properties} {rest}")
}

#[test]
fn the_first_packet_is_a_connect() {
    for first in 0..=255u8 {
        let input = [first];
        let decoded = mqtt::first(&input, 100);
        match first >> 4 {
            1 => assert_eq!(decoded.is_ok(), first == 0x10),
            _ => {
                let refusal = decoded.expect_err("no CONNECT");
                assert_eq!((refusal.failure, refusal.answer()), (Failure::NotConnect, None), "{first:02x}");
            }
        }
    }
}

#[test]
fn a_second_connect_is_a_violation() {
    for version in BOTH {
        let text = with_flags(version, 2, "0001 'c'").iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        server_refuses(&BOTH, &text, Failure::SecondConnect);
    }
    assert_eq!(Failure::SecondConnect.reason_code(), ReasonCode::ProtocolError);
}

#[test]
fn the_protocol_name_is_mqtt() {
    for name in ["0004 'mqtt'", "0004 'MQTt'", "0003 'MQT'", "0005 'MQTTT'", "0004 'AMQP'", "0000"] {
        let body = [bytes(name), bytes("05 02 0000 00 0001 'c'")].concat();
        let refusal = connect(&[vec![0x10, body.len() as u8], body].concat()).expect_err("refused");
        assert_eq!((refusal.failure, refusal.version), (Failure::ProtocolName, None), "{name}");
        assert_eq!(refusal.answer(), None, "no version to answer in");
    }
}

/// The answer is in the form of the version that the client asks for, as far as that is known.
#[test]
fn an_unknown_level_is_answered() {
    let answer = |name: &str, level: u8| {
        let body = [bytes(name), vec![level], bytes("02 0000 0001 'c'")].concat();
        let refusal = connect(&[vec![0x10, body.len() as u8], body].concat()).expect_err("refused");
        assert_eq!(refusal.failure, Failure::ProtocolLevel);
        let (version, connack) = refusal.answer().expect("an answer");
        let mut out = [0; 8];
        let count = connack.write(version, &mut out).expect("room");
        out[..count].to_vec()
    };
    for level in [0, 1, 2, 3, 0x83, 0x84] {
        assert_eq!(answer("0004 'MQTT'", level), bytes("20 02 00 01"), "{level:02x}");
    }
    for level in [6, 7, 0x7F, 0x85, 0xFF] {
        assert_eq!(answer("0004 'MQTT'", level), bytes("20 03 00 84 00"), "{level:02x}");
    }
    assert_eq!(answer("0006 'MQIsdp'", 3), bytes("20 02 00 01"), "MQTT 3.1");
}

#[test]
fn the_reserved_flag_is_zero() {
    refuses(&BOTH, 0x03, "0001 'c'", Failure::ConnectFlags);
    refuses(&BOTH, 0x01, "0001 'c'", Failure::ConnectFlags);
    assert_eq!(Failure::ConnectFlags.reason_code(), ReasonCode::MalformedPacket);
}

/// Every combination of flags, against the specifications.
#[test]
fn flags_say_what_the_payload_has() {
    for version in BOTH {
        for flags in 0..=255u8 {
            let (user, password, will) = (flags & 0x80 != 0, flags & 0x40 != 0, flags & 4 != 0);
            let (retain, qos) = (flags & 0x20 != 0, flags >> 3 & 3);
            let wrong =
                flags & 1 != 0 || qos == 3 || !will && (retain || qos != 0) || version == V3 && password && !user;
            let mut rest = if will { with_will(version, "0001 'w' 0002 'by'") } else { "0001 'c'".to_owned() };
            if user {
                rest.push_str(" 0001 'u'");
            }
            if password {
                rest.push_str(" 0002 FF00");
            }
            let wire = with_flags(version, flags, &rest);
            match connect(&wire) {
                Ok(read) => {
                    assert!(!wrong, "{flags:02x}");
                    assert_eq!(read.clean_start, flags & 2 != 0);
                    assert_eq!(read.keep_alive_s, 60);
                    assert_eq!(read.user_name.map(|name| name.as_str()), user.then_some("u"));
                    assert_eq!(read.password.map(|word| word.as_bytes()), password.then_some(&[0xFF, 0][..]));
                    let said =
                        read.will.map(|one| (one.qos as u8, one.retain, one.topic.as_str(), one.payload.as_bytes()));
                    assert_eq!(said, will.then_some((qos, retain, "w", b"by".as_slice())));
                }
                Err(_) => assert!(wrong, "{flags:02x}"),
            }
            if !wrong {
                // A field less than the flags announce, and one more.
                assert!(failure(&with_flags(version, flags, "")).is_some(), "{flags:02x}");
                let more = with_flags(version, flags, &format!("{rest} 0001 'x'"));
                assert_eq!(failure(&more), Some(Failure::Trailing), "{flags:02x}");
            }
        }
    }
}

#[test]
fn without_a_will_its_flags_are_zero() {
    for flags in [0x0A, 0x12, 0x22, 0x2A] {
        refuses(&BOTH, flags, "0001 'c'", Failure::WillFlags);
    }
}

#[test]
fn a_will_has_qos_0_1_or_2() {
    for version in BOTH {
        for (flags, qos) in [(0x06, Qos::AtMostOnce), (0x0E, Qos::AtLeastOnce), (0x16, Qos::ExactlyOnce)] {
            let rest = with_will(version, "0001 'w' 0000");
            takes(version, flags, &rest, |read| assert_eq!(read.will.map(|will| will.qos), Some(qos)));
        }
        refuses(&[version], 0x1E, &with_will(version, "0001 'w' 0000"), Failure::WillFlags);
    }
}

#[test]
fn a_password_needs_a_user_name_in_v3_alone() {
    refuses(&[V3], 0x42, "0001 'c' 0001 'p'", Failure::PasswordAlone);
    takes(V5, 0x42, "0001 'c' 0001 'p'", |read| assert!(read.user_name.is_none() && read.password.is_some()));
}

#[test]
fn fields_come_in_their_order() {
    for version in BOTH {
        let rest = with_will(version, "0001 'w' 0001 'm' 0001 'u' 0001 'p'");
        takes(version, 0xC6, &rest, |read| {
            let will = read.will.expect("a will");
            let fields = [
                read.client_id.as_bytes(),
                will.topic.as_bytes(),
                will.payload.as_bytes(),
                read.user_name.expect("a name").as_bytes(),
                read.password.expect("a password").as_bytes(),
            ];
            assert_eq!(fields, [b"c", b"w", b"m", b"u", b"p"]);
        });
    }
}

#[test]
fn the_client_identifier_is_there_and_a_string() {
    refuses(&BOTH, 0x02, "", Failure::Truncated);
    refuses(&BOTH, 0x02, "0001 FF", Failure::Text);
    let longest = "a".repeat(65_535);
    let wire = [&bytes("10 8B 80 04 0004 'MQTT' 04 02 0000 FFFF")[..], longest.as_bytes()].concat();
    assert_eq!(connect(&wire).expect("a CONNECT").client_id.as_str(), longest);
}

#[test]
fn an_empty_client_identifier_keeps_nothing_in_v3() {
    refuses(&[V3], 0x00, "0000", Failure::ClientId);
    let refusal = connect(&with_flags(V3, 0, "0000")).expect_err("refused");
    let (version, connack) = refusal.answer().expect("an answer");
    let mut out = [0; 4];
    assert_eq!((version, connack.write(version, &mut out), out), (V3, Ok(4), [0x20, 2, 0, 2]));
    takes(V3, 0x02, "0000", |read| assert!(read.client_id.is_empty() && read.clean_start));
    takes(V5, 0x00, "0000", |read| assert!(read.client_id.is_empty() && !read.clean_start));
}

#[test]
fn a_will_topic_is_a_string_and_a_name() {
    for version in BOTH {
        let will = |topic: &str| with_will(version, &format!("{topic} 0000"));
        refuses(&[version], 0x06, &will("0001 FF"), Failure::Text);
        refuses(&[version], 0x06, &will("0001 '+'"), Failure::TopicName);
        refuses(&[version], 0x06, &will("0000"), Failure::TopicName);
        takes(version, 0x06, &will("0001 'w'"), |read| {
            assert_eq!(read.will.map(|will| will.topic), TopicName::new("w"));
        });
    }
}

#[test]
fn a_user_name_is_a_string() {
    refuses(&BOTH, 0x82, "0001 'c' 0001 FF", Failure::Text);
    refuses(&BOTH, 0x82, "0001 'c' 0001 00", Failure::Text);
}

/// Both versions: what is not of the form ends the connection; 5.0 says why, 3.1.1 does not.
#[test]
fn a_malformed_connect_is_answered_in_v5_alone() {
    for (flags, rest) in [(0x03, "0001 'c'"), (0x02, "0002 'c'"), (0x02, "0001 FF"), (0x02, "0001 'c' 00"), (0x1E, "")]
    {
        let refusal = connect(&with_flags(V3, flags, rest)).expect_err("refused");
        assert_eq!(refusal.answer(), None);
        let refusal = connect(&with_flags(V5, flags, rest)).expect_err("refused");
        let expected = (V5, Connack::refused(ReasonCode::MalformedPacket));
        assert_eq!(refusal.answer(), Some(expected), "{flags:02x} {rest}");
    }
}

#[test]
fn authentication_data_has_a_method() {
    let body = bytes("0004 'MQTT' 05 02 0000 04 16 0001 FF 0001 'c'");
    let refusal = connect(&[vec![0x10, body.len() as u8], body].concat()).expect_err("refused");
    assert_eq!((refusal.failure, refusal.failure.reason_code()), (Failure::AuthMethod, ReasonCode::ProtocolError));
    let body = bytes("0004 'MQTT' 05 02 0000 08 16 0001 FF 15 0001 'S' 0001 'c'");
    let wire = [vec![0x10, body.len() as u8], body].concat();
    let read = connect(&wire).expect("a CONNECT");
    assert_eq!(read.properties.authentication_method().map(|method| method.as_str()), Some("S"));
}

/// A CONNECT settles the version of what follows; what it leaves behind in the buffer is the next packet.
#[test]
fn a_connect_takes_its_own_bytes_alone() {
    let wire = [with_flags(V5, 2, "0001 'c'"), bytes("C0 00")].concat();
    let Ok(Decoded::Packet(read, count)) = mqtt::first(&wire, 100) else {
        panic!("a CONNECT");
    };
    let decoder = Decoder { receiver: Role::Server, version: read.version, packet_bytes_max: 100 };
    assert_eq!(decoder.decode(&wire[count..]), Ok(Decoded::Packet(Packet::Pingreq, 2)));
}
