//! CONNACK (3.2).

use crate::{BOTH, V3, V5, bytes, client_refuses, client_takes, decode};
use mqtt::{Connack, Failure, Packet, Place, Properties, Property, ReasonCode, Role, Text};

#[test]
fn reserved_flags_are_zero() {
    for flags in 2..=255u8 {
        client_refuses(&[V3], &format!("20 02 {flags:02x} 00"), Failure::ConnackFlags);
        client_refuses(&[V5], &format!("20 03 {flags:02x} 00 00"), Failure::ConnackFlags);
    }
    client_takes(&[V3], "20 02 01 00");
    client_takes(&[V5], "20 03 01 00 00");
}

#[test]
fn a_refusal_has_no_session() {
    client_refuses(&[V3], "20 02 01 05", Failure::ConnackFlags);
    client_refuses(&[V5], "20 03 01 87 00", Failure::ConnackFlags);
    for version in BOTH {
        let refused = Connack { session_present: true, ..Connack::refused(ReasonCode::NotAuthorized) };
        let mut out = vec![0; refused.encoded_bytes(version)];
        refused.write(version, &mut out).expect("room");
        assert_eq!(out[2], 0, "{version:?}");
    }
}

#[test]
fn codes_are_those_of_connack() {
    let listed: Vec<u8> = bytes("00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F");
    for number in 0..=255u8 {
        let wire = [0x20, 3, 0, number, 0];
        let outcome = decode(Role::Client, V5, &wire).map(drop);
        let expected = if listed.contains(&number) { Ok(()) } else { Err(Failure::ReasonCode) };
        assert_eq!(outcome, expected, "{number:02x}");
        let outcome = decode(Role::Client, V3, &[0x20, 2, 0, number]).map(drop);
        assert_eq!(outcome, if number <= 5 { Ok(()) } else { Err(Failure::ReasonCode) }, "{number:02x}");
    }
}

/// Table 3.1 of 3.1.1, and what of 5.0 it has a code for.
#[test]
fn return_codes_of_v3() {
    let expected = [
        (ReasonCode::Success, 0),
        (ReasonCode::UnsupportedProtocolVersion, 1),
        (ReasonCode::ClientIdentifierNotValid, 2),
        (ReasonCode::ServerUnavailable, 3),
        (ReasonCode::BadUserNameOrPassword, 4),
        (ReasonCode::NotAuthorized, 5),
    ];
    for (code, number) in expected {
        let wire = [0x20, 2, 0, number];
        assert_eq!(decode(Role::Client, V3, &wire), Ok(Packet::Connack(Connack { code, ..Connack::refused(code) })));
        let mut out = [0; 4];
        assert_eq!((Connack::refused(code).write(V3, &mut out), out), (Ok(4), wire));
    }
}

/// Without a return code for the reason, the connection ends without a CONNACK.
#[test]
fn v3_says_nothing_of_other_reasons() {
    let mut silent = 0;
    for code in ReasonCode::ALL.iter().filter(|code| code.fits(Place::Connack, Role::Client)) {
        let connack = Connack::refused(*code);
        match code.connect_return_code() {
            Some(number) => {
                assert!(number <= 5 && connack.encoded_bytes(V3) == 4);
            }
            None => {
                silent += 1;
                assert_eq!((connack.encoded_bytes(V3), connack.write(V3, &mut [])), (0, Ok(0)), "{code:?}");
            }
        }
    }
    assert_eq!(silent, 9);
}

/// First the user properties go, then the reason, then there is nothing left to leave out.
#[test]
fn what_is_too_large_goes_without_words() {
    let text = |text| Text::new(text).expect("a text");
    let list = [
        Property::ReceiveMaximum(std::num::NonZeroU16::MIN),
        Property::UserProperty((text("name"), text("value"))),
        Property::ReasonString(text("because")),
        Property::UserProperty((text("name"), text("other"))),
    ];
    let connack = Connack::accepted(false, Properties::listed(&list));
    let packet = Packet::Connack(connack);
    let whole = packet.encoded_bytes(V5) as u32;
    let kept = |bytes_max: u32| {
        let packet = packet.fitted(V5, bytes_max)?;
        assert!(packet.encoded_bytes(V5) <= bytes_max as usize);
        let mut out = vec![0; packet.encoded_bytes(V5)];
        assert_eq!(packet.write(V5, &mut out), Ok(out.len()));
        let Ok(Packet::Connack(read)) = decode(Role::Client, V5, &out) else {
            panic!("a CONNACK");
        };
        assert_eq!(read.properties.receive_maximum(), Some(std::num::NonZeroU16::MIN));
        Some((read.properties.user_properties().count(), read.properties.reason_string().is_some()))
    };
    let (pair_bytes, reason_bytes) = (14, 10);
    assert_eq!(kept(whole), Some((2, true)));
    assert_eq!(kept(whole - 1), Some((0, true)));
    assert_eq!(kept(whole - 2 * pair_bytes), Some((0, true)));
    assert_eq!(kept(whole - 2 * pair_bytes - 1), Some((0, false)));
    assert_eq!(kept(whole - 2 * pair_bytes - reason_bytes), Some((0, false)));
    assert_eq!(kept(whole - 2 * pair_bytes - reason_bytes - 1), None);
}
