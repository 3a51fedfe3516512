//! The codec from outside: vectors of the specifications, every rule that a packet can break, another codec, and laws that
//! hold for any packet. The names of these tests stand beside the normative statements in `conformance/`.

mod acks;
mod close;
mod conformance;
mod connack;
mod connect;
mod every;
mod format;
mod message;
mod oracle_v3;
mod oracle_v5;
mod properties;
mod publish;
mod sample;
mod subscribe;
mod topics;
mod vectors;

use mqtt::{Connect, Decoded, Decoder, Failure, PACKET_BYTES_MAX, Packet, Refusal, Role, Version};

const V3: Version = Version::V3;
const V5: Version = Version::V5;
const BOTH: [Version; 2] = [V3, V5];

/// Bytes of hexadecimal digits; what stands in quotation marks stands for itself.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in text.split('\'').enumerate() {
        if index % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<_> = part.chars().filter(|digit| !digit.is_whitespace()).collect();
        assert_eq!(digits.len() % 2, 0, "whole bytes: {part}");
        bytes.extend(
            digits
                .chunks(2)
                .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hexadecimal digits")),
        );
    }
    bytes
}

fn decoder(receiver: Role, version: Version) -> Decoder {
    Decoder { receiver, version, packet_bytes_max: PACKET_BYTES_MAX }
}

/// The packet that these bytes are, all of them.
fn decode(receiver: Role, version: Version, bytes: &[u8]) -> Result<Packet<'_>, Failure> {
    match decoder(receiver, version).decode(bytes)? {
        Decoded::Packet(packet, count) => {
            assert_eq!(count, bytes.len(), "all of {bytes:x?}");
            Ok(packet)
        }
        Decoded::Incomplete { needed } => panic!("{bytes:x?} is a whole packet, not {needed} bytes"),
    }
}

fn connect(bytes: &[u8]) -> Result<Connect<'_>, Refusal> {
    match mqtt::first(bytes, PACKET_BYTES_MAX)? {
        Decoded::Packet(connect, count) => {
            assert_eq!(count, bytes.len(), "all of {bytes:x?}");
            Ok(connect)
        }
        Decoded::Incomplete { needed } => panic!("{bytes:x?} is a whole packet, not {needed} bytes"),
    }
}

/// What a server makes of these bytes in each version.
fn server_refuses(versions: &[Version], text: &str, failure: Failure) {
    for version in versions {
        assert_eq!(decode(Role::Server, *version, &bytes(text)), Err(failure), "{version:?} {text}");
    }
}

fn server_takes(versions: &[Version], text: &str) {
    for version in versions {
        assert!(decode(Role::Server, *version, &bytes(text)).is_ok(), "{version:?} {text}");
    }
}

fn client_refuses(versions: &[Version], text: &str, failure: Failure) {
    for version in versions {
        assert_eq!(decode(Role::Client, *version, &bytes(text)), Err(failure), "{version:?} {text}");
    }
}

fn client_takes(versions: &[Version], text: &str) {
    for version in versions {
        assert!(decode(Role::Client, *version, &bytes(text)).is_ok(), "{version:?} {text}");
    }
}
