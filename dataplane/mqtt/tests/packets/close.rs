//! DISCONNECT and AUTH (3.14, v5 3.15), PINGREQ and PINGRESP.

use crate::{BOTH, V3, V5, bytes, client_refuses, client_takes, decode, server_refuses, server_takes};
use mqtt::{Auth, Disconnect, Failure, Packet, Properties, Property, ReasonCode, Role, Text};

fn check_codes(receiver: Role, listed: &str, wire: impl Fn(u8) -> Vec<u8>) {
    let listed = bytes(listed);
    for number in 0..=255u8 {
        let wire = wire(number);
        let outcome = decode(receiver, V5, &wire).map(drop);
        let expected = if listed.contains(&number) { Ok(()) } else { Err(Failure::ReasonCode) };
        assert_eq!(outcome, expected, "{receiver:?} {number:02x}");
    }
}

#[test]
fn flags_of_disconnect_are_zero() {
    for flags in 1..16 {
        server_refuses(&BOTH, &format!("E{flags:x} 00"), Failure::Flags);
        client_refuses(&[V5], &format!("E{flags:x} 00"), Failure::Flags);
    }
    assert_eq!(Failure::Flags.reason_code(), ReasonCode::MalformedPacket);
}

#[test]
fn codes_of_disconnect() {
    let by_client = "00 04 80 81 82 83 90 93 94 95 96 97 98 99";
    let by_server = "00 80 81 82 83 87 89 8B 8C 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2";
    check_codes(Role::Server, by_client, |number| vec![0xE0, 1, number]);
    check_codes(Role::Client, by_server, |number| vec![0xE0, 1, number]);
}

#[test]
fn disconnect_says_no_more_than_it_must() {
    let normal = Packet::Disconnect(Disconnect::new(ReasonCode::Success));
    for text in ["E0 00", "E0 01 00", "E0 02 00 00"] {
        assert_eq!(decode(Role::Server, V5, &bytes(text)), Ok(normal), "{text}");
    }
    server_refuses(&[V3], "E0 01 00", Failure::Trailing);
    client_refuses(&[V3], "E0 00", Failure::Direction);
    let mut out = [0; 8];
    assert_eq!(Disconnect::new(ReasonCode::ServerBusy).write(V5, &mut out), Ok(3));
    assert_eq!(out[..3], bytes("E0 01 89"));
    assert_eq!(Disconnect::new(ReasonCode::ServerBusy).write(V3, &mut out), Ok(2));
    assert_eq!(out[..2], bytes("E0 00"));
}

#[test]
fn session_expiry_comes_from_clients_alone() {
    server_takes(&[V5], "E0 07 00 05 11 00000001");
    client_refuses(&[V5], "E0 07 00 05 11 00000001", Failure::PropertyDirection);
    client_takes(&[V5], "E0 06 9C 04 1C 0001 's'");
    server_refuses(&[V5], "E0 06 80 04 1C 0001 's'", Failure::PropertyDirection);
}

#[test]
fn flags_of_auth_are_zero() {
    for flags in 1..16 {
        server_refuses(&[V5], &format!("F{flags:x}"), Failure::Flags);
        client_refuses(&[V5], &format!("F{flags:x}"), Failure::Flags);
    }
    server_refuses(&[V3], "F0", Failure::PacketType);
}

#[test]
fn codes_of_auth() {
    let wire = |number| [vec![0xF0, 6, number], bytes("04 15 0001 'S'")].concat();
    check_codes(Role::Server, "18 19", wire);
    check_codes(Role::Client, "00 18", wire);
    client_takes(&[V5], "F0 00");
    server_refuses(&[V5], "F0 00", Failure::ReasonCode);
}

#[test]
fn auth_names_its_method() {
    server_refuses(&[V5], "F0 02 18 00", Failure::AuthMethod);
    server_refuses(&[V5], "F0 06 18 04 16 0001 FF", Failure::AuthMethod);
    server_refuses(&[V5], "F0 0A 18 08 15 0001 'S' 15 0001 'S'", Failure::PropertyTwice);
    server_takes(&[V5], "F0 0A 18 08 15 0001 'S' 16 0001 FF");
    let method = [Property::AuthenticationMethod(Text::new("S").expect("a text"))];
    let auth = Auth { code: ReasonCode::ContinueAuthentication, properties: Properties::listed(&method) };
    let mut out = [0; 8];
    assert_eq!((auth.write(V5, &mut out), &out[..]), (Ok(8), &bytes("F0 06 18 04 15 0001 'S'")[..]));
    assert_eq!((auth.encoded_bytes(V3), auth.write(V3, &mut [])), (0, Ok(0)), "3.1.1 has none");
}

#[test]
fn what_is_too_large_goes_without_words() {
    let text = |text| Text::new(text).expect("a text");
    let list = [
        Property::AuthenticationMethod(text("S")),
        Property::ReasonString(text("because")),
        Property::UserProperty((text("name"), text("value"))),
    ];
    let auth = Packet::Auth(Auth { code: ReasonCode::ContinueAuthentication, properties: Properties::listed(&list) });
    let sizes = |bytes_max| auth.fitted(V5, bytes_max).map(|packet| packet.encoded_bytes(V5));
    assert_eq!([sizes(32), sizes(31), sizes(18)], [Some(32), Some(18), Some(18)]);
    assert_eq!([sizes(17), sizes(8), sizes(7)], [Some(8), Some(8), None]);
    let disconnect = Disconnect { code: ReasonCode::ServerBusy, properties: Properties::listed(&list[1..]) };
    let sizes = |bytes_max| Packet::Disconnect(disconnect).fitted(V5, bytes_max).map(|packet| packet.encoded_bytes(V5));
    assert_eq!([sizes(28), sizes(27), sizes(14)], [Some(28), Some(14), Some(14)]);
    assert_eq!([sizes(13), sizes(3), sizes(2)], [Some(3), Some(3), None]);
}
