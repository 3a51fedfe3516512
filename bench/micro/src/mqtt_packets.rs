//! A message of 64 bytes through the MQTT codec: read, acknowledged, written once, and copied for one more subscriber.

use crate::{Kernel, Work, plain};
use mqtt::{Decoded, Decoder, Delivery, Message, Outgoing, Packet, PacketId, Properties, Role, TopicName, Version};
use std::hint::black_box;

pub(crate) const PUBLISH_READ: Kernel = Kernel {
    name: "mqtt_publish",
    what: "a PUBLISH of 3.1.1, QoS 1, 64 bytes on a topic of 20, read",
    large: false,
    prepare: || publish_read(Version::V3),
};
pub(crate) const PUBLISH_READ_V5: Kernel = Kernel {
    name: "mqtt_publish_v5",
    what: "the same of 5.0, without properties",
    large: false,
    prepare: || publish_read(Version::V5),
};
pub(crate) const PUBACK_READ: Kernel =
    Kernel { name: "mqtt_puback", what: "a PUBACK, read", large: false, prepare: puback_read };
pub(crate) const PUBLISH_WRITTEN: Kernel =
    Kernel { name: "mqtt_written", what: "that message written for subscribers", large: false, prepare: written };
pub(crate) const PUBLISH_COPIED: Kernel = Kernel {
    name: "mqtt_copied",
    what: "what was written copied for one more subscriber, with its packet identifier",
    large: false,
    prepare: copied,
};

const TOPIC: &str = "building/7/room/42/t";
const PAYLOAD: &[u8; 64] = &[b'p'; 64];
const ID: PacketId = PacketId::new(0x1234).expect("not 0");
const OTHER_ID: PacketId = PacketId::new(0x5678).expect("not 0");

/// The packet, spelt out.
fn frame(version: Version, id: PacketId) -> Vec<u8> {
    let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
    let topic_bytes = TOPIC.len() as u8;
    let body = [&[0, topic_bytes], TOPIC.as_bytes(), &id.get().to_be_bytes(), properties, PAYLOAD].concat();
    [&[0x32, body.len() as u8], &body[..]].concat()
}

fn message() -> Message<'static> {
    Message::new(TopicName::new(TOPIC).expect("a name"), Properties::NONE, PAYLOAD)
}

fn publish_read(version: Version) -> Box<dyn Work> {
    let decoder = Decoder { receiver: Role::Server, version, packet_bytes_max: 1 << 20 };
    plain(
        (frame(version, ID), 0),
        move |(input, seen)| {
            *seen = match decoder.decode(black_box(input)) {
                Ok(Decoded::Packet(Packet::Publish(publish), count)) => {
                    let topic_bytes = publish.topic.map_or(0, |topic| topic.as_bytes().len());
                    count + topic_bytes + publish.payload.len()
                }
                _ => 0,
            };
        },
        |(_, seen)| vec![*seen as u8],
        vec![(frame(version, ID).len() + TOPIC.len() + PAYLOAD.len()) as u8],
    )
}

fn puback_read() -> Box<dyn Work> {
    let decoder = Decoder { receiver: Role::Server, version: Version::V3, packet_bytes_max: 1 << 20 };
    plain(
        ([0x40, 2, 0x12, 0x34], 0),
        move |(input, seen)| {
            *seen = match decoder.decode(black_box(input)) {
                Ok(Decoded::Packet(Packet::Ack(ack), _)) => ack.packet_id.get(),
                _ => 0,
            };
        },
        |(_, seen)| seen.to_be_bytes().to_vec(),
        ID.get().to_be_bytes().to_vec(),
    )
}

fn written() -> Box<dyn Work> {
    plain(
        (message(), [0u8; 128], 0),
        |(message, out, count)| {
            let outgoing = Outgoing::new(Delivery::AtLeastOnce(black_box(ID)));
            *count = message.write(Version::V3, &outgoing, out).map_or(0, |layout| layout.bytes);
        },
        |(_, out, count)| out[..*count].to_vec(),
        frame(Version::V3, ID),
    )
}

fn copied() -> Box<dyn Work> {
    let mut frame_once = vec![0; 128];
    let layout = message()
        .write(Version::V3, &Outgoing::new(Delivery::AtLeastOnce(ID)), &mut frame_once)
        .expect("room for the message");
    frame_once.truncate(layout.bytes);
    plain(
        (frame_once, [0u8; 128], layout),
        |(frame, out, layout)| {
            let copy = &mut out[..frame.len()];
            copy.copy_from_slice(frame);
            layout.set_packet_id(copy, black_box(OTHER_ID));
        },
        move |(frame, out, _)| out[..frame.len()].to_vec(),
        frame(Version::V3, OTHER_ID),
    )
}
