//! Fixed header, strings, integers, packet identifiers (v3 and v5 chapter 2, v3 1.5, v5 1.5).

use crate::{
    BOTH, V3, V5, bytes, client_refuses, client_takes, connect, decode, decoder, server_refuses, server_takes,
};
use mqtt::{Connect, Decoded, Failure, Packet, Publish, ReasonCode, Role, Text, TopicName};

/// A PUBLISH on `a` of QoS 0 with so many bytes of payload.
fn publish(payload: &[u8]) -> Packet<'_> {
    Packet::Publish(Publish::new(TopicName::new("a").expect("a name"), payload))
}

#[test]
fn strings_are_well_formed_utf8() {
    let wrong = [b"\xFF".as_slice(), b"\xC0\x80", b"\xED\xA0\x80", b"\xED\xBF\xBF", b"\xF4\x90\x80\x80", b"a\xE2\x82"];
    for wrong in wrong {
        let length = [0, wrong.len() as u8];
        let publish = [&[0x30, 2 + length[1]], &length, wrong].concat();
        assert_eq!(decode(Role::Server, V3, &publish), Err(Failure::Text), "{wrong:x?}");
        let filter = [&[0x82, 5 + length[1], 0, 1][..], &length, wrong, &[0]].concat();
        assert_eq!(decode(Role::Server, V3, &filter), Err(Failure::Text), "{wrong:x?}");
        let client_id = [&[0x10, 12 + length[1]], &bytes("0004 'MQTT' 04 02 0000")[..], &length, wrong].concat();
        assert_eq!(connect(&client_id).map_err(|refusal| refusal.failure), Err(Failure::Text), "{wrong:x?}");
        let pair = [&[0x30, 10 + length[1], 0, 1, b'a', 6 + length[1], 38, 0, 1, b'n'][..], &length, wrong].concat();
        assert_eq!(decode(Role::Server, V5, &pair), Err(Failure::Text), "{wrong:x?}");
    }
}

#[test]
fn strings_have_no_null_character() {
    server_refuses(&BOTH, "30 05 0003 'a' 00 'b'", Failure::Text);
    server_refuses(&[V3], "82 08 0001 0003 'a' 00 'b' 00", Failure::Text);
    server_refuses(&[V5], "30 0B 0001 'a' 07 26 0001 00 0001 'v'", Failure::Text);
    for client_id in ["00", "'abcdefgh' 00", "00 'abcdefghi'"] {
        let id = bytes(client_id);
        let wire = [&[0x10, 12 + id.len() as u8], &bytes("0004 'MQTT' 04 02 0000")[..], &[0, id.len() as u8], &id];
        assert_eq!(connect(&wire.concat()).map_err(|refusal| refusal.failure), Err(Failure::Text));
    }
    assert_eq!(Text::new("a\0b"), None);
}

#[test]
fn a_byte_order_mark_is_a_character() {
    for version in BOTH {
        let wire = match version {
            V3 => bytes("30 06 0004 EFBBBF 'a'"),
            V5 => bytes("30 07 0004 EFBBBF 'a' 00"),
        };
        let Ok(Packet::Publish(read)) = decode(Role::Server, version, &wire) else {
            panic!("a PUBLISH");
        };
        assert_eq!(read.topic.map(TopicName::as_str), Some("\u{FEFF}a"));
        let mut out = vec![0; wire.len()];
        assert_eq!(read.write(version, &mut out), Ok(wire.len()));
        assert_eq!(out, wire);
    }
}

/// Every first byte, in both versions and directions, against the specifications' tables 2.1 and 2.2.
#[test]
fn reserved_flags_are_as_listed() {
    for version in BOTH {
        for receiver in [Role::Server, Role::Client] {
            for first in 0..=255u8 {
                let (kind, flags) = (first >> 4, first & 15);
                let by_server = receiver == Role::Client;
                let comes = match kind {
                    3..=7 => true,
                    8 | 10 | 12 => !by_server,
                    2 | 9 | 11 | 13 => by_server,
                    14 => !by_server || version == V5,
                    15 => version == V5,
                    _ => false,
                };
                let flags_are_right = match kind {
                    3 => flags & 6 != 6 && flags & 14 != 8,
                    6 | 8 | 10 => flags == 2,
                    _ => flags == 0,
                };
                let input = [first];
                let decoded = decoder(receiver, version).decode(&input);
                assert_eq!(decoded.is_ok(), comes && flags_are_right, "{version:?} {receiver:?} {first:02x}");
                match decoded {
                    Err(Failure::Flags) => assert!(comes && kind != 3),
                    Err(Failure::Qos | Failure::Dup) => assert!(comes && kind == 3),
                    Err(Failure::SecondConnect) => assert!(kind == 1 && !by_server),
                    Err(Failure::Direction) => assert!(!comes && kind != 0),
                    Err(Failure::PacketType) => assert!(kind == 0 || kind == 15),
                    other => assert_eq!(other, Ok(Decoded::Incomplete { needed: 2 })),
                }
            }
        }
    }
    for first in 0x11..=0x1F {
        let refusal = mqtt::first(&[first], 100).expect_err("flags of CONNECT");
        assert_eq!(refusal.failure, Failure::Flags);
    }
    assert_eq!(Failure::Flags.reason_code(), ReasonCode::MalformedPacket);
}

#[test]
fn the_remaining_length_takes_as_few_bytes_as_it_can() {
    for (payload_bytes, head) in [
        (0, "30 03"),
        (124, "30 7F"),
        (125, "30 80 01"),
        (16_380, "30 FF 7F"),
        (16_381, "30 80 80 01"),
        (2_097_148, "30 FF FF 7F"),
        (2_097_149, "30 80 80 80 01"),
    ] {
        let payload = vec![7; payload_bytes];
        let packet = publish(&payload);
        let mut out = vec![0; packet.encoded_bytes(V3)];
        assert_eq!(packet.write(V3, &mut out), Ok(out.len()));
        assert!(out.starts_with(&bytes(head)), "{payload_bytes}");
        assert_eq!(decode(Role::Server, V3, &out), Ok(packet));
    }
}

#[test]
fn the_remaining_length_has_at_most_four_bytes() {
    for version in BOTH {
        let decoder = decoder(Role::Server, version);
        let longest = bytes("30 FF FF FF 7F");
        assert_eq!(decoder.decode(&longest), Ok(Decoded::Incomplete { needed: 268_435_460 }));
        assert_eq!(decoder.decode(&bytes("30 FF FF FF FF")), Err(Failure::RemainingLength));
        assert_eq!(decoder.decode(&bytes("30 80 80 80 80 01")), Err(Failure::RemainingLength));
        assert_eq!(decoder.decode(&bytes("30 FF FF FF")), Ok(Decoded::Incomplete { needed: 5 }));
    }
    let refusal = mqtt::first(&bytes("10 80 80 80 80"), 100).expect_err("five bytes");
    assert_eq!((refusal.failure, refusal.answer()), (Failure::RemainingLength, None));
}

/// 5.0 wants the shortest form of a Variable Byte Integer wherever there is one; 3.1.1 does not say, and some devices pad.
#[test]
fn variable_byte_integers_are_minimal() {
    server_refuses(&[V5], "30 84 00 0001 'a' 00", Failure::RemainingLength);
    server_takes(&[V3], "30 83 00 0001 'a'");
    server_refuses(&[V5], "30 05 0001 'a' 80 00", Failure::VariableByteInteger);
    server_refuses(&[V5], "82 0A 0001 03 0B 81 00 0001 'a' 00", Failure::VariableByteInteger);
    server_refuses(&[V5], "82 0D 0001 06 0B 80 80 80 80 01 0001 'a' 00", Failure::VariableByteInteger);
    server_takes(&[V5], "82 0A 0001 03 0B 80 01 0001 'a' 00");
    let padded = bytes("10 8E 00 0004 'MQTT' 05 02 0000 00 0001 'a'");
    let refusal = connect(&padded).expect_err("padded");
    assert_eq!((refusal.failure, refusal.version), (Failure::RemainingLength, Some(V5)));
    assert!(connect(&bytes("10 8D 00 0004 'MQTT' 04 02 0000 0001 'a'")).is_ok());
}

/// Both versions of a CONNECT, and a PUBLISH, at exactly the most and a byte above it; told by the fixed header alone.
#[test]
fn too_large_is_told_before_the_body() {
    for version in BOTH {
        let mut decoder = decoder(Role::Server, version);
        decoder.packet_bytes_max = 100;
        assert_eq!(decoder.decode(&[0x30, 98]), Ok(Decoded::Incomplete { needed: 100 }));
        assert_eq!(decoder.decode(&[0x30, 99]), Err(Failure::TooLarge));
        decoder.packet_bytes_max = 1000;
        assert_eq!(decoder.decode(&bytes("30 E5 07")), Ok(Decoded::Incomplete { needed: 1000 }));
        assert_eq!(decoder.decode(&bytes("30 E6 07")), Err(Failure::TooLarge));
    }
    assert_eq!(mqtt::first(&[0x10, 98], 100), Ok(Decoded::Incomplete { needed: 100 }));
    let early = mqtt::first(&[0x10, 99], 100).expect_err("too large");
    assert_eq!((early.failure, early.answer()), (Failure::TooLarge, None));
    let late = mqtt::first(&bytes("10 63 0004 'MQTT' 05"), 100).expect_err("too large");
    let (version, connack) = late.answer().expect("an answer");
    assert_eq!((version, connack.code), (V5, ReasonCode::PacketTooLarge));
}

#[test]
fn packet_identifiers_are_not_zero() {
    server_refuses(&[V3], "32 05 0001 'a' 0000", Failure::PacketId);
    server_refuses(&[V5], "34 06 0001 'a' 0000 00", Failure::PacketId);
    server_refuses(&BOTH, "40 02 0000", Failure::PacketId);
    server_refuses(&BOTH, "50 02 0000", Failure::PacketId);
    server_refuses(&BOTH, "62 02 0000", Failure::PacketId);
    server_refuses(&BOTH, "70 02 0000", Failure::PacketId);
    server_refuses(&[V3], "82 06 0000 0001 'a' 00", Failure::PacketId);
    server_refuses(&[V5], "82 07 0000 00 0001 'a' 00", Failure::PacketId);
    server_refuses(&[V3], "A2 05 0000 0001 'a'", Failure::PacketId);
    client_refuses(&[V3], "90 03 0000 00", Failure::PacketId);
    client_refuses(&[V3], "B0 02 0000", Failure::PacketId);
    client_takes(&[V3], "B0 02 0001");
}

/// The bytes where one would be are payload.
#[test]
fn qos_0_has_no_packet_identifier() {
    for (version, wire) in [(V3, bytes("30 05 0001 'a' 1234")), (V5, bytes("30 06 0001 'a' 00 1234"))] {
        let Ok(Packet::Publish(read)) = decode(Role::Server, version, &wire) else {
            panic!("a PUBLISH");
        };
        assert_eq!((read.delivery.packet_id(), read.payload), (None, &[0x12, 0x34][..]));
        let mut out = vec![0; wire.len()];
        assert_eq!(read.write(version, &mut out), Ok(wire.len()));
        assert_eq!(out, wire);
    }
}

#[test]
fn fields_stay_within_their_packet() {
    for (versions, text) in [
        (&BOTH[..], "30 00"),
        (&BOTH, "30 01 00"),
        (&BOTH, "30 03 0002 'a'"),
        (&BOTH, "32 04 0001 'a' 00"),
        (&[V5], "30 03 0001 'a'"),
        (&[V5], "30 05 0001 'a' 02 01"),
        (&[V5], "30 06 0001 'a' 02 02 00"),
        (&[V5], "30 07 0001 'a' 03 26 0001"),
        (&BOTH, "40 01 00"),
        (&[V5], "40 05 0001 00 02 1F"),
        (&BOTH, "82 01 00"),
        (&[V3], "82 05 0001 0001 'a'"),
        (&[V3], "82 03 0001 00"),
        (&[V5], "82 02 0001"),
        (&[V3], "A2 03 0001 00"),
        (&[V5], "F0 01 18"),
    ] {
        server_refuses(versions, text, Failure::Truncated);
    }
    client_refuses(&BOTH, "20 01 00", Failure::Truncated);
    client_refuses(&[V5], "20 02 00 00", Failure::Truncated);
    client_refuses(&BOTH, "90 01 00", Failure::Truncated);
}

#[test]
fn nothing_follows_the_last_field() {
    server_refuses(&BOTH, "C0 01 00", Failure::Trailing);
    client_refuses(&BOTH, "D0 01 00", Failure::Trailing);
    server_refuses(&[V3], "40 03 0001 00", Failure::Trailing);
    server_refuses(&[V5], "40 05 0001 00 00 00", Failure::Trailing);
    server_refuses(&[V3], "E0 01 00", Failure::Trailing);
    server_refuses(&[V5], "E0 03 00 00 00", Failure::Trailing);
    client_refuses(&[V3], "20 03 00 00 00", Failure::Trailing);
    client_refuses(&[V5], "20 04 00 00 00 00", Failure::Trailing);
    client_refuses(&[V3], "B0 03 0001 00", Failure::Trailing);
}

/// The longest packet that can be announced is written as such, and one byte more is not.
#[test]
fn a_packet_has_a_longest() {
    let payload = vec![0; mqtt::REMAINING_BYTES_MAX - 2];
    let packet = publish(&payload);
    assert_eq!(packet.write(V3, &mut [0; 10]), Err(mqtt::NoRoom));
    let mut out = vec![0; payload.len() + 10];
    assert_eq!(packet.write(V3, &mut out), Err(mqtt::NoRoom), "one byte more than a remaining length says");
    let packet = publish(&payload[1..]);
    assert_eq!(packet.write(V3, &mut out), Ok(mqtt::PACKET_BYTES_MAX as usize));
    assert!(out.starts_with(&bytes("30 FF FF FF 7F 0001 'a'")));
}

/// Every failure but those of a connection's beginning is told with a code that DISCONNECT may carry, and those with one of
/// CONNACK.
#[test]
fn failures_have_a_reason_code_that_can_be_sent() {
    use mqtt::Place;
    for failure in Failure::ALL {
        let code = failure.reason_code();
        assert!(code.is_failure());
        let beginning = matches!(failure, Failure::ProtocolName | Failure::ProtocolLevel | Failure::ClientId);
        let place = if beginning { Place::Connack } else { Place::Disconnect };
        assert!(code.fits(place, Role::Client), "{failure}: {code:?}");
        // A client never refuses a filter, which it does not receive.
        let of_server = beginning || failure == Failure::TopicFilter;
        assert!(of_server || code.fits(Place::Disconnect, Role::Server), "{failure}: {code:?}");
    }
    let text = Text::new("id").expect("a text");
    assert_eq!(Connect::new(V5, text).encoded_bytes(), 17);
}
