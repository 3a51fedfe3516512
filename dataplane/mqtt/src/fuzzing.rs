//! Laws of the codec, for fuzz targets and for the corpus that the tests replay.
//!
//! Every function takes any bytes and panics if a law is broken. They allocate: nothing that serves calls them.

use crate::topic::{Shared, matches};
use crate::{
    Connect, Decoded, Decoder, Delivery, Failure, Message, NoRoom, Outgoing, Packet, PacketId, Publish, Role,
    TopicFilter, TopicName, Version, first,
};

/// The largest packet that the laws take.
const PACKET_BYTES_MAX: u32 = 1 << 20;

/// The first byte chooses who receives, in which version, and whether it is the first packet; the others are what arrived.
///
/// Whatever is a packet is incomplete as long as a byte is missing, does not depend on what follows, is written in as many
/// bytes as it said, and reads the same again.
pub fn packet(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    let receiver = if choice & 1 == 0 { Role::Server } else { Role::Client };
    let version = if choice & 2 == 0 { Version::V3 } else { Version::V5 };
    if choice & 4 == 0 {
        let decoder = Decoder { receiver, version, packet_bytes_max: PACKET_BYTES_MAX };
        let decode = |bytes| decoder.decode(bytes);
        if let Some(packet) = arrived(bytes, decode) {
            packet_again(&packet, &decoder);
        }
    } else {
        let decode = |bytes| first(bytes, PACKET_BYTES_MAX).map_err(|refusal| refusal.failure);
        if let Some(connect) = arrived(bytes, decode) {
            connect_again(&connect);
        } else if let Err(refusal) = first(bytes, PACKET_BYTES_MAX)
            && let Some((version, connack)) = refusal.answer()
        {
            let mut out = [0; 16];
            let count = connack.write(version, &mut out).expect("room");
            let client = Decoder { receiver: Role::Client, version, packet_bytes_max: PACKET_BYTES_MAX };
            assert_eq!(client.decode(&out[..count]), Ok(Decoded::Packet(Packet::Connack(connack), count)));
        }
    }
}

/// The packet at the front, if there is one.
fn arrived<'a, P: PartialEq + core::fmt::Debug>(
    bytes: &'a [u8],
    decode: impl Fn(&'a [u8]) -> Result<Decoded<P>, Failure>,
) -> Option<P> {
    match decode(bytes) {
        Err(_) => None,
        Ok(Decoded::Incomplete { needed }) => {
            assert!(needed > bytes.len() && needed <= PACKET_BYTES_MAX as usize);
            None
        }
        Ok(Decoded::Packet(packet, count)) => {
            for end in 0..count {
                match decode(&bytes[..end]) {
                    Ok(Decoded::Incomplete { needed }) => assert!(needed > end && needed <= count),
                    other => panic!("{end} bytes of {count}: {other:?}"),
                }
            }
            assert_eq!(decode(&bytes[..count]).as_ref(), Ok(&Decoded::Packet(packet, count)));
            match decode(bytes) {
                Ok(Decoded::Packet(packet, _)) => Some(packet),
                _ => None,
            }
        }
    }
}

/// What a writer wrote, after it was denied a buffer that is a byte too small.
fn written(count: usize, write: impl Fn(&mut [u8]) -> Result<usize, NoRoom>) -> Vec<u8> {
    let mut out = vec![0; count];
    if count > 0 {
        assert_eq!(write(&mut out[1..]), Err(NoRoom));
    }
    assert_eq!(write(&mut out), Ok(count));
    out
}

fn packet_again(packet: &Packet<'_>, decoder: &Decoder) {
    let version = decoder.version;
    let count = packet.encoded_bytes(version);
    let bytes = written(count, |out| packet.write(version, out));
    assert_eq!(decoder.decode(&bytes), Ok(Decoded::Packet(*packet, count)));
    assert_eq!(packet.fitted(version, count as u32), Some(*packet), "it fits its own size");
    for bytes_max in [count as u32 - 1, 2] {
        if let Some(smaller) = packet.fitted(version, bytes_max) {
            assert!(smaller.encoded_bytes(version) <= bytes_max as usize);
        }
    }
    if let Packet::Publish(publish) = packet {
        forwarded(publish);
    }
}

fn connect_again(connect: &Connect<'_>) {
    let count = connect.encoded_bytes();
    let bytes = written(count, |out| connect.write(out));
    assert_eq!(first(&bytes, PACKET_BYTES_MAX), Ok(Decoded::Packet(*connect, count)));
}

/// A message that goes on to subscribers of either version says what it said.
fn forwarded(publish: &Publish<'_>) {
    let Some(topic) = publish.topic else {
        return;
    };
    let message = Message::of(publish, topic);
    for version in [Version::V3, Version::V5] {
        let outgoing = Outgoing { retain: publish.retain, ..Outgoing::new(publish.delivery) };
        let mut frame = vec![0; message.encoded_bytes(version, &outgoing)];
        let layout = message.write(version, &outgoing, &mut frame).expect("room");
        assert_eq!(layout.bytes, frame.len());
        let mut parts = vec![0; frame.len()];
        let head = message.write_head(version, &outgoing, &mut parts).expect("room");
        assert_eq!(head.bytes, message.head_bytes(version, &outgoing));
        message.write_tail(version, &mut parts[head.bytes..]).expect("room");
        assert_eq!(parts, frame);
        layout.set_packet_id(&mut frame, PacketId::MAX);
        let client = Decoder { receiver: Role::Client, version, packet_bytes_max: crate::PACKET_BYTES_MAX };
        let Ok(Decoded::Packet(Packet::Publish(again), _)) = client.decode(&frame) else {
            panic!("a message is read as one");
        };
        let properties = publish.properties.forwarded();
        assert_eq!((again.topic, again.payload, again.retain), (Some(topic), publish.payload, publish.retain));
        assert_eq!(again.delivery, Delivery::with(publish.delivery.qos(), PacketId::MAX));
        assert!(again.properties.is_empty() && version == Version::V3 || again.properties == properties);
    }
}

/// The first line is a filter, the second a name. They match as the clauses say, read in another way; what is shared is
/// made of what it was taken apart into.
pub fn topic(bytes: &[u8]) {
    let (filter, name) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, bytes),
    };
    let parsed_name = TopicName::parse(name);
    if let Some(name) = parsed_name {
        let itself = TopicFilter::parse(name.as_bytes()).expect("a name is a filter");
        assert!(matches(itself, name) && !itself.is_wild());
        let all = TopicFilter::new("#").expect("a filter");
        assert_eq!(matches(all, name), !name.is_hidden());
    }
    let Some(filter) = TopicFilter::parse(filter) else {
        return;
    };
    if let Ok(Some(Shared { name, filter: inner })) = filter.shared() {
        assert_eq!(TopicFilter::parse(inner.as_bytes()), Some(inner));
        assert_eq!(format!("$share/{}/{}", name.as_str(), inner.as_str()), filter.as_str());
    }
    if let Some(name) = parsed_name {
        let filters: Vec<_> = filter.as_str().split('/').collect();
        let names: Vec<_> = name.as_str().split('/').collect();
        let hidden = name.as_str().starts_with('$') && filter.as_str().starts_with(['+', '#']);
        assert_eq!(matches(filter, name), !hidden && plain(&filters, &names));
    }
}

fn plain(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, name @ ..]) => plain(filter, name),
        ([level, filter @ ..], [named, name @ ..]) => level == named && plain(filter, name),
        _ => false,
    }
}
