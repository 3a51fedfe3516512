//! PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7).

use crate::{BOTH, V3, V5, bytes, client_refuses, decode, server_refuses, server_takes};
use mqtt::{Ack, AckKind, Failure, Packet, PacketId, Properties, Property, ReasonCode, Role, Text};

/// Which numbers a packet of that first byte may carry, over all 256.
fn check_codes(first: u8, listed: &str) {
    let listed = bytes(listed);
    for receiver in [Role::Server, Role::Client] {
        for number in 0..=255u8 {
            let outcome = decode(receiver, V5, &[first, 3, 0, 1, number]).map(drop);
            let expected = if listed.contains(&number) { Ok(()) } else { Err(Failure::ReasonCode) };
            assert_eq!(outcome, expected, "{first:02x} {number:02x}");
        }
    }
}

#[test]
fn codes_of_puback() {
    check_codes(0x40, "00 10 80 83 87 90 91 97 99");
}

#[test]
fn codes_of_pubrec() {
    check_codes(0x50, "00 10 80 83 87 90 91 97 99");
}

#[test]
fn codes_of_pubrel() {
    check_codes(0x62, "00 92");
}

#[test]
fn codes_of_pubcomp() {
    check_codes(0x70, "00 92");
}

#[test]
fn pubrel_has_the_flags_of_its_own() {
    for flags in (0..16).filter(|flags| *flags != 2) {
        server_refuses(&BOTH, &format!("6{flags:x} 02 0001"), Failure::Flags);
        client_refuses(&BOTH, &format!("6{flags:x} 02 0001"), Failure::Flags);
    }
    server_takes(&BOTH, "62 02 0001");
}

/// All three forms of 5.0 and the one of 3.1.1; what is written is the shortest.
#[test]
fn code_and_properties_may_be_left_out() {
    for kind in [AckKind::Puback, AckKind::Pubrec, AckKind::Pubrel, AckKind::Pubcomp] {
        let first = (kind as u8) << 4 | if kind == AckKind::Pubrel { 2 } else { 0 };
        let expected = Packet::Ack(Ack::new(kind, PacketId::MIN, ReasonCode::Success));
        for wire in [vec![first, 2, 0, 1], vec![first, 3, 0, 1, 0], vec![first, 4, 0, 1, 0, 0]] {
            assert_eq!(decode(Role::Client, V5, &wire), Ok(expected), "{wire:x?}");
        }
        for version in BOTH {
            let mut out = [0; 8];
            assert_eq!(expected.write(version, &mut out), Ok(4));
            assert_eq!(out[..4], [first, 2, 0, 1]);
        }
        assert_eq!(decode(Role::Client, V3, &[first, 3, 0, 1, 0]), Err(Failure::Trailing));
        assert_eq!(decode(Role::Client, V3, &[first, 4, 0, 1, 0, 0]), Err(Failure::Trailing));
    }
}

/// For each of the four: what does not fit goes without user properties, then without the reason.
#[test]
fn what_is_too_large_goes_without_words() {
    let text = |text| Text::new(text).expect("a text");
    let list = [Property::ReasonString(text("because")), Property::UserProperty((text("name"), text("value")))];
    for kind in [AckKind::Puback, AckKind::Pubrec, AckKind::Pubrel, AckKind::Pubcomp] {
        let ack = Ack { properties: Properties::listed(&list), ..Ack::new(kind, PacketId::MIN, ReasonCode::Success) };
        let sizes = |bytes_max| Packet::Ack(ack).fitted(V5, bytes_max).map(|packet| packet.encoded_bytes(V5));
        assert_eq!(sizes(30), Some(30));
        assert_eq!(sizes(29), Some(16));
        assert_eq!(sizes(16), Some(16));
        assert_eq!(sizes(15), Some(4), "then nothing but success is left");
        assert_eq!(sizes(3), None);
        assert_eq!(Packet::Ack(ack).encoded_bytes(V3), 4);
    }
}

#[test]
fn v3_knows_success_alone() {
    let denied = Ack::new(AckKind::Puback, PacketId::MIN, ReasonCode::NotAuthorized);
    let mut out = [0; 4];
    assert_eq!((denied.write(V3, &mut out), out), (Ok(4), [0x40, 2, 0, 1]));
    assert_eq!(denied.encoded_bytes(V5), 5);
}
